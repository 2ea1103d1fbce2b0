//! Owns the table of how the store scales: nanoseconds of an operation on 1, 2, 4, 8 and 16 threads, as far as there are
//! cores.
//!
//! Each thread does the same number of operations, so with perfect scaling the time stays the same. Efficiency is the
//! time with one thread divided by the time with more. docs/scaling.md says what the store shares.

use crate::ops::{NOW, filled, full, put, ranks, read, short_key, side_by_side};
use oxcached::store::{Store, Stored};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Keys of the workloads that read: their items and buckets exceed the caches of one core.
const KEYS: usize = 1 << 20;

/// Length of a sequence of keys; a thread begins at a place of its own.
const SEQUENCE: usize = 4 << 20;

/// Duration of one run with one thread.
const RUN: Duration = Duration::from_millis(300);

/// Runs of each workload with each number of threads; the fastest counts.
const ROUNDS: usize = 5;

const THREADS: [usize; 5] = [1, 2, 4, 8, 16];

const VALUE: [u8; 100] = [b'v'; 100];

/// What one thread does: the thread's number, and the number of operations.
type Work<'a> = &'a (dyn Fn(usize, u64) + Sync);

/// Prints the table.
pub fn table() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<usize> = THREADS.into_iter().filter(|&threads| threads <= cores).collect();
    println!("\n{:<28} {:>7}  {:>8}  {:>8}  {:>7}  efficiency", "", "threads", "ns/op", "CPU ns", "Mop/s");
    let store = filled(KEYS);
    let keys: Vec<[u8; 20]> = (0..KEYS as u64).map(short_key).collect();
    for (name, exponent) in [("get, uniform", 0.0), ("get, Zipf 0.99", 0.99)] {
        let order = ranks(KEYS, exponent, SEQUENCE);
        measure(name, &threads, &|thread, count| gets(store, &keys, places(&order, thread), count, 0));
        if exponent > 0.0 {
            let name = "get, Zipf 0.99, 10 % sets";
            measure(name, &threads, &|thread, count| gets(store, &keys, places(&order, thread), count, 10));
        }
    }
    measure("get, one hot key", &threads, &|_, count| gets(store, &keys, std::iter::repeat(&77), count, 0));
    evicting_sets(&threads);
}

/// The sequence from a thread's place on, again and again.
fn places(order: &[u32], thread: usize) -> impl Iterator<Item = &u32> {
    let (before, from) = order.split_at(thread * order.len() / THREADS[THREADS.len() - 1]);
    from.iter().chain(before).cycle()
}

/// Gets `count` keys, and stores each `100 / percent`th of them instead.
fn gets<'a>(
    store: &'static Store,
    keys: &[[u8; 20]],
    places: impl Iterator<Item = &'a u32>,
    count: u64,
    percent: usize,
) {
    let mut out = Vec::with_capacity(128);
    for (n, &place) in places.take(count as usize).enumerate() {
        let key = &keys[place as usize];
        if percent > 0 && n % (100 / percent) == 0 {
            black_box(put(store, key, &VALUE));
        } else {
            black_box(read(store, key, NOW, &mut out));
        }
    }
}

/// Each thread stores new keys of one class, so that each set evicts an item.
fn evicting_sets(threads: &[usize]) {
    let (store, items) = full(64);
    let next = AtomicU64::new(items);
    measure("set that evicts, one class", threads, &|_, count| {
        let from = next.fetch_add(count, Relaxed);
        for n in from..from + count {
            assert!(matches!(put(store, &short_key(n), &VALUE), Stored::Stored { .. }));
        }
    });
}

fn measure(name: &str, threads: &[usize], work: Work<'_>) {
    // A first run for caches and marks, a second one to see how many operations take the time.
    let pilot = 20_000;
    let count =
        [pilot; 2].map(|count| run(1, count, work).0).map(|ns| (RUN.as_nanos() as f64 / ns) as u64)[1].max(pilot);
    let mut best = vec![(f64::MAX, f64::MAX); threads.len()];
    for _ in 0..ROUNDS {
        for (best, &threads) in best.iter_mut().zip(threads) {
            let (wall, cpu) = run(threads, count, work);
            *best = (best.0.min(wall), best.1.min(cpu));
        }
    }
    for ((wall, cpu), threads) in best.iter().zip(threads) {
        let (rate, efficiency) = (*threads as f64 * 1000.0 / wall, best[0].0 / wall);
        println!("{name:<28} {threads:>7}  {wall:>8.1}  {cpu:>8.1}  {rate:>7.2}  {efficiency:>10.2}");
    }
}

/// Nanoseconds of an operation while each of `threads` does `count`: elapsed, and of processor time.
fn run(threads: usize, count: u64, work: Work<'_>) -> (f64, f64) {
    let cpu = AtomicU64::new(0);
    let elapsed = side_by_side(threads, |thread| {
        let cpu = &cpu;
        move || {
            let before = thread_ns();
            work(thread, count);
            cpu.fetch_add(thread_ns() - before, Relaxed);
        }
    });
    let all = count as f64 * threads as f64;
    (elapsed.as_nanos() as f64 / count as f64, cpu.into_inner() as f64 / all)
}

/// Processor time of the calling thread in nanoseconds.
fn thread_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap()
}
