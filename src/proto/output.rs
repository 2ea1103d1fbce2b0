//! Replies waiting to be written: literal bytes interleaved with pinned values, reserved slots and replies on hold.
//!
//! Owns order and the write cursor; knows no socket. Sessions append; `net` writes the slices with one
//! `write_vectored` and reports how many bytes were written. Small values are copied into the bytes; values above
//! `COPY_MAX` stay in their item under a [`Pinned`] guard.
//!
//! A command that waits ([`late`](super::late)) gets a slot, with its request. Replies appended behind it stay behind
//! it, however early they are ready: nothing behind a slot is written before the slot is filled. Nor is a reply on
//! hold, and what is behind it, before its commit has ended. Datagrams have neither: a datagram session ends with its
//! request.

use super::late::{FailureForm, LateRequest, SlotName, Waits};
use crate::cache::{CommitNumber, Load};
use crate::limits::{OUTPUT_HIGH, OUTPUT_PINS, REPLY_ROOM, WRITE_SLICES};
use crate::store::Pinned;
use crate::sys::spare::{self, Spare};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

/// The unsent replies of one connection, in order.
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// What is not literal, each with the offset in `bytes` before which it goes; offsets ascend.
    pieces: VecDeque<(usize, Piece)>,
    /// Unsent bytes of `pieces`.
    piece_bytes: usize,
    /// Slots that are not filled.
    slots: usize,
    /// Replies on hold, those in late replies included.
    held: usize,
    /// Length of the value that was pinned last, until [`Output::take_pinned`].
    pinned: usize,
    /// Number of unsent bytes at which the output is full.
    high: usize,
    /// Ends of replies as offsets in `bytes`; `None` unless each reply is sent as datagrams of its own.
    ends: Option<VecDeque<usize>>,
}

/// A part of the replies that is not literal.
enum Piece {
    /// A value that stays in its item.
    Value(Pinned),
    /// The slot of a command that waits, with the command's request.
    Awaited(SlotName, LateRequest),
    /// The reply that has filled a slot.
    Late(Box<Output>),
    /// The reply that begins here is on hold.
    Held(HeldReply),
}

/// A reply that waits for the commit of its change.
struct HeldReply {
    commit: CommitNumber,
    /// Literal bytes of the reply, in `bytes` from the piece's offset on.
    len: usize,
    on_failure: FailureForm,
    /// [`Output::next_commit`] has returned the commit.
    is_asked: bool,
}

/// Appends what stands for a reply whose commit has failed.
type PutFailure<'a> = &'a dyn Fn(FailureForm, &mut Vec<u8>);

impl Piece {
    fn remaining(&self) -> usize {
        match self {
            Self::Value(value) => value.remaining(),
            Self::Awaited(..) | Self::Held(_) => 0,
            Self::Late(reply) => reply.remaining(),
        }
    }
}

/// A position in the output, for [`Output::rewind`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    pieces: usize,
}

