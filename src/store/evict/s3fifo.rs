//! S3-FIFO with ghosts: the queues of segmented mode.
//!
//! New items enter a FIFO ring (the HOT segment). An item that reaches the end of the ring moves to the main part if it
//! was read, and is evicted if not. The main part is a clock: a hand walks the slots of the class's pages, subtracts
//! one from each item's frequency and evicts at zero. One round of the hand is a clock period. An evicted item leaves a
//! ghost in its bucket; a key that returns within a part of the clock period counts as read once, so it will reach the
//! main part.
//!
//! ```text
//! new --> ring (HOT) --read--> main (WARM --frequency used up--> COLD --read--> WARM) --hand--> evicted
//!              `--not read--> evicted, or to COLD while there is free memory
//! new, short TTL --> TEMP: freed when it expires, no sooner
//! ```
//! The ring's share adapts: a ghost that returns right after it left the ring shows that the ring is too short, one
//! that returns right after it left the main part shows the opposite. A share set by the operator takes precedence.
//!
//! A ring entry outlives its item. The chunk's `RING` bit marks that an entry exists, so a chunk has at most one and
//! the ring is never longer than the class. The main part holds no links at all.
//!
//! A large item counts in the largest class, but its head (header and key) lies in a chunk of a smaller one. It is in
//! the largest class's ring while its label is HOT and in `chains` while it is WARM or COLD, and is removed from them
//! when it is freed. The `RING` bit of the head's chunk belongs to the smaller class, whose ring may still hold an
//! entry of the chunk's former item.
//!
//! Owns these queues, the hand, the share and the history; the labels and the list of flat mode are passed in by
//! `queues`. Source of the figures: docs/research/eviction.md.

use super::class_stats::{ClassStats, ClockPeriod, HotRatio, Part};
use super::clock_hand::ClockHand;
use super::history::History;
use super::labels::{Labels, change_if, unmark};
use super::lru_list::LruList;
use super::ring::Ring;
use super::{DRAINING_STEPS, HAND_AHEAD, HAND_STEPS, SEARCH};
use crate::store::item::{Handle, Header, Item, iflag, state};
use crate::store::slab::{ChunkKind, ChunkView};
use std::collections::VecDeque;

/// Maximum ring entries that one call of `tend` takes out: some tens of microseconds.
const TEND: usize = 256;

/// Maximum length of a class's queue of idle items: they left the ring unread while there was free memory. 8 bytes
/// each. The clock hand finds those that do not fit, or for which there is no memory.
const IDLE_MAX: usize = 1 << 16;

/// Chunks of large items beyond the first one of each item: those of items in the ring, and all.
#[derive(Clone, Copy, Default)]
struct Extra {
    ring: i64,
    all: i64,
}

/// The ring and the main part of a class.
#[derive(Default)]
pub(super) struct S3Fifo {
    ring: Ring,
    /// Chunked items of the main part: their heads are in pages of other classes, where no clock hand of this class
    /// finds them.
    chains: Ring,
    extra: Extra,
    hand: ClockHand,
    /// Accumulates `chains.len()` per step of the hand; once it reaches the chunks in use, a chunked item is examined
    /// instead of the chunk under the hand.
    chain_turn: u64,
    /// Handles of items that left the ring unread while there was room, oldest first. The chunk may hold another item
    /// by now.
    idle: VecDeque<Handle>,
    /// Evictions when the class was last tended.
    tended_at: u64,
    hot_ratio: HotRatio,
    period: ClockPeriod,
    history: History,
}

fn chunks_beyond_one(view: &ChunkView, item: &Item) -> i64 {
    (item.vlen() / view.chunks.pool(ChunkKind::MaxSize).layout().stride) as i64
}

/// Whether a chunk holds an item that the class's ring has an entry for.
fn is_of_ring(view: &ChunkView, header: Header) -> bool {
    let here = view.chunks.is_largest() || !header.has(iflag::CHUNKED);
    header.klen() > 0 && here && header.state() & state::SEGMENT == state::HOT
}

