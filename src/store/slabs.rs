//! Slab classes: pages, free chunks and counters.
//!
//! One [`Class`] a slab class, each under its own lock (rank: docs/locking.md), and the pool of pages they
//! share. Who leaves when memory is short is `policy`'s choice; what a class does when a page leaves it stands in
//! `leave`. Knows items only by their head; the caller (the store) unlinks victims from the index.

use super::age::AgeList;
use super::arena::{Arena, Handle};
use super::item::{Head, Item, kind, state};
use super::policy::{Extra, Part, Share, Signs, segment};
use super::sizes::{PAGE_BYTES, Sizes};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Seconds for which an item that was used stays where it is in flat mode; memcached's.
const FLAT_REST: u32 = 60;

/// Chunks of a page that leaves its class which one search for a free chunk may meet and drop.
const LEAVING_MAX: usize = 32;

/// Pages in use and free, and how many there may be.
pub struct Pages {
    next: u32,
    exist: u32,
    /// Pages that have memory and no class (class 0, the global page pool); they read as zero.
    pool: Vec<u32>,
    /// Pages whose memory was given back to the system.
    released: Vec<u32>,
    /// Pages that have memory: those of the classes and of the pool.
    used: u64,
    /// Bytes that were counted as allocated before the first page.
    precharged: u64,
    limit: u64,
    /// The limit was lowered below what is in use: classes have to give pages up.
    shrinking: bool,
}

impl Pages {
    fn new(exist: usize, limit: u64, precharged: u64) -> Self {
        let (pool, released) = (Vec::new(), Vec::new());
        Self { next: 1, exist: exist as u32, pool, released, used: 0, precharged, limit, shrinking: false }
    }

    /// A page for a class: one of the pool, or a new one; a class's first one may exceed the limit, as in memcached.
    fn take(&mut self, first: bool) -> Option<u32> {
        if let Some(page) = self.pool.pop() {
            return Some(page);
        }
        let fits = self.malloced() + PAGE_BYTES as u64 <= self.limit;
        if !fits && !first {
            return None;
        }
        let page = self.released.pop().or_else(|| {
            (self.next <= self.exist).then(|| {
                self.next += 1;
                self.next - 1
            })
        })?;
        self.used += 1;
        Some(page)
    }

    /// Takes note of pages that are in use already.
    fn adopt(&mut self, used: &[(u32, usize)]) {
        self.next = used.last().map_or(1, |(last, _)| last + 1);
        self.used = used.len() as u64;
        let taken: std::collections::HashSet<u32> = used.iter().map(|(number, _)| *number).collect();
        self.released = (1..self.next).filter(|number| !taken.contains(number)).collect();
    }

    fn malloced(&self) -> u64 {
        self.precharged + self.used * PAGE_BYTES as u64
    }
}

/// Counters of one class since the last reset; each is the `stats items` row of the same name.
#[derive(Clone, Copy, Default, Debug)]
#[allow(missing_docs)]
pub struct ClassCounts {
    pub evicted: u64,
    pub evicted_nonzero: u64,
    pub evicted_unfetched: u64,
    pub evicted_active: u64,
    /// Seconds since the last access of the last evicted item.
    pub evicted_time: u32,
    pub outofmemory: u64,
    pub reclaimed: u64,
    pub expired_unfetched: u64,
    pub crawler_reclaimed: u64,
    pub crawler_items_checked: u64,
    pub lrutail_reflocked: u64,
    pub moves_to_cold: u64,
    pub moves_to_warm: u64,
    pub moves_within_lru: u64,
    pub direct_reclaims: u64,
}

/// One class at one moment.
#[derive(Clone, Copy, Default, Debug)]
#[allow(missing_docs)]
pub struct ClassView {
    pub counts: ClassCounts,
    pub pages: u64,
    pub used_chunks: u64,
    pub total_chunks: u64,
    pub items: u64,
    pub hot: u64,
    pub warm: u64,
    pub cold: u64,
    pub temp: u64,
    /// Evicted keys that came back so soon that more memory would have kept them, since the start.
    pub ghost_hits: u64,
    /// Nominal bytes of the class's items.
    pub requested: u64,
    /// Seconds since the last access of the item that would leave each queue next; 0 = none.
    pub age_hot: u32,
    pub age_warm: u32,
    pub age_cold: u32,
}

