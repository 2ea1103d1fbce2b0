//! Flush and expiry: which linked items are dead.
//!
//! Owns the rule by which an item is flushed. It compares sequence numbers, never times of access: the threads' clocks
//! differ by a tick or more, and a time of 24 bits has a range.
//!
//! ```text
//! item without CAS word   dead if seq <= flush_seq     seq is its CAS id, drawn from one counter; below 2^40, so never cut
//! item with CAS word      dead if seq <  flushes       seq is that counter when it was stored
//! flush to come           hides every item in its last second, then takes effect as one at once
//! ```
//! `flushes` counts begins and ends: odd while a flush takes effect. A thread that changes what it found live notes it
//! first ([`Store::calm`]); if it has changed at the end, the flush comes after the change, and the item goes.
//!
//! The last line of the table is memcached's `time <= oldest_live` from the client's side: in the second before the flush what is
//! stored is dead at once.
//!
//! Knows neither commands nor the clock. Called by every lookup and walk of the store, and by `cache` for each command.

use super::item::Item;
use super::store::Store;
use super::write::Lapse;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

impl Store {
    /// Whether an item is dead, and why.
    #[inline]
    pub(super) fn lapse(&self, item: &Item, now: u32) -> Option<Lapse> {
        if self.is_flushed(item) {
            return Some(Lapse::Flushed);
        }
        let pending = self.registers.pending.load(Relaxed) as u32;
        if pending != 0 && pending <= now && self.pending_hides(item, now) {
            return Some(Lapse::Flushed);
        }
        item.is_expired(now).then_some(Lapse::Expired)
    }

    /// Whether the flush to come, which is due at `now`, hides the item.
    #[cold]
    fn pending_hides(&self, item: &Item, now: u32) -> bool {
        self.settle(now);
        self.registers.pending.load(Acquire) as u32 == now || self.is_flushed(item)
    }

    /// Whether an item without CAS word is flushed that has this id.
    #[inline]
    pub(super) fn is_flushed_id(&self, cas: u64) -> bool {
        cas <= self.registers.flush_seq.load(Relaxed)
    }

    /// Whether the item was stored before the last flush that has taken effect.
    #[inline]
    fn is_flushed(&self, item: &Item) -> bool {
        if item.can_hold_cas() {
            item.seq() < self.registers.flushes.load(Relaxed)
        } else {
            self.is_flushed_id(item.seq())
        }
    }

    /// Lets a flush take effect whose second has passed. Must come before a CAS id is drawn at `now`: what is stored
    /// after the flush needs a later one.
    #[inline]
    pub fn settle(&self, now: u32) {
        let pending = self.registers.pending.load(Relaxed) as u32;
        if pending != 0 && pending < now {
            self.settle_at(now);
        }
    }

    #[cold]
    fn settle_at(&self, now: u32) {
        let _alone = self.flushing.lock();
        let pending = self.registers.pending.load(Relaxed) as u32;
        if pending != 0 && pending < now {
            self.flush_now();
            // After the other registers: a thread that sees no flush to come sees this one.
            self.registers.pending.store(0, Release);
        }
    }

    /// `flush_all`: `oldest_live` as memcached computes it. In the past, all items are flushed at once; else those that
    /// are stored up to then; 0 cancels a flush to come.
    pub fn flush(&self, oldest_live: u32, now: u32) {
        self.settle(now);
        let _alone = self.flushing.lock();
        let registers = &self.registers;
        registers.oldest_live.store(oldest_live.into(), Relaxed);
        if oldest_live != 0 && oldest_live < now {
            self.flush_now();
            registers.pending.store(0, Release);
        } else {
            registers.pending.store(oldest_live.into(), Release);
        }
    }

    /// Flushes what is stored. The caller holds `flushing`.
    fn flush_now(&self) {
        let registers = &self.registers;
        // A change whose last look at the counter comes before this has drawn its CAS id before the next line.
        registers.flushes.fetch_add(1, SeqCst);
        registers.flush_seq.store(registers.seq.load(SeqCst), Release);
        registers.flushes.fetch_add(1, Release);
    }

    /// The counter of flushes while none takes effect: to be loaded before the look whether an item is dead that is then
    /// changed, or gives way to another one because it lives.
    #[inline]
    pub(super) fn calm(&self) -> u64 {
        loop {
            let flushes = self.registers.flushes.load(Acquire);
            if flushes & 1 == 0 {
                return flushes;
            }
            drop(self.flushing.lock());
        }
    }

    /// Whether a flush has begun since [`Store::calm`] gave `flushes`. The CAS id of the change must be drawn by now.
    #[inline]
    pub(super) fn is_flushed_since(&self, flushes: u64) -> bool {
        self.registers.flushes.load(SeqCst) != flushes
    }

    /// The sequence number of an item with CAS word that is stored now.
    #[inline]
    pub(super) fn epoch(&self) -> u64 {
        self.registers.flushes.load(Acquire)
    }

    /// Changes with each flush that takes effect.
    pub fn flushed(&self, now: u32) -> (u32, u32) {
        self.settle(now);
        ((self.registers.flushes.load(Relaxed) / 2) as u32, 0)
    }

    /// The time that `stats settings` shows as `oldest`.
    pub fn oldest_live(&self) -> u32 {
        self.registers.oldest_live.load(Relaxed) as u32
    }
}
