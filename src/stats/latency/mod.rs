//! Latencies: histograms of turns and of commands, a set for each worker.
//!
//! Owns the histograms and the baseline of `stats reset`. Must not know clocks or protocols: the worker measures and
//! calls [`WorkerLatency`], by loads and stores of its own words; any thread reads.
//!
//! For readers, in nanoseconds unless said otherwise:
//!
//! | call | returns |
//! |---|---|
//! | [`Latency::snapshot`] | counts since the last `stats reset` |
//! | [`Latency::lifetime`] | counts since the start, which never fall: for samplers and scrapers |
//! | [`LatencySnapshot::since`] | what was counted between two of them |
//! | [`LatencySnapshot::turn`], [`LatencySnapshot::all_turns`] | times of the turns of a class, of all |
//! | [`LatencySnapshot::turn_commands`] | commands a turn (a number) |
//! | [`LatencySnapshot::command`] | service times of a command, measured with `latency=full` only |
//! | [`HistogramSnapshot`] | `count`, `sum`, `mean`, `quantile`, `max`, `below(bound)` for cumulative buckets, `buckets` |
//!
//! A turn is what a worker does for one connection after its poll has reported it: reading, all commands that have
//! arrived, writing the replies. `below` is exact for powers of two.

mod histogram;
mod kinds;

pub use histogram::{HistogramSnapshot, SingleHistogram};
pub use kinds::{CommandKind, TurnClass};

use crate::sys::words::Words;
use histogram::WORDS;
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

/// Place of each histogram among a worker's: turns by class, commands a turn, commands by kind.
const TURN_COMMANDS: usize = TurnClass::ALL.len();
const COMMANDS: usize = TURN_COMMANDS + 1;
const HISTOGRAMS: usize = COMMANDS + CommandKind::ALL.len();

/// One worker's histograms. Only its worker calls the methods that record.
#[derive(Default)]
pub struct WorkerLatency {
    /// Absent until latencies are first measured; a histogram's pages are untouched until it counts.
    words: OnceLock<Words>,
}

impl WorkerLatency {
    fn open(&self) -> io::Result<()> {
        if self.words.get().is_none() {
            // Two threads may call this at once; the memory of either will do.
            let _ = self.words.set(Words::zeroed(HISTOGRAMS * WORDS)?);
        }
        Ok(())
    }

    #[inline]
    fn histogram(&self, at: usize) -> &[AtomicU64] {
        self.words.get().and_then(|words| words.get(at * WORDS..(at + 1) * WORDS)).unwrap_or_default()
    }

    /// Records a turn of `nanos` nanoseconds that ran `commands` commands.
    #[inline]
    pub fn turn(&self, class: TurnClass, nanos: u64, commands: u32) {
        histogram::record(self.histogram(class as usize), nanos);
        if commands > 0 {
            histogram::record(self.histogram(TURN_COMMANDS), commands.into());
        }
    }

    /// Records a command of `nanos` nanoseconds.
    #[inline]
    pub fn command(&self, kind: CommandKind, nanos: u64) {
        histogram::record(self.histogram(COMMANDS + kind as usize), nanos);
    }
}

/// Histograms of all workers.
pub struct Latency {
    /// Indexed by worker number.
    pub workers: Vec<Arc<WorkerLatency>>,
    /// Lock rank: see docs/locking.md.
    baseline: Mutex<LatencySnapshot>,
}

impl Latency {
    /// Histograms for `workers` workers, without memory before [`Latency::open`].
    pub(super) fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| Arc::default()).collect(), baseline: Mutex::default() }
    }

    /// Allocates the histograms, unless they have memory.
    ///
    /// # Errors
    /// The kernel has no memory.
    pub fn open(&self) -> io::Result<()> {
        self.workers.iter().try_for_each(|worker| worker.open())
    }

    /// Counts since the last reset.
    pub fn snapshot(&self) -> LatencySnapshot {
        // The baseline before the counters: see `Stats::totals`.
        let baseline = self.baseline.lock().clone();
        let mut all = self.lifetime();
        all.histograms.iter_mut().zip(&baseline.histograms).for_each(|(now, then)| now.subtract(then));
        all
    }

    /// Counts since the start.
    pub fn lifetime(&self) -> LatencySnapshot {
        let mut all = LatencySnapshot { histograms: vec![HistogramSnapshot::default(); HISTOGRAMS] };
        for worker in &self.workers {
            all.histograms.iter_mut().enumerate().for_each(|(at, sum)| sum.add_words(worker.histogram(at)));
        }
        all
    }

    pub(super) fn reset(&self) {
        // Read under the lock: see `Stats::reset`.
        let mut baseline = self.baseline.lock();
        *baseline = self.lifetime();
    }
}

/// Counts of all histograms, summed over the workers, at one moment.
#[derive(Clone, Default)]
pub struct LatencySnapshot {
    /// `HISTOGRAMS`, or none as a baseline that subtracts nothing.
    histograms: Vec<HistogramSnapshot>,
}

