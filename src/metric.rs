//! A statistic as data, apart from any format.
//!
//! Owns the type of a metric and memcached's notation of its value. Knows no statistic. `settings` and `report` emit
//! metrics; `proto` prints them as rows of `stats`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One statistic.
#[derive(Clone, Copy, Debug)]
pub struct Metric<'a> {
    /// memcached's name, without class or descriptor.
    pub name: &'static str,
    /// Part of the server that the value describes; empty = the whole server.
    pub labels: &'a [Label<'a>],
    /// How the value changes.
    pub kind: MetricKind,
    /// Current value.
    pub value: MetricValue<'a>,
}

/// Name and value of a dimension, such as `class` and its number.
pub type Label<'a> = (&'static str, MetricValue<'a>);

/// How a value changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricKind {
    /// A number that only grows, until `stats reset` or a restart.
    Counter,
    /// A number that may grow and shrink.
    Gauge,
    /// A text.
    Info,
}

/// A value; `Display` gives memcached's notation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum MetricValue<'a> {
    /// Every unsigned and signed number of 64 bits.
    Integer(i128),
    /// A ratio or factor, shown with two decimals.
    Ratio(f64),
    /// A time, shown in seconds with six decimals.
    Seconds(Duration),
    /// A switch, shown as `yes` or `no`.
    Switch(bool),
    /// A text.
    Text(&'a str),
}

impl fmt::Display for MetricValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Integer(n) => write!(f, "{n}"),
            Self::Ratio(ratio) => write!(f, "{ratio:.2}"),
            Self::Seconds(time) => write!(f, "{}.{:06}", time.as_secs(), time.subsec_micros()),
            Self::Switch(on) => f.write_str(if on { "yes" } else { "no" }),
            Self::Text(text) => f.write_str(text),
        }
    }
}

macro_rules! value_from {
    ($($from:ty: $value:ident => $to:expr;)*) => {
        $(impl From<$from> for MetricValue<'_> {
            fn from($value: $from) -> Self {
                $to
            }
        })*
    };
}

value_from! {
    u64: n => Self::Integer(n.into());
    u32: n => Self::Integer(n.into());
    i64: n => Self::Integer(n.into());
    i32: n => Self::Integer(n.into());
    f64: ratio => Self::Ratio(ratio);
    bool: on => Self::Switch(on);
    Duration: time => Self::Seconds(time);
    &AtomicU64: number => number.load(Relaxed).into();
}

/// Passes metrics with the same labels to a visitor.
pub struct MetricSink<'a> {
    visit: &'a mut dyn FnMut(&Metric<'_>),
    labels: &'a [Label<'a>],
}

impl<'a> MetricSink<'a> {
    /// A sink of metrics without labels.
    pub fn new(visit: &'a mut dyn FnMut(&Metric<'_>)) -> Self {
        Self { visit, labels: &[] }
    }

    /// The same sink for metrics with these labels.
    pub fn labelled<'b>(&'b mut self, labels: &'b [Label<'b>]) -> MetricSink<'b> {
        MetricSink { visit: self.visit, labels }
    }

    /// Passes a metric on.
    pub fn put(&mut self, name: &'static str, kind: MetricKind, value: MetricValue<'_>) {
        (self.visit)(&Metric { name, labels: self.labels, kind, value });
    }

    /// Passes a counter on.
    pub fn counter<'v>(&mut self, name: &'static str, value: impl Into<MetricValue<'v>>) {
        self.put(name, MetricKind::Counter, value.into());
    }

    /// Passes a gauge on.
    pub fn gauge<'v>(&mut self, name: &'static str, value: impl Into<MetricValue<'v>>) {
        self.put(name, MetricKind::Gauge, value.into());
    }

    /// Passes a text on.
    pub fn info(&mut self, name: &'static str, text: &str) {
        self.put(name, MetricKind::Info, MetricValue::Text(text));
    }
}
