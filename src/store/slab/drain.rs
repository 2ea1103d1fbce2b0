//! The page that leaves its class: none of its chunks is handed out, and each is counted as soon as it is unused.
//!
//! Owns the count, and the page's chunks on the free list. A part of the allocator because every allocation and every
//! free asks whether a chunk is on that page. Callers hold the class lock, so longer work comes in slices. Knows no
//! queues; `class` drains those as well. Called by `chunks`, and by `class` for the page mover.

use super::arena::Arena;
use super::chunk_pool::{ChunkKind, Page};
use super::chunks::Chunks;
use crate::store::item::{Handle, Header, kind};
use std::ops::Range;

/// A page that is leaving its class.
pub struct DrainingPage {
    page: u32,
    kind: ChunkKind,
    /// Number of slots that were ever used.
    slots: u32,
    /// Chunks in these slots that are not drained yet.
    left: u32,
    /// Free chunks that allocation met and dropped.
    dropped: u64,
}

impl DrainingPage {
    fn new((page, slots): (u32, u32), kind: ChunkKind) -> Self {
        Self { page, kind, slots, left: slots, dropped: 0 }
    }

    pub(super) fn kind(&self) -> ChunkKind {
        self.kind
    }

    #[inline]
    fn holds(&self, handle: Handle) -> bool {
        self.page as usize == handle.page()
    }

    /// Counts a chunk of the page as drained: it is on no list and not in use.
    pub(super) fn lose(&mut self, arena: &Arena, handle: Handle) {
        Header::mark(arena.chunk(handle), kind::DRAINED);
        self.left -= 1;
    }

    /// As [`DrainingPage::lose`], for a chunk that a search for memory took off the free list.
    pub(super) fn drop_free(&mut self, arena: &Arena, handle: Handle) {
        self.dropped += 1;
        self.lose(arena, handle);
    }
}

impl Chunks {
    /// Starts to drain the oldest page of a kind, unless it is the class's only page. From now on none of its chunks
    /// is allocated.
    pub fn begin_drain(&mut self, kind: ChunkKind) -> Option<u32> {
        let pages: usize = self.pools().iter().map(|pool| pool.pages.len()).sum();
        if pages < 2 || self.draining.is_some() {
            return None;
        }
        let oldest = self.pool_mut(kind).remove_oldest()?;
        self.draining = Some(DrainingPage::new(oldest, kind));
        Some(oldest.0)
    }

    /// Whether a chunk is on the draining page.
    #[inline]
    pub fn is_draining(&self, handle: Handle) -> bool {
        self.draining.as_ref().is_some_and(|page| page.holds(handle))
    }

    /// The draining page, if it has this chunk.
    #[inline]
    pub(super) fn draining_of(&mut self, handle: Handle) -> Option<&mut DrainingPage> {
        self.draining.as_mut().filter(|page| page.holds(handle))
    }

    /// Number of the draining page.
    #[inline]
    pub fn draining_page(&self) -> Option<u32> {
        self.draining.as_ref().map(|draining| draining.page)
    }

    /// Number of slots of the draining page that were ever used.
    pub fn draining_slots(&self) -> u32 {
        self.draining.as_ref().map_or(0, |draining| draining.slots)
    }

    /// Whether every chunk of the draining page is drained.
    pub fn is_drained(&self) -> bool {
        self.draining.as_ref().is_none_or(|draining| draining.left == 0)
    }

    /// Takes the free chunks among `slots` of the draining page off the free list; pushes those in use onto `in_use`.
    pub fn clear_free(&mut self, arena: &Arena, slots: Range<u32>, in_use: &mut Vec<Handle>) {
        let Some(mut draining) = self.draining.take() else { return };
        let page = draining.page;
        for handle in slots.map(|slot| Handle::new(page, slot)) {
            match Header::of(arena.chunk(handle)).kind() {
                Some(kind::FREE) => {
                    self.pool_mut(draining.kind).unlist(arena, handle);
                    draining.lose(arena, handle);
                }
                Some(kind::DRAINED) => {}
                _ => in_use.push(handle),
            }
        }
        self.draining = Some(draining);
    }

