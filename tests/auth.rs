//! Authentication: tokens by text, SASL by packets, the files of users, and the time for a login.
//!
//! Sessions in process, servers with real sockets, and the program itself. What takes time is steered by clocks and
//! awaited by what can be seen.

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
