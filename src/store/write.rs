//! Writes: reservation, commit, append and prepend, and rewrites for another layout.
//!
//! Owns the conditions under which a new item takes its key: set, add, replace, compare and swap, append, prepend.
//! Knows no protocol; called by `cache` for every mutation that stores a value.

use crate::clock::Expiry;
use crate::point::point;
use crate::store::change::ChangeOp;
use crate::store::entry::Version;
use crate::store::item::{EXPTIME_SHORT_MAX, Item, Key, Meta, SEQ_MASK, iflag, state};
use crate::store::reservation::{Pinned, Reservation};
use crate::store::scratch::Scratch;
use crate::store::store::{Lookup, Store, WIDE_MARGIN};

/// No memory for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Why an item is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// The item's expiry time has passed.
    Expired,
    /// A flush has taken effect since the item was stored.
    Flushed,
}

/// Condition under which a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // memcached's verbs
pub enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
}

/// Parameters of a write.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// The verb.
    pub mode: Mode,
    /// CAS id to compare with; 0 = none. Used by `Cas`, `Append` and `Prepend`.
    pub compare: u64,
    /// A `compare` lower than the item's CAS id also stores; the new item is marked stale then.
    pub stale_ok: bool,
    /// `Append` and `Prepend` store their value even if the key has none.
    pub vivify: bool,
    /// CAS id of the new item.
    pub cas: u64,
    /// The client chose `cas`: the reservation must have a CAS word.
    pub chosen: bool,
}

impl Write {
    /// Creates a plain write under `mode`, with CAS id `cas`, one of [`Store::next_cas`].
    pub fn new(mode: Mode, cas: u64) -> Self {
        Self { mode, compare: 0, stale_ok: false, vivify: false, cas, chosen: false }
    }

    /// Item flags that the write needs in the layout: a CAS word for a chosen id.
    fn room(&self) -> u8 {
        if self.chosen { iflag::CAS } else { 0 }
    }
}

/// Result of [`Store::make_room`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayout {
    /// The item was rewritten, or has changed or gone meanwhile: look it up again.
    Retry,
    /// There is no memory for the new layout.
    NoMemory,
}

/// Result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the protocol's words
pub enum Stored {
    /// Stored, with this value length and CAS id (the write's, or a later one).
    Stored {
        vlen: usize,
        cas: u64,
    },
    NotStored,
    Exists,
    NotFound,
    NoMemory,
}

/// Facts about a commit, for counters and watchers.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitInfo {
    /// Why the key's old item was dead, if it was.
    pub dead: Option<Dead>,
    /// Class of the old live item.
    pub old_class: Option<u8>,
    /// Value length of the old live item.
    pub old_vlen: usize,
    /// Class and expiry time of an item joined by `Append` or `Prepend`.
    pub joined: Option<(u8, u32)>,
}

impl Store {
    /// Links a complete reservation as the item of its key if the condition of `write.mode` holds; else frees it.
    pub fn commit(
        &'static self,
        mut reservation: Reservation,
        key: &Key<'_>,
        write: Write,
        now: u32,
    ) -> (Stored, CommitInfo) {
        debug_assert_eq!(reservation.missing(), 0);
        if !has_room_for(&reservation, write) {
            match self.copy_of(&reservation, key, iflag::CAS, now) {
                Some(copy) => reservation = copy,
                None => return (Stored::NoMemory, CommitInfo::default()),
            }
        }
        reservation.keep_time(now);
        match write.mode {
            Mode::Append | Mode::Prepend => self.concatenate(reservation, key, write, now),
            _ => self.link(reservation, key, write, now, None),
        }
    }

    /// Links a complete reservation as the item of its key if the key's item still has `version`; else frees it and
    /// returns `NotStored`.
    pub fn commit_over(
        &'static self,
        mut reservation: Reservation,
        key: &Key<'_>,
        write: Write,
        now: u32,
        version: Version,
    ) -> Stored {
        debug_assert!(write.mode == Mode::Set && reservation.missing() == 0);
        if !has_room_for(&reservation, write) {
            match self.copy_of(&reservation, key, iflag::CAS, now) {
                Some(copy) => reservation = copy,
                None => return Stored::NoMemory,
            }
        }
        self.link(reservation, key, write, now, Some(version)).0
    }

