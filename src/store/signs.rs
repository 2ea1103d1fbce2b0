//! What is known of a class without its lock.
//!
//! Owns the times by which ghosts age, what ghosts say when their keys come back, and the ring's share that follows
//! from it. Who holds a bucket tells a class's [`Signs`] or asks them, because he must not take the class's lock; `policy`
//! counts in what they say. Where the figures come from: docs/memory.md.

use super::arena::Handle;
use super::index::Ghost;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};

/// The ring's share of a class's memory at first, in ten-thousandths, and less where the ring's entries, of 4 bytes each,
/// would take more than a hundredth of it.
const SHARE: u32 = 3500;
/// Bounds of the share while it adapts.
const SHARE_MIN: u32 = 100;
const SHARE_MAX: u32 = 8000;

/// What a young ghost of the ring adds to the share, and one of the main part takes from it. Ghosts of the ring are
/// looked at for ten times as many evictions, so they are met ten times as often.
const LONGER: i32 = 2;
const SHORTER: i32 = 20;

/// Ghosts of the ring count for as many evictions from it as the class has items; those of the main part for a
/// tenth of that. A tenth of its time a ghost is young.
const MAIN_PART: u32 = 10;
const YOUNG_PART: u32 = 10;

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
pub struct Signs {
    /// COLD items that a hit has made WARM.
    rewarmed: AtomicU64,
    /// Evictions from the ring and from the main part: the times by which ghosts age.
    evicted: [AtomicU32; 2],
    /// Items of the class, as of the last search for a victim.
    items: AtomicU32,
    /// What ghosts have said of the ring's share, not yet counted in.
    lean: AtomicI32,
    /// Ghosts met while they counted.
    ghost_hits: AtomicU64,
}

impl Signs {
    /// Notes that a hit made a COLD item WARM.
    #[inline]
    pub fn rewarm(&self) {
        self.rewarmed.fetch_add(1, Relaxed);
    }

    /// COLD items that a hit has made WARM, since the start.
    pub fn rewarmed(&self) -> u64 {
        self.rewarmed.load(Relaxed)
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
    pub fn worth(&self, ghost: Ghost) -> u32 {
        let (age, span) = self.age(ghost);
        // In parts of a ghost's own time: those of the main part are as dear as those of the ring.
        (span + 1).saturating_sub(age) * if is_main(ghost) { MAIN_PART } else { 1 }
    }

    /// Takes note of a ghost whose key comes back; true if it counts.
    pub fn meet(&self, ghost: Ghost) -> bool {
        let (age, span) = self.age(ghost);
        let counts = age <= span;
        if counts {
            self.ghost_hits.fetch_add(1, Relaxed);
            if age <= span / YOUNG_PART {
                self.lean.fetch_add(if is_main(ghost) { -SHORTER } else { LONGER }, Relaxed);
            }
        }
        counts
    }

    /// Evictions so far.
    pub fn evicted(&self) -> u32 {
        self.evicted.iter().map(|count| count.load(Relaxed)).fold(0, u32::wrapping_add)
    }

    /// Notes how many items the class has.
    pub fn note_items(&self, items: u64) {
        self.items.store(items as u32, Relaxed);
    }

    /// A ghost's age, and the age up to which it counts.
    fn age(&self, ghost: Ghost) -> (u32, u32) {
        let main = is_main(ghost);
        let now = self.evicted[usize::from(main)].load(Relaxed) >> self.scale();
        let age = now.wrapping_sub(u32::from(ghost.0)) & 0x7fff;
        let span = self.items.load(Relaxed) >> self.scale();
        (age, if main { span / MAIN_PART } else { span })
    }

    fn scale(&self) -> u32 {
        (u32::BITS - self.items.load(Relaxed).leading_zeros()).saturating_sub(AGE_BITS)
    }
}

fn is_main(ghost: Ghost) -> bool {
    ghost.0 >> 15 != 0
}

/// The ring's part of its class, in ten-thousandths.
#[derive(Clone, Copy, Default)]
pub struct Share(u32);

impl Share {
    /// The share at first, in a class of chunks of `stride` bytes.
    pub fn new(stride: usize) -> Self {
        let hundredth = 10_000 / 100 * stride / size_of::<Handle>();
        Self((hundredth as u32).min(SHARE))
    }

    /// In ten-thousandths.
    pub fn parts(self) -> u32 {
        self.0
    }

    /// Counts in what ghosts have said.
    pub fn adapt(&mut self, signs: &Signs) {
        if signs.lean.load(Relaxed) != 0 {
            let lean = signs.lean.swap(0, Relaxed);
            self.0 = self.0.saturating_add_signed(lean).clamp(SHARE_MIN, SHARE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rings_entries_take_a_hundredth_at_first() {
        for stride in (24..2000).step_by(8) {
            let ring = Share::new(stride).parts() as usize * size_of::<Handle>();
            assert!(ring <= 10_000 / 100 * stride, "{stride}");
        }
        assert_eq!(
            [48, 80, 136, 152, 1 << 19].map(|stride| Share::new(stride).parts()),
            [1200, 2000, 3400, 3500, 3500]
        );
    }
}
