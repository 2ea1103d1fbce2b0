//! Changes that are not yet committed, one for each key.
//!
//! Owns the changes from the moment they are made (by a worker, under the key's bucket lock) until the writer has
//! committed them. Must not know engines or threads. Filled by the sink, emptied by the writer, asked by the loads.
//!
//! ```text
//! open cut     changes of now; a later change of a key replaces the earlier one
//! sealed cut   the changes that the writer is committing; read-only, until `settle`
//! ```
//! A cut is sealed with every shard locked, so a cut holds all changes made before a moment and none made after it:
//! what is committed is a prefix of what happened. A key's shard follows from its hash, so its changes stay in order.
//!
//! A flush ends every change with a lower number. It only notes its own number, in each shard; changes that it has
//! ended are skipped when they are read.
//!
//! A change may pin a large value. The last pin of an item takes its class's lock, which must not be taken under a
//! bucket's, so a change that is replaced keeps its pin until the writer has the cut.

use super::engine::marks;
use crate::clock::Expiry;
use crate::store::{Change, ChangeOp, Entry, Key, Pinned, iflag};
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

/// The times that a change is written with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Relative time.
    pub now: u32,
    /// Unix time of relative time 0.
    pub origin: i64,
}

impl Times {
    /// Unix time.
    pub fn unix(self) -> i64 {
        self.origin + i64::from(self.now)
    }

    /// Unix time at which an item expires, 0 = never, and whether a client gave it as a date.
    fn expires(self, expiry: Expiry) -> (i64, bool) {
        match expiry {
            Expiry::Never => (0, false),
            Expiry::At(time) => ((self.origin + i64::from(time)).max(1), false),
            Expiry::Date(date) => (i64::from(date).max(1), true),
        }
    }

    /// The expiry time of an item that a record describes.
    pub fn expiry(self, expires: i64, marks: u8) -> Expiry {
        match expires {
            0 => Expiry::Never,
            date if marks & marks::DATE != 0 => Expiry::Date(u32::try_from(date).unwrap_or(u32::MAX)),
            at => Expiry::At((at - self.origin).clamp(1, u32::MAX.into()) as u32),
        }
    }
}

/// One change of one key.
pub(super) struct PendingChange {
    hash: u64,
    /// The change's number; see [`Change::seq`].
    seq: u64,
    /// The key, and behind it the value, unless the value is pinned.
    bytes: Box<[u8]>,
    klen: u8,
    pub kind: PendingKind,
}

/// What has happened to the key.
pub(super) enum PendingKind {
    /// It has this item.
    Put {
        flags: u32,
        expires: i64,
        cas: u64,
        marks: u8,
        modified: i64,
        /// A value over `COPY_MAX`.
        pinned: Option<Pinned>,
    },
    /// Its item has another expiry time and other marks.
    Touch { expires: i64, marks: u8 },
    /// It has no item.
    Delete,
    /// The change cannot be kept: memory must forget the item.
    Forget,
}

impl PendingChange {
    fn new(change: &Change<'_>, op: ChangeOp, times: Times) -> Option<Box<Self>> {
        let (klen, item) = (change.key.bytes().len(), change.item);
        let (bytes, kind) = match op {
            ChangeOp::Set => {
                let (pinned, (expires, is_date)) = (item.pin(), times.expires(item.expiry(times.now)));
                let len = if pinned.is_some() { 0 } else { item.vlen() };
                let mut bytes = Vec::with_capacity(klen + len);
                bytes.extend_from_slice(change.key.bytes());
                if pinned.is_none() {
                    item.copy_value(&mut bytes);
                }
                let marks = marks_of(item, is_date);
                let (flags, cas, modified) = (item.flags(), item.cas(), times.unix());
                (bytes, PendingKind::Put { flags, expires, cas, marks, modified, pinned })
            }
            ChangeOp::Touch => {
                let (expires, is_date) = times.expires(item.expiry(times.now));
                (change.key.bytes().to_vec(), PendingKind::Touch { expires, marks: marks_of(item, is_date) })
            }
            ChangeOp::Delete => (change.key.bytes().to_vec(), PendingKind::Delete),
            ChangeOp::Evict | ChangeOp::Reclaim(_) => return None,
        };
        let (bytes, klen) = (bytes.into_boxed_slice(), klen as u8);
        Some(Box::new(Self { hash: change.key.hash(), seq: change.seq, bytes, klen, kind }))
    }

