//! Owns the administrative commands whose replies are deterministic: no crawl, no page move (BUSY at any
//! moment), no dump of live lists, no watch (refused behind other replies of the same read), no
//! `lru mode segmented` (see `ALWAYS`).
//! Called by `generate`.

use fastrand::Rng;

use super::{fields, pick};
use crate::compare::Compare;

const LINES: &[&str] = &[
    "version",
    "version 1 2",
    "verbosity",
    "verbosity 0",
    "verbosity 1",
    "verbosity 2",
    "verbosity 3",
    "verbosity -1",
    "verbosity foo",
    "verbosity 1 noreply",
    "verbosity noreply",
    "shutdown",
    "shutdown graceful",
    "shutdown foo",
    "cache_memlimit",
    "cache_memlimit foo",
    "cache_memlimit 7",
    "cache_memlimit 0",
    "cache_memlimit -1",
    "cache_memlimit 1000000001",
    "cache_memlimit 512",
    "cache_memlimit 600 noreply",
    "slabs",
    "slabs foo",
    "slabs reassign",
    "slabs reassign 1",
    "slabs reassign a b",
    "slabs reassign 1 2 noreply",
    "slabs reassign 1 2 3",
    "slabs automove",
    "slabs automove 0",
    "slabs a 1",
    "slabs automove 3",
    "slabs automove -1",
    "slabs automove foo",
    "slabs automove ratio",
    "slabs automove ratio 0.5",
    "slabs automove ratio 2",
    "slabs automove ratio foo",
    "slabs automove window",
    "slabs automove window 2",
    "slabs automove window 10",
    "slabs automove window 1801",
    "slabs automove window foo",
    "slabs automove freeratio 0.05",
    "slabs automove freeratio foo",
    "lru",
    "lru foo",
    "lru mode",
    "lru mode foo",
    "lru mode flat",
    "lru tune",
    "lru tune 10 25 0.1 2.0",
    "lru tune 50 50 0.1 2.0",
    "lru tune 10 25 0 2.0",
    "lru tune 10 25 -1 2.0",
    "lru tune a b c d",
    "lru tune 10 25 0.1",
    "lru temp_ttl",
    "lru temp_ttl 60",
    "lru temp_ttl -1",
    "lru temp_ttl foo",
    "lru_crawler",
    "lru_crawler foo",
    "lru_crawler sleep",
    "lru_crawler sleep 100",
    "lru_crawler sleep 1000001",
    "lru_crawler sleep foo",
    "lru_crawler tocrawl 10",
    "lru_crawler tocrawl 0",
    "lru_crawler tocrawl foo",
    "lru_crawler tocrawl",
    "lru_crawler crawl",
    "lru_crawler metadump",
    "lru_crawler mgdump",
    "extstore",
    "extstore foo",
    "extstore foo 1",
    "refresh_certs",
    "misbehave",
    "debugtime p",
    "debugitem lock a",
    "stats noreply",
    "stats foo",
    "stats item",
    "stats sizes",
    "stats sizes_enable",
    "stats sizes_disable",
    "stats detail",
    "stats detail foo",
    "stats detail on",
    "stats detail on",
    "stats detail off",
    "stats detail on extra",
    "stats cachedump",
    "stats cachedump 1",
    "stats cachedump a b",
    "stats cachedump 64 1",
    "stats cachedump 200 1",
    "stats reset",
    "stats r",
];

/// A line without its end.
pub fn line(random: &mut Rng) -> Vec<u8> {
    let tail = if random.u8(..4) == 0 { fields::tail(random) } else { "" };
    format!("{}{tail}", pick(random, LINES)).into_bytes()
}

/// A whole line that brings a report, and how its replies are compared.
pub fn report(random: &mut Rng) -> (Vec<u8>, Compare) {
    let reports = [
        ("stats\r\n", Compare::Stats),
        ("stats settings\r\n", Compare::Settings),
        ("stats s\r\n", Compare::Settings),
        ("stats slabs\r\n", Compare::Slabs),
        ("stats detail dump\r\n", Compare::Lines),
        ("stats detail d\r\n", Compare::Lines),
    ];
    let (line, compare) = reports[random.usize(..reports.len())];
    (line.as_bytes().to_vec(), compare)
}
