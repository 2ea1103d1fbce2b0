//! Signals for background threads: activity counters, and the overhead charged to the memory limit.
//!
//! Owns the count of background work that another background thread may have to follow up, and the sum of the store's
//! overhead. Knows no threads; called by `maint`, and by the parts of the store that run in its threads.

use crate::store::store::Store;
use std::sync::atomic::Ordering::Relaxed;

impl Store {
    /// Numbers that change when items were stored or flushed, when the wall clock was set, and when a background thread
    /// has removed items or changed the memory that pages may use. Items that clients delete do not change them.
    pub fn activity(&self, now: u32) -> [u64; 3] {
        let (flushes, clock_changes) = self.flushed(now);
        [self.last_cas(), u64::from(flushes) << 32 | u64::from(clock_changes), self.upkeep.load(Relaxed)]
    }

    /// Counts one piece of background work.
    pub(super) fn note_upkeep(&self) {
        self.upkeep.fetch_add(1, Relaxed);
    }

    /// Charges overhead beyond the allowance (`on_top`) to `-m`, and sizes the classes' histories to what is left of
    /// the allowance. Called periodically.
    pub fn charge_overhead(&'static self) {
        let bytes = self.index.bytes() + self.slabs.queue_bytes();
        let histories = self.slabs.fit_histories(bytes);
        // The size of a memory file is fixed.
        if self.memory_file().is_none() {
            self.charge(bytes + histories);
        }
    }

    /// Sets the overhead in bytes. If classes must give up pages for it, that is work for the mover.
    pub(super) fn charge(&self, bytes: u64) {
        if self.slabs.pages.charge(bytes) {
            self.note_upkeep();
        }
    }
}
