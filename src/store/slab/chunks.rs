//! The chunk allocator of a class: both kinds of chunks, unused pages, and the choice of layouts.
//!
//! Owns which page the next chunk comes from, and which page is resized. A page on its way out (`drain`) still counts
//! as the class's, but hands out no chunk. Knows no items beyond the header of their chunk, no queues and no
//! magazines: a chunk in a magazine is in use. Everything here needs the class lock. Called by `class`, and read by
//! eviction.

use super::arena::Arena;
use super::chunk_layout::{ChunkLayout, SizeHistogram};
use super::chunk_pool::{ChunkKind, ChunkPool, Page};
use super::drain::DrainingPage;
use super::size_classes::{HEADER, Sizes};
use crate::cache_lines::{Shared, wrote};
use crate::store::item::Handle;
use crate::store::item::{Header, kind, state};

/// Maximum chunks of a draining page that one search for a free chunk drops.
const DRAINING_MAX: usize = 32;

/// Pages and chunks of a class.
#[derive(Default)]
pub struct Chunks {
    class: usize,
    is_largest: bool,
    /// One pool of each [`ChunkKind`].
    pools: [ChunkPool; 2],
    /// Number of pages that the class has started to use; it only grows.
    births: u64,
    /// Sizes of the latest items.
    histogram: SizeHistogram,
    /// Pages of fitted chunks are being given up, because another size suits the class better.
    retiring: bool,
    /// Unused pages that may get chunks of either kind.
    given: Vec<u32>,
    pub(super) draining: Option<DrainingPage>,
}

impl Chunks {
    /// No chunks yet, of class `class`.
    pub fn new(class: usize, sizes: &Sizes) -> Self {
        let max_size = ChunkLayout::new(sizes.class(class).stride);
        let longest_below = if class > 1 { sizes.class(class - 1).stride } else { HEADER };
        Self {
            class,
            is_largest: class == sizes.largest(),
            pools: [ChunkPool::new(max_size), ChunkPool::default()],
            histogram: SizeHistogram::new(longest_below, max_size),
            ..Self::default()
        }
    }

    /// Number of the class.
    pub fn class(&self) -> usize {
        self.class
    }

    /// Whether this is the largest class, in which large items count.
    pub fn is_largest(&self) -> bool {
        self.is_largest
    }

    /// The chunks of one kind.
    pub fn pool(&self, kind: ChunkKind) -> &ChunkPool {
        &self.pools[kind as usize]
    }

    pub(super) fn pool_mut(&mut self, kind: ChunkKind) -> &mut ChunkPool {
        &mut self.pools[kind as usize]
    }

    pub(super) fn pools(&self) -> &[ChunkPool; 2] {
        &self.pools
    }

    /// Number of pages that the class has started to use; it only grows.
    pub fn births(&self) -> u64 {
        self.births
    }

    pub(super) fn note_birth(&mut self) -> u64 {
        self.births += 1;
        self.births - 1
    }

    /// Counts an item of `need` bytes, for the choice of the layout.
    pub fn note_size(&mut self, need: usize) {
        self.histogram.note(need);
    }

    /// An empty histogram for sizes that [`Chunks::note_sizes`] will add.
    pub fn new_histogram(&self) -> SizeHistogram {
        self.histogram.like()
    }

    /// Counts the sizes of a histogram, and clears it.
    pub fn note_sizes(&mut self, sizes: &mut SizeHistogram) {
        self.histogram.absorb(sizes);
    }

    /// What eviction sees of the chunks, which are in `arena`.
    #[inline]
    pub fn view<'a>(&'a self, arena: &'a Arena) -> ChunkView<'a> {
        ChunkView { arena, chunks: self, leaving: self.draining_page() }
    }

    /// Whether the class uses a page.
    pub fn has_pages(&self) -> bool {
        self.pools.iter().any(|pool| !pool.pages.is_empty())
    }

    /// Number of chunks in use.
    pub fn used(&self) -> u64 {
        self.pools.iter().map(|pool| pool.used).sum()
    }

    /// Bytes of the chunks of a kind that are in use.
    pub fn used_bytes(&self, kind: ChunkKind) -> u64 {
        let pool = self.pool(kind);
        pool.used * pool.layout.stride as u64
    }

    /// Number of free chunks on the pages that the class uses.
    pub fn at_hand(&self) -> u64 {
        self.pools.iter().map(ChunkPool::at_hand).sum()
    }

