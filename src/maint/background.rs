//! A thread that works in steps until it is stopped, and rests when there is nothing to do.
//!
//! Owns starting, stopping, waking and joining such a thread; knows nothing of its work. Used by the three threads of
//! `maint`.
//!
//! A resting thread has no timer of its own. It is woken by an event (`unpark`), or by [`Background::tick`], which the
//! main thread calls once a second: the only timer of an idle server. *News* is a number that changes with every event
//! that may cause work for the thread (`Shared::news`).

use crate::sys::sandbox::{Role, confine};
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
    /// Sleeps for this time, unless an event wakes it.
    For(Duration),
    /// Sleeps until an event, or the first tick at or after this second or with other news.
    Until(u32),
}

/// The thread; dropping this stops and joins it.
pub(super) struct Background {
    state: Arc<ThreadState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct ThreadState {
    stop: AtomicBool,
    /// The thread waits for a tick.
    resting: AtomicBool,
    /// The rest ends at the second `due`, or with news other than `news`.
    due: AtomicU32,
    news: AtomicU64,
}

/// The thread's side of its [`Background`]: whether to stop, and how to rest.
pub(super) struct StopFlag(Arc<ThreadState>);

impl StopFlag {
    /// Whether the thread must end. It is unparked once this has become true.
    pub(super) fn to_stop(&self) -> bool {
        self.0.stop.load(Relaxed)
    }

    /// Rests; may return early. `news` is what the last step knew: later news ends the rest.
    pub(super) fn rest(&self, rest: Rest, news: u64) {
        match rest {
            Rest::No => {}
            Rest::For(pause) => thread::park_timeout(pause),
            Rest::Until(second) => {
                let state = &self.0;
                state.due.store(second, Relaxed);
                state.news.store(news, Relaxed);
                // A tick that sees this store before the two above compares with values of an earlier rest: it wakes
                // the thread without need, or the next tick wakes it.
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
    /// Starts a thread that runs `work`, which must return soon after it is stopped.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(super) fn start(name: &str, work: impl FnOnce(&StopFlag) + Send + 'static) -> io::Result<Self> {
        let state = Arc::<ThreadState>::default();
        let flag = StopFlag(Arc::clone(&state));
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            confine(Role::Main);
            work(&flag);
        })?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Wakes the thread if it rests and `now` has reached the second that it waits for, or `news` differs from what
    /// it knew.
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
            // A panic has ended the process; where it does not (tests) it has been reported, and there is nothing to
            // save.
            let _ = thread.join();
        }
    }
}
