//! What background threads must know of the store to know whether there is work for them.
//!
//! Owns the count of what they have done that may be work for each other, and what the store's own memory takes from the
//! pages. Called by `maint`, and by the parts of the store that work for it.

use crate::store::store::Store;
use std::sync::atomic::Ordering::Relaxed;

impl Store {
    /// Numbers that change when items have come, or been flushed, and when a background thread has removed some or has
    /// changed what pages may have. Items that clients remove are not counted.
    pub fn activity(&self, now: u32) -> [u64; 3] {
        let (flushes, oldest) = self.flushed(now);
        [self.last_cas(), u64::from(flushes) << 32 | u64::from(oldest), self.upkeep.load(Relaxed)]
    }

    /// Counts work of a background thread.
    pub(super) fn note_upkeep(&self) {
        self.upkeep.fetch_add(1, Relaxed);
    }

    /// Has what the store needs beside the pages count against `-m` as far as it is more than may come on top, and
    /// classes remember who has left as far as it is less. Called every now and then.
    pub fn charge_overhead(&'static self) {
        let bytes = self.index.bytes() + self.slabs.queue_bytes();
        let histories = self.slabs.fit_histories(bytes);
        // A memory file has the size that it has.
        if self.memory_file().is_none() {
            self.charge(bytes + histories);
        }
    }

    /// Has `bytes` beside the pages count; that classes must give pages up for them is work for the mover.
    pub(super) fn charge(&self, bytes: u64) {
        if self.slabs.charge(bytes) {
            self.note_upkeep();
        }
    }
}
