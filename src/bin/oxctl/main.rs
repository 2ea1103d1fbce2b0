//! oxctl: looks at servers of memcached's protocol, for people and scripts.
//!
//! A program of its own, which knows of the server only what the text protocol shows: it uses no module of the library,
//! and works with memcached too. `args` reads the command line; each command has a module; `connection` is what all of
//! them speak through, bounded in bytes and time whatever the other side sends.

mod address;
mod args;
mod connection;
mod dump;
mod failure;
mod grid;
mod help;
mod load;
mod ping;
mod printer;
mod record;
mod report;
mod special;
mod stream;
mod tool;
mod top;
mod watch;

use args::{Invocation, Task};
use failure::Failure;
use printer::Printer;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut out = Printer::stdout();
    let done = args::parse(std::env::args_os()).and_then(|invocation| run(&invocation, &mut out));
    // What was printed before a failure is still shown.
    match done.and(out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.text();
            if !text.is_empty() {
                say(&text);
            }
            failure.exit_code()
        }
    }
}

fn run(invocation: &Invocation, out: &mut Printer) -> Result<(), Failure> {
    let (access, json) = (&invocation.access, invocation.json);
    match &invocation.task {
        Task::Help => out.bytes(help::help().as_bytes()),
        Task::Version => out.line(concat!("oxctl ", env!("CARGO_PKG_VERSION"))),
        Task::Ping => ping::run(access, json, out),
        Task::Stats(words) => report::run(access, words, json, out),
        Task::Special(name, words) => special::run(access, name, words, json, out),
        Task::Watch(classes) => watch::run(access, classes, json, out),
        Task::Dump(to) => dump::run(access, to, json, out),
        Task::Load { from, overwrite } => load::run(access, from, *overwrite, json, out),
        Task::Top { interval, count } => top::run(access, *interval, *count, json, out),
        Task::Tool(mode) => tool::run(access, mode, json, out),
    }
}

/// Writes a line to standard error; a closed one changes nothing.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
