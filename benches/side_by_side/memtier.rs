//! Owns the runs with memtier_benchmark: its flags and its JSON result. Called by `main` for a `Plan` that requests it.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::args::Args;
use crate::report::{Load, Run};
use crate::server::Server;
use crate::wire::{self, KEY_FIRST, KEY_PREFIX};
use crate::workload::Plan;
use crate::{Outcome, machine};

/// Fills the server, then loads it with memtier.
pub fn run(args: &Args, binary: &Path, server: &Server, plan: &Plan, extra: &[&str]) -> Outcome<Run> {
    wire::fill(&mut server.connect()?, 0, plan.keys, plan.value_size)?;
    let directory = tempfile::tempdir()?;
    let result = directory.path().join("result.json");
    let mut command = machine::bound(args.load_core, binary.as_os_str());
    command
        .args(["--server=127.0.0.1", "--threads=1", "--distinct-client-seed", "--hide-histogram"])
        .arg(format!("--port={}", server.port()))
        .arg(format!("--clients={}", plan.connections))
        .arg(format!("--data-size={}", plan.value_size))
        .arg(format!("--key-prefix={KEY_PREFIX}"))
        .arg(format!("--key-minimum={KEY_FIRST}"))
        .arg(format!("--key-maximum={}", KEY_FIRST + plan.keys - 1))
        .arg(format!("--test-time={}", args.seconds.as_secs().max(1)))
        .arg(format!("--json-out-file={}", result.display()));
    if !extra.iter().any(|flag| flag.starts_with("--protocol")) {
        command.arg("--protocol=memcache_text");
    }
    command.args(extra).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());

    let (operations_before, cpu_before) = (server.operations()?, server.cpu_ns()?);
    let status = command.status()?;
    let cpu_ns = server.cpu_ns()? - cpu_before;
    if !status.success() {
        return Err(format!("memtier failed: {status}").into());
    }
    // Memtier counts commands; the server counts keys, as in every other workload.
    let operations = server.operations()? - operations_before;
    let (elapsed, latency_us) = timing(&fs::read_to_string(&result)?)?;
    Ok(Run::load(Load::new(operations, elapsed, cpu_ns, None, latency_us), server.rss_bytes()?))
}

/// Duration of the load; p50, p99 and p99.9 of all commands in microseconds. Memtier reports milliseconds.
fn timing(json: &str) -> Outcome<(Duration, [Option<f64>; 3])> {
    let root = serde_json::from_str::<Value>(json)?;
    let stats = &root["ALL STATS"];
    let elapsed_ms = stats["Runtime"]["Total duration"].as_u64().ok_or("memtier's result has no duration")?;
    let table = &stats["Totals"]["Percentile Latencies"];
    let latency_us = ["p50.00", "p99.00", "p99.90"].map(|name| table[name].as_f64().map(|ms| ms * 1000.0));
    Ok((Duration::from_millis(elapsed_ms), latency_us))
}