    /// Links `new` if the condition of `write.mode` holds and, with `only_over`, the key's item still has that version.
    fn link(
        &'static self,
        mut new: Reservation,
        key: &Key<'_>,
        write: Write,
        now: u32,
        only_over: Option<Version>,
    ) -> (Stored, CommitInfo) {
        let mut info = CommitInfo::default();
        point("a CAS id is drawn");
        let bucket = self.index.lock(key.hash());
        let flushes = self.calm();
        let mut found = self.find(&bucket, key);
        let live = found.as_ref().is_some_and(|old| {
            info.dead = self.dead(&old.item, now);
            info.dead.is_none()
        });
        if let (true, Some(old)) = (live, &found) {
            info.old_class = Some(self.lru_class(old.handle, &old.item) as u8);
            info.old_vlen = old.item.vlen();
            if let Some(outcome) = refuse(&old.item, &mut new, write, now) {
                let moves = write.mode == Mode::Add && self.slabs.note_use(&old.item, now);
                drop(bucket);
                if moves {
                    self.move_back(old.handle, old.item);
                }
                return (outcome, info);
            }
            if only_over.is_some_and(|only| only != Version::of(&bucket, old.handle, &old.item)) {
                drop(bucket);
                return (Stored::NotStored, info);
            }
        } else if !stores_without_item(write.mode) || only_over.is_some() {
            if let (Some(old), Some(dead)) = (found, info.dead) {
                self.unlink(bucket, key, old, ChangeOp::Reclaim(dead));
            }
            let missing = if write.mode == Mode::Cas { Stored::NotFound } else { Stored::NotStored };
            return (missing, info);
        }
        let vlen = new.item().vlen();
        let cas = self.not_flushed(new.item(), write);
        let (handle, item) = new.into_item();
        self.stamp(&item, cas);
        item.set_atime(now);
        if !self.publish(bucket, key, (found.as_mut(), live), (handle, item), flushes) {
            return (Stored::NoMemory, info);
        }
        if let Some(old) = found {
            let unfetched = !old.item.header().is(state::FETCHED);
            let old_class = self.lru_class(old.handle, &old.item);
            self.release(old);
            if info.dead.is_some() {
                let counts = &mut self.slabs.class(old_class).counts;
                counts.reclaimed += 1;
                counts.expired_unfetched += u64::from(unfetched);
            }
        }
        (Stored::Stored { vlen, cas }, info)
    }

    /// The CAS id of a new item: that of the write, or a new one if a flush has taken effect since that was drawn. With
    /// its old id the item, which is stored after the flush, would be dead. The caller holds the bucket and has seen no
    /// flush taking effect ([`Store::calm`]).
    #[inline]
    fn not_flushed(&self, item: &Item, write: Write) -> u64 {
        if item.can_hold_cas() || !self.is_flushed_id(write.cas) {
            return write.cas;
        }
        let cas = self.next_cas();
        // Fewer ids than half of `WIDE_MARGIN` were drawn since `has_room_for`.
        debug_assert!(cas <= SEQ_MASK);
        cas
    }

