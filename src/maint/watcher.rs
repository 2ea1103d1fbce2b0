//! One watcher: its socket, and the lines that wait for it.
//!
//! Owns the bound of waiting bytes, and the lines that a slow reader loses. Knows neither sockets nor events; `log`
//! offers lines and decides when to send.

use super::log::Seat;
use crate::events::EventClass;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};

/// Destination of a watcher's lines. Dropping it ends the connection.
pub trait WatchSink: Send {
    /// Writes as much as possible without blocking.
    ///
    /// # Errors
    /// `WouldBlock` when nothing can be written; any other error means that the peer has disconnected.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Discards what the peer has sent, and tells what the peer may still do.
    fn listen(&mut self) -> WatchPeer;
}

/// What the peer of a watcher may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchPeer {
    /// Send and take bytes.
    Open,
    /// Take bytes: it has sent its last one. It may also have disconnected, which only a write or time shows.
    Ended,
    /// Nothing: it has disconnected.
    Gone,
}

/// Reply to `watch`, before the first line.
const GREETING: &[u8] = b"OK\r\n";

/// Space reserved for the line that counts skipped lines.
const SKIP_LINE: usize = 128;

/// One watcher. It holds its seat while it lives.
pub(super) struct Watcher {
    sink: Box<dyn WatchSink>,
    seat: Seat,
    waiting: VecDeque<u8>,
    limit: usize,
    /// Lines lost since the last accepted one.
    skipped: u64,
    /// Found full in this round: no other line is tried before the next round.
    full: bool,
    peer: WatchPeer,
}

impl Watcher {
    /// A watcher for which up to `limit` bytes may wait.
    pub(super) fn new(sink: Box<dyn WatchSink>, seat: Seat, limit: usize) -> Self {
        let waiting = GREETING.iter().copied().collect();
        let mut watcher = Self { sink, seat, waiting, limit, skipped: 0, full: false, peer: WatchPeer::Open };
        watcher.flush();
        watcher
    }

    /// Whether it watches event number `number` of class `class`.
    pub(super) fn wants(&self, class: EventClass, number: u64) -> bool {
        !self.is_gone() && self.seat.classes().meets(class) && number > self.seat.since()
    }

    /// Queues a line; false if it is lost because too much waits already.
    pub(super) fn offer(&mut self, line: &[u8]) -> bool {
        if !self.full && !self.fits(line) {
            self.flush();
            self.full = !self.fits(line);
        }
        if self.full {
            self.skipped += 1;
            return false;
        }
        if self.skipped > 0 {
            self.waiting.extend(format!("skipped={}\n", self.skipped).as_bytes());
            self.skipped = 0;
        }
        self.waiting.extend(line);
        true
    }

    /// Whether there is space for a line; if memory cannot be allocated there is none.
    fn fits(&mut self, line: &[u8]) -> bool {
        let len = line.len() + SKIP_LINE;
        self.waiting.len() + len <= self.limit && self.waiting.try_reserve(len).is_ok()
    }

    /// Ends a round: sends waiting bytes, detects a peer that has disconnected. True if bytes were sent.
    pub(super) fn round(&mut self) -> bool {
        self.full = false;
        let before = self.waiting.len();
        self.flush();
        if !self.is_gone() {
            self.peer = self.sink.listen();
        }
        self.waiting.len() < before
    }

    pub(super) fn is_gone(&self) -> bool {
        self.peer == WatchPeer::Gone
    }

    /// Whether its peer has sent its last byte.
    pub(super) fn has_ended(&self) -> bool {
        self.peer == WatchPeer::Ended
    }

    /// Ends it: its connection closes when it is dropped.
    pub(super) fn dismiss(&mut self) {
        self.peer = WatchPeer::Gone;
    }

    fn flush(&mut self) {
        while !self.is_gone() && !self.waiting.is_empty() {
            match self.sink.write(self.waiting.as_slices().0) {
                Ok(0) => self.peer = WatchPeer::Gone,
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.peer = WatchPeer::Gone,
            }
        }
    }
}
