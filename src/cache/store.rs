//! Stores: memory for a value, then the commit of the complete value by its verb's rule.
//!
//! Owns what a store counts, what a refusal removes, and the CAS id of the new item. Called through [`Verbs`] by every
//! protocol; `arith` commits by the same path.

use super::watch_events::ItemShape;
use super::{Key, Refused, Verbs};
use crate::clock::Expiry;
use crate::events::EventClass;
use crate::stats::{ClassCounter, Counter, PrefixEvent};
use crate::store::{Meta, Mode, Reservation, Stored, Write, iflag};

/// Item to create on a miss.
#[derive(Clone, Copy, Debug)]
pub struct Vivify {
    /// When it expires.
    pub expiry: Expiry,
    /// CAS id, if the client chose one.
    pub chosen: Option<u64>,
}

/// Family of a storage command: memcached's families follow different rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `set` and the like. A refused `set` removes the old item: a miss is better than a stale value.
    Classic,
    /// `ms`. Any refused store removes the old item; `stats detail` does not count it.
    Meta,
    /// Packets of the binary protocol. As `Classic`, but a store is counted once its value has arrived, and a refusal
    /// is not.
    Binary,
}

/// A storage command.
#[derive(Clone, Copy, Debug)]
pub struct Storage {
    /// The family whose rules it follows.
    pub family: Family,
    /// The verb; `Cas` if a set or replace came with a CAS id.
    pub mode: Mode,
    /// CAS id to compare with; 0 matches none.
    pub compare: u64,
    /// A `compare` below the item's CAS id also stores, as stale.
    pub stale_ok: bool,
    /// An append or prepend stores on a miss.
    pub vivify: bool,
    /// CAS id of the stored item; 0 = a new one.
    pub chosen: Option<u64>,
}

impl Storage {
    /// A command without the options of `ms`.
    #[inline]
    pub fn new(family: Family, mode: Mode, compare: u64) -> Self {
        Self { family, mode, compare, stale_ok: false, vivify: false, chosen: None }
    }
}

impl Verbs<'_> {
    /// Reserves memory for a value.
    ///
    /// # Errors
    /// The value is too large, or memory is short.
    #[inline]
    pub fn reserve(&self, key: &Key<'_>, meta: &Meta, storage: &Storage) -> Result<Reservation, Refused> {
        if storage.family != Family::Meta && self.cache.detail() {
            self.cache.prefixes.record(key.bytes(), PrefixEvent::Set);
        }
        let mut meta = *meta;
        if self.chosen_for(storage).is_some() {
            meta.iflags |= iflag::CAS;
        }
        if storage.stale_ok {
            meta.iflags |= iflag::EXT; // the item may inherit any expiry time
        }
        let (store, sizes) = (self.cache.store, self.cache.store.sizes());
        let taken = match sizes.fits(sizes.memcached_size(meta.klen, meta.vlen, meta.flags != 0)) {
            true => store.reserve(key, &meta, self.now).ok_or(Refused::NoMemory),
            false => Err(Refused::TooLarge),
        };
        if storage.family != Family::Binary {
            match &taken {
                Ok(reservation) => self.counters.add_class(reservation.class(), ClassCounter::SetCmds),
                Err(Refused::TooLarge) => self.counters.add(Counter::StoreTooLarge, 1),
                Err(Refused::NoMemory) => self.counters.add(Counter::StoreNoMemory, 1),
            }
        }
        if let Err(refused) = taken {
            self.tell_refused(key, storage.mode, refused);
            if storage.mode == Mode::Set || storage.family == Family::Meta {
                self.uncounted().remove(key);
            }
        }
        taken
    }

    /// Stores a filled reservation by its verb's rule. Returns also the CAS id to report, 0 if nothing was stored.
    #[inline]
    pub fn commit(&self, reservation: Reservation, key: &Key<'_>, storage: &Storage) -> (Stored, u64) {
        if storage.family == Family::Binary {
            self.counters.add_class(reservation.class(), ClassCounter::SetCmds);
        }
        let write = Write {
            compare: self.shown_cas(storage.compare),
            stale_ok: storage.stale_ok,
            vivify: storage.vivify,
            ..self.write_choosing(storage.mode, self.chosen_for(storage))
        };
        let stored = self.commit_write(reservation, key, write);
        match stored {
            Stored::Stored { cas, .. } => (stored, self.shown_cas(cas)),
            _ => (stored, 0),
        }
    }

    /// Ends a storage command that stores nothing. It consumes a CAS id, since memcached takes one when the command
    /// begins.
    pub fn abandon(&self, storage: &Storage) {
        if storage.chosen.is_none() {
            self.cache.store.next_cas();
        }
    }

    /// The store's `commit`, counted, and reported as a lookup and a store.
    #[inline]
    pub(super) fn commit_write(&self, reservation: Reservation, key: &Key<'_>, write: Write) -> Stored {
        let due = self.due(EventClass::FETCHERS.and(EventClass::MUTATIONS));
        let shape = (!due.is_none()).then(|| ItemShape::of_reservation(&reservation));
        let (stored, info) = self.cache.store.commit(reservation, key, write, self.now);
        if let Some(shape) = shape {
            self.tell_commit(key, (write.mode, due), shape, stored, &info);
        }
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

    /// A write that gives its item CAS id `chosen`, or a new one.
    #[inline]
    pub(super) fn write_choosing(&self, mode: Mode, chosen: Option<u64>) -> Write {
        match chosen {
            Some(cas) => Write { chosen: true, ..Write::new(mode, cas) },
            None => Write::new(mode, self.cache.store.next_cas()),
        }
    }

    #[inline]
    fn chosen_for(&self, storage: &Storage) -> Option<u64> {
        self.chosen(storage.chosen).filter(|&cas| cas != 0)
    }
}
