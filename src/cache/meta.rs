//! Verbs of the meta commands: a fetch that may create, touch or claim an item; a delete that may leave a stale or
//! empty item; a store that may store as stale; inspection without side effects.
//!
//! Owns stale marks and win tokens: which client gets a token and when it is revoked. Called by the meta protocol. As
//! in memcached, `stats detail` does not count meta commands.

use super::watch_events::ItemShape;
use super::{Fetched, Key, Refused, Verbs};
use crate::events::{LookupStatus, StoreStatus};
use crate::stats::{ClassCounter, Counter};
use crate::store::{Entry, Lookup, Meta, Mode, Relayout, Reservation, Stored, Version, Write, iflag, state};

/// Item to create on a miss.
#[derive(Clone, Copy, Debug)]
pub struct Vivify {
    /// Expiry time.
    pub exptime: u32,
    /// CAS id, if the client chose one.
    pub chosen: Option<u64>,
}

/// Claim on an item that is about to expire.
#[derive(Clone, Copy, Debug)]
pub struct Recache {
    /// The fetch claims the item if it expires before this time.
    pub before: u32,
    /// The touch of the same command applies first.
    pub touched: bool,
}

/// Options of a meta fetch.
#[derive(Clone, Copy, Debug)]
pub struct MetaGet {
    /// New expiry time.
    pub touch: Option<u32>,
    /// Claim the item if it is about to expire.
    pub recache: Option<Recache>,
    /// Create the item on a miss.
    pub vivify: Option<Vivify>,
    /// Record the access.
    pub bump: bool,
    /// The reply will be an error: no client wins the token, and a hit is not counted.
    pub spoilt: bool,
}

impl MetaGet {
    /// Whether the fetch leaves an item that is not stale unchanged except for its access.
    fn only_looks(&self) -> bool {
        self.touch.is_none() && self.recache.is_none() && !self.spoilt
    }
}

/// An item before a meta fetch touched, bumped or claimed it.
#[derive(Clone, Copy, Debug)]
pub struct MetaSeen {
    /// Value length in bytes.
    pub vlen: usize,
    /// Client flags.
    pub flags: u32,
    /// CAS id to report.
    pub cas: u64,
    /// Expiry time.
    pub exptime: u32,
    /// Seconds since the last access.
    pub idle: u32,
    /// The item was read before.
    pub fetched: bool,
    /// The client gave the key as base64.
    pub binary: bool,
    /// The item is stale.
    pub stale: bool,
    /// Another client holds the token.
    pub sent: bool,
    /// This fetch won the token.
    pub won: bool,
    /// This fetch created the item.
    pub made: bool,
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
    pub exptime: Option<u32>,
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

/// Options of a meta store.
#[derive(Clone, Copy, Debug)]
pub struct MetaSet {
    /// The verb; `Cas` if a set or replace came with a CAS id.
    pub mode: Mode,
    /// CAS id to compare with; 0 matches none.
    pub compare: u64,
    /// A `compare` below the item's CAS id also stores, as stale.
    pub stale_ok: bool,
    /// An append on a miss stores.
    pub vivify: bool,
    /// CAS id of the stored item; 0 = a new one.
    pub chosen: Option<u64>,
}

/// Next step after inspecting the item under its bucket's lock.
enum DeleteStep {
    Finished(MetaDeleted),
    Removed(ItemShape),
    MakeRoom,
    /// An empty item replaces it.
    Empty {
        cas: u64,
        version: Version,
        shape: ItemShape,
    },
}

impl Verbs<'_> {
    /// CAS id as clients see it.
    #[inline]
    pub fn shown_cas(&self, cas: u64) -> u64 {
        if self.cache.use_cas { cas } else { 0 }
    }

    /// The chosen CAS id; `None` without CAS ids (`-C`).
    #[inline]
    pub(super) fn chosen(&self, cas: Option<u64>) -> Option<u64> {
        cas.filter(|_| self.cache.use_cas)
    }

    /// A write that gives its item CAS id `chosen`, or a new one.
    pub(super) fn write_choosing(&self, mode: Mode, chosen: Option<u64>) -> Write {
        match chosen {
            Some(cas) => Write { chosen: true, ..Write::new(mode, cas) },
            None => Write::new(mode, self.cache.store.next_cas()),
        }
    }

