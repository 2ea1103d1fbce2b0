//! Owns the command line and the environment of the benchmark. Called by `main`, once.

use std::path::PathBuf;
use std::time::Duration;

use crate::server::named;
use crate::{Outcome, machine, workload};

const USAGE: &str = "\
usage: scripts/bench [MODE] [OPTIONS]
modes:
  (none)            loads oxcached and memcached in turn
  instructions      instructions an operation, counted by callgrind; fails where a figure of
                    benches/side_by_side/instructions.txt is exceeded by more than 3 %
  calls             system calls an operation, counted by strace
  page FILE...      writes docs/benchmarks.md and its charts from the files that --json and scripts/hitratio wrote;
                    of a row that several files have, that of the last one
options:
  --rounds N        runs of each server in each workload, in turn (default 3)
  --seconds S       measured seconds of a run (default 3)
  --only A,B        these workloads or dialogues only; `items`, `idle` and `forms` stand for their groups
  --all             those as well that only run when they are named: items
  --forms A,B       these rows of `forms` only, beside plain gets
  --json FILE       also write every run to FILE
  --write           with `instructions`: keep the figures
  --server-core N   where the servers run (default 0)
  --load-core N     where the load generator runs (default: the last core)
  --list            name the workloads and leave
environment:
  OXCACHED_BIN      default: target/release/oxcached
  MEMCACHED_BIN     default: memcached in PATH
  MEMCACHED_OLD     another memcached, as Debian's 1.6.18
  POGOCACHE         a pogocache
  MEMTIER           a memtier_benchmark; without it the built-in loader does all it can
  CRUSHER           an mc-crusher; without it the built-in loader sends the same";

/// What the program does.
pub enum Mode {
    Bench,
    Instructions,
    Calls,
    Page(Vec<PathBuf>),
    /// Serves as the toy that shows the limit.
    Limit,
}

/// Options of one run.
pub struct Args {
    pub mode: Mode,
    pub rounds: usize,
    pub seconds: Duration,
    /// Empty = every workload that runs by default.
    pub only: Vec<String>,
    /// Workloads that take long as well.
    pub all: bool,
    /// Forms to compare with plain gets; empty = all.
    pub forms: Vec<String>,
    pub json: Option<PathBuf>,
    pub write: bool,
    pub memtier: Option<PathBuf>,
    pub crusher: Option<PathBuf>,
    pub server_core: Option<usize>,
    pub load_core: Option<usize>,
}

/// Word that makes this program the toy server.
pub const LIMIT: &str = "limit-server";

impl Args {
    /// Parses the command line. `None`: nothing to run (help or a list was printed).
    pub fn parse(words: impl Iterator<Item = String>) -> Outcome<Option<Args>> {
        let (server_core, load_core) = machine::default_cores();
        let mut args = Args {
            mode: Mode::Bench,
            rounds: 3,
            seconds: Duration::from_secs(3),
            only: Vec::new(),
            all: false,
            forms: Vec::new(),
            json: None,
            write: false,
            memtier: named("MEMTIER").map(PathBuf::from),
            crusher: named("CRUSHER").map(PathBuf::from),
            server_core,
            load_core,
        };
        // Cargo passes `--bench` to every bench target.
        let mut words = words.filter(|word| word != "--bench").peekable();
        match words.peek().map(String::as_str) {
            Some("instructions") => args.mode = Mode::Instructions,
            Some("calls") => args.mode = Mode::Calls,
            Some("page") => args.mode = Mode::Page(Vec::new()),
            Some(LIMIT) => {
                // The other words are those of a server.
                args.mode = Mode::Limit;
                return Ok(Some(args));
            }
            _ => {}
        }
        if !matches!(args.mode, Mode::Bench) {
            words.next();
        }
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--rounds" => args.rounds = value()?.parse::<usize>()?.max(1),
                "--seconds" => args.seconds = Duration::from_secs_f64(value()?.parse::<f64>()?),
                "--only" => args.only = value()?.split(',').map(str::to_owned).collect(),
                "--forms" => args.forms = value()?.split(',').map(str::to_owned).collect(),
                "--json" => args.json = Some(value()?.into()),
                "--all" => args.all = true,
                "--write" => args.write = true,
                "--server-core" => args.server_core = Some(value()?.parse()?),
                "--load-core" => args.load_core = Some(value()?.parse()?),
                "--list" => return Ok(workload::list()),
                "--help" | "-h" => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                _ => match &mut args.mode {
                    Mode::Page(files) if !word.starts_with('-') => files.push(word.into()),
                    _ => return Err(format!("unknown option {word}\n{USAGE}").into()),
                },
            }
        }
        Ok(Some(args))
    }
}

impl Args {
    /// How the runs are made, in words.
    pub fn setup(&self) -> String {
        let core = |core: Option<usize>| core.map_or("any core".to_owned(), |core| format!("core {core}"));
        format!(
            "{} rounds of {} s; servers on {}, loaders on {}",
            self.rounds,
            self.seconds.as_secs_f64(),
            core(self.server_core),
            core(self.load_core)
        )
    }
}
