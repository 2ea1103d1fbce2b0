//! Page moves between slab classes: items stay intact, and no client is delayed.
//!
//! Each test is a short sequence through a `Session`, with the slices of a move called directly; `stress` does the
//! same with threads.

use crate::support::script::{self, in_every_cut};
use crate::support::{self, Client, assert_empty, shared};
use oxcached::proto::Shared;
use oxcached::store::{Move, MoveCounts, Progress};
use std::sync::Arc;

pub const STORED: &[u8] = b"STORED\r\n";

pub fn set(key: &str, len: usize, seed: usize) -> Vec<u8> {
    let mut request = format!("set {key} {seed} 0 {len}\r\n").into_bytes();
    request.extend(value(len, seed));
    request.extend_from_slice(b"\r\n");
    request
}

fn value(len: usize, seed: usize) -> impl Iterator<Item = u8> {
    (0..len).map(move |at| b'a' + ((at + seed) % 23) as u8)
}

pub fn hit(key: &str, len: usize, seed: usize) -> Vec<u8> {
    let mut reply = format!("VALUE {key} {seed} {len}\r\n").into_bytes();
    reply.extend(value(len, seed));
    reply.extend_from_slice(b"\r\nEND\r\n");
    reply
}

pub fn ask(client: &mut Client, request: &str) -> String {
    String::from_utf8(client.ask(request.as_bytes())).unwrap()
}

/// Steps a move until it waits or ends.
pub fn step(shared: &Shared, job: &mut Move) -> Progress {
    loop {
        match shared.cache.store.step_move(job, shared.clock.now()) {
            Progress::More => {}
            other => return other,
        }
    }
}

/// Moves a page without readers or uploads; returns its counts.
#[track_caller]
fn move_page(shared: &Shared, src: usize, dst: usize) -> MoveCounts {
    let mut job = shared.cache.store.begin_move(src, dst).expect("a page to move");
    assert_eq!(step(shared, &mut job), Progress::Done);
    job.take_counts()
}

/// The class with the most pages.
pub fn fullest(shared: &Shared) -> usize {
    let views = shared.cache.store.classes(shared.clock.now());
    (1..views.len()).max_by_key(|&class| views[class].pages).unwrap()
}

pub fn evictions(shared: &Shared) -> u64 {
    shared.cache.store.classes(shared.clock.now()).iter().map(|view| view.counts.evicted).sum()
}

/// A server with `count` values of `len` bytes and more than a page of free chunks for that size.
pub fn filled(args: &str, count: usize, len: usize) -> (Arc<Shared>, Client) {
    let shared = shared(args);
    let mut client = Client::new(&shared);
    for n in 0..count {
        assert_eq!(client.ask(&set(&format!("k{n}"), len, n)), STORED);
    }
    let (store, class) = (shared.cache.store, fullest(&shared));
    let (pages, mut more) = (store.page_count(class), 0);
    while store.page_count(class) < pages + 2 {
        assert_eq!(client.ask(&set(&format!("more{more}"), len, 0)), STORED);
        more += 1;
    }
    for n in 0..more {
        assert_eq!(ask(&mut client, &format!("delete more{n}\r\n")), "DELETED\r\n");
    }
    (shared, client)
}

#[track_caller]
fn all_hit(client: &mut Client, count: usize, len: usize) {
    all_hit_from(client, 0, count, len);
}

#[track_caller]
pub fn all_hit_from(client: &mut Client, first: usize, count: usize, len: usize) {
    for n in first..count {
        let key = format!("k{n}");
        assert!(client.ask(format!("get {key}\r\n").as_bytes()) == hit(&key, len, n), "{key} of {len} bytes");
    }
}

