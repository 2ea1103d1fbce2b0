//! Who leaves when memory is short: S3-FIFO with ghosts, class by class, under the class's lock.
//!
//! New items stand in a FIFO ring (the HOT segment); at its end an item that was read moves to the main part, one
//! that was not leaves. The main part is a clock: a hand walks the slots of the class's pages, takes one from each
//! item's frequency and evicts at zero. Who is evicted leaves a ghost in its bucket; a key that comes back much sooner
//! than the hand does counts as read once already, so it will reach the main part.
//!
//! ```text
//! new --> ring (HOT) --read--> main (WARM --frequency used up--> COLD --read--> WARM) --hand--> out
//!              `--not read--> out, or to COLD while there is room
//! new, short TTL --> TEMP: leaves when its time is over, no sooner
//! ```
//! The ring's share adapts: a ghost that comes back right after it left the ring says that the ring is too short,
//! one that comes back right after it left the main part says the opposite. Where the operator gave a share, that
//! counts.
//!
//! In flat mode there is one queue instead, in the order of the last use (`age`). Its items are COLD.
//!
//! A ring entry outlives its item: the chunk's `RING` bit says that an entry exists, so a chunk has at most
//! one and the ring is never longer than the class. Main holds no links at all.
//!
//! A large item counts in the largest class, but its head lies in a chunk of a small one. It stands in the
//! largest class's ring while its label is HOT, in `chains` while it is WARM or COLD, and leaves them when it is
//! freed. The `RING` bit of its head belongs to the small class, whose ring may still have an entry of the chunk's
//! former item.
//!
//! Knows items only by their head; called by `slabs` and the store, who unlinks victims from the index. Where the
//! figures come from: docs/memory.md.

use super::class_stats::{ClassStats, Part};
use crate::store::item::Handle;
use crate::store::item::{Header, Item, iflag, state};
use crate::store::slab::Arena;
use crate::store::slab::ChunkKind;
use crate::store::slabs::Class;
use std::sync::atomic::Ordering::Relaxed;

/// Items looked at in one search for a victim before the least used one seen is taken.
pub(in crate::store) const SEARCH: usize = 64;

/// Entries that one round of tending takes out of a ring: some tens of microseconds.
const TEND: usize = 256;

/// Items that have left a ring unread while there was room, of which a class knows the order: 4 bytes each. The hand
/// finds the others.
const IDLE_MAX: usize = 1 << 16;

/// Slots the hand may pass in one search, free ones included: some 10 us. A request may need several searches.
pub(in crate::store) const HAND_STEPS: usize = 256;

/// How many slots before the hand the heads of chunks are loaded.
pub(in crate::store) const HAND_AHEAD: u32 = 8;

/// Entries of a queue that one search may pass because they stand on the page that leaves: some 10 us. In all of its
/// searches for a chunk a request must come past such a page, which has up to 32,768 slots.
const DRAINING_STEPS: usize = 1024;

/// Changes the state of what a chunk holds, in one step with the look at it, to what `change` makes of its head; gives the
/// head before. `None` if `change` gives none: nothing changes then. A thread with a magazine (`magazine`) may give the
/// chunk back, and use it anew, at any moment: what is counted under the class's lock must be what was changed.
pub(in crate::store) fn change_if(
    arena: &Arena,
    handle: Handle,
    change: impl Fn(Header) -> Option<u8>,
) -> Option<Header> {
    let word = arena.chunk(handle).first()?;
    let with = |old| change(Header(old)).map(|state| old & !(0xff << 16) | u32::from(state) << 16);
    word.fetch_update(Relaxed, Relaxed, with).ok().map(Header)
}

/// Says that no entry of the chunk is in its class's ring.
pub(in crate::store) fn unmark(arena: &Arena, handle: Handle) {
    change_if(arena, handle, |header| Some(header.state() & !state::RING));
}

/// Slots of the page that a chunk lies in.
pub(in crate::store) fn slots_of(arena: &Arena, handle: Handle) -> usize {
    arena.slots(handle.page() as u32) as usize
}

/// Large items in chunks, without the first one of each: those of the ring, and all.
#[derive(Clone, Copy, Default)]
pub(in crate::store) struct Extra {
    ring: i64,
    all: i64,
}

/// A label's place in `Class::items`.
pub(in crate::store) fn segment(label: u8) -> usize {
    usize::from((label & state::SEGMENT) >> 2)
}

