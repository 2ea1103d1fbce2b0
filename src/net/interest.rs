//! The events that a connection asks its worker's poll for.
//!
//! Owns the choice of events and the registration. Must not know what a turn does. `worker` registers, `conn` asks for
//! other events.

use super::conn::Conn;
use super::worker_context::WorkerContext;
use mio::{Interest, Token};
use std::io;

/// Events that a connection gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Watched {
    /// None: it is in its first turn, or is leaving.
    Nothing,
    Reads,
    /// Also those of a draining send buffer. Only once it has been full: most connections never fill it, and each new
    /// one would wake its worker for nothing.
    Writes,
}

impl<S> Conn<S> {
    /// Starts events. The present readiness is reported as an event, so bytes that an earlier read left behind are not
    /// forgotten, whatever made it stop.
    pub(super) fn register(&mut self, context: &WorkerContext, token: usize) -> io::Result<()> {
        self.watched = if self.blocked { Watched::Writes } else { Watched::Reads };
        self.transport.register(&context.registry, Token(token), self.interest())
    }

    /// Has the present readiness reported once more. Without events there is nothing to do: the registration reports
    /// it.
    pub(super) fn reregister(&mut self, context: &WorkerContext, token: usize) -> io::Result<()> {
        if self.watched == Watched::Nothing {
            return Ok(());
        }
        self.transport.reregister(&context.registry, Token(token), self.interest())
    }

    /// Asks for events of a draining send buffer too.
    #[inline]
    pub(super) fn watch_writes(&mut self, context: &WorkerContext, token: usize) -> io::Result<()> {
        if self.watched != Watched::Reads {
            return Ok(());
        }
        self.watched = Watched::Writes;
        self.reregister(context, token)
    }

    /// Ends events.
    pub(super) fn deregister(&mut self, context: &WorkerContext) -> io::Result<()> {
        if std::mem::replace(&mut self.watched, Watched::Nothing) == Watched::Nothing {
            return Ok(());
        }
        self.transport.deregister(&context.registry)
    }

    fn interest(&self) -> Interest {
        let urgent = if self.urgent { None } else { Some(Interest::PRIORITY) };
        let writes = (self.watched == Watched::Writes).then_some(Interest::WRITABLE);
        urgent.into_iter().chain(writes).fold(Interest::READABLE, |all, more| all | more)
    }
}
