//! What is known of a class without its lock.
//!
//! Owns the times by which ghosts age, what ghosts say when their keys come back, the ring's share that follows
//! from it, and the time that the hand takes for a round, by which a key's return is judged. Who holds a bucket tells a
//! class's [`ClassStats`] or asks them, because he must not take the class's lock; `policy` counts in what they say. Where the
//! figures come from: docs/memory.md.

use crate::store::index::Ghost;
use crate::store::item::Handles;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The ring's share of a class's memory at first, in ten-thousandths, and less where the ring's entries, of 4 bytes each,
/// would take more than a hundredth of it.
const SHARE: u32 = 3500;
/// Bounds of the share while it adapts.
const SHARE_MIN: u32 = 100;
const SHARE_MAX: u32 = 8000;

/// What a young ghost of the ring adds to the share, and one of the main part takes from it. Ghosts of the ring are
/// young for ten times as many evictions, so they are met ten times as often.
const LONGER: i64 = 2;
const SHORTER: i64 = 20;

/// Ghosts of the ring count for as many evictions from it as the class has items; those of the main part for a
/// third of that. In the first part of its time a ghost is young.
const MAIN_PART: u64 = 3;
const YOUNG_PART: u64 = 10;
const YOUNG_MAIN_PART: u64 = 100;

/// A key is let into the main part for having come back if that was within this part of the hand's round: nobody has
/// read the next victim for a round. Where its class remembers how often it has left (`history`), that tells more.
const ROUND_PART: u64 = 5;
const ROUND_PART_KEPT: u64 = 15;

/// Parts of a round in which its time is taken, and how many of the latest count.
const ROUND_STEPS: u64 = 32;
const ROUND_MEMORY: u64 = 8;

/// The longest round that is told from longer ones, in evictions an item. Ghosts live for less than a part of it.
const ROUND_MAX: u64 = 8;

/// Bits in which a class's items are counted for the ages of ghosts: ages have 15 bits, so they are right to a
/// thousandth of the time for which a ghost counts, and come round after 16 times that.
const AGE_BITS: u32 = 11;

/// Where a victim stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// At the end of the ring.
    Ring,
    /// Under the hand.
    Main,
}

/// What is known of a class without its lock: who holds a bucket must not take it.
#[derive(Default)]
#[repr(align(128))]
pub struct ClassStats {
    /// COLD items that a hit has made WARM.
    rewarmed: AtomicU64,
    /// Evictions from the ring and from the main part: the times by which ghosts age.
    evicted: [AtomicU64; 2],
    /// Items of the class, as of the last search for a victim.
    items: AtomicU64,
    /// Evictions from the ring up to which a ghost of it speaks for its key, plus 1; 0 = as long as it counts.
    speaking: AtomicU64,
    /// What ghosts have said of the ring's share, not yet counted in.
    lean: AtomicI64,
    /// Ghosts met while they counted.
    ghost_hits: AtomicU64,
    /// How often there was no memory.
    refused: AtomicU64,
}

impl ClassStats {
    /// Notes that a hit made a COLD item WARM.
    #[inline]
    pub fn rewarm(&self) {
        self.rewarmed.fetch_add(1, Relaxed);
    }

    /// COLD items that a hit has made WARM, since the start.
    pub fn rewarmed(&self) -> u64 {
        self.rewarmed.load(Relaxed)
    }

    /// Notes that there was no memory.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// How often there was no memory, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Ghosts met while they counted, since the start: items that more memory would have kept.
    pub fn ghost_hits(&self) -> u64 {
        self.ghost_hits.load(Relaxed)
    }

    /// Counts an eviction; gives the ghost to leave.
    pub fn ghost(&self, part: Part) -> Ghost {
        let now = self.evicted[part as usize].fetch_add(1, Relaxed) + 1;
        Ghost((now >> self.scale()) as u16 & 0x7fff | u16::from(part == Part::Main) << 15)
    }

    /// How long a ghost will count, for comparing; 0 = no longer.
    pub fn worth(&self, ghost: Ghost) -> u64 {
        let (age, span) = self.age(ghost);
        // In parts of a ghost's own time: those of the main part are as dear as those of the ring.
        (span + 1).saturating_sub(age) * if is_main(ghost) { MAIN_PART } else { 1 }
    }

    /// Takes note of a ghost whose key comes back; true if it speaks for the key.
    pub fn meet(&self, ghost: Ghost) -> bool {
        let (age, span) = self.age(ghost);
        if age > span {
            return false;
        }
        self.ghost_hits.fetch_add(1, Relaxed);
        let items = self.items.load(Relaxed) >> self.scale();
        let (young, lean) =
            if is_main(ghost) { (items / YOUNG_MAIN_PART, -SHORTER) } else { (items / YOUNG_PART, LONGER) };
        if age <= young {
            self.lean.fetch_add(lean, Relaxed);
        }
        is_main(ghost) || self.speaking.load(Relaxed).checked_sub(1).is_none_or(|until| age <= until >> self.scale())
    }

