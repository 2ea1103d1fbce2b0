//! Space-Saving: the frequent keys of a stream, in fixed memory.
//!
//! Owns the counters of one window of one worker. A key that has no counter takes over the one with the least count,
//! which becomes its error. So of `total` samples every key with more than `total / HOTKEY_COUNTERS` has a counter, and
//! its true count is between its tally and its tally plus its error. Knows neither time nor threads.

use super::{Access, AccessKind};
use crate::limits::{HOTKEY_COUNTERS, KEY_MAX};

/// No counter.
const NONE: u16 = u16::MAX;

const _: () = assert!(HOTKEY_COUNTERS < NONE as usize && HOTKEY_COUNTERS.is_power_of_two() && KEY_MAX <= 255);

/// Weights of sampled accesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessTally {
    /// Fetches.
    pub reads: u64,
    /// Stores, deletions, increments, touches.
    pub writes: u64,
    /// Accesses of both kinds that found no item. A store looks for none.
    pub misses: u64,
    /// Bytes of values: fetched, or sent to be stored.
    pub bytes: u64,
}

impl AccessTally {
    /// Number of accesses.
    pub fn accesses(&self) -> u64 {
        self.reads + self.writes
    }

    fn count(&mut self, access: Access) {
        match access.kind {
            AccessKind::Read => self.reads += 1,
            AccessKind::Write => self.writes += 1,
        }
        self.misses += u64::from(access.missed);
        self.bytes = self.bytes.saturating_add(access.bytes as u64);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.misses += other.misses;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Counter of one key.
pub(super) struct KeyCounter {
    pub(super) hash: u64,
    /// Accesses counted since the key has this counter.
    pub(super) tally: AccessTally,
    /// Maximum accesses before that: the count of the key that had it.
    pub(super) error: u64,
    /// Its place in the heap.
    place: u16,
    /// Next counter of its chain.
    next: u16,
    key_len: u8,
    key: [u8; KEY_MAX],
}

impl KeyCounter {
    pub(super) fn key(&self) -> &[u8] {
        &self.key[..usize::from(self.key_len)]
    }
}

/// A node of the heap: a counter, and its tally's accesses plus its error.
#[derive(Clone, Copy)]
struct HeapNode {
    count: u64,
    counter: u16,
}

/// The counters of one window.
pub(super) struct Sketch {
    counters: Vec<KeyCounter>,
    /// Min-heap by count; a node for each counter.
    heap: Vec<HeapNode>,
    /// First counter of each chain, by the low bits of the hash.
    chains: Vec<u16>,
    /// Of all samples.
    pub(super) total: AccessTally,
}

impl Sketch {
    /// An empty sketch with memory for all of its counters; `None` if memory is short.
    pub(super) fn new() -> Option<Self> {
        let (mut counters, mut heap, mut chains) = (Vec::new(), Vec::new(), Vec::new());
        counters.try_reserve_exact(HOTKEY_COUNTERS).ok()?;
        heap.try_reserve_exact(HOTKEY_COUNTERS).ok()?;
        chains.try_reserve_exact(HOTKEY_COUNTERS).ok()?;
        chains.resize(HOTKEY_COUNTERS, NONE);
        Some(Self { counters, heap, chains, total: AccessTally::default() })
    }

    /// Size in bytes.
    pub(super) const fn bytes() -> usize {
        HOTKEY_COUNTERS * (size_of::<KeyCounter>() + size_of::<HeapNode>() + size_of::<u16>())
    }

    /// Removes all counters; their memory stays.
    pub(super) fn clear(&mut self) {
        self.counters.clear();
        self.heap.clear();
        self.chains.fill(NONE);
        self.total = AccessTally::default();
    }

    /// The counters, in no order.
    pub(super) fn counters(&self) -> &[KeyCounter] {
        &self.counters
    }

    /// Maximum accesses of a key that has no counter.
    pub(super) fn least(&self) -> u64 {
        if self.counters.len() < HOTKEY_COUNTERS { 0 } else { self.heap.first().map_or(0, |node| node.count) }
    }

    /// Counts an access of `key`, which has 1 to `KEY_MAX` bytes.
    pub(super) fn record(&mut self, hash: u64, key: &[u8], access: Access) {
        self.total.count(access);
        let at = match self.find(hash, key) {
            Some(at) => at,
            None if self.counters.len() < HOTKEY_COUNTERS => self.add(hash, key),
            None => self.replace_least(hash, key),
        };
        let counter = &mut self.counters[at];
        counter.tally.count(access);
        let place = usize::from(counter.place);
        self.heap[place].count += 1;
        self.sift_down(place);
    }

    fn chain(hash: u64) -> usize {
        hash as usize & (HOTKEY_COUNTERS - 1)
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let mut at = self.chains[Self::chain(hash)];
        while at != NONE {
            let counter = &self.counters[usize::from(at)];
            if counter.hash == hash && counter.key() == key {
                return Some(at.into());
            }
            at = counter.next;
        }
        None
    }

    /// Adds a counter. Its count of 0 is the least, and the caller makes it 1: no count is less, so it is in its place.
    fn add(&mut self, hash: u64, key: &[u8]) -> usize {
        let at = self.counters.len();
        let mut counter = KeyCounter {
            hash,
            tally: AccessTally::default(),
            error: 0,
            place: at as u16,
            next: NONE,
            key_len: key.len() as u8,
            key: [0; KEY_MAX],
        };
        counter.key[..key.len()].copy_from_slice(key);
        self.counters.push(counter);
        self.heap.push(HeapNode { count: 0, counter: at as u16 });
        self.link(at);
        at
    }

    /// Gives the counter with the least count to `key`.
    fn replace_least(&mut self, hash: u64, key: &[u8]) -> usize {
        let HeapNode { count, counter } = self.heap[0];
        let at = usize::from(counter);
        self.unlink(at);
        let counter = &mut self.counters[at];
        counter.hash = hash;
        counter.tally = AccessTally::default();
        counter.error = count;
        counter.key_len = key.len() as u8;
        counter.key[..key.len()].copy_from_slice(key);
        self.link(at);
        at
    }

    fn link(&mut self, at: usize) {
        let chain = &mut self.chains[Self::chain(self.counters[at].hash)];
        self.counters[at].next = *chain;
        *chain = at as u16;
    }

    fn unlink(&mut self, at: usize) {
        let (chain, next) = (Self::chain(self.counters[at].hash), self.counters[at].next);
        let mut before = self.chains[chain];
        if usize::from(before) == at {
            self.chains[chain] = next;
            return;
        }
        while before != NONE {
            let counter = &mut self.counters[usize::from(before)];
            if usize::from(counter.next) == at {
                counter.next = next;
                return;
            }
            before = counter.next;
        }
    }

    /// Restores the heap after the count at `place` has grown.
    fn sift_down(&mut self, mut place: usize) {
        let node = self.heap[place];
        loop {
            let left = 2 * place + 1;
            let Some(children) = self.heap.get(left..(left + 2).min(self.heap.len())) else { break };
            let Some((child, least)) = children.iter().enumerate().min_by_key(|(_, child)| child.count) else { break };
            if least.count >= node.count {
                break;
            }
            let (child, least) = (left + child, *least);
            self.heap[place] = least;
            self.counters[usize::from(least.counter)].place = place as u16;
            place = child;
        }
        self.heap[place] = node;
        self.counters[usize::from(node.counter)].place = place as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash;
    use std::collections::HashMap;

    fn read(sketch: &mut Sketch, key: &[u8]) {
        sketch.record(hash(key), key, Access { kind: AccessKind::Read, missed: false, bytes: 3 });
    }

    fn tallies(sketch: &Sketch) -> HashMap<Vec<u8>, (AccessTally, u64)> {
        sketch.counters().iter().map(|counter| (counter.key().to_vec(), (counter.tally, counter.error))).collect()
    }

    fn assert_sound(sketch: &Sketch) {
        for (place, node) in sketch.heap.iter().enumerate() {
            let counter = &sketch.counters[usize::from(node.counter)];
            assert_eq!(usize::from(counter.place), place);
            assert_eq!(node.count, counter.tally.accesses() + counter.error);
            assert!(place == 0 || sketch.heap[(place - 1) / 2].count <= node.count, "a parent is the lesser");
            assert_eq!(sketch.find(counter.hash, counter.key()), Some(node.counter.into()));
        }
        let sum: u64 = sketch.heap.iter().map(|node| node.count).sum();
        assert_eq!(sum, sketch.total.accesses(), "each sample is in one count");
    }

    #[test]
    fn few_keys_are_counted_exactly_and_by_weight() {
        let mut sketch = Sketch::new().unwrap();
        for n in 0..10 {
            read(&mut sketch, b"a");
            let access = Access { kind: AccessKind::Write, missed: n % 2 == 0, bytes: 100 };
            sketch.record(hash(b"b"), b"b", access);
        }
        let rows = tallies(&sketch);
        assert_eq!(rows[&b"a"[..]], (AccessTally { reads: 10, writes: 0, misses: 0, bytes: 30 }, 0));
        assert_eq!(rows[&b"b"[..]], (AccessTally { reads: 0, writes: 10, misses: 5, bytes: 1000 }, 0));
        assert_eq!(sketch.total, AccessTally { reads: 10, writes: 10, misses: 5, bytes: 1030 });
        assert_sound(&sketch);
    }

    /// The guarantees, against exact counts of skewed streams: a frequent key has a counter, and its true count is
    /// within the bounds.
    #[test]
    fn frequent_keys_have_counters_with_true_bounds() {
        for (seed, keys, exponent) in [(1, 100_000, 1.0), (2, 5_000, 0.6), (3, 1_000_000, 1.2)] {
            let (mut rng, mut exact) = (fastrand::Rng::with_seed(seed), HashMap::new());
            let mut sketch = Sketch::new().unwrap();
            let samples = 200_000u64;
            for n in 0..samples {
                let rank = (f64::from(keys)).powf(rng.f64().powf(exponent)) as u64;
                // The second half has other keys: a key that was frequent before must give its counter back in time.
                let key = format!("key {} {rank}", n / (samples / 2));
                *exact.entry(key.clone().into_bytes()).or_insert(0u64) += 1;
                read(&mut sketch, key.as_bytes());
            }
            assert_sound(&sketch);
            assert_eq!((sketch.counters().len(), sketch.total.reads), (HOTKEY_COUNTERS, samples));
            assert!(sketch.least() <= samples / HOTKEY_COUNTERS as u64);
            let rows = tallies(&sketch);
            for (key, &count) in &exact {
                match rows.get(key) {
                    Some((tally, error)) => assert!((tally.reads..=tally.reads + error).contains(&count)),
                    None => assert!(count <= sketch.least(), "a key of {count} samples has no counter"),
                }
            }
        }
    }

    #[test]
    fn keys_of_every_length_and_equal_hashes_are_kept_apart() {
        let mut sketch = Sketch::new().unwrap();
        let keys: Vec<Vec<u8>> = (1..=KEY_MAX).map(|len| vec![b'k'; len]).collect();
        for round in 0..3 {
            for key in &keys[round..] {
                sketch.record(7, key, Access { kind: AccessKind::Read, missed: false, bytes: 0 });
            }
        }
        assert_sound(&sketch);
        let rows = tallies(&sketch);
        assert_eq!((rows.len(), rows[&keys[0]].0.reads, rows[&keys[KEY_MAX - 1]].0.reads), (KEY_MAX, 1, 3));
    }

    #[test]
    fn bytes_of_a_key_saturate() {
        let mut sketch = Sketch::new().unwrap();
        for _ in 0..3 {
            sketch.record(1, b"k", Access { kind: AccessKind::Read, missed: false, bytes: usize::MAX });
        }
        assert_eq!((sketch.total.bytes, sketch.counters()[0].tally.bytes), (u64::MAX, u64::MAX));
    }

    #[test]
    fn a_cleared_sketch_is_empty_and_keeps_its_memory() {
        let mut sketch = Sketch::new().unwrap();
        for n in 0..5000 {
            read(&mut sketch, format!("{n}").as_bytes());
        }
        let memory = (sketch.counters.as_ptr(), sketch.counters.capacity());
        sketch.clear();
        assert_eq!((sketch.counters().len(), sketch.total, sketch.least()), (0, AccessTally::default(), 0));
        read(&mut sketch, b"4999");
        assert_sound(&sketch);
        assert_eq!((sketch.counters.as_ptr(), sketch.counters.capacity()), memory);
        assert!(Sketch::bytes() < 340 * 1024, "{}", Sketch::bytes());
    }
}
