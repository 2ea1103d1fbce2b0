//! Items and bytes by key prefix, for `stats prefixes`.
//!
//! Owns the table, which has `USAGE_PREFIXES_MAX` rows at most; prefixes beyond are counted together. Its memory counts
//! against the budget of reports. The caller counts in steps: all items are visited. Knows no format.

use crate::hash::hash;
use crate::limits::{KEY_MAX, USAGE_PREFIXES_MAX};
use crate::stats::{BudgetShare, Stats};
use crate::store::{Entry, Store, Walk};
use std::collections::HashMap;

/// Number and memcached_size of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Items.
    pub items: u64,
    /// Bytes, as memcached counts them.
    pub bytes: u64,
}

impl Usage {
    fn count(&mut self, bytes: u64) {
        self.items += 1;
        self.bytes += bytes;
    }

    fn add(&mut self, other: Self) {
        self.items += other.items;
        self.bytes += other.bytes;
    }
}

/// Usage of one prefix.
struct UsageRow {
    usage: Usage,
    /// Its name's place in the bytes of all names.
    start: u32,
    len: u8,
}

/// A count of all items by prefix.
pub struct PrefixUsage {
    delimiter: u8,
    walk: Walk,
    rows: Vec<UsageRow>,
    names: Vec<u8>,
    /// Rows by the hash of their prefix. Seeded, so no client can find two prefixes with equal hashes.
    index: HashMap<u64, u32>,
    /// Keys without delimiter.
    without: Usage,
    /// Prefixes that have no row.
    beyond: Usage,
    /// A key under its lock.
    key: Vec<u8>,
    taken: BudgetShare,
}

/// Result of a count.
pub struct UsageReport {
    /// Prefixes and their usage, the one with the fewest bytes first.
    pub top: Vec<(Vec<u8>, Usage)>,
    /// All other prefixes.
    pub other: Usage,
    /// Keys without delimiter.
    pub without: Usage,
    /// All items.
    pub total: Usage,
    /// Number of prefixes that were told apart.
    pub prefixes: usize,
    _taken: BudgetShare,
}

impl PrefixUsage {
    /// Begins a count; a prefix ends before the first `delimiter`. `None` if memory is short.
    pub fn new(store: &Store, stats: &Stats, delimiter: u8) -> Option<Self> {
        let mut key = Vec::new();
        key.try_reserve_exact(KEY_MAX + 16).ok()?;
        Some(Self {
            delimiter,
            walk: store.begin_walk(u64::MAX << 1),
            rows: Vec::new(),
            names: Vec::new(),
            index: HashMap::new(),
            without: Usage::default(),
            beyond: Usage::default(),
            key,
            taken: stats.globals.reports.share(),
        })
    }

    /// Counts the items in the next `slots` slots of memory; true when all are counted. `None` if the table cannot
    /// grow.
    pub fn step(&mut self, store: &'static Store, slots: u32, now: u32) -> Option<bool> {
        // Reserved for as many new prefixes as the step may find: nothing is allocated under a bucket's lock.
        let new = (slots as usize).min(USAGE_PREFIXES_MAX - self.rows.len());
        self.rows.try_reserve(new).ok()?;
        self.names.try_reserve(new * KEY_MAX).ok()?;
        self.index.try_reserve(new).ok()?;
        let rows = self.rows.capacity() * size_of::<UsageRow>() + self.index.capacity() * size_of::<(u64, u32)>();
        // The names of the listed prefixes are copied at the end.
        if !self.taken.grow_to(2 * (rows + self.names.capacity())) {
            return None;
        }
        let mut walk = self.walk;
        let over = store.walk(&mut walk, slots, now, |entry| {
            self.count(entry);
            true
        });
        self.walk = walk;
        Some(over)
    }

    fn count(&mut self, entry: &Entry) {
        self.key.clear();
        entry.copy_key(&mut self.key);
        let bytes = entry.memcached_size() as u64;
        let Some(end) = memchr::memchr(self.delimiter, &self.key) else { return self.without.count(bytes) };
        let name = &self.key[..end];
        let hash = hash(name);
        let at = match self.index.get(&hash) {
            Some(&at) => at as usize,
            None if self.rows.len() == USAGE_PREFIXES_MAX => return self.beyond.count(bytes),
            None => {
                let (start, len) = (self.names.len() as u32, name.len() as u8);
                self.names.extend_from_slice(name);
                self.index.insert(hash, self.rows.len() as u32);
                self.rows.push(UsageRow { usage: Usage::default(), start, len });
                self.rows.len() - 1
            }
        };
        self.rows[at].usage.count(bytes);
    }

    /// The `count` prefixes with the most bytes, and the rest. `None` if memory is short.
    pub fn finish(mut self, count: usize) -> Option<UsageReport> {
        self.index = HashMap::new();
        let name = |row: &UsageRow| &self.names[row.start as usize..][..usize::from(row.len)];
        self.rows.sort_unstable_by(|one, other| {
            other.usage.bytes.cmp(&one.usage.bytes).then_with(|| name(one).cmp(name(other)))
        });
        let (mut top, mut other) = (Vec::new(), self.beyond);
        top.try_reserve_exact(count.min(self.rows.len())).ok()?;
        for row in self.rows.iter().take(count) {
            let mut copy = Vec::new();
            copy.try_reserve_exact(row.len.into()).ok()?;
            copy.extend_from_slice(name(row));
            top.push((copy, row.usage));
        }
        self.rows.iter().skip(count).for_each(|row| other.add(row.usage));
        let mut total = self.without;
        total.add(other);
        top.iter().for_each(|(_, usage)| total.add(*usage));
        top.reverse();
        let (without, prefixes) = (self.without, self.rows.len());
        Some(UsageReport { top, other, without, total, prefixes, _taken: self.taken })
    }
}
