//! The slab class's side of a page move.
//!
//! Owns the choice of the page to drain, its chunks in the free list and the ring, and the queue position of an item
//! that moves to another chunk. Callers (`rescue`) hold the class lock, so every function is short; longer work comes
//! in slices. Knows items only by their head, like `slabs`.

use crate::store::evict::{segment, slots_of, unmark};
use crate::store::item::{Handle, Header, Item, iflag, kind, state};
use crate::store::slab::{Arena, ChunkKind, ChunkPool, Page, WholeClass};
use crate::store::slabs::{Class, ClockHand, DrainingPage};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

impl WholeClass<'_> {
    /// Starts to drain the oldest page of a kind, unless it is the class's only page. From now on none of its chunks
    /// is allocated, and eviction skips it. No magazine holds a chunk of it, and the ring holds all of its entries.
    pub(in crate::store) fn begin_drain(&mut self, kind: ChunkKind) -> Option<u32> {
        let pages: usize = self.pools.iter().map(|pool| pool.pages.len()).sum();
        if pages < 2 || self.draining.is_some() || self.pool(kind).pages.is_empty() {
            return None;
        }
        let class = &mut **self;
        let pool = class.pool_mut(kind);
        let Page { number: page, .. } = pool.pages.remove(0);
        let slots = pool.slots_used(page);
        if pool.carving.is_some_and(|(carving, _)| carving == page) {
            pool.carving = None;
        }
        class.draining = Some(DrainingPage { page, kind, slots, left: slots });
        for hand in [&mut class.hand, &mut class.max_size_hand, &mut class.expired_hand] {
            if hand.pool == kind as usize {
                *hand = match hand.page {
                    0 => ClockHand { slot: 0, ..*hand },
                    at => ClockHand { page: at - 1, ..*hand },
                };
            }
        }
        Some(page)
    }
}

impl Class {
    /// Number of pages of the class, the draining one included.
    pub fn page_count(&self) -> u64 {
        let used: u64 = self.pools.iter().map(ChunkPool::page_count).sum();
        used + (self.given.len() + usize::from(self.draining.is_some())) as u64
    }

    /// Number of chunks of the class, those of the draining page included.
    pub(in crate::store) fn chunk_count(&self) -> u64 {
        let of = |pool: &ChunkPool| pool.page_count() * u64::from(pool.layout.per_page);
        let draining = self.draining.as_ref().map_or(0, |draining| self.pool(draining.kind).layout.per_page);
        let given = self.given.len() as u64 * u64::from(self.pool(ChunkKind::MaxSize).layout.per_page);
        self.pools.iter().map(of).sum::<u64>() + u64::from(draining) + given
    }

    /// Whether the other pages have room for what a page of this kind holds.
    pub(in crate::store) fn has_room_for_a_page(&self, kind: ChunkKind) -> bool {
        let given = self.given.len() as u64 * u64::from(self.pool(ChunkKind::MaxSize).layout.per_page);
        let spare = given
            + self.pool(ChunkKind::MaxSize).spare()
            + match kind {
                ChunkKind::MaxSize => 0,
                ChunkKind::Fitted => self.pool(ChunkKind::Fitted).spare(),
            };
        spare >= u64::from(self.pool(kind).layout.per_page)
    }

    /// Removes and returns a page that was never used, unless it is the class's only page.
    pub(in crate::store) fn give_unused(&mut self) -> Option<u32> {
        if self.page_count() < 2 {
            return None;
        }
        let [max_size, fitted] = &mut self.pools;
        self.given.pop().or_else(|| fitted.given.pop()).or_else(|| max_size.given.pop())
    }

    /// Number of slots of the draining page that were ever used.
    pub(in crate::store) fn draining_slots(&self) -> u32 {
        self.draining.as_ref().map_or(0, |draining| draining.slots)
    }

    /// Whether every chunk of the draining page is drained.
    pub(in crate::store) fn is_drained(&self) -> bool {
        self.draining.as_ref().is_none_or(|draining| draining.left == 0)
    }

    /// Takes the free chunks among `slots` of the draining page off the free list; pushes those in use onto `in_use`.
    pub(in crate::store) fn clear_free(&mut self, arena: &Arena, slots: Range<u32>, in_use: &mut Vec<Handle>) {
        let Some(&DrainingPage { page, .. }) = self.draining.as_ref() else { return };
        for handle in slots.map(|slot| Handle::new(page, slot)) {
            match Header::of(arena.chunk(handle)).kind() {
                Some(kind::FREE) => {
                    self.unlist(arena, handle);
                    self.lose(arena, handle);
                }
                Some(kind::DRAINED) => {}
                _ => in_use.push(handle),
            }
        }
    }

    /// Counts a chunk of the draining page as drained: it is on no list and in no use.
    pub(in crate::store) fn lose(&mut self, arena: &Arena, handle: Handle) {
        Header::mark(arena.chunk(handle), kind::DRAINED);
        if let Some(draining) = &mut self.draining {
            draining.left -= 1;
        }
    }