/// The `RING` bit if the chunk is of this class, else 0.
fn mark_of(view: &ChunkView, handle: Handle) -> u8 {
    if view.is_own(handle) { state::RING } else { 0 }
}

/// Takes one from the frequency; an item that reaches 0 becomes COLD. A hit may change both at the same time.
fn second_chance(view: &ChunkView, labels: &mut Labels, handle: Handle) {
    let chance = |now: u8| {
        let freq = (now & state::FREQ).saturating_sub(1);
        let label = if freq == 0 { state::COLD } else { now & state::SEGMENT };
        now & !(state::FREQ | state::SEGMENT) | freq | label
    };
    let of_main = |header: Header| {
        let label = header.state() & state::SEGMENT;
        header.klen() > 0 && header.is(state::LINKED) && matches!(label, state::WARM | state::COLD)
    };
    let before = change_if(view.arena, handle, |header| of_main(header).then(|| chance(header.state())));
    let Some(before) = before.map(Header::state) else { return };
    let after = chance(before);
    if (before ^ after) & state::SEGMENT == 0 {
        labels.moves.within_lru += 1;
    } else {
        labels.counts.relabel(before, after);
        labels.moves.to_cold += 1;
    }
}

impl S3Fifo {
    /// Empty queues of a class of chunks of `stride` bytes.
    pub fn new(stride: usize) -> Self {
        Self { hot_ratio: HotRatio::new(stride), ..Self::default() }
    }

    /// The oldest entry of the ring.
    pub fn front(&self) -> Option<Handle> {
        self.ring.front()
    }

    /// Appends an entry to the ring, for a HOT item or a chunk marked with `RING`. Without memory for the entry the
    /// item joins the main part as COLD.
    pub fn push_hot(&mut self, view: &ChunkView, labels: &mut Labels, handle: Handle) {
        if !self.ring.push_back(handle) {
            self.leave_ring(view, labels, handle);
        }
    }

    /// Appends a large item to the main part. Its place is reserved: [`S3Fifo::reserve_chains`].
    pub fn push_chain(&mut self, handle: Handle) {
        let pushed = self.chains.push_back(handle);
        debug_assert!(pushed, "reserved when the item was stored");
    }

    fn unshift_chain(&mut self, handle: Handle) {
        let pushed = self.chains.push_front(handle);
        debug_assert!(pushed, "as above");
    }

    /// Reserves memory so that all large items of a class of `items` items can be in the main part, where no other
    /// structure leads to them; false if there is none.
    pub fn reserve_chains(&mut self, items: u64) -> bool {
        self.chains.reserve((items as usize).saturating_sub(self.chains.len()))
    }

    /// Ring entries and blanks.
    pub fn span(&self) -> usize {
        self.ring.span()
    }

    #[cfg(test)]
    pub fn ring_len(&self) -> usize {
        self.ring.len()
    }

    /// Memory used by the queues, in bytes.
    pub fn bytes(&self) -> usize {
        self.ring.bytes() + self.chains.bytes() + self.idle.capacity() * size_of::<Handle>()
    }

    /// Memory used by the history, in bytes.
    pub fn history_bytes(&self) -> u64 {
        self.history.bytes()
    }

    /// The class's history.
    pub fn history(&mut self) -> &mut History {
        &mut self.history
    }

    /// Whether a small item of the class, which has `items` items, is to be kept after all although it is chosen as
    /// victim from this part.
    pub fn keeps(&mut self, hash: u64, part: Part, items: u64) -> bool {
        !self.history.depart(hash, part, &self.period, items)
    }

    /// Adds (`sign` 1) or subtracts (`sign` -1) a large item's chunks beyond the first.
    pub fn count_extra(&mut self, view: &ChunkView, item: &Item, label: u8, sign: i64) {
        if item.header().has(iflag::CHUNKED) {
            self.extra.all += sign * chunks_beyond_one(view, item);
            if label & state::SEGMENT == state::HOT {
                self.extra.ring += sign * chunks_beyond_one(view, item);
            }
        }
    }

