//! Pages laid out for the stored sizes: more items fit where all are short, and none is lost or refused where they
//! are not, or no longer.

use crate::support::{self, Client, assert_empty, shared};
use oxcached::proto::Shared;
use oxcached::store::{PAGE_BYTES, Progress};

fn set(client: &mut Client, n: usize, len: usize) {
    let mut request = format!("set key{n:017} 0 0 {len}\r\n").into_bytes();
    request.resize(request.len() + len, b'a' + (n % 23) as u8);
    request.extend_from_slice(b"\r\n");
    assert_eq!(client.ask(&request), b"STORED\r\n", "item {n} of {len} bytes");
}

/// Whether the item is present; a present value must be right.
fn hit(client: &mut Client, n: usize, len: usize) -> bool {
    let reply = client.ask(format!("get key{n:017}\r\n").as_bytes());
    if reply == b"END\r\n" {
        return false;
    }
    let head = format!("VALUE key{n:017} 0 {len}\r\n").into_bytes();
    let value = &reply[head.len()..head.len() + len];
    assert!(reply.starts_with(&head) && value.iter().all(|&byte| byte == b'a' + (n % 23) as u8));
    true
}

fn evictions(shared: &Shared) -> u64 {
    shared.cache.store.classes(shared.clock.now()).iter().map(|view| view.counts.evicted).sum()
}

/// Number of items with values of `len` bytes and keys of 20 that fit before the first eviction.
fn capacity(shared: &Shared, client: &mut Client, len: usize) -> usize {
    let mut count = 0;
    while evictions(shared) == 0 {
        set(client, count, len);
        count += 1;
    }
    count - 1
}

/// Resizes pages of class `class` until none is due; returns how many.
fn resize(shared: &Shared, class: usize) -> usize {
    let store = shared.cache.store;
    let mut pages = 0;
    while let Some(mut job) = store.begin_resize(class) {
        let ended = std::iter::repeat_with(|| store.step_move(&mut job, shared.clock.now()));
        assert_eq!(ended.into_iter().find(|progress| *progress != Progress::More), Some(Progress::Done));
        pages += 1;
        assert!(pages < 1000, "it comes to an end");
    }
    pages
}

#[test]
fn items_of_one_size_are_packed() {
    for (len, bytes) in [(10, 44), (100, 132), (1000, 1040)] {
        let shared = shared("-m 16");
        let count = capacity(&shared, &mut Client::new(&shared), len);
        // All but the first page have as many items as fit; the classes' own first page is one of the sixteen.
        let dense = 15 * (PAGE_BYTES / bytes);
        assert!((dense..dense + PAGE_BYTES / bytes).contains(&count), "{len}: {count}");
    }
}

#[test]
fn every_page_is_fitted_when_all_items_are_short() {
    let shared = shared("-m 4");
    let mut client = Client::new(&shared);
    let row = |class: usize| shared.cache.store.classes(shared.clock.now())[class];
    (0..100_000).for_each(|n| set(&mut client, n, 100));
    assert_eq!((row(4).pages, resize(&shared, 4)), (4, 1));
    assert_eq!(row(4).total_chunks as usize, 4 * (PAGE_BYTES / 132));
    // The first item that is too long is still stored.
    set(&mut client, 1, 120);
    assert!(hit(&mut client, 1, 120));
    assert_eq!((row(4).pages, row(5).items, resize(&shared, 4)), (4, 1, 0));
    // So are many.
    (0..100_000).for_each(|n| set(&mut client, n, 120 - n % 20));
    assert!(resize(&shared, 4) > 0);
    (0..100_000).for_each(|n| set(&mut client, n, 120 - n % 20));
    assert_eq!((row(4).pages, row(5).pages), (4, 1));
    assert!(row(4).items > 27_000, "{}", row(4).items);
}

