//! The cache verbs: fetch, begin, commit, arith, delete, touch, flush. Independent of any protocol.
//!
//! Owns what a verb means and what it counts; knows no wire format and no sockets. Protocols create a [`Key`] and one
//! [`Verbs`] a run and call these. The store below works under its bucket locks; most reads are optimistic and take
//! none.

mod arith;
mod conditional;
mod meta;
mod source;
mod watch_events;

pub use crate::store::Key;
pub use arith::{Adjust, Adjusted, Arith, ArithResult};
pub use conditional::{Deleted, Initial};
pub use meta::{MetaDelete, MetaDeleted, MetaGet, MetaSeen, MetaSet, Recache, Vivify};
pub use source::{Completion, Fetched, Load, Source};

use crate::clock::Clock;
use crate::events::Log;
use crate::stats::{ClassCounter, Counter, Counters, PrefixEvent, PrefixStats};
use crate::store::{Dead, Entry, Lookup, Meta, Mode, Relayout, Reservation, Store, Stored, Write, state};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use watch_events::ItemShape;

/// Items, and the state that belongs to them.
pub struct Cache {
    /// The item store.
    pub store: &'static Store,
    /// Whether CAS ids are reported (no `-C`).
    pub use_cas: bool,
    /// Counts of `stats detail`.
    pub prefixes: PrefixStats,
    detail: AtomicBool,
    /// Where items that memory does not hold are looked for.
    source: OnceLock<Box<dyn Source>>,
}

impl Cache {
    /// Creates a cache over `store`.
    pub fn new(store: &'static Store, use_cas: bool, prefix_delimiter: u8, detail: bool) -> Self {
        let prefixes = PrefixStats::new(prefix_delimiter);
        Self { store, use_cas, prefixes, detail: AtomicBool::new(detail), source: OnceLock::new() }
    }

    /// Sets the source of items that memory does not hold; the first call wins.
    pub fn load_from(&self, source: Box<dyn Source>) {
        let _ = self.source.set(source);
    }

    /// Switches `stats detail` on or off.
    pub fn set_detail(&self, on: bool) {
        self.detail.store(on, Relaxed);
    }

    /// Whether `stats detail` is on.
    pub fn detail(&self) -> bool {
        self.detail.load(Relaxed)
    }
}

/// Reason for which a value cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Larger than `-I`.
    TooLarge,
    /// No free chunk.
    NoMemory,
}

/// Outcome of a touch or delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Done {
    Done,
    NotFound,
}

/// The verbs of one run: cache, the running worker's counters and the time.
#[derive(Clone, Copy)]
pub struct Verbs<'a> {
    /// The items.
    pub cache: &'a Cache,
    /// The running worker's counters.
    pub counters: &'a Counters,
    /// Relative time.
    pub now: u32,
    /// Relative time from which the lifetime of an item stored now counts: see [`Clock::begun`].
    pub life_begin: u32,
    /// Log of the events for watchers.
    pub log: Log<'a>,
    /// A fetch that misses may load the item from the source.
    pub loads: bool,
}

