//! Owns the figures of a run, the rows made of them, their print on standard output and the JSON file. Called by
//! `main`; filled by every measuring module; read by `page`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::machine;
use crate::server::Target;
use crate::workload::{Goal, Kind, Workload};

/// Result of one server in one round.
pub struct Run {
    /// The compared figure, in the row's unit.
    pub cost: f64,
    pub rss_bytes: u64,
    pub load: Option<Load>,
}

/// Further figures of a steady load.
#[derive(Clone)]
pub struct Load {
    pub operations: u64,
    pub operations_per_sec: f64,
    /// The server's CPU time per operation.
    pub cpu_us: f64,
    /// Share of one core that the server used.
    pub busy: f64,
    /// Share of one core that the load generator used: near 1 next to an idle server, it was the bottleneck.
    pub generator_busy: Option<f64>,
    /// p50, p99, p99.9 of a batch.
    pub latency_us: [Option<f64>; 3],
}

impl Load {
    /// `cpu_ns` is the server's; `own_ns` the load generator's, if known.
    pub fn new(
        operations: u64,
        elapsed: Duration,
        cpu_ns: u64,
        own_ns: Option<u64>,
        latency_us: [Option<f64>; 3],
    ) -> Load {
        let share = |ns: u64| ns as f64 / elapsed.as_nanos() as f64;
        Load {
            operations,
            operations_per_sec: operations as f64 / elapsed.as_secs_f64(),
            cpu_us: cpu_ns as f64 / 1000.0 / operations.max(1) as f64,
            busy: share(cpu_ns),
            generator_busy: own_ns.map(share),
            latency_us,
        }
    }
}

impl Run {
    /// A load's cost is the server's CPU microseconds per operation.
    pub fn load(load: Load, rss_bytes: u64) -> Run {
        Run { cost: load.cpu_us, rss_bytes, load: Some(load) }
    }

    pub fn cost_only(cost: f64, rss_bytes: u64) -> Run {
        Run { cost, rss_bytes, load: None }
    }

    fn json(&self) -> Value {
        let load = self.load.as_ref().map(|load| {
            json!({
                "operations": load.operations,
                "operations_per_sec": load.operations_per_sec,
                "cpu_us": load.cpu_us,
                "busy": load.busy,
                "generator_busy": load.generator_busy,
                "p50_us": load.latency_us[0],
                "p99_us": load.latency_us[1],
                "p999_us": load.latency_us[2],
            })
        });
        json!({ "cost": self.cost, "rss_bytes": self.rss_bytes, "load": load })
    }
}

/// Name of the benchmark's own loader.
pub const BUILT_IN: &str = "built-in";

/// The runs of one round: of each server, by its name.
pub type Round = Vec<(&'static str, Run)>;

/// One row: a workload, a form of commands, or a rate.
pub struct Row<'a> {
    pub name: String,
    pub about: &'a str,
    /// Table of the page that has it.
    pub group: &'static str,
    pub unit: &'static str,
    pub loader: &'static str,
    /// What the row adds to the loader's command.
    pub flags: String,
    pub goal: Option<Goal>,
    pub rounds: Vec<Round>,
    /// Of each round, the runs whose cost the row is to be a multiple of.
    pub plain: Vec<Vec<(&'static str, f64)>>,
}

impl<'a> Row<'a> {
    pub fn of(workload: &'a Workload, loader: &'static str, rounds: Vec<Round>) -> Row<'a> {
        let (group, unit) = match workload.kind {
            Kind::Idle { .. } => ("memory", "B/conn"),
            Kind::Start => ("memory", "B"),
            Kind::Wakes => ("memory", "/s"),
            Kind::Items { .. } => ("memory", "items"),
            _ => ("load", "us/op"),
        };
        let flags = match &workload.kind {
            Kind::Load(plan) if loader != BUILT_IN => plan.tool.flags(),
            _ => String::new(),
        };
        let (name, about, goal) = (workload.name.to_owned(), workload.about, workload.goal);
        Row { name, about, group, unit, loader, flags, goal, rounds, plain: Vec::new() }
    }

    fn json(&self) -> Value {
        let mut rounds = Vec::new();
        for (number, round) in self.rounds.iter().enumerate() {
            let mut runs = Map::new();
            for (name, run) in round {
                let mut run = run.json();
                let plain = self.plain.get(number).and_then(|round| round.iter().find(|(other, _)| other == name));
                if let Some((_, plain)) = plain {
                    run["plain"] = json!(plain);
                }
                runs.insert((*name).to_owned(), run);
            }
            rounds.push(Value::Object(runs));
        }
        json!({
            "name": self.name,
            "about": self.about,
            "group": self.group,
            "unit": self.unit,
            "loader": self.loader,
            "flags": self.flags,
            "goal": self.goal.map(|goal| json!({ "of": goal.of, "at_most": goal.at_most })),
            "rounds": rounds,
        })
    }
}

