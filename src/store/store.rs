//! The store: lookups under the bucket's lock, expiry, flush, eviction and growth.
//!
//! Lock order (docs/locking.md): a class's lock, then a bucket's, then an overflow pool's. A bucket's
//! holder never takes a class's lock: chunks are freed after the bucket is unlocked.

use super::arena::{Arena, Handle};
use super::image::{Image, Registers};
use super::index::{Bucket, Index, Slot};
use super::item::{Item, SEQ_MASK, iflag, state};
use super::policy::Part;
use super::reserve::Pinned;
use super::sizes::{SizeConfig, Sizes};
use super::slabs::{ClassView, Slabs, Take};
use super::write::Lapse;
use crate::events::{Class, Event, Events};
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release, fence};
use std::sync::{Arc, OnceLock};

/// Victims looked at for one chunk before the allocation fails.
const EVICT_TRIES: usize = 50;

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
    /// Reserve address space for `maxbytes` only (all mapped memory is going to be locked).
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
    pub(super) registers: Registers,
    /// Growth steps that the index has finished.
    growths: AtomicU64,
    /// Rounds of tending.
    pub(super) juggles: AtomicU64,
    /// Who hears of evictions, if anybody.
    events: OnceLock<Arc<Events>>,
}

/// What a lookup found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<R> {
    /// A live item, and what the visitor made of it.
    Hit(R),
    /// Nothing.
    Miss,
    /// An item whose time was over; it is gone now.
    Lapsed(Lapse),
}

/// Names one state of a key's value: another value, or another place for it, has another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    handle: Handle,
    /// Changes with a value that changes in place.
    seq: u64,
    /// Tells an item from a later one in the same chunk.
    bucket: u32,
}

impl Version {
    pub(super) fn of(bucket: &Bucket, handle: Handle, item: &Item) -> Self {
        Self { handle, seq: item.seq(), bucket: bucket.version() }
    }
}

/// A linked live item under its bucket's lock.
pub struct Entry {
    pub(super) store: &'static Store,
    pub(super) handle: Handle,
    pub(super) item: Item,
    bucket: u32,
    unlink: bool,
    /// In flat mode: the item goes behind all others of its class.
    moves_back: bool,
}

impl Entry {
    /// The item of `handle`, whose bucket the caller holds. A walk that only shows it may give no version.
    #[inline]
    pub(super) fn of(store: &'static Store, version: Option<&Bucket>, handle: Handle, item: Item) -> Self {
        Self { store, handle, item, bucket: version.map_or(0, Bucket::version), unlink: false, moves_back: false }
    }

    /// Value length in bytes.
    #[inline]
    pub fn vlen(&self) -> usize {
        self.item.vlen()
    }

