//! Owns the disturbance of the load: every chore that an operator can start, concurrently, from separate connections.
//!
//! Each thread below repeats one kind of chore while the phase allows it. A reply that memcached would not give is a
//! fault. Called by `main`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::admin::Admin;
use crate::server::Server;
use crate::{MEGABYTES, Outcome, Phase, Run, watch, wire};

/// Maximum item memory in MiB, reached at the end of the run, so that the index grows all the time.
const MEGABYTES_MAX: u64 = 256;

/// Maximum time until a server is at rest.
const SETTLE_MAX: Duration = Duration::from_secs(20);

/// Number of times each action was done.
#[derive(Default)]
pub struct Counts(Mutex<BTreeMap<String, u64>>);

impl Counts {
    pub fn add(&self, what: &str, count: u64) {
        if let Ok(mut counts) = self.0.lock() {
            *counts.entry(what.to_owned()).or_default() += count;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.lock().map_err(|_| fmt::Error)?;
        let words: Vec<_> = counts.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        write!(f, "done: {}", words.join(", "))
    }
}

/// Context of a chore thread.
pub struct Chore<'a> {
    pub run: &'a Run,
    pub server: &'a Server,
    pub counts: &'a Counts,
    pub rng: Rng,
}

/// One round of a kind of chore.
type Round = fn(&mut Chore<'_>, &mut Admin) -> Outcome<()>;

const ROUNDS: [Round; 7] = [reassign, switch, limit, crawl, flush, dump, stats];

/// Starts all chores; they end with the run.
pub fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    run: &'scope Run,
    server: &'scope Server,
    counts: &'scope Counts,
    seed: u64,
) -> Vec<ScopedJoinHandle<'scope, ()>> {
    let chore = move |number: u64| Chore { run, server, counts, rng: Rng::with_seed(seed ^ number << 32) };
    let rounds = ROUNDS.iter().zip(1..).map(|(&round, number)| {
        scope.spawn(move || {
            let mut chore = chore(number);
            let done = Admin::new(server).and_then(|mut admin| {
                while chore.run.phase() != Phase::End {
                    match chore.run.chores_go_on() {
                        true => round(&mut chore, &mut admin)?,
                        false => thread::sleep(Duration::from_millis(5)),
                    }
                }
                Ok(())
            });
            done.unwrap_or_else(|problem| run.fault(format!("chore {number}: {problem}")));
        })
    });
    let mut threads: Vec<_> = rounds.collect();
    for (number, slow) in [(101, false), (102, true), (103, true)] {
        threads.push(scope.spawn(move || watch::watch(chore(number), slow)));
        if slow {
            threads.push(scope.spawn(move || watch::dump_slowly(chore(number + 100))));
        }
    }
    threads
}