#[test]
fn values_of_every_kind_are_rescued() {
    for (args, count, len) in [
        ("", 40_000, 10),
        ("", 3000, 1000),
        ("", 700, 4096),
        ("", 700, 4097),
        ("", 40, 70_000),
        ("-C", 700, 4096),
        ("-o slab_chunk_max=16", 150, 30_000),
        ("-o slab_chunk_max=4", 400, 11_000),
        ("-I 8m", 4, 2_000_000),
    ] {
        let (shared, mut client) = filled(&format!("-m 100 {args}"), count, len);
        let items = shared.cache.store.items();
        let before: Vec<String> =
            (0..count).step_by(17).map(|n| ask(&mut client, &format!("mg k{n} c t f s\r\n"))).collect();
        let class = fullest(&shared);
        let mut rescued = 0;
        for turn in 0..shared.cache.store.page_count(class) + 2 {
            let counts = move_page(&shared, class, if turn % 2 == 0 { 0 } else { class });
            rescued += counts.rescues + counts.chunk_rescues;
            assert_eq!((counts.busy_nomem, counts.busy_deletes), (0, 0), "{args} {len}");
            // The page returns: never more than one page short.
            if turn % 2 == 0 {
                move_page(&shared, 0, class);
            }
        }
        assert!(rescued > 0, "{args} {len}");
        assert_eq!((shared.cache.store.items(), evictions(&shared)), (items, 0));
        let after: Vec<String> =
            (0..count).step_by(17).map(|n| ask(&mut client, &format!("mg k{n} c t f s\r\n"))).collect();
        assert_eq!(before, after, "{args} {len}");
        all_hit(&mut client, count, len);
        for n in 0..count {
            assert_eq!(ask(&mut client, &format!("delete k{n}\r\n")), "DELETED\r\n");
        }
        assert_empty(&shared);
    }
}

/// A class other than the fullest that has a chunk of each of `count` items.
fn class_of_heads(shared: &Shared, count: usize) -> usize {
    let (views, chunks) = (shared.cache.store.classes(shared.clock.now()), fullest(shared));
    (1..views.len()).find(|&class| class != chunks && views[class].used_chunks == count as u64).unwrap()
}

#[test]
fn heads_of_chains_are_rescued_and_keep_their_places_in_the_queues() {
    for mode in ["segmented", "flat"] {
        let shared = shared("-m 16 -o slab_chunk_max=16");
        let (store, mut client) = (shared.cache.store, Client::new(&shared));
        assert_eq!(ask(&mut client, &format!("lru mode {mode}\r\n")), "OK\r\n");
        let (count, len) = (200, 50_000);
        for n in 0..count {
            assert_eq!(client.ask(&set(&format!("k{n}"), len, n)), STORED);
            if n == count / 2 {
                // Some of them leave the ring of new items.
                all_hit(&mut client, 20, len);
                shared.clock.advance(100);
                (0..1000).for_each(|_| _ = store.tend(shared.clock.now()));
            }
        }
        let class = class_of_heads(&shared, count);
        // A page beside that of the heads, which can take them.
        let (pages, mut small) = (store.page_count(class), 0);
        while store.page_count(class) == pages {
            let len = store.sizes().class(class).memcached_size - 80;
            assert_eq!(client.ask(&set(&format!("small{small}"), len, 0)), STORED);
            small += 1;
        }
        (0..small).for_each(|n| drop(ask(&mut client, &format!("delete small{n}\r\n"))));
        let before = (store.items(), evictions(&shared));
        let mut rescued = 0;
        for _ in 0..4 {
            rescued += move_page(&shared, class, 0).rescues;
            move_page(&shared, 0, class);
        }
        assert!(rescued >= count as u64, "{mode}: {rescued} of {count} heads");
        assert_eq!((store.items(), evictions(&shared)), before);
        all_hit(&mut client, count, len);
        // They leave for newer ones that are as popular, which one that no queue names would not.
        for n in 0..10 * count {
            let key = format!("new{n}");
            assert_eq!(client.ask(&set(&key, len, 0)), STORED);
            (0..3).for_each(|_| assert!(client.ask(format!("get {key}\r\n").as_bytes()) == hit(&key, len, 0), "{key}"));
        }
        for n in 0..count {
            assert!(ask(&mut client, &format!("get k{n}\r\n")) == "END\r\n", "{mode}: k{n} is there");
        }
        (0..10 * count).for_each(|n| drop(ask(&mut client, &format!("delete new{n}\r\n"))));
        assert_empty(&shared);
    }
}

