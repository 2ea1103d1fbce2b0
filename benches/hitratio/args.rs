//! Owns the command line. Called by `main`, once.

use std::path::PathBuf;

use crate::{Outcome, mix};

const USAGE: &str = "\
usage: scripts/hitratio [options] [TRACE ...]
  --filter A,B      these mixes only (names, or how they begin)
  --seconds S       length of a run: 750,000 requests for each second, two fifths of them warm-up (default 10)
  --memory MIB      -m of both servers for traces (default 64)
  --json FILE       also write the figures to FILE, for `scripts/bench page`
  --options WORDS   more options for both servers
  --list            name the mixes and leave
A TRACE is a file of lines `time,key,key size,value size,client,operation,ttl`; it is replayed instead of the mixes.
environment:
  OXCACHED_BIN      default: target/release/oxcached
  MEMCACHED_BIN     default: memcached in PATH";

pub struct Args {
    /// Empty = every mix.
    pub filter: Vec<String>,
    pub seconds: f64,
    pub memory: u64,
    pub options: Vec<String>,
    pub json: Option<PathBuf>,
    pub traces: Vec<PathBuf>,
}

impl Args {
    /// Parses the command line. `None`: nothing to run (help or a list was printed).
    pub fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Option<Args>> {
        let (filter, options, traces) = (Vec::new(), Vec::new(), Vec::new());
        let mut args = Args { filter, seconds: 10.0, memory: 64, options, json: None, traces };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                // Cargo passes this to every bench target.
                "--bench" => {}
                "--filter" => args.filter = value()?.split(',').map(str::to_owned).collect(),
                "--seconds" => args.seconds = value()?.parse()?,
                "--memory" => args.memory = value()?.parse()?,
                "--json" => args.json = Some(value()?.into()),
                "--options" => args.options = value()?.split_ascii_whitespace().map(str::to_owned).collect(),
                "--list" => {
                    mix::MIXES.iter().for_each(|mix| println!("{:12} {}", mix.name, mix.about));
                    return Ok(None);
                }
                "--help" | "-h" => {
                    println!("{USAGE}");
                    return Ok(None);
                }
                _ if word.starts_with('-') => return Err(format!("unknown option {word}\n{USAGE}").into()),
                _ => args.traces.push(word.into()),
            }
        }
        args.filter.retain(|name| !name.is_empty());
        if let Some(name) = args.filter.iter().find(|name| !mix::MIXES.iter().any(|mix| mix.name.starts_with(*name))) {
            return Err(format!("no mix {name}; --list names them").into());
        }
        Ok(Some(args))
    }
}
