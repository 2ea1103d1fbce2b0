//! Options as they were given: which, with what value, and where.
//!
//! Owns the choice between several mentions of one option, and the list of `--check-config`. Must not know how options
//! are scanned, or what they do. Called by `parse`.

use std::fmt::Write as _;

use super::quoting::quoted;
use super::row::{Flag, Sub};
use crate::sys::getopt::Argument;

/// A row of the option table.
#[derive(Clone, Copy)]
pub(super) enum Row {
    /// A flag.
    Flag(&'static Flag),
    /// An `-o` name.
    Sub(&'static Sub),
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Flag(own), Self::Flag(other)) => own.short == other.short,
            (Self::Sub(own), Self::Sub(other)) => own.name == other.name,
            _ => false,
        }
    }
}

/// One mention of an option.
#[derive(Clone)]
pub(super) struct Given {
    /// The option.
    pub(super) row: Row,
    /// Its value without leading white space; empty where there is none.
    pub(super) value: Vec<u8>,
    /// `FILE:LINE`; `None` = the command line.
    pub(super) place: Option<String>,
}

impl Given {
    fn repeats(&self) -> bool {
        match self.row {
            Row::Flag(flag) => flag.repeats,
            Row::Sub(sub) => sub.repeats,
        }
    }

    /// The option in the notation of the configuration file.
    fn text(&self) -> String {
        let value = quoted(&self.value);
        match self.row {
            Row::Sub(sub) if self.value.is_empty() => format!("-o {}", sub.name),
            Row::Sub(sub) => format!("-o {}={value}", sub.name),
            Row::Flag(flag) => match (flag.long, flag.argument == Argument::Required) {
                (Some(long), true) if !flag.short.is_ascii() => format!("--{long}={value}"),
                (Some(long), false) if !flag.short.is_ascii() => format!("--{long}"),
                (_, true) => format!("-{} {value}", char::from(flag.short)),
                (_, false) => format!("-{}", char::from(flag.short)),
            },
        }
    }
}

/// The options that are in force, a line each, with their places as comments: a configuration file that means the
/// same.
pub(super) fn listing(given: &[Given]) -> String {
    let is_last = |at: usize| given[at].repeats() || given[at + 1..].iter().all(|later| later.row != given[at].row);
    let lines: Vec<_> =
        (0..given.len()).filter(|&at| is_last(at)).map(|at| (given[at].text(), &given[at].place)).collect();
    let width = lines.iter().map(|(text, _)| text.chars().count()).filter(|&width| width <= 40).max().unwrap_or(0);
    let mut listing = String::new();
    for (text, place) in lines {
        let _ = writeln!(listing, "{text:<width$}  # {}", place.as_deref().unwrap_or("command line"));
    }
    if listing.is_empty() { "# no option: all have their defaults\n".to_owned() } else { listing }
}
