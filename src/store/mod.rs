//! The storage engine: items in slab memory, the hash index, eviction and expiry.
//!
//! Rooms, from the bottom; a file names files of its own room and of lower ones only (`tests/tidy/rooms.rs` holds the
//! table):
//!
//! | room | files | what |
//! |---|---|---|
//! | 0 | `item` | layout of an item in its chunk, keys, handles, atomic bytes |
//! | 1 | `slab` | address space, page pool, chunks and their sizes, a page that drains, locks of classes |
//! | 2 | `memory_file` | the memory file of `-e` |
//! | 3 | `index` | hash -> handle; ghosts: what stays of an evicted key |
//! | 4 | `evict` | choice of the victim: S3-FIFO with ghosts, or one LRU list; labels of items |
//! | 5 | `class` | a class: its chunks, its queues, its threads' magazines, and how these meet |
//! | 6 | `slabs` | all classes over one page pool |
//! | 7 | `store` `dates` `entry` `flush` `link` `read` `reload` `reservation` `scratch` `upkeep` `walk` `write` `change` | the [`Store`] |
//! | 8 | `page_move` `recovery` | work on all parts of a store: moving pages, rebuilding it from a memory file |
//!
//! A class consists of parts with private fields, each tested alone. `slab::Chunks` allocates chunks and knows no
//! queues. `evict::Queues` has the labels and counts of items and the queues of both modes, and sees memory through a
//! read-only `slab::ChunkView`. A page that is being emptied, to be moved to another class, is part of `Chunks`,
//! because every allocation and every free must check for it. A magazine has the chunks and queue entries that one
//! thread takes and returns without the class's lock. Only `class`, `slabs`, the store and the page mover know how the
//! parts meet; code that needs all of a class, magazines included, holds a `class::WholeClass`.
//!
//! The files of room 7 implement one type, [`Store`]: `store` lookups, unlinking, allocation; `entry` access to an item
//! under its bucket's lock; `link` which item a key has; `change` reports of changes to a sink; `read` optimistic
//! reads; `reload` items of a durable copy; `write` conditional commits; `reservation` values that arrive, and pinned
//! values that are sent; `flush` expired and flushed items; `dates` expiry by the wall clock; `walk` the sweep, tending
//! (the LRU maintainer's work) and dumps; `scratch` a thread's value buffer; `upkeep` signals for background threads.
//!
//! Knows no protocol, no settings table and no sockets; called by `cache` and `maint`. No `&[u8]` into an item
//! leaves this directory, except for values under a [`Pinned`] guard or a [`Reservation`].

#![allow(unsafe_code)] // tests/tidy.rs checks that every site has its SAFETY line

mod change;
mod class;
mod dates;
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
mod reload;
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
pub use reload::LinkedLoad;
pub use reservation::{Pinned, Reservation};
pub use scratch::Scratch;
#[cfg(feature = "lock-times")]
pub use slab::class_lock::take_holds;
pub use slab::size_classes::{PAGE_BYTES, SizeConfig, Sizes};
pub use slab::thread_slot::act_as;
pub use store::{Config, Lookup, Store};
pub use walk::{Seen, Walk};
pub use write::{CommitInfo, Dead, Mode, OutOfMemory, Relayout, Stored, Write};
