//! The pair of buffers that a worker's connections share.
//!
//! Owns the shared buffers, the spares, and the rule what a connection keeps when another one needs the buffers:
//! nothing if nothing is left over, an exact copy of a small rest, or the buffer itself, swapped for a spare. The
//! buffers are vacated only when another connection needs them, so a connection that has them to itself moves no byte.
//! Must not know sockets or sessions; `worker` calls it.

use crate::limits::{OUTPUT_HIGH, OUTPUT_LOW, READ_BUF, REPLY_ROOM, SPARE_BYTES};
use crate::proto::{Input, Output};
use crate::stats::Globals;
use std::mem::replace;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Maximum size of a rest that is always copied: a copy of it is cheaper than a spare buffer.
const COPY_REST_MAX: usize = 4096;

/// Maximum number of whole buffers lent at a time; beyond it rests are copied. Bounds memory under many pipelining
/// clients.
const LENT_MAX: usize = 32;

/// What a connection keeps while another one owns the shared buffers.
pub(super) struct ParkedBuffers {
    input: Leftover,
    output: Option<Output>,
}

enum Leftover {
    Nothing,
    Copy(Box<[u8]>),
    Whole(Input),
}

impl Leftover {
    /// Memory that it takes.
    fn size(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Copy(bytes) => bytes.len(),
            Self::Whole(input) => input.size(),
        }
    }
}

/// No memory for what a connection must keep.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoMemory;

/// One worker's buffers.
pub(super) struct SharedBuffers {
    /// Received bytes of the owner.
    pub(super) input: Input,
    /// Replies of the owner.
    pub(super) output: Output,
    owner: Option<usize>,
    /// Unsent reply bytes at which the next owner stops running commands.
    high: usize,
    lent: usize,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    /// Memory of `outputs` in bytes.
    output_bytes: usize,
    /// Buffers that connections keep.
    kept: Gauges,
    /// The sums last published.
    published: Gauges,
}

impl SharedBuffers {
    pub(super) fn new() -> Self {
        Self {
            input: Input::default(),
            output: Output::default(),
            owner: None,
            high: OUTPUT_HIGH,
            lent: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
            output_bytes: 0,
            kept: Gauges::default(),
            published: Gauges::default(),
        }
    }

    /// Token of the connection that owns the bytes in the buffers.
    #[inline]
    pub(super) fn owner(&self) -> Option<usize> {
        self.owner
    }

    /// Makes `token` the owner of the free buffers and restores what it kept.
    #[inline]
    pub(super) fn seat(&mut self, token: usize, kept: Option<Box<ParkedBuffers>>) {
        debug_assert!(self.owner.is_none());
        self.owner = Some(token);
        if let Some(kept) = kept {
            self.unpack(*kept);
        }
        self.output.set_high(self.high);
    }

    /// Chooses the reply bound of the next owners: `OUTPUT_LOW` while unsent replies of all connections exceed `max`
    /// bytes.
    #[inline]
    pub(super) fn bound_replies(&mut self, globals: &Globals, max: u64) {
        let held = globals.response_obj_bytes.load(Relaxed).saturating_add(globals.reports.used());
        self.high = if held > max { OUTPUT_LOW } else { OUTPUT_HIGH };
    }

    /// Ends the owner's turn. Empty buffers have no owner from then on; filled ones stay with it until another
    /// connection needs them.
    #[inline]
    pub(super) fn rise(&mut self) {
        if self.input.is_empty() && self.output.is_empty() {
            self.input.reset();
            self.owner = None;
        }
    }

    /// Empties the buffers for another connection; the owner must keep the result. `soon`: the owner is in the ready
    /// queue. An owner that waits for its peer may wait without limit, so it keeps a copy of exact size. On `NoMemory`
    /// the owner still has the buffers and must be closed.
    pub(super) fn vacate(&mut self, soon: bool) -> Result<Option<Box<ParkedBuffers>>, NoMemory> {
        let rest = self.input.bytes().len();
        let input = if rest == 0 {
            Leftover::Nothing
        } else if rest > READ_BUF || (soon && rest > COPY_REST_MAX && self.lent < LENT_MAX) {
            // A grown buffer moves as it is: copying it for each arriving segment would be quadratic.
            let spare = self.inputs.pop().or_else(Input::try_new).ok_or(NoMemory)?;
            self.lent += 1;
            Leftover::Whole(replace(&mut self.input, spare))
        } else {
            let mut copy = Vec::new();
            copy.try_reserve_exact(rest).map_err(|_| NoMemory)?;
            copy.extend_from_slice(self.input.bytes());
            Leftover::Copy(copy.into_boxed_slice())
        };
        self.owner = None;
        self.input.reset();
        let mut output = (!self.output.is_empty()).then(|| {
            let spare = self.outputs.pop().unwrap_or_default();
            self.output_bytes -= spare.memory();
            replace(&mut self.output, spare)
        });
        if rest == 0 && output.is_none() {
            return Ok(None);
        }
        if let (false, Some(output)) = (soon, &mut output) {
            output.compact();
        }
        let kept = ParkedBuffers { input, output };
        self.kept.count(&kept, 1);
        Ok(Some(Box::new(kept)))
    }

