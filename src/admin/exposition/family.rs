//! A family of `/metrics`, and where its samples come from.
//!
//! Owns the types of the tables `memcached` and `own`, and how a source becomes samples. Knows no family.

use super::rows::{RowSet, Scrape};
use super::text::Samples;
use crate::metric::MetricValue;

/// Samples with the same name.
pub struct Family {
    /// Name, prefix included.
    pub name: &'static str,
    /// Type that Prometheus is told.
    pub kind: FamilyKind,
    /// Description, in one sentence or two.
    pub help: &'static str,
    source: SampleSource,
}

/// Type of a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FamilyKind {
    /// A number that only grows, until `stats reset` or a restart.
    Counter,
    /// A number that may grow and shrink.
    Gauge,
    /// Counts of values by upper bound, and their sum.
    Histogram,
}

impl FamilyKind {
    /// Name in a `TYPE` line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Where samples come from. A row that does not exist gives no sample, and a family without samples is not printed.
pub(super) enum SampleSource {
    Constant(u64),
    /// A row of `stats`, or a row of `stats slabs` that belongs to no class.
    General(&'static str),
    /// The same, for a row that is left out while its count is zero.
    GeneralOrZero(&'static str),
    /// A row of `stats settings`.
    Setting(&'static str),
    /// A row of `stats settings`, while the crawler is on.
    CrawlerSetting(&'static str),
    /// A row of `stats`, if there is flash storage.
    Flash(&'static str),
    /// A row of `stats`, in proxy mode.
    Proxy(&'static str),
    /// The row of each class in `stats items`, labelled `slab`.
    Items(&'static str),
    /// The row of each class in `stats slabs`, labelled `slab`.
    Slabs(&'static str),
    /// A counter of the admin listener.
    Admin(&'static str),
    /// A row of `stats store`.
    Durable(&'static str),
    /// A function that puts every sample, with labels of its own.
    Each(fn(&Scrape<'_>, &mut Samples<'_>)),
}

pub(super) const fn counter(name: &'static str, help: &'static str, source: SampleSource) -> Family {
    Family { name, kind: FamilyKind::Counter, help, source }
}

pub(super) const fn gauge(name: &'static str, help: &'static str, source: SampleSource) -> Family {
    Family { name, kind: FamilyKind::Gauge, help, source }
}

pub(super) const fn histogram(name: &'static str, help: &'static str, source: SampleSource) -> Family {
    Family { name, kind: FamilyKind::Histogram, help, source }
}

impl Family {
    /// The row of `stats` that its one sample shows.
    #[cfg(test)]
    pub(super) fn general_row(&self) -> Option<&'static str> {
        match self.source {
            SampleSource::General(name) | SampleSource::GeneralOrZero(name) | SampleSource::Proxy(name) => Some(name),
            _ => None,
        }
    }

    /// Puts the family's samples.
    pub(super) fn put(&self, scrape: &Scrape<'_>, out: &mut Samples<'_>) {
        let rows = scrape.rows;
        let single = |set, name| rows.get(set, name);
        let value = match self.source {
            SampleSource::Constant(n) => Some(n.into()),
            SampleSource::General(name) => single(RowSet::General, name),
            SampleSource::GeneralOrZero(name) => single(RowSet::General, name).or(Some(MetricValue::Integer(0))),
            SampleSource::Admin(name) => single(RowSet::Admin, name),
            SampleSource::Durable(name) => single(RowSet::Durable, name),
            SampleSource::Setting(name) => single(RowSet::Settings, name),
            SampleSource::CrawlerSetting(name) if scrape.has_crawler() => single(RowSet::Settings, name),
            SampleSource::Flash(name) if rows.has(RowSet::General, "extstore_limit_maxbytes") => {
                single(RowSet::General, name)
            }
            SampleSource::Proxy(name) if rows.has(RowSet::General, "proxy_backend_total") => {
                single(RowSet::General, name)
            }
            SampleSource::CrawlerSetting(_) | SampleSource::Flash(_) | SampleSource::Proxy(_) => None,
            SampleSource::Items(name) => return put_classes(scrape, RowSet::Items, name, out),
            SampleSource::Slabs(name) => return put_classes(scrape, RowSet::Slabs, name, out),
            SampleSource::Each(put) => return put(scrape, out),
        };
        if let Some(value) = value {
            out.put(&[], value);
        }
    }
}

fn put_classes(scrape: &Scrape<'_>, set: RowSet, name: &'static str, out: &mut Samples<'_>) {
    for (class, value) in scrape.rows.of_classes(set, name) {
        out.put(&[("slab", &class)], value);
    }
}
