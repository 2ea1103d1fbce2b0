//! Free chunks of a class, and the pages that they come from.
//!
//! Owns a class's pages of both kinds (`chunk_layout`): free lists, the page being carved (its chunks are used for
//! the first time, in order), and the choice of the page that is resized. Free lists are doubly linked through the
//! chunks, so that a page can drain. Everything here needs the class lock. Called by `slabs`, `page_move` and the
//! store.

use super::arena::Arena;
use super::chunk_layout::ChunkLayout;
use crate::store::item::Handle;
use crate::store::item::Links;
use crate::store::item::{Header, kind, state};
use crate::store::slabs::Class;

/// Maximum chunks of a draining page that one search for a free chunk drops.
const DRAINING_MAX: usize = 32;

/// The kinds of chunks of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// Hold any item of the class.
    MaxSize,
    /// Hold items up to a size chosen from the sizes of recent items.
    Fitted,
}

impl ChunkKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::MaxSize, Self::Fitted];

    /// The other kind.
    pub fn other(self) -> Self {
        if self == Self::MaxSize { Self::Fitted } else { Self::MaxSize }
    }
}

/// A page in use.
#[derive(Clone, Copy)]
pub struct Page {
    pub(in crate::store) number: u32,
    /// Number of pages that the class began to use before this one.
    pub(in crate::store) born: u64,
}

/// Pages and free chunks of one kind.
#[derive(Default)]
pub struct ChunkPool {
    pub(in crate::store) layout: ChunkLayout,
    /// Pages in use, oldest first.
    pub(in crate::store) pages: Vec<Page>,
    /// Pages reserved for this kind, not used yet.
    pub(in crate::store) given: Vec<u32>,
    /// The page being carved, and its next unused slot.
    pub(in crate::store) carving: Option<(u32, u32)>,
    free: Option<Handle>,
    pub(in crate::store) free_len: u64,
    /// Chunks in use, those on a draining page included.
    pub(in crate::store) used: u64,
}

impl ChunkPool {
    /// An empty pool for pages of this layout.
    pub(in crate::store) fn new(layout: ChunkLayout) -> Self {
        Self { layout, ..Self::default() }
    }

    /// Number of slots of a page that were ever used.
    pub(in crate::store) fn slots_used(&self, page: u32) -> u32 {
        match self.carving {
            Some((carving, next)) if carving == page => next,
            _ => self.layout.per_page,
        }
    }

    /// Number of pages, those not used yet included.
    pub(in crate::store) fn page_count(&self) -> u64 {
        (self.pages.len() + self.given.len()) as u64
    }

    /// Number of free chunks on pages that do not drain, those never used included.
    pub(in crate::store) fn spare(&self) -> u64 {
        self.at_hand() + self.given.len() as u64 * u64::from(self.layout.per_page)
    }

    /// Number of free chunks, without those on pages that are not used yet.
    pub(in crate::store) fn at_hand(&self) -> u64 {
        self.free_len + self.carving.map_or(0, |(_, next)| u64::from(self.layout.per_page - next))
    }

    /// Returns the next chunk of the page being carved.
    fn carve(&mut self) -> Option<Handle> {
        let (page, next) = self.carving?;
        self.carving = (next + 1 < self.layout.per_page).then_some((page, next + 1));
        Some(Handle::new(page, next))
    }
}

impl Class {
    pub(in crate::store) fn pool(&self, kind: ChunkKind) -> &ChunkPool {
        &self.pools[kind as usize]
    }

    pub(in crate::store) fn pool_mut(&mut self, kind: ChunkKind) -> &mut ChunkPool {
        &mut self.pools[kind as usize]
    }

    /// Number of chunks in use.
    pub(in crate::store) fn used(&self) -> u64 {
        self.pools.iter().map(|pool| pool.used).sum()
    }

    /// Number of free chunks on the pages that the class uses.
    pub(in crate::store) fn at_hand(&self) -> u64 {
        self.pools.iter().map(ChunkPool::at_hand).sum()
    }

    /// The kind of a chunk of the class.
    pub(in crate::store) fn kind_of(&self, arena: &Arena, handle: Handle) -> ChunkKind {
        if arena.stride(handle) == self.pool(ChunkKind::MaxSize).layout.stride {
            ChunkKind::MaxSize
        } else {
            ChunkKind::Fitted
        }
    }

    /// Whether an item of `need` bytes fits a fitted chunk.
    fn fits(&self, need: usize) -> bool {
        need <= self.pool(ChunkKind::Fitted).layout.stride
    }

