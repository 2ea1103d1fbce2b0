//! Options of the server's stop: `drain`, `save_on_term`.
//!
//! Owns their values, help texts and error texts. Must not know how a server stops. The rows are read by `parse` and
//! `help`, through `options`; `check` calls [`finish`].

use super::Settings;
use super::options::within;
use super::parse::{Exit, USAGE};
use super::row::Sub;
use crate::limits::DRAIN_SECONDS_MAX;
use std::time::Duration;

/// How the server stops.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StopSettings {
    /// `-o drain`: seconds in which connections may finish their requests; 0 = they are closed at once.
    pub drain: u32,
    /// `-o save_on_term`: SIGTERM and SIGINT keep the items of `-e`, as SIGUSR1 does.
    pub save_on_term: bool,
}

impl StopSettings {
    /// Time in which connections may finish their requests; `None` = they are closed at once.
    pub fn drain_time(&self) -> Option<Duration> {
        (self.drain > 0).then(|| Duration::from_secs(self.drain.into()))
    }
}

/// Checks what needs another option.
pub(super) fn finish(settings: &Settings) -> Result<(), Exit> {
    if settings.stop.save_on_term && settings.memory_file.is_none() {
        return Err(Exit::line(USAGE, "save_on_term requires a memory file (-e)"));
    }
    Ok(())
}

/// The `-o` names of the stop, in the order of `-h`.
pub(super) static SUBS: &[Sub] = &[
    Sub::switch(
        "save_on_term",
        "with -e: SIGTERM and SIGINT keep the items too, as\nSIGUSR1 does",
        |settings| settings.stop.save_on_term = true,
    ),
    Sub::value(
        "drain",
        "Missing numeric argument for drain",
        "seconds in which a server that stops answers what has\narrived before it closes connections, up to 3600; 0 for\nnone",
        |draft, value| {
            draft.settings.stop.drain =
                within(value, 0..=DRAIN_SECONDS_MAX, "drain must be between 0 and 3600 seconds")?;
            Ok(())
        },
    )
    .takes("<seconds>")
    .default(|settings| settings.stop.drain.to_string()),
];
