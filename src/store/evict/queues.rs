//! Eviction queues of a slab class, under the class lock.
//!
//! Owns the labels and counts of the class's items, and both sets of queues: those of S3-FIFO (`s3fifo`) and the one of
//! flat mode (`lru_list`), which holds items in the order of their last use, all of them COLD. A class has both sets,
//! because the mode changes while the server runs, without a pass over the items. An item stays where it is until it is
//! evicted, or used in the other mode.
//!
//! Knows items by their header, and of memory what a [`ChunkView`] shows; the caller unlinks victims from the index.
//! Called by `class`, which ensures that no magazine is open while the LRU list has an item: a free through a magazine
//! would not remove it from the list.

use super::class_stats::{ClassStats, Part};
use super::clock_hand::{ClockHand, ExpiredSearch};
use super::history::History;
use super::labels::{ItemCounts, Labels, Moves, unmark};
use super::lru_list::LruList;
use super::s3fifo::S3Fifo;
use super::{DRAINING_STEPS, HAND_STEPS, SEARCH};
use crate::store::item::{Handle, Item, iflag, state};
use crate::store::slab::{Arena, ChunkKind, ChunkView};

/// Which queues new items enter.
#[derive(Clone, Copy)]
pub enum EvictionMode {
    /// One LRU list.
    Flat,
    /// S3-FIFO.
    Segmented {
        /// The ring's share in percent, if the operator has fixed it.
        hot_pct: Option<u32>,
    },
}

/// The queues.
#[derive(Default)]
pub struct Queues {
    labels: Labels,
    s3fifo: S3Fifo,
    /// Items stored or used in flat mode.
    lru: LruList,
    /// In flat mode: items from segmented mode may be left.
    mixed: bool,
    /// Clock hand over pages of maximum-size chunks only.
    max_size_hand: ClockHand,
    expired: ExpiredSearch,
    /// `ClassStats::rewarmed` at the last reset of the counters.
    rewarmed_before: u64,
}

impl Queues {
    /// Empty queues of a class of chunks of `stride` bytes.
    pub fn new(stride: usize) -> Self {
        Self { s3fifo: S3Fifo::new(stride), ..Self::default() }
    }

    /// Reserves memory for one more large item: it must be in a queue wherever it goes. False if there is none.
    pub fn reserve_large(&mut self) -> bool {
        self.s3fifo.reserve_chains(self.len() + 1)
    }

    /// Counts a new item and queues it by `label`. `item` is written and not yet linked; `own` is set if its chunk is
    /// of this class. The place of a large item is reserved.
    pub fn enlist(
        &mut self,
        view: &ChunkView,
        handle: Handle,
        item: &mut Item,
        memcached_size: usize,
        own: bool,
        label: u8,
    ) {
        self.labels.counts.add(label, memcached_size);
        self.s3fifo.count_extra(view, item, label, 1);
        let entered = own && item.header().is(state::RING);
        if label != state::HOT {
            item.change_state(state::SEGMENT, label);
            if label == state::COLD {
                self.push_lru(view, handle);
            }
        } else if !entered {
            if own {
                item.change_state(0, state::RING);
            }
            self.s3fifo.push_hot(view, &mut self.labels, handle);
        }
    }

    /// Subtracts an item from the counts and removes it from the queues. It must be unlinked already.
    pub fn delist(&mut self, view: &ChunkView, handle: Handle, memcached_size: usize, chunked: bool) {
        // Re-read: the label may have changed before the class was locked.
        let header = view.header(handle);
        self.labels.counts.remove(header.state(), memcached_size);
        if chunked && let Some(item) = Item::at(view.arena.chunk(handle)) {
            self.s3fifo.count_extra(view, &item, header.state(), -1);
        }
        if !(self.lru.len() > 0 && self.lru.remove(handle)) && chunked {
            self.s3fifo.remove_large(view, handle, header.state());
        }
    }

