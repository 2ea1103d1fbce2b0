//! Deletions: removes an item, empties it, marks it stale, or flushes all items.
//!
//! Owns stale marks and the end of win tokens. Hits and misses are counted as for `delete`, except that a CAS mismatch
//! of [`Verbs::delete_if`] counts as neither. Called through [`Verbs`] by every protocol.

use super::watch_events::ItemShape;
use super::{Attempt, Done, Key, Verbs};
use crate::clock::{Clock, Expiry};
use crate::events::{LookupStatus, StoreStatus};
use crate::hotkeys::AccessKind;
use crate::stats::{ClassCounter, Counter, PrefixEvent};
use crate::store::{Entry, Meta, Mode, Relayout, Stored, Version, iflag};

/// Outcome of a delete with a CAS id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Deleted {
    Deleted,
    Exists,
    NotFound,
}

/// Options of a meta delete.
#[derive(Clone, Copy, Debug)]
pub struct MetaDelete {
    /// CAS id the item must have.
    pub compare: Option<u64>,
    /// Mark the item stale and revoke its token instead of removing it.
    pub stale: bool,
    /// Replace the item by an empty one with these client flags.
    pub empty: Option<u32>,
    /// Expiry time of the remaining item.
    pub expiry: Option<Expiry>,
    /// CAS id of the remaining item.
    pub chosen: Option<u64>,
}

/// Outcome of a meta delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the protocol's terms
pub enum MetaDeleted {
    Done,
    NotFound,
    Exists,
    NoMemory,
}

/// Next step after inspecting the item under its bucket's lock.
enum DeleteStep {
    Finished(MetaDeleted),
    Removed(ItemShape),
    MakeRoom,
    /// An empty item is to replace this one.
    Empty {
        cas: u64,
        version: Version,
        shape: ItemShape,
    },
}

