//! Watch events of the verbs: lookups, stores, deletions.
//!
//! Owns which lookups and stores are events, as in memcached: a store or delete looks its key up first. If the event
//! class is not watched, nothing runs here but the test of one bit.

use super::{Key, Refused, Verbs};
use crate::events::{Event, EventClass, LookupStatus, StoreStatus, StoreVerb};
use crate::store::{CommitInfo, Dead, Entry, Lookup, Mode, Reservation, Stored};

fn status_of(dead: Option<Dead>) -> LookupStatus {
    match dead {
        None => LookupStatus::NotFound,
        Some(Dead::Flushed) => LookupStatus::Flushed,
        Some(Dead::Expired) => LookupStatus::Expired,
    }
}

impl From<Mode> for StoreVerb {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Set => Self::Set,
            Mode::Add => Self::Add,
            Mode::Replace => Self::Replace,
            Mode::Append => Self::Append,
            Mode::Prepend => Self::Prepend,
            Mode::Cas => Self::Cas,
        }
    }
}

impl From<Refused> for StoreStatus {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooLarge => Self::TooLarge,
            Refused::NoMemory => Self::NoMemory,
        }
    }
}

impl From<Stored> for StoreStatus {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Stored { .. } => Self::Stored,
            Stored::NotStored => Self::NotStored,
            Stored::Exists => Self::Exists,
            Stored::NotFound => Self::NotFound,
            Stored::NoMemory => Self::NoMemory,
        }
    }
}

/// The item in an item event.
#[derive(Clone, Copy, Default)]
pub(super) struct ItemShape {
    pub class: u8,
    pub size: usize,
    /// Expiry time; 0 = never.
    pub exptime: u32,
}

impl ItemShape {
    /// Shape of an item that was looked up.
    pub fn of(entry: &Entry) -> Self {
        Self { class: entry.class(), size: entry.vlen(), exptime: 0 }
    }

    /// Shape of an item that is to be stored.
    pub fn of_reservation(new: &Reservation) -> Self {
        Self { class: new.class(), size: new.vlen(), exptime: new.exptime() }
    }
}

impl Verbs<'_> {
    /// The store's `visit`, reported to watchers as a lookup.
    #[inline]
    pub(super) fn visit<R>(&self, key: &Key<'_>, visit: impl FnOnce(&mut Entry) -> R) -> Lookup<R> {
        self.visit_once(key, &mut false, visit)
    }

    /// [`Verbs::visit`] for a lookup that may be repeated: only the first attempt is reported.
    #[inline]
    pub(super) fn visit_once<R>(
        &self,
        key: &Key<'_>,
        reported: &mut bool,
        visit: impl FnOnce(&mut Entry) -> R,
    ) -> Lookup<R> {
        let watched = self.log.wants(EventClass::FETCHERS) && !*reported;
        let mut shape = ItemShape::default();
        let found = self.cache.store.visit(key, self.now, |entry| {
            if watched {
                shape = ItemShape::of(entry);
            }
            visit(entry)
        });
        if watched {
            *reported = true;
            self.tell_found(key, &found, shape);
        }
        found
    }

    /// The store's `read`, reported as a lookup unless the caller must fall back to `visit`.
    #[inline]
    pub(super) fn read<R>(&self, key: &Key<'_>, bump: bool, mut look: impl FnMut(&Entry) -> R) -> Option<Lookup<R>> {
        let watched = self.log.wants(EventClass::FETCHERS);
        let mut shape = ItemShape::default();
        let found = self.cache.store.read(key, self.now, bump, |entry| {
            if watched {
                shape = ItemShape::of(entry);
            }
            look(entry)
        })?;
        if watched {
            self.tell_found(key, &found, shape);
        }
        Some(found)
    }

    #[cold]
    fn tell_found<R>(&self, key: &Key<'_>, found: &Lookup<R>, shape: ItemShape) {
        let status = match found {
            Lookup::Hit(_) => LookupStatus::Found,
            Lookup::Miss => LookupStatus::NotFound,
            Lookup::Dead(dead) => status_of(Some(*dead)),
        };
        self.tell_lookup(key, status, shape);
    }

    #[cold]
    pub(super) fn tell_lookup(&self, key: &Key<'_>, status: LookupStatus, ItemShape { class, size, .. }: ItemShape) {
        self.log.put(&Event::ItemGet { key: key.bytes(), status, class, fd: self.log.fd(), size });
    }

    #[cold]
    pub(super) fn tell_commit(&self, key: &Key<'_>, mode: Mode, shape: ItemShape, stored: Stored, info: &CommitInfo) {
        let (status, class) = match info.old_class {
            Some(class) => (LookupStatus::Found, class),
            None => (status_of(info.dead), 0),
        };
        self.tell_lookup(key, status, ItemShape { class, size: info.old_vlen, exptime: 0 });
        let mut shape = shape;
        if let Some((class, exptime)) = info.joined {
            (shape.class, shape.exptime) = (class, exptime);
        }
        if let Stored::Stored { vlen, .. } = stored {
            shape.size = vlen;
        }
        self.tell_store(key, mode, stored.into(), shape);
    }

    #[cold]
    pub(super) fn tell_store(&self, key: &Key<'_>, mode: Mode, status: StoreStatus, shape: ItemShape) {
        let ItemShape { class, size, exptime } = shape;
        // An item that expired before it was stored shows a TTL of 136 years, as in memcached.
        let ttl = if exptime == 0 { 0 } else { self.seconds_left(exptime) };
        let (key, verb, fd) = (key.bytes(), mode.into(), self.log.fd());
        self.log.put(&Event::ItemStore { key, status, verb, ttl, class, fd, size });
    }

    /// Reports a store that got no memory.
    #[cold]
    pub(super) fn tell_refused(&self, key: &Key<'_>, mode: Mode, refused: Refused) {
        self.tell_store(key, mode, refused.into(), ItemShape::default());
    }

    /// Reports an item that a client deleted; `meta` distinguishes `md` from `delete`.
    #[inline]
    pub(super) fn tell_deleted(&self, key: &Key<'_>, meta: bool, ItemShape { class, size, .. }: ItemShape) {
        if self.log.wants(EventClass::DELETIONS) {
            self.log.put(&Event::Deleted { key: key.bytes(), meta, class, size });
        }
    }
}