#[test]
fn a_class_without_maximum_size_pages_adapts_to_longer_items() {
    let shared = shared("-m 4");
    let mut client = Client::new(&shared);
    let row = |class: usize| shared.cache.store.classes(shared.clock.now())[class];
    (0..60_000).for_each(|n| set(&mut client, n, 100));
    assert_eq!(resize(&shared, 4), 1);
    (60_000..100_000).for_each(|n| set(&mut client, n, 100));
    (100_000..130_000).for_each(|n| set(&mut client, n, 109));
    assert!(resize(&shared, 4) > 0);
    (130_000..200_000).for_each(|n| set(&mut client, n, 109));
    assert!(row(4).items > 25_000 && row(5).items < 8000, "{} {}", row(4).items, row(5).items);
    assert!(hit(&mut client, 199_999, 109));
}

#[test]
fn long_and_short_items_make_room_for_each_other() {
    for share in [2, 5, 10, 50, 200] {
        let shared = shared("-m 8");
        let mut client = Client::new(&shared);
        let len = |n: usize| if n.is_multiple_of(share) { 112 } else { 90 };
        // Short, mixed, long, short again: several times what fits.
        for n in 0..300_000 {
            let len = match n / 60_000 {
                0 | 4 => 90,
                2 => 112,
                _ => len(n),
            };
            set(&mut client, n, len);
        }
        let hits = (240_000..300_000).filter(|&n| hit(&mut client, n, 90)).count();
        assert!(hits > 30_000, "{share}: {hits}");
        client.ask(b"flush_all\r\n");
        support::sweep(shared.cache.store, shared.clock.now());
        assert_empty(&shared);
    }
}

#[test]
fn pages_are_resized_when_sizes_change() {
    let shared = shared("-m 16");
    let mut client = Client::new(&shared);
    let long = capacity(&shared, &mut client, 113);
    let class = 4;
    assert_eq!(resize(&shared, class), 1, "the first page, which was cut before anything was known");
    for n in 0..long {
        set(&mut client, n, 84);
    }
    let pages = resize(&shared, class);
    assert!(pages >= 12, "{pages}");
    let before = evictions(&shared);
    for n in 0..long + long / 6 {
        set(&mut client, n, 84);
    }
    assert!(evictions(&shared) - before < long as u64 / 20, "there is room for more of them");
    let hits = (0..long + long / 6).filter(|&n| hit(&mut client, n, 84)).count();
    assert!(hits > long + long / 10, "{hits} of {long} and a sixth");

    // Back again, then to a size between the two.
    for n in 0..2 * long {
        set(&mut client, n, 113);
    }
    assert!(resize(&shared, class) >= 12);
    for n in 0..2 * long {
        set(&mut client, n, 100);
    }
    assert!(resize(&shared, class) >= 12);
    for n in 0..2 * long {
        set(&mut client, n, 100);
    }
    let hits = (0..2 * long).filter(|&n| hit(&mut client, n, 100)).count();
    assert!(hits > long + long / 50, "{hits} of {long}");
    client.ask(b"flush_all\r\n");
    support::sweep(shared.cache.store, shared.clock.now());
    assert_empty(&shared);
}

#[test]
fn a_page_that_is_being_filled_can_be_moved() {
    let shared = shared("-m 16");
    let mut client = Client::new(&shared);
    (0..20_000).for_each(|n| set(&mut client, n, 100));
    let store = shared.cache.store;
    let class = 4;
    let (pages, kept) = (store.page_count(class), store.items());
    // The last move but one finds the page with unused chunks.
    for turn in 0..pages - 1 {
        let mut job = store.begin_move(class, 0).unwrap();
        if turn % 2 == 0 {
            store.step_move(&mut job, shared.clock.now());
            store.cancel_move(job);
            job = store.begin_move(class, 0).unwrap();
        }
        while store.step_move(&mut job, shared.clock.now()) != Progress::Done {}
    }
    assert_eq!((store.page_count(class), store.free_pages()), (1, pages - 1));
    assert!(store.items() > 0 && store.items() < kept);
    (0..20_000).for_each(|n| set(&mut client, n, 100));
    assert!((0..20_000).all(|n| hit(&mut client, n, 100)));
    client.ask(b"flush_all\r\n");
    support::sweep(store, shared.clock.now());
    assert_empty(&shared);
}

