//! Replies that may be too long for one turn: the reports of connections, sizes and prefixes.
//!
//! Owns how such a reply is sent: as a state of its session that is stepped until done, with other connections' turns
//! between two steps. A step appends some kilobytes, so a peer that does not read keeps at most one step's bytes in
//! memory. Other memory of a report counts against one budget shared by all clients. Independent of the wire format,
//! as `report` is; the calling protocol supplies the form of the rows.

use super::report::{Form, RowSink, conn_rows};
use super::{Cx, Output};
use crate::limits::{HEADROOM, REPORT_STEP};
use crate::stats::{BudgetShare, PREFIX_LINE_MAX, PrefixPlace};
use crate::store::Walk;
use crate::sys::headroom;
use std::collections::HashMap;

/// Connections listed per acquisition of the connection table's lock.
const CONNS: usize = 32;

/// Upper bound for the rows of `CONNS` connections.
const CONNS_BYTES: usize = CONNS * 1024;

/// Memory slots counted in one step.
const SLOTS: u32 = 8192;

/// Upper bound for a row of the histogram.
const SIZE_ROW_MAX: usize = 128;

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
        let mut sink = RowSink { form: &self.form, out: out.bytes() };
        while sink.out.len() < full {
            let cards = cx.shared.conns.list_after(self.after, CONNS);
            let Some((last, _)) = cards.last() else {
                self.form.end(sink.out);
                return Listed::Done;
            };
            self.after = *last;
            for (fd, info) in &cards {
                conn_rows(cx, *fd, info, &mut sink);
            }
        }
        Listed::More
    }
}

/// `stats sizes`: number of items by memcached_size in steps of 32 bytes. Walks all memory before the first row.
pub(super) struct SizesReport<F> {
    form: F,
    walk: Walk,
    counts: HashMap<usize, u64>,
    /// Remaining rows in reverse order; `None` until all items are counted.
    rows: Option<Vec<(usize, u64)>>,
    taken: BudgetShare,
}

impl<F: Form> SizesReport<F> {
    pub(super) fn new(cx: &Cx<'_>, form: F) -> Self {
        let walk = cx.shared.cache.store.begin_walk(u64::MAX << 1);
        let taken = cx.shared.stats.globals.reports.share();
        Self { form, walk, counts: HashMap::new(), rows: None, taken }
    }

    /// Counts the next items; true when all are counted. `None` if the counts cannot grow.
    fn count(&mut self, cx: &Cx<'_>) -> Option<bool> {
        let mut fits = true;
        let over = cx.shared.cache.store.walk_sizes(&mut self.walk, SLOTS, |size| {
            fits = fits && self.counts.try_reserve(1).is_ok();
            if fits {
                *self.counts.entry(size.div_ceil(32) * 32).or_insert(0) += 1;
            }
        });
        let bytes = 2 * self.counts.capacity() * size_of::<(usize, u64)>();
        (fits && self.taken.grow_to(bytes)).then_some(over)
    }

    fn sort(&mut self) -> Option<()> {
        let mut rows = Vec::new();
        rows.try_reserve_exact(self.counts.len()).ok()?;
        rows.extend(std::mem::take(&mut self.counts));
        rows.sort_unstable_by(|one, other| other.cmp(one));
        self.rows = Some(rows);
        Some(())
    }

    fn try_step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Option<Listed> {
        if self.rows.is_none() {
            if !self.count(cx)? {
                return Some(Listed::More);
            }
            self.sort()?;
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
        Self { place: cx.shared.cache.prefixes.begin_dump(), end }
    }

    /// Upper bound for the whole dump in bytes.
    pub(super) fn bytes_max(&self) -> usize {
        self.place.bytes_max() + self.end.len()
    }

    /// Appends lines until `out` has `full` bytes; the caller reserves room for one more line. True after the last
    /// line.
    pub(super) fn put(&mut self, cx: &Cx<'_>, out: &mut Vec<u8>, full: usize) -> bool {
        let over = cx.shared.cache.prefixes.dump(&mut self.place, out, full);
        if over {
            out.extend_from_slice(self.end);
        }
        over
    }
}

impl Listing for Prefixes {
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed {
        let Some(full) = room(out, PREFIX_LINE_MAX + self.end.len()) else { return Listed::NoMemory };
        if self.put(cx, out.bytes(), full) { Listed::Done } else { Listed::More }
    }
}