/// Restores the server's initial settings, and waits until it is at rest.
pub fn settle(run: &Run, server: &Server) -> Outcome<()> {
    let mut admin = Admin::new(server)?;
    for command in ["slabs automove 0", "lru mode segmented", "lru tune 20 40 0.2 2.0", "lru temp_ttl -1"] {
        expect(&admin.ask(command)?, &["OK"], command)?;
    }
    expect(&admin.ask(&format!("cache_memlimit {MEGABYTES}"))?, &["OK"], "cache_memlimit")?;
    let begun = Instant::now();
    while begun.elapsed() < SETTLE_MAX && run.phase() != Phase::End {
        let stats = admin.stats()?;
        let of = |name: &str| wire::number(&stats, name);
        let slabs = admin.ask_for_lines("stats slabs")?;
        let malloced = slabs.iter().find_map(|line| line.strip_prefix("STAT total_malloced ")?.parse::<u64>().ok());
        let is_small = run.memcached || malloced.is_none_or(|bytes| bytes <= (MEGABYTES + 8) << 20);
        if is_small && of("slab_reassign_running")? == 0 && of("lru_crawler_running")? == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn expect(reply: &str, known: &[&str], command: &str) -> Outcome<()> {
    match known.iter().any(|known| reply == *known || known.strip_suffix('*').is_some_and(|k| reply.starts_with(k))) {
        true => Ok(()),
        false => Err(format!("{command}: {reply:?}").into()),
    }
}

impl Chore<'_> {
    pub fn rest(&mut self, milliseconds: std::ops::Range<u64>) {
        let until = Instant::now() + Duration::from_millis(self.rng.u64(milliseconds));
        while self.run.chores_go_on() && Instant::now() < until {
            thread::sleep(Duration::from_millis(10).min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Sends a command that must succeed or be refused with one of `refusals`.
    fn order(&mut self, admin: &mut Admin, command: &str, refusals: &[&str]) -> Outcome<()> {
        let reply = admin.ask(command)?;
        if reply != "OK" {
            expect(&reply, refusals, command)?;
            return Ok(());
        }
        let name = command.split(' ').take_while(|word| !word.starts_with(|c: char| c.is_ascii_digit() || c == '-'));
        self.counts.add(&name.collect::<Vec<_>>().join(" "), 1);
        Ok(())
    }
}

/// Moves pages from any class to any other, and to the pool and back.
fn reassign(chore: &mut Chore<'_>, admin: &mut Admin) -> Outcome<()> {
    let lines = admin.ask_for_lines("stats slabs")?;
    let of = |line: &String| line.strip_prefix("STAT ")?.split_once(":total_pages ")?.0.parse::<u32>().ok();
    let mut classes: Vec<u32> = lines.iter().filter_map(of).collect();
    classes.push(0);
    for _ in 0..50 {
        if !chore.run.chores_go_on() {
            break;
        }
        let mut class = || classes[chore.rng.usize(..classes.len())];
        let (src, dst) = (class(), class());
        chore.order(admin, &format!("slabs reassign {src} {dst}"), &["BUSY*", "BADCLASS*", "NOSPARE*", "SAME*"])?;
        chore.rest(1..8);
    }
    Ok(())
}

/// Changes settings that affect background work.
fn switch(chore: &mut Chore<'_>, admin: &mut Admin) -> Outcome<()> {
    let command = match chore.rng.u32(..12) {
        n @ 0..3 => format!("slabs automove {n}"),
        3 => "lru mode flat".to_owned(),
        4 | 5 => "lru mode segmented".to_owned(),
        6 | 7 => format!("lru tune {} {} 0.2 2.0", chore.rng.u32(5..40), chore.rng.u32(5..40)),
        8 => format!("lru temp_ttl {}", chore.rng.u32(1..20)),
        9 => "lru temp_ttl -1".to_owned(),
        10 => format!("lru_crawler sleep {}", chore.rng.u32(0..200)),
        _ => format!("lru_crawler tocrawl {}", chore.rng.u32(0..5000)),
    };
    chore.order(admin, &command, &[])?;
    chore.rest(20..300);
    Ok(())
}

fn limit(chore: &mut Chore<'_>, admin: &mut Admin) -> Outcome<()> {
    let most = MEGABYTES + ((MEGABYTES_MAX - MEGABYTES) as f64 * chore.run.progress()) as u64;
    let megabytes = chore.rng.u64(MEGABYTES / 2..most + 1);
    chore.order(admin, &format!("cache_memlimit {megabytes}"), &[])?;
    chore.rest(100..2000);
    Ok(())
}

fn crawl(chore: &mut Chore<'_>, admin: &mut Admin) -> Outcome<()> {
    let command = match chore.rng.bool() {
        true => "lru_crawler crawl all".to_owned(),
        false => format!("lru_crawler crawl {},{}", chore.rng.u32(1..20), chore.rng.u32(20..40)),
    };
    chore.order(admin, &command, &["BUSY*", "BADCLASS*"])?;
    chore.rest(10..200);
    Ok(())
}

fn flush(chore: &mut Chore<'_>, admin: &mut Admin) -> Outcome<()> {
    chore.rest(2000..15_000);
    if chore.run.chores_go_on() {
        let acknowledged = chore.run.ledger.snapshot();
        chore.order(admin, "flush_all", &[])?;
        if !chore.run.memcached {
            chore.run.ledger.flushed(&acknowledged);
        }
    }
    Ok(())
}

/// A dump reader that reads everything. Every key of a dump must belong to this program.
fn dump(chore: &mut Chore<'_>, _: &mut Admin) -> Outcome<()> {
    let mut admin = Admin::new(chore.server)?;
    let (kind, what) = (*chore.rng.choice(&["metadump", "mgdump"]).unwrap_or(&""), ["all", "hash", "1,2,3,20"]);
    let what = what[chore.rng.usize(..what.len())];
    admin.send(&format!("lru_crawler {kind} {what}"))?;
    let mut lines = 0;
    loop {
        let line = admin.line()?;
        let known = match kind {
            "metadump" => line.starts_with("key=torture%3A") && line.contains(" exp=") && line.contains(" size="),
            _ => line.strip_prefix("mg torture:").is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit())),
        };
        match line.as_str() {
            "OK" if lines == 0 => {}
            "END" | "EN" => break,
            // Another dump is running, or the classes have no items.
            _ if lines == 0 && (line.starts_with("BUSY") || line.starts_with("NOTSTARTED")) => return Ok(()),
            _ if !known => return Err(format!("in {kind} {what}: {line:?}").into()),
            _ => lines += 1,
        }
    }
    chore.counts.add(&format!("{kind} {what}"), 1);
    chore.counts.add("lines of dumps", lines);
    chore.rest(200..1000); // reading costs processor time that the load then lacks
    Ok(())
}

fn stats(chore: &mut Chore<'_>, admin: &mut Admin) -> Outcome<()> {
    for what in ["", " slabs", " items", " settings", " conns", " sizes"] {
        let lines = admin.ask_for_lines(&format!("stats{what}"))?;
        if let Some(line) = lines.iter().find(|line| !line.starts_with("STAT ")) {
            return Err(format!("in stats{what}: {line:?}").into());
        }
    }
    let detail = if chore.rng.bool() { "on" } else { "off" };
    chore.order(admin, &format!("stats detail {detail}"), &[])?;
    admin.ask_for_lines("stats detail dump")?;
    chore.counts.add("stats of each kind", 1);
    chore.rest(20..400);
    Ok(())
}
