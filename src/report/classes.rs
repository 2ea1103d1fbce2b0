//! Metrics of the slab classes: `stats items` and `stats slabs`.
//!
//! Owns their names, order and conditions, and the counts that `stats` shows as sums. Each metric has the label
//! `class`. Called by [`Collector::visit`].

use super::{Collector, Reading};
use crate::metric::{MetricKind, MetricSink};
use crate::stats::ClassCounter;
use crate::store::ClassView;
use MetricKind::{Counter, Gauge};

/// A metric of a class, or its sum over all classes.
pub(super) struct ClassRow {
    name: &'static str,
    kind: MetricKind,
    /// Exists only with the LRU maintainer.
    segmented: bool,
    of: fn(&ClassView) -> u64,
}

pub(super) const fn always(name: &'static str, kind: MetricKind, of: fn(&ClassView) -> u64) -> ClassRow {
    ClassRow { name, kind, segmented: false, of }
}

const fn segmented(name: &'static str, kind: MetricKind, of: fn(&ClassView) -> u64) -> ClassRow {
    ClassRow { name, kind, segmented: true, of }
}

const QUEUES: &[ClassRow] = &[
    always("number", Gauge, |class| class.items),
    segmented("number_hot", Gauge, |class| class.hot),
    segmented("number_warm", Gauge, |class| class.warm),
    segmented("number_cold", Gauge, |class| class.cold),
];

/// Exists only with a queue for short TTLs.
const TEMP: ClassRow = segmented("number_temp", Gauge, |class| class.temp);

const AGES: &[ClassRow] = &[
    segmented("age_hot", Gauge, |class| class.age_hot.into()),
    segmented("age_warm", Gauge, |class| class.age_warm.into()),
    always("age", Gauge, |class| class.age_cold.into()),
    always("mem_requested", Gauge, |class| class.requested),
    always("evicted", Counter, |class| class.counts.evicted),
    always("evicted_nonzero", Counter, |class| class.counts.evicted_nonzero),
    always("evicted_time", Gauge, |class| class.counts.evicted_time.into()),
    always("outofmemory", Counter, |class| class.counts.outofmemory),
    always("tailrepairs", Counter, |_| 0),
    always("reclaimed", Counter, |class| class.counts.reclaimed),
];

/// Counts of lost items, also a part of `stats`.
pub(super) const LOSSES: &[ClassRow] = &[
    always("expired_unfetched", Counter, |class| class.counts.expired_unfetched),
    always("evicted_unfetched", Counter, |class| class.counts.evicted_unfetched),
    segmented("evicted_active", Counter, |class| class.counts.evicted_active),
];

/// Counts of background work and moves between queues, also a part of `stats`.
pub(super) const MOVES: &[ClassRow] = &[
    always("crawler_reclaimed", Counter, |class| class.counts.crawler_reclaimed),
    always("crawler_items_checked", Counter, |class| class.counts.crawler_items_checked),
    always("lrutail_reflocked", Counter, |class| class.counts.lrutail_reflocked),
    segmented("moves_to_cold", Counter, |class| class.counts.moves_to_cold),
    segmented("moves_to_warm", Counter, |class| class.counts.moves_to_warm),
    segmented("moves_within_lru", Counter, |class| class.counts.moves_within_lru),
    segmented("direct_reclaims", Counter, |class| class.counts.direct_reclaims),
];

/// Hits by queue; their sum is `get_hits`.
pub(super) const HITS: [ClassCounter; 4] =
    [ClassCounter::HitsHot, ClassCounter::HitsWarm, ClassCounter::HitsCold, ClassCounter::HitsTemp];

const HITS_TO: [&str; 4] = ["hits_to_hot", "hits_to_warm", "hits_to_cold", "hits_to_temp"];

/// Commands by class.
const COMMANDS: &[(&str, &[ClassCounter])] = &[
    ("get_hits", &HITS),
    ("cmd_set", &[ClassCounter::SetCmds]),
    ("delete_hits", &[ClassCounter::DeleteHits]),
    ("incr_hits", &[ClassCounter::IncrHits]),
    ("decr_hits", &[ClassCounter::DecrHits]),
    ("cas_hits", &[ClassCounter::CasHits]),
    ("cas_badval", &[ClassCounter::CasBadval]),
    ("touch_hits", &[ClassCounter::TouchHits]),
];

impl Collector<'_> {
    pub(super) fn items(&self, reading: &Reading, out: &mut MetricSink<'_>) {
        let (totals, segmented) = (&reading.totals, self.runtime.lru_maintainer_thread());
        for (id, class) in reading.classes.iter().enumerate() {
            if class.items == 0 {
                continue;
            }
            let (labels, class) = ([("class", (id as u64).into())], std::slice::from_ref(class));
            let out = &mut out.labelled(&labels);
            self.sums(QUEUES, class, out);
            if segmented && self.runtime.temp_lru() {
                self.sums(&[TEMP], class, out);
            }
            for rows in [AGES, LOSSES, MOVES] {
                self.sums(rows, class, out);
            }
            for (name, hits) in HITS_TO.into_iter().zip(HITS).filter(|_| segmented) {
                out.counter(name, totals.class(id, hits));
            }
        }
    }

    /// Writes each row to `out` as its sum over `classes`; rows of segmented mode only with the LRU maintainer.
    pub(super) fn sums(&self, rows: &[ClassRow], classes: &[ClassView], out: &mut MetricSink<'_>) {
        let segmented = self.runtime.lru_maintainer_thread();
        for row in rows.iter().filter(|row| segmented || !row.segmented) {
            out.put(row.name, row.kind, classes.iter().map(row.of).sum::<u64>().into());
        }
    }

    pub(super) fn slabs(&self, reading: &Reading, out: &mut MetricSink<'_>) {
        let (totals, mut active) = (&reading.totals, 0_u32);
        for (id, class) in reading.classes.iter().enumerate() {
            if class.pages == 0 {
                continue;
            }
            active += 1;
            let (size, labels) = (self.store.sizes().class(id), [("class", (id as u64).into())]);
            let mut out = out.labelled(&labels);
            out.gauge("chunk_size", size.memcached_size as u64);
            out.gauge("chunks_per_page", size.per_page as u64);
            out.gauge("total_pages", class.pages);
            out.gauge("total_chunks", class.total_chunks);
            out.gauge("used_chunks", class.used_chunks);
            out.gauge("free_chunks", class.total_chunks - class.used_chunks);
            out.gauge("free_chunks_end", 0);
            for (name, counters) in COMMANDS {
                out.counter(name, counters.iter().map(|counter| totals.class(id, *counter)).sum::<u64>());
            }
        }
        out.gauge("active_slabs", active);
        out.gauge("total_malloced", self.store.malloced());
    }
}
