//! Optimistic lookups: without the bucket's lock.
//!
//! Most gets find a small, live item that is not marked stale and does not change meanwhile. Its words are read while
//! other threads may write them, and the result counts only if the bucket's version has not changed
//! (`index::optimistic`). The only write to shared memory records the access. It takes the bucket's lock and dirties
//! two cache lines, so a popular item's access is recorded once a minute. `Store::visit` handles everything else under
//! the lock.
//!
//! Owns the retries, and the decision when a lookup needs the lock. Knows no verbs; called by `cache`.

use crate::point::point;
use crate::store::entry::Entry;
use crate::store::item::{Item, Key, iflag};
use crate::store::store::{Lookup, Store};

/// Failed optimistic reads before the caller must take the lock.
const TRIES: usize = 3;

impl Store {
    /// Calls `look` with the live item of `key` without a lock, and records an access if `bump`. `None` if the item
    /// needs the lock: the caller must use [`Store::visit`].
    ///
    /// `look` may run more than once, so it must first undo what an earlier run did. It may see a torn value, half of
    /// one and half of another, with lengths that fit the chunk. It does not see large or stale items.
    #[inline]
    pub fn read<R>(
        &'static self,
        key: &Key<'_>,
        now: u32,
        bump: bool,
        mut look: impl FnMut(&Entry) -> R,
    ) -> Option<Lookup<R>> {
        if self.slabs.is_flat() {
            return None; // a hit may move the item in the LRU list
        }
        for _ in 0..TRIES {
            let bucket = self.index.begin_read(key.hash())?;
            let found = bucket.find(key.hash(), |raw| self.item(raw).filter(|(_, item)| item.key_is(key.bytes())));
            let Ok(found) = found else { continue };
            let Some((handle, item)) = found else { return Some(Lookup::Miss) };
            if self.needs_lock(&item, now) {
                return None;
            }
            let mut entry = Entry::of(self, bucket.version(), handle, item);
            point("an item is found without a lock");
            let result = look(&entry);
            let news = bump && entry.is_access_news(now);
            if !bucket.validate() {
                continue;
            }
            // If the bucket is contended, the access goes unrecorded: one more or less does not matter.
            if news && let Some(_locked) = bucket.lock() {
                entry.bump(now);
            }
            return Some(Lookup::Hit(result));
        }
        None
    }

    /// Whether the item must be visited under the bucket's lock: it is large (its value is pinned), stale, expired or
    /// flushed.
    #[inline]
    fn needs_lock(&'static self, item: &Item, now: u32) -> bool {
        item.header().is_large() || item.header().has(iflag::STALE) || self.dead(item, now).is_some()
    }
}
