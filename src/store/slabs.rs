//! Slab classes: pages, free chunks and counters.
//!
//! Owns one [`Class`] per slab class, each under its own lock (rank: docs/locking.md), over the page pool that they
//! share. `evict/queues` chooses victims; `page_move/drain` has the class's side of a page move. Knows items only by
//! their header; the caller (the store) unlinks victims from the index.

use crate::store::evict::LruList;
use crate::store::evict::Ring;
use crate::store::evict::{ClassStats, ClockPeriod, HotRatio, Part};
use crate::store::evict::{Extra, segment};
use crate::store::history::History;
use crate::store::item::Handle;
use crate::store::item::{Item, state};
use crate::store::slab::Arena;
use crate::store::slab::Magazines;
use crate::store::slab::is_contention_simulated;
use crate::store::slab::{ChunkKind, ChunkPool};
use crate::store::slab::{ChunkLayout, SizeHistogram};
use crate::store::slab::{HEADER, Sizes};
use crate::store::slab::{Mutex, MutexGuard};
use crate::store::slab::{NewPage, PagePool};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::Release, fence};

/// Attempts to evict in eviction order for an item that needs a maximum-size chunk; after them only items in such
/// chunks are victims. The former leave fitted chunks free, so they also end once a page of those is free.
const ANY_VICTIM_TRIES: usize = 4;

/// Counters of one class since the last reset, named as their `stats items` rows.
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

/// Snapshot of one class.
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
    /// Evicted keys stored again so soon that more memory would have kept them, since the start.
    pub ghost_hits: u64,
    /// Sum of the items' memcached_size, in bytes.
    pub requested: u64,
    /// Seconds since the last access of the next victim of each queue; 0 = none.
    pub age_hot: u32,
    pub age_warm: u32,
    pub age_cold: u32,
}

/// Result of a class's search for memory.
pub enum Take {
    /// A chunk, now the caller's.
    Chunk(Handle),
    /// A page without memory: the caller unlocks the class, touches the page, calls [`PagePool::touched`], and
    /// retries.
    Untouched(u32),
    /// The victim to unlink and free, and the part of the class that it was in if it is to leave a ghost.
    Victim(Handle, Option<Part>),
    /// The class has no chunk of that size, or none that eviction can free: use the next larger class.
    Elsewhere,
    /// No memory and no victim.
    Nothing,
}

/// Position of a clock hand over the slots of a class's pages.
#[derive(Clone, Copy, Default)]
pub struct ClockHand {
    /// Chunk pool, by `ChunkKind`.
    pub(super) pool: usize,
    /// Index of the page in the pool's list.
    pub(super) page: usize,
    pub(super) slot: u32,
}

/// A page that is leaving its class.
pub struct DrainingPage {
    pub(super) page: u32,
    pub(super) kind: ChunkKind,
    /// Slots ever used.
    pub(super) slots: u32,
    /// Of these, chunks not drained yet.
    pub(super) left: u32,
}

/// One slab class, on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub struct Class {
    pub(super) id: usize,
    pub(super) is_largest: bool,
    /// Chunk pools, by `ChunkKind`.
    pub(super) pools: [ChunkPool; 2],
    /// Pages that the class has started to use.
    pub(super) births: u64,
    /// Sizes of the latest items.
    pub(super) histogram: SizeHistogram,
    /// Pages of fitted chunks are being given up, because another size suits the class better.
    pub(super) retiring: bool,
    /// Unused pages that may get chunks of either kind.
    pub(super) given: Vec<u32>,
    pub(super) draining: Option<DrainingPage>,
    /// Free chunks of draining pages that allocation met and dropped.
    pub(super) dropped: u64,
    pub(super) ring: Ring,
    /// Chunked items of the main part: their heads are in pages of other classes, where no clock hand of this class
    /// finds them.
    pub(super) chains: Ring,
    pub(super) hand: ClockHand,
    /// Clock hand over pages of maximum-size chunks only.
    pub(super) max_size_hand: ClockHand,
    /// Clock hand of the search for dead items where live ones may not be evicted.
    pub(super) expired_hand: ClockHand,
    /// Chunks that `expired_hand` has passed since it last found one.
    pub(super) expired_passed: u64,
    /// Accumulates `chains.len()` per step of the hand; once it reaches the chunks in use, a chunked item is examined
    /// instead of the chunk under the hand.
    pub(super) chain_turn: u64,
    /// LRU list of the items stored in flat mode.
    pub(super) lru: LruList,
    pub(super) extra: Extra,
    /// Handles of items that left the ring unread while there was room, oldest first. The chunk may hold another item
    /// by now.
    pub(super) idle: VecDeque<Handle>,
    /// Evictions when the class was last tended.
    pub(super) tended_at: u64,
    /// In flat mode: items from segmented mode may be left.
    pub(super) mixed: bool,
    /// The threads' magazines; `None` if the class's chunks are too large for them.
    pub(super) magazines: Option<Arc<Magazines>>,
    /// Open magazines, one bit per thread.
    pub(super) open_magazines: u64,
    /// Searches that found no free chunk, modulo the number of which one recalls magazines.
    pub(super) searches: u8,
    /// Items by label. A hit that makes a COLD item WARM is counted in [`ClassStats`] instead, because the class is not
    /// locked then: WARM here may be too low, and COLD too high, by the same number.
    pub(super) items: [i64; 4],
    pub(super) hot_ratio: HotRatio,
    pub(super) period: ClockPeriod,
    pub(super) history: History,
    /// `ClassStats::rewarmed` at the last reset of the counters.
    rewarmed_before: u64,
    /// Sum of the items' memcached_size, in bytes.
    pub(super) requested: i64,
    /// Buffer for a victim's key.
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
        // The largest class has no magazines, whatever its chunk size: chunked items count in it.
        let magazines = if is_largest { None } else { Magazines::new(full.stride) };
        Self { id, is_largest, pools, histogram, magazines, hot_ratio, ..Self::default() }
    }

    /// Whether a chunk is on the draining page.
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