/// What a class found when it looked for memory.
pub enum Take {
    /// A chunk for the caller.
    Chunk(Handle),
    /// The search ended at this item: unlink it; then the chunk is the caller's, or must be freed.
    /// With the part of the class where it stood, if it is to leave a ghost.
    Victim(Handle, Option<Part>),
    /// Nothing may be taken.
    Nothing,
}

/// Neighbours of a free chunk on the free list.
#[derive(Clone, Copy)]
struct Neighbours {
    next: Option<Handle>,
    before: Option<Handle>,
}

impl Neighbours {
    fn of(chunk: &[AtomicU64]) -> Self {
        let word = chunk.get(1).map_or(0, |word| word.load(Relaxed));
        Self { next: Handle::from_raw(word as u32), before: Handle::from_raw((word >> 32) as u32) }
    }

    fn put(self, chunk: &[AtomicU64]) {
        let raw = |handle: Option<Handle>| u64::from(handle.map_or(0, Handle::raw));
        if let Some(word) = chunk.get(1) {
            word.store(raw(self.next) | raw(self.before) << 32, Relaxed);
        }
    }
}

/// One slab class.
#[derive(Default)]
pub struct Class {
    pub(super) id: usize,
    pub(super) is_largest: bool,
    pub(super) per_page: u32,
    pub(super) stride: usize,
    /// Pages in use, oldest first; chunks of the last one are used in order, from `carve` on.
    pub(super) pages: Vec<u32>,
    /// Pages that were given to the class and not used yet.
    pub(super) given: Vec<u32>,
    /// The page that leaves the class, and its chunks that are not gone yet.
    pub(super) leaving: Option<(u32, u32)>,
    /// Chunks of leaving pages that the search for free ones has dropped.
    pub(super) dropped: u64,
    free: Option<Handle>,
    free_len: u64,
    /// Next chunk never used of the newest page.
    pub(super) carve: u32,
    pub(super) used: u64,
    pub(super) ring: VecDeque<Handle>,
    /// Large items of the main part: their heads lie in pages of other classes, where no hand finds them.
    pub(super) chains: VecDeque<Handle>,
    pub(super) hand: (usize, u32),
    /// When it comes to the chunks in use, it is a large item's turn instead of the hand's.
    pub(super) chain_turn: u64,
    /// Items stored in flat mode.
    pub(super) aged: AgeList,
    pub(super) extra: Extra,
    /// Where items were that have left the ring unread while there was room, in this order. By now others may be there.
    pub(super) idle: VecDeque<Handle>,
    /// Evictions when the class was last tended.
    pub(super) tended_at: u32,
    /// In flat mode: there may be items from before it.
    pub(super) mixed: bool,
    /// Items by label. A hit that makes a COLD item WARM is counted in [`Signs`] instead, since the class is not
    /// locked then: WARM may stand too low here and COLD too high by as many.
    pub(super) items: [i64; 4],
    pub(super) share: Share,
    /// `Signs::rewarmed` at the last reset of the counters.
    rewarmed_before: u64,
    pub(super) requested: u64,
    /// Room for a victim's key.
    pub key: Vec<u8>,
    /// Counters since the last reset.
    pub counts: ClassCounts,
}

impl Class {
    fn new(id: usize, sizes: &Sizes) -> Self {
        let size = sizes.class(id);
        let is_largest = id == sizes.largest();
        Self { id, is_largest, per_page: size.per_page as u32, stride: size.stride, ..Self::default() }
    }

    /// A free chunk, from the list, the newest page or, if `pages` are given, a new page.
    pub(super) fn take_free(&mut self, arena: &Arena, pages: Option<&Mutex<Pages>>) -> Option<Handle> {
        for _ in 0..LEAVING_MAX {
            let Some(handle) = self.free else { break };
            self.unlist(arena, handle);
            if !self.is_leaving(handle) {
                self.used += 1;
                Head::mark(arena.chunk(handle), kind::TAKEN);
                return Some(handle);
            }
            self.dropped += 1;
            self.lose(arena, handle);
        }
        if self.pages.is_empty() || self.carve == self.per_page {
            let page = match self.given.pop() {
                Some(page) => page,
                None => pages?.lock().take(self.pages.is_empty())?,
            };
            arena.assign(page, self.id, self.stride);
            self.pages.push(page);
            self.carve = 0;
        }
        let page = *self.pages.last()?;
        let handle = Handle::new(page, self.carve);
        self.carve += 1;
        self.used += 1;
        Some(handle)
    }

