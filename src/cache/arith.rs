//! Increment and decrement.
//!
//! Owns memcached's arithmetic rules: increments wrap at 2^64, decrements stop at 0, a shorter result is padded with
//! spaces in place, a longer one goes into a new item. Called through [`Verbs`] by every protocol.

use super::store::Vivify;
use super::{Key, Verbs};
use crate::clock::Expiry;
use crate::decimal;
use crate::hotkeys::AccessKind;
use crate::limits::COPY_MAX;
use crate::stats::{ClassCounter, Counter};
use crate::store::{Entry, Meta, Mode, OutOfMemory, Pinned, Relayout, Scratch, Stored, Version, Write, iflag};

/// An increment or decrement.
#[derive(Clone, Copy, Debug)]
pub struct Arith {
    /// True for an increment, false for a decrement.
    pub incr: bool,
    /// Amount.
    pub delta: u64,
    /// CAS id the item must have; 0 = any.
    pub compare: u64,
}

impl Arith {
    /// Result for an item that holds `old`.
    fn of(self, old: u64) -> u64 {
        if self.incr { old.wrapping_add(self.delta) } else { old.saturating_sub(self.delta) }
    }
}

/// Number that arithmetic stores on a miss.
#[derive(Clone, Copy, Debug)]
pub struct Initial {
    /// The number.
    pub number: u64,
    /// When its item expires.
    pub expiry: Expiry,
}

/// Outcome of an increment or decrement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithResult {
    /// The new number and the item's new CAS id.
    Number(u64, u64),
    /// The value is not a number.
    NonNumeric,
    /// No memory for a longer number.
    NoMemory,
    /// No such item.
    NotFound,
    /// The item has another CAS id.
    Exists,
}

/// Arithmetic with the options of the meta command.
#[derive(Clone, Copy, Debug)]
pub struct Adjust {
    /// The increment or decrement.
    pub arith: Arith,
    /// New expiry time. As in memcached, it is lost if the result needs a longer item.
    pub touch: Option<Expiry>,
    /// CAS id that the client chose for the item; the reply reports it. An item that is replaced because the result is
    /// longer gets another one, though the reply reports this one.
    pub chosen: Option<u64>,
    /// Item to create on a miss, and its number.
    pub vivify: Option<(Vivify, u64)>,
}

/// Outcome of [`Verbs::adjust`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjusted {
    /// The item holds a new number.
    Number {
        /// New number.
        number: u64,
        /// CAS id to report.
        cas: u64,
        /// Relative expiry time before the touch; 0 = never.
        exptime: u32,
    },
    /// A new item was created.
    Made {
        /// CAS id to report.
        cas: u64,
    },
    /// No memory to create the item.
    NotMade,
    /// No number was stored; never [`ArithResult::Number`].
    Refused(ArithResult),
}

/// Next step after inspecting the item under its bucket's lock.
enum ArithStep {
    Finished(Adjusted),
    MakeRoom,
    /// The value is too large to be read and changed under the lock.
    Large {
        value: Pinned,
        fetched: bool,
        meta: Meta,
        version: Version,
    },
    /// The result needs a longer item.
    Longer {
        number: u64,
        meta: Meta,
        version: Version,
    },
}

