//! What all connections of one worker use: its desk, counters, poll registry and accounts.
//!
//! Owns them. Must not know the connections; `worker` lends it to the one whose turn it is.

use super::deadlines::WorkerClock;
use super::desk::Desk;
use super::notify::Mailbox;
use crate::events::{Event, Log};
use crate::limits::{REPLIES_MIN, REPLIES_SHARE, REQUEST_CHARGE};
use crate::proto::{Cx, Shared};
use crate::stats::Counters;
use mio::Registry;
use std::io::IoSlice;
use std::sync::Arc;

/// One worker's belongings.
pub(super) struct Hub {
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    /// The worker's number.
    pub(super) number: usize,
    /// For deadlines.
    pub(super) clock: WorkerClock,
    pub(super) registry: Registry,
    pub(super) mailbox: Mailbox,
    pub(super) desk: Desk,
    /// Memory for the slices of a vectored write.
    pub(super) slices: Vec<IoSlice<'static>>,
    /// Memory for cipher text; none until a connection needs it.
    pub(super) scratch: Vec<u8>,
    /// Commands in one turn (`-R`).
    pub(super) reqs_per_event: u32,
    /// Bound of the unsent replies of all connections, in bytes.
    pub(super) replies_max: u64,
    /// Connections inside a request, and how many may be.
    charged: u64,
    charged_max: u64,
}

impl Hub {
    pub(super) fn new(shared: &Arc<Shared>, number: usize, registry: Registry, mailbox: Mailbox) -> Self {
        let settings = &shared.settings;
        let limit = u64::from(settings.read_buf_mem_limit) / u64::from(settings.num_threads.max(1));
        let charged_max = if limit == 0 { u64::MAX } else { (limit / REQUEST_CHARGE as u64).max(1) };
        Self {
            shared: Arc::clone(shared),
            counters: Arc::clone(&shared.stats.workers[number]),
            number,
            clock: WorkerClock::new(shared.clock.now()),
            registry,
            mailbox,
            desk: Desk::new(),
            slices: Vec::new(),
            scratch: Vec::new(),
            reqs_per_event: settings.reqs_per_event.max(1),
            replies_max: match settings.read_buf_mem_limit {
                0 => REPLIES_MIN.max(settings.maxbytes / REPLIES_SHARE),
                limit => limit.into(),
            },
            charged: 0,
            charged_max,
        }
    }

    /// What a session is given for one run on descriptor `fd`.
    #[inline]
    pub(super) fn cx(&self, fd: i32) -> Cx<'_> {
        Cx::new(&self.shared, &self.counters, fd).of_worker(self.number)
    }

    /// Records that a connection began or ended, if somebody watches.
    pub(super) fn tell(&self, event: &Event<'_>) {
        if self.shared.events.wants(event.class()) {
            Log::new(&self.shared.events, 0).of_worker(self.number).put(event);
        }
    }

    /// Counts one more connection as inside a request; false if it is one too many (it is counted all the same).
    pub(super) fn charge(&mut self) -> bool {
        self.charged += 1;
        self.charged <= self.charged_max
    }

    /// Takes one back; always true, the counterpart of [`Hub::charge`].
    pub(super) fn uncharge(&mut self) -> bool {
        self.charged -= 1;
        true
    }
}

/// Whether lines for operators at `level` (the count of `-v`) are wanted.
pub(super) fn is_verbose(shared: &Shared, level: i32) -> bool {
    i64::from(shared.runtime.verbose()) >= i64::from(level)
}

/// Writes one line to standard error.
pub(super) fn say(line: &str) {
    crate::sys::say(format_args!("{line}"));
}
