//! Owns the runs with mc-crusher: its configuration and its time. Called by `main` for a `Plan` that requests it.
//!
//! mc-crusher counts nothing and reads its replies unseen, so the operations are those that the server counts; its
//! lines of `get` end in a blank.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::report::{Load, Run};
use crate::server::Server;
use crate::workload::Plan;
use crate::{Outcome, machine, wire};

/// mc-crusher's keys are a prefix and a number without leading zeros: with a million of them, 20 bytes for nine of ten.
const PREFIX: &str = "oxcached-crush";
const WARM_UP: Duration = Duration::from_millis(500);

/// Fills the server, then loads it with mc-crusher; `line` is what the row adds to its configuration.
pub fn run(args: &Args, binary: &Path, server: &Server, plan: &Plan, line: &str) -> Outcome<Run> {
    fill(&mut server.connect()?, plan)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("crush.conf");
    let (connections, keys) = (plan.connections, plan.keys);
    let text = format!("{line},recv=blind_read,conns={connections},key_prefix={PREFIX},key_count={keys},live_rand=1\n");
    fs::write(&file, text)?;
    let mut command = machine::bound(args.load_core, binary.as_os_str());
    command.args(["--ip", "127.0.0.1", "--port", &server.port().to_string(), "--conf"]).arg(&file);
    let mut crusher = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    thread::sleep(WARM_UP);
    let own_before = machine::cpu_ns(crusher.0.id())?;
    let (operations_before, cpu_before, started) = (server.operations()?, server.cpu_ns()?, Instant::now());
    thread::sleep(args.seconds);
    let (operations_after, cpu_after, elapsed) = (server.operations()?, server.cpu_ns()?, started.elapsed());
    let own_ns = machine::cpu_ns(crusher.0.id())? - own_before;
    if let Some(status) = crusher.0.try_wait()? {
        return Err(format!("mc-crusher ended early: {status}").into());
    }
    drop(crusher);
    let misses = wire::number(&wire::stats(&mut server.connect()?)?, "get_misses")?;
    if misses > 0 {
        return Err(format!("{misses} gets missed: the server lost keys").into());
    }
    let operations = operations_after - operations_before;
    let load = Load::new(operations, elapsed, cpu_after - cpu_before, Some(own_ns), [None; 3]);
    Ok(Run::load(load, server.rss_bytes()?))
}

/// Stores every key that mc-crusher may name.
fn fill(stream: &mut (impl Read + Write), plan: &Plan) -> Outcome<()> {
    let value = "x".repeat(plan.value_size);
    let mut chunk = Vec::new();
    for number in 0..=plan.keys {
        write!(chunk, "set {PREFIX}{number} 0 0 {} noreply\r\n{value}\r\n", plan.value_size)?;
        if chunk.len() > 128 * 1024 {
            stream.write_all(&chunk)?;
            wire::sync(stream)?;
            chunk.clear();
        }
    }
    stream.write_all(&chunk)?;
    wire::sync(stream)
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Either fails only if the process is already gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
