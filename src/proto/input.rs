//! Receive buffer: bytes received and not yet consumed.
//!
//! Owns one buffer, a window of which holds the unconsumed bytes. Knows no protocol. `net` fills it, a session consumes
//! it. Each worker has one that its connections share while they run; a connection that stops in mid-command keeps the
//! unconsumed bytes in a small copy of its own.

use super::lookahead::Lookahead;
use crate::limits::{INPUT_MAX, READ_BUF};

/// A receive buffer: `start..end` holds the unconsumed bytes.
pub struct Input {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Lookahead over the commands in the buffer; scratch space of one session's run.
    ahead: Box<Lookahead>,
}

impl Default for Input {
    fn default() -> Self {
        Self::over(vec![0; READ_BUF])
    }
}

impl Input {
    fn over(buf: Vec<u8>) -> Self {
        Self { buf, start: 0, end: 0, ahead: Box::new(Lookahead::none()) }
    }

    /// An empty buffer of `READ_BUF` bytes; `None` if allocation fails.
    pub fn try_new() -> Option<Self> {
        zeroed(READ_BUF).map(Self::over)
    }

    /// Unconsumed bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Unconsumed bytes and their lookahead.
    #[inline]
    pub(super) fn parts(&mut self) -> (&[u8], &mut Lookahead) {
        (&self.buf[self.start..self.end], &mut self.ahead)
    }

    /// Whether all bytes are consumed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Consumes the first `n` bytes.
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

    /// Size of the buffer in bytes.
    #[inline]
    pub fn size(&self) -> usize {
        self.buf.len()
    }

    /// Free space for one read, at most `READ_BUF` bytes. Empty only if the buffer is full.
    pub fn space(&mut self) -> &mut [u8] {
        // Moves no more bytes than were consumed, except in a full buffer: all moves together take linear time.
        if self.start > 0 && (self.start >= self.end - self.start || self.end == self.buf.len()) {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let end = self.buf.len().min(self.end + READ_BUF);
        &mut self.buf[self.end..end]
    }

    /// Records that `n` bytes were read into [`Input::space`].
    pub fn filled(&mut self, n: usize) {
        self.end += n;
        debug_assert!(self.end <= self.buf.len());
    }

    /// Appends `bytes`. An empty buffer has room for `READ_BUF` bytes. Beyond that it grows, and a failed allocation
    /// ends the process, so callers keep the length within `READ_BUF`.
    pub fn append(&mut self, bytes: &[u8]) {
        let end = self.end + bytes.len();
        if end > self.buf.len() {
            self.buf.resize(end, 0);
        }
        self.buf[self.end..end].copy_from_slice(bytes);
        self.end = end;
    }

    /// Whether the buffer has no free space.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.end - self.start == self.buf.len()
    }

    /// [`Input::size`] after [`Input::grow`].
    pub fn next_size(&self) -> usize {
        (self.buf.len() * 2).min(INPUT_MAX)
    }

    /// Doubles a full buffer up to `INPUT_MAX`. False at `INPUT_MAX` or if allocation fails.
    #[must_use]
    pub fn grow(&mut self) -> bool {
        let size = self.next_size();
        if !self.is_full() {
            return true;
        }
        if size == self.buf.len() || self.buf.try_reserve_exact(size - self.buf.len()).is_err() {
            return false;
        }
        self.buf.resize(size, 0);
        true
    }

    /// Drops all bytes and frees memory above `READ_BUF`.
    pub fn reset(&mut self) {
        self.start = 0;
        self.end = 0;
        self.fit();
    }

    /// Frees memory above `READ_BUF` if the unconsumed bytes fit into the rest.
    #[inline]
    pub fn fit(&mut self) {
        if self.buf.len() > READ_BUF {
            self.shrink();
        }
    }

    #[cold]
    fn shrink(&mut self) {
        let rest = self.start..self.end;
        if rest.len() <= READ_BUF
            && let Some(mut buf) = zeroed(READ_BUF)
        {
            buf[..rest.len()].copy_from_slice(&self.buf[rest.clone()]);
            (self.buf, self.start, self.end) = (buf, 0, rest.len());
        }
    }
}

fn zeroed(size: usize) -> Option<Vec<u8>> {
    let mut buf = Vec::new();
    buf.try_reserve_exact(size).ok()?;
    buf.resize(size, 0);
    Some(buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that arrives in small pieces behind other commands is moved to the front once.
    #[test]
    fn unconsumed_bytes_move_once() {
        let mut input = Input::default();
        input.append(&[b'x'; READ_BUF - 10]);
        input.consume(1000);
        let (before, mut moves) = (input.start, 0);
        while !input.is_full() {
            let start = input.start;
            input.space()[0] = b'x';
            input.filled(1);
            moves += usize::from(input.start != start);
        }
        assert_eq!((before, input.start, moves), (1000, 0, 1));
    }

    #[test]
    fn buffer_grows_to_its_limit_and_shrinks_when_the_rest_fits() {
        let mut input = Input::default();
        loop {
            while !input.is_full() {
                let n = input.space().len();
                assert!((1..=READ_BUF).contains(&n));
                input.filled(n);
            }
            let next = input.next_size();
            if !input.grow() {
                break;
            }
            assert_eq!(input.size(), next);
        }
        assert_eq!((input.size(), input.bytes().len()), (INPUT_MAX, INPUT_MAX));
        input.consume(INPUT_MAX - READ_BUF - 1);
        input.fit();
        assert_eq!(input.size(), INPUT_MAX, "one byte too many");
        input.consume(1);
        input.buf[INPUT_MAX - READ_BUF..].fill(b'x');
        input.fit();
        assert_eq!((input.size(), input.bytes()), (READ_BUF, &[b'x'; READ_BUF][..]));
        input.reset();
        assert!(input.is_empty());
    }
}
