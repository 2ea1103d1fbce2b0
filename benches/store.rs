//! The store alone: lookups, commits, eviction and index growth.
//!
//! `cargo bench --bench store`. It shows whether a change of the store helps.
#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use oxcached::clock::Expiry;
use oxcached::store::{Config, GrowthStep, Key, Lookup, Meta, Mode, SizeConfig, Store, Stored, Write};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const NOW: u32 = 1000;
const KEYS: usize = 100_000;

fn store(megabytes: u64, initial_items: u64) -> &'static Store {
    let sizes = SizeConfig::default();
    let maxbytes = megabytes << 20;
    let may_grow = true;
    Store::leak(&Config { sizes, maxbytes, evict: true, initial_items, may_grow, exact: true, precharged: 0 }).unwrap()
}

fn key(n: usize) -> Vec<u8> {
    format!("key:{n:012}").into_bytes()
}

fn put(store: &'static Store, key: &[u8], value: &[u8]) -> Stored {
    let meta = Meta { klen: key.len(), vlen: value.len(), flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
    let mut reservation = store.reserve(&Key::new(key).unwrap(), &meta, NOW).unwrap();
    reservation.write(value).unwrap();
    let write = Write::new(Mode::Set, store.next_cas());
    store.commit(reservation, &Key::new(key).unwrap(), write, NOW).0
}

type Get = fn(&'static Store, &[u8], u32, &mut Vec<u8>) -> bool;

/// An optimistic get, as most are.
fn read(store: &'static Store, key: &[u8], now: u32, out: &mut Vec<u8>) -> bool {
    let found = store.read(&Key::new(key).unwrap(), now, true, |entry| {
        out.clear();
        entry.copy_value(out);
    });
    matches!(found, Some(Lookup::Hit(())))
}

/// A get under the bucket lock.
fn visit(store: &'static Store, key: &[u8], now: u32, out: &mut Vec<u8>) -> bool {
    out.clear();
    let found = store.visit(&Key::new(key).unwrap(), now, |entry| {
        entry.bump(now);
        entry.copy_value(out);
    });
    matches!(found, Lookup::Hit(()))
}

/// Time in which each thread gets `count` keys.
fn gets(store: &'static Store, keys: &[Vec<u8>], get: Get, threads: usize, count: u64) -> Duration {
    side_by_side(threads, |thread| {
        let mut out = Vec::with_capacity(4096 + 16);
        let mut turn = keys.iter().cycle().skip(thread * keys.len() / threads);
        move || {
            for _ in 0..count {
                black_box(get(store, turn.next().unwrap(), NOW, &mut out));
            }
        }
    })
}

/// Time in which each thread stores `count` values of its length over its share of the keys.
fn sets(store: &'static Store, keys: &[Vec<u8>], lens: &[usize], count: u64) -> Duration {
    side_by_side(lens.len(), |thread| {
        let (value, part) = (vec![b'v'; lens[thread]], keys.len() / lens.len());
        let mut turn = keys[thread * part..][..part].iter().cycle();
        move || {
            for _ in 0..count {
                black_box(put(store, turn.next().unwrap(), &value));
            }
        }
    })
}

/// Time of the threads' work; `make` prepares the work of each thread.
fn side_by_side<W: FnOnce()>(threads: usize, make: impl Fn(usize) -> W + Sync) -> Duration {
    let start = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (start, make) = (&start, &make);
                scope.spawn(move || {
                    let work = make(thread);
                    start.wait();
                    work();
                })
            })
            .collect();
        start.wait();
        let begin = Instant::now();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        begin.elapsed()
    })
}

fn lookups(c: &mut Criterion) {
    let store = store(256, KEYS as u64);
    let keys: Vec<_> = (0..KEYS).map(|n| key(n * 7919 % KEYS)).collect();
    keys.iter().for_each(|key| assert!(matches!(put(store, key, &[b'v'; 100]), Stored::Stored { .. })));
    let missing: Vec<_> = (0..KEYS).map(|n| key(KEYS + n)).collect();
    for (name, keys) in [("a hit", &keys[..]), ("one hot key", &keys[..1]), ("a miss", &missing)] {
        for (way, get) in [("read", read as Get), ("visit", visit)] {
            for threads in [1, 2] {
                c.bench_function(&format!("{way}, {name}, {threads} threads"), |bencher| {
                    bencher.iter_custom(|count| gets(store, keys, get, threads, count));
                });
            }
        }
    }
    let mut turn = keys.iter().cycle();
    c.bench_function("commit over an item", |bencher| {
        bencher.iter(|| black_box(put(store, turn.next().unwrap(), &[b'w'; 100])));
    });
}

/// Contention between threads that store into one class.
fn contention(c: &mut Criterion) {
    let store = store(256, KEYS as u64);
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    for (name, lens) in
        [("1 thread", &[100][..]), ("2 threads, two classes", &[100, 130]), ("2 threads, one class", &[100, 100])]
    {
        c.bench_function(&format!("commit over an item, {name}"), |bencher| {
            bencher.iter_custom(|count| sets(store, &keys, lens, count));
        });
    }
}

fn eviction(c: &mut Criterion) {
    let store = store(8, KEYS as u64);
    let mut number = 0;
    let mut next = || {
        number += 1;
        put(store, &key(number), &[b'v'; 100])
    };
    (0..KEYS).for_each(|_| assert!(matches!(next(), Stored::Stored { .. })));
    c.bench_function("commit with an eviction", |bencher| bencher.iter(|| black_box(next())));
}

fn growth(c: &mut Criterion) {
    // A store that keeps filling, so that the index always grows.
    let store = store(1024, 10_000);
    let mut number = 0;
    let mut ready = || {
        // Allocating the next table takes separate steps.
        while store.grow_step(0) != GrowthStep::Buckets {
            number += 1;
            put(store, &key(number), b"v");
        }
    };
    c.bench_function("64 buckets of index growth", |bencher| {
        bencher.iter_batched(&mut ready, |()| black_box(store.grow_step(64)), BatchSize::PerIteration);
    });
}

criterion_group!(benches, lookups, contention, eviction, growth);
criterion_main!(benches);
