//! The chunks of a class that nobody uses, and the pages that they come from.
//!
//! Owns both kinds of a class's pages (`cut`): free lists, the page whose chunks are used for the first time in order,
//! and which page gives way. Free lists are linked both ways through the chunks, so that a page can leave. Everything
//! here is under the class's lock; called by `slabs`, `leave` and the store.

use super::arena::Arena;
use super::chunk_layout::Cut;
use crate::store::item::Handle;
use crate::store::item::Links;
use crate::store::item::{Head, kind, state};
use crate::store::slabs::Class;

/// Chunks of a page that leaves its class which one search for a free chunk may meet and drop.
const LEAVING_MAX: usize = 32;

/// The kinds of chunks of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Take any item of the class.
    Full,
    /// Take items up to a size that is chosen as they come.
    Tight,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Full, Self::Tight];

    /// The other one.
    pub fn other(self) -> Self {
        if self == Self::Full { Self::Tight } else { Self::Full }
    }
}

/// A page in use.
#[derive(Clone, Copy)]
pub struct Page {
    pub(in crate::store) number: u32,
    /// Pages that the class had begun to use before.
    pub(in crate::store) born: u64,
}

/// Chunks of one kind.
#[derive(Default)]
pub struct Stock {
    pub(in crate::store) cut: Cut,
    /// Pages in use, oldest first.
    pub(in crate::store) pages: Vec<Page>,
    /// Pages to be cut so, not used yet.
    pub(in crate::store) given: Vec<u32>,
    /// The page whose chunks are used in order, and the next of them.
    pub(in crate::store) carving: Option<(u32, u32)>,
    free: Option<Handle>,
    pub(in crate::store) free_len: u64,
    /// Chunks in use, those on a leaving page included.
    pub(in crate::store) used: u64,
}

impl Stock {
    /// None yet, of pages that are cut so.
    pub(in crate::store) fn new(cut: Cut) -> Self {
        Self { cut, ..Self::default() }
    }

    /// Slots of a page that were ever used.
    pub(in crate::store) fn slots_used(&self, page: u32) -> u32 {
        match self.carving {
            Some((carving, next)) if carving == page => next,
            _ => self.cut.per_page,
        }
    }

    /// Pages, those not used yet included.
    pub(in crate::store) fn page_count(&self) -> u64 {
        (self.pages.len() + self.given.len()) as u64
    }

    /// Chunks that nobody uses on pages that stay, those never used included.
    pub(in crate::store) fn spare(&self) -> u64 {
        self.at_hand() + self.given.len() as u64 * u64::from(self.cut.per_page)
    }

    /// The same without those on pages that are not used yet.
    pub(in crate::store) fn at_hand(&self) -> u64 {
        self.free_len + self.carving.map_or(0, |(_, next)| u64::from(self.cut.per_page - next))
    }

    /// The next chunk of the page that is used in order.
    fn carve(&mut self) -> Option<Handle> {
        let (page, next) = self.carving?;
        self.carving = (next + 1 < self.cut.per_page).then_some((page, next + 1));
        Some(Handle::new(page, next))
    }
}

impl Class {
    pub(in crate::store) fn stock(&self, kind: Kind) -> &Stock {
        &self.stocks[kind as usize]
    }

    pub(in crate::store) fn stock_mut(&mut self, kind: Kind) -> &mut Stock {
        &mut self.stocks[kind as usize]
    }

    /// Chunks in use.
    pub(in crate::store) fn used(&self) -> u64 {
        self.stocks.iter().map(|stock| stock.used).sum()
    }

    /// Free chunks of the pages that the class uses.
    pub(in crate::store) fn at_hand(&self) -> u64 {
        self.stocks.iter().map(Stock::at_hand).sum()
    }

    /// The kind of a chunk of the class.
    pub(in crate::store) fn kind_of(&self, arena: &Arena, handle: Handle) -> Kind {
        if arena.stride(handle) == self.stock(Kind::Full).cut.stride { Kind::Full } else { Kind::Tight }
    }