    /// Counts and queues an item found by recovery. Queued items must come oldest first. `own` is set if the chunk is
    /// of this class, `flat` in flat mode.
    pub fn adopt_item(
        &mut self,
        view: &ChunkView,
        handle: Handle,
        item: &mut Item,
        memcached_size: usize,
        own: bool,
        flat: bool,
    ) {
        item.change_state(state::RING, 0);
        let mut label = item.header().state() & state::SEGMENT;
        if flat && label != state::TEMP {
            label = state::COLD;
            item.change_state(state::SEGMENT, label);
        }
        self.labels.counts.add(label, memcached_size);
        self.s3fifo.count_extra(view, item, label, 1);
        if label == state::HOT {
            item.change_state(0, if own { state::RING } else { 0 });
            self.s3fifo.push_hot(view, &mut self.labels, handle);
        } else if flat && label == state::COLD {
            self.push_lru(view, handle);
        } else if item.header().has(iflag::CHUNKED) && label != state::TEMP {
            self.s3fifo.push_chain(handle);
        }
    }

    /// Applies what a magazine has not applied yet: ring entries of marked chunks, oldest first, and counts.
    pub fn absorb(&mut self, view: &ChunkView, entries: &[Handle], counts: &mut ItemCounts) {
        self.labels.counts.absorb(counts);
        entries.iter().for_each(|&handle| self.s3fifo.push_hot(view, &mut self.labels, handle));
    }

    /// Moves an item that was accessed from any queue to the end of the LRU list. The chunk may hold another item by
    /// now, or none; no thread frees it through a magazine meanwhile.
    pub fn move_back(&mut self, view: &ChunkView, handle: Handle) {
        let Some(mut item) = Item::at(view.arena.chunk(handle)) else { return };
        let chunked = item.header().has(iflag::CHUNKED);
        let mine = if chunked { view.chunks.is_largest() } else { view.is_own(handle) };
        let state = item.header().state();
        if !mine || state & state::LINKED == 0 || state & state::SEGMENT == state::TEMP {
            return;
        }
        if !self.lru.remove(handle) {
            if chunked {
                self.s3fifo.remove_large(view, handle, state);
            }
            let before = item.change_state_by(|now| now & !state::SEGMENT | state::COLD);
            self.labels.counts.relabel(before & state::SEGMENT, state::COLD);
            self.s3fifo.uncount_ring_extra(view, &item, before);
        }
        self.push_lru(view, handle);
    }

    /// Appends a COLD item to the LRU list. Without memory for its links it joins the main part, where the search for
    /// items from segmented mode finds it.
    fn push_lru(&mut self, view: &ChunkView, handle: Handle) {
        if self.lru.push(handle, slots_of(view.arena, handle)) {
            return;
        }
        self.mixed = true;
        if view.header(handle).has(iflag::CHUNKED) {
            self.s3fifo.push_chain(handle);
        }
    }

    /// Returns the least recently used item of flat mode and moves it to the end of the list, in case it cannot be
    /// evicted now; freeing it removes it. Outside flat mode, an item read since it was queued joins the main part
    /// instead.
    fn oldest(&mut self, view: &ChunkView, flat: bool) -> Option<Handle> {
        for _ in 0..SEARCH {
            // Evicting an item on the draining page yields no memory; the page move handles it.
            let handle = self.lru.oldest_off_page(view.leaving_page(), DRAINING_STEPS)?;
            self.lru.remove(handle);
            let Some(mut item) = Item::at(view.arena.chunk(handle)) else { continue };
            if !item.header().is(state::LINKED) {
                self.push_lru(view, handle); // still being filled
            } else if flat || !item.header().is(state::FREQ) {
                self.push_lru(view, handle);
                return Some(handle);
            } else {
                let before = item.change_state_by(|now| now & !state::SEGMENT | state::WARM);
                self.labels.counts.relabel(before & state::SEGMENT, state::WARM);
                self.labels.moves.to_warm += 1;
                if item.header().has(iflag::CHUNKED) {
                    self.s3fifo.push_chain(handle);
                }
            }
        }
        None
    }

