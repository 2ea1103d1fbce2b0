//! Ghosts: entries of evicted keys in otherwise free slots of a bucket. When a key is stored again, its ghost tells
//! that it was evicted, and when.
//!
//! Owns what is stored of a ghost and where it may be: in the free slots of a bucket's first line. Called by the store
//! with the bucket locked. Does not know what a ghost's 16 bits mean: `evict/class_stats` does.

use super::Bucket;
use super::line::{GHOST_TAG, Ghost, slots};

fn raw(ghost: Ghost, hash: u64) -> u64 {
    u64::from(fingerprint(hash)) << 16 | u64::from(ghost.0)
}

/// Hash bits used neither for the bucket's number nor for the tag.
fn fingerprint(hash: u64) -> u16 {
    (hash >> 8) as u16
}

impl Bucket {
    /// Removes and returns the ghost of a hash.
    pub fn take_ghost(&mut self, hash: u64) -> Option<Ghost> {
        for slot in slots(self.line.matching(GHOST_TAG) & self.line.own_slots()) {
            let raw = self.line.handle(slot);
            if (raw >> 16) as u16 == fingerprint(hash) {
                self.line.set(slot, 0, 0);
                return Some(Ghost(raw as u16));
            }
        }
        None
    }

    /// Stores a ghost of a hash in a free slot, or in place of the ghost with the least `worth`. Does nothing if there
    /// is neither.
    pub fn leave_ghost(&mut self, hash: u64, ghost: Ghost, worth: impl Fn(Ghost) -> u64) {
        let free = slots(self.line.matching(0) & self.line.own_slots()).next();
        if let Some(slot) = free.or_else(|| self.least_ghost(worth)) {
            self.line.set(slot, GHOST_TAG, raw(ghost, hash));
        }
    }

    /// Slot of the ghost with the least `worth`.
    pub(super) fn least_ghost(&self, worth: impl Fn(Ghost) -> u64) -> Option<usize> {
        let ghosts = self.line.matching(GHOST_TAG) & self.line.own_slots();
        slots(ghosts).min_by_key(|&slot| worth(Ghost(self.line.handle(slot) as u16)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GrowthStep, Index, Pace};
    use super::*;

    #[test]
    fn ghosts_use_free_slots_only_and_are_replaced_by_least_worth() {
        let index: &'static Index = Box::leak(Box::new(Index::new(1, true, false, false).unwrap()));
        let of = |n: u64| 5 << 40 | n << 8 | 7; // one bucket, one tag, many fingerprints
        let live = |from: u64, to: u64| (from..to).all(|n| index.lock(of(n)).find(of(n), |h| h == n).is_some());
        for n in 1..=8 {
            assert!(index.lock(of(n)).insert(of(n), n, |_| 0));
        }
        for n in 101..=106 {
            index.lock(of(n)).leave_ghost(of(n), Ghost(n as u16), |ghost| ghost.0.into());
        }
        // Four slots were free: the ghosts with the least worth are gone, one is taken out, an item replaces another.
        assert!(live(1, 9));
        let mut seen = Vec::new();
        index.lock(of(1)).for_each(|handle| seen.push(handle));
        assert_eq!(seen.len(), 8, "a ghost is no handle");
        assert_eq!(index.lock(of(106)).take_ghost(of(106)), Some(Ghost(106)));
        assert_eq!(index.lock(of(106)).take_ghost(of(106)), None);
        assert!(index.lock(of(9)).insert(of(9), 9, |_| 0));
        assert!(index.lock(of(10)).insert(of(10), 10, |ghost| u64::from(ghost.0)));
        let left: Vec<u64> = (101..=106).filter(|&n| index.lock(of(n)).take_ghost(of(n)).is_some()).collect();
        assert_eq!(left.len(), 2);
        assert_eq!(left[1], 105, "the ghost with the least worth was replaced");
        for n in 11..=40 {
            index.lock(of(n)).leave_ghost(of(200 + n), Ghost(1), |_| 0);
            assert!(index.lock(of(n)).insert(of(n), n, |_| 0));
        }
        assert!(live(1, 41));
        index.begin_growth(0, Pace::Wide);
        while index.grow(1000, |_| (), of) != GrowthStep::Over {}
        assert!(live(1, 41), "growth drops ghosts and nothing else");
        for n in 1..=40 {
            let mut bucket = index.lock(of(n));
            let (slot, _) = bucket.find(of(n), |h| h == n).unwrap();
            bucket.remove(slot);
        }
        assert!(index.lock(of(1)).line.next().is_none());
    }
}
