//! Hit ratio at equal memory: the same requests to memcached and oxcached, with a store after each miss.
//!
//! Owns the order of the runs and the table. Called by `scripts/hitratio`. No run passes or fails: the table is for
//! people to read.

mod args;
mod mix;
mod replay;
mod trace;

// Servers and the machine, shared by both benchmark programs.
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
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use args::Args;
use mix::{MIXES, Mix, Source};
use replay::Score;
use server::{Server, Target};

/// Result of every fallible step here: a benchmark only prints its errors.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// Requests of a run per second requested.
const REQUESTS_A_SECOND: f64 = 750_000.0;

/// Result of one server for one stream.
struct Run {
    score: Score,
    items: u64,
    rss: u64,
}

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => return ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("hitratio: {problem}");
            return ExitCode::from(2);
        }
    };
    match compare(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("hitratio: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Outcome<()> {
    let targets = [Target::memcached()?, Target::oxcached()?];
    machine::pin_self(machine::default_cores().1);
    println!("{:<12} {:>5}  {:^17}  {:^23}  {:^17}  misses", "", "", "misses of gets, %", "items held", "RSS, MiB");
    let (them, us) = ("memcached", "oxcached");
    let mut rows = Vec::new();
    println!("{:<12} {:>5}  {them:>9}{us:>9}  {them:>11}{us:>11}  {them:>9}{us:>9}  ratio  goal", "mix", "-m");
    if args.traces.is_empty() {
        let asked = |mix: &&Mix| args.filter.is_empty() || args.filter.iter().any(|name| mix.name.starts_with(name));
        for mix in MIXES.iter().filter(asked) {
            let requests = (args.seconds * REQUESTS_A_SECOND) as u64;
            let plan = Plan { megabytes: mix.megabytes, requests, warm_up: requests * 2 / 5, pace: mix.pace };
            let runs = both(&targets, args, &plan, || Ok(mix.source()))?;
            print(mix.name, mix.megabytes, &runs, Some(mix.target));
            rows.push(row(mix, &runs));
        }
    }
    if let Some(path) = &args.json {
        let versions = json!({ "oxcached": targets[1].version, "memcached": targets[0].version });
        let setup = format!("misses: {:.0} requests of each mix", args.seconds * REQUESTS_A_SECOND);
        let root = json!({
            "machine": machine::about(),
            "date": machine::date(),
            "revision": machine::revision(),
            "setup": setup,
            "versions": versions,
            "rows": rows,
        });
        std::fs::write(path, serde_json::to_string_pretty(&root)?)?;
    }
    for path in &args.traces {
        let mut source = trace::open(path)?;
        let mut request = mix::Request::default();
        let requests = std::iter::from_fn(|| source(&mut request).then_some(())).count() as u64;
        let plan = Plan { megabytes: args.memory, requests, warm_up: requests * 2 / 5, pace: None };
        let runs = both(&targets, args, &plan, || trace::open(path))?;
        print(&name_of(path), args.memory, &runs, None);
    }
    Ok(())
}

struct Plan {
    megabytes: u64,
    requests: u64,
    warm_up: u64,
    pace: Option<u32>,
}

fn both(targets: &[Target; 2], args: &Args, plan: &Plan, source: impl Fn() -> Outcome<Source>) -> Outcome<[Run; 2]> {
    let [them, us] = targets;
    Ok([measure(them, args, plan, &mut source()?)?, measure(us, args, plan, &mut source()?)?])
}

/// Runs one server: start, requests, figures, stop.
fn measure(target: &Target, args: &Args, plan: &Plan, source: &mut Source) -> Outcome<Run> {
    let megabytes = plan.megabytes.to_string();
    let mut options = vec!["-m", megabytes.as_str()];
    options.extend(args.options.iter().map(String::as_str));
    let server = Server::start(target, machine::default_cores().0, &options)?;
    let (score, _) = replay::run(server.connect()?, source, plan.requests, plan.warm_up, plan.pace)?;
    let items = wire::number(&wire::stats(&mut server.connect()?)?, "curr_items")?;
    Ok(Run { score, items, rss: server.rss_bytes()? })
}

/// The row of a mix, in the form that the page of the benchmarks is made of.
fn row(mix: &Mix, [them, us]: &[Run; 2]) -> Value {
    let cost = |run: &Run| {
        let misses = 100.0 * run.score.misses as f64 / run.score.gets.max(1) as f64;
        json!({ "cost": misses, "rss_bytes": run.rss, "load": null })
    };
    json!({
        "name": mix.name,
        "about": mix.about,
        "group": "misses",
        "unit": "%",
        "loader": "hitratio",
        "goal": { "of": "memcached", "at_most": mix.target },
        "rounds": [{ "oxcached": cost(us), "memcached": cost(them) }],
    })
}

fn print(name: &str, megabytes: u64, [them, us]: &[Run; 2], target: Option<f64>) {
    let percent = |run: &Run| 100.0 * run.score.misses as f64 / run.score.gets.max(1) as f64;
    let mib = |run: &Run| run.rss as f64 / f64::from(1 << 20);
    let ratio = us.score.misses as f64 / them.score.misses.max(1) as f64;
    let goal = target.map_or(String::new(), |target| format!("{target:.2}{}", if ratio > target { " no" } else { "" }));
    println!(
        "{name:<12} {megabytes:>5}  {:>9.3}{:>9.3}  {:>11}{:>11}  {:>9.1}{:>9.1}  {ratio:.3}  {goal}",
        percent(them),
        percent(us),
        them.items,
        us.items,
        mib(them),
        mib(us),
    );
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
