//! A slab class: its chunk allocator, its eviction queues, its threads' magazines and its counters.
//!
//! Owns how these parts meet: each has private fields and is tested alone; none knows the class. `slab` allocates
//! without knowledge of items' labels, `evict` sees chunks through a `ChunkView`, and a magazine holds a share of
//! both. Everything here needs the class lock. Called by `slabs`, the store, and the page mover, which also use the
//! allocator directly.
//!
//! Two rules hold between the parts, and taking a [`WholeClass`] establishes both: no magazine is open while the LRU
//! list of flat mode has an item, and when a page begins to drain no magazine holds a chunk or a ring entry of it.

pub(in crate::store) mod magazine;

use crate::store::evict::{ClassStats, EvictionMode, History, Moves, Part, Queues};
use crate::store::item::{Handle, Item, state};
use crate::store::slab::{Arena, ChunkKind, Chunks, Sizes};
use magazine::{Magazines, OpenMagazines};
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

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
    /// Bytes of the maximum-size chunks in use.
    pub max_size_bytes: u64,
    /// Bytes of the fitted chunks in use.
    pub fitted_bytes: u64,
    pub items: u64,
    pub hot: u64,
    pub warm: u64,
    pub cold: u64,
    pub temp: u64,
    /// Evicted keys stored again so soon that more memory would have kept them, since the start.
    pub ghost_hits: u64,
    /// Sum of the items' memcached_size, in bytes.
    pub requested: u64,
    /// Memory of the class's queues, in bytes.
    pub queue_bytes: u64,
    /// Memory of the class's history (`evict/history`), in bytes.
    pub history_bytes: u64,
    /// Seconds since the last access of the next victim of each queue; 0 = none.
    pub age_hot: u32,
    pub age_warm: u32,
    pub age_cold: u32,
}

/// One slab class, on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub struct Class {
    pub(in crate::store) chunks: Chunks,
    queues: Queues,
    magazines: OpenMagazines,
    /// Buffer for a victim's key.
    pub key: Vec<u8>,
    /// Counters since the last reset, except those of labels, which `queues` has.
    pub counts: ClassCounts,
}

impl Class {
    /// An empty class of this number.
    pub fn new(id: usize, sizes: &Sizes) -> Self {
        let stride = sizes.class(id).stride;
        // The largest class has no magazines, whatever its chunk size: chunked items count in it.
        let magazines = if id == sizes.largest() { None } else { Magazines::new(stride) };
        let (chunks, queues) = (Chunks::new(id, sizes), Queues::new(stride));
        Self { chunks, queues, magazines: OpenMagazines::new(magazines), ..Self::default() }
    }

    /// The magazines of the class, for their threads.
    pub fn magazines(&self) -> Option<Arc<Magazines>> {
        self.magazines.all()
    }

    /// Whether magazines of the class are open.
    pub fn has_open_magazines(&self) -> bool {
        self.magazines.any()
    }

