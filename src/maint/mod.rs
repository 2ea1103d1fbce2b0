//! Maintenance: what a server does beside serving requests.
//!
//! Three threads: `chores` sees to memory, index, queues and expired items, `mover` moves pages between slab classes,
//! `log` tells watchers what happens. Each is driven by steps that say how long nothing will be due. Beside the threads,
//! `restart` judges the memory file of `-e`. Started, ticked and stopped by `server`. Knows the store and the events, no
//! sockets.

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
pub use log::{Logger, Refused, Seat, Tally, Watchers};
pub use mover::{Figures, Mover, MoverThread, MoverWork, Refusal};
pub use sweep::all_classes;
pub use watcher::Sink;
