//! What the threads of the durable copy share: pending changes, loads, commits, filter, counters.
//!
//! Owns them, and the protocol by which workers wake the writer and wait for room. Used by the sink and the backing (on
//! workers), by the writer, the loading threads and the scan.
//!
//! A worker wakes the writer after its commands, in [`Core::take_commit`], not when it changes an item: waking is a
//! system call, and the item's bucket is locked then.

use super::commits::Commits;
use super::counts::DurableCounts;
use super::engine::{Durability, EngineSizes, Record, marks};
use super::filter::Filter;
use super::loads::Loads;
use super::pending::{Pending, PendingView, Times};
use crate::cache::{Admission, CommitNumber, Completion, Key, Load};
use crate::settings::{DurableSettings, OnError, Reach};
use crate::stats::SingleHistogram;
use crate::store::{Change, ChangeOp, LinkedLoad, Meta, Store, iflag};
use crate::sys::{monotonic, reserve};
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

/// Share of the store's memory that pending changes may pin: this memory cannot be evicted.
const PINNED_SHARE: u64 = 16;

thread_local! {
    /// Number of the cut of this thread's last change; 0 = none since the last [`Core::take_commit`].
    static CHANGED_IN: Cell<u64> = const { Cell::new(0) };
    /// This thread links loaded items: what it stores is no change.
    static LOADS: Cell<bool> = const { Cell::new(false) };
}

/// Shared state of the durable copy.
pub(super) struct Core {
    pub store: &'static Store,
    pub settings: DurableSettings,
    pub pending: Pending,
    pub loads: Arc<Loads>,
    pub commits: Commits,
    pub filter: Filter,
    pub counts: DurableCounts,
    /// Nanoseconds of the commits that succeeded, from the first write to the end.
    pub commit_times: SingleHistogram,
    now: AtomicU32,
    origin: AtomicI64,
    /// Number of the last flush that the engine has.
    pub flush_committed: AtomicU64,
    /// With `durability=sync`: commits fail, and commands that change items are refused.
    pub is_failing: AtomicBool,
    /// Without: the writer repeats a commit that failed.
    pub is_retrying: AtomicBool,
    /// The first scan has not ended.
    pub is_warming: AtomicBool,
    /// Records that the last scan has shown.
    pub records: AtomicU64,
    /// Sizes of the engine's files, after the last commit or slice of tending.
    pub sizes: Mutex<EngineSizes>,
    /// The writer must write all that is pending and end.
    pub is_stopping: AtomicBool,
    writer: OnceLock<Thread>,
    /// The writer sleeps until it is woken.
    asleep: AtomicBool,
    /// Completions that wait for room.
    room: Mutex<Vec<Completion>>,
    /// Milliseconds of the monotonic clock since which the sealed cut has changes; 0 = there is none.
    pub sealed_since: AtomicU64,
    /// The same of the open cut, as far as the writer knows.
    pub open_since: AtomicU64,
}

impl Core {
    pub fn new(store: &'static Store, settings: DurableSettings, loads: Arc<Loads>) -> Self {
        Self {
            store,
            pending: Pending::new(settings.queue),
            settings,
            loads,
            commits: Commits::default(),
            filter: Filter::default(),
            counts: DurableCounts::default(),
            commit_times: SingleHistogram::default(),
            now: AtomicU32::new(0),
            origin: AtomicI64::new(0),
            flush_committed: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            is_retrying: AtomicBool::new(false),
            is_warming: AtomicBool::new(true),
            records: AtomicU64::new(0),
            sizes: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            writer: OnceLock::new(),
            asleep: AtomicBool::new(false),
            room: Mutex::default(),
            sealed_since: AtomicU64::new(0),
            open_since: AtomicU64::new(0),
        }
    }

    /// Sets the time: relative time, and the unix time of relative time 0.
    pub fn set_time(&self, now: u32, origin: i64) {
        self.now.store(now, Relaxed);
        self.origin.store(origin, Relaxed);
    }

