//! An engine that keeps its records in memory: for tests, and as the proof that the traits fit more than one engine.
//!
//! Owns a [`MemoryDisk`], which outlives the engines that are opened on it, fails calls on request, and loses what a
//! loss of power would lose. Knows no files and no threads. Called by tests only.
//!
//! What readers see and what a loss of power leaves are two maps. A commit changes the first at once; its changes wait
//! in a log for the second, as they would in the pages of the kernel, at most `UNSYNCED_MAX` transactions.

use super::engine::{
    Durability, Engine, EngineError, EngineErrorKind, EngineSizes, Opened, Put, Reader, Record, ScanPosition, Tended,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;

/// Transactions that a loss of power may drop, without [`Durability::Sync`].
const UNSYNCED_MAX: usize = 64;
/// Rows that one call of `scan` examines.
const EXAMINED_MAX: usize = 100;
/// Records that one call of `tend` removes.
const TEND_MAX: usize = 64;

/// A disk that survives the engines on it. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<DiskState>>);

#[derive(Default)]
struct DiskState {
    visible: Tables,
    durable: Tables,
    /// Committed transactions that are not in `durable` yet, oldest first.
    unsynced: VecDeque<Vec<TableChange>>,
    /// An engine is open.
    in_use: bool,
    /// Losses of power; an engine or reader from before one is dead.
    losses: u64,
    /// Calls up to and including the one that fails, and how it fails.
    fault: Option<(u64, EngineErrorKind)>,
    /// How every call fails.
    broken: Option<EngineErrorKind>,
}

#[derive(Clone, Default)]
struct Tables {
    records: BTreeMap<Box<[u8]>, Stored>,
    epoch: u64,
    cas_high: u64,
    flush_at: Option<i64>,
    was_closed: bool,
}

#[derive(Clone)]
struct Stored {
    record: Arc<Record>,
    epoch: u64,
}

#[derive(Clone)]
enum TableChange {
    Put(Box<[u8]>, Arc<Record>),
    Touch(Box<[u8]>, i64, u8),
    Delete(Box<[u8]>),
    Flush,
    PlanFlush(Option<i64>),
}

impl Tables {
    fn apply(&mut self, change: TableChange) {
        match change {
            TableChange::Put(key, record) => _ = self.records.insert(key, Stored { record, epoch: self.epoch }),
            TableChange::Touch(key, expires, marks) => {
                if let Some(stored) = self.records.get_mut(&key) {
                    let record = Arc::make_mut(&mut stored.record);
                    (record.expires, record.marks) = (expires, marks);
                }
            }
            TableChange::Delete(key) => _ = self.records.remove(&key),
            TableChange::Flush => self.epoch += 1,
            TableChange::PlanFlush(at) => self.flush_at = at,
        }
    }

    fn is_live(&self, stored: &Stored, now: i64) -> bool {
        stored.epoch == self.epoch && (stored.record.expires == 0 || stored.record.expires > now)
    }
}

impl DiskState {
    /// Counts a call, and fails it if it is to fail.
    fn call(&mut self, losses: u64) -> Result<(), EngineError> {
        if self.losses != losses {
            return Err(EngineError::new(EngineErrorKind::Io, "the power was lost"));
        }
        if let Some(kind) = self.broken {
            return Err(EngineError::new(kind, "the disk is broken"));
        }
        if let Some((calls, kind)) = &mut self.fault {
            *calls -= 1;
            if *calls == 0 {
                let kind = *kind;
                self.fault = None;
                return Err(EngineError::new(kind, "a call of the disk has failed"));
            }
        }
        Ok(())
    }

    /// Makes all but the newest `keep` transactions durable.
    fn sync(&mut self, keep: usize) {
        while self.unsynced.len() > keep {
            for change in self.unsynced.pop_front().into_iter().flatten() {
                self.durable.apply(change);
            }
        }
    }
}

impl MemoryDisk {
    /// Opens an engine on the disk.
    ///
    /// # Errors
    /// One is open, or the call is to fail.
    pub fn open(&self, durability: Durability) -> Result<MemoryEngine, EngineError> {
        let mut disk = self.0.lock();
        let losses = disk.losses;
        disk.call(losses)?;
        if disk.in_use {
            return Err(EngineError::new(EngineErrorKind::InUse, "another engine is open on the disk"));
        }
        disk.in_use = true;
        let tables = &disk.visible;
        let opened = Opened { cas_high: tables.cas_high, flush_at: tables.flush_at, was_closed: tables.was_closed };
        Ok(MemoryEngine { disk: self.clone(), losses, durability, opened, changes: None })
    }

    /// Fails one call of an engine or reader with `kind`: the next for 1, the one after it for 2.
    pub fn fail_nth(&self, nth: u64, kind: EngineErrorKind) {
        self.0.lock().fault = Some((nth.max(1), kind));
    }

    /// Fails every call with a kind, until it is set to `None`.
    pub fn set_broken(&self, kind: Option<EngineErrorKind>) {
        self.0.lock().broken = kind;
    }

    /// Drops the newest `lost` transactions that were not made durable, and whatever was not committed. Engines and
    /// readers from before fail from now on; another can be opened.
    pub fn lose_power(&self, lost: usize) {
        let mut disk = self.0.lock();
        disk.sync(lost);
        disk.unsynced.clear();
        disk.visible = disk.durable.clone();
        disk.losses += 1;
        disk.in_use = false;
    }
}

/// The writer's side of a [`MemoryDisk`].
pub struct MemoryEngine {
    disk: MemoryDisk,
    losses: u64,
    durability: Durability,
    opened: Opened,
    /// Changes of the present transaction.
    changes: Option<Vec<TableChange>>,
}

impl MemoryEngine {
    fn change(&mut self, change: TableChange) -> Result<(), EngineError> {
        self.disk.0.lock().call(self.losses)?;
        let changes = self.changes.as_mut().ok_or_else(|| misused("a change outside a transaction"))?;
        changes.push(change);
        Ok(())
    }
}

fn misused(what: &str) -> EngineError {
    EngineError::new(EngineErrorKind::Other, what)
}

impl Engine for MemoryEngine {
    fn opened(&self) -> Opened {
        self.opened
    }

    fn begin(&mut self) -> Result<(), EngineError> {
        let mut disk = self.disk.0.lock();
        disk.call(self.losses)?;
        if self.changes.is_some() {
            return Err(misused("a transaction within a transaction"));
        }
        disk.visible.was_closed = false;
        disk.durable.was_closed = false;
        self.changes = Some(Vec::new());
        Ok(())
    }

    fn put(&mut self, put: &Put<'_>) -> Result<(), EngineError> {
        let record = Record {
            value: put.value.to_vec(),
            flags: put.flags,
            expires: put.expires,
            cas: put.cas,
            marks: put.marks,
            modified: put.modified,
        };
        self.change(TableChange::Put(put.key.into(), Arc::new(record)))
    }

    fn touch(&mut self, key: &[u8], expires: i64, marks: u8) -> Result<bool, EngineError> {
        self.change(TableChange::Touch(key.into(), expires, marks))?;
        let flushed = self.changes.iter().flatten().any(|change| matches!(change, TableChange::Flush));
        let tables = &self.disk.0.lock().visible;
        Ok(!flushed && tables.records.get(key).is_some_and(|stored| stored.epoch == tables.epoch))
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.change(TableChange::Delete(key.into()))
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.change(TableChange::Flush)
    }

    fn plan_flush(&mut self, at: Option<i64>) -> Result<(), EngineError> {
        self.change(TableChange::PlanFlush(at))
    }

    fn reserve_cas(&mut self, high: u64) -> Result<(), EngineError> {
        let mut disk = self.disk.0.lock();
        disk.call(self.losses)?;
        if self.changes.is_some() {
            return Err(misused("CAS ids reserved within a transaction"));
        }
        // What is durable is always a beginning of what was committed.
        disk.sync(0);
        disk.visible.cas_high = high;
        disk.durable.cas_high = high;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), EngineError> {
        let mut disk = self.disk.0.lock();
        disk.call(self.losses)?;
        let changes = self.changes.take().ok_or_else(|| misused("a commit outside a transaction"))?;
        for change in &changes {
            disk.visible.apply(change.clone());
        }
        disk.unsynced.push_back(changes);
        disk.sync(if self.durability == Durability::Sync { 0 } else { UNSYNCED_MAX });
        Ok(())
    }

    fn roll_back(&mut self) {
        self.changes = None;
    }

    fn tend(&mut self, now: i64) -> Result<Tended, EngineError> {
        let mut disk = self.disk.0.lock();
        disk.call(self.losses)?;
        let tables = &disk.visible;
        let ended = tables.records.iter().filter(|(_, stored)| !tables.is_live(stored, now));
        let changes: Vec<_> = ended.take(TEND_MAX).map(|(key, _)| TableChange::Delete(key.clone())).collect();
        let removed = changes.len() as u64;
        for change in &changes {
            disk.visible.apply(change.clone());
        }
        disk.unsynced.push_back(changes);
        disk.sync(if self.durability == Durability::Sync { 0 } else { UNSYNCED_MAX });
        Ok(if removed == TEND_MAX as u64 { Tended::More { removed } } else { Tended::Idle { removed } })
    }

    fn open_reader(&self) -> Result<Box<dyn Reader>, EngineError> {
        self.disk.0.lock().call(self.losses)?;
        Ok(Box::new(MemoryReader { disk: self.disk.clone(), losses: self.losses }))
    }

    fn sizes(&self) -> EngineSizes {
        let disk = self.disk.0.lock();
        let bytes = |record: &Record| record.value.len() as u64;
        let file = disk.visible.records.iter().map(|(key, stored)| key.len() as u64 + bytes(&stored.record)).sum();
        EngineSizes { file, free: 0, log: disk.unsynced.len() as u64 }
    }

    fn close(&mut self) -> Result<(), EngineError> {
        let mut disk = self.disk.0.lock();
        disk.call(self.losses)?;
        self.changes = None;
        disk.sync(0);
        disk.visible.was_closed = true;
        disk.durable.was_closed = true;
        Ok(())
    }
}

impl Drop for MemoryEngine {
    fn drop(&mut self) {
        let mut disk = self.disk.0.lock();
        if disk.losses == self.losses {
            disk.in_use = false;
        }
    }
}

struct MemoryReader {
    disk: MemoryDisk,
    losses: u64,
}

impl Reader for MemoryReader {
    fn get(&mut self, key: &[u8], now: i64, record: &mut Record) -> Result<bool, EngineError> {
        let mut disk = self.disk.0.lock();
        disk.call(self.losses)?;
        let stored = disk.visible.records.get(key).filter(|stored| disk.visible.is_live(stored, now));
        if let Some(stored) = stored {
            record.clone_from(&stored.record);
        }
        Ok(stored.is_some())
    }

    fn scan(
        &mut self,
        position: &mut ScanPosition,
        now: i64,
        values: bool,
        visit: &mut dyn FnMut(&[u8], &Record) -> ControlFlow<()>,
    ) -> Result<bool, EngineError> {
        let mut disk = self.disk.0.lock();
        disk.call(self.losses)?;
        let tables = &disk.visible;
        let later = tables.records.range::<[u8], _>((Bound::Excluded(position.0.as_slice()), Bound::Unbounded));
        let later: Vec<_> = later.take(EXAMINED_MAX).map(|(key, stored)| (key.clone(), stored.clone())).collect();
        let live: Vec<_> = later.iter().map(|(_, stored)| tables.is_live(stored, now)).collect();
        drop(disk);
        for ((key, stored), is_live) in later.iter().zip(live) {
            position.0 = key.to_vec();
            if !is_live {
                continue;
            }
            let end = if values {
                visit(key, &stored.record)
            } else {
                visit(key, &Record { value: Vec::new(), ..Record::clone(&stored.record) })
            };
            if end.is_break() {
                return Ok(true);
            }
        }
        Ok(later.len() == EXAMINED_MAX)
    }

    fn back_up(&mut self, _to: &Path) -> Result<(), EngineError> {
        Err(misused("an engine in memory has no file to copy"))
    }
}