    /// Appends or prepends: joins both values in a new item, and links it if the key's item is unchanged; else retries.
    #[inline(never)]
    fn concatenate(&'static self, extra: Reservation, key: &Key<'_>, write: Write, now: u32) -> (Stored, CommitInfo) {
        loop {
            let mut info = CommitInfo::default();
            let seen = self.visit(key, now, |entry| {
                info.old_class = Some(entry.class());
                info.old_vlen = entry.vlen();
                if write.compare != 0 && write.compare != entry.cas() {
                    return None;
                }
                // The joined item loses the flag for a base64 key, as in memcached.
                let meta = Meta {
                    klen: key.bytes().len(),
                    vlen: entry.vlen() + extra.item().vlen(),
                    flags: entry.flags(),
                    expiry: entry.expiry(now),
                    iflags: write.room(),
                    cas: 0,
                };
                Some((meta, entry.version()))
            });
            let (meta, same) = match seen {
                Lookup::Hit(Some(seen)) => seen,
                Lookup::Hit(None) => return (Stored::Exists, info),
                Lookup::Miss | Lookup::Dead(_) => {
                    if let Lookup::Dead(dead) = seen {
                        info.dead = Some(dead);
                    }
                    if !write.vivify {
                        return (Stored::NotStored, info);
                    }
                    match self.link_copy(&extra, key, write, now) {
                        Stored::NotStored => continue, // another writer came first
                        outcome => return (outcome, info),
                    }
                }
            };
            let Some(mut joined) = self.fitting(&meta).and_then(|meta| self.reserve(key, &meta, now)) else {
                return (Stored::NotStored, info);
            };
            let first = write.mode == Mode::Prepend;
            point("room for two values is there");
            let Some(old_value) = self.value_of(key, now, same) else { continue };
            let parts = [ValueRef::New(&extra), ValueRef::Old(&old_value)];
            let order = if first { [0, 1] } else { [1, 0] };
            if order.iter().any(|&part| parts[part].copy_to(self, &mut joined).is_err()) {
                return (Stored::NotStored, info);
            }
            let set = Write { mode: Mode::Set, compare: 0, ..write };
            let class = joined.class();
            match self.link(joined, key, set, now, Some(same)) {
                (Stored::NotStored, _) => continue, // another writer came first
                (stored, info) => {
                    return (stored, CommitInfo { joined: Some((class, self.relative(meta.expiry))), ..info });
                }
            }
        }
    }

    /// Copies a reservation, with the item flags `room` added to its layout; `None` if there is no memory.
    #[cold]
    fn copy_of(&'static self, from: &Reservation, key: &Key<'_>, room: u8, now: u32) -> Option<Reservation> {
        const KEPT: u8 = iflag::KEY_BINARY | iflag::STALE | iflag::TOKEN | iflag::EXT | iflag::CAS;
        let item = from.item();
        let meta = Meta {
            klen: key.bytes().len(),
            vlen: item.vlen(),
            flags: item.flags(),
            expiry: from.expiry(),
            iflags: item.header().iflags() & KEPT | room,
            cas: 0,
        };
        let mut copy = self.reserve(key, &meta, now)?;
        ValueRef::New(from).copy_to(self, &mut copy).ok()?;
        if item.header().is(state::FETCHED) {
            copy.note_fetch();
        }
        Some(copy)
    }

    /// Links a copy of `extra` under `Add`: `extra` itself is still needed if another writer comes first.
    fn link_copy(&'static self, extra: &Reservation, key: &Key<'_>, write: Write, now: u32) -> Stored {
        let Some(copy) = self.copy_of(extra, key, write.room(), now) else { return Stored::NoMemory };
        let add = Write { mode: Mode::Add, compare: 0, ..write };
        self.link(copy, key, add, now, None).0
    }

    /// Returns `meta` if the item would not exceed the item size limit.
    fn fitting(&self, meta: &Meta) -> Option<Meta> {
        self.sizes.fits(self.sizes.memcached_size(meta.klen, meta.vlen, meta.flags != 0)).then_some(*meta)
    }

    /// Copies or pins the value of the key's item; `None` if the item no longer has version `same`.
    fn value_of(&'static self, key: &Key<'_>, now: u32, same: Version) -> Option<OldValue> {
        let read = self.visit(key, now, |entry| {
            if entry.version() != same {
                return None;
            }
            Some(match entry.pin() {
                Some(pinned) => OldValue::Pinned(pinned),
                None => {
                    let mut bytes = Scratch::take();
                    entry.copy_value(&mut bytes);
                    OldValue::Copied(bytes)
                }
            })
        });
        match read {
            Lookup::Hit(value) => value,
            _ => None,
        }
    }

