//! The server's clock: seconds since start, cached in one atomic.
//!
//! Owns the mapping between unix time, relative time and exptime arguments. Knows nothing of sockets or items. The main
//! thread calls [`Clock::tick`] once a second; all other threads read [`Clock::now`].
//!
//! Relative time is monotonic: an item with a TTL of N seconds lives N seconds, however the wall clock is set, and time
//! in which the machine is suspended does not count. Unix time follows the wall clock: each tick compares the two
//! clocks. A unix time given by a client stays one ([`Expiry::Date`]), so it follows the wall clock too.
//!
//! Whole seconds do not record when within a second an item was set, so a TTL counts from the end of the current
//! second: no item lives shorter than requested, and none longer by more than a second. [`Clock::classic`] counts as
//! memcached does, from the begin of the second.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Relative time at process start: memcached counts its start as 62 seconds (60 seconds of LRU bump
/// interval and 2 more) before the real one, so that no live item ever has time 0 or 1.
pub const START: u32 = 62;

/// Offset of relative time to `uptime`, which therefore starts at 2.
pub const UPTIME_OFFSET: u32 = 60;

/// Largest relative exptime in seconds (30 days); larger values are unix times.
pub const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;

/// Minimum shift of the wall clock against the monotonic clock, in milliseconds, before unix time follows. The two
/// clocks are not read at the same instant; without a margin the displayed second would jitter.
const WALL_SHIFT_MIN: i64 = 500;

/// When an item expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// At this relative time; 1 is long ago for every thread.
    At(u32),
    /// At this unix time, by the wall clock of the moment that asks.
    Date(u32),
}

impl Expiry {
    /// The relative time, where relative time 0 is unix time `origin`; 0 = never.
    #[inline]
    pub fn relative(self, origin: i64) -> u32 {
        match self {
            Self::Never => 0,
            Self::At(time) => time,
            Self::Date(date) => i64::from(date).saturating_sub(origin).clamp(1, u32::MAX.into()) as u32,
        }
    }
}

/// Seconds since start, plus [`START`]. Shared by all threads.
pub struct Clock {
    now: AtomicU32,
    /// Relative time at process start.
    first: u32,
    started: Option<Instant>,
    /// Unix time of relative time 0, in milliseconds.
    origin: AtomicI64,
    /// Seconds added to expiry times: 1, because the current second has already begun; 0 for a clock that is moved by
    /// hand, in whole seconds, and for a classic one.
    begun: u32,
    paused: AtomicBool,
    offset: AtomicI64,
}

impl Clock {
    /// A clock that follows the monotonic clock from now on.
    pub fn real() -> Self {
        Self::resumed(START)
    }

    /// A clock that starts at relative time `first`, where a previous process's clock would be now.
    pub fn resumed(first: u32) -> Self {
        let first = first.max(START);
        // After `debugtime N`, an item with a TTL of N seconds must be expired at once.
        let begun = u32::from(!cfg!(feature = "debug-commands"));
        Self { started: Some(Instant::now()), begun, ..Self::new(wall_millis() - millis(first), first) }
    }

    /// This clock with memcached's rule for expiry times: an item with a TTL of N seconds lives N-1 to N seconds.
    pub fn classic(self) -> Self {
        Self { begun: 0, ..self }
    }

    /// A clock that moves only by [`Clock::advance`]; its unix time at relative 0 is `unix_started`.
    pub fn manual(unix_started: i64) -> Self {
        Self::new(unix_started * 1000, START)
    }

    /// As [`Clock::manual`], with TTLs counted from the end of the current second, as on a real clock.
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

    /// Updates relative time from the monotonic clock, and the offset to unix time if the wall clock was set. The main
    /// thread calls it once a second.
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

    /// Sets unix time at relative time 0 to `origin` milliseconds, if that differs by `WALL_SHIFT_MIN` or more.
    fn follow_wall(&self, origin: i64) {
        if (origin - self.origin.load(Relaxed)).abs() >= WALL_SHIFT_MIN {
            self.origin.store(origin, Relaxed);
        }
    }

    /// Moves the wall clock forward by `seconds`, for tests.
    pub fn set_wall(&self, seconds: i64) {
        self.follow_wall(self.origin.load(Relaxed) + seconds * 1000);
    }

    /// Moves the clock by `seconds`, for tests and `debugtime N`.
    pub fn advance(&self, seconds: i64) {
        let _ = self.offset.fetch_update(Relaxed, Relaxed, |offset| Some(offset.saturating_add(seconds)));
        let moved = i64::from(self.now()).saturating_add(seconds);
        self.now.store(moved.clamp(1, i64::from(u32::MAX)) as u32, Relaxed);
    }

    /// Pauses (`true`) or resumes the clock, for `debugtime p` and `r`.
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

    /// Relative time of an expiry time; 0 = never.
    #[inline]
    pub fn relative(&self, expiry: Expiry) -> u32 {
        expiry.relative(self.unix_started())
    }

    /// Unix time of an expiry time, as shown to clients: without the addition of [`Clock::begun`].
    pub fn unix_expiry(&self, expiry: u32) -> i64 {
        self.unix(expiry) - i64::from(self.begun)
    }

