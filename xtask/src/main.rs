//! Writes the files of this repository that are made from its tables: manual pages and shell completions.
//!
//! ```text
//! cargo run -p xtask             write them
//! cargo run -p xtask -- --check  name those that are out of date; exit code 1 if there are any
//! ```
//!
//! Owns the list of files. What they say comes from the server's option table, from oxctl's, and from the prose in
//! `pages`; `make docs` writes them and `make check` checks them.

mod completions;
mod pages;
mod roff;
mod tables;

use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

/// Path in the repository, and contents, of each file.
fn files() -> Vec<(&'static str, String)> {
    vec![
        ("docs/man/oxcached.1", pages::server::page()),
        ("docs/man/oxcached.conf.5", pages::conf::page()),
        ("docs/man/oxctl.1", pages::control::page()),
        ("contrib/completions/oxcached.bash", completions::bash::script()),
        ("contrib/completions/_oxcached", completions::zsh::script()),
        ("contrib/completions/oxcached.fish", completions::fish::script()),
        ("contrib/completions/oxctl.bash", completions::control::bash()),
        ("contrib/completions/_oxctl", completions::control::zsh()),
        ("contrib/completions/oxctl.fish", completions::control::fish()),
    ]
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => write(),
        ["--check"] => check(),
        _ => {
            eprintln!("usage: cargo run -p xtask [-- --check]");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(code) => code,
        Err(e) => {
            eprintln!("xtask: {e}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn write() -> io::Result<ExitCode> {
    for (name, text) in files() {
        let path = root().join(name);
        fs::create_dir_all(path.parent().unwrap_or(root()))?;
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            fs::write(&path, text)?;
            println!("wrote {name}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check() -> io::Result<ExitCode> {
    let is_stale = |(name, text): &(&str, String)| fs::read_to_string(root().join(name)).ok().as_ref() != Some(text);
    let stale: Vec<_> = files().into_iter().filter(is_stale).map(|(name, _)| name).collect();
    if stale.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("out of date, `make docs` writes them: {}", stale.join(", "));
    Ok(ExitCode::FAILURE)
}
