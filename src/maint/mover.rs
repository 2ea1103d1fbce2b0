//! The mover: moves pages between slab classes, on request and automatically.
//!
//! Owns its thread, requests from sessions, the figures of `stats`, and the choice of the next move: first a
//! requested one, then one that a lowered memory limit demands, then pages to be resized in their class, then
//! proposals of `gradient` and `automove`. The store moves the page. [`MoverWork::step`] runs one slice and returns
//! how long the thread may rest, so that a thread, a test or a simulation can drive it; the thread only loops.
//! Sessions never wait here: they leave a request and wake the thread. Started and stopped by `server`; sessions and
//! `stats` hold a [`Mover`]. *News* is a number that changes with every event that may cause work (`background`).

use super::automove::{Automove, Sample, Tuning, most_evicting, sample};
use super::background::{Background, Rest, StopFlag};
use super::gradient::Gradient;
use crate::events::Event;
use crate::store::{Move, MoveCounts, Progress, Store};
use crate::sys::panics::trap;
use parking_lot::Mutex;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Shortest and longest pause before a page with chunks in use is retried; memcached's. Each pause is twice the last
/// one.
const PAUSE_MIN: Duration = Duration::from_micros(1);
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// Pauses, about a second in all, after which a move without a request is cancelled: a client that stalls within a
/// value would block all other moves. Other pages can move meanwhile.
const PAUSES_MAX: u32 = 200;

/// Longest pause of a move that an operator has requested, once it has had [`PAUSES_MAX`] short ones. Ten retries a
/// second take 0.01 % of a core, and their counters in `stats` still grow, as memcached's do.
const PAUSE_REQUESTED: Duration = Duration::from_millis(100);

/// Time between two checks of the classes.
const SECOND: Duration = Duration::from_secs(1);
/// Time between two checks at level 2 while items are evicted; it doubles while none are.
const GREEDY_PAUSE: Duration = Duration::from_millis(50);

/// Time after the last news within which a move may become due, in addition to `automove`'s window.
const QUIET: Duration = Duration::from_secs(2);

/// Time between two checks of ghost hits while many evicted keys return; at most one page moves each time.
const WEIGHING: Duration = Duration::from_millis(5);

/// The automove level at which pages move when that avoids misses.
const CAREFUL: u32 = 1;
/// The automove level at which every eviction requests a page.
const GREEDY: u32 = 2;

/// Reason that a page does not move; the command reports memcached's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A page is moving.
    Busy,
    /// There is no such class.
    BadClass,
    /// The source would be left without a page.
    NoSpare,
    /// Source and destination are the same class.
    Same,
}

/// A handle to the mover, shared by all sessions.
#[derive(Default)]
pub struct Mover {
    /// Lock rank: see docs/locking.md.
    state: Mutex<MoverState>,
    thread: OnceLock<Thread>,
}

#[derive(Default)]
struct MoverState {
    asked: Option<(usize, usize)>,
    running: bool,
    figures: Figures,
    /// Class that the last search for a source ([`Mover::any_source`]) has found.
    last_source: usize,
}

/// Figures since the last reset.
#[derive(Clone, Copy, Default, Debug)]
pub struct Figures {
    /// `slab_reassign_*`.
    pub counts: MoveCounts,
    /// `slabs_moved`.
    pub moved: u64,
    /// `slab_reassign_running`.
    pub running: bool,
}

impl Mover {
    /// Requests to move a page from class `src` (-1 = any, 0 = the pool) to class `dst`.
    ///
    /// # Errors
    /// The page cannot move; of several reasons the one that memcached reports first.
    pub fn reassign(&self, store: &'static Store, src: i32, dst: i32) -> Result<(), Refusal> {
        if self.is_busy() {
            return Err(Refusal::Busy);
        }
        if src == dst {
            return Err(Refusal::Same);
        }
        let class = |number: i32| {
            usize::try_from(number).ok().filter(|&id| id <= store.sizes().largest()).ok_or(Refusal::BadClass)
        };
        let src = match src {
            -1 => self.any_source(store, dst).ok_or(Refusal::BadClass)?,
            _ => class(src)?,
        };
        let dst = class(dst)?;
        if store.page_count(src) < 2 || !store.can_spare(src) {
            return Err(Refusal::NoSpare);
        }
        let mut state = self.state.lock();
        if state.running || state.asked.is_some() {
            return Err(Refusal::Busy);
        }
        state.asked = Some((src, dst));
        drop(state);
        self.wake();
        Ok(())
    }