    /// Ends the drain, and returns the number of free chunks that allocation met and dropped meanwhile.
    pub fn end_drain(&mut self) -> u64 {
        debug_assert!(self.is_drained());
        self.draining.take().map_or(0, |draining| draining.dropped)
    }

    /// Cancels the drain. The page counts as the youngest, so the next drain takes another one. [`Chunks::regain`]
    /// frees its chunks that are drained or were never used.
    pub fn keep_page(&mut self) {
        let Some(DrainingPage { page, kind, .. }) = self.draining.take() else { return };
        let born = self.note_birth();
        self.pool_mut(kind).pages.push(Page { number: page, born });
    }

    /// Frees those of `slots` that were drained, and those from `used` on, which were never used.
    pub fn regain(&mut self, arena: &Arena, page: u32, used: u32, slots: Range<u32>) {
        for slot in slots {
            let handle = Handle::new(page, slot);
            if slot >= used || Header::of(arena.chunk(handle)).kind() == Some(kind::DRAINED) {
                let kind = self.kind_of(arena, handle);
                self.pool_mut(kind).list(arena, handle);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::slab::{SizeConfig, Sizes};

    /// Chunks of two pages, all in use.
    fn two_pages(arena: &Arena) -> (Chunks, Vec<Handle>) {
        let mut chunks = Chunks::new(10, &Sizes::new(SizeConfig::default()));
        let mut taken = Vec::new();
        for page in [1, 2] {
            assert!(chunks.reserve_page());
            chunks.receive(arena, page, None);
            taken.extend(std::iter::from_fn(|| {
                chunks.take_present(arena, 300).or_else(|| chunks.take_kept(arena, 300))
            }));
        }
        assert_eq!((chunks.page_count(), chunks.used()), (2, taken.len() as u64));
        (chunks, taken)
    }

    #[test]
    fn a_draining_page_hands_out_no_chunk() {
        let arena = Arena::reserve(4 << 20, true, 0).unwrap();
        let (mut chunks, taken) = two_pages(&arena);
        let on_first = taken.len() / 2;
        [0, 1, on_first].into_iter().for_each(|at| chunks.free(&arena, taken[at]));
        assert_eq!(chunks.begin_drain(ChunkKind::Fitted), None, "there is none");
        assert_eq!(chunks.begin_drain(ChunkKind::MaxSize), Some(1));
        assert_eq!(chunks.begin_drain(ChunkKind::MaxSize), None, "one at a time");
        chunks.free(&arena, taken[2]);
        assert_eq!(chunks.take_present(&arena, 300), Some(taken[on_first]));
        assert_eq!(chunks.take_present(&arena, 300), None, "the free chunks of the page are dropped");
        let mut in_use = Vec::new();
        chunks.clear_free(&arena, 0..on_first as u32, &mut in_use);
        assert_eq!(in_use, taken[3..on_first]);
        in_use.into_iter().for_each(|handle| chunks.free(&arena, handle));
        assert!(chunks.is_drained());
        assert_eq!((chunks.end_drain(), chunks.page_count(), chunks.used()), (2, 1, on_first as u64));
    }

    #[test]
    fn a_page_that_is_kept_has_all_its_chunks_again() {
        let arena = Arena::reserve(4 << 20, true, 0).unwrap();
        let (mut chunks, taken) = two_pages(&arena);
        let on_first = taken.len() / 2;
        (0..10).for_each(|at| chunks.free(&arena, taken[at]));
        chunks.begin_drain(ChunkKind::MaxSize);
        (10..20).for_each(|at| chunks.free(&arena, taken[at]));
        let mut in_use = Vec::new();
        chunks.clear_free(&arena, 0..on_first as u32, &mut in_use);
        assert_eq!(in_use, taken[20..on_first]);
        let slots = chunks.draining_slots();
        chunks.keep_page();
        chunks.regain(&arena, 1, slots, 0..on_first as u32);
        assert_eq!((chunks.at_hand(), chunks.used()), (20, taken.len() as u64 - 20));
        assert_eq!(chunks.begin_drain(ChunkKind::MaxSize), Some(2), "the other page is the older one now");
    }
}
