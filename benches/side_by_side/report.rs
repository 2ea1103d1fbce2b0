//! Owns the figures of a run, the table on standard output and the JSON file. Called by `main`; filled by every
//! measuring module.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Outcome;
use crate::server::Target;
use crate::workload::{Kind, Workload};

/// Result of one server in one round.
pub struct Run {
    /// The compared figure, in the workload's unit.
    pub cost: f64,
    pub rss_bytes: u64,
    pub load: Option<Load>,
}

/// Further figures of a steady load.
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

/// Results so far.
pub struct Report {
    names: [&'static str; 2],
    rows: Vec<Value>,
}

impl Report {
    pub fn new(targets: &[Target; 2]) -> Report {
        Report { names: [targets[0].name, targets[1].name], rows: Vec::new() }
    }

    /// Adds a workload's rounds, each one run of either server, and prints them.
    pub fn add(&mut self, workload: &Workload, rounds: Vec<[Run; 2]>) {
        println!("{}: {}", workload.name, workload.about);
        for (side, name) in self.names.iter().enumerate() {
            let runs = rounds.iter().map(|round| &round[side]).collect::<Vec<_>>();
            println!("  {name:10} {}", summary(workload, &runs));
        }
        let mut ratios = rounds.iter().map(|[ours, theirs]| ours.cost / theirs.cost).collect::<Vec<_>>();
        let middle = median(&mut ratios);
        let target = workload.target.map_or("-".to_owned(), |target| format!("<= {target:.2}"));
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        println!("  ratio      {middle:.3} ({least:.3} to {most:.3})   target {target}\n");
        let sides = |side: usize| rounds.iter().map(|round| round[side].json()).collect::<Vec<_>>();
        self.rows.push(json!({
            "workload": workload.name,
            "unit": unit(workload),
            "ratio": middle,
            "ratio_min": least,
            "ratio_max": most,
            "target": workload.target,
            self.names[0]: sides(0),
            self.names[1]: sides(1),
        }));
    }

    pub fn write_json(&self, path: &Path) -> Outcome<()> {
        Ok(fs::write(path, serde_json::to_string_pretty(&self.rows)?)?)
    }
}

fn unit(workload: &Workload) -> &'static str {
    match workload.kind {
        Kind::Load(_) => "us/op",
        Kind::Idle { .. } => "B/conn",
        Kind::Items { .. } => "items",
    }
}

/// One line: the medians of a server's runs.
fn summary(workload: &Workload, runs: &[&Run]) -> String {
    let over = |figure: &dyn Fn(&Run) -> Option<f64>| {
        let mut values = runs.iter().filter_map(|run| figure(run)).collect::<Vec<_>>();
        if values.is_empty() { f64::NAN } else { median(&mut values) }
    };
    let cost = over(&|run| Some(run.cost));
    let rss_mib = over(&|run| Some(run.rss_bytes as f64 / f64::from(1 << 20)));
    let digits = if cost < 100.0 { 3 } else { 0 };
    let mut line = format!("{cost:10.digits$} {:6}  rss {rss_mib:7.1} MiB", unit(workload));
    if matches!(workload.kind, Kind::Load(_)) {
        let load = |figure: &dyn Fn(&Load) -> Option<f64>| over(&|run| run.load.as_ref().and_then(figure));
        let latency = [0, 1, 2].map(|index| load(&|load| load.latency_us[index]));
        line += &format!(
            "  {:9.0} op/s  core {:3.0} % (load {:.0} %)  p50/p99/p99.9 {:.0} / {:.0} / {:.0} us",
            load(&|load| Some(load.operations_per_sec)),
            load(&|load| Some(load.busy * 100.0)),
            load(&|load| load.generator_busy.map(|share| share * 100.0)),
            latency[0],
            latency[1],
            latency[2],
        );
    }
    line
}

/// Sorts, and returns the middle value.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    (values[low] + values[high]) / 2.0
}
