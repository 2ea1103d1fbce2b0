//! Counters of one worker: written by that worker only, read by any thread.

use crate::limits::CLASSES;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters kept for each worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
#[allow(missing_docs)] // each is the `stats` row of the same name
pub enum Counter {
    GetCmds,
    GetMisses,
    GetExpired,
    GetFlushed,
    TouchCmds,
    TouchMisses,
    FlushCmds,
    MetaCmds,
    DeleteMisses,
    IncrMisses,
    DecrMisses,
    CasMisses,
    StoreTooLarge,
    StoreNoMemory,
    AuthCmds,
    AuthErrors,
    AuthTimeouts,
    IdleKicks,
    WriteTimeouts,
    BytesRead,
    BytesWritten,
    ConnYields,
    ResponseOom,
    ReadBufOom,
    TotalItems,
    Count,
}

/// Counters kept for each worker and slab class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
#[allow(missing_docs)] // each is the `stats slabs` row of the same name
pub enum ClassCounter {
    SetCmds,
    DeleteHits,
    IncrHits,
    DecrHits,
    CasHits,
    CasBadval,
    TouchHits,
    HitsHot,
    HitsWarm,
    HitsCold,
    HitsTemp,
    Count,
}

const N: usize = Counter::Count as usize;
const C: usize = ClassCounter::Count as usize;

/// One worker's table. Only its worker calls [`Counters::add`] and [`Counters::add_class`].
#[repr(align(128))]
pub struct Counters {
    plain: [AtomicU64; N],
    class: [[AtomicU64; C]; CLASSES],
}

impl Default for Counters {
    fn default() -> Self {
        Self { plain: [const { AtomicU64::new(0) }; N], class: [const { [const { AtomicU64::new(0) }; C] }; CLASSES] }
    }
}

impl Counters {
    /// Adds `n`, by a load and a store: the caller must be the only writer.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        let cell = &self.plain[counter as usize];
        cell.store(cell.load(Relaxed) + n, Relaxed);
    }

    /// Value of a counter.
    #[inline]
    pub fn get(&self, counter: Counter) -> u64 {
        self.plain[counter as usize].load(Relaxed)
    }

    /// Sum of the plain counters, which only grow. Every command counts in one of them, except a `delete` that hits.
    pub(super) fn activity(&self) -> u64 {
        self.plain.iter().map(|cell| cell.load(Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Adds 1 to a class's counter; same rule.
    #[inline]
    pub fn add_class(&self, class: u8, counter: ClassCounter) {
        let cell = &self.class[usize::from(class) % CLASSES][counter as usize];
        cell.store(cell.load(Relaxed) + 1, Relaxed);
    }
}

/// Sums over all workers at one moment.
#[derive(Clone)]
pub struct Totals {
    plain: [u64; N],
    class: [[u64; C]; CLASSES],
}

impl Default for Totals {
    fn default() -> Self {
        Self { plain: [0; N], class: [[0; C]; CLASSES] }
    }
}

impl Totals {
    /// Value of a plain counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.plain[counter as usize]
    }

    /// Value of one class's counter.
    pub fn class(&self, class: usize, counter: ClassCounter) -> u64 {
        self.class[class][counter as usize]
    }

    /// Sum of a class counter over all classes.
    pub fn all_classes(&self, counter: ClassCounter) -> u64 {
        self.class.iter().map(|c| c[counter as usize]).sum()
    }

    pub(super) fn add(&mut self, counters: &Counters) {
        for (sum, cell) in self.plain.iter_mut().zip(&counters.plain) {
            *sum += cell.load(Relaxed);
        }
        for (sums, cells) in self.class.iter_mut().zip(&counters.class) {
            for (sum, cell) in sums.iter_mut().zip(cells) {
                *sum += cell.load(Relaxed);
            }
        }
    }

    pub(super) fn subtract(&mut self, base: &Totals) {
        for (sum, b) in self.plain.iter_mut().zip(&base.plain) {
            *sum = since(*sum, *b);
        }
        for (sums, bs) in self.class.iter_mut().zip(&base.class) {
            for (sum, b) in sums.iter_mut().zip(bs) {
                *sum = since(*sum, *b);
            }
        }
    }
}

/// Growth of a counter beyond its baseline, which must have been read first: see
/// [`Stats::totals`](super::Stats::totals).
fn since(counter: u64, baseline: u64) -> u64 {
    debug_assert!(counter >= baseline, "a counter of {counter} below its baseline of {baseline}");
    counter.saturating_sub(baseline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Stats;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn no_counter_is_below_its_baseline_during_a_reset() {
        /// More than the counting thread can add while the test runs.
        const MOST: u64 = 1 << 40;
        let (stats, stop, fell) = (Stats::new(1), AtomicBool::new(false), AtomicBool::new(false));
        let highest = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    stats.workers[0].add(Counter::BytesRead, 1);
                    stats.workers[0].add_class(63, ClassCounter::HitsTemp);
                }
            });
            // Of two resets at once the one that read earlier must not store its baseline last.
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        stats.reset();
                    }
                });
            }
            scope.spawn(|| {
                let mut before = 0;
                while !stop.load(Relaxed) {
                    let baseline = stats.baseline().get(Counter::BytesRead);
                    if baseline < before {
                        fell.store(true, Relaxed);
                    }
                    before = baseline;
                }
            });
            let sum = |totals: Totals| totals.get(Counter::BytesRead).max(totals.class(63, ClassCounter::HitsTemp));
            let stats = &stats;
            let reader = scope.spawn(move || (0..20_000).map(|_| sum(stats.totals())).max());
            let highest = reader.join();
            stop.store(true, Relaxed);
            highest
        });
        assert!(highest.unwrap() < Some(MOST));
        assert!(!fell.into_inner(), "the baseline fell");
    }

    #[test]
    fn reset_subtracts_and_counting_goes_on() {
        let stats = Stats::new(2);
        stats.workers[0].add(Counter::GetCmds, 3);
        stats.workers[1].add_class(5, ClassCounter::TouchHits);
        assert_eq!(stats.totals().get(Counter::GetCmds), 3);
        stats.reset();
        assert_eq!(stats.totals().get(Counter::GetCmds), 0);
        stats.workers[1].add_class(5, ClassCounter::TouchHits);
        assert_eq!(stats.totals().all_classes(ClassCounter::TouchHits), 1);
    }
}
