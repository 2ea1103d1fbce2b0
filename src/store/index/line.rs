//! Bit layout of a line of tagged handles: the words of a bucket, or of an overflow line.
//!
//! ```text
//! bucket          word 0     low half: version << 3 | chain << 2 | moved << 1 | lock     high half: tags 0..4
//!                 word 1     tags 4..12
//!                 word 2..8  handles 0..12, two per word
//! overflow line   word 0     low half: tags 0..3, chain << 24     high half: handle 0
//!                 word 1     handles 1 and 2
//!
//! With handles of 40 bits, of which a half word has the lower 32:
//! bucket          word 1     tags 4..10, upper bits 0..2
//!                 word 2     upper bits 2..10
//!                 word 3..8  handles 0..10
//! overflow line   word 0     low half: tags 0..2, chain << 24     high half: handle 0
//!                 word 1     low half: handle 1     high half: upper bits 0..2
//! ```
//! Owns the position of tags and handles in a line. Knows neither locks nor what a handle names: a writer holds the
//! bucket's lock, an optimistic read validates what it has read (`optimistic`). Called by the rest of the index.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Tag of the slot that holds the number of the chain's next line.
pub(super) const LINK_TAG: u8 = 255;

/// Tag of a ghost. The last slot has the same tag while it links to an overflow line, and is not searched for ghosts
/// then.
pub(super) const GHOST_TAG: u8 = 255;

const LOW_HALF: u64 = 0xffff_ffff;

/// Entry of an evicted key in its bucket: the 16 bits that `evict/class_stats` computes. When a ghost is stored, 16
/// bits of the key's hash are added.
///
/// The hash bits match a wrong key in one of 2^16 comparisons; this costs a wrong eviction hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ghost(pub u16);

/// The words of a line.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub words: &'static [AtomicU64],
    /// By reference, so that a line fits into registers.
    shape: &'static LineShape,
}

struct LineShape {
    slots: usize,
    /// Byte of the first tag.
    tags: usize,
    /// Half word of the first handle.
    handles: usize,
    /// Byte of the first handle's upper bits; 0 = handles have none.
    upper: usize,
    /// Bit of word 0 that is set while the last slot links to another line.
    chain: u64,
}

impl LineShape {
    const BUCKET: &Self = &Self { slots: 12, tags: 4, handles: 4, upper: 0, chain: 4 };
    const LONG_BUCKET: &Self = &Self { slots: 10, tags: 4, handles: 6, upper: 14, chain: 4 };
    const OVERFLOW: &Self = &Self { slots: 3, tags: 0, handles: 1, upper: 0, chain: 1 << 24 };
    const LONG_OVERFLOW: &Self = &Self { slots: 2, tags: 0, handles: 1, upper: 12, chain: 1 << 24 };
}

impl Line {
    /// Words of a bucket.
    pub const BUCKET: usize = 8;
    /// Words of an overflow line. Short, because a bucket that overflows has only a few keys too many.
    pub const OVERFLOW: usize = 2;

    /// Slots of a bucket, for `long` (40-bit) handles or short ones.
    #[inline]
    pub const fn bucket_slots(long: bool) -> usize {
        if long { LineShape::LONG_BUCKET.slots } else { LineShape::BUCKET.slots }
    }

    /// Bucket `number` of `words`.
    #[inline]
    pub fn bucket(words: &'static [AtomicU64], number: usize, long: bool) -> Self {
        let shape = if long { LineShape::LONG_BUCKET } else { LineShape::BUCKET };
        Self { words: &words[number * Self::BUCKET..][..Self::BUCKET], shape }
    }

    /// Overflow line `number` of `words`; line 0 for an invalid number, which an optimistic read may load.
    #[inline]
    pub fn overflow(words: &'static [AtomicU64], number: u32, long: bool) -> Self {
        let at = number as usize * Self::OVERFLOW;
        let words = words.get(at..at + Self::OVERFLOW).unwrap_or(&words[..Self::OVERFLOW]);
        Self { words, shape: if long { LineShape::LONG_OVERFLOW } else { LineShape::OVERFLOW } }
    }

    /// Number of the chain's next overflow line.
    #[inline]
    pub fn next(self) -> Option<u32> {
        (self.words[0].load(Relaxed) & self.shape.chain != 0).then(|| self.handle(self.shape.slots - 1) as u32)
    }

    /// Slots that may hold handles, as a bit mask: all but one that links to another line.
    #[inline]
    pub fn own_slots(self) -> u32 {
        let linked = self.words[0].load(Relaxed) & self.shape.chain != 0;
        (1 << (self.shape.slots - usize::from(linked))) - 1
    }

    /// Links the chain to an overflow line, by the last slot.
    pub fn link(self, number: u32) {
        self.set(self.shape.slots - 1, LINK_TAG, number.into());
        self.change_bits(0, self.shape.chain);
    }

    /// Ends the chain at this line; the last slot is free then.
    pub fn end(self) {
        self.set(self.shape.slots - 1, 0, 0);
        self.change_bits(self.shape.chain, 0);
    }

