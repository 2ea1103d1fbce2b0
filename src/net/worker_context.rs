//! What all connections of one worker use: its shared buffers, counters, poll registry and memory accounts.
//!
//! Owns them. Must not know the connections; `worker` lends it to the connection that has its turn.

use super::deadlines::WorkerClock;
use super::notify::Mailbox;
use super::shared_buffers::SharedBuffers;
use crate::events::{Event, Log};
use crate::limits::{LONG_INPUT_MIN, LONG_INPUT_SHARE, REPLIES_MIN, REPLIES_SHARE, REQUEST_CHARGE};
use crate::limits::{TURN_BYTES, TURN_MICROS, WRITE_SLICES};
use crate::proto::{Cx, Shared, TurnTrace};
use crate::stats::Counters;
use crate::sys::monotonic;
use mio::Registry;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// State shared by one worker's connections.
pub(super) struct WorkerContext {
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    /// The worker's number.
    pub(super) number: usize,
    /// For deadlines.
    pub(super) clock: WorkerClock,
    pub(super) registry: Registry,
    pub(super) mailbox: Mailbox,
    pub(super) buffers: SharedBuffers,
    /// Allocation for the slices of a vectored write.
    pub(super) slices: Vec<IoSlice<'static>>,
    /// Buffer for cipher text; empty until a connection needs it.
    pub(super) scratch: Vec<u8>,
    /// Commands in one turn (`-R`).
    pub(super) reqs_per_event: u32,
    /// Bound of the unsent replies of all connections, in bytes.
    pub(super) replies_max: u64,
    /// Bytes read and written in the current turn.
    pub(super) turn_bytes: usize,
    /// What the current turn does and takes.
    pub(super) trace: TurnTrace,
    /// Beginning of the current turn if turns are timed, else the time of its first `is_turn_over`;
    /// 0 before that.
    asked: u64,
    /// Bytes charged to connections inside a request, and their maximum.
    charged: u64,
    charged_max: u64,
}

impl WorkerContext {
    pub(super) fn new(shared: &Arc<Shared>, number: usize, registry: Registry, mailbox: Mailbox) -> Self {
        let settings = &shared.settings;
        let limit = u64::from(settings.read_buf_mem_limit) / u64::from(settings.num_threads.max(1));
        let charged_max = if limit == 0 { u64::MAX } else { limit.max(REQUEST_CHARGE as u64) };
        Self {
            shared: Arc::clone(shared),
            counters: Arc::clone(&shared.stats.workers[number]),
            number,
            clock: WorkerClock::new(shared.clock.now()),
            registry,
            mailbox,
            buffers: SharedBuffers::new(),
            slices: Vec::with_capacity(WRITE_SLICES + 2),
            scratch: Vec::new(),
            reqs_per_event: settings.reqs_per_event.max(1),
            replies_max: match settings.read_buf_mem_limit {
                0 => REPLIES_MIN.max(settings.maxbytes / REPLIES_SHARE),
                limit => limit.into(),
            },
            turn_bytes: 0,
            trace: TurnTrace::new(Arc::clone(&shared.stats.latency.workers[number])),
            asked: 0,
            charged: 0,
            charged_max,
        }
    }

    /// Context of one session run on descriptor `fd`.
    #[inline]
    pub(super) fn cx(&self, fd: i32) -> Cx<'_> {
        Cx::new(&self.shared, &self.counters, fd).of_worker(self.number).in_turn(&self.trace)
    }

    /// Records an event of a connection, if a watcher wants its class.
    pub(super) fn tell(&self, event: &Event<'_>) {
        if self.shared.events.wants(event.class()) {
            Log::new(&self.shared.events, 0).of_worker(self.number).put(event);
        }
    }

    /// Begins a turn.
    #[inline]
    pub(super) fn begin_turn(&mut self) {
        (self.turn_bytes, self.asked) = (0, self.trace.begun());
    }

    /// Begins to time a turn, if turns are timed.
    #[inline]
    pub(super) fn begin_timing(&self) {
        if self.trace.is_on() {
            self.trace.begin_turn(&self.counters);
        }
    }

    /// Ends and records the turn of a connection with descriptor `fd`, if it is timed.
    #[inline]
    pub(super) fn end_timing(&self, fd: impl FnOnce() -> i32) {
        if self.trace.is_on()
            && let Some(nanos) = self.trace.end_turn()
        {
            self.cx(fd()).keep_slow(&self.trace, nanos);
        }
    }

    /// Whether the turn has used up `TURN_BYTES` or `TURN_MICROS`. Unless turns are timed, time counts from the first
    /// call in the turn, so that turns of one read and one write do not read the clock.
    pub(super) fn is_turn_over(&mut self) -> bool {
        if self.turn_bytes >= TURN_BYTES {
            return true;
        }
        let now = monotonic::nanos();
        if self.asked == 0 {
            self.asked = now;
        }
        now - self.asked >= TURN_MICROS * 1000
    }

    /// Changes a connection's charge from `old` to `new` bytes. False, with nothing changed, if that exceeds this
    /// worker's share of `read_buf_mem_limit` or, for a charge above `REQUEST_CHARGE`, the bound of all workers.
    pub(super) fn recharge(&mut self, old: u64, new: u64) -> bool {
        let charged = self.charged - old + new;
        if new > old && charged > self.charged_max {
            return false;
        }
        let (was, is) = (long_input_part(old), long_input_part(new));
        let all = &self.shared.stats.globals.long_input_bytes;
        if is > was {
            let max = self.long_input_max();
            let fits = |sum: u64| Some(sum + (is - was)).filter(|sum| *sum <= max);
            if all.try_update(Relaxed, Relaxed, fits).is_err() {
                return false;
            }
        } else if is < was {
            all.fetch_sub(was - is, Relaxed);
        }
        self.charged = charged;
        true
    }

    /// Bound of all workers' charges above `REQUEST_CHARGE`.
    fn long_input_max(&self) -> u64 {
        match u64::from(self.shared.settings.read_buf_mem_limit) {
            0 => LONG_INPUT_MIN.max(self.shared.runtime.maxbytes() / LONG_INPUT_SHARE),
            limit => limit,
        }
    }
}

/// Part of a charge that counts against the bound of all workers.
fn long_input_part(charge: u64) -> u64 {
    if charge > REQUEST_CHARGE as u64 { charge } else { 0 }
}

/// Whether verbosity has reached `level` (the count of `-v`).
pub(super) fn is_verbose(shared: &Shared, level: i32) -> bool {
    i64::from(shared.runtime.verbose()) >= i64::from(level)
}

/// Writes one line to standard error.
pub(super) fn say(line: &str) {
    crate::sys::say(format_args!("{line}"));
}

/// Reuses the allocation for slices of another lifetime: an empty vector collects into itself.
pub(super) fn recycle<'a>(mut slices: Vec<IoSlice<'_>>) -> Vec<IoSlice<'a>> {
    slices.clear();
    slices.into_iter().map(|_| IoSlice::new(&[])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vectored_write_allocates_once() {
        let mut slices: Vec<IoSlice<'static>> = Vec::with_capacity(7);
        let before = slices.as_ptr();
        for _ in 0..3 {
            let bytes = [1, 2, 3];
            let mut here = recycle(slices);
            here.push(IoSlice::new(&bytes));
            slices = recycle(here);
        }
        assert_eq!((slices.as_ptr(), slices.capacity()), (before, 7));
    }
}
