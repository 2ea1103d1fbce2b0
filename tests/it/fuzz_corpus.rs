//! Every stored input of the fuzz targets, run without a fuzzer: seeds and past findings.
//!
//! `fuzz/src` defines the checked properties. Inputs are in `fuzz/corpus` and `fuzz/regressions`, a folder for each
//! target.

#[allow(dead_code, clippy::duplicate_mod, reason = "a crate of its own for fuzzers, with its own `support`")]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

/// Runs all inputs of a target; the name of a failing one is the last line printed.
fn replay(target: &str, run: fn(&[u8])) {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut count = 0;
    for kind in ["corpus", "regressions"] {
        let Ok(folder) = fs::read_dir(home.join(kind).join(target)) else { continue };
        let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            println!("{}", file.display());
            run(&fs::read(file).unwrap());
            count += 1;
        }
    }
    assert!(count > 0, "{target} has seeds");
}

#[test]
fn auth() {
    replay("auth", fuzz::auth::run);
}

#[test]
fn text() {
    replay("text", fuzz::text::run);
}

#[test]
fn meta() {
    replay("meta", fuzz::meta::run);
}

#[test]
fn binary() {
    replay("binary", fuzz::binary::run);
}

#[test]
fn udp() {
    replay("udp", fuzz::udp::run);
}

#[test]
fn session() {
    replay("session", fuzz::session::run);
}
