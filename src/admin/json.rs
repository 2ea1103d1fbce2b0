//! `/stats.json`: the statistics as one JSON object.
//!
//! Owns its layout. Numbers are JSON numbers, those of 64 bits exact; a name is memcached's.

use super::Source;
use crate::conns::{ConnInfo, ConnState};
use crate::metric::{Metric, MetricSink, MetricValue};
use crate::report::Report;
use crate::settings::VERSION;
use std::fmt::Write as _;

/// Connections counted per acquisition of the connection table's lock.
const CONNS: usize = 256;

/// Appends the object.
pub(super) fn stats(source: &Source, out: &mut String) {
    let (clock, collector) = (&source.shared.clock, source.collector());
    // One reading, so that sums fit.
    let reading = collector.read();
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{{\"version\":\"{VERSION}\",\"time\":{}", clock.unix(clock.now()));
    for (name, report) in [("general", Report::General), ("settings", Report::Settings)] {
        section(out, name, |object| {
            collector.visit_reading(&reading, report, &mut |metric| object.member(metric.name, metric.value));
        });
    }
    for (name, report) in [("items", Report::Items), ("slabs", Report::Slabs)] {
        section(out, name, |object| {
            by_label(object, |visit| collector.visit_reading(&reading, report, visit));
        });
    }
    section(out, "conns", |object| {
        for (state, count) in states(source) {
            object.member(state.name(), count.into());
        }
    });
    section(out, "admin", |object| {
        source.counters.report(&mut MetricSink::new(&mut |metric| object.member(metric.name, metric.value)));
    });
    out.push_str("}\n");
}

/// An object of the top object.
fn section(out: &mut String, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
    let _ = write!(out, ",\"{name}\":");
    let mut object = Object::begin(out);
    fill(&mut object);
    object.end();
}

/// Metrics by the value of their first label, each an object; those without a label stand beside them.
fn by_label(object: &mut Object<'_>, visit: impl FnOnce(&mut dyn FnMut(&Metric<'_>))) {
    let mut current: Option<String> = None;
    visit(&mut |metric| {
        let label = metric.labels.first().map(|(_, value)| value.to_string());
        if current != label {
            if current.is_some() {
                object.out.push('}');
            }
            if let Some(label) = &label {
                object.name(label);
                object.out.push('{');
                object.is_empty = true;
            }
            current = label;
        }
        object.member(metric.name, metric.value);
    });
    if current.is_some() {
        object.out.push('}');
    }
}

/// Number of connections in each state that occurs.
fn states(source: &Source) -> Vec<(ConnState, u64)> {
    let mut counts: Vec<(ConnState, u64)> = Vec::new();
    let mut count = |info: &ConnInfo| match counts.iter_mut().find(|(state, _)| *state == info.state()) {
        Some((_, count)) => *count += 1,
        None => counts.push((info.state(), 1)),
    };
    let mut after = i32::MIN;
    while let Some(last) = source.shared.conns.visit_after(after, CONNS, &mut count) {
        after = last;
    }
    counts
}

/// A JSON object in progress.
pub(super) struct Object<'a> {
    out: &'a mut String,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, is_empty: true }
    }

    pub(super) fn end(self) {
        self.out.push('}');
    }

    fn name(&mut self, name: &str) {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(',');
        }
        text(self.out, name);
        self.out.push(':');
    }

    /// Appends a member.
    pub(super) fn member(&mut self, name: &str, value: MetricValue<'_>) {
        self.name(name);
        let _ = match value {
            MetricValue::Integer(n) => write!(self.out, "{n}"),
            MetricValue::Ratio(ratio) if ratio.is_finite() => write!(self.out, "{ratio}"),
            MetricValue::Ratio(_) => self.out.write_str("null"),
            MetricValue::Seconds(time) => write!(self.out, "{}.{:06}", time.as_secs(), time.subsec_micros()),
            MetricValue::Switch(on) => write!(self.out, "{on}"),
            MetricValue::Text(value) => {
                text(self.out, value);
                Ok(())
            }
        };
    }
}

/// Appends a JSON string.
pub(super) fn text(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c)),
            c => out.write_char(c),
        };
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json() {
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        object.member("a", u64::MAX.into());
        object.member("b", MetricValue::Text("q\"\\\n\u{1}é"));
        object.member("c", f64::NAN.into());
        object.member("d", true.into());
        object.member("e", std::time::Duration::from_micros(1_000_002).into());
        object.member("f", (-7_i64).into());
        object.end();
        let read: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read["a"].as_u64(), Some(u64::MAX));
        assert_eq!(read["b"], "q\"\\\n\u{1}é");
        assert!(read["c"].is_null() && read["d"] == true && read["f"] == -7);
        assert!(out.contains("\"e\":1.000002"));
    }
}
