//! Reports as rows of a wire format.
//!
//! Owns memcached's spelling of a row's name. The calling protocol supplies the form of the rows, `report` the metrics.
//! A report that may exceed some hundred rows is sent in steps (`listing`).

use super::Shared;
use crate::metric::Metric;
use crate::report::Report;
use std::fmt::Display;

/// Wire format of rows.
pub(super) trait Form: Send {
    /// Appends one row.
    fn row(&self, out: &mut Vec<u8>, name: &dyn Display, value: &dyn Display);

    /// Appends the end of a report.
    fn end(&self, out: &mut Vec<u8>);
}

/// Appends all rows of a report.
pub(super) fn put(shared: &Shared, report: Report, form: &dyn Form, out: &mut Vec<u8>) {
    let prefix = if report == Report::Items { "items:" } else { "" };
    shared.collector().visit(report, &mut |metric| row(form, prefix, metric, out));
}

/// Appends a metric: its label's value, if it has one, precedes its name.
pub(super) fn row(form: &dyn Form, prefix: &str, metric: &Metric<'_>, out: &mut Vec<u8>) {
    match metric.labels {
        [] => form.row(out, &metric.name, &metric.value),
        [(_, label), ..] => form.row(out, &format_args!("{prefix}{label}:{}", metric.name), &metric.value),
    }
}