/// All classes, and the pages they share.
pub struct Slabs {
    classes: Vec<Mutex<Class>>,
    /// Magazines of each class, for threads that do not hold its lock.
    pub(super) magazines: Vec<Option<Arc<Magazines>>>,
    /// The pages that the classes share.
    pub(super) pages: PagePool,
    may_evict: bool,
    /// Lock-free statistics, by class.
    stats: Vec<ClassStats>,
    flat: AtomicBool,
    /// Fixed share of the ring in its class in percent, plus 1; 0 = adaptive.
    hot_pct: AtomicU32,
    /// Longest TTL in seconds of TEMP items, plus 1; 0 = no item is TEMP.
    temp_ttl: AtomicU64,
}

impl Slabs {
    /// Creates empty classes for `sizes`, with at most `limit` bytes of the pages with these `numbers`.
    pub fn new(sizes: &Sizes, numbers: Range<u32>, limit: u64, precharged: u64, may_evict: bool) -> Self {
        let classes: Vec<Class> = (0..=sizes.largest()).map(|id| Class::new(id, sizes)).collect();
        Self {
            magazines: classes.iter().map(|class| class.magazines.clone()).collect(),
            classes: classes.into_iter().map(Mutex::new).collect(),
            pages: PagePool::new(numbers, limit, precharged),
            may_evict,
            stats: (0..=sizes.largest()).map(|_| ClassStats::default()).collect(),
            flat: AtomicBool::new(false),
            hot_pct: AtomicU32::new(0),
            temp_ttl: AtomicU64::new(0),
        }
    }

