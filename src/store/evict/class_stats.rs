//! Lock-free class statistics, and the figures that eviction derives from them.
//!
//! The terms are those of `s3fifo`: new items enter the ring and reach the main part if they are read; the hand is the
//! clock hand over the main part, and the clock period is one round of it. A ghost is what stays of an evicted key
//! (`index/ghost`).
//!
//! Owns the clocks by which ghosts age, the verdict on the ghost of a returning key, the ring's share of a class, which
//! these verdicts change, and the measured length of the clock period. A bucket lock holder reads and updates a class's
//! [`ClassStats`], because it must not take the class lock; `queues` applies what accumulates there. Source of the
//! figures: docs/research/eviction.md.

use crate::cache_lines::{Shared, wrote};
use crate::store::index::Ghost;
use crate::store::item::Handles;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Initial share of the ring in a class's memory, in ten-thousandths; less where the ring's entries, of 4 bytes each,
/// would take more than a hundredth of that memory.
const SHARE: u32 = 3500;
/// Bounds of the share while it adapts.
const SHARE_MIN: u32 = 100;
const SHARE_MAX: u32 = 8000;

/// Added to the share per hit of a young ghost of the ring, and subtracted per hit of one of the main part. Ghosts of
/// the ring are young for ten times as many evictions, so their hits are ten times as frequent.
const LONGER: i64 = 2;
const SHORTER: i64 = 20;

/// Lifetimes of ghosts. A ghost of the ring counts until the ring has evicted as many items as the class has; one of
/// the main part, until the main part has evicted a third as many. A ghost is young for a tenth (ring) or a hundredth
/// (main part) of as many evictions as the class has items.
const MAIN_PART: u64 = 3;
const YOUNG_PART: u64 = 10;
const YOUNG_MAIN_PART: u64 = 100;

/// A key that returns within this part of the clock period after its eviction from the ring is admitted to the main
/// part: the hand's next victim there has been unread for a whole period. The smaller part is for classes with a
/// `history`, which counts evictions per key and judges better.
const PERIOD_PART: u64 = 5;
const PERIOD_PART_KEPT: u64 = 15;

/// The clock period is measured after each 1/32 of it; its length is a moving average, each measurement weighted 1/8.
const PERIOD_STEPS: u64 = 32;
const PERIOD_MEMORY: u64 = 8;

/// Longest clock period that is measured, in evictions per item. Ghosts live for less than a part of it.
const PERIOD_MAX: u64 = 8;

/// Resolution of ghost ages: item counts are scaled to this many bits. Ages have 15 bits, so they are exact to a
/// thousandth of a ghost's lifetime and wrap after at least 16 lifetimes.
const AGE_BITS: u32 = 11;

/// Queue that a victim came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The ring; the victim was at its end.
    Ring,
    /// The main part; the victim was under the hand.
    Main,
}

/// Lock-free class statistics. A bucket lock holder must not take the class lock.
#[derive(Default)]
#[repr(align(128))]
pub struct ClassStats {
    /// COLD items made WARM by a hit.
    rewarmed: AtomicU64,
    /// Evictions from the ring and from the main part: the clocks by which ghosts age.
    evicted: [AtomicU64; 2],
    /// Items of the class, as of the last search for a victim.
    items: AtomicU64,
    /// Highest age in evictions at which a ring ghost admits its key to the main part, plus 1; 0 = as long as it
    /// counts.
    admit_age: AtomicU64,
    /// Change of the ring's share from ghost hits, not yet applied.
    share_change: AtomicI64,
    /// Keys that returned while their ghosts counted.
    ghost_hits: AtomicU64,
    /// Number of allocations refused for lack of memory.
    refused: AtomicU64,
}

impl ClassStats {
    /// Counts a COLD item that a hit made WARM.
    #[inline]
    pub fn rewarm(&self) {
        wrote(Shared::Stats, &self.rewarmed);
        self.rewarmed.fetch_add(1, Relaxed);
    }

    /// COLD items made WARM by a hit, since the start.
    pub fn rewarmed(&self) -> u64 {
        self.rewarmed.load(Relaxed)
    }

    /// Counts an allocation refused for lack of memory.
    pub fn refuse(&self) {
        wrote(Shared::Stats, &self.refused);
        self.refused.fetch_add(1, Relaxed);
    }

    /// Allocations refused for lack of memory, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Keys that returned while their ghosts counted, since the start: more memory would have kept their items.
    pub fn ghost_hits(&self) -> u64 {
        self.ghost_hits.load(Relaxed)
    }

