//! Time limits of connection states, and when a worker checks them.
//!
//! Owns the limits, the wheel, and two rules:
//! - A deadline is judged only after every socket that was ready when it passed has been served ([`Deadlines::turn`]):
//!   bytes that arrived in time count, however late the worker reads them.
//! - Time in which the worker did not run does not count ([`WorkerClock`]): a stopped process or a suspended machine
//!   serves no client, and a handshake needs several round trips after it.
//!
//! Must not know sockets or sessions. `worker` asks, and acts.

use super::wheel::Wheel;
use crate::limits::{AUTH_SECONDS_MAX, TLS_HANDSHAKE_SECONDS};
use crate::proto::Shared;

/// Seconds between two readings of the clock from which on the worker counts as stalled. A worker with a pending
/// deadline reads it each second; two clock ticks may fall between two such readings.
const STALL: u32 = 3;

/// A worker's time in seconds: the server's clock without the seconds in which the worker stalled.
pub(super) struct WorkerClock {
    now: u32,
    /// Last reading of the server's clock.
    seen: u32,
}

impl WorkerClock {
    pub(super) fn new(clock: u32) -> Self {
        Self { now: clock, seen: clock }
    }

    /// Advances to `clock`; a stall counts as one second.
    #[inline]
    pub(super) fn follow(&mut self, clock: u32) {
        let step = clock.saturating_sub(self.seen);
        self.seen = clock;
        self.now = self.now.saturating_add(if step < STALL { step } else { 1 });
    }

    #[inline]
    pub(super) fn now(&self) -> u32 {
        self.now
    }
}

/// States with a time limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Limit {
    Handshake,
    Login,
    Write,
    Idle,
}

/// When a connection entered each state with a limit; `None` if it is not in it.
#[derive(Clone, Copy, Default)]
pub(super) struct Since {
    pub(super) handshake: Option<u32>,
    pub(super) login: Option<u32>,
    /// Replies wait, and the peer has taken nothing since.
    pub(super) write: Option<u32>,
    pub(super) idle: Option<u32>,
    /// Its password is being checked: the result decides. False once the peer has sent its last byte: it may have
    /// disconnected, and would keep its descriptor for as long as the checks of other clients take.
    pub(super) is_checking: bool,
    /// It waits for something other than a command.
    pub(super) is_busy: bool,
}

/// Result of judging a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It has been in this state for too long.
    Late(Limit),
    /// Judge again in this second.
    Until(u32),
    /// It is in no state with a limit.
    Free,
}

/// Seconds that a state may last; `None` = no limit.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    handshake: Option<u32>,
    login: Option<u32>,
    write: Option<u32>,
    idle: Option<u32>,
}

impl Limits {
    fn new(shared: &Shared) -> Self {
        let (settings, some) = (&shared.settings, |seconds: u32| (seconds > 0).then_some(seconds));
        Self {
            handshake: shared.tls.as_ref().map(|_| TLS_HANDSHAKE_SECONDS),
            login: shared.auth.as_ref().and_then(|_| some(settings.auth_timeout.min(AUTH_SECONDS_MAX))),
            write: some(settings.write_timeout),
            idle: some(settings.idle_timeout),
        }
    }

    fn any(&self) -> bool {
        [self.handshake, self.login, self.write, self.idle].iter().any(Option::is_some)
    }

    /// First second in which a state entered in second `since` has lasted more than `limit` whole seconds.
    fn end(since: u32, limit: u32) -> u32 {
        since.saturating_add(limit).saturating_add(1)
    }

    pub(super) fn judge(&self, since: &Since, now: u32) -> Verdict {
        let states = [
            (Limit::Handshake, since.handshake.zip(self.handshake), false),
            (Limit::Login, since.login.zip(self.login), since.is_checking),
            (Limit::Write, since.write.zip(self.write), false),
            (Limit::Idle, since.idle.zip(self.idle), since.is_busy),
        ];
        let mut next = Verdict::Free;
        for (limit, state, excused) in states {
            let Some((since, seconds)) = state else { continue };
            let end = Self::end(since, seconds);
            if end <= now && !excused {
                return Verdict::Late(limit);
            }
            let look = end.max(now.saturating_add(1));
            next = Verdict::Until(if let Verdict::Until(other) = next { other.min(look) } else { look });
        }
        next
    }
}

/// One worker's deadlines.
pub(super) struct Deadlines {
    pub(super) limits: Limits,
    wheel: Wheel,
    /// Events served since the last turn of the wheel.
    served: usize,
}

impl Deadlines {
    /// `None` if no state has a limit.
    pub(super) fn new(shared: &Shared, now: u32) -> Option<Self> {
        let limits = Limits::new(shared);
        limits.any().then(|| Self { limits, wheel: Wheel::new(now), served: 0 })
    }

    /// Makes room for the connections of `slots` slots; false without memory.
    pub(super) fn reserve(&mut self, slots: usize) -> bool {
        self.wheel.reserve(slots)
    }

    /// Schedules `token` to be judged in second `at`.
    pub(super) fn schedule(&mut self, token: usize, at: u32) {
        self.wheel.schedule(token, at);
    }

