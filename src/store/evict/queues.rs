//! Eviction queues of a slab class: S3-FIFO with ghosts, under the class lock.
//!
//! New items enter a FIFO ring (the HOT segment). An item that reaches the end of the ring moves to the main part if
//! it was read, and is evicted if not. The main part is a clock: a hand walks the slots of the class's pages, takes
//! one from each item's frequency and evicts at zero. An evicted item leaves a ghost in its bucket; a key that returns
//! within a part of the clock period, the hand's round, counts as read once already, so it will reach the main part.
//!
//! ```text
//! new --> ring (HOT) --read--> main (WARM --frequency used up--> COLD --read--> WARM) --hand--> evicted
//!              `--not read--> evicted, or to COLD while there is free memory
//! new, short TTL --> TEMP: freed when it expires, no sooner
//! ```
//! The ring's share adapts: a ghost that returns right after it left the ring shows that the ring is too short, one
//! that returns right after it left the main part shows the opposite. A share set by the operator takes precedence.
//!
//! Flat mode has one queue instead, in the order of the last use (`lru_list`). Its items are COLD.
//!
//! A ring entry outlives its item. The chunk's `RING` bit marks that an entry exists, so a chunk has at most one and
//! the ring is never longer than the class. The main part holds no links at all.
//!
//! A large item counts in the largest class, but its head lies in a chunk of a small one. It is in the largest
//! class's ring while its label is HOT and in `chains` while it is WARM or COLD, and is removed from them when it is
//! freed. The `RING` bit of its head belongs to the small class. Its ring may still hold an entry of the chunk's
//! former item.
//!
//! Knows items only by their head. Called by `slabs` and the store, which unlinks victims from the index. Source of
//! the figures: docs/research/eviction.md.

use super::class_stats::{ClassStats, Part};
use crate::store::item::{Handle, Header, Item, iflag, state};
use crate::store::slab::{Arena, ChunkKind, WholeClass};
use crate::store::slabs::Class;
use std::sync::atomic::Ordering::Relaxed;

/// Items examined in one search for a victim before the least frequently used one seen is taken.
pub(in crate::store) const SEARCH: usize = 64;

/// Maximum ring entries that one call of `tend` takes out: some tens of microseconds.
const TEND: usize = 256;

/// Maximum length of a class's queue of idle items, which left the ring unread while there was free memory: 4 bytes
/// each. The clock hand finds the others.
const IDLE_MAX: usize = 1 << 16;

/// Maximum slots that the hand passes in one search, free ones included: some 10 us. A request may need several
/// searches.
pub(in crate::store) const HAND_STEPS: usize = 256;

/// Distance in slots at which chunk heads are prefetched before the hand.
pub(in crate::store) const HAND_AHEAD: u32 = 8;

/// Maximum queue entries on the draining page that one search skips: some 10 us. The searches of one request together
/// must get past such a page, which has up to 32,768 slots.
const DRAINING_STEPS: usize = 1024;

/// Atomically replaces the state of a chunk's head by what `change` computes from the head; returns the previous
/// head. `None`, and no change, if `change` returns `None`. A thread with a magazine may free and reuse the chunk at
/// any moment, so counts kept under the class lock must be based on the head that was replaced.
pub(in crate::store) fn change_if(
    arena: &Arena,
    handle: Handle,
    change: impl Fn(Header) -> Option<u8>,
) -> Option<Header> {
    let word = arena.chunk(handle).first()?;
    let with = |old| change(Header(old)).map(|state| old & !(0xff << 16) | u32::from(state) << 16);
    word.fetch_update(Relaxed, Relaxed, with).ok().map(Header)
}

/// Clears the chunk's `RING` bit: its class's ring has no entry of it.
pub(in crate::store) fn unmark(arena: &Arena, handle: Handle) {
    change_if(arena, handle, |header| Some(header.state() & !state::RING));
}

/// Number of slots of the page that a chunk lies in.
pub(in crate::store) fn slots_of(arena: &Arena, handle: Handle) -> usize {
    arena.slots(handle.page() as u32) as usize
}

/// Chunks of large items beyond the first one of each item: those of items in the ring, and all.
#[derive(Clone, Copy, Default)]
pub(in crate::store) struct Extra {
    ring: i64,
    all: i64,
}

/// Index of a label in `Class::items`.
pub(in crate::store) fn segment(label: u8) -> usize {
    usize::from((label & state::SEGMENT) >> 2)
}

