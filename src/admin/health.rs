//! What the server is doing, for `/healthz` and `/readyz`.
//!
//! Owns the phase, and the time of the main thread's last tick. `server` sets both; handlers read them.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Part of a server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Creates its memory, threads and sockets.
    Starting,
    /// Recovers the items of a memory file.
    Restoring,
    /// Serves clients.
    Serving,
    /// Stops.
    Draining,
}

/// The server's phase and pulse.
#[derive(Debug)]
pub struct Health {
    origin: Instant,
    phase: AtomicU8,
    /// Milliseconds from `origin` to the last tick of the main thread.
    ticked: AtomicU64,
}

impl Health {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), phase: AtomicU8::new(Phase::Starting as u8), ticked: AtomicU64::new(0) }
    }

    /// Current phase.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Restoring,
            2 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// Begins a phase. A phase of the main thread's loop begins with a tick.
    pub fn begin(&self, phase: Phase) {
        self.tick();
        self.phase.store(phase as u8, Relaxed);
    }

    /// Records that the main thread runs its loop.
    pub fn tick(&self) {
        self.ticked.store(self.millis(), Relaxed);
    }

    /// Time since the last tick of the main thread. It ticks only while it serves.
    pub fn since_tick(&self) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(self.ticked.load(Relaxed)))
    }

    fn millis(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }
}