    /// Returns the next victim, and the part that it was in if it is to leave a ghost. It is still linked, but no
    /// longer in the ring. After a switch of the mode, items queued before it are evicted first.
    pub fn victim(
        &mut self,
        view: &ChunkView,
        stats: &ClassStats,
        mode: EvictionMode,
    ) -> Option<(Handle, Option<Part>)> {
        match mode {
            EvictionMode::Flat => {
                self.mixed &= self.evictable() > self.lru.len() as i64;
                let before = if self.mixed { self.victim_segmented(view, stats, None) } else { None };
                let victim = before.map(|(handle, _)| handle).or_else(|| self.oldest(view, true));
                victim.map(|handle| (handle, None))
            }
            EvictionMode::Segmented { hot_pct } => {
                let before = if self.lru.len() > 0 { self.oldest(view, false) } else { None };
                let victim = before.map(|handle| (handle, None));
                victim
                    .or_else(|| self.victim_segmented(view, stats, hot_pct).map(|(handle, part)| (handle, Some(part))))
            }
        }
    }

    fn victim_segmented(
        &mut self,
        view: &ChunkView,
        stats: &ClassStats,
        hot_pct: Option<u32>,
    ) -> Option<(Handle, Part)> {
        self.s3fifo.victim(view, &mut self.labels, &self.lru, stats, hot_pct)
    }

    /// Returns a victim in a maximum-size chunk, for an item that needs such a chunk:
    /// [`ClockHand::victim_of_max_size`].
    pub fn victim_of_max_size(&mut self, view: &ChunkView) -> Option<Handle> {
        self.max_size_hand.victim_of_max_size(view)
    }

    /// Finds a small dead item, by `is_dead`, in a chunk of at least `need` bytes, for when eviction is disabled.
    pub fn next_expired(&mut self, view: &ChunkView, need: usize, is_dead: impl Fn(&Item) -> bool) -> Option<Handle> {
        self.expired.next(view, need, is_dead)
    }

    /// Whether [`Queues::next_expired`] has found an item in its last round over `chunks` chunks.
    pub fn may_have_expired(&self, chunks: u64) -> bool {
        self.expired.may_find(chunks)
    }

    /// Notes that the mode was switched.
    pub fn note_mode(&mut self) {
        self.mixed = true;
    }

    /// Whether the LRU list of flat mode has items.
    pub fn has_lru_items(&self) -> bool {
        self.lru.len() > 0
    }

    /// Memory used by the queues, in bytes.
    pub fn bytes(&self) -> u64 {
        (self.s3fifo.bytes() + self.lru.bytes()) as u64
    }

    /// Number of items of the class.
    pub fn len(&self) -> u64 {
        self.labels.counts.len()
    }

    /// Number of items that are not TEMP.
    pub fn evictable(&self) -> i64 {
        self.len() as i64 - self.count_of(state::TEMP)
    }

    /// Number of items with this label: [`ItemCounts`].
    pub fn count_of(&self, label: u8) -> i64 {
        self.labels.counts.of(label)
    }

    /// Sum of the items' memcached_size, in bytes.
    pub fn requested(&self) -> i64 {
        self.labels.counts.requested()
    }

    /// Changes of labels since the last reset.
    pub fn moves(&self, stats: &ClassStats) -> Moves {
        let rewarmed = stats.rewarmed() - self.rewarmed_before;
        Moves { to_warm: self.labels.moves.to_warm + rewarmed, ..self.labels.moves }
    }

    /// Resets the counts of [`Queues::moves`].
    pub fn reset_moves(&mut self, stats: &ClassStats) {
        self.labels.moves = Moves::default();
        self.rewarmed_before = stats.rewarmed();
    }

    /// Returns the item that has been in its queue longest.
    pub fn longest_here(&self) -> Option<Handle> {
        self.s3fifo.front().or_else(|| self.lru.first())
    }

    /// The oldest entry of the ring.
    pub fn oldest_hot(&self) -> Option<Handle> {
        self.s3fifo.front()
    }