#[test]
fn the_only_maximum_size_page_can_be_moved() {
    let shared = shared("-m 8");
    let mut client = Client::new(&shared);
    // The first page has maximum-size chunks and gets long items, which are read; all others have fitted chunks.
    (0..3000).for_each(|n| set(&mut client, n, 113));
    (0..2).for_each(|_| assert!((0..3000).all(|n| hit(&mut client, n, 113))));
    let mut next = 3000;
    while evictions(&shared) == 0 {
        set(&mut client, next, 84);
        next += 1;
    }
    let (store, class, before) = (shared.cache.store, 4, evictions(&shared));
    let mut job = store.begin_move(class, 0).unwrap();
    let mut slices = 0;
    while store.step_move(&mut job, shared.clock.now()) != Progress::Done {
        // Stores continue meanwhile.
        set(&mut client, next, 84);
        next += 1;
        slices += 1;
        assert!(slices < 20_000, "it comes to an end");
    }
    let lost = evictions(&shared) - before - slices;
    assert!(lost < 2 * 6898, "{lost} items for a page of 6898");
    // A class without a maximum-size page still takes long items, if need be in the next larger class.
    (0..3000).for_each(|n| set(&mut client, n, 113));
    client.ask(b"flush_all\r\n");
    support::sweep(store, shared.clock.now());
    assert_empty(&shared);
}

#[test]
fn a_page_that_waits_for_a_resize_yields_to_a_request() {
    let shared = shared("-m 8 -o no_slab_automove");
    let (store, mut client, mut slow) = (shared.cache.store, Client::new(&shared), Client::new(&shared));
    // An incomplete upload is on the class's oldest page, which is the first to be resized.
    slow.feed(format!("set slow 0 0 113\r\n{}", "s".repeat(50)).as_bytes());
    (0..1500).for_each(|n| set(&mut client, 1_000_000 + n, 1000));
    let class = 4;
    let other = (1..).find(|&id| store.page_count(id) == 2).unwrap();
    let long = capacity(&shared, &mut client, 113);
    (0..long).for_each(|n| set(&mut client, n, 84));
    assert!(store.page_count(class) > 2);
    let source = std::sync::Arc::clone(&shared);
    let thread =
        oxcached::maint::MoverThread::start(store, std::sync::Arc::clone(&shared.mover), move || source.tuning(), || 0);
    // The page is empty except for that value once a pass over it meets nothing else.
    let counts = || shared.mover.figures().counts;
    let asked_at = loop {
        let before = counts();
        while counts().busy_items < before.busy_items + 2 {
            std::thread::yield_now();
        }
        let after = counts();
        if after.busy_nomem == before.busy_nomem && after.last_busy_status == Some("busy_floating") {
            break after.busy_items;
        }
    };
    assert_eq!(client.ask(format!("slabs reassign {other} {class}\r\n").as_bytes()), b"OK\r\n");
    while shared.mover.figures().moved < 1 {
        std::thread::yield_now();
    }
    let passes = counts().busy_items - asked_at;
    assert!(passes < 1000, "{passes} passes: it was given up because of its age");
    thread.unwrap().stop();
    assert_eq!(store.page_count(other), 1);
    assert_eq!(slow.ask(format!("{}\r\n", "s".repeat(63)).as_bytes()), b"STORED\r\n");
    let hit = format!("VALUE slow 0 113\r\n{}\r\nEND\r\n", "s".repeat(113));
    assert_eq!(client.ask(b"get slow\r\n"), hit.as_bytes());
}
