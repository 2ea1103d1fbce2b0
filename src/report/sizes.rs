//! Number of items by size, for `stats sizes`.
//!
//! Owns the counts, whose memory counts against the budget of reports. The caller counts in steps: all memory is
//! walked.

use crate::stats::{BudgetShare, Stats};
use crate::store::{Store, Walk};
use std::collections::HashMap;

/// Bytes between two sizes.
const STRIDE: usize = 32;

/// A count of all items by memcached_size.
pub struct SizeCount {
    walk: Walk,
    counts: HashMap<usize, u64>,
    taken: BudgetShare,
}

impl SizeCount {
    /// Begins a count.
    pub fn new(store: &Store, stats: &Stats) -> Self {
        let (walk, taken) = (store.begin_walk(u64::MAX << 1), stats.globals.reports.share());
        Self { walk, counts: HashMap::new(), taken }
    }

    /// Counts the items in the next `slots` slots of memory; true when all are counted. `None` if the counts cannot
    /// grow.
    pub fn step(&mut self, store: &'static Store, slots: u32) -> Option<bool> {
        let mut fits = true;
        let over = store.walk_sizes(&mut self.walk, slots, |size| {
            fits = fits && self.counts.try_reserve(1).is_ok();
            if fits {
                *self.counts.entry(size.div_ceil(STRIDE) * STRIDE).or_insert(0) += 1;
            }
        });
        // The sorted rows take as much again.
        let bytes = 2 * self.counts.capacity() * size_of::<(usize, u64)>();
        (fits && self.taken.grow_to(bytes)).then_some(over)
    }

    /// Sizes and their counts, largest first; no count is left. `None` without memory for them.
    pub fn take_rows(&mut self) -> Option<Vec<(usize, u64)>> {
        let mut rows = Vec::new();
        rows.try_reserve_exact(self.counts.len()).ok()?;
        rows.extend(std::mem::take(&mut self.counts));
        rows.sort_unstable_by(|one, other| other.cmp(one));
        Some(rows)
    }
}
