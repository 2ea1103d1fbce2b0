//! Slab classes: pages, free chunks and counters.
//!
//! One [`Class`] a slab class, each under its own lock (rank: docs/locking.md), and the pool of pages they
//! share. Who leaves when memory is short is `policy`'s choice; what a class does when a page leaves it stands in
//! `leave`. Knows items only by their head; the caller (the store) unlinks victims from the index.

use crate::store::evict::LruList;
use crate::store::evict::Ring;
use crate::store::evict::{ClassStats, ClockPeriod, HotRatio, Part};
use crate::store::evict::{Extra, segment};
use crate::store::history::History;
use crate::store::item::FIRST_PAGE;
use crate::store::item::Handle;
use crate::store::item::{Item, state};
use crate::store::slab::Arena;
use crate::store::slab::Magazines;
use crate::store::slab::is_contention_simulated;
use crate::store::slab::{ChunkKind, ChunkPool};
use crate::store::slab::{ChunkLayout, SizeHistogram};
use crate::store::slab::{HEADER, PAGE_BYTES, Sizes};
use crate::store::slab::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::Release, fence};

/// Victims in the order of eviction for an item that only a full chunk will do for; then comes one that has such a
/// chunk. So fitted chunks become free where they are not asked for, but no more than a page of them.
const ANY_TRIES: usize = 4;

/// Pages that have memory before they are needed: two huge pages of the kernel's, which may take 20 ms to clear one in a
/// virtual machine.
const READY: u64 = 4;

/// Pages in use and free, and how many there may be.
pub struct Pages {
    next: u32,
    exist: u32,
    /// Pages that have memory and no class (class 0, the global page pool); they read as zero.
    pool: Vec<u32>,
    /// Pages whose memory was given back to the system.
    released: Vec<u32>,
    /// Pages that have memory, all zero, and count as if they had none: they are for the classes that grow next.
    ready: Vec<u32>,
    /// Pages that somebody touches just now, without a lock, who will make them ready.
    touching: u64,
    /// Pages that have memory: those of the classes and of the pool.
    used: u64,
    /// Bytes that were counted as allocated before the first page.
    precharged: u64,
    limit: u64,
    /// What is needed beside the pages, as far as it counts against the limit.
    charged: u64,
    /// What will be needed beside them by an index that waits to grow; 0 = none waits.
    wanted: u64,
    /// The limit was lowered below what is in use, or the charge raised: classes have to give pages up.
    shrinking: bool,
}

impl Pages {
    fn new(exist: usize, limit: u64, precharged: u64) -> Self {
        let [pool, released, ready] = [(); 3].map(|()| Vec::new());
        Self {
            next: FIRST_PAGE,
            exist: exist as u32,
            pool,
            released,
            ready,
            touching: 0,
            used: 0,
            precharged,
            limit,
            charged: 0,
            wanted: 0,
            shrinking: false,
        }
    }

    /// A page for a class: one of the pool, or a ready one; a class's first one may exceed the limit, as in memcached.
    fn take(&mut self, first: bool) -> Option<u32> {
        if let Some(page) = self.pool.pop() {
            return Some(page);
        }
        let page = if first || self.have_room(1) { self.ready.pop() } else { None }?;
        self.used += 1;
        Some(page)
    }

    /// A page without memory, for somebody who touches it and says so ([`Slabs::touched`]).
    fn take_untouched(&mut self) -> Option<u32> {
        let page = self.released.pop().or_else(|| {
            (self.next <= self.exist).then(|| {
                self.next += 1;
                self.next - 1
            })
        })?;
        self.touching += 1;
        Some(page)
    }

    /// Pages that count as if they had no memory.
    fn ahead(&self) -> u64 {
        self.ready.len() as u64 + self.touching
    }

    /// Whether there may be so many pages more.
    fn have_room(&self, pages: u64) -> bool {
        self.malloced() + pages * PAGE_BYTES as u64 <= self.room()
    }

    /// Takes note of pages that are in use already.
    fn adopt(&mut self, used: &[(u32, usize)]) {
        self.next = used.last().map_or(FIRST_PAGE, |(last, _)| last + 1);
        self.used = used.len() as u64;
        let taken: std::collections::HashSet<u32> = used.iter().map(|(number, _)| *number).collect();
        self.released = (FIRST_PAGE..self.next).filter(|number| !taken.contains(number)).collect();
    }

