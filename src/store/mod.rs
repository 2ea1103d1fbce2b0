//! The memory kernel: items, where they lie, how they are found and which ones leave.
//!
//! ```text
//! store      lookups, eviction's unlinking                    entry   an item as visitors see it
//! flush      which items are dead: flushed or expired
//! read       lookups without a lock                          write   commits, under which condition
//! reserve    values on their way in and out: Reservation, Pinned
//! slabs      classes and the pages they share                index   hash -> handle
//! stock      a class's pages and free chunks                 cut     how large its chunks are
//! policy     who leaves: S3-FIFO                             age     flat mode's queue
//! ring       a queue of handles                              signs   what a class knows without its lock
//! hand       what passes over the chunks of a class and goes on where it was
//! history    how often keys have left a class of late
//! magazine   what threads have of a class, so that they need its lock less often
//! thread_slot  numbers of threads, for their magazines
//! mover      a page goes from one class to another           leave   the class's side of it
//! walk       all items, step by step: the sweep and dumps
//! item       layout of an item in its chunk                  head    its first word
//! sizes      class arithmetic
//! arena      handles -> words                                region  address space
//! words      bytes in atomic words                           handle  names of chunks
//! image      the memory file of `-e`                         adopt   finding its items again
//! scratch    a buffer for one value                          lock    the classes' mutex
//! upkeep     what background threads must know
//! ```
//! Knows no protocol, no settings table and no sockets; called by `cache` and `maint`. Outside this
//! directory no `&[u8]` into an item exists, but for values under a [`Pinned`] guard or a [`Reservation`].

#![allow(unsafe_code)] // every site has its SAFETY line; tests/tidy.rs looks

mod adopt;
mod age;
mod arena;
mod cut;
mod entry;
mod flush;
mod hand;
mod handle;
mod head;
mod history;
mod image;
mod index;
mod item;
mod leave;
mod lock;
mod magazine;
mod mover;
mod policy;
mod read;
mod region;
mod reserve;
mod ring;
mod scratch;
mod signs;
mod sizes;
mod slabs;
mod stock;
#[allow(clippy::module_inception)]
mod store;
mod thread_slot;
mod upkeep;
mod walk;
mod words;
mod write;

pub use adopt::Adopted;
pub use entry::{Entry, Version};
pub use image::{Holds, Image};
pub use index::Step;
pub use item::{Meta, iflag, state};
#[cfg(feature = "lock-times")]
pub use lock::take_holds;
pub use mover::{Move, MoveCounts, Progress};
pub use reserve::{Pinned, Reservation};
pub use scratch::Scratch;
pub use sizes::{PAGE_BYTES, SizeConfig, Sizes};
pub use slabs::{ClassCounts, ClassView};
pub use store::{Config, Found, Store};
pub use thread_slot::act_as;
pub use walk::{Seen, Walk};
pub use write::{Lapse, Met, Mode, OutOfMemory, Room, Stored, Write};
