//! `stats latency`, `stats slow`, `stats large`: their arguments and rows.
//!
//! Owns the names of the rows and their units; every protocol has the same ones, in its own form. memcached has none of
//! them. Times are in microseconds with three decimals. Called by the admin commands of the protocols.

use super::listing::{self, Listed, Listing};
use super::report::Form;
use super::{Cx, Output, Shared};
use crate::decimal;
use crate::events::{LargeRecord, LatestRecords, Numbered, RECORD_MAX, SlowRecord};
use crate::limits::LATEST_MAX;
use crate::settings::LatencyMode;
use crate::stats::{BudgetShare, CommandKind, HistogramSnapshot, TurnClass};
use std::fmt::{Display, from_fn};

/// The quantiles that are shown, by the names of their rows.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// Powers of two nanoseconds that bound the cumulative counts: 1 us to 34 s, about.
const BOUNDS: std::ops::RangeInclusive<u32> = 10..=35;

/// A report that has begun.
pub(super) enum LatencyReport {
    /// All rows and the end are appended.
    Done,
    /// The records are forgotten.
    Reset,
    /// Rows that are sent in steps.
    Listing(Box<dyn Listing>),
}

/// Why there is no report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoReport {
    /// Keys are not listed (`-X`).
    NotAllowed,
    /// No such report, class, command or argument.
    Unknown,
}

/// Begins the report `name` (`latency`, `slow`, `large`) with its argument, which may be empty.
pub(super) fn begin<F: Form + 'static>(
    cx: &Cx<'_>,
    name: &[u8],
    argument: &[u8],
    form: F,
    out: &mut Output,
) -> Result<LatencyReport, NoReport> {
    match name {
        b"latency" => {
            latency(cx.shared, argument, &form, out.bytes())?;
            form.end(out.bytes());
            Ok(LatencyReport::Done)
        }
        _ if !cx.shared.settings.dump_enabled => Err(NoReport::NotAllowed),
        b"slow" if argument == b"reset" => {
            cx.shared.events.slow.clear();
            Ok(LatencyReport::Reset)
        }
        b"large" if argument == b"reset" => {
            cx.shared.events.large.clear();
            Ok(LatencyReport::Reset)
        }
        b"slow" => RecordRows::<_, SlowRecord>::begin(cx, form, argument, |shared| &shared.events.slow),
        b"large" => RecordRows::<_, LargeRecord>::begin(cx, form, argument, |shared| &shared.events.large),
        _ => Err(NoReport::Unknown),
    }
}

/// Appends the rows of all classes and commands that have counts; or, if `only` is not empty, those of
/// the class or command of that name, with its cumulative counts.
fn latency(shared: &Shared, only: &[u8], form: &dyn Form, out: &mut Vec<u8>) -> Result<(), NoReport> {
    let snapshot = shared.stats.latency.snapshot();
    let (class, kind) = (TurnClass::named(only), CommandKind::named(only));
    if !only.is_empty() {
        if class.is_none() && kind.is_none() {
            return Err(NoReport::Unknown);
        }
        if let Some(class) = class {
            Rows { form, prefix: "", name: class.name() }.put_all(snapshot.turn(class), out);
        }
        if let Some(kind) = kind {
            Rows { form, prefix: "command:", name: kind.name() }.put_all(snapshot.command(kind), out);
        }
        return Ok(());
    }
    let mode = shared.runtime.latency_mode();
    if mode != LatencyMode::Off {
        form.row(out, &"mode", &mode.text());
    }
    Rows { form, prefix: "", name: "all" }.put(&snapshot.all_turns(), micros, "_us", out);
    for class in TurnClass::ALL {
        Rows { form, prefix: "", name: class.name() }.put(snapshot.turn(*class), micros, "_us", out);
    }
    Rows { form, prefix: "", name: "turn_commands" }.put(snapshot.turn_commands(), number, "", out);
    for kind in CommandKind::ALL {
        Rows { form, prefix: "command:", name: kind.name() }.put(snapshot.command(*kind), micros, "_us", out);
    }
    Ok(())
}

/// Rows of one histogram, `<prefix><name>:<figure>`.
struct Rows<'a> {
    form: &'a dyn Form,
    prefix: &'static str,
    name: &'static str,
}

