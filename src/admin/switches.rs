//! `POST /switch/NAME`: changes of settings, with `-o admin_write`.
//!
//! Owns the table of switches and their texts. A switch does what a command of the text protocol does; its body is what
//! follows the command's name.

use super::Source;

/// A setting that a request may change.
pub(super) struct Switch {
    /// Last part of the path.
    pub(super) name: &'static str,
    /// Sets it from the body, without white space around it. The error is for the client.
    pub(super) set: fn(&Source, &str) -> Result<(), String>,
}

/// All switches.
pub(super) static SWITCHES: &[Switch] =
    &[Switch { name: "verbosity", set: verbosity }, Switch { name: "refresh_certs", set: refresh_certs }];

/// Highest level of the command `verbosity`.
const VERBOSITY_MAX: u32 = 2;

fn verbosity(source: &Source, body: &str) -> Result<(), String> {
    let level = body.parse().map_err(|_| format!("a level from 0 to {VERBOSITY_MAX} is required"))?;
    if level > VERBOSITY_MAX {
        return Err(format!("{level} is above the highest level, {VERBOSITY_MAX}"));
    }
    source.shared.runtime.set_verbose(level);
    Ok(())
}

fn refresh_certs(source: &Source, _: &str) -> Result<(), String> {
    match &source.shared.tls {
        Some(tls) => tls.refresh(source.shared.clock.now()),
        None => Err("TLS is not enabled".to_owned()),
    }
}
