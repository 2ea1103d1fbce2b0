//! The store: lookups under the bucket lock, chunk allocation with eviction, index growth.
//!
//! Owns the parts (arena, classes, index, persistent counters) and the order in which their locks are taken:
//! class, bucket, overflow pool (docs/locking.md). A bucket holder never takes a class lock: chunks are freed
//! after the bucket is unlocked. Knows no protocol and no settings table; called by `cache` and `maint`.

use crate::cache_lines::{Shared, wrote};
use crate::clock::Expiry;
use crate::events::{Event, EventClass, Events};
use crate::store::change::{ChangeOp, Changes};
use crate::store::class::{Class, ClassCounts, ClassView};
use crate::store::dates::WallOrigin;
use crate::store::entry::Entry;
use crate::store::evict::Part;
use crate::store::index::{GrowthStep, Index, Pace};
use crate::store::item::{Handle, Handles, Item, Key, SEQ_MASK, iflag, state};
use crate::store::memory_file::{MemoryFile, PersistentCounters};
use crate::store::reservation::{ChainName, Pinned};
use crate::store::slab::Arena;
use crate::store::slab::MutexGuard;
use crate::store::slab::{SizeConfig, Sizes};
use crate::store::slabs::{Slabs, Take};
use crate::store::write::Dead;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

/// Maximum attempts of one allocation to find or free a chunk before it fails.
const EVICT_TRIES: usize = 50;

/// Maximum attempts in a class with at least `MANY_ITEMS` items that may be evicted. Such a class has a victim, if not
/// for this attempt then for a later one: between two attempts it is unlocked, so uploads complete and buckets are
/// unlocked. With `EVICT_TRIES` alone, one set in 166 million operations of a torture run was refused; the cause is not
/// known.
const EVICT_TRIES_MAX: usize = 400;
const MANY_ITEMS: i64 = 64;

/// Maximum searches of one allocation for an expired item that find none, in a class with items that must not be
/// evicted (`-M`, or labelled TEMP). Each takes some 10 us. Several are worth it: items that were stored together
/// expire together.
const EXPIRED_PROBES: u32 = 32;

/// Once fewer CAS ids than this are left below 2^40, new items get a CAS word: a header field for a 64-bit id. Without
/// it an item holds 40 bits. The margin is more than all threads draw between this decision and the commit of a value
/// that arrived together with its command.
pub(super) const WIDE_MARGIN: u64 = 1 << 32;

/// Maximum pages that one call of [`Store::touch_ahead`] touches: the chores thread, which calls it, has other work.
const TOUCH_PAGES: usize = 4;

/// Configuration of a store.
#[derive(Clone, Debug)]
pub struct Config {
    /// Class sizes and item limits.
    pub sizes: SizeConfig,
    /// Bytes of item memory (`-m`).
    pub maxbytes: u64,
    /// Whether items may be evicted (no `-M`).
    pub evict: bool,
    /// Items that the index has room for before it first grows.
    pub initial_items: u64,
    /// Whether the index may grow.
    pub may_grow: bool,
    /// Reserve address space for `maxbytes` only, and none for a higher `cache_memlimit`. Set with `-k`, which locks
    /// all of it in memory, and where the system counts address space as memory.
    pub exact: bool,
    /// Bytes that `total_malloced` shows before the first page (`T_MEMD_INITIAL_MALLOC`).
    pub precharged: u64,
}