impl Rows<'_> {
    fn row(&self, out: &mut Vec<u8>, figure: &dyn Display, value: &dyn Display) {
        self.form.row(out, &format_args!("{}{}:{figure}", self.prefix, self.name), value);
    }

    /// Appends count, mean, quantiles and maximum, each in the notation `show` with `unit` behind its name; nothing
    /// without values.
    fn put<D: Display>(&self, histogram: &HistogramSnapshot, show: fn(f64) -> D, unit: &str, out: &mut Vec<u8>) {
        let count = histogram.count();
        if count == 0 {
            return;
        }
        self.row(out, &"count", &count);
        self.row(out, &format_args!("mean{unit}"), &show(histogram.mean()));
        for (name, quantile) in QUANTILES {
            self.row(out, &format_args!("{name}{unit}"), &show(histogram.quantile(quantile) as f64));
        }
        self.row(out, &format_args!("max{unit}"), &show(histogram.max() as f64));
    }

    /// As [`Rows::put`], and the number of values below 2^n nanoseconds, from the first n with a value below it to the
    /// first with all.
    fn put_all(&self, histogram: &HistogramSnapshot, out: &mut Vec<u8>) {
        self.put(histogram, micros, "_us", out);
        let (mut below, count) = (0, histogram.count());
        for power in BOUNDS.take_while(|_| count > 0) {
            if below == count {
                break;
            }
            below = histogram.below(1 << power);
            if below > 0 {
                self.row(out, &format_args!("below_us:{}", micros((1u64 << power) as f64)), &below);
            }
        }
    }
}

/// Nanoseconds as microseconds.
fn micros(nanos: f64) -> impl Display {
    from_fn(move |f| write!(f, "{:.3}", nanos / 1000.0))
}

/// A number without a unit.
fn number(number: f64) -> impl Display {
    from_fn(move |f| if number.fract() == 0.0 { write!(f, "{number}") } else { write!(f, "{number:.3}") })
}

/// Rows of the latest records, the newest first.
struct RecordRows<F, T> {
    form: F,
    /// Rows that are left, the next one last.
    left: Vec<Numbered<T>>,
    /// Memory of `left`.
    _taken: BudgetShare,
}

impl<F: Form + 'static, T: Copy + Display + Send + 'static> RecordRows<F, T> {
    /// Begins a list of at most as many records as `argument` says.
    fn begin(
        cx: &Cx<'_>,
        form: F,
        argument: &[u8],
        records: fn(&Shared) -> &LatestRecords<T>,
    ) -> Result<LatencyReport, NoReport> {
        let most = if argument.is_empty() { Some(LATEST_MAX as u32) } else { decimal::token_u32(argument) };
        let most = most.ok_or(NoReport::Unknown)?;
        let mut taken = cx.shared.stats.globals.reports.share();
        let fits = taken.grow_to(LatestRecords::<T>::bytes_max());
        let left = if fits { records(cx.shared).latest(most as usize) } else { None };
        Ok(LatencyReport::Listing(match left {
            Some(left) => Box::new(Self { form, left, _taken: taken }),
            None => Box::new(NoMemory),
        }))
    }
}

impl<F: Form, T: Display + Send> Listing for RecordRows<F, T> {
    fn step(&mut self, _: &Cx<'_>, out: &mut Output) -> Listed {
        /// Bytes of a row besides its fields: its number, its time, the form.
        const AROUND: usize = 100;
        let Some(full) = listing::room(out, RECORD_MAX + AROUND) else { return Listed::NoMemory };
        let bytes = out.bytes();
        while bytes.len() < full {
            let Some(Numbered { id, seconds, record }) = self.left.pop() else {
                self.form.end(bytes);
                return Listed::Done;
            };
            self.form.row(bytes, &id, &format_args!("ts={seconds} {record}"));
        }
        Listed::More
    }
}

/// A list for which there is no memory: the connection is closed.
struct NoMemory;

impl Listing for NoMemory {
    fn step(&mut self, _: &Cx<'_>, _: &mut Output) -> Listed {
        Listed::NoMemory
    }
}
