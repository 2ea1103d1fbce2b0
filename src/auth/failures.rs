//! What the operator hears of logins that fail.
//!
//! Owns the count since the last word and the pause between two. Never says a user's name, which may be a password
//! typed into the wrong place, nor anything else that a client has sent.

use std::fmt::Display;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Least seconds between two lines.
const PAUSE: u32 = 10;

#[derive(Default)]
pub(super) struct Failures {
    untold: AtomicU64,
    /// Relative time from which the next line may come.
    quiet_until: AtomicU32,
}

impl Failures {
    /// Counts one at `now`; writes a line if the last one is long enough ago.
    pub(super) fn note(&self, now: u32, whose: &dyn Display) {
        if let Some(count) = self.count(now) {
            log::warn!("{count} failed logins, the last one from {whose}");
        }
    }

    /// How many a line would tell of, if there is to be one.
    fn count(&self, now: u32) -> Option<u64> {
        self.untold.fetch_add(1, Relaxed);
        let until = self.quiet_until.load(Relaxed);
        let mine = now >= until
            && self.quiet_until.compare_exchange(until, now.saturating_add(PAUSE), Relaxed, Relaxed).is_ok();
        mine.then(|| self.untold.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_tells_of_all() {
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
