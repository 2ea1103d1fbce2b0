//! Owns the table of workloads, with each one's target ratio. Called by `main`; read by every measuring module.

use crate::Outcome;
use crate::machine;

/// One row of the report.
pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    /// Target upper bound of oxcached / memcached in `Run::cost`.
    pub target: Option<f64>,
    /// Runs without being named.
    pub default: bool,
    pub kind: Kind,
}

pub enum Kind {
    Load(Plan),
    /// Memory of a connection that was served once and is idle.
    Idle {
        connections: usize,
    },
    /// Number of items that fit before the first eviction.
    Items {
        value_size: usize,
    },
}

/// A steady load of requests.
pub struct Plan {
    pub tool: Tool,
    pub connections: usize,
    /// Commands sent before their replies are awaited.
    pub depth: usize,
    pub mix: Mix,
    pub verb: Verb,
    pub keys_per_get: usize,
    /// Size of the key space; all keys are stored before the load.
    pub keys: u32,
    pub value_size: usize,
    /// A new connection for each batch.
    pub churn: bool,
}

#[derive(Clone, Copy)]
pub enum Tool {
    /// The loader of this benchmark.
    BuiltIn,
    /// memtier_benchmark with these flags if available, otherwise the built-in loader.
    Memtier(&'static [&'static str]),
    /// memtier_benchmark only, without fallback.
    MemtierOnly(&'static [&'static str]),
}

#[derive(Clone, Copy)]
pub enum Mix {
    Gets,
    Sets,
    /// One set, then gets until this many commands are done.
    OneSetIn(usize),
}

#[derive(Clone, Copy)]
pub enum Verb {
    Get,
    MetaGet,
}

impl Workload {
    pub fn needs_memtier(&self) -> bool {
        matches!(&self.kind, Kind::Load(Plan { tool: Tool::MemtierOnly(_), .. }))
    }

    /// Minimum `-c` of the server.
    pub fn connections_max(&self) -> usize {
        match self.kind {
            Kind::Idle { connections } => connections + 1000,
            _ => 1024,
        }
    }
}

/// 1 M keys of 20 bytes, values of 100, 50 connections, single gets.
const BASE: Plan = Plan {
    tool: Tool::BuiltIn,
    connections: 50,
    depth: 1,
    mix: Mix::Gets,
    verb: Verb::Get,
    keys_per_get: 1,
    keys: 1_000_000,
    value_size: 100,
    churn: false,
};

const READ_MOSTLY: Mix = Mix::OneSetIn(11);

const fn load(name: &'static str, target: f64, about: &'static str, plan: Plan) -> Workload {
    Workload { name, about, target: Some(target), default: true, kind: Kind::Load(plan) }
}

const fn idle(name: &'static str, connections: usize) -> Workload {
    let about = "bytes of RSS of a connection at rest";
    Workload { name, about, target: Some(0.49), default: true, kind: Kind::Idle { connections } }
}

const fn items(name: &'static str, value_size: usize) -> Workload {
    let about = "items held by 1 GiB before the first eviction, 20-byte keys";
    Workload { name, about, target: None, default: false, kind: Kind::Items { value_size } }
}

const fn memtier(flags: &'static [&'static str]) -> Tool {
    Tool::Memtier(flags)
}

static WORKLOADS: [Workload; 19] = [
    load(
        "get1",
        0.83,
        "a set in 11 commands, no pipeline",
        Plan { tool: memtier(&["--ratio=1:10"]), mix: READ_MOSTLY, ..BASE },
    ),
    load("set1", 0.87, "sets, no pipeline", Plan { tool: memtier(&["--ratio=1:0"]), mix: Mix::Sets, ..BASE }),
    load(
        "bin1",
        0.87,
        "as get1, binary protocol",
        Plan { tool: Tool::MemtierOnly(&["--ratio=1:10", "--protocol=memcache_binary"]), mix: READ_MOSTLY, ..BASE },
    ),
    load(
        "pipe16",
        0.45,
        "as get1, 16 in flight a connection",
        Plan { tool: memtier(&["--ratio=1:10", "--pipeline=16"]), mix: READ_MOSTLY, depth: 16, ..BASE },
    ),
    load(
        "pipe64",
        0.35,
        "as get1, 64 in flight a connection",
        Plan { tool: memtier(&["--ratio=1:10", "--pipeline=64"]), mix: READ_MOSTLY, depth: 64, ..BASE },
    ),
    load(
        "setpipe16",
        0.50,
        "sets, 16 in flight a connection",
        Plan { tool: memtier(&["--ratio=1:0", "--pipeline=16"]), mix: Mix::Sets, depth: 16, ..BASE },
    ),
    load(
        "mget50",
        0.29,
        "gets of 50 keys, a key counted as one operation",
        Plan { tool: memtier(&["--ratio=0:50", "--multi-key-get=50"]), keys_per_get: 50, ..BASE },
    ),
    load("crush1", 0.77, "single gets, server core full", BASE),
    load("crush50", 0.16, "50 gets a write, server core full", Plan { depth: 50, ..BASE }),
    load("crushmget50", 0.20, "gets of 50 keys, server core full", Plan { keys_per_get: 50, ..BASE }),
    load("crushmeta50", 0.17, "50 meta gets a write", Plan { depth: 50, verb: Verb::MetaGet, ..BASE }),
    load(
        "big10k",
        0.87,
        "as get1, values of 10 kB",
        Plan { mix: READ_MOSTLY, keys: 20_000, value_size: 10_000, ..BASE },
    ),
    load(
        "huge500k",
        1.02,
        "as get1, values of 500 kB",
        Plan { mix: READ_MOSTLY, keys: 500, value_size: 500_000, ..BASE },
    ),
    load("churn", 0.67, "connect, get, close", Plan { churn: true, keys: 1000, ..BASE }),
    idle("idle1k", 1_000),
    idle("idle10k", 10_000),
    items("items10", 10),
    items("items100", 100),
    items("items1000", 1000),
];

/// Workloads to run; a name that ends in the middle of a word (`items`, `idle`) selects its group.
pub fn chosen(only: &[String]) -> Outcome<Vec<&'static Workload>> {
    for name in only {
        if !WORKLOADS.iter().any(|workload| matches(workload, name)) {
            return Err(format!("no workload {name}; --list names them").into());
        }
    }
    let asked = |workload: &&Workload| match only {
        [] => workload.default,
        names => names.iter().any(|name| matches(workload, name)),
    };
    let (possible, too_many): (Vec<_>, Vec<_>) = WORKLOADS.iter().filter(asked).partition(|workload| {
        let Kind::Idle { connections } = workload.kind else { return true };
        connections + 100 <= machine::fd_limit()
    });
    for workload in too_many {
        eprintln!("{}: left out, this process may not open that many files (see ulimit -n)", workload.name);
    }
    Ok(possible)
}

fn matches(workload: &Workload, name: &str) -> bool {
    let group = matches!((&workload.kind, name), (Kind::Items { .. }, "items") | (Kind::Idle { .. }, "idle"));
    group || workload.name == name
}

/// Prints the table; returns `None`, since there is nothing to run.
pub fn list<T>() -> Option<T> {
    for workload in &WORKLOADS {
        println!("{:12} {}", workload.name, workload.about);
    }
    None
}