    /// Estimates the next victim with this label, from the queues and the slots before the hand.
    pub fn next_of(&self, view: &ChunkView, label: u8) -> Option<Handle> {
        let idle = if label == state::COLD { self.s3fifo.first_idle(view) } else { None };
        idle.or_else(|| {
            self.next_to_leave(view, HAND_STEPS).find(|&handle| {
                let header = view.header(handle);
                header.is(state::LINKED) && header.state() & state::SEGMENT == label
            })
        })
    }

    /// Returns some of the next victims: the oldest queued items and those in up to `slots` slots before the hand.
    pub fn next_to_leave(&self, view: &ChunkView, slots: usize) -> impl Iterator<Item = Handle> + use<'_> {
        let before_hand = self.s3fifo.ahead_of_hand(view, slots);
        self.s3fifo.front().into_iter().chain(self.lru.oldest().take(SEARCH / 8)).chain(before_hand)
    }

    /// Pops the oldest ring entry if it is `oldest`. Its item becomes COLD, in case it is not freed after all. Flat
    /// mode's list drops an item when it is freed.
    pub fn forget_oldest(&mut self, view: &ChunkView, oldest: Handle) {
        self.s3fifo.forget_oldest(view, &mut self.labels, oldest);
    }

    /// Drops up to `count` entries of freed items at the end of the ring.
    pub fn trim_ring(&mut self, view: &ChunkView, count: usize) {
        self.s3fifo.trim_ring(view, &mut self.labels, count);
    }

    /// While there is free memory, shortens a ring that is too long; returns whether more may remain to be done.
    pub fn tend(&mut self, view: &ChunkView, stats: &ClassStats, hot_pct: Option<u32>) -> bool {
        self.s3fifo.tend(view, &mut self.labels, stats, hot_pct)
    }

    /// Whether a small item chosen as victim is to be kept after all; it is then no longer in the ring. Not for large
    /// items: one that was kept would stay its queue's next victim.
    pub fn keeps(&mut self, hash: u64, part: Part) -> bool {
        let items = self.len();
        self.s3fifo.keeps(hash, part, items)
    }

    /// Memory used by the history, in bytes.
    pub fn history_bytes(&self) -> u64 {
        self.s3fifo.history_bytes()
    }

    /// The class's history, to be resized.
    pub fn history(&mut self) -> &mut History {
        self.s3fifo.history()
    }

    /// Keeps the hands in place although the first page of a kind leaves the class.
    pub fn lose_first_page(&mut self, kind: ChunkKind) {
        self.s3fifo.lose_first_page(kind);
        self.max_size_hand.lose_first_page(kind);
        self.expired.hand.lose_first_page(kind);
    }

    /// Positions of the ring, for [`Queues::forget_entries`].
    pub fn ring_span(&self) -> usize {
        self.s3fifo.span()
    }

    /// Blanks the ring's entries of a page: examines up to `count` positions, downwards from `from`, and returns the
    /// position for the next call, 0 at the end.
    pub fn forget_entries(&mut self, page: u32, from: usize, count: usize) -> usize {
        self.s3fifo.forget_entries(page, from, count)
    }

    /// Moves a HOT item to the main part after the ring has lost its entry.
    pub fn settle(&mut self, view: &ChunkView, handle: Handle) {
        self.s3fifo.leave_ring(view, &mut self.labels, handle);
    }

    /// Forgets a page that has left the class.
    pub fn forget_page(&mut self, page: u32) {
        self.lru.forget_page(page as usize);
    }

    /// Gives `to`, a copy of the item in `from`, the same place in the queues. `memcached_size` is the item's. `to`
    /// is filled, but for the label and the `RING` bit; the item of `from` is counted until it is delisted.
    pub fn enlist_copy(&mut self, view: &ChunkView, from: Handle, to: Handle, memcached_size: usize) {
        let Some(mut item) = Item::at(view.arena.chunk(to)) else { return };
        let label = view.header(from).state() & state::SEGMENT;
        // An entry that the chunk's former item left in the ring serves as a new one.
        let in_ring = item.header().is(state::RING);
        item.change_state(state::SEGMENT, label);
        self.labels.counts.add(label, memcached_size);
        if label == state::HOT && !in_ring {
            item.change_state(0, state::RING);
            self.s3fifo.push_hot(view, &mut self.labels, to);
        }
        self.take_place(view, from, to);
    }

    /// Replaces `from`, the chunk with a large item's header, by its copy `to` in the queues. `to` is filled, but for
    /// the label and, if it is a chunk of this class, the `RING` bit.
    pub fn rename_head(&mut self, view: &ChunkView, from: Handle, to: Handle) {
        let Some(mut item) = Item::at(view.arena.chunk(to)) else { return };
        debug_assert!(item.header().has(iflag::CHUNKED));
        let label = view.header(from).state() & state::SEGMENT;
        let own = view.is_own(to);
        let hot = label == state::HOT;
        let in_ring = own && item.header().is(state::RING);
        item.change_state(state::SEGMENT, label);
        if label == state::TEMP || self.take_place(view, from, to) {
            return;
        }
        if own && hot {
            unmark(view.arena, from);
            item.change_state(0, state::RING);
        }
        self.s3fifo.replace_head(view, &mut self.labels, (from, to), hot, in_ring);
    }

    /// Replaces `from` by `to` in flat mode's LRU list, if `from` is in it and there is memory for the links of `to`.
    /// Else `to` is one of the items that only the main part leads to.
    fn take_place(&mut self, view: &ChunkView, from: Handle, to: Handle) -> bool {
        if self.lru.len() == 0 || !self.lru.contains(from) {
            return false;
        }
        let replaced = self.lru.replace(from, to, slots_of(view.arena, to));
        self.mixed |= !replaced;
        replaced
    }

    #[cfg(test)]
    pub fn ring_len(&self) -> usize {
        self.s3fifo.ring_len()
    }

    #[cfg(test)]
    pub fn lru_len(&self) -> u64 {
        self.lru.len()
    }
}

