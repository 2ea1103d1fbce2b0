//! Clock hands, which scan the chunks of a class's pages and resume where they stopped.
//!
//! Owns the movement of a hand, and two searches that need nothing else: for a victim in maximum-size chunks, and for
//! an expired item when eviction is disabled. `s3fifo` owns the eviction clock. Under the class lock; called by
//! `s3fifo` and `queues`.

use super::{HAND_AHEAD, HAND_STEPS, SEARCH};
use crate::cache_lines::{Shared, wrote};
use crate::store::item::{Handle, Item, iflag, state};
use crate::store::slab::{ChunkKind, ChunkPool, ChunkView, Chunks};

/// Position of a clock hand over the slots of a class's pages.
#[derive(Clone, Copy, Default)]
pub(super) struct ClockHand {
    kind: ChunkKind,
    /// Position of the page in the pool.
    page: usize,
    slot: u32,
}

impl ClockHand {
    /// Returns the chunk under the hand and advances it, wrapping at the end.
    pub fn next(&mut self, chunks: &Chunks) -> Option<Handle> {
        // At the end of one pool the hand continues with the other, which may be empty.
        for _ in 0..3 {
            if let Some(handle) = self.next_in(chunks.pool(self.kind)) {
                return Some(handle);
            }
            *self = Self { kind: self.kind.other(), ..Self::default() };
        }
        None
    }

    /// Returns the chunk under the hand and advances it; `None` at the end of the pool.
    fn next_in(&mut self, pool: &ChunkPool) -> Option<Handle> {
        let (page, slot) = (pool.page_at(self.page)?, self.slot);
        wrote(Shared::Class, self);
        if slot + 1 < pool.slots_used(page) {
            self.slot += 1;
        } else {
            (self.page, self.slot) = (self.page + 1, 0);
        }
        Some(Handle::new(page, slot))
    }

    /// The chunks that are next under the hand, up to `slots` of them, on its page.
    pub fn ahead(&self, chunks: &Chunks, slots: usize) -> impl Iterator<Item = Handle> + use<> {
        let pool = chunks.pool(self.kind);
        let slots = self.slot..pool.layout().per_page.min(self.slot + slots as u32);
        pool.page_at(self.page).into_iter().flat_map(move |page| slots.clone().map(move |slot| Handle::new(page, slot)))
    }

    /// Keeps the hand on its chunk when the first page of a kind leaves the class. A hand on that page goes to the next
    /// one.
    pub fn lose_first_page(&mut self, kind: ChunkKind) {
        if self.kind == kind {
            *self = match self.page {
                0 => Self { slot: 0, ..*self },
                at => Self { page: at - 1, ..*self },
            };
        }
    }

    /// Returns a victim in a maximum-size chunk, for an item that needs such a chunk: the least frequently used of
    /// those examined. The hand passes pages of maximum-size chunks only.
    pub fn victim_of_max_size(&mut self, view: &ChunkView) -> Option<Handle> {
        let max_size = view.chunks.pool(ChunkKind::MaxSize);
        let mut least: Option<(u8, Handle)> = None;
        let mut seen = 0;
        for _ in 0..HAND_STEPS {
            let Some(handle) = self.next_in(max_size).or_else(|| {
                *self = Self::default();
                self.next_in(max_size)
            }) else {
                break;
            };
            view.arena.prefetch_head(handle, HAND_AHEAD);
            let header = view.header(handle);
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

/// The search for dead items where live ones may not be evicted.
#[derive(Default)]
pub(super) struct ExpiredSearch {
    pub hand: ClockHand,
    /// Chunks that the hand has passed since the search last found a dead item.
    passed: u64,
}

impl ExpiredSearch {
    /// Finds a dead item, by `is_dead`, in a chunk of at least `need` bytes; chained values are skipped. One call
    /// examines at most `HAND_STEPS` chunks; the next one continues from there.
    pub fn next(&mut self, view: &ChunkView, need: usize, is_dead: impl Fn(&Item) -> bool) -> Option<Handle> {
        for _ in 0..HAND_STEPS {
            let handle = self.hand.next(view.chunks)?;
            self.passed += 1;
            view.arena.prefetch_head(handle, HAND_AHEAD);
            if view.arena.stride(handle) < need || view.is_leaving(handle) {
                continue;
            }
            let Some(item) = Item::at(view.arena.chunk(handle)) else { continue };
            if item.header().is(state::LINKED) && !item.header().has(iflag::CHUNKED) && is_dead(&item) {
                self.passed = 0;
                return Some(handle);
            }
        }
        None
    }

    /// Whether the hand found an item in its last round over `chunks` chunks.
    pub fn may_find(&self, chunks: u64) -> bool {
        self.passed <= chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::slab::{Arena, SizeConfig, Sizes};

    #[test]
    fn a_hand_goes_round_although_pages_leave() {
        let arena = Arena::reserve(8 << 20, true, 0).unwrap();
        let mut chunks = Chunks::new(30, &Sizes::new(SizeConfig::default()));
        let per_page = chunks.pool(ChunkKind::MaxSize).layout().per_page as usize;
        let mut hand = ClockHand::default();
        assert_eq!(hand.next(&chunks), None, "there is no page");
        for page in 1..=3 {
            assert!(chunks.reserve_page());
            chunks.receive(&arena, page, None);
            (0..per_page).for_each(|_| assert!(chunks.take_kept(&arena, 1 << 14).is_some()));
        }
        let mut round = || (0..3 * per_page).map(|_| hand.next(&chunks).unwrap().page()).collect::<Vec<_>>();
        assert_eq!([round(), round()].concat(), [1, 2, 3, 1, 2, 3].map(|page| vec![page; per_page]).concat());
        let mut at_second = ClockHand::default();
        (0..=per_page).for_each(|_| _ = at_second.next(&chunks));
        let ahead: Vec<Handle> = at_second.ahead(&chunks, 2).collect();
        assert_eq!(ahead, [Handle::new(2, 1), Handle::new(2, 2)]);
        let mut at_first = ClockHand::default();
        at_first.next(&chunks);
        assert_eq!(chunks.begin_drain(ChunkKind::MaxSize), Some(1));
        [&mut at_first, &mut at_second].into_iter().for_each(|hand| hand.lose_first_page(ChunkKind::MaxSize));
        assert_eq!(at_second.next(&chunks), Some(ahead[0]));
        assert_eq!(at_first.next(&chunks), Some(Handle::new(2, 0)));
    }
}
