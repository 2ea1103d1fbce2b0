//! Chores: what the store needs done beside serving requests.
//!
//! Owns one thread that touches memory before it is needed, grows the index, tends the queues and sweeps out items whose
//! time is over, in small steps (the thread only loops), another one that moves pages between slab classes (`mover`), and one that tells watchers what
//! happens. Knows the store, the crawler's and the mover's handle and the events, no sockets. Beside the threads,
//! `restart` judges the memory file of `-e`. Started and stopped by `server`.

mod automove;
mod background;
mod crawler;
mod gradient;
mod log;
mod mover;
pub mod restart;
mod sweep;
mod watcher;

pub use automove::Tuning;
pub use crawler::Crawler;
pub use log::{Logger, Refused, Seat, Tally, Watchers};
pub use mover::{Figures, Mover, MoverThread, Refusal};
pub use sweep::all_classes;
pub use watcher::Sink;

use crate::store::{Step, Store};
use background::{Background, Told};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use sweep::Sweep;

/// Buckets moved in one step of index growth: 0.05 ms when their items are cold, 3 us for each bucket, which is locked so
/// long (`make growth`).
pub const GROW_BUCKETS: u64 = 16;

/// How long the index grows before other chores have their turn.
const GROW_FOR: Duration = Duration::from_millis(2);

/// Time between two rounds of tending when there is nothing to do; else they come with the other rounds. Nobody waits
/// for them.
const TEND: Duration = Duration::from_secs(1);

/// How long one round of tending may take: a tenth of a core where it never ends, and a million items a second.
const TEND_FOR: Duration = Duration::from_millis(5);

/// Time between two rounds when there is nothing to do.
const ROUND: Duration = Duration::from_millis(50);

/// What the chores must know of the world, now.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Relative time in seconds.
    pub now: u32,
    /// Whether the crawler is switched on.
    pub enabled: bool,
    /// Whether what was flushed is swept out at once: with the crawler, or the LRU maintainer.
    pub prompt: bool,
    /// Whether the queues of new items are tended (`lru_maintainer`).
    pub maintained: bool,
    /// Pause between two steps of the crawler.
    pub sleep: Duration,
}

/// The thread of chores; stops when told to, or when dropped.
pub struct Chores(Background);

impl Chores {
    /// Starts the thread, which serves `crawler`. `moment` is asked before every step.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start(
        store: &'static Store,
        crawler: Arc<Crawler>,
        moment: impl Fn() -> Moment + Send + 'static,
    ) -> io::Result<Self> {
        let work = move |told: &Told| {
            crawler.serve_here();
            store.touch_from_here();
            let mut sweep = Sweep::default();
            let mut looked = None;
            let mut charge_at = Instant::now();
            let mut tend_at = Instant::now() + TEND;
            while !told.to_stop() {
                let touching = store.touch_ahead();
                // Whether the index should grow is asked once a round only: the answer costs a lock a class.
                let is_time = looked.is_none_or(|at: Instant| at.elapsed() >= ROUND);
                let mut growing = is_time && store.grow_step(GROW_BUCKETS) != Step::Over;
                let until = Instant::now() + GROW_FOR;
                while growing && Instant::now() < until {
                    growing = store.grow_step(GROW_BUCKETS) != Step::Over;
                }
                if is_time && !growing {
                    looked = Some(Instant::now());
                }
                if Instant::now() >= charge_at {
                    store.charge_overhead();
                    charge_at = Instant::now() + ROUND;
                }
                let moment = moment();
                if moment.maintained && Instant::now() >= tend_at {
                    let until = Instant::now() + TEND_FOR;
                    while store.tend(moment.now) && Instant::now() < until {}
                    tend_at = Instant::now() + if Instant::now() < until { TEND } else { ROUND };
                }
                let pause = sweep.step(store, &crawler, &moment).unwrap_or(ROUND);
                let pause = pause.min(tend_at.saturating_duration_since(Instant::now()));
                if !growing && !touching && !pause.is_zero() {
                    thread::park_timeout(pause.min(ROUND));
                }
            }
        };
        Background::start("mc-assocmaint", work).map(Self)
    }

    /// Stops the thread and waits for it.
    pub fn stop(self) {
        drop(self.0);
    }
}
