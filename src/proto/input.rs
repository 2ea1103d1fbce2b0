//! Bytes received and not yet consumed.
//!
//! Owns one buffer with a window. Knows no protocol. `net` fills it, a session consumes it. A worker has
//! one that all its connections share while they run; a connection that stops in mid-command keeps its
//! rest in a small copy of its own.

use super::ahead::Ahead;
use crate::limits::READ_BUF;

/// A receive buffer: `start..end` holds unconsumed bytes.
pub struct Input {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// What is known of the commands in it; scratch of one session's run.
    ahead: Box<Ahead>,
}

impl Default for Input {
    fn default() -> Self {
        Self { buf: vec![0; READ_BUF], start: 0, end: 0, ahead: Box::new(Ahead::none()) }
    }
}

impl Input {
    /// Unconsumed bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Unconsumed bytes and the scratch that belongs to them.
    #[inline]
    pub(super) fn parts(&mut self) -> (&[u8], &mut Ahead) {
        (&self.buf[self.start..self.end], &mut self.ahead)
    }

    /// Whether everything is consumed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops the first `n` unconsumed bytes.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        self.ahead.consumed(n);
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Free space to read into, after moving what is left to the front. Empty only when the buffer is full.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buf[self.end..]
    }

    /// Says that `n` bytes were read into [`Input::space`].
    pub fn filled(&mut self, n: usize) {
        self.end += n;
        debug_assert!(self.end <= self.buf.len());
    }

    /// Appends `bytes`, growing the buffer if they do not fit (only a `get` line of many keys needs that).
    pub fn append(&mut self, bytes: &[u8]) {
        if self.space().len() < bytes.len() {
            let needed = self.end + bytes.len();
            self.buf.resize(needed.next_power_of_two(), 0);
        }
        self.buf[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Makes room for at least one more byte by doubling a full buffer.
    pub fn grow(&mut self) {
        if self.space().is_empty() {
            let len = self.buf.len();
            self.buf.resize(len * 2, 0);
        }
    }

    /// Drops everything and gives back memory above the ordinary size.
    pub fn reset(&mut self) {
        self.start = 0;
        self.end = 0;
        if self.buf.len() > READ_BUF {
            self.buf.truncate(READ_BUF);
            self.buf.shrink_to_fit();
        }
    }
}
