//! The thread that writes: it commits one cut after the other, and tends the engine between them.
//!
//! Owns the writer's side of the engine, when a commit begins, and what a failed one means. Must not know sessions.
//! Started by `mod`.
//!
//! ```text
//! async, batch   a commit begins `store_delay` after its first change; one that fails is repeated until it succeeds,
//!                and its changes stay pending: what memory says is right, and a load sees it
//! sync           a commit begins at once; while it runs the next cut fills. One that fails is not repeated: memory
//!                forgets its items, the replies become errors, and changes are refused until a probe succeeds
//! ```
//! After a failed commit of `sync`, changes that were made on top of the failed ones must fail too. So from the moment
//! at which all shards are locked to say so, each change is only noted as a key to forget; changes are taken again when
//! no such key is left.

use super::core::{Core, monotonic_ms};
use super::engine::{Durability, Engine, EngineError, EngineErrorKind, Put, Tended};
use super::pending::{Cut, PendingChange, PendingKind, Taking};
use crate::cache::{Committed, Key};
use crate::settings::OnError;
use crate::sys::{monotonic, say};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// How long the writer sleeps at most before it looks for expired records.
const TEND_PERIOD: Duration = Duration::from_secs(1);
/// Pauses between two tries of a commit that fails: the first, and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(1);
/// Tries of the last commits, at the stop.
const TRIES_AT_STOP: u32 = 3;
/// Longest wait of a commit of `sync` for more changes: a part of the last commit's time, and a time. The steps are
/// short beside a commit.
const GATHER_PART: u32 = 4;
const GATHER_MAX: Duration = Duration::from_millis(1);
const GATHER_STEP: Duration = Duration::from_micros(50);
/// Seconds after its expiry before which a record is not removed: a touch that came before the expiry may wait for its
/// commit that long.
const SWEEP_LAG: i64 = 120;
/// CAS ids that are reserved at a time. At ten million writes a second they last for ten seconds, longer than the
/// longest delay between two commits' starts.
const CAS_BLOCK: u64 = 1 << 28;

/// Bytes of the buffer for large values that are kept between commits.
const SCRATCH_KEPT: usize = 1 << 20;

fn no_memory() -> EngineError {
    EngineError { kind: EngineErrorKind::Other, message: "no memory for a large value".to_owned() }
}

/// The writer.
pub(super) struct Writer {
    core: Arc<Core>,
    engine: Box<dyn Engine>,
    /// Value of a record that is pinned in pieces.
    scratch: Vec<u8>,
    /// Every CAS id up to this may be used.
    cas_high: u64,
    /// More is due in the engine.
    tends: bool,
    /// Changes of the last cut, and the time of its commit.
    last_cut: (usize, Duration),
}

impl Writer {
    /// A writer; `cas_high` is what the engine has reserved.
    pub fn new(core: Arc<Core>, engine: Box<dyn Engine>, cas_high: u64) -> Self {
        Self { core, engine, scratch: Vec::new(), cas_high, tends: true, last_cut: (0, Duration::ZERO) }
    }

    /// Writes until the stop, then closes the engine.
    pub fn run(mut self) {
        self.core.i_write();
        loop {
            self.rest();
            self.core.is_awake();
            self.gather();
            match self.core.pending.seal() {
                Some(cut) => self.commit(cut),
                None if self.core.is_stopping.load(SeqCst) => break,
                None => {}
            }
            self.tend();
        }
        if let Err(error) = self.engine.close() {
            say(format_args!("store: {error}"));
        }
    }

    fn has_changes(&self) -> bool {
        self.core.pending.open() > 0 || self.core.pending.has_plan()
    }

    /// Sleeps until a commit should begin, or the engine should be tended.
    fn rest(&mut self) {
        let core = &self.core;
        let tend_at = Instant::now() + TEND_PERIOD;
        let mut first_change = None;
        loop {
            let now = Instant::now();
            if core.is_stopping.load(SeqCst) {
                return;
            }
            if self.has_changes() {
                let begun = *first_change.get_or_insert_with(|| {
                    core.open_since.store(monotonic_ms(), Relaxed);
                    now
                });
                let waits = (begun + core.settings.delay()).saturating_duration_since(now);
                if waits.is_zero() || core.is_urgent() {
                    return;
                }
                thread::park_timeout(waits);
            } else if self.tends || now >= tend_at {
                return;
            } else {
                core.falls_asleep();
                if !self.has_changes() {
                    thread::park_timeout(tend_at - now);
                }
                core.is_awake();
            }
        }
    }

