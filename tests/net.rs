//! The network layer in process: real sockets, with a scripted handler instead of the protocols.
//!
//! Test names cite the lines of docs/connection.md that they check. No fixed ports; every wait is for an observable
//! state, with a deadline that only a failure reaches.

#![allow(clippy::unwrap_used)]

#[path = "net/harness.rs"]
mod harness;
#[path = "net/script.rs"]
mod script;

#[path = "net/accept.rs"]
mod accept;
#[path = "net/closing.rs"]
mod closing;
#[path = "net/datagram.rs"]
mod datagram;
#[path = "net/limits.rs"]
mod limits;
#[path = "net/readiness.rs"]
mod readiness;
#[path = "net/stream.rs"]
mod stream;
#[path = "net/timeouts.rs"]
mod timeouts;
#[path = "net/turns.rs"]
mod turns;
#[path = "net/udp.rs"]
mod udp;