    /// Blanks the draining page's entries in the ring: examines up to `count` entries, downwards from position
    /// `from`, and returns the position for the next call, 0 at the end. Entries only move down meanwhile, so none is
    /// missed.
    pub(in crate::store) fn forget_entries(&mut self, from: usize, count: usize) -> usize {
        let Some(&DrainingPage { page, .. }) = self.draining.as_ref() else { return 0 };
        let to = from.min(self.ring.span()).saturating_sub(count);
        self.ring.blank_those(to, from, |entry| entry.page() == page as usize);
        to
    }

    /// Ends the drain: nothing of the class refers to the page any more.
    pub(in crate::store) fn end_drain(&mut self) {
        debug_assert!(self.is_drained());
        if let Some(draining) = self.draining.take() {
            self.lru.forget_page(draining.page as usize);
        }
    }

    /// Moves the HOT items in `slots` of the draining page to the main part: the ring has lost their entries.
    pub(in crate::store) fn settle(&mut self, arena: &Arena, slots: Range<u32>) {
        let Some(&DrainingPage { page, .. }) = self.draining.as_ref() else { return };
        for handle in slots.map(|slot| Handle::new(page, slot)) {
            self.leave_ring(arena, handle);
        }
    }

    /// Cancels the drain; the page's items are settled already. The page counts as the youngest, so the next drain
    /// takes another one. [`Class::regain`] frees its chunks that are drained or were never used.
    pub(in crate::store) fn keep_page(&mut self) {
        let Some(DrainingPage { page, kind, .. }) = self.draining.take() else { return };
        self.dropped = 0;
        let born = self.births;
        self.births += 1;
        self.pool_mut(kind).pages.push(Page { number: page, born });
    }

    /// Frees those of `slots` that were drained, and those from `used` on, which were never used.
    pub(in crate::store) fn regain(&mut self, arena: &Arena, page: u32, used: u32, slots: Range<u32>) {
        for slot in slots {
            let handle = Handle::new(page, slot);
            if slot >= used || Header::of(arena.chunk(handle)).kind() == Some(kind::DRAINED) {
                self.list(arena, handle);
            }
        }
    }

    /// Adds a zeroed page of no class, to be laid out as `kind`, or as the class decides.
    pub(in crate::store) fn receive(&mut self, arena: &Arena, page: u32, kind: Option<ChunkKind>) {
        // The layout is chosen when the first chunk is taken.
        arena.assign(page, self.id, self.pool(ChunkKind::MaxSize).layout.stride);
        match kind {
            Some(kind) => self.pool_mut(kind).given.push(page),
            None => self.given.push(page),
        }
    }

    /// Gives `to`, a copy of the item in `from`, the same place in the queues. `memcached_size` is the item's. `to`
    /// is filled, but for the label and the `RING` bit; the item of `from` is counted until it is delisted.
    pub(in crate::store) fn enlist_copy(&mut self, arena: &Arena, from: Handle, to: Handle, memcached_size: usize) {
        let Some(mut item) = Item::at(arena.chunk(to)) else { return };
        let label = Header::of(arena.chunk(from)).state() & state::SEGMENT;
        // An entry that the chunk's former item left in the ring serves as a new one.
        let in_ring = item.header().is(state::RING);
        item.change_state(state::SEGMENT, label);
        self.items[segment(label)] += 1;
        self.requested += memcached_size as i64;
        if label == state::HOT && !in_ring {
            item.change_state(0, state::RING);
            self.ring.push_back(to);
        }
        self.take_place(arena, from, to);
    }

    /// Replaces the head `from` of a large item by `to` in the queues. `to` is filled, but for the label and, if it
    /// is a chunk of this class, the `RING` bit.
    pub(in crate::store) fn rename_head(&mut self, arena: &Arena, from: Handle, to: Handle) {
        let Some(mut item) = Item::at(arena.chunk(to)) else { return };
        debug_assert!(item.header().has(iflag::CHUNKED));
        let label = Header::of(arena.chunk(from)).state() & state::SEGMENT;
        let own = arena.class(to) == self.id;
        let in_ring = own && item.header().is(state::RING);
        let hot = label == state::HOT;
        item.change_state(state::SEGMENT, label);
        if label == state::TEMP || self.take_place(arena, from, to) {
            return;
        }
        let list = if hot { &mut self.ring } else { &mut self.chains };
        let at = list.position(from);
        // An entry that the chunk's former item left in the ring serves for this one.
        match at {
            Some(at) if hot && in_ring => list.remove(at),
            Some(at) => list.replace(at, to),
            None if !(hot && in_ring) => list.push_back(to),
            None => {}
        }
        if own && hot {
            unmark(arena, from);
            item.change_state(0, state::RING);
        }
    }

    /// Replaces `from` by `to` in flat mode's LRU list, if `from` is in it.
    fn take_place(&mut self, arena: &Arena, from: Handle, to: Handle) -> bool {
        self.lru.len() > 0 && self.lru.replace(from, to, slots_of(arena, to))
    }
}

/// Copies words `range` of a chunk to the same place in another one, to which no other thread writes.
pub(in crate::store) fn copy_words(arena: &Arena, from: Handle, to: Handle, range: Range<usize>) {
    let (from, to) = (arena.chunk(from), arena.chunk(to));
    for (from, to) in from.iter().zip(to).take(range.end).skip(range.start) {
        to.store(from.load(Relaxed), Relaxed);
    }
}
