//! The figures that the dashboard shows, read at one moment.
//!
//! Owns which figures there are, their names for the page, and where each comes from. Counters are cumulative here;
//! `sampler` makes rates of them. Reads what [`Collector`] has, and asks no worker. A read takes the lock of
//! each slab class once, as `stats` does.

use super::problems::TROUBLES;
use crate::report::{Collector, Reading};
use crate::stats::{ClassCounter, Counter, Globals, HistogramSnapshot};
use crate::store::{ClassView, PAGE_BYTES};
use crate::sys::{panics, process, stderr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// What the figures are taken from.
pub(super) struct FigureSource<'a> {
    pub collector: &'a Collector<'a>,
    reading: Reading,
    /// Microseconds of processor time in user mode and in the kernel.
    cpu: [u64; 2],
}

/// Hits of lookups, by the queue in which the item was.
const HITS: [ClassCounter; 4] =
    [ClassCounter::HitsHot, ClassCounter::HitsWarm, ClassCounter::HitsCold, ClassCounter::HitsTemp];

impl<'a> FigureSource<'a> {
    fn new(collector: &'a Collector<'a>) -> Self {
        let usage = process::usage();
        Self {
            collector,
            reading: collector.read(),
            cpu: [usage.user, usage.system].map(|time| time.as_micros() as u64),
        }
    }

    pub fn globals(&self) -> &Globals {
        &self.collector.stats.globals
    }

    pub fn get(&self, counter: Counter) -> u64 {
        self.reading.totals.get(counter)
    }

    fn of_classes(&self, counters: &[ClassCounter]) -> u64 {
        counters.iter().map(|counter| self.reading.totals.all_classes(*counter)).sum()
    }

    /// Sum over all classes.
    pub fn sum(&self, of: impl Fn(&ClassView) -> u64) -> u64 {
        self.reading.classes.iter().map(of).sum()
    }

    /// Open connections of clients, as `curr_connections`.
    pub fn connections(&self) -> u64 {
        load(&self.globals().curr_conns).saturating_sub(1)
    }
}

pub(super) fn load(number: &AtomicU64) -> u64 {
    number.load(Relaxed)
}

/// A figure of the whole server, by its name for the page.
pub(super) type Figure = (&'static str, fn(&FigureSource<'_>) -> u64);

/// Counters, shown as changes a second.
pub(super) const RATES: &[Figure] = &[
    ("get_hits", |from| from.of_classes(&HITS)),
    ("get_misses", |from| from.get(Counter::GetMisses)),
    ("sets", |from| from.of_classes(&[ClassCounter::SetCmds])),
    ("delete_hits", |from| from.of_classes(&[ClassCounter::DeleteHits])),
    ("delete_misses", |from| from.get(Counter::DeleteMisses)),
    ("arith_hits", |from| from.of_classes(&[ClassCounter::IncrHits, ClassCounter::DecrHits])),
    ("arith_misses", |from| from.get(Counter::IncrMisses) + from.get(Counter::DecrMisses)),
    ("cas_hits", |from| from.of_classes(&[ClassCounter::CasHits])),
    ("cas_failed", |from| from.get(Counter::CasMisses) + from.of_classes(&[ClassCounter::CasBadval])),
    ("touch_hits", |from| from.of_classes(&[ClassCounter::TouchHits])),
    ("touch_misses", |from| from.get(Counter::TouchMisses)),
    ("meta", |from| from.get(Counter::MetaCmds)),
    ("flushes", |from| from.get(Counter::FlushCmds)),
    ("bytes_read", |from| from.get(Counter::BytesRead)),
    ("bytes_written", |from| from.get(Counter::BytesWritten)),
    ("evicted", |from| from.sum(|class| class.counts.evicted)),
    ("evicted_unfetched", |from| from.sum(|class| class.counts.evicted_unfetched)),
    ("expired_unfetched", |from| from.sum(|class| class.counts.expired_unfetched)),
    ("reclaimed", |from| from.sum(|class| class.counts.reclaimed + class.counts.crawler_reclaimed)),
    ("connected", |from| load(&from.globals().total_conns)),
    ("rejected", |from| load(&from.globals().rejected_conns) + load(&from.globals().rejected_conns_per_ip)),
    ("yields", |from| from.get(Counter::ConnYields)),
    ("cpu_user", |from| from.cpu[0]),
    ("cpu_system", |from| from.cpu[1]),
];

