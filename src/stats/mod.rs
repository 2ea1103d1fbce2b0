//! Counters and gauges: tables of atomics, with one writer each where a worker counts.
//!
//! Owns the numbers; knows neither protocols nor the store. Workers write their own [`Counters`] without
//! read-modify-write instructions; `stats` sums them up; `stats reset` subtracts a baseline.

mod budget;
mod counters;
mod globals;
mod latency;
mod prefix;

pub use budget::{Budget, BudgetShare};
pub use counters::{ClassCounter, Counter, Counters, Totals};
pub use globals::Globals;
pub use latency::{
    CommandKind, HistogramSnapshot, Latency, LatencySnapshot, SingleHistogram, TurnClass, WorkerLatency,
};
pub use prefix::{PrefixCounts, PrefixEvent, PrefixPlace, PrefixStats};

use crate::point::point;
use parking_lot::Mutex;
use std::sync::Arc;

/// All counters of the process.
pub struct Stats {
    /// One table per worker, indexed by worker number, plus one at the end for the main thread and chores.
    pub workers: Vec<Arc<Counters>>,
    /// Connection and process gauges with several writers.
    pub globals: Globals,
    /// Histograms of the times of turns and commands.
    pub latency: Latency,
    baseline: Mutex<Totals>,
}

impl Stats {
    /// Tables for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..=workers).map(|_| Arc::new(Counters::default())).collect(),
            globals: Globals::default(),
            latency: Latency::new(workers),
            baseline: Mutex::new(Totals::default()),
        }
    }

    /// Sums of all workers since the last reset.
    pub fn totals(&self) -> Totals {
        // The baseline before the counters: its lock orders the reset's reads before these, and a later read of a
        // counter never returns an older value.
        let baseline = self.baseline.lock().clone();
        point("the baseline is read");
        let mut totals = self.absolute();
        totals.subtract(&baseline);
        totals
    }

    /// A number that changes whenever a worker counts anything.
    pub fn activity(&self) -> u64 {
        self.workers.iter().map(|worker| worker.activity()).fold(0, u64::wrapping_add)
    }

    /// `stats reset`: counters start again at 0, gauges stay.
    pub fn reset(&self) {
        // Read under the lock: of two concurrent resets the one that read earlier must not store its baseline later.
        let mut baseline = self.baseline.lock();
        *baseline = self.absolute();
        drop(baseline);
        self.globals.reset();
        self.latency.reset();
    }

    #[cfg(test)]
    fn baseline(&self) -> Totals {
        self.baseline.lock().clone()
    }

    fn absolute(&self) -> Totals {
        let mut totals = Totals::default();
        for worker in &self.workers {
            totals.add(worker);
        }
        totals
    }
}
