//! Replies waiting to be written: literal bytes with pinned values between them.
//!
//! Owns order and the write cursor; knows no socket. Sessions append, `net` writes the slices with one
//! `write_vectored` and says how much was taken. Small values are copied into the bytes, values over
//! `COPY_MAX` stay in their item under a [`Pinned`] guard.

use crate::limits::{OUTPUT_HIGH, OUTPUT_PINS, REPLY_ROOM, WRITE_SLICES};
use crate::store::Pinned;
use std::collections::VecDeque;
use std::io::IoSlice;

/// The unsent replies of one connection, in order.
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// Pinned values and the offset in `bytes` before which each one goes; offsets ascend.
    pins: VecDeque<(usize, Pinned)>,
    pinned_bytes: usize,
    /// Unsent bytes at which it is full.
    high: usize,
    /// Ends of replies as offsets in `bytes`, kept only when asked for (a datagram series a reply).
    ends: Option<VecDeque<usize>>,
}

/// A place in the output to which a reply can be taken back.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    pins: usize,
}

impl Default for Output {
    fn default() -> Self {
        let (bytes, pins) = (Vec::new(), VecDeque::new());
        Self { bytes, sent: 0, pins, pinned_bytes: 0, high: OUTPUT_HIGH, ends: None }
    }
}

impl Output {
    /// An output that knows where each reply ends, for [`Output::front_reply`].
    pub fn with_ends() -> Self {
        Self { ends: Some(VecDeque::new()), ..Self::default() }
    }

    /// Unsent bytes of the marked reply at the front; `None` if none is marked. Empty replies are passed over. A value
    /// at the very end of a reply belongs to it: every reply begins with literal bytes.
    pub fn front_reply(&mut self) -> Option<usize> {
        let ends = self.ends.as_mut()?;
        loop {
            let end = *ends.front()?;
            let pinned: usize = self.pins.iter().take_while(|pin| pin.0 <= end).map(|pin| pin.1.remaining()).sum();
            match end - self.sent + pinned {
                0 => ends.pop_front(),
                left => return Some(left),
            };
        }
    }

    /// Copies the first unsent bytes to `to`, as many as fit; gives their number.
    pub fn copy_front(&self, to: &mut [u8]) -> usize {
        let copy = |from: &[u8], to: &mut [u8]| {
            let n = from.len().min(to.len());
            to[..n].copy_from_slice(&from[..n]);
            n
        };
        let (mut at, mut copied) = (self.sent, 0);
        for (before, value) in &self.pins {
            copied += copy(&self.bytes[at..*before], &mut to[copied..]);
            at = *before;
            copied += value.copy_front(&mut to[copied..]);
            if copied == to.len() {
                return copied;
            }
        }
        copied + copy(&self.bytes[at..], &mut to[copied..])
    }

    /// Whether the reply marked last is there and is empty.
    pub fn ends_with_nothing(&self) -> bool {
        let mut ends = self.ends.iter().flatten().rev();
        ends.next().is_some_and(|last| *last == ends.next().copied().unwrap_or(self.sent))
    }

    /// Gives back all memory beyond what waits to be sent: for a peer that may keep it waiting for long.
    pub fn compact(&mut self) {
        self.forget_sent();
        self.bytes.shrink_to_fit();
        self.pins.shrink_to_fit();
    }

    /// Drops what was sent, which else goes when all is: before a run that appends to replies that wait for their end.
    /// Marks of before lose their meaning.
    pub fn forget_sent(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        self.bytes.drain(..sent);
        // Bytes are sent in order, so none of the offsets that are left lies before `sent`.
        self.pins.iter_mut().for_each(|(before, _)| *before -= sent);
        self.ends.iter_mut().flatten().for_each(|end| *end = end.saturating_sub(sent));
    }

    /// Whether the replies leave as datagrams.
    pub fn is_datagrams(&self) -> bool {
        self.ends.is_some()
    }

