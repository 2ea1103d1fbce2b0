//! Who leaves when memory is short: S3-FIFO, class by class, under the class's lock.
//!
//! New items stand in a FIFO ring (the HOT segment, a tenth of the class); at its end an item that was read moves
//! to the main part, one that was not leaves. The main part is a clock: a hand walks the slots of the class's
//! pages, takes one from each item's frequency and evicts at zero.
//!
//! ```text
//! new --> ring (HOT) --read--> main (WARM --frequency used up--> COLD) --hand--> out
//!              `--not read--> out
//! ```
//! A ring entry outlives its item: the chunk's `RING` bit says that an entry exists, so a chunk has at most
//! one and the ring is never longer than the class. Main holds no links at all.
//!
//! A large item counts in the largest class, but its head lies in a chunk of a small one. It stands in the
//! largest class's ring while its label is HOT, in `chains` after that, and leaves them when it is freed. The
//! `RING` bit of its head belongs to the small class, whose ring may still have an entry of the chunk's
//! former item.
//!
//! Knows items only by their head; called by `slabs` and the store, who unlinks victims from the index.

use super::arena::{Arena, Handle};
use super::item::{Head, Item, iflag, state};
use super::slabs::Class;
use std::sync::atomic::Ordering::Relaxed;

/// The ring's share of a class's items, in percent.
const RING_PCT: usize = 10;

/// Items looked at in one search for a victim before the least used one seen is taken.
const SEARCH: usize = 64;

/// Slots the hand may pass in one search, free ones included.
const HAND_STEPS: usize = 1024;

/// Says that no entry of the chunk is in its class's ring.
fn unmark(arena: &Arena, handle: Handle) {
    if let Some(word) = arena.chunk(handle).first() {
        word.fetch_and(!(u64::from(state::RING) << 16), Relaxed);
    }
}

pub(super) fn segment(label: u8) -> usize {
    usize::from((label & state::SEGMENT) >> 2).min(2)
}

impl Class {
    /// Counts a new item and puts it into the ring. `item` is written and not yet linked; `own` says that its
    /// chunk is of this class.
    pub fn enlist(&mut self, handle: Handle, item: &mut Item, nominal: usize, own: bool) {
        self.items[0] += 1;
        self.requested += nominal as u64;
        if own && item.head().is(state::RING) {
            return;
        }
        if own {
            item.change_state(0, state::RING);
        }
        self.ring.push_back(handle);
    }

    /// Counts an item out. Its chunk must be unlinked already.
    pub fn delist(&mut self, arena: &Arena, handle: Handle, nominal: usize, chunked: bool) {
        // Read anew: the label may have changed until this class was locked.
        let head = Head::of(arena.chunk(handle));
        let count = &mut self.items[segment(head.state())];
        debug_assert!(*count > 0 && self.requested >= nominal as u64);
        *count = count.saturating_sub(1);
        self.requested = self.requested.saturating_sub(nominal as u64);
        if chunked {
            // The head's chunk may come back in another class: no entry may stay behind. Large items are few.
            let hot = head.state() & state::SEGMENT == state::HOT;
            let list = if hot { &mut self.ring } else { &mut self.chains };
            if let Some(at) = list.iter().position(|&entry| entry == handle) {
                list.remove(at);
            }
            if hot && arena.class(handle) == self.id {
                unmark(arena, handle);
            }
        }
    }

    /// Takes in an item from before a restart; those that are queued must come oldest first. `own` says that its
    /// chunk is of this class.
    pub fn adopt_item(&mut self, handle: Handle, item: &mut Item, nominal: usize, own: bool) {
        item.change_state(state::RING, 0);
        let label = item.head().state() & state::SEGMENT;
        self.items[segment(label)] += 1;
        self.requested += nominal as u64;
        if label == state::HOT {
            item.change_state(0, if own { state::RING } else { 0 });
            self.ring.push_back(handle);
        } else if item.head().has(iflag::CHUNKED) {
            self.chains.push_back(handle);
        }
    }