    /// The kind of a chunk of the class.
    pub fn kind_of(&self, arena: &Arena, handle: Handle) -> ChunkKind {
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
    pub fn is_choosy(&self, need: usize) -> bool {
        !self.fits(need) && !self.pool(ChunkKind::Fitted).pages.is_empty()
    }

    /// Whether at least a page's worth of fitted chunks is on the free list.
    pub fn has_free_fitted_page(&self) -> bool {
        let fitted = self.pool(ChunkKind::Fitted);
        fitted.free_len >= u64::from(fitted.layout.per_page)
    }

    /// Whether an item of `need` bytes can use no chunk of the class: all pages hold shorter ones. The next larger
    /// class serves it then.
    pub fn lacks(&self, need: usize) -> bool {
        self.is_choosy(need) && self.pool(ChunkKind::MaxSize).pages.is_empty()
    }

    /// Takes a chunk of a page that is not used yet, or of the maximum-size page being carved. Called once
    /// [`Chunks::take_present`] has found nothing, which carves a maximum-size page only for items that need it.
    pub fn take_kept(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        let begun = self.begin_page(arena, need).and_then(|kind| self.pool_mut(kind).carve());
        begun.or_else(|| self.pool_mut(ChunkKind::MaxSize).carve())
    }

    /// Takes a chunk from a free list or a page being carved.
    pub fn take_present(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        if !self.fits(need) {
            return self.pop_free(arena, ChunkKind::MaxSize).or_else(|| self.pool_mut(ChunkKind::MaxSize).carve());
        }
        let fitted = self.pop_free(arena, ChunkKind::Fitted).or_else(|| self.pool_mut(ChunkKind::Fitted).carve());
        fitted.or_else(|| self.pop_free(arena, ChunkKind::MaxSize))
    }

    /// Takes a chunk from a free list.
    fn pop_free(&mut self, arena: &Arena, kind: ChunkKind) -> Option<Handle> {
        for _ in 0..DRAINING_MAX {
            let pool = self.pool_mut(kind);
            let handle = pool.free?;
            pool.unlist(arena, handle);
            match self.draining_of(handle) {
                None => {
                    wrote(Shared::Class, &self.pool(kind).used);
                    self.pool_mut(kind).used += 1;
                    Header::mark(arena.chunk(handle), kind::TAKEN);
                    return Some(handle);
                }
                Some(page) => page.drop_free(arena, handle),
            }
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
    pub fn wants_page(&mut self, need: usize) -> bool {
        let kind = self.kind_of_next(need);
        let pool = self.pool(kind);
        pool.carving.is_none() && pool.given.is_empty() && self.given.is_empty()
    }

    /// Begins a page for an item of `need` bytes; returns its kind.
    fn begin_page(&mut self, arena: &Arena, need: usize) -> Option<ChunkKind> {
        let mut kind = self.kind_of_next(need);
        if self.pool(kind).carving.is_some() {
            return Some(kind); // its chunks were kept for longer items until now, or its layout is new
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
        let (born, class) = (self.note_birth(), self.class);
        let pool = self.pool_mut(kind);
        debug_assert!(pool.carving.is_none(), "chunks of a page would be lost");
        pool.pages.push(Page { number: page, born });
        pool.carving = Some((page, 0));
        arena.assign(page, class, pool.layout.stride);
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
        let [max_size, fitted] = &self.pools;
        let given = [&self.given, &max_size.given, &fitted.given].iter().any(|given| !given.is_empty());
        let here = max_size.has_chunk() || self.fits(need) && fitted.has_chunk();
        !here && !given && self.page_count() > 0
    }

    /// Puts a chunk on its free list, unless its page drains.
    pub fn free(&mut self, arena: &Arena, handle: Handle) {
        let head = Header::of(arena.chunk(handle));
        debug_assert!(!matches!(head.kind(), Some(kind::FREE | kind::DRAINED)), "freed twice");
        debug_assert!(head.klen() == 0 || !head.is(state::LINKED), "freed while in the index");
        let kind = self.kind_of(arena, handle);
        wrote(Shared::Class, &self.pool(kind).used);
        self.pool_mut(kind).used -= 1;
        match self.draining_of(handle) {
            Some(page) => page.lose(arena, handle),
            None => self.pool_mut(kind).list(arena, handle),
        }
    }

    /// Adds a page in use found by recovery; false if the class does not know its layout. [`Chunks::adopt_chunk`] then
    /// counts its chunks.
    pub fn adopt_page(&mut self, page: u32, stride: usize) -> bool {
        let kind =
            if stride == self.pool(ChunkKind::MaxSize).layout.stride { ChunkKind::MaxSize } else { ChunkKind::Fitted };
        let born = self.note_birth();
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
    pub fn end_adoption(&mut self) {
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
    pub fn kind_of_oldest(&self) -> ChunkKind {
        let [max_size, fitted] = [0, 1].map(|kind| self.pools[kind].pages.first().map_or(u64::MAX, |page| page.born));
        if max_size <= fitted { ChunkKind::MaxSize } else { ChunkKind::Fitted }
    }

    /// Returns the kind of which a page should be resized: the class has a surplus of it and is well short of the other
    /// kind. `MaxSize` as soon as a fitted layout pays.
    pub fn kind_to_resize(&mut self) -> Option<ChunkKind> {
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

    /// Number of pages of the class, the draining one included.
    pub fn page_count(&self) -> u64 {
        let used: u64 = self.pools.iter().map(ChunkPool::page_count).sum();
        used + (self.given.len() + usize::from(self.draining.is_some())) as u64
    }

    /// Number of chunks of the class, those of the draining page included.
    pub fn chunk_count(&self) -> u64 {
        let of = |pool: &ChunkPool| pool.page_count() * u64::from(pool.layout.per_page);
        let draining = self.draining.as_ref().map_or(0, |draining| self.pool(draining.kind()).layout.per_page);
        let given = self.given.len() as u64 * u64::from(self.pool(ChunkKind::MaxSize).layout.per_page);
        self.pools.iter().map(of).sum::<u64>() + u64::from(draining) + given
    }

    /// Whether the other pages have room for what a page of this kind holds.
    pub fn has_room_for_a_page(&self, kind: ChunkKind) -> bool {
        let given = self.given.len() as u64 * u64::from(self.pool(ChunkKind::MaxSize).layout.per_page);
        let spare = given
            + self.pool(ChunkKind::MaxSize).spare()
            + match kind {
                ChunkKind::MaxSize => 0,
                ChunkKind::Fitted => self.pool(ChunkKind::Fitted).spare(),
            };
        spare >= u64::from(self.pool(kind).layout.per_page)
    }

    /// Removes and returns a page that was never used, unless it is the class's only page.
    pub fn give_unused(&mut self) -> Option<u32> {
        if self.page_count() < 2 {
            return None;
        }
        let [max_size, fitted] = &mut self.pools;
        self.given.pop().or_else(|| fitted.given.pop()).or_else(|| max_size.given.pop())
    }

    /// Reserves memory in the tables of pages for one more page, wherever it goes in the class; false if there is none.
    pub fn reserve_page(&mut self) -> bool {
        let count = self.page_count() as usize + 1;
        let fits = |given: &mut Vec<u32>| given.try_reserve(count - given.len()).is_ok();
        let fits_pool =
            |pool: &mut ChunkPool| pool.pages.try_reserve(count - pool.pages.len()).is_ok() && fits(&mut pool.given);
        fits(&mut self.given) && self.pools.iter_mut().all(fits_pool)
    }

    /// Adds a zeroed page of no class, to be laid out as `kind`, or as the class decides. [`Chunks::reserve_page`] has
    /// made room for it.
    pub fn receive(&mut self, arena: &Arena, page: u32, kind: Option<ChunkKind>) {
        // The layout is chosen when the first chunk is taken.
        arena.assign(page, self.class, self.pool(ChunkKind::MaxSize).layout.stride);
        match kind {
            Some(kind) => self.pool_mut(kind).given.push(page),
            None => self.given.push(page),
        }
    }
}

/// The chunks of a class as eviction sees them: read-only, and with the memory that they are in.
#[derive(Clone, Copy)]
pub struct ChunkView<'a> {
    /// The memory.
    pub arena: &'a Arena,
    /// The chunks.
    pub chunks: &'a Chunks,
    /// The page whose items eviction passes over: freeing them yields no memory.
    leaving: Option<u32>,
}

impl ChunkView<'_> {
    /// The same view, but items on the draining page are victims like others.
    pub fn with_draining_page(self) -> Self {
        Self { leaving: None, ..self }
    }

    /// The page whose items eviction passes over.
    pub fn leaving_page(&self) -> Option<usize> {
        self.leaving.map(|page| page as usize)
    }

    /// Whether eviction passes over the item in a chunk.
    #[inline]
    pub fn is_leaving(&self, handle: Handle) -> bool {
        self.leaving_page() == Some(handle.page())
    }

    /// Whether a chunk is of the class.
    #[inline]
    pub fn is_own(&self, handle: Handle) -> bool {
        self.arena.class(handle) == self.chunks.class
    }

    /// The header of a chunk.
    #[inline]
    pub fn header(&self, handle: Handle) -> Header {
        Header::of(self.arena.chunk(handle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::slab::size_classes::SizeConfig;

    /// Chunks of class 4 with adopted pages, the latest first: number, and bytes that a chunk is short of its maximum.
    fn adopted(pages: &[(u32, usize)], births: u64) -> Chunks {
        let sizes = Sizes::new(SizeConfig::default());
        let mut chunks = Chunks { births, ..Chunks::new(4, &sizes) };
        for &(page, short) in pages {
            assert!(chunks.adopt_page(page, sizes.class(4).stride - short));
        }
        assert!(!chunks.adopt_page(6, sizes.class(4).stride - 8), "a third layout is unknown");
        chunks
    }

    #[test]
    fn adopted_pages_drain_in_the_order_of_their_last_use() {
        let mut chunks = adopted(&[(7, 0), (2, 20), (9, 0), (4, 20), (5, 0)], 0);
        chunks.end_adoption();
        let mut draining = || {
            let page = chunks.begin_drain(chunks.kind_of_oldest());
            chunks.draining = None;
            page
        };
        assert_eq!([(); 5].map(|()| draining()), [Some(5), Some(4), Some(9), Some(2), None]);
    }

    #[test]
    fn the_oldest_page_drains_first_after_many_births() {
        let mut chunks = adopted(&[(1, 20), (2, 0), (3, 20)], u32::MAX.into());
        let kind = chunks.kind_of_oldest();
        assert_eq!((kind, chunks.begin_drain(kind)), (ChunkKind::Fitted, Some(1)));
        chunks.keep_page();
        assert_eq!(chunks.kind_of_oldest(), ChunkKind::MaxSize);
    }
}