    /// Counts an eviction; returns the ghost for the victim's bucket.
    pub fn ghost(&self, part: Part) -> Ghost {
        wrote(Shared::Stats, &self.evicted[part as usize]);
        let now = self.evicted[part as usize].fetch_add(1, Relaxed) + 1;
        Ghost((now >> self.scale()) as u16 & 0x7fff | u16::from(part == Part::Main) << 15)
    }

    /// Remaining lifetime of a ghost, for comparison; 0 = too old to count.
    pub fn worth(&self, ghost: Ghost) -> u64 {
        let (age, span) = self.age(ghost);
        // Scaled, so that a full lifetime is worth the same in both parts.
        (span + 1).saturating_sub(age) * if is_main(ghost) { MAIN_PART } else { 1 }
    }

    /// Records the ghost of a returning key; returns whether it admits the key to the main part.
    pub fn meet(&self, ghost: Ghost) -> bool {
        let (age, span) = self.age(ghost);
        if age > span {
            return false;
        }
        wrote(Shared::Stats, &self.ghost_hits);
        self.ghost_hits.fetch_add(1, Relaxed);
        let items = self.items.load(Relaxed) >> self.scale();
        let (young, lean) =
            if is_main(ghost) { (items / YOUNG_MAIN_PART, -SHORTER) } else { (items / YOUNG_PART, LONGER) };
        if age <= young {
            self.share_change.fetch_add(lean, Relaxed);
        }
        is_main(ghost) || self.admit_age.load(Relaxed).checked_sub(1).is_none_or(|until| age <= until >> self.scale())
    }

    /// Total evictions.
    pub fn evicted(&self) -> u64 {
        self.evicted.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Sets the number of items of the class.
    pub fn note_items(&self, items: u64) {
        wrote(Shared::Stats, &self.items);
        self.items.store(items, Relaxed);
    }

    /// Returns a ghost's age, and the age up to which it counts.
    fn age(&self, ghost: Ghost) -> (u64, u64) {
        let main = is_main(ghost);
        let now = self.evicted[usize::from(main)].load(Relaxed) >> self.scale();
        let age = now.wrapping_sub(u64::from(ghost.0)) & 0x7fff;
        let span = self.items.load(Relaxed) >> self.scale();
        (age, if main { span / MAIN_PART } else { span })
    }

    fn scale(&self) -> u32 {
        (u64::BITS - self.items.load(Relaxed).leading_zeros()).saturating_sub(AGE_BITS)
    }
}

fn is_main(ghost: Ghost) -> bool {
    ghost.0 >> 15 != 0
}

/// Length of the clock period, in evictions from the ring.
#[derive(Default)]
pub struct ClockPeriod {
    /// Slots passed since the last measurement, and the evictions at that time.
    passed: u64,
    since: u64,
    /// Mean of the latest measurements; 0 = not known yet.
    length: u64,
}

impl ClockPeriod {
    /// Counts a slot that the hand passes.
    #[inline]
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    /// Evictions from the ring in a clock period, if known.
    pub fn length(&self) -> Option<u64> {
        (self.length > 0).then_some(self.length)
    }

    /// Updates the period's length and the age at which ghosts admit their keys, once the hand has passed enough of
    /// the `slots` of a period. `kept` is set if the class has a history.
    pub fn measure(&mut self, slots: u64, stats: &ClassStats, kept: bool) {
        if self.passed == 0 || self.passed * PERIOD_STEPS < slots {
            return;
        }
        let now = stats.evicted[Part::Ring as usize].load(Relaxed);
        let longest = PERIOD_MAX * stats.items.load(Relaxed);
        let whole = u128::from(now - self.since) * u128::from(slots) / u128::from(self.passed);
        let whole = whole.min(longest.into()) as u64;
        let before = if self.length == 0 { whole } else { self.length };
        self.length = (before * (PERIOD_MEMORY - 1) + whole) / PERIOD_MEMORY;
        (self.passed, self.since) = (0, now);
        let part = if kept { PERIOD_PART_KEPT } else { PERIOD_PART };
        stats.admit_age.store(self.length / part + 1, Relaxed);
    }
}

/// The ring's share of its class, in ten-thousandths.
#[derive(Clone, Copy, Default)]
pub struct HotRatio(u32);

impl HotRatio {
    /// The initial share in a class of chunks of `stride` bytes.
    pub fn new(stride: usize) -> Self {
        let hundredth = 10_000 / 100 * stride / Handles::ENTRY;
        Self((hundredth as u32).min(SHARE))
    }

    /// The share in ten-thousandths.
    pub fn parts(self) -> u32 {
        self.0
    }