impl Verbs<'_> {
    /// Adds to or subtracts from the item's number.
    pub fn arith(&self, key: &Key<'_>, arith: Arith) -> ArithResult {
        match self.adjust(key, Adjust { arith, touch: None, chosen: None, vivify: None }) {
            Adjusted::Number { number, cas, .. } => ArithResult::Number(number, cas),
            Adjusted::Refused(sum) => sum,
            Adjusted::Made { .. } | Adjusted::NotMade => ArithResult::NotFound,
        }
    }

    /// [`Verbs::arith`] with the options of the meta command.
    pub fn adjust(&self, key: &Key<'_>, adjust: Adjust) -> Adjusted {
        let adjust = Adjust { chosen: self.chosen(adjust.chosen), ..adjust };
        let mut notice = self.notice(AccessKind::Write);
        loop {
            let mut class = 0;
            let found = self.visit_once(key, &mut notice, |entry| {
                class = entry.class();
                self.add_in_place(key, adjust, entry)
            });
            let adjusted = match self.live(found) {
                None => match adjust.vivify {
                    None => return self.arith_miss(adjust.arith),
                    Some((vivify, number)) => match self.make_number(key, vivify, number) {
                        Some(made) => return made,
                        None => continue, // another client created it meanwhile
                    },
                },
                Some(ArithStep::Finished(adjusted)) => adjusted,
                Some(ArithStep::MakeRoom) => {
                    let (store, wide) = (self.cache.store, adjust.chosen.is_some());
                    match store.make_room(key, adjust.touch, wide, self.now) {
                        Relayout::Retry => continue,
                        Relayout::NoMemory => Adjusted::Refused(ArithResult::NoMemory),
                    }
                }
                Some(ArithStep::Large { value, fetched, meta, version }) => {
                    match self.add_large(key, adjust, (&value, fetched), meta, version) {
                        Some(adjusted) => adjusted,
                        None => continue, // another writer came first
                    }
                }
                Some(ArithStep::Longer { number, meta, version }) => {
                    match self.store_longer(key, number, &meta, version, adjust.chosen) {
                        Some(adjusted) => adjusted,
                        None => continue,
                    }
                }
            };
            if matches!(adjusted, Adjusted::Number { .. } | Adjusted::Refused(ArithResult::NoMemory)) {
                let counter = if adjust.arith.incr { ClassCounter::IncrHits } else { ClassCounter::DecrHits };
                self.counters.add_class(class, counter);
            }
            return adjusted;
        }
    }

    /// Arithmetic that stores `initial` on a miss. Storing it counts neither as hit nor as miss.
    ///
    /// # Errors
    /// No memory for the new item.
    pub fn arith_or_create(&self, key: &Key<'_>, arith: Arith, initial: Initial) -> Result<ArithResult, OutOfMemory> {
        let vivify = Some((Vivify { expiry: initial.expiry, chosen: None }, initial.number));
        match self.adjust(key, Adjust { arith, touch: None, chosen: None, vivify }) {
            Adjusted::Number { number, cas, .. } => Ok(ArithResult::Number(number, cas)),
            Adjusted::Made { cas } => Ok(ArithResult::Number(initial.number, cas)),
            Adjusted::NotMade => Err(OutOfMemory),
            Adjusted::Refused(sum) => Ok(sum),
        }
    }

    fn arith_miss(&self, arith: Arith) -> Adjusted {
        self.counters.add(if arith.incr { Counter::IncrMisses } else { Counter::DecrMisses }, 1);
        Adjusted::Refused(ArithResult::NotFound)
    }

    fn add_in_place(&self, key: &Key<'_>, adjust: Adjust, entry: &mut Entry) -> ArithStep {
        const NON_NUMERIC: ArithStep = ArithStep::Finished(Adjusted::Refused(ArithResult::NonNumeric));
        let Adjust { arith, touch, chosen, .. } = adjust;
        let vlen = entry.vlen();
        if vlen == 0 || entry.is_chunked() {
            return NON_NUMERIC;
        }
        if arith.compare != 0 && arith.compare != self.shown_cas(entry.cas()) {
            return ArithStep::Finished(Adjusted::Refused(ArithResult::Exists));
        }
        let expiry = entry.expiry(self.now);
        if vlen > COPY_MAX {
            let Some(value) = entry.pin() else { return NON_NUMERIC };
            let wide = if chosen.is_some() { iflag::CAS } else { 0 };
            let iflags = entry.iflags() & (iflag::KEY_BINARY | iflag::STALE | iflag::TOKEN) | wide;
            let meta = Meta { klen: key.bytes().len(), vlen, flags: entry.flags(), expiry, iflags, cas: 0 };
            return ArithStep::Large { value, fetched: entry.fetched(), meta, version: entry.version() };
        }
        let mut value = Scratch::take();
        entry.copy_value(&mut value);
        let Some(old) = decimal::c_unsigned(&value) else { return NON_NUMERIC };
        let number = arith.of(old);
        let mut text = itoa::Buffer::new();
        let digits = text.format(number).as_bytes();
        if digits.len() > vlen {
            let meta = Meta {
                klen: key.bytes().len(),
                vlen: digits.len(),
                flags: entry.flags(),
                expiry,
                iflags: 0, // as in memcached, KEY_BINARY is lost
                cas: 0,
            };
            return ArithStep::Longer { number, meta, version: entry.version() };
        }
        if !entry.has_room(touch, self.now) || !entry.has_room_for_cas(chosen.is_some()) {
            return ArithStep::MakeRoom;
        }
        let cas = self.cache.store.next_cas(); // consumed even if the client chose one
        value.clear();
        value.extend_from_slice(digits);
        value.resize(vlen, b' ');
        entry.overwrite(&value);
        let cas = chosen.unwrap_or(cas);
        entry.set_cas(cas);
        if let Some(expiry) = touch {
            entry.set_expiry(expiry, self.now);
        }
        let exptime = self.relative(expiry);
        ArithStep::Finished(Adjusted::Number { number, cas: self.shown_cas(cas), exptime })
    }

    /// Arithmetic on a large value, which is a number with much padding. Readers may have it pinned, so a new item of
    /// the same size replaces it. `None` if the item no longer has the value of `version`.
    #[cold]
    fn add_large(
        &self,
        key: &Key<'_>,
        adjust: Adjust,
        (value, fetched): (&Pinned, bool),
        meta: Meta,
        version: Version,
    ) -> Option<Adjusted> {
        let mut text = Vec::with_capacity(meta.vlen);
        value.for_each_piece(|bytes| text.extend_from_slice(bytes));
        let Some(old) = decimal::c_unsigned(&text) else { return Some(Adjusted::Refused(ArithResult::NonNumeric)) };
        let number = adjust.arith.of(old);
        text.clear();
        decimal::put(&mut text, number);
        text.resize(meta.vlen, b' ');
        let exptime = self.relative(meta.expiry);
        let meta = Meta { expiry: adjust.touch.unwrap_or(meta.expiry), ..meta };
        let cas = self.cache.store.next_cas(); // consumed even if the client chose one
        let write = Write { chosen: adjust.chosen.is_some(), ..Write::new(Mode::Set, adjust.chosen.unwrap_or(cas)) };
        match self.replace(key, (&text, fetched), &meta, version, write) {
            Ok(Stored::Stored { cas, .. }) => Some(Adjusted::Number { number, cas: self.shown_cas(cas), exptime }),
            Ok(Stored::NoMemory) | Err(OutOfMemory) => Some(Adjusted::Refused(ArithResult::NoMemory)),
            Ok(_) => None,
        }
    }

    /// Builds an item with this value and fetched mark, and replaces the item that still has the value of `version`.
    fn replace(
        &self,
        key: &Key<'_>,
        (value, fetched): (&[u8], bool),
        meta: &Meta,
        version: Version,
        write: Write,
    ) -> Result<Stored, OutOfMemory> {
        let store = self.cache.store;
        let mut reservation = store.reserve(key, meta, self.now).ok_or(OutOfMemory)?;
        reservation.write(value)?;
        if fetched {
            reservation.note_fetch();
        }
        Ok(store.commit_over(reservation, key, write, self.now, version))
    }

    /// Replaces the item by one that holds the longer number. `None` if it no longer has the value of `version`.
    fn store_longer(
        &self,
        key: &Key<'_>,
        number: u64,
        meta: &Meta,
        version: Version,
        chosen: Option<u64>,
    ) -> Option<Adjusted> {
        let mut text = itoa::Buffer::new();
        let digits = text.format(number).as_bytes();
        let write = Write::new(Mode::Set, self.cache.store.next_cas());
        match self.replace(key, (digits, false), meta, version, write) {
            Ok(Stored::Stored { cas, .. }) => {
                self.counters.add(Counter::TotalItems, 1);
                let cas = self.shown_cas(chosen.unwrap_or(cas));
                Some(Adjusted::Number { number, cas, exptime: self.relative(meta.expiry) })
            }
            Ok(Stored::NoMemory) | Err(OutOfMemory) => Some(Adjusted::Refused(ArithResult::NoMemory)),
            Ok(_) => None,
        }
    }

    /// Creates an item that holds `number`; `None` if one exists already.
    fn make_number(&self, key: &Key<'_>, vivify: Vivify, number: u64) -> Option<Adjusted> {
        let store = self.cache.store;
        let mut text = itoa::Buffer::new();
        let digits = text.format(number).as_bytes();
        let chosen = self.chosen(vivify.chosen);
        let meta = Meta {
            klen: key.bytes().len(),
            vlen: digits.len(),
            flags: 0,
            expiry: vivify.expiry,
            iflags: if chosen.is_some() { iflag::CAS } else { 0 },
            cas: 0,
        };
        let Some(mut reservation) = store.reserve(key, &meta, self.now) else { return Some(Adjusted::NotMade) };
        if reservation.write(digits).is_err() {
            return Some(Adjusted::NotMade);
        }
        let write = self.write_choosing(Mode::Add, chosen);
        match self.uncounted().commit_write(reservation, key, write) {
            Stored::Stored { cas, .. } => Some(Adjusted::Made { cas: self.shown_cas(cas) }),
            Stored::NotStored => None,
            _ => Some(Adjusted::NotMade),
        }
    }
}
