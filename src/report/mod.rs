//! The statistics of a server, as metrics in memcached's order.
//!
//! Owns their names, order and kinds, and which exist under which settings. Reads counters, settings, the store's
//! classes, the background threads and connections; needs neither a session nor a connection, and knows no format.
//! `proto` prints the metrics as rows of `stats`.

mod classes;
mod conns;
mod general;
mod sizes;

pub use conns::connection;
pub use general::hash_power;
pub use sizes::SizeCount;

use crate::clock::Clock;
use crate::maint::{Crawler, Mover};
use crate::metric::{Metric, MetricSink};
use crate::settings::{Runtime, Settings};
use crate::stats::Stats;
use crate::store::Store;
use crate::tls::Tls;

/// A set of metrics that `stats` prints together, of some hundred rows at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
}

impl Collector<'_> {
    /// Passes each metric of a report to `visit`.
    pub fn visit(&self, report: Report, visit: &mut dyn FnMut(&Metric<'_>)) {
        let mut out = MetricSink::new(visit);
        match report {
            Report::General => self.general(&mut out),
            Report::Settings => self.settings.report(self.runtime, &mut out),
            Report::Items => self.items(&mut out),
            Report::Slabs => self.slabs(&mut out),
            Report::NoSizes => out.info("sizes_status", "disabled"),
        }
    }
}
