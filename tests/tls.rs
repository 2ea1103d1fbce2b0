//! TLS in process: real sockets, a real client library, certificates generated on the spot.
//!
//! No fixed ports; every wait is for an observable condition, with a deadline that only a failure reaches.

#![allow(clippy::unwrap_used)]

#[path = "tls/harness.rs"]
mod harness;

#[path = "tls/certificates.rs"]
mod certificates;
#[path = "tls/handshake.rs"]
mod handshake;
#[path = "tls/start.rs"]
mod start;
#[path = "tls/stream.rs"]
mod stream;
