//! Watch events of the verbs: lookups, stores, deletions; samples of their keys.
//!
//! Owns which lookups and stores are events. As in memcached, a store or a delete is reported as a lookup too. For the
//! hot keys each command counts as one access of each of its keys. If no client watches and no keys are sampled,
//! nothing runs here but the test of one mask.

use super::{Attempt, Key, Refused, Verbs};
use crate::events::{Event, EventClass, LookupStatus, StoreStatus, StoreVerb};
use crate::hotkeys::{Access, AccessKind};
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

/// What an item event shows of the item.
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

/// The event classes to which a command's first lookup is reported. Later attempts of the same command are not
/// reported.
pub(super) struct LookupNotice {
    due: EventClass,
    kind: AccessKind,
}

impl Verbs<'_> {
    /// The notice for one key of a command. Counts the access, so a command takes exactly one for each key.
    #[inline]
    pub(super) fn notice(&self, kind: AccessKind) -> LookupNotice {
        LookupNotice { due: self.due(EventClass::FETCHERS), kind }
    }

    /// Those of `classes` that are watched, and [`EventClass::ACCESSES`] if this access is a sample.
    #[inline]
    pub(super) fn due(&self, classes: EventClass) -> EventClass {
        let wanted = self.log.wanted_of(classes.and(EventClass::ACCESSES));
        if wanted.is_none() { wanted } else { self.count_down(wanted) }
    }

    #[cold]
    fn count_down(&self, wanted: EventClass) -> EventClass {
        // A command that runs again, after it waited for its item, has been counted.
        let is_counted = wanted.meets(EventClass::ACCESSES) && self.attempt != Attempt::Again;
        let is_sample = is_counted && self.cache.hotkeys.is_due(self.log.worker());
        if is_sample { wanted } else { wanted.without(EventClass::ACCESSES) }
    }

    /// Records a sampled access for the hot keys.
    #[cold]
    fn sample(&self, key: &Key<'_>, access: Access) {
        self.cache.hotkeys.record(self.log.worker(), self.now, key.hash(), key.bytes(), access);
    }

    /// The store's `visit`, reported as a lookup.
    #[inline]
    pub(super) fn visit<R>(&self, key: &Key<'_>, kind: AccessKind, visit: impl FnOnce(&mut Entry) -> R) -> Lookup<R> {
        self.visit_once(key, &mut self.notice(kind), visit)
    }

    /// [`Verbs::visit`] for a lookup that may be repeated: only the first attempt is reported.
    #[inline]
    pub(super) fn visit_once<R>(
        &self,
        key: &Key<'_>,
        notice: &mut LookupNotice,
        visit: impl FnOnce(&mut Entry) -> R,
    ) -> Lookup<R> {
        let watched = !notice.due.is_none();
        let mut shape = ItemShape::default();
        let found = self.cache.store.visit(key, self.now, |entry| {
            if watched {
                shape = ItemShape::of(entry);
            }
            visit(entry)
        });
        if watched {
            self.tell_found(key, &found, shape, notice);
        }
        found
    }

    /// The store's `read`, reported as a lookup unless the caller must fall back to `visit`.
    #[inline]
    pub(super) fn read<R>(
        &self,
        key: &Key<'_>,
        notice: &mut LookupNotice,
        bump: bool,
        mut look: impl FnMut(&Entry) -> R,
    ) -> Option<Lookup<R>> {
        let watched = !notice.due.is_none();
        let mut shape = ItemShape::default();
        let found = self.cache.store.read(key, self.now, bump, |entry| {
            if watched {
                shape = ItemShape::of(entry);
            }
            look(entry)
        })?;
        if watched {
            self.tell_found(key, &found, shape, notice);
        }
        Some(found)
    }

    #[cold]
    fn tell_found<R>(&self, key: &Key<'_>, found: &Lookup<R>, shape: ItemShape, notice: &mut LookupNotice) {
        let due = std::mem::take(&mut notice.due);
        if due.meets(EventClass::ACCESSES) {
            let bytes = if notice.kind == AccessKind::Read { shape.size } else { 0 };
            let missed = !matches!(found, Lookup::Hit(_));
            self.sample(key, Access { kind: notice.kind, missed, bytes });
        }
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

    /// Reports a store as a lookup and a store, to those of `due`.
    #[cold]
    pub(super) fn tell_commit(
        &self,
        key: &Key<'_>,
        (mode, due): (Mode, EventClass),
        shape: ItemShape,
        stored: Stored,
        info: &CommitInfo,
    ) {
        if due.meets(EventClass::ACCESSES) {
            self.sample(key, Access { kind: AccessKind::Write, missed: false, bytes: shape.size });
        }
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
        if !self.due(EventClass::NONE).is_none() {
            self.sample(key, Access { kind: AccessKind::Write, missed: false, bytes: 0 });
        }
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