    /// Whether an item of `need` bytes can use only a part of the class's chunks.
    pub(in crate::store) fn is_choosy(&self, need: usize) -> bool {
        !self.fits(need) && !self.pool(ChunkKind::Fitted).pages.is_empty()
    }

    /// Whether at least a page's worth of fitted chunks is on the free list.
    pub(in crate::store) fn has_free_fitted_page(&self) -> bool {
        let fitted = self.pool(ChunkKind::Fitted);
        fitted.free_len >= u64::from(fitted.layout.per_page)
    }

    /// Whether an item of `need` bytes can use no chunk of the class: all pages hold shorter ones. The next larger
    /// class serves it then.
    pub(in crate::store) fn lacks(&self, need: usize) -> bool {
        self.is_choosy(need) && self.pool(ChunkKind::MaxSize).pages.is_empty()
    }

    /// Takes a free chunk of at least `need` bytes from a page of the class.
    pub(in crate::store) fn take_free(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        self.take_recalled(arena, need).or_else(|| self.take_kept(arena, need))
    }

    /// As [`Class::take_free`], but only from a free list, the pages being carved, or a magazine.
    pub(in crate::store) fn take_recalled(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        let chunk = self.take_present(arena, need);
        if chunk.is_some() || !self.has_open_magazines() {
            return chunk;
        }
        self.whole(arena).take_present(arena, need)
    }

    /// Takes a chunk of a page that is not used yet, or of the maximum-size page being carved, which is kept for
    /// items that need it while there is other memory.
    pub(in crate::store) fn take_kept(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        self.begin_page(arena, need).and_then(|kind| self.carve(kind)).or_else(|| self.carve(ChunkKind::MaxSize))
    }

    /// Takes a chunk from a free list or a page being carved.
    pub(in crate::store) fn take_present(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        if !self.fits(need) {
            return self.pop_free(arena, ChunkKind::MaxSize).or_else(|| self.carve(ChunkKind::MaxSize));
        }
        let fitted = self.pop_free(arena, ChunkKind::Fitted).or_else(|| self.carve(ChunkKind::Fitted));
        fitted.or_else(|| self.pop_free(arena, ChunkKind::MaxSize))
    }

    fn carve(&mut self, kind: ChunkKind) -> Option<Handle> {
        let pool = self.pool_mut(kind);
        let handle = pool.carve()?;
        pool.used += 1;
        Some(handle)
    }

    /// Takes a chunk from a free list.
    fn pop_free(&mut self, arena: &Arena, kind: ChunkKind) -> Option<Handle> {
        for _ in 0..DRAINING_MAX {
            let handle = self.pool(kind).free?;
            self.unlist(arena, handle);
            if !self.is_draining(handle) {
                self.pool_mut(kind).used += 1;
                Header::mark(arena.chunk(handle), kind::TAKEN);
                return Some(handle);
            }
            self.dropped += 1;
            self.lose(arena, handle);
        }
        None
    }

    /// The kind of the next page, for an item of `need` bytes.
    fn kind_of_next(&mut self, need: usize) -> ChunkKind {
        if self.pool(ChunkKind::Fitted).layout.stride == 0 {
            self.choose_layout();
        }
        if self.fits(need) && !self.retiring { ChunkKind::Fitted } else { ChunkKind::MaxSize }
    }

    /// Whether the class needs another page for an item of `need` bytes that found no chunk on the pages in use.
    pub(in crate::store) fn wants_page(&mut self, need: usize) -> bool {
        let kind = self.kind_of_next(need);
        let pool = self.pool(kind);
        pool.carving.is_none() && pool.given.is_empty() && self.given.is_empty()
    }

    /// Begins a page for an item of `need` bytes; returns its kind.
    fn begin_page(&mut self, arena: &Arena, need: usize) -> Option<ChunkKind> {
        let mut kind = self.kind_of_next(need);
        if self.pool(kind).carving.is_some() {
            return Some(kind); // kept for other items until now, or the layout is new
        }
        let page = match self.pool_mut(kind).given.pop().or_else(|| self.given.pop()) {
            Some(page) => page,
            // Reserved for the other kind, but nothing else is left.
            None if self.pool(ChunkKind::MaxSize).carving.is_some() => return Some(ChunkKind::MaxSize),
            None => {
                let page = self.pool_mut(kind.other()).given.pop()?;
                kind = ChunkKind::MaxSize;
                page
            }
        };
        let born = self.births;
        self.births += 1;
        let pool = self.pool_mut(kind);
        debug_assert!(pool.carving.is_none(), "chunks of a page would be lost");
        pool.pages.push(Page { number: page, born });
        pool.carving = Some((page, 0));
        let stride = pool.layout.stride;
        arena.assign(page, self.id, stride);
        Some(kind)
    }

