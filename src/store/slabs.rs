//! All slab classes, over one page pool.
//!
//! Owns one [`Class`] per slab class, each under its own lock (rank: docs/locking.md), and what all of them share: the
//! pages, the mode of eviction, the lock-free statistics. Owns the order in which a request for memory is served. The
//! caller (the store) unlinks victims from the index.

use crate::store::class::magazine::Magazines;
use crate::store::class::{Class, ClassView};
use crate::store::evict::{ClassStats, EvictionMode, History, Part, lines_of};
use crate::store::item::{Handle, Item, state};
use crate::store::slab::{Arena, Mutex, MutexGuard, NewPage, PagePool, Sizes, on_top, thread_slot};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::Release, fence};

/// For an item that needs a maximum-size chunk: attempts that evict in eviction order, before only items in such chunks
/// become victims. These attempts may free fitted chunks (`slab::chunk_layout`), which are too short for the item, so
/// they also end once a page of fitted chunks is free.
const ANY_VICTIM_TRIES: usize = 4;

/// Result of a class's search for memory.
pub enum Take {
    /// A chunk, now the caller's.
    Chunk(Handle),
    /// A page without memory: the caller unlocks the class, touches the page, calls [`PagePool::touched`], and
    /// retries.
    Untouched(u32),
    /// The victim to unlink and free, and the queue that it was in, if it is to leave a ghost (`index::ghost`).
    Victim(Handle, Option<Part>),
    /// The class has no chunk of that size, or none that eviction can free: use the next larger class.
    Elsewhere,
    /// No memory and no victim.
    Nothing,
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
    /// Fixed share of the HOT ring in its class in percent, plus 1; 0 = adaptive.
    hot_pct: AtomicU32,
    /// Longest TTL in seconds of TEMP items, plus 1; 0 = no item is TEMP.
    temp_ttl: AtomicU64,
}

