//! Everything that one scrape has read.
//!
//! Owns the rows of the reports by name, and the counts that are differences of rows. Knows no family and no format.

use super::text::number;
use crate::admin::AdminCounters;
use crate::limits::CLASSES;
use crate::metric::{Metric, MetricSink, MetricValue};
use crate::proto::Shared;
use crate::report::{Reading, Report};
use crate::stats::LatencySnapshot;
use std::collections::HashMap;

/// Where rows come from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum RowSet {
    /// `stats`, and the rows of `stats slabs` that belong to no class.
    General,
    /// `stats settings`.
    Settings,
    /// `stats items`.
    Items,
    /// The rows of classes in `stats slabs`.
    Slabs,
    /// Counters of the admin listener.
    Admin,
    /// `stats store`.
    Durable,
}

/// A value and its class; `None` = the whole server.
type Row = (Option<usize>, MetricValue<'static>);

/// Rows by name; their memory is kept from scrape to scrape.
#[derive(Default)]
pub(super) struct Rows(HashMap<(RowSet, &'static str), Vec<Row>>);

impl Rows {
    /// Reads each report once. Texts and numbers that cannot be right are left out.
    pub(super) fn read(&mut self, shared: &Shared, reading: &Reading, admin: &AdminCounters) {
        self.0.values_mut().for_each(Vec::clear);
        for (set, report) in [
            (RowSet::General, Report::General),
            (RowSet::Settings, Report::Settings),
            (RowSet::Items, Report::Items),
            (RowSet::Slabs, Report::Slabs),
            (RowSet::Durable, Report::DurableCopy),
        ] {
            shared.collector().visit_reading(reading, report, &mut |metric| self.add(set, metric));
        }
        admin.report(&mut MetricSink::new(&mut |metric| self.add(RowSet::Admin, metric)));
    }

    fn add(&mut self, set: RowSet, metric: &Metric<'_>) {
        let class = match metric.labels {
            [(_, MetricValue::Integer(class)), ..] => usize::try_from(*class).ok(),
            _ => None,
        };
        let set = if class.is_none() && set == RowSet::Slabs { RowSet::General } else { set };
        if let Some(value) = number(metric.value) {
            self.0.entry((set, metric.name)).or_default().push((class, value));
        }
    }

    /// The row of the whole server.
    pub(super) fn get(&self, set: RowSet, name: &'static str) -> Option<MetricValue<'static>> {
        self.0.get(&(set, name))?.iter().find(|(class, _)| class.is_none()).map(|(_, value)| *value)
    }

    /// Whether the whole server has the row.
    pub(super) fn has(&self, set: RowSet, name: &'static str) -> bool {
        self.get(set, name).is_some()
    }

    /// The rows of classes, by class number.
    pub(super) fn of_classes(
        &self,
        set: RowSet,
        name: &'static str,
    ) -> impl Iterator<Item = (usize, MetricValue<'static>)> {
        let rows = self.0.get(&(set, name)).into_iter().flatten();
        rows.filter_map(|(class, value)| class.map(|class| (class, *value)))
    }

    /// The count of a class, or of the whole server.
    fn count(&self, class: Option<usize>, name: &'static str) -> Option<u64> {
        let set = if class.is_some() { RowSet::Slabs } else { RowSet::General };
        let (_, value) = self.0.get(&(set, name))?.iter().find(|row| row.0 == class)?;
        match value {
            MetricValue::Integer(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }
}

/// Number of `set` commands and the like, by class; entry 0 is that of the whole server.
///
/// It is `cmd_set` without those of `cas`. A worker counts both while they are read, so a difference may be too small
/// by some commands, and fall from one scrape to the next. Prometheus takes every fall for a restart, and adds the
/// whole count to the rate. So a count stays as it is until the difference has reached it.
pub(super) struct PlainSets {
    /// `cmd_set` and the count, of the last scrape.
    last: [(u64, u64); CLASSES],
}

impl Default for PlainSets {
    fn default() -> Self {
        Self { last: [(0, 0); CLASSES] }
    }
}

impl PlainSets {
    /// Updates the numbers of plain sets, `cmd_set` less those of `cas`, of the server and of each class from `rows`.
    pub(super) fn update(&mut self, rows: &Rows) {
        for (number, last) in self.last.iter_mut().enumerate() {
            let class = (number > 0).then_some(number);
            // There is no miss of a class.
            let of_cas: &[_] =
                if number > 0 { &["cas_hits", "cas_badval"] } else { &["cas_hits", "cas_misses", "cas_badval"] };
            let all = rows.count(class, "cmd_set").unwrap_or_default();
            let of_cas = of_cas.iter().filter_map(|name| rows.count(class, name)).sum();
            *last = next(*last, all, of_cas);
        }
    }

    /// The count of a class; 0 = the whole server.
    pub(super) fn of(&self, class: usize) -> u64 {
        self.last[class].1
    }
}

fn next((all_before, before): (u64, u64), all: u64, of_cas: u64) -> (u64, u64) {
    let count = all.saturating_sub(of_cas);
    // A smaller `cmd_set` is that of a reset.
    (all, if all < all_before { count } else { count.max(before) })
}

/// What a scrape has read.
pub(super) struct Scrape<'a> {
    pub shared: &'a Shared,
    pub reading: &'a Reading,
    pub rows: &'a Rows,
    pub sets: &'a PlainSets,
    pub latency: &'a LatencySnapshot,
}

impl Scrape<'_> {
    /// Whether the crawler is on.
    pub(super) fn has_crawler(&self) -> bool {
        self.rows.get(RowSet::Settings, "lru_crawler") == Some(MetricValue::Integer(1))
    }
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn a_count_of_sets_falls_by_a_reset_only() {
        let mut last = (0, 0);
        for (all, of_cas, expected) in
            [(100, 40, 60), (101, 43, 60), (110, 44, 66), (110, 200, 66), (5, 1, 4), (5, 9, 4)]
        {
            last = next(last, all, of_cas);
            assert_eq!(last, (all, expected));
        }
    }
}
