//! Scrapes beside a working server: sums that fit, counters that never fall; their size and time.

use super::parser::{self, Parsed};
use super::text;
use crate::support::{Client, DEADLINE, move_pages, shared, until, work};
use oxcached::admin::AdminCounters;
use oxcached::admin::exposition::Exposition;
use oxcached::stats::{CommandKind, TurnClass};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// Sum of a family's samples that have these labels.
fn sum(scrape: &Parsed, name: &str, labels: &[(&str, &str)]) -> f64 {
    let family = scrape.get(name).unwrap_or_else(|| panic!("{name}"));
    let has = |series: &parser::Series| labels.iter().all(|(label, value)| series.labels[*label] == *value);
    family.samples.iter().filter(|(series, _)| has(series)).map(|(_, value)| value).sum()
}

/// Asserts that the numbers of one scrape agree with each other.
#[track_caller]
fn assert_sums(scrape: &Parsed) {
    let pairs = [
        ("memcached_slab_current_items", "memcached_current_items"),
        ("memcached_slab_mem_requested_bytes", "memcached_current_bytes"),
        ("memcached_slab_items_evicted_total", "memcached_items_evicted_total"),
        ("memcached_slab_items_reclaimed_total", "memcached_items_reclaimed_total"),
        ("memcached_slab_items_crawler_reclaimed_total", "memcached_lru_crawler_reclaimed_total"),
        ("memcached_slab_items_moves_to_warm", "memcached_lru_crawler_moves_to_warm_total"),
        ("oxcached_slab_items_direct_reclaims_total", "memcached_direct_reclaims_total"),
    ];
    // Classes without items have no rows, but they have counts.
    for (of_classes, of_server) in pairs {
        let (classes, server) = (sum(scrape, of_classes, &[]), sum(scrape, of_server, &[]));
        assert!(classes <= server, "{of_classes} {classes}, {of_server} {server}");
    }
    for (of_classes, of_server) in &pairs[..2] {
        assert_eq!(sum(scrape, of_classes, &[]), sum(scrape, of_server, &[]), "{of_server}");
    }
    for command in ["get", "delete", "incr", "touch", "cas"] {
        let labels = [("command", command), ("status", "hit")];
        let of_server = sum(scrape, "memcached_commands_total", &labels);
        assert_eq!(sum(scrape, "memcached_slab_commands_total", &labels), of_server, "{command}");
    }
    let chunks = sum(scrape, "memcached_slab_chunks_used", &[]) + sum(scrape, "memcached_slab_chunks_free", &[]);
    assert_eq!(chunks, sum(scrape, "memcached_slab_current_chunks", &[]));
    for (name, family) in scrape {
        for (series, value) in &family.samples {
            assert!((0.0..1e15).contains(value), "{name} {series:?} {value}");
        }
    }
}

/// Asserts that no counter has fallen since the last scrape.
#[track_caller]
fn assert_no_fall(before: &Parsed, after: &Parsed) {
    let counters = after.iter().filter(|(_, family)| family.kind == "counter");
    for (name, family) in counters.filter(|(name, _)| *name != "memcached_slab_items_evicted_time_seconds") {
        let earlier = before.get(name).map(|family| &family.samples);
        for (series, value) in &family.samples {
            if let Some(earlier) = earlier.and_then(|samples| samples.get(series)) {
                assert!(value >= earlier, "{series:?} falls from {earlier} to {value}");
            }
        }
    }
}

/// Commands of one thread: sets of many sizes and expiry times, cas that hits and that does not.
fn use_server(client: &mut Client, rng: &mut fastrand::Rng) {
    let (key, len) = (rng.u32(..10_000), [20, 300, 3000, 20_000][rng.usize(..4)]);
    let (value, ttl) = (vec![b'v'; len], [0, 0, 0, 2][rng.usize(..4)]);
    let request = match rng.u8(..8) {
        0..4 => [format!("set k{key} 0 {ttl} {len}\r\n").as_bytes(), &value, b"\r\n"].concat(),
        4 => format!("get k{key} k{}\r\ntouch k{key} 5\r\n", key / 2).into_bytes(),
        5 => format!("delete k{key}\r\n").into_bytes(),
        _ => {
            let reply = client.ask(format!("gets k{key}\r\n").as_bytes());
            let cas = reply.split(|c| *c == b'\r').next().and_then(|line| line.split(|c| *c == b' ').nth(4));
            let cas = String::from_utf8_lossy(cas.unwrap_or(b"7")).into_owned();
            format!("cas k{key} 0 0 1 {cas}\r\nx\r\ncas k{key} 0 0 1 3\r\nx\r\n").into_bytes()
        }
    };
    client.ask(&request);
}

