//! Owns `latency`: how long requests take at a fixed rate, beside memcached's. Called by `main`.
//!
//! A closed loop sends less while a server pauses, and so hides the pause. Here each request is due at a time that the
//! server does not influence, and its latency counts from then on: [`crate::pace`]. The rates are shares of what
//! memcached serves in a closed loop on the same core, so both servers get the same load.

use std::time::Duration;

use crate::args::Args;
use crate::form;
use crate::loader::Work;
use crate::pace::{Growth, Pace};
use crate::report::{BUILT_IN, Report, Row, Run};
use crate::server::{Server, Target};
use crate::stream::Transport;
use crate::template::{Keys, Template};
use crate::workload::{Chores, Workload};
use crate::{Outcome, wire};

const KEYS: u32 = 1_000_000;
const VALUE_SIZE: usize = 100;
const CONNECTIONS: usize = 50;
/// Seconds of a run, where a workload has the seconds of the command line: the slowest of 1000 requests must recur.
const LONGER: u32 = 3;
/// Shares of memcached's greatest rate.
const SHARES: [(&str, f64); 2] = [("50", 0.5), ("80", 0.8)];
/// One of so many requests is a set of an item that expires.
const EXPIRING: usize = 10;
/// New keys a second while the table grows; from 2^17 buckets it doubles each few seconds.
const NEW_KEYS: u32 = 100_000;

/// Runs every round, and adds a row for each percentile of each share.
pub fn measure(
    args: &Args,
    workload: &Workload,
    chores: Chores,
    targets: &[Target],
    report: &mut Report,
) -> Outcome<()> {
    let memcached = targets.iter().find(|target| target.name == "memcached").ok_or("no memcached")?;
    let most = saturation(args, memcached)?;
    eprintln!("{}: memcached serves {most:.0} requests a second", workload.name);
    for (share_name, share) in SHARES {
        let mut rounds = Vec::new();
        for round in 1..=args.rounds {
            eprintln!("{} at {share_name} %: round {round} of {}", workload.name, args.rounds);
            let mut runs = Vec::new();
            for target in targets {
                let run = paced(args, chores, target, most * share);
                let named = |problem| format!("{} on {}: {problem}", workload.name, target.name);
                runs.push((target.name, run.map_err(named)?));
            }
            rounds.push(runs);
        }
        for (index, percentile) in [(1, "p99"), (2, "p99.9")] {
            let at = |run: &Run| {
                let load = run.load.clone();
                let cost = load.as_ref().and_then(|load| load.latency_us[index]).unwrap_or(f64::NAN);
                Run { cost, rss_bytes: run.rss_bytes, load }
            };
            let rounds = rounds.iter().map(|round: &Vec<(&'static str, Run)>| {
                round.iter().map(|(name, run)| (*name, at(run))).collect::<Vec<_>>()
            });
            report.add(&Row {
                name: format!("{}{share_name}/{percentile}", workload.name),
                about: workload.about,
                group: "latency",
                unit: "us",
                loader: BUILT_IN,
                flags: String::new(),
                goal: workload.goal,
                rounds: rounds.collect(),
                plain: Vec::new(),
            });
        }
    }
    Ok(())
}

fn start(args: &Args, chores: Chores, target: &Target) -> Outcome<Server> {
    let power = if chores == Chores::Growth { "hashpower=17" } else { "hashpower=20" };
    let server = Server::start(target, args.server_core, &["-m", "2048", "-c", "1024", "-o", power])?;
    let keys = if chores == Chores::Growth { KEYS / 10 } else { KEYS };
    wire::fill(&mut server.connect()?, 0, keys, VALUE_SIZE)?;
    Ok(server)
}

/// Single gets that memcached serves a second in a closed loop.
fn saturation(args: &Args, memcached: &Target) -> Outcome<f64> {
    let server = start(args, Chores::None, memcached)?;
    let work = Work {
        batches: vec![Template::batch(form::PLAIN.request, None, form::PLAIN.reply, 1, VALUE_SIZE)],
        keys: Keys::uniform(KEYS),
        connections: CONNECTIONS,
        transport: Transport::Tcp,
        listener: 0,
        churn: false,
    };
    let run = work.run(&server, None, args.seconds)?;
    Ok(run.load.map_or(0.0, |load| load.operations_per_sec))
}

fn paced(args: &Args, chores: Chores, target: &Target, rate: f64) -> Outcome<Run> {
    let server = start(args, chores, target)?;
    let single = |request| {
        let mut template = Template::new(form::LINE, VALUE_SIZE);
        template.push(request);
        template
    };
    let mut commands = vec![single(form::PLAIN.request)];
    let mut keys = Keys::uniform(KEYS);
    let mut growth = None;
    match chores {
        Chores::None => {}
        Chores::Sweeps => {
            commands = vec![single(form::PLAIN.request); EXPIRING - 1];
            commands.push(single(form::SET_SHORT.request));
        }
        Chores::Growth => {
            keys = Keys::uniform(KEYS / 10);
            growth = Some(Growth { from: KEYS / 10, per_second: NEW_KEYS, value_size: VALUE_SIZE });
        }
    }
    let seconds: Duration = args.seconds * LONGER;
    Pace { commands, keys, connections: CONNECTIONS, rate, growth }.run(&server, seconds)
}