    /// Seconds by which expiry times exceed what clients are shown: an item with a TTL of N seconds expires at `now` +
    /// N + `begun`.
    #[inline]
    pub fn begun(&self) -> u32 {
        self.begun
    }

    /// Expiry time of an exptime argument. An item with a [`Clock::moment`] in the future lives through the second that
    /// begins then. A date that has passed is no date: an item that was dead once stays dead.
    #[inline]
    pub fn expiry(&self, exptime: i64) -> Expiry {
        match self.moment(exptime) {
            0 => Expiry::Never,
            moment if moment <= self.now() => Expiry::At(moment),
            _ if exptime > RELATIVE_MAX => {
                let date = exptime.saturating_add(self.begun.into());
                Expiry::Date(u32::try_from(date).unwrap_or(u32::MAX))
            }
            moment => Expiry::At(moment.saturating_add(self.begun)),
        }
    }

    /// Relative time of an exptime argument: 0 = never, up to 30 days = from now, larger = unix time. A unix time at or
    /// before the start gives 1, which has always passed, and so does a negative argument. A time beyond the range of
    /// relative time gives its maximum.
    #[inline]
    pub fn moment(&self, exptime: i64) -> u32 {
        if exptime == 0 {
            0
        } else if exptime > RELATIVE_MAX {
            let seconds = exptime.saturating_sub(self.unix_started()).max(1);
            u32::try_from(seconds).unwrap_or(u32::MAX)
        } else {
            u32::try_from(exptime).map_or(1, |seconds| seconds.saturating_add(self.now()))
        }
    }
}

fn millis(seconds: u32) -> i64 {
    i64::from(seconds) * 1000
}

/// Wall clock time in milliseconds since 1970; 0 before that.
fn wall_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::Expiry::{At, Date, Never};
    use super::*;

    #[test]
    fn unix_time_follows_the_wall_clock_without_jitter() {
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
        // A tick reads the wall clock.
        clock.tick();
        assert!((clock.unix(100) - unix).abs() <= 1);
    }

    #[test]
    fn ttls_count_from_the_end_of_the_current_second() {
        let clock = Clock::manual_within_a_second(1_000_000_000);
        let date = |exptime| clock.expiry(exptime);
        assert_eq!((date(0), date(1), date(1_000_000_100)), (Never, At(START + 2), Date(1_000_000_101)));
        assert_eq!((date(-1), date(1_000_000_000), date(1_000_000_000 + 62)), (At(1), At(1), At(START)));
        assert_eq!((clock.moment(1), clock.unix_expiry(101)), (START + 1, 1_000_000_100));
        clock.advance(i64::from(u32::MAX));
        assert_eq!(clock.expiry(5), At(u32::MAX));
    }

    #[test]
    fn expiry_follows_memcached() {
        for clock in [Clock::manual(1_000_000_000), Clock::manual_within_a_second(1_000_000_000).classic()] {
            assert_eq!(clock.expiry(0), Never);
            assert_eq!(clock.expiry(10), At(START + 10));
            assert_eq!(clock.expiry(RELATIVE_MAX), At(START + RELATIVE_MAX as u32));
            assert_eq!(clock.expiry(RELATIVE_MAX + 1), At(1));
            assert_eq!(clock.expiry(-1), At(1));
            assert_eq!(clock.expiry(1_000_000_100), Date(1_000_000_100));
            assert_eq!(clock.unix_expiry(100), 1_000_000_100);
        }
    }

    #[test]
    fn times_beyond_32_bits_are_clamped() {
        for unix_started in [-62, 1_700_000_000, 5_000_000_000, -3_000_000_000] {
            let clock = Clock::manual(unix_started);
            for exptime in [i64::from(i32::MAX), i64::from(u32::MAX), 1 << 33, 1 << 40, i64::MAX / 2] {
                let moment = (exptime - unix_started).clamp(1, i64::from(u32::MAX)) as u32;
                assert_eq!(clock.moment(exptime), moment, "{exptime}, {unix_started}");
                let date = Date(u32::try_from(exptime).unwrap_or(u32::MAX));
                let expected = if moment > START { date } else { At(moment) };
                assert_eq!(clock.expiry(exptime), expected, "{exptime}, {unix_started}");
            }
            assert_eq!(clock.expiry(-5), At(1));
        }
        let clock = Clock::manual(0);
        clock.advance(i64::from(u32::MAX) - i64::from(START) - 5);
        assert_eq!(clock.expiry(5), At(u32::MAX));
        assert_eq!(clock.expiry(6), At(u32::MAX), "neither never nor long ago");
        assert_eq!(clock.expiry(RELATIVE_MAX), At(u32::MAX));
    }

    #[test]
    fn a_date_is_relative_to_the_wall_clock() {
        let relative = |date, origin| Date(date).relative(origin);
        assert_eq!((relative(1000, 900), relative(1000, 1000), relative(1000, 2000)), (100, 1, 1));
        assert_eq!((relative(u32::MAX, -5), relative(5, i64::MIN), relative(5, i64::MAX)), (u32::MAX, u32::MAX, 1));
        assert_eq!((Never.relative(7), At(9).relative(7)), (0, 9));
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
