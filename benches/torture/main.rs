//! Stress test: every chore concurrently, and hostile clients, next to a load that checks each value; and their cost
//! for the load.
//!
//! Owns the course of a run: slices without chores, with them, and with hostile clients too, in turn on one server,
//! so that other activity of the machine affects all alike; then the sums, the remaining memory, and the verdict.
//! Called by `scripts/torture`, which documents the options. Fails on a wrong value, an error reply, a closed
//! connection, a missing reply, counts that do not add up, and resources that hostile clients leave behind; latencies
//! are for people to read.

mod admin;
mod chores;
mod churn;
mod echo;
mod ends;
mod growth;
mod guard;
mod hostile;
mod keys;
mod kinds;
mod load;
mod sums;
mod vitals;
mod watch;

// Servers and the machine, shared with the benchmarks.
#[path = "../side_by_side/histogram.rs"]
#[allow(dead_code)]
mod histogram;
#[path = "../side_by_side/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "../side_by_side/server.rs"]
#[allow(dead_code)]
mod server;
#[path = "../side_by_side/wire.rs"]
#[allow(dead_code)]
mod wire;

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use admin::Admin;
use guard::Guarded;
use histogram::Histogram;
use load::{Load, Manner, Sums};
use server::{Door, Server, Target};
use vitals::Vitals;

/// Result of every fallible step here: it is only printed.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Connections that pipeline, and connections with one request at a time.
const PIPELINES: u32 = 4;
const SINGLES: u32 = 4;

/// `-m` while there are no chores.
const MEGABYTES: u64 = 64;

/// Rows of the latency table.
pub(crate) const ROWS: usize = 3;

/// Maximum time for any reply and for the end of a server: a liveness bound, not a test of speed. `connect` gives its
/// streams the same.
pub(crate) const LIVENESS: Duration = Duration::from_secs(10);

/// Concurrent hostile clients.
const HOSTILE: u64 = 64;

/// Maximum faults printed; the run ends after them.
const FAULTS_MAX: u64 = 20;

/// Phase of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The load runs, nothing is measured, no chore begins.
    Between,
    Calm,
    Chores,
    /// Hostile clients, in addition to the chores.
    Hostile,
    End,
}

impl Phase {
    /// Row of the latency table, if the phase is measured.
    fn measured(self) -> Option<usize> {
        match self {
            Self::Calm => Some(0),
            Self::Chores => Some(1),
            Self::Hostile => Some(2),
            Self::Between | Self::End => None,
        }
    }
}

/// State shared by all threads.
pub(crate) struct Run {
    phase: AtomicU8,
    failed: AtomicBool,
    faults: AtomicU64,
    told: Mutex<()>,
    begun: Instant,
    length: Duration,
    ledger: keys::Ledger,
    writers: u32,
    /// A time to live so long that items need another layout for it.
    far_expiry: u32,
    /// Lines received.
    replies: AtomicU64,
    /// The server is memcached: it flushes by the second, and releases memory lazily.
    memcached: bool,
}

impl Run {
    fn new(length: Duration, memcached: bool) -> Outcome<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Self {
            phase: AtomicU8::new(Phase::Between as u8),
            failed: AtomicBool::new(false),
            faults: AtomicU64::new(0),
            told: Mutex::new(()),
            begun: Instant::now(),
            length,
            ledger: keys::Ledger::new(),
            writers: PIPELINES + SINGLES,
            far_expiry: u32::try_from(now + 200 * 24 * 3600)?,
            replies: AtomicU64::new(0),
            memcached,
        })
    }

    fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            1 => Phase::Calm,
            2 => Phase::Chores,
            3 => Phase::Hostile,
            4 => Phase::End,
            _ => Phase::Between,
        }
    }

    fn chores_go_on(&self) -> bool {
        matches!(self.phase(), Phase::Chores | Phase::Hostile)
    }

    /// Elapsed share of the run, 0 to 1.
    fn progress(&self) -> f64 {
        (self.begun.elapsed().as_secs_f64() / self.length.as_secs_f64()).min(1.0)
    }

    fn enter(&self, phase: Phase) {
        if self.phase() != Phase::End {
            self.phase.store(phase as u8, SeqCst);
        }
    }

    /// Prints a fault; too many end the run.
    fn fault(&self, what: String) {
        self.failed.store(true, SeqCst);
        let _one_at_a_time = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if self.faults.fetch_add(1, SeqCst) < FAULTS_MAX {
            eprintln!("FAULT after {:.1} s: {what}", self.begun.elapsed().as_secs_f64());
        } else {
            self.phase.store(Phase::End as u8, SeqCst);
        }
    }

    /// Waits; false if the run ended meanwhile.
    fn pass(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until && self.phase() != Phase::End {
            thread::sleep(Duration::from_millis(20).min(until.saturating_duration_since(Instant::now())));
        }
        self.phase() != Phase::End
    }
}

