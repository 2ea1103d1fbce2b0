//! The memory file of `-e`, and the recovery of its items.

pub(in crate::store) mod memory_file;
pub(in crate::store) mod recovery;

pub(in crate::store) use memory_file::{MemoryFile, PersistentCounters};