impl Class {
    /// Counts a new item and puts it where those with `label` stand. `item` is written and not yet linked; `own`
    /// says that its chunk is of this class.
    pub fn enlist(
        &mut self,
        arena: &Arena,
        handle: Handle,
        item: &mut Item,
        memcached_size: usize,
        own: bool,
        label: u8,
    ) {
        self.items[segment(label)] += 1;
        self.requested += memcached_size as i64;
        self.weigh(item, label, 1);
        let entered = own && item.header().is(state::RING);
        if label != state::HOT {
            item.change_state(state::SEGMENT, label);
            if label == state::COLD {
                self.push_lru(arena, handle);
            }
        } else if !entered {
            if own {
                item.change_state(0, state::RING);
            }
            self.ring.push_back(handle);
        }
    }

    /// Counts an item out. Its chunk must be unlinked already.
    pub fn delist(&mut self, arena: &Arena, handle: Handle, memcached_size: usize, chunked: bool) {
        // Read anew: the label may have changed until this class was locked.
        let header = Header::of(arena.chunk(handle));
        debug_assert!(self.has_open_magazines() || self.len() > 0 && self.requested >= memcached_size as i64);
        self.items[segment(header.state())] -= 1;
        self.requested -= memcached_size as i64;
        if chunked && let Some(item) = Item::at(arena.chunk(handle)) {
            self.weigh(&item, header.state(), -1);
        }
        if !(self.lru.len() > 0 && self.lru.remove(handle)) && chunked {
            self.leave_lists(arena, handle, header.state());
        }
    }

    /// Takes in an item from before a restart; those that are queued must come oldest first. `own` says that its
    /// chunk is of this class, `flat` that there is one queue.
    pub fn adopt_item(
        &mut self,
        arena: &Arena,
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
        self.items[segment(label)] += 1;
        self.requested += memcached_size as i64;
        self.weigh(item, label, 1);
        if label == state::HOT {
            item.change_state(0, if own { state::RING } else { 0 });
            self.ring.push_back(handle);
        } else if flat && label == state::COLD {
            self.push_lru(arena, handle);
        } else if item.header().has(iflag::CHUNKED) && label != state::TEMP {
            self.chains.push_back(handle);
        }
    }

    /// Takes a large item out of the lists of its class. The head's chunk may come back in another class: no entry
    /// may stay behind.
    fn leave_lists(&mut self, arena: &Arena, handle: Handle, state: u8) {
        let hot = state & state::SEGMENT == state::HOT;
        let list = if hot { &mut self.ring } else { &mut self.chains };
        if let Some(at) = list.position(handle) {
            list.remove(at);
        }
        if hot && arena.class(handle) == self.id {
            unmark(arena, handle);
        }
    }

    /// Puts an item behind all others of flat mode.
    fn push_lru(&mut self, arena: &Arena, handle: Handle) {
        // Who frees an item by a magazine does not take it out of the queue.
        self.recall(arena);
        self.lru.push(handle, slots_of(arena, handle));
    }

    /// The same for one that is in use already, wherever it stands. By now the chunk may have another item, or none.
    pub(in crate::store) fn move_back(&mut self, arena: &Arena, handle: Handle) {
        // So that nobody frees the item meanwhile.
        self.recall(arena);
        let Some(mut item) = Item::at(arena.chunk(handle)) else { return };
        let chunked = item.header().has(iflag::CHUNKED);
        let mine = if chunked { self.is_largest } else { arena.class(handle) == self.id };
        let state = item.header().state();
        if !mine || state & state::LINKED == 0 || state & state::SEGMENT == state::TEMP {
            return;
        }
        if !self.lru.remove(handle) {
            if chunked {
                self.leave_lists(arena, handle, state);
            }
            let before = item.change_state_by(|now| now & !state::SEGMENT | state::COLD);
            self.relabel(before & state::SEGMENT, state::COLD);
            self.cool(&item, before);
        }
        self.push_lru(arena, handle);
    }

    /// The item of flat mode used longest ago. It goes behind all others, in case it cannot be evicted just now; freeing
    /// it takes it out of the list. In the other mode one that was read since joins the main part instead.
    fn oldest(&mut self, arena: &Arena, flat: bool) -> Option<Handle> {
        for _ in 0..SEARCH {
            // Evicting what stands on the page that leaves would give no memory, and the mover sees to it.
            let draining = self.draining.as_ref().map(|draining| draining.page as usize);
            let handle = self.lru.oldest_beside(draining, DRAINING_STEPS)?;
            self.lru.remove(handle);
            let Some(mut item) = Item::at(arena.chunk(handle)) else { continue };
            if !item.header().is(state::LINKED) {
                self.push_lru(arena, handle); // still being filled
            } else if flat || !item.header().is(state::FREQ) {
                self.push_lru(arena, handle);
                return Some(handle);
            } else {
                let before = item.change_state_by(|now| now & !state::SEGMENT | state::WARM);
                self.relabel(before & state::SEGMENT, state::WARM);
                self.counts.moves_to_warm += 1;
                if item.header().has(iflag::CHUNKED) {
                    self.chains.push_back(handle);
                }
            }
        }
        None
    }

