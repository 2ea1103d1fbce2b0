//! A thread that works in steps until it is told to stop, and rests when there is nothing to do.
//!
//! Owns how such a thread is started, told, woken and waited for; what it does is its maker's. Used by the three threads
//! of `maint`.
//!
//! A resting thread has no timer of its own. It is woken by an event (`unpark`), or by [`Background::tick`], which the
//! main thread calls once a second: the one timer of an idle server.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a thread does between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: the next step is due.
    No,
    /// It sleeps for so long, unless an event wakes it.
    For(Duration),
    /// It sleeps until an event wakes it, or the first tick that finds this second come, or anything changed.
    Until(u32),
}

/// The thread; dropping this stops it and waits for it.
pub(super) struct Background {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    /// The thread waits for a tick.
    resting: AtomicBool,
    /// For the second `due`, or for other news than `news`.
    due: AtomicU32,
    news: AtomicU64,
}

/// The thread's side.
pub(super) struct StopFlag(Arc<State>);

impl StopFlag {
    /// Whether the thread shall end. It is unparked once this has become true.
    pub(super) fn to_stop(&self) -> bool {
        self.0.stop.load(Relaxed)
    }

    /// Rests; may return early. `news` is what the last step knew: what comes after that ends the rest.
    pub(super) fn rest(&self, rest: Rest, news: u64) {
        match rest {
            Rest::No => {}
            Rest::For(pause) => thread::park_timeout(pause),
            Rest::Until(second) => {
                let state = &self.0;
                state.due.store(second, Relaxed);
                state.news.store(news, Relaxed);
                // A tick that sees this before the lines above compares with an older rest: it wakes the thread in
                // vain, or the next tick does.
                state.resting.store(true, Relaxed);
                if !self.to_stop() {
                    thread::park();
                }
                state.resting.store(false, Relaxed);
            }
        }
    }
}

impl Background {
    /// Starts a thread that does `work`, which returns soon after it is told to stop.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(super) fn start(name: &str, work: impl FnOnce(&StopFlag) + Send + 'static) -> io::Result<Self> {
        let state = Arc::<State>::default();
        let told = StopFlag(Arc::clone(&state));
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&told))?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Wakes the thread if it rests and it is `now` the second that it waits for, or `news` is not what it knew.
    pub(super) fn tick(&self, now: u32, news: u64) {
        let state = &self.state;
        let is_due = || now >= state.due.load(Relaxed) || news != state.news.load(Relaxed);
        if let Some(thread) = self.thread.as_ref().filter(|_| state.resting.load(Relaxed) && is_due()) {
            thread.thread().unpark();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.state.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic has ended the process; where it does not (tests) it has been reported, and nothing is left to save.
            let _ = thread.join();
        }
    }
}
