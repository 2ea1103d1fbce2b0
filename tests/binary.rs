//! The binary protocol, byte by byte: most of it against a session alone, the rest through real sockets.
//!
//! The clock stands still unless a test moves it. CAS ids count from 2, and every store uses one up.

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