    /// Whether the next chunk would have to come from a page that the class does not have yet.
    pub fn would_grow(&self) -> bool {
        self.free.is_none() && self.given.is_empty() && !self.pages.is_empty() && self.carve == self.per_page
    }

    /// Puts a chunk on the free list, unless its page leaves the class.
    pub fn free(&mut self, arena: &Arena, handle: Handle) {
        let head = Head::of(arena.chunk(handle));
        debug_assert!(!matches!(head.kind(), Some(kind::FREE | kind::GONE)), "freed twice");
        debug_assert!(head.klen() == 0 || !head.is(state::LINKED), "freed while in the index");
        self.used -= 1;
        if self.is_leaving(handle) {
            self.lose(arena, handle);
        } else {
            self.list(arena, handle);
        }
    }

    /// Whether a chunk's page leaves the class.
    #[inline]
    pub(super) fn is_leaving(&self, handle: Handle) -> bool {
        self.leaving.is_some_and(|(page, _)| page as usize == handle.page())
    }

    /// Puts a chunk in front of the free list.
    pub(super) fn list(&mut self, arena: &Arena, handle: Handle) {
        let chunk = arena.chunk(handle);
        Head::mark(chunk, kind::FREE);
        Neighbours { next: self.free, before: None }.put(chunk);
        if let Some(next) = self.free {
            let next = arena.chunk(next);
            Neighbours { before: Some(handle), ..Neighbours::of(next) }.put(next);
        }
        self.free = Some(handle);
        self.free_len += 1;
    }

    /// Takes a chunk out of the free list.
    pub(super) fn unlist(&mut self, arena: &Arena, handle: Handle) {
        debug_assert_eq!(Head::of(arena.chunk(handle)).kind(), Some(kind::FREE), "what is on the free list is free");
        let Neighbours { next, before } = Neighbours::of(arena.chunk(handle));
        if let Some(next) = next {
            let next = arena.chunk(next);
            Neighbours { before, ..Neighbours::of(next) }.put(next);
        }
        match before {
            None => self.free = next,
            Some(before) => {
                let before = arena.chunk(before);
                Neighbours { next, ..Neighbours::of(before) }.put(before);
            }
        }
        self.free_len -= 1;
    }

    /// Counts a chunk of an adopted page, which is in use or about to be freed.
    pub fn adopt_chunk(&mut self) {
        self.used += 1;
    }

    fn view(&self, arena: &Arena, signs: &Signs, now: u32) -> ClassView {
        let rewarmed = signs.rewarmed() as i64;
        let items = |label, more: i64| (self.items[segment(label)] + more).max(0) as u64;
        let moves_to_warm = self.counts.moves_to_warm + signs.rewarmed() - self.rewarmed_before;
        let idle = |handle: Option<&Handle>| {
            handle.and_then(|&h| Item::at(arena.chunk(h))).map_or(0, |item| now.saturating_sub(item.atime(now)))
        };
        let with = |label| {
            self.next_to_leave().find(|&handle| {
                let head = Head::of(arena.chunk(handle));
                head.is(state::LINKED) && head.state() & state::SEGMENT == label
            })
        };
        let pages = self.page_count();
        ClassView {
            counts: ClassCounts { moves_to_warm, ..self.counts },
            pages,
            used_chunks: self.used,
            total_chunks: pages * u64::from(self.per_page),
            items: self.len(),
            hot: items(state::HOT, 0),
            warm: items(state::WARM, rewarmed),
            cold: items(state::COLD, -rewarmed),
            temp: items(state::TEMP, 0),
            ghost_hits: signs.ghost_hits(),
            requested: self.requested,
            age_hot: idle(self.ring.front()),
            age_warm: idle(with(state::WARM).as_ref()),
            age_cold: idle(with(state::COLD).as_ref()),
        }
    }
}

