//! Scan of the index, bucket by bucket, in hash order.
//!
//! Owns positions that stay valid while the table grows. Called by the store's `walk`.

use super::{Bucket, Index, LOW_HALF, Table};
use std::sync::atomic::Ordering::Acquire;

impl Index {
    /// Calls `each` with the handles of the bucket at place `from`, under its lock, and returns the place of the next
    /// bucket; `None` after the last.
    ///
    /// A place is an upper half of a hash, so a scan from 0 visits every entry that stays in the index throughout
    /// exactly once, even if the table grows meanwhile and its buckets have other ranges of hashes. `hash_of` returns
    /// the hash of a linked handle; it is called where the bucket's range exceeds the places that are due.
    pub fn scan(
        &'static self,
        from: u32,
        mut hash_of: impl FnMut(u64) -> u64,
        mut each: impl FnMut(u64),
    ) -> Option<u32> {
        let (bucket, old) = self.lock_at(from);
        let place = bucket.table.bucket_of(u64::from(from) << 32);
        let (begin, end) = (bucket.table.first_place(place), bucket.table.first_place(place + 1));
        // Of the table being replaced, only the bucket of this place is known to have moved.
        let until = old.map_or(end, |old| end.min(old.first_place(old.bucket_of(u64::from(from) << 32) + 1)));
        let due = u64::from(from)..until;
        let whole = due == (begin..end);
        bucket.for_each(|handle| {
            if whole || due.contains(&(hash_of(handle) >> 32)) {
                each(handle);
            }
        });
        until.try_into().ok()
    }

    /// Locks the bucket at a place. During growth, also returns the table being replaced if the bucket is in the new
    /// one.
    fn lock_at(&'static self, place: u32) -> (Bucket, Option<&'static Table>) {
        let hash = u64::from(place) << 32;
        loop {
            let current = self.current.load(Acquire);
            let old = (current >> 32).checked_sub(1);
            if let Some(bucket) = old.and_then(|number| self.lock_in(number, hash)) {
                return (bucket, None);
            }
            if let Some(bucket) = self.lock_in(current & LOW_HALF, hash) {
                return (bucket, old.map(|number| self.table(number)));
            }
        }
    }
}
