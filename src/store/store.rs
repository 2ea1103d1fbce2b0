//! The store: lookups under the bucket's lock, expiry, flush, eviction and growth.
//!
//! Lock order (docs/locking.md): a class's lock, then a bucket's, then an overflow pool's. A bucket's
//! holder never takes a class's lock: chunks are freed after the bucket is unlocked.

use crate::events::{Class, Event, Events};
use crate::store::entry::Entry;
use crate::store::evict::Part;
use crate::store::file::{MemoryFile, PersistentCounters};
use crate::store::index::{Bucket, Index, Pace, Slot, Step};
use crate::store::item::Handle;
use crate::store::item::Handles;
use crate::store::item::{Item, SEQ_MASK, iflag, state};
use crate::store::reservation::{ChainName, Pinned};
use crate::store::slab::Arena;
use crate::store::slab::MutexGuard;
use crate::store::slab::{SizeConfig, Sizes};
use crate::store::slabs::{ClassCounts, ClassView, Slabs, Take};
use crate::store::write::Dead;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

/// Victims looked at for one chunk before the allocation fails.
const EVICT_TRIES: usize = 50;

/// Looks for an item whose time is over that one request for memory may take where nobody may be evicted, of some 10 us:
/// items that were stored together expire together.
const EXPIRED_PROBES: u32 = 32;

/// CAS ids before the end of 40 bits from which on new items have the CAS word: more than all threads draw between that
/// decision and the commit of a value that is not uploaded in between.
pub(super) const WIDE_MARGIN: u64 = 1 << 32;

/// Pages touched at a time: the caller has other chores.
const TOUCH_PAGES: usize = 4;

/// What a store is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Class sizes and item limits.
    pub sizes: SizeConfig,
    /// Bytes of item memory (`-m`).
    pub maxbytes: u64,
    /// Whether items may be evicted (no `-M`).
    pub evict: bool,
    /// Items the index is made for at first.
    pub initial_items: u64,
    /// Whether the index may grow.
    pub may_grow: bool,
    /// Reserve address space for `maxbytes` only: it is going to be locked, or counts as memory.
    pub exact: bool,
    /// Bytes that count as allocated before the first page.
    pub precharged: u64,
}

/// All items. Lives as long as the process: values may be on their way out when a server stops.
pub struct Store {
    pub(super) arena: Arena,
    pub(super) sizes: Sizes,
    pub(super) slabs: Slabs,
    pub(super) index: Index,
    /// Counters that a restart must not lose.
    pub(super) persistent: PersistentCounters,
    /// Growth steps that the index has finished.
    growths: AtomicU64,
    /// Chains named so far.
    chains: AtomicU64,
    /// Held while a flush takes effect. A leaf.
    pub(super) flushing: Mutex<()>,
    /// Rounds of tending.
    pub(super) juggles: AtomicU64,
    /// What background threads have done that may be work for each other.
    pub(super) upkeep: AtomicU64,
    /// Where evictions are recorded, and by how much expiry times are later than is told.
    events: OnceLock<(Arc<Events>, u32)>,
    /// Who has pages touched before they are needed, if anybody.
    toucher: OnceLock<Thread>,
}

/// What a lookup found.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<R> {
    /// A live item, and what the visitor made of it.
    Hit(R),
    /// Nothing.
    Miss,
    /// An item whose time was over; it is gone now.
    Dead(Dead),
}

