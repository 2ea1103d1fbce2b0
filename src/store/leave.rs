//! What a slab class does when a page leaves it, or comes to it.
//!
//! Owns the class's side of a move: which page goes, its chunks in the free list and the ring, and the standing of an
//! item that gets another chunk. Every function is short enough to be called under the class's lock, which its callers
//! (`mover`) hold; what is long comes in slices. Knows items only by their head, like `slabs`.

use super::arena::{Arena, Handle};
use super::item::{Head, Item, iflag, kind, state};
use super::policy::{segment, slots_of, unmark};
use super::slabs::Class;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

impl Class {
    /// Pages of the class, the leaving one included.
    pub fn page_count(&self) -> u64 {
        (self.pages.len() + self.given.len() + usize::from(self.leaving.is_some())) as u64
    }

    /// Chunks that nobody uses, on pages that stay.
    pub fn spare_chunks(&self) -> u64 {
        let staying = (self.pages.len() + self.given.len()) as u64 * u64::from(self.per_page);
        staying.saturating_sub(self.used)
    }

    /// Gives a page up that was never used, if there is one and it is not the class's only page.
    pub(super) fn give_unused(&mut self) -> Option<u32> {
        if self.pages.len() + self.given.len() < 2 { None } else { self.given.pop() }
    }

    /// Begins to give up the oldest page, unless it is the only one. From now on no chunk of it is handed out, and
    /// eviction passes it over.
    pub(super) fn begin_leaving(&mut self) -> Option<u32> {
        if self.pages.len() < 2 || self.leaving.is_some() {
            return None;
        }
        let page = self.pages.remove(0);
        self.leaving = Some((page, self.per_page));
        self.hand = match self.hand {
            (0, _) => (0, 0),
            (at, slot) => (at - 1, slot),
        };
        Some(page)
    }

    /// Whether every chunk of the leaving page is gone.
    pub(super) fn has_left(&self) -> bool {
        self.leaving.is_none_or(|(_, left)| left == 0)
    }

    /// Takes the free ones of `slots` of the leaving page off the free list; puts those in use into `in_use`.
    pub(super) fn clear_free(&mut self, arena: &Arena, slots: Range<u32>, in_use: &mut Vec<Handle>) {
        let Some((page, _)) = self.leaving else { return };
        for handle in slots.map(|slot| Handle::new(page, slot)) {
            match Head::of(arena.chunk(handle)).kind() {
                Some(kind::FREE) => {
                    self.unlist(arena, handle);
                    self.lose(arena, handle);
                }
                Some(kind::GONE) => {}
                _ => in_use.push(handle),
            }
        }
    }

    /// Counts a chunk of the leaving page as gone: it is on no list, and nobody uses it.
    pub(super) fn lose(&mut self, arena: &Arena, handle: Handle) {
        Head::mark(arena.chunk(handle), kind::GONE);
        if let Some((_, left)) = &mut self.leaving {
            *left -= 1;
        }
    }

    /// Blanks entries of the leaving page in the ring: looks at up to `count` of them, down from position `from`, and
    /// gives the position for the next call, 0 at the end. Entries only move down meanwhile, so none is missed.
    pub(super) fn forget_entries(&mut self, from: usize, count: usize) -> usize {
        let Some((page, _)) = self.leaving else { return 0 };
        let from = from.min(self.ring.len());
        let to = from.saturating_sub(count);
        for entry in self.ring.range_mut(to..from).filter(|entry| entry.page() == page as usize) {
            *entry = Handle::NOWHERE;
        }
        to
    }

    /// The page has left: nothing of the class names it any more.
    pub(super) fn end_leaving(&mut self) {
        debug_assert!(self.has_left());
        self.leaving = None;
    }

