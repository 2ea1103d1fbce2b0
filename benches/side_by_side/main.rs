//! Side-by-side benchmark: oxcached, memcached and others under the same loads, on the same cores, in turn.
//!
//! Owns the choice between the benchmark and its other modes, and the order of the runs: every round starts one server,
//! loads it, stops it, then does the same with the next. Called by `scripts/bench`. No run passes or fails, but for
//! `instructions`: the tables are for people to read.

mod args;
mod calls;
mod chart;
mod crusher;
mod dialogue;
mod form;
mod forms;
#[allow(dead_code)] // the torture program uses the rest
mod histogram;
mod instructions;
mod items;
mod latency;
mod limit;
mod loader;
mod machine;
mod memory;
mod memtier;
mod pace;
mod page;
mod report;
#[allow(dead_code)] // some of it is for other benches
mod server;
mod stream;
mod template;
mod tls;
mod wire;
mod workload;

use std::error::Error;
use std::process::ExitCode;

use args::{Args, Mode};
use report::{BUILT_IN, Report, Row, Run};
use server::{Door, Server, Target};
use stream::Transport;
use tls::Tls;
use workload::{Kind, Others, Plan, Tool, Workload};

/// Result of every fallible step here: a benchmark only prints its errors.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("side_by_side: {problem}");
            return ExitCode::from(2);
        }
    };
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("side_by_side: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// False if a figure is not as it should be.
fn run(args: &Args) -> Outcome<bool> {
    match &args.mode {
        Mode::Limit => limit::serve().map(|()| true),
        Mode::Instructions => instructions::run(&[Target::oxcached()?, Target::memcached()?], &args.only, args.write),
        Mode::Calls => {
            let targets = [Target::oxcached()?, Target::memcached()?];
            calls::run(&targets, args.server_core, &args.only).map(|()| true)
        }
        Mode::Page(files) => page::write(files).map(|()| true),
        Mode::Bench => bench(args),
    }
}

/// Runs all workloads. One that fails is left out, so that the hours of the others are not lost; false then.
fn bench(args: &Args) -> Outcome<bool> {
    let mut targets = vec![Target::oxcached()?, Target::memcached()?];
    targets.extend(Target::old()?);
    targets.push(Target::own("limit", args::LIMIT)?);
    targets.extend(Target::pogocache()?);
    machine::pin_self(args.load_core);
    let tls = Tls::new()?;
    let mut report = Report::new(&targets, &args.setup());
    let mut failed = Vec::new();
    for workload in workload::chosen(&args.only, args.all)? {
        if workload.needs_memtier() && args.memtier.is_none() {
            println!("{}: left out, MEMTIER is not set\n", workload.name);
            continue;
        }
        let able = targets.iter().filter(|target| workload.runs_on(target.name)).cloned().collect::<Vec<_>>();
        let outcome = match workload.kind {
            Kind::Forms => forms::measure(args, &able, &tls, &mut report),
            Kind::Latency(chores) => latency::measure(args, workload, chores, &able, &mut report),
            _ => rounds(args, workload, &able, &tls).map(|row| report.add(&row)),
        };
        if let Err(problem) = outcome {
            eprintln!("side_by_side: {problem}");
            failed.push(workload.name);
        }
        if let Some(path) = &args.json {
            report.write_json(path)?;
        }
    }
    if !failed.is_empty() {
        eprintln!("side_by_side: without figures: {}", failed.join(" "));
    }
    Ok(failed.is_empty())
}

/// All rounds of a workload.
fn rounds<'a>(args: &Args, workload: &'a Workload, targets: &[Target], tls: &Tls) -> Outcome<Row<'a>> {
    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        eprintln!("{}: round {round} of {}", workload.name, args.rounds);
        let mut runs = Vec::new();
        for target in targets {
            let run = measure(args, workload, target, tls);
            let named = |problem| format!("{} on {}: {problem}", workload.name, target.name);
            runs.push((target.name, run.map_err(named)?));
        }
        rounds.push(runs);
    }
    Ok(Row::of(workload, loader_of(args, workload), rounds))
}

/// Name of the program that loads the servers.
fn loader_of(args: &Args, workload: &Workload) -> &'static str {
    let Kind::Load(plan) = &workload.kind else { return BUILT_IN };
    match plan.tool {
        Tool::Memtier(_) | Tool::MemtierOnly(_) if args.memtier.is_some() => "memtier_benchmark",
        Tool::Crusher(_) if args.crusher.is_some() => "mc-crusher",
        _ => BUILT_IN,
    }
}

/// Runs one server: start, load, measure, stop.
fn measure(args: &Args, workload: &Workload, target: &Target, tls: &Tls) -> Outcome<Run> {
    // 1 GiB for items and a hash table sized for the key space, so that neither server grows a table while measured.
    let connections_max = workload.connections_max().to_string();
    let mut options = match workload.kind {
        // What a server costs as it comes.
        Kind::Start | Kind::Wakes => Vec::new(),
        _ => ["-m", "1024", "-o", "hashpower=20", "-c", &connections_max].map(str::to_owned).to_vec(),
    };
    options.extend(workload.options.iter().map(|word| (*word).to_owned()));
    let door = match workload.transport() {
        Transport::Unix => Door::Socket,
        Transport::Tcp => Door::Interfaces("127.0.0.1"),
        Transport::Tls => {
            options.extend(tls.options());
            Door::Interfaces("127.0.0.1")
        }
    };
    let server = Server::start_at(target, args.server_core, door, &options)?;
    match &workload.kind {
        Kind::Load(plan) => load(args, &server, plan, tls),
        Kind::Idle { connections } => memory::idle(&server, *connections),
        Kind::Start => memory::start(&server),
        Kind::Wakes => memory::wakes(&server),
        Kind::Items { value_size } => items::measure(&server, *value_size),
        Kind::Forms | Kind::Latency(_) => Err("these have their own rounds".into()),
    }
}

fn load(args: &Args, server: &Server, plan: &Plan, tls: &Tls) -> Outcome<Run> {
    match (plan.tool, &args.memtier, &args.crusher) {
        (Tool::Memtier(flags) | Tool::MemtierOnly(flags), Some(binary), _) => {
            memtier::run(args, binary, server, plan, flags)
        }
        (Tool::Crusher(line), _, Some(binary)) => crusher::run(args, binary, server, plan, line),
        _ => loader::measure(server, plan, Some(tls), args.seconds),
    }
}

impl Workload {
    /// Whether a server knows all that the workload sends.
    fn runs_on(&self, name: &str) -> bool {
        match name {
            "old" => self.others >= Others::Old,
            "limit" => self.others >= Others::Limit,
            "pogocache" => self.others >= Others::All,
            _ => true,
        }
    }
}
