//! Item memory: every size, page moves, eviction, expiry, threads, the background threads, restart.

mod changes;
pub mod crawler;
mod idle;
mod magazines;
pub mod memory;
mod model;
pub mod mover;
pub mod policy;
mod reads;
mod restart;
mod stress;
mod strides;
mod time;
