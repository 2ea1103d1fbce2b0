//! Every chore at once beside a load that checks each value, and what the chores cost the load.
//!
//! Owns the course of a run: slices without chores and slices with them in turn on one server, so that whatever else
//! the machine does hits both; then the sums, and the verdict. Called by `scripts/torture`, which tells the options.
//! It fails on a wrong value, an error reply, a closed connection, or counts that do not add up; latencies are for
//! people to read.

mod admin;
mod chores;
mod echo;
mod growth;
mod keys;
mod load;
mod sums;
mod watch;

// What the benchmarks need of servers and the machine.
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

use histogram::Histogram;
use load::{Load, Manner, Sums};
use server::{Server, Target};

/// What every fallible step here returns: it is only printed.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Connections that pipeline, and those that ask one thing after the other.
const PIPELINES: u32 = 4;
const SINGLES: u32 = 4;

/// `-m` while there are no chores.
const MEGABYTES: u64 = 64;

/// Faults that are told; after so many the run ends.
const FAULTS_MAX: u64 = 20;

/// What is going on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The load runs, nothing is measured, no chore begins.
    Between,
    Calm,
    Chores,
    End,
}

impl Phase {
    /// The row of the table that it counts for.
    fn measured(self) -> Option<usize> {
        match self {
            Self::Calm => Some(0),
            Self::Chores => Some(1),
            Self::Between | Self::End => None,
        }
    }
}

/// What all threads share.
pub(crate) struct Run {
    phase: AtomicU8,
    failed: AtomicBool,
    faults: AtomicU64,
    told: Mutex<()>,
    begun: Instant,
    length: Duration,
    ledger: keys::Ledger,
    writers: u32,
    /// A time to live so far away that items need another layout for it.
    far_expiry: u32,
    /// Lines received.
    replies: AtomicU64,
    /// The server is memcached: it flushes by the second, and gives memory back when it finds time.
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
            3 => Phase::End,
            _ => Phase::Between,
        }
    }

    /// How much of the run is over, 0 to 1.
    fn progress(&self) -> f64 {
        (self.begun.elapsed().as_secs_f64() / self.length.as_secs_f64()).min(1.0)
    }

    fn enter(&self, phase: Phase) {
        if self.phase() != Phase::End {
            self.phase.store(phase as u8, SeqCst);
        }
    }

    /// Tells a fault; many of them end the run.
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
        ["growth"] => growth::measure(false),
        ["growth", "memcached"] => growth::measure(true),
        _ => Err("usage: scripts/torture [growth] [memcached]".into()),
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

/// The server under test, with `memory` MiB and a small index.
fn start(memcached: bool, memory: u64) -> Outcome<Server> {
    let target = if memcached { Target::memcached() } else { Target::oxcached() }?;
    let memory = memory.to_string();
    let mut options = vec!["-t", "4", "-m", &memory, "-o", "hashpower=13"];
    let more = std::env::var("TORTURE_OPTIONS").unwrap_or_default();
    options.extend(more.split_ascii_whitespace());
    Server::start(&target, None, &options)
}

fn torture(memcached: bool) -> Outcome<bool> {
    let seconds = number("TORTURE_SECONDS", 60)?;
    let slice = Duration::from_secs(number("TORTURE_SLICE", 15)?.max(1));
    let seed = number("TORTURE_SEED", fastrand::u64(..u64::from(u32::MAX)))?;
    println!(
        "{seconds} s, half without chores and half with them, in slices of {} s; TORTURE_SEED={seed}",
        slice.as_secs()
    );
    let server = start(memcached, MEGABYTES)?;
    let run = Run::new(Duration::from_secs(seconds), memcached)?;
    let counts = chores::Counts::default();
    let (mut reports, mut echo) = (Vec::new(), None);
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
        alternate(&run, &server, Duration::from_secs(seconds), slice);
        run.enter(Phase::End);
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
    let names = ["without chores", "with chores"];
    println!(
        "\n{:<26} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8}",
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
        println!("{:<26} {requests:>10}", format!("all requests, {name}"));
    }
    println!("\nRSS {} MiB", server.rss_bytes()? >> 20);
    sums::check(&run, &server, &asked)?;
    let faults = run.faults.load(SeqCst);
    println!("{}", if faults == 0 { "no fault".to_owned() } else { format!("{faults} FAULTS") });
    Ok(faults == 0)
}

/// Slices without and with chores, in turn.
fn alternate(run: &Run, server: &Server, time: Duration, slice: Duration) {
    let begun = Instant::now();
    // The cache fills first.
    let mut go_on = run.pass(Duration::from_secs(5));
    while go_on && begun.elapsed() < time {
        for phase in [Phase::Calm, Phase::Chores] {
            if let Err(problem) = chores::settle(run, server) {
                run.fault(format!("between two slices: {problem}"));
            }
            run.enter(phase);
            go_on &= run.pass(slice);
            run.enter(Phase::Between);
        }
    }
}

/// A row of the table.
pub(crate) fn print(name: &str, latency: &Histogram) {
    let of = |share| latency.percentile_us(share).unwrap_or(0.0);
    let max = latency.max_us();
    println!(
        "{name:<26} {:>10} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {max:>8.0}",
        latency.len(),
        of(0.5),
        of(0.99),
        of(0.999),
        of(0.9999)
    );
}
