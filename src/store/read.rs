//! OptimisticRead-ups without a lock.
//!
//! Most gets find a small item, live and unmarked, that nobody changes just then: its words are read while others may
//! change them, and believed only if its bucket's version has stood still (`index::look`). Nothing shared is written but
//! the access, where that is news: a popular item's once a minute, for noting it takes the bucket's lock and dirties two
//! cache lines. All else is for `Store::visit`, under the lock. Called by `cache`.

use crate::point::point;
use crate::store::entry::Entry;
use crate::store::item::{Item, iflag};
use crate::store::store::{Lookup, Store};

/// Reads that may be in vain before the lock is taken.
const TRIES: usize = 3;

impl Store {
    /// Shows the live item of `key` to `look` without a lock, and notes an access if `bump`. `None`: it cannot be done so,
    /// and [`Store::visit`] must do it.
    ///
    /// `look` may run more than once, and in vain, so it first takes back whatever it did before; and what it sees may be
    /// half of one value and half of another, for which lengths fit all the same. A large or stale item is not shown.
    #[inline]
    pub fn read<R>(
        &'static self,
        key: &[u8],
        hash: u64,
        now: u32,
        bump: bool,
        mut look: impl FnMut(&Entry) -> R,
    ) -> Option<Lookup<R>> {
        if self.slabs.is_flat() {
            return None; // a hit may move the item
        }
        for _ in 0..TRIES {
            let bucket = self.index.begin_read(hash)?;
            let found = bucket.find(hash, |raw| self.item(raw).filter(|(_, item)| item.key_is(key)));
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
            // Where others are at work just now, an access more or less does not matter.
            if news && let Some(_locked) = bucket.lock(&self.index) {
                entry.bump(now);
            }
            return Some(Lookup::Hit(result));
        }
        None
    }

    /// Whether a look at the item may have to change more than its state, or can pin it.
    #[inline]
    fn needs_lock(&'static self, item: &Item, now: u32) -> bool {
        item.header().is_large() || item.header().has(iflag::STALE) || self.dead(item, now).is_some()
    }
}