impl Verbs<'_> {
    /// `delete`.
    pub fn delete(&self, key: &Key<'_>) -> Done {
        if self.cache.detail() {
            self.cache.prefixes.record(key.bytes(), PrefixEvent::Delete);
        }
        match self.take_out(key, |entry| {
            entry.unlink();
            ItemShape { class: entry.class(), size: entry.vlen(), exptime: 0 }
        }) {
            Some(shape) => {
                self.counters.add_class(shape.class, ClassCounter::DeleteHits);
                self.tell_deleted(key, false, shape);
                Done::Done
            }
            None => {
                self.counters.add(Counter::DeleteMisses, 1);
                Done::NotFound
            }
        }
    }

    /// `delete` of the item with CAS id `compare`; 0 = any. A mismatch counts neither as hit nor as miss.
    pub fn delete_if(&self, key: &Key<'_>, compare: u64) -> Deleted {
        if self.cache.detail() {
            self.cache.prefixes.record(key.bytes(), PrefixEvent::Delete);
        }
        let unlink = |entry: &mut Entry| {
            if compare != 0 && compare != self.shown_cas(entry.cas()) {
                return None;
            }
            entry.unlink();
            Some(entry.class())
        };
        let found = match compare {
            0 => self.take_out(key, unlink),
            _ => self.live(self.visit(key, AccessKind::Write, unlink)),
        };
        match found {
            Some(Some(class)) => {
                self.counters.add_class(class, ClassCounter::DeleteHits);
                Deleted::Deleted
            }
            Some(None) => Deleted::Exists,
            None => {
                self.counters.add(Counter::DeleteMisses, 1);
                Deleted::NotFound
            }
        }
    }

    /// Removes an item without counting a delete, also one that only the backing has.
    pub fn remove(&self, key: &Key<'_>) {
        let is_alone = self.cache.backing().is_none();
        while self.live(self.visit(key, AccessKind::Write, Entry::unlink)).is_none() {
            if is_alone || self.cache.store.delete_absent(key) {
                return;
            }
        }
    }

    /// Passes the item of `key`, which is to go, to `unlink`. Without one the backing's goes, see
    /// [`Verbs::lets_go`].
    fn take_out<R>(&self, key: &Key<'_>, unlink: impl Fn(&mut Entry) -> R) -> Option<R> {
        let mut notice = self.notice(AccessKind::Write);
        loop {
            let found = self.live(self.visit_once(key, &mut notice, &unlink));
            if found.is_some() || self.lets_go(key) {
                return found;
            }
        }
    }

    /// Ends a deletion that has found no item. After a wait for the backing, memory may have lost the item again, so
    /// the backing's is deleted. False if memory has an item by now.
    #[inline]
    fn lets_go(&self, key: &Key<'_>) -> bool {
        self.attempt != Attempt::AfterWait || self.cache.store.delete_absent(key)
    }

    /// Deletes an item, empties it or marks it stale.
    pub fn discard(&self, key: &Key<'_>, discard: MetaDelete) -> MetaDeleted {
        let discard = MetaDelete { chosen: self.chosen(discard.chosen), ..discard };
        let mut notice = self.notice(AccessKind::Write);
        loop {
            let found = self.visit_once(key, &mut notice, |entry| self.discard_entry(discard, entry));
            let done = match self.live(found) {
                // A mark that finds no item deletes as well: a miss is better than a value that was to be stale.
                None if discard.compare.is_none() && !self.lets_go(key) => continue,
                None => MetaDeleted::NotFound,
                Some(DeleteStep::Finished(done)) => done,
                Some(DeleteStep::Removed(shape)) => {
                    self.counters.add_class(shape.class, ClassCounter::DeleteHits);
                    self.tell_deleted(key, true, shape);
                    MetaDeleted::Done
                }
                Some(DeleteStep::MakeRoom) => {
                    let wide = discard.chosen.is_some();
                    let store = self.cache.store;
                    match store.make_room(key, discard.expiry, wide, self.now) {
                        Relayout::Retry => continue,
                        Relayout::NoMemory => MetaDeleted::NoMemory,
                    }
                }
                Some(DeleteStep::Empty { cas, version, shape }) => {
                    match self.empty(key, discard, cas, version, shape) {
                        Some(done) => done,
                        None => continue, // another writer came first
                    }
                }
            };
            if matches!(done, MetaDeleted::NotFound | MetaDeleted::Exists) {
                self.counters.add(Counter::DeleteMisses, 1);
            }
            return done;
        }
    }

    fn discard_entry(&self, discard: MetaDelete, entry: &mut Entry) -> DeleteStep {
        let cas = self.shown_cas(entry.cas());
        if discard.compare.is_some_and(|compare| compare != cas) {
            return DeleteStep::Finished(MetaDeleted::Exists);
        }
        let shape = ItemShape { class: entry.class(), size: entry.vlen(), exptime: 0 };
        if discard.empty.is_some() {
            return DeleteStep::Empty { cas, version: entry.version(), shape };
        }
        if !discard.stale {
            entry.unlink();
            return DeleteStep::Removed(shape);
        }
        if !entry.has_room(discard.expiry, self.now) || !entry.has_room_for_cas(discard.chosen.is_some()) {
            return DeleteStep::MakeRoom;
        }
        if let Some(expiry) = discard.expiry {
            entry.set_expiry(expiry, self.now);
        }
        entry.change_flags(iflag::TOKEN, iflag::STALE);
        entry.set_cas(discard.chosen.unwrap_or_else(|| self.cache.store.next_cas()));
        DeleteStep::Finished(MetaDeleted::Done)
    }

    /// Replaces the item with CAS id `cas` by an empty one; `None` if its value is no longer that of `version`.
    fn empty(
        &self,
        key: &Key<'_>,
        discard: MetaDelete,
        cas: u64,
        version: Version,
        old: ItemShape,
    ) -> Option<MetaDeleted> {
        let store = self.cache.store;
        let kept = if discard.stale { None } else { self.chosen(Some(cas)) };
        let chosen = discard.chosen.or(kept);
        let stale = if discard.stale { iflag::STALE } else { 0 };
        let room = if chosen.is_some() { iflag::CAS } else { 0 };
        let meta = Meta {
            klen: key.bytes().len(),
            vlen: 0,
            flags: discard.empty.unwrap_or(0),
            expiry: discard.expiry.unwrap_or(Expiry::Never),
            iflags: stale | room,
            cas: 0,
        };
        let Some(reservation) = store.reserve(key, &meta, self.now) else { return Some(MetaDeleted::NoMemory) };
        let shape = ItemShape { class: reservation.class(), size: 0, exptime: store.relative(meta.expiry) };
        let write = self.write_choosing(Mode::Set, chosen);
        match store.commit_over(reservation, key, write, self.now, version) {
            Stored::Stored { .. } => {}
            _ => return None,
        }
        self.counters.add(Counter::TotalItems, 1);
        self.tell_lookup(key, LookupStatus::Found, old);
        self.tell_store(key, Mode::Set, StoreStatus::Stored, shape);
        if !discard.stale {
            self.counters.add_class(shape.class, ClassCounter::DeleteHits);
            self.tell_deleted(key, true, shape);
        }
        Some(MetaDeleted::Done)
    }

    /// `flush_all`; `exptime` as given by the client, 0 or less = now.
    pub fn flush(&self, exptime: i64, clock: &Clock) {
        let oldest = if exptime > 0 { clock.moment(exptime).wrapping_sub(1) } else { self.now - 1 };
        self.cache.store.flush(oldest, self.now);
    }
}