    /// The time.
    pub fn times(&self) -> Times {
        Times { now: self.now.load(Relaxed), origin: self.origin.load(Relaxed) }
    }

    /// Marks the calling thread as one that links loaded items.
    pub fn begin_loading() {
        LOADS.set(true);
    }

    /// Takes a change. The caller holds the key's bucket.
    pub fn change(&self, change: &Change<'_>) {
        if LOADS.get() {
            return;
        }
        let policy = &self.settings.policy;
        let op = match change.op {
            // Memory alone has the item: a record must not come back in its place.
            ChangeOp::Set | ChangeOp::Touch if policy.set == Reach::Cache => {
                if self.filter.may_hold(change.key.hash()) { ChangeOp::Delete } else { ChangeOp::Evict }
            }
            ChangeOp::Delete if policy.delete == Reach::Cache => ChangeOp::Evict,
            op => op,
        };
        if let Some(cut) = self.pending.add(change, op, self.times()) {
            CHANGED_IN.set(cut);
        }
        // Also for an eviction: the writer makes memory forget an item whose commit failed.
        self.loads.invalidate(&change.key);
    }

    /// Takes the deletion of a key of which memory has no item. The caller holds the key's bucket.
    pub fn delete_absent(&self, key: &Key<'_>, seq: u64) {
        if self.settings.policy.delete == Reach::Both {
            CHANGED_IN.set(self.pending.delete_absent(key, seq));
            self.loads.invalidate(key);
        }
    }

    /// Takes a flush. The caller holds the flush lock.
    pub fn flush(&self, seq: u64) {
        if self.settings.policy.flush == Reach::Cache {
            return;
        }
        CHANGED_IN.set(self.pending.flush(seq));
        self.loads.invalidate_all();
    }

    /// Takes a flush to come, in relative time. The caller holds the flush lock.
    pub fn plan_flush(&self, at: Option<u32>) {
        if self.settings.policy.flush == Reach::Both {
            let origin = self.origin.load(Relaxed);
            CHANGED_IN.set(self.pending.plan_flush(at.map(|at| origin + i64::from(at))));
        }
    }

    /// Whether every record of the engine is dead, because a flush is pending.
    pub fn engine_is_flushed(&self) -> bool {
        self.pending.last_flush() > self.flush_committed.load(SeqCst)
    }

    /// Begins to load an item that memory does not hold.
    pub fn load(&self, key: &Key<'_>) -> Option<Load> {
        if self.settings.policy.get == Reach::Cache {
            return None;
        }
        match self.pending.view(key) {
            PendingView::Deleted => return None,
            PendingView::Changed => {}
            PendingView::Nothing => {
                if self.engine_is_flushed() || !self.filter.may_hold(key.hash()) {
                    return None;
                }
            }
        }
        let (load, joined) = self.loads.begin(key);
        if joined { &self.counts.load_joins } else { &self.counts.loads }.fetch_add(1, Relaxed);
        Some(load)
    }

    /// Links the item that a record describes, unless memory has a live one. `is_current` says, under the key's bucket
    /// lock, whether nothing has changed the key since the record was read.
    pub fn link(&self, key: &Key<'_>, record: &Record, is_current: impl FnOnce() -> bool) -> LinkedLoad {
        let (times, store) = (self.times(), self.store);
        let flag = |mark: u8, flag: u8| if record.marks & mark != 0 { flag } else { 0 };
        let meta = Meta {
            klen: key.bytes().len(),
            vlen: record.value.len(),
            flags: record.flags,
            expiry: times.expiry(record.expires, record.marks),
            iflags: flag(marks::STALE, iflag::STALE)
                | flag(marks::TOKEN, iflag::TOKEN)
                | flag(marks::KEY_BINARY, iflag::KEY_BINARY)
                | flag(marks::CHOSEN_CAS, iflag::CAS),
            cas: 0,
        };
        // Its CAS id would say that it was stored before a flush that has failed, or before this process.
        let meta = match store.is_flushed_cas(record.cas) {
            true => Meta { iflags: meta.iflags | iflag::CAS, ..meta },
            false => meta,
        };
        let sizes = store.sizes();
        if !sizes.fits(sizes.memcached_size(meta.klen, meta.vlen, meta.flags != 0)) {
            return LinkedLoad::Impossible;
        }
        let Some(mut reservation) = store.reserve(key, &meta, times.now) else { return LinkedLoad::Impossible };
        if reservation.write(&record.value).is_err() {
            return LinkedLoad::Impossible;
        }
        store.link_loaded(reservation, key, record.cas, times.now, is_current)
    }

