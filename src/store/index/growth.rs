//! Incremental growth: a larger table replaces the current one bucket by bucket.
//!
//! Owns when the table grows, by how much, and the steps. One thread grows the index; other threads find each entry in
//! one of the two tables meanwhile (`Index::lock`). Called by the store.

use super::line::{Line, slots};
use super::{BUCKET_BYTES, GROW_AT, Index, LOW_HALF, MOVED, TABLES_MAX, Table};
use crate::store::slab::touch;
use std::sync::atomic::Ordering::*;

/// Fill at which the table grows to have room for ghosts.
const GROW_FOR_GHOSTS: f64 = 0.6;

/// Maximum fill of a table that has just grown.
const GROW_TO: f64 = 0.75;

/// Distance in buckets at which items are prefetched ahead of the bucket that moves.
const GROW_AHEAD: u64 = 4;

/// Fill at which the table grows where its memory is taken from items: 6.9 to 7.4 bytes per item with overflow lines. A
/// higher fill would need 6.3 bytes but leave too few slots for ghosts: filled to 95 %, a table under Zipf loads misses
/// 1 to 2 % more than one filled to 70 %, though 2 % more items fit (simulated).
const CROWDED: f64 = 0.85;

/// Maximum fill of a table that has just grown from `CROWDED`: it grows by an eighth.
const CROWD_TO: f64 = 0.76;

/// Fill at which the table grows although classes have not given up memory for it yet.
const OVERFULL: f64 = 1.2;

/// The old table's memory is returned to the kernel each time this many buckets have moved: 4 MB, two huge pages.
const DISCARD_BUCKETS: u64 = 1 << 16;

/// Buckets touched together: 2 MB, a huge page.
const TOUCH_BUCKETS: u64 = 1 << 15;

/// Buckets per overflow line touched ahead of use: a table about to grow uses one line per four buckets.
const BUCKETS_A_LINE: u64 = 4;

/// Minimum and maximum lines touched ahead: a small page and 0.5 MB. Four million items per second use 0.5 MB in 50 ms.
const LINES_AHEAD: (u64, u64) = (1 << 8, 1 << 15);

/// Maximum buckets of a table: as many as the upper half of a hash can name (`place_of`). With 51 billion items and no
/// overflow line left, a store is refused with out of memory.
pub(super) const BUCKETS_MAX: u64 = 1 << 32;

/// Buckets in a small page.
const PAGE_BUCKETS: u64 = 4096 / BUCKET_BYTES as u64;

/// How far a table grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// By a third: over all growths an item moves about three times.
    Wide,
    /// By an eighth, where memory is scarcer than time.
    Narrow,
}

/// What a growth step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrowthStep {
    /// The growth is complete, or none is in progress.
    Over,
    /// Memory was touched or returned to the kernel. That can be slow, but no lock was held.
    Memory,
    /// Buckets were moved.
    Buckets,
}

impl Table {
    /// Number of buckets of the successor, which should hold `items` items.
    pub(super) fn next_len(&self, items: u64, pace: Pace) -> u64 {
        let (part, fill) = match pace {
            Pace::Wide => (3, GROW_TO),
            Pace::Narrow => (8, CROWD_TO),
        };
        let wanted = (items as f64 / (self.slots() as f64 / self.len as f64 * fill)) as u64;
        (self.len + self.len / part + 1).max(wanted).min(BUCKETS_MAX)
    }

    /// Touches the memory of the buckets up to `last`, and of some more; false if it has been touched. The first touch
    /// of a huge page takes 0.1 ms, several in a virtual machine, so no bucket may be locked.
    fn touch(&self, last: u64) -> bool {
        let touched = self.touched.load(Relaxed);
        if last.min(self.len - 1) < touched {
            return false;
        }
        let until = (touched + TOUCH_BUCKETS).max((last + 1).next_multiple_of(PAGE_BUCKETS)).min(self.len);
        for bucket in (touched..until).step_by(PAGE_BUCKETS as usize) {
            touch(&self.line(bucket as usize).words[0]);
        }
        self.touched.store(until, Relaxed);
        true
    }

    /// Touches the memory of the overflow lines that come into use next; false if it has been touched. Any insertion
    /// may use one, and the fuller the table the more do.
    fn touch_lines(&self) -> bool {
        self.overflow.touch((self.len / BUCKETS_A_LINE).clamp(LINES_AHEAD.0, LINES_AHEAD.1) as u32)
    }

    /// Returns the memory of the first `moved` buckets to the kernel, in units of `DISCARD_BUCKETS`, and of the whole
    /// table once all have moved. So two whole tables never coexist in memory.
    fn give_back(&self, moved: u64) -> bool {
        let given_back = self.given_back.load(Relaxed);
        let all = self.buckets.words().len() / Line::BUCKET;
        let until = if moved == self.len { all as u64 } else { moved / DISCARD_BUCKETS * DISCARD_BUCKETS };
        if until <= given_back {
            return false;
        }
        self.buckets.discard(given_back as usize * Line::BUCKET, until as usize * Line::BUCKET);
        self.given_back.store(until, Relaxed);
        true
    }
}