    /// Has the items of `slots` of the leaving page count as items of the main part: the ring has forgotten them.
    pub(super) fn settle(&mut self, arena: &Arena, slots: Range<u32>) {
        let Some((page, _)) = self.leaving else { return };
        for handle in slots.map(|slot| Handle::new(page, slot)) {
            self.leave_ring(arena, handle);
        }
    }

    /// The page stays after all, and its items are settled. Its chunks that are gone come back by
    /// [`Class::regain`].
    pub(super) fn keep_page(&mut self) {
        if let Some((page, _)) = self.leaving.take() {
            self.pages.insert(0, page);
            self.hand.0 += 1;
        }
    }

    /// Puts those of `slots` that were gone onto the free list again.
    pub(super) fn regain(&mut self, arena: &Arena, page: u32, slots: Range<u32>) {
        for handle in slots.map(|slot| Handle::new(page, slot)) {
            if Head::of(arena.chunk(handle)).kind() == Some(kind::GONE) {
                self.list(arena, handle);
            }
        }
    }

    /// Takes over a page of no class, all zero.
    pub(super) fn receive(&mut self, arena: &Arena, page: u32) {
        arena.assign(page, self.id, self.stride);
        self.given.push(page);
    }

    /// Gives the item of `from`, of nominal size `nominal`, the same standing in chunk `to`. `to` is filled, but for
    /// the label and the ring bit; the item of `from` is counted until it is delisted.
    pub(super) fn enlist_copy(&mut self, arena: &Arena, from: Handle, to: Handle, nominal: usize) {
        let Some(mut item) = Item::at(arena.chunk(to)) else { return };
        let label = Head::of(arena.chunk(from)).state() & state::SEGMENT;
        // An entry that the chunk's former item has left in the ring is as good as a new one.
        let in_ring = item.head().is(state::RING);
        item.change_state(state::SEGMENT, label);
        self.items[segment(label)] += 1;
        self.requested += nominal as u64;
        if label == state::HOT && !in_ring {
            item.change_state(0, state::RING);
            self.ring.push_back(to);
        }
        self.take_place(arena, from, to);
    }

    /// Has the lists name the head of a large item by `to` instead of `from`; `to` is filled, but for the label and,
    /// if it is a chunk of this class, the ring bit.
    pub(super) fn rename_head(&mut self, arena: &Arena, from: Handle, to: Handle) {
        let Some(mut item) = Item::at(arena.chunk(to)) else { return };
        debug_assert!(item.head().has(iflag::CHUNKED));
        let label = Head::of(arena.chunk(from)).state() & state::SEGMENT;
        let own = arena.class(to) == self.id;
        let in_ring = own && item.head().is(state::RING);
        let hot = label == state::HOT;
        item.change_state(state::SEGMENT, label);
        if label == state::TEMP || self.take_place(arena, from, to) {
            return;
        }
        let list = if hot { &mut self.ring } else { &mut self.chains };
        let at = list.iter().position(|&entry| entry == from);
        // An entry that the chunk's former item has left in the ring is one for it already.
        match at {
            Some(at) if hot && in_ring => drop(list.remove(at)),
            Some(at) => list[at] = to,
            None if !(hot && in_ring) => list.push_back(to),
            None => {}
        }
        if own && hot {
            unmark(arena, from);
            item.change_state(0, state::RING);
        }
    }

    /// Puts the item of `to` where that of `from` stands in flat mode's queue, if it stands there.
    fn take_place(&mut self, arena: &Arena, from: Handle, to: Handle) -> bool {
        self.aged.len() > 0 && self.aged.replace(from, to, slots_of(arena, to))
    }
}

/// Copies words `range` of a chunk to the same place in another one that nobody else writes.
pub(super) fn copy_words(arena: &Arena, from: Handle, to: Handle, range: Range<usize>) {
    let (from, to) = (arena.chunk(from), arena.chunk(to));
    for (from, to) in from.iter().zip(to).take(range.end).skip(range.start) {
        to.store(from.load(Relaxed), Relaxed);
    }
}
