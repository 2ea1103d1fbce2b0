//! Authentication: text tokens, SASL in packets, user files, and the login timeout.
//!
//! Tests sessions in process, servers with real sockets, and the program itself. Tests advance clocks by hand and
//! wait for observable conditions.

#![allow(clippy::unwrap_used)]

#[path = "auth/harness.rs"]
mod harness;
#[path = "binary/packet.rs"]
#[allow(dead_code, reason = "shared with the tests of the binary protocol")]
mod packet;
mod support;

#[path = "auth/program.rs"]
mod program;
#[path = "auth/sasl.rs"]
mod sasl;
#[path = "auth/server.rs"]
mod server;
#[path = "auth/text.rs"]
mod text;
