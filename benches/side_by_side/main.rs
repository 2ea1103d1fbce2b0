//! Side-by-side benchmark: oxcached and memcached under the same loads, on the same cores, in turn.
//!
//! Owns the order of the runs: every round starts one server, loads it, stops it, then does the same with the other.
//! Called by `cargo bench --bench side_by_side -- --help`. No run passes or fails: the table is for people to read.

mod args;
#[allow(dead_code)] // the torture program uses the rest
mod histogram;
mod idle;
mod items;
mod loader;
mod machine;
mod memtier;
mod report;
#[allow(dead_code)] // some of it is for other benches
mod server;
mod template;
mod wire;
mod workload;

use std::error::Error;
use std::process::ExitCode;

use args::Args;
use report::{Report, Run};
use server::{Server, Target};
use workload::{Kind, Tool, Workload};

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
    match bench(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("side_by_side: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Outcome<()> {
    let targets = [Target::oxcached()?, Target::memcached()?];
    machine::pin_self(args.load_core);
    let mut report = Report::new(&targets);
    for workload in workload::chosen(&args.only)? {
        if workload.needs_memtier() && args.memtier.is_none() {
            println!("{}: left out, MEMTIER is not set\n", workload.name);
            continue;
        }
        let mut rounds = Vec::new();
        for round in 1..=args.rounds {
            eprintln!("{}: round {round} of {}", workload.name, args.rounds);
            let [ours, theirs] = &targets;
            rounds.push([measure(args, workload, ours)?, measure(args, workload, theirs)?]);
        }
        report.add(workload, rounds);
        if let Some(path) = &args.json {
            report.write_json(path)?;
        }
    }
    Ok(())
}

/// Runs one server: start, load, measure, stop.
fn measure(args: &Args, workload: &Workload, target: &Target) -> Outcome<Run> {
    let named = |problem: Box<dyn Error>| format!("{} on {}: {problem}", workload.name, target.name);
    // 1 GiB for items and a hash table sized for the key space, so that neither server grows a table while measured.
    let connections_max = workload.connections_max().to_string();
    let options = ["-m", "1024", "-o", "hashpower=20", "-c", &connections_max];
    let server = Server::start(target, args.server_core, &options).map_err(named)?;
    let run = match &workload.kind {
        Kind::Load(plan) => match (&args.memtier, plan.tool) {
            (Some(binary), Tool::Memtier(extra) | Tool::MemtierOnly(extra)) => {
                memtier::run(args, binary, &server, plan, extra)
            }
            _ => loader::measure(&server, plan, args.seconds),
        },
        Kind::Idle { connections } => idle::measure(&server, *connections),
        Kind::Items { value_size } => items::measure(&server, *value_size),
    };
    Ok(run.map_err(named)?)
}
