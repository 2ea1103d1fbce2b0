//! Flush and expiry: which linked items are dead.
//!
//! Owns the rule by which an item is flushed. It compares sequence numbers, never access times: the threads' clocks
//! differ by a tick or more, and a 24-bit time wraps.
//!
//! ```text
//! item without CAS word   dead if seq <= flush_seq   seq: its CAS id, from one counter; below 2^40, so not truncated
//! item with CAS word      dead if seq <  flushes     seq: lower 40 bits of `flushes` when the item was stored
//! pending flush           in its last second hides every item; then takes effect like an immediate flush
//! ```
//! A CAS word is a header field for a CAS id that the client chose or that needs over 40 bits. `flushes` counts begins
//! and ends, so it is odd while a flush takes effect. A thread that changes an item it found live loads `flushes` first
//! ([`Store::calm`]); if it differs afterwards, the flush comes after the change, and the thread unlinks the item.
//! Items store 40 bits of `flushes` and compare them modulo 2^40, so a flushed item would look live again after 2^38
//! more flushes. These take days; the sweep that follows each flush removes it long before.
//!
//! The last line of the table is memcached's `time <= oldest_live` as a client sees it: a value stored in the second
//! before the flush is dead at once.
//!
//! Knows neither commands nor the clock. Called by every lookup and walk of the store, and by `cache` for each command.

use crate::store::item::{Item, SEQ_MASK, iflag};
use crate::store::store::Store;
use crate::store::write::Dead;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

impl Store {
    /// Returns why an item is dead; `None` if it is live. The rules that most items need are inlined in every lookup.
    #[inline]
    pub(super) fn dead(&self, item: &Item, now: u32) -> Option<Dead> {
        let pending = self.persistent.pending.load(Acquire);
        if item.can_hold_cas() || pending != 0 {
            return self.dead_by_any_rule(item, now);
        }
        if self.is_flushed_id(item.seq()) {
            Some(Dead::Flushed)
        } else if item.header().has(iflag::NO_EXPIRY) {
            None
        } else {
            self.dead_by_time(item, now)
        }
    }

    /// [`Store::dead`] for an item that is not flushed.
    #[inline(never)]
    fn dead_by_time(&self, item: &Item, now: u32) -> Option<Dead> {
        self.is_expired(item, now).then_some(Dead::Expired)
    }

    /// [`Store::dead`] for an item with CAS word, and for any item while a flush is pending.
    #[inline(never)]
    fn dead_by_any_rule(&self, item: &Item, now: u32) -> Option<Dead> {
        if self.is_flushed(item) {
            return Some(Dead::Flushed);
        }
        let pending = self.persistent.pending.load(Relaxed) as u32;
        if pending != 0 && pending <= now && self.pending_hides(item, now) {
            return Some(Dead::Flushed);
        }
        self.is_expired(item, now).then_some(Dead::Expired)
    }

    /// Whether a pending flush that is due hides the item: in its last second it hides every item, afterwards those
    /// stored before it took effect.
    #[cold]
    fn pending_hides(&self, item: &Item, now: u32) -> bool {
        self.settle(now);
        self.persistent.pending.load(Acquire) as u32 == now || self.is_flushed(item)
    }

    /// Whether an item without CAS word and with this CAS id is flushed.
    #[inline]
    pub(super) fn is_flushed_id(&self, cas: u64) -> bool {
        cas <= self.persistent.flush_seq.load(Relaxed)
    }

    /// Whether the item was stored before the last flush that has taken effect.
    #[inline]
    fn is_flushed(&self, item: &Item) -> bool {
        if item.can_hold_cas() {
            // Distance modulo 2^40. An item stored after the counter was loaded may be ahead of it: a distance over
            // half the range is not flushed.
            let behind = self.persistent.flushes.load(Relaxed).wrapping_sub(item.seq()) & SEQ_MASK;
            (1..=SEQ_MASK / 2).contains(&behind)
        } else {
            self.is_flushed_id(item.seq())
        }
    }

    /// Applies the pending flush if its second has passed. Must precede drawing a CAS id at `now`: an item stored after
    /// the flush needs a later id.
    #[inline]
    pub fn settle(&self, now: u32) {
        let pending = self.persistent.pending.load(Relaxed) as u32;
        if pending != 0 && pending < now {
            self.settle_at(now);
        }
    }

    #[cold]
    fn settle_at(&self, now: u32) {
        let _alone = self.flushing.lock();
        let pending = self.persistent.pending.load(Relaxed) as u32;
        if pending != 0 && pending < now {
            self.flush_now();
            // Last: a thread that sees no pending flush sees that this one has taken effect.
            self.persistent.pending.store(0, Release);
        }
    }

    /// Flushes items, for `flush_all`, with `oldest_live` as memcached computes it. A time in the past flushes all
    /// items at once; any other sets the pending flush, of the items stored up to then; 0 cancels it.
    pub fn flush(&self, oldest_live: u32, now: u32) {
        self.settle(now);
        let _alone = self.flushing.lock();
        let persistent = &self.persistent;
        persistent.oldest_live.store(oldest_live.into(), Relaxed);
        if oldest_live != 0 && oldest_live < now {
            self.flush_now();
            persistent.pending.store(0, Release);
        } else {
            persistent.pending.store(oldest_live.into(), Release);
            self.emit_flush_plan((oldest_live != 0).then_some(oldest_live));
        }
    }

