//! Handles: references to chunks.
//!
//! Owns the encoding of a handle and its storage: in an array ([`Handles`]) and in the words of a chunk without an item
//! ([`Links`]). A handle has 32 bits while its page is among the first 2^17, which are 128 GB, and up to 40 bits with
//! more memory. Knows neither pages nor items. Used by everything in the store.

use super::atomic_bytes::{load_pair, store_pair};
use crate::cache_lines::{Shared, wrote};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::atomic::AtomicU32;

/// Bits of a handle for the slot within a page.
const SLOT_BITS: u32 = 15;

/// Pages addressable by 32-bit handles, page 0 (which does not exist) included: 128 GB.
pub const SHORT_PAGES: usize = 1 << (32 - SLOT_BITS);

/// Pages addressable by 40-bit handles, page 0 included: 32 TB.
pub const LONG_PAGES: usize = 1 << (40 - SLOT_BITS);

/// Number of the first page. With the feature `long-handles` it is the first that needs a long handle, so that tests
/// cover those without 128 GB of memory.
pub const FIRST_PAGE: u32 = if cfg!(feature = "long-handles") { SHORT_PAGES as u32 } else { 1 };

/// Reference to a chunk: slot in the lower 15 bits, page above. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Handle(NonZeroU64);

impl Handle {
    /// A handle on page 0, which does not exist: its chunk has no words.
    pub const NOWHERE: Self = Self(NonZeroU64::MIN);

    /// Handle of slot `slot` of page `page`.
    pub fn new(page: u32, slot: u32) -> Self {
        debug_assert!(page > 0 && (page as usize) < LONG_PAGES && slot < 1 << SLOT_BITS);
        Self::from_raw(u64::from(page) << SLOT_BITS | u64::from(slot)).unwrap_or(Self::NOWHERE)
    }

    /// Converts from the raw number; `None` for 0.
    #[inline]
    pub fn from_raw(raw: u64) -> Option<Self> {
        NonZeroU64::new(raw).map(Self)
    }

    /// The raw number, for an index slot or a link.
    #[inline]
    pub fn raw(self) -> u64 {
        self.0.get()
    }

    /// Page number.
    #[inline]
    pub fn page(self) -> usize {
        (self.0.get() >> SLOT_BITS) as usize
    }

    /// Slot within the page.
    #[inline]
    pub fn slot(self) -> usize {
        (self.0.get() & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// Array of optional handles: 4 bytes each, 5 once it has held a long one.
#[derive(Clone)]
pub struct Handles {
    low: Box<[u32]>,
    high: Option<Box<[u8]>>,
}

impl Handles {
    /// Bytes per entry with short handles.
    pub const ENTRY: usize = size_of::<u32>();

    /// Creates an array of `len` empty entries; `None` without memory.
    pub fn new(len: usize) -> Option<Self> {
        let mut low = Vec::new();
        low.try_reserve_exact(len).ok()?;
        low.resize(len, 0);
        Some(Self { low: low.into(), high: None })
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.low.len()
    }

    /// Bytes of the array.
    pub fn bytes(&self) -> usize {
        self.low.len() * (Self::ENTRY + usize::from(self.high.is_some()))
    }

    /// Raw handle at index `at`; 0 if the entry is empty.
    #[inline]
    pub fn get(&self, at: usize) -> u64 {
        let high = self.high.as_ref().map_or(0, |high| u64::from(high[at]));
        u64::from(self.low[at]) | high << 32
    }

    /// Finds the first index in `range` with raw handle `raw`: 5 us per 100,000 entries. A block is searched without a
    /// branch per entry, so that the compiler can vectorize it.
    pub fn find(&self, range: Range<usize>, raw: u64) -> Option<usize> {
        const BLOCK: usize = 64;
        let low = raw as u32;
        for from in range.clone().step_by(BLOCK) {
            let block = from..(from + BLOCK).min(range.end);
            if self.low[block.clone()].iter().fold(false, |found, entry| found | (*entry == low))
                && let Some(at) = block.into_iter().find(|&at| self.get(at) == raw)
            {
                return Some(at);
            }
        }
        None
    }

    /// Sets the raw handle at index `at`, of at most 40 bits; 0 empties the entry. The upper bits of all entries take a
    /// small allocation (`sys::reserve`).
    #[inline]
    pub fn set(&mut self, at: usize, raw: u64) {
        wrote(Shared::Queue, &self.low[at]);
        self.low[at] = raw as u32;
        let high = (raw >> 32) as u8;
        if high != 0 && self.high.is_none() {
            self.high = Some(vec![0; self.low.len()].into());
        }
        if let Some(bytes) = &mut self.high {
            bytes[at] = high;
        }
    }
}

/// Neighbours of a chunk on a free list or in a chain, in its words 1 to 4. Meaningless for a chunk that holds an item.
#[derive(Clone, Copy)]
pub struct Links {
    /// The next chunk.
    pub next: Option<Handle>,
    /// The previous chunk. A chain's first chunk has none: the item's header links to it.
    pub before: Option<Handle>,
}

impl Links {
    /// Reads the links of a chunk.
    pub fn of(chunk: &[AtomicU32]) -> Self {
        let at = |word| Handle::from_raw(load_pair(chunk, word));
        Self { next: at(1), before: at(3) }
    }

    /// Writes the links to a chunk.
    pub fn put(self, chunk: &[AtomicU32]) {
        store_pair(chunk, 1, raw_of(self.next));
        store_pair(chunk, 3, raw_of(self.before));
    }
}

/// Raw number of an optional handle; 0 for `None`.
pub fn raw_of(handle: Option<Handle>) -> u64 {
    handle.map_or(0, Handle::raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn long_handles_are_kept_whole_and_short_ones_take_four_bytes() {
        let mut handles = Handles::new(100).unwrap();
        let short = Handle::new(SHORT_PAGES as u32 - 1, (1 << SLOT_BITS) - 1);
        let long = Handle::new(LONG_PAGES as u32 - 1, 77);
        assert_eq!(((long.page(), long.slot()), short.raw()), ((LONG_PAGES - 1, 77), u64::from(u32::MAX)));
        handles.set(3, short.raw());
        assert_eq!((handles.get(3), handles.get(4), handles.bytes()), (short.raw(), 0, 400));
        handles.set(4, long.raw());
        assert_eq!((handles.get(3), handles.get(4), handles.bytes()), (short.raw(), long.raw(), 500));
        handles.set(4, short.raw());
        assert_eq!(handles.get(4), short.raw());
        let chunk = [const { AtomicU32::new(9) }; 6];
        Links { next: Some(long), before: None }.put(&chunk);
        let links = Links::of(&chunk);
        assert_eq!(
            (links.next, links.before, chunk[0].load(Relaxed), chunk[5].load(Relaxed)),
            (Some(long), None, 9, 9)
        );
    }
}