    /// The next class in round-robin order that has a page to spare.
    fn any_source(&self, store: &'static Store, dst: i32) -> Option<usize> {
        let largest = store.sizes().largest();
        let last = self.state.lock().last_source;
        let mut turns = (1..=largest).map(|step| (last + step - 1) % largest + 1);
        let found = turns.find(|&id| id as i32 != dst && store.page_count(id) > 1 && store.can_spare(id))?;
        self.state.lock().last_source = found;
        Some(found)
    }

    /// Wakes the thread: there is a request, or the limit has changed.
    pub fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// A consistent snapshot of the figures since the last reset.
    pub fn figures(&self) -> Figures {
        let state = self.state.lock();
        Figures { running: state.running, ..state.figures }
    }

    /// `stats reset`.
    pub fn reset(&self) {
        self.state.lock().figures = Figures::default();
    }

    fn is_busy(&self) -> bool {
        let state = self.state.lock();
        state.running || state.asked.is_some()
    }

    fn is_asked(&self) -> bool {
        self.state.lock().asked.is_some()
    }

    /// Takes the pending request; from now on the mover is running.
    fn take(&self) -> Option<(usize, usize)> {
        let mut state = self.state.lock();
        let asked = state.asked.take();
        state.running |= asked.is_some();
        asked
    }

    fn count(&self, counts: MoveCounts) {
        if counts == MoveCounts::default() {
            return;
        }
        let mut state = self.state.lock();
        let sum = &mut state.figures.counts;
        sum.rescues += counts.rescues;
        sum.chunk_rescues += counts.chunk_rescues;
        sum.inline_reclaim += counts.inline_reclaim;
        sum.busy_items += counts.busy_items;
        sum.busy_deletes += counts.busy_deletes;
        sum.busy_nomem += counts.busy_nomem;
        sum.last_busy_status = counts.last_busy_status.or(sum.last_busy_status);
    }

    fn set_running(&self, running: bool) {
        self.state.lock().running = running;
    }

    fn ended(&self, done: bool) {
        let mut state = self.state.lock();
        state.running = false;
        state.figures.moved += u64::from(done);
    }
}

/// State of the mover between two slices.
pub struct MoverWork {
    store: &'static Store,
    mover: Arc<Mover>,
    clock: Box<dyn Fn() -> Instant + Send>,
    /// News at the last check, and the time of the last change; `None` = the next check counts as a change.
    news: u64,
    news_at: Option<Instant>,
    /// Time of the last failed move without a request. For a second after it, no other such move begins.
    failed_at: Option<Instant>,
    job: Option<Move>,
    pause: Duration,
    /// Pauses in a row.
    pauses: u32,
    /// The move was requested by an operator.
    asked: bool,
    automove: Option<Automove>,
    checked_at: Option<Instant>,
    gradient: Gradient,
    /// Time of the last step of `gradient`.
    weighed: Option<Instant>,
    /// Time until the next check of ghost hits.
    until_weighing: Duration,
    /// Time of the last search for pages to resize, and the class found.
    resize_at: Option<Instant>,
    resize_last: usize,
    /// Samples of level 2 at its last check, and the time until the next one.
    greedy: Vec<Sample>,
    greedy_pause: Duration,
}

impl MoverWork {
    /// The mover of `store` by `clock`, which serves `mover`.
    pub fn new(store: &'static Store, mover: Arc<Mover>, clock: impl Fn() -> Instant + Send + 'static) -> Self {
        Self {
            store,
            mover,
            clock: Box::new(clock),
            news: 0,
            news_at: None,
            failed_at: None,
            job: None,
            pause: PAUSE_MIN,
            pauses: 0,
            asked: false,
            automove: None,
            checked_at: None,
            resize_at: None,
            resize_last: 0,
            gradient: Gradient::default(),
            weighed: None,
            until_weighing: SECOND,
            greedy: Vec::new(),
            greedy_pause: GREEDY_PAUSE,
        }
    }

    /// Value of `news` at the last check.
    pub fn news(&self) -> u64 {
        self.news
    }

    /// Runs the next slice at the second `now`, and returns how long the thread may rest. `news` is called at each
    /// check for a page to move: its value changes after any event that may cause work.
    pub fn step(&mut self, now: u32, tuning: Tuning, news: impl FnOnce() -> u64) -> Rest {
        trap("mover");
        if self.job.is_some() {
            return after(self.advance(now));
        }
        let (at, news) = ((self.clock)(), news());
        let is_quiet = std::mem::replace(&mut self.news, news) == news;
        let news_at = self.news_at.filter(|_| is_quiet).unwrap_or(at);
        self.news_at = Some(news_at);
        let pause = self.check(at, now, tuning);
        // After a whole window without news the decision cannot change. While memory is free no page is wanted.
        let window = if self.store.is_full() { Duration::from_secs(tuning.window.into()) } else { Duration::ZERO };
        if !pause.is_zero() && at.saturating_duration_since(news_at) > QUIET + window {
            self.news_at = None;
            return Rest::Until(u32::MAX);
        }
        after(pause)
    }

