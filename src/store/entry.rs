//! `Entry`: access to one linked item, for a closure that runs under the item's bucket lock or in an optimistic read.
//!
//! Owns what may be read and changed in place. Created by the store's lookups and walks; used by `cache` and `maint`.
//! In an optimistic read (`Store::read`) the item may change concurrently: the function that created the entry checks
//! afterwards that what was read is valid.

use crate::clock::Expiry;
use crate::store::change::ChangeOp;
use crate::store::index::Bucket;
use crate::store::item::Handle;
use crate::store::item::{EXPTIME_SHORT_MAX, Item, iflag, state};
use crate::store::reservation::Pinned;
use crate::store::store::Store;
use crate::sys::spare::Spare;
use std::sync::atomic::{Ordering::Relaxed, Ordering::Release, fence};

/// Identifies one state of a key's item: a new value, or a move to another chunk, changes the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    handle: Handle,
    /// CAS id, which changes when the value is changed in place.
    cas: u64,
    /// Changes with everything else that a client sees. For a small item it is the bucket's version. For a large one it
    /// is the expiry time and the item flags: a copy takes so long that a busy bucket's version would always change.
    rest: u64,
}

impl Version {
    pub(super) fn of(bucket: &Bucket, handle: Handle, item: &Item) -> Self {
        Self::with(bucket.version(), handle, item)
    }

    fn with(bucket: u32, handle: Handle, item: &Item) -> Self {
        let header = item.header();
        // A large item stores its full expiry time, so no clock is needed to read it.
        let time = || match item.expiry(0) {
            Expiry::Never => 0,
            Expiry::At(time) => u64::from(time),
            Expiry::Date(date) => 1 << 32 | u64::from(date),
        };
        let own = || time() << 8 | u64::from(header.iflags());
        Self { handle, cas: item.cas(), rest: if header.is_large() { own() } else { bucket.into() } }
    }
}

/// A linked live item.
pub struct Entry {
    pub(super) store: &'static Store,
    pub(super) handle: Handle,
    pub(super) item: Item,
    /// Version of the item's bucket.
    bucket: u32,
    /// How the closure changed the item in place, if it did. The bucket's version must then change too.
    pub(super) changed: Option<ChangeOp>,
    pub(super) unlink: bool,
    /// In flat mode: the item must move to the tail of its class's LRU list.
    pub(super) moves_back: bool,
}

impl Entry {
    /// Creates the entry of an item. `bucket` is the version of its bucket; 0 if the caller does not use the version.
    #[inline]
    pub(super) fn of(store: &'static Store, bucket: u32, handle: Handle, item: Item) -> Self {
        Self { store, handle, item, bucket, changed: None, unlink: false, moves_back: false }
    }

    /// Returns the item for an in-place change. Every such change goes through here, so that concurrent optimistic
    /// reads fail. State and access time are exempt: a reader may see an old value of them.
    fn change(&mut self, op: ChangeOp) -> &mut Item {
        if self.changed != Some(ChangeOp::Set) {
            self.changed = Some(op);
        }
        &mut self.item
    }

    /// Value length in bytes.
    #[inline]
    pub fn vlen(&self) -> usize {
        self.item.vlen()
    }

