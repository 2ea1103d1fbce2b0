//! The chunks of one kind of a class: pages, the free list, and the page being carved.
//!
//! Owns the list links, which lie in the free chunks themselves: the list is doubly linked, so that a page can drain.
//! Chunks of the page being carved are used for the first time, in order. Everything here needs the class lock. Called
//! by `chunks`; eviction reads the pages under a clock hand.

use super::arena::Arena;
use super::chunk_layout::ChunkLayout;
use crate::cache_lines::{Shared, wrote};
use crate::store::item::Handle;
use crate::store::item::Links;
use crate::store::item::{Header, kind};

/// The kinds of chunks of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkKind {
    /// Chunks for any item of the class.
    #[default]
    MaxSize,
    /// Chunks for items up to a size that is chosen from the sizes of recent items.
    Fitted,
}

impl ChunkKind {
    /// The other kind.
    pub fn other(self) -> Self {
        if self == Self::MaxSize { Self::Fitted } else { Self::MaxSize }
    }
}

/// A page in use.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub number: u32,
    /// Number of pages that the class began to use before this one.
    pub born: u64,
}

/// Pages and free chunks of one kind. Its fields are open to the allocator (`chunks`, `drain`) alone.
#[derive(Default)]
pub struct ChunkPool {
    pub(super) layout: ChunkLayout,
    /// Pages in use, oldest first.
    pub(super) pages: Vec<Page>,
    /// Pages reserved for this kind, not used yet.
    pub(super) given: Vec<u32>,
    /// The page being carved, and its next unused slot.
    pub(super) carving: Option<(u32, u32)>,
    pub(super) free: Option<Handle>,
    pub(super) free_len: u64,
    /// Chunks in use, those on a draining page included.
    pub(super) used: u64,
}

impl ChunkPool {
    /// An empty pool for pages of this layout.
    pub fn new(layout: ChunkLayout) -> Self {
        Self { layout, ..Self::default() }
    }

    /// How its pages are divided.
    pub fn layout(&self) -> ChunkLayout {
        self.layout
    }

    /// The page in use at a position, oldest first.
    pub fn page_at(&self, at: usize) -> Option<u32> {
        self.pages.get(at).map(|page| page.number)
    }

    /// Number of pages, those not used yet included.
    pub(super) fn page_count(&self) -> u64 {
        (self.pages.len() + self.given.len()) as u64
    }

    /// Number of slots of a page that were ever used.
    pub fn slots_used(&self, page: u32) -> u32 {
        match self.carving {
            Some((carving, next)) if carving == page => next,
            _ => self.layout.per_page,
        }
    }

    /// Number of chunks on the free list.
    #[cfg(test)]
    pub fn free_len(&self) -> u64 {
        self.free_len
    }

    /// Number of free chunks on pages that do not drain, those never used included.
    pub(super) fn spare(&self) -> u64 {
        self.at_hand() + self.given.len() as u64 * u64::from(self.layout.per_page)
    }

    /// Number of free chunks, without those on pages that are not used yet.
    pub fn at_hand(&self) -> u64 {
        self.free_len + self.carving.map_or(0, |(_, next)| u64::from(self.layout.per_page - next))
    }

    /// Whether it has a free chunk, without those on pages that are not used yet.
    pub(super) fn has_chunk(&self) -> bool {
        self.free.is_some() || self.carving.is_some()
    }

    /// Removes the oldest page in use, which may be the one being carved; returns it with the number of its slots that
    /// were ever used. Its chunks stay in the free list and count as in use.
    pub(super) fn remove_oldest(&mut self) -> Option<(u32, u32)> {
        if self.pages.is_empty() {
            return None;
        }
        let page = self.pages.remove(0).number;
        let slots = self.slots_used(page);
        self.carving = self.carving.filter(|(carving, _)| *carving != page);
        Some((page, slots))
    }

    /// Takes the next chunk of the page being carved.
    pub(super) fn carve(&mut self) -> Option<Handle> {
        let (page, next) = self.carving?;
        wrote(Shared::Class, &self.carving);
        wrote(Shared::Class, &self.used);
        self.carving = (next + 1 < self.layout.per_page).then_some((page, next + 1));
        self.used += 1;
        Some(Handle::new(page, next))
    }

    /// Pushes a chunk onto the front of the free list.
    pub(super) fn list(&mut self, arena: &Arena, handle: Handle) {
        let chunk = arena.chunk(handle);
        Header::mark(chunk, kind::FREE);
        Links { next: self.free, before: None }.put(chunk);
        if let Some(next) = self.free {
            let next = arena.chunk(next);
            Links { before: Some(handle), ..Links::of(next) }.put(next);
        }
        wrote(Shared::Class, &self.free);
        wrote(Shared::Class, &self.free_len);
        self.free = Some(handle);
        self.free_len += 1;
    }

    /// Removes a chunk from the free list.
    pub(super) fn unlist(&mut self, arena: &Arena, handle: Handle) {
        debug_assert_eq!(Header::of(arena.chunk(handle)).kind(), Some(kind::FREE), "a listed chunk is free");
        let Links { next, before } = Links::of(arena.chunk(handle));
        if let Some(next) = next {
            let next = arena.chunk(next);
            Links { before, ..Links::of(next) }.put(next);
        }
        match before {
            None => self.free = next,
            Some(before) => {
                let before = arena.chunk(before);
                Links { next, ..Links::of(before) }.put(before);
            }
        }
        wrote(Shared::Class, &self.free);
        wrote(Shared::Class, &self.free_len);
        self.free_len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_leaves_the_free_list_from_any_place() {
        let arena = Arena::reserve(1 << 20, true, 0).unwrap();
        let mut pool = ChunkPool::new(ChunkLayout::new(1 << 17));
        arena.assign(1, 3, 1 << 17);
        pool.pages.push(Page { number: 1, born: 0 });
        pool.carving = Some((1, 0));
        let chunks: Vec<Handle> = std::iter::from_fn(|| pool.carve()).collect();
        assert_eq!((chunks.len(), pool.used, pool.at_hand(), pool.carving), (8, 8, 0, None));
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            chunks[..3].iter().for_each(|&chunk| pool.list(&arena, chunk));
            assert_eq!((pool.free, pool.free_len), (Some(chunks[2]), 3));
            order.iter().for_each(|&at| pool.unlist(&arena, chunks[at]));
            assert_eq!((pool.free, pool.free_len), (None, 0));
        }
    }

    #[test]
    fn a_page_that_leaves_is_carved_no_further() {
        let mut pool = ChunkPool::new(ChunkLayout::new(1 << 17));
        pool.pages = [(1, 0), (2, 1)].map(|(number, born)| Page { number, born }).to_vec();
        pool.carving = Some((2, 0));
        assert_eq!([(); 3].map(|()| pool.carve().map(Handle::page)), [Some(2); 3]);
        assert_eq!(pool.remove_oldest(), Some((1, 8)), "all slots of a full page were used");
        assert!(pool.carving.is_some());
        assert_eq!((pool.remove_oldest(), pool.carving, pool.remove_oldest()), (Some((2, 3)), None, None));
    }
}