impl Verbs<'_> {
    /// Seconds left until `exptime`, as reported to clients. A time in the past wraps around, as in memcached.
    #[inline]
    pub fn seconds_left(&self, exptime: u32) -> u32 {
        exptime.wrapping_sub(if exptime > self.now { self.life_begin } else { self.now })
    }

    /// Looks `key` up and passes a hit to `show`. With `touch`, the item gets that expiry time first. Counts as a
    /// get, or as a touch.
    ///
    /// `show` may run more than once, and also before a miss: see [`Store::read`]. Only the last run counts.
    #[inline]
    pub fn fetch<R>(&self, key: &Key<'_>, touch: Option<u32>, show: impl FnMut(&Entry) -> R) -> Fetched<R> {
        let hit = self.look(key, touch, show);
        if hit.is_none()
            && let Some(load) = self.load(key)
        {
            return Fetched::Pending(load);
        }
        self.count_fetch(touch.is_some(), hit.as_ref().map(|(_, place)| *place));
        if self.cache.detail() {
            let event = if hit.is_some() { PrefixEvent::Hit } else { PrefixEvent::Miss };
            self.cache.prefixes.record(key.bytes(), event);
        }
        hit.map_or(Fetched::Miss, |(result, _)| Fetched::Hit(result))
    }

    /// Begins to load an item that memory does not hold, if there is a source that has it.
    #[inline]
    fn load(&self, key: &Key<'_>) -> Option<Load> {
        if self.loads { self.cache.source.get()?.load(key) } else { None }
    }

    /// Looks `key` up without counting; also returns the class and state of a hit.
    #[inline]
    fn look<R>(&self, key: &Key<'_>, touch: Option<u32>, mut show: impl FnMut(&Entry) -> R) -> Option<(R, (u8, u8))> {
        let place = |entry: &Entry| (entry.class(), entry.state());
        let read = match touch {
            None => self.read(key, true, |entry| (show(entry), place(entry))),
            Some(_) => None,
        };
        let found = read.unwrap_or_else(|| {
            let show = |entry: &mut Entry| {
                let place = place(entry);
                entry.bump(self.now);
                (show(entry), place)
            };
            match touch {
                None => self.visit(key, show),
                Some(exptime) => self.visit_touching(key, exptime, show),
            }
        });
        self.live(found)
    }

    /// Sets the expiry time of `key`'s item and shows it, in one step. Without memory for the time, the item gets the
    /// latest one that it has room for.
    fn visit_touching<R>(&self, key: &Key<'_>, exptime: u32, mut show: impl FnMut(&mut Entry) -> R) -> Lookup<R> {
        let (mut no_room, mut reported) = (false, false);
        loop {
            let found = self.visit_once(key, &mut reported, |entry| {
                if no_room {
                    entry.set_exptime_nearly(exptime, self.now);
                } else if !entry.set_exptime(exptime, self.now) {
                    return None;
                }
                Some(show(entry))
            });
            match found {
                Lookup::Hit(Some(shown)) => return Lookup::Hit(shown),
                Lookup::Hit(None) => {
                    let room = self.cache.store.make_room(key, Some(exptime), false, self.now);
                    no_room = room == Relayout::NoMemory;
                }
                Lookup::Miss => return Lookup::Miss,
                Lookup::Dead(dead) => return Lookup::Dead(dead),
            }
        }
    }

    #[inline]
    fn count_fetch(&self, touch: bool, hit: Option<(u8, u8)>) {
        match (touch, hit) {
            (false, Some((class, state))) => {
                self.counters.add(Counter::GetCmds, 1);
                self.counters.add_class(class, segment_hits(state));
            }
            (false, None) => {
                self.counters.add(Counter::GetCmds, 1);
                self.counters.add(Counter::GetMisses, 1);
            }
            (true, Some((class, _))) => {
                self.counters.add(Counter::TouchCmds, 1);
                self.counters.add_class(class, ClassCounter::TouchHits);
            }
            (true, None) => {
                self.counters.add(Counter::TouchCmds, 1);
                self.counters.add(Counter::TouchMisses, 1);
            }
        }
    }

    /// Returns a hit; counts an item that was expired or flushed.
    #[inline]
    fn live<R>(&self, found: Lookup<R>) -> Option<R> {
        match found {
            Lookup::Hit(result) => Some(result),
            Lookup::Miss => None,
            Lookup::Dead(dead) => {
                self.count_dead(dead);
                None
            }
        }
    }

    fn count_dead(&self, dead: Dead) {
        let counter = match dead {
            Dead::Expired => Counter::GetExpired,
            Dead::Flushed => Counter::GetFlushed,
        };
        self.counters.add(counter, 1);
    }

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

    /// Removes an item without counting a delete.
    pub fn remove(&self, key: &Key<'_>) {
        let found = self.visit(key, Entry::unlink);
        self.live(found);
    }

    /// `delete`.
    pub fn delete(&self, key: &Key<'_>) -> Done {
        if self.cache.detail() {
            self.cache.prefixes.record(key.bytes(), PrefixEvent::Delete);
        }
        let found = self.visit(key, |entry| {
            entry.unlink();
            ItemShape { class: entry.class(), size: entry.vlen(), exptime: 0 }
        });
        match self.live(found) {
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

    /// `touch`: sets a new expiry time.
    pub fn touch(&self, key: &Key<'_>, exptime: u32) -> Done {
        let hit = self.look(key, Some(exptime), |_| ());
        self.count_fetch(true, hit.as_ref().map(|(_, place)| *place));
        if hit.is_some() { Done::Done } else { Done::NotFound }
    }

    /// `flush_all`; `exptime` as given by the client, 0 or less = now.
    pub fn flush(&self, exptime: i64, clock: &Clock) {
        let oldest = if exptime > 0 { clock.moment(exptime).wrapping_sub(1) } else { self.now - 1 };
        self.cache.store.flush(oldest, self.now);
    }
}

/// Hit counter of the segment in the item's state.
#[inline]
fn segment_hits(item_state: u8) -> ClassCounter {
    match item_state & state::SEGMENT {
        state::HOT => ClassCounter::HitsHot,
        state::WARM => ClassCounter::HitsWarm,
        state::COLD => ClassCounter::HitsCold,
        _ => ClassCounter::HitsTemp,
    }
}