    /// Whether less than `percent` of the memory is in use.
    pub fn has_room_to_warm(&self, percent: u64) -> bool {
        self.store.malloced() / percent < self.store.limit() / 100
    }

    /// Whether a command may change items.
    pub fn admit(self: &Arc<Self>) -> Admission {
        let is_full = self.is_full(1);
        let refuse = if self.is_failing.load(Relaxed) || reserve::ALLOCATOR.is_short() {
            true
        } else if is_full && self.is_retrying.load(Relaxed) {
            // Tombstones may take as much memory again.
            self.settings.on_error == OnError::Refuse || self.pending.bytes() > 2 * self.settings.queue
        } else if is_full {
            self.counts.queue_full.fetch_add(1, Relaxed);
            let core = Arc::clone(self);
            return Admission::Full(Load::new(move |completion| core.await_room(completion)));
        } else {
            false
        };
        if refuse {
            self.counts.refused.fetch_add(1, Relaxed);
            return Admission::Refused;
        }
        Admission::Granted
    }

    fn await_room(&self, completion: Completion) {
        let mut room = self.room.lock();
        let now = if self.is_full(1) {
            room.push(completion);
            None
        } else {
            Some(completion)
        };
        drop(room);
        drop(now);
        self.wake_writer();
    }

    /// Tells the commands that wait for room, if there is some; or if `always`, so that they ask again.
    pub fn tell_of_room(&self, always: bool) {
        if always || !self.is_full(1) {
            let waiting = std::mem::take(&mut *self.room.lock());
            drop(waiting);
        }
    }

    /// The commit for which the replies to the calling thread's last changes wait.
    pub fn take_commit(&self) -> Option<CommitNumber> {
        let cut = CHANGED_IN.replace(0);
        if cut == 0 {
            return None;
        }
        if self.asleep.load(SeqCst) || self.is_urgent() {
            self.wake_writer();
        }
        (self.settings.durability == Durability::Sync).then_some(CommitNumber(cut))
    }

    /// Whether the changes should be written before their delay is over.
    pub fn is_urgent(&self) -> bool {
        self.is_full(4)
    }

    /// Whether the pending changes have reached one `part`th of their bounds: that of their bytes, and that of the
    /// store's memory which they pin.
    fn is_full(&self, part: usize) -> bool {
        self.pending.bytes() > self.settings.queue / part
            || self.pending.pinned() as u64 > self.store.limit() / PINNED_SHARE / part as u64
    }

    /// Wakes the writer.
    pub fn wake_writer(&self) {
        self.asleep.store(false, SeqCst);
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Names the writer; called by it.
    pub fn i_write(&self) {
        let _ = self.writer.set(std::thread::current());
    }

    /// Says that the writer is about to sleep until it is woken; it must look for changes once more after this.
    pub fn falls_asleep(&self) {
        self.asleep.store(true, SeqCst);
    }

    /// Says that it is awake.
    pub fn is_awake(&self) {
        self.asleep.store(false, SeqCst);
    }

    /// Milliseconds for which the oldest change has waited.
    pub fn oldest_ms(&self) -> u64 {
        let since = [self.sealed_since.load(Relaxed), self.open_since.load(Relaxed)];
        let oldest = since.into_iter().filter(|&since| since != 0).min();
        oldest.map_or(0, |oldest| monotonic_ms().saturating_sub(oldest))
    }
}

/// Milliseconds of the monotonic clock, 1 or more.
pub(super) fn monotonic_ms() -> u64 {
    monotonic::nanos() / 1_000_000 + 1
}
