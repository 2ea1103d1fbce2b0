//! Edge cases of item memory: sizes at which the layout changes, large values, a full server.
//!
//! Each test is a short sequence through a `Session`. Faults that `model` and `stress` found are in `regression`.

use crate::support::{self, Client, assert_empty, shared};
use oxcached::settings::Settings;

pub const STORED: &[u8] = b"STORED\r\n";

pub fn set(key: &str, len: usize) -> Vec<u8> {
    let mut request = format!("set {key} 0 0 {len}\r\n").into_bytes();
    request.extend(value(len));
    request.extend_from_slice(b"\r\n");
    request
}

fn value(len: usize) -> impl Iterator<Item = u8> {
    (0..len).map(|at| b'a' + (at % 23) as u8)
}

pub fn hit(key: &str, len: usize) -> Vec<u8> {
    let mut reply = format!("VALUE {key} 0 {len}\r\n").into_bytes();
    reply.extend(value(len));
    reply.extend_from_slice(b"\r\nEND\r\n");
    reply
}

/// Whether `key` holds its value of `len` bytes.
#[track_caller]
pub fn holds(client: &mut Client, key: &str, len: usize) -> bool {
    let reply = client.ask(format!("get {key}\r\n").as_bytes());
    assert!(reply == hit(key, len) || reply == b"END\r\n", "a wrong value of {len} bytes");
    reply != b"END\r\n"
}

pub fn ask(client: &mut Client, request: &str) -> String {
    String::from_utf8(client.ask(request.as_bytes())).unwrap()
}

#[test]
fn every_size_comes_back() {
    let options =
        ["", "-C", "-f 2 -n 10", "-o slab_chunk_max=1", "-o slab_chunk_max=4", "-I 2m -o slab_chunk_max=1024"];
    for args in options {
        let shared = shared(&format!("-m 100 {args}"));
        let store = shared.cache.store;
        let mut client = Client::new(&shared);
        let long = "k".repeat(250);
        for key in ["k", "key of seven"].map(|key| key.replace(' ', "_")).iter().chain([&long]) {
            let most = store.sizes().config().item_size_max - store.sizes().memcached_size(key.len(), 0, false);
            let chunk =
                (store.sizes().config().chunk_max).saturating_sub(store.sizes().memcached_size(key.len(), 0, false));
            let around = |size: usize| size.saturating_sub(9)..=size + 9;
            let sizes = (0..70).chain(around(4096)).chain(around(65_535)).chain(around(chunk)).chain(around(2 * chunk));
            for len in sizes.chain(most - 3..=most) {
                assert_eq!(client.ask(&set(key, len)), STORED, "{args} key {} value {len}", key.len());
                assert!(holds(&mut client, key, len), "{args} key {} value {len}", key.len());
            }
            assert_eq!(client.ask(&set(key, most + 1)), b"SERVER_ERROR object too large for cache\r\n");
            assert!(!holds(&mut client, key, most), "what could not be replaced is gone");
        }
        assert_empty(&shared);
    }
}

#[test]
fn chosen_cas_ids_fit_every_size() {
    for (args, chunk) in [("", 524_288), ("-o slab_chunk_max=1", 1024), ("-o slab_chunk_max=8", 8192)] {
        let shared = shared(&format!("-m 100 {args}"));
        let mut client = Client::new(&shared);
        for len in (chunk - 120)..(chunk + 10) {
            let mut request = format!("ms k {len} E1099511627777\r\n").into_bytes();
            request.extend(value(len));
            request.extend_from_slice(b"\r\n");
            assert_eq!(client.ask(&request), b"HD\r\n", "{args} {len}");
            let mut expected = format!("VA {len} c1099511627777\r\n").into_bytes();
            expected.extend(value(len));
            expected.extend_from_slice(b"\r\n");
            assert!(client.ask(b"mg k c v\r\n") == expected, "{args} {len}");
        }
        ask(&mut client, "delete k\r\n");
        assert_empty(&shared);
    }
}

#[test]
fn the_smallest_configurable_classes() {
    let shared = shared("-n 1 -o slab_sizes=9-18-30-60-100");
    let mut client = Client::new(&shared);
    for len in [0, 1, 10, 50, 100, 1000] {
        assert_eq!(client.ask(&set("k", len)), STORED);
        assert!(holds(&mut client, "k", len));
    }
    ask(&mut client, "delete k\r\n");
    assert_empty(&shared);
}

#[test]
fn large_values_join_grow_and_count() {
    for args in ["", "-o slab_chunk_max=1", "-o slab_chunk_max=16"] {
        let shared = shared(&format!("-m 100 {args}"));
        let mut client = Client::new(&shared);
        assert_eq!(client.ask(&set("k", 0)), STORED);
        let mut expected = Vec::new();
        for len in [0, 5, 1500, 4000, 30_000, 300_000, 600_000] {
            let part: Vec<u8> = value(len).collect();
            for verb in ["append", "prepend"] {
                let mut request = format!("{verb} k 0 0 {len}\r\n").into_bytes();
                request.extend_from_slice(&part);
                request.extend_from_slice(b"\r\n");
                let reply = client.ask(&request);
                if expected.len() + len > 1_048_000 {
                    assert_eq!(reply, b"NOT_STORED\r\n");
                    continue;
                }
                assert_eq!(reply, STORED);
                expected = match verb {
                    "append" => [&expected[..], &part].concat(),
                    _ => [&part[..], &expected].concat(),
                };
                let reply = client.ask(b"get k\r\n");
                assert!(
                    reply
                        == [format!("VALUE k 0 {}\r\n", expected.len()).as_bytes(), &expected, b"\r\nEND\r\n"].concat()
                );
                let far = support::UNIX + 100 * 24 * 3600;
                assert_eq!(ask(&mut client, &format!("touch k {far}\r\n")), "TOUCHED\r\n", "beyond 90 days");
                assert!(client.ask(b"get k\r\n") == reply, "touching leaves the value alone");
                assert!(ask(&mut client, "incr k 1\r\n").starts_with("CLIENT_ERROR cannot"));
            }
        }
        ask(&mut client, "delete k\r\n");
        assert_empty(&shared);
    }
}

