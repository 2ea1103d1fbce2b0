//! Differential test: random and hand-written streams of text and packets go to oxcached and to a real memcached, and
//! every reply byte is compared.
//!
//! Owns the order of the work: the corpus first, then random cases until the time limit. A case starts both servers
//! new, so that cas ids, statistics and items agree from the first command on; a case that differs is shrunk and
//! printed. Called by `cargo test --test differential`.
//!
//! Environment: `MEMCACHED_BIN` (without it the test prints a note and does nothing), `OXCACHED_BIN`, `DIFF_SECONDS`
//! (10), `DIFF_SEED` (random; printed), `DIFF_CORPUS_ONLY`, `DIFF_ONLY` (of `text,binary,mixed,tls,udp`: the kinds of
//! random cases, which share the time; all).

#![allow(clippy::unwrap_used, reason = "all of this crate is a test")]

mod cas;
mod compare;
mod corpus;
mod datagrams;
mod drive;
mod generate;
mod known;
mod server;
mod shrink;
mod stream;
mod tls;
mod wire;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use drive::Binaries;
use generate::Kind;
use stream::Case;

#[test]
fn replies_equal_memcached() {
    let Some(binaries) = binaries() else { return };
    let reports = corpus::cases().iter().filter_map(|case| check(&binaries, case, "corpus")).collect::<Vec<_>>();
    assert!(reports.is_empty(), "{} cases of the corpus differ\n\n{}", reports.len(), reports.join("\n\n"));
    if std::env::var_os("DIFF_CORPUS_ONLY").is_some() {
        return;
    }
    let seed = number("DIFF_SEED").unwrap_or_else(|| fastrand::u64(..1 << 48));
    let time = Duration::from_secs(number("DIFF_SECONDS").unwrap_or(10));
    println!("DIFF_SEED={seed} DIFF_SECONDS={}", time.as_secs());
    let kinds = match std::env::var("DIFF_ONLY") {
        Ok(names) if !names.is_empty() => names.split(',').map(Kind::named).collect(),
        _ => Kind::ALL.to_vec(),
    };
    let started = Instant::now();
    let mut done = vec![Done::default(); kinds.len()];
    for case_seed in seed.. {
        if started.elapsed() >= time {
            break;
        }
        // The kind that has had the least time.
        let turn = (0..kinds.len()).min_by_key(|turn| done[*turn].time).unwrap();
        let began = Instant::now();
        let case = generate::case(&mut fastrand::Rng::with_seed(case_seed), kinds[turn]);
        if let Some(report) = check(&binaries, &case, &format!("DIFF_ONLY={:?} DIFF_SEED={case_seed}", kinds[turn])) {
            panic!("{report}");
        }
        done[turn].cases += 1;
        done[turn].commands += case.exchanges.iter().map(|exchange| exchange.commands.len()).sum::<usize>();
        done[turn].time += began.elapsed();
    }
    for (kind, done) in kinds.iter().zip(done) {
        println!("{kind:?}: {} cases, {} commands, no difference in {:?}", done.cases, done.commands, done.time);
    }
}

/// Totals of one kind.
#[derive(Clone, Default)]
struct Done {
    cases: usize,
    commands: usize,
    time: Duration,
}

/// The two servers; `None`, with the reason printed, without a memcached to compare with.
fn binaries() -> Option<Binaries> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let Some(reference) = set("MEMCACHED_BIN") else {
        println!("skipped: MEMCACHED_BIN names no memcached to compare with");
        return None;
    };
    if !Path::new(&reference).is_file() {
        println!("skipped: MEMCACHED_BIN={} is not a file", reference.display());
        return None;
    }
    let ours = set("OXCACHED_BIN").unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_oxcached")));
    Some(Binaries { ours: PathBuf::from(ours), reference: PathBuf::from(reference) })
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs one case; shrinks and prints a difference.
fn check(binaries: &Binaries, case: &Case, origin: &str) -> Option<String> {
    let found = drive::run(binaries, case)?;
    println!("{origin}: difference, {}; shrinking", found.what);
    let (small, difference) = shrink::shrink(case, found, |candidate| drive::run(binaries, candidate));
    Some(format!("{origin}\n{}\n{difference}", small.describe()))
}