impl Store {
    /// Reserves address space and makes an empty store; `None` when the kernel gives too little.
    pub fn leak(config: &Config) -> Option<&'static Self> {
        let beside = Index::least_bytes(config.initial_items, true);
        Self::leak_over(config, Arena::reserve(config.maxbytes, config.exact, beside)?, PersistentCounters::leak())
    }

    /// The same over a memory file; [`Store::adopt`] takes over what that holds.
    pub fn leak_in(config: &Config, memory_file: MemoryFile) -> Option<&'static Self> {
        let persistent = memory_file.persistent();
        Self::leak_over(config, Arena::of_file(memory_file), persistent)
    }

    fn leak_over(config: &Config, arena: Arena, persistent: PersistentCounters) -> Option<&'static Self> {
        let sizes = Sizes::new(config.sizes.clone());
        // A memory file has room for all of it.
        let limit = if arena.memory_file().is_some() { config.maxbytes } else { config.maxbytes.min(arena.room()) };
        let slabs = Slabs::new(&sizes, arena.pages(), limit, config.precharged, config.evict);
        let expected = config.initial_items.max(persistent.items.load(Relaxed));
        let index = Index::new(expected, config.may_grow, arena.has_long_handles(), config.exact)?;
        Some(Box::leak(Box::new(Self {
            arena,
            sizes,
            slabs,
            index,
            persistent,
            growths: AtomicU64::new(0),
            chains: AtomicU64::new(0),
            flushing: Mutex::new(()),
            juggles: AtomicU64::new(0),
            upkeep: AtomicU64::new(0),
            events: OnceLock::new(),
            toucher: OnceLock::new(),
        })))
    }

    /// Has evictions recorded in `events`; the first one given counts. Expiry times are `begun` seconds later than is
    /// told.
    pub fn report_to(&self, events: Arc<Events>, begun: u32) {
        let _ = self.events.set((events, begun));
    }

    /// Has ids, flushes and counters begin again, as in a new store. Only while there is no item and nobody else at
    /// work: for servers that follow one another in one process, whose conversations are compared.
    pub fn restart(&self) {
        debug_assert_eq!(self.items(), 0);
        self.persistent.clear();
        self.reset_counts();
    }

    /// Records an event that is not a client's doing, if somebody watches for such.
    pub fn record(&self, event: &Event<'_>) {
        if let Some((events, _)) = self.events.get().filter(|(events, _)| events.wants(event.class())) {
            events.put(event);
        }
    }

    /// The class table.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The memory file, if the items lie in one.
    pub fn memory_file(&self) -> Option<&MemoryFile> {
        self.arena.memory_file()
    }

    /// Lets a flush that is due take effect, and leaves a note of the time for the process that will find the memory
    /// file. Called once a second.
    pub fn note_time(&self, now: u32, unix: i64) {
        self.settle(now);
        if let Some(memory_file) = self.memory_file() {
            memory_file.note_time(now, unix);
            self.persistent.items.store(self.items(), Relaxed);
        }
    }

    /// The time that the process before left in the memory file.
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
        self.persistent.seq.fetch_add(1, Relaxed) + 1
    }

    /// Passes over `ids` CAS ids, and as many names of chains: for tests beyond the point where counters wrap.
    pub fn skip_ids(&self, ids: u64) {
        self.persistent.seq.fetch_add(ids, Relaxed);
        self.chains.fetch_add(ids, Relaxed);
    }

    /// Counts `flushes` more, though none takes effect: for tests, as above, before there are items.
    pub fn skip_flushes(&self, flushes: u64) {
        self.persistent.flushes.fetch_add(2 * flushes, Relaxed);
    }

    /// Gives an item a new CAS id, and a sequence number that is later than the last flush. An item without a CAS word
    /// needs an id that fits.
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

    /// Whether new items need the CAS word because ids will soon not fit 40 bits.
    pub(super) fn needs_wide_cas(&self) -> bool {
        self.persistent.seq.load(Relaxed) > SEQ_MASK - WIDE_MARGIN
    }

    /// A name for the chain of an item whose key has this hash, which no other chain of the process has.
    pub(super) fn name_chain(&self, hash: u64) -> ChainName {
        ChainName { number: self.chains.fetch_add(1, Relaxed), place: (hash >> 32) as u32 }
    }

    /// Loads the bucket of `hash` ahead of a lookup.
    #[inline]
    pub fn prefetch_bucket(&'static self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Loads the items that a lookup of `hash` will look at; its bucket should be loaded already.
    #[inline]
    pub fn prefetch_items(&'static self, hash: u64) {
        self.index.peek(hash, |raw| {
            if let Some(handle) = Handle::from_raw(raw) {
                self.arena.prefetch(handle);
            }
        });
    }

    #[inline]
    pub(super) fn item(&self, raw: u64) -> Option<(Handle, Item)> {
        let handle = Handle::from_raw(raw)?;
        Some((handle, Item::at(self.arena.chunk(handle))?))
    }

    /// The linked item of `key` in its locked bucket.
    #[inline]
    pub(super) fn find(&self, bucket: &Bucket, key: &[u8], hash: u64) -> Option<(Slot, Handle, Item)> {
        let mut found = None;
        let (slot, _) = bucket.find(hash, |raw| {
            found = self.item(raw).filter(|(_, item)| item.key_is(key));
            found.is_some()
        })?;
        found.map(|(handle, item)| (slot, handle, item))
    }

    /// Class that users see: a large item counts in the largest class, wherever its head lies.
    #[inline]
    pub(super) fn lru_class(&self, handle: Handle, item: &Item) -> usize {
        if item.header().has(iflag::CHUNKED) { self.sizes.largest() } else { self.arena.class(handle) }
    }

    pub(super) fn memcached_size_of(&self, item: &Item) -> usize {
        self.sizes.memcached_size(item.header().klen(), item.vlen(), item.header().has(iflag::FLAGS))
    }

    /// Shows the live item of `key` to `visit`, under its bucket's lock. An item whose time is over is removed.
    /// `visit` must not block, allocate much or call the store.
    #[inline]
    pub fn visit<R>(&'static self, key: &[u8], hash: u64, now: u32, visit: impl FnOnce(&mut Entry) -> R) -> Lookup<R> {
        let mut bucket = self.index.lock(hash);
        let Some((slot, handle, item)) = self.find(&bucket, key, hash) else { return Lookup::Miss };
        let flushes = self.calm();
        if let Some(dead) = self.dead(&item, now) {
            self.unlink(bucket, slot, handle, item);
            return Lookup::Dead(dead);
        }
        let mut entry = Entry::of(self, bucket.version(), handle, item);
        let result = visit(&mut entry);
        if entry.changed {
            bucket.changed();
            entry.unlink |= self.is_flushed_since(flushes);
        }
        if entry.unlink {
            bucket.remove(slot);
            let mut item = entry.item;
            item.change_state(state::LINKED, 0);
            drop(bucket);
            self.release(handle, item);
        } else if entry.moves_back {
            drop(bucket);
            self.move_back(handle, item);
        }
        Lookup::Hit(result)
    }

    /// Puts an item behind all others of its class, in flat mode. No bucket lock may be held.
    #[cold]
    pub(super) fn move_back(&'static self, handle: Handle, item: Item) {
        self.slabs.class(self.lru_class(handle, &item)).move_back(&self.arena, handle);
    }

    /// Takes an item out of its locked bucket and frees it.
    pub(super) fn unlink(&'static self, mut bucket: Bucket, slot: Slot, handle: Handle, mut item: Item) {
        bucket.remove(slot);
        item.change_state(state::LINKED, 0);
        drop(bucket);
        self.release(handle, item);
    }

    /// Frees an unlinked item, at once or when its last reader is done. No bucket lock may be held.
    pub(super) fn release(&'static self, handle: Handle, item: Item) {
        if !Pinned::leave_to_readers(&item) {
            self.free_item(handle, item);
        }
    }

    /// Gives back all chunks of an unlinked item that nobody reads.
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

    /// A chunk of `class` that takes `need` bytes, evicting if need be.
    pub(super) fn take_chunk(&'static self, class_id: usize, need: usize, now: u32) -> Option<Handle> {
        self.take_chunk_for(class_id, need, now, |_, _| ())
    }

    /// The same, calling `then` for the chunk before the lock of its class is released, which is the next larger one if
    /// `class_id` has no chunk so long.
    pub(super) fn take_chunk_for(
        &'static self,
        class_id: usize,
        need: usize,
        now: u32,
        then: impl FnOnce(&mut crate::store::slabs::Class, Handle),
    ) -> Option<Handle> {
        let (mut class, contended) = self.slabs.class_contended(class_id);
        let births = class.births;
        // Memory of an item whose time is over is taken before more memory is.
        if class.would_grow(need) && self.oldest_expired(&class, now).is_some() {
            // Who has a magazine could use the chunk of an item anew after it was judged.
            class.recall(&self.arena);
            if class.would_grow(need)
                && let Some(oldest) = self.oldest_expired(&class, now)
            {
                class.forget_oldest(&self.arena, oldest);
                class = self.drop_victim(class_id, class, (oldest, None), now);
            }
        }
        let mut looks = 0;
        for tries in 0..EVICT_TRIES {
            match self.slabs.take(&mut class, &self.arena, need, tries) {
                Take::Chunk(handle) => {
                    then(&mut class, handle);
                    class.renew_magazine(&self.arena, need, contended, self.slabs.is_flat());
                    let grown = class.births != births;
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
                    // What nobody may evict goes when its time is over.
                    if self.slabs.protects(&class) {
                        class.recall(&self.arena);
                        let is_over = |item: &Item| self.dead(item, now).is_some();
                        if let Some(expired) = class.next_expired(&self.arena, need, is_over) {
                            class = self.drop_victim(class_id, class, (expired, None), now);
                            continue;
                        }
                        looks += 1;
                        goes_on |= looks < EXPIRED_PROBES && class.may_have_expired();
                    }
                    if !goes_on {
                        break;
                    }
                    // Others may have their turn before the search goes on.
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

    /// The item that has been in its queue for longest, if its time is over.
    fn oldest_expired(&self, class: &crate::store::slabs::Class, now: u32) -> Option<Handle> {
        let oldest = class.longest_here()?;
        let item = Item::at(self.arena.chunk(oldest)).filter(|item| item.header().is(state::LINKED))?;
        self.dead(&item, now).map(|_| oldest)
    }

    fn touch(&self, page: u32) {
        self.arena.touch(page);
        self.slabs.touched(page);
    }

    /// Has the calling thread woken when [`Store::touch_ahead`] may be due.
    pub fn touch_from_here(&self) {
        // A second thread would be a mistake that costs a delay, no more.
        let _ = self.toucher.set(thread::current());
    }

    /// Touches the memory of some of the pages that classes will need next, so that nobody waits for the kernel to clear
    /// it; true if there is more to do.
    pub fn touch_ahead(&self) -> bool {
        (0..TOUCH_PAGES).all(|_| self.slabs.take_to_touch().map(|page| self.touch(page)).is_some())
    }

    /// Evicts and frees a victim of class `class_id`, whose lock is given up for a while if the item is a large one.
    pub(super) fn drop_victim(
        &'static self,
        class_id: usize,
        mut class: MutexGuard<'static, crate::store::slabs::Class>,
        (handle, part): (Handle, Option<Part>),
        now: u32,
    ) -> MutexGuard<'static, crate::store::slabs::Class> {
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

    /// Unlinks a victim; `None` if it stays for what its class remembers, has gone meanwhile, is in use just now, or a
    /// reader still holds it (its chunk follows later).
    fn evict(
        &'static self,
        class: &mut crate::store::slabs::Class,
        handle: Handle,
        part: Option<Part>,
        now: u32,
    ) -> Option<Item> {
        let item = Item::at(self.arena.chunk(handle))?;
        class.key.clear();
        item.copy_key(&mut class.key);
        let hash = crate::hash::hash(&class.key);
        class.history.prefetch(hash);
        // Nobody waits for a bucket under a class's lock: there are other victims.
        let mut bucket = self.index.try_lock(hash)?;
        let (slot, _) = bucket.find(hash, |raw| raw == handle.raw())?;
        let mut item = Item::at(self.arena.chunk(handle))?;
        let dead = self.dead(&item, now);
        if dead.is_none() && !self.slabs.may_leave(&item) {
            return None; // its time was over a moment ago
        }
        if let (None, Some(part)) = (dead, part)
            && !class.is_draining(handle)
            && !item.header().has(iflag::CHUNKED)
            && class.keeps(hash, part)
        {
            return None;
        }
        bucket.remove(slot);
        item.change_state(state::LINKED, 0);
        if let (None, Some(part)) = (dead, part) {
            let stats = self.slabs.stats(self.lru_class(handle, &item));
            bucket.leave_ghost(hash, stats.ghost(part), |ghost| stats.worth(ghost));
        }
        drop(bucket);
        let counts = &mut class.counts;
        counts.direct_reclaims += 1;
        if dead.is_some() {
            counts.reclaimed += 1;
            counts.expired_unfetched += u64::from(!item.header().is(state::FETCHED));
        } else {
            self.note_eviction(counts, &class.key, handle, &item, now);
        }
        if Pinned::leave_to_readers(&item) {
            counts.lrutail_reflocked += 1;
            return None;
        }
        Some(item)
    }

    /// Counts an eviction, and tells watchers.
    pub(super) fn note_eviction(&self, counts: &mut ClassCounts, key: &[u8], handle: Handle, item: &Item, now: u32) {
        let fetched = item.header().is(state::FETCHED);
        counts.evicted += 1;
        counts.evicted_time = now.saturating_sub(item.atime(now));
        counts.evicted_nonzero += u64::from(item.exptime(now) != 0);
        counts.evicted_unfetched += u64::from(!fetched);
        counts.evicted_active += u64::from(item.header().is(state::ACTIVE));
        if let Some((events, begun)) = self.events.get().filter(|(events, _)| events.wants(Class::EVICTIONS)) {
            let (exptime, class_id) = (item.exptime(now), self.lru_class(handle, item));
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

    /// One step of index growth. Called by one thread.
    pub fn grow_step(&'static self, buckets: u64) -> Step {
        if !self.index.is_growing() {
            let items = self.items();
            if items > 0 && self.index.touch_ahead() {
                return Step::Memory;
            }
            if !self.index.wants_growth(items) {
                self.slabs.want(0);
                let grows = self.may_grow_for_ghosts(items) && self.index.begin_growth(items, Pace::Wide);
                return if grows { Step::Memory } else { Step::Over };
            }
            let mut pace = Pace::Wide;
            if self.memory_file().is_none() {
                let bytes = |pace| self.index.bytes_when_grown(items, pace) + self.slabs.queue_bytes();
                if self.slabs.would_charge(bytes(pace)) {
                    pace = Pace::Narrow;
                    if !self.index.is_crowded(items) {
                        return Step::Over;
                    }
                }
                let bytes = bytes(pace);
                // Pages go first, unless they cannot.
                self.slabs.want(bytes);
                self.charge(bytes);
                if self.slabs.is_shrinking() && !self.index.is_overfull(items) {
                    return Step::Over;
                }
                self.slabs.want(0);
            }
            return if self.index.begin_growth(items, pace) { Step::Memory } else { Step::Over };
        }
        let mut key = Vec::with_capacity(256 + 16);
        let ahead = |raw| {
            if let Some(handle) = Handle::from_raw(raw) {
                self.arena.prefetch(handle);
            }
        };
        let step = self.index.grow(buckets, ahead, |raw| {
            key.clear();
            if let Some((_, item)) = self.item(raw) {
                item.copy_key(&mut key);
            }
            crate::hash::hash(&key)
        });
        self.growths.fetch_add(u64::from(step == Step::Over), Relaxed);
        step
    }

    /// Whether the index should grow though its items have room: for ghosts, where those are left and no item has to make
    /// way for them, however long the rings become.
    fn may_grow_for_ghosts(&'static self, items: u64) -> bool {
        let bytes = || {
            let rings = items * Handles::ENTRY as u64;
            self.index.bytes_when_grown(items, Pace::Wide) + rings.max(self.slabs.queue_bytes())
        };
        self.index.is_short_of_ghosts(items) && self.slabs.leaves_ghosts() && !self.slabs.would_charge(bytes())
    }

    /// Whether the index is growing, its bytes and its slots.
    pub fn index_view(&'static self) -> (bool, u64, u64) {
        (self.index.is_growing(), self.index.bytes(), self.index.slots())
    }

    /// State of each class, by class number; entry 0 is empty.
    pub fn classes(&self, now: u32) -> Vec<ClassView> {
        (0..self.slabs.len()).map(|id| self.slabs.view(id, &self.arena, now)).collect()
    }

    /// Items held.
    pub fn items(&self) -> u64 {
        self.slabs.items(&self.arena)
    }

    /// Nominal bytes of all items.
    pub fn bytes(&self) -> u64 {
        self.slabs.bytes(&self.arena)
    }

    /// Bytes of pages handed out.
    pub fn malloced(&self) -> u64 {
        self.slabs.malloced()
    }

    /// Pages in the global pool.
    pub fn free_pages(&self) -> u64 {
        self.slabs.free_pages()
    }

    /// The memory limit: less than `Config::maxbytes` where there is no address space for more.
    pub fn limit(&self) -> u64 {
        self.slabs.limit()
    }

    /// Changes the memory limit; false if it cannot be.
    pub fn set_limit(&self, bytes: u64) -> bool {
        // A memory file has the size that it has.
        self.arena.memory_file().is_none() && self.slabs.set_limit(bytes)
    }

    /// Fixes the share of each class that new items may have before they are judged, in percent; `None` lets it adapt.
    pub fn set_hot_pct(&self, percent: Option<u32>) {
        self.slabs.set_hot_pct(percent);
    }

    /// Protects new items with at most `ttl` seconds to live from eviction; `None` protects none.
    pub fn set_temp_ttl(&self, ttl: Option<u32>) {
        self.slabs.set_temp_ttl(ttl);
    }

    /// One list a class, in the order of the last use, or segments and ghosts. Items that are there stay where they
    /// are, and leave first.
    pub fn set_flat(&self, flat: bool) {
        self.slabs.set_flat(flat, &self.arena);
    }

    /// Rounds of tending, one for all classes.
    pub fn juggles(&self) -> u64 {
        self.juggles.load(Relaxed)
    }

    /// `stats reset`.
    pub fn reset_counts(&self) {
        self.slabs.reset_counts();
        self.juggles.store(0, Relaxed);
    }
}
