//! Word 0 of an item: what the item has, and what state it is in.
//!
//! Owns the bits and where the header's words are that they speak of; the layout as a whole stands in `item`. Knows no
//! locks. Used wherever the store looks at a chunk without needing its item.

use super::atomic_bytes::WORD;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Words that every item has.
pub(in crate::store) const FIXED: usize = 3;

/// What the length in word 0 says from here on.
pub(in crate::store) mod length {
    /// With the upper bits of the value's length: the lower eight are in `more`, with the expiry time.
    pub const MORE: u8 = 224;
    /// `ext` has it, whatever it is.
    pub const EXT: u8 = 254;
    /// The same, and the value is large.
    pub const LARGE: u8 = 255;
}

/// What a chunk is that holds no item.
pub mod kind {
    /// Taken by somebody who has not written it yet, or never used.
    pub const TAKEN: u8 = 0;
    /// On its class's free list.
    pub const FREE: u8 = 1;
    /// Part of a large item's value.
    pub const CHAIN: u8 = 2;
    /// Free, on a page that leaves its class.
    pub const DRAINED: u8 = 3;
}

/// Item flags: what the item has.
pub mod iflag {
    /// Client flags are stored.
    pub const FLAGS: u8 = 1;
    /// The ext word is there.
    pub const EXT: u8 = 2;
    /// The CAS word is there.
    pub const CAS: u8 = 4;
    /// The value is a chain of chunks.
    pub const CHUNKED: u8 = 8;
    /// The key was given as base64.
    pub const KEY_BINARY: u8 = 16;
    /// Marked stale by a meta delete or set.
    pub const STALE: u8 = 32;
    /// The win token is out.
    pub const TOKEN: u8 = 64;
    /// Never expires.
    pub const NO_EXPIRY: u8 = 128;
}

/// State bits: where the item is.
pub mod state {
    /// Mask of the access frequency, saturating at 3.
    pub const FREQ: u8 = 3;
    /// Mask of the segment label.
    pub const SEGMENT: u8 = 12;
    /// Label of new items.
    pub const HOT: u8 = 0;
    /// Label of items promoted after an access.
    pub const WARM: u8 = 4;
    /// Label of items that left HOT unread, or used up their second chances.
    pub const COLD: u8 = 8;
    /// Label of items with a short time to live, which are never evicted.
    pub const TEMP: u8 = 12;
    /// Reachable through the index.
    pub const LINKED: u8 = 16;
    /// Read at least once since it was stored.
    pub const FETCHED: u8 = 32;
    /// Read at least twice.
    pub const ACTIVE: u8 = 64;
    /// Its handle is in the class's FIFO ring; outlives the item, because the ring entry does.
    pub const RING: u8 = 128;
    /// Every bit that a saturated hit would set.
    pub const SATURATED: u8 = FREQ | FETCHED | ACTIVE;
}

/// Word 0, decoded where asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header(pub u32);

impl Header {
    /// Reads a chunk's word 0.
    #[inline]
    pub fn of(chunk: &[AtomicU32]) -> Self {
        Self(chunk.first().map_or(0, |word| word.load(Relaxed)))
    }

    /// Key length in bytes; 0 = no item here.
    #[inline]
    pub fn klen(self) -> usize {
        (self.0 & 0xff) as usize
    }

    /// Item flags.
    #[inline]
    pub fn iflags(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// What the chunk is; `None` if it holds an item.
    #[inline]
    pub fn kind(self) -> Option<u8> {
        (self.klen() == 0).then_some(self.iflags())
    }

    /// Makes a chunk that was taken one of `kind`, without the class's lock.
    pub fn claim(chunk: &[AtomicU32], kind: u8) {
        if let Some(word) = chunk.first() {
            word.fetch_or(u32::from(kind) << 8, Relaxed);
        }
    }

    /// Makes a chunk one without item, under the class's lock. Its ring bit stays.
    #[inline]
    pub fn mark(chunk: &[AtomicU32], kind: u8) {
        if let Some(word) = chunk.first() {
            word.store(word.load(Relaxed) & u32::from(state::RING) << 16 | u32::from(kind) << 8, Relaxed);
        }
    }

    /// Whether an item flag is set.
    #[inline]
    pub fn has(self, flag: u8) -> bool {
        self.iflags() & flag != 0
    }

    /// State bits.
    #[inline]
    pub fn state(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// Whether a state bit is set.
    #[inline]
    pub fn is(self, bit: u8) -> bool {
        self.state() & bit != 0
    }

    /// Whether the item is COLD, nobody has read it, and no ghost spoke for it.
    pub fn is_unread_cold(self) -> bool {
        self.state() & (state::SEGMENT | state::FREQ | state::FETCHED) == state::COLD
    }

    /// The value's length, or where that is ([`length`]).
    #[inline]
    pub(in crate::store) fn length(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Whether there is a word with the expiry time, and the value's length if that is over 223.
    #[inline]
    pub(in crate::store) fn has_more(self) -> bool {
        (length::MORE..length::EXT).contains(&self.length())
    }

    /// Whether the value is over `COPY_MAX`, or a chain: shorter ones are where `slab_chunk_max` is that small.
    #[inline]
    pub fn is_large(self) -> bool {
        self.length() == length::LARGE
    }

    /// First of the ext words, if there are any.
    #[inline]
    pub(in crate::store) fn ext_word(self) -> usize {
        FIXED + usize::from(self.has_more()) + usize::from(self.is_large())
    }

    /// Word at which the key starts.
    #[inline]
    pub fn key_word(self) -> usize {
        let pair = |flag| 2 * usize::from(self.has(flag));
        self.ext_word() + pair(iflag::EXT) + pair(iflag::CAS) + pair(iflag::CHUNKED)
    }

    /// Byte offset of the value (of a chunked item: of nothing).
    #[inline]
    pub fn value_offset(self) -> usize {
        self.key_word() * WORD + self.klen() + if self.has(iflag::FLAGS) { 4 } else { 0 }
    }
}
