//! Verbs that name a CAS id or an initial number: what the packet protocol adds to the plain ones.
//!
//! Owns nothing but their rules; counts as the plain verbs do. Called through [`Verbs`].

use super::{Arith, Key, Sum, Verbs};
use crate::decimal;
use crate::stats::{ClassCounter, Counter, PrefixEvent};
use crate::store::{Entry, Meta, Mode, OutOfMemory, Stored, Write};

/// The number that arithmetic on nothing stores.
#[derive(Clone, Copy, Debug)]
pub struct Initial {
    /// The number.
    pub number: u64,
    /// Its item's expiry time.
    pub exptime: u32,
}

/// How a delete with a CAS id ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Deleted {
    Deleted,
    Exists,
    NotFound,
}

impl Verbs<'_> {
    /// The CAS id that clients see of an item.
    #[inline]
    pub fn shown_cas(&self, entry: &Entry) -> u64 {
        if self.cache.use_cas { entry.cas() } else { 0 }
    }

    /// `delete` of the item with CAS id `compare`; 0 = any. Another id counts as nothing.
    pub fn delete_if(&self, key: &Key<'_>, compare: u64) -> Deleted {
        if self.cache.detail() {
            self.cache.prefixes.record(key.bytes(), PrefixEvent::Delete);
        }
        let found = self.cache.store.visit(key.bytes(), key.hash(), self.now, |entry| {
            if compare != 0 && compare != self.shown_cas(entry) {
                return None;
            }
            entry.unlink();
            Some(entry.class())
        });
        match self.live(found) {
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

    /// Arithmetic that stores `initial` where there is no item. Storing it counts neither as hit nor as miss.
    ///
    /// # Errors
    /// There is no memory for the new item.
    pub fn arith_or_create(&self, key: &Key<'_>, arith: Arith, initial: Initial) -> Result<Sum, OutOfMemory> {
        loop {
            let sum = self.add(key, arith);
            if sum != Sum::NotFound {
                return Ok(sum);
            }
            match self.create(key, initial) {
                (Stored::Stored { .. }, cas) => return Ok(Sum::Number(initial.number, cas)),
                (Stored::NoMemory, _) => return Err(OutOfMemory),
                _ => {} // another writer came first
            }
        }
    }

    fn create(&self, key: &Key<'_>, initial: Initial) -> (Stored, u64) {
        let store = self.cache.store;
        let mut digits = Vec::with_capacity(20);
        decimal::put(&mut digits, initial.number);
        let meta =
            Meta { klen: key.bytes().len(), vlen: digits.len(), flags: 0, exptime: initial.exptime, iflags: 0, cas: 0 };
        let Some(mut reservation) = store.reserve(key.bytes(), &meta, self.now) else { return (Stored::NoMemory, 0) };
        if reservation.write(&digits) == Err(OutOfMemory) {
            return (Stored::NoMemory, 0);
        }
        let cas = store.next_cas();
        let write = Write { mode: Mode::Add, compare: 0, stale_ok: false, cas };
        let (stored, met) = store.commit(reservation, key.bytes(), key.hash(), write, self.now);
        if let Some(lapse) = met.lapse {
            self.count_lapse(lapse);
        }
        if matches!(stored, Stored::Stored { .. }) {
            self.counters.add(Counter::TotalItems, 1);
        }
        (stored, cas)
    }
}
