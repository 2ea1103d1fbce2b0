//! Owns the single operations that criterion times, and their names.

use crate::ops::{NOW, put, read, side_by_side, store, visit};
use criterion::{BatchSize, Criterion};
use oxcached::store::{GrowthStep, Store, Stored};
use std::hint::black_box;
use std::time::Duration;

const KEYS: usize = 100_000;

type Get = fn(&'static Store, &[u8], u32, &mut Vec<u8>) -> bool;

fn key(n: usize) -> Vec<u8> {
    format!("key:{n:012}").into_bytes()
}

/// Times the operations that the command line names.
pub fn run() {
    let mut criterion = Criterion::default().configure_from_args();
    for group in [lookups, contention, eviction, growth] {
        group(&mut criterion);
    }
    criterion.final_summary();
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
