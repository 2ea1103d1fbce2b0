//! Owns the measurement of memory efficiency: the number of items a server holds before its first eviction. Called by
//! `main`.

use crate::report::Run;
use crate::server::Server;
use crate::{Outcome, wire};

/// Item memory; used only to choose the block between two reads of `stats`.
const MEMORY_BYTES: usize = 1 << 30;
/// A block is this share of the largest possible number of items.
const BLOCKS: usize = 2_000;
/// A server that holds more than this many times what should fit does not evict at all.
const OVERFLOW_FACTOR: usize = 2;

/// Stores new keys until `stats` shows an eviction.
pub fn measure(server: &Server, value_size: usize) -> Outcome<Run> {
    let most = MEMORY_BYTES / (wire::KEY_SIZE + value_size);
    let block = (most / BLOCKS) as u32;
    let mut stream = server.connect()?;
    let mut stored = 0;
    while (stored as usize) < most * OVERFLOW_FACTOR {
        wire::fill(&mut stream, stored, stored + block, value_size)?;
        stored += block;
        let stats = wire::stats(&mut stream)?;
        let evictions = wire::number(&stats, "evictions")?;
        if evictions > 0 {
            // From the first eviction on, each new item costs about one eviction: the error is within a block, 0.05 %
            // at most.
            let held = u64::from(stored).saturating_sub(evictions);
            return Ok(Run::cost_only(held as f64, server.rss_bytes()?));
        }
    }
    Err("no eviction although the memory is long full".into())
}