    /// With `sync`: waits for about as many changes as the last cut had, for a part of the time that its commit took.
    /// The clients of a commit get their replies together, so their next changes come together; without this the first
    /// of them would have a commit of its own, and the others would wait for it.
    fn gather(&self) {
        let (changes, time) = self.last_cut;
        if self.core.settings.durability != Durability::Sync || self.core.is_stopping.load(SeqCst) {
            return;
        }
        let end = Instant::now() + (time / GATHER_PART).min(GATHER_MAX);
        while (1..changes).contains(&self.core.pending.open()) && Instant::now() < end {
            thread::park_timeout(GATHER_STEP);
        }
    }

    fn commit(&mut self, cut: Cut) {
        let core = Arc::clone(&self.core);
        core.sealed_since.store(core.open_since.swap(0, Relaxed).max(1), Relaxed);
        let mut pause = RETRY_FIRST;
        for tries in 1.. {
            let begun = monotonic::nanos();
            let Err(error) = self.write(&cut) else {
                let nanos = monotonic::nanos() - begun;
                core.commit_times.record(nanos);
                self.last_cut = (cut.changes().count(), Duration::from_nanos(nanos));
                break;
            };
            self.engine.roll_back();
            core.counts.errors.fetch_add(1, Relaxed);
            if tries == 1 {
                say(format_args!("store: a commit failed: {error}"));
            }
            if core.settings.durability == Durability::Sync {
                return self.fail(cut);
            }
            core.is_retrying.store(true, Relaxed);
            if core.settings.on_error == OnError::Cache {
                core.pending.take(Taking::Tombstones);
            }
            core.tell_of_room(true); // what waits for room is refused now
            if core.is_stopping.load(SeqCst) && tries >= TRIES_AT_STOP {
                let lost = cut.changes().count();
                say(format_args!("store: {lost} changes are lost: {error}"));
                return self.end(cut, Committed::Failed);
            }
            thread::park_timeout(pause);
            pause = (2 * pause).min(RETRY_LONGEST);
        }
        if core.is_retrying.swap(false, Relaxed) {
            core.pending.take(Taking::All);
            say(format_args!("store: commits succeed again"));
        }
        for change in cut.changes().filter(|change| matches!(change.kind, PendingKind::Put { .. })) {
            core.filter.add(change.hash());
        }
        core.flush_committed.store(cut.flush, SeqCst);
        core.counts.commits.fetch_add(1, Relaxed);
        self.end(cut, Committed::Durable);
    }

    /// Ends a cut: forgets its changes, reports its outcome, and that there is room.
    fn end(&self, cut: Cut, outcome: Committed) {
        let (core, number) = (&self.core, cut.number);
        core.pending.settle(cut);
        core.sealed_since.store(0, Relaxed);
        core.commits.end(number, outcome);
        core.tell_of_room(false);
    }