    /// Chooses the fitted stride from the sizes of recent items. The largest class has no fitted chunks: all chunks
    /// of a chain but the last need maximum-size ones.
    fn choose_layout(&mut self) {
        let best = if self.is_largest { None } else { self.histogram.best() };
        self.pool_mut(ChunkKind::Fitted).layout = best.unwrap_or_default();
    }

    /// Whether the next chunk for `need` bytes requires another page for the class.
    pub fn would_grow(&self, need: usize) -> bool {
        let has_chunk = |kind: ChunkKind| self.pool(kind).free.is_some() || self.pool(kind).carving.is_some();
        let given = !self.given.is_empty() || ChunkKind::ALL.iter().any(|&kind| !self.pool(kind).given.is_empty());
        let here = has_chunk(ChunkKind::MaxSize) || self.fits(need) && has_chunk(ChunkKind::Fitted);
        !here && !given && self.page_count() > 0
    }

    /// Puts a chunk on its free list, unless its page drains.
    pub fn free(&mut self, arena: &Arena, handle: Handle) {
        let head = Header::of(arena.chunk(handle));
        debug_assert!(!matches!(head.kind(), Some(kind::FREE | kind::DRAINED)), "freed twice");
        debug_assert!(head.klen() == 0 || !head.is(state::LINKED), "freed while in the index");
        let kind = self.kind_of(arena, handle);
        self.pool_mut(kind).used -= 1;
        if self.is_draining(handle) {
            self.lose(arena, handle);
        } else {
            self.list(arena, handle);
        }
    }

    /// Pushes a chunk onto the front of its free list.
    pub(in crate::store) fn list(&mut self, arena: &Arena, handle: Handle) {
        let kind = self.kind_of(arena, handle);
        let pool = self.pool_mut(kind);
        let chunk = arena.chunk(handle);
        Header::mark(chunk, kind::FREE);
        Links { next: pool.free, before: None }.put(chunk);
        if let Some(next) = pool.free {
            let next = arena.chunk(next);
            Links { before: Some(handle), ..Links::of(next) }.put(next);
        }
        pool.free = Some(handle);
        pool.free_len += 1;
    }

    /// Removes a chunk from its free list.
    pub(in crate::store) fn unlist(&mut self, arena: &Arena, handle: Handle) {
        debug_assert_eq!(Header::of(arena.chunk(handle)).kind(), Some(kind::FREE), "a listed chunk is free");
        let kind = self.kind_of(arena, handle);
        let pool = self.pool_mut(kind);
        let Links { next, before } = Links::of(arena.chunk(handle));
        if let Some(next) = next {
            let next = arena.chunk(next);
            Links { before, ..Links::of(next) }.put(next);
        }
        match before {
            None => pool.free = next,
            Some(before) => {
                let before = arena.chunk(before);
                Links { next, ..Links::of(before) }.put(before);
            }
        }
        pool.free_len -= 1;
    }

    /// Adds a page in use found by recovery; false if the class does not know its layout. [`Class::adopt_chunk`] then
    /// counts its chunks.
    pub(in crate::store) fn adopt_page(&mut self, page: u32, stride: usize) -> bool {
        let kind =
            if stride == self.pool(ChunkKind::MaxSize).layout.stride { ChunkKind::MaxSize } else { ChunkKind::Fitted };
        let born = self.births;
        self.births += 1;
        let pool = self.pool_mut(kind);
        if pool.layout.stride == 0 {
            pool.layout = ChunkLayout::new(stride);
        }
        let known = pool.layout.stride == stride;
        if known {
            pool.pages.push(Page { number: page, born });
        }
        known
    }

    /// Ends the adoption of pages, which came youngest first: the class keeps them oldest first.
    pub(in crate::store) fn end_adoption(&mut self) {
        let births = self.births;
        for pool in &mut self.pools {
            pool.pages.reverse();
            pool.pages.iter_mut().for_each(|page| page.born = births - 1 - page.born);
        }
    }