    /// Bytes that pages may have.
    fn room(&self) -> u64 {
        self.limit.saturating_sub(self.charged)
    }

    fn malloced(&self) -> u64 {
        self.precharged + self.used * PAGE_BYTES as u64
    }
}

/// What the process may need beside pages of `limit` bytes without taking from them: a twentieth, and 10 of
/// the 32 MiB that are left to the process as a whole.
pub(super) fn on_top(limit: u64) -> u64 {
    limit / 20 + (10 << 20)
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
    /// A page, for which the caller gives up the class's lock, touches it, says so ([`Slabs::touched`]), and tries again.
    Untouched(u32),
    /// The search ended at this item: unlink it; then the chunk is the caller's, or must be freed.
    /// With the part of the class where it stood, if it is to leave a ghost.
    Victim(Handle, Option<Part>),
    /// All chunks so long have what cannot be evicted, or there are none: the next larger class will do.
    Elsewhere,
    /// Nothing may be taken.
    Nothing,
}

/// Where a hand is that walks the slots of a class's pages.
#[derive(Clone, Copy, Default)]
pub struct ClockHand {
    /// Which of the stocks.
    pub(super) pool: usize,
    /// Place of the page in its list.
    pub(super) page: usize,
    pub(super) slot: u32,
}

/// A page that leaves its class.
pub struct DrainingPage {
    pub(super) page: u32,
    pub(super) kind: ChunkKind,
    /// Slots that were ever used.
    pub(super) slots: u32,
    /// Chunks of those that are not gone yet.
    pub(super) left: u32,
}

/// One slab class. Each has cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub struct Class {
    pub(super) id: usize,
    pub(super) is_largest: bool,
    /// Chunks of both kinds, by `ChunkKind`.
    pub(super) pools: [ChunkPool; 2],
    /// Pages that the class has begun to use.
    pub(super) births: u64,
    /// Sizes of the latest items.
    pub(super) histogram: SizeHistogram,
    /// Another size suits the class better than that of its fitted chunks: their pages are cut anew.
    pub(super) retiring: bool,
    /// Pages that were given to the class and not used yet.
    pub(super) given: Vec<u32>,
    pub(super) draining: Option<DrainingPage>,
    /// Chunks of leaving pages that the search for free ones has dropped.
    pub(super) dropped: u64,
    pub(super) ring: Ring,
    /// Large items of the main part: their heads lie in pages of other classes, where no hand finds them.
    pub(super) chains: Ring,
    pub(super) hand: ClockHand,
    /// The same over full pages only.
    pub(super) max_size_hand: ClockHand,
    /// The same for items whose time is over, where others may not be evicted.
    pub(super) expired_hand: ClockHand,
    /// Chunks that it has passed since it found one.
    pub(super) expired_passed: u64,
    /// When it comes to the chunks in use, it is a large item's turn instead of the hand's.
    pub(super) chain_turn: u64,
    /// Items stored in flat mode.
    pub(super) lru: LruList,
    pub(super) extra: Extra,
    /// Where items were that have left the ring unread while there was room, in this order. By now others may be there.
    pub(super) idle: VecDeque<Handle>,
    /// Evictions when the class was last tended.
    pub(super) tended_at: u64,
    /// In flat mode: there may be items from before it.
    pub(super) mixed: bool,
    /// What threads have of the class, if its chunks are small; and whose magazines are open, one bit each.
    pub(super) magazines: Option<Arc<Magazines>>,
    pub(super) open_magazines: u64,
    /// Searches for a free chunk in vain since the last one that recalled what is in magazines.
    pub(super) searches: u8,
    /// Items by label. A hit that makes a COLD item WARM is counted in [`ClassStats`] instead, since the class is not
    /// locked then: WARM may stand too low here and COLD too high by as many.
    pub(super) items: [i64; 4],
    pub(super) hot_ratio: HotRatio,
    pub(super) period: ClockPeriod,
    pub(super) history: History,
    /// `ClassStats::rewarmed` at the last reset of the counters.
    rewarmed_before: u64,
    pub(super) requested: i64,
    /// Room for a victim's key.
    pub key: Vec<u8>,
    /// Counters since the last reset.
    pub counts: ClassCounts,
}

