//! The binary protocol, byte by byte: most tests against a session alone, the rest through real sockets.
//!
//! The clock stands still unless a test advances it. CAS ids count from 2, and every store consumes one.

#![allow(clippy::unwrap_used)]

#[path = "binary/harness.rs"]
mod harness;
#[path = "binary/packet.rs"]
mod packet;

#[path = "binary/admin.rs"]
mod admin;
#[path = "binary/commands.rs"]
mod commands;
#[path = "binary/framing.rs"]
mod framing;
#[path = "binary/sockets.rs"]
mod sockets;
