//! Injected system errors: a library that is preloaded into the real server fails its calls by a plan that the test
//! writes (`faults/plan.rs`, `faults/shim.rs`).
//!
//! Covers every error that a manual page names, short reads and writes, and interrupted calls. The result must be the
//! documented reply or a closed connection for the affected client, no effect on any other, and never a panic.
//! `FAULTS_SEED=` repeats the choices of faults with a chance.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used)]

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/connections.rs"]
mod connections;
#[path = "faults/datagrams.rs"]
mod datagrams;
#[path = "faults/encrypted.rs"]
mod encrypted;
#[path = "faults/files.rs"]
mod files;
#[path = "faults/harness.rs"]
mod harness;
#[path = "faults/memory.rs"]
mod memory;
#[path = "faults/plan.rs"]
mod plan;
#[path = "faults/start.rs"]
mod start;
#[path = "it/tls/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of TLS")]
mod tls;
