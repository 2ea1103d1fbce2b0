//! The durable copy of the items (`-o store=`): what was stored outlives the process, and comes back when it is asked
//! for. The design is in `docs/durable.md`.
//!
//! ```text
//! worker ── change, under the bucket's lock ──► pending ── a cut ──► writer ──► engine
//!   │   ◄── the reply may go, or is an error ── commits ◄── ended ─────┘           │
//!   │                                                                              ▼
//!   └── miss ──► filter ──► loads ── a key ──► loading threads ◄── a record ──  reader
//!       ◄── the item is in memory ──────────────────┘
//! ```
//!
//! Owns the changes that are not yet written, the thread that writes them (`mc-store`), the threads that load records
//! (`mc-load`), the one that scans (`mc-scan`), and the filter of the stored keys. Knows the store and the cache by
//! their traits ([`ChangeSink`], [`Backing`]), and no protocol. Made by `server`; read by `report`.

mod commits;
mod core;
mod counts;
pub mod engine;
mod filter;
mod loader;
mod loads;
pub mod memory_engine;
mod pending;
mod scan;
pub mod sqlite;
mod writer;

use crate::cache::{Admission, Backing, Cache, CommitNumber, CommitReport, Key, Load};
use crate::settings::{Durability, DurableSettings};
use crate::stats::HistogramSnapshot;
use crate::store::{Change, ChangeSink};
use core::Core;
pub use counts::DurableFigures;
use engine::{Engine, EngineError, EngineSizes};
use loader::Loader;
use loads::Loads;
use parking_lot::Mutex;
use scan::Scan;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread::{self, JoinHandle};
use writer::Writer;

/// Threads that load. More gain little: readers of one file wait for the same disk.
const LOADERS: usize = 2;

/// The durable copy of a cache.
pub struct Durable {
    core: Arc<Core>,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

/// Present state of a durable copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurableView {
    /// Counters.
    pub figures: DurableFigures,
    /// Bytes of the changes that wait to be committed.
    pub queue_bytes: u64,
    /// Changes that no commit has begun with.
    pub queue_items: u64,
    /// Milliseconds for which the oldest of them has waited.
    pub oldest_ms: u64,
    /// Loads in progress.
    pub loading: u64,
    /// Replies that wait for a commit.
    pub waiting: u64,
    /// Bytes of the filter.
    pub filter_bytes: u64,
    /// Records that the last scan has shown.
    pub records: u64,
    /// Changes of which only a deletion was kept, while the engine failed.
    pub dropped: u64,
    /// The first scan has not ended.
    pub is_warming: bool,
    /// The last commit failed.
    pub is_failing: bool,
}

impl Durable {
    /// Puts a copy in `engine` behind `cache`, and starts its threads. `now` and `origin` are relative time, and the
    /// Unix time of relative time 0. Called before the workers start.
    ///
    /// # Errors
    /// The engine cannot be read, or not carry out a flush that was due while no process ran, or a thread cannot be
    /// started.
    pub fn start(
        cache: &Cache,
        settings: DurableSettings,
        mut engine: Box<dyn Engine>,
        (now, origin): (u32, i64),
    ) -> Result<Arc<Self>, EngineError> {
        let opened = engine.opened();
        let is_overdue = opened.flush_at.is_some_and(|at| at < origin + i64::from(now));
        if is_overdue {
            // Before a reader is there: what it showed would come back for good.
            engine.begin()?;
            engine.flush()?;
            engine.plan_flush(None)?;
            engine.commit()?;
        }
        let (loads, requests) = Loads::new();
        let core = Arc::new(Core::new(cache.store, settings, loads));
        core.set_time(now, origin);
        cache.store.begin_ids_after(opened.cas_high);
        let mut threads = Threads::default();
        for _ in 0..LOADERS {
            let loader = Loader { core: Arc::clone(&core), reader: engine.open_reader()?, requests: requests.clone() };
            threads.others.push(spawn("mc-load", move || loader.run())?);
        }
        let scan = Scan { core: Arc::clone(&core), reader: engine.open_reader()? };
        threads.others.push(spawn("mc-scan", move || scan.run())?);
        let writer = Writer::new(Arc::clone(&core), engine, opened.cas_high);
        threads.writer = Some(spawn("mc-store", move || writer.run())?);
        if let Some(at) = opened.flush_at.filter(|_| !is_overdue) {
            // The sink is not there yet: the engine knows of this flush.
            cache.store.flush((at - origin).clamp(1, u32::MAX.into()) as u32, now);
        }
        cache.store.report_changes_to(Box::new(Sink(Arc::clone(&core))));
        cache.put_behind(Box::new(Behind(Arc::clone(&core))));
        Ok(Arc::new(Self { core, threads: Mutex::new(threads) }))
    }

