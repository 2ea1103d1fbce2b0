//! Owns the table of shared cache lines that an operation writes, by kind: averages over many operations of one thread.
//!
//! A count does not depend on the machine, nor on its load. docs/scaling.md has the table and what follows from it.

use crate::ops::{NOW, filled, full, put, ranks, read, short_key, store, visit};
use oxcached::cache_lines::{Shared, take_lines};
use oxcached::store::Store;

const VALUE: [u8; 100] = [b'v'; 100];

/// Prints the table.
pub fn table() {
    print!("{:<52}", "lines written by an operation");
    println!("{}    sum", Shared::ALL.map(|kind| format!("{:>8}", format!("{kind:?}"))).concat());
    reads();
    sets();
}

fn reads() {
    let mut out = Vec::new();
    let store = store(64, 20_000);
    let keys: Vec<_> = (0..1000).map(short_key).collect();
    count("get of a missing key", &keys, |key| assert!(!read(store, key, NOW, &mut out)));
    keys.iter().for_each(|key| _ = put(store, key, &VALUE));
    for time in ["first", "second", "third", "fourth"] {
        count(&format!("{time} get of an item"), &keys, |key| assert!(read(store, key, NOW, &mut out)));
    }
    count("get under the bucket's lock", &keys, |key| assert!(visit(store, key, NOW, &mut out)));
    for (name, rate) in [("twice a second", 2), ("1,000 times a second", 1000)] {
        at_rate(&format!("one hot key, read {name}"), &[0; 100_000], rate);
    }
    // As many reads a second for each key as with a million keys and two million reads a second.
    at_rate("1,000 keys, read twice a second each", &ranks(1000, 0.0, 400_000), 2000);
    at_rate("1,000 keys, Zipf 0.99, read twice a second each", &ranks(1000, 0.99, 400_000), 2000);
    at_rate("1,000 keys, each read every two minutes", &ranks(1000, 0.0, 20_000), 8);
}

/// Counts gets of these keys, `rate` a second. The first half makes marks and times what they are in the long run.
fn at_rate(name: &str, order: &[u32], rate: usize) {
    let keys = 1 + *order.iter().max().unwrap() as usize;
    let store = filled(keys);
    let mut out = Vec::new();
    let mut get = |(n, &key): (usize, &u32)| {
        let now = NOW + (n / rate) as u32;
        assert!(read(store, &short_key(key.into()), now, &mut out));
    };
    let (before, counted) = order.split_at(order.len() / 2);
    before.iter().enumerate().for_each(&mut get);
    let places: Vec<(usize, &u32)> = counted.iter().enumerate().map(|(n, key)| (before.len() + n, key)).collect();
    count(name, &places, |&place| get(place));
}

fn sets() {
    let store = filled(20_000);
    let old: Vec<_> = (0..20_000).map(short_key).collect();
    let new: Vec<_> = (20_000..40_000).map(short_key).collect();
    count("set over an item", &old, |key| _ = put(store, key, &VALUE));
    count("set of a new key, with free memory", &new, |key| _ = put(store, key, &VALUE));
    let (store, items) = full(4);
    evicting("set that evicts", store, items, |_| ());
    // From now on as with a thread that has waited for the class: its magazine is open.
    #[cfg(debug_assertions)]
    {
        oxcached::store::act_as(Some(0), true);
        evicting("set that evicts, through a magazine", store, 2 * items, |_| ());
        oxcached::store::act_as(None, false);
    }
    let mut out = Vec::new();
    let first = 3 * items;
    evicting("set that evicts, after three gets of recent keys", store, first, |n| {
        (1..4).for_each(|back| _ = read(store, &short_key(n.saturating_sub(back * 1000)), NOW, &mut out));
    });
}

/// Counts sets of keys from number `first` on; `before` is done before each of them and does not count.
fn evicting(name: &str, store: &'static Store, first: u64, mut before: impl FnMut(u64)) {
    let numbers: Vec<u64> = (first..first + 20_000).collect();
    count(name, &numbers, |&n| {
        before(n);
        take_lines();
        put(store, &short_key(n), &VALUE);
    });
}

/// Prints the average number of lines that `operation` writes.
fn count<T>(name: &str, subjects: &[T], mut operation: impl FnMut(&T)) {
    let mut sums = [0; Shared::ALL.len()];
    take_lines();
    for subject in subjects {
        operation(subject);
        sums.iter_mut().zip(take_lines()).for_each(|(sum, lines)| *sum += lines);
    }
    let average = |sum: u64| sum as f64 / subjects.len() as f64;
    println!(
        "{name:<52}{} {:>6.3}",
        sums.map(|sum| format!("{:>8.3}", average(sum))).concat(),
        average(sums.iter().sum())
    );
}
