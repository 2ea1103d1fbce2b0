//! The chores thread: pre-faults memory, grows the index, tends the queues (the LRU maintainer's work, `Store::tend`)
//! and sweeps out expired items.
//!
//! Owns when each of these is due; the store and `sweep` do the work. [`ChoreWork::step`] runs a slice of what is due
//! and returns how long the thread may rest, so that a thread, a test or a simulation can drive it; the thread only
//! loops. Knows the store and the crawler's handle, no sockets. *News* is a number that changes with every event that
//! may cause work (`background`); docs/architecture.md lists what wakes the thread.

use super::background::{Background, Rest, StopFlag};
use super::crawler::Crawler;
use super::sweep::Sweep;
use crate::store::{GrowthStep, Store};
use crate::sys::panics::trap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Buckets moved in one step of index growth: 0.05 ms when their items are cold, 3 us for each bucket, which is
/// locked for that time (`make growth`).
pub const GROW_BUCKETS: u64 = 16;

/// Time for which the index grows before other chores take their turn.
const GROW_FOR: Duration = Duration::from_millis(2);

/// Minimum time between two rounds of tending, unless one left work. No request waits for them.
const TEND: Duration = Duration::from_secs(1);

/// Maximum time of one round of tending: enough for a million items per second. If tending never ends it takes this
/// much of each `ROUND`, a tenth of a core.
const TEND_FOR: Duration = Duration::from_millis(5);

/// Time between two rounds while each finds news. Without news it doubles from round to round.
const ROUND: Duration = Duration::from_millis(50);

/// Maximum time between two rounds: after another one without news the thread rests.
const ROUND_MAX: Duration = Duration::from_secs(1);

/// Input of a step.
#[derive(Clone, Copy, Debug)]
pub struct ChoreInput {
    /// Relative time in seconds.
    pub now: u32,
    /// Whether the crawler is switched on.
    pub enabled: bool,
    /// Whether flushed items are swept out at once: with the crawler, or the LRU maintainer.
    pub prompt: bool,
    /// Whether the queues of new items are tended (`lru_maintainer`).
    pub maintained: bool,
    /// Pause between two steps of the crawler.
    pub sleep: Duration,
}

/// State of the chores between two steps.
pub struct ChoreWork {
    store: &'static Store,
    crawler: Arc<Crawler>,
    clock: Box<dyn Fn() -> Instant + Send>,
    sweep: Sweep,
    /// Value of `news` in the last round.
    news: u64,
    /// Time of the next round; `None` = with the next step.
    round_at: Option<Instant>,
    /// Time between two rounds.
    pause: Duration,
    /// The last rounds had no news.
    is_idle: bool,
    is_growing: bool,
    /// There may be work for tending, but not before `tend_at`.
    is_untended: bool,
    tend_at: Instant,
    /// Second of the first expiry that tending has seen.
    tend_due: u32,
}

impl ChoreWork {
    /// Chores of `store` by `clock`, none of them done yet.
    pub fn new(store: &'static Store, crawler: Arc<Crawler>, clock: impl Fn() -> Instant + Send + 'static) -> Self {
        Self {
            store,
            crawler,
            sweep: Sweep::default(),
            news: 0,
            round_at: None,
            pause: ROUND,
            is_idle: false,
            is_growing: false,
            is_untended: false,
            tend_at: clock() + TEND,
            tend_due: u32::MAX,
            clock: Box::new(clock),
        }
    }

    /// Value of `news` in the last round.
    pub fn news(&self) -> u64 {
        self.news
    }

    /// Runs a slice of what is due, and returns how long the thread may rest. `news` is called once per round: its
    /// value changes after any event that may cause work.
    pub fn step(&mut self, input: &ChoreInput, news: impl FnOnce() -> u64) -> Rest {
        trap("chores");
        let is_touching = self.store.touch_ahead();
        let at = (self.clock)();
        if self.round_at.is_none_or(|due| at >= due) {
            self.round(at, input, news());
        }
        self.grow();
        let at = (self.clock)();
        let sweeping = self.sweep.step(self.store, &self.crawler, input, self.news, at);
        if self.is_growing || is_touching {
            return Rest::No;
        }
        if self.is_idle && sweeping.is_none() {
            self.round_at = None;
            let tend_due = if input.maintained { self.tend_due } else { u32::MAX };
            return Rest::Until(tend_due.min(self.sweep.due_at(self.store, input, self.news)));
        }
        let until_round = self.round_at.map_or(Duration::ZERO, |due| due.saturating_duration_since(at));
        match sweeping.map_or(until_round, |pause| pause.min(until_round)) {
            Duration::ZERO => Rest::No,
            pause => Rest::For(pause),
        }
    }

    /// Work done only once per round, because it locks every class.
    fn round(&mut self, at: Instant, input: &ChoreInput, news: u64) {
        let is_quiet = std::mem::replace(&mut self.news, news) == news;
        self.is_idle = is_quiet && self.pause == ROUND_MAX;
        self.pause = if is_quiet { (self.pause * 2).min(ROUND_MAX) } else { ROUND };
        if !is_quiet {
            self.is_untended = true;
            self.store.charge_overhead();
        }
        let may_tend = self.is_untended || input.now >= self.tend_due;
        if input.maintained && may_tend && at >= self.tend_at {
            self.tend(at, input.now);
        }
        self.is_growing = true;
        self.round_at = Some(at + self.pause);
    }

    fn tend(&mut self, at: Instant, now: u32) {
        let until = at + TEND_FOR;
        self.is_untended = loop {
            self.tend_due = u32::MAX;
            if !self.store.tend_until(now, &mut self.tend_due) {
                break false;
            }
            if (self.clock)() >= until {
                break true;
            }
        };
        if self.is_untended {
            (self.is_idle, self.pause) = (false, ROUND);
        } else {
            self.tend_at = at + TEND;
        }
    }

    /// Checks whether the index should grow, and grows it for a while.
    fn grow(&mut self) {
        if !self.is_growing {
            return;
        }
        let until = (self.clock)() + GROW_FOR;
        let mut has_grown = false;
        self.is_growing = loop {
            if self.store.grow_step(GROW_BUCKETS) == GrowthStep::Over {
                break false;
            }
            has_grown = true;
            if (self.clock)() >= until {
                break true;
            }
        };
        if has_grown && !self.is_growing {
            self.store.charge_overhead();
        }
    }
}

/// The chores thread; dropping this stops it.
pub struct Chores(Background);

impl Chores {
    /// Starts the thread, which serves `crawler`. `input` is called before every step; for `news` see
    /// [`ChoreWork::step`].
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start(
        store: &'static Store,
        crawler: Arc<Crawler>,
        input: impl Fn() -> ChoreInput + Send + 'static,
        news: impl Fn() -> u64 + Send + 'static,
    ) -> io::Result<Self> {
        let work = move |stop: &StopFlag| {
            crawler.serve_here();
            store.touch_from_here();
            let mut work = ChoreWork::new(store, crawler, Instant::now);
            while !stop.to_stop() {
                let rest = work.step(&input(), &news);
                stop.rest(rest, work.news());
            }
        };
        Background::start("mc-assocmaint", work).map(Self)
    }

    /// Called once a second: wakes the thread if it rests and something is due, or `news` has changed.
    pub fn tick(&self, now: u32, news: u64) {
        self.0.tick(now, news);
    }

    /// Stops the thread and waits for it.
    pub fn stop(self) {
        drop(self.0);
    }
}