    /// Sets the time, as in [`Durable::start`]. The main thread calls this once a second.
    pub fn tick(&self, now: u32, origin: i64) {
        self.core.set_time(now, origin);
    }

    /// Writes what is pending, and ends the threads. Called once no command runs any more.
    pub fn stop(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        self.core.is_stopping.store(true, SeqCst);
        self.core.wake_writer();
        self.core.tell_of_room(true);
        self.core.loads.stop(LOADERS);
        threads.others.iter().for_each(|thread| thread.thread().unpark());
        // A panic has ended the process; where it does not (tests), it has been reported.
        threads.others.into_iter().chain(threads.writer).for_each(|thread| drop(thread.join()));
    }

    /// Present state.
    pub fn view(&self) -> DurableView {
        let core = &self.core;
        DurableView {
            figures: core.counts.read(),
            queue_bytes: core.pending.bytes() as u64,
            queue_items: core.pending.open() as u64,
            oldest_ms: core.oldest_ms(),
            loading: core.loads.count() as u64,
            waiting: core.commits.waiting() as u64,
            filter_bytes: core.filter.memory(),
            records: core.records.load(Relaxed),
            dropped: core.pending.dropped(),
            is_warming: core.is_warming.load(SeqCst),
            is_failing: self.is_failing(),
        }
    }

    /// Whether the last commit failed.
    pub fn is_failing(&self) -> bool {
        self.core.is_failing.load(Relaxed) || self.core.is_retrying.load(Relaxed)
    }

    /// Nanoseconds of the commits since the start.
    pub fn commit_times(&self) -> HistogramSnapshot {
        self.core.commit_times.snapshot()
    }

    /// Sizes of the engine's files.
    pub fn sizes(&self) -> EngineSizes {
        *self.core.sizes.lock()
    }

    /// `stats reset`.
    pub fn reset(&self) {
        self.core.counts.reset();
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, EngineError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| EngineError {
        kind: engine::EngineErrorKind::Other,
        message: format!("a thread cannot be started: {error}"),
    })
}

/// The store's side.
struct Sink(Arc<Core>);

impl ChangeSink for Sink {
    fn change(&self, change: &Change<'_>) {
        self.0.change(change);
    }

    fn delete_absent(&self, key: &Key<'_>, seq: u64) {
        self.0.delete_absent(key, seq);
    }

    fn flush(&self, seq: u64) {
        self.0.flush(seq);
    }

    fn plan_flush(&self, at: Option<u32>) {
        self.0.plan_flush(at);
    }
}

/// The cache's side.
struct Behind(Arc<Core>);

impl Backing for Behind {
    fn load(&self, key: &Key<'_>) -> Option<Load> {
        self.0.load(key)
    }

    fn admit(&self) -> Admission {
        self.0.admit()
    }

    fn replies_wait(&self) -> bool {
        self.0.settings.durability == Durability::Sync
    }

    fn take_commit(&self) -> Option<CommitNumber> {
        self.0.take_commit()
    }

    fn when_committed(&self, commit: CommitNumber, report: CommitReport) {
        self.0.commits.when_ended(commit, report);
    }
}