/// All items. Lives as long as the process: replies may still reference values when a server stops.
pub struct Store {
    pub(super) arena: Arena,
    pub(super) sizes: Sizes,
    pub(super) slabs: Slabs,
    pub(super) index: Index,
    memory_file: Option<MemoryFile>,
    /// Counters that survive a restart.
    pub(super) persistent: PersistentCounters,
    /// Unix time of relative time 0.
    pub(super) wall: WallOrigin,
    /// Completed index growths.
    growths: AtomicU64,
    /// Number of chain names given out ([`ChainName`]).
    chains: AtomicU64,
    /// Held while a flush takes effect. Only the lock of the change sink (rank 60) is taken under it.
    pub(super) flushing: Mutex<()>,
    /// Rounds of [`Store::tend`], shown as `lru_maintainer_juggles`.
    pub(super) juggles: AtomicU64,
    /// Counts background work that may cause work for another background thread (`upkeep`).
    pub(super) upkeep: AtomicU64,
    /// Sink of changes.
    pub(super) changes: Changes,
    /// Where eviction events go, and the seconds to subtract from an item's stored expiry time to get the one
    /// shown to clients.
    events: OnceLock<(Arc<Events>, u32)>,
    /// The chores thread, which touches pages before a class needs them ([`Store::touch_ahead`]).
    toucher: OnceLock<Thread>,
}

/// Result of a lookup.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<R> {
    /// A live item, and the visitor's result.
    Hit(R),
    /// No item.
    Miss,
    /// An expired or flushed item, which the lookup has removed.
    Dead(Dead),
}