impl Index {
    /// Whether the index is growing.
    pub fn is_growing(&self) -> bool {
        self.current.load(Acquire) >> 32 != 0
    }

    /// Whether growth may begin: the index may grow, is not growing, and its table is not the largest.
    fn has_successor(&'static self) -> bool {
        let current = self.current.load(Acquire);
        let last = |number: u64| number as usize + 1 >= TABLES_MAX || self.table(number).len >= BUCKETS_MAX;
        self.may_grow && current >> 32 == 0 && !last(current)
    }

    /// Whether the table is full enough to grow.
    pub fn wants_growth(&'static self, items: u64) -> bool {
        self.is_filled(items, GROW_AT) && self.has_successor()
    }

    /// Whether the table is full enough to grow for the sake of ghosts.
    pub fn is_short_of_ghosts(&'static self, items: u64) -> bool {
        self.is_filled(items, GROW_FOR_GHOSTS) && self.has_successor()
    }

    /// Whether the table is full enough to grow at the cost of item memory.
    pub fn is_crowded(&'static self, items: u64) -> bool {
        self.is_filled(items, CROWDED)
    }

    /// Whether the table is so full that it must grow before classes have given up memory.
    pub fn is_overfull(&'static self, items: u64) -> bool {
        self.is_filled(items, OVERFULL)
    }

    fn is_filled(&'static self, items: u64, part: f64) -> bool {
        let table = self.table(self.current.load(Acquire) & LOW_HALF);
        items as f64 > table.slots() as f64 * part
    }

    /// Bytes of the successor's buckets with `items` items, without overflow lines.
    pub fn bytes_when_grown(&'static self, items: u64, pace: Pace) -> u64 {
        self.table(self.current.load(Acquire) & LOW_HALF).next_len(items, pace) * BUCKET_BYTES as u64
    }

    /// Touches the memory of the overflow lines that come into use next while the index does not grow; false if it has
    /// been touched. Called by the growing thread only.
    pub fn touch_ahead(&'static self) -> bool {
        self.table(self.current.load(Acquire) & LOW_HALF).touch_lines()
    }

    /// Begins to grow at `pace`, or by as much as `items` items need if that is more. False if growth may not begin, or
    /// without address space.
    pub fn begin_growth(&'static self, items: u64, pace: Pace) -> bool {
        if !self.has_successor() {
            return false;
        }
        let current = self.current.load(Acquire);
        let next = current + 1;
        let old = self.table(current);
        let len = old.next_len(items, pace);
        let Some(table) = Table::new(len, old.overflow.is_long(), self.lean) else { return false };
        if self.tables[next as usize].set(table).is_err() {
            return false;
        }
        self.current.store(next | (current + 1) << 32, Release);
        true
    }

    /// Does one step of growth: touches or returns memory, or moves up to `buckets` buckets to the new table. `hash_of`
    /// returns the hash of a linked handle, `ahead` prefetches what it reads. Called by one thread; each bucket is
    /// locked only while it moves.
    pub fn grow(&'static self, buckets: u64, ahead: impl Fn(u64), mut hash_of: impl FnMut(u64) -> u64) -> GrowthStep {
        let current = self.current.load(Acquire);
        if current >> 32 == 0 {
            return GrowthStep::Over;
        }
        let old = self.table((current >> 32) - 1);
        let new = self.table(current & LOW_HALF);
        let from = old.cursor.load(Relaxed);
        let to = (from + buckets).min(old.len);
        let last = to * new.len / old.len;
        if old.give_back(from) || new.touch(last) || new.touch_lines() || old.touch_lines() {
            return GrowthStep::Memory;
        }
        for number in from..to {
            if number + GROW_AHEAD < old.len {
                let line = old.line((number + GROW_AHEAD) as usize);
                slots(line.used() & line.own_slots()).for_each(|slot| ahead(line.handle(slot)));
            }
            let bucket = old.lock(number as usize);
            bucket.for_each(|handle| {
                let hash = hash_of(handle);
                let fits = new.lock(new.bucket_of(hash)).insert(hash, handle, |_| 0);
                debug_assert!(fits, "the new table has overflow lines for every item of the old one");
            });
            bucket.line.change_bits(0, MOVED);
        }
        old.cursor.store(to, Release);
        if to < old.len {
            return GrowthStep::Buckets;
        }
        self.current.store(current & LOW_HALF, Release);
        old.give_back(old.len);
        old.overflow.discard();
        GrowthStep::Over
    }
}
