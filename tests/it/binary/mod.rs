//! The binary protocol, byte by byte: most tests against a session alone, the rest through real sockets.
//!
//! The clock stands still unless a test advances it. CAS ids count from 2, and every store consumes one.

mod harness;
pub mod packet;

mod admin;
mod commands;
mod framing;
mod sockets;
