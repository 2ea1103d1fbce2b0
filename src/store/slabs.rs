//! Slab classes: pages, free chunks and who leaves when memory is short.
//!
//! One [`Class`] a slab class, each under its own lock (rank: docs/locking.md), and the pool of pages they
//! share. Eviction is S3-FIFO: new items stand in a FIFO ring (the HOT segment, a tenth of the class); at its
//! end an item that was read moves to the main part, one that was not leaves. The main part is a clock: a
//! hand walks the slots of the class's pages, takes one from each item's frequency and evicts at zero.
//!
//! ```text
//! new --> ring (HOT) --read--> main (WARM --frequency used up--> COLD) --hand--> out
//!              `--not read--> out
//! ```
//! A ring entry outlives its item: the chunk's `RING` bit says that an entry exists, so a chunk has at most
//! one and the ring is never longer than the class. Main holds no links at all.
//!
//! A large item counts in the largest class, but its head lies in a chunk of a small one. It stands in the
//! largest class's ring while its label is HOT, in `chains` after that, and leaves them when it is freed. The
//! `RING` bit of its head belongs to the small class, whose ring may still have an entry of the chunk's
//! former item.
//!
//! Knows items only by their head; the caller (the store) unlinks victims from the index. What a class does when a
//! page leaves it stands in `leave`.

use super::arena::{Arena, Handle};
use super::item::{Head, Item, iflag, kind, state};
use super::sizes::{PAGE_BYTES, Sizes};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The ring's share of a class's items, in percent.
const RING_PCT: usize = 10;

/// Items looked at in one search for a victim before the least used one seen is taken.
const SEARCH: usize = 64;

/// Slots the hand may pass in one search, free ones included.
const HAND_STEPS: usize = 1024;

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
    /// Nominal bytes of the class's items.
    pub requested: u64,
    /// Seconds since the last access of the oldest item of the ring and under the hand; 0 = none.
    pub age_hot: u32,
    pub age_cold: u32,
}

/// What a class found when it looked for memory.
pub enum Take {
    /// A chunk for the caller.
    Chunk(Handle),
    /// The search ended at this item: unlink it; then the chunk is the caller's, or must be freed.
    Victim(Handle),
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
    is_largest: bool,
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
    carve: u32,
    pub(super) used: u64,
    pub(super) ring: VecDeque<Handle>,
    /// Large items of the main part: their heads lie in pages of other classes, where no hand finds them.
    pub(super) chains: VecDeque<Handle>,
    pub(super) hand: (usize, u32),
    pub(super) items: [u64; 3],
    pub(super) requested: u64,
    /// Room for a victim's key.
    pub key: Vec<u8>,
    /// Counters since the last reset.
    pub counts: ClassCounts,
}

/// Says that no entry of the chunk is in its class's ring.
pub(super) fn unmark(arena: &Arena, handle: Handle) {
    if let Some(word) = arena.chunk(handle).first() {
        word.fetch_and(!(u64::from(state::RING) << 16), Relaxed);
    }
}