    /// Evictions so far.
    pub fn evicted(&self) -> u64 {
        self.evicted.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Notes how many items the class has.
    pub fn note_items(&self, items: u64) {
        self.items.store(items, Relaxed);
    }

    /// A ghost's age, and the age up to which it counts.
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

/// How long the hand takes for a round, in evictions from the ring.
#[derive(Default)]
pub struct ClockPeriod {
    /// Slots that it has passed since the last measurement, and when that was.
    passed: u64,
    since: u64,
    /// The mean of the latest; 0 = not known yet.
    length: u64,
}

impl ClockPeriod {
    /// Counts a slot that the hand passes.
    #[inline]
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    /// Evictions from the ring in a round, if any is known.
    pub fn length(&self) -> Option<u64> {
        (self.length > 0).then_some(self.length)
    }

    /// Says how long ghosts speak for their keys, if the hand has come far enough to tell. A round has `slots` of them.
    /// `kept` says that the class has a history.
    pub fn measure(&mut self, slots: u64, stats: &ClassStats, kept: bool) {
        if self.passed == 0 || self.passed * ROUND_STEPS < slots {
            return;
        }
        let now = stats.evicted[Part::Ring as usize].load(Relaxed);
        let longest = ROUND_MAX * stats.items.load(Relaxed);
        let whole = u128::from(now - self.since) * u128::from(slots) / u128::from(self.passed);
        let whole = whole.min(longest.into()) as u64;
        let before = if self.length == 0 { whole } else { self.length };
        self.length = (before * (ROUND_MEMORY - 1) + whole) / ROUND_MEMORY;
        (self.passed, self.since) = (0, now);
        let part = if kept { ROUND_PART_KEPT } else { ROUND_PART };
        stats.speaking.store(self.length / part + 1, Relaxed);
    }
}

/// The ring's part of its class, in ten-thousandths.
#[derive(Clone, Copy, Default)]
pub struct HotRatio(u32);

impl HotRatio {
    /// The share at first, in a class of chunks of `stride` bytes.
    pub fn new(stride: usize) -> Self {
        let hundredth = 10_000 / 100 * stride / Handles::ENTRY;
        Self((hundredth as u32).min(SHARE))
    }

    /// In ten-thousandths.
    pub fn parts(self) -> u32 {
        self.0
    }

    /// Counts in what ghosts have said.
    pub fn adapt(&mut self, stats: &ClassStats) {
        if stats.lean.load(Relaxed) != 0 {
            let lean = stats.lean.swap(0, Relaxed);
            self.0 = (i64::from(self.0) + lean).clamp(SHARE_MIN.into(), SHARE_MAX.into()) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEMS: u32 = 1000;

    /// Evicts `count` items from the ring; gives the ghost of the first.
    fn evict(stats: &ClassStats, count: u32) -> Ghost {
        let ghost = stats.ghost(Part::Ring);
        (1..count).for_each(|_| _ = stats.ghost(Part::Ring));
        ghost
    }

    /// Takes the hand round, while `count` items leave the ring.
    fn go_round(round: &mut ClockPeriod, stats: &ClassStats, count: u32) {
        for n in 0..ITEMS {
            round.pass();
            if n % (ITEMS / count.min(ITEMS)) == 0 {
                evict(stats, count.div_ceil(ITEMS));
            }
            round.measure(ITEMS.into(), stats, false);
        }
    }

    #[test]
    fn a_ghost_speaks_for_a_part_of_the_hands_round() {
        let (stats, mut round) = (ClassStats::default(), ClockPeriod::default());
        stats.note_items(ITEMS.into());
        assert!(stats.meet(evict(&stats, 900)), "nothing is known of the hand");
        assert!(!stats.meet(evict(&stats, 1100)), "the ghost counts no longer");
        (0..3).for_each(|_| go_round(&mut round, &stats, ITEMS));
        assert!(stats.meet(evict(&stats, 150)));
        let hits = stats.ghost_hits();
        assert!(!stats.meet(evict(&stats, 300)), "who nobody reads stays for three times as long");
        assert_eq!(stats.ghost_hits(), hits + 1, "more memory would have kept it all the same");
        (0..3).for_each(|_| go_round(&mut round, &stats, 4 * ITEMS));
        assert!(stats.meet(evict(&stats, 600)));
        (0..3).for_each(|_| go_round(&mut round, &stats, 100));
        assert!(!stats.meet(evict(&stats, 100)));
        let of_main = stats.ghost(Part::Main);
        assert!(stats.meet(of_main));
    }

    #[test]
    fn ghosts_age_alike_however_many_items_have_been_evicted() {
        // With 300 million items an age needs more bits of the count than 32 leave it.
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
    fn a_round_of_any_length_is_measured() {
        let (stats, mut round) = (ClassStats::default(), ClockPeriod::default());
        stats.note_items(1 << 40);
        for evicted in [1_u64 << 20, 1 << 33, 1 << 45, 1 << 62] {
            stats.evicted[Part::Ring as usize].store(evicted, Relaxed);
            round.passed = 1 << 38;
            round.measure(1 << 40, &stats, false);
            assert!(round.length().is_some_and(|length| length <= ROUND_MAX << 40));
        }
        assert!(round.length() > Some(1 << 40));
    }

    #[test]
    fn ghosts_not_yet_counted_in_do_not_turn_the_share_round() {
        let (stats, mut share) = (ClassStats::default(), HotRatio::new(1 << 19));
        stats.lean.store(i64::from(i32::MAX) - LONGER / 2, Relaxed);
        stats.note_items(ITEMS.into());
        let ghost = stats.ghost(Part::Ring);
        assert!(stats.meet(ghost));
        share.adapt(&stats);
        assert_eq!(share.parts(), SHARE_MAX);
    }

    #[test]
    fn the_rings_entries_take_a_hundredth_at_first() {
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
