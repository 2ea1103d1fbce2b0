//! oxcached: a drop-in replacement for memcached.
//!
//! ```text
//!  main thread            worker 1..N                          chores thread
//!  listeners, signals,    one poll each; a connection lives    grows the index,
//!  clock tick             and dies on one worker               sweeps out expired items
//!      │  accept               ▲
//!      └── fd over a bounded ──┘  read → session → verbs → store → write
//!          channel, waker
//! ```
//!
//! The *main thread* owns every listening socket, the signals and the one-second tick; it never touches a
//! client's bytes and pauses accepting when descriptors run out. A *worker* is one reactor: one poll, its
//! connections in a slab, one shared pair of buffers, counters that it alone writes. The *chores thread* does
//! what the store needs done beside requests, in steps that hold one bucket's lock for a few
//! microseconds. The *logger thread* writes to the clients that watch what the workers have recorded; nobody
//! waits for it. A thread for slow checks of passwords exists once one was needed. Lines for
//! standard error are written by one more thread, so that their reader stops no other one.
//!
//! Layers, from the bottom; a module imports only from its own or lower ones (`tests/tidy.rs` holds the table):
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 0 | [`limits`] [`clock`] [`hash`] [`decimal`] [`point`] [`printable`] [`sys`] [`settings`] [`stats`] [`events`] | leaves |
//! | 1 | [`store`] [`tls`] [`auth`] | the memory kernel: items, index, classes, eviction; certificates; users |
//! | 2 | [`cache`] | the verbs, protocol-free |
//! | 3 | [`maint`] | chores, the logger |
//! | 4 | [`proto`] | bytes to verbs and back, no sockets |
//! | 5 | [`net`] | sockets, workers, connections |
//! | 6 | [`server`] | everything wired; `main` |
//!
//! `docs/architecture.md` follows one request through all of them.

pub mod auth;
pub mod cache;
pub mod clock;
pub mod decimal;
pub mod events;
pub mod hash;
pub mod limits;
pub mod maint;
pub mod net;
pub mod point;
pub mod printable;
pub mod proto;
pub mod server;
pub mod settings;
pub mod stats;
pub mod store;
pub mod sys;
pub mod tls;