    /// Runs the next slice of the move.
    fn advance(&mut self, now: u32) -> Duration {
        let Some(job) = &mut self.job else { return Duration::ZERO };
        let progress = self.store.step_move(job, now);
        self.mover.count(job.take_counts());
        match progress {
            Progress::More => Duration::ZERO,
            Progress::Waits
                if self.asked || self.pauses < PAUSES_MAX && !(job.is_resize() && self.mover.is_asked()) =>
            {
                // A stalled client may hold the page for long.
                self.pause = (self.pause * 2).min(if self.pauses < PAUSES_MAX { PAUSE_MAX } else { PAUSE_REQUESTED });
                self.pauses = self.pauses.saturating_add(1);
                self.pause
            }
            Progress::Done => {
                let (to_pool, stays) = (job.classes().1 == 0, job.is_resize());
                if stays && job.was_mostly_free() {
                    self.resize_at = None; // it cost nothing, so the next one may follow at once
                }
                self.job = None;
                while to_pool && self.store.release_page() {}
                self.mover.ended(!stays);
                if to_pool {
                    self.propose_again(now);
                }
                Duration::ZERO
            }
            // A requested move takes precedence over a resize.
            Progress::Waits | Progress::Failed => {
                if let Some(job) = self.job.take() {
                    let at = (self.clock)();
                    let last = if job.is_resize() { &mut self.resize_at } else { &mut self.failed_at };
                    *last = Some(at);
                    self.store.cancel_move(job);
                }
                self.mover.ended(false);
                Duration::ZERO
            }
        }
    }

    /// Finds the next page to move.
    fn check(&mut self, at: Instant, now: u32, tuning: Tuning) -> Duration {
        if let Some((src, dst)) = self.mover.take() {
            self.begin(src, dst);
            self.asked = true;
            return Duration::ZERO;
        }
        while self.store.release_page() {}
        if self.failed_at.is_some_and(|failed_at| is_recent(failed_at, at)) {
            return SECOND;
        }
        if self.store.is_shrinking()
            && let Some(src) = self.most_free(now)
        {
            self.begin_reporting(src, 0);
            return Duration::ZERO;
        }
        if self.resize(at) {
            return Duration::ZERO;
        }
        if tuning.level == 0 {
            self.automove = None;
            return SECOND;
        }
        let mut every = SECOND;
        if tuning.level == CAREFUL {
            self.weigh(at, now, &tuning);
            if self.job.is_some() {
                return Duration::ZERO;
            }
            every = self.until_weighing;
        }
        if tuning.level == GREEDY {
            let samples = sample(self.store, now);
            let before = std::mem::replace(&mut self.greedy, samples);
            let dst = most_evicting(&before, &self.greedy);
            self.greedy_pause = if dst.is_some() { GREEDY_PAUSE } else { (self.greedy_pause * 2).min(SECOND) };
            every = self.greedy_pause;
            if let Some(dst) = dst
                && let Some(src) = self.mover.any_source(self.store, dst as i32)
            {
                self.begin(src, dst);
                return Duration::ZERO;
            }
        }
        if self.checked_at.is_some_and(|checked_at| is_recent(checked_at, at)) {
            return every;
        }
        self.checked_at = Some(at);
        let samples = sample(self.store, now);
        match &mut self.automove {
            Some(automove) if automove.tuning() == tuning => automove.note(samples),
            automove => *automove = Some(Automove::new(tuning, samples)),
        }
        self.follow(at, &tuning);
        if self.job.is_some() { Duration::ZERO } else { every }
    }

    /// Begins to resize a page for the sizes that its class stores now: at most once a second, the classes in turn,
    /// and only while memory is short.
    fn resize(&mut self, at: Instant) -> bool {
        let short = self.store.is_full() && self.store.page_count(0) == 0;
        if self.resize_at.is_some_and(|last| is_recent(last, at)) || !short {
            return false;
        }
        let largest = self.store.sizes().largest();
        let mut turns = (1..=largest).map(|step| (self.resize_last + step - 1) % largest + 1);
        let found = turns.find_map(|id| Some((id, self.store.begin_resize(id)?)));
        self.resize_at = Some(at);
        let Some((id, job)) = found else { return false };
        self.resize_last = id;
        self.set_job(Some(job));
        true
    }

