//! Item memory: pages of one megabyte, divided into chunks that handles address.
//!
//! Owns the reserved address space and the page table; `atomic_bytes` reads and writes bytes through its words. Knows
//! nothing of items. A wrong or stale handle yields wrong bytes, never an access outside the region. Used by all of
//! `store`.

use super::page_entries::PageEntries;
use super::region::{Region, prefetch};
use super::size_classes::{CLASSES_PAGES, PAGE_BYTES};
use crate::store::item::{FIRST_PAGE, Handle, LONG_PAGES, SHORT_PAGES, WORD};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Words of a page.
const PAGE_WORDS: usize = PAGE_BYTES / WORD;

/// Where address space is short, up to this many bytes of it are left to index growth, thread stacks and connection
/// buffers.
const SPARE_MAX: usize = 256 << 20;

/// Page table flag: the page had chunks of another size before, so a thread with an old handle may read anywhere in it.
const RESIZE: u32 = 1 << 31;

/// The pages. Pages are numbered from 1 and handed out in order; the page table holds each one's class.
pub struct Arena {
    region: Region,
    /// Entries of the memory file that holds the pages, if any: every assignment of a page is entered there.
    entries: Option<PageEntries>,
    /// For each page: [`RESIZE`] | stride in words << 8 | class. A page without stride and class is not in use.
    table: Box<[AtomicU32]>,
    pages: usize,
}

impl Arena {
    /// Reserves address space for as many pages as a short handle can address, or for twice `bytes` if these are too
    /// few; with `exactly`, for `bytes`. If a limit of the process or the machine does not allow that, reserves fewer
    /// pages, if necessary fewer than `bytes` take. In any case the rest of the process keeps `index_bytes`, and as
    /// much again as the pages take, [`SPARE_MAX`] at most. `None` if `bytes` exceeds what handles can address, or some
    /// class could have no page.
    pub fn reserve(bytes: u64, exactly: bool, index_bytes: usize) -> Option<Self> {
        let before = FIRST_PAGE as usize - 1;
        let wanted = before + usize::try_from(bytes / PAGE_BYTES as u64).ok()? + CLASSES_PAGES;
        if wanted >= LONG_PAGES {
            return None;
        }
        let ample = if wanted < SHORT_PAGES { SHORT_PAGES } else { (2 * wanted).min(LONG_PAGES) } - 1;
        let mut pages = if exactly { wanted } else { ample };
        while pages >= before + CLASSES_PAGES {
            let bytes = pages * PAGE_BYTES;
            if let Some(region) = Region::reserve(bytes, bytes.min(SPARE_MAX).checked_add(index_bytes)?) {
                let table = (0..=pages).map(|_| AtomicU32::new(0)).collect();
                return Some(Self { region, entries: None, table, pages });
            }
            pages = if pages > wanted { (pages / 2).max(wanted) } else { pages - pages.div_ceil(8) };
        }
        None
    }

    /// Maximum bytes of the classes' pages. Each class can have its first page in addition.
    pub fn room(&self) -> u64 {
        ((self.pages + 1 - FIRST_PAGE as usize).saturating_sub(CLASSES_PAGES) * PAGE_BYTES) as u64
    }

    /// The pages of a memory file: its memory and its entries.
    pub fn of_file(region: Region, entries: PageEntries) -> Self {
        let pages = region.words().len() / (PAGE_BYTES / 8);
        let table = (0..=pages).map(|_| AtomicU32::new(0)).collect();
        Self { region, entries: Some(entries), table, pages }
    }

    /// Numbers of the pages that may be handed out. Handles of a memory file are always short.
    pub fn numbers(&self) -> Range<u32> {
        let first = if self.entries.is_some() { 1 } else { FIRST_PAGE };
        first..self.pages as u32 + 1
    }

    /// Whether handles may have more than 32 bits.
    pub fn has_long_handles(&self) -> bool {
        self.pages >= SHORT_PAGES
    }

    /// Assigns page `page`, which must be all zero, to a class, with chunks of `stride` bytes.
    pub fn assign(&self, page: u32, class: usize, stride: usize) {
        if let Some(entries) = &self.entries {
            entries.enter(page, class, stride);
        }
        let entry = &self.table[page as usize];
        entry.store(entry.load(Relaxed) & RESIZE | ((stride / WORD) << 8 | class) as u32, Relaxed);
    }

    /// Takes page `page` from its class: it has no chunks until it is assigned again. Zeroes its memory, as a class
    /// expects of a new page.
    pub fn clear(&self, page: u32) {
        if let Some(entries) = &self.entries {
            entries.enter(page, 0, 0);
        }
        self.table[page as usize].store(RESIZE, Relaxed);
        self.words_of(page).iter().for_each(|word| word.store(0, Relaxed));
    }