    /// The item that should leave next in flat mode. Those from before it was switched on are the oldest.
    pub(in crate::store) fn victim_flat(&mut self, arena: &Arena, stats: &ClassStats) -> Option<Handle> {
        self.mixed &= self.evictable() > self.lru.len() as i64;
        let before = if self.mixed { self.victim_segmented(arena, stats, None) } else { None };
        before.map(|(handle, _)| handle).or_else(|| self.oldest(arena, true))
    }

    /// Bytes of the queues.
    pub fn queue_bytes(&self) -> u64 {
        let idle = self.idle.capacity() * size_of::<Handle>();
        (self.ring.bytes() + self.chains.bytes() + self.lru.bytes() + idle) as u64
    }

    /// Items of the class.
    pub fn len(&self) -> u64 {
        // What one label has too many another has too few: see `items`. What was stored by a magazine may be gone already.
        self.items.iter().sum::<i64>().max(0) as u64
    }

    /// Items that are not TEMP.
    pub fn evictable(&self) -> i64 {
        self.len() as i64 - self.items[segment(state::TEMP)]
    }

    /// Whether the ring has more of the class's chunks than it should.
    fn ring_is_long(&self, fixed: Option<u32>) -> bool {
        let share = fixed.map_or(self.hot_ratio.parts(), |percent| percent * 100);
        let all = self.len() as i64 + self.extra.all;
        self.ring.len() as i64 + self.extra.ring > (all * i64::from(share) / 10_000).max(1)
    }

    /// Counts what an item takes beyond a chunk, or counts it out (`sign` -1).
    fn weigh(&mut self, item: &Item, label: u8, sign: i64) {
        if item.header().has(iflag::CHUNKED) {
            self.extra.all += sign * self.chunks_beyond_one(item);
            if label & state::SEGMENT == state::HOT {
                self.extra.ring += sign * self.chunks_beyond_one(item);
            }
        }
    }

    /// The same where an item labelled `before` is HOT no longer.
    fn cool(&mut self, item: &Item, before: u8) {
        if item.header().has(iflag::CHUNKED) && before & state::SEGMENT == state::HOT {
            self.extra.ring -= self.chunks_beyond_one(item);
        }
    }

    fn chunks_beyond_one(&self, item: &Item) -> i64 {
        (item.vlen() / self.pool(ChunkKind::MaxSize).layout.stride) as i64
    }

    /// The item that should leave next. It is still linked, no longer in the ring. `hot_pct` is the ring's share
    /// where the operator fixed it.
    pub(in crate::store) fn victim(
        &mut self,
        arena: &Arena,
        stats: &ClassStats,
        hot_pct: Option<u32>,
    ) -> Option<(Handle, Option<Part>)> {
        if self.lru.len() > 0
            && let Some(handle) = self.oldest(arena, false)
        {
            return Some((handle, None));
        }
        self.victim_segmented(arena, stats, hot_pct).map(|(handle, part)| (handle, Some(part)))
    }

    fn victim_segmented(&mut self, arena: &Arena, stats: &ClassStats, hot_pct: Option<u32>) -> Option<(Handle, Part)> {
        stats.note_items(self.len());
        self.hot_ratio.adapt(stats);
        // Where the operator fixed the ring's share, it does not grow as those leave who have left it before.
        if hot_pct.is_some() && !self.idle.is_empty() && self.ring_is_long(hot_pct) {
            self.leave_unread(arena);
        }
        if let Some(handle) = self.passed_over(arena) {
            return Some((handle, Part::Ring));
        }
        if self.ring_is_long(hot_pct)
            && let Some(handle) = self.ring_tail(arena)
        {
            return Some((handle, Part::Ring));
        }
        let under_hand = self.clock(arena).map(|handle| (handle, Part::Main));
        self.period.measure(self.used(), stats, self.history.is_kept());
        under_hand.or_else(|| self.ring_tail(arena).map(|handle| (handle, Part::Ring)))
    }

