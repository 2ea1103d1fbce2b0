//! Owns what the benchmark queries of the machine: cores, file descriptors, a process's CPU time and memory (Linux).
//! Called by `main`, `args` and `server`. Binds cores with `taskset`; without it no core is bound.

use std::fs;
use std::process::{Command, Stdio};

use crate::Outcome;

/// Cores of the server and of the load: distinct if there are two or more, unbound otherwise.
pub fn default_cores() -> (Option<usize>, Option<usize>) {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    if cores >= 2 && has_taskset() { (Some(0), Some(cores - 1)) } else { (None, None) }
}

fn has_taskset() -> bool {
    let probe = Command::new("taskset").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

/// Binds this process; processes it starts later inherit the binding unless bound themselves.
pub fn pin_self(core: Option<usize>) {
    let Some(core) = core else {
        eprintln!("note: one core, or no taskset: servers and load share the machine, and the figures are rough");
        return;
    };
    let mut taskset = Command::new("taskset");
    taskset.args(["-a", "-c", "-p", &core.to_string(), &std::process::id().to_string()]).stdout(Stdio::null());
    if !taskset.status().is_ok_and(|status| status.success()) {
        eprintln!("note: the load generator could not be bound to core {core}");
    }
}

/// A command that runs `program` on `core`.
pub fn bound(core: Option<usize>, program: &std::ffi::OsStr) -> Command {
    match core {
        None => Command::new(program),
        Some(core) => {
            let mut command = Command::new("taskset");
            command.arg("-c").arg(core.to_string()).arg(program);
            command
        }
    }
}

/// Maximum number of open file descriptors of this process.
pub fn fd_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let row = limits.lines().find(|line| line.starts_with("Max open files"));
    row.and_then(|line| line.split_whitespace().nth(3)).and_then(|word| word.parse().ok()).unwrap_or(1024)
}

/// Whether the process runs as root: memcached then needs `-u`.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let row = status.lines().find(|line| line.starts_with("Uid:"));
    row.and_then(|line| line.split_whitespace().nth(2)).is_some_and(|effective| effective == "0")
}

/// CPU time of all threads of a process in nanoseconds.
pub fn cpu_ns(pid: u32) -> Outcome<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the read; it then counts as 0.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        total += text.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(total)
}

/// Resident memory of a process in bytes.
pub fn rss_bytes(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let row = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS row")?;
    let kib = row.split_whitespace().nth(1).ok_or("empty VmRSS row")?.parse::<u64>()?;
    Ok(kib * 1024)
}

/// The machine in words: processor, cores, kernel.
pub fn about() -> String {
    let first = |path: &str, row: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(row)).unwrap_or_default();
        line.split_once(':').map_or(line, |(_, value)| value).trim().to_owned()
    };
    // All cores, not those that this process is bound to.
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = text.lines().filter(|line| line.starts_with("processor")).count();
    let processor = first("/proc/cpuinfo", "model name");
    format!("{processor}, {cores} cores, Linux {}", first("/proc/sys/kernel/osrelease", ""))
}

/// The revision of the source tree.
pub fn revision() -> String {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]).stderr(Stdio::null());
    git.output().map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Today, as `date` prints it.
pub fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Times that the threads of a process went to sleep of their own accord.
pub fn sleeps(pid: u32) -> Outcome<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(task?.path().join("status")) else { continue };
        let row = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        total += row.unwrap_or("0").trim().parse::<u64>()?;
    }
    Ok(total)
}