    /// Tag and handle of the last slot.
    pub fn last(self) -> (u8, u64) {
        let slot = self.shape.slots - 1;
        (self.tag(slot), self.handle(slot))
    }

    /// Slots with tag `tag`, as a bit mask.
    #[inline]
    pub fn matching(self, tag: u8) -> u32 {
        let pattern = u64::from(tag) * 0x0101_0101_0101_0101;
        let first = zero_bytes(self.words[0].load(Relaxed) ^ pattern) >> self.shape.tags;
        let tags =
            if self.shape.slots > 4 { first | zero_bytes(self.words[1].load(Relaxed) ^ pattern) << 4 } else { first };
        tags & self.all_slots()
    }

    /// Slots with a tag, as a bit mask: handles, ghosts and the link.
    #[inline]
    pub fn used(self) -> u32 {
        !self.matching(0) & self.all_slots()
    }

    #[inline]
    fn all_slots(self) -> u32 {
        (1 << self.shape.slots) - 1
    }

    #[inline]
    pub fn handle(self, slot: usize) -> u64 {
        let half = self.shape.handles + slot;
        let low = self.words[half / 2].load(Relaxed) >> (half % 2 * 32) & LOW_HALF;
        if self.shape.upper == 0 { low } else { low | u64::from(self.byte(self.shape.upper + slot)) << 32 }
    }

    #[inline]
    pub fn tag(self, slot: usize) -> u8 {
        self.byte(self.shape.tags + slot)
    }

    pub fn set(self, slot: usize, tag: u8, handle: u64) {
        self.set_byte(self.shape.tags + slot, tag);
        self.set_handle(slot, handle);
    }

    #[inline]
    pub fn set_handle(self, slot: usize, handle: u64) {
        let half = self.shape.handles + slot;
        let (word, shift) = (&self.words[half / 2], half % 2 * 32);
        word.store(word.load(Relaxed) & !(LOW_HALF << shift) | (handle & LOW_HALF) << shift, Relaxed);
        if self.shape.upper != 0 {
            self.set_byte(self.shape.upper + slot, (handle >> 32) as u8);
        }
    }

    #[inline]
    fn byte(self, at: usize) -> u8 {
        (self.words[at / 8].load(Relaxed) >> (at % 8 * 8)) as u8
    }

    fn set_byte(self, at: usize, byte: u8) {
        let (word, shift) = (&self.words[at / 8], at % 8 * 8);
        word.store(word.load(Relaxed) & !(0xff << shift) | u64::from(byte) << shift, Relaxed);
    }

    pub fn change_bits(self, clear: u64, set: u64) {
        let word = self.words[0].load(Relaxed);
        self.words[0].store(word & !clear | set, Relaxed);
    }
}

/// The slots of a bit mask.
#[inline]
pub(super) fn slots(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let slot = (mask != 0).then(|| mask.trailing_zeros() as usize);
        mask &= mask.wrapping_sub(1);
        slot
    })
}

/// One bit for each zero byte of `x`.
#[inline]
fn zero_bytes(x: u64) -> u32 {
    const LOW7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let zero = !((x & LOW7).wrapping_add(LOW7) | x | LOW7);
    // Gathers the eight high bits into one byte.
    ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_bytes_finds_exactly_the_zeroes() {
        assert_eq!(zero_bytes(0x0001_ff00_8000_0100), 0b1001_0101);
        assert_eq!(zero_bytes(u64::MAX), 0);
        assert_eq!(zero_bytes(0), 0xff);
        for byte in 0..8 {
            assert_eq!(zero_bytes(!(0xff << (byte * 8))), 1 << byte);
        }
    }

    #[test]
    fn slots_do_not_affect_each_other() {
        for long in [false, true] {
            let words: &'static [AtomicU64] = Box::leak(Box::new([const { AtomicU64::new(0) }; 16]));
            let top = if long { 0xfe_ffff_fff0 } else { 0xffff_fff0 };
            for line in [Line::bucket(words, 1, long), Line::overflow(words, 1, long)] {
                let count = line.own_slots().count_ones() as usize;
                for slot in 0..count {
                    assert_eq!(line.used(), (1 << slot) - 1);
                    line.set(slot, slot as u8 + 1, top + slot as u64);
                }
                assert_eq!(line.last(), (count as u8, top + count as u64 - 1));
                assert_eq!(line.next(), None);
                line.link(0x8765_4321);
                assert_eq!(line.next(), Some(0x8765_4321));
                assert_eq!(line.own_slots(), (1 << (count - 1)) - 1);
                for slot in 0..count - 1 {
                    assert_eq!(line.matching(slot as u8 + 1), 1 << slot);
                    assert_eq!((line.tag(slot), line.handle(slot)), (slot as u8 + 1, top + slot as u64));
                    line.set(slot, 0, 0);
                }
                line.end();
                assert!(line.used() == 0 && line.words.iter().all(|word| word.load(Relaxed) == 0));
            }
            assert!(words[..2].iter().chain(&words[4..8]).all(|word| word.load(Relaxed) == 0));
        }
    }
}