#[test]
fn numbers_and_expiry_times_survive_a_move() {
    let (shared, mut client) = filled("-m 100", 40_000, 10);
    assert_eq!(ask(&mut client, "set n 0 100 10\r\n1000000000\r\n"), "STORED\r\n");
    assert_eq!(ask(&mut client, "incr n 5\r\n"), "1000000005\r\n");
    let class = fullest(&shared);
    for _ in 0..3 {
        move_page(&shared, class, 0);
        move_page(&shared, 0, class);
    }
    assert_eq!(ask(&mut client, "incr n 5\r\n"), "1000000010\r\n");
    assert_eq!(ask(&mut client, "mg n t\r\n"), "HD t100\r\n");
    shared.clock.advance(100);
    assert_eq!(ask(&mut client, "get n\r\n"), "END\r\n");
}

#[test]
fn a_pinned_value_is_rescued_and_its_page_waits_for_the_reader() {
    let (shared, mut client) = filled("-m 100", 40, 70_000);
    let class = fullest(&shared);
    let held = client.ask_and_hold(b"get k0\r\n");
    let mut job = shared.cache.store.begin_move(class, 0).unwrap();
    assert_eq!(step(&shared, &mut job), Progress::Waits);
    assert_eq!(job.take_counts().last_busy_status, Some("busy_floating"));
    all_hit(&mut client, 40, 70_000);
    assert_eq!(client.ask(&set("k0", 70_000, 99)), STORED);
    assert!(held.read() == hit("k0", 70_000, 0), "the reader gets the value of its request");
    assert_eq!(step(&shared, &mut job), Progress::Done);
    assert!(client.ask(b"get k0\r\n") == hit("k0", 70_000, 99));
}

#[test]
fn a_pinned_chain_stays_until_the_reader_is_done() {
    let (shared, mut client) = filled("-m 100 -o slab_chunk_max=16", 150, 30_000);
    let class = fullest(&shared);
    let held = client.ask_and_hold(b"get k0\r\n");
    let mut job = shared.cache.store.begin_move(class, 0).unwrap();
    assert_eq!(step(&shared, &mut job), Progress::Waits);
    let counts = job.take_counts();
    assert_eq!(counts.last_busy_status, Some("busy_active"));
    assert!(counts.chunk_rescues > 0 && counts.busy_items > 0, "{counts:?}");
    assert!(held.read() == hit("k0", 30_000, 0));
    assert_eq!(step(&shared, &mut job), Progress::Done);
    all_hit(&mut client, 150, 30_000);
}

#[test]
fn an_incomplete_upload_holds_its_page() {
    for (args, len) in [("", 70_000), ("-o slab_chunk_max=16", 30_000)] {
        let (shared, mut client) = filled(&format!("-m 100 {args}"), 40, len);
        let mut slow = Client::new(&shared);
        let request = set("slow", len, 7);
        slow.feed(&request[..len / 2]);
        for n in 40..300 {
            assert_eq!(client.ask(&set(&format!("k{n}"), len, n)), STORED);
        }
        for n in 150..300 {
            assert_eq!(ask(&mut client, &format!("delete k{n}\r\n")), "DELETED\r\n");
        }
        let class = fullest(&shared);
        let mut job = loop {
            let mut job = shared.cache.store.begin_move(class, 0).expect("the page that the value arrives on");
            if step(&shared, &mut job) == Progress::Waits {
                break job;
            }
        };
        assert_eq!(job.take_counts().last_busy_status, Some("busy_floating"));
        assert_eq!(slow.ask(&request[len / 2..]), STORED);
        assert_eq!(step(&shared, &mut job), Progress::Done);
        assert!(client.ask(b"get slow\r\n") == hit("slow", len, 7));
        all_hit(&mut client, 150, len);
    }
}