    /// Whether an item of `need` bytes can have a tight chunk.
    fn fits_tight(&self, need: usize) -> bool {
        need <= self.stock(Kind::Tight).cut.stride
    }

    /// Whether an item of `need` bytes can have but a part of the class's chunks.
    pub(in crate::store) fn is_choosy(&self, need: usize) -> bool {
        !self.fits_tight(need) && !self.stock(Kind::Tight).pages.is_empty()
    }

    /// Whether tight chunks are free for no less than a page, and not asked for.
    pub(in crate::store) fn has_free_tight_page(&self) -> bool {
        let tight = self.stock(Kind::Tight);
        tight.free_len >= u64::from(tight.cut.per_page)
    }

    /// Whether an item of `need` bytes can have no chunk of the class: all pages have others. The next larger class
    /// will do for it then.
    pub(in crate::store) fn lacks(&self, need: usize) -> bool {
        self.is_choosy(need) && self.stock(Kind::Full).pages.is_empty()
    }

    /// A free chunk of `need` bytes at least, of a page that the class has.
    pub(in crate::store) fn take_free(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        self.take_recalled(arena, need).or_else(|| self.take_kept(arena, need))
    }

    /// The same from a free list or of a page that is used in order, or one that a magazine has.
    pub(in crate::store) fn take_recalled(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        let chunk = self.take_present(arena, need);
        if chunk.is_some() || !self.has_lent() {
            return chunk;
        }
        self.recall(arena);
        self.take_present(arena, need)
    }

    /// A chunk of a page that is not used yet, or what is left of a full page: that is kept for items that need it as
    /// long as there is other memory.
    pub(in crate::store) fn take_kept(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        self.begin_page(arena, need).and_then(|kind| self.carve(kind)).or_else(|| self.carve(Kind::Full))
    }

    /// A chunk from a free list, or of a page that is used in order.
    pub(in crate::store) fn take_present(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        if !self.fits_tight(need) {
            return self.pop_free(arena, Kind::Full).or_else(|| self.carve(Kind::Full));
        }
        let tight = self.pop_free(arena, Kind::Tight).or_else(|| self.carve(Kind::Tight));
        tight.or_else(|| self.pop_free(arena, Kind::Full))
    }

    fn carve(&mut self, kind: Kind) -> Option<Handle> {
        let stock = self.stock_mut(kind);
        let handle = stock.carve()?;
        stock.used += 1;
        Some(handle)
    }

    /// A chunk of a free list.
    fn pop_free(&mut self, arena: &Arena, kind: Kind) -> Option<Handle> {
        for _ in 0..LEAVING_MAX {
            let handle = self.stock(kind).free?;
            self.unlist(arena, handle);
            if !self.is_leaving(handle) {
                self.stock_mut(kind).used += 1;
                Head::mark(arena.chunk(handle), kind::TAKEN);
                return Some(handle);
            }
            self.dropped += 1;
            self.lose(arena, handle);
        }
        None
    }

    /// The kind of the next page, for an item of `need` bytes.
    fn kind_of_next(&mut self, need: usize) -> Kind {
        if self.stock(Kind::Tight).cut.stride == 0 {
            self.choose_tight();
        }
        if self.fits_tight(need) && !self.retiring { Kind::Tight } else { Kind::Full }
    }

    /// Whether a page that the class does not have yet should be had for an item of `need` bytes, which has found no
    /// chunk on pages in use.
    pub(in crate::store) fn wants_page(&mut self, need: usize) -> bool {
        let kind = self.kind_of_next(need);
        let stock = self.stock(kind);
        stock.carving.is_none() && stock.given.is_empty() && self.given.is_empty()
    }

