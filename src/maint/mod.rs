//! Maintenance: background work of the server.
//!
//! Three threads: `chores` maintains memory, index, queues and expired items, `mover` moves pages between slab
//! classes, `log` sends events to watchers. Each is driven by steps that return how long the thread may rest.
//! `restart` validates the memory file of `-e`. Started, ticked and stopped by `server`. Knows the store and the
//! events, no sockets.

mod automove;
mod background;
mod chores;
mod crawler;
mod gradient;
mod log;
mod mover;
pub mod restart;
mod sweep;
mod watcher;

pub use automove::Tuning;
pub use background::Rest;
pub use chores::{ChoreInput, ChoreWork, Chores, GROW_BUCKETS};
pub use crawler::Crawler;
pub use log::{Logger, RoundTally, Seat, WatchRefused, Watchers};
pub use mover::{Figures, Mover, MoverThread, MoverWork, Refusal};
pub use sweep::all_classes;
pub use watcher::{WatchPeer, WatchSink};