impl Slabs {
    /// Creates empty classes for `sizes`, with at most `limit` bytes of the pages with these `numbers`.
    pub fn new(sizes: &Sizes, numbers: Range<u32>, limit: u64, precharged: u64, may_evict: bool) -> Self {
        let classes: Vec<Class> = (0..=sizes.largest()).map(|id| Class::new(id, sizes)).collect();
        Self {
            magazines: classes.iter().map(Class::magazines).collect(),
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
            return (class, thread_slot::is_contention_simulated());
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
        if matches!(take, Take::Nothing | Take::Elsewhere) && class.has_open_magazines() && !class.chunks.lacks(need) {
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
        let mut chunk = class.chunks.take_present(arena, need);
        if chunk.is_none() && class.has_open_magazines() {
            chunk = class.take_from_magazines(arena, need);
        }
        if chunk.is_none() {
            // Without memory for its tables the class goes on as at the limit.
            if class.chunks.wants_page(need) && class.chunks.reserve_page() {
                match self.pages.take(class.chunks.page_count() == 0) {
                    Some(NewPage::Ready(page)) => class.grow(arena, page),
                    Some(NewPage::Untouched(page)) => return Take::Untouched(page),
                    None => {}
                }
            }
            chunk = class.chunks.take_kept(arena, need);
        }
        if let Some(handle) = chunk {
            class.chunks.note_size(need);
            return Take::Chunk(handle);
        }
        if class.chunks.lacks(need) {
            // Noted so that the class gets maximum-size chunks again if many items need them.
            class.chunks.note_size(need);
            return Take::Elsewhere;
        }
        if !self.may_evict {
            return Take::Nothing;
        }
        if class.chunks.is_choosy(need) && (tries >= ANY_VICTIM_TRIES || class.chunks.has_free_fitted_page()) {
            let victim = class.victim_of_max_size(arena);
            return victim.map_or(Take::Elsewhere, |handle| Take::Victim(handle, Some(Part::Main)));
        }
        self.victim(class, arena, false).map_or(Take::Nothing, |(handle, part)| Take::Victim(handle, part))
    }

    fn victim(&self, class: &mut Class, arena: &Arena, anywhere: bool) -> Option<(Handle, Option<Part>)> {
        let mode = match self.is_flat() {
            true => EvictionMode::Flat,
            false => EvictionMode::Segmented { hot_pct: self.hot_pct() },
        };
        class.victim(arena, &self.stats[class.chunks.class()], mode, anywhere)
    }

    /// Chooses a victim for a chunk of `need` bytes outside the draining page. The victim may be on the draining page,
    /// unless only maximum-size chunks will do.
    pub(super) fn victim_anywhere(
        &self,
        class: &mut Class,
        arena: &Arena,
        need: usize,
    ) -> Option<(Handle, Option<Part>)> {
        if class.chunks.is_choosy(need) {
            // Evicting any other item frees no chunk that is large enough.
            return class.victim_of_max_size(arena).map(|handle| (handle, Some(Part::Main)));
        }
        self.victim(class, arena, true)
    }

    /// Writes a new item into a chunk of the calling thread's magazine, if that is open: see [`Magazines::place`].
    #[inline]
    pub fn place(
        &self,
        arena: &Arena,
        id: usize,
        sizes: (usize, usize),
        write: impl FnOnce(Handle) -> Item,
    ) -> Option<(Handle, Item)> {
        // A thread has a slot only once it has waited for a class; most never do.
        let number = thread_slot::current()?;
        self.magazines[id].as_ref()?.place(number, arena, sizes, write)
    }

    /// Frees an item's chunk to the calling thread's magazine, if that is open: see [`Magazines::put`].
    #[inline]
    pub fn put(&self, arena: &Arena, id: usize, handle: Handle, memcached_size: usize) -> bool {
        let Some(number) = thread_slot::current() else { return false };
        self.magazines[id].as_ref().is_some_and(|all| all.put(number, arena, handle, memcached_size))
    }

    /// The HOT ring's share of each class in percent, if the operator has fixed it.
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
            class.whole(arena).note_mode();
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

    /// Whether another search may find a victim after one has failed, since one search passes a bounded number of
    /// slots.
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

    /// Fixes the HOT ring's share of each class, in percent; `None` lets it adapt.
    pub fn set_hot_pct(&self, percent: Option<u32>) {
        self.hot_pct.store(percent.map_or(0, |percent| percent + 1), Relaxed);
    }

    /// Labels new items TEMP that have at most `ttl` seconds to live; `None` labels none.
    pub fn set_temp_ttl(&self, ttl: Option<u32>) {
        self.temp_ttl.store(ttl.map_or(0, |ttl| u64::from(ttl) + 1), Relaxed);
    }

    /// Number of items, summed class by class.
    pub fn items(&self, arena: &Arena) -> u64 {
        self.sum(arena, Class::len)
    }

    /// Sum of the memcached_size of all items, in bytes.
    pub fn bytes(&self, arena: &Arena) -> u64 {
        self.sum(arena, Class::requested)
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

    /// Whether a class has items that must not be evicted.
    pub fn protects(&self, class: &Class) -> bool {
        !self.may_evict || class.evictable() < class.len() as i64
    }

    /// Whether an item may be evicted before it expires.
    pub fn may_leave(&self, item: &Item) -> bool {
        self.may_evict && item.header().state() & state::SEGMENT != state::TEMP
    }

    /// Resizes the histories of classes that evict, within the overhead not charged to the limit (`on_top`), of which
    /// `needed` bytes are already taken; drops them if too little is left. Returns the bytes of all tables. Called
    /// regularly by the chores thread.
    pub fn fit_histories(&self, needed: u64) -> u64 {
        let room = on_top(self.pages.limit()).saturating_sub(needed);
        let evicts = |id: usize| !self.is_flat() && self.stats(id).evicted() != 0;
        let mut kept = false;
        let mut items_of = |id: usize| {
            let mut class = self.class(id);
            kept |= class.history().is_kept();
            if evicts(id) { class.len() } else { 0 }
        };
        let items: Vec<u64> = (0..self.len()).map(&mut items_of).collect();
        lines_of(&items, room, kept).enumerate().map(|(id, lines)| self.fit_history(id, lines)).sum()
    }

    /// Gives a class a history of about `lines` lines and returns its bytes. A history of the wrong size is replaced by
    /// an empty one, which fills within a few evictions per item.
    fn fit_history(&self, id: usize, lines: usize) -> u64 {
        let mut class = self.class(id);
        if class.history().fits(lines) {
            return class.history().bytes();
        }
        // No lock is held while memory is freed and allocated; the old table is freed first.
        let old = std::mem::take(class.history());
        drop(class);
        drop(old);
        let new = History::new(lines);
        let bytes = new.bytes();
        *self.class(id).history() = new;
        bytes
    }

    /// Whether evictions leave ghosts, and a class has evicted.
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
            class.reset_counts(stats);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Expiry;
    use crate::store::item::{Key, Meta};
    use crate::store::slab::SizeConfig;
    use crate::store::store::{Config, Lookup, Store};
    use crate::store::write::{Mode, Write};

    /// Stores an item in a class.
    fn put(slabs: &Slabs, arena: &Arena, class: usize) {
        let mut class = slabs.class(class);
        let handle = loop {
            match slabs.take(&mut class, arena, 18, 0) {
                Take::Untouched(page) => slabs.pages.touched(page),
                Take::Chunk(handle) => break handle,
                _ => panic!("there is memory"),
            }
        };
        let meta = Meta { klen: 1, vlen: 1, flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
        let mut item = Item::write(arena.chunk(handle), &meta, b"k", 0, 10);
        class.enlist(arena, handle, &mut item, 60, true, state::HOT);
    }

    #[test]
    fn tables_of_classes_that_evict_stay_within_the_spare_overhead() {
        let sizes = Sizes::new(SizeConfig::default());
        let arena = Arena::reserve(64 << 20, true, 0).unwrap();
        let slabs = Slabs::new(&sizes, arena.numbers(), 64 << 20, 0, true);
        let room = on_top(64 << 20);
        [1, 2].into_iter().for_each(|class| (0..100_000).for_each(|_| put(&slabs, &arena, class)));
        assert_eq!(slabs.fit_histories(0), 0, "no class has evicted");
        let evict = || _ = slabs.stats(1).ghost(Part::Ring);
        evict();
        assert_eq!(slabs.fit_histories(0), 800_000);
        assert!(slabs.class(1).history().is_kept() && !slabs.class(2).history().is_kept());
        for needed in (0..=room).step_by(10_000) {
            let taken = slabs.fit_histories(needed);
            assert!(taken + needed <= room && (taken > 0 || needed + 450_001 > room), "{taken} with {needed}");
        }
        assert_eq!(slabs.fit_histories(room - 599_000), 0, "the bounds have hysteresis");
        assert!(slabs.fit_histories(room - 601_000) > 0);
        assert_eq!(slabs.fit_histories(room), 0);
        slabs.fit_histories(0);
        slabs.set_flat(true, &arena);
        assert_eq!(slabs.fit_histories(0), 0, "flat mode needs none");
    }

    #[test]
    fn an_unread_item_of_a_key_that_was_evicted_often_is_not_evicted() {
        let (maxbytes, initial_items) = (2 << 20, 40_000);
        let sizes = SizeConfig::default();
        let config = Config { sizes, maxbytes, evict: true, initial_items, may_grow: true, exact: true, precharged: 0 };
        let store = Store::leak(&config).unwrap();
        let put = |n: u32| {
            let key = n.to_be_bytes();
            let key = Key::new(&key).unwrap();
            let meta = Meta { klen: 4, vlen: 50, flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
            let mut item = store.reserve(&key, &meta, 0).unwrap();
            item.write(&[7; 50]).unwrap();
            let class = usize::from(item.class());
            store.commit(item, &key, Write::new(Mode::Set, store.next_cas()), 0);
            class
        };
        let has = |n: u32| store.visit(&Key::new(&n.to_be_bytes()).unwrap(), 0, |_| ()) != Lookup::Miss;
        let (class, mut last) = (put(0), 0);
        while has(0) {
            last += 1;
            put(last);
        }
        let [never, often] = [last + 1, last + 2];
        [never, often].into_iter().for_each(|n| _ = put(n));
        {
            let mut class = store.slabs.class(class);
            *class.history() = History::new(20_000);
            // Hashes differ between runs: the count is high enough after a halving, and the table so large that keys
            // hardly ever share an entry.
            (0..6).for_each(|_| _ = class.keeps(hash_of(often), Part::Main));
        }
        (1..=last * 3 / 2).for_each(|n| _ = put(often + n));
        assert_eq!([never, often].map(has), [false, true]);
    }

    fn hash_of(n: u32) -> u64 {
        crate::hash::hash(&n.to_be_bytes())
    }
}
