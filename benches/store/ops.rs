//! Operations on a store, and threads that do them side by side.

use oxcached::clock::Expiry;
use oxcached::store::{Config, Key, Lookup, Meta, Mode, SizeConfig, Store, Stored, Write};
#[cfg(not(feature = "count-lines"))]
use std::{
    sync::Barrier,
    time::{Duration, Instant},
};

pub const NOW: u32 = 1000;

pub fn store(megabytes: u64, initial_items: u64) -> &'static Store {
    let sizes = SizeConfig::default();
    let maxbytes = megabytes << 20;
    let may_grow = true;
    Store::leak(&Config { sizes, maxbytes, evict: true, initial_items, may_grow, exact: true, precharged: 0 }).unwrap()
}

pub fn put(store: &'static Store, key: &[u8], value: &[u8]) -> Stored {
    let meta = Meta { klen: key.len(), vlen: value.len(), flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
    let mut reservation = store.reserve(&Key::new(key).unwrap(), &meta, NOW).unwrap();
    reservation.write(value).unwrap();
    let write = Write::new(Mode::Set, store.next_cas());
    store.commit(reservation, &Key::new(key).unwrap(), write, NOW).0
}

/// An optimistic get, as most are.
pub fn read(store: &'static Store, key: &[u8], now: u32, out: &mut Vec<u8>) -> bool {
    let found = store.read(&Key::new(key).unwrap(), now, true, |entry| {
        out.clear();
        entry.copy_value(out);
    });
    matches!(found, Some(Lookup::Hit(())))
}

/// A get under the bucket lock.
pub fn visit(store: &'static Store, key: &[u8], now: u32, out: &mut Vec<u8>) -> bool {
    out.clear();
    let found = store.visit(&Key::new(key).unwrap(), now, |entry| {
        entry.bump(now);
        entry.copy_value(out);
    });
    matches!(found, Lookup::Hit(()))
}

#[cfg(not(feature = "count-lines"))]
/// Time of the threads' work; `make` prepares the work of each thread.
pub fn side_by_side<W: FnOnce()>(threads: usize, make: impl Fn(usize) -> W + Sync) -> Duration {
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

/// A key for any number.
pub fn short_key(n: u64) -> [u8; 20] {
    let mut key = *b"key:................";
    for (at, byte) in key[4..].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(n >> (60 - 4 * at) & 15) as usize];
    }
    key
}

/// `count` ranks below `ranks`, each drawn with a probability of `(rank + 1)^-exponent`; 0 draws all alike.
pub fn ranks(ranks: usize, exponent: f64, count: usize) -> Vec<u32> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=ranks)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    (0..count).map(|_| sums.partition_point(|&up_to| up_to <= rng.f64() * sum) as u32).collect()
}

/// A store with an item of 100 bytes for each of `keys` numbers, all of them read until a read changes no mark.
pub fn filled(keys: usize) -> &'static Store {
    let store = store(512, keys as u64);
    let mut out = Vec::new();
    for key in (0..keys as u64).map(short_key) {
        assert!(matches!(put(store, &key, &[b'v'; 100]), Stored::Stored { .. }));
        assert!((0..3).all(|_| read(store, &key, NOW, &mut out)));
    }
    store
}

/// A store of `megabytes` that has evicted items of 100 bytes for a while. Keys are numbers up to the one returned.
pub fn full(megabytes: u64) -> (&'static Store, u64) {
    let (store, items) = (store(megabytes, megabytes << 13), megabytes << 14);
    (0..items).for_each(|n| assert!(matches!(put(store, &short_key(n), &[b'v'; 100]), Stored::Stored { .. })));
    (store, items)
}
