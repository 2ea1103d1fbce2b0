//! The socket of a connection that watches: it has left its worker.
//!
//! Owns the socket and the connection's place in `stats`; dropping it is the connection's end. Knows neither events
//! nor buffers; the logger thread writes to it. Non-blocking as ever, and polled by nobody: the logger tries.

use super::hub::{is_verbose, say};
use super::transport::Transport;
use crate::events::{Class, CloseReason, Event};
use crate::maint::Sink;
use crate::proto::{ConnCard, ConnState, Shared};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of a talkative watcher that are read and forgotten in one round.
const READS: usize = 16;
const READ: usize = 4096;

/// A watcher's socket.
pub(super) struct Watching {
    transport: Transport,
    card: Arc<ConnCard>,
    shared: Arc<Shared>,
    /// For reading from an encrypted socket.
    scratch: Vec<u8>,
}

impl Watching {
    /// `transport` must be in no poll any more.
    pub(super) fn new(transport: Transport, card: Arc<ConnCard>, shared: Arc<Shared>) -> Self {
        card.set_state(ConnState::Watch);
        Self { transport, card, shared, scratch: Vec::new() }
    }
}

impl Sink for Watching {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An encrypted stream may still hold what it took before.
        if !self.transport.flush()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.transport.write(bytes)
    }

    fn listen(&mut self) -> bool {
        // What an encrypted stream has taken and not sent counts as written: nobody else will try again.
        if self.transport.flush().is_err() {
            return false;
        }
        let mut bytes = [0; READ];
        for _ in 0..READS {
            match self.transport.read(&mut bytes, &mut self.scratch) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let fd = self.transport.fd();
        self.transport.close();
        if self.shared.events.wants(Class::CONNEVENTS) {
            // memcached knows no other reason for a watcher's end.
            self.shared.events.put(&Event::ConnClose { peer: self.card.peer, reason: CloseReason::Error, fd });
        }
        self.transport.close();
        leave(&self.shared, &self.card, fd);
    }
}

/// Takes a connection out of `stats`, before its descriptor is closed: the next one may get the same number at once.
pub(super) fn leave(shared: &Shared, card: &ConnCard, fd: i32) {
    shared.conns.remove(fd);
    if is_verbose(shared, 2) {
        say(&format!("<{fd} connection closed."));
    }
    shared.stats.globals.curr_conns.fetch_sub(1, Relaxed);
    card.set_state(ConnState::Closed);
}
