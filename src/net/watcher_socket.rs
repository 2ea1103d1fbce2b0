//! The socket of a connection that watches: it has left its worker.
//!
//! Owns the socket and the connection's place in `stats`; dropping it is the connection's end. Knows neither events
//! nor buffers; the logger thread writes to it. Non-blocking as ever, and polled by nobody: the logger tries.

use super::transport::Transport;
use super::worker_context::{is_verbose, say};
use crate::events::{Class, CloseReason, Event};
use crate::maint::Sink;
use crate::proto::{ConnInfo, ConnState, Shared};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of a talkative watcher that are read and forgotten in one round.
const READS: usize = 16;
const READ: usize = 4096;

/// A watcher's socket.
pub(super) struct WatcherSocket {
    transport: Transport,
    info: Arc<ConnInfo>,
    shared: Arc<Shared>,
    /// For reading from an encrypted socket.
    scratch: Vec<u8>,
}

impl WatcherSocket {
    /// `transport` must be in no poll any more.
    pub(super) fn new(transport: Transport, info: Arc<ConnInfo>, shared: Arc<Shared>) -> Self {
        info.set_state(ConnState::Watch);
        Self { transport, info, shared, scratch: Vec::new() }
    }
}

impl Sink for WatcherSocket {
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

impl Drop for WatcherSocket {
    fn drop(&mut self) {
        let fd = self.transport.fd();
        self.transport.close();
        if self.shared.events.wants(Class::CONNEVENTS) {
            // memcached knows no other reason for a watcher's end.
            self.shared.events.put(&Event::ConnClose { peer: self.info.peer, reason: CloseReason::Error, fd });
        }
        self.transport.close();
        leave(&self.shared, &self.info, fd);
    }
}

/// Takes a connection out of `stats`, before its descriptor is closed: the next one may get the same number at once.
pub(super) fn leave(shared: &Shared, info: &ConnInfo, fd: i32) {
    shared.conns.remove(fd);
    if is_verbose(shared, 2) {
        say(&format!("<{fd} connection closed."));
    }
    shared.stats.globals.curr_conns.fetch_sub(1, Relaxed);
    info.set_state(ConnState::Closed);
}
