//! Owns `calls`: system calls an operation, which strace counts in the fixed dialogues, beside memcached's. Called by
//! `main`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::dialogue::{self, Client, Dialogue};
use crate::server::{Server, Target};
use crate::tls::Tls;

/// Calls of less than this an operation are left out: what threads do by the second.
const LEAST: f64 = 0.01;
/// Maximum time until strace has attached, or has written its table.
const STRACE_MAX: Duration = Duration::from_secs(20);

pub fn run(targets: &[Target], core: Option<usize>, only: &[String]) -> Outcome<()> {
    let tls = Tls::new()?;
    let mut subjects = Vec::new();
    for target in targets {
        let server = dialogue::start(target, core, &tls, "256", "1024")?;
        dialogue::prepare(&server)?;
        subjects.push((target.name, server));
    }
    println!("system calls an operation, of all threads");
    for row in &dialogue::chosen(only)? {
        println!("{}: {}", row.name, row.about);
        for (name, server) in &subjects {
            if row.tls && server.port_of(1).is_none() {
                continue;
            }
            let counts = count(server, row, &tls).map_err(|problem| format!("{name}: {problem}"))?;
            let mut parts = counts.iter().filter(|(_, count)| **count >= LEAST).collect::<Vec<_>>();
            parts.sort_by(|one, other| other.1.total_cmp(one.1));
            let sum = parts.iter().map(|(_, count)| **count).sum::<f64>();
            let parts = parts.iter().map(|(call, count)| format!("{call} {count:.2}")).collect::<Vec<_>>();
            println!("  {name:10} {sum:6.2}   {}", parts.join(", "));
        }
    }
    Ok(())
}

/// Calls of each name an operation.
fn count(server: &Server, row: &Dialogue, tls: &Tls) -> Outcome<BTreeMap<String, f64>> {
    let mut client = Client::new(row, server, Some(tls))?;
    client.run()?;
    let directory = tempfile::tempdir()?;
    let strace = Strace::attach(server.pid(), directory.path())?;
    let operations = client.run()?;
    let table = strace.finish()?;
    let mut counts = BTreeMap::new();
    for line in table.lines() {
        // % time, seconds, usecs/call, calls, perhaps errors, name.
        let words = line.split_whitespace().collect::<Vec<_>>();
        let Some(calls) = words.get(3).and_then(|word| word.parse::<f64>().ok()) else { continue };
        let name = words.last().copied().unwrap_or_default();
        if name != "total" {
            counts.insert(name.to_owned(), calls / operations as f64);
        }
    }
    if counts.is_empty() { Err("strace counted nothing".into()) } else { Ok(counts) }
}

/// A strace that counts the calls of a process.
struct Strace {
    child: Child,
    table: PathBuf,
}

impl Strace {
    fn attach(pid: u32, directory: &Path) -> Outcome<Strace> {
        let table = directory.join("table");
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-p", &pid.to_string(), "-o"]).arg(&table);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut strace = Strace { child: command.spawn().map_err(|problem| format!("strace: {problem}"))?, table };
        let begun = Instant::now();
        while !traced(pid)? {
            if let Some(status) = strace.child.try_wait()? {
                return Err(format!("strace ended early: {status}").into());
            }
            if begun.elapsed() > STRACE_MAX {
                return Err("strace does not attach".into());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(strace)
    }

    /// Detaches; the table of counts.
    fn finish(mut self) -> Outcome<String> {
        let told = Command::new("sh").args(["-c", &format!("kill -INT {}", self.child.id())]).status()?;
        let begun = Instant::now();
        while told.success() && self.child.try_wait()?.is_none() && begun.elapsed() < STRACE_MAX {
            thread::sleep(Duration::from_millis(2));
        }
        Ok(fs::read_to_string(&self.table)?)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // Either fails only if the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether every thread of a process has a tracer.
fn traced(pid: u32) -> Outcome<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        if text.lines().any(|line| line.split_whitespace().eq(["TracerPid:", "0"])) {
            return Ok(false);
        }
    }
    Ok(true)
}