    /// Whether the time that replies may wait is limited.
    #[inline]
    pub(super) fn limit_writes(&self) -> bool {
        self.limits.write.is_some()
    }

    /// Schedules `token` no later than its write limit; its peer has taken nothing since second `since`.
    pub(super) fn blocked(&mut self, token: usize, since: u32) {
        if let Some(limit) = self.limits.write {
            self.wheel.hasten(token, Limits::end(since, limit));
        }
    }

    /// Removes a closed connection.
    pub(super) fn remove(&mut self, token: usize) {
        self.wheel.remove(token);
    }

    /// After a poll that reported `events` of at most `asked` has been served: whether every socket that was ready at
    /// the last [`Deadlines::turn`] has been served. The kernel reports sockets in the order in which they became
    /// ready, so a run of full batches that reports more events than there are `sockets` has covered all of them.
    pub(super) fn all_served(&mut self, events: usize, asked: usize, sockets: usize) -> bool {
        self.served += events;
        events < asked || self.served >= sockets + asked
    }

    /// Takes the next connection to judge, among those due before the last poll.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.wheel.pop()
    }

    /// Makes the deadlines up to `now` due. They are judged once [`Deadlines::all_served`] returns true.
    pub(super) fn turn(&mut self, now: u32) {
        self.served = 0;
        self.wheel.turn(now);
    }

    /// Whether a connection waits to be judged.
    pub(super) fn is_due(&self) -> bool {
        self.wheel.is_due()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wheel.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { handshake: Some(10), login: Some(3), write: Some(7), idle: Some(5) };

    fn deadlines() -> Deadlines {
        Deadlines { limits: LIMITS, wheel: Wheel::new(100), served: 0 }
    }

    #[test]
    fn a_stop_of_the_process_counts_as_a_second() {
        let mut time = WorkerClock::new(100);
        for (clock, now) in [(101, 101), (103, 103), (103, 103), (115, 104), (116, 105), (110, 105), (111, 106)] {
            time.follow(clock);
            assert_eq!(time.now(), now, "at {clock}");
        }
        time.follow(u32::MAX);
        assert_eq!(time.now(), 107);
    }

    #[test]
    fn each_state_has_its_whole_seconds() {
        let since = Since { handshake: Some(100), ..Since::default() };
        assert_eq!(LIMITS.judge(&since, 100), Verdict::Until(111));
        assert_eq!(LIMITS.judge(&since, 110), Verdict::Until(111));
        assert_eq!(LIMITS.judge(&since, 111), Verdict::Late(Limit::Handshake));
        let since = Since { login: Some(100), idle: Some(100), ..Since::default() };
        assert_eq!(LIMITS.judge(&since, 103), Verdict::Until(104));
        assert_eq!(LIMITS.judge(&since, 104), Verdict::Late(Limit::Login));
        assert_eq!(LIMITS.judge(&Since { is_checking: true, ..since }, 104), Verdict::Until(105));
        assert_eq!(LIMITS.judge(&Since { login: None, ..since }, 104), Verdict::Until(106));
        assert_eq!(LIMITS.judge(&Since { login: None, ..since }, 106), Verdict::Late(Limit::Idle));
        assert_eq!(LIMITS.judge(&Since { login: None, is_busy: true, ..since }, 109), Verdict::Until(110));
        let since = Since { write: Some(103), idle: Some(100), is_busy: true, ..Since::default() };
        assert_eq!(LIMITS.judge(&since, 110), Verdict::Until(111));
        assert_eq!(LIMITS.judge(&since, 111), Verdict::Late(Limit::Write));
        assert_eq!(LIMITS.judge(&Since::default(), 1000), Verdict::Free);
        let none = Limits { handshake: None, login: None, write: None, idle: None };
        assert_eq!(none.judge(&since, u32::MAX), Verdict::Free);
        assert!(!none.any());
    }

    #[test]
    fn a_deadline_is_judged_after_the_poll_that_follows_it() {
        let mut deadlines = deadlines();
        deadlines.schedule(7, 104);
        deadlines.turn(103);
        assert!(!deadlines.is_due() && deadlines.pop().is_none());
        // The deadline passes while the events of a poll are served: that poll may have begun before it.
        assert!(deadlines.all_served(1, 1024, 5000) && deadlines.pop().is_none());
        deadlines.turn(104);
        assert!(deadlines.is_due());
        // A full batch may have left sockets unserved, up to the last of them.
        assert!(!deadlines.all_served(1024, 1024, 5000));
        assert!(deadlines.all_served(1023, 1024, 5000));
        deadlines.turn(104);
        let full = (0..).take_while(|_| !deadlines.all_served(1024, 1024, 5000)).count();
        assert_eq!(full, 5, "5000 sockets, and one batch more");
        assert_eq!(deadlines.pop(), Some(7));
        assert!(deadlines.pop().is_none() && deadlines.is_empty());
    }

    #[test]
    fn a_closed_connection_leaves_nothing() {
        let mut deadlines = deadlines();
        for token in 0..1000 {
            deadlines.schedule(token, 200);
        }
        (0..1000).for_each(|token| deadlines.remove(token));
        assert!(deadlines.is_empty());
    }
}