    /// Changes the share by the ghost hits since the last call.
    pub fn adapt(&mut self, stats: &ClassStats) {
        if stats.share_change.load(Relaxed) != 0 {
            let lean = stats.share_change.swap(0, Relaxed);
            self.0 = (i64::from(self.0) + lean).clamp(SHARE_MIN.into(), SHARE_MAX.into()) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: u32 = 1000;

    /// Evicts `count` items from the ring; returns the ghost of the first.
    fn evict(stats: &ClassStats, count: u32) -> Ghost {
        let ghost = stats.ghost(Part::Ring);
        (1..count).for_each(|_| _ = stats.ghost(Part::Ring));
        ghost
    }

    /// Moves the hand through a clock period while `count` items are evicted from the ring.
    fn go_period(period: &mut ClockPeriod, stats: &ClassStats, count: u32) {
        for n in 0..ITEMS {
            period.pass();
            if n % (ITEMS / count.min(ITEMS)) == 0 {
                evict(stats, count.div_ceil(ITEMS));
            }
            period.measure(ITEMS.into(), stats, false);
        }
    }

    #[test]
    fn a_ghost_admits_its_key_for_a_part_of_the_clock_period() {
        let (stats, mut period) = (ClassStats::default(), ClockPeriod::default());
        stats.note_items(ITEMS.into());
        assert!(stats.meet(evict(&stats, 900)), "no period is measured");
        assert!(!stats.meet(evict(&stats, 1100)), "the ghost is too old");
        (0..3).for_each(|_| go_period(&mut period, &stats, ITEMS));
        assert!(stats.meet(evict(&stats, 150)));
        let hits = stats.ghost_hits();
        assert!(!stats.meet(evict(&stats, 300)), "unread items stay three times as long");
        assert_eq!(stats.ghost_hits(), hits + 1, "more memory would have kept it");
        (0..3).for_each(|_| go_period(&mut period, &stats, 4 * ITEMS));
        assert!(stats.meet(evict(&stats, 600)));
        (0..3).for_each(|_| go_period(&mut period, &stats, 100));
        assert!(!stats.meet(evict(&stats, 100)));
        let of_main = stats.ghost(Part::Main);
        assert!(stats.meet(of_main));
    }

    #[test]
    fn ghost_ages_do_not_depend_on_the_eviction_count() {
        // With 300 million items an age needs more bits of the count than a 32-bit counter has.
        for items in [1000_u64, 300_000_000, 5_000_000_000] {
            for first in [1_u64 << 20, (1 << 32) - items / 2, (1 << 40) - items / 2] {
                let stats = ClassStats::default();
                stats.note_items(items);
                let evicted = |n: u64| stats.evicted[Part::Ring as usize].store(n, Relaxed);
                evicted(first);
                let ghost = stats.ghost(Part::Ring);
                for after in [items / 10, items / 2, items * 9 / 10] {
                    evicted(first + after);
                    assert!(stats.worth(ghost) > 0, "{items} items, {after} evictions after {first}");
                }
                for after in [items * 11 / 10, items * 2, items * 10] {
                    evicted(first + after);
                    assert_eq!(stats.worth(ghost), 0, "{items} items, {after} evictions after {first}");
                }
            }
        }
    }

    #[test]
    fn a_clock_period_of_any_length_is_measured() {
        let (stats, mut period) = (ClassStats::default(), ClockPeriod::default());
        stats.note_items(1 << 40);
        for evicted in [1_u64 << 20, 1 << 33, 1 << 45, 1 << 62] {
            stats.evicted[Part::Ring as usize].store(evicted, Relaxed);
            period.passed = 1 << 38;
            period.measure(1 << 40, &stats, false);
            assert!(period.length().is_some_and(|length| length <= PERIOD_MAX << 40));
        }
        assert!(period.length() > Some(1 << 40));
    }

    #[test]
    fn a_large_pending_change_does_not_wrap_the_share() {
        let (stats, mut share) = (ClassStats::default(), HotRatio::new(1 << 19));
        stats.share_change.store(i64::from(i32::MAX) - LONGER / 2, Relaxed);
        stats.note_items(ITEMS.into());
        let ghost = stats.ghost(Part::Ring);
        assert!(stats.meet(ghost));
        share.adapt(&stats);
        assert_eq!(share.parts(), SHARE_MAX);
    }

    #[test]
    fn ring_entries_initially_take_at_most_a_hundredth() {
        for stride in (24..2000).step_by(8) {
            let ring = HotRatio::new(stride).parts() as usize * Handles::ENTRY;
            assert!(ring <= 10_000 / 100 * stride, "{stride}");
        }
        assert_eq!(
            [48, 80, 136, 152, 1 << 19].map(|stride| HotRatio::new(stride).parts()),
            [1200, 2000, 3400, 3500, 3500]
        );
    }
}
