//! The statistics of a server, as metrics in memcached's order.
//!
//! Owns their names, order and kinds, and which exist under which settings. Reads counters, settings, the store's
//! classes, the background threads and connections; needs neither a session nor a connection, and knows no format.
//! `proto` prints the metrics as rows of `stats`.

mod classes;
mod conns;
mod durable;
mod general;
mod largest;
mod prefixes;
mod sizes;

pub use conns::connection;
pub use general::hash_power;
pub use largest::{LargeItem, LargestItems};
pub use prefixes::{PrefixUsage, Usage, UsageReport};
pub use sizes::SizeCount;

use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::durable::Durable;
use crate::maint::{Crawler, Mover};
use crate::metric::{Metric, MetricSink};
use crate::settings::{Runtime, Settings};
use crate::stats::{Stats, Totals};
use crate::store::{ClassView, Store};
use crate::tls::Tls;

/// A set of metrics that `stats` prints together, of some hundred rows at most.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Report {
    /// `stats` without argument.
    General,
    /// `stats settings`.
    Settings,
    /// `stats items`: classes with at least one item.
    Items,
    /// `stats slabs`: classes with at least one page.
    Slabs,
    /// `stats sizes` while sizes are not tracked.
    NoSizes,
    /// `stats store`: the durable copy, if there is one.
    DurableCopy,
}

/// The parts of a server that statistics are read from.
#[derive(Clone, Copy)]
#[allow(missing_docs)]
pub struct Collector<'a> {
    pub settings: &'a Settings,
    pub runtime: &'a Runtime,
    pub clock: &'a Clock,
    pub stats: &'a Stats,
    pub store: &'static Store,
    pub mover: &'a Mover,
    pub crawler: &'a Crawler,
    /// `None` without `-Z`.
    pub tls: Option<&'a Tls>,
    /// Whether clients must log in.
    pub auth: bool,
    /// `None` without `-o cluster_file`.
    pub cluster: Option<&'a Cluster>,
    /// `None` without `-o store`.
    pub durable: Option<&'a Durable>,
}

/// The counters of all workers and classes, read once: reports of one reading agree with each other, whatever the
/// server does meanwhile.
pub struct Reading {
    /// Relative time of the reading.
    pub now: u32,
    /// Sums over all workers.
    pub totals: Totals,
    /// Each class, by class number; entry 0 is empty.
    pub classes: Vec<ClassView>,
}

impl Collector<'_> {
    /// Reads all counters.
    pub fn read(&self) -> Reading {
        let now = self.clock.now();
        Reading { now, totals: self.stats.totals(), classes: self.store.classes(now) }
    }

    /// Passes each metric of a report to `visit`.
    pub fn visit(&self, report: Report, visit: &mut dyn FnMut(&Metric<'_>)) {
        match report {
            Report::Settings => self.settings.report(self.runtime, &mut MetricSink::new(visit)),
            Report::NoSizes => MetricSink::new(visit).info("sizes_status", "disabled"),
            Report::DurableCopy => self.durable_copy(&mut MetricSink::new(visit)),
            Report::General | Report::Items | Report::Slabs => self.visit_reading(&self.read(), report, visit),
        }
    }

    /// [`Collector::visit`], with the counters of `reading`.
    pub fn visit_reading(&self, reading: &Reading, report: Report, visit: &mut dyn FnMut(&Metric<'_>)) {
        let mut out = MetricSink::new(visit);
        match report {
            Report::General => self.general(reading, &mut out),
            Report::Items => self.items(reading, &mut out),
            Report::Slabs => self.slabs(reading, &mut out),
            Report::Settings | Report::NoSizes | Report::DurableCopy => self.visit(report, visit),
        }
    }
}