    /// The item that has left the ring for longest of those that nobody had read or has read since: it is older than
    /// what the ring has.
    fn passed_over(&mut self, arena: &Arena) -> Option<Handle> {
        for _ in 0..SEARCH {
            let handle = self.idle.pop_front()?;
            if self.is_passed_over(arena, handle) {
                return Some(handle);
            }
        }
        None
    }

    /// Whether an entry still stands for such an item.
    fn is_passed_over(&self, arena: &Arena, handle: Handle) -> bool {
        let header = Header::of(arena.chunk(handle));
        let mine = if header.has(iflag::CHUNKED) { self.is_largest } else { arena.class(handle) == self.id };
        mine && header.klen() > 0 && header.is(state::LINKED) && header.is_unread_cold() && !self.is_draining(handle)
    }

    /// Pops the ring until an unread item comes, which is COLD now; read ones move to the main part.
    fn ring_tail(&mut self, arena: &Arena) -> Option<Handle> {
        let mut items = SEARCH.min(self.ring.len());
        for _ in 0..DRAINING_STEPS + SEARCH {
            if !self.is_draining(self.ring.front()?) {
                items = items.checked_sub(1)?;
            }
            let found = self.ring_step(arena);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The item that has been in its queue for longest.
    pub fn longest_here(&self) -> Option<Handle> {
        self.ring.front().or_else(|| self.lru.first())
    }

    /// Takes the oldest entry out of the ring, if it is this one; its item is COLD then, in case it stays after all.
    /// Flat mode's queue forgets an item when it is freed.
    pub fn forget_oldest(&mut self, arena: &Arena, oldest: Handle) {
        if self.ring.front() == Some(oldest) {
            self.ring.pop_front();
            self.leave_ring(arena, oldest);
        }
    }

    /// Makes the item of a chunk whose entry the ring has lost COLD, or the hand would pass it over for ever.
    pub(in crate::store) fn leave_ring(&mut self, arena: &Arena, handle: Handle) {
        let mark = self.mark_of(arena, handle);
        let before = change_if(arena, handle, |header| {
            let label = if self.is_of_ring(header) { state::COLD } else { header.state() & state::SEGMENT };
            Some(header.state() & !(mark | state::SEGMENT) | label)
        });
        if !before.is_some_and(|header| self.is_of_ring(header)) {
            return;
        }
        self.relabel(state::HOT, state::COLD);
        let Some(item) = Item::at(arena.chunk(handle)) else { return };
        self.cool(&item, state::HOT);
        if item.header().has(iflag::CHUNKED) {
            self.chains.push_front(handle);
        }
    }

    /// Whether a chunk holds an item that an entry of this class's ring stands for.
    fn is_of_ring(&self, header: Header) -> bool {
        let here = self.is_largest || !header.has(iflag::CHUNKED);
        header.klen() > 0 && here && header.state() & state::SEGMENT == state::HOT
    }

    /// The bit that says that a chunk has an entry, if it is one of this class.
    fn mark_of(&self, arena: &Arena, handle: Handle) -> u8 {
        if arena.class(handle) == self.id { state::RING } else { 0 }
    }

    /// Drops up to `count` entries at the end of the ring whose items are gone, so that the next item in such a chunk
    /// does not take over their place.
    pub fn trim_ring(&mut self, arena: &Arena, count: usize) {
        for _ in 0..count {
            match self.ring.front() {
                Some(handle) if Header::of(arena.chunk(handle)).klen() == 0 => {
                    self.ring.pop_front();
                    let mark = self.mark_of(arena, handle);
                    let left_over = |header| (!self.is_of_ring(header)).then_some(header.state() & !mark);
                    if change_if(arena, handle, left_over).is_none() {
                        self.ring.push_back(handle); // a new item by now, which relies on the entry
                    }
                }
                _ => return,
            }
        }
    }

    /// Takes one entry out of the ring; gives its item if that was not read.
    fn ring_step(&mut self, arena: &Arena) -> Option<Handle> {
        let handle = self.ring.pop_front()?;
        if self.is_draining(handle) {
            return None; // evicting what stands there would give no memory, and the mover sees to it
        }
        if let Some(next) = self.ring.front() {
            arena.prefetch(next);
        }
        let mark = self.mark_of(arena, handle);
        let Some(before) = change_if(arena, handle, |header| {
            let now = header.state();
            if !self.is_of_ring(header) {
                // A free chunk, one of a chain, a large item's head or an item of another queue: left over.
                return Some(now & !mark);
            }
            let freq = now & state::FREQ;
            let label = if freq > 0 { state::WARM } else { state::COLD };
            // One of the accesses has paid for the move.
            let moved = now & !(mark | state::FREQ | state::SEGMENT) | freq.saturating_sub(1) | label;
            header.is(state::LINKED).then_some(moved)
        }) else {
            self.ring.push_back(handle); // still being filled
            return None;
        };
        if !self.is_of_ring(before) {
            return None;
        }
        let read = before.is(state::FREQ);
        self.relabel(state::HOT, if read { state::WARM } else { state::COLD });
        if read {
            self.counts.moves_to_warm += 1;
        } else {
            self.counts.moves_to_cold += 1;
        }
        if before.has(iflag::CHUNKED)
            && let Some(item) = Item::at(arena.chunk(handle))
        {
            self.cool(&item, state::HOT);
            if read { self.chains.push_back(handle) } else { self.chains.push_front(handle) }
        }
        (!read).then_some(handle)
    }

    /// While there is room, takes items that have been in the ring for long enough out of it, some of them; true if
    /// there may be more. Where evictions happen they see to a ring that adapts: who was not read must leave then, or
    /// the main part would fill up with such items whenever the share falls.
    pub(in crate::store) fn tend(&mut self, arena: &Arena, stats: &ClassStats, hot_pct: Option<u32>) -> bool {
        let evicted = stats.evicted();
        if std::mem::replace(&mut self.tended_at, evicted) != evicted && hot_pct.is_none() {
            return false;
        }
        let entries = self.ring.len();
        for _ in 0..TEND.min(entries) {
            if !self.ring_is_long(hot_pct) {
                return false;
            }
            self.leave_unread(arena);
        }
        // Entries of values that still arrive stay in the ring: only their arrival brings it on.
        self.ring.len() < entries
    }

    /// Takes one entry out of the ring. Who was not read is COLD now and stays, behind those who have waited for longer.
    fn leave_unread(&mut self, arena: &Arena) {
        let Some(handle) = self.ring_step(arena) else { return };
        if self.idle.len() < IDLE_MAX {
            self.idle.push_back(handle);
        }
        if self.chains.front() == Some(handle) {
            self.chains.pop_front();
            self.chains.push_back(handle);
        }
    }

    /// The item of a label that will leave next, as far as the queues and a look at what is before the hand tell.
    pub(in crate::store) fn next_of(&self, arena: &Arena, label: u8) -> Option<Handle> {
        let mut passed_over = self.idle.iter().copied().take(SEARCH);
        let first = passed_over.find(|&handle| label == state::COLD && self.is_passed_over(arena, handle));
        first.or_else(|| {
            self.next_to_leave(HAND_STEPS).find(|&handle| {
                let header = Header::of(arena.chunk(handle));
                header.is(state::LINKED) && header.state() & state::SEGMENT == label
            })
        })
    }

    /// Some of the items that will leave next: the oldest ones and those on so many slots before the hand.
    pub(in crate::store) fn next_to_leave(&self, slots: usize) -> impl Iterator<Item = Handle> + '_ {
        let (pool, slot) = (&self.pools[self.hand.pool], self.hand.slot);
        let page = pool.pages.get(self.hand.page).map(|page| page.number);
        let slots = slot..pool.layout.per_page.min(slot + slots as u32);
        let before_hand = page.into_iter().flat_map(move |page| slots.clone().map(move |slot| Handle::new(page, slot)));
        self.ring.front().into_iter().chain(self.lru.oldest().take(SEARCH / 8)).chain(before_hand)
    }

    fn relabel(&mut self, from: u8, to: u8) {
        self.items[segment(from)] -= 1;
        self.items[segment(to)] += 1;
    }

    /// Walks the hand until an item without frequency comes, taking one from each it passes.
    fn clock(&mut self, arena: &Arena) -> Option<Handle> {
        let mut least: Option<(u8, Handle)> = None;
        let mut seen = 0;
        for step in 0..HAND_STEPS {
            // Both come round in the same time; what a vain search has left goes to the chains.
            let used = self.used();
            self.chain_turn += self.chains.len() as u64;
            let turn = self.chain_turn >= used || !self.has_pages() || seen == 0 && step + SEARCH >= HAND_STEPS;
            let from_chains = turn && self.chains.len() > 0;
            if turn {
                self.chain_turn = self.chain_turn.saturating_sub(used);
            }
            let handle = if from_chains { self.chains.pop_front()? } else { self.hand_next()? };
            self.period.pass();
            if from_chains {
                self.chains.push_back(handle);
            } else {
                arena.prefetch_head(handle, HAND_AHEAD);
            }
            let header = Header::of(arena.chunk(handle));
            let label = header.state() & state::SEGMENT;
            let mine = from_chains || !header.has(iflag::CHUNKED) && matches!(label, state::WARM | state::COLD);
            // Not linked: deleted, and its reader is not done yet.
            if header.klen() == 0 || !header.is(state::LINKED) || !mine {
                continue;
            }
            if self.lru.len() > 0 && self.lru.contains(handle) {
                continue;
            }
            let freq = header.state() & state::FREQ;
            if freq == 0 {
                return Some(handle);
            }
            self.second_chance(arena, handle);
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

    /// Takes one from the frequency; who has used it up is COLD. A hit may change both at the same time.
    fn second_chance(&mut self, arena: &Arena, handle: Handle) {
        let chance = |now: u8| {
            let freq = (now & state::FREQ).saturating_sub(1);
            let label = if freq == 0 { state::COLD } else { now & state::SEGMENT };
            now & !(state::FREQ | state::SEGMENT) | freq | label
        };
        let of_main = |header: Header| {
            let label = header.state() & state::SEGMENT;
            header.klen() > 0 && header.is(state::LINKED) && matches!(label, state::WARM | state::COLD)
        };
        let before = change_if(arena, handle, |header| of_main(header).then(|| chance(header.state())));
        let Some(before) = before.map(Header::state) else { return };
        let after = chance(before);
        if (before ^ after) & state::SEGMENT == 0 {
            self.counts.moves_within_lru += 1;
        } else {
            self.relabel(before, after);
            self.counts.moves_to_cold += 1;
        }
    }

    fn has_pages(&self) -> bool {
        self.pools.iter().any(|pool| !pool.pages.is_empty())
    }

    /// The chunk under the hand; the hand moves on.
    fn hand_next(&mut self) -> Option<Handle> {
        self.hand.next(&self.pools)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::item::Meta;
    use crate::store::slab::{SizeConfig, Sizes};
    use crate::store::slabs::{Slabs, Take};

    fn slabs(arena: &Arena) -> Slabs {
        let config = SizeConfig {
            chunk_size: 48,
            growth_factor: 1.25,
            chunk_max: 512 << 10,
            item_size_max: 1 << 20,
            slab_sizes: Vec::new(),
            use_cas: true,
        };
        Slabs::new(&Sizes::new(config), arena.pages(), 64 << 20, 0, true)
    }

    /// An item in a new chunk of class 1.
    fn put(slabs: &Slabs, arena: &Arena, label: u8) -> Handle {
        let mut class = slabs.class(1);
        let handle = loop {
            match slabs.take(&mut class, arena, 18, 0) {
                Take::Untouched(page) => slabs.touched(page),
                Take::Chunk(handle) => break handle,
                _ => panic!("a chunk of a class that is empty"),
            }
        };
        let meta = Meta { klen: 1, vlen: 1, flags: 0, exptime: 0, iflags: 0, cas: 0 };
        let mut item = Item::write(arena.chunk(handle), &meta, b"k", 0, 10);
        class.enlist(arena, handle, &mut item, 60, true, label);
        item.change_state(0, state::LINKED);
        handle
    }

    #[test]
    fn whom_the_ring_forgets_can_still_be_evicted() {
        let arena = Arena::reserve(64 << 20, true, 0).unwrap();
        let slabs = slabs(&arena);
        let handle = put(&slabs, &arena, state::HOT);
        let mut class = slabs.class(1);
        class.forget_oldest(&arena, handle);
        let victim = class.victim(&arena, slabs.stats(1), None);
        assert_eq!(victim, Some((handle, Some(Part::Main))));
        assert_eq!(class.items[segment(state::COLD)], 1);
    }

    #[test]
    fn who_could_not_be_evicted_from_the_queue_of_flat_mode_has_another_turn() {
        let arena = Arena::reserve(64 << 20, true, 0).unwrap();
        let slabs = slabs(&arena);
        let handles = [(); 3].map(|()| put(&slabs, &arena, state::COLD));
        let mut class = slabs.class(1);
        for round in 0..3 {
            // Somebody holds their buckets each time.
            let victims = [(); 3].map(|()| class.victim_flat(&arena, slabs.stats(1)));
            assert_eq!(victims, handles.map(Some), "round {round}");
        }
    }
}
