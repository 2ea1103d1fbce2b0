//! Changes of items, reported in order to one sink, such as a durable copy, a replica or a subscriber.
//!
//! Owns what is a change, and the sequence numbers that order changes and flushes. Knows no sink. Called by `link` for
//! stores and removals, by `Store::visit` for changes in place, and by `flush`.
//!
//! Each change of a key is reported under its bucket's lock, so the changes of a key arrive in their order, with rising
//! numbers. A flush touches no item: it is reported once, when it takes effect, and ends every key whose last change
//! has a lower number. For that, a writer draws its number after [`Store::calm`] and before it checks whether a flush
//! has begun ([`Store::is_flushed_since`]); if one has, the writer removes the item. A flush draws its number while its
//! counter is odd. So an item that stays has a higher number than the flushes before it, and a lower one than those
//! after it.
//!
//! A removal is a change of an item, so the deletion of a key without one is none. A sink may keep items that memory no
//! longer has: [`Store::delete_absent`] reports their deletion.
//!
//! Not reported: accesses, moves to another chunk or layout, and the items recovered from a memory file.

use crate::store::entry::Entry;
use crate::store::item::{Handle, Item, Key};
use crate::store::store::Store;
use crate::store::write::Dead;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Receiver of all changes.
///
/// Called with the key's bucket locked, for evictions also the class; for a flush, with the flush lock. So a call must
/// not block, do I/O or call the store, and may take only locks of rank 60 (docs/locking.md). It may keep what it reads
/// from the item, and a pin.
pub trait ChangeSink: Send + Sync {
    /// A key has changed.
    fn change(&self, change: &Change<'_>);

    /// A client has deleted a key of which memory has no item. Called as for a change of that key.
    fn delete_absent(&self, key: &Key<'_>, seq: u64);

    /// A flush has ended every key whose last change has a number below `seq`. One that `flush_all` requests with a
    /// delay is reported when it takes effect.
    fn flush(&self, seq: u64);

    /// A flush will take effect when relative time is past `at`; `None`: none will. Called as [`ChangeSink::flush`].
    fn plan_flush(&self, at: Option<u32>) {
        let _ = at;
    }
}

/// One change of one key.
pub struct Change<'a> {
    /// The key.
    pub key: Key<'a>,
    /// What has happened to the key.
    pub op: ChangeOp,
    /// The item after the change; for a removal, as it was when it was removed.
    pub item: &'a Entry,
    /// Sequence number, unique, and higher than those of the key's earlier changes.
    pub seq: u64,
}

/// What has happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOp {
    /// The key has a new item, in place of any former one; or its item has a new value or CAS id.
    Set,
    /// The item has another expiry time or other marks (`STALE`, `TOKEN`), with the same value and CAS id.
    Touch,
    /// A client has deleted its item; or there was no memory for a new value, and the old one had to go.
    Delete,
    /// The item was evicted. A copy that the sink has made remains valid.
    Evict,
    /// The item was dead (expired or flushed), and has been removed.
    Reclaim(Dead),
}

/// The sink and the last sequence number.
#[derive(Default)]
pub(super) struct Changes {
    sink: OnceLock<Box<dyn ChangeSink>>,
    seq: AtomicU64,
}

impl Changes {
    fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, SeqCst) + 1
    }
}

impl Store {
    /// Sets the sink of all later changes; false if there is one already.
    pub fn report_changes_to(&self, sink: Box<dyn ChangeSink>) -> bool {
        self.changes.sink.set(sink).is_ok()
    }

    /// Reports a change that was made to an item under its bucket's lock, which is still held; false if there is no
    /// sink.
    #[inline]
    pub(super) fn emit(&'static self, key: &Key<'_>, op: ChangeOp, handle: Handle, item: &Item) -> bool {
        let Some(sink) = self.changes.sink.get() else { return false };
        self.emit_to(&**sink, key, op, Entry::of(self, 0, handle, *item));
        true
    }

    #[cold]
    fn emit_to(&self, sink: &dyn ChangeSink, key: &Key<'_>, op: ChangeOp, item: Entry) {
        sink.change(&Change { key: *key, op, item: &item, seq: self.changes.next_seq() });
    }

    /// Reports a flush to come, or that none is.
    pub(super) fn emit_flush_plan(&self, at: Option<u32>) {
        if let Some(sink) = self.changes.sink.get() {
            sink.plan_flush(at);
        }
    }

    /// Reports the deletion of a key of which memory has no item, dead or alive. False if there is one: the caller
    /// looks again.
    pub fn delete_absent(&'static self, key: &Key<'_>) -> bool {
        let Some(sink) = self.changes.sink.get() else { return true };
        let bucket = self.index.lock(key.hash());
        let is_absent = self.find(&bucket, key).is_none();
        if is_absent {
            sink.delete_absent(key, self.changes.next_seq());
        }
        is_absent
    }

    /// Reports a flush; called while it takes effect (its counter is odd).
    pub(super) fn emit_flush(&self) {
        if let Some(sink) = self.changes.sink.get() {
            sink.flush(self.changes.next_seq());
        }
    }
}