    /// Locks a class.
    #[inline]
    pub fn class(&self, id: usize) -> MutexGuard<'_, Class> {
        let class = self.classes[id].lock();
        // Chunks are freed and reused under this lock. An optimistic read that loads a word written after this fence
        // sees that the bucket which led it to the chunk has changed.
        fence(Release);
        class
    }

    /// Locks a class; also returns whether the caller had to wait.
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

    /// Allocates a chunk of at least `need` bytes, or returns the item to evict for one. `tries` counts the caller's
    /// earlier attempts.
    pub fn take(&self, class: &mut Class, arena: &Arena, need: usize, tries: usize) -> Take {
        let take = self.search(class, arena, need, tries);
        if matches!(take, Take::Nothing | Take::Elsewhere) && class.has_open_magazines() && !class.lacks(need) {
            return self.search_all(class, arena, need, tries);
        }
        take
    }

    /// Recalls magazines, then searches.
    #[cold]
    fn search_all(&self, class: &mut Class, arena: &Arena, need: usize, tries: usize) -> Take {
        self.search(&mut class.whole(arena), arena, need, tries)
    }

    fn search(&self, class: &mut Class, arena: &Arena, need: usize, tries: usize) -> Take {
        let mut chunk = class.take_present(arena, need);
        if chunk.is_none() && class.has_open_magazines() {
            chunk = class.take_from_magazines(arena, need);
        }
        if chunk.is_none() {
            if class.wants_page(need) {
                match self.pages.take(class.page_count() == 0) {
                    Some(NewPage::Ready(page)) => {
                        class.receive(arena, page, None);
                        class.searches = 0;
                    }
                    Some(NewPage::Untouched(page)) => return Take::Untouched(page),
                    None => {}
                }
            }
            chunk = class.take_kept(arena, need);
        }
        if let Some(handle) = chunk {
            class.histogram.note(need);
            return Take::Chunk(handle);
        }
        if class.lacks(need) {
            // Noted so that the class gets maximum-size chunks again if many items need them.
            class.histogram.note(need);
            return Take::Elsewhere;
        }
        if !self.may_evict {
            return Take::Nothing;
        }
        if class.is_choosy(need) && (tries >= ANY_VICTIM_TRIES || class.has_free_fitted_page()) {
            let victim = class.victim_of_max_size(arena);
            return victim.map_or(Take::Elsewhere, |handle| Take::Victim(handle, Some(Part::Main)));
        }
        self.victim(class, arena).map_or(Take::Nothing, |(handle, part)| Take::Victim(handle, part))
    }

    /// Chooses the next victim of a class; also returns the part it was in, if it is to leave a ghost.
    fn victim(&self, class: &mut Class, arena: &Arena) -> Option<(Handle, Option<Part>)> {
        if self.is_flat() {
            class.victim_flat(arena, &self.stats[class.id]).map(|handle| (handle, None))
        } else {
            class.victim(arena, &self.stats[class.id], self.hot_pct())
        }
    }

    /// Chooses a victim for a chunk of `need` bytes outside the draining page. The victim may be on the draining page,
    /// unless only maximum-size chunks will do.
    pub(super) fn victim_anywhere(
        &self,
        class: &mut Class,
        arena: &Arena,
        need: usize,
    ) -> Option<(Handle, Option<Part>)> {
        if class.is_choosy(need) {
            // Evicting any other item frees no chunk that is large enough.
            return class.victim_of_max_size(arena).map(|handle| (handle, Some(Part::Main)));
        }
        let draining = class.draining.take();
        let victim = self.victim(class, arena);
        class.draining = draining;
        victim
    }

    /// The ring's share in percent, if the operator has fixed it.
    pub fn hot_pct(&self) -> Option<u32> {
        self.hot_pct.load(Relaxed).checked_sub(1)
    }

    /// Whether each class has one LRU list (flat mode).
    #[inline]
    pub fn is_flat(&self) -> bool {
        self.flat.load(Relaxed)
    }

    /// Selects flat or segmented mode for new items.
    pub fn set_flat(&self, flat: bool, arena: &Arena) {
        self.flat.store(flat, Relaxed);
        for mut class in self.classes.iter().map(Mutex::lock) {
            class.whole(arena).mixed = true;
        }
    }

    /// Notes an access to an item of a locked bucket; true if the caller must move it to the tail of the LRU list. In
    /// flat mode that is once a minute, and the access time is not updated in between, as in memcached.
    pub fn note_use(&self, item: &Item, now: u32) -> bool {
        let flat = self.is_flat();
        let due = item.is_access_due(now);
        if !flat || due {
            item.set_atime(now);
        }
        flat && due
    }

    /// Whether another search may find a victim after one has failed: each passes a bounded number of slots.
    pub fn may_find(&self, class: &Class) -> bool {
        self.may_evict && class.evictable() > 0
    }

    /// Lock-free statistics of a class.
    #[inline]
    pub fn stats(&self, id: usize) -> &ClassStats {
        &self.stats[id]
    }

    /// The label of a new item.
    #[inline]
    pub fn label_of(&self, exptime: u32, now: u32) -> u8 {
        // Wraps to a large value for an item that never expires (0) or has expired.
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

    /// Labels new items with at most `ttl` seconds to live TEMP; `None` labels none.
    pub fn set_temp_ttl(&self, ttl: Option<u32>) {
        self.temp_ttl.store(ttl.map_or(0, |ttl| u64::from(ttl) + 1), Relaxed);
    }

    /// Number of items, summed class by class.
    pub fn items(&self, arena: &Arena) -> u64 {
        self.sum(arena, Class::len)
    }

    /// Sum of the memcached_size of all items, in bytes.
    pub fn bytes(&self, arena: &Arena) -> u64 {
        self.sum(arena, |class| class.requested as u64)
    }

    fn sum(&self, arena: &Arena, of: impl Fn(&Class) -> u64) -> u64 {
        let count = |mut class: MutexGuard<'_, Class>| of(&class.whole(arena));
        self.classes.iter().map(Mutex::lock).map(count).sum()
    }

    /// Number of classes, the page pool (0) included.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Snapshot of one class.
    pub fn view(&self, id: usize, arena: &Arena, now: u32) -> ClassView {
        self.class(id).whole(arena).view(arena, &self.stats[id], now)
    }

    /// Whether items may be evicted.
    pub fn may_evict(&self) -> bool {
        self.may_evict
    }

    /// Whether evictions leave ghosts, and there has been one.
    pub fn leaves_ghosts(&self) -> bool {
        !self.is_flat() && self.stats.iter().any(|stats| stats.evicted() != 0)
    }

    /// Bytes of all classes' queues.
    pub fn queue_bytes(&self) -> u64 {
        self.classes.iter().map(|class| class.lock().queue_bytes()).sum()
    }

    /// Resets the counters of all classes.
    pub fn reset_counts(&self) {
        for (class, stats) in self.classes.iter().zip(&self.stats) {
            let mut class = class.lock();
            crate::sys::panics::trap("locked");
            class.counts = ClassCounts::default();
            class.rewarmed_before = stats.rewarmed();
        }
    }
}
