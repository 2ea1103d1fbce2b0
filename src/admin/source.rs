//! What a handler may read.
//!
//! Owns nothing: it holds the parts together. Reading must not make a worker wait: counters are relaxed loads, tables
//! are read in steps under their lock.

use super::exposition::Exposition;
use super::{AdminCounters, Health, Hub};
use crate::proto::Shared;
use crate::report::Collector;
use parking_lot::Mutex;
use std::sync::Arc;

/// The state of a server, for handlers and for the sampler.
#[derive(Clone)]
pub struct Source {
    /// State shared by all sessions.
    pub shared: Arc<Shared>,
    /// Phase and pulse.
    pub health: Arc<Health>,
    /// Counters of the admin listener itself.
    pub counters: Arc<AdminCounters>,
    /// Viewers of live events.
    pub hub: Arc<Hub>,
    /// What one scrape leaves to the next. Only the admin thread takes the lock.
    pub exposition: Arc<Mutex<Exposition>>,
}

impl Source {
    /// The parts that statistics are read from.
    pub fn collector(&self) -> Collector<'_> {
        self.shared.collector()
    }
}