/// Scrapes between which pages have moved.
const MOVES: usize = 3;

/// Scrapes beside three threads that use the server, page moves, index growth and sweeps.
fn scrape_beside_load(resets: bool, scrapes: usize) {
    let (shared, stop) = (shared("-t 3 -m 20 -o hashpower=12"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (shared, stop) = (&shared, &stop);
            scope.spawn(move || {
                let (mut client, mut rng) =
                    (Client::of_worker(shared, worker), fastrand::Rng::with_seed(worker as u64));
                while !stop.load(Relaxed) {
                    use_server(&mut client, &mut rng);
                }
            });
        }
        scope.spawn(|| move_pages(&shared, fastrand::Rng::with_seed(9), &stop));
        scope.spawn(|| (0..).take_while(|_| !stop.load(Relaxed)).for_each(|round| work(&shared, round)));
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("items are evicted", || shared.cache.store.classes(62).iter().any(|class| class.counts.evicted > 0));
            let (mut exposition, mut before) = (Exposition::default(), BTreeMap::new());
            let (mut n, mut moves, begun) = (0, 0, Instant::now());
            while n < scrapes || moves < MOVES {
                assert!(begun.elapsed() < DEADLINE, "{n} scrapes, {moves} changes of pages");
                let scrape = parser::parse(&text(&mut exposition, &shared));
                assert_sums(&scrape);
                let pages = |scrape: &Parsed| scrape.get("memcached_slab_current_pages").map(|f| f.samples.clone());
                moves += usize::from(pages(&before) != pages(&scrape));
                n += 1;
                if resets && n % 3 == 0 {
                    shared.reset_stats();
                } else if !resets {
                    assert_no_fall(&before, &scrape);
                }
                before = scrape;
            }
        }));
        stop.store(true, Relaxed);
        ended.unwrap();
    });
}

#[test]
fn sums_fit_and_counters_only_grow_beside_load() {
    scrape_beside_load(false, 300);
}

#[test]
fn sums_fit_while_statistics_are_reset() {
    scrape_beside_load(true, 300);
}

#[test]
fn connections_are_counted_by_state() {
    use oxcached::proto::{ConnInfo, ConnState};
    let shared = shared("");
    // More than one hold of the lock counts.
    for fd in 0..1000 {
        let state = if fd % 10 == 0 { ConnState::Nread } else { ConnState::Read };
        shared.conns.insert(fd, std::sync::Arc::new(ConnInfo::new(None, None, state, 62)));
    }
    let scrape = super::scrape(&shared);
    let of = |state| sum(&scrape, "oxcached_connections", &[("state", state)]);
    assert_eq!([of("read"), of("nread"), of("write")], [900.0, 100.0, 0.0]);
    assert_eq!(sum(&scrape, "oxcached_connections", &[]), 1000.0);
}

#[test]
fn overhead_has_its_parts() {
    let (shared, _) = super::busy("-m 64");
    let scrape = super::scrape(&shared);
    let of = |part| sum(&scrape, "oxcached_store_overhead_bytes", &[("part", part)]);
    let store = shared.cache.store;
    assert_eq!(of("index"), store.index_view().1 as f64);
    assert_eq!(of("pages"), (store.malloced() - store.bytes()) as f64);
    assert!(of("queue") > 0.0, "items are in queues");
}

