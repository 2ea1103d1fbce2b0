//! Chores: what the store needs done beside serving requests.
//!
//! Owns one thread that grows the index and sweeps out items whose time is over, in small steps (a chore has a `step`;
//! the thread only loops), and another one that tells watchers what happens. Knows the store and the events, no
//! sockets. Started and stopped by `server`.

mod log;
mod sweep;
mod watcher;

pub use log::{Logger, Refused, Seat, Tally, Watchers};
pub use watcher::Sink;

use crate::store::Store;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use sweep::Sweep;

/// Buckets moved in one step of index growth; each is locked for well under a microsecond.
const GROW_BUCKETS: u64 = 256;

/// Time between two rounds when there is nothing to do.
const ROUND: Duration = Duration::from_millis(50);

/// The thread of chores; stops when told to, or when dropped.
pub struct Chores {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Chores {
    /// Starts the thread. `now` gives the relative time.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start(store: &'static Store, now: impl Fn() -> u32 + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new().name("mc-assocmaint".to_owned()).spawn(move || {
            let mut sweep = Sweep::default();
            while !told.load(Relaxed) {
                while !store.grow_step(GROW_BUCKETS) && !told.load(Relaxed) {}
                sweep.step(store, now());
                thread::park_timeout(ROUND);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops the thread and waits for it.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A chore that panicked has said so on standard error; there is nothing left to save here.
            let _ = thread.join();
        }
    }
}

impl Drop for Chores {
    fn drop(&mut self) {
        self.end();
    }
}