    /// The item that should leave next. It is still linked, no longer in the ring.
    pub(super) fn victim(&mut self, arena: &Arena) -> Option<Handle> {
        let ring_max = (self.items.iter().sum::<u64>() as usize * RING_PCT / 100).max(1);
        if self.ring.len() > ring_max
            && let Some(handle) = self.ring_tail(arena)
        {
            return Some(handle);
        }
        self.clock(arena).or_else(|| self.ring_tail(arena))
    }

    /// Pops the ring until an unread item comes; read ones move to the main part.
    fn ring_tail(&mut self, arena: &Arena) -> Option<Handle> {
        for _ in 0..SEARCH {
            let handle = self.ring.pop_front()?;
            if let Some(&next) = self.ring.front() {
                arena.prefetch(next);
            }
            let item = Item::at(arena.chunk(handle));
            let Some(mut item) = item.filter(|item| self.is_largest || !item.head().has(iflag::CHUNKED)) else {
                // A free chunk, one of a chain or a large item's head: the entry was left over.
                unmark(arena, handle);
                continue;
            };
            let mark = if arena.class(handle) == self.id { state::RING } else { 0 };
            if !item.head().is(state::LINKED) {
                self.ring.push_back(handle); // still being filled
            } else if item.head().is(state::FREQ) {
                item.change_state(mark | state::FREQ | state::SEGMENT, state::WARM);
                self.relabel(state::HOT, state::WARM);
                self.counts.moves_to_warm += 1;
                if item.head().has(iflag::CHUNKED) {
                    self.chains.push_back(handle);
                }
            } else {
                item.change_state(mark | state::SEGMENT, state::COLD);
                self.relabel(state::HOT, state::COLD);
                self.counts.moves_to_cold += 1;
                if item.head().has(iflag::CHUNKED) {
                    self.chains.push_front(handle);
                }
                return Some(handle);
            }
        }
        None
    }

    fn relabel(&mut self, from: u8, to: u8) {
        let from = &mut self.items[segment(from)];
        if *from > 0 {
            *from -= 1;
            self.items[segment(to)] += 1;
        }
    }

    /// Walks the hand until an item without frequency comes, taking one from each it passes.
    fn clock(&mut self, arena: &Arena) -> Option<Handle> {
        let mut least: Option<(u8, Handle)> = None;
        let mut seen = 0;
        for step in 0..HAND_STEPS {
            let from_chains = !self.chains.is_empty() && (self.pages.is_empty() || step % 2 == 0);
            let handle = if from_chains { self.chains.pop_front()? } else { self.hand_next()? };
            if from_chains {
                self.chains.push_back(handle);
            }
            let head = Head::of(arena.chunk(handle));
            // Not linked: deleted, and its reader is not done yet.
            let mine = from_chains || !(head.is(state::RING) || head.has(iflag::CHUNKED));
            if head.klen() == 0 || !head.is(state::LINKED) || !mine {
                continue;
            }
            let Some(mut item) = Item::at(arena.chunk(handle)) else { continue };
            let freq = head.state() & state::FREQ;
            if freq == 0 {
                return Some(handle);
            }
            self.second_chance(&mut item, freq);
            if least.is_none_or(|(f, _)| freq < f) {
                least = Some((freq, handle));
            }
            seen += 1;
            if seen == SEARCH {
                break;
            }
        }
        least.map(|(_, handle)| handle)
    }

    fn second_chance(&mut self, item: &mut Item, freq: u8) {
        let label = item.head().state() & state::SEGMENT;
        let new_label = if freq == 1 { state::COLD } else { label };
        item.change_state(state::FREQ | state::SEGMENT, (freq - 1) | new_label);
        if new_label == label {
            self.counts.moves_within_lru += 1;
        } else {
            self.relabel(label, new_label);
            self.counts.moves_to_cold += 1;
        }
    }

    /// The chunk under the hand; the hand moves on.
    fn hand_next(&mut self) -> Option<Handle> {
        let (page, slot) = self.hand;
        let number = *self.pages.get(page).or(self.pages.first())?;
        let page = if page < self.pages.len() { page } else { 0 };
        let last = page + 1 == self.pages.len();
        let end = if last { self.carve } else { self.per_page };
        self.hand = if slot + 1 < end {
            (page, slot + 1)
        } else if last {
            (0, 0)
        } else {
            (page + 1, 0)
        };
        Some(Handle::new(number, slot))
    }
}