    /// Begins a page for an item of `need` bytes; gives its kind.
    fn begin_page(&mut self, arena: &Arena, need: usize) -> Option<Kind> {
        let mut kind = self.kind_of_next(need);
        if self.stock(kind).carving.is_some() {
            return Some(kind); // kept back for others until now, or the choice is a new one
        }
        let page = match self.stock_mut(kind).given.pop().or_else(|| self.given.pop()) {
            Some(page) => page,
            // Meant for items of the other kind, but nothing else is left.
            None if self.stock(Kind::Full).carving.is_some() => return Some(Kind::Full),
            None => {
                let page = self.stock_mut(kind.other()).given.pop()?;
                kind = Kind::Full;
                page
            }
        };
        let born = self.births;
        self.births += 1;
        let stock = self.stock_mut(kind);
        debug_assert!(stock.carving.is_none(), "chunks of a page would be lost");
        stock.pages.push(Page { number: page, born });
        stock.carving = Some((page, 0));
        let stride = stock.cut.stride;
        arena.assign(page, self.id, stride);
        Some(kind)
    }

    /// Makes tight chunks as large as suits the latest items. The largest class has none: all but the last chunk of a
    /// chain need full ones.
    fn choose_tight(&mut self) {
        let best = if self.is_largest { None } else { self.recent.best() };
        self.stock_mut(Kind::Tight).cut = best.unwrap_or_default();
    }

    /// Whether the next chunk for `need` bytes would have to come from a page that the class does not have yet.
    pub fn would_grow(&self, need: usize) -> bool {
        let has_chunk = |kind: Kind| self.stock(kind).free.is_some() || self.stock(kind).carving.is_some();
        let given = !self.given.is_empty() || Kind::ALL.iter().any(|&kind| !self.stock(kind).given.is_empty());
        let here = has_chunk(Kind::Full) || self.fits_tight(need) && has_chunk(Kind::Tight);
        !here && !given && self.page_count() > 0
    }

    /// Puts a chunk on its free list, unless its page leaves the class.
    pub fn free(&mut self, arena: &Arena, handle: Handle) {
        let head = Head::of(arena.chunk(handle));
        debug_assert!(!matches!(head.kind(), Some(kind::FREE | kind::GONE)), "freed twice");
        debug_assert!(head.klen() == 0 || !head.is(state::LINKED), "freed while in the index");
        let kind = self.kind_of(arena, handle);
        self.stock_mut(kind).used -= 1;
        if self.is_leaving(handle) {
            self.lose(arena, handle);
        } else {
            self.list(arena, handle);
        }
    }

    /// Puts a chunk in front of its free list.
    pub(in crate::store) fn list(&mut self, arena: &Arena, handle: Handle) {
        let kind = self.kind_of(arena, handle);
        let stock = self.stock_mut(kind);
        let chunk = arena.chunk(handle);
        Head::mark(chunk, kind::FREE);
        Links { next: stock.free, before: None }.put(chunk);
        if let Some(next) = stock.free {
            let next = arena.chunk(next);
            Links { before: Some(handle), ..Links::of(next) }.put(next);
        }
        stock.free = Some(handle);
        stock.free_len += 1;
    }

    /// Takes a chunk out of its free list.
    pub(in crate::store) fn unlist(&mut self, arena: &Arena, handle: Handle) {
        debug_assert_eq!(Head::of(arena.chunk(handle)).kind(), Some(kind::FREE), "what is on the free list is free");
        let kind = self.kind_of(arena, handle);
        let stock = self.stock_mut(kind);
        let Links { next, before } = Links::of(arena.chunk(handle));
        if let Some(next) = next {
            let next = arena.chunk(next);
            Links { before, ..Links::of(next) }.put(next);
        }
        match before {
            None => stock.free = next,
            Some(before) => {
                let before = arena.chunk(before);
                Links { next, ..Links::of(before) }.put(before);
            }
        }
        stock.free_len -= 1;
    }