    /// Feeds `gradient`, and begins the move that it proposes.
    fn weigh(&mut self, at: Instant, now: u32, tuning: &Tuning) {
        if !self.gradient.note(sample(self.store, now), tuning) {
            self.until_weighing = (self.until_weighing * 2).min(SECOND);
            return;
        }
        self.weighed = Some(at);
        self.until_weighing = WEIGHING;
        if let Some((src, dst)) = self.gradient.decide(tuning) {
            self.begin_reporting(src, dst);
        }
    }

    /// Begins the move that `automove` proposes: to the pool always, from class to class only if `gradient` had no
    /// step for a whole window.
    fn follow(&mut self, at: Instant, tuning: &Tuning) {
        let full = self.store.is_full();
        let window = Duration::from_secs(tuning.window.into());
        let silent = self.weighed.is_none_or(|last| at.saturating_duration_since(last) > window);
        if let Some((src, dst)) = self.automove.as_ref().and_then(|automove| automove.decide(full))
            && (dst == 0 || silent)
        {
            self.begin_reporting(src, dst);
        }
    }

    /// A class that gave up a page may have more to give: no need to wait for the next second.
    fn propose_again(&mut self, now: u32) {
        if let Some(automove) = &mut self.automove {
            automove.refresh(sample(self.store, now));
            let full = self.store.is_full();
            if let Some((src, 0)) = automove.decide(full) {
                self.begin_reporting(src, 0);
            }
        }
    }

    /// The class with the most free pages that can give one up.
    fn most_free(&self, now: u32) -> Option<usize> {
        let views = self.store.classes(now);
        let free = |id: usize| {
            let per_page = self.store.sizes().class(id).per_page as u64;
            ((views[id].total_chunks - views[id].used_chunks) / per_page, views[id].pages)
        };
        (1..views.len()).filter(|&id| views[id].pages > 1 && self.store.can_spare(id)).max_by_key(|&id| free(id))
    }

    fn begin(&mut self, src: usize, dst: usize) -> bool {
        self.set_job(self.store.begin_move(src, dst));
        self.mover.set_running(self.job.is_some());
        self.job.is_some()
    }

    /// Cancels the current move, if any.
    pub fn stop(&mut self) {
        if let Some(job) = self.job.take() {
            self.store.cancel_move(job);
        }
    }

    fn set_job(&mut self, job: Option<Move>) {
        (self.job, self.pause, self.pauses, self.asked) = (job, PAUSE_MIN, 0, false);
    }

    /// Begins a move without a request, and records it for watchers.
    fn begin_reporting(&mut self, src: usize, dst: usize) {
        let begun = self.begin(src, dst);
        self.store.record(&Event::SlabMove { src: src as u8, dst: dst as u8, begun });
    }
}

/// Whether `at` is less than a second after `last`.
fn is_recent(last: Instant, at: Instant) -> bool {
    at.saturating_duration_since(last) < SECOND
}

fn after(pause: Duration) -> Rest {
    if pause.is_zero() { Rest::No } else { Rest::For(pause) }
}

/// The mover's thread; dropping this stops it.
pub struct MoverThread(Background);

impl MoverThread {
    /// Starts the thread, which serves `mover`. `tuning` returns the time and the settings; it is called before every
    /// slice. For `news` see [`MoverWork::step`].
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start(
        store: &'static Store,
        mover: Arc<Mover>,
        tuning: impl Fn() -> (u32, Tuning) + Send + 'static,
        news: impl Fn() -> u64 + Send + 'static,
    ) -> io::Result<Self> {
        let work = move |stop: &StopFlag| {
            // Only the first thread is registered; a second one would only be woken later.
            let _ = mover.thread.set(thread::current());
            let mut work = MoverWork::new(store, mover, Instant::now);
            while !stop.to_stop() {
                let (now, tuning) = tuning();
                let rest = work.step(now, tuning, &news);
                stop.rest(rest, work.news());
            }
            work.stop();
        };
        Background::start("mc-slabmaint", work).map(Self)
    }

    /// Called once a second: wakes the thread if it rests and `news` has changed.
    pub fn tick(&self, now: u32, news: u64) {
        self.0.tick(now, news);
    }

    /// Stops the thread and waits for it; a page being moved stays in its class.
    pub fn stop(self) {
        drop(self.0);
    }
}