/// No values, for a snapshot without histograms.
static NONE: std::sync::LazyLock<HistogramSnapshot> = std::sync::LazyLock::new(HistogramSnapshot::default);

impl LatencySnapshot {
    fn at(&self, at: usize) -> &HistogramSnapshot {
        self.histograms.get(at).unwrap_or(&NONE)
    }

    /// Times of the turns of a class, in nanoseconds.
    pub fn turn(&self, class: TurnClass) -> &HistogramSnapshot {
        self.at(class as usize)
    }

    /// Times of all turns, in nanoseconds.
    pub fn all_turns(&self) -> HistogramSnapshot {
        let mut all = HistogramSnapshot::default();
        TurnClass::ALL.iter().for_each(|class| all.add(self.turn(*class)));
        all
    }

    /// Commands of each turn that ran any.
    pub fn turn_commands(&self) -> &HistogramSnapshot {
        self.at(TURN_COMMANDS)
    }

    /// Service times of a command, in nanoseconds.
    pub fn command(&self, kind: CommandKind) -> &HistogramSnapshot {
        self.at(COMMANDS + kind as usize)
    }

    /// What was counted after `earlier`; see [`HistogramSnapshot::since`].
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let since = |(at, now): (usize, &HistogramSnapshot)| now.since(earlier.at(at));
        Self { histograms: self.histograms.iter().enumerate().map(since).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    fn opened(workers: usize) -> Latency {
        let latency = Latency::new(workers);
        latency.open().unwrap();
        latency
    }

    #[test]
    fn nothing_is_counted_before_the_histograms_have_memory() {
        let latency = Latency::new(1);
        latency.workers[0].turn(TurnClass::Get, 5, 1);
        assert_eq!(latency.lifetime().all_turns().count(), 0);
        latency.open().unwrap();
        latency.workers[0].turn(TurnClass::Get, 5, 1);
        latency.open().unwrap();
        assert_eq!(latency.lifetime().turn(TurnClass::Get).count(), 1);
    }

    #[test]
    fn each_class_and_kind_has_a_histogram_of_its_own() {
        let latency = opened(2);
        for (at, class) in TurnClass::ALL.iter().enumerate() {
            (0..=at).for_each(|n| latency.workers[n % 2].turn(*class, 100, 3));
        }
        for (at, kind) in CommandKind::ALL.iter().enumerate() {
            (0..=at).for_each(|n| latency.workers[n % 2].command(*kind, 7));
        }
        let all = latency.snapshot();
        for (at, class) in TurnClass::ALL.iter().enumerate() {
            assert_eq!(
                (all.turn(*class).count(), TurnClass::named(class.name().as_bytes())),
                (at as u64 + 1, Some(*class))
            );
        }
        for (at, kind) in CommandKind::ALL.iter().enumerate() {
            assert_eq!((all.command(*kind).count(), all.command(*kind).sum()), (at as u64 + 1, 7 * (at as u64 + 1)));
        }
        let turns = all.all_turns().count();
        assert_eq!((turns, all.turn_commands().count(), all.turn_commands().quantile(0.5)), (55, 55, 3));
    }

    #[test]
    fn a_turn_without_commands_is_no_turn_of_0_commands() {
        let latency = opened(1);
        latency.workers[0].turn(TurnClass::of(CommandKind::Other, 0), 9, 0);
        assert_eq!((latency.snapshot().all_turns().count(), latency.snapshot().turn_commands().count()), (1, 0));
    }

    #[test]
    fn a_reset_subtracts_and_the_lifetime_goes_on() {
        let latency = opened(1);
        latency.workers[0].turn(TurnClass::Set, 50, 1);
        let before = latency.lifetime();
        latency.reset();
        assert_eq!((latency.snapshot().all_turns().count(), latency.snapshot().all_turns().sum()), (0, 0));
        latency.workers[0].turn(TurnClass::Set, 60, 1);
        assert_eq!(latency.snapshot().turn(TurnClass::Set).sum(), 60);
        let since = latency.lifetime().since(&before);
        assert_eq!((latency.lifetime().turn(TurnClass::Set).count(), since.turn(TurnClass::Set).sum()), (2, 60));
    }

    #[test]
    fn no_count_is_below_its_baseline_during_resets() {
        const MOST: u64 = 1 << 40;
        let (latency, stop) = (opened(1), AtomicBool::new(false));
        let highest = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    latency.workers[0].turn(TurnClass::Get, 100, 1);
                }
            });
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    latency.reset();
                }
            });
            let sum = || latency.snapshot().turn(TurnClass::Get).sum();
            let reader = scope.spawn(move || (0..500).map(|_| sum()).max());
            let highest = reader.join();
            stop.store(true, Relaxed);
            highest
        });
        assert!(highest.unwrap() < Some(MOST));
    }
}
