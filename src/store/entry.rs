//! An item as its visitor sees it, field by field: under its bucket's lock, or read without it.
//!
//! Owns what may be read and changed in place. Made by the store's look-ups and walks; used by `cache` and `maint`. What
//! only has a shared reference may be looking at an item that changes meanwhile: whoever made it knows whether what was
//! seen is whole.

use crate::store::index::Bucket;
use crate::store::item::Handle;
use crate::store::item::{EXPTIME_SHORT_MAX, Item, iflag, state};
use crate::store::reservation::Pinned;
use crate::store::store::Store;
use std::sync::atomic::{Ordering::Relaxed, Ordering::Release, fence};

/// Names one state of a key's value: another value, or another place for it, has another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    handle: Handle,
    /// Changes with a value that changes in place.
    cas: u64,
    /// Changes with all else that a client sees. Small items have their bucket's version; of a large one these are the
    /// expiry time and the flags, for copying it takes so long that a busy bucket would have other versions all the time.
    rest: u64,
}

impl Version {
    pub(super) fn of(bucket: &Bucket, handle: Handle, item: &Item) -> Self {
        Self::with(bucket.version(), handle, item)
    }

    fn with(bucket: u32, handle: Handle, item: &Item) -> Self {
        let header = item.header();
        // A large item has its expiry time whole, so no clock is needed to tell it.
        let own = || u64::from(item.exptime(0)) << 8 | u64::from(header.iflags());
        Self { handle, cas: item.cas(), rest: if header.is_large() { own() } else { bucket.into() } }
    }
}

/// A linked live item.
pub struct Entry {
    pub(super) store: &'static Store,
    pub(super) handle: Handle,
    pub(super) item: Item,
    bucket: u32,
    /// The item was changed in place: the bucket's version must change too.
    pub(super) changed: bool,
    pub(super) unlink: bool,
    /// In flat mode: the item goes behind all others of its class.
    pub(super) moves_back: bool,
}

impl Entry {
    /// The item of `handle`, whose bucket has this version. A walk that only shows it may give none.
    #[inline]
    pub(super) fn of(store: &'static Store, bucket: u32, handle: Handle, item: Item) -> Self {
        Self { store, handle, item, bucket, changed: false, unlink: false, moves_back: false }
    }

    /// The item, to be changed in place: by this alone, so that no reader without the lock takes what he has seen of it
    /// for whole. Its state and the time of its last access, which may be of any age for a reader, need no such care.
    fn change(&mut self) -> &mut Item {
        self.changed = true;
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

    /// Gives the item a new CAS id: one of [`Store::next_cas`], or one of the client's choice.
    /// [`Entry::has_room_for_cas`] must be true.
    pub fn set_cas(&mut self, cas: u64) {
        let store = self.store;
        store.stamp(self.change(), cas);
    }

    /// Whether the layout can take this expiry time (if any); else [`Store::make_room`] helps.
    pub fn has_room(&self, exptime: Option<u32>, now: u32) -> bool {
        exptime.is_none_or(|exptime| self.item.can_hold_exptime(exptime, now))
    }

    /// Whether the layout can take another CAS id: a new one, or one that the client has `chosen`; else
    /// [`Store::make_room`] helps.
    pub fn has_room_for_cas(&self, chosen: bool) -> bool {
        self.item.can_hold_cas() || (!chosen && !self.store.needs_wide_cas())
    }

    /// The value's version, for [`Store::commit_over`].
    pub fn version(&self) -> Version {
        Version::with(self.bucket, self.handle, &self.item)
    }

    /// Expiry time, 0 = never.
    pub fn exptime(&self, now: u32) -> u32 {
        self.item.exptime(now)
    }

    /// Changes the expiry time; false if the layout has no room for it (the item must be rewritten).
    pub fn set_exptime(&mut self, exptime: u32, now: u32) -> bool {
        let fits = self.item.can_hold_exptime(exptime, now);
        if fits {
            self.change().set_exptime(exptime, now);
        }
        fits
    }

    /// Has the item count as read at least once, for eviction alone.
    pub(super) fn hold_on(&mut self) {
        if !self.item.header().is(state::FREQ) {
            self.item.change_state(0, 1);
        }
    }

    /// The same, or the latest expiry time that the item has room for; without room for any it keeps its old one.
    pub fn set_exptime_nearly(&mut self, exptime: u32, now: u32) {
        let _ = self.set_exptime(exptime, now) || self.set_exptime(now.saturating_add(EXPTIME_SHORT_MAX), now);
    }

    /// Time of the last access.
    pub fn atime(&self, now: u32) -> u32 {
        self.item.atime(now)
    }

    /// Item flags (`iflag`).
    pub fn iflags(&self) -> u8 {
        self.item.header().iflags()
    }

    /// Changes `STALE` and `TOKEN` marks.
    pub fn change_flags(&mut self, clear: u8, set: u8) {
        self.change().change_flags(clear, set);
    }

    /// State bits (`state`).
    #[inline]
    pub fn state(&self) -> u8 {
        self.item.header().state()
    }

    /// Whether it was read before.
    pub fn fetched(&self) -> bool {
        self.state() & state::FETCHED != 0
    }

    /// Slab class that users see.
    #[inline]
    pub fn class(&self) -> u8 {
        self.store.lru_class(self.handle, &self.item) as u8
    }

    /// Size that users see: header, CAS, key, flags, value and line end.
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

    /// Appends the value to `out`; for values up to `COPY_MAX`.
    #[inline]
    pub fn copy_value(&self, out: &mut Vec<u8>) {
        if !self.is_chunked() {
            self.item.copy_value(out);
        } else if let Some(value) = self.pin() {
            value.for_each_piece(|bytes| out.extend_from_slice(bytes));
        }
    }

    /// A guard under which the value stays readable after the lock is gone; for large values: over `COPY_MAX`,
    /// or chunked.
    pub fn pin(&self) -> Option<Pinned> {
        Pinned::new(self.store, self.handle, &self.item)
    }

    /// Whether a reader outside the lock holds the value.
    pub fn is_pinned(&self) -> bool {
        self.item.pin_word().is_some_and(|word| word.load(Relaxed) != 0)
    }

    /// Overwrites the first bytes of the value in place; the value must not be pinned.
    pub fn overwrite(&mut self, bytes: &[u8]) {
        let kept = self.store.memory_file().is_some();
        let item = self.change();
        if kept {
            // A process that is killed in between must not leave half a value behind.
            item.change_state(state::LINKED, 0);
            fence(Release);
        }
        item.overwrite_value(bytes);
        if kept {
            item.change_state(0, state::LINKED);
        }
    }

    /// Whether an access at `now` is news: a mark of the item changes, or its time is a minute old. Not in flat mode.
    #[inline]
    pub(super) fn is_access_news(&self, now: u32) -> bool {
        self.state() & state::SATURATED != state::SATURATED || self.item.is_access_due(now)
    }

    /// Notes an access: frequency, fetched and active marks, time. A COLD item becomes WARM.
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

    /// Says that the item must go when the visitor returns.
    pub fn unlink(&mut self) {
        self.unlink = true;
    }
}

/// The state of an item with one access more.
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
