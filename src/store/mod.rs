//! The storage engine: items in slab memory, the hash index, eviction and expiry.
//!
//! ```text
//! store        Store: lookup, unlink, allocation           entry    an item under its bucket's lock
//! flush        expired and flushed items                   read     optimistic reads
//! reservation  values being uploaded, and pinned values    write    conditional commits
//! walk         stepwise walks: sweep, tending, dumps       scratch  per-thread value buffer
//! slabs        slab classes and the page pool              upkeep   signals for background threads
//! link         which item is the item of a key          change   changes of items, for a sink
//! index/       hash -> handle
//! page_move/   moving a page from one class to another
//! evict/       choice of the victim: S3-FIFO with ghosts, or one LRU list
//! file/        the memory file of `-e`, and its recovery
//! slab/        address space, pages, chunks, size classes, magazines
//! item/        layout of an item in its chunk, keys, handles, atomic bytes
//! ```
//! Knows no protocol, no settings table and no sockets; called by `cache` and `maint`. No `&[u8]` into an item
//! leaves this directory, except for values under a [`Pinned`] guard or a [`Reservation`].

#![allow(unsafe_code)] // tests/tidy.rs checks that every site has its SAFETY line

mod change;
mod class;
mod entry;
mod evict;
mod flush;
mod index;
mod item;
mod link;
mod memory_file;
mod page_move;
mod read;
mod recovery;
mod reservation;
mod scratch;
mod slab;
mod slabs;
#[allow(clippy::module_inception)]
mod store;
mod upkeep;
mod walk;
mod write;

pub use change::{Change, ChangeOp, ChangeSink};
pub use class::{ClassCounts, ClassView};
pub use entry::{Entry, Version};
pub use index::GrowthStep;
pub use item::key::Key;
pub use item::layout::{Meta, iflag, state};
pub use memory_file::{Holds, MemoryFile};
pub use page_move::rescue::{Move, MoveCounts, Progress};
pub use recovery::Adopted;
pub use reservation::{Pinned, Reservation};
pub use scratch::Scratch;
#[cfg(feature = "lock-times")]
pub use slab::class_lock::take_holds;
pub use slab::size_classes::{PAGE_BYTES, SizeConfig, Sizes};
pub use slab::thread_slot::act_as;
pub use store::{Config, Lookup, Store};
pub use walk::{Seen, Walk};
pub use write::{CommitInfo, Dead, Mode, OutOfMemory, Relayout, Stored, Write};
