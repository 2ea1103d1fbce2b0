//! The stop of a server: its threads in memcached's order, and its items for the next one.
//!
//! Owns the order. [`Server::run`] calls it.

use super::{Server, unix_now};
use crate::maint::restart;
use crate::proto::Shared;
use crate::report::hash_power;
use crate::sys::say;

impl Server {
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