#[test]
fn latencies_are_histograms() {
    let (shared, _) = super::busy("");
    let is_latency = |name: &&str| name.contains("_duration_") || name.contains("_turn_commands");
    assert!(!super::scrape(&shared).keys().any(|name| is_latency(&name.as_str())), "nothing is measured");
    let latency = &shared.stats.latency;
    latency.open().unwrap();
    for (nanos, commands) in [(900, 1), (1024, 1), (3_000_000, 1), (1 << 35, 70)] {
        latency.workers[0].turn(TurnClass::of(CommandKind::Get, commands), nanos, commands);
    }
    latency.workers[0].command(CommandKind::MetaGet, 700);
    shared.reset_stats();
    let scrape = super::scrape(&shared);
    let of = |name: &str, labels: &[(&str, &str)]| {
        let family = name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count");
        scrape[family].samples[&parser::Series::new(name, labels)]
    };
    let bucket = |le| of("oxcached_turn_duration_seconds_bucket", &[("class", "get"), ("le", le)]);
    let bounds = ["0.000001024", "0.000002048", "0.002097152", "0.004194304", "+Inf"];
    assert_eq!(bounds.map(bucket), [1.0, 2.0, 2.0, 3.0, 3.0], "a bound of its own counts above");
    assert_eq!(of("oxcached_turn_duration_seconds_sum", &[("class", "get")]), 0.003_001_924);
    assert_eq!(of("oxcached_turn_duration_seconds_count", &[("class", "set")]), 0.0);
    assert_eq!(of("oxcached_turn_duration_seconds_bucket", &[("class", "batch"), ("le", "8.589934592")]), 0.0);
    let bucket = |le| of("oxcached_turn_commands_bucket", &[("le", le)]);
    assert_eq!(["1", "63", "127", "+Inf"].map(bucket), [3.0, 3.0, 4.0, 4.0]);
    assert_eq!(of("oxcached_turn_commands_sum", &[]), 73.0);
    let command = [("command", "mg"), ("le", "0.000001024")];
    assert_eq!(of("oxcached_command_duration_seconds_bucket", &command), 1.0);
    let kinds = scrape["oxcached_command_duration_seconds"].samples.keys();
    assert!(kinds.clone().all(|series| series.labels["command"] == "mg"), "kinds that there were");
}

#[test]
fn hot_keys_are_ranked_without_their_names() {
    let shared = shared("-t 1 -o hotkeys,hotkeys_sample=1");
    let mut client = Client::new(&shared);
    client.ask(b"set planted 0 0 1\r\nx\r\n");
    let [enabled, share] = ["oxcached_hotkeys_enabled", "oxcached_hotkey_share"];
    shared.clock.advance(1);
    client.ask(&b"get planted\r\n".repeat(300));
    (0..100).for_each(|n| _ = client.ask(format!("get other{n}\r\n").as_bytes()));
    let scrape = super::scrape(&shared);
    assert_eq!((sum(&scrape, enabled, &[]), scrape.contains_key(share)), (1.0, false), "no window has ended");
    shared.clock.advance(10);
    let text = text(&mut Exposition::default(), &shared);
    assert!(!text.contains("planted"));
    let scrape = parser::parse(&text);
    let of = |by, rank| sum(&scrape, share, &[("by", by), ("rank", rank)]);
    assert_eq!([of("reads", "1"), of("reads", "2"), of("reads", "11")], [0.75, 0.0025, 0.0]);
    assert_eq!([of("misses", "1"), of("misses", "10")], [0.01, 0.01]);
    shared.end_hotkeys();
    let scrape = super::scrape(&shared);
    assert_eq!((sum(&scrape, enabled, &[]), scrape.contains_key(share)), (0.0, false));
}

#[test]
fn a_scrape_of_sixty_classes() {
    let shared = shared("-t 1 -m 256 -f 1.12");
    let mut client = Client::new(&shared);
    for len in (1..90_000).step_by(10) {
        client.ask(&[format!("set k{len} 0 0 {len}\r\n").as_bytes(), &vec![b'v'; len], b"\r\nget k1\r\n"].concat());
    }
    let (mut exposition, mut text) = (Exposition::default(), String::new());
    let mut render = |text: &mut String| {
        text.clear();
        exposition.render(&shared, &AdminCounters::default(), text);
    };
    render(&mut text);
    let (begun, first, capacity) = (Instant::now(), text.len(), text.capacity());
    render(&mut text);
    let time = begun.elapsed();
    let classes = parser::parse(&text)["memcached_slab_current_pages"].samples.len();
    println!("{classes} classes: {first} bytes, {} lines, in {time:?}", text.lines().count());
    assert!((55..=63).contains(&classes), "{classes}");
    assert_eq!(text.capacity(), capacity, "the buffer is reused");
    assert!(text.len() < 512 << 10, "{} bytes", text.len());
}
