//! Labels of items (HOT, WARM, COLD, TEMP): the atomic change of a label, and the counts by label.
//!
//! A thread with a magazine may free and reuse a chunk at any moment, so a label changes in one read-modify-write that
//! also checks what the chunk holds; the counts change by the label that it replaced. Knows items by their header, and
//! no queue. Called by `queues` and `s3fifo` under the class lock, and by magazines for their own counts.

use crate::cache_lines::{Shared, wrote};
use crate::store::item::{Handle, Header, state};
use crate::store::slab::Arena;
use std::sync::atomic::Ordering::Relaxed;

/// Atomically replaces the state bits in a chunk's header by what `change` computes from the header; returns the
/// previous header. `None`, and no change, if `change` returns `None`.
pub(super) fn change_if(arena: &Arena, handle: Handle, change: impl Fn(Header) -> Option<u8>) -> Option<Header> {
    let word = arena.chunk(handle).first()?;
    wrote(Shared::Item, word);
    let with = |old| change(Header(old)).map(|state| old & !(0xff << 16) | u32::from(state) << 16);
    word.fetch_update(Relaxed, Relaxed, with).ok().map(Header)
}

/// Clears the chunk's `RING` bit: its class's ring has no entry of it.
pub fn unmark(arena: &Arena, handle: Handle) {
    change_if(arena, handle, |header| Some(header.state() & !state::RING));
}

/// Items of a class, or what one thread's magazine adds to them.
#[derive(Clone, Copy, Default)]
pub struct ItemCounts {
    /// By label. A hit that makes a COLD item WARM is counted in `ClassStats` instead, because the class is not locked
    /// then: WARM here may be too low, and COLD too high, by the same number.
    items: [i64; 4],
    /// Sum of the items' memcached_size, in bytes.
    requested: i64,
}

impl ItemCounts {
    fn at(label: u8) -> usize {
        usize::from((label & state::SEGMENT) >> 2)
    }

    /// Adds an item.
    #[inline]
    pub fn add(&mut self, label: u8, memcached_size: usize) {
        wrote(Shared::Class, &self.items[Self::at(label)]);
        wrote(Shared::Class, &self.requested);
        self.items[Self::at(label)] += 1;
        self.requested += memcached_size as i64;
    }

    /// Subtracts an item.
    #[inline]
    pub fn remove(&mut self, label: u8, memcached_size: usize) {
        wrote(Shared::Class, &self.items[Self::at(label)]);
        wrote(Shared::Class, &self.requested);
        self.items[Self::at(label)] -= 1;
        self.requested -= memcached_size as i64;
    }

    /// Counts that an item has another label now.
    pub(super) fn relabel(&mut self, from: u8, to: u8) {
        wrote(Shared::Class, &self.items);
        self.items[Self::at(from)] -= 1;
        self.items[Self::at(to)] += 1;
    }

    /// Adds other counts, and clears them.
    pub(super) fn absorb(&mut self, other: &mut Self) {
        let other = std::mem::take(other);
        self.items.iter_mut().zip(other.items).for_each(|(own, more)| *own += more);
        self.requested += other.requested;
    }

    /// Number of items with this label.
    pub(super) fn of(&self, label: u8) -> i64 {
        self.items[Self::at(label)]
    }

    /// Number of items.
    pub(super) fn len(&self) -> u64 {
        // Errors of single labels cancel out: see `items`. The sum may be negative while a magazine has not added an
        // item yet that was freed already.
        self.items.iter().sum::<i64>().max(0) as u64
    }

    /// Sum of the items' memcached_size, in bytes.
    pub(super) fn requested(&self) -> i64 {
        self.requested
    }
}

/// Changes of labels since the last reset: rows `moves_...` of `stats items`.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Moves {
    pub to_cold: u64,
    pub to_warm: u64,
    pub within_lru: u64,
}

/// The labels of a class's items.
#[derive(Default)]
pub(super) struct Labels {
    pub counts: ItemCounts,
    pub moves: Moves,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_magazine_may_be_negative() {
        let (mut all, mut part) = (ItemCounts::default(), ItemCounts::default());
        all.add(state::COLD, 100);
        part.add(state::HOT, 60);
        part.remove(state::COLD, 100);
        assert_eq!((part.len(), part.requested()), (0, -40));
        all.absorb(&mut part);
        assert_eq!((all.len(), all.requested(), all.of(state::HOT), all.of(state::COLD)), (1, 60, 1, 0));
        all.absorb(&mut part);
        assert_eq!((all.len(), all.requested()), (1, 60), "the part's counts are applied once");
        all.relabel(state::HOT | state::LINKED, state::WARM);
        assert_eq!([state::HOT, state::WARM, state::COLD].map(|label| all.of(label)), [0, 1, 0]);
    }
}
