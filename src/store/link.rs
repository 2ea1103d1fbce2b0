//! Linking: an item is linked, and has the LINKED bit, while an entry of the index refers to it.
//!
//! Owns this pairing: entry and bit change together, under the bucket's lock, by the functions here, and every link and
//! removal is reported as a [`ChangeOp`]. Also finds the entry of an item that a walk or an eviction saw without a
//! lock. Knows no verbs; called by the lookups, writes, walks and evictions of the store, and by the page mover.

use crate::store::change::ChangeOp;
use crate::store::index::{Bucket, Slot};
use crate::store::item::{Handle, Item, Key, state};
use crate::store::reservation::Pinned;
use crate::store::store::Store;
use crate::store::write::Dead;

/// A linked item and its slot in the index: valid while its bucket is locked and no other entry of the bucket changes.
pub(super) struct Linked {
    slot: Slot,
    pub(super) handle: Handle,
    pub(super) item: Item,
}

/// Why an item that was seen without a lock cannot be locked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotLocked {
    /// Another thread holds the item's bucket.
    Contended,
    /// The item is not in the index: not yet, or no longer.
    Unlinked,
}

impl Linked {
    /// Replaces the item in its slot by another one of the key, which has the LINKED bit already, so that the key has a
    /// linked item at every moment. The caller releases the old item.
    #[inline]
    pub(super) fn replace(&mut self, bucket: &mut Bucket, handle: Handle) {
        bucket.replace(self.slot, handle.raw());
        self.item.change_state(state::LINKED, 0);
    }

    /// Removes the item from the index, without reporting a change. The caller releases the item.
    #[inline]
    pub(super) fn remove(&mut self, bucket: &mut Bucket) {
        bucket.remove(self.slot);
        self.item.change_state(state::LINKED, 0);
    }
}

impl Store {
    /// The item that a handle of the index refers to; `None` for the handle of no item.
    #[inline]
    pub(super) fn item(&self, raw: u64) -> Option<(Handle, Item)> {
        let handle = Handle::from_raw(raw)?;
        Some((handle, Item::at(self.arena.chunk(handle))?))
    }

    /// Finds the linked item of `key` in its locked bucket.
    #[inline]
    pub(super) fn find(&self, bucket: &Bucket, key: &Key<'_>) -> Option<Linked> {
        let mut found = None;
        let (slot, _) = bucket.find(key.hash(), |raw| {
            found = self.item(raw).filter(|(_, item)| item.key_is(key.bytes()));
            found.is_some()
        })?;
        found.map(|(handle, item)| Linked { slot, handle, item })
    }

    /// Finds the linked item of a handle in the locked bucket of its key. What the caller read from the chunk before it
    /// took the lock may belong to another item.
    pub(super) fn find_handle(&self, bucket: &Bucket, key: &Key<'_>, handle: Handle) -> Option<Linked> {
        let (slot, _) = bucket.find(key.hash(), |raw| raw == handle.raw())?;
        Some(Linked { slot, handle, item: Item::at(self.arena.chunk(handle))? })
    }

    /// Locks the bucket of an item that the caller saw without a lock, and finds it there; `None` if it is not linked.
    /// `key` is what the caller copied from the item then. The caller must hold no class.
    pub(super) fn lock_item(&'static self, key: &Key<'_>, handle: Handle) -> Option<(Bucket, Linked)> {
        let bucket = self.index.lock(key.hash());
        let linked = self.find_handle(&bucket, key, handle)?;
        Some((bucket, linked))
    }

    /// [`Store::lock_item`] for the holder of a class, which must not wait for a bucket.
    pub(super) fn try_lock_item(&'static self, key: &Key<'_>, handle: Handle) -> Result<(Bucket, Linked), NotLocked> {
        let bucket = self.index.try_lock(key.hash()).ok_or(NotLocked::Contended)?;
        let linked = self.find_handle(&bucket, key, handle).ok_or(NotLocked::Unlinked)?;
        Ok((bucket, linked))
    }

    /// Links a new item, which no other thread can reach yet, under `key`: in place of `old`, or in a free slot.
    /// Unlocks the bucket. False if the index is full; the item is freed then. The caller releases `old`; `inherits`
    /// says that `old` is live. `flushes` is the result of [`Store::calm`] under this lock.
    #[inline]
    pub(super) fn publish(
        &'static self,
        mut bucket: Bucket,
        key: &Key<'_>,
        (old, inherits): (Option<&mut Linked>, bool),
        (handle, mut item): (Handle, Item),
        flushes: u64,
    ) -> bool {
        if let Some(old) = old {
            // The new item inherits the key's access frequency, and the write counts as an access.
            let freq = if inherits { ((old.item.header().state() & state::FREQ) + 1).min(state::FREQ) } else { 0 };
            item.change_state(state::FREQ, state::LINKED | freq);
            old.replace(&mut bucket, handle);
        } else {
            let stats = self.slabs.stats(self.lru_class(handle, &item));
            let known = bucket.take_ghost(key.hash()).is_some_and(|ghost| stats.meet(ghost));
            item.change_state(0, state::LINKED | u8::from(known));
            if !bucket.insert(key.hash(), handle.raw(), |ghost| stats.worth(ghost)) {
                item.change_state(state::LINKED, 0);
                drop(bucket);
                self.free_item(handle, item);
                return false;
            }
        }
        let reported = self.emit(key, ChangeOp::Set, handle, &item);
        // If a flush has begun since [`Store::calm`], a write over a live item counts as the earlier of the two, so the
        // new item is removed. So does a reported write, whose change number is lower than the flush's. Any other item
        // is live or flushed by its own sequence number.
        if (inherits || reported)
            && self.is_flushed_since(flushes)
            && let Some(linked) = self.find_handle(&bucket, key, handle)
        {
            self.unlink(bucket, key, linked, ChangeOp::Reclaim(Dead::Flushed));
        }
        true
    }

    /// Removes an item from its locked bucket, for the reason `op`. The caller releases it.
    #[inline]
    pub(super) fn remove(&'static self, bucket: &mut Bucket, key: &Key<'_>, linked: &mut Linked, op: ChangeOp) {
        linked.remove(bucket);
        self.emit(key, op, linked.handle, &linked.item);
    }

    /// Removes an item from its locked bucket, for the reason `op`, unlocks the bucket and releases the item.
    pub(super) fn unlink(&'static self, mut bucket: Bucket, key: &Key<'_>, mut linked: Linked, op: ChangeOp) {
        self.remove(&mut bucket, key, &mut linked, op);
        drop(bucket);
        self.release(linked);
    }

    /// Frees an unlinked item, now or when its last pin drops. No bucket lock may be held.
    pub(super) fn release(&'static self, Linked { handle, item, .. }: Linked) {
        if !Pinned::leave_to_readers(&item) {
            self.free_item(handle, item);
        }
    }
}
