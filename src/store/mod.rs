//! The memory kernel: items, where they lie, how they are found and which ones leave.
//!
//! ```text
//! store      lookups and unlinking: the door of it all       entry   an item as visitors see it
//! flush      which items are dead: flushed or expired         read    lookups without a lock
//! reservation  values on their way in and out                 write   commits, under which condition
//! walk       all items, step by step: the sweep and dumps     scratch a buffer for one value
//! slabs      classes, and how their parts meet                upkeep  what background threads must know
//! history    how often keys have left a class of late
//! index/     hash -> handle
//! page_move/ a page goes from one class to another
//! evict/     which item leaves: S3-FIFO with ghosts, or one LRU list
//! file/      the memory file of `-e`, and how its items are found again
//! slab/      address space, pages, chunks and their sizes; what a thread has of a class
//! item/      layout of an item in its chunk, handles, bytes in atomic words
//! ```
//! Knows no protocol, no settings table and no sockets; called by `cache` and `maint`. Outside this
//! directory no `&[u8]` into an item exists, but for values under a [`Pinned`] guard or a [`Reservation`].

#![allow(unsafe_code)] // every site has its SAFETY line; tests/tidy.rs looks

mod entry;
mod evict;
mod file;
mod flush;
mod history;
mod index;
mod item;
mod page_move;
mod read;
mod reservation;
mod scratch;
mod slab;
mod slabs;
#[allow(clippy::module_inception)]
mod store;
mod upkeep;
mod walk;
mod write;

pub use entry::{Entry, Version};
pub use file::memory_file::{Holds, MemoryFile};
pub use file::recovery::Adopted;
pub use index::Step;
pub use item::layout::{Meta, iflag, state};
pub use page_move::rescue::{Move, MoveCounts, Progress};
pub use reservation::{Pinned, Reservation};
pub use scratch::Scratch;
#[cfg(feature = "lock-times")]
pub use slab::class_lock::take_holds;
pub use slab::size_classes::{PAGE_BYTES, SizeConfig, Sizes};
pub use slab::thread_slot::act_as;
pub use slabs::{ClassCounts, ClassView};
pub use store::{Config, Lookup, Store};
pub use walk::{Seen, Walk};
pub use write::{CommitInfo, Dead, Mode, OutOfMemory, Relayout, Stored, Write};