impl Store {
    /// Reserves address space and creates an empty store. `None` if too little address space is available.
    pub fn leak(config: &Config) -> Option<&'static Self> {
        let index_bytes = Index::least_bytes(config.initial_items, true);
        Self::leak_over(config, Arena::reserve(config.maxbytes, config.exact, index_bytes)?, None)
    }

    /// Creates a store over a memory file. [`Store::adopt`] recovers the items that the file holds.
    pub fn leak_in(config: &Config, memory_file: MemoryFile) -> Option<&'static Self> {
        let arena = Arena::of_file(memory_file.pages(), memory_file.entries());
        Self::leak_over(config, arena, Some(memory_file))
    }

    fn leak_over(config: &Config, arena: Arena, memory_file: Option<MemoryFile>) -> Option<&'static Self> {
        let persistent = memory_file.as_ref().map_or_else(PersistentCounters::leak, MemoryFile::persistent);
        let sizes = Sizes::new(config.sizes.clone());
        // A memory file has room for all of `maxbytes`.
        let limit = if memory_file.is_some() { config.maxbytes } else { config.maxbytes.min(arena.room()) };
        let slabs = Slabs::new(&sizes, arena.numbers(), limit, config.precharged, config.evict);
        let expected = config.initial_items.max(persistent.items.load(Relaxed));
        let index = Index::new(expected, config.may_grow, arena.has_long_handles(), config.exact)?;
        Some(Box::leak(Box::new(Self {
            arena,
            sizes,
            slabs,
            index,
            memory_file,
            persistent,
            wall: WallOrigin::default(),
            growths: AtomicU64::new(0),
            chains: AtomicU64::new(0),
            flushing: Mutex::new(()),
            juggles: AtomicU64::new(0),
            upkeep: AtomicU64::new(0),
            changes: Changes::default(),
            events: OnceLock::new(),
            toucher: OnceLock::new(),
        })))
    }

    /// Sets the sink of eviction events; the first call wins. Stored expiry times are `begun` seconds later than those
    /// shown to clients (`Clock::begun`).
    pub fn report_to(&self, events: Arc<Events>, begun: u32) {
        let _ = self.events.set((events, begun));
    }

    /// Resets CAS ids, flushes and counters to those of a new store. The store must be empty and no other thread may
    /// use it. For tests that run servers one after the other in one process and compare their replies.
    pub fn restart(&self) {
        debug_assert_eq!(self.items(), 0);
        self.persistent.clear();
        self.reset_counts();
    }

    /// Records an event that no client caused, if a watcher wants its class.
    pub fn record(&self, event: &Event<'_>) {
        if let Some((events, _)) = self.events.get().filter(|(events, _)| events.wants(event.class())) {
            events.put(event);
        }
    }

    /// The class table.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The memory file, if the items are in one.
    pub fn memory_file(&self) -> Option<&MemoryFile> {
        self.memory_file.as_ref()
    }

    /// Applies a flush that is due, and records the time and the number of items in the memory file for the next
    /// process. Called once a second.
    pub fn note_time(&self, now: u32, unix: i64) {
        self.settle(now);
        if let Some(memory_file) = self.memory_file() {
            memory_file.note_time(now, unix);
            self.persistent.items.store(self.items(), Relaxed);
        }
    }

    /// Relative time of the last tick that the memory file records.
    pub fn time_left(&self) -> u32 {
        self.persistent.now.load(Relaxed) as u32
    }

    /// The last CAS id given out.
    pub fn last_cas(&self) -> u64 {
        self.persistent.seq.load(Relaxed)
    }

    /// A new CAS id; the first is 2.
    #[inline]
    pub fn next_cas(&self) -> u64 {
        wrote(Shared::Ids, self.persistent.seq);
        self.persistent.seq.fetch_add(1, Relaxed) + 1
    }

    /// Skips `ids` CAS ids and as many chain names, for tests beyond the point where counters wrap.
    pub fn skip_ids(&self, ids: u64) {
        self.persistent.seq.fetch_add(ids, Relaxed);
        self.chains.fetch_add(ids, Relaxed);
    }

    /// Advances the flush counter by `flushes` without flushing, for tests beyond its wrap. The store must be empty.
    pub fn skip_flushes(&self, flushes: u64) {
        self.persistent.flushes.fetch_add(2 * flushes, Relaxed);
    }

    /// Sets an item's CAS id, and a sequence number later than the last flush. Without a CAS word the id must fit
    /// 40 bits, since it is the sequence number.
    #[inline]
    pub(super) fn stamp(&self, item: &Item, cas: u64) {
        if item.can_hold_cas() {
            item.set_seq(self.epoch());
            item.set_cas_word(cas);
        } else {
            debug_assert!(cas <= SEQ_MASK, "{cas} is cut");
            item.set_seq(cas);
        }
    }

    /// Whether new items need a CAS word because CAS ids will soon exceed 40 bits.
    pub(super) fn needs_wide_cas(&self) -> bool {
        self.persistent.seq.load(Relaxed) > SEQ_MASK - WIDE_MARGIN
    }

    /// Returns a name, unique within the process, for the chain of an item with this key hash.
    pub(super) fn name_chain(&self, hash: u64) -> ChainName {
        ChainName { number: self.chains.fetch_add(1, Relaxed), place: (hash >> 32) as u32 }
    }

    /// Prefetches the bucket of `hash`.
    #[inline]
    pub fn prefetch_bucket(&'static self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Prefetches the items that a lookup of `hash` compares with its key. The bucket should be in cache already.
    #[inline]
    pub fn prefetch_items(&'static self, hash: u64) {
        self.index.peek(hash, |raw| {
            if let Some(handle) = Handle::from_raw(raw) {
                self.arena.prefetch(handle);
            }
        });
    }

    /// The slab class in which `stats` and eviction count an item. A chunked item counts in the largest class, whatever
    /// the class of the chunk with its header.
    #[inline]
    pub(super) fn lru_class(&self, handle: Handle, item: &Item) -> usize {
        if item.header().has(iflag::CHUNKED) { self.sizes.largest() } else { self.arena.class(handle) }
    }

    pub(super) fn memcached_size_of(&self, item: &Item) -> usize {
        self.sizes.memcached_size(item.header().klen(), item.vlen(), item.header().has(iflag::FLAGS))
    }

    /// Calls `visit` with the live item of `key` under its bucket's lock. Removes an expired or flushed item.
    /// `visit` must not block, allocate much or call the store.
    #[inline]
    pub fn visit<R>(&'static self, key: &Key<'_>, now: u32, visit: impl FnOnce(&mut Entry) -> R) -> Lookup<R> {
        let mut bucket = self.index.lock(key.hash());
        let Some(mut linked) = self.find(&bucket, key) else { return Lookup::Miss };
        let flushes = self.calm();
        if let Some(dead) = self.dead(&linked.item, now) {
            self.unlink(bucket, key, linked, ChangeOp::Reclaim(dead));
            return Lookup::Dead(dead);
        }
        let mut entry = Entry::of(self, bucket.version(), linked.handle, linked.item);
        let result = visit(&mut entry);
        let mut removed = entry.unlink.then_some(ChangeOp::Delete);
        if let Some(op) = entry.changed {
            bucket.changed();
            self.emit(key, op, entry.handle, &entry.item);
            if self.is_flushed_since(flushes) {
                removed.get_or_insert(ChangeOp::Reclaim(Dead::Flushed));
            }
        }
        if let Some(op) = removed {
            linked.item = entry.item;
            self.unlink(bucket, key, linked, op);
        } else if entry.moves_back {
            drop(bucket);
            self.move_back(linked.handle, linked.item);
        }
        Lookup::Hit(result)
    }

    /// Moves an item to the tail of its class's LRU list, in flat mode. No bucket lock may be held.
    #[cold]
    pub(super) fn move_back(&'static self, handle: Handle, item: Item) {
        self.slabs.class(self.lru_class(handle, &item)).whole(&self.arena).move_back(&self.arena, handle);
    }

    /// Frees all chunks of an unlinked, unpinned item.
    pub(super) fn free_item(&'static self, handle: Handle, item: Item) {
        let memcached_size = self.memcached_size_of(&item);
        let class = self.arena.class(handle);
        if !item.header().has(iflag::CHUNKED) {
            if self.slabs.put(&self.arena, class, handle, memcached_size) {
                return;
            }
            let (mut class, contended) = self.slabs.class_contended(class);
            class.delist(&self.arena, handle, memcached_size, false);
            class.free(&self.arena, handle);
            class.renew_magazine(&self.arena, 0, contended, self.slabs.is_flat());
            return;
        }
        self.slabs.class(self.sizes.largest()).delist(&self.arena, handle, memcached_size, true);
        self.free_chain(&item);
        self.slabs.class(class).free(&self.arena, handle);
    }

    /// Allocates a chunk of at least `need` bytes in class `class_id`, evicting if necessary.
    pub(super) fn take_chunk(&'static self, class_id: usize, need: usize, now: u32) -> Option<Handle> {
        self.take_chunk_for(class_id, need, now, |_, _| ())
    }

    /// Allocates a chunk and calls `then` for it under the lock of its class, which is the next larger one if
    /// `class_id` has no chunk of that size.
    pub(super) fn take_chunk_for(
        &'static self,
        class_id: usize,
        need: usize,
        now: u32,
        then: impl FnOnce(&mut Class, Handle),
    ) -> Option<Handle> {
        let (mut class, contended) = self.slabs.class_contended(class_id);
        let births = class.chunks.births();
        // An expired item is reclaimed before the class takes another page.
        if class.chunks.would_grow(need) && self.oldest_expired(&class, now).is_some() {
            // Threads with an open magazine free and reuse chunks without the class's lock: check again without
            // magazines.
            let mut whole = class.whole(&self.arena);
            if whole.chunks.would_grow(need)
                && let Some(oldest) = self.oldest_expired(&whole, now)
            {
                whole.forget_oldest(&self.arena, oldest);
                class = self.drop_victim(class_id, class, (oldest, None), now);
            }
        }
        let (mut probes, mut tries) = (0, 0);
        while tries < EVICT_TRIES || tries < EVICT_TRIES_MAX && class.evictable() >= MANY_ITEMS {
            tries += 1;
            match self.slabs.take(&mut class, &self.arena, need, tries - 1) {
                Take::Chunk(handle) => {
                    then(&mut class, handle);
                    class.renew_magazine(&self.arena, need, contended, self.slabs.is_flat());
                    let grown = class.chunks.births() != births;
                    drop(class);
                    if grown && let Some(toucher) = self.toucher.get() {
                        toucher.unpark();
                    }
                    return Some(handle);
                }
                Take::Untouched(page) => {
                    drop(class);
                    self.touch(page);
                    class = self.slabs.class(class_id);
                }
                Take::Elsewhere => {
                    drop(class);
                    return self.take_chunk_for(class_id + 1, need, now, then);
                }
                Take::Nothing => {
                    let mut goes_on = self.slabs.may_find(&class);
                    // Items that must not be evicted may be removed once they are dead.
                    if self.slabs.protects(&class) {
                        let is_dead = |item: &Item| self.dead(item, now).is_some();
                        if let Some(expired) = class.whole(&self.arena).next_expired(&self.arena, need, is_dead) {
                            class = self.drop_victim(class_id, class, (expired, None), now);
                            continue;
                        }
                        probes += 1;
                        goes_on |= probes < EXPIRED_PROBES && class.may_have_expired();
                    }
                    if !goes_on {
                        break;
                    }
                    // Unlock so that other threads get the class before the search continues.
                    drop(class);
                    class = self.slabs.class(class_id);
                }
                Take::Victim(handle, part) => class = self.drop_victim(class_id, class, (handle, part), now),
            }
        }
        class.counts.outofmemory += 1;
        self.slabs.stats(class_id).refuse();
        None
    }

    /// The oldest item of the class's queue, if it is dead.
    fn oldest_expired(&self, class: &Class, now: u32) -> Option<Handle> {
        let oldest = class.longest_here()?;
        let item = Item::at(self.arena.chunk(oldest)).filter(|item| item.header().is(state::LINKED))?;
        self.dead(&item, now).map(|_| oldest)
    }

    fn touch(&self, page: u32) {
        self.arena.touch(page);
        self.slabs.pages.touched(page);
    }

    /// Registers the calling thread as the one that is unparked when [`Store::touch_ahead`] may be due.
    pub fn touch_from_here(&self) {
        // Only the first caller is registered. A later one is not unparked, and touches pages when it next calls.
        let _ = self.toucher.set(thread::current());
    }

    /// Touches up to `TOUCH_PAGES` of the pages that classes need next, so that no worker waits for the kernel to
    /// clear them. True if there is more to do.
    pub fn touch_ahead(&self) -> bool {
        (0..TOUCH_PAGES).all(|_| self.slabs.pages.take_to_touch().map(|page| self.touch(page)).is_some())
    }

    /// Evicts and frees a victim of class `class_id`. The class is unlocked in between if the item is chunked.
    pub(super) fn drop_victim(
        &'static self,
        class_id: usize,
        mut class: MutexGuard<'static, Class>,
        (handle, part): (Handle, Option<Part>),
        now: u32,
    ) -> MutexGuard<'static, Class> {
        let Some(item) = self.evict(&mut class, handle, part, now) else { return class };
        if item.header().has(iflag::CHUNKED) {
            drop(class);
            self.free_item(handle, item);
            return self.slabs.class(class_id);
        }
        let memcached_size = self.memcached_size_of(&item);
        class.delist(&self.arena, handle, memcached_size, false);
        class.free(&self.arena, handle);
        class
    }

    /// Unlinks a victim. `None` if the class's history spares it (`evict::history`), it was removed meanwhile, its
    /// bucket is locked, or it is pinned (the last pin frees it).
    fn evict(&'static self, class: &mut Class, handle: Handle, part: Option<Part>, now: u32) -> Option<Item> {
        let item = Item::at(self.arena.chunk(handle))?;
        let mut buffer = std::mem::take(&mut class.key);
        let evicted = self.evict_key(class, Key::copied(&item, &mut buffer), handle, part, now);
        class.key = buffer;
        evicted
    }

    fn evict_key(
        &'static self,
        class: &mut Class,
        key: Key<'_>,
        handle: Handle,
        part: Option<Part>,
        now: u32,
    ) -> Option<Item> {
        let hash = key.hash();
        class.prefetch_departures(hash);
        // If the bucket is locked, the caller takes another victim instead of waiting.
        let (mut bucket, mut linked) = self.try_lock_item(&key, handle).ok()?;
        let item = linked.item;
        let dead = self.dead(&item, now);
        if dead.is_none() && !self.slabs.may_leave(&item) {
            return None; // was dead when it was chosen, and lives now
        }
        if let (None, Some(part)) = (dead, part)
            && !class.chunks.is_draining(handle)
            && !item.header().has(iflag::CHUNKED)
            && class.keeps(hash, part)
        {
            return None;
        }
        let op = dead.map_or(ChangeOp::Evict, ChangeOp::Reclaim);
        self.remove(&mut bucket, &key, &mut linked, op);
        let item = linked.item;
        if let (None, Some(part)) = (dead, part) {
            let stats = self.slabs.stats(self.lru_class(handle, &item));
            bucket.leave_ghost(hash, stats.ghost(part), |ghost| stats.worth(ghost));
        }
        drop(bucket);
        let counts = &mut class.counts;
        wrote(Shared::Class, &counts.direct_reclaims);
        counts.direct_reclaims += 1;
        if dead.is_some() {
            counts.reclaimed += 1;
            counts.expired_unfetched += u64::from(!item.header().is(state::FETCHED));
        } else {
            self.note_eviction(counts, key.bytes(), handle, &item, now);
        }
        if Pinned::leave_to_readers(&item) {
            counts.lrutail_reflocked += 1;
            return None;
        }
        Some(item)
    }

    /// Counts an eviction and records it for watchers.
    pub(super) fn note_eviction(&self, counts: &mut ClassCounts, key: &[u8], handle: Handle, item: &Item, now: u32) {
        let fetched = item.header().is(state::FETCHED);
        wrote(Shared::Class, &counts.evicted);
        wrote(Shared::Class, &counts.evicted_active);
        counts.evicted += 1;
        counts.evicted_time = now.saturating_sub(item.atime(now));
        counts.evicted_nonzero += u64::from(item.expiry(now) != Expiry::Never);
        counts.evicted_unfetched += u64::from(!fetched);
        counts.evicted_active += u64::from(item.header().is(state::ACTIVE));
        if let Some((events, begun)) = self.events.get().filter(|(events, _)| events.wants(EventClass::EVICTIONS)) {
            let (exptime, class_id) = (self.exptime(item, now), self.lru_class(handle, item));
            events.put(&Event::Eviction {
                key,
                fetched,
                ttl: if exptime == 0 { -1 } else { i64::from(exptime) - i64::from(now) - i64::from(*begun) },
                idle: now.saturating_sub(item.atime(now)),
                class: class_id as u8,
                size: item.vlen(),
            });
        }
    }

    /// Does one step of index growth, or begins one if it is due. Called by one thread.
    pub fn grow_step(&'static self, buckets: u64) -> GrowthStep {
        if !self.index.is_growing() {
            let items = self.items();
            if items > 0 && self.index.touch_ahead() {
                return GrowthStep::Memory;
            }
            if !self.index.wants_growth(items) {
                self.slabs.pages.want(0);
                let grows = self.may_grow_for_ghosts(items) && self.index.begin_growth(items, Pace::Wide);
                return if grows { GrowthStep::Memory } else { GrowthStep::Over };
            }
            let mut pace = Pace::Wide;
            if self.memory_file().is_none() {
                let bytes = |pace| self.index.bytes_when_grown(items, pace) + self.slabs.queue_bytes();
                if self.slabs.pages.would_charge(bytes(pace)) {
                    pace = Pace::Narrow;
                    if !self.index.is_crowded(items) {
                        return GrowthStep::Over;
                    }
                }
                let bytes = bytes(pace);
                // Classes give up pages first; an overfull index grows without waiting for them.
                self.slabs.pages.want(bytes);
                self.charge(bytes);
                if self.slabs.pages.is_shrinking() && !self.index.is_overfull(items) {
                    return GrowthStep::Over;
                }
                self.slabs.pages.want(0);
            }
            return if self.index.begin_growth(items, pace) { GrowthStep::Memory } else { GrowthStep::Over };
        }
        let mut key = Vec::with_capacity(Key::CAPACITY);
        let ahead = |raw| {
            if let Some(handle) = Handle::from_raw(raw) {
                self.arena.prefetch(handle);
            }
        };
        let step = self
            .index
            .grow(buckets, ahead, |raw| self.item(raw).map_or(0, |(_, item)| Key::copied(&item, &mut key).hash()));
        self.growths.fetch_add(u64::from(step == GrowthStep::Over), Relaxed);
        step
    }

    /// Whether the index should grow to have free slots for ghosts (`index::ghost`): only if evictions leave ghosts,
    /// and if the larger table takes no memory from items, however long the rings become.
    fn may_grow_for_ghosts(&'static self, items: u64) -> bool {
        let bytes = || {
            let rings = items * Handles::ENTRY as u64;
            self.index.bytes_when_grown(items, Pace::Wide) + rings.max(self.slabs.queue_bytes())
        };
        self.index.is_short_of_ghosts(items) && self.slabs.leaves_ghosts() && !self.slabs.pages.would_charge(bytes())
    }

    /// Whether the index is growing, its size in bytes and its number of slots.
    pub fn index_view(&'static self) -> (bool, u64, u64) {
        (self.index.is_growing(), self.index.bytes(), self.index.slots())
    }

    /// Snapshot of each class, by class number; entry 0 is empty.
    pub fn classes(&self, now: u32) -> Vec<ClassView> {
        (0..self.slabs.len()).map(|id| self.slabs.view(id, &self.arena, now)).collect()
    }

    /// Number of items.
    pub fn items(&self) -> u64 {
        self.slabs.items(&self.arena)
    }

    /// Sum of the memcached_size of all items, in bytes.
    pub fn bytes(&self) -> u64 {
        self.slabs.bytes(&self.arena)
    }

    /// Bytes of pages in use, the global pool's included.
    pub fn malloced(&self) -> u64 {
        self.slabs.pages.malloced()
    }

    /// Pages in the global pool.
    pub fn free_pages(&self) -> u64 {
        self.slabs.pages.pooled()
    }

    /// The memory limit in bytes; less than `Config::maxbytes` where address space is short.
    pub fn limit(&self) -> u64 {
        self.slabs.pages.limit()
    }

    /// Changes the memory limit. False if address space is short, or the items are in a memory file.
    pub fn set_limit(&self, bytes: u64) -> bool {
        // The size of a memory file is fixed.
        self.memory_file.is_none() && self.slabs.pages.set_limit(bytes)
    }

    /// Fixes the HOT ring's share of each class, in percent; `None` lets it adapt.
    pub fn set_hot_pct(&self, percent: Option<u32>) {
        self.slabs.set_hot_pct(percent);
    }

    /// Protects new items with at most `ttl` seconds to live from eviction; `None` protects none.
    pub fn set_temp_ttl(&self, ttl: Option<u32>) {
        self.slabs.set_temp_ttl(ttl);
    }

    /// Selects flat mode (one LRU list per class) or segmented mode (S3-FIFO with ghosts). Items already stored stay in
    /// their queues and are evicted first.
    pub fn set_flat(&self, flat: bool) {
        self.slabs.set_flat(flat, &self.arena);
    }

    /// Rounds of tending; one round covers all classes.
    pub fn juggles(&self) -> u64 {
        self.juggles.load(Relaxed)
    }

    /// Resets the counters of all classes, for `stats reset`.
    pub fn reset_counts(&self) {
        self.slabs.reset_counts();
        self.juggles.store(0, Relaxed);
    }
}
