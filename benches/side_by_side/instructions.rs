//! Owns `instructions`: user-space instructions an operation, which callgrind counts in the fixed dialogues, beside
//! memcached's and beside the figures that `instructions.txt` keeps. Called by `main`.
//!
//! Noise of the machine does not reach a count, so a slower hot path shows on a busy machine too. The count is the
//! worker's; what the kernel does is not in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Outcome;
use crate::dialogue::{self, Client, Dialogue};
use crate::server::{Server, Target};
use crate::tls::Tls;

/// Greatest change that counts as none.
const TOLERANCE: f64 = 0.03;
/// Runs of a dialogue, of which the least figure counts: what a thread does by the second falls into some of them.
const REPEATS: usize = 3;
/// Descriptors of a server: valgrind lets it ask for exactly what it has.
const DESCRIPTORS: &str = "1024";

/// Counts for both programs; false if a figure is above the kept one by more than the tolerance.
pub fn run(targets: &[Target], only: &[String], write: bool) -> Outcome<bool> {
    let dialogues = dialogue::chosen(only)?;
    let kept = Kept::read()?;
    let tls = Tls::new()?;
    let subjects = targets.iter().map(|target| Subject::start(target, &tls)).collect::<Outcome<Vec<_>>>()?;
    let names = subjects.iter().map(|subject| format!("{:>10}", subject.name)).collect::<String>();
    println!("instructions an operation, user space, worker thread\n{:12}{names}     ratio      kept    change", "");
    let (mut figures, mut worse) = (kept.figures.clone(), Vec::new());
    for row in &dialogues {
        let mut counts = Vec::new();
        for subject in &subjects {
            counts.push(subject.count(row, &tls).map_err(|problem| format!("{}: {problem}", subject.name))?);
        }
        let mut line = format!("{:12}", row.name);
        line += &counts.iter().map(|count| format!("{count:10.1}")).collect::<String>();
        let ratio = |theirs: &f64| format!("{:10.3}", counts[0] / theirs);
        line += &counts.get(1).map_or(format!("{:10}", ""), ratio);
        if let Some(before) = kept.figures.get(row.name) {
            let change = counts[0] / before - 1.0;
            line += &format!("{before:10.1}{:+9.1} %", change * 100.0);
            if change > TOLERANCE {
                worse.push(row.name);
                line += "  WORSE";
            }
        }
        println!("{line}  {}", row.about);
        figures.insert(row.name.to_owned(), counts[0]);
    }
    if write {
        Kept { figures }.write()?;
        return Ok(true);
    }
    if !worse.is_empty() {
        println!("\nmore than {:.0} % above the kept figures: {}", TOLERANCE * 100.0, worse.join(" "));
        println!("where the change is meant to cost that, --write keeps the new figures");
    }
    Ok(worse.is_empty())
}

/// A server under callgrind.
struct Subject {
    name: &'static str,
    server: Server,
    directory: TempDir,
}

impl Subject {
    fn start(target: &Target, tls: &Tls) -> Outcome<Subject> {
        let directory = tempfile::tempdir()?;
        let mut out = OsString::from("--callgrind-out-file=");
        out.push(directory.path().join("out"));
        let limit = format!("--nofile={DESCRIPTORS}:4096");
        let words = ["prlimit", &limit, "valgrind", "--quiet", "--tool=callgrind", "--separate-threads=yes"];
        let under = words.iter().map(OsString::from).chain([out]).collect();
        let target = Target { under, ..target.clone() };
        let server = dialogue::start(&target, None, tls, "256", DESCRIPTORS)?;
        dialogue::prepare(&server)?;
        Ok(Subject { name: target.name, server, directory })
    }

    /// Instructions an operation.
    fn count(&self, row: &Dialogue, tls: &Tls) -> Outcome<f64> {
        if row.tls && self.server.port_of(1).is_none() {
            return Ok(f64::NAN);
        }
        let mut client = Client::new(row, &self.server, Some(tls))?;
        client.run()?;
        self.control("--dump")?;
        self.counts()?;
        let mut least = f64::INFINITY;
        for _ in 0..REPEATS {
            let operations = client.run()?;
            self.control("--dump")?;
            let counts = self.counts()?;
            // The worker is the busiest thread by far. With `churn`, what accepts counts as well.
            let sum = if row.churn { counts.iter().sum::<u64>() } else { counts.iter().copied().max().unwrap_or(0) };
            least = least.min(sum as f64 / operations as f64);
        }
        Ok(least)
    }

    fn control(&self, word: &str) -> Outcome<()> {
        let mut command = Command::new("callgrind_control");
        command.arg(word).arg(self.server.pid().to_string()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().map_err(|problem| format!("callgrind_control: {problem}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("callgrind_control: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// The sums of the last dump, one for each thread; the dump is removed.
    fn counts(&self) -> Outcome<Vec<u64>> {
        let mut sums = Vec::new();
        for entry in fs::read_dir(self.directory.path())? {
            let path = entry?.path();
            // The file of the run itself stays, empty, until the program ends.
            if let Some(sum) = total(&path)? {
                sums.push(sum);
                fs::remove_file(path)?;
            }
        }
        if sums.is_empty() { Err("callgrind wrote nothing".into()) } else { Ok(sums) }
    }
}

/// The sum in a dump, if the file is one.
fn total(path: &Path) -> Outcome<Option<u64>> {
    let text = fs::read_to_string(path)?;
    let row = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    Ok(row.map(|sum| sum.trim().parse()).transpose()?)
}

/// The figures of the committed file.
struct Kept {
    figures: BTreeMap<String, f64>,
}

impl Kept {
    fn path() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/side_by_side/instructions.txt")
    }

    fn read() -> Outcome<Kept> {
        let text = fs::read_to_string(Kept::path()).unwrap_or_default();
        let mut figures = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, figure) = line.split_once(' ').ok_or("instructions.txt: a line without a figure")?;
            figures.insert(name.to_owned(), figure.trim().parse()?);
        }
        Ok(Kept { figures })
    }

    fn write(&self) -> Outcome<()> {
        let mut text = "# oxcached's instructions an operation, of a release build on x86-64.\n\
                        # Written by `scripts/bench instructions --write`; docs/performance.md tells about them.\n"
            .to_owned();
        for (name, figure) in &self.figures {
            text += &format!("{name} {figure:.1}\n");
        }
        Ok(fs::write(Kept::path(), text)?)
    }
}