    /// Rewrites the item of `key` with room for this expiry time (if any) and, if `cas`, for a CAS id chosen by the
    /// client. Nothing that a client can see changes.
    pub fn make_room(&'static self, key: &Key<'_>, expiry: Option<Expiry>, cas: bool, now: u32) -> Relayout {
        let seen = self.visit(key, now, |entry| {
            // Reserving memory for the copy must not evict the item itself.
            entry.hold_on();
            let kept = entry.iflags() & (iflag::KEY_BINARY | iflag::EXT | iflag::CAS);
            let time = match expiry {
                _ if entry.has_room(expiry, now) => 0,
                Some(Expiry::At(time)) if time <= now.saturating_add(EXPTIME_SHORT_MAX) => iflag::NO_EXPIRY,
                _ => iflag::EXT,
            };
            let meta = Meta {
                klen: key.bytes().len(),
                vlen: entry.vlen(),
                flags: entry.flags(),
                expiry: entry.expiry(now),
                iflags: kept | time | if cas { iflag::CAS } else { 0 },
                cas: 0,
            };
            (meta, entry.version())
        });
        let Lookup::Hit((meta, same)) = seen else { return Relayout::Retry };
        let Some(mut copy) = self.reserve(key, &meta, now) else { return Relayout::NoMemory };
        point("a roomier item is there");
        let Some(value) = self.value_of(key, now, same) else { return Relayout::Retry };
        if ValueRef::Old(&value).copy_to(self, &mut copy).is_err() {
            return Relayout::NoMemory;
        }
        point("a roomier item is written");
        let mut bucket = self.index.lock(key.hash());
        let flushes = self.calm();
        let found = self
            .find(&bucket, key)
            .filter(|old| Version::of(&bucket, old.handle, &old.item) == same && self.dead(&old.item, now).is_none());
        let Some(mut old) = found else {
            drop(bucket);
            return Relayout::Retry;
        };
        let (handle, mut item) = copy.into_item();
        item.take_over(&old.item, now);
        if item.can_hold_cas() && !old.item.can_hold_cas() {
            item.set_seq(flushes);
        }
        old.replace(&mut bucket, handle);
        drop(bucket);
        self.release(old);
        Relayout::Retry
    }
}

enum OldValue {
    Pinned(Pinned),
    Copied(Scratch),
}

/// Source of a copied value: a reservation, or the linked item.
enum ValueRef<'a> {
    New(&'a Reservation),
    Old(&'a OldValue),
}

impl ValueRef<'_> {
    fn copy_to(&self, store: &'static Store, to: &mut Reservation) -> Result<(), OutOfMemory> {
        match self {
            Self::Old(OldValue::Copied(bytes)) => to.write(bytes),
            Self::Old(OldValue::Pinned(pinned)) => copy_pieces(pinned, to),
            Self::New(reservation) => {
                let item = reservation.item();
                if let Some(pinned) = Pinned::new(store, reservation.handle(), item) {
                    return copy_pieces(&pinned, to);
                }
                let mut bytes = Scratch::take();
                item.copy_value(&mut bytes);
                to.write(&bytes)
            }
        }
    }
}

fn copy_pieces(pinned: &Pinned, to: &mut Reservation) -> Result<(), OutOfMemory> {
    let mut copied = Ok(());
    pinned.for_each_piece(|bytes| {
        if copied.is_ok() {
            copied = to.write(bytes);
        }
    });
    copied
}

fn stores_without_item(mode: Mode) -> bool {
    matches!(mode, Mode::Set | Mode::Add)
}

/// False if the layout has no CAS word and the write's CAS id is so high that it, or one drawn in its place before the
/// item is linked, may exceed 40 bits: many ids were drawn while the value arrived.
#[inline]
fn has_room_for(reservation: &Reservation, write: Write) -> bool {
    write.cas < SEQ_MASK - WIDE_MARGIN / 2 || reservation.item().can_hold_cas()
}

/// Checks a write against the key's live item: returns the refusal, or `None` if it may store. With a stale write
/// (`stale_ok`), the new item gets the old one's expiry time and win token.
fn refuse(old: &Item, new: &mut Reservation, write: Write, now: u32) -> Option<Stored> {
    match write.mode {
        Mode::Add => Some(Stored::NotStored),
        Mode::Cas => {
            let stored = old.cas();
            if write.compare == stored && write.compare != 0 {
                None
            } else if write.stale_ok && write.compare != 0 && write.compare < stored {
                let token = old.header().iflags() & iflag::TOKEN;
                new.mark_stale(token, old.expiry(now), now);
                None
            } else {
                Some(Stored::Exists)
            }
        }
        _ => None,
    }
}
