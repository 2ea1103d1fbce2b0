//! Owns the comparison of forms: every form of a command in a pipeline, beside plain gets of the same round. Called by
//! `main`.
//!
//! A round starts each server once, and sends it plain gets and then every other form. The goal is one of cost: what
//! overlaps the cache misses of plain gets overlaps those of each form.

use crate::Outcome;
use crate::args::Args;
use crate::dialogue;
use crate::form::{FORMS, Form, PLAIN};
use crate::loader::Work;
use crate::report::{BUILT_IN, Report, Round, Row, Run};
use crate::server::Target;
use crate::stream::Transport;
use crate::template::{Keys, Template};
use crate::tls::Tls;
use crate::workload::Goal;

const KEYS: u32 = 1_000_000;
const VALUE_SIZE: usize = 100;
const CONNECTIONS: usize = 50;
/// Seconds a form is measured, where a workload has the seconds of the command line.
const PART: u32 = 3;

/// Runs every round, and adds a row for each form.
pub fn measure(args: &Args, targets: &[Target], tls: &Tls, report: &mut Report) -> Outcome<()> {
    let wanted = |form: &&Form| args.forms.is_empty() || args.forms.iter().any(|name| *name == form.name);
    let forms = FORMS.iter().filter(|form| form.name == PLAIN.name || wanted(form)).collect::<Vec<_>>();
    // Of each form, its rounds.
    let mut rounds = forms.iter().map(|_| Vec::<Round>::new()).collect::<Vec<_>>();
    let mut over_tls = Vec::<Round>::new();
    for round in 1..=args.rounds {
        rounds.iter_mut().chain([&mut over_tls]).for_each(|rounds| rounds.push(Round::new()));
        for target in targets {
            eprintln!("forms: round {round} of {}, {}", args.rounds, target.name);
            let named = |problem: Box<dyn std::error::Error>| format!("on {}: {problem}", target.name);
            let server = dialogue::start(target, args.server_core, tls, "1024", "1024").map_err(named)?;
            dialogue::fill(&mut server.connect()?, KEYS, VALUE_SIZE).map_err(named)?;
            let run = |form: &Form, transport: Transport| -> Outcome<Run> {
                let work = Work {
                    batches: vec![Template::batch(form.request, form.tail, form.reply, form.depth, VALUE_SIZE)],
                    keys: Keys::uniform(KEYS),
                    connections: CONNECTIONS,
                    transport,
                    listener: usize::from(transport == Transport::Tls),
                    churn: false,
                };
                let run = work.run(&server, Some(tls), args.seconds / PART);
                Ok(run.map_err(|problem| format!("{} on {}: {problem}", form.name, target.name))?)
            };
            // Not measured: after the fill the server is at work for a while, which the first row would pay.
            run(&PLAIN, Transport::Tcp)?;
            for (form, rounds) in forms.iter().zip(&mut rounds) {
                let run = run(form, Transport::Tcp)?;
                if let Some(round) = rounds.last_mut() {
                    round.push((target.name, run));
                }
            }
            if let Some(round) = over_tls.last_mut()
                && server.port_of(1).is_some()
                && (args.forms.is_empty() || args.forms.iter().any(|name| name == TLS))
            {
                round.push((target.name, run(&PLAIN, Transport::Tls)?));
            }
        }
    }
    add(report, &forms, rounds, over_tls);
    Ok(())
}

/// Name of the plain gets over TLS.
const TLS: &str = "plaintls";
/// Of the cost of plain gets.
pub const GOAL: f64 = 1.3;

fn add(report: &mut Report, forms: &[&Form], rounds: Vec<Vec<Round>>, over_tls: Vec<Round>) {
    let plain = rounds[0]
        .iter()
        .map(|round| round.iter().map(|(name, run)| (*name, run.cost)).collect::<Vec<_>>())
        .collect::<Vec<_>>();
    let row = |name: &str, about, goal, rounds| Row {
        name: name.to_owned(),
        about,
        group: "forms",
        unit: "us/op",
        loader: BUILT_IN,
        flags: String::new(),
        goal,
        rounds,
        plain: plain.clone(),
    };
    for (form, rounds) in forms.iter().zip(rounds) {
        report.add(&row(form.name, form.about, Some(Goal { of: "plain", at_most: GOAL }), rounds));
    }
    if over_tls.iter().any(|round| !round.is_empty()) {
        report.add(&row(TLS, "plain gets over TLS", None, over_tls));
    }
}
