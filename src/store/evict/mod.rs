//! Eviction: which item is evicted when memory is short.
//!
//! Owns the choice only: the store unlinks the victim from the index and frees it. Called by `class`.

pub(in crate::store) mod class_stats;
mod clock_hand;
mod history;
mod labels;
mod lru_list;
mod queues;
mod ring;
mod s3fifo;

pub(in crate::store) use class_stats::{ClassStats, Part};
pub(in crate::store) use history::{History, lines_of};
pub(in crate::store) use labels::{ItemCounts, Moves, unmark};
pub(in crate::store) use queues::{EvictionMode, Queues};

/// Items examined in one search for a victim before the least frequently used one seen is taken.
const SEARCH: usize = 64;

/// Maximum slots that a clock hand passes in one search, free ones included: some 10 us. A request may need several
/// searches.
const HAND_STEPS: usize = 256;

/// Distance in slots at which chunk headers are prefetched before a hand.
const HAND_AHEAD: u32 = 8;

/// Maximum queue entries on the draining page that one search skips: some 10 us. The searches of one request together
/// must get past such a page, which has up to 32,768 slots.
const DRAINING_STEPS: usize = 1024;