    /// Hash of the key.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[..usize::from(self.klen)]
    }

    /// A value that is not pinned.
    pub fn copied_value(&self) -> &[u8] {
        &self.bytes[usize::from(self.klen)..]
    }

    fn is_of(&self, key: &Key<'_>) -> bool {
        self.hash == key.hash() && self.key() == key.bytes()
    }

    /// Bytes of a pinned value.
    fn pinned(&self) -> usize {
        match &self.kind {
            PendingKind::Put { pinned: Some(value), .. } => value.remaining(),
            _ => 0,
        }
    }

    /// Bytes that count against the bound.
    fn cost(&self) -> usize {
        CHANGE_COST + self.bytes.len() + self.pinned()
    }

    /// Reduces the change to its key.
    fn strip(&mut self, kind: PendingKind) -> Option<Pinned> {
        let klen = usize::from(self.klen);
        self.bytes = self.bytes[..klen].into();
        match std::mem::replace(&mut self.kind, kind) {
            PendingKind::Put { pinned, .. } => pinned,
            _ => None,
        }
    }

    fn into_pin(self) -> Option<Pinned> {
        match self.kind {
            PendingKind::Put { pinned, .. } => pinned,
            _ => None,
        }
    }

    /// Adds a later change of the key; returns the pin of a value that is not needed any more.
    fn add(&mut self, later: Self) -> Option<Pinned> {
        self.seq = later.seq;
        match (&mut self.kind, &later.kind) {
            (PendingKind::Forget, _) => later.into_pin(),
            // There is nothing that could be touched.
            (PendingKind::Delete, PendingKind::Touch { .. }) => None,
            (PendingKind::Put { expires, marks, .. }, PendingKind::Touch { expires: later, marks: present }) => {
                (*expires, *marks) = (*later, *present);
                None
            }
            _ => std::mem::replace(self, later).into_pin(),
        }
    }
}

/// Shards of the table: a seal locks all of them, and each lock costs some 20 ns.
const SHARDS: usize = 64;

/// Bytes of a change besides its key and value: the struct, two allocations' overhead and the table's share.
const CHANGE_COST: usize = size_of::<PendingChange>() + 48;

fn marks_of(item: &Entry, is_date: bool) -> u8 {
    let flags = item.iflags();
    let mark = |flag: u8, mark: u8| if flags & flag != 0 { mark } else { 0 };
    mark(iflag::STALE, marks::STALE)
        | mark(iflag::TOKEN, marks::TOKEN)
        | mark(iflag::KEY_BINARY, marks::KEY_BINARY)
        | mark(iflag::CAS, marks::CHOSEN_CAS)
        | if is_date { marks::DATE } else { 0 }
}

type Changes = HashTable<Box<PendingChange>>;

#[derive(Default)]
struct Shard {
    open: Changes,
    sealed: Option<Arc<Changes>>,
    /// Number of the last flush.
    flush: u64,
    /// Pins of values that were replaced.
    unneeded: Vec<Pinned>,
}

impl Shard {
    /// The last change of `key` that no flush has ended.
    fn find(&self, key: &Key<'_>) -> Option<&PendingChange> {
        let sealed = || self.sealed.as_ref().and_then(|sealed| sealed.find(key.hash(), |change| change.is_of(key)));
        let found = self.open.find(key.hash(), |change| change.is_of(key)).or_else(sealed)?;
        (found.seq > self.flush).then_some(&**found)
    }
}

/// What is pending for a key.
pub(super) enum PendingItem {
    /// Nothing: the engine knows.
    Nothing,
    /// It has no item.
    Deleted,
    /// It has this item; `value` is `None` if it is too large to be copied here: it can be read after the commit.
    Put { value: Option<Vec<u8>>, flags: u32, expires: i64, cas: u64, marks: u8 },
    /// The engine's record, with this expiry time and these marks.
    Touched { expires: i64, marks: u8 },
}

/// [`PendingItem`] without the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PendingView {
    /// Nothing: the engine knows.
    Nothing,
    /// The key has no item.
    Deleted,
    /// The key has another item, or its item has changed.
    Changed,
}

/// How changes are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Taking {
    /// Each change is kept.
    #[default]
    All,
    /// A change beyond the bound is kept as a deletion: its item is in memory only.
    Tombstones,
    /// No change is kept: memory must forget each item that changes.
    Nothing,
}

/// All pending changes.
pub(super) struct Pending {
    shards: Box<[Mutex<Shard>]>,
    /// Number of the open cut. Changes only while every shard is locked.
    cut: AtomicU64,
    /// Number of the last flush.
    flush: AtomicU64,
    /// Bytes of all changes.
    bytes: AtomicUsize,
    /// Bytes of all pinned values, those that were replaced included: memory of the store that cannot be evicted.
    pinned: AtomicUsize,
    /// Changes in the open cut.
    open: AtomicUsize,
    /// As [`Taking`]; both change only while every shard is locked.
    keeps_nothing: AtomicBool,
    keeps_tombstones: AtomicBool,
    /// Changes that were made tombstones.
    dropped: AtomicU64,
    /// A flush to come has been planned or cancelled since the last cut was sealed.
    plan: Mutex<Option<Option<i64>>>,
    /// Bytes beyond which changes are tombstones, where these are kept.
    bound: usize,
}