impl Class {
    /// Counts a new item and queues it by `label`. `item` is written and not yet linked; `own` is set if its chunk is
    /// of this class.
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
        self.count_extra(item, label, 1);
        let entered = own && item.header().is(state::RING);
        if label != state::HOT {
            item.change_state(state::SEGMENT, label);
            if label == state::COLD {
                self.whole(arena).push_lru(arena, handle);
            }
        } else if !entered {
            if own {
                item.change_state(0, state::RING);
            }
            self.ring.push_back(handle);
        }
    }

    /// Subtracts an item from the counts and removes it from the queues. It must be unlinked already.
    pub fn delist(&mut self, arena: &Arena, handle: Handle, memcached_size: usize, chunked: bool) {
        // Re-read: the label may have changed before the class was locked.
        let header = Header::of(arena.chunk(handle));
        debug_assert!(self.has_open_magazines() || self.len() > 0 && self.requested >= memcached_size as i64);
        self.items[segment(header.state())] -= 1;
        self.requested -= memcached_size as i64;
        if chunked && let Some(item) = Item::at(arena.chunk(handle)) {
            self.count_extra(&item, header.state(), -1);
        }
        if !(self.lru.len() > 0 && self.lru.remove(handle)) && chunked {
            self.remove_from_queues(arena, handle, header.state());
        }
    }

    /// Counts and queues an item found by recovery. Queued items must come oldest first. `own` is set if the chunk is
    /// of this class, `flat` in flat mode.
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
        self.count_extra(item, label, 1);
        if label == state::HOT {
            item.change_state(0, if own { state::RING } else { 0 });
            self.ring.push_back(handle);
        } else if flat && label == state::COLD {
            self.whole(arena).push_lru(arena, handle);
        } else if item.header().has(iflag::CHUNKED) && label != state::TEMP {
            self.chains.push_back(handle);
        }
    }

    /// Removes a large item from the queues of its class. The head's chunk may be reused in another class, so no
    /// entry may remain.
    fn remove_from_queues(&mut self, arena: &Arena, handle: Handle, state: u8) {
        let hot = state & state::SEGMENT == state::HOT;
        let list = if hot { &mut self.ring } else { &mut self.chains };
        if let Some(at) = list.position(handle) {
            list.remove(at);
        }
        if hot && arena.class(handle) == self.id {
            unmark(arena, handle);
        }
    }

    /// Returns the least recently used item of flat mode and moves it to the end of the list, in case it cannot be
    /// evicted now; freeing it removes it. Outside flat mode, an item read since it was queued joins the main part
    /// instead.
    fn oldest(&mut self, arena: &Arena, flat: bool) -> Option<Handle> {
        for _ in 0..SEARCH {
            // Evicting an item on the draining page yields no memory; the page move handles it.
            let draining = self.draining.as_ref().map(|draining| draining.page as usize);
            let handle = self.lru.oldest_off_page(draining, DRAINING_STEPS)?;
            self.lru.remove(handle);
            let Some(mut item) = Item::at(arena.chunk(handle)) else { continue };
            if !item.header().is(state::LINKED) {
                self.whole(arena).push_lru(arena, handle); // still being filled
            } else if flat || !item.header().is(state::FREQ) {
                self.whole(arena).push_lru(arena, handle);
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

    /// Returns the next victim in flat mode. Items queued before flat mode was enabled are evicted first.
    pub(in crate::store) fn victim_flat(&mut self, arena: &Arena, stats: &ClassStats) -> Option<Handle> {
        self.mixed &= self.evictable() > self.lru.len() as i64;
        let before = if self.mixed { self.victim_segmented(arena, stats, None) } else { None };
        before.map(|(handle, _)| handle).or_else(|| self.oldest(arena, true))
    }

    /// Memory used by the queues, in bytes.
    pub fn queue_bytes(&self) -> u64 {
        let idle = self.idle.capacity() * size_of::<Handle>();
        (self.ring.bytes() + self.chains.bytes() + self.lru.bytes() + idle) as u64
    }

    /// Number of items of the class.
    pub fn len(&self) -> u64 {
        // Errors of single labels cancel out: see `items`. An item stored through a magazine may be freed already.
        self.items.iter().sum::<i64>().max(0) as u64
    }

    /// Number of items that are not TEMP.
    pub fn evictable(&self) -> i64 {
        self.len() as i64 - self.items[segment(state::TEMP)]
    }

    /// Whether the ring holds more than its share of the class's chunks.
    fn ring_is_long(&self, fixed: Option<u32>) -> bool {
        let share = fixed.map_or(self.hot_ratio.parts(), |percent| percent * 100);
        let all = self.len() as i64 + self.extra.all;
        self.ring.len() as i64 + self.extra.ring > (all * i64::from(share) / 10_000).max(1)
    }

    /// Adds (`sign` 1) or subtracts (`sign` -1) a large item's chunks beyond the first.
    fn count_extra(&mut self, item: &Item, label: u8, sign: i64) {
        if item.header().has(iflag::CHUNKED) {
            self.extra.all += sign * self.chunks_beyond_one(item);
            if label & state::SEGMENT == state::HOT {
                self.extra.ring += sign * self.chunks_beyond_one(item);
            }
        }
    }

    /// Subtracts a large item's extra chunks from those of the ring if its label `before` was HOT.
    fn uncount_ring_extra(&mut self, item: &Item, before: u8) {
        if item.header().has(iflag::CHUNKED) && before & state::SEGMENT == state::HOT {
            self.extra.ring -= self.chunks_beyond_one(item);
        }
    }

    fn chunks_beyond_one(&self, item: &Item) -> i64 {
        (item.vlen() / self.pool(ChunkKind::MaxSize).layout.stride) as i64
    }

    /// Returns the next victim. It is still linked, but no longer in the ring. `hot_pct` is the ring's share if the
    /// operator fixed it.
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
        // A ring of fixed share must not grow while idle items, which left it earlier, are evicted.
        if hot_pct.is_some() && !self.idle.is_empty() && self.ring_is_long(hot_pct) {
            self.demote_one(arena);
        }
        if let Some(handle) = self.pop_idle(arena) {
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

    /// Pops the idle item that left the ring longest ago and is still unread. It is older than every item in the
    /// ring.
    fn pop_idle(&mut self, arena: &Arena) -> Option<Handle> {
        for _ in 0..SEARCH {
            let handle = self.idle.pop_front()?;
            if self.is_unread_idle(arena, handle) {
                return Some(handle);
            }
        }
        None
    }

    /// Whether an entry of `idle` still refers to an unread item.
    fn is_unread_idle(&self, arena: &Arena, handle: Handle) -> bool {
        let header = Header::of(arena.chunk(handle));
        let mine = if header.has(iflag::CHUNKED) { self.is_largest } else { arena.class(handle) == self.id };
        mine && header.klen() > 0 && header.is(state::LINKED) && header.is_unread_cold() && !self.is_draining(handle)
    }

    /// Pops the ring until an unread item comes, which becomes COLD; read items move to the main part.
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

    /// Returns the item that has been in its queue longest.
    pub fn longest_here(&self) -> Option<Handle> {
        self.ring.front().or_else(|| self.lru.first())
    }

    /// Pops the oldest ring entry if it is `oldest`. Its item becomes COLD, in case it is not freed after all. Flat
    /// mode's list drops an item when it is freed.
    pub fn forget_oldest(&mut self, arena: &Arena, oldest: Handle) {
        if self.ring.front() == Some(oldest) {
            self.ring.pop_front();
            self.leave_ring(arena, oldest);
        }
    }

    /// Makes a HOT item COLD after its ring entry was lost; otherwise the hand would always skip it.
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
        self.uncount_ring_extra(&item, state::HOT);
        if item.header().has(iflag::CHUNKED) {
            self.chains.push_front(handle);
        }
    }

    /// Whether a chunk holds an item that this class's ring has an entry for.
    fn is_of_ring(&self, header: Header) -> bool {
        let here = self.is_largest || !header.has(iflag::CHUNKED);
        header.klen() > 0 && here && header.state() & state::SEGMENT == state::HOT
    }

    /// The `RING` bit if the chunk is of this class, else 0.
    fn mark_of(&self, arena: &Arena, handle: Handle) -> u8 {
        if arena.class(handle) == self.id { state::RING } else { 0 }
    }

    /// Drops up to `count` entries of freed items at the end of the ring, so that the next items in their chunks do
    /// not inherit their place.
    pub fn trim_ring(&mut self, arena: &Arena, count: usize) {
        for _ in 0..count {
            match self.ring.front() {
                Some(handle) if Header::of(arena.chunk(handle)).klen() == 0 => {
                    self.ring.pop_front();
                    let mark = self.mark_of(arena, handle);
                    let left_over = |header| (!self.is_of_ring(header)).then_some(header.state() & !mark);
                    if change_if(arena, handle, left_over).is_none() {
                        self.ring.push_back(handle); // reused: the new item relies on the entry
                    }
                }
                _ => return,
            }
        }
    }

    /// Pops one ring entry; returns its item if that was not read.
    fn ring_step(&mut self, arena: &Arena) -> Option<Handle> {
        let handle = self.ring.pop_front()?;
        if self.is_draining(handle) {
            return None; // evicting it yields no memory; the page move handles it
        }
        if let Some(next) = self.ring.front() {
            arena.prefetch(next);
        }
        let mark = self.mark_of(arena, handle);
        let Some(before) = change_if(arena, handle, |header| {
            let now = header.state();
            if !self.is_of_ring(header) {
                // A stale entry: a free chunk, one of a chain, a large item's head or an item of another queue.
                return Some(now & !mark);
            }
            let freq = now & state::FREQ;
            let label = if freq > 0 { state::WARM } else { state::COLD };
            // One access pays for the move.
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
            self.uncount_ring_extra(&item, state::HOT);
            if read { self.chains.push_back(handle) } else { self.chains.push_front(handle) }
        }
        (!read).then_some(handle)
    }

    /// While there is free memory, takes items out of a ring that is too long, up to a bounded number of entries;
    /// returns whether more may remain. Does nothing if the class has evicted since the last call and the share
    /// adapts: evictions shorten the ring then, and must evict unread items, or the main part would fill with them
    /// whenever the share falls.
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
            self.demote_one(arena);
        }
        // Entries of items still being filled stay in the ring until the upload ends.
        self.ring.len() < entries
    }

    /// Pops one ring entry. An unread item becomes COLD and is queued behind older idle items.
    fn demote_one(&mut self, arena: &Arena) {
        let Some(handle) = self.ring_step(arena) else { return };
        if self.idle.len() < IDLE_MAX {
            self.idle.push_back(handle);
        }
        if self.chains.front() == Some(handle) {
            self.chains.pop_front();
            self.chains.push_back(handle);
        }
    }

    /// Estimates the next victim with this label, from the queues and the slots before the hand.
    pub(in crate::store) fn next_of(&self, arena: &Arena, label: u8) -> Option<Handle> {
        let mut idle = self.idle.iter().copied().take(SEARCH);
        let first = idle.find(|&handle| label == state::COLD && self.is_unread_idle(arena, handle));
        first.or_else(|| {
            self.next_to_leave(HAND_STEPS).find(|&handle| {
                let header = Header::of(arena.chunk(handle));
                header.is(state::LINKED) && header.state() & state::SEGMENT == label
            })
        })
    }

    /// Returns some of the next victims: the oldest queued items and those in up to `slots` slots before the hand.
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

    /// Advances the hand to an item of frequency 0, taking one from the frequency of each item it passes.
    fn clock(&mut self, arena: &Arena) -> Option<Handle> {
        let mut least: Option<(u8, Handle)> = None;
        let mut seen = 0;
        for step in 0..HAND_STEPS {
            // Pages and chains have the same clock period. If no item was seen, the last steps go to the chains.
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
            // Not linked: deleted, but still pinned by a reader.
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

    /// Takes one from the frequency; an item that reaches 0 becomes COLD. A hit may change both at the same time.
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

    /// Returns the chunk under the hand and advances the hand.
    fn hand_next(&mut self) -> Option<Handle> {
        self.hand.next(&self.pools)
    }
}

impl WholeClass<'_> {
    /// Appends an item to the LRU list of flat mode. A free through a magazine would not remove it from the list.
    fn push_lru(&mut self, arena: &Arena, handle: Handle) {
        self.lru.push(handle, slots_of(arena, handle));
    }

    /// Moves an item in use from any queue to the end of the LRU list. The chunk may hold another item by
    /// now, or none; no thread frees it through a magazine meanwhile.
    pub(in crate::store) fn move_back(&mut self, arena: &Arena, handle: Handle) {
        let Some(mut item) = Item::at(arena.chunk(handle)) else { return };
        let chunked = item.header().has(iflag::CHUNKED);
        let mine = if chunked { self.is_largest } else { arena.class(handle) == self.id };
        let state = item.header().state();
        if !mine || state & state::LINKED == 0 || state & state::SEGMENT == state::TEMP {
            return;
        }
        if !self.lru.remove(handle) {
            if chunked {
                self.remove_from_queues(arena, handle, state);
            }
            let before = item.change_state_by(|now| now & !state::SEGMENT | state::COLD);
            self.relabel(before & state::SEGMENT, state::COLD);
            self.uncount_ring_extra(&item, before);
        }
        self.push_lru(arena, handle);
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
        Slabs::new(&Sizes::new(config), arena.numbers(), 64 << 20, 0, true)
    }

    /// An item in a new chunk of class 1.
    fn put(slabs: &Slabs, arena: &Arena, label: u8) -> Handle {
        let mut class = slabs.class(1);
        let handle = loop {
            match slabs.take(&mut class, arena, 18, 0) {
                Take::Untouched(page) => slabs.pages.touched(page),
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
    fn an_item_forgotten_by_the_ring_can_be_evicted() {
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
    fn a_flat_mode_victim_that_was_not_evicted_is_offered_again() {
        let arena = Arena::reserve(64 << 20, true, 0).unwrap();
        let slabs = slabs(&arena);
        let handles = [(); 3].map(|()| put(&slabs, &arena, state::COLD));
        let mut class = slabs.class(1);
        for round in 0..3 {
            // Each victim's bucket is locked, so none is evicted.
            let victims = [(); 3].map(|()| class.victim_flat(&arena, slabs.stats(1)));
            assert_eq!(victims, handles.map(Some), "round {round}");
        }
    }
}
