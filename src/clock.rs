//! The server's clock: seconds since start, cached in one atomic.
//!
//! Owns the mapping between unix time, relative time and exptime arguments. Knows nothing of sockets or
//! items. The main thread calls [`Clock::tick`] once a second; everyone else reads [`Clock::now`].
//!
//! Relative time is monotonic: what is set to live N seconds does so whatever becomes of the wall clock. Unix time is the
//! wall clock's: the difference of the two is looked at with each tick. A time of the calendar becomes a relative one when
//! it is given, and stays that.
//!
//! Whole seconds cannot tell when in a second something was set, so lives count from the end of the present one: none is
//! shorter than asked for, and none longer by more than a second.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Relative time at process start: memcached counts its start as 62 seconds (60 seconds of LRU bump
/// interval and 2 more) before the real one, so that no live item ever has time 0 or 1.
pub const START: u32 = 62;

/// `uptime` is relative time less this, so it starts at 2.
pub const UPTIME_OFFSET: u32 = 60;

/// Largest exptime in seconds that is relative; above it is a unix time (30 days).
pub const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;

/// Milliseconds by which the wall clock must have moved against the monotonic one before unix time follows. The two are
/// not read at the same moment, and without a margin the second that is shown would waver.
const WALL_SHIFT_MIN: i64 = 500;

/// Seconds since start, plus [`START`]. Shared by all threads.
pub struct Clock {
    now: AtomicU32,
    /// Relative time at process start.
    first: u32,
    started: Option<Instant>,
    /// Unix time of relative time 0, in milliseconds.
    origin: AtomicI64,
    /// Seconds by which the expiry time of what is set now is later than now and its life: 1, for the present second has
    /// begun; 0 where time is moved by hand, by whole seconds.
    begun: u32,
    paused: AtomicBool,
    offset: AtomicI64,
}

impl Clock {
    /// A clock that follows the monotonic clock from now on.
    pub fn real() -> Self {
        Self::resumed(START)
    }

    /// A clock that begins at relative time `first`, where the clock of a process before this one would be by now.
    pub fn resumed(first: u32) -> Self {
        let first = first.max(START);
        // With `debugtime N`, what lives N seconds must be gone, at once.
        let begun = u32::from(!cfg!(feature = "debug-commands"));
        Self { started: Some(Instant::now()), begun, ..Self::new(wall_millis() - millis(first), first) }
    }

    /// A clock that only moves by [`Clock::advance`]; its unix time at relative 0 is `unix_started`.
    pub fn manual(unix_started: i64) -> Self {
        Self::new(unix_started * 1000, START)
    }

    /// The same within a second, as a clock is that follows real time.
    pub fn manual_within_a_second(unix_started: i64) -> Self {
        Self { begun: 1, ..Self::manual(unix_started) }
    }

    fn new(origin: i64, first: u32) -> Self {
        Self {
            now: AtomicU32::new(first),
            first,
            started: None,
            origin: AtomicI64::new(origin),
            begun: 0,
            paused: AtomicBool::new(false),
            offset: AtomicI64::new(0),
        }
    }

    /// Current relative time in seconds.
    #[inline]
    pub fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// Takes over the monotonic clock's time, and the wall clock's if that was set; called by the main thread once a
    /// second.
    pub fn tick(&self) {
        if let Some(started) = self.started
            && !self.paused.load(Relaxed)
        {
            let elapsed = started.elapsed();
            let seconds = (elapsed.as_secs() as i64 + i64::from(self.first)).saturating_add(self.offset.load(Relaxed));
            self.now.store(seconds.clamp(1, i64::from(u32::MAX)) as u32, Relaxed);
            self.follow_wall(wall_millis() - elapsed.as_millis() as i64 - millis(self.first));
        }
    }

    /// Lets unix time follow the wall clock, by which relative time 0 was at `origin`, in milliseconds.
    fn follow_wall(&self, origin: i64) {
        if (origin - self.origin.load(Relaxed)).abs() >= WALL_SHIFT_MIN {
            self.origin.store(origin, Relaxed);
        }
    }

    /// Sets the wall clock on by `seconds`, for tests.
    pub fn set_wall(&self, seconds: i64) {
        self.follow_wall(self.origin.load(Relaxed) + seconds * 1000);
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
        self.unix_started() + i64::from(relative)
    }

    /// Unix time of relative time 0.
    fn unix_started(&self) -> i64 {
        self.origin.load(Relaxed).div_euclid(1000)
    }

    /// Unix time of an expiry time, as clients are shown it: without the rest of the second in which it was set.
    pub fn unix_expiry(&self, expiry: u32) -> i64 {
        self.unix(expiry) - i64::from(self.begun)
    }

    /// Seconds by which expiry times are later than clients are shown: what lives N seconds from now on expires at
    /// `now` + N + `begun`.
    #[inline]
    pub fn begun(&self) -> u32 {
        self.begun
    }

    /// Relative expiry time of an exptime argument: 0 = never. What has not passed at its [`Clock::moment`] lives through
    /// the second that begins with it.
    #[inline]
    pub fn expiry(&self, exptime: i64) -> u32 {
        let moment = self.moment(exptime);
        if moment > self.now() { moment.saturating_add(self.begun) } else { moment }
    }

    /// Relative time of an exptime argument: 0 = never, up to 30 days = from now, larger = unix time.
    /// A unix time at or before the start gives 1, which has always passed. Negative arguments have passed too. A time
    /// beyond the end of relative time is that end.
    #[inline]
    pub fn moment(&self, exptime: i64) -> u32 {
        let exptime = if exptime < 0 { RELATIVE_MAX + 1 } else { exptime };
        if exptime == 0 {
            0
        } else if exptime > RELATIVE_MAX {
            let seconds = exptime.saturating_sub(self.unix_started()).max(1);
            u32::try_from(seconds).unwrap_or(u32::MAX)
        } else {
            (exptime as u32).saturating_add(self.now())
        }
    }
}

fn millis(seconds: u32) -> i64 {
    i64::from(seconds) * 1000
}

/// The wall clock, in milliseconds since 1970; before that, 0.
fn wall_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_time_follows_the_wall_clock_and_does_not_waver() {
        let clock = Clock::real();
        let (origin, unix) = (clock.origin.load(Relaxed), clock.unix(100));
        for shift in [1, -1, 499, -499] {
            clock.follow_wall(origin + shift);
            assert_eq!(clock.unix(100), unix, "{shift}");
        }
        for seconds in [1, -1, 3600, -3600, 1 << 40, -unix - 5] {
            clock.follow_wall(origin + 1000 * seconds);
            assert_eq!((clock.unix(100), clock.moment(10)), (unix + seconds, clock.now() + 10), "{seconds}");
            let day = unix + seconds + 50;
            assert_eq!(clock.moment(day), if day > RELATIVE_MAX { 150 } else { clock.moment(day) });
        }
        // A tick asks the system.
        clock.tick();
        assert!((clock.unix(100) - unix).abs() <= 1);
    }

    #[test]
    fn lives_count_from_the_end_of_the_present_second() {
        let clock = Clock::manual_within_a_second(1_000_000_000);
        assert_eq!((clock.expiry(0), clock.expiry(1), clock.expiry(1_000_000_100)), (0, START + 2, 101));
        assert_eq!((clock.expiry(-1), clock.expiry(1_000_000_000), clock.expiry(1_000_000_000 + 62)), (1, 1, START));
        assert_eq!((clock.moment(1), clock.unix_expiry(101)), (START + 1, 1_000_000_100));
        clock.advance(i64::from(u32::MAX));
        assert_eq!(clock.expiry(5), u32::MAX);
    }

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