impl Pending {
    /// No changes; the first cut has number 1.
    pub fn new(bound: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            cut: AtomicU64::new(1),
            flush: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            pinned: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            keeps_nothing: AtomicBool::new(false),
            keeps_tombstones: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            plan: Mutex::new(None),
            bound,
        }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards[(hash >> 32) as usize % SHARDS].lock()
    }

    fn lock_all(&self) -> Vec<MutexGuard<'_, Shard>> {
        self.shards.iter().map(Mutex::lock).collect()
    }

    /// Adds a change, as one of kind `op`; returns the number of its cut. `None` if it needs none: the engine's record
    /// stays valid. The caller holds the key's bucket.
    pub fn add(&self, change: &Change<'_>, op: ChangeOp, times: Times) -> Option<u64> {
        Some(self.insert(PendingChange::new(change, op, times)?))
    }

    /// Adds the deletion of a key of which memory has no item; returns the number of its cut. The caller holds the
    /// key's bucket.
    pub fn delete_absent(&self, key: &Key<'_>, seq: u64) -> u64 {
        let (bytes, klen) = (key.bytes().into(), key.bytes().len() as u8);
        self.insert(Box::new(PendingChange { hash: key.hash(), seq, bytes, klen, kind: PendingKind::Delete }))
    }

    fn insert(&self, mut new: Box<PendingChange>) -> u64 {
        self.pinned.fetch_add(new.pinned(), Relaxed);
        let mut shard = self.shard(new.hash);
        let shard = &mut *shard;
        if new.seq < shard.flush {
            // The flush has ended it already; nothing that is stored later is lost.
            self.retire(shard, new.into_pin());
            return self.cut.load(Relaxed);
        }
        if self.keeps_nothing.load(Relaxed) {
            self.retire(shard, new.strip(PendingKind::Forget));
        } else if self.keeps_tombstones.load(Relaxed) && self.bytes.load(Relaxed) > self.bound {
            self.dropped.fetch_add(1, Relaxed);
            self.retire(shard, new.strip(PendingKind::Delete));
        }
        match shard.open.find_entry(new.hash, |old| old.hash == new.hash && old.key() == new.key()) {
            Ok(mut found) => {
                let old = found.get_mut();
                self.bytes.fetch_sub(old.cost(), Relaxed);
                // What a flush has ended says nothing about what the item is now.
                let unneeded =
                    if old.seq < shard.flush { std::mem::replace(old, new).into_pin() } else { old.add(*new) };
                self.bytes.fetch_add(old.cost(), Relaxed);
                self.retire(shard, unneeded);
            }
            Err(_) => {
                self.bytes.fetch_add(new.cost(), Relaxed);
                self.open.fetch_add(1, SeqCst);
                shard.open.insert_unique(new.hash, new, |change| change.hash);
            }
        }
        self.cut.load(Relaxed)
    }

    /// Keeps a pin until the writer has the cut, and its bytes in the bound.
    fn retire(&self, shard: &mut Shard, pin: Option<Pinned>) {
        if let Some(pin) = pin {
            self.bytes.fetch_add(pin.remaining(), Relaxed);
            shard.unneeded.push(pin);
        }
    }

    /// Ends all changes with a number below `seq`; returns the number of the open cut. The caller holds the flush lock.
    pub fn flush(&self, seq: u64) -> u64 {
        let mut shards = self.lock_all();
        shards.iter_mut().for_each(|shard| shard.flush = seq);
        self.flush.store(seq, SeqCst);
        *self.plan.lock() = Some(None);
        self.cut.load(Relaxed)
    }

    /// Notes that a flush is to come at `at`, or that none is; returns the number of the open cut.
    pub fn plan_flush(&self, at: Option<i64>) -> u64 {
        let _all = self.lock_all();
        *self.plan.lock() = Some(at);
        self.cut.load(Relaxed)
    }

    /// What is pending for `key`. Values are copied up to a few KB.
    pub fn find(&self, key: &Key<'_>) -> PendingItem {
        let shard = self.shard(key.hash());
        let Some(change) = shard.find(key) else { return PendingItem::Nothing };
        match &change.kind {
            PendingKind::Put { flags, expires, cas, marks, pinned, .. } => PendingItem::Put {
                value: pinned.is_none().then(|| change.copied_value().to_vec()),
                flags: *flags,
                expires: *expires,
                cas: *cas,
                marks: *marks,
            },
            PendingKind::Touch { expires, marks } => PendingItem::Touched { expires: *expires, marks: *marks },
            PendingKind::Delete => PendingItem::Deleted,
            PendingKind::Forget => PendingItem::Nothing,
        }
    }

    /// Whether something is pending for `key`.
    pub fn view(&self, key: &Key<'_>) -> PendingView {
        if self.bytes.load(SeqCst) == 0 {
            return PendingView::Nothing;
        }
        match self.shard(key.hash()).find(key).map(|change| &change.kind) {
            None | Some(PendingKind::Forget) => PendingView::Nothing,
            Some(PendingKind::Delete) => PendingView::Deleted,
            Some(PendingKind::Put { .. } | PendingKind::Touch { .. }) => PendingView::Changed,
        }
    }

    /// Number of the last flush.
    pub fn last_flush(&self) -> u64 {
        self.flush.load(SeqCst)
    }

    /// Number of the open cut.
    pub fn open_cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }

    /// Seals the open cut; `None` if nothing has changed. The last sealed cut must be settled.
    pub fn seal(&self) -> Option<Cut> {
        let mut shards = self.lock_all();
        let plan = self.plan.lock().take();
        let flush = shards[0].flush;
        if self.open.swap(0, SeqCst) == 0 && plan.is_none() {
            return None;
        }
        let mut cut = Cut { number: self.cut.fetch_add(1, Relaxed), flush, plan, tables: Vec::new(), pins: Vec::new() };
        for shard in &mut shards {
            let table = Arc::new(std::mem::take(&mut shard.open));
            debug_assert!(shard.sealed.is_none());
            shard.sealed = Some(Arc::clone(&table));
            cut.tables.push(table);
            cut.pins.append(&mut shard.unneeded);
        }
        Some(cut)
    }

    /// Forgets a sealed cut, whose changes the engine has now, or never will have.
    pub fn settle(&self, cut: Cut) {
        for shard in &self.shards {
            let sealed = shard.lock().sealed.take();
            drop(sealed);
        }
        // The cut is dropped here, without a lock: its pins may be the last of their items.
        self.bytes.fetch_sub(cut.cost(), Relaxed);
        self.pinned.fetch_sub(cut.pinned(), Relaxed);
    }

    /// Changes what is kept of changes from now on.
    pub fn take(&self, taking: Taking) {
        let _all = self.lock_all();
        self.keeps_nothing.store(taking == Taking::Nothing, Relaxed);
        self.keeps_tombstones.store(taking == Taking::Tombstones, Relaxed);
    }

    /// [`Pending::take`] all changes again, unless one has been refused meanwhile: its item must be forgotten first.
    pub fn take_all_if_empty(&self) -> bool {
        let _all = self.lock_all();
        let is_empty = self.open.load(SeqCst) == 0;
        if is_empty {
            self.keeps_nothing.store(false, Relaxed);
        }
        is_empty
    }

    /// Bytes of all pinned values.
    pub fn pinned(&self) -> usize {
        self.pinned.load(Relaxed)
    }

    /// Bytes of all changes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Changes in the open cut.
    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// Whether a flush has been planned, or a plan cancelled, since the last cut.
    pub fn has_plan(&self) -> bool {
        self.plan.lock().is_some()
    }

    /// Changes that were made tombstones.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// A sealed cut.
pub(super) struct Cut {
    /// Its number.
    pub number: u64,
    /// Number of the last flush.
    pub flush: u64,
    /// A flush that was planned for this time, or cancelled.
    pub plan: Option<Option<i64>>,
    tables: Vec<Arc<Changes>>,
    /// Pins of values that were replaced.
    pins: Vec<Pinned>,
}

impl Cut {
    /// All changes, those that a flush has ended included.
    pub fn changes(&self) -> impl Iterator<Item = &PendingChange> {
        self.tables.iter().flat_map(|table| table.iter().map(|change| &**change))
    }

    /// Whether the last flush has ended the change.
    pub fn has_ended(&self, change: &PendingChange) -> bool {
        change.seq < self.flush
    }

    /// Bytes of its changes, and of values that were replaced.
    fn cost(&self) -> usize {
        self.replaced() + self.changes().map(PendingChange::cost).sum::<usize>()
    }

    /// Bytes of its pinned values.
    fn pinned(&self) -> usize {
        self.replaced() + self.changes().map(PendingChange::pinned).sum::<usize>()
    }

    fn replaced(&self) -> usize {
        self.pins.iter().map(Pinned::remaining).sum()
    }
}
