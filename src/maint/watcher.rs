//! One watcher: its socket, seen from here, and the lines that wait for it.
//!
//! Owns the bound of what may wait, and what a slow reader loses. Knows neither sockets nor events; `log` offers lines
//! and says when to send.

use super::log::Seat;
use crate::events::Class;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};

/// Where a watcher's lines go. Dropping it ends the connection.
pub trait Sink: Send {
    /// Writes what can be written at once.
    ///
    /// # Errors
    /// `WouldBlock` when nothing can; any other error says that the peer is gone.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Forgets what the peer has sent; false if he is gone.
    fn listen(&mut self) -> bool;
}

/// What a watcher is told before the first line.
const GREETING: &[u8] = b"OK\r\n";

/// Room kept for the line that says how many were skipped.
const SKIP_LINE: usize = 128;

/// One watcher. It keeps its seat for as long as it lives.
pub(super) struct Watcher {
    sink: Box<dyn Sink>,
    seat: Seat,
    waiting: VecDeque<u8>,
    limit: usize,
    /// Lines lost since the last one that was taken.
    skipped: u64,
    /// Found full this round: no further attempt before the next.
    full: bool,
    gone: bool,
}

impl Watcher {
    /// A watcher for whom up to `limit` bytes may wait.
    pub(super) fn new(sink: Box<dyn Sink>, seat: Seat, limit: usize) -> Self {
        let waiting = GREETING.iter().copied().collect();
        let mut watcher = Self { sink, seat, waiting, limit, skipped: 0, full: false, gone: false };
        watcher.flush();
        watcher
    }

    /// Whether it is to see event number `number` of class `class`.
    pub(super) fn wants(&self, class: Class, number: u64) -> bool {
        !self.gone && self.seat.classes().meets(class) && number > self.seat.since()
    }

    /// Takes a line; false if it is lost because too much waits already.
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

    /// Whether there is room for a line; memory that is not to be had is none.
    fn fits(&mut self, line: &[u8]) -> bool {
        let len = line.len() + SKIP_LINE;
        self.waiting.len() + len <= self.limit && self.waiting.try_reserve(len).is_ok()
    }

    /// The end of a round: sends what waits, notices a peer that is gone. True if bytes have left.
    pub(super) fn round(&mut self) -> bool {
        self.full = false;
        let before = self.waiting.len();
        self.flush();
        self.gone |= !self.sink.listen();
        self.waiting.len() < before
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    fn flush(&mut self) {
        while !self.gone && !self.waiting.is_empty() {
            match self.sink.write(self.waiting.as_slices().0) {
                Ok(0) => self.gone = true,
                Ok(n) => drop(self.waiting.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
    }
}