/// A number from the environment.
fn number(name: &str, default: u64) -> Outcome<u64> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => Ok(text.parse().map_err(|_| format!("{name}={text:?} is no number"))?),
        _ => Ok(default),
    }
}

fn main() -> ExitCode {
    // Cargo passes `--bench` to every bench target.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => torture(false),
        ["memcached"] => torture(true),
        ["ends"] => ends::measure(false),
        ["ends", "memcached"] => ends::measure(true),
        ["churn"] => churn::churn(false),
        ["churn", "memcached"] => churn::churn(true),
        ["greedy"] => churn::greedy(false),
        ["greedy", "memcached"] => churn::greedy(true),
        ["growth"] => growth::measure(false),
        ["growth", "memcached"] => growth::measure(true),
        _ => Err("usage: scripts/torture [ends | churn | greedy | growth] [memcached]".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("torture: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn target(memcached: bool) -> Outcome<Target> {
    if memcached { Target::memcached() } else { Target::oxcached() }
}

/// The server under test, with `memory` MiB and a small index.
fn start(memcached: bool, memory: u64) -> Outcome<Server> {
    start_of(&target(memcached)?, "127.0.0.1", memory, &[])
}

fn start_of(target: &Target, list: &str, memory: u64, options: &[&str]) -> Outcome<Server> {
    let memory = memory.to_string();
    let mut all = vec!["-t", "4", "-m", &memory, "-o", "hashpower=13", "-U", "-1"];
    if target.name == "oxcached" {
        all.push("--admin=127.0.0.1:0");
    }
    all.extend(options);
    let more = std::env::var("TORTURE_OPTIONS").unwrap_or_default();
    all.extend(more.split_ascii_whitespace());
    Server::start_at(target, None, Door::Interfaces(list), &all)
}

fn torture(memcached: bool) -> Outcome<bool> {
    let seconds = number("TORTURE_SECONDS", 60)?;
    let slice = Duration::from_secs(number("TORTURE_SLICE", 15)?.max(1));
    let seed = number("TORTURE_SEED", fastrand::u64(..u64::from(u32::MAX)))?;
    let clients = number("TORTURE_HOSTILE", HOSTILE)?;
    println!(
        "{seconds} s in slices of {} s: without chores, with them, with {clients} hostile clients too; \
         TORTURE_SEED={seed}; a reply takes {} s at most",
        slice.as_secs(),
        LIVENESS.as_secs()
    );
    let target = target(memcached)?;
    let mut server = start_of(&target, "127.0.0.1", MEGABYTES, &[])?;
    let mut guarded = if memcached { None } else { Some(Guarded::start(&target)?) };
    let bases = look(&server, guarded.as_ref())?;
    let run = Run::new(Duration::from_secs(seconds), memcached)?;
    let counts = chores::Counts::default();
    let (mut reports, mut echo) = (Vec::new(), None);
    let doors = hostile::doors(&server, guarded.as_ref().map(|guarded| &guarded.server));
    let mut attacked = None;
    thread::scope(|scope| -> Outcome<()> {
        let load: Vec<_> = (0..run.writers)
            .map(|number| {
                let manner = if number < PIPELINES { Manner::Pipeline } else { Manner::Single };
                let load = Load::new(&run, number, manner, server.connect()?, seed ^ u64::from(number))?;
                Ok(scope.spawn(|| load.work()))
            })
            .collect::<Outcome<_>>()?;
        let echoing = scope.spawn(|| echo::measure(&run));
        let chores = chores::start(scope, &run, &server, &counts, seed);
        let hostile = (clients > 0).then(|| {
            if hostile::wanted("flushes") {
                scope.spawn(|| end_with(&run, "flushes", hostile::flushes(&run, &server, &counts, seed ^ 1 << 40)));
            }
            if hostile::wanted("datagrams") {
                scope.spawn(|| {
                    let sent = hostile::noise(&run, server.udp_port(), seed ^ 2 << 40);
                    end_with(&run, "datagrams", sent.map(|sent| counts.add("datagrams", sent)));
                });
            }
            scope.spawn(|| hostile::attack(&run, &doors, clients as usize, seed ^ 3 << 40))
        });
        if let Some(guarded) = &guarded {
            let (run, counts) = (&run, &counts);
            scope.spawn(move || {
                let used = guarded.use_it(run).map(|times| counts.add("sets and gets behind a login", times));
                end_with(run, "behind a login", used);
            });
        }
        alternate(&run, &server, Duration::from_secs(seconds), slice, clients > 0);
        run.enter(Phase::End);
        if let Some(hostile) = hostile {
            attacked = Some(hostile.join().map_err(|_| "the hostile clients' thread panicked")?);
        }
        for thread in load {
            reports.push(thread.join().map_err(|_| "a connection's thread panicked")?);
        }
        for thread in chores {
            thread.join().map_err(|_| "a thread of chores panicked")?;
        }
        echo = Some(echoing.join().map_err(|_| "the echo's thread panicked")??);
        Ok(())
    })?;
    let mut asked = Sums::default();
    reports.iter().for_each(|report| asked.add(&report.sums));
    println!("{counts}");
    println!("{asked:?}");
    if let Some(rows) = &attacked {
        hostile::print(rows);
    }
    let names = ["without chores", "with chores", "with hostile clients"];
    println!(
        "\n{:<30} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "requests", "p50", "p99", "p99.9", "p99.99", "max, us"
    );
    let mut echo = echo.into_iter().flatten();
    for (row, name) in names.iter().enumerate() {
        let mut latency = Histogram::new();
        reports.iter().for_each(|report| latency.merge(&report.latency[row]));
        print(&format!("single, {name}"), &latency);
        if let Some(echo) = echo.next() {
            print(&format!("echo, {name}"), &echo);
        }
        let requests: u64 = reports.iter().map(|report| report.requests[row]).sum();
        println!("{:<30} {requests:>10}", format!("all requests, {name}"));
    }
    println!();
    sums::check(&run, &server, &asked, clients > 0)?;
    gone(&run, &server, guarded.as_ref(), &bases)?;
    for server in [Some(&mut server), guarded.as_mut().map(|guarded| &mut guarded.server)].into_iter().flatten() {
        if server.end_by("TERM", LIVENESS)?.is_none() {
            run.fault("the server did not end by SIGTERM".to_owned());
        }
    }
    let faults = run.faults.load(SeqCst);
    println!("{}", if faults == 0 { "no fault".to_owned() } else { format!("{faults} FAULTS") });
    Ok(faults == 0)
}

fn end_with(run: &Run, what: &str, done: Outcome<()>) {
    done.unwrap_or_else(|problem| run.fault(format!("{what}: {problem}")));
}

/// Resources of both servers while this is their only client.
fn look(server: &Server, guarded: Option<&Guarded>) -> Outcome<Vec<Vitals>> {
    let mut bases = vec![Vitals::of(server, &mut Admin::new(server)?)?];
    if let Some(guarded) = guarded {
        bases.push(Vitals::of(&guarded.server, &mut guarded.admin()?)?);
    }
    Ok(bases)
}

/// Checks that both servers hold no more than `bases`.
fn gone(run: &Run, server: &Server, guarded: Option<&Guarded>, bases: &[Vitals]) -> Outcome<()> {
    let guarded = guarded.map(|guarded| Ok::<_, Box<dyn Error + Send + Sync>>((&guarded.server, guarded.admin()?)));
    let servers = [Some(Ok((server, Admin::new(server)?))), guarded];
    for ((found, base), name) in servers.into_iter().flatten().zip(bases).zip(["server", "guarded server"]) {
        let (server, mut admin) = found?;
        let (now, left) = Vitals::back(server, &mut admin, base, true)?;
        println!("{name} at first:  {base}\n{name} in the end: {now}");
        left.iter().for_each(|left| run.fault(format!("when all clients of the {name} have gone: {left}")));
    }
    Ok(())
}

/// Slices of each kind, in turn. After hostile clients the server must hold as many connections as before them.
fn alternate(run: &Run, server: &Server, time: Duration, slice: Duration, hostile: bool) {
    let begun = Instant::now();
    // The cache fills first.
    let mut go_on = run.pass(Duration::from_secs(5).min(slice));
    let mut base = None;
    while go_on && begun.elapsed() < time {
        for phase in [Phase::Calm, Phase::Chores, Phase::Hostile] {
            if phase == Phase::Hostile && !hostile {
                continue;
            }
            if let Err(problem) = chores::settle(run, server).and_then(|()| held(run, server, &mut base)) {
                run.fault(format!("between two slices: {problem}"));
            }
            run.enter(phase);
            go_on &= run.pass(slice);
            run.enter(Phase::Between);
        }
    }
}

/// Checks that the server holds no more than at first, and records `base` on the first call.
fn held(run: &Run, server: &Server, base: &mut Option<Vitals>) -> Outcome<()> {
    let mut admin = Admin::new(server)?;
    let base = match base {
        Some(base) => base,
        None => base.insert(Vitals::of(server, &mut admin)?),
    };
    let (now, left) = Vitals::back(server, &mut admin, base, false)?;
    println!("{:>6.0} s: {} operations checked; {now}", run.begun.elapsed().as_secs_f64(), run.replies.load(SeqCst));
    left.iter().for_each(|left| run.fault(format!("between two slices: {left}")));
    Ok(())
}

/// A row of the table.
pub(crate) fn print(name: &str, latency: &Histogram) {
    let of = |share| latency.percentile_us(share).unwrap_or(0.0);
    let max = latency.max_us();
    println!(
        "{name:<30} {:>10} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {max:>8.0}",
        latency.len(),
        of(0.5),
        of(0.99),
        of(0.999),
        of(0.9999)
    );
}
