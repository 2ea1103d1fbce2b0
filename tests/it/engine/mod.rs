//! Item memory: every size, page moves, eviction, expiry, threads, the background threads, restart.

mod changes;
mod crawler;
mod idle;
mod magazines;
mod memory;
mod model;
mod mover;
mod policy;
mod reads;
mod restart;
mod stress;
mod strides;
mod time;