#[test]
fn without_memory_items_are_evicted() {
    for (args, len) in [("", 1000), ("", 70_000), ("-o slab_chunk_max=16", 30_000)] {
        let shared = shared(&format!("-m 8 {args}"));
        let mut client = Client::new(&shared);
        let mut count = 0;
        while evictions(&shared) == 0 {
            assert_eq!(client.ask(&set(&format!("k{count}"), len, count)), STORED);
            count += 1;
        }
        let class = fullest(&shared);
        let pages = shared.cache.store.page_count(class);
        let counts = move_page(&shared, class, 0);
        assert!(counts.busy_nomem > 0 && evictions(&shared) > 1, "{counts:?}");
        assert_eq!(shared.cache.store.page_count(class), pages - 1);
        let hits = (0..count).filter(|n| {
            let key = format!("k{n}");
            let reply = client.ask(format!("get {key}\r\n").as_bytes());
            assert!(reply == b"END\r\n" || reply == hit(&key, len, *n));
            reply != b"END\r\n"
        });
        assert!(hits.count() > count / 2, "{args} {len}");
        while shared.cache.store.begin_move(class, 0).is_some_and(|mut job| step(&shared, &mut job) == Progress::Done) {
        }
        assert_eq!(shared.cache.store.page_count(class), 1);
        ask(&mut client, "flush_all\r\n");
        support::sweep(shared.cache.store, shared.clock.now());
        assert_empty(&shared);
    }
}

#[test]
fn unread_items_are_evicted_with_their_page() {
    for (args, len) in [("", 1000), ("", 70_000), ("-o slab_chunk_max=16", 30_000)] {
        let shared = shared(&format!("-m 8 {args}"));
        let mut client = Client::new(&shared);
        let mut count = 0;
        while evictions(&shared) == 0 {
            assert_eq!(client.ask(&set(&format!("k{count}"), len, count)), STORED);
            count += 1;
            shared.cache.store.tend(shared.clock.now());
        }
        move_page(&shared, fullest(&shared), 0);
        let evicted = evictions(&shared);
        let oldest = (0..evicted).filter(|n| ask(&mut client, &format!("mg k{n}\r\n")) == "EN\r\n").count() as u64;
        // The newest item may have the chunk of the first evicted one, so a move may find another victim.
        assert!(oldest + 2 >= evicted, "{args} {len}: {oldest} of {evicted}");
    }
}

#[test]
fn expired_items_are_not_rescued() {
    let (shared, mut client) = filled("-m 100", 3000, 1000);
    let class = fullest(&shared);
    ask(&mut client, "flush_all\r\n");
    let counts = move_page(&shared, class, 0);
    assert_eq!(counts.rescues, 0);
    assert!(shared.cache.store.items() < 2900);
}

#[test]
fn a_cancelled_move_changes_nothing() {
    for (args, count, len) in [("", 3000, 1000), ("-o slab_chunk_max=16", 150, 30_000)] {
        let (shared, mut client) = filled(&format!("-m 100 {args}"), count, len);
        let class = fullest(&shared);
        let pages = shared.cache.store.page_count(class);
        for slices in [0, 1, 2, 5] {
            let mut job = shared.cache.store.begin_move(class, 0).unwrap();
            for _ in 0..slices {
                shared.cache.store.step_move(&mut job, shared.clock.now());
            }
            shared.cache.store.cancel_move(job);
            // An empty page has gone to the pool.
            if shared.cache.store.free_pages() == 1 {
                move_page(&shared, 0, class);
            }
            assert_eq!((shared.cache.store.page_count(class), evictions(&shared)), (pages, 0));
        }
        all_hit(&mut client, count, len);
        for n in 0..count {
            assert_eq!(ask(&mut client, &format!("delete k{n}\r\n")), "DELETED\r\n");
        }
        assert_empty(&shared);
    }
}