    /// Client flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.item.flags()
    }

    /// CAS id.
    #[inline]
    pub fn cas(&self) -> u64 {
        self.item.cas()
    }

    /// Gives the item a new CAS id: one of [`Store::next_cas`], or one of the client's choice if
    /// [`Entry::has_room`] says that it can.
    pub fn set_cas(&mut self, cas: u64) {
        self.store.stamp(&self.item, cas);
    }

    /// Whether the layout can take this expiry time (if any) and a CAS id of the client's choice (if wanted);
    /// else [`Store::make_room`] helps.
    pub fn has_room(&self, exptime: Option<u32>, cas: bool, now: u32) -> bool {
        exptime.is_none_or(|exptime| self.item.can_hold_exptime(exptime, now)) && (!cas || self.item.can_hold_cas())
    }

    /// The value's version, for [`Store::commit_over`].
    pub fn version(&self) -> Version {
        Version { handle: self.handle, seq: self.item.seq(), bucket: self.bucket }
    }

    /// Expiry time, 0 = never.
    pub fn exptime(&self, now: u32) -> u32 {
        self.item.exptime(now)
    }

    /// Changes the expiry time; false if the layout has no room for it (the item must be rewritten).
    pub fn set_exptime(&mut self, exptime: u32, now: u32) -> bool {
        let fits = self.item.can_hold_exptime(exptime, now);
        if fits {
            self.item.set_exptime(exptime, now);
        }
        fits
    }

    /// Time of the last access.
    pub fn atime(&self, now: u32) -> u32 {
        self.item.atime(now)
    }

    /// Item flags (`iflag`).
    pub fn iflags(&self) -> u8 {
        self.item.head().iflags()
    }

    /// Changes `STALE` and `TOKEN` marks.
    pub fn change_flags(&mut self, clear: u8, set: u8) {
        self.item.change_flags(clear, set);
    }

    /// State bits (`state`).
    #[inline]
    pub fn state(&self) -> u8 {
        self.item.head().state()
    }

    /// Whether it was read before.
    pub fn fetched(&self) -> bool {
        self.state() & state::FETCHED != 0
    }

    /// Slab class that users see.
    #[inline]
    pub fn class(&self) -> u8 {
        self.store.lru_class(self.handle, &self.item) as u8
    }

    /// Size that users see: header, CAS, key, flags, value and line end.
    pub fn nominal(&self) -> usize {
        self.store.nominal_of(&self.item)
    }

    /// Whether the value is a chain of chunks.
    pub fn is_chunked(&self) -> bool {
        self.item.head().has(iflag::CHUNKED)
    }

    /// Appends the key to `out`.
    pub fn copy_key(&self, out: &mut Vec<u8>) {
        self.item.copy_key(out);
    }

    /// Appends the value to `out`; for values up to `COPY_MAX`.
    #[inline]
    pub fn copy_value(&self, out: &mut Vec<u8>) {
        if !self.is_chunked() {
            self.item.copy_value(out);
        } else if let Some(value) = self.pin() {
            value.for_each_piece(|bytes| out.extend_from_slice(bytes));
        }
    }

    /// A guard under which the value stays readable after the lock is gone; for large values: over `COPY_MAX`,
    /// or chunked.
    pub fn pin(&self) -> Option<Pinned> {
        Pinned::new(self.store, self.handle, &self.item)
    }

    /// Whether a reader outside the lock holds the value.
    pub fn is_pinned(&self) -> bool {
        self.item.pin_word().is_some_and(|word| word.load(Relaxed) as u32 != 0)
    }

    /// Overwrites the first bytes of the value in place; the value must not be pinned.
    pub fn overwrite(&mut self, bytes: &[u8]) {
        let kept = self.store.image().is_some();
        if kept {
            // A process that is killed in between must not leave half a value behind.
            self.item.change_state(state::LINKED, 0);
            fence(Release);
        }
        self.item.overwrite_value(bytes);
        if kept {
            self.item.change_state(0, state::LINKED);
        }
    }

    /// Notes an access: frequency, fetched and active marks, time. Writes nothing once all are saturated
    /// and the second is the same. A COLD item becomes WARM.
    #[inline]
    pub fn bump(&mut self, now: u32) {
        if self.store.slabs.is_flat() {
            return self.bump_flat(now);
        }
        if self.item.head().state() & state::SATURATED != state::SATURATED {
            let before = self.item.change_state_by(used);
            if before & state::SEGMENT == state::COLD {
                self.store.slabs.signs(usize::from(self.class())).rewarm();
            }
        }
        self.item.set_atime(now);
    }

    #[cold]
    fn bump_flat(&mut self, now: u32) {
        if !self.fetched() {
            self.item.change_state(0, state::FETCHED);
        }
        self.moves_back = self.store.slabs.note_use(&self.item, now);
    }

    /// Says that the item must go when the visitor returns.
    pub fn unlink(&mut self) {
        self.unlink = true;
    }
}

/// The state of an item with one access more.
#[inline]
fn used(state: u8) -> u8 {
    let freq = ((state & state::FREQ) + 1).min(state::FREQ);
    let active = if state & state::FETCHED != 0 { state::ACTIVE } else { 0 };
    let label = if state & state::SEGMENT == state::COLD { state::WARM } else { state & state::SEGMENT };
    state & !(state::FREQ | state::SEGMENT) | freq | label | state::FETCHED | active
}

