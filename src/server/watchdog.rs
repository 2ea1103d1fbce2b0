//! Signs of life for the service manager's watchdog (`WatchdogSec=`).
//!
//! Owns the rule. A ping is due after each half of the manager's limit. The main thread sends it, if every worker has
//! come back to its poll since it was asked at the ping before; then it asks them again. While a worker has not, the
//! ping is withheld, and the manager ends the process at its limit. `main_loop` calls this after each poll.

use crate::net::Workers;
use crate::sys::say;
use crate::sys::service_manager::ServiceManager;
use std::time::{Duration, Instant};

/// Maximum interval at which a withheld ping is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// The watchdog's next ping.
pub(super) struct Watchdog {
    interval: Duration,
    due: Instant,
    /// A worker's silence was reported.
    is_late: bool,
}

impl Watchdog {
    /// Asks the workers for their first sign of life. `limit` is the time after which the manager acts.
    pub(super) fn start(limit: Duration, workers: &Workers) -> Self {
        workers.ask_pulse();
        let interval = limit / 2;
        Self { interval, due: Instant::now() + interval, is_late: false }
    }

    /// Time until [`Watchdog::ping`] must run.
    pub(super) fn timeout(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Sends the ping if it is due and every worker is alive.
    pub(super) fn ping(&mut self, manager: &mut ServiceManager, workers: &Workers) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        if !workers.have_pulse() {
            self.due = now + self.interval.min(RETRY);
            if !std::mem::replace(&mut self.is_late, true) {
                let seconds = self.interval.as_secs_f64();
                say(format_args!("a worker has been busy for {seconds} seconds: the watchdog gets no sign of life"));
            }
            return;
        }
        self.is_late = false;
        self.due = now + self.interval;
        manager.alive();
        workers.ask_pulse();
    }
}
