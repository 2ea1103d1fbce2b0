//! Memory for items: address space, pages, chunks and their sizes, and the numbers of threads with magazines.
//!
//! Knows no index and no queues. Used by all rooms above.

pub(in crate::store) mod arena;
pub(in crate::store) mod chunk_layout;
pub(in crate::store) mod chunk_pool;
pub(in crate::store) mod chunks;
pub(in crate::store) mod class_lock;
pub(in crate::store) mod drain;
pub(in crate::store) mod page_entries;
pub(in crate::store) mod page_pool;
pub(in crate::store) mod region;
pub(in crate::store) mod size_classes;
pub(in crate::store) mod thread_slot;

pub(in crate::store) use arena::Arena;
pub(in crate::store) use chunk_layout::SizeHistogram;
pub(in crate::store) use chunk_pool::{ChunkKind, ChunkPool};
pub(in crate::store) use chunks::{ChunkView, Chunks};
pub(in crate::store) use class_lock::{Mutex, MutexGuard};
pub(in crate::store) use page_entries::PageEntries;
pub(in crate::store) use page_pool::{NewPage, PagePool, on_top};
pub(in crate::store) use region::{Region, prefetch, touch};
pub(in crate::store) use size_classes::{CLASSES_PAGES, PAGE_BYTES, SizeConfig, Sizes};
