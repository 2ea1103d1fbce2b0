//! Counters by key prefix, for `stats detail`.
//!
//! Owns the table; knows nothing of keys but the delimiter. Off by default, so its lock (rank: docs/locking.md) costs
//! nothing in ordinary service.
//!
//! Rows are only added, until all are cleared: a row's index stays valid between two steps of a dump. The table is
//! bounded in rows, and a prefix in bytes by the longest key. A prefix without a row, or without memory for one, is
//! not counted.

use crate::decimal;
use crate::hash::hash;
use crate::limits::{HEADROOM, KEY_MAX};
use crate::printable::is_printable;
use crate::sys::headroom;
use parking_lot::{Mutex, MutexGuard};

/// Maximum number of prefixes (memcached's limit since 1.6.45).
const PREFIXES_MAX: usize = 65_536;

/// Slots of the index; at most half of them are taken.
const SLOTS: usize = 2 * PREFIXES_MAX;

/// Rows added per check for free memory: 100 KB.
const ROWS_ASKED: usize = 256;

/// Rows printed under one hold of the lock: some 10 us.
const BATCH: usize = 64;

/// Maximum bytes of a row's line without the prefix: five words and four numbers of 20 digits.
const WORDS_MAX: usize = "PREFIX  get  hit  set  del \r\n".len() + 4 * 20;

/// Longest line of a dump.
pub const PREFIX_LINE_MAX: usize = KEY_MAX + WORDS_MAX;

#[derive(Default, Clone, Copy)]
struct Prefix {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
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
    rows: Vec<(Box<[u8]>, Prefix)>,
    /// Row numbers, from 1 on, by the hash of their prefix; 0 = none. Empty before the first row.
    index: Vec<u32>,
    /// Bytes of all prefixes.
    bytes: usize,
    /// Rows that may be added before the next check for free memory.
    granted: usize,
    /// How often all rows have been cleared.
    generation: u64,
}

/// Position of a dump. The dump prints the rows that existed when it began.
pub struct PrefixPlace {
    next: usize,
    end: usize,
    generation: u64,
    bytes: usize,
}

impl PrefixPlace {
    /// Maximum bytes of the remaining lines of the dump.
    pub fn bytes_max(&self) -> usize {
        self.bytes + (self.end - self.next) * WORDS_MAX
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

    /// Begins a dump of all rows, for [`PrefixStats::dump`].
    pub fn begin_dump(&self) -> PrefixPlace {
        let table = self.table.lock();
        PrefixPlace { next: 0, end: table.rows.len(), generation: table.generation, bytes: table.bytes }
    }

    /// Appends the next `PREFIX …` lines until `out` has `full` bytes; the last line may exceed them by
    /// [`PREFIX_LINE_MAX`], which the caller has reserved. True when none is left.
    pub fn dump(&self, place: &mut PrefixPlace, out: &mut Vec<u8>, full: usize) -> bool {
        while out.len() < full {
            let table = self.table.lock();
            if table.generation != place.generation {
                return true;
            }
            let rows = &table.rows[place.next..place.end];
            for (name, counts) in rows.iter().take(BATCH) {
                if out.len() >= full {
                    return false;
                }
                counts.put(name, out);
                place.next += 1;
            }
            if place.next == place.end {
                return true;
            }
        }
        false
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

impl Prefix {
    fn put(&self, name: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"PREFIX ");
        out.extend_from_slice(name);
        for (word, number) in
            [(" get ", self.gets), (" hit ", self.hits), (" set ", self.sets), (" del ", self.deletes)]
        {
            out.extend_from_slice(word.as_bytes());
            decimal::put(out, number);
        }
        out.extend_from_slice(b"\r\n");
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
        self.rows.push((copy.into_boxed_slice(), Prefix::default()));
        self.bytes += name.len();
        self.granted = self.granted.saturating_sub(1);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn dump(stats: &PrefixStats, step: usize) -> String {
        let (mut place, mut out) = (stats.begin_dump(), Vec::new());
        let most = place.bytes_max();
        loop {
            let full = out.len() + step;
            let over = stats.dump(&mut place, &mut out, full);
            assert!(out.len() < full + PREFIX_LINE_MAX, "a step is bounded");
            if over {
                assert!(out.len() <= most);
                return String::from_utf8(out).unwrap();
            }
        }
    }

    #[test]
    fn a_dump_lists_each_prefix_once_at_any_step_size() {
        let stats = PrefixStats::new(b':');
        for n in 0..1000 {
            stats.record(format!("p{n}:k").as_bytes(), PrefixEvent::Miss);
            stats.record(format!("p{n}:l").as_bytes(), PrefixEvent::Set);
        }
        stats.record(b":", PrefixEvent::Hit);
        stats.record(b"no delimiter", PrefixEvent::Hit);
        let whole = dump(&stats, usize::MAX / 2);
        let lines: BTreeSet<&str> = whole.lines().collect();
        assert_eq!((whole.lines().count(), lines.len()), (1001, 1001));
        assert!(lines.contains("PREFIX p999 get 1 hit 0 set 1 del 0"));
        assert!(lines.contains("PREFIX  get 1 hit 1 set 0 del 0"));
        for step in [1, 100, 5000] {
            assert_eq!(dump(&stats, step), whole);
        }
    }

    #[test]
    fn the_longest_line_is_within_its_bound() {
        let mut line = Vec::new();
        let most = Prefix { gets: u64::MAX, hits: u64::MAX, sets: u64::MAX, deletes: u64::MAX };
        most.put(&[b'p'; KEY_MAX], &mut line);
        assert_eq!(line.len(), PREFIX_LINE_MAX);
    }

    #[test]
    fn prefixes_beyond_the_cap_are_not_counted() {
        let stats = PrefixStats::new(b':');
        for n in 0..PREFIXES_MAX + 10 {
            stats.record(format!("{n}:").as_bytes(), PrefixEvent::Set);
        }
        stats.record(b"7:", PrefixEvent::Delete);
        let dump = dump(&stats, 32 * 1024);
        assert_eq!(dump.lines().count(), PREFIXES_MAX);
        assert!(dump.contains("PREFIX 7 get 0 hit 0 set 1 del 1\r\n"));
    }

    #[test]
    fn prefixes_that_would_forge_lines_are_not_counted() {
        let stats = PrefixStats::new(b':');
        for key in [&b"a\r\nEND\r\n:x"[..], b"a b:x", b"\0:x", b"fine:x\n"] {
            stats.record(key, PrefixEvent::Set);
        }
        assert_eq!(dump(&stats, 1), "PREFIX fine get 0 hit 0 set 1 del 0\r\n");
    }

    #[test]
    fn a_dump_ends_when_rows_are_cleared_and_omits_new_rows() {
        let stats = PrefixStats::new(b':');
        let fill = || (0..100).for_each(|n| stats.record(format!("p{n}:").as_bytes(), PrefixEvent::Set));
        fill();
        let (mut place, mut out) = (stats.begin_dump(), Vec::new());
        assert!(!stats.dump(&mut place, &mut out, 1));
        stats.record(b"late:", PrefixEvent::Set);
        assert!(stats.dump(&mut place, &mut out, usize::MAX));
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 100);

        let (mut place, mut out) = (stats.begin_dump(), Vec::new());
        assert!(!stats.dump(&mut place, &mut out, 1));
        stats.clear();
        fill();
        assert!(stats.dump(&mut place, &mut out, usize::MAX));
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
    }
}
