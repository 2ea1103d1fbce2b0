//! Owns the command line and the environment of the benchmark. Called by `main`, once.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Outcome, machine, workload};

const USAGE: &str = "\
usage: cargo bench --bench side_by_side -- [options]
  --rounds N        runs of each server in each workload, in turn (default 3)
  --seconds S       measured seconds of a run (default 3)
  --only A,B        these workloads only; `items` and `idle` stand for their groups
  --json FILE       also write every run to FILE
  --server-core N   where the servers run (default 0)
  --load-core N     where the load generator runs (default: the last core)
  --list            name the workloads and leave
environment:
  OXCACHED_BIN      default: target/release/oxcached
  MEMCACHED_BIN     default: memcached in PATH
  MEMTIER           a memtier_benchmark; without it the built-in loader does all it can";

/// Options of one benchmark run.
pub struct Args {
    pub rounds: usize,
    pub seconds: Duration,
    /// Empty = every workload that runs by default.
    pub only: Vec<String>,
    pub json: Option<PathBuf>,
    pub memtier: Option<PathBuf>,
    pub server_core: Option<usize>,
    pub load_core: Option<usize>,
}

impl Args {
    /// Parses the command line. `None`: nothing to run (help or a list was printed).
    pub fn parse(words: impl Iterator<Item = String>) -> Outcome<Option<Args>> {
        let (server_core, load_core) = machine::default_cores();
        let mut args = Args {
            rounds: 3,
            seconds: Duration::from_secs(3),
            only: Vec::new(),
            json: None,
            memtier: std::env::var_os("MEMTIER").filter(|path| !path.is_empty()).map(PathBuf::from),
            server_core,
            load_core,
        };
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                // Cargo passes this to every bench target.
                "--bench" => {}
                "--rounds" => args.rounds = value()?.parse::<usize>()?.max(1),
                "--seconds" => args.seconds = Duration::from_secs_f64(value()?.parse::<f64>()?),
                "--only" => args.only = value()?.split(',').map(str::to_owned).collect(),
                "--json" => args.json = Some(value()?.into()),
                "--server-core" => args.server_core = Some(value()?.parse()?),
                "--load-core" => args.load_core = Some(value()?.parse()?),
                "--list" => return Ok(workload::list()),
                "--help" | "-h" => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                _ => return Err(format!("unknown option {word}\n{USAGE}").into()),
            }
        }
        Ok(Some(args))
    }
}
