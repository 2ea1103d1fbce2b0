//! The socket of a watching connection, which has left its worker.
//!
//! Owns the socket and the connection's place in `stats`; dropping it ends the connection. Knows neither events nor
//! buffers. The logger thread writes to it; it is non-blocking and in no poll, the logger retries.

use super::transport::Transport;
use super::worker_context::{is_verbose, say};
use crate::events::{CloseReason, Event, EventClass};
use crate::limits::WATCHER_PROBE_SECONDS;
use crate::maint::{WatchPeer, WatchSink};
use crate::proto::{ConnInfo, ConnState, Shared};
use crate::sys::socket::is_hung_up;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Reads in one round of input that a watcher sends and that is discarded, and bytes of each.
const READS: usize = 16;
const READ: usize = 4096;

/// A watcher's socket.
pub(super) struct WatcherSocket {
    transport: Transport,
    info: Arc<ConnInfo>,
    shared: Arc<Shared>,
    /// The peer has sent its last byte.
    has_ended: bool,
    /// Buffer for cipher text.
    scratch: Vec<u8>,
}

impl WatcherSocket {
    /// `transport` must be deregistered from its poll.
    pub(super) fn new(transport: Transport, info: Arc<ConnInfo>, shared: Arc<Shared>) -> Self {
        info.set_state(ConnState::Watch);
        Self { transport, info, shared, has_ended: false, scratch: Vec::new() }
    }

    /// The peer has sent its last byte, as `nc -N` does after the command: it keeps its events. If it has disconnected,
    /// the next event shows it, or else the kernel's probes do.
    fn ended(&mut self) -> WatchPeer {
        if !self.has_ended {
            self.has_ended = true;
            self.transport.probe_peer(Duration::from_secs(WATCHER_PROBE_SECONDS.into()));
        }
        if is_hung_up(self.transport.fd()) { WatchPeer::Gone } else { WatchPeer::Ended }
    }
}

impl WatchSink for WatcherSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An encrypted stream may still hold bytes of an earlier write.
        if !self.transport.flush()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.transport.write(bytes)
    }

    fn listen(&mut self) -> WatchPeer {
        // Bytes that an encrypted stream took but did not send count as written: no other call sends them.
        if self.transport.flush().is_err() {
            return WatchPeer::Gone;
        }
        if self.has_ended {
            return self.ended();
        }
        let mut bytes = [0; READ];
        for _ in 0..READS {
            match self.transport.read(&mut bytes, &mut self.scratch) {
                Ok(0) => return self.ended(),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return WatchPeer::Open,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return WatchPeer::Gone,
            }
        }
        WatchPeer::Open
    }
}

impl Drop for WatcherSocket {
    fn drop(&mut self) {
        let fd = self.transport.fd();
        self.transport.close();
        if self.shared.events.wants(EventClass::CONNEVENTS) {
            // memcached has no other reason for a watcher's end.
            self.shared.events.put(&Event::ConnClose { peer: self.info.peer, reason: CloseReason::Error, fd });
        }
        self.transport.close();
        leave(&self.shared, &self.info, fd);
    }
}

/// Removes a connection from `stats`. Must be called before its descriptor is closed: the next one may get the same
/// number at once.
pub(super) fn leave(shared: &Shared, info: &ConnInfo, fd: i32) {
    shared.conns.remove(fd);
    if is_verbose(shared, 2) {
        say(&format!("<{fd} connection closed."));
    }
    shared.stats.globals.curr_conns.fetch_sub(1, Relaxed);
    info.set_state(ConnState::Closed);
}