/// All classes and the pages.
pub struct Slabs {
    classes: Vec<Mutex<Class>>,
    pages: Mutex<Pages>,
    may_evict: bool,
    /// One a class.
    signs: Vec<Signs>,
    flat: AtomicBool,
    /// Percent of a class that its ring is to have, plus 1; 0 = what suits best.
    hot_pct: AtomicU32,
    /// Items with so many seconds to live are TEMP, plus 1; 0 = none are.
    temp_ttl: AtomicU64,
}

impl Slabs {
    /// Empty classes for `sizes`, with at most `limit` bytes of pages out of `exist` pages.
    pub fn new(sizes: &Sizes, exist: usize, limit: u64, precharged: u64, may_evict: bool) -> Self {
        Self {
            classes: (0..=sizes.largest()).map(|id| Mutex::new(Class::new(id, sizes))).collect(),
            pages: Mutex::new(Pages::new(exist, limit, precharged)),
            may_evict,
            signs: (0..=sizes.largest()).map(|_| Signs::default()).collect(),
            flat: AtomicBool::new(false),
            hot_pct: AtomicU32::new(0),
            temp_ttl: AtomicU64::new(0),
        }
    }

    /// The class, locked.
    #[inline]
    pub fn class(&self, id: usize) -> parking_lot::MutexGuard<'_, Class> {
        self.classes[id].lock()
    }

    /// A chunk, or the item to be evicted for one.
    pub fn take(&self, class: &mut Class, arena: &Arena) -> Take {
        if let Some(handle) = class.take_free(arena, Some(&self.pages)) {
            return Take::Chunk(handle);
        }
        if !self.may_evict {
            return Take::Nothing;
        }
        self.victim(class, arena).map_or(Take::Nothing, |(handle, part)| Take::Victim(handle, part))
    }

    /// The item of a class that should leave next, and where it stood, if it is to leave a ghost.
    fn victim(&self, class: &mut Class, arena: &Arena) -> Option<(Handle, Option<Part>)> {
        if self.is_flat() {
            class.victim_flat(arena, &self.signs[class.id]).map(|handle| (handle, None))
        } else {
            class.victim(arena, &self.signs[class.id], self.hot_pct())
        }
    }

    /// The same, be it on the page that leaves.
    pub(super) fn victim_anywhere(&self, class: &mut Class, arena: &Arena) -> Option<(Handle, Option<Part>)> {
        let leaving = class.leaving.take();
        let victim = self.victim(class, arena);
        class.leaving = leaving;
        victim
    }

    /// The ring's share that the operator has fixed, in percent.
    pub fn hot_pct(&self) -> Option<u32> {
        self.hot_pct.load(Relaxed).checked_sub(1)
    }

    /// Whether each class has one queue, in the order of the last use.
    #[inline]
    pub fn is_flat(&self) -> bool {
        self.flat.load(Relaxed)
    }

    /// One queue a class from now on, or the ring and the main part.
    pub fn set_flat(&self, flat: bool) {
        self.flat.store(flat, Relaxed);
        for class in &self.classes {
            class.lock().mixed = true;
        }
    }

    /// Notes a use of an item whose bucket is locked; true if it has to go behind all others then. In flat mode that
    /// is so once a minute, and the time of the last access stands still in between, as in memcached.
    pub fn note_use(&self, item: &Item, now: u32) -> bool {
        let flat = self.is_flat();
        let due = now.saturating_sub(item.atime(now)) > FLAT_REST;
        if !flat || due {
            item.set_atime(now);
        }
        flat && due
    }

    /// Whether another search may find what one has not: the hand passes a bounded number of slots.
    pub fn may_find(&self, class: &Class) -> bool {
        self.may_evict && class.evictable() > 0
    }

    /// What is known of a class without its lock.
    #[inline]
    pub fn signs(&self, id: usize) -> &Signs {
        &self.signs[id]
    }

    /// The label of a new item.
    #[inline]
    pub fn label_of(&self, exptime: u32, now: u32) -> u8 {
        // An item that never expires looks far enough away, and so does one whose time is over.
        if u64::from(exptime.wrapping_sub(now)) < self.temp_ttl.load(Relaxed) {
            state::TEMP
        } else if self.is_flat() {
            state::COLD
        } else {
            state::HOT
        }
    }

    /// Fixes the ring's share of each class, in percent; `None` lets it adapt.
    pub fn set_hot_pct(&self, percent: Option<u32>) {
        self.hot_pct.store(percent.map_or(0, |percent| percent + 1), Relaxed);
    }

    /// Makes new items with at most `ttl` seconds to live TEMP; `None` makes none.
    pub fn set_temp_ttl(&self, ttl: Option<u32>) {
        self.temp_ttl.store(ttl.map_or(0, |ttl| u64::from(ttl) + 1), Relaxed);
    }

    /// Frees a chunk.
    pub fn give(&self, class: &mut Class, arena: &Arena, handle: Handle) {
        class.free(arena, handle);
    }

    /// Items held, summed class by class.
    pub fn items(&self) -> u64 {
        self.classes.iter().map(|class| class.lock().len()).sum()
    }

    /// Nominal bytes of all items.
    pub fn bytes(&self) -> u64 {
        self.classes.iter().map(|class| class.lock().requested).sum()
    }

    /// Number of classes, the page pool (0) included.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// One class's state.
    pub fn view(&self, id: usize, arena: &Arena, now: u32) -> ClassView {
        self.class(id).view(arena, &self.signs[id], now)
    }

    /// Pages of a class at this moment, with the slots of each that were ever used.
    pub fn pages_of(&self, id: usize) -> Vec<(u32, u32)> {
        let class = self.class(id);
        let last = class.pages.len().saturating_sub(1);
        let slots = |at| if at == last { class.carve } else { class.per_page };
        class.pages.iter().enumerate().map(|(at, &page)| (page, slots(at))).collect()
    }

    /// Number of the first page that nobody has had yet.
    pub fn next_page(&self) -> u32 {
        self.pages.lock().next
    }

    /// Gives pages (number, class), in the order of their numbers, to their classes, before anything else happened.
    pub fn adopt_pages(&self, used: &[(u32, usize)]) {
        self.pages.lock().adopt(used);
        for &(number, id) in used {
            let mut class = self.class(id);
            class.carve = class.per_page;
            class.pages.push(number);
        }
    }

    /// How many bytes of pages there may be.
    pub fn limit(&self) -> u64 {
        self.pages.lock().limit
    }

    /// Bytes of pages handed out, as `total_malloced` tells them.
    pub fn malloced(&self) -> u64 {
        self.pages.lock().malloced()
    }

    /// Pages of the global pool.
    pub fn free_pages(&self) -> u64 {
        self.pages.lock().pool.len() as u64
    }

    /// Whether as much memory is in use as there may be.
    pub fn is_full(&self) -> bool {
        let pages = self.pages.lock();
        pages.malloced() >= pages.limit
    }

    /// Whether items may be evicted.
    pub fn may_evict(&self) -> bool {
        self.may_evict
    }

    /// A page of the pool, for a class that it is given to.
    pub fn take_pooled(&self) -> Option<u32> {
        self.pages.lock().pool.pop()
    }

    /// Puts a page of no class, all zero, into the pool.
    pub fn pool(&self, page: u32) {
        self.pages.lock().pool.push(page);
    }

    /// A page of the pool that is above the limit; once its memory is given back it must be told to
    /// [`Slabs::released`].
    pub fn take_surplus(&self) -> Option<u32> {
        let mut pages = self.pages.lock();
        let page = if pages.malloced() > pages.limit { pages.pool.pop() } else { None };
        pages.used -= u64::from(page.is_some());
        pages.shrinking &= pages.malloced() > pages.limit;
        page
    }

    /// Says that a page has no memory any more.
    pub fn released(&self, page: u32) {
        self.pages.lock().released.push(page);
    }

    /// Whether classes have to give pages up because the limit was lowered.
    pub fn is_shrinking(&self) -> bool {
        self.pages.lock().shrinking
    }

    /// Changes how many bytes of pages there may be. False when address space does not reach that far.
    pub fn set_limit(&self, limit: u64) -> bool {
        let mut pages = self.pages.lock();
        if limit / PAGE_BYTES as u64 > u64::from(pages.exist) {
            return false;
        }
        pages.limit = limit;
        pages.shrinking = pages.malloced() > limit;
        true
    }

    /// Clears every class's counters.
    pub fn reset_counts(&self) {
        for (class, signs) in self.classes.iter().zip(&self.signs) {
            let mut class = class.lock();
            class.counts = ClassCounts::default();
            class.rewarmed_before = signs.rewarmed();
        }
    }
}
