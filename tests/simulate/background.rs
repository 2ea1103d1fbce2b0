//! The server's own chores and mover, each paced by the result of its last step.
//!
//! Owns a clock in microseconds that advances with the seconds of `world` and with each read of it, the time of each
//! thread's next step, and the checks after a quiet time. The work itself is `oxcached::maint`'s.

use super::world::{THREADS, World};
use oxcached::maint::{ChoreInput, ChoreWork, MoverWork, Rest};
use oxcached::proto::Shared;
use oxcached::store::Store;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000;

/// Steps within a second that count as a spin if nothing happens.
const STEPS_MAX: u32 = 20_000;

/// Seconds after which no item with a short lifetime remains; all others expire days apart.
const QUIET: u32 = 210;

/// Seconds after which a thread without news rests: a window of `automove`, and an abandoned move.
const REST: u32 = 100;

/// Seconds within which expired items are swept: a full pass a minute, and a rest before it.
const SWEPT: u32 = 75;

/// Time of a thread's next step.
#[derive(Clone, Copy, Debug)]
enum Next {
    At(u64),
    Tick { second: u32, news: u64 },
}

pub struct Background {
    /// `None` during a step.
    chores: RefCell<Option<ChoreWork>>,
    mover: RefCell<Option<MoverWork>>,
    next: [Cell<Next>; 2],
    /// The latest time that each has worked at: no clock goes back.
    times: [Cell<u32>; 2],
    micros: Arc<AtomicU64>,
}

impl Background {
    /// Threads that serve `shared`; each read of the clock takes `look` microseconds.
    pub fn new(store: &'static Store, shared: &Shared, look: u64) -> Self {
        let (micros, base) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let clock = || {
            let micros = Arc::clone(&micros);
            move || base + Duration::from_micros(micros.fetch_add(look, Relaxed))
        };
        Self {
            chores: RefCell::new(Some(ChoreWork::new(store, Arc::clone(&shared.crawler), clock()))),
            mover: RefCell::new(Some(MoverWork::new(store, Arc::clone(&shared.mover), clock()))),
            next: [Cell::new(Next::At(0)), Cell::new(Next::At(0))],
            times: [Cell::new(0), Cell::new(0)],
            micros,
        }
    }

    /// One step of a thread that is due or woken, unless a step of it is in progress.
    pub fn step(&self, world: &World) {
        let which = world.below(2);
        let now = self.micros.fetch_add(world.below(20_000) as u64, Relaxed);
        match self.next[which].get() {
            Next::At(at) if at > now && world.chance(2) => _ = self.micros.fetch_max(at, Relaxed),
            Next::At(at) if at > now && world.chance(2) => return,
            Next::Tick { .. } if !world.chance(8) => return,
            _ => {}
        }
        self.work(world, which);
    }

    fn work(&self, world: &World, which: usize) {
        let shared = &world.threads[0].shared;
        // The time is read before the step, during which it may advance.
        let now = self.times[which].get().max(world.latest() - world.below(3) as u32);
        self.times[which].set(now);
        world.model.reach(now);
        let (rest, news) = if which == 0 {
            let Some(mut chores) = self.chores.take() else { return };
            let moment = ChoreInput { now, ..shared.moment() };
            let rest = world.act(THREADS, || chores.step(&moment, || world.news()));
            let news = chores.news();
            self.chores.replace(Some(chores));
            (rest, news)
        } else {
            let Some(mut mover) = self.mover.take() else { return };
            let (_, tuning) = shared.tuning();
            let rest = world.act(THREADS + 1, || mover.step(now, tuning, || world.news()));
            let news = mover.news();
            self.mover.replace(Some(mover));
            (rest, news)
        };
        world.note(format_args!("{} at {now}: {rest:?}", ["chores", "mover"][which]));
        let at = self.micros.load(Relaxed);
        self.next[which].set(match rest {
            Rest::No => Next::At(at),
            Rest::For(pause) => Next::At(at + pause.as_micros() as u64),
            Rest::Until(second) => Next::Tick { second, news },
        });
    }

    /// The main thread's tick: wakes resting threads that have work.
    pub fn tick(&self, world: &World, seconds: u32) {
        let end = (self.micros.load(Relaxed) / SECOND + u64::from(seconds)) * SECOND;
        self.micros.fetch_max(end, Relaxed);
        let (now, news) = (world.latest(), world.news());
        for next in &self.next {
            if let Next::Tick { second, news: known } = next.get()
                && (now >= second || news != known)
            {
                next.set(Next::At(end));
            }
        }
    }

    /// The first second at which a resting thread has work; now if a thread does not rest, or there is news.
    fn due(&self, world: &World) -> u32 {
        let current = world.news();
        let due = |next: &Cell<Next>| match next.get() {
            Next::Tick { second, news } if news == current => second,
            _ => world.latest(),
        };
        self.next.iter().map(due).min().unwrap_or_default()
    }

    /// Runs the threads' due steps until the second ends.
    fn finish_second(&self, world: &World) {
        let end = (self.micros.load(Relaxed) / SECOND + 1) * SECOND;
        for _ in 0..STEPS_MAX {
            let at = |which: usize| if let Next::At(at) = self.next[which].get() { at } else { u64::MAX };
            let which = if at(0) <= at(1) { 0 } else { 1 };
            if at(which) >= end || self.micros.load(Relaxed) >= end {
                return;
            }
            self.micros.fetch_max(at(which), Relaxed);
            self.work(world, which);
        }
        panic!("a background thread spins: {:?}", self.next);
    }

    /// Passes `seconds`, with enough time for the threads. Skips ticks without due work, except one every `every`
    /// seconds.
    pub fn pass(&self, world: &World, seconds: u32, every: u32) {
        let end = world.latest().saturating_add(seconds);
        while world.latest() < end && !world.is_at_end() {
            self.finish_second(world);
            let latest = world.latest();
            let next = self.due(world).min(end).min(latest.saturating_add(every)).max(latest + 1);
            world.tick(next - latest);
        }
    }

    /// Passes time without events: then the threads must rest, and dead items be swept.
    pub fn check_quiet(&self, world: &World) {
        self.pass(world, QUIET, 1);
        let shared = &world.threads[0].shared;
        match shared.moment() {
            ChoreInput { enabled: true, .. } => world.check_items(SWEPT),
            // Flushed items are swept, expired ones may wait for a day.
            ChoreInput { prompt: true, .. } => world.check_items(u32::MAX),
            _ => {}
        }
        let rest = |next: &Cell<Next>| matches!(next.get(), Next::Tick { .. });
        // A requested move continues while a page is in use.
        let rests = || self.next.iter().all(rest) || shared.mover.figures().running || world.is_at_end();
        let mut left = REST;
        while left > 0 {
            if rests() {
                return;
            }
            let items = shared.cache.store.items();
            self.pass(world, 1, 1);
            // Removing an item that expires is work, for as many seconds as there are such items.
            left = if shared.cache.store.items() < items { REST } else { left - 1 };
        }
        panic!("after {REST} s without news the next steps are {:?}", self.next);
    }

    /// Ends a running move.
    pub fn stop(&self) {
        self.mover.take().iter_mut().for_each(MoverWork::stop);
        self.chores.take();
    }
}
