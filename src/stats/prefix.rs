//! Counters by key prefix, for `stats detail`.
//!
//! Owns the table; knows nothing of keys but the delimiter. Off by default, so its lock (rank: docs/locking.md) costs
//! nothing in ordinary service.
//!
//! Rows are only added, until all are cleared: a row's index stays valid between two steps of a walk. The table is
//! bounded in rows, and a prefix in bytes by the longest key. A prefix without a row, or without memory for one, is
//! not counted.

use crate::hash::hash;
use crate::limits::HEADROOM;
use crate::printable::is_printable;
use crate::sys::headroom;
use parking_lot::{Mutex, MutexGuard};

/// Maximum number of prefixes (memcached's limit since 1.6.45).
const PREFIXES_MAX: usize = 65_536;

/// Slots of the index; at most half of them are taken.
const SLOTS: usize = 2 * PREFIXES_MAX;

/// Rows added per check for free memory: 100 KB.
const ROWS_ASKED: usize = 256;

/// Rows visited under one hold of the lock: some 10 us.
const BATCH: usize = 64;

/// Counts of one prefix.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct PrefixCounts {
    pub gets: u64,
    pub hits: u64,
    pub sets: u64,
    pub deletes: u64,
}

/// Counter to increment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum PrefixEvent {
    Hit,
    Miss,
    Set,
    Delete,
}

/// Counters of all prefixes seen.
pub struct PrefixStats {
    delimiter: u8,
    table: Mutex<PrefixTable>,
}

#[derive(Default)]
struct PrefixTable {
    rows: Vec<(Box<[u8]>, PrefixCounts)>,
    /// Row numbers, from 1 on, by the hash of their prefix; 0 = none. Empty before the first row.
    index: Vec<u32>,
    /// Bytes of all prefixes.
    bytes: usize,
    /// Rows that may be added before the next check for free memory.
    granted: usize,
    /// How often all rows have been cleared.
    generation: u64,
}

/// Position of a walk over the rows that existed when it began.
pub struct PrefixPlace {
    next: usize,
    end: usize,
    generation: u64,
    bytes: usize,
}

impl PrefixPlace {
    /// Number of rows left, and the bytes of all prefixes.
    pub fn left(&self) -> (usize, usize) {
        (self.end - self.next, self.bytes)
    }
}

impl PrefixStats {
    /// An empty table; a prefix ends before the first `delimiter` of a key.
    pub fn new(delimiter: u8) -> Self {
        Self { delimiter, table: Mutex::default() }
    }

    /// Counts an event of `key`. Keys without delimiter are not counted, nor are prefixes that would forge lines of a
    /// dump.
    pub fn record(&self, key: &[u8], event: PrefixEvent) {
        let Some(end) = memchr::memchr(self.delimiter, key) else { return };
        let name = &key[..end];
        if !is_printable(name) {
            return;
        }
        let mut table = self.table.lock();
        let Some(at) = table.find(name).or_else(|| add(&mut table, name)) else { return };
        let prefix = &mut table.rows[at].1;
        match event {
            PrefixEvent::Hit => {
                prefix.gets += 1;
                prefix.hits += 1;
            }
            PrefixEvent::Miss => prefix.gets += 1,
            PrefixEvent::Set => prefix.sets += 1,
            PrefixEvent::Delete => prefix.deletes += 1,
        }
    }

    /// Byte that ends a prefix.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Counts of one prefix; `None` if it has none.
    pub fn counts(&self, name: &[u8]) -> Option<PrefixCounts> {
        let table = self.table.lock();
        table.find(name).map(|at| table.rows[at].1)
    }

    /// Begins a walk over all rows, for [`PrefixStats::walk`].
    pub fn begin_walk(&self) -> PrefixPlace {
        let table = self.table.lock();
        PrefixPlace { next: 0, end: table.rows.len(), generation: table.generation, bytes: table.bytes }
    }

    /// Passes the next prefixes to `each` until it returns false; true when none is left. `each` runs under the lock:
    /// it must not allocate.
    pub fn walk(&self, place: &mut PrefixPlace, mut each: impl FnMut(&[u8], &PrefixCounts) -> bool) -> bool {
        loop {
            let table = self.table.lock();
            if table.generation != place.generation {
                return true;
            }
            for (name, counts) in table.rows[place.next..place.end].iter().take(BATCH) {
                place.next += 1;
                if !each(name, counts) {
                    return place.next == place.end;
                }
            }
            if place.next == place.end {
                return true;
            }
        }
    }

    /// Clears the table.
    pub fn clear(&self) {
        let mut table = self.table.lock();
        let generation = table.generation + 1;
        let old = std::mem::replace(&mut *table, PrefixTable { generation, ..PrefixTable::default() });
        // Thousands of rows are freed without the lock.
        drop(table);
        drop(old);
    }
}

/// Adds a row for a prefix; returns its index.
#[cold]
fn add(table: &mut MutexGuard<'_, PrefixTable>, name: &[u8]) -> Option<usize> {
    if table.rows.len() == PREFIXES_MAX {
        return None;
    }
    if table.granted == 0 {
        if !MutexGuard::unlocked(table, || headroom::is_there(HEADROOM)) {
            return None;
        }
        table.granted = ROWS_ASKED;
    }
    // Meanwhile another thread may have added the row, or the last possible row.
    table.find(name).or_else(|| table.add(name))
}