    /// Client flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.item.flags()
    }

    /// CAS id.
    #[inline]
    pub fn cas(&self) -> u64 {
        self.item.cas()
    }

    /// Sets the CAS id: one of [`Store::next_cas`], or one chosen by the client. [`Entry::has_room_for_cas`] must be
    /// true.
    pub fn set_cas(&mut self, cas: u64) {
        let store = self.store;
        store.stamp(self.change(ChangeOp::Set), cas);
    }

    /// Whether the layout can hold this expiry time, if any; if not, [`Store::make_room`] rewrites the item.
    pub fn has_room(&self, expiry: Option<Expiry>, now: u32) -> bool {
        expiry.is_none_or(|expiry| self.item.can_hold_expiry(expiry, now))
    }

    /// Whether the layout can hold a new CAS id, or one that the client has `chosen`; if not, [`Store::make_room`]
    /// rewrites the item.
    pub fn has_room_for_cas(&self, chosen: bool) -> bool {
        self.item.can_hold_cas() || (!chosen && !self.store.needs_wide_cas())
    }

    /// The item's version, for [`Store::commit_over`].
    pub fn version(&self) -> Version {
        Version::with(self.bucket, self.handle, &self.item)
    }

    /// Relative expiry time by the present wall clock, 0 = never.
    #[inline]
    pub fn exptime(&self, now: u32) -> u32 {
        self.store.exptime(&self.item, now)
    }

    /// Expiry time, for an item that takes it over.
    pub fn expiry(&self, now: u32) -> Expiry {
        self.item.expiry(now)
    }

    /// Sets the expiry time; false, and no change, if the layout cannot hold it.
    pub fn set_expiry(&mut self, expiry: Expiry, now: u32) -> bool {
        let fits = self.item.can_hold_expiry(expiry, now);
        if fits {
            self.change(ChangeOp::Touch).set_expiry(expiry, now);
        }
        fits
    }

    /// Raises the access frequency to at least 1, which protects the item from eviction for a while.
    pub(super) fn hold_on(&mut self) {
        if !self.item.header().is(state::FREQ) {
            self.item.change_state(0, 1);
        }
    }

    /// Sets the expiry time, or the nearest that the layout can hold: of a date, the seconds that it has left, and 90
    /// days at most. Without room for any, the old one stays.
    pub fn set_expiry_nearly(&mut self, expiry: Expiry, now: u32) {
        let latest = now.saturating_add(EXPTIME_SHORT_MAX);
        let nearest = || match self.store.relative(expiry) {
            0 => latest,
            time => time.min(latest),
        };
        let nearest = Expiry::At(nearest());
        let _ = self.set_expiry(expiry, now) || self.set_expiry(nearest, now);
    }

    /// Time of the last access.
    pub fn atime(&self, now: u32) -> u32 {
        self.item.atime(now)
    }

    /// Item flags (`iflag`).
    pub fn iflags(&self) -> u8 {
        self.item.header().iflags()
    }

    /// Clears and sets the `STALE` and `TOKEN` flags.
    pub fn change_flags(&mut self, clear: u8, set: u8) {
        self.change(ChangeOp::Touch).change_flags(clear, set);
    }

    /// State bits (`state`).
    #[inline]
    pub fn state(&self) -> u8 {
        self.item.header().state()
    }

    /// Whether the item was fetched since it was stored.
    pub fn fetched(&self) -> bool {
        self.state() & state::FETCHED != 0
    }

    /// Slab class as in `stats`.
    #[inline]
    pub fn class(&self) -> u8 {
        self.store.lru_class(self.handle, &self.item) as u8
    }

    /// Size as in memcached: header, CAS, key, flags, value and line end.
    pub fn memcached_size(&self) -> usize {
        self.store.memcached_size_of(&self.item)
    }

    /// Whether the value is a chain of chunks.
    pub fn is_chunked(&self) -> bool {
        self.item.header().has(iflag::CHUNKED)
    }

    /// Appends the key to `out`.
    pub fn copy_key(&self, out: &mut Vec<u8>) {
        self.item.copy_key(out);
    }

    /// Appends the value, of `vlen` bytes, `COPY_MAX` at most, to `out`, which needs room for a word more.
    #[inline]
    pub fn write_value(&self, vlen: usize, out: &mut Spare<'_>) {
        if !self.is_chunked() {
            self.item.write_value(vlen, out);
        } else if let Some(value) = self.pin() {
            value.for_each_piece(|bytes| out.put(bytes));
        }
    }

    /// Appends the value to `out`; for values up to `COPY_MAX`.
    pub fn copy_value(&self, out: &mut Vec<u8>) {
        if !self.is_chunked() {
            self.item.copy_value(out);
        } else if let Some(value) = self.pin() {
            value.for_each_piece(|bytes| out.extend_from_slice(bytes));
        }
    }

    /// Pins a large value (over `COPY_MAX`, or chunked), so that it stays readable after the unlock; `None` if the
    /// value is small.
    pub fn pin(&self) -> Option<Pinned> {
        Pinned::new(self.store, self.handle, &self.item)
    }

    /// Whether the value is pinned.
    pub fn is_pinned(&self) -> bool {
        self.item.pin_word().is_some_and(|word| word.load(Relaxed) != 0)
    }

    /// Overwrites the first bytes of the value in place; the value must not be pinned.
    pub fn overwrite(&mut self, bytes: &[u8]) {
        let kept = self.store.memory_file().is_some();
        let item = self.change(ChangeOp::Set);
        if kept {
            // Not linked while it is written: a process that is killed now must not leave a torn value in the memory
            // file.
            item.change_state(state::LINKED, 0);
            fence(Release);
        }
        item.overwrite_value(bytes);
        if kept {
            item.change_state(0, state::LINKED);
        }
    }

    /// Whether an access at `now` must be recorded: a state bit changes, or the recorded access is over a minute old.
    /// Not for flat mode.
    #[inline]
    pub(super) fn is_access_news(&self, now: u32) -> bool {
        self.state() & state::SATURATED != state::SATURATED || self.item.is_access_due(now)
    }

    /// Records an access: frequency, fetched and active bits, access time. A COLD item becomes WARM.
    #[inline]
    pub fn bump(&mut self, now: u32) {
        if self.store.slabs.is_flat() {
            return self.bump_flat(now);
        }
        if !self.is_access_news(now) {
            return;
        }
        if self.state() & state::SATURATED != state::SATURATED {
            let before = self.item.change_state_by(used);
            if before & state::SEGMENT == state::COLD {
                self.store.slabs.stats(usize::from(self.class())).rewarm();
            }
        }
        self.item.set_atime(now);
    }

    #[cold]
    fn bump_flat(&mut self, now: u32) {
        if !self.fetched() {
            self.item.change_state(0, state::FETCHED);
        }
        self.moves_back = self.store.slabs.note_use(&self.item, now);
    }

    /// Unlinks the item when the closure of [`Store::visit`] returns.
    pub fn unlink(&mut self) {
        self.unlink = true;
    }
}

/// The state bits after one more access.
#[inline]
fn used(state: u8) -> u8 {
    let freq = ((state & state::FREQ) + 1).min(state::FREQ);
    let active = if state & state::FETCHED != 0 { state::ACTIVE } else { 0 };
    let label = if state & state::SEGMENT == state::COLD { state::WARM } else { state & state::SEGMENT };
    state & !(state::FREQ | state::SEGMENT) | freq | label | state::FETCHED | active
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_counted_up_to_three() {
        let kept = state::RING | state::LINKED;
        let seen = std::iter::successors(Some(kept | state::COLD), |&state| Some(used(state)));
        let counts: Vec<u8> = seen.clone().map(|state| state & state::FREQ).take(6).collect();
        assert_eq!(counts, [0, 1, 2, 3, 3, 3]);
        assert_eq!(seen.take(300).last(), Some(kept | state::WARM | state::SATURATED));
    }
}
