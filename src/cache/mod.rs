//! The cache verbs: fetch, store, delete, arithmetic, touch; one file each. Independent of any protocol.
//!
//! Owns what a verb means and what it counts; knows no wire format and no sockets. A protocol makes one [`Verbs`] for
//! each run of a session, and a [`Key`] for each command, and calls these. The store below works under its bucket
//! locks; most reads are optimistic and take none.

mod arith;
mod backing;
mod delete;
mod fetch;
mod store;
mod touch;
mod watch_events;

pub use crate::store::Key;
pub use arith::{Adjust, Adjusted, Arith, ArithResult, Initial};
pub use backing::{Admission, Backing, CommitNumber, CommitReport, Committed, Completion, Fetched, Load, NOT_KEPT};
pub use delete::{Deleted, MetaDelete, MetaDeleted};
pub use fetch::{MetaGet, MetaSeen, Recache};
pub use store::{Family, Storage, Vivify};

use crate::clock::Expiry;
use crate::events::{EventClass, Log};
use crate::hotkeys::HotKeys;
use crate::stats::{Counter, Counters, PrefixStats};
use crate::store::{Dead, Lookup, Store};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Items, and the state that belongs to them.
pub struct Cache {
    /// The item store.
    pub store: &'static Store,
    /// Whether CAS ids are reported (no `-C`).
    pub use_cas: bool,
    /// Counts of `stats detail`.
    pub prefixes: PrefixStats,
    /// Samples of the accessed keys.
    pub hotkeys: HotKeys,
    detail: AtomicBool,
    /// What keeps items that memory does not hold.
    backing: OnceLock<Box<dyn Backing>>,
}

impl Cache {
    /// Creates a cache over `store`.
    pub fn new(store: &'static Store, use_cas: bool, prefix_delimiter: u8, detail: bool, hotkeys: HotKeys) -> Self {
        let prefixes = PrefixStats::new(prefix_delimiter);
        Self { store, use_cas, prefixes, hotkeys, detail: AtomicBool::new(detail), backing: OnceLock::new() }
    }

    /// Puts a backing behind the cache; the first call wins.
    pub fn put_behind(&self, backing: Box<dyn Backing>) {
        let _ = self.backing.set(backing);
    }

    /// What is behind the cache, if there is anything.
    #[inline]
    pub fn backing(&self) -> Option<&dyn Backing> {
        self.backing.get().map(|backing| &**backing)
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

/// Attempt of a command that may wait for the backing. It waits once: from then on, what memory does not hold is a
/// miss, and nothing is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It has not waited.
    First,
    /// It waited before it ran.
    AfterWait,
    /// It ran, found its item missing, waited, and runs again: the access is counted.
    Again,
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
    /// Relative time from which the lifetime of an item stored now counts: see `Clock::begun`.
    pub life_begin: u32,
    /// Log of the events for watchers.
    pub log: Log<'a>,
    /// Which attempt of the command this is.
    pub attempt: Attempt,
}

impl Verbs<'_> {
    /// The same verbs for a part of a command whose access is counted already.
    fn uncounted(&self) -> Self {
        Self { log: self.log.without(EventClass::ACCESSES), ..*self }
    }

    /// Seconds left until `exptime`, as reported to clients. A time in the past wraps around, as in memcached.
    #[inline]
    pub fn seconds_left(&self, exptime: u32) -> u32 {
        exptime.wrapping_sub(if exptime > self.now { self.life_begin } else { self.now })
    }

    /// Relative time of an expiry time by the present wall clock; 0 = never.
    #[inline]
    pub fn relative(&self, expiry: Expiry) -> u32 {
        self.cache.store.relative(expiry)
    }

    /// CAS id as clients see it.
    #[inline]
    pub fn shown_cas(&self, cas: u64) -> u64 {
        if self.cache.use_cas { cas } else { 0 }
    }

    /// The CAS id that a client chose; `None` without CAS ids (`-C`).
    #[inline]
    fn chosen(&self, cas: Option<u64>) -> Option<u64> {
        cas.filter(|_| self.cache.use_cas)
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
}
