//! Filter of the keys that the engine holds: a miss of a key that was never stored stays in memory.
//!
//! Owns a Bloom filter and its replacement. A key that the engine holds is always in the filter; one in a hundred
//! others is taken for one. Deleted keys stay in the filter, until it has as many keys as it was made for: then a scan
//! of the engine fills a new one. Must not know the engine. Asked by workers on a miss, filled by the writer with each
//! commit and by the scan.

use crate::sys::headroom;
use fastbloom::AtomicBloomFilter;
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bits of the filter for each key: 1 % of the keys that are not there pass.
const BITS: u64 = 10;
const HASHES: u32 = 7;
/// Keys for which the smallest filter is made: 1.25 MiB.
const KEYS_MIN: u64 = 1 << 20;

struct Generation {
    bloom: AtomicBloomFilter,
    /// Keys that it was made for.
    capacity: u64,
    /// Keys that it has got.
    keys: AtomicU64,
}

impl Generation {
    fn add(&self, hash: u64) {
        let was_there = self.bloom.insert_hash(hash);
        if !was_there {
            self.keys.fetch_add(1, Relaxed);
        }
    }

    fn memory(&self) -> u64 {
        self.bloom.num_bits() as u64 / 8
    }
}

/// The filter.
#[derive(Default)]
pub(super) struct Filter {
    /// `None` until the first scan has ended: every key passes.
    present: RwLock<Option<Generation>>,
    /// What a scan is filling.
    next: Mutex<Option<Generation>>,
}

impl Filter {
    /// Whether the engine may hold a key with this hash.
    pub fn may_hold(&self, hash: u64) -> bool {
        self.present.read().as_ref().is_none_or(|present| present.bloom.contains_hash(hash))
    }

    /// Adds a key that the engine holds from now on.
    pub fn add(&self, hash: u64) {
        if let Some(present) = &*self.present.read() {
            present.add(hash);
        }
        self.scanned(hash);
    }

    /// Whether a scan must fill a larger filter.
    pub fn is_full(&self) -> bool {
        self.present.read().as_ref().is_some_and(|present| present.keys.load(Relaxed) > present.capacity)
    }

    /// Begins a filter for twice `keys`; false without memory.
    pub fn begin(&self, keys: u64) -> bool {
        let capacity = (2 * keys).max(KEYS_MIN);
        let bits = (capacity * BITS) as usize;
        if !headroom::is_there(bits / 8) {
            return false;
        }
        let bloom = AtomicBloomFilter::with_num_bits(bits).hashes(HASHES);
        *self.next.lock() = Some(Generation { bloom, capacity, keys: AtomicU64::new(0) });
        true
    }

    /// Adds a key to the new filter, if a scan is under way.
    pub fn scanned(&self, hash: u64) {
        if let Some(next) = &*self.next.lock() {
            next.add(hash);
        }
    }

    /// Ends a scan that has shown every key: its filter takes the place of the present one.
    pub fn finish(&self) {
        if let Some(next) = self.next.lock().take() {
            let former = self.present.write().replace(next);
            drop(former);
        }
    }

    /// Bytes of the filters.
    pub fn memory(&self) -> u64 {
        let present = self.present.read().as_ref().map_or(0, Generation::memory);
        present + self.next.lock().as_ref().map_or(0, Generation::memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash;

    #[test]
    fn a_key_that_was_added_passes_and_few_others_do() {
        let filter = Filter::default();
        assert!(filter.may_hold(1), "every key passes before the first scan");
        assert!(filter.begin(0));
        let key = |n: u64| hash(&n.to_le_bytes());
        (0..1000).map(key).for_each(|hash| filter.add(hash));
        assert!(filter.may_hold(key(5000)), "the scan has not ended");
        filter.finish();
        assert!((0..1000).map(key).all(|hash| filter.may_hold(hash)));
        let passed = (1000..101_000).map(key).filter(|hash| filter.may_hold(*hash)).count();
        assert!(passed < 100, "{passed} of 100,000");
        (0..2 * KEYS_MIN + KEYS_MIN / 8).map(key).for_each(|hash| filter.add(hash));
        assert!(filter.is_full());
        assert!(filter.begin(1000));
        filter.add(key(1));
        filter.finish();
        assert!(!filter.is_full() && filter.may_hold(key(1)) && !filter.may_hold(key(2)));
    }
}