/// Values that may grow and shrink.
pub(super) const GAUGES: &[Figure] = &[
    ("connections", |from| from.connections()),
    ("items", |from| from.sum(|class| class.items)),
    ("item_bytes", |from| from.sum(|class| class.requested)),
    ("limit_bytes", |from| from.collector.runtime.maxbytes()),
    ("page_bytes", |from| from.collector.store.malloced()),
    ("pool_bytes", |from| from.collector.store.free_pages() * PAGE_BYTES as u64),
    ("max_size_bytes", |from| from.sum(|class| class.max_size_bytes)),
    ("fitted_bytes", |from| from.sum(|class| class.fitted_bytes)),
    ("index_bytes", |from| from.collector.store.index_view().1),
    ("queue_bytes", |from| from.sum(|class| class.queue_bytes)),
    ("history_bytes", |from| from.sum(|class| class.history_bytes)),
    ("age_hot", |from| oldest(from, |class| class.age_hot)),
    ("age_warm", |from| oldest(from, |class| class.age_warm)),
    ("age_cold", |from| oldest(from, |class| class.age_cold)),
    ("read_buf_bytes", |from| load(&from.globals().read_buf_bytes)),
    ("reply_bytes", |from| load(&from.globals().response_obj_bytes) + from.globals().reports.used()),
];

fn oldest(from: &FigureSource<'_>, age: impl Fn(&ClassView) -> u32) -> u64 {
    from.reading.classes.iter().map(age).max().unwrap_or(0).into()
}

/// One slab class that has pages.
#[derive(Clone)]
pub(super) struct ClassFigures {
    pub id: usize,
    /// Largest item of the class, in memcached's measure.
    pub chunk_size: u64,
    pub view: ClassView,
    pub hits: u64,
    pub sets: u64,
}

/// All figures at one moment.
pub(super) struct LiveFigures {
    pub at: Instant,
    pub rates: [u64; RATES.len()],
    pub gauges: [u64; GAUGES.len()],
    /// Counts of what goes wrong, by [`TROUBLES`].
    pub troubles: [u64; TROUBLES.len()],
    pub classes: Vec<ClassFigures>,
    /// Times of all turns since the start, in nanoseconds.
    pub turns: HistogramSnapshot,
    pub accepting: bool,
    pub thread_panics: u64,
    pub log_lines_dropped: u64,
    pub max_connections: u64,
    /// Whether items may be evicted.
    pub evicts: bool,
    /// Whether the index is growing.
    pub growing: bool,
    /// Seconds since the start.
    pub uptime: u32,
}

impl LiveFigures {
    /// Reads everything.
    pub fn of(collector: &Collector<'_>) -> Self {
        let from = FigureSource::new(collector);
        let sizes = collector.store.sizes();
        let class = |(id, view): (usize, &ClassView)| ClassFigures {
            id,
            chunk_size: sizes.class(id).memcached_size as u64,
            view: *view,
            hits: HITS.iter().map(|counter| from.reading.totals.class(id, *counter)).sum(),
            sets: from.reading.totals.class(id, ClassCounter::SetCmds),
        };
        Self {
            at: Instant::now(),
            rates: std::array::from_fn(|n| (RATES[n].1)(&from)),
            gauges: std::array::from_fn(|n| (GAUGES[n].1)(&from)),
            troubles: std::array::from_fn(|n| (TROUBLES[n].count)(&from)),
            classes: from.reading.classes.iter().enumerate().filter(|(_, view)| view.pages > 0).map(class).collect(),
            turns: collector.stats.latency.lifetime().all_turns(),
            accepting: from.globals().accepting_conns.load(Relaxed),
            thread_panics: panics::count(),
            log_lines_dropped: stderr::dropped(),
            max_connections: collector.settings.maxconns.into(),
            evicts: collector.settings.evict_to_free,
            growing: collector.store.index_view().0,
            uptime: collector.clock.now().saturating_sub(crate::clock::UPTIME_OFFSET),
        }
    }

    /// The value of a gauge.
    pub fn gauge(&self, name: &str) -> u64 {
        GAUGES.iter().position(|(known, _)| *known == name).map_or(0, |at| self.gauges[at])
    }
}
