//! Owns the table of workloads, with each one's goal. Called by `main`; read by every measuring module.

use crate::Outcome;
use crate::form::{self, Form, Request};
use crate::machine;
use crate::stream::Transport;
use crate::template::Template;

/// One row of the report.
pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    pub goal: Option<Goal>,
    /// Runs without being named.
    pub default: bool,
    /// The other servers that know what it sends.
    pub others: Others,
    /// Further options of the servers.
    pub options: &'static [&'static str],
    pub kind: Kind,
}

/// Target upper bound of oxcached's cost, as a share of another server's.
#[derive(Clone, Copy)]
pub struct Goal {
    /// Name of the other server.
    pub of: &'static str,
    pub at_most: f64,
}

/// The servers besides oxcached and memcached that a row may be compared with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Others {
    /// An older memcached.
    Old,
    /// And the limit: gets, meta gets and sets of one form each.
    Limit,
    /// And pogocache, which has no meta commands.
    All,
}

pub enum Kind {
    Load(Plan),
    /// The forms of commands, each in a pipeline: `forms`.
    Forms,
    /// Latencies at a fixed rate: `latency`.
    Latency(Chores),
    /// Memory of a connection that was served once and is idle.
    Idle {
        connections: usize,
    },
    /// Memory of a server that has just started.
    Start,
    /// Times a second that an empty server's threads wake up.
    Wakes,
    /// Number of items that fit before the first eviction.
    Items {
        value_size: usize,
    },
}

/// What a server does besides its load.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Chores {
    None,
    /// Items expire and are swept.
    Sweeps,
    /// The hash table grows.
    Growth,
}

/// A steady load of requests.
pub struct Plan {
    pub tool: Tool,
    pub connections: usize,
    /// Commands sent before their replies are awaited.
    pub depth: usize,
    pub mix: Mix,
    /// Size of the key space; all keys are stored before the load.
    pub keys: u32,
    /// Exponent of Zipf's law; without it each key is as likely as any other.
    pub zipf: Option<f64>,
    pub value_size: usize,
    pub transport: Transport,
    /// A new connection for each batch.
    pub churn: bool,
    /// Keys may be gone: they expire or are evicted.
    pub may_miss: bool,
}

#[derive(Clone, Copy)]
pub enum Tool {
    /// The loader of this benchmark.
    BuiltIn,
    /// memtier_benchmark with these flags if available, otherwise the built-in loader.
    Memtier(&'static [&'static str]),
    /// memtier_benchmark only, without fallback.
    MemtierOnly(&'static [&'static str]),
    /// mc-crusher with this line of its configuration if available, otherwise the built-in loader: it sends the same.
    Crusher(&'static str),
}

impl Tool {
    /// What the row adds to the loader's command.
    pub fn flags(&self) -> String {
        match self {
            Tool::BuiltIn => String::new(),
            Tool::Memtier(flags) | Tool::MemtierOnly(flags) => flags.join(" "),
            Tool::Crusher(line) => (*line).to_owned(),
        }
    }
}

