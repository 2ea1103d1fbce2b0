//! TLS in process: real sockets, a real client library, certificates generated on the spot.
//!
//! No fixed ports; every wait is for an observable condition, with a deadline that only a failure reaches.

pub mod harness;

mod certificates;
mod handshake;
mod start;
mod stream;