    /// Drops the contents: the owner is closed.
    pub(super) fn wipe(&mut self) {
        self.owner = None;
        self.input.reset();
        self.output.clear();
    }

    /// Takes back what a closed connection kept.
    pub(super) fn discard(&mut self, kept: ParkedBuffers) {
        self.kept.count(&kept, -1);
        if let Leftover::Whole(input) = kept.input {
            self.lent -= 1;
            self.spare_input(input);
        }
        if let Some(output) = kept.output {
            self.spare_output(output);
        }
    }

    fn unpack(&mut self, kept: ParkedBuffers) {
        self.kept.count(&kept, -1);
        match kept.input {
            Leftover::Nothing => {}
            Leftover::Copy(bytes) => self.input.append(&bytes),
            Leftover::Whole(input) => {
                self.lent -= 1;
                let spare = replace(&mut self.input, input);
                self.spare_input(spare);
            }
        }
        if let Some(output) = kept.output {
            let spare = replace(&mut self.output, output);
            self.spare_output(spare);
        }
    }

    fn spare_input(&mut self, mut input: Input) {
        input.reset();
        if self.inputs.len() < SPARE_BYTES / READ_BUF && input.size() == READ_BUF {
            self.inputs.push(input);
        }
    }

    /// Keeps an output for reuse, unless it has grown: a burst of long replies must not keep its memory. One that was
    /// made smaller would have to grow first.
    fn spare_output(&mut self, mut output: Output) {
        output.clear();
        let bytes = output.memory();
        if (REPLY_ROOM..=READ_BUF).contains(&bytes) && self.output_bytes + bytes <= SPARE_BYTES {
            self.output_bytes += bytes;
            self.outputs.push(output);
        }
    }

    /// Publishes the changes since the last call to `stats`. `READ_BUF` bytes of the shared input count as free; what a
    /// long line has added to it does not.
    #[inline]
    pub(super) fn publish(&mut self, globals: &Globals) {
        let spares = self.inputs.len() as u64;
        let now = Gauges {
            read_count: self.kept.read_count + spares + 1,
            read_bytes: self.kept.read_bytes + spares * READ_BUF as u64 + self.input.size() as u64,
            read_free: (spares + 1) * READ_BUF as u64,
            ..self.kept
        };
        if now != self.published {
            replace(&mut self.published, now).add_changes(now, globals);
        }
    }
}

/// Numbers of buffers and their bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Gauges {
    read_count: u64,
    read_bytes: u64,
    read_free: u64,
    reply_count: u64,
    reply_bytes: u64,
}

impl Gauges {
    fn count(&mut self, kept: &ParkedBuffers, sign: i64) {
        let size = kept.input.size() as i64;
        let add = |gauge: &mut u64, change: i64| *gauge = gauge.wrapping_add_signed(sign * change);
        if size > 0 {
            add(&mut self.read_count, 1);
            add(&mut self.read_bytes, size);
        }
        if let Some(output) = &kept.output {
            add(&mut self.reply_count, 1);
            add(&mut self.reply_bytes, output.memory() as i64);
        }
    }