impl Store {
    /// Reserves address space and makes an empty store; `None` when the kernel gives too little.
    pub fn leak(config: &Config) -> Option<&'static Self> {
        Self::leak_over(config, Arena::reserve(config.maxbytes, config.exact)?, Registers::leak())
    }

    /// The same over a memory file; [`Store::adopt`] takes over what that holds.
    pub fn leak_in(config: &Config, image: Image) -> Option<&'static Self> {
        let registers = image.registers();
        Self::leak_over(config, Arena::of_file(image), registers)
    }

    fn leak_over(config: &Config, arena: Arena, registers: Registers) -> Option<&'static Self> {
        let sizes = Sizes::new(config.sizes.clone());
        let slabs = Slabs::new(&sizes, arena.pages(), config.maxbytes, config.precharged, config.evict);
        let expected = config.initial_items.max(registers.items.load(Relaxed));
        let index = Index::new(expected, config.may_grow)?;
        Some(Box::leak(Box::new(Self {
            arena,
            sizes,
            slabs,
            index,
            registers,
            growths: AtomicU64::new(0),
            juggles: AtomicU64::new(0),
            events: OnceLock::new(),
        })))
    }

    /// Has evictions recorded in `events`; the first one given counts.
    pub fn report_to(&self, events: Arc<Events>) {
        let _ = self.events.set(events);
    }

    /// Has ids, flushes and counters begin again, as in a new store. Only while there is no item and nobody else at
    /// work: for servers that follow one another in one process, whose conversations are compared.
    pub fn restart(&self) {
        debug_assert_eq!(self.items(), 0);
        self.registers.clear();
        self.reset_counts();
    }

    /// The class table.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The memory file, if the items lie in one.
    pub fn image(&self) -> Option<&Image> {
        self.arena.image()
    }

    /// Leaves a note of the time for the process that will find the memory file. Called once a second.
    pub fn note_time(&self, now: u32) {
        if self.image().is_some() {
            self.registers.now.store(now.into(), Relaxed);
            self.registers.items.store(self.items(), Relaxed);
        }
    }

    /// The last CAS id given out.
    pub fn last_cas(&self) -> u64 {
        self.registers.seq.load(Relaxed)
    }

    /// A new CAS id; the first is 2.
    #[inline]
    pub fn next_cas(&self) -> u64 {
        self.registers.seq.fetch_add(1, Relaxed) + 1
    }

    /// A new sequence number for an item with a CAS word.
    pub(super) fn next_wide(&self) -> u64 {
        self.registers.wide_seq.fetch_add(1, AcqRel) + 1
    }

    /// Gives an item a new CAS id, and a sequence number that is later than the last flush.
    #[inline]
    pub(super) fn stamp(&self, item: &Item, cas: u64) {
        if item.can_hold_cas() {
            item.set_seq(self.next_wide());
            item.set_cas_word(cas);
        } else {
            item.set_seq(cas);
        }
    }

    /// Whether new items need the wide CAS word because ids no longer fit 40 bits.
    pub(super) fn needs_wide_cas(&self) -> bool {
        self.registers.seq.load(Relaxed) + (1 << 32) > SEQ_MASK
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
    pub(super) fn item(&self, raw: u32) -> Option<(Handle, Item)> {
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
        if item.head().has(iflag::CHUNKED) { self.sizes.largest() } else { self.arena.class(handle) }
    }

    pub(super) fn nominal_of(&self, item: &Item) -> usize {
        self.sizes.nominal(item.head().klen(), item.vlen(), item.head().has(iflag::FLAGS))
    }

    /// Whether an item's time is over, and how.
    #[inline]
    pub(super) fn lapse(&self, item: &Item, now: u32) -> Option<Lapse> {
        let wide = item.can_hold_cas();
        let flush_seq = if wide { self.registers.flush_wide } else { self.registers.flush_seq }.load(Relaxed);
        if flush_seq != 0 && flush_seq.wrapping_sub(item.seq()) & SEQ_MASK < 1 << 39 {
            return Some(Lapse::Flushed);
        }
        let oldest = self.registers.oldest_live.load(Relaxed) as u32;
        if oldest != 0 && oldest <= now && item.atime(now) <= oldest {
            return Some(Lapse::Flushed);
        }
        item.is_expired(now).then_some(Lapse::Expired)
    }

    /// Shows the live item of `key` to `visit`, under its bucket's lock. An item whose time is over is removed.
    /// `visit` must not block, allocate much or call the store.
    #[inline]
    pub fn visit<R>(&'static self, key: &[u8], hash: u64, now: u32, visit: impl FnOnce(&mut Entry) -> R) -> Found<R> {
        let mut bucket = self.index.lock(hash);
        let Some((slot, handle, item)) = self.find(&bucket, key, hash) else { return Found::Miss };
        if let Some(lapse) = self.lapse(&item, now) {
            self.unlink(bucket, slot, handle, item);
            return Found::Lapsed(lapse);
        }
        let mut entry = Entry::of(self, Some(&bucket), handle, item);
        let result = visit(&mut entry);
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
        Found::Hit(result)
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
        let nominal = self.nominal_of(&item);
        let class = self.arena.class(handle);
        if !item.head().has(iflag::CHUNKED) {
            let mut class = self.slabs.class(class);
            class.delist(&self.arena, handle, nominal, false);
            self.slabs.give(&mut class, &self.arena, handle);
            return;
        }
        self.slabs.class(self.sizes.largest()).delist(&self.arena, handle, nominal, true);
        self.free_chain(&item);
        self.slabs.give(&mut self.slabs.class(class), &self.arena, handle);
    }

    /// A chunk of `class`, evicting if need be.
    pub(super) fn take_chunk(&'static self, class_id: usize, now: u32) -> Option<Handle> {
        self.take_chunk_for(class_id, now, |_, _| ())
    }

    /// The same, calling `then` for the chunk before the class's lock is released.
    pub(super) fn take_chunk_for(
        &'static self,
        class_id: usize,
        now: u32,
        then: impl FnOnce(&mut super::slabs::Class, Handle),
    ) -> Option<Handle> {
        let mut class = self.slabs.class(class_id);
        for _ in 0..EVICT_TRIES {
            match self.slabs.take(&mut class, &self.arena) {
                Take::Chunk(handle) => {
                    then(&mut class, handle);
                    return Some(handle);
                }
                Take::Nothing if self.slabs.may_find(&class) => {}
                Take::Nothing => break,
                Take::Victim(handle, part) => {
                    let Some(item) = self.evict(&mut class, handle, part, now) else { continue };
                    if item.head().has(iflag::CHUNKED) {
                        drop(class);
                        self.free_item(handle, item);
                        class = self.slabs.class(class_id);
                    } else {
                        let nominal = self.nominal_of(&item);
                        class.delist(&self.arena, handle, nominal, false);
                        self.slabs.give(&mut class, &self.arena, handle);
                    }
                }
            }
        }
        class.counts.outofmemory += 1;
        None
    }

    /// Unlinks a victim; `None` if it has gone meanwhile or a reader still holds it (its chunk follows later).
    fn evict(
        &'static self,
        class: &mut super::slabs::Class,
        handle: Handle,
        part: Option<Part>,
        now: u32,
    ) -> Option<Item> {
        let item = Item::at(self.arena.chunk(handle))?;
        class.key.clear();
        item.copy_key(&mut class.key);
        let hash = crate::hash::hash(&class.key);
        let mut bucket = self.index.lock(hash);
        let (slot, _) = bucket.find(hash, |raw| raw == handle.raw())?;
        let mut item = Item::at(self.arena.chunk(handle))?;
        let lapse = self.lapse(&item, now);
        bucket.remove(slot);
        item.change_state(state::LINKED, 0);
        if let (None, Some(part)) = (lapse, part) {
            let signs = self.slabs.signs(self.lru_class(handle, &item));
            bucket.leave_ghost(hash, signs.ghost(part), |ghost| signs.worth(ghost));
        }
        drop(bucket);
        let counts = &mut class.counts;
        let fetched = item.head().is(state::FETCHED);
        if lapse.is_some() {
            counts.reclaimed += 1;
            counts.expired_unfetched += u64::from(!fetched);
        } else {
            counts.evicted += 1;
            counts.evicted_time = now.saturating_sub(item.atime(now));
            counts.evicted_nonzero += u64::from(item.exptime(now) != 0);
            counts.evicted_unfetched += u64::from(!fetched);
            counts.evicted_active += u64::from(item.head().is(state::ACTIVE));
            if let Some(events) = self.events.get().filter(|events| events.wants(Class::EVICTIONS)) {
                let (exptime, class_id) = (item.exptime(now), self.lru_class(handle, &item));
                events.put(&Event::Eviction {
                    key: &class.key,
                    fetched,
                    ttl: if exptime == 0 { -1 } else { i64::from(exptime) - i64::from(now) },
                    idle: now.saturating_sub(item.atime(now)),
                    class: class_id as u8,
                    size: item.vlen(),
                });
            }
        }
        if Pinned::leave_to_readers(&item) {
            counts.lrutail_reflocked += 1;
            return None;
        }
        Some(item)
    }

    /// `flush_all`: `oldest_live` as memcached computes it (0 cancels a pending one).
    pub fn flush(&self, oldest_live: u32, now: u32) {
        self.registers.oldest_live.store(oldest_live.into(), Relaxed);
        if oldest_live != 0 && oldest_live <= now {
            self.registers.flush_seq.store(self.registers.seq.load(Relaxed), Relaxed);
            // After the other: see `make_room`.
            self.registers.flush_wide.store(self.registers.wide_seq.fetch_add(0, AcqRel), Relaxed);
        }
    }

    /// The time that `stats settings` shows as `oldest`.
    pub fn oldest_live(&self) -> u32 {
        self.registers.oldest_live.load(Relaxed) as u32
    }

    /// One step of index growth; true when there is nothing to do. Called by one thread.
    pub fn grow_step(&'static self, buckets: u64) -> bool {
        if !self.index.is_growing() {
            return !(self.index.wants_growth(self.slabs.items()) && self.index.begin_growth());
        }
        let mut key = Vec::with_capacity(256 + 16);
        let done = self.index.grow(buckets, |raw| {
            key.clear();
            if let Some((_, item)) = self.item(raw) {
                item.copy_key(&mut key);
            }
            crate::hash::hash(&key)
        });
        self.growths.fetch_add(u64::from(done), Relaxed);
        done
    }

    /// Whether the index is growing, its bytes and its slots.
    pub fn index_view(&'static self) -> (bool, u64, u64) {
        (self.index.is_growing(), self.index.bytes(), self.index.slots())
    }

    /// Items by nominal size, in steps of 32 bytes rounded up: (upper bound, items), ascending. Reads heads in
    /// memory order without locks, so items that change meanwhile may be missed.
    pub fn size_histogram(&self) -> Vec<(usize, u64)> {
        let mut buckets = std::collections::BTreeMap::new();
        for class in 1..self.slabs.len() {
            for (page, slots) in self.slabs.pages_of(class) {
                for handle in (0..slots).map(|slot| Handle::new(page, slot)) {
                    let item = Item::at(self.arena.chunk(handle));
                    if let Some(item) = item.filter(|item| item.head().is(state::LINKED)) {
                        *buckets.entry(self.nominal_of(&item).div_ceil(32) * 32).or_insert(0) += 1;
                    }
                }
            }
        }
        buckets.into_iter().collect()
    }

    /// State of each class, by class number; entry 0 is empty.
    pub fn classes(&self, now: u32) -> Vec<ClassView> {
        (0..self.slabs.len()).map(|id| self.slabs.view(id, &self.arena, now)).collect()
    }

    /// Items held.
    pub fn items(&self) -> u64 {
        self.slabs.items()
    }

    /// Nominal bytes of all items.
    pub fn bytes(&self) -> u64 {
        self.slabs.bytes()
    }

    /// Bytes of pages handed out.
    pub fn malloced(&self) -> u64 {
        self.slabs.malloced()
    }

    /// Pages in the global pool.
    pub fn free_pages(&self) -> u64 {
        self.slabs.free_pages()
    }

    /// Changes the memory limit; false if it cannot be.
    pub fn set_limit(&self, bytes: u64) -> bool {
        self.slabs.set_limit(bytes)
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
        self.slabs.set_flat(flat);
    }

    /// Rounds of tending, one for all classes.
    pub fn juggles(&self) -> u64 {
        self.juggles.load(Relaxed)
    }

    /// `stats reset` for the classes.
    pub fn reset_counts(&self) {
        self.slabs.reset_counts();
    }
}