    /// Writes a cut in one transaction.
    fn write(&mut self, cut: &Cut) -> Result<(), EngineError> {
        let core = Arc::clone(&self.core);
        let mut changes: Vec<&PendingChange> = cut.changes().filter(|change| !cut.has_ended(change)).collect();
        // In the order of the keys, the pages of the table are read and written once each.
        changes.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        let (mut puts, mut touches, mut deletes) = (0, 0, 0);
        self.reserve_cas(false)?;
        self.engine.begin()?;
        if cut.flush > core.flush_committed.load(SeqCst) {
            self.engine.flush()?;
        }
        if let Some(plan) = cut.plan {
            self.engine.plan_flush(plan)?;
        }
        for change in changes {
            let key = change.key();
            match &change.kind {
                PendingKind::Put { flags, expires, cas, marks, modified, pinned } => {
                    let value = match pinned {
                        None => change.copied_value(),
                        Some(pinned) => {
                            self.scratch.clear();
                            self.scratch.try_reserve(pinned.remaining()).map_err(|_| no_memory())?;
                            pinned.for_each_piece(|bytes| self.scratch.extend_from_slice(bytes));
                            &self.scratch
                        }
                    };
                    let (flags, expires, cas, marks, modified) = (*flags, *expires, *cas, *marks, *modified);
                    self.engine.put(&Put { key, value, flags, expires, cas, marks, modified })?;
                    puts += 1;
                }
                PendingKind::Touch { expires, marks } => {
                    self.engine.touch(key, *expires, *marks)?;
                    touches += 1;
                }
                PendingKind::Delete => {
                    self.engine.delete(key)?;
                    deletes += 1;
                }
                PendingKind::Forget => {}
            }
        }
        self.engine.commit()?;
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_KEPT);
        core.counts.puts.fetch_add(puts, Relaxed);
        core.counts.touches.fetch_add(touches, Relaxed);
        core.counts.deletes.fetch_add(deletes, Relaxed);
        Ok(())
    }

    /// After a failed commit with `durability=sync`: makes memory forget what was not kept, until commits succeed.
    fn fail(&mut self, cut: Cut) {
        let core = Arc::clone(&self.core);
        core.is_failing.store(true, Relaxed);
        core.pending.take(Taking::Nothing);
        self.undo(cut);
        core.tell_of_room(true);
        let mut pause = RETRY_FIRST;
        let mut probe_at = Instant::now();
        loop {
            // Changes that were under way; also those that the failed cut's successor had got.
            if let Some(cut) = core.pending.seal() {
                self.undo(cut);
                continue;
            }
            if core.is_stopping.load(SeqCst) {
                return;
            }
            if Instant::now() < probe_at {
                core.falls_asleep();
                if !self.has_changes() {
                    thread::park_timeout(probe_at.saturating_duration_since(Instant::now()));
                }
                core.is_awake();
                continue;
            }
            if self.reserve_cas(true).is_ok() && core.pending.take_all_if_empty() {
                core.is_failing.store(false, Relaxed);
                say(format_args!("store: commits succeed again"));
                return;
            }
            probe_at = Instant::now() + pause;
            pause = (2 * pause).min(RETRY_LONGEST);
        }
    }

    /// Reserves CAS ids, if half of those reserved are used, or if `always`: a commit of one number, which shows
    /// whether commits succeed.
    fn reserve_cas(&mut self, always: bool) -> Result<(), EngineError> {
        let used = self.core.store.last_cas();
        if always || used + CAS_BLOCK / 2 > self.cas_high {
            self.engine.reserve_cas(used + CAS_BLOCK)?;
            self.cas_high = used + CAS_BLOCK;
        }
        Ok(())
    }

    /// Makes memory forget the items of a cut that is not kept, then reports the failure.
    fn undo(&self, cut: Cut) {
        let core = &self.core;
        let keys: Vec<Box<[u8]>> = cut.changes().map(|change| change.key().into()).collect();
        let (number, flush) = (cut.number, cut.flush);
        // First: a load must not find the changes any more, and finds those records that a flush was to end.
        core.pending.settle(cut);
        core.flush_committed.store(flush, SeqCst);
        for bytes in &keys {
            let Some(key) = Key::new(bytes) else { continue };
            core.loads.invalidate(&key);
            core.store.forget(&key);
        }
        core.sealed_since.store(0, Relaxed);
        core.counts.forgotten.fetch_add(keys.len() as u64, Relaxed);
        core.commits.end(number, Committed::Failed);
    }

    fn tend(&mut self) {
        let sizes = self.engine.sizes();
        *self.core.sizes.lock() = sizes;
        match self.engine.tend(self.core.times().unix() - SWEEP_LAG) {
            Ok(Tended::More { removed }) => {
                self.core.counts.swept.fetch_add(removed, Relaxed);
                self.tends = true;
            }
            Ok(Tended::Idle { removed }) => {
                self.core.counts.swept.fetch_add(removed, Relaxed);
                self.tends = false;
            }
            Err(error) => {
                if self.core.counts.errors.fetch_add(1, Relaxed) == 0 {
                    say(format_args!("store: {error}"));
                }
                self.tends = false;
            }
        }
    }
}
