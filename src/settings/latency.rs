//! Options of latency measurement: `latency`, `slow_threshold`, `large_threshold`.
//!
//! Owns their values, their notation, which the command `latency` shares, help texts and error texts. Must not know
//! what is measured. The rows are read by `parse` and `help`, through `options`; [`Runtime`](super::Runtime) holds the
//! current values.

use super::number::strict_u32;
use super::options::fail;
use super::row::Sub;
use crate::limits::COPY_MAX;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LatencyMode {
    /// Nothing.
    Off,
    /// Each turn of a connection.
    Turn,
    /// Turns, and each command.
    Full,
}

impl LatencyMode {
    const ALL: [Self; 3] = [Self::Off, Self::Turn, Self::Full];

    /// Name in the option, the command and `stats settings`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Turn => "turn",
            Self::Full => "full",
        }
    }

    /// The mode that `name` names.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.text().as_bytes() == name)
    }

    /// The mode with this number.
    pub(super) fn from_u32(number: u32) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or(Self::Off)
    }
}

/// A threshold that nothing exceeds.
pub const NO_THRESHOLD: u64 = u64::MAX;

/// Latency settings. All change at run time.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencySettings {
    /// `-o latency`.
    pub mode: LatencyMode,
    /// `-o slow_threshold`: microseconds from which a turn is slow; [`NO_THRESHOLD`] = none is.
    pub slow_threshold: u64,
    /// `-o large_threshold`: bytes above which a value is large, at least `COPY_MAX`; [`NO_THRESHOLD`] = none is.
    pub large_threshold: u64,
}

impl Default for LatencySettings {
    fn default() -> Self {
        Self { mode: LatencyMode::Turn, slow_threshold: 10_000, large_threshold: 512 * 1024 }
    }
}

/// A threshold of slow turns: microseconds, or `off`.
pub fn slow_threshold(text: &[u8]) -> Option<u64> {
    if text == b"off" { Some(NO_THRESHOLD) } else { strict_u32(text).map(u64::from) }
}

/// A threshold of large values: bytes, `COPY_MAX` or more, or `off`.
pub fn large_threshold(text: &[u8]) -> Option<u64> {
    // Shorter values are copied while their bucket is locked, and not compared with the threshold.
    slow_threshold(text).filter(|&bytes| bytes >= COPY_MAX as u64)
}

/// Notation of a threshold.
pub(super) fn shown(threshold: u64) -> String {
    if threshold == NO_THRESHOLD { "off".to_owned() } else { threshold.to_string() }
}

/// The `-o` names of latencies, in the order of `-h`.
pub(super) static SUBS: &[Sub] = &[
    Sub::value(
        "latency",
        "Missing latency argument",
        "what is timed: off, turn (each time a connection is\nserved) or full (each command too)",
        |draft, value| {
            let Some(mode) = LatencyMode::named(value) else { return fail("Unknown latency option (off, turn, full)") };
            draft.settings.latency.mode = mode;
            Ok(())
        },
    )
    .one_of(&["off", "turn", "full"])
    .default(|settings| settings.latency.mode.text().to_owned()),
    Sub::value(
        "slow_threshold",
        "Missing numeric argument for slow_threshold",
        "microseconds from which a turn is kept for stats slow;\n0 for every turn, or off",
        |draft, value| {
            let Some(micros) = slow_threshold(value) else {
                return fail("could not parse argument to slow_threshold");
            };
            draft.settings.latency.slow_threshold = micros;
            Ok(())
        },
    )
    .takes("<microseconds>")
    .default(|settings| shown(settings.latency.slow_threshold)),
    Sub::value(
        "large_threshold",
        "Missing numeric argument for large_threshold",
        "bytes, 4096 or more; a longer value that is stored or\nsent is kept for stats large; or off",
        |draft, value| {
            let Some(bytes) = large_threshold(value) else {
                return fail("large_threshold must be 4096 or more, or off");
            };
            draft.settings.latency.large_threshold = bytes;
            Ok(())
        },
    )
    .takes("<bytes>")
    .default(|settings| shown(settings.latency.large_threshold)),
];