impl Default for Output {
    fn default() -> Self {
        let (bytes, pieces) = (Vec::new(), VecDeque::new());
        Self { bytes, sent: 0, pieces, piece_bytes: 0, slots: 0, held: 0, pinned: 0, high: OUTPUT_HIGH, ends: None }
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
            let pieces = self.pieces.iter().take_while(|(before, _)| *before <= end);
            match end - self.sent + pieces.map(|(_, piece)| piece.remaining()).sum::<usize>() {
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
        for (before, piece) in &self.pieces {
            copied += copy(&self.bytes[at..*before], &mut to[copied..]);
            at = *before;
            copied += match piece {
                Piece::Value(value) => value.copy_front(&mut to[copied..]),
                Piece::Awaited(..) | Piece::Late(_) | Piece::Held(_) => 0, // none in datagrams
            };
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
        self.pieces.shrink_to_fit();
    }

    /// Drops sent bytes now instead of when all are sent: needed before a run that appends to incomplete replies.
    /// Invalidates earlier marks.
    pub fn forget_sent(&mut self) {
        let sent = std::mem::take(&mut self.sent);
        self.bytes.drain(..sent);
        // Bytes are sent in order, so no remaining offset lies before `sent`.
        self.pieces.iter_mut().for_each(|(before, _)| *before -= sent);
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
        self.bytes.capacity() - self.bytes.len() >= REPLY_ROOM || self.grow()
    }

    /// Reserves all pieces together with the first bytes, so that `make_room` has only one capacity to check.
    #[cold]
    fn grow(&mut self) -> bool {
        let pieces = OUTPUT_PINS.saturating_sub(self.pieces.len());
        self.pieces.try_reserve(pieces).is_ok() && self.bytes.try_reserve(REPLY_ROOM).is_ok()
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

    /// Appends a reply of several pieces, [`REPLY_ROOM`] bytes at most.
    #[inline]
    pub fn append<R>(&mut self, write: impl FnOnce(&mut Spare<'_>) -> R) -> R {
        spare::append(&mut self.bytes, REPLY_ROOM, write)
    }

    /// Appends a pinned value.
    pub fn pin(&mut self, value: Pinned) {
        self.pinned = value.remaining();
        self.piece_bytes += value.remaining();
        self.pieces.push_back((self.bytes.len(), Piece::Value(value)));
    }

    /// Length of the value that was pinned last; `None` if it was taken already.
    #[inline]
    pub(super) fn take_pinned(&mut self) -> Option<usize> {
        (self.pinned > 0).then(|| std::mem::take(&mut self.pinned))
    }

    /// Keeps `request` in a slot until `load` has ended. False if the command must reply an error instead.
    #[cold]
    #[must_use]
    pub(super) fn wait(&mut self, waits: Waits<'_>, load: Load, request: LateRequest) -> bool {
        let Waits::InSlot(completions) = waits else { return false };
        let slot = self.reserve(request);
        load.then(completions.completion(slot));
        true
    }

    /// Reserves a slot at the end for the reply to `request`, which [`Output::fill`] supplies.
    fn reserve(&mut self, request: LateRequest) -> SlotName {
        debug_assert!(!self.is_datagrams());
        let name = SlotName::next();
        self.slots += 1;
        self.pieces.push_back((self.bytes.len(), Piece::Awaited(name, request)));
        name
    }

    /// Whether a slot is not filled.
    pub(super) fn has_slots(&self) -> bool {
        self.slots > 0
    }

    fn place_of(&self, slot: SlotName) -> Option<usize> {
        self.pieces.iter().position(|(_, piece)| matches!(piece, Piece::Awaited(name, _) if *name == slot))
    }

    /// The request in a slot; `None` if the slot is gone because its replies were dropped ([`Output::rewind`]).
    pub(super) fn request_in(&self, slot: SlotName) -> Option<&LateRequest> {
        match &self.pieces.get(self.place_of(slot)?)?.1 {
            Piece::Awaited(_, request) => Some(request),
            _ => None,
        }
    }

    /// Puts `reply` into a slot, unless the slot is gone.
    pub(super) fn fill(&mut self, slot: SlotName, mut reply: Output) {
        let Some(at) = self.place_of(slot) else { return };
        self.slots -= 1;
        if reply.is_empty() {
            self.pieces.remove(at);
            if self.is_empty() {
                self.clear();
            }
        } else {
            reply.compact(); // it may wait behind another slot
            self.piece_bytes += reply.remaining();
            self.held += reply.held;
            self.pieces[at].1 = Piece::Late(Box::new(reply));
        }
    }

    /// Lets the reply from `at` on wait for `commit`.
    pub(super) fn hold(&mut self, at: Mark, commit: CommitNumber, on_failure: FailureForm) {
        debug_assert!(!self.is_datagrams());
        let len = self.bytes.len() - at.bytes;
        let held = HeldReply { commit, len, on_failure, is_asked: false };
        self.pieces.insert(at.pieces, (at.bytes, Piece::Held(held)));
        self.held += 1;
    }

    /// The commit for which the first reply on hold waits; `None` without one, or if it was returned for that reply.
    #[inline]
    pub fn next_commit(&mut self) -> Option<CommitNumber> {
        if self.held == 0 {
            return None;
        }
        let first = self.first_held()?;
        (!std::mem::replace(&mut first.is_asked, true)).then_some(first.commit)
    }

    #[cold]
    fn first_held(&mut self) -> Option<&mut HeldReply> {
        self.pieces.iter_mut().find_map(|(_, piece)| match piece {
            Piece::Held(held) => Some(held),
            Piece::Late(reply) => reply.first_held(),
            Piece::Value(_) | Piece::Awaited(..) => None,
        })
    }

    /// Ends the wait of all replies for `commit`; if it has failed, `failed` appends what replaces each of them. False
    /// if the connection must be closed.
    #[must_use]
    pub(super) fn end_commit(&mut self, commit: CommitNumber, failed: Option<PutFailure<'_>>) -> bool {
        let mut at = 0;
        while let Some((before, piece)) = self.pieces.get_mut(at) {
            match piece {
                Piece::Held(held) if held.commit == commit => {
                    let (reply, on_failure) = (*before..*before + held.len, held.on_failure);
                    self.pieces.remove(at);
                    self.held -= 1;
                    if let Some(put_failure) = failed {
                        if on_failure == FailureForm::Close {
                            return false;
                        }
                        let mut instead = Vec::new();
                        put_failure(on_failure, &mut instead);
                        self.replace_reply(at, reply, &instead);
                    }
                }
                Piece::Late(reply) if reply.held > 0 => {
                    let (bytes, held) = (reply.remaining(), reply.held);
                    if !reply.end_commit(commit, failed) {
                        return false;
                    }
                    self.piece_bytes = self.piece_bytes - bytes + reply.remaining();
                    self.held -= held - reply.held;
                    if reply.is_empty() {
                        self.pieces.remove(at);
                    } else {
                        at += 1;
                    }
                }
                _ => at += 1,
            }
        }
        if self.is_empty() {
            self.clear();
        }
        true
    }

    /// Replaces a reply, whose pieces begin at index `at`. Values at its very end belong to it, since every reply
    /// begins with literal bytes.
    fn replace_reply(&mut self, at: usize, reply: Range<usize>, instead: &[u8]) {
        let is_inside = |before: usize, piece: &Piece| {
            before < reply.end || before == reply.end && matches!(piece, Piece::Value(_))
        };
        while self.pieces.get(at).is_some_and(|(before, piece)| is_inside(*before, piece)) {
            if let Some((_, piece)) = self.pieces.remove(at) {
                self.forget(&piece);
            }
        }
        for (before, _) in self.pieces.range_mut(at..) {
            *before = *before - reply.len() + instead.len();
        }
        self.bytes.splice(reply, instead.iter().copied());
    }

    /// Takes a piece that was removed out of the counts.
    fn forget(&mut self, piece: &Piece) {
        self.piece_bytes -= piece.remaining();
        match piece {
            Piece::Value(_) => {}
            Piece::Awaited(..) => self.slots -= 1,
            Piece::Late(reply) => self.held -= reply.held,
            Piece::Held(_) => self.held -= 1,
        }
    }

    /// Position of the next reply.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), pieces: self.pieces.len() }
    }

    /// Removes everything appended since `mark`.
    #[inline]
    pub fn rewind(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        if let Some(ends) = &mut self.ends {
            ends.retain(|end| *end <= mark.bytes);
        }
        while self.pieces.len() > mark.pieces {
            if let Some((_, piece)) = self.pieces.pop_back() {
                self.forget(&piece);
            }
        }
    }

    /// Number of unsent bytes.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.sent + self.piece_bytes
    }

    /// Memory of the output in bytes, pinned values, late replies and waiting requests included.
    pub fn memory(&self) -> usize {
        let requests = self.pieces.iter().map(|(_, piece)| match piece {
            Piece::Awaited(_, request) => request.memory(),
            _ => 0,
        });
        self.bytes.capacity() + self.piece_bytes + requests.sum::<usize>()
    }

    /// Whether no bytes are unsent and no slot waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.sent && self.pieces.is_empty()
    }

    /// Whether some bytes can be written now: those before the first slot that is not filled and the first reply on
    /// hold.
    #[inline]
    pub fn can_write(&self) -> bool {
        match self.pieces.front() {
            None => self.bytes.len() > self.sent,
            Some((before, Piece::Awaited(..) | Piece::Held(_))) => *before > self.sent,
            Some((before, Piece::Late(reply))) => *before > self.sent || reply.can_write(),
            Some(_) => true,
        }
    }

    /// Whether the output must be written before another command may run.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.remaining() >= self.high || self.pieces.len() >= OUTPUT_PINS
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

    /// Unsent bytes that can be written now, as slices for one vectored write, about `WRITE_SLICES` at most.
    pub fn io_slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>) {
        let mut at = self.sent;
        for (before, piece) in &self.pieces {
            if at < *before {
                slices.push(IoSlice::new(&self.bytes[at..*before]));
                at = *before;
            }
            match piece {
                Piece::Value(value) => value.io_slices(slices, WRITE_SLICES),
                Piece::Late(reply) => {
                    reply.io_slices(slices);
                    if reply.held > 0 {
                        return;
                    }
                }
                Piece::Awaited(..) | Piece::Held(_) => return,
            }
            if slices.len() >= WRITE_SLICES {
                return;
            }
        }
        if at < self.bytes.len() {
            slices.push(IoSlice::new(&self.bytes[at..]));
        }
    }