impl PrefixTable {
    /// The slot of a prefix: its own, or the free one where it would be. At least half of the slots are free.
    fn slot(&self, name: &[u8]) -> usize {
        let mut slot = hash(name) as usize % SLOTS;
        while self.index[slot] != 0 && *self.rows[self.index[slot] as usize - 1].0 != *name {
            slot = (slot + 1) % SLOTS;
        }
        slot
    }

    /// Index of a prefix's row.
    fn find(&self, name: &[u8]) -> Option<usize> {
        if self.index.is_empty() {
            return None;
        }
        (self.index[self.slot(name)] as usize).checked_sub(1)
    }

    /// Adds a row for a prefix that has none.
    fn add(&mut self, name: &[u8]) -> Option<usize> {
        let at = self.rows.len();
        if at == PREFIXES_MAX {
            return None;
        }
        if self.index.is_empty() {
            self.index.try_reserve_exact(SLOTS).ok()?;
            self.index.resize(SLOTS, 0);
        }
        self.rows.try_reserve(1).ok()?;
        let mut copy = Vec::new();
        copy.try_reserve_exact(name.len()).ok()?;
        copy.extend_from_slice(name);
        let slot = self.slot(name);
        self.index[slot] = at as u32 + 1;
        self.rows.push((copy.into_boxed_slice(), PrefixCounts::default()));
        self.bytes += name.len();
        self.granted = self.granted.saturating_sub(1);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// All prefixes, from a walk in steps of `step` rows.
    fn rows(stats: &PrefixStats, step: usize) -> Vec<(String, PrefixCounts)> {
        let (mut place, mut rows) = (stats.begin_walk(), Vec::new());
        let mut left = place.left().0;
        loop {
            let full = rows.len() + step;
            let over = stats.walk(&mut place, |name, counts| {
                rows.push((String::from_utf8(name.to_vec()).unwrap(), *counts));
                rows.len() < full
            });
            assert!(rows.len() <= full && place.left().0 < left, "a step is bounded and moves on");
            left = place.left().0;
            if over {
                return rows;
            }
        }
    }

    #[test]
    fn a_walk_passes_each_prefix_once_at_any_step_size() {
        let stats = PrefixStats::new(b':');
        for n in 0..1000 {
            stats.record(format!("p{n}:k").as_bytes(), PrefixEvent::Miss);
            stats.record(format!("p{n}:l").as_bytes(), PrefixEvent::Set);
        }
        stats.record(b":", PrefixEvent::Hit);
        stats.record(b"no delimiter", PrefixEvent::Hit);
        let whole = rows(&stats, usize::MAX / 2);
        let names: BTreeSet<&str> = whole.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((whole.len(), names.len()), (1001, 1001));
        assert_eq!(whole[999], ("p999".into(), PrefixCounts { gets: 1, sets: 1, ..PrefixCounts::default() }));
        assert_eq!(whole[1000], (String::new(), PrefixCounts { gets: 1, hits: 1, ..PrefixCounts::default() }));
        for step in [1, 7, BATCH, 1000] {
            assert_eq!(rows(&stats, step), whole);
        }
    }

    #[test]
    fn prefixes_beyond_the_cap_are_not_counted() {
        let stats = PrefixStats::new(b':');
        for n in 0..PREFIXES_MAX + 10 {
            stats.record(format!("{n}:").as_bytes(), PrefixEvent::Set);
        }
        stats.record(b"7:", PrefixEvent::Delete);
        let rows = rows(&stats, 1000);
        assert_eq!(rows.len(), PREFIXES_MAX);
        let counts = PrefixCounts { sets: 1, deletes: 1, ..PrefixCounts::default() };
        assert!(rows.contains(&("7".to_owned(), counts)));
    }

    #[test]
    fn prefixes_that_would_forge_lines_are_not_counted() {
        let stats = PrefixStats::new(b':');
        for key in [&b"a\r\nEND\r\n:x"[..], b"a b:x", b"\0:x", b"fine:x\n"] {
            stats.record(key, PrefixEvent::Set);
        }
        let names: Vec<_> = rows(&stats, 1).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["fine"]);
    }

    #[test]
    fn a_walk_ends_when_rows_are_cleared_and_omits_new_rows() {
        let stats = PrefixStats::new(b':');
        let fill = || (0..100).for_each(|n| stats.record(format!("p{n}:").as_bytes(), PrefixEvent::Set));
        let count = |place: &mut PrefixPlace| {
            let mut rows = 0;
            assert!(stats.walk(place, |_, _| {
                rows += 1;
                true
            }));
            rows
        };
        fill();
        let mut place = stats.begin_walk();
        assert!(!stats.walk(&mut place, |_, _| false));
        stats.record(b"late:", PrefixEvent::Set);
        assert_eq!(count(&mut place), 99);

        let mut place = stats.begin_walk();
        assert!(!stats.walk(&mut place, |_, _| false));
        stats.clear();
        fill();
        assert_eq!(count(&mut place), 0);
    }
}