#[derive(Clone, Copy)]
pub enum Mix {
    Only(&'static Form),
    /// One of the second form, then gets until this many commands are done.
    OneIn(usize, &'static Form),
}

impl Plan {
    /// The batches that a connection repeats in order.
    pub fn batches(&self) -> Vec<Template> {
        let (get, cycle, set) = match self.mix {
            Mix::Only(form) => {
                return vec![Template::batch(form.request, form.tail, form.reply, self.depth, self.value_size)];
            }
            Mix::OneIn(cycle, set) => (&form::PLAIN, cycle, set),
        };
        let batch = |phase: usize| {
            let mut batch = Template::new(form::LINE, self.value_size);
            for number in phase * self.depth..(phase + 1) * self.depth {
                batch.push(if number % cycle == cycle - 1 { set.request } else { get.request });
            }
            batch
        };
        (0..cycle).map(batch).collect()
    }
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

    pub fn transport(&self) -> Transport {
        if let Kind::Load(plan) = &self.kind { plan.transport } else { Transport::Tcp }
    }
}

/// 1 M keys of 20 bytes, values of 100, 50 connections, single gets.
const BASE: Plan = Plan {
    tool: Tool::BuiltIn,
    connections: 50,
    depth: 1,
    mix: Mix::Only(&form::PLAIN),
    keys: 1_000_000,
    zipf: None,
    value_size: 100,
    transport: Transport::Tcp,
    churn: false,
    may_miss: false,
};

const READ_MOSTLY: Mix = Mix::OneIn(11, &form::SET);
const SETS: Mix = Mix::Only(&form::SET);

static SET_EXPIRING: Form = Form { request: Request::Text("set @ 0 2 #\r\n$\r\n"), ..form::SET };

static MGET: Form = Form {
    request: Request::Text(
        "get @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @\r\n",
    ),
    ..form::PLAIN
};
/// As mc-crusher sends it.
static MGET_BLANK: Form = Form {
    request: Request::Text(
        "get @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ @ \r\n",
    ),
    ..form::PLAIN
};

const fn of_limit(at_most: f64) -> Option<Goal> {
    Some(Goal { of: "limit", at_most })
}

const fn of_memcached(at_most: f64) -> Option<Goal> {
    Some(Goal { of: "memcached", at_most })
}

const fn row(name: &'static str, goal: Option<Goal>, about: &'static str, kind: Kind) -> Workload {
    Workload { name, about, goal, default: true, others: Others::Old, options: &[], kind }
}

const fn load(name: &'static str, goal: Option<Goal>, about: &'static str, plan: Plan) -> Workload {
    Workload { others: Others::All, ..row(name, goal, about, Kind::Load(plan)) }
}

/// A load that only memcached's relatives take.
const fn family(name: &'static str, goal: Option<Goal>, about: &'static str, plan: Plan) -> Workload {
    row(name, goal, about, Kind::Load(plan))
}

const fn idle(name: &'static str, connections: usize) -> Workload {
    row(name, of_memcached(0.49), "bytes of RSS of a connection at rest", Kind::Idle { connections })
}

const fn items(name: &'static str, value_size: usize) -> Workload {
    let about = "items held by 1 GiB before the first eviction, 20-byte keys";
    Workload { default: false, ..row(name, None, about, Kind::Items { value_size }) }
}

const fn latency(name: &'static str, about: &'static str, chores: Chores) -> Workload {
    row(name, of_memcached(1.0), about, Kind::Latency(chores))
}

const fn memtier(flags: &'static [&'static str]) -> Tool {
    Tool::Memtier(flags)
}

const TLS: Plan = Plan { transport: Transport::Tls, ..BASE };

static WORKLOADS: &[Workload] = &[
    load(
        "get1",
        of_limit(1.05),
        "a set in 11 commands, no pipeline",
        Plan { tool: memtier(&["--ratio=1:10"]), mix: READ_MOSTLY, ..BASE },
    ),
    load("set1", of_limit(1.05), "sets, no pipeline", Plan { tool: memtier(&["--ratio=1:0"]), mix: SETS, ..BASE }),
    family(
        "bin1",
        of_memcached(0.78),
        "as get1, binary protocol",
        Plan { tool: Tool::MemtierOnly(&["--ratio=1:10", "--protocol=memcache_binary"]), mix: READ_MOSTLY, ..BASE },
    ),
    load(
        "pipe16",
        of_limit(1.15),
        "as get1, 16 in flight a connection",
        Plan { tool: memtier(&["--ratio=1:10", "--pipeline=16"]), mix: READ_MOSTLY, depth: 16, ..BASE },
    ),
    load(
        "pipe64",
        of_limit(1.15),
        "as get1, 64 in flight a connection",
        Plan { tool: memtier(&["--ratio=1:10", "--pipeline=64"]), mix: READ_MOSTLY, depth: 64, ..BASE },
    ),
    load(
        "setpipe16",
        of_limit(1.15),
        "sets, 16 in flight a connection",
        Plan { tool: memtier(&["--ratio=1:0", "--pipeline=16"]), mix: SETS, depth: 16, ..BASE },
    ),
    load(
        "mget50",
        of_limit(1.2),
        "gets of 50 keys, a key counted as one operation",
        Plan { tool: memtier(&["--ratio=0:50", "--multi-key-get=50"]), mix: Mix::Only(&MGET), ..BASE },
    ),
    load(
        "crush1",
        of_limit(1.05),
        "single gets with a blank before the line end, server core full",
        Plan { tool: Tool::Crusher("send=ascii_get"), mix: Mix::Only(&form::BLANK), ..BASE },
    ),
    load(
        "crush50",
        of_limit(1.2),
        "50 gets a write, each with a blank before the line end, server core full",
        Plan { tool: Tool::Crusher("send=ascii_get,pipelines=50"), mix: Mix::Only(&form::BLANK), depth: 50, ..BASE },
    ),
    load(
        "crushmget50",
        of_limit(1.2),
        "gets of 50 keys with a blank before the line end, server core full",
        Plan { tool: Tool::Crusher("send=ascii_mget,mget_count=50"), mix: Mix::Only(&MGET_BLANK), ..BASE },
    ),
    Workload {
        others: Others::Limit,
        ..load(
            "crushmeta50",
            of_limit(1.3),
            "50 meta gets a write",
            Plan {
                tool: Tool::Crusher("send=ascii_mg,cmd_postfix=v,pipelines=50"),
                mix: Mix::Only(&form::META_GET),
                depth: 50,
                ..BASE
            },
        )
    },
    family(
        "crushbin",
        None,
        "50 binary gets a write",
        Plan { tool: Tool::Crusher("send=bin_get,pipelines=50"), mix: Mix::Only(&form::BINARY_GET), depth: 50, ..BASE },
    ),
    row("forms", None, "each form of a command in a pipeline, compared with plain gets", Kind::Forms),
    load("val1k", None, "as get1, values of 1 KB", Plan { keys: 500_000, value_size: 1000, ..VALUES }),
    load("val4k", None, "as get1, values of 4 KB", Plan { keys: 100_000, value_size: 4000, ..VALUES }),
    load("big10k", of_memcached(0.80), "as get1, values of 10 KB", Plan { keys: 20_000, value_size: 10_000, ..VALUES }),
    family("val100k", None, "as get1, values of 100 KB", Plan { keys: 2500, value_size: 100_000, ..VALUES }),
    family(
        "huge500k",
        of_memcached(0.84),
        "as get1, values of 500 KB",
        Plan { keys: 500, value_size: 500_000, ..VALUES },
    ),
    load(
        "zipf",
        None,
        "a set in 10 commands, keys by Zipf's law with exponent 0.99",
        Plan {
            tool: memtier(&["--ratio=1:9", "--key-pattern=Z:Z", "--key-zipf-exp=0.99"]),
            mix: Mix::OneIn(10, &form::SET),
            zipf: Some(0.99),
            ..BASE
        },
    ),
    load(
        "zipf16",
        None,
        "as zipf, 16 in flight a connection",
        Plan {
            tool: memtier(&["--ratio=1:9", "--key-pattern=Z:Z", "--key-zipf-exp=0.99", "--pipeline=16"]),
            mix: Mix::OneIn(10, &form::SET),
            zipf: Some(0.99),
            depth: 16,
            ..BASE
        },
    ),
    family(
        "expire",
        None,
        "sets of items that live for 2 seconds and as many gets, 16 in flight",
        Plan { mix: Mix::OneIn(2, &SET_EXPIRING), depth: 16, may_miss: true, ..BASE },
    ),
    Workload {
        options: &["-m", "64"],
        ..family(
            "evict",
            None,
            "sets, 16 in flight, into 64 MB that hold a third of the keys",
            Plan { tool: memtier(&["--ratio=1:0", "--pipeline=16"]), mix: SETS, depth: 16, may_miss: true, ..BASE },
        )
    },
    Workload {
        options: &["-t", "2"],
        ..family(
            "twice1",
            None,
            "as get1, two workers on the core",
            Plan { tool: memtier(&["--ratio=1:10"]), mix: READ_MOSTLY, ..BASE },
        )
    },
    Workload {
        options: &["-t", "2"],
        ..family(
            "twice16",
            None,
            "as pipe16, two workers on the core",
            Plan { tool: memtier(&["--ratio=1:10", "--pipeline=16"]), mix: READ_MOSTLY, depth: 16, ..BASE },
        )
    },
    family("unix1", None, "as get1, over a unix socket", Plan { transport: Transport::Unix, ..GETS }),
    family("unix16", None, "as pipe16, over a unix socket", Plan { transport: Transport::Unix, depth: 16, ..GETS }),
    family("tlsget1", of_memcached(0.76), "as get1, over TLS", Plan { transport: Transport::Tls, ..GETS }),
    family(
        "tlspipe16",
        of_memcached(0.47),
        "as pipe16, over TLS",
        Plan { transport: Transport::Tls, depth: 16, ..GETS },
    ),
    family(
        "tls10k",
        of_memcached(0.66),
        "as big10k, over TLS",
        Plan { transport: Transport::Tls, keys: 20_000, value_size: 10_000, ..VALUES },
    ),
    family("tlschurn", of_memcached(0.48), "full handshake, get, close", Plan { churn: true, keys: 1000, ..TLS }),
    load("churn", of_memcached(0.75), "connect, get, close", Plan { churn: true, keys: 1000, ..BASE }),
    latency("latency", "single gets at a fixed rate, timed from when they were due", Chores::None),
    latency("latsweep", "as latency, a tenth are sets of items that live for a second", Chores::Sweeps),
    latency("latgrow", "as latency, new keys come and the hash table grows", Chores::Growth),
    row("start", None, "bytes of RSS after the start", Kind::Start),
    row("wakes", None, "wake-ups a second of an empty server", Kind::Wakes),
    idle("idle1k", 1_000),
    idle("idle10k", 10_000),
    items("items10", 10),
    items("items100", 100),
    items("items1000", 1000),
];

/// As get1, with values whose size is the row's.
const VALUES: Plan = Plan { mix: READ_MOSTLY, ..BASE };
/// As get1, by the built-in loader.
const GETS: Plan = Plan { mix: READ_MOSTLY, ..BASE };

/// Workloads to run, those that take long as well with `all`; `items` and `idle` select their groups.
pub fn chosen(only: &[String], all: bool) -> Outcome<Vec<&'static Workload>> {
    for name in only {
        if !WORKLOADS.iter().any(|workload| matches(workload, name)) {
            return Err(format!("no workload {name}; --list names them").into());
        }
    }
    let asked = |workload: &&Workload| match only {
        [] => all || workload.default,
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
    for workload in WORKLOADS {
        println!("{:12} {}", workload.name, workload.about);
    }
    None
}
