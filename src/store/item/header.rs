//! Word 0 of an item: key length, item flags, state bits, and value length.
//!
//! Owns the bits, and the offsets of the header words that they imply; `layout` has the layout as a whole. Takes no
//! locks. Used wherever the store examines a chunk without decoding its item.

use super::atomic_bytes::WORD;
use crate::cache_lines::{Shared, wrote};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Header words that every item has.
pub(in crate::store) const FIXED: usize = 3;

/// Values of the length field of word 0 that indicate where the value's length is stored. Lower ones are the length
/// itself.
pub(in crate::store) mod length {
    /// From 224 to 253: this, plus the upper bits of the value's length. The word `more` has its lower eight bits, and
    /// the expiry time.
    pub const MORE: u8 = 224;
    /// The length is in the `ext` words; the value is not large.
    pub const EXT: u8 = 254;
    /// The length is in the `ext` words; the value is large (over `COPY_MAX`, or a chain).
    pub const LARGE: u8 = 255;
}

/// Kinds of a chunk without an item.
pub mod kind {
    /// Allocated and not written yet, or never used.
    pub const TAKEN: u8 = 0;
    /// On its class's free list.
    pub const FREE: u8 = 1;
    /// In the chain of a chunked item.
    pub const CHAIN: u8 = 2;
    /// Free, on the draining page.
    pub const DRAINED: u8 = 3;
}

/// Item flags: optional fields and properties of an item.
pub mod iflag {
    /// Has client flags.
    pub const FLAGS: u8 = 1;
    /// Has the ext words.
    pub const EXT: u8 = 2;
    /// Has the CAS word.
    pub const CAS: u8 = 4;
    /// The value is a chain of chunks.
    pub const CHUNKED: u8 = 8;
    /// The key was given as base64.
    pub const KEY_BINARY: u8 = 16;
    /// Marked stale by a meta delete or set.
    pub const STALE: u8 = 32;
    /// A client has the win token of the meta commands.
    pub const TOKEN: u8 = 64;
    /// Never expires.
    pub const NO_EXPIRY: u8 = 128;
}

/// State bits: access history and membership of an item.
pub mod state {
    /// Mask of the access frequency, saturating at 3.
    pub const FREQ: u8 = 3;
    /// Mask of the segment label.
    pub const SEGMENT: u8 = 12;
    /// Label of new items.
    pub const HOT: u8 = 0;
    /// Label of items promoted after an access.
    pub const WARM: u8 = 4;
    /// Label of items that left HOT unread, or lost their access frequency to the clock hand.
    pub const COLD: u8 = 8;
    /// Label of items with a short time to live, which are never evicted.
    pub const TEMP: u8 = 12;
    /// In the index.
    pub const LINKED: u8 = 16;
    /// Read at least once since it was stored.
    pub const FETCHED: u8 = 32;
    /// Read at least twice.
    pub const ACTIVE: u8 = 64;
    /// The class's FIFO ring has an entry of the chunk. Outlives the item, because the ring entry does.
    pub const RING: u8 = 128;
    /// All bits that accesses set.
    pub const SATURATED: u8 = FREQ | FETCHED | ACTIVE;
}

/// Word 0, decoded on demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header(pub u32);

impl Header {
    /// Loads a chunk's word 0.
    #[inline]
    pub fn of(chunk: &[AtomicU32]) -> Self {
        Self(chunk.first().map_or(0, |word| word.load(Relaxed)))
    }

    /// Key length in bytes; 0 = no item.
    #[inline]
    pub fn klen(self) -> usize {
        (self.0 & 0xff) as usize
    }

    /// Item flags.
    #[inline]
    pub fn iflags(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// Kind of the chunk; `None` if it holds an item.
    #[inline]
    pub fn kind(self) -> Option<u8> {
        (self.klen() == 0).then_some(self.iflags())
    }

    /// Sets the kind of an allocated chunk (`kind::TAKEN`), without the class's lock.
    pub fn claim(chunk: &[AtomicU32], kind: u8) {
        if let Some(word) = chunk.first() {
            wrote(Shared::Item, word);
            word.fetch_or(u32::from(kind) << 8, Relaxed);
        }
    }

    /// Overwrites word 0 for a chunk without an item, of `kind`, under the class's lock. Keeps the ring bit.
    #[inline]
    pub fn mark(chunk: &[AtomicU32], kind: u8) {
        if let Some(word) = chunk.first() {
            wrote(Shared::Item, word);
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

    /// Whether the item is COLD, was never fetched, and got no access frequency from a ghost.
    pub fn is_unread_cold(self) -> bool {
        self.state() & (state::SEGMENT | state::FREQ | state::FETCHED) == state::COLD
    }

    /// The length field: the value's length, or where it is stored ([`length`]).
    #[inline]
    pub(in crate::store) fn length(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Whether the item has the word `more`, for the expiry time and a value length over 223.
    #[inline]
    pub(in crate::store) fn has_more(self) -> bool {
        (length::MORE..length::EXT).contains(&self.length())
    }

    /// Whether the value is over `COPY_MAX`, or a chain. A chain may be shorter, with a small `slab_chunk_max`.
    #[inline]
    pub fn is_large(self) -> bool {
        self.length() == length::LARGE
    }

    /// Word at which the ext words start, if the item has them.
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

    /// Byte offset of the value; the end of a chunked item.
    #[inline]
    pub fn value_offset(self) -> usize {
        self.key_word() * WORD + self.klen() + if self.has(iflag::FLAGS) { 4 } else { 0 }
    }
}
