//! Clock hands, which scan the chunks of a class's pages and resume where they stopped.
//!
//! Owns the movement of a hand, and two searches that need nothing else: for a victim in maximum-size chunks, and for
//! an expired item when eviction is disabled. `queues` owns the eviction clock. Under the class lock; called by
//! `queues`, `slabs` and the store.

use super::queues::{HAND_AHEAD, HAND_STEPS, SEARCH};
use crate::store::item::Handle;
use crate::store::item::{Header, Item, iflag, state};
use crate::store::slab::Arena;
use crate::store::slab::{ChunkKind, ChunkPool};
use crate::store::slabs::{Class, ClockHand, Slabs};

impl ClockHand {
    /// Returns the chunk under the hand and advances it, wrapping at the end.
    pub(in crate::store) fn next(&mut self, pools: &[ChunkPool; 2]) -> Option<Handle> {
        // At the end of one pool the hand continues with the other, which may be empty.
        for _ in 0..3 {
            if let Some(handle) = pools[self.pool].under(self) {
                return Some(handle);
            }
            *self = Self { pool: 1 - self.pool, ..Self::default() };
        }
        None
    }
}

impl ChunkPool {
    /// Returns the chunk under a hand and advances it; `None` at the end.
    fn under(&self, hand: &mut ClockHand) -> Option<Handle> {
        let number = self.pages.get(hand.page)?.number;
        let slot = hand.slot;
        if slot + 1 < self.slots_used(number) {
            hand.slot += 1;
        } else {
            (hand.page, hand.slot) = (hand.page + 1, 0);
        }
        Some(Handle::new(number, slot))
    }
}

impl Class {
    /// Finds a small dead item, by `is_dead`, in a chunk of at least `need` bytes, for when eviction is disabled. One
    /// call passes a limited number of chunks; the next one continues from there.
    pub(in crate::store) fn next_expired(
        &mut self,
        arena: &Arena,
        need: usize,
        is_dead: impl Fn(&Item) -> bool,
    ) -> Option<Handle> {
        for _ in 0..HAND_STEPS {
            let handle = self.expired_hand.next(&self.pools)?;
            self.expired_passed += 1;
            arena.prefetch_head(handle, HAND_AHEAD);
            if arena.stride(handle) < need || self.is_draining(handle) {
                continue;
            }
            let Some(item) = Item::at(arena.chunk(handle)) else { continue };
            if item.header().is(state::LINKED) && !item.header().has(iflag::CHUNKED) && is_dead(&item) {
                self.expired_passed = 0;
                return Some(handle);
            }
        }
        None
    }

    /// Whether the hand of [`Class::next_expired`] found an item in its last round.
    pub(in crate::store) fn may_have_expired(&self) -> bool {
        self.expired_passed <= self.chunk_count()
    }

    /// Returns a victim in a maximum-size chunk, for an item that needs such a chunk: the least frequently used of
    /// some.
    pub(in crate::store) fn victim_of_max_size(&mut self, arena: &Arena) -> Option<Handle> {
        let mut least: Option<(u8, Handle)> = None;
        let mut seen = 0;
        for _ in 0..HAND_STEPS {
            let max_size = &self.pools[ChunkKind::MaxSize as usize];
            let Some(handle) = max_size.under(&mut self.max_size_hand).or_else(|| {
                self.max_size_hand = ClockHand::default();
                max_size.under(&mut self.max_size_hand)
            }) else {
                break;
            };
            arena.prefetch_head(handle, HAND_AHEAD);
            let header = Header::of(arena.chunk(handle));
            let evictable = header.state() & state::SEGMENT != state::TEMP && !header.has(iflag::CHUNKED);
            if header.klen() == 0 || !header.is(state::LINKED) || !evictable {
                continue;
            }
            let freq = header.state() & state::FREQ;
            if least.is_none_or(|(f, _)| freq < f) {
                least = Some((freq, handle));
            }
            seen += 1;
            if freq == 0 || seen == SEARCH {
                break;
            }
        }
        least.map(|(_, handle)| handle)
    }
}

impl Slabs {
    /// Whether a class has items that must not be evicted.
    pub fn protects(&self, class: &Class) -> bool {
        !self.may_evict() || class.evictable() < class.len() as i64
    }

    /// Whether an item may be evicted before it expires.
    pub fn may_leave(&self, item: &Item) -> bool {
        self.may_evict() && item.header().state() & state::SEGMENT != state::TEMP
    }
}