    /// Subtracts a large item's extra chunks from those of the ring if its label `before` was HOT.
    pub fn uncount_ring_extra(&mut self, view: &ChunkView, item: &Item, before: u8) {
        if item.header().has(iflag::CHUNKED) && before & state::SEGMENT == state::HOT {
            self.extra.ring -= chunks_beyond_one(view, item);
        }
    }

    /// Removes a large item from the queues of its class. The head's chunk may be reused in another class, so no
    /// entry may remain.
    pub fn remove_large(&mut self, view: &ChunkView, handle: Handle, state: u8) {
        let hot = state & state::SEGMENT == state::HOT;
        let list = if hot { &mut self.ring } else { &mut self.chains };
        if let Some(at) = list.position(handle) {
            list.remove(at);
        }
        if hot && view.is_own(handle) {
            unmark(view.arena, handle);
        }
    }

    /// Replaces the head `from` of a large item by `to`, of which the ring has an entry if `in_ring`.
    pub fn replace_head(
        &mut self,
        view: &ChunkView,
        labels: &mut Labels,
        (from, to): (Handle, Handle),
        hot: bool,
        in_ring: bool,
    ) {
        let list = if hot { &mut self.ring } else { &mut self.chains };
        // An entry that the chunk's former item left in the ring serves for this one.
        match list.position(from) {
            Some(at) if hot && in_ring => list.remove(at),
            Some(at) => list.replace(at, to),
            None if !hot => self.push_chain(to),
            None if !in_ring => self.push_hot(view, labels, to),
            None => {}
        }
    }

    /// Whether the ring holds more than its share of the class's chunks.
    fn ring_is_long(&self, labels: &Labels, fixed: Option<u32>) -> bool {
        let share = fixed.map_or(self.hot_ratio.parts(), |percent| percent * 100);
        let all = labels.counts.len() as i64 + self.extra.all;
        self.ring.len() as i64 + self.extra.ring > (all * i64::from(share) / 10_000).max(1)
    }

    /// Returns the next victim. It is still linked, but no longer in the ring. `hot_pct` is the ring's share if the
    /// operator fixed it. The hand passes over items that are in `lru`.
    pub fn victim(
        &mut self,
        view: &ChunkView,
        labels: &mut Labels,
        lru: &LruList,
        stats: &ClassStats,
        hot_pct: Option<u32>,
    ) -> Option<(Handle, Part)> {
        stats.note_items(labels.counts.len());
        self.hot_ratio.adapt(stats);
        // A ring of fixed share must not grow while idle items, which left it earlier, are evicted.
        if hot_pct.is_some() && !self.idle.is_empty() && self.ring_is_long(labels, hot_pct) {
            self.demote_one(view, labels);
        }
        if let Some(handle) = self.pop_idle(view) {
            return Some((handle, Part::Ring));
        }
        if self.ring_is_long(labels, hot_pct)
            && let Some(handle) = self.ring_tail(view, labels)
        {
            return Some((handle, Part::Ring));
        }
        let under_hand = self.clock(view, labels, lru).map(|handle| (handle, Part::Main));
        self.period.measure(view.chunks.used(), stats, self.history.is_kept());
        under_hand.or_else(|| self.ring_tail(view, labels).map(|handle| (handle, Part::Ring)))
    }

    /// Pops the idle item that left the ring longest ago and is still unread. It is older than every item in the
    /// ring.
    fn pop_idle(&mut self, view: &ChunkView) -> Option<Handle> {
        for _ in 0..SEARCH {
            let handle = self.idle.pop_front()?;
            if Self::is_unread_idle(view, handle) {
                return Some(handle);
            }
        }
        None
    }

    /// Whether an entry of `idle` still refers to an unread item.
    fn is_unread_idle(view: &ChunkView, handle: Handle) -> bool {
        let header = view.header(handle);
        let mine = if header.has(iflag::CHUNKED) { view.chunks.is_largest() } else { view.is_own(handle) };
        mine && header.klen() > 0 && header.is(state::LINKED) && header.is_unread_cold() && !view.is_leaving(handle)
    }