impl Class {
    pub(super) fn new(id: usize, sizes: &Sizes) -> Self {
        let full = ChunkLayout::new(sizes.class(id).stride);
        let histogram = SizeHistogram::new(if id > 1 { sizes.class(id - 1).stride } else { HEADER }, full);
        let pools = [ChunkPool::new(full), ChunkPool::default()];
        let hot_ratio = HotRatio::new(full.stride);
        let is_largest = id == sizes.largest();
        // Chains count in the largest class, whatever the size of its chunks.
        let magazines = if is_largest { None } else { Magazines::new(full.stride) };
        Self { id, is_largest, pools, histogram, magazines, hot_ratio, ..Self::default() }
    }

    /// Whether a chunk's page leaves the class.
    #[inline]
    pub(super) fn is_draining(&self, handle: Handle) -> bool {
        self.draining.as_ref().is_some_and(|draining| draining.page as usize == handle.page())
    }

    fn view(&self, arena: &Arena, stats: &ClassStats, now: u32) -> ClassView {
        let rewarmed = stats.rewarmed() as i64;
        let items = |label, more: i64| (self.items[segment(label)] + more).max(0) as u64;
        let moves_to_warm = self.counts.moves_to_warm + stats.rewarmed() - self.rewarmed_before;
        let idle = |handle: Option<Handle>| {
            handle.and_then(|h| Item::at(arena.chunk(h))).map_or(0, |item| now.saturating_sub(item.atime(now)))
        };
        ClassView {
            counts: ClassCounts { moves_to_warm, ..self.counts },
            pages: self.page_count(),
            used_chunks: self.used(),
            total_chunks: self.chunk_count(),
            items: self.len(),
            hot: items(state::HOT, 0),
            warm: items(state::WARM, rewarmed),
            cold: items(state::COLD, -rewarmed),
            temp: items(state::TEMP, 0),
            ghost_hits: stats.ghost_hits(),
            requested: self.requested.max(0) as u64,
            age_hot: idle(self.ring.front()),
            age_warm: idle(self.next_of(arena, state::WARM)),
            age_cold: idle(self.next_of(arena, state::COLD)),
        }
    }
}

/// All classes and the pages.
pub struct Slabs {
    classes: Vec<Mutex<Class>>,
    /// Those of each class, for threads that do not hold its lock.
    pub(super) magazines: Vec<Option<Arc<Magazines>>>,
    pages: Mutex<Pages>,
    may_evict: bool,
    /// One a class.
    stats: Vec<ClassStats>,
    flat: AtomicBool,
    /// Percent of a class that its ring is to have, plus 1; 0 = what suits best.
    hot_pct: AtomicU32,
    /// Items with so many seconds to live are TEMP, plus 1; 0 = none are.
    temp_ttl: AtomicU64,
}

impl Slabs {
    /// Empty classes for `sizes`, with at most `limit` bytes of pages out of `exist` pages.
    pub fn new(sizes: &Sizes, exist: usize, limit: u64, precharged: u64, may_evict: bool) -> Self {
        let classes: Vec<Class> = (0..=sizes.largest()).map(|id| Class::new(id, sizes)).collect();
        Self {
            magazines: classes.iter().map(|class| class.magazines.clone()).collect(),
            classes: classes.into_iter().map(Mutex::new).collect(),
            pages: Mutex::new(Pages::new(exist, limit, precharged)),
            may_evict,
            stats: (0..=sizes.largest()).map(|_| ClassStats::default()).collect(),
            flat: AtomicBool::new(false),
            hot_pct: AtomicU32::new(0),
            temp_ttl: AtomicU64::new(0),
        }
    }

