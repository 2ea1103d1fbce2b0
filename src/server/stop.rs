//! The stop of a server: requests in flight, its threads in memcached's order, its items for the next one.
//!
//! Owns the order. [`Server::run`] calls it.

use super::main_loop::{EVENTS, TICK};
use super::{Server, unix_now};
use crate::maint::restart;
use crate::proto::Shared;
use crate::report::hash_power;
use crate::sys::say;
use crate::sys::signal::Signals;
use mio::Events;
use std::io;
use std::time::{Duration, Instant};

/// Interval at which the main thread looks whether connections are left.
const STEP: Duration = Duration::from_millis(10);

impl Server {
    /// Stops listening and lets the workers answer what has arrived, until no connection is left, for `limit` at most.
    /// A second request to stop ends it.
    ///
    /// # Errors
    /// Polling failed.
    pub(super) fn drain(&mut self, limit: Duration, mut signals: Option<&mut Signals>) -> io::Result<()> {
        let end = Instant::now() + limit;
        self.acceptor.close(self.poll.registry());
        self.workers.drain();
        let (mut events, mut told_at) = (Events::with_capacity(EVENTS), None);
        loop {
            let (left, now) = (self.workers.left(), Instant::now());
            if left == Some(0) || now >= end {
                return Ok(());
            }
            if let (Some(manager), Some(left)) = (&mut self.manager, left)
                && told_at.is_none_or(|at| now >= at + TICK)
            {
                told_at = Some(now);
                manager.status(&format!("Draining: {left} connection{} left", if left == 1 { "" } else { "s" }));
            }
            if self.turn(&mut events, signals.as_deref_mut(), STEP)?.is_some() {
                return Ok(());
            }
        }
    }

    /// Stops every thread in memcached's order; with `verbose` prints each step.
    pub(super) fn stop_gracefully(mut self, verbose: bool) {
        let tell = |line: &str| {
            if verbose {
                say(format_args!("{line}"));
            }
        };
        let settings = &self.shared.settings;
        self.chores.stop();
        tell("stopped assoc");
        tell("asking workers to stop");
        tell("asking background threads to stop");
        tell("stopped lru crawler");
        if settings.lru_maintainer_thread {
            tell("stopped maintainer");
        }
        if let Some(mover) = self.mover {
            mover.stop();
            tell("stopped slab mover");
        }
        self.logger.stop();
        tell("stopped logger thread");
        tell("stopped idle timeout thread");
        tell("closing connections");
        tell("reaping worker threads");
        self.workers.stop_gracefully();
        tell("all background threads stopped");
        if let (Some(manager), Some(path)) = (&mut self.manager, &settings.memory_file) {
            manager.status(&format!("Saving the items in {}", path.display()));
        }
        put_aside(&self.shared);
    }
}

/// Saves the state that the next process needs to recover the items of the memory file, if there is one.
fn put_aside(shared: &Shared) {
    let settings = &shared.settings;
    let Some(path) = settings.memory_file.as_deref().map(|path| settings.locate(path)) else { return };
    let slots = shared.cache.store.index_view().2;
    let facts = restart::Facts {
        now: shared.clock.now(),
        origin: shared.clock.unix(0),
        stop_time: unix_now(),
        hashpower: hash_power(slots, settings.hashpower_init),
        gid: shared.events.last_number(),
    };
    restart::save(&path, settings, shared.cache.store, &facts);
}
