//! The oxcached binary: words in, exit code out.
//!
//! Owns the process's standard streams at start. It must not know any option.

use std::io::Write as _;
use std::process::ExitCode;

use oxcached::settings::{self, Action, Exit};
use oxcached::sys::user::process_uids;

fn main() -> ExitCode {
    match settings::parse(std::env::args_os()) {
        Ok(Action::Print { text, warnings }) => {
            eprint!("{}", warnings.concat());
            // A reader that has gone away is no reason to fail.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Action::Run(settings)) => {
            eprint!("{}", settings.warnings.concat());
            let (uid, euid) = process_uids();
            match settings::check_user(uid, euid, &settings).and_then(|_| settings::check_start(&settings)) {
                Ok(()) => {
                    println!("settings ok");
                    ExitCode::SUCCESS
                }
                Err(exit) => leave(&exit),
            }
        }
        Err(exit) => leave(&exit),
    }
}

fn leave(exit: &Exit) -> ExitCode {
    eprint!("{}", exit.stderr);
    ExitCode::from(u8::try_from(exit.code).unwrap_or(1))
}