    /// Applies to the class what its magazines hold, and closes them.
    #[inline]
    pub fn whole(&mut self, arena: &Arena) -> WholeClass<'_> {
        if self.has_open_magazines() {
            self.magazines.recall(&mut self.chunks, &mut self.queues, arena);
        }
        WholeClass(self)
    }

    /// Completes an operation that the calling thread's magazine could not serve: [`OpenMagazines::renew`].
    #[inline]
    pub fn renew_magazine(&mut self, arena: &Arena, need: usize, contended: bool, flat: bool) {
        self.magazines.renew((&mut self.chunks, &mut self.queues), arena, need, contended, flat);
    }

    /// Takes a free chunk of at least `need` bytes from a page of the class.
    pub fn take_free(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        self.take_recalled(arena, need).or_else(|| self.chunks.take_kept(arena, need))
    }

    /// As [`Class::take_free`], but only from a free list, the pages being carved, or a magazine.
    pub fn take_recalled(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        let chunk = self.chunks.take_present(arena, need);
        if chunk.is_some() || !self.has_open_magazines() {
            return chunk;
        }
        self.whole(arena).chunks.take_present(arena, need)
    }

    /// After a failed search, recalls the magazines and takes a free chunk of `need` bytes. Only one call in 64 does so
    /// ([`OpenMagazines::is_recall_due`]); the others return `None`.
    #[cold]
    pub fn take_from_magazines(&mut self, arena: &Arena, need: usize) -> Option<Handle> {
        if self.magazines.is_recall_due() { self.whole(arena).chunks.take_present(arena, need) } else { None }
    }

    /// Reserves memory for one more large item in the queues; false if there is none.
    pub fn reserve_large(&mut self) -> bool {
        self.queues.reserve_large()
    }

    /// Adds a page, for which [`Chunks::reserve_page`] has made room. A search for memory continues in it.
    pub fn grow(&mut self, arena: &Arena, page: u32) {
        self.chunks.receive(arena, page, None);
        self.magazines.count_searches();
    }

    /// Puts a chunk on its free list, unless its page drains.
    pub fn free(&mut self, arena: &Arena, handle: Handle) {
        self.chunks.free(arena, handle);
    }

    /// Counts and queues a new item: [`Queues::enlist`].
    pub fn enlist(
        &mut self,
        arena: &Arena,
        handle: Handle,
        item: &mut Item,
        memcached_size: usize,
        own: bool,
        label: u8,
    ) {
        if label == state::COLD {
            self.whole(arena); // it enters the LRU list
        }
        self.queues.enlist(&self.chunks.view(arena), handle, item, memcached_size, own, label);
    }

    /// Counts and queues an item found by recovery: [`Queues::adopt_item`]. No magazine is open yet.
    pub fn adopt_item(
        &mut self,
        arena: &Arena,
        handle: Handle,
        item: &mut Item,
        memcached_size: usize,
        own: bool,
        flat: bool,
    ) {
        debug_assert!(!self.has_open_magazines());
        self.queues.adopt_item(&self.chunks.view(arena), handle, item, memcached_size, own, flat);
    }

    /// Subtracts an item from the counts and removes it from the queues. It must be unlinked already.
    pub fn delist(&mut self, arena: &Arena, handle: Handle, memcached_size: usize, chunked: bool) {
        let enough = self.len() > 0 && self.queues.requested() >= memcached_size as i64;
        debug_assert!(self.has_open_magazines() || enough);
        self.queues.delist(&self.chunks.view(arena), handle, memcached_size, chunked);
    }

    /// Chooses the next victim; also returns the part it was in, if it is to leave a ghost. It may be on the draining
    /// page only if `anywhere`.
    pub fn victim(
        &mut self,
        arena: &Arena,
        stats: &ClassStats,
        mode: EvictionMode,
        anywhere: bool,
    ) -> Option<(Handle, Option<Part>)> {
        let view = self.chunks.view(arena);
        self.queues.victim(&if anywhere { view.with_draining_page() } else { view }, stats, mode)
    }

    /// Returns a victim in a maximum-size chunk, for an item that needs such a chunk.
    pub fn victim_of_max_size(&mut self, arena: &Arena) -> Option<Handle> {
        self.queues.victim_of_max_size(&self.chunks.view(arena))
    }

    /// Finds a small dead item, by `is_dead`, in a chunk of at least `need` bytes, for when eviction is disabled. One
    /// call passes a limited number of chunks; the next one continues from there.
    pub fn next_expired(&mut self, arena: &Arena, need: usize, is_dead: impl Fn(&Item) -> bool) -> Option<Handle> {
        self.queues.next_expired(&self.chunks.view(arena), need, is_dead)
    }

    /// Whether [`Class::next_expired`] found an item in its last round.
    pub fn may_have_expired(&self) -> bool {
        self.queues.may_have_expired(self.chunks.chunk_count())
    }

    /// Returns the item that has been in its queue longest.
    pub fn longest_here(&self) -> Option<Handle> {
        self.queues.longest_here()
    }

    /// Removes the ring entry of the item that has been in its queue longest: [`Queues::forget_oldest`].
    pub fn forget_oldest(&mut self, arena: &Arena, oldest: Handle) {
        self.queues.forget_oldest(&self.chunks.view(arena), oldest);
    }

    /// Returns some of the next victims: [`Queues::next_to_leave`].
    pub fn next_to_leave(&self, arena: &Arena, slots: usize) -> impl Iterator<Item = Handle> + use<'_> {
        self.queues.next_to_leave(&self.chunks.view(arena), slots)
    }

    /// Drops up to `count` entries of freed items at the end of the ring, so that the next items in their chunks do
    /// not inherit their place.
    pub fn trim_ring(&mut self, arena: &Arena, count: usize) {
        self.queues.trim_ring(&self.chunks.view(arena), count);
    }

    /// While there is free memory, shortens a ring that is too long; returns whether more may remain to be done.
    pub fn tend(&mut self, arena: &Arena, stats: &ClassStats, hot_pct: Option<u32>) -> bool {
        self.queues.tend(&self.chunks.view(arena), stats, hot_pct)
    }

    /// Prefetches the key's line of the history for [`Class::keeps`].
    #[inline]
    pub fn prefetch_departures(&mut self, hash: u64) {
        self.queues.history().prefetch(hash);
    }

    /// Whether a small item chosen as victim is to be kept after all: [`Queues::keeps`].
    pub fn keeps(&mut self, hash: u64, part: Part) -> bool {
        self.queues.keeps(hash, part)
    }

    /// The class's history, to be resized.
    pub fn history(&mut self) -> &mut History {
        self.queues.history()
    }

    /// Number of items of the class.
    pub fn len(&self) -> u64 {
        self.queues.len()
    }

    /// Sum of the items' memcached_size, in bytes.
    pub fn requested(&self) -> u64 {
        self.queues.requested() as u64
    }

    /// Number of items that are not TEMP.
    pub fn evictable(&self) -> i64 {
        self.queues.evictable()
    }

    /// Memory used by the queues, in bytes.
    pub fn queue_bytes(&self) -> u64 {
        self.queues.bytes()
    }

    /// Resets the counters.
    pub fn reset_counts(&mut self, stats: &ClassStats) {
        self.counts = ClassCounts::default();
        self.queues.reset_moves(stats);
    }
}

