//! The integration tests: the server in process or as a program, one module a topic.
//!
//! One program, so that one link serves all of them, and `cargo test --test it engine::reads` runs a part. Tests share
//! the process: none sets its limits, environment, allocator or panic hook, and none counts its threads, descriptors
//! or memory. Tests that need that start the server's program, or are a program of their own (docs/testing.md).
#![allow(clippy::unwrap_used, reason = "a test: what is not there fails it")]

#[path = "../support/mod.rs"]
mod support;

/// The server's program. `OXCACHED_OPTIONS` adds options to each: `-o drop_privileges` shows that no test needs what
/// the sandbox forbids.
fn program() -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_oxcached"));
    command.args(std::env::var("OXCACHED_OPTIONS").unwrap_or_default().split_ascii_whitespace());
    command
}

/// One test a script: its name, the server's options, the conversation (see [`support::script`]).
macro_rules! scripts {
    ($($name:ident $args:literal $script:literal)*) => {
        $(#[test]
        fn $name() {
            crate::support::script::run($args, $script);
        })*
    };
}

mod admin;
mod admin_listener;
mod auth;
mod backing;
mod binary;
mod cluster;
mod durable;
mod engine;
mod fuzz_corpus;
mod host;
mod late;
mod lifecycle;
mod limits;
mod meta;
mod metrics;
mod net;
mod regression;
mod service;
mod split;
mod text;
mod tls;
mod udp;