/// Results so far.
pub struct Report {
    pub root: Value,
}

impl Report {
    /// `setup` says how the runs are made.
    pub fn new(targets: &[Target], setup: &str) -> Report {
        let versions = targets.iter().map(|target| (target.name.to_owned(), json!(target.version)));
        let root = json!({
            "machine": machine::about(),
            "date": machine::date(),
            "revision": machine::revision(),
            "setup": setup,
            "versions": versions.collect::<Map<String, Value>>(),
            "rows": [],
        });
        Report { root }
    }

    /// Adds a row and prints it.
    pub fn add(&mut self, row: &Row) {
        let row = row.json();
        print(&row);
        if let Some(rows) = self.root["rows"].as_array_mut() {
            rows.push(row);
        }
    }

    pub fn write_json(&self, path: &Path) -> Outcome<()> {
        Ok(fs::write(path, serde_json::to_string_pretty(&self.root)?)?)
    }
}

fn print(row: &Value) {
    println!("{}: {} ({})", word(row, "name"), word(row, "about"), word(row, "loader"));
    for name in servers(row) {
        println!("  {name:10} {}", summary(row, &name));
    }
    if let Some(spread) = Spread::of(plain_ratios(row, "oxcached")) {
        println!("  of plain   {spread}");
    }
    for other in servers(row).iter().filter(|name| *name != "oxcached") {
        if let Some(spread) = Spread::of(ratios(row, other)) {
            let goal = &row["goal"];
            let wanted = goal["at_most"].as_f64().filter(|_| goal["of"] == other.as_str());
            let goal = wanted.map_or(String::new(), |most| format!("   goal <= {most:.2}"));
            println!("  / {other:9} {spread}{goal}");
        }
    }
    println!();
}

/// A word of a row.
pub fn word<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

/// Names of the servers that ran, oxcached first, memcached second.
pub fn servers(row: &Value) -> Vec<String> {
    const ORDER: [&str; 5] = ["oxcached", "memcached", "old", "limit", "pogocache"];
    let first = &row["rounds"][0];
    ORDER.iter().filter(|name| first.get(name).is_some()).map(|name| (*name).to_owned()).collect()
}

/// Each round's cost of oxcached, as a share of the cost of `other`.
pub fn ratios(row: &Value, other: &str) -> Vec<f64> {
    let ratio = |round: &Value| Some(round["oxcached"]["cost"].as_f64()? / round[other]["cost"].as_f64()?);
    rounds(row).iter().filter_map(ratio).collect()
}

/// Each round's cost of a server, as a multiple of its plain gets.
pub fn plain_ratios(row: &Value, name: &str) -> Vec<f64> {
    let ratio = |round: &Value| Some(round[name]["cost"].as_f64()? / round[name]["plain"].as_f64()?);
    rounds(row).iter().filter_map(ratio).collect()
}

/// A figure of each round of a server.
pub fn figures(row: &Value, name: &str, path: &str) -> Vec<f64> {
    rounds(row).iter().filter_map(|round| round[name].pointer(path)?.as_f64()).collect()
}

fn rounds(row: &Value) -> &[Value] {
    row["rounds"].as_array().map_or(&[], Vec::as_slice)
}

/// Median, least and greatest of some figures.
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// `None` without figures.
    pub fn of(mut figures: Vec<f64>) -> Option<Spread> {
        figures.retain(|figure| figure.is_finite());
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let (low, high) = ((figures.len() - 1) / 2, figures.len() / 2);
        Some(Spread { median: (figures[low] + figures[high]) / 2.0, least, most })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(out, "{:.3} ({:.3} to {:.3})", self.median, self.least, self.most)
    }
}

/// One line: the medians of a server's runs.
fn summary(row: &Value, name: &str) -> String {
    let middle = |path: &str| Spread::of(figures(row, name, path)).map_or(f64::NAN, |spread| spread.median);
    let cost = middle("/cost");
    let rss_mib = middle("/rss_bytes") / f64::from(1 << 20);
    let digits = if cost < 100.0 { 3 } else { 0 };
    let mut line = format!("{cost:10.digits$} {:6}  rss {rss_mib:7.1} MiB", word(row, "unit"));
    if row["rounds"][0][name]["load"].is_object() {
        line +=
            &format!("  {:9.0} op/s  core {:3.0} %", middle("/load/operations_per_sec"), middle("/load/busy") * 100.0);
        // Foreign loaders do not tell all of these.
        let generator = middle("/load/generator_busy") * 100.0;
        if generator.is_finite() {
            line += &format!(" (load {generator:.0} %)");
        }
        let [p50, p99, p999] = ["/load/p50_us", "/load/p99_us", "/load/p999_us"].map(middle);
        if p50.is_finite() {
            line += &format!("  p50/p99/p99.9 {p50:.0} / {p99:.0} / {p999:.0} us");
        }
    }
    line
}
