//! Log lines about failed logins.
//!
//! Owns the count since the last line and the interval between two lines. Never logs a user's name, which may be a
//! password typed into the wrong place, nor anything else that a client has sent.

use std::fmt::Display;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Minimum seconds between two lines.
const PAUSE: u32 = 10;

#[derive(Default)]
pub(super) struct Failures {
    unreported: AtomicU64,
    /// Relative time of the earliest next line.
    quiet_until: AtomicU32,
}

impl Failures {
    /// Counts a failure at `now`; writes a line if the interval has passed.
    pub(super) fn note(&self, now: u32, source: &dyn Display) {
        if let Some(count) = self.count(now) {
            log::warn!("{count} failed logins, the last one from {source}");
        }
    }

    /// Number of failures that a line due at `now` reports; `None` if no line is due.
    fn count(&self, now: u32) -> Option<u64> {
        self.unreported.fetch_add(1, Relaxed);
        let until = self.quiet_until.load(Relaxed);
        let is_due = now >= until
            && self.quiet_until.compare_exchange(until, now.saturating_add(PAUSE), Relaxed, Relaxed).is_ok();
        is_due.then(|| self.unreported.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_counts_all() {
        let failures = Failures::default();
        assert_eq!(failures.count(62), Some(1));
        for now in 62..72 {
            assert_eq!(failures.count(now), None);
        }
        assert_eq!(failures.count(72), Some(11));
        assert_eq!(failures.count(72), None);
        assert_eq!(failures.count(u32::MAX - 1), Some(2));
    }
}