    /// Reserves memory for `REPLY_ROOM` bytes and a pin. False without memory for them. Called before each command and key,
    /// where the output is not full, so that appending a reply does not allocate: it may happen under a bucket's lock.
    #[inline]
    #[must_use]
    pub fn make_room(&mut self) -> bool {
        self.bytes.capacity() - self.bytes.len() >= REPLY_ROOM || self.reserve()
    }

    /// All pins are reserved together with the first bytes, which leaves one thing to check.
    #[cold]
    fn reserve(&mut self) -> bool {
        let pins = OUTPUT_PINS.saturating_sub(self.pins.len());
        self.pins.try_reserve(pins).is_ok() && self.bytes.try_reserve(REPLY_ROOM).is_ok()
    }

    /// The literal bytes, to append to.
    #[inline]
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends literal bytes.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a pinned value.
    pub fn pin(&mut self, value: Pinned) {
        self.pinned_bytes += value.remaining();
        self.pins.push_back((self.bytes.len(), value));
    }

    /// Where the next reply begins.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), pins: self.pins.len() }
    }

    /// Takes back everything appended since `mark`.
    #[inline]
    pub fn rewind(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        if let Some(ends) = &mut self.ends {
            ends.retain(|end| *end <= mark.bytes);
        }
        while self.pins.len() > mark.pins {
            if let Some((_, value)) = self.pins.pop_back() {
                self.pinned_bytes -= value.remaining();
            }
        }
    }

    /// Bytes still to be written.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.sent + self.pinned_bytes
    }

    /// Memory that it takes, values of items included.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.pinned_bytes
    }

    /// Whether nothing waits to be written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Whether so much waits that no further command may run before a write.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.remaining() >= self.high || self.pins.len() >= OUTPUT_PINS
    }

    /// Sets the unsent bytes at which it is full: fewer where those of all connections together are too many.
    #[inline]
    pub fn set_high(&mut self, high: usize) {
        self.high = high;
    }

    /// Marks the end of one reply, for transports that send each one apart.
    #[inline]
    pub fn end_of_reply(&mut self) {
        if let Some(ends) = &mut self.ends {
            ends.push_back(self.bytes.len());
        }
    }

    /// The unsent bytes as slices for one vectored write, at most `WRITE_SLICES`.
    pub fn io_slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>) {
        let mut at = self.sent;
        for (before, value) in &self.pins {
            if at < *before {
                slices.push(IoSlice::new(&self.bytes[at..*before]));
                at = *before;
            }
            value.io_slices(slices, WRITE_SLICES);
            if slices.len() >= WRITE_SLICES {
                return;
            }
        }
        if at < self.bytes.len() {
            slices.push(IoSlice::new(&self.bytes[at..]));
        }
    }

    /// The unsent bytes when no pinned value is among them: one plain `write` does.
    pub fn plain(&self) -> Option<&[u8]> {
        self.pins.is_empty().then(|| &self.bytes[self.sent..])
    }

    /// Drops the first `n` unsent bytes: they were written.
    pub fn advance(&mut self, mut n: usize) {
        while n > 0 {
            let before = self.pins.front().map_or(self.bytes.len(), |(before, _)| *before);
            let literal = n.min(before - self.sent);
            self.sent += literal;
            n -= literal;
            if n == 0 {
                break;
            }
            let Some((_, value)) = self.pins.front_mut() else { break };
            let taken = n.min(value.remaining());
            value.advance(taken);
            self.pinned_bytes -= taken;
            n -= taken;
            if value.remaining() == 0 {
                self.pins.pop_front();
            }
        }
        if self.is_empty() {
            self.clear();
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
        self.pins.clear();
        self.pinned_bytes = 0;
        if let Some(ends) = &mut self.ends {
            ends.clear();
        }
        if self.bytes.capacity() > 2 * OUTPUT_HIGH {
            self.bytes.shrink_to(OUTPUT_HIGH);
        }
    }
}
