//! Items that come back from a durable copy, and items that memory must forget.
//!
//! Owns the link of a loaded item, which takes no key from a live one and which may be refused under the bucket's lock.
//! Knows no copy. Called by `durable`.

use crate::store::change::ChangeOp;
use crate::store::item::{Key, SEQ_MASK};
use crate::store::reservation::Reservation;
use crate::store::store::Store;
use std::sync::atomic::Ordering::Relaxed;

/// Result of [`Store::link_loaded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkedLoad {
    /// The key has the loaded item, or another live one.
    Present,
    /// The caller did not allow it.
    Refused,
    /// There is no memory, or the item cannot be live.
    Impossible,
}

impl Store {
    /// Links a complete reservation as the item of `key`, with CAS id `cas`, unless the key has a live item. `allowed`
    /// is asked under the bucket's lock, and may take only locks of rank 60. A change sink is told, as of any item.
    pub fn link_loaded(
        &'static self,
        mut new: Reservation,
        key: &Key<'_>,
        cas: u64,
        now: u32,
        allowed: impl FnOnce() -> bool,
    ) -> LinkedLoad {
        debug_assert_eq!(new.missing(), 0);
        new.keep_time(now);
        let bucket = self.index.lock(key.hash());
        let flushes = self.calm();
        let mut found = self.find(&bucket, key);
        if found.as_ref().is_some_and(|old| self.dead(&old.item, now).is_none()) {
            return LinkedLoad::Present;
        }
        if !allowed() {
            return LinkedLoad::Refused;
        }
        let item = new.item();
        if !item.can_hold_cas() && (cas > SEQ_MASK || self.is_flushed_id(cas)) {
            return LinkedLoad::Impossible;
        }
        let (handle, item) = new.into_item();
        self.stamp(&item, cas);
        item.set_atime(now);
        if !self.publish(bucket, key, (found.as_mut(), false), (handle, item), flushes) {
            return LinkedLoad::Impossible;
        }
        if let Some(old) = found {
            self.release(old);
        }
        LinkedLoad::Present
    }

    /// Whether an item with CAS id `cas` needs a CAS word to be live: a flush has ended the ids up to a later one.
    pub fn is_flushed_cas(&self, cas: u64) -> bool {
        self.is_flushed_id(cas)
    }

    /// Removes the item of `key` from memory, if there is one, as an eviction does: a copy remains valid.
    pub fn forget(&'static self, key: &Key<'_>) {
        let bucket = self.index.lock(key.hash());
        if let Some(linked) = self.find(&bucket, key) {
            self.unlink(bucket, key, linked, ChangeOp::Evict);
        }
    }

    /// Makes every later CAS id greater than `id`. Called at start, before other threads exist.
    pub fn begin_ids_after(&self, id: u64) {
        self.persistent.seq.fetch_max(id, Relaxed);
    }
}
