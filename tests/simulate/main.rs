//! Deterministic simulation: the whole server except its sockets in one thread, under a seeded scheduler.
//!
//! ```text
//! cargo test --test simulate                          some seeds, as part of `make unit`
//! make simulate [FOR=60] [STEPS=3000]             new seeds for so long
//! make simulate SEED=5 [STEPS=3000]                   one run again; a fault is cut down to few steps
//! ```
//! `plan` holds the parameters of a run, `world` the scheduler, `background` the chores and the mover, `client` the
//! connections, `commands` and `packets` their requests, `model` the permitted replies. Simulation cannot see races
//! within a step (loom, stress), and sockets (tests/it/net, torture).
#![allow(clippy::unwrap_used)]

mod background;
mod client;
mod commands;
mod model;
mod packets;
mod plan;
mod world;

use plan::Plan;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use world::run;

/// Steps of a run by default.
const STEPS: u32 = 3000;

/// Runs as part of `make unit`.
const RUNS: u64 = 8;

/// Runs of one process if there are many: a process keeps some 64 MB for every store it has had.
const RUNS_IN_ONE: u64 = 4;

/// Seeds that once found a fault: each with its number of steps.
const FOUND: &[(u64, u32)] = &[];

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).and_then(|text| text.parse().ok())
}

/// The panic text of a run, and its step.
fn fault(plan: &Plan, skipped: &BTreeSet<u32>) -> Option<(String, u32)> {
    let at = Cell::new(0);
    let result = catch_unwind(AssertUnwindSafe(|| run(plan, |step| skipped.contains(&step), &at)));
    oxcached::point::set_hook(None);
    oxcached::store::act_as(None, false);
    let panic = result.err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some((text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default(), at.get()))
}

/// Kind of a fault: fewer steps may lead to another one.
fn kind(text: &str) -> &str {
    // Mismatching replies are listed.
    text.split(|c: char| c == '"' || c.is_ascii_digit()).next().unwrap_or(text)
}

/// Omits steps while the fault remains, in blocks of decreasing size.
fn shrink(plan: &Plan, found: &str, end: u32, until: Instant) -> BTreeSet<u32> {
    let mut skipped: BTreeSet<u32> = (end + 1..plan.steps).collect();
    let mut block = (end / 2).max(1);
    loop {
        let mut from = 0;
        while from <= end && Instant::now() < until {
            let mut more = skipped.clone();
            more.extend(from..(from + block).min(end + 1));
            let is_same = || fault(plan, &more).is_some_and(|(text, _)| kind(&text) == kind(found));
            if more.len() > skipped.len() && is_same() {
                skipped = more;
            }
            from += block;
        }
        if block == 1 || Instant::now() >= until {
            return skipped;
        }
        block = block.div_ceil(2).max(1);
    }
}

/// Runs one seed; reports a fault in full and ends the test.
fn check(seed: u64, steps: u32) {
    let mut plan = Plan::of(seed, steps);
    let Some((text, step)) = fault(&plan, &BTreeSet::new()) else { return };
    println!("SEED={seed} STEPS={steps}: at step {step}: {text}\n{plan:?}");
    let skipped = shrink(&plan, &text, step.min(steps - 1), Instant::now() + Duration::from_secs(60));
    let left: Vec<u32> = (0..steps).filter(|step| !skipped.contains(step)).collect();
    println!("the operations that are left:");
    plan.trace = true;
    let (text, _) = fault(&plan, &skipped).unwrap_or((text, step));
    panic!("SEED={seed} STEPS={steps}, {} steps are enough ({left:?}): {text}", left.len());
}

#[test]
fn whatever_the_order_every_reply_is_possible() {
    // Keys are hashed alike in every run; otherwise no seed would repeat.
    assert!(oxcached::hash::fix_seed(1), "a key was hashed before");
    let steps = number("STEPS").unwrap_or(STEPS);
    if let Some(seed) = number("SEED") {
        return check(seed, steps);
    }
    for &(seed, steps) in FOUND {
        check(seed, steps);
    }
    if let Some(seconds) = number("FOR") {
        return go_on(number("FROM").unwrap_or_else(|| fastrand::u64(..1 << 40)), seconds, steps);
    }
    let first = number("FROM").unwrap_or_else(|| fastrand::u64(..1 << 40));
    let runs = number("RUNS").unwrap_or(RUNS);
    (0..runs).for_each(|n| check(first + n, steps));
    println!("{runs} runs of {steps} steps from seed {first} on: no fault");
}

/// Runs seeds for `seconds`, some in each of many processes: a store lives as long as its process, and so does its
/// memory file.
fn go_on(first: u64, seconds: u64, steps: u32) {
    let begun = Instant::now();
    let mut runs = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let from = first + runs;
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--nocapture"]).env_remove("FOR").env_remove("SEED").stdout(Stdio::piped()).stderr(Stdio::piped());
        child.envs([("FROM", from.to_string()), ("RUNS", RUNS_IN_ONE.to_string()), ("STEPS", steps.to_string())]);
        let ended = child.output().unwrap();
        if !ended.status.success() {
            println!("{}", String::from_utf8_lossy(&ended.stdout));
            println!("{}", String::from_utf8_lossy(&ended.stderr));
            panic!("seeds from {from} on: {}", ended.status);
        }
        runs += RUNS_IN_ONE;
    }
    println!("{runs} runs of {steps} steps from seed {first} on in {} s: no fault", begun.elapsed().as_secs());
}