#[test]
fn a_page_of_the_pool_is_used_before_memory_grows() {
    let (shared, mut client) = filled("-m 100", 3000, 1000);
    let store = shared.cache.store;
    let class = fullest(&shared);
    let malloced = store.malloced();
    for n in 0..3000 {
        ask(&mut client, &format!("delete k{n}\r\n"));
    }
    while store.page_count(class) > 1 {
        move_page(&shared, class, 0);
    }
    assert!(store.free_pages() > 0);
    assert_eq!(store.malloced(), malloced, "the pool's pages have their memory");
    for n in 0..20 {
        assert_eq!(client.ask(&set(&format!("l{n}"), 70_000, n)), STORED);
    }
    assert_eq!(store.malloced(), malloced);
    for n in 0..20 {
        assert!(client.ask(format!("get l{n}\r\n").as_bytes()) == hit(&format!("l{n}"), 70_000, n));
    }
}

#[test]
fn assigned_but_unused_pages_can_be_moved_again() {
    let (shared, _client) = filled("-m 100", 3000, 1000);
    let (store, class) = (shared.cache.store, fullest(&shared));
    for _ in 0..2 {
        move_page(&shared, class, 1);
    }
    assert_eq!(store.page_count(1), 2);
    move_page(&shared, 1, 0);
    assert!(store.begin_move(1, 0).is_none(), "its last page stays");
    assert_eq!((store.page_count(1), store.free_pages()), (1, 1));
}

#[test]
fn pages_above_a_lowered_limit_are_released() {
    let (shared, mut client) = filled("-m 16", 150, 70_000);
    let store = shared.cache.store;
    let class = fullest(&shared);
    assert_eq!(ask(&mut client, "cache_memlimit 8\r\n"), "OK\r\n");
    while store.is_shrinking() {
        move_page(&shared, class, 0);
        while store.release_page() {}
    }
    assert!(store.malloced() <= 8 << 20, "{}", store.malloced());
    assert_eq!(store.free_pages(), 0);
    assert_eq!(ask(&mut client, "cache_memlimit 64\r\n"), "OK\r\n");
    for n in 0..150 {
        assert_eq!(client.ask(&set(&format!("k{n}"), 70_000, n)), STORED);
    }
    all_hit(&mut client, 150, 70_000);
    assert!(store.malloced() > 8 << 20);
}

#[test]
fn reassign_answers_as_memcached_does() {
    in_every_cut(
        || filled("-m 100", 3000, 1000).1,
        |talk| {
            talk.script(
                r"
                > slabs reassign a b
                CLIENT_ERROR bad command line format
                > slabs reassign 1
                ERROR
                > slabs reassign 5 5
                SAME src and dst class are identical
                > slabs reassign -1 -1
                SAME src and dst class are identical
                > slabs reassign -5 1
                BADCLASS invalid src or dst class id
                > slabs reassign 1 64
                BADCLASS invalid src or dst class id
                > slabs reassign 2 1
                NOSPARE source class has no spare pages
                > slabs reassign 0 1
                NOSPARE source class has no spare pages
                ",
            );
            // No thread serves requests here, so the first one stays pending.
            let class = fullest(&talk.peer().shared);
            talk.expect(&format!("slabs reassign {class} 1\r\n"), "OK\r\n");
            talk.expect("slabs reassign -1 1\r\n", "BUSY currently processing reassign request\r\n");
        },
    );
    script::run(
        "-m 100 -o no_slab_reassign",
        r"
        > slabs reassign 1 2
        CLIENT_ERROR slab reassignment disabled
        ",
    );
}

#[test]
fn without_evictions_only_free_memory_moves() {
    let shared = shared("-m 8 -M");
    let mut client = Client::new(&shared);
    let mut count = 0;
    while client.ask(&set(&format!("k{count}"), 1000, count)) == STORED {
        count += 1;
    }
    let class = fullest(&shared);
    assert!(!shared.cache.store.can_spare(class));
    assert!(ask(&mut client, &format!("slabs reassign {class} 1\r\n")).starts_with("NOSPARE"));
    for n in 0..count / 2 {
        ask(&mut client, &format!("delete k{n}\r\n"));
    }
    assert!(shared.cache.store.can_spare(class));
    move_page(&shared, class, 0);
    assert_eq!(evictions(&shared), 0);
    for n in count / 2..count {
        let key = format!("k{n}");
        assert!(client.ask(format!("get {key}\r\n").as_bytes()) == hit(&key, 1000, n));
    }
}