    /// Counts a chunk of an adopted page, which is in use or about to be freed.
    pub fn adopt_chunk(&mut self, arena: &Arena, handle: Handle) {
        let kind = self.kind_of(arena, handle);
        self.pool_mut(kind).used += 1;
    }

    /// Number of maximum-size pages that the class needs, from the sizes of recent items.
    fn max_size_pages_wanted(&self) -> u64 {
        let longer =
            u64::from(self.histogram.longer(self.pool(ChunkKind::Fitted).layout.stride)) * self.chunk_count() / 1000;
        longer.div_ceil(u64::from(self.pool(ChunkKind::MaxSize).layout.per_page))
    }

    /// The kind of the class's oldest page.
    pub(in crate::store) fn kind_of_oldest(&self) -> ChunkKind {
        let born = |kind| self.pool(kind).pages.first().map_or(u64::MAX, |page| page.born);
        if born(ChunkKind::MaxSize) <= born(ChunkKind::Fitted) { ChunkKind::MaxSize } else { ChunkKind::Fitted }
    }

    /// Returns the kind with a surplus page if the class is well short of the other kind; `MaxSize` as soon as a fitted
    /// layout pays.
    pub(in crate::store) fn kind_to_resize(&mut self) -> Option<ChunkKind> {
        if self.draining.is_some() || !self.histogram.is_settled() {
            return None;
        }
        if self.pool(ChunkKind::Fitted).pages.is_empty() {
            self.retiring = false;
            self.choose_layout();
            let some = self.pool(ChunkKind::Fitted).layout.stride > 0;
            return (some && self.pool(ChunkKind::MaxSize).pages.len() > 2).then_some(ChunkKind::MaxSize);
        }
        self.retiring |= self.histogram.outgrows(self.pool(ChunkKind::Fitted).layout);
        let (have, want) = (self.pool(ChunkKind::MaxSize).page_count(), self.max_size_pages_wanted());
        if self.retiring || have == 0 && want > 0 {
            return Some(ChunkKind::Fitted);
        }
        // A later item too long for a fitted chunk is stored in the next larger class.
        let no_use = have > 0 && self.histogram.fit(self.pool(ChunkKind::Fitted).layout.stride);
        if have > want + want / 8 + 2 || no_use {
            Some(ChunkKind::MaxSize)
        } else if have + have / 8 + 2 < want {
            Some(ChunkKind::Fitted)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::slab::size_classes::{SizeConfig, Sizes};

    #[test]
    fn adopted_pages_drain_in_the_order_of_their_last_use() {
        let sizes = Sizes::new(SizeConfig {
            chunk_size: 48,
            growth_factor: 1.25,
            chunk_max: 512 << 10,
            item_size_max: 1 << 20,
            slab_sizes: Vec::new(),
            use_cas: true,
        });
        let arena = Arena::reserve(1 << 20, true, 0).unwrap();
        let mut class = Class::new(4, &sizes);
        let full = sizes.class(4).stride;
        // The latest first.
        for (page, stride) in [(7, full), (2, full - 20), (9, full), (4, full - 20), (5, full)] {
            assert!(class.adopt_page(page, stride));
        }
        assert!(!class.adopt_page(6, full - 8), "a third layout is unknown");
        class.end_adoption();
        let mut draining = || {
            let kind = class.kind_of_oldest();
            let page = class.whole(&arena).begin_drain(kind);
            class.draining = None;
            page
        };
        assert_eq!([(); 5].map(|()| draining()), [Some(5), Some(4), Some(9), Some(2), None]);
    }

    #[test]
    fn the_oldest_page_drains_first_after_many_births() {
        let sizes = Sizes::new(SizeConfig {
            chunk_size: 48,
            growth_factor: 1.25,
            chunk_max: 512 << 10,
            item_size_max: 1 << 20,
            slab_sizes: Vec::new(),
            use_cas: true,
        });
        let arena = Arena::reserve(1 << 20, true, 0).unwrap();
        let mut class = Class::new(4, &sizes);
        let full = sizes.class(4).stride;
        class.births = u32::MAX.into();
        for (page, stride) in [(1, full - 20), (2, full), (3, full - 20)] {
            assert!(class.adopt_page(page, stride));
        }
        let kind = class.kind_of_oldest();
        assert_eq!((kind, class.whole(&arena).begin_drain(kind)), (ChunkKind::Fitted, Some(1)));
        class.keep_page();
        assert_eq!(class.kind_of_oldest(), ChunkKind::MaxSize);
    }
}
