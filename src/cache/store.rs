//! Stores: memory for a value, then the commit of the complete value by its verb's rule.
//!
//! Owns what a store counts, what a refusal removes, and the CAS id of the new item. Called through [`Verbs`] by every
//! protocol.

use super::{Key, Refused, Verbs};
use crate::stats::{ClassCounter, Counter, PrefixEvent};
use crate::store::{Meta, Mode, Reservation, Stored, Write, iflag};

/// Item to create on a miss.
#[derive(Clone, Copy, Debug)]
pub struct Vivify {
    /// Expiry time.
    pub exptime: u32,
    /// CAS id, if the client chose one.
    pub chosen: Option<u64>,
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

impl Verbs<'_> {
    /// Reserves memory for a value, and counts a set. On failure a `Set` removes the old item: a miss is better than
    /// a stale value.
    ///
    /// # Errors
    /// The value is too large, or memory is short.
    #[inline]
    pub fn begin(&self, key: &Key<'_>, meta: &Meta, mode: Mode) -> Result<Reservation, Refused> {
        let taken = self.reserve(key, meta, mode);
        self.count_set(&taken);
        taken
    }

    /// Reserves memory for a value as [`Verbs::begin`] does, without counting: the binary protocol counts a set once
    /// its value has arrived, and no refusals.
    ///
    /// # Errors
    /// The value is too large, or memory is short.
    #[inline]
    pub fn reserve(&self, key: &Key<'_>, meta: &Meta, mode: Mode) -> Result<Reservation, Refused> {
        if self.cache.detail() {
            self.cache.prefixes.record(key.bytes(), PrefixEvent::Set);
        }
        let taken = self.room(key, meta);
        if let Err(refused) = taken {
            self.tell_refused(key, mode, refused);
        }
        if taken.is_err() && mode == Mode::Set {
            self.remove(key);
        }
        taken
    }

    #[inline]
    fn room(&self, key: &Key<'_>, meta: &Meta) -> Result<Reservation, Refused> {
        let store = self.cache.store;
        if !store.sizes().fits(store.sizes().memcached_size(meta.klen, meta.vlen, meta.flags != 0)) {
            return Err(Refused::TooLarge);
        }
        store.reserve(key, meta, self.now).ok_or(Refused::NoMemory)
    }

    /// Counts a set that got memory, or its refusal.
    #[inline]
    fn count_set(&self, taken: &Result<Reservation, Refused>) {
        match taken {
            Ok(reservation) => self.counters.add_class(reservation.class(), ClassCounter::SetCmds),
            Err(Refused::TooLarge) => self.counters.add(Counter::StoreTooLarge, 1),
            Err(Refused::NoMemory) => self.counters.add(Counter::StoreNoMemory, 1),
        }
    }

    /// Stores a filled reservation by its verb's rule. Consumes one CAS id, stored or not.
    #[inline]
    pub fn commit(&self, reservation: Reservation, key: &Key<'_>, mode: Mode, compare: u64) -> Stored {
        self.commit_as(reservation, key, self.write(mode, compare))
    }

    /// Commits a reservation that was not counted. Returns also the CAS id that clients see.
    #[inline]
    pub fn commit_numbered(&self, reservation: Reservation, key: &Key<'_>, mode: Mode, compare: u64) -> (Stored, u64) {
        self.counters.add_class(reservation.class(), ClassCounter::SetCmds);
        let write = self.write(mode, compare);
        let stored = self.commit_as(reservation, key, write);
        let cas = if let Stored::Stored { cas, .. } = stored { cas } else { write.cas };
        (stored, self.shown_cas(cas))
    }

    #[inline]
    fn write(&self, mode: Mode, compare: u64) -> Write {
        let compare = if mode == Mode::Cas && !self.cache.use_cas { 0 } else { compare };
        Write { compare, ..Write::new(mode, self.cache.store.next_cas()) }
    }

    /// A write that gives its item CAS id `chosen`, or a new one.
    pub(super) fn write_choosing(&self, mode: Mode, chosen: Option<u64>) -> Write {
        match chosen {
            Some(cas) => Write { chosen: true, ..Write::new(mode, cas) },
            None => Write::new(mode, self.cache.store.next_cas()),
        }
    }

    #[inline]
    fn commit_as(&self, reservation: Reservation, key: &Key<'_>, write: Write) -> Stored {
        let (stored, info) = self.commit_told(reservation, key, write);
        if let Some(dead) = info.dead {
            self.count_dead(dead);
        }
        if write.mode == Mode::Cas {
            match (stored, info.old_class) {
                (Stored::Stored { .. }, Some(class)) => self.counters.add_class(class, ClassCounter::CasHits),
                (Stored::Exists, Some(class)) => self.counters.add_class(class, ClassCounter::CasBadval),
                _ => self.counters.add(Counter::CasMisses, 1),
            }
        }
        if matches!(stored, Stored::Stored { .. }) {
            self.counters.add(Counter::TotalItems, 1);
        }
        stored
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
