//! Replies that may be too long for one turn: the reports of connections, sizes and prefixes.
//!
//! Owns how such a reply is sent: as a state of its session that is stepped until done, with other connections' turns
//! between two steps. A step appends some kilobytes, so a peer that does not read keeps at most one step's bytes in
//! memory. Other memory of a report counts against one budget shared by all clients. Independent of the wire format,
//! as `report` is; the calling protocol supplies the form of the rows.

use super::report::{Form, row};
use super::{ConnState, Cx, Output};
use crate::decimal;
use crate::limits::{HEADROOM, KEY_MAX, REPORT_STEP};
use crate::report::{SizeCount, connection};
use crate::stats::{PrefixCounts, PrefixPlace};
use crate::sys::headroom;

/// Connections listed per acquisition of the connection table's lock.
const CONNS: usize = 32;

/// Upper bound for the rows of `CONNS` connections.
const CONNS_BYTES: usize = CONNS * 1024;

/// Memory slots counted in one step.
const SLOTS: u32 = 8192;

/// Upper bound for a row of the histogram.
const SIZE_ROW_MAX: usize = 128;

/// Upper bound for a prefix's line without the prefix: five words and four numbers of 20 digits.
const PREFIX_WORDS_MAX: usize = "PREFIX  get  hit  set  del \r\n".len() + 4 * 20;

/// Upper bound for a prefix's line.
const PREFIX_LINE_MAX: usize = KEY_MAX + PREFIX_WORDS_MAX;

/// A reply that is sent in steps.
pub(super) trait Listing: Send {
    /// Appends the next part.
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed;
}

/// Outcome of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listed {
    /// More steps follow.
    More,
    /// The last part is appended.
    Done,
    /// No memory for the next part.
    NoMemory,
}

/// Reserves room for a step and returns the output length at which the step ends; the last row may exceed it by
/// `beyond` bytes. `None` if memory is short.
pub(super) fn room(out: &mut Output, beyond: usize) -> Option<usize> {
    // A datagram reply is kept until it is complete, so its size does not limit the step.
    let waits = if out.is_datagrams() { 0 } else { out.remaining() };
    let room = REPORT_STEP.saturating_sub(waits);
    let bytes = out.bytes();
    let reserved = headroom::is_there(HEADROOM) && bytes.try_reserve(room + beyond).is_ok();
    reserved.then_some(bytes.len() + room)
}

/// `stats conns`: one group of rows per connection or listener, ordered by descriptor.
pub(super) struct Conns<F> {
    form: F,
    /// Descriptor listed last.
    after: i32,
}

impl<F: Form> Conns<F> {
    pub(super) fn new(form: F) -> Self {
        Self { form, after: i32::MIN }
    }
}

impl<F: Form> Listing for Conns<F> {
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed {
        let Some(full) = room(out, CONNS_BYTES) else { return Listed::NoMemory };
        let (bytes, now) = (out.bytes(), cx.shared.clock.now());
        while bytes.len() < full {
            let conns = cx.shared.conns.list_after(self.after, CONNS);
            let Some((last, _)) = conns.last() else {
                self.form.end(bytes);
                return Listed::Done;
            };
            self.after = *last;
            for (fd, info) in &conns {
                let state = if *fd == cx.fd { ConnState::ParseCmd } else { info.state() };
                connection(*fd, info, state, now, &mut |metric| row(&self.form, "", metric, bytes));
            }
        }
        Listed::More
    }
}

/// `stats sizes`: number of items by memcached_size in steps of 32 bytes. Walks all memory before the first row.
pub(super) struct SizesReport<F> {
    form: F,
    count: SizeCount,
    /// Remaining rows in reverse order; `None` until all items are counted.
    rows: Option<Vec<(usize, u64)>>,
}

impl<F: Form> SizesReport<F> {
    pub(super) fn new(cx: &Cx<'_>, form: F) -> Self {
        Self { form, count: SizeCount::new(cx.shared.cache.store, &cx.shared.stats), rows: None }
    }

    fn try_step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Option<Listed> {
        if self.rows.is_none() {
            if !self.count.step(cx.shared.cache.store, SLOTS)? {
                return Some(Listed::More);
            }
            self.rows = Some(self.count.take_rows()?);
        }
        let full = room(out, SIZE_ROW_MAX)?;
        let bytes = out.bytes();
        while bytes.len() < full {
            let Some((size, count)) = self.rows.as_mut().and_then(Vec::pop) else {
                self.form.end(bytes);
                return Some(Listed::Done);
            };
            self.form.row(bytes, &size, &count);
        }
        Some(Listed::More)
    }
}

impl<F: Form> Listing for SizesReport<F> {
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed {
        self.try_step(cx, out).unwrap_or(Listed::NoMemory)
    }
}

/// `stats detail dump`, line by line.
pub(super) struct Prefixes {
    place: PrefixPlace,
    end: &'static [u8],
}

impl Prefixes {
    /// Begins a dump; `end` is its last line.
    pub(super) fn new(cx: &Cx<'_>, end: &'static [u8]) -> Self {
        Self { place: cx.shared.cache.prefixes.begin_walk(), end }
    }

    /// Upper bound for the whole dump in bytes.
    pub(super) fn bytes_max(&self) -> usize {
        let (rows, bytes) = self.place.left();
        bytes + rows * PREFIX_WORDS_MAX + self.end.len()
    }

    /// Appends lines until `out` has `full` bytes; the caller reserves room for one more line. True after the last
    /// line.
    pub(super) fn put(&mut self, cx: &Cx<'_>, out: &mut Vec<u8>, full: usize) -> bool {
        if out.len() >= full {
            return false;
        }
        let over = cx.shared.cache.prefixes.walk(&mut self.place, |name, counts| {
            prefix_line(name, counts, out);
            out.len() < full
        });
        if over {
            out.extend_from_slice(self.end);
        }
        over
    }
}

/// Appends `PREFIX … get … hit … set … del …`.
fn prefix_line(name: &[u8], counts: &PrefixCounts, out: &mut Vec<u8>) {
    let PrefixCounts { gets, hits, sets, deletes } = *counts;
    out.extend_from_slice(b"PREFIX ");
    out.extend_from_slice(name);
    for (word, number) in [(" get ", gets), (" hit ", hits), (" set ", sets), (" del ", deletes)] {
        out.extend_from_slice(word.as_bytes());
        decimal::put(out, number);
    }
    out.extend_from_slice(b"\r\n");
}

impl Listing for Prefixes {
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed {
        let Some(full) = room(out, PREFIX_LINE_MAX + self.end.len()) else { return Listed::NoMemory };
        if self.put(cx, out.bytes(), full) { Listed::Done } else { Listed::More }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_line_of_a_prefix_is_within_its_bound() {
        let mut line = Vec::new();
        let most = PrefixCounts { gets: u64::MAX, hits: u64::MAX, sets: u64::MAX, deletes: u64::MAX };
        prefix_line(&[b'p'; KEY_MAX], &most, &mut line);
        assert_eq!(line.len(), PREFIX_LINE_MAX);
    }
}
