//! Counters by key prefix, for `stats detail`.
//!
//! Owns the table; knows nothing of keys but the delimiter. Off unless asked for, so its lock (rank:
//! docs/locking.md) costs nothing in ordinary service.

use parking_lot::Mutex;
use std::collections::HashMap;

/// Most prefixes counted (memcached's cap since 1.6.45).
const PREFIXES_MAX: usize = 65_536;

#[derive(Default, Clone, Copy)]
struct Prefix {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// Which counter to add to.
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
    table: Mutex<HashMap<Box<[u8]>, Prefix>>,
}

impl PrefixStats {
    /// An empty table; a prefix ends before the first `delimiter` of a key.
    pub fn new(delimiter: u8) -> Self {
        Self { delimiter, table: Mutex::default() }
    }

    /// Counts an event of `key`; keys without delimiter are not counted.
    pub fn record(&self, key: &[u8], event: PrefixEvent) {
        let Some(end) = memchr::memchr(self.delimiter, key) else { return };
        let mut table = self.table.lock();
        if table.len() >= PREFIXES_MAX && !table.contains_key(&key[..end]) {
            return;
        }
        let prefix = table.entry(key[..end].into()).or_default();
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

    /// Appends a `PREFIX …` line for each prefix.
    pub fn dump(&self, out: &mut Vec<u8>) {
        let rows: Vec<_> = self.table.lock().iter().map(|(name, counts)| (name.clone(), *counts)).collect();
        for (name, Prefix { gets, hits, sets, deletes }) in rows {
            out.extend_from_slice(b"PREFIX ");
            out.extend_from_slice(&name);
            out.extend_from_slice(format!(" get {gets} hit {hits} set {sets} del {deletes}\r\n").as_bytes());
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.table.lock().clear();
    }
}