    /// The unsent bytes if all are literal: one plain `write` suffices.
    pub fn plain(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then(|| &self.bytes[self.sent..])
    }

    /// Records that the first `n` unsent bytes were written; [`Output::io_slices`] must have offered them.
    pub fn advance(&mut self, mut n: usize) {
        while n > 0 {
            let before = self.pieces.front().map_or(self.bytes.len(), |(before, _)| *before);
            let literal = n.min(before - self.sent);
            self.sent += literal;
            n -= literal;
            if n == 0 {
                break;
            }
            let Some((_, piece)) = self.pieces.front_mut() else { break };
            let taken = n.min(piece.remaining());
            match piece {
                Piece::Value(value) => value.advance(taken),
                Piece::Late(reply) => reply.advance(taken),
                Piece::Awaited(..) | Piece::Held(_) => break,
            }
            self.piece_bytes -= taken;
            n -= taken;
            if piece.remaining() == 0 {
                self.pieces.pop_front();
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
        self.pieces.clear();
        self.piece_bytes = 0;
        self.slots = 0;
        self.held = 0;
        if let Some(ends) = &mut self.ends {
            ends.clear();
        }
        if self.bytes.capacity() > 2 * OUTPUT_HIGH {
            self.bytes.shrink_to(OUTPUT_HIGH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::late::LateRequest;

    fn literal(bytes: &[u8]) -> Output {
        let mut out = Output::default();
        out.put(bytes);
        out
    }

    fn reserve(out: &mut Output) -> SlotName {
        out.reserve(LateRequest::Line(b"mg k v".as_slice().into()))
    }

    /// Writes all that can be written, at most `most` bytes at a time.
    fn write(out: &mut Output, most: usize) -> String {
        let mut sent = Vec::new();
        while out.can_write() {
            let mut slices = Vec::new();
            out.io_slices(&mut slices);
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
            assert!(!bytes.is_empty());
            out.advance(bytes.len());
            sent.extend(bytes);
        }
        String::from_utf8(sent).unwrap()
    }

    #[test]
    fn replies_behind_a_slot_wait_until_it_is_filled() {
        for most in [1, 2, 3, 100] {
            let mut out = literal(b"one ");
            let slots = [(); 3].map(|()| {
                let slot = reserve(&mut out);
                out.put(b"then ");
                slot
            });
            assert_eq!((write(&mut out, most).as_str(), out.remaining()), ("one ", 15));
            out.fill(slots[2], literal(b"third "));
            out.fill(slots[1], literal(b"second "));
            assert_eq!((write(&mut out, most).as_str(), out.is_empty()), ("", false));
            out.fill(slots[0], literal(b"first "));
            assert_eq!(write(&mut out, most), "first then second then third then ");
            assert!(out.is_empty());
        }
    }

    #[test]
    fn a_slot_filled_with_nothing_leaves_nothing() {
        let mut out = Output::default();
        let slots = [(); 2].map(|()| reserve(&mut out));
        assert!(!out.is_empty() && !out.can_write());
        out.fill(slots[1], Output::default());
        out.fill(slots[0], Output::default());
        assert!(out.is_empty());
        out.put(b"next");
        assert_eq!(write(&mut out, 9), "next");
    }

    #[test]
    fn a_rewound_slot_is_not_filled_and_its_successor_is() {
        let mut out = literal(b"kept ");
        let start = out.mark();
        let gone = reserve(&mut out);
        out.put(b"dropped ");
        out.rewind(start);
        let next = reserve(&mut out);
        out.fill(gone, literal(b"late "));
        assert!(!out.can_write() || out.remaining() == 5);
        out.fill(next, literal(b"next"));
        assert_eq!(write(&mut out, 9), "kept next");
    }

    #[test]
    fn a_partly_sent_late_reply_goes_on_after_sent_bytes_are_forgotten() {
        let mut out = literal(b"one ");
        let slot = reserve(&mut out);
        out.put(b"three");
        out.fill(slot, literal(b"two "));
        out.advance(6);
        out.forget_sent();
        out.compact();
        out.put(b" four");
        assert_eq!(write(&mut out, 100), "o three four");
    }

    #[test]
    fn a_dropped_slot_of_one_output_names_none_of_another() {
        let (mut one, mut other) = (Output::default(), Output::default());
        let (dropped, waits) = (reserve(&mut one), reserve(&mut other));
        assert!(other.request_in(dropped).is_none() && other.request_in(waits).is_some());
    }

    #[test]
    fn slots_fill_an_output() {
        let mut out = Output::default();
        let slots: Vec<_> = (0..OUTPUT_PINS).map(|_| reserve(&mut out)).collect();
        assert!(out.is_full() && !out.can_write());
        for (number, slot) in slots.into_iter().enumerate().rev() {
            out.fill(slot, literal(format!("{number} ").as_bytes()));
        }
        let expected: String = (0..OUTPUT_PINS).map(|number| format!("{number} ")).collect();
        assert_eq!(write(&mut out, 7), expected);
    }

    #[test]
    fn replies_on_hold_wait_and_a_failed_one_is_replaced() {
        let commits = [7, 8].map(CommitNumber);
        let failed: PutFailure<'_> = &|_, bytes| bytes.extend_from_slice(b"error ");
        for most in [1, 2, 3, 100] {
            for fails in [false, true] {
                let mut out = literal(b"read ");
                let hold = |out: &mut Output, commit, text: &[u8]| {
                    let at = out.mark();
                    out.put(text);
                    out.hold(at, commit, FailureForm::Line);
                };
                hold(&mut out, commits[0], b"set ");
                let slot = reserve(&mut out);
                out.put(b"read ");
                hold(&mut out, commits[1], b"");
                hold(&mut out, commits[0], b"touch ");
                assert_eq!((out.next_commit(), out.next_commit()), (Some(commits[0]), None), "asked for once");
                assert_eq!(write(&mut out, most), "read ");
                out.forget_sent();
                let mut late = Output::default();
                hold(&mut late, commits[1], b"late ");
                out.fill(slot, late);
                assert!(!out.can_write());
                assert!(out.end_commit(commits[0], fails.then_some(failed)));
                assert_eq!(write(&mut out, most), if fails { "error " } else { "set " });
                assert_eq!(out.next_commit(), Some(commits[1]));
                assert!(!out.can_write());
                assert!(out.end_commit(commits[1], (!fails).then_some(failed)));
                let rest = if fails { "late read error " } else { "error read error touch " };
                assert_eq!((write(&mut out, most).as_str(), out.is_empty(), out.held), (rest, true, 0));
            }
        }
    }
}