    /// Flushes all items. The caller holds `flushing`.
    fn flush_now(&self) {
        let persistent = &self.persistent;
        // A writer that loads `flushes` for the last time before this increment has drawn its CAS id by then, so the
        // next line loads no lower id.
        persistent.flushes.fetch_add(1, SeqCst);
        persistent.flush_seq.store(persistent.seq.load(SeqCst), Release);
        self.emit_flush();
        persistent.flushes.fetch_add(1, Release);
    }

    /// Completes a flush during which the previous process was killed. Called at start, before other threads exist.
    pub(super) fn finish_flush(&self) {
        let _alone = self.flushing.lock();
        let persistent = &self.persistent;
        if persistent.flushes.load(Relaxed) & 1 != 0 {
            persistent.flush_seq.store(persistent.seq.load(Relaxed), Relaxed);
            persistent.flushes.fetch_add(1, Release);
        }
    }

    /// Loads the flush counter, waiting while a flush takes effect. A thread that is to change an item, or to replace
    /// it as a live one, calls this before it checks whether the item is dead.
    #[inline]
    pub(super) fn calm(&self) -> u64 {
        loop {
            let flushes = self.persistent.flushes.load(Acquire);
            if flushes & 1 == 0 {
                return flushes;
            }
            drop(self.flushing.lock());
        }
    }

    /// Whether a flush has begun since [`Store::calm`] returned `flushes`. A thread draws the CAS id of its change
    /// before it calls this.
    #[inline]
    pub(super) fn is_flushed_since(&self, flushes: u64) -> bool {
        self.persistent.flushes.load(SeqCst) != flushes
    }

    /// Sequence number of an item with CAS word that is stored now.
    #[inline]
    pub(super) fn epoch(&self) -> u64 {
        self.persistent.flushes.load(Acquire)
    }

    /// A value that changes with each flush that takes effect, and when the wall clock has been set.
    pub fn flushed(&self, now: u32) -> (u32, u32) {
        self.settle(now);
        ((self.persistent.flushes.load(Relaxed) / 2) as u32, self.origin_changes())
    }

    /// The time shown as `oldest` by `stats settings`.
    pub fn oldest_live(&self) -> u32 {
        self.persistent.oldest_live.load(Relaxed) as u32
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Expiry;
    use crate::store::item::{Key, Meta};
    use crate::store::reservation::Reservation;
    use crate::store::slab::SizeConfig;
    use crate::store::store::{Config, Lookup};
    use crate::store::write::{Mode, Stored, Write};

    const NOW: u32 = 1000;

    fn store() -> &'static Store {
        let sizes = SizeConfig {
            chunk_size: 48,
            growth_factor: 1.25,
            chunk_max: 512 << 10,
            item_size_max: 1 << 20,
            slab_sizes: Vec::new(),
            use_cas: true,
        };
        let (maxbytes, initial_items, may_grow) = (8 << 20, 1000, true);
        let config = Config { sizes, maxbytes, evict: true, initial_items, may_grow, exact: true, precharged: 0 };
        Store::leak(&config).unwrap()
    }

    fn reserve(store: &'static Store, key: &[u8], iflags: u8) -> Reservation {
        let meta = Meta { klen: key.len(), vlen: 1, flags: 0, expiry: Expiry::Never, iflags, cas: 0 };
        let mut reservation = store.reserve(&Key::new(key).unwrap(), &meta, NOW).unwrap();
        reservation.write(b"v").unwrap();
        reservation
    }

    fn commit(store: &'static Store, reservation: Reservation, key: &[u8], cas: u64) {
        let (stored, _) = store.commit(reservation, &Key::new(key).unwrap(), Write::new(Mode::Set, cas), NOW);
        assert!(matches!(stored, Stored::Stored { .. }), "{stored:?}");
    }

    fn has(store: &'static Store, key: &[u8]) -> bool {
        store.visit(&Key::new(key).unwrap(), NOW, |_| ()) == Lookup::Hit(())
    }

    #[test]
    fn items_with_a_cas_word_live_however_many_flushes_there_have_been() {
        for flushes in [0, (1 << 39) - 4, (1 << 40) - 4, (1 << 41) - 4] {
            let store = store();
            store.persistent.flushes.store(flushes, Relaxed);
            for round in 0..8 {
                for (key, iflags) in [(b"plain", 0), (b"wider", iflag::CAS)] {
                    commit(store, reserve(store, key, iflags), key, store.next_cas());
                    assert!(has(store, key), "{iflags} in round {round} after {flushes}");
                }
                store.flush(NOW - 1, NOW);
                assert!(!has(store, b"plain") && !has(store, b"wider"), "round {round} after {flushes}");
            }
        }
    }

    #[test]
    fn a_value_stored_after_a_flush_lives_with_the_last_cas_id_of_40_bits() {
        let store = store();
        let reservation = reserve(store, b"key", 0);
        store.persistent.seq.store(SEQ_MASK - 1, Relaxed);
        let cas = store.next_cas();
        store.flush(NOW - 1, NOW);
        commit(store, reservation, b"key", cas);
        assert!(has(store, b"key"));
    }
}
