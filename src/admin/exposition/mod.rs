//! `/metrics`: the server's statistics in Prometheus' text format 0.0.4.
//!
//! Owns the families, in two tables: `memcached` has those of memcached_exporter, by its names, types and labels, so
//! that existing dashboards and alerts find them; `own` has this server's, prefixed `oxcached_`. A family takes its
//! samples from rows of `stats` (`rows`); its notation is that of `text`. Knows neither HTTP nor sockets. Called by the
//! admin thread, for one scrape after the other.

mod family;
mod latency;
mod memcached;
mod own;
mod rows;
mod text;

pub use family::{Family, FamilyKind};

use super::AdminCounters;
use crate::proto::Shared;
use rows::{PlainSets, Rows, Scrape};
use text::Samples;

/// `Content-Type` of an exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All families that can have samples, by name.
pub fn families() -> impl Iterator<Item = &'static Family> {
    memcached::FAMILIES.iter().chain(own::FAMILIES)
}

/// Renders scrapes, reusing its memory.
#[derive(Default)]
pub struct Exposition {
    rows: Rows,
    sets: PlainSets,
}

impl Exposition {
    /// Reads all statistics once and appends them to `text`. Takes each class's lock once, as `stats` does.
    pub fn render(&mut self, shared: &Shared, admin: &AdminCounters, text: &mut String) {
        let (reading, latency) = (shared.collector().read(), shared.stats.latency.lifetime());
        self.rows.read(shared, &reading, admin);
        self.sets.update(&self.rows);
        let scrape = Scrape { shared, reading: &reading, rows: &self.rows, sets: &self.sets, latency: &latency };
        for family in families() {
            family.put(&scrape, &mut Samples::new(family, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metric::MetricKind;
    use crate::report::Report;
    use crate::settings::Settings;
    use std::collections::BTreeSet;

    /// Rows without a family: numbers that do not change, or that another family has.
    const NOT_SHOWN: &[&str] = &["lru_bumps_dropped", "max_connections", "pid", "pointer_size"];

    #[test]
    fn each_number_of_stats_is_shown() {
        let settings = Settings { lock_memory: true, idle_timeout: 1, write_timeout: 1, ..Settings::default() };
        let shared = Shared::new(settings, Clock::manual(1_000_000_000), Box::new(|_| ()));
        let shared = shared.expect("address space");
        let mut names = BTreeSet::new();
        shared.collector().visit(Report::General, &mut |metric| {
            if metric.kind != MetricKind::Info {
                names.insert(metric.name);
            }
        });
        for name in families().filter_map(Family::general_row).chain(memcached::rows_of_commands()) {
            names.remove(name);
        }
        // `get` is shown by its results, the pause in seconds.
        for name in ["cmd_get", "cmd_set", "time_in_listen_disabled_us"] {
            assert!(names.remove(name), "{name}");
        }
        assert!(names.iter().eq(NOT_SHOWN), "{names:?}");
    }
}
