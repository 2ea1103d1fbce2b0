//! Latency histograms as families.
//!
//! Owns the bounds of the buckets. `stats::latency` counts in finer ones, and bounds that are powers of two are exact
//! there. Shows counts since the start, which `stats reset` leaves alone, and nothing before the first value.

use super::rows::Scrape;
use super::text::{Labels, Samples};
use crate::stats::{CommandKind, HistogramSnapshot, TurnClass};
use std::fmt::{self, Display};
use std::ops::RangeInclusive;

/// Bounds of the times of turns, as powers of two in nanoseconds: 1 us to 8.6 s.
const TURNS: RangeInclusive<u32> = 10..=33;
/// The same of commands: 64 ns to 0.5 s.
const COMMANDS: RangeInclusive<u32> = 6..=29;
/// Bounds of the number of commands a turn, as powers of two minus 1: 1 to 4,095.
const TURN_COMMANDS: RangeInclusive<u32> = 1..=12;

/// A time in seconds, exact.
struct Nanos(u64);

impl Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Puts a histogram of nanoseconds.
fn put_times(labels: &Labels<'_>, histogram: &HistogramSnapshot, powers: RangeInclusive<u32>, out: &mut Samples<'_>) {
    let bounds: Vec<_> = powers.map(|power| (Nanos(1 << power), histogram.below(1 << power))).collect();
    let buckets = bounds.iter().map(|(bound, count)| (bound as &dyn Display, *count));
    out.put_histogram(labels, buckets, (histogram.count(), &Nanos(histogram.sum())));
}

/// Times of turns by class: of every class once there was a turn of any.
pub(super) fn turn_durations(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    if scrape.latency.all_turns().count() == 0 {
        return;
    }
    for class in TurnClass::ALL {
        put_times(&[("class", &class.name())], scrape.latency.turn(*class), TURNS, out);
    }
}

/// Times of the commits of the durable copy.
pub(super) fn commit_durations(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    if let Some(durable) = &scrape.shared.durable {
        put_times(&[], &durable.commit_times(), TURNS, out);
    }
}

/// Times of commands by kind: of kinds that there were.
pub(super) fn command_durations(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    for kind in CommandKind::ALL {
        let histogram = scrape.latency.command(*kind);
        if histogram.count() > 0 {
            put_times(&[("command", &kind.name())], histogram, COMMANDS, out);
        }
    }
}

/// Commands a turn.
pub(super) fn turn_commands(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    let histogram = scrape.latency.turn_commands();
    if histogram.count() == 0 {
        return;
    }
    let bounds: Vec<_> = TURN_COMMANDS.map(|power| ((1_u64 << power) - 1, histogram.below(1 << power))).collect();
    let buckets = bounds.iter().map(|(bound, count)| (bound as &dyn Display, *count));
    out.put_histogram(&[], buckets, (histogram.count(), &histogram.sum()));
}
