//! The network layer in process: real sockets, with a scripted handler instead of the protocols.
//!
//! Test names cite the lines of docs/connection.md that they check. No fixed ports; every wait is for an observable
//! state, with a deadline that only a failure reaches.

pub mod harness;
mod script;

mod accept;
mod closing;
mod limits;
mod readiness;
mod stream;
mod timeouts;
mod turns;
