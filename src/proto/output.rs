//! Replies waiting to be written: literal bytes interleaved with pinned values.
//!
//! Owns order and the write cursor; knows no socket. Sessions append; `net` writes the slices with one
//! `write_vectored` and reports how many bytes were written. Small values are copied into the bytes; values above
//! `COPY_MAX` stay in their item under a [`Pinned`] guard.

use crate::limits::{OUTPUT_HIGH, OUTPUT_PINS, REPLY_ROOM, WRITE_SLICES};
use crate::store::Pinned;
use std::collections::VecDeque;
use std::io::IoSlice;

/// The unsent replies of one connection, in order.
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// Pinned values, each with the offset in `bytes` before which it goes; offsets ascend.
    pins: VecDeque<(usize, Pinned)>,
    pinned_bytes: usize,
    /// Number of unsent bytes at which the output is full.
    high: usize,
    /// Ends of replies as offsets in `bytes`; `None` unless replies are datagrams (one series per reply).
    ends: Option<VecDeque<usize>>,
}

/// A position in the output, for [`Output::rewind`].
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
    /// An output that records where each reply ends, for [`Output::front_reply`].
    pub fn with_ends() -> Self {
        Self { ends: Some(VecDeque::new()), ..Self::default() }
    }

    /// Unsent bytes of the first marked reply; `None` if no reply is marked. Skips empty replies. A value at the very
    /// end of a reply belongs to it, since every reply begins with literal bytes.
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

    /// Copies as many of the first unsent bytes into `to` as fit; returns their number.
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

    /// Whether the last marked reply is unsent and empty.
    pub fn ends_with_nothing(&self) -> bool {
        let mut ends = self.ends.iter().flatten().rev();
        ends.next().is_some_and(|last| *last == ends.next().copied().unwrap_or(self.sent))
    }

    /// Frees all memory except that of unsent bytes, for a peer that may not read for a long time.
    pub fn compact(&mut self) {
        self.forget_sent();
        self.bytes.shrink_to_fit();
        self.pins.shrink_to_fit();
    }

    /// Drops sent bytes now instead of when all are sent: needed before a run that appends to incomplete replies.
    /// Invalidates earlier marks.
    pub fn forget_sent(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        self.bytes.drain(..sent);
        // Bytes are sent in order, so no remaining offset lies before `sent`.
        self.pins.iter_mut().for_each(|(before, _)| *before -= sent);
        self.ends.iter_mut().flatten().for_each(|end| *end = end.saturating_sub(sent));
    }

    /// Whether replies are sent as datagrams.
    pub fn is_datagrams(&self) -> bool {
        self.ends.is_some()
    }

    /// Reserves memory for `REPLY_ROOM` bytes and a pin; false if allocation fails. Called before each command and
    /// key while the output is not full, so that appending a reply, possibly under a bucket lock, does not allocate.
    #[inline]
    #[must_use]
    pub fn make_room(&mut self) -> bool {
        self.bytes.capacity() - self.bytes.len() >= REPLY_ROOM || self.reserve()
    }

    /// Reserves all pins together with the first bytes, so that `make_room` has only one capacity to check.
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

    /// Position of the next reply.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), pins: self.pins.len() }
    }

    /// Removes everything appended since `mark`.
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

    /// Number of unsent bytes.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.sent + self.pinned_bytes
    }

    /// Memory of the output in bytes, pinned values included.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.pinned_bytes
    }

    /// Whether no bytes are unsent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Whether the output must be written before another command may run.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.remaining() >= self.high || self.pins.len() >= OUTPUT_PINS
    }

    /// Sets the number of unsent bytes at which the output is full; lower while all connections together hold too
    /// many.
    #[inline]
    pub fn set_high(&mut self, high: usize) {
        self.high = high;
    }

    /// Marks the end of a reply, for transports that send each reply separately.
    #[inline]
    pub fn end_of_reply(&mut self) {
        if let Some(ends) = &mut self.ends {
            ends.push_back(self.bytes.len());
        }
    }

    /// Unsent bytes as slices for one vectored write, at most `WRITE_SLICES`.
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

    /// The unsent bytes if no value is pinned among them: one plain `write` suffices.
    pub fn plain(&self) -> Option<&[u8]> {
        self.pins.is_empty().then(|| &self.bytes[self.sent..])
    }

    /// Records that the first `n` unsent bytes were written.
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
