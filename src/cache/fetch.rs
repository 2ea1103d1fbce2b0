//! Fetches: a lookup that may touch, claim or create the item; inspection without side effects.
//!
//! Owns what a hit and a miss count, and the win tokens: which client gets one, and so claims the item in order to
//! store it again. Called through [`Verbs`] by every protocol. As in memcached, `stats detail` does not count meta
//! commands.

use super::store::Vivify;
use super::{Attempt, Fetched, Key, Load, Verbs};
use crate::clock::Expiry;
use crate::hotkeys::AccessKind;
use crate::stats::{ClassCounter, Counter, PrefixEvent};
use crate::store::{Entry, Lookup, Meta, Mode, Stored, iflag, state};

/// Option `R` of the meta get: claim an item, by its win token, if it is about to expire.
#[derive(Clone, Copy, Debug)]
pub struct Recache {
    /// The fetch claims the item if it expires before this time.
    pub before: u32,
    /// The command's touch came before this option: compare the expiry time that it sets.
    pub touched: bool,
}

/// Options of a meta fetch.
#[derive(Clone, Copy, Debug)]
pub struct MetaGet {
    /// New expiry time.
    pub touch: Option<Expiry>,
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
    /// Relative expiry time; 0 = never.
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

impl Verbs<'_> {
    /// Looks `key` up and passes a hit to `show`. With `touch`, the item gets that expiry time first. Counts as a
    /// get, or as a touch.
    ///
    /// `show` may run more than once, and also before a miss: see [`Store::read`]. Only the last run counts.
    ///
    /// [`Store::read`]: crate::store::Store::read
    #[inline]
    pub fn fetch<R>(&self, key: &Key<'_>, touch: Option<Expiry>, show: impl FnMut(&Entry) -> R) -> Fetched<R> {
        let hit = self.look(key, AccessKind::Read, touch, show);
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

    /// Begins to load an item that memory does not hold, if there is a backing that has it.
    #[inline]
    fn load(&self, key: &Key<'_>) -> Option<Load> {
        if self.attempt == Attempt::First { self.cache.backing()?.load(key) } else { None }
    }

    /// Begins to load the item of `key` if only the backing has it, for a command that depends on the item and is about
    /// to run. No access is recorded; a dead item is counted.
    pub fn load_first(&self, key: &Key<'_>) -> Option<Load> {
        let store = self.cache.store;
        let found = store.read(key, self.now, false, |_| ()).unwrap_or_else(|| store.visit(key, self.now, |_| ()));
        if self.live(found).is_some() { None } else { self.load(key) }
    }

    /// Looks `key` up without counting; also returns the class and state of a hit.
    #[inline]
    pub(super) fn look<R>(
        &self,
        key: &Key<'_>,
        kind: AccessKind,
        touch: Option<Expiry>,
        mut show: impl FnMut(&Entry) -> R,
    ) -> Option<(R, (u8, u8))> {
        let place = |entry: &Entry| (entry.class(), entry.state());
        let mut notice = self.notice(kind);
        let read = match touch {
            None => self.read(key, &mut notice, true, |entry| (show(entry), place(entry))),
            Some(_) => None,
        };
        let found = read.unwrap_or_else(|| {
            self.visit_with_room(key, touch, &mut notice, |entry| {
                if let Some(expiry) = touch {
                    entry.set_expiry_nearly(expiry, self.now);
                }
                let place = place(entry);
                entry.bump(self.now);
                (show(entry), place)
            })
        });
        self.live(found)
    }

    #[inline]
    pub(super) fn count_fetch(&self, touch: bool, hit: Option<(u8, u8)>) {
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

    /// Looks `key` up and passes the item to `show`, with its state before the fetch. The entry is `None` for an item
    /// that this fetch created: it has no value. `show` does not run if the reply will be an error.
    ///
    /// `show` may run more than once, and also before a miss: see [`Store::read`]. Only the last run counts.
    ///
    /// [`Store::read`]: crate::store::Store::read
    #[inline]
    pub fn peek(&self, key: &Key<'_>, peek: &MetaGet, mut show: impl FnMut(&MetaSeen, Option<&Entry>)) -> Fetched<()> {
        let mut notice = self.notice(AccessKind::Read);
        let mut read = None;
        if peek.only_looks() {
            read = self.read(key, &mut notice, peek.bump, |entry| {
                show(&self.see(entry), Some(entry));
                (entry.class(), entry.state())
            });
        }
        loop {
            let found = read.take().unwrap_or_else(|| {
                self.visit_with_room(key, peek.touch, &mut notice, |entry| {
                    let place = (entry.class(), entry.state());
                    let seen = self.meet(entry, peek);
                    if !peek.spoilt {
                        show(&seen, Some(entry));
                    }
                    place
                })
            });
            match found {
                Lookup::Hit(place) => {
                    if !peek.spoilt {
                        self.count_fetch(peek.touch.is_some(), Some(place));
                    }
                    return Fetched::Hit(());
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

    /// Applies touch, claim and bump to a linked item; returns its state before them.
    #[inline]
    fn meet(&self, entry: &mut Entry, peek: &MetaGet) -> MetaSeen {
        let mut seen = self.see(entry);
        let expires_soon = peek.recache.is_some_and(|recache| {
            let touched = peek.touch.filter(|_| recache.touched).map(|expiry| self.relative(expiry));
            let judged = touched.unwrap_or(seen.exptime);
            judged != 0 && judged < recache.before
        });
        seen.won = !peek.spoilt && !seen.sent && (seen.stale || expires_soon);
        if let Some(expiry) = peek.touch {
            entry.set_expiry_nearly(expiry, self.now);
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
            Meta { klen: key.bytes().len(), vlen: 0, flags: 0, expiry: vivify.expiry, iflags: token | room, cas: 0 };
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
        let found = self.visit(key, AccessKind::Read, |entry| show(entry));
        self.live(found)
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