    /// Looks `key` up and passes the item to `show`, with its state before the fetch. The entry is `None` for an item
    /// that this fetch created: it has no value. `show` does not run if the reply will be an error. Returns false on
    /// a miss.
    ///
    /// `show` may run more than once, and also before a miss: see [`Store::read`]. Only the last run counts.
    ///
    /// [`Store::read`]: crate::store::Store::read
    #[inline]
    pub fn peek(&self, key: &Key<'_>, peek: &MetaGet, mut show: impl FnMut(&MetaSeen, Option<&Entry>)) -> Fetched<()> {
        let (mut no_room, mut reported) = (false, false);
        let mut read = None;
        if peek.only_looks() {
            read = self.read(key, peek.bump, |entry| {
                show(&self.see(entry), Some(entry));
                Some((entry.class(), entry.state()))
            });
            reported = read.is_some();
        }
        loop {
            let found = read.take().unwrap_or_else(|| {
                self.visit_once(key, &mut reported, |entry| {
                    if !no_room && !entry.has_room(peek.touch, self.now) {
                        return None;
                    }
                    let place = (entry.class(), entry.state());
                    let seen = self.meet(entry, peek);
                    if !peek.spoilt {
                        show(&seen, Some(entry));
                    }
                    Some(place)
                })
            });
            match found {
                Lookup::Hit(Some(place)) => {
                    if !peek.spoilt {
                        self.count_fetch(peek.touch.is_some(), Some(place));
                    }
                    return Fetched::Hit(());
                }
                Lookup::Hit(None) => {
                    let room = self.cache.store.make_room(key, peek.touch, false, self.now);
                    // Without memory for the new time, the item gets the latest one that it has room for.
                    no_room = room == Relayout::NoMemory;
                    continue;
                }
                Lookup::Dead(dead) => self.count_dead(dead),
                Lookup::Miss => {}
            }
            if !peek.spoilt
                && let Some(load) = self.load(key)
            {
                return Fetched::Pending(load);
            }
            match peek.vivify.map(|vivify| self.make(key, peek, vivify)) {
                Some(Ok(seen)) => {
                    if !peek.spoilt {
                        show(&seen, None);
                    }
                    return Fetched::Hit(());
                }
                Some(Err(Stored::NotStored)) => {} // another client created it meanwhile
                _ => {
                    self.count_fetch(false, None);
                    return Fetched::Miss;
                }
            }
        }
    }

    /// State of a linked item.
    #[inline]
    fn see(&self, entry: &Entry) -> MetaSeen {
        let iflags = entry.iflags();
        MetaSeen {
            vlen: entry.vlen(),
            flags: entry.flags(),
            cas: self.shown_cas(entry.cas()),
            exptime: entry.exptime(self.now),
            idle: self.now.saturating_sub(entry.atime(self.now)),
            fetched: entry.fetched(),
            binary: iflags & iflag::KEY_BINARY != 0,
            stale: iflags & iflag::STALE != 0,
            sent: iflags & iflag::TOKEN != 0,
            won: false,
            made: false,
        }
    }

    /// State of a linked item before the fetch; then applies touch, claim and bump.
    #[inline]
    fn meet(&self, entry: &mut Entry, peek: &MetaGet) -> MetaSeen {
        let mut seen = self.see(entry);
        let expires_soon = peek.recache.is_some_and(|recache| {
            let judged = if recache.touched { peek.touch.unwrap_or(seen.exptime) } else { seen.exptime };
            judged != 0 && judged < recache.before
        });
        seen.won = !peek.spoilt && !seen.sent && (seen.stale || expires_soon);
        if let Some(exptime) = peek.touch {
            entry.set_exptime_nearly(exptime, self.now);
        }
        if seen.won {
            entry.change_flags(0, iflag::TOKEN);
        }
        if peek.bump {
            entry.bump(self.now);
        }
        seen
    }