    /// Takes over a page that is in use, from before a restart; false if it is cut in a way that the class does not
    /// know. Its chunks are told by [`Class::adopt_chunk`].
    pub(in crate::store) fn adopt_page(&mut self, page: u32, stride: usize) -> bool {
        let kind = if stride == self.stock(Kind::Full).cut.stride { Kind::Full } else { Kind::Tight };
        let born = self.births;
        self.births += 1;
        let stock = self.stock_mut(kind);
        if stock.cut.stride == 0 {
            stock.cut = Cut::new(stride);
        }
        let known = stock.cut.stride == stride;
        if known {
            stock.pages.push(Page { number: page, born });
        }
        known
    }

    /// Says that pages were adopted in the order of use, the latest first: the class has them the other way round.
    pub(in crate::store) fn end_adoption(&mut self) {
        let births = self.births;
        for stock in &mut self.stocks {
            stock.pages.reverse();
            stock.pages.iter_mut().for_each(|page| page.born = births - 1 - page.born);
        }
    }

    /// Counts a chunk of an adopted page, which is in use or about to be freed.
    pub fn adopt_chunk(&mut self, arena: &Arena, handle: Handle) {
        let kind = self.kind_of(arena, handle);
        self.stock_mut(kind).used += 1;
    }

    /// Full pages that the class needs, going by the sizes of its latest items.
    fn full_pages_wanted(&self) -> u64 {
        let longer = u64::from(self.recent.longer(self.stock(Kind::Tight).cut.stride)) * self.chunk_count() / 1000;
        longer.div_ceil(u64::from(self.stock(Kind::Full).cut.per_page))
    }

    /// The kind that the class's oldest page is of.
    pub(in crate::store) fn kind_of_oldest(&self) -> Kind {
        let born = |kind| self.stock(kind).pages.first().map_or(u64::MAX, |page| page.born);
        if born(Kind::Full) <= born(Kind::Tight) { Kind::Full } else { Kind::Tight }
    }

    /// The kind of which the class has a page too many and of the other one too few, if it is so by far. `Full` is
    /// given as soon as a tight cut is worth it.
    pub(in crate::store) fn kind_to_recut(&mut self) -> Option<Kind> {
        if self.leaving.is_some() || !self.recent.is_settled() {
            return None;
        }
        if self.stock(Kind::Tight).pages.is_empty() {
            self.retiring = false;
            self.choose_tight();
            let some = self.stock(Kind::Tight).cut.stride > 0;
            return (some && self.stock(Kind::Full).pages.len() > 2).then_some(Kind::Full);
        }
        self.retiring |= self.recent.outgrows(self.stock(Kind::Tight).cut);
        let (have, want) = (self.stock(Kind::Full).page_count(), self.full_pages_wanted());
        if self.retiring || have == 0 && want > 0 {
            return Some(Kind::Tight);
        }
        // One that comes too long after that finds room in the next larger class.
        let no_use = have > 0 && self.recent.fit(self.stock(Kind::Tight).cut.stride);
        if have > want + want / 8 + 2 || no_use {
            Some(Kind::Full)
        } else if have + have / 8 + 2 < want {
            Some(Kind::Tight)
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
    fn adopted_pages_leave_in_the_order_of_their_last_use() {
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
        assert!(!class.adopt_page(6, full - 8), "a third way to cut a page is not known");
        class.end_adoption();
        let mut leaving = || {
            let kind = class.kind_of_oldest();
            let page = class.begin_leaving(&arena, kind);
            class.leaving = None;
            page
        };
        assert_eq!([(); 5].map(|()| leaving()), [Some(5), Some(4), Some(9), Some(2), None]);
    }

    #[test]
    fn the_oldest_page_leaves_first_however_many_there_have_been() {
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
        assert_eq!((kind, class.begin_leaving(&arena, kind)), (Kind::Tight, Some(1)));
        class.keep_page();
        assert_eq!(class.kind_of_oldest(), Kind::Full);
    }
}
