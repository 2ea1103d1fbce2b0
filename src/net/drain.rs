//! Drain: a worker ends its connections as they come to rest, after a stop is requested (`-o drain`).
//!
//! Owns the rule of which connection may be ended, and how. At rest is one without a request in part, a reply in part,
//! a reply to come, or an unread byte. Its stream to the peer is ended, nothing more of it is read or run, and it is
//! closed once the peer's machine has received all: before, unread bytes would make the kernel answer the close with a
//! reset, which discards replies on their way. So a request that arrived before the stop has its answer, and one
//! without an answer was not run. `worker` calls this instead of its own loop; `server` sets the end.

use super::conn::{Awaits, Conn};
use super::handler::Handler;
use super::notify::{BELL, WorkerEnd};
use super::transport::Transport;
use super::worker::Worker;
use super::worker_context::WorkerContext;
use crate::proto::CloseReason;
use mio::Events;
use std::io;
use std::time::{Duration, Instant};

/// Time in which a request that a client has sent before the stop may still arrive on an idle connection.
const QUIET: Duration = Duration::from_millis(100);

/// Interval at which all connections are looked at. An acknowledgement causes no event.
const STEP: Duration = Duration::from_millis(10);

impl<S: Handler> Worker<S> {
    /// Serves, and ends connections at rest: after their turn, and from `QUIET` on all of them. Returns the end that is
    /// requested meanwhile.
    pub(super) fn drain(&mut self, events: &mut Events) -> io::Result<WorkerEnd> {
        let quiet_at = Instant::now() + QUIET;
        // Connections that were sent before the request to drain.
        self.clear_wakeup();
        loop {
            self.inbox.set_left(self.conns.len());
            let step = (self.conns.len() > 0).then_some(STEP);
            let timeout = [self.timeout(), step].into_iter().flatten().min();
            self.round(events, timeout)?;
            for event in events.iter().filter(|event| event.token() != BELL) {
                self.end_at_rest(event.token().0, false);
            }
            let is_quiet = Instant::now() >= quiet_at;
            for slot in 0..self.conns.span() {
                let Some(token) = self.conns.token_in(slot).filter(|_| !self.is_over()) else { continue };
                if is_quiet {
                    self.end_at_rest(token, true);
                }
                if self.conns.get_mut(token).is_some_and(|conn| conn.is_ended() && conn.transport.is_acknowledged()) {
                    self.close(token, CloseReason::Shutdown);
                }
            }
            match self.inbox.end() {
                WorkerEnd::No | WorkerEnd::Drain => {}
                end => return Ok(end),
            }
        }
    }

    /// `is_quiet`: the connection may have had no event. A TLS record of which a part has arrived shows nowhere; the
    /// rest of it follows soon, so an encrypted connection is not ended right after an event.
    fn end_at_rest(&mut self, token: usize, is_quiet: bool) {
        let Some(conn) = self.conns.get_mut(token) else { return };
        let may_end = is_quiet || !matches!(conn.transport, Transport::Tls(_));
        if may_end && conn.is_at_rest() && conn.finish_stream(&self.context).is_err() {
            self.close(token, CloseReason::Error);
        }
    }
}

impl<S: Handler> Conn<S> {
    fn is_at_rest(&self) -> bool {
        let is_busy = self.blocked
            || self.queued
            || self.run_first
            || self.charged > 0
            || self.closing.is_some()
            || self.awaits != Awaits::Nothing
            || self.is_handshaking()
            || self.session.mid_request();
        !is_busy && !self.transport.has_unread()
    }

    /// Ends the stream to the peer. The connection has no more events, so it is not read.
    fn finish_stream(&mut self, context: &WorkerContext) -> io::Result<()> {
        self.deregister(context)?;
        self.closing = Some(CloseReason::Shutdown);
        self.transport.end_writing()
    }

    /// Whether [`Conn::finish_stream`] was called. A connection that closes after `shutdown` waits for its peer.
    fn is_ended(&self) -> bool {
        self.closing == Some(CloseReason::Shutdown) && !self.blocked && self.awaits == Awaits::Nothing
    }
}