#[test]
fn an_upload_without_memory_releases_its_chunks() {
    for args in ["-m 8", "-m 8 -M"] {
        let shared = support::shared_with(Settings { item_size_max: 1 << 30, ..support::settings(args) });
        let mut client = Client::new(&shared);
        let len = 100 << 20;
        client.feed(format!("set huge 0 0 {len}\r\n").as_bytes());
        let piece: Vec<u8> = value(1 << 20).collect();
        for _ in 0..100 {
            client.feed(&piece);
        }
        client.feed(b"\r\n");
        assert_eq!(client.got, b"SERVER_ERROR Out of memory during read\r\n");
        client.got.clear();
        assert_empty(&shared);
        assert_eq!(client.ask(&set("k", 600_000)), STORED);
    }
}

#[test]
fn an_abandoned_upload_releases_its_chunks() {
    let shared = shared("-m 200 -I 64m");
    for sent in [0, 1, 5000, 600_000, 3 << 20] {
        for announced in [10, 5000, 600_000, 50 << 20] {
            let mut client = Client::new(&shared);
            client.feed(format!("set k 0 0 {announced}\r\n").as_bytes());
            client.feed(&value(sent.min(announced)).collect::<Vec<_>>());
            client.restart();
            assert_empty(&shared);
        }
    }
}

#[test]
fn the_limit_shrinks_while_full_and_grows_again() {
    let shared = shared("-m 16 -o slab_chunk_max=512");
    let mut client = Client::new(&shared);
    for n in 0..100 {
        assert_eq!(client.ask(&set(&format!("k{n}"), 300_000)), STORED);
    }
    assert_eq!(ask(&mut client, "cache_memlimit 8\r\n"), "OK\r\n");
    for n in 0..100 {
        assert_eq!(client.ask(&set(&format!("l{n}"), 300_000)), STORED);
        assert!(holds(&mut client, &format!("l{n}"), 300_000));
    }
    let before = shared.cache.store.malloced();
    assert_eq!(ask(&mut client, "cache_memlimit 64\r\n"), "OK\r\n");
    for n in 0..100 {
        assert_eq!(client.ask(&set(&format!("m{n}"), 300_000)), STORED);
    }
    assert!(shared.cache.store.malloced() > before);
    ask(&mut client, "flush_all\r\n");
    support::sweep(shared.cache.store, shared.clock.now());
    assert_empty(&shared);
}

#[test]
fn pages_touched_ahead_are_not_counted_and_stay_below_the_limit() {
    // Clients of both servers see the same, but only one server touches pages ahead.
    let stories = [true, false].map(|ahead| {
        let shared = shared("-m 6");
        let (store, mut client) = (shared.cache.store, Client::new(&shared));
        let mut story = Vec::new();
        for n in 0..100 {
            while ahead && store.touch_ahead() {}
            assert_eq!(client.ask(&set(&format!("key{n}"), 100_000)), STORED);
            let evicted: u64 = store.classes(shared.clock.now()).iter().map(|class| class.counts.evicted).sum();
            story.push((store.malloced(), store.free_pages(), store.is_full(), evicted));
        }
        story
    });
    assert_eq!(stories[0], stories[1]);
    assert!(stories[0].iter().any(|(.., evicted)| *evicted > 0));

    // A value of each size is in a class, and so in a page, of its own.
    let sizes = [50, 200, 1000, 4000, 16_000, 60_000];
    for (megabytes, used, pages) in [(64, 0, 0), (64, 1, 1), (64, 3, 3), (64, 6, 4), (4, 3, 1), (6, 4, 2)] {
        let shared = shared(&format!("-m {megabytes}"));
        let (store, mut client) = (shared.cache.store, Client::new(&shared));
        for size in &sizes[..used] {
            assert_eq!(client.ask(&set(&format!("key{size}"), *size)), STORED);
        }
        while store.touch_ahead() {}
        assert_eq!((store.malloced(), store.free_pages()), (used as u64 * (1 << 20), 0));
        assert!(!store.release_page(), "below the limit");
        assert!(store.set_limit(0));
        assert_eq!(std::iter::from_fn(|| store.release_page().then_some(())).count(), pages);
        assert!(!store.touch_ahead() && !store.release_page(), "nothing is touched above the limit");
    }
}

#[test]
fn expiry_times_hold_for_many_years() {
    const DAY: i64 = 24 * 3600;
    let shared = shared("-m 100");
    let mut client = Client::new(&shared);
    // Lifetimes in days as absolute exptime: around the limit of the short form, half its range and its whole range.
    let lives = [1, 29, 89, 90, 91, 96, 97, 98, 193, 194, 195, 400, 3000];
    for (n, days) in lives.iter().enumerate() {
        let request = format!("set k{n} 0 {} 1\r\nx\r\n", support::UNIX + days * DAY);
        assert_eq!(client.ask(request.as_bytes()), STORED);
    }
    for day in 0..3010 {
        for (n, days) in lives.iter().enumerate() {
            let lives = day < *days;
            let found = ask(&mut client, &format!("get k{n}\r\n")) != "END\r\n";
            assert_eq!(found, lives, "day {day} of {days}");
        }
        shared.clock.advance(DAY);
        support::sweep(shared.cache.store, shared.clock.now());
    }
    assert_empty(&shared);
}