    /// The class, locked.
    #[inline]
    pub fn class(&self, id: usize) -> MutexGuard<'_, Class> {
        let class = self.classes[id].lock();
        // A chunk that changes hands does so under this lock. Who still reads what was there, without a lock, and meets
        // a word that is written from here on, will see that the bucket has changed which led him to the chunk.
        fence(Release);
        class
    }

    /// The same, and whether the caller had to wait for it.
    #[inline]
    pub fn class_contended(&self, id: usize) -> (MutexGuard<'_, Class>, bool) {
        if let Some(class) = self.classes[id].try_lock() {
            fence(Release);
            return (class, is_contention_simulated());
        }
        (self.wait_for(id), true)
    }

    #[cold]
    fn wait_for(&self, id: usize) -> MutexGuard<'_, Class> {
        self.class(id)
    }

    /// A chunk of `need` bytes at least, or the item to be evicted for one. `tries` is how many were evicted in vain.
    pub fn take(&self, class: &mut Class, arena: &Arena, need: usize, tries: usize) -> Take {
        let take = self.search(class, arena, need, tries);
        if matches!(take, Take::Nothing | Take::Elsewhere) && class.has_open_magazines() && !class.lacks(need) {
            return self.search_all(class, arena, need, tries);
        }
        take
    }

    /// Searches in what magazines have too.
    #[cold]
    fn search_all(&self, class: &mut Class, arena: &Arena, need: usize, tries: usize) -> Take {
        class.recall(arena);
        self.search(class, arena, need, tries)
    }

    fn search(&self, class: &mut Class, arena: &Arena, need: usize, tries: usize) -> Take {
        let mut chunk = class.take_present(arena, need);
        if chunk.is_none() && class.has_open_magazines() {
            chunk = class.take_from_magazines(arena, need);
        }
        if chunk.is_none() {
            if class.wants_page(need) {
                let first = class.page_count() == 0;
                let mut pages = self.pages.lock();
                if let Some(page) = pages.take(first) {
                    class.receive(arena, page, None);
                    class.searches = 0;
                } else if (first || pages.have_room(1))
                    && let Some(page) = pages.take_untouched()
                {
                    return Take::Untouched(page);
                }
            }
            chunk = class.take_kept(arena, need);
        }
        if let Some(handle) = chunk {
            class.histogram.note(need);
            return Take::Chunk(handle);
        }
        if class.lacks(need) {
            // So that the class has full pages again if there are many of these.
            class.histogram.note(need);
            return Take::Elsewhere;
        }
        if !self.may_evict {
            return Take::Nothing;
        }
        if class.is_choosy(need) && (tries >= ANY_TRIES || class.has_free_fitted_page()) {
            let victim = class.victim_of_max_size(arena);
            return victim.map_or(Take::Elsewhere, |handle| Take::Victim(handle, Some(Part::Main)));
        }
        self.victim(class, arena).map_or(Take::Nothing, |(handle, part)| Take::Victim(handle, part))
    }

    /// The item of a class that should leave next, and where it stood, if it is to leave a ghost.
    fn victim(&self, class: &mut Class, arena: &Arena) -> Option<(Handle, Option<Part>)> {
        if self.is_flat() {
            class.victim_flat(arena, &self.stats[class.id]).map(|handle| (handle, None))
        } else {
            class.victim(arena, &self.stats[class.id], self.hot_pct())
        }
    }

    /// The same, be it on the page that leaves, for a chunk of `need` bytes elsewhere.
    pub(super) fn victim_anywhere(
        &self,
        class: &mut Class,
        arena: &Arena,
        need: usize,
    ) -> Option<(Handle, Option<Part>)> {
        if class.is_choosy(need) {
            // Others would leave in vain.
            return class.victim_of_max_size(arena).map(|handle| (handle, Some(Part::Main)));
        }
        let draining = class.draining.take();
        let victim = self.victim(class, arena);
        class.draining = draining;
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
    pub fn set_flat(&self, flat: bool, arena: &Arena) {
        self.flat.store(flat, Relaxed);
        for mut class in self.classes.iter().map(Mutex::lock) {
            class.recall(arena);
            class.mixed = true;
        }
    }

    /// Notes a use of an item whose bucket is locked; true if it has to go behind all others then. In flat mode that
    /// is so once a minute, and the time of the last access stands still in between, as in memcached.
    pub fn note_use(&self, item: &Item, now: u32) -> bool {
        let flat = self.is_flat();
        let due = item.is_access_due(now);
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
    pub fn stats(&self, id: usize) -> &ClassStats {
        &self.stats[id]
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

    /// Items held, summed class by class.
    pub fn items(&self, arena: &Arena) -> u64 {
        self.sum(arena, Class::len)
    }

    /// Nominal bytes of all items.
    pub fn bytes(&self, arena: &Arena) -> u64 {
        self.sum(arena, |class| class.requested as u64)
    }

    fn sum(&self, arena: &Arena, of: impl Fn(&Class) -> u64) -> u64 {
        let count = |mut class: MutexGuard<'_, Class>| {
            class.recall(arena);
            of(&class)
        };
        self.classes.iter().map(Mutex::lock).map(count).sum()
    }

    /// Number of classes, the page pool (0) included.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// One class's state.
    pub fn view(&self, id: usize, arena: &Arena, now: u32) -> ClassView {
        let mut class = self.class(id);
        class.recall(arena);
        class.view(arena, &self.stats[id], now)
    }

    /// Number of the first page that nobody has had yet.
    pub fn next_page(&self) -> u32 {
        self.pages.lock().next
    }

    /// Takes note of the pages (number, class) that classes have adopted, in the order of their numbers.
    pub fn adopt_pages(&self, used: &[(u32, usize)]) {
        self.pages.lock().adopt(used);
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
        !self.pages.lock().have_room(1)
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

    /// A page that should be made ready now: it must be touched and then told to [`Slabs::touched`].
    pub fn take_to_touch(&self) -> Option<u32> {
        let mut pages = self.pages.lock();
        let ahead = pages.ahead();
        if ahead < READY && pages.have_room(ahead + 1) { pages.take_untouched() } else { None }
    }

    /// Says that a page has its memory now.
    pub fn touched(&self, page: u32) {
        let mut pages = self.pages.lock();
        pages.touching -= 1;
        pages.ready.push(page);
    }

    /// A page above the limit that is ready, or of the pool; once its memory is given back it must be told to
    /// [`Slabs::released`].
    pub fn take_surplus(&self) -> Option<u32> {
        let mut pages = self.pages.lock();
        let mut page = if pages.have_room(pages.ahead()) { None } else { pages.ready.pop() };
        if page.is_none() && !pages.have_room(0) {
            page = pages.pool.pop();
            pages.used -= u64::from(page.is_some());
        }
        pages.shrinking &= !pages.have_room(0);
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
        pages.shrinking = !pages.have_room(0);
        true
    }

    /// Says how much memory is needed beside the pages. What is more than [`on_top`] takes from theirs. True if classes
    /// have to give pages up from now on.
    pub fn charge(&self, bytes: u64) -> bool {
        let mut pages = self.pages.lock();
        let charged = bytes.max(pages.wanted).saturating_sub(on_top(pages.limit));
        if charged < pages.charged && charged + PAGE_BYTES as u64 > pages.charged {
            return false; // a page would go and come with every byte
        }
        // Each class may have a page above the limit, so only a charge that grows makes classes give pages up.
        let exceeds = charged > pages.charged && pages.malloced() > pages.limit.saturating_sub(charged);
        let begins = exceeds && !pages.shrinking;
        pages.shrinking |= exceeds;
        pages.charged = charged;
        begins
    }

    /// Says how much memory will be needed beside the pages once the index grows, which waits for it; 0 if none waits.
    pub fn want(&self, bytes: u64) {
        self.pages.lock().wanted = bytes;
    }

    /// Whether so much memory beside the pages would take from theirs.
    pub fn would_charge(&self, bytes: u64) -> bool {
        bytes > on_top(self.limit())
    }

    /// Whether any item has left a ghost, and those who leave now do.
    pub fn leaves_ghosts(&self) -> bool {
        !self.is_flat() && self.stats.iter().any(|stats| stats.evicted() != 0)
    }

    /// Bytes of the classes' queues.
    pub fn queue_bytes(&self) -> u64 {
        self.classes.iter().map(|class| class.lock().queue_bytes()).sum()
    }

    /// Clears every class's counters.
    pub fn reset_counts(&self) {
        for (class, stats) in self.classes.iter().zip(&self.stats) {
            let mut class = class.lock();
            crate::sys::panics::trap("locked");
            class.counts = ClassCounts::default();
            class.rewarmed_before = stats.rewarmed();
        }
    }
}
