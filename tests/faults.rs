//! Errors of the system, injected: a library that is preloaded into the real server has its calls fail by a plan that the
//! test writes (`faults/plan.rs`, `faults/shim.rs`).
//!
//! Each error that a manual names, short reads and writes, interrupted calls. What must come of it is the documented
//! reply or a closed connection for the client that is hit, nothing for any other, and never a panic. `FAULTS_SEED=`
//! repeats the choices where a fault has a chance.
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
#[path = "tls/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of TLS")]
mod tls;
