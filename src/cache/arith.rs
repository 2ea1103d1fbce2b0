//! Increment and decrement.
//!
//! Owns memcached's number rules: wrap at 2^64, floor at 0, a shorter result padded with spaces in place, a
//! longer one in a new item. Called through [`Verbs`] by every protocol.

use super::{Key, Verbs};
use crate::decimal;
use crate::stats::{ClassCounter, Counter};
use crate::store::{Found, Meta, Mode, Stored, Write, iflag};

/// What to add.
#[derive(Clone, Copy, Debug)]
pub struct Arith {
    /// Increment, else decrement.
    pub incr: bool,
    /// By how much.
    pub delta: u64,
    /// CAS id the item must have; 0 = any.
    pub compare: u64,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// The new number, and the item's new CAS id.
    Number(u64, u64),
    /// The value is no number.
    NonNumeric,
    /// No memory for a longer number.
    NoMemory,
    /// No such item.
    NotFound,
    /// Another CAS id.
    Exists,
}

/// What is to be done after a look at the item.
enum Next {
    Finished(Sum),
    /// The result needs a longer item.
    Longer {
        number: u64,
        meta: Meta,
        cas: u64,
    },
}

/// Longest number: 2^64 - 1 in decimal.
const DIGITS_MAX: usize = 20;

impl Verbs<'_> {
    /// Adds to or subtracts from the number that the item holds.
    pub fn arith(&self, key: &Key<'_>, arith: Arith) -> Sum {
        let sum = self.add(key, arith);
        if sum == Sum::NotFound {
            self.counters.add(if arith.incr { Counter::IncrMisses } else { Counter::DecrMisses }, 1);
        }
        sum
    }

    /// The same, without counting a miss.
    pub(super) fn add(&self, key: &Key<'_>, arith: Arith) -> Sum {
        loop {
            let mut class = 0;
            let found = self.cache.store.visit(key.bytes(), key.hash(), self.now, |entry| {
                class = entry.class();
                self.add_in_place(key, arith, entry)
            });
            let next = match found {
                Found::Hit(next) => next,
                Found::Miss => return Sum::NotFound,
                Found::Lapsed(lapse) => {
                    self.count_lapse(lapse);
                    return Sum::NotFound;
                }
            };
            let sum = match next {
                Next::Finished(sum) => sum,
                Next::Longer { number, meta, cas } => match self.store_longer(key, number, &meta, cas) {
                    Some(sum) => sum,
                    None => continue, // another writer came first
                },
            };
            if matches!(sum, Sum::Number(..) | Sum::NoMemory) {
                let counter = if arith.incr { ClassCounter::IncrHits } else { ClassCounter::DecrHits };
                self.counters.add_class(class, counter);
            }
            return sum;
        }
    }

    fn add_in_place(&self, key: &Key<'_>, arith: Arith, entry: &mut crate::store::Entry) -> Next {
        let vlen = entry.vlen();
        if vlen == 0 || entry.is_chunked() {
            return Next::Finished(Sum::NonNumeric);
        }
        if arith.compare != 0 && arith.compare != self.shown_cas(entry) {
            return Next::Finished(Sum::Exists);
        }
        if vlen > crate::limits::COPY_MAX {
            // memcached would look into it; a number padded to more than 4 KB is not one here.
            return Next::Finished(Sum::NonNumeric);
        }
        let mut value = Vec::with_capacity(vlen + 16);
        entry.copy_value(&mut value);
        let Some(old) = decimal::c_unsigned(&value) else { return Next::Finished(Sum::NonNumeric) };
        let number = if arith.incr { old.wrapping_add(arith.delta) } else { old.saturating_sub(arith.delta) };
        let mut text = itoa::Buffer::new();
        let digits = text.format(number).as_bytes();
        if digits.len() > vlen {
            let meta = Meta {
                klen: key.bytes().len(),
                vlen: digits.len(),
                flags: entry.flags(),
                exptime: entry.exptime(self.now),
                iflags: entry.iflags() & iflag::KEY_BINARY,
                cas: 0,
            };
            return Next::Longer { number, meta, cas: entry.cas() };
        }
        let cas = self.cache.store.next_cas();
        value.clear();
        value.extend_from_slice(digits);
        value.resize(vlen, b' ');
        entry.overwrite(&value);
        entry.set_cas(cas);
        Next::Finished(Sum::Number(number, cas))
    }

    /// Replaces the item by one that holds the longer number, if it is still the one with CAS id `seen`.
    fn store_longer(&self, key: &Key<'_>, number: u64, meta: &Meta, seen: u64) -> Option<Sum> {
        let store = self.cache.store;
        let Some(mut reservation) = store.reserve(key.bytes(), meta, self.now) else { return Some(Sum::NoMemory) };
        let mut digits = Vec::with_capacity(DIGITS_MAX);
        decimal::put(&mut digits, number);
        if reservation.write(&digits).is_err() {
            return Some(Sum::NoMemory);
        }
        let cas = store.next_cas();
        let write = Write { mode: Mode::Cas, compare: seen, stale_ok: false, cas };
        match store.commit(reservation, key.bytes(), key.hash(), write, self.now).0 {
            Stored::Stored { .. } => {
                self.counters.add(Counter::TotalItems, 1);
                Some(Sum::Number(number, cas))
            }
            Stored::NoMemory => Some(Sum::NoMemory),
            _ => None,
        }
    }
}
