//! The memory file of `-e`, and how its items are found again.

pub(in crate::store) mod memory_file;
pub(in crate::store) mod recovery;

pub(in crate::store) use memory_file::{MemoryFile, PersistentCounters};