/// The class's side of a page move. The mover (`page_move`) owns the order of the steps.
impl Class {
    /// Positions of the ring, for [`Class::forget_entries`].
    pub fn ring_span(&self) -> usize {
        self.queues.ring_span()
    }

    /// Blanks the draining page's entries in the ring: examines up to `count` positions, downwards from `from`, and
    /// returns the position for the next call, 0 at the end.
    pub fn forget_entries(&mut self, from: usize, count: usize) -> usize {
        self.chunks.draining_page().map_or(0, |page| self.queues.forget_entries(page, from, count))
    }

    /// Ends the drain: nothing of the class refers to the page any more. Returns the number of free chunks that
    /// allocation met and dropped meanwhile.
    pub fn end_drain(&mut self) -> u64 {
        if let Some(page) = self.chunks.draining_page() {
            self.queues.forget_page(page);
        }
        self.chunks.end_drain()
    }

    /// Moves the HOT items in `slots` of the draining page to the main part: the ring has lost their entries.
    pub fn settle(&mut self, arena: &Arena, slots: Range<u32>) {
        let Some(page) = self.chunks.draining_page() else { return };
        let view = self.chunks.view(arena);
        slots.for_each(|slot| self.queues.settle(&view, Handle::new(page, slot)));
    }

    /// Gives `to`, a copy of the item in `from`, the same place in the queues: [`Queues::enlist_copy`].
    pub fn enlist_copy(&mut self, arena: &Arena, from: Handle, to: Handle, memcached_size: usize) {
        self.queues.enlist_copy(&self.chunks.view(arena), from, to, memcached_size);
    }

    /// Replaces `from`, the chunk with a large item's header, by `to` in the queues: [`Queues::rename_head`].
    pub fn rename_head(&mut self, arena: &Arena, from: Handle, to: Handle) {
        self.queues.rename_head(&self.chunks.view(arena), from, to);
    }
}

/// A locked class without open magazines: its counts, lists and free chunks are complete. Magazines open under the
/// class's lock alone, so this holds while the borrow does.
pub(in crate::store) struct WholeClass<'a>(&'a mut Class);

impl Deref for WholeClass<'_> {
    type Target = Class;

    fn deref(&self) -> &Class {
        self.0
    }
}

impl DerefMut for WholeClass<'_> {
    fn deref_mut(&mut self) -> &mut Class {
        self.0
    }
}

impl WholeClass<'_> {
    /// Starts to drain the oldest page of a kind, unless it is the class's only page. From now on none of its chunks
    /// is allocated, and eviction skips it. No magazine holds a chunk of it, and the ring holds all of its entries.
    pub fn begin_drain(&mut self, kind: ChunkKind) -> Option<u32> {
        let page = self.chunks.begin_drain(kind)?;
        self.queues.lose_first_page(kind);
        Some(page)
    }

    /// Moves an item that was accessed from any queue to the end of the LRU list: [`Queues::move_back`].
    pub fn move_back(&mut self, arena: &Arena, handle: Handle) {
        let class = &mut *self.0;
        class.queues.move_back(&class.chunks.view(arena), handle);
    }

    /// Notes that the mode was switched.
    pub fn note_mode(&mut self) {
        self.queues.note_mode();
    }

    /// Snapshot of the class.
    pub fn view(&self, arena: &Arena, stats: &ClassStats, now: u32) -> ClassView {
        let (chunks, queues, view) = (&self.chunks, &self.queues, self.chunks.view(arena));
        let rewarmed = stats.rewarmed() as i64;
        let items = |label, more: i64| (queues.count_of(label) + more).max(0) as u64;
        let idle = |handle: Option<Handle>| {
            handle.and_then(|h| Item::at(arena.chunk(h))).map_or(0, |item| now.saturating_sub(item.atime(now)))
        };
        let Moves { to_cold, to_warm, within_lru } = queues.moves(stats);
        ClassView {
            counts: ClassCounts {
                moves_to_cold: to_cold,
                moves_to_warm: to_warm,
                moves_within_lru: within_lru,
                ..self.counts
            },
            pages: chunks.page_count(),
            used_chunks: chunks.used(),
            total_chunks: chunks.chunk_count(),
            max_size_bytes: chunks.used_bytes(ChunkKind::MaxSize),
            fitted_bytes: chunks.used_bytes(ChunkKind::Fitted),
            items: self.len(),
            hot: items(state::HOT, 0),
            warm: items(state::WARM, rewarmed),
            cold: items(state::COLD, -rewarmed),
            temp: items(state::TEMP, 0),
            ghost_hits: stats.ghost_hits(),
            requested: queues.requested().max(0) as u64,
            queue_bytes: queues.bytes(),
            history_bytes: queues.history_bytes(),
            age_hot: idle(queues.oldest_hot()),
            age_warm: idle(queues.next_of(&view, state::WARM)),
            age_cold: idle(queues.next_of(&view, state::COLD)),
        }
    }
}
