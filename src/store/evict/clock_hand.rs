//! Hands, which pass over the chunks of a class's pages and go on where they were.
//!
//! Owns how a hand moves, and the searches that need no more than that: on full pages, and for items whose time is over
//! where nobody may be evicted, and which items those are. Whom the clock evicts is `policy`'s. Under the class's lock;
//! called by `policy`, `slabs` and the store.

use super::queues::{HAND_AHEAD, HAND_STEPS, SEARCH};
use crate::store::item::Handle;
use crate::store::item::{Head, Item, iflag, state};
use crate::store::slab::Arena;
use crate::store::slab::{Kind, Stock};
use crate::store::slabs::{Class, Hand, Slabs};

impl Hand {
    /// The chunk under the hand, which moves on and round.
    pub(in crate::store) fn next(&mut self, stocks: &[Stock; 2]) -> Option<Handle> {
        // At the end of one stock it goes on with the other, which may be empty.
        for _ in 0..3 {
            if let Some(handle) = stocks[self.stock].under(self) {
                return Some(handle);
            }
            *self = Self { stock: 1 - self.stock, ..Self::default() };
        }
        None
    }
}

impl Stock {
    /// The chunk under a hand, which moves on; `None` at the end.
    fn under(&self, hand: &mut Hand) -> Option<Handle> {
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
    /// A small item of which `is_over` says that its time is over, in a chunk of `need` bytes: where nothing else may be
    /// evicted. One call passes so many chunks only, the next one goes on from there.
    pub(in crate::store) fn next_lapsed(
        &mut self,
        arena: &Arena,
        need: usize,
        is_over: impl Fn(&Item) -> bool,
    ) -> Option<Handle> {
        for _ in 0..HAND_STEPS {
            let handle = self.lapsed_hand.next(&self.stocks)?;
            self.lapsed_passed += 1;
            arena.prefetch_head(handle, HAND_AHEAD);
            if arena.stride(handle) < need || self.is_leaving(handle) {
                continue;
            }
            let Some(item) = Item::at(arena.chunk(handle)) else { continue };
            if item.head().is(state::LINKED) && !item.head().has(iflag::CHUNKED) && is_over(&item) {
                self.lapsed_passed = 0;
                return Some(handle);
            }
        }
        None
    }

    /// Whether the hand of [`Class::next_lapsed`] has found something in its last round.
    pub(in crate::store) fn may_have_lapsed(&self) -> bool {
        self.lapsed_passed <= self.chunk_count()
    }

    /// An item on a full page, for an item that needs such a chunk: of some the one that was used least.
    pub(in crate::store) fn victim_on_full(&mut self, arena: &Arena) -> Option<Handle> {
        let mut least: Option<(u8, Handle)> = None;
        let mut seen = 0;
        for _ in 0..HAND_STEPS {
            let full = &self.stocks[Kind::Full as usize];
            let Some(handle) = full.under(&mut self.full_hand).or_else(|| {
                self.full_hand = Hand::default();
                full.under(&mut self.full_hand)
            }) else {
                break;
            };
            arena.prefetch_head(handle, HAND_AHEAD);
            let head = Head::of(arena.chunk(handle));
            let evictable = head.state() & state::SEGMENT != state::TEMP && !head.has(iflag::CHUNKED);
            if head.klen() == 0 || !head.is(state::LINKED) || !evictable {
                continue;
            }
            let freq = head.state() & state::FREQ;
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
    /// Whether a class has items that may not be evicted.
    pub fn protects(&self, class: &Class) -> bool {
        !self.may_evict() || class.evictable() < class.len() as i64
    }

    /// Whether an item may be evicted though its time is not over.
    pub fn may_leave(&self, item: &Item) -> bool {
        self.may_evict() && item.head().state() & state::SEGMENT != state::TEMP
    }
}