pub(super) fn segment(label: u8) -> usize {
    usize::from((label & state::SEGMENT) >> 2).min(2)
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

    /// The item that has been in the ring for longest.
    pub fn oldest(&self) -> Option<Handle> {
        self.ring.front().copied()
    }

    /// Takes the oldest item out of the ring.
    pub fn forget_oldest(&mut self, arena: &Arena) {
        if let Some(handle) = self.ring.pop_front()
            && arena.class(handle) == self.id
        {
            unmark(arena, handle);
        }
    }

    /// Counts a new item and puts it into the ring. `item` is written and not yet linked; `own` says that its
    /// chunk is of this class.
    pub fn enlist(&mut self, handle: Handle, item: &mut Item, nominal: usize, own: bool) {
        self.items[0] += 1;
        self.requested += nominal as u64;
        if own && item.head().is(state::RING) {
            return;
        }
        if own {
            item.change_state(0, state::RING);
        }
        self.ring.push_back(handle);
    }

    /// Counts an item out. Its chunk must be unlinked already.
    pub fn delist(&mut self, arena: &Arena, handle: Handle, nominal: usize, chunked: bool) {
        // Read anew: the label may have changed until this class was locked.
        let head = Head::of(arena.chunk(handle));
        let count = &mut self.items[segment(head.state())];
        debug_assert!(*count > 0 && self.requested >= nominal as u64);
        *count = count.saturating_sub(1);
        self.requested = self.requested.saturating_sub(nominal as u64);
        if chunked {
            // The head's chunk may come back in another class: no entry may stay behind. Large items are few.
            let hot = head.state() & state::SEGMENT == state::HOT;
            let list = if hot { &mut self.ring } else { &mut self.chains };
            if let Some(at) = list.iter().position(|&entry| entry == handle) {
                list.remove(at);
            }
            if hot && arena.class(handle) == self.id {
                unmark(arena, handle);
            }
        }
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

    /// Takes in an item from before a restart; those that are queued must come oldest first. `own` says that its
    /// chunk is of this class.
    pub fn adopt_item(&mut self, handle: Handle, item: &mut Item, nominal: usize, own: bool) {
        item.change_state(state::RING, 0);
        let label = item.head().state() & state::SEGMENT;
        self.items[segment(label)] += 1;
        self.requested += nominal as u64;
        if label == state::HOT {
            item.change_state(0, if own { state::RING } else { 0 });
            self.ring.push_back(handle);
        } else if item.head().has(iflag::CHUNKED) {
            self.chains.push_back(handle);
        }
    }

    /// The item that should leave next. It is still linked, no longer in the ring.
    pub(super) fn victim(&mut self, arena: &Arena) -> Option<Handle> {
        let ring_max = (self.items.iter().sum::<u64>() as usize * RING_PCT / 100).max(1);
        if self.ring.len() > ring_max
            && let Some(handle) = self.ring_tail(arena)
        {
            return Some(handle);
        }
        self.clock(arena).or_else(|| self.ring_tail(arena))
    }

    /// The next entry of the ring. What stands on the page that leaves is passed over, as are blanks: evicting it would
    /// give no memory, and the mover sees to it.
    fn pop_ring(&mut self) -> Option<Handle> {
        loop {
            let handle = self.ring.pop_front()?;
            if handle != Handle::NOWHERE && !self.is_leaving(handle) {
                return Some(handle);
            }
        }
    }

    /// Drops up to `count` entries at the end of the ring whose items are gone, so that the next item in such a chunk
    /// does not take over their place.
    pub fn trim_ring(&mut self, arena: &Arena, count: usize) {
        for _ in 0..count {
            match self.ring.front() {
                Some(&handle) if Head::of(arena.chunk(handle)).klen() == 0 => self.forget_oldest(arena),
                _ => return,
            }
        }
    }

    /// Pops the ring until an unread item comes; read ones move to the main part.
    fn ring_tail(&mut self, arena: &Arena) -> Option<Handle> {
        for _ in 0..SEARCH {
            let handle = self.pop_ring()?;
            if let Some(&next) = self.ring.front() {
                arena.prefetch(next);
            }
            let item = Item::at(arena.chunk(handle));
            let Some(mut item) = item.filter(|item| self.is_largest || !item.head().has(iflag::CHUNKED)) else {
                // A free chunk, one of a chain or a large item's head: the entry was left over.
                unmark(arena, handle);
                continue;
            };
            let mark = if arena.class(handle) == self.id { state::RING } else { 0 };
            if !item.head().is(state::LINKED) {
                self.ring.push_back(handle); // still being filled
            } else if item.head().is(state::FREQ) {
                item.change_state(mark | state::FREQ | state::SEGMENT, state::WARM);
                self.relabel(state::HOT, state::WARM);
                self.counts.moves_to_warm += 1;
                if item.head().has(iflag::CHUNKED) {
                    self.chains.push_back(handle);
                }
            } else {
                item.change_state(mark | state::SEGMENT, state::COLD);
                self.relabel(state::HOT, state::COLD);
                self.counts.moves_to_cold += 1;
                if item.head().has(iflag::CHUNKED) {
                    self.chains.push_front(handle);
                }
                return Some(handle);
            }
        }
        None
    }

    fn relabel(&mut self, from: u8, to: u8) {
        let from = &mut self.items[segment(from)];
        if *from > 0 {
            *from -= 1;
            self.items[segment(to)] += 1;
        }
    }

    /// Walks the hand until an item without frequency comes, taking one from each it passes.
    fn clock(&mut self, arena: &Arena) -> Option<Handle> {
        let mut least: Option<(u8, Handle)> = None;
        let mut seen = 0;
        for step in 0..HAND_STEPS {
            let from_chains = !self.chains.is_empty() && (self.pages.is_empty() || step % 2 == 0);
            let handle = if from_chains { self.chains.pop_front()? } else { self.hand_next()? };
            if from_chains {
                self.chains.push_back(handle);
            }
            let head = Head::of(arena.chunk(handle));
            // Not linked: deleted, and its reader is not done yet.
            let mine = from_chains || !(head.is(state::RING) || head.has(iflag::CHUNKED));
            if head.klen() == 0 || !head.is(state::LINKED) || !mine {
                continue;
            }
            let Some(mut item) = Item::at(arena.chunk(handle)) else { continue };
            let freq = head.state() & state::FREQ;
            if freq == 0 {
                return Some(handle);
            }
            self.second_chance(&mut item, freq);
            if least.is_none_or(|(f, _)| freq < f) {
                least = Some((freq, handle));
            }
            seen += 1;
            if seen == SEARCH {
                break;
            }
        }
        least.map(|(_, handle)| handle)
    }

    fn second_chance(&mut self, item: &mut Item, freq: u8) {
        let label = item.head().state() & state::SEGMENT;
        let new_label = if freq == 1 { state::COLD } else { label };
        item.change_state(state::FREQ | state::SEGMENT, (freq - 1) | new_label);
        if new_label == label {
            self.counts.moves_within_lru += 1;
        } else {
            self.relabel(label, new_label);
            self.counts.moves_to_cold += 1;
        }
    }

    /// The chunk under the hand; the hand moves on.
    fn hand_next(&mut self) -> Option<Handle> {
        let (page, slot) = self.hand;
        let number = *self.pages.get(page).or(self.pages.first())?;
        let page = if page < self.pages.len() { page } else { 0 };
        let last = page + 1 == self.pages.len();
        let end = if last { self.carve } else { self.per_page };
        self.hand = if slot + 1 < end {
            (page, slot + 1)
        } else if last {
            (0, 0)
        } else {
            (page + 1, 0)
        };
        Some(Handle::new(number, slot))
    }

    fn view(&self, arena: &Arena, now: u32) -> ClassView {
        let idle = |handle: Option<&Handle>| {
            handle.and_then(|&h| Item::at(arena.chunk(h))).map_or(0, |item| now.saturating_sub(item.atime(now)))
        };
        let under_hand = self.pages.get(self.hand.0).map(|&page| Handle::new(page, self.hand.1));
        let pages = self.page_count();
        ClassView {
            counts: self.counts,
            pages,
            used_chunks: self.used,
            total_chunks: pages * u64::from(self.per_page),
            items: self.items.iter().sum(),
            hot: self.items[0],
            warm: self.items[1],
            cold: self.items[2],
            requested: self.requested,
            age_hot: idle(self.ring.front()),
            age_cold: idle(under_hand.as_ref()),
        }
    }
}

/// All classes and the pages.
pub struct Slabs {
    classes: Vec<Mutex<Class>>,
    pages: Mutex<Pages>,
    may_evict: bool,
}

impl Slabs {
    /// Empty classes for `sizes`, with at most `limit` bytes of pages out of `exist` pages.
    pub fn new(sizes: &Sizes, exist: usize, limit: u64, precharged: u64, may_evict: bool) -> Self {
        Self {
            classes: (0..=sizes.largest()).map(|id| Mutex::new(Class::new(id, sizes))).collect(),
            pages: Mutex::new(Pages::new(exist, limit, precharged)),
            may_evict,
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
        class.victim(arena).map_or(Take::Nothing, Take::Victim)
    }

    /// Frees a chunk.
    pub fn give(&self, class: &mut Class, arena: &Arena, handle: Handle) {
        class.free(arena, handle);
    }

    /// Items held, summed class by class.
    pub fn items(&self) -> u64 {
        self.classes.iter().map(|class| class.lock().items.iter().sum::<u64>()).sum()
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
        self.class(id).view(arena, now)
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
        for class in &self.classes {
            class.lock().counts = ClassCounts::default();
        }
    }
}