/// The mover's thread does what the tests above do by hand.
#[test]
fn the_thread_serves_requests_and_the_limit() {
    let (shared, mut client) = filled("-m 100 -o no_slab_automove", 3000, 1000);
    let source = Arc::clone(&shared);
    let store = shared.cache.store;
    let thread =
        oxcached::maint::MoverThread::start(store, Arc::clone(&shared.mover), move || source.tuning(), || 0).unwrap();
    let class = fullest(&shared);
    let pages = store.page_count(class);
    // The thread registers itself first; its first check finds a request made before.
    while ask(&mut client, &format!("slabs reassign {class} 0\r\n")) != "OK\r\n" {
        std::thread::yield_now();
    }
    while shared.mover.figures().moved < 1 {
        std::thread::yield_now();
    }
    assert_eq!((store.page_count(class), store.free_pages()), (pages - 1, 1));
    all_hit(&mut client, 3000, 1000);
    assert_eq!(ask(&mut client, "stats reset\r\n"), "RESET\r\n");
    assert_eq!(shared.mover.figures().moved, 0);
    thread.stop();
}

/// No request for a page: ghost hits cause the move.
#[test]
fn the_thread_moves_pages_to_classes_with_ghost_hits() {
    let (shared, mut client) = filled("-m 16", 4000, 1000);
    let source = Arc::clone(&shared);
    let store = shared.cache.store;
    let old = fullest(&shared);
    // Fills the remaining memory, so that a second class gets a single page.
    let mut more = 0;
    while evictions(&shared) == 0 {
        assert_eq!(client.ask(&set(&format!("more{more}"), 1000, 0)), STORED);
        more += 1;
    }
    let pages = store.page_count(old);
    // Tending gives the class COLD items; their age shows that they are not needed.
    for _ in 0..2 {
        while store.tend(shared.clock.now()) {}
    }
    shared.clock.advance(1000);
    let thread =
        oxcached::maint::MoverThread::start(store, Arc::clone(&shared.mover), move || source.tuning(), || 0).unwrap();
    let mut rng = fastrand::Rng::with_seed(5);
    while store.page_count(old) > pages - 2 {
        let key = format!("small{}", rng.u32(..30_000));
        if client.ask(format!("get {key}\r\n").as_bytes()) == b"END\r\n" {
            assert_eq!(client.ask(&set(&key, 60, 1)), STORED);
        }
    }
    assert!(shared.mover.figures().moved >= 1);
    thread.stop();
}

#[test]
fn an_incomplete_upload_keeps_only_its_own_page() {
    let shared = shared("-m 16 -o no_slab_automove");
    let (store, mut client, mut slow) = (shared.cache.store, Client::new(&shared), Client::new(&shared));
    // On the oldest page of its class.
    slow.feed(format!("set slow 0 0 1000\r\n{}", "s".repeat(500)).as_bytes());
    for n in 0..16000 {
        assert_eq!(client.ask(&set(&format!("k{n}"), 1000, n)), STORED);
    }
    let class = fullest(&shared);
    assert!(store.page_count(class) > 12);
    let source = Arc::clone(&shared);
    let thread =
        oxcached::maint::MoverThread::start(store, Arc::clone(&shared.mover), move || source.tuning(), || 0).unwrap();
    assert_eq!(ask(&mut client, "cache_memlimit 10\r\n"), "OK\r\n");
    let begun = std::time::Instant::now();
    while store.page_count(class) > 10 {
        assert!(begun.elapsed().as_secs() < 20, "no page leaves: {:?}", shared.mover.figures());
        std::thread::yield_now();
    }
    thread.stop();
    assert_eq!(slow.ask(format!("{}\r\n", "s".repeat(500)).as_bytes()), STORED);
    let hit = format!("VALUE slow 0 1000\r\n{}\r\nEND\r\n", "s".repeat(1000));
    assert_eq!(ask(&mut client, "get slow\r\n"), hit);
}