/// Number of slots of the page that a chunk lies in.
fn slots_of(arena: &Arena, handle: Handle) -> usize {
    arena.slots(handle.page() as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Expiry;
    use crate::store::item::Meta;
    use crate::store::slab::{Chunks, SizeConfig, Sizes};

    /// `memcached_size` of the items of these tests.
    const SIZE: usize = 60;

    /// The parts of a class that eviction needs.
    struct Class {
        arena: Arena,
        chunks: Chunks,
        queues: Queues,
        stats: ClassStats,
    }

    impl Class {
        fn new() -> Self {
            let (arena, sizes) = (Arena::reserve(4 << 20, true, 0).unwrap(), Sizes::new(SizeConfig::default()));
            let mut chunks = Chunks::new(1, &sizes);
            assert!(chunks.reserve_page());
            chunks.receive(&arena, 1, None);
            Self { arena, chunks, queues: Queues::new(sizes.class(1).stride), stats: ClassStats::default() }
        }

        /// Stores an item.
        fn put(&mut self, label: u8) -> Handle {
            let chunk = self.chunks.take_present(&self.arena, 18).or_else(|| self.chunks.take_kept(&self.arena, 18));
            let handle = chunk.unwrap();
            let meta = Meta { klen: 1, vlen: 1, flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
            let mut item = Item::write(self.arena.chunk(handle), &meta, b"k", 0, 10);
            self.queues.enlist(&self.chunks.view(&self.arena), handle, &mut item, SIZE, true, label);
            item.change_state(0, state::LINKED);
            handle
        }

        /// Notes `count` reads of an item.
        fn read(&self, handle: Handle, count: u8) {
            let mut item = Item::at(self.arena.chunk(handle)).unwrap();
            item.change_state(0, state::FETCHED | count);
        }

        /// Unlinks and frees an item.
        fn free(&mut self, handle: Handle) {
            Item::at(self.arena.chunk(handle)).unwrap().change_state(state::LINKED, 0);
            self.queues.delist(&self.chunks.view(&self.arena), handle, SIZE, false);
            self.chunks.free(&self.arena, handle);
        }

        fn victim(&mut self) -> Option<(Handle, Option<Part>)> {
            let mode = EvictionMode::Segmented { hot_pct: None };
            self.queues.victim(&self.chunks.view(&self.arena), &self.stats, mode)
        }

        fn victim_flat(&mut self) -> Option<Handle> {
            let victim = self.queues.victim(&self.chunks.view(&self.arena), &self.stats, EvictionMode::Flat);
            victim.map(|(handle, _)| handle)
        }

        fn counts(&self) -> [i64; 4] {
            [state::HOT, state::WARM, state::COLD, state::TEMP].map(|label| self.queues.count_of(label))
        }
    }

    #[test]
    fn an_item_forgotten_by_the_ring_can_be_evicted() {
        let mut class = Class::new();
        let handle = class.put(state::HOT);
        class.queues.forget_oldest(&class.chunks.view(&class.arena), handle);
        assert_eq!(class.victim(), Some((handle, Some(Part::Main))));
        assert_eq!(class.counts(), [0, 0, 1, 0]);
    }

    #[test]
    fn an_unread_item_leaves_the_ring_and_a_read_one_joins_the_main_part() {
        let mut class = Class::new();
        let [unread, read, temp] = [state::HOT, state::HOT, state::TEMP].map(|label| class.put(label));
        class.read(read, 2);
        assert_eq!(class.victim(), Some((unread, Some(Part::Ring))));
        class.free(unread);
        assert_eq!((class.counts(), class.queues.requested()), ([1, 0, 0, 1], 2 * SIZE as i64));
        assert_eq!((class.victim(), class.counts()), (None, [0, 1, 0, 1]), "the only item of the ring was read");
        assert_eq!(class.victim(), Some((read, Some(Part::Main))), "the hand uses up its frequency");
        assert_eq!(class.counts(), [0, 0, 1, 1]);
        let moves = class.queues.moves(&class.stats);
        assert_eq!(moves, Moves { to_warm: 1, to_cold: 2, within_lru: 0 });
        class.free(read);
        assert_eq!(class.victim(), None, "TEMP items stay");
        class.free(temp);
        assert_eq!((class.queues.len(), class.queues.requested(), class.chunks.used()), (0, 0, 0));
    }

    #[test]
    fn a_flat_mode_victim_that_was_not_evicted_is_offered_again() {
        let mut class = Class::new();
        let handles = [(); 3].map(|()| class.put(state::COLD));
        for round in 0..3 {
            // Each victim's bucket is locked, so none is evicted.
            let victims = [(); 3].map(|()| class.victim_flat());
            assert_eq!(victims, handles.map(Some), "round {round}");
        }
    }

    #[test]
    fn items_of_both_modes_are_evicted_after_a_switch() {
        let mut class = Class::new();
        let before = [(); 2].map(|()| class.put(state::HOT));
        class.queues.note_mode();
        let after = [(); 2].map(|()| class.put(state::COLD));
        for expected in before.into_iter().chain(after) {
            assert_eq!(class.victim_flat(), Some(expected));
            class.free(expected);
        }
        let listed = [(); 2].map(|()| class.put(state::COLD));
        class.read(listed[0], 1);
        class.put(state::HOT);
        assert_eq!(class.victim(), Some((listed[1], None)), "the other one was read, so it joins the main part");
        class.free(listed[1]);
        assert_eq!(class.counts(), [1, 1, 0, 0]);
        assert_eq!(class.victim(), Some((listed[0], Some(Part::Main))));
    }

    #[test]
    fn a_copy_has_the_place_of_its_original() {
        let mut class = Class::new();
        let [first, second] = [(); 2].map(|()| class.put(state::COLD));
        let copy = class.chunks.take_present(&class.arena, 18).unwrap();
        let meta = Meta { klen: 1, vlen: 1, flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
        Item::write(class.arena.chunk(copy), &meta, b"k", 0, 10).change_state(0, state::LINKED);
        class.queues.enlist_copy(&class.chunks.view(&class.arena), first, copy, SIZE);
        class.free(first);
        assert_eq!([(); 2].map(|()| class.victim_flat()), [copy, second].map(Some));
        assert_eq!((class.counts(), class.queues.len()), ([0, 0, 2, 0], 2));
    }
}