    /// Adds the changes from `self` to `now` to the process-wide sums, so that a turn writes no shared cache line.
    fn add_changes(self, now: Self, globals: &Globals) {
        let add = |gauge: &AtomicU64, from: u64, to: u64| {
            if from != to {
                // Two's complement: adding a negative change wraps to a subtraction.
                gauge.fetch_add(to.wrapping_sub(from), Relaxed);
            }
        };
        add(&globals.read_buf_count, self.read_count, now.read_count);
        add(&globals.read_buf_bytes, self.read_bytes, now.read_bytes);
        add(&globals.read_buf_bytes_free, self.read_free, now.read_free);
        add(&globals.response_obj_count, self.reply_count, now.reply_count);
        add(&globals.response_obj_bytes, self.reply_bytes, now.reply_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r3_2_what_is_kept_is_exact_and_comes_back() {
        let globals = Globals::default();
        let mut buffers = SharedBuffers::new();
        buffers.seat(1, None);
        buffers.input.append(b"get a");
        buffers.output.put(b"END\r\n");
        buffers.rise();
        assert_eq!(buffers.owner(), Some(1));
        let kept = buffers.vacate(false).unwrap().unwrap();
        buffers.publish(&globals);
        assert_eq!(globals.read_buf_bytes.load(Relaxed), READ_BUF as u64 + 5);
        assert_eq!(globals.response_obj_bytes.load(Relaxed), 5);
        buffers.seat(2, None);
        buffers.rise();
        assert_eq!(buffers.owner(), None);
        buffers.seat(1, Some(kept));
        assert_eq!((buffers.input.bytes(), buffers.output.plain()), (&b"get a"[..], Some(&b"END\r\n"[..])));
        buffers.publish(&globals);
        assert_eq!(globals.read_buf_bytes.load(Relaxed), READ_BUF as u64);
        assert_eq!(globals.response_obj_count.load(Relaxed), 0);
    }

    #[test]
    fn r3_3_replies_of_all_bound_those_of_each() {
        let globals = Globals::default();
        let mut buffers = SharedBuffers::new();
        let full_at = |buffers: &mut SharedBuffers, token| {
            buffers.seat(token, None);
            let mut at = 0;
            while !buffers.output.is_full() {
                buffers.output.put(&[b'x'; 1024]);
                at += 1024;
            }
            at
        };
        assert_eq!(full_at(&mut buffers, 1), OUTPUT_HIGH);
        let kept = buffers.vacate(false).unwrap().unwrap();
        buffers.publish(&globals);
        buffers.bound_replies(&globals, OUTPUT_HIGH as u64 - 1);
        assert_eq!(full_at(&mut buffers, 2), OUTPUT_LOW);
        buffers.wipe();
        buffers.bound_replies(&globals, OUTPUT_HIGH as u64);
        assert_eq!(full_at(&mut buffers, 3), OUTPUT_HIGH);
        buffers.wipe();
        buffers.discard(*kept);
        buffers.publish(&globals);
        assert_eq!(globals.response_obj_bytes.load(Relaxed), 0);
    }

    #[test]
    fn r3_3_whole_buffers_are_lent_up_to_a_bound() {
        let mut buffers = SharedBuffers::new();
        let mut all = Vec::new();
        for token in 0..LENT_MAX + 2 {
            buffers.seat(token, None);
            buffers.input.append(&[b'x'; COPY_REST_MAX + 1]);
            all.push(buffers.vacate(true).unwrap().unwrap());
        }
        assert_eq!(buffers.lent, LENT_MAX);
        assert!(matches!(all[LENT_MAX].input, Leftover::Copy(_)));
        buffers.discard(*all.remove(0));
        buffers.seat(0, None);
        buffers.input.append(&[b'x'; COPY_REST_MAX + 1]);
        let waiting = buffers.vacate(false).unwrap().unwrap();
        assert!(
            matches!(waiting.input, Leftover::Copy(_)),
            "a connection that waits for its peer gets no whole buffer"
        );
        all.push(waiting);
        for kept in all {
            buffers.discard(*kept);
        }
        assert_eq!((buffers.lent, buffers.inputs.len()), (0, SPARE_BYTES / READ_BUF));
    }

    #[test]
    fn outputs_that_have_grown_or_shrunk_are_not_kept() {
        let mut buffers = SharedBuffers::new();
        for (bytes, kept) in [(100, 0), (REPLY_ROOM, 1), (READ_BUF + 1, 1), (OUTPUT_HIGH, 1), (READ_BUF / 2, 2)] {
            let mut output = Output::default();
            output.put(&vec![b'x'; bytes]);
            buffers.spare_output(output);
            assert_eq!(buffers.outputs.len(), kept, "{bytes}");
        }
    }

    #[test]
    fn spare_outputs_are_bounded_in_bytes() {
        let mut buffers = SharedBuffers::new();
        let output = |bytes| {
            let mut output = Output::default();
            output.put(&vec![b'x'; bytes]);
            output
        };
        for _ in 0..2 * SPARE_BYTES / READ_BUF {
            buffers.spare_output(output(READ_BUF));
        }
        assert_eq!(buffers.outputs.len() * READ_BUF, SPARE_BYTES);
        buffers.output = output(1);
        buffers.owner = Some(1);
        drop(buffers.vacate(true).unwrap());
        for _ in 0..2 * READ_BUF / REPLY_ROOM {
            buffers.spare_output(output(REPLY_ROOM));
        }
        let sum: usize = buffers.outputs.iter().map(Output::memory).sum();
        assert_eq!((sum, buffers.output_bytes), (SPARE_BYTES, SPARE_BYTES));
    }
}