    /// Makes the kernel provide the memory of a page, which is zeroed and in no class.
    pub fn touch(&self, page: u32) {
        // Once every 4 KiB: where huge pages are short the kernel provides small ones.
        self.words_of(page).iter().step_by(4096 / WORD).for_each(|word| word.store(0, Relaxed));
    }

    /// Returns the memory of a page of no class to the kernel.
    pub fn release(&self, page: u32) {
        let (start, words) = ((page as usize - 1) * (PAGE_BYTES / 8), PAGE_BYTES / 8);
        self.region.discard(start, start + words);
    }

    /// Copies words `range` of a chunk to the same place in another one, to which no other thread writes.
    pub fn copy_words(&self, from: Handle, to: Handle, range: Range<usize>) {
        let (from, to) = (self.chunk(from), self.chunk(to));
        for (from, to) in from.iter().zip(to).take(range.end).skip(range.start) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }

    fn words_of(&self, page: u32) -> &'static [AtomicU32] {
        let start = (page as usize - 1) * PAGE_WORDS;
        &self.region.halves()[start..start + PAGE_WORDS]
    }

    /// Bytes between chunks of the page of `handle`; 0 when the page is not in use.
    #[inline]
    pub fn stride(&self, handle: Handle) -> usize {
        self.stride_of(handle.page())
    }

    #[inline]
    fn stride_of(&self, page: usize) -> usize {
        self.table.get(page).map_or(0, |entry| ((entry.load(Relaxed) & !RESIZE) >> 8) as usize * WORD)
    }

    /// Number of slots of a page; 0 when it is not in use.
    pub fn slots(&self, page: u32) -> u32 {
        PAGE_BYTES.checked_div(self.stride_of(page as usize)).unwrap_or(0) as u32
    }

    /// Class of the page of `handle`; 0 when the page is not in use.
    #[inline]
    pub fn class(&self, handle: Handle) -> usize {
        self.table.get(handle.page()).map_or(0, |entry| (entry.load(Relaxed) & 0xff) as usize)
    }

    /// The chunk's words; empty when the handle addresses none.
    #[inline]
    pub fn chunk(&self, handle: Handle) -> &'static [AtomicU32] {
        let Some(entry) = self.table.get(handle.page()) else { return &[] };
        let stride = ((entry.load(Relaxed) & !RESIZE) >> 8) as usize;
        let offset = handle.slot() * stride;
        if stride == 0 || offset + stride > PAGE_WORDS {
            return &[]; // page 0, a page not in use, or one with fewer chunks
        }
        let start = (handle.page() - 1) * PAGE_WORDS + offset;
        self.region.halves().get(start..start + stride).unwrap_or(&[])
    }

    /// Whether the page of a chunk has had a single layout since it was first used.
    pub fn is_first_cut(&self, handle: Handle) -> bool {
        self.table.get(handle.page()).is_some_and(|entry| entry.load(Relaxed) & RESIZE == 0)
    }

    /// Prefetches the header of the chunk that is `slots` slots behind this one, if it is on the same page.
    #[inline]
    pub fn prefetch_head(&self, handle: Handle, slots: u32) {
        if let Some(later) = Handle::from_raw(handle.raw() + u64::from(slots))
            && let Some(word) = self.chunk(later).first()
        {
            prefetch(word);
        }
    }

    /// Prefetches the first cache lines of a chunk: header, key and a short value.
    #[inline]
    pub fn prefetch(&self, handle: Handle) {
        let chunk = self.chunk(handle);
        for line in 0..3 {
            if let Some(word) = chunk.get(line * (64 / WORD)) {
                prefetch(word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bogus_handles_address_nothing() {
        let arena = Arena::reserve(4 << 20, true, 0).unwrap();
        assert!(arena.chunk(Handle::from_raw(u32::MAX.into()).unwrap()).is_empty());
        assert!(arena.chunk(Handle::new(1, 0)).is_empty(), "a page not in use has no chunks");
        arena.assign(1, 3, 64);
        assert_eq!(arena.chunk(Handle::new(1, 5)).len(), 64 / WORD);
        assert_eq!(arena.class(Handle::new(1, 5)), 3);
        let last = (PAGE_BYTES / 64 - 1) as u32;
        assert_eq!(arena.chunk(Handle::new(1, last)).len(), 64 / WORD);
        assert!(arena.chunk(Handle::new(1, last + 1)).is_empty(), "no chunk reaches into the next page");
    }

    #[test]
    fn a_page_with_a_second_layout_is_marked() {
        let arena = Arena::reserve(4 << 20, true, 0).unwrap();
        arena.assign(1, 3, 64);
        assert!(arena.is_first_cut(Handle::new(1, 0)));
        arena.clear(1);
        arena.assign(1, 5, 1024);
        assert!(!arena.is_first_cut(Handle::new(1, 0)));
        assert_eq!((arena.class(Handle::new(1, 7)), arena.chunk(Handle::new(1, 7)).len()), (5, 1024 / WORD));
    }
}
