//! Authentication: text tokens, SASL in packets, user files, and the login timeout.
//!
//! Tests sessions in process, servers with real sockets, and the program itself. Tests advance clocks by hand and
//! wait for observable conditions.

mod harness;
mod program;
mod sasl;
mod server;
mod text;
