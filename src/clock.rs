//! The server's clock: seconds since start, cached in one atomic.
//!
//! Owns the mapping between unix time, relative time and exptime arguments. Knows nothing of sockets or
//! items. The main thread calls [`Clock::tick`] once a second; everyone else reads [`Clock::now`].

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Relative time at process start: memcached counts its start as 62 seconds (60 seconds of LRU bump
/// interval and 2 more) before the real one, so that no live item ever has time 0 or 1.
pub const START: u32 = 62;

/// `uptime` is relative time less this, so it starts at 2.
pub const UPTIME_OFFSET: u32 = 60;

/// Largest exptime in seconds that is relative; above it is a unix time (30 days).
pub const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;

/// Seconds since start, plus [`START`]. Shared by all threads.
pub struct Clock {
    now: AtomicU32,
    /// Relative time at process start.
    first: u32,
    started: Option<Instant>,
    unix_started: i64,
    paused: AtomicBool,
    offset: AtomicI64,
}

impl Clock {
    /// A clock that follows the monotonic clock from now on.
    pub fn real() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        Self::new(Some(Instant::now()), unix - i64::from(START), START)
    }

    /// A clock that begins at relative time `first`, where the clock of a process before this one would be by now.
    pub fn resumed(first: u32) -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let first = first.max(START);
        Self::new(Some(Instant::now()), unix - i64::from(first), first)
    }

    /// A clock that only moves by [`Clock::advance`]; its unix time at relative 0 is `unix_started`.
    pub fn manual(unix_started: i64) -> Self {
        Self::new(None, unix_started, START)
    }

    fn new(started: Option<Instant>, unix_started: i64, first: u32) -> Self {
        Self {
            now: AtomicU32::new(first),
            first,
            started,
            unix_started,
            paused: AtomicBool::new(false),
            offset: AtomicI64::new(0),
        }
    }

    /// Current relative time in seconds.
    #[inline]
    pub fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// Takes over the monotonic clock's time; called by the main thread once a second.
    pub fn tick(&self) {
        if let Some(started) = self.started
            && !self.paused.load(Relaxed)
        {
            let elapsed = started.elapsed().as_secs() as i64 + i64::from(self.first);
            let seconds = elapsed.saturating_add(self.offset.load(Relaxed));
            self.now.store(seconds.clamp(1, i64::from(u32::MAX)) as u32, Relaxed);
        }
    }

    /// Moves the clock by `seconds`, for tests and `debugtime N`.
    pub fn advance(&self, seconds: i64) {
        let _ = self.offset.fetch_update(Relaxed, Relaxed, |offset| Some(offset.saturating_add(seconds)));
        let moved = i64::from(self.now()).saturating_add(seconds);
        self.now.store(moved.clamp(1, i64::from(u32::MAX)) as u32, Relaxed);
    }

    /// Stops (`true`) or resumes the clock, for `debugtime p` and `r`.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
    }

    /// Unix time of a relative time.
    #[inline]
    pub fn unix(&self, relative: u32) -> i64 {
        self.unix_started + i64::from(relative)
    }

    /// Relative expiry time of an exptime argument: 0 = never, up to 30 days = from now, larger = unix time.
    /// A unix time at or before the start gives 1, which has always passed. Negative arguments have passed too. A time
    /// beyond the end of relative time is that end.
    #[inline]
    pub fn expiry(&self, exptime: i64) -> u32 {
        let exptime = if exptime < 0 { RELATIVE_MAX + 1 } else { exptime };
        if exptime == 0 {
            0
        } else if exptime > RELATIVE_MAX {
            let seconds = exptime.saturating_sub(self.unix_started).max(1);
            u32::try_from(seconds).unwrap_or(u32::MAX)
        } else {
            (exptime as u32).saturating_add(self.now())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_follows_memcached() {
        let clock = Clock::manual(1_000_000_000);
        assert_eq!(clock.expiry(0), 0);
        assert_eq!(clock.expiry(10), START + 10);
        assert_eq!(clock.expiry(RELATIVE_MAX), START + RELATIVE_MAX as u32);
        assert_eq!(clock.expiry(RELATIVE_MAX + 1), 1);
        assert_eq!(clock.expiry(-1), 1);
        assert_eq!(clock.expiry(1_000_000_100), 100);
    }

    #[test]
    fn times_beyond_32_bits_are_the_last_ones_there_are() {
        for unix_started in [-62, 1_700_000_000, 5_000_000_000, -3_000_000_000] {
            let clock = Clock::manual(unix_started);
            for exptime in [i64::from(i32::MAX), i64::from(u32::MAX), 1 << 33, 1 << 40, i64::MAX / 2] {
                let expected = (exptime - unix_started).clamp(1, i64::from(u32::MAX)) as u32;
                assert_eq!(clock.expiry(exptime), expected, "{exptime}, {unix_started}");
            }
        }
        let clock = Clock::manual(0);
        clock.advance(i64::from(u32::MAX) - i64::from(START) - 5);
        assert_eq!(clock.expiry(5), u32::MAX);
        assert_eq!(clock.expiry(6), u32::MAX, "neither never nor long ago");
        assert_eq!(clock.expiry(RELATIVE_MAX), u32::MAX);
    }

    #[test]
    fn a_clock_stops_at_its_end() {
        for clock in [Clock::manual(0), Clock::resumed(u32::MAX - 1)] {
            for seconds in [i64::MAX, i64::MAX, 1] {
                clock.advance(seconds);
                clock.tick();
                assert_eq!(clock.now(), u32::MAX);
            }
            for seconds in [i64::MIN, i64::MIN, i64::MIN] {
                clock.advance(seconds);
                clock.tick();
            }
            assert_eq!(clock.now(), 1);
        }
    }

    #[test]
    fn manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(0);
        clock.tick();
        assert_eq!(clock.now(), START);
        clock.advance(5);
        assert_eq!(clock.now(), START + 5);
    }
}