    /// Creates an empty item; the client of this fetch holds its token.
    #[cold]
    fn make(&self, key: &Key<'_>, peek: &MetaGet, vivify: Vivify) -> Result<MetaSeen, Stored> {
        let store = self.cache.store;
        let chosen = self.chosen(vivify.chosen);
        let token = if peek.spoilt { 0 } else { iflag::TOKEN };
        let room = if chosen.is_some() { iflag::CAS } else { 0 };
        let meta =
            Meta { klen: key.bytes().len(), vlen: 0, flags: 0, exptime: vivify.exptime, iflags: token | room, cas: 0 };
        let mut reservation = store.reserve(key, &meta, self.now).ok_or(Stored::NoMemory)?;
        if peek.bump {
            reservation.note_fetch();
        }
        let class = reservation.class();
        let write = self.write_choosing(Mode::Add, chosen);
        let cas = match store.commit(reservation, key, write, self.now).0 {
            Stored::Stored { cas, .. } => cas,
            refused => return Err(refused),
        };
        self.counters.add(Counter::TotalItems, 1);
        if !peek.spoilt {
            self.count_fetch(peek.touch.is_some(), Some((class, state::HOT)));
        }
        Ok(MetaSeen {
            vlen: 0,
            flags: 0,
            cas: self.shown_cas(cas),
            exptime: 0,
            idle: 0,
            fetched: false,
            binary: false,
            stale: false,
            sent: false,
            won: true,
            made: true,
        })
    }

    /// Passes an item to `show` without recording an access; `None` on a miss.
    pub fn inspect<R>(&self, key: &Key<'_>, show: impl FnOnce(&Entry) -> R) -> Option<R> {
        let found = self.visit(key, |entry| show(entry));
        self.live(found)
    }

    /// Deletes an item, empties it or marks it stale.
    pub fn discard(&self, key: &Key<'_>, discard: MetaDelete) -> MetaDeleted {
        let discard = MetaDelete { chosen: self.chosen(discard.chosen), ..discard };
        let mut reported = false;
        loop {
            let found = self.visit_once(key, &mut reported, |entry| self.discard_entry(discard, entry));
            let done = match self.live(found) {
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
                    match store.make_room(key, discard.exptime, wide, self.now) {
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
        if !entry.has_room(discard.exptime, self.now) || !entry.has_room_for_cas(discard.chosen.is_some()) {
            return DeleteStep::MakeRoom;
        }
        if let Some(exptime) = discard.exptime {
            entry.set_exptime(exptime, self.now);
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
            exptime: discard.exptime.unwrap_or(0),
            iflags: stale | room,
            cas: 0,
        };
        let Some(reservation) = store.reserve(key, &meta, self.now) else { return Some(MetaDeleted::NoMemory) };
        let shape = ItemShape { class: reservation.class(), size: 0, exptime: meta.exptime };
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

    fn chosen_for(&self, put: &MetaSet) -> Option<u64> {
        self.chosen(put.chosen).filter(|&cas| cas != 0)
    }

    /// Reserves memory for a value. On failure the old item is removed, whatever the mode.
    ///
    /// # Errors
    /// The value is too large, or memory is short.
    pub fn begin_put(&self, key: &Key<'_>, meta: &Meta, put: &MetaSet) -> Result<Reservation, Refused> {
        let mut meta = *meta;
        if self.chosen_for(put).is_some() {
            meta.iflags |= iflag::CAS;
        }
        if put.stale_ok {
            meta.iflags |= iflag::EXT; // the item may inherit any expiry time
        }
        let taken = self.room(key, &meta);
        self.count_set(&taken);
        if let Err(refused) = taken {
            self.tell_refused(key, put.mode, refused);
            self.remove(key);
        }
        taken
    }

    /// Ends a store that stores nothing. It consumes a CAS id, since memcached takes one when the command begins.
    pub fn abandon_put(&self, put: &MetaSet) {
        if put.chosen.is_none() {
            self.cache.store.next_cas();
        }
    }

    /// Stores a filled reservation. Returns also the CAS id to report, 0 if nothing was stored.
    pub fn commit_put(&self, reservation: Reservation, key: &Key<'_>, put: &MetaSet) -> (Stored, u64) {
        let chosen = self.chosen_for(put);
        let write = Write {
            compare: self.shown_cas(put.compare),
            stale_ok: put.stale_ok,
            vivify: put.vivify,
            ..self.write_choosing(put.mode, chosen)
        };
        let stored = self.commit_as(reservation, key, write);
        let shown = match stored {
            Stored::Stored { cas, .. } => self.shown_cas(cas),
            _ => 0,
        };
        (stored, shown)
    }
}
