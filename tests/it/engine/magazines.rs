//! Threads store into one slab class through their magazines, concurrently with everything that needs the class as a
//! whole.
//!
//! Each value is a function of its key and of a number in it. Every thread writes its own keys and reads all keys.
//! Meanwhile pages move, the eviction mode changes, the memory limit goes up and down, and sweep and tending run. At
//! the end the counts must be those of the present items, and after deleting them no chunk may be missing.
//! `STRESS_SEED` repeats the choices, if not the timing.

use crate::support::{self, Client, assert_empty, move_pages, sweep, work};
use oxcached::proto::Shared;
use oxcached::settings::Settings;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

const THREADS: usize = 4;

/// Whether the mode changes periodically, and the limit.
#[derive(Clone, Copy)]
struct Changes {
    mode: bool,
    limit: bool,
    pages: bool,
}

/// A value of 8 digits and 84 to 99 bytes derived from them and the key: either length belongs to the same class.
fn value(key: usize, number: u32) -> Vec<u8> {
    let mut value = format!("{number:08}").into_bytes();
    let mut rng = fastrand::Rng::with_seed((key as u64) << 32 | u64::from(number));
    let len = rng.usize(84..100);
    value.extend(std::iter::repeat_with(|| rng.alphanumeric() as u8).take(len));
    value
}

/// Whether `key` is present; its value must be right.
#[track_caller]
fn has(client: &mut Client, key: usize) -> bool {
    let reply = client.ask(format!("get key{key:06}\r\n").as_bytes());
    if reply == b"END\r\n" {
        return false;
    }
    let from = reply.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let number = std::str::from_utf8(&reply[from..from + 8]).unwrap().parse().unwrap();
    let value = value(key, number);
    let expected = [format!("VALUE key{key:06} 0 {}\r\n", value.len()).as_bytes(), &value, b"\r\nEND\r\n"].concat();
    assert!(reply == expected, "a wrong value of {key}: {}", String::from_utf8_lossy(&reply));
    true
}

fn write(client: &mut Client, rng: &mut fastrand::Rng, key: usize) {
    let value = value(key, rng.u32(..100_000_000));
    let request = [format!("set key{key:06} 0 0 {}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat();
    let reply = client.ask(&request);
    assert!(reply == b"STORED\r\n" || reply == b"SERVER_ERROR out of memory storing object\r\n", "{reply:?}");
}

/// Compares the store's counts with the items of `keys`; no other thread may be running.
#[track_caller]
fn counts_are_right(shared: &Shared, client: &mut Client, keys: usize) {
    let there = (0..keys).filter(|&key| has(client, key)).count() as u64;
    let store = shared.cache.store;
    let views = store.classes(shared.clock.now());
    let sum = |of: fn(&oxcached::store::ClassView) -> u64| views.iter().map(of).sum::<u64>();
    assert_eq!((store.items(), sum(|view| view.items)), (there, there));
    assert_eq!(sum(|view| view.hot + view.warm + view.cold + view.temp), there);
    assert_eq!(sum(|view| view.used_chunks), there);
    assert_eq!(store.bytes(), sum(|view| view.requested));
}

fn run(args: &str, keys: usize, steps: u32, changes: Changes) {
    let seed =
        std::env::var("STRESS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("STRESS_SEED={seed}");
    let settings = Settings { num_threads: THREADS as u32, hashpower_init: 1, ..support::settings(args) };
    let limit = settings.maxbytes >> 20;
    let shared = support::shared_with(settings);
    let store = shared.cache.store;
    let mut client = Client::new(&shared);
    let (large, others) = (vec![b'v'; 3000], limit << 20 >> 14);
    for round in 0..3 {
        // Other classes have pages too, so that some can move.
        for key in 0..others {
            client.feed(&[format!("set other{key} 0 0 3000 noreply\r\n").as_bytes(), &large, b"\r\n"].concat());
        }
        let (done, start) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(THREADS)));
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|number| {
                    let mut client = Client::of_worker(&shared, number);
                    let mut rng = fastrand::Rng::with_seed(seed ^ number as u64 ^ round << 8);
                    let start = Arc::clone(&start);
                    scope.spawn(move || {
                        start.wait();
                        for _ in 0..steps {
                            let own = rng.usize(..keys / THREADS) * THREADS + number;
                            match rng.u8(..10) {
                                0..6 => write(&mut client, &mut rng, own),
                                6..8 => _ = client.ask(format!("delete key{own:06}\r\n").as_bytes()),
                                _ => _ = has(&mut client, rng.usize(..keys)),
                            }
                        }
                    })
                })
                .collect();
            let (chores, told) = (Arc::clone(&shared), Arc::clone(&done));
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed ^ 99);
                while !told.load(Relaxed) {
                    work(&chores, 1);
                    store.tend(chores.clock.now());
                    if changes.mode && rng.u8(..4) == 0 {
                        store.set_flat(rng.bool());
                    }
                    if changes.limit && rng.u8(..4) == 0 {
                        store.set_limit(rng.u64(limit / 2..=limit) << 20);
                    }
                    while store.release_page() {}
                    store.charge_overhead();
                }
                store.set_limit(limit << 20);
            });
            if changes.pages {
                let (moving, told) = (Arc::clone(&shared), Arc::clone(&done));
                scope.spawn(move || move_pages(&moving, fastrand::Rng::with_seed(seed), &told));
            }
            let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            done.store(true, Relaxed);
            results.into_iter().for_each(|result| result.unwrap());
        });
        // Deletes the others, so that only known items remain.
        for key in 0..others {
            client.feed(format!("delete other{key} noreply\r\n").as_bytes());
        }
        counts_are_right(&shared, &mut client, keys);
    }
    store.set_flat(false);
    sweep(store, shared.clock.now());
    for key in 0..keys {
        client.feed(format!("delete key{key:06} noreply\r\n").as_bytes());
    }
    assert_empty(&shared);
}

#[test]
fn counts_and_values_are_right_with_spare_memory() {
    run("-m 64", 2000, 60_000, Changes { mode: false, limit: false, pages: true });
}

#[test]
fn counts_and_values_are_right_while_mode_and_limit_change() {
    run("-m 64", 20_000, 40_000, Changes { mode: true, limit: true, pages: true });
}

#[test]
fn counts_and_values_are_right_in_tiny_memory() {
    run("-m 2", 40_000, 60_000, Changes { mode: true, limit: false, pages: false });
}

#[test]
fn counts_and_values_are_right_without_eviction() {
    run("-m 4 -M", 40_000, 40_000, Changes { mode: false, limit: false, pages: false });
}