    /// Pops the ring until an unread item comes, which becomes COLD; read items move to the main part.
    fn ring_tail(&mut self, view: &ChunkView, labels: &mut Labels) -> Option<Handle> {
        let mut items = SEARCH.min(self.ring.len());
        for _ in 0..DRAINING_STEPS + SEARCH {
            if !view.is_leaving(self.ring.front()?) {
                items = items.checked_sub(1)?;
            }
            let found = self.ring_step(view, labels);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Pops the oldest ring entry if it is `oldest`. Its item becomes COLD, in case it is not freed after all.
    pub fn forget_oldest(&mut self, view: &ChunkView, labels: &mut Labels, oldest: Handle) {
        if self.ring.front() == Some(oldest) {
            self.ring.pop_front();
            self.leave_ring(view, labels, oldest);
        }
    }

    /// Makes a HOT item COLD after its ring entry was lost; otherwise the hand would always skip it.
    pub fn leave_ring(&mut self, view: &ChunkView, labels: &mut Labels, handle: Handle) {
        let mark = mark_of(view, handle);
        let before = change_if(view.arena, handle, |header| {
            let label = if is_of_ring(view, header) { state::COLD } else { header.state() & state::SEGMENT };
            Some(header.state() & !(mark | state::SEGMENT) | label)
        });
        if !before.is_some_and(|header| is_of_ring(view, header)) {
            return;
        }
        labels.counts.relabel(state::HOT, state::COLD);
        let Some(item) = Item::at(view.arena.chunk(handle)) else { return };
        self.uncount_ring_extra(view, &item, state::HOT);
        if item.header().has(iflag::CHUNKED) {
            self.unshift_chain(handle);
        }
    }

    /// Blanks the ring's entries of a page: examines up to `count` entries, downwards from position `from`, and
    /// returns the position for the next call, 0 at the end. Entries only move down meanwhile, so none is missed.
    pub fn forget_entries(&mut self, page: u32, from: usize, count: usize) -> usize {
        let to = from.min(self.ring.span()).saturating_sub(count);
        self.ring.blank_those(to, from, |entry| entry.page() == page as usize);
        to
    }

    /// Keeps the hand in place although the first page of a kind leaves the class.
    pub fn lose_first_page(&mut self, kind: ChunkKind) {
        self.hand.lose_first_page(kind);
    }

    /// Drops up to `count` entries of freed items at the end of the ring, so that the next items in their chunks do
    /// not inherit their place.
    pub fn trim_ring(&mut self, view: &ChunkView, labels: &mut Labels, count: usize) {
        for _ in 0..count {
            match self.ring.front() {
                Some(handle) if view.header(handle).klen() == 0 => {
                    self.ring.pop_front();
                    let mark = mark_of(view, handle);
                    let left_over = |header| (!is_of_ring(view, header)).then_some(header.state() & !mark);
                    if change_if(view.arena, handle, left_over).is_none() {
                        self.push_hot(view, labels, handle); // reused by a new item, which needs the entry
                    }
                }
                _ => return,
            }
        }
    }

    /// Pops one ring entry; returns its item if that was not read.
    fn ring_step(&mut self, view: &ChunkView, labels: &mut Labels) -> Option<Handle> {
        let handle = self.ring.pop_front()?;
        if view.is_leaving(handle) {
            return None; // evicting it yields no memory; the page move handles it
        }
        if let Some(next) = self.ring.front() {
            view.arena.prefetch(next);
        }
        let mark = mark_of(view, handle);
        let Some(before) = change_if(view.arena, handle, |header| {
            let now = header.state();
            if !is_of_ring(view, header) {
                // A stale entry: a free chunk, one of a chain, a large item's head or an item of another queue.
                return Some(now & !mark);
            }
            let freq = now & state::FREQ;
            let label = if freq > 0 { state::WARM } else { state::COLD };
            // The move to the main part costs one access.
            let moved = now & !(mark | state::FREQ | state::SEGMENT) | freq.saturating_sub(1) | label;
            header.is(state::LINKED).then_some(moved)
        }) else {
            self.push_hot(view, labels, handle); // still being filled
            return None;
        };
        if !is_of_ring(view, before) {
            return None;
        }
        let read = before.is(state::FREQ);
        labels.counts.relabel(state::HOT, if read { state::WARM } else { state::COLD });
        if read {
            labels.moves.to_warm += 1;
        } else {
            labels.moves.to_cold += 1;
        }
        if before.has(iflag::CHUNKED)
            && let Some(item) = Item::at(view.arena.chunk(handle))
        {
            self.uncount_ring_extra(view, &item, state::HOT);
            if read { self.push_chain(handle) } else { self.unshift_chain(handle) }
        }
        (!read).then_some(handle)
    }

    /// While there is free memory, takes items out of a ring that is too long, up to a bounded number of entries;
    /// returns whether more may remain. Does nothing if the class has evicted since the last call, unless the operator
    /// fixed the share: evictions then shorten the ring, and must take its unread items. Otherwise the main part would
    /// fill with unread items whenever the share falls.
    pub fn tend(&mut self, view: &ChunkView, labels: &mut Labels, stats: &ClassStats, hot_pct: Option<u32>) -> bool {
        let evicted = stats.evicted();
        if std::mem::replace(&mut self.tended_at, evicted) != evicted && hot_pct.is_none() {
            return false;
        }
        let entries = self.ring.len();
        for _ in 0..TEND.min(entries) {
            if !self.ring_is_long(labels, hot_pct) {
                return false;
            }
            self.demote_one(view, labels);
        }
        // Entries of items still being filled stay in the ring until the upload ends.
        self.ring.len() < entries
    }

    /// Pops one ring entry. An unread item becomes COLD and is queued behind older idle items.
    fn demote_one(&mut self, view: &ChunkView, labels: &mut Labels) {
        let Some(handle) = self.ring_step(view, labels) else { return };
        if self.idle.len() < IDLE_MAX && self.idle.try_reserve(1).is_ok() {
            self.idle.push_back(handle);
        }
        if self.chains.front() == Some(handle) {
            self.chains.pop_front();
            self.push_chain(handle);
        }
    }

    /// The next idle victim, if it is among the first entries.
    pub fn first_idle(&self, view: &ChunkView) -> Option<Handle> {
        self.idle.iter().copied().take(SEARCH).find(|&handle| Self::is_unread_idle(view, handle))
    }

    /// The chunks that are next under the hand, up to `slots` of them.
    pub fn ahead_of_hand(&self, view: &ChunkView, slots: usize) -> impl Iterator<Item = Handle> + use<> {
        self.hand.ahead(view.chunks, slots)
    }

    /// Advances the hand to an item of frequency 0, taking one from the frequency of each item it passes.
    fn clock(&mut self, view: &ChunkView, labels: &mut Labels, lru: &LruList) -> Option<Handle> {
        let mut least: Option<(u8, Handle)> = None;
        let mut seen = 0;
        for step in 0..HAND_STEPS {
            // Pages and chains have the same clock period. If no item was seen, the last steps go to the chains.
            let used = view.chunks.used();
            self.chain_turn += self.chains.len() as u64;
            let turn = self.chain_turn >= used || !view.chunks.has_pages() || seen == 0 && step + SEARCH >= HAND_STEPS;
            let from_chains = turn && self.chains.len() > 0;
            if turn {
                self.chain_turn = self.chain_turn.saturating_sub(used);
            }
            let handle = if from_chains { self.chains.pop_front()? } else { self.hand.next(view.chunks)? };
            self.period.pass();
            if from_chains {
                self.push_chain(handle);
            } else {
                view.arena.prefetch_head(handle, HAND_AHEAD);
            }
            let header = view.header(handle);
            let label = header.state() & state::SEGMENT;
            let mine = from_chains || !header.has(iflag::CHUNKED) && matches!(label, state::WARM | state::COLD);
            // Not linked: deleted, but still pinned by a reader.
            if header.klen() == 0 || !header.is(state::LINKED) || !mine {
                continue;
            }
            if lru.len() > 0 && lru.contains(handle) {
                continue;
            }
            let freq = header.state() & state::FREQ;
            if freq == 0 {
                return Some(handle);
            }
            second_chance(view, labels, handle);
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
}
