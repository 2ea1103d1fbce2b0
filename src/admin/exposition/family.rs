//! A family of `/metrics`, and where its samples come from.
//!
//! Owns the types of the tables `memcached` and `own`, and how a source becomes samples. Knows no family.

use super::rows::Scrape;
use super::text::Samples;
use crate::metric::MetricValue;
use crate::report::Report;

/// Samples with the same name.
pub struct Family {
    /// Name, prefix included.
    pub name: &'static str,
    /// Type that Prometheus is told.
    pub kind: FamilyKind,
    /// Description, in one sentence or two.
    pub help: &'static str,
    source: Source,
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
pub(super) enum Source {
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
    /// A function that puts every sample, with labels of its own.
    Each(fn(&Scrape<'_>, &mut Samples<'_>)),
}

pub(super) const fn counter(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, kind: FamilyKind::Counter, help, source }
}

pub(super) const fn gauge(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, kind: FamilyKind::Gauge, help, source }
}

pub(super) const fn histogram(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, kind: FamilyKind::Histogram, help, source }
}

impl Family {
    /// Puts the family's samples.
    pub(super) fn put(&self, scrape: &Scrape<'_>, out: &mut Samples<'_>) {
        let rows = scrape.rows;
        let single = |report, name| rows.get(report, name);
        let value = match self.source {
            Source::Constant(n) => Some(n.into()),
            Source::General(name) => single(Report::General, name),
            Source::GeneralOrZero(name) => single(Report::General, name).or(Some(MetricValue::Integer(0))),
            Source::Setting(name) => single(Report::Settings, name),
            Source::CrawlerSetting(name) if scrape.has_crawler() => single(Report::Settings, name),
            Source::Flash(name) if rows.has(Report::General, "extstore_limit_maxbytes") => {
                single(Report::General, name)
            }
            Source::Proxy(name) if rows.has(Report::General, "proxy_backend_total") => single(Report::General, name),
            Source::CrawlerSetting(_) | Source::Flash(_) | Source::Proxy(_) => None,
            Source::Items(name) => return put_classes(scrape, Report::Items, name, out),
            Source::Slabs(name) => return put_classes(scrape, Report::Slabs, name, out),
            Source::Each(put) => return put(scrape, out),
        };
        if let Some(value) = value {
            out.put(&[], value);
        }
    }
}

fn put_classes(scrape: &Scrape<'_>, report: Report, name: &'static str, out: &mut Samples<'_>) {
    for (class, value) in scrape.rows.of_classes(report, name) {
        out.put(&[("slab", &class)], value);
    }
}
