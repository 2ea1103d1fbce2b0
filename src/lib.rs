//! oxcached: a drop-in replacement for memcached.
//!
//! ```text
//!  main thread            worker 1..N                          chores thread
//!  listeners, signals,    one poll each; a connection stays    grows the index,
//!  clock tick             on one worker until it closes        sweeps out expired items
//!      │  accept               ▲
//!      └── fd over a bounded ──┘  read → session → verbs → store → write
//!          channel, waker
//! ```
//!
//! The *main thread* owns every listening socket, the signals and the one-second tick; it never touches a client's
//! bytes and pauses accepting when descriptors run out. A *worker* is one event loop: one poll, its connections in a
//! slab, one shared pair of buffers, counters that only it writes. The *chores thread* does the store's background work
//! in steps that hold one bucket's lock for a few microseconds. The *logger thread* writes to watching clients what the
//! workers have recorded; no thread waits for it. A thread for slow password checks starts with the first of them. One
//! more thread writes the lines for standard error, so that a slow reader of them blocks no other thread. With
//! `--admin`, the *admin thread* serves metrics, health and live events over HTTP; it reads counters and asks no other
//! thread for anything.
//!
//! Layers, from the bottom; a module imports only from its own or lower ones (`tests/tidy.rs` holds the table):
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 0 | [`limits`] [`clock`] [`hash`] [`decimal`] [`find_byte`] [`point`] [`cache_lines`] [`printable`] [`metric`] [`sys`] [`settings`] [`stats`] [`conns`] [`events`] [`hotkeys`] | leaves |
//! | 1 | [`store`] [`tls`] [`auth`] [`cluster`] | the memory kernel: items, index, classes, eviction; certificates; users; the nodes of a cluster |
//! | 2 | [`cache`] | the verbs, protocol-free |
//! | 3 | [`maint`] [`durable`] | chores, the logger; the durable copy of the items |
//! | 4 | [`report`] | statistics as data |
//! | 5 | [`proto`] | bytes to verbs and back, no sockets |
//! | 6 | [`net`] | sockets, workers, connections |
//! | 7 | [`admin`] | the admin listener: its thread, HTTP, health, statistics, live events |
//! | 8 | [`server`] | wires all of them; `main` |
//!
//! `docs/architecture.md` follows one request through all of them.

pub mod admin;
pub mod auth;
pub mod cache;
pub mod cache_lines;
pub mod clock;
pub mod cluster;
pub mod conns;
pub mod decimal;
pub mod durable;
pub mod events;
pub mod find_byte;
pub mod hash;
pub mod hotkeys;
pub mod limits;
pub mod maint;
pub mod metric;
pub mod net;
pub mod point;
pub mod printable;
pub mod proto;
pub mod report;
pub mod server;
pub mod settings;
pub mod stats;
pub mod store;
pub mod sys;
pub mod tls;
