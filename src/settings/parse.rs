//! Parses the command line into settings.
//!
//! Owns the walk over the arguments and over the `-o` list, and the possible results. Must not know any option: the
//! rows of `options` define them. Called by `main`, and by tests in process.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::check;
use super::number::is_space;
use super::options::{FLAGS, subs};
use super::row::{Act, Apply, Flag, Need};
use super::{Settings, help};
use crate::sys::getopt::{Argument, Getopt, Spec};

/// Exit code for a plain failure.
pub(super) const FAILURE: i32 = 1;
/// Exit code for options that contradict each other or are out of range (`EX_USAGE`).
pub(super) const USAGE: i32 = 64;
/// Exit code for an unknown user (`EX_NOUSER`).
pub(super) const NO_USER: i32 = 67;
/// Exit code for errors of the operating system (`EX_OSERR`).
pub(super) const OS_ERROR: i32 = 71;

/// Error that prevents the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code of the process.
    pub code: i32,
    /// Exact text for standard error: line feeds included, earlier warnings first. The scanner has already written its
    /// own error about an unknown option, which is not part of it.
    pub stderr: String,
}

impl Exit {
    /// An exit with the message `line` and a line feed.
    pub(super) fn line(code: i32, line: impl std::fmt::Display) -> Self {
        Exit { code, stderr: format!("{line}\n") }
    }

    /// Exit for a known option that is not implemented.
    pub(super) fn not_yet(name: impl std::fmt::Display) -> Self {
        Exit::line(FAILURE, format_args!("not supported yet: {name}"))
    }
}

/// Result of a valid command line.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Read a password and print its line for a file of users.
    HashPassword {
        /// Name of the user.
        user: String,
        /// Iterations of the hash; `None` = default.
        iterations: Option<u32>,
    },
    /// Start with these settings; print [`Settings::warnings`] first.
    Run(Box<Settings>),
    /// Print and exit with code 0.
    Print {
        /// For standard output.
        text: String,
        /// For standard error, each with its line feed.
        warnings: Vec<String>,
    },
}

/// Settings in progress, with facts that only the final checks need.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The settings so far.
    pub(super) settings: Settings,
    /// `-p` was given: `-U` then leaves the TCP port alone.
    pub(super) tcp_specified: bool,
    /// `-B` was given: authentication then does not choose the protocol.
    pub(super) protocol_specified: bool,
    /// `-U` was given.
    pub(super) udp_specified: bool,
    /// `-o slab_chunk_max` was given: `-I` and `-o no_modern` then leave it alone.
    pub(super) slab_chunk_specified: bool,
    /// Value of `-o slab_sizes`, kept until the bounds are known.
    pub(super) slab_sizes_text: Option<Vec<u8>>,
}

/// Not an option of the server: runs another action instead.
pub(super) const HASH_PASSWORD: &str = "--hash-password";

fn hash_password(words: &[OsString]) -> Result<Action, Exit> {
    let usage = || Exit::line(USAGE, "usage: oxcached --hash-password USER [ITERATIONS]");
    let words: Option<Vec<&str>> = words.iter().map(|word| word.to_str()).collect();
    let (user, iterations) = match words.ok_or_else(usage)?[..] {
        [user] => (user, None),
        [user, number] => (user, Some(number.parse().map_err(|_| usage())?)),
        _ => return Err(usage()),
    };
    Ok(Action::HashPassword { user: user.to_owned(), iterations })
}

/// Letters of the long names, in the order in which the scanner lists them for an ambiguous abbreviation.
const LONG_ORDER: &[u8] = b"aAZpsUmMckhiVrvdluPfntLRCbBISFXWYeoN";

/// Parses a command line; `args` starts with the program's name.
///
/// # Errors
/// An [`Exit`] for the first error in memcached's order.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Action, Exit> {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|word| word == HASH_PASSWORD) {
        return hash_password(&args[2..]);
    }
    let mut specs: Vec<Spec> = FLAGS.iter().filter(|flag| is_scanned(flag, &args)).map(spec).collect();
    specs.sort_by_key(|spec| memchr::memchr(spec.short, LONG_ORDER).unwrap_or(LONG_ORDER.len()));
    let mut draft = Draft::default();
    match walk(&mut draft, Getopt::new(args, &specs)) {
        Ok(Some(text)) => return Ok(Action::Print { text, warnings: draft.settings.warnings }),
        Ok(None) => {}
        Err(exit) => return Err(after_warnings(&draft.settings.warnings, &exit)),
    }
    let warnings = draft.settings.warnings.clone();
    match check::finish(draft) {
        Ok(settings) => Ok(Action::Run(Box::new(settings))),
        Err(exit) => Err(after_warnings(&warnings, &exit)),
    }
}

/// Whether the scanner must know a flag. memcached lacks those without a letter: where the command line does not spell
/// one out, abbreviations keep memcached's meaning.
fn is_scanned(flag: &Flag, args: &[OsString]) -> bool {
    let names = |word: &OsString| {
        let name = word.as_bytes().strip_prefix(b"--").and_then(|name| name.split(|&byte| byte == b'=').next());
        name.is_some() && name == flag.long.map(str::as_bytes)
    };
    flag.short.is_ascii() || args.iter().any(names)
}

fn after_warnings(warnings: &[String], exit: &Exit) -> Exit {
    Exit { code: exit.code, stderr: warnings.concat() + &exit.stderr }
}

fn spec(flag: &Flag) -> Spec {
    let short_argument = if flag.argument == Argument::Required { Argument::Required } else { Argument::None };
    Spec { short: flag.short, long: flag.long, short_argument, long_argument: flag.argument }
}

/// Applies options until one fails or prints; `Some` is the text to print.
fn walk(draft: &mut Draft, options: Getopt) -> Result<Option<String>, Exit> {
    for (letter, value) in options {
        let value = value.unwrap_or_default();
        let value = &value[value.iter().take_while(|&&byte| is_space(byte)).count()..];
        let Some(flag) = FLAGS.iter().find(|flag| flag.short == letter) else {
            return Err(Exit::line(FAILURE, format_args!("Illegal argument \"{}\"", char::from(letter))));
        };
        match flag.act {
            Act::Apply(Apply::Value(apply)) => apply(draft, value)?,
            Act::Apply(Apply::Switch(apply)) => apply(&mut draft.settings),
            Act::Extended => extended(draft, value)?,
            Act::Print(print) => return Ok(Some(print(&draft.settings))),
            Act::NotYet(_) => return Err(Exit::not_yet(help::name(flag))),
        }
    }
    Ok(None)
}

/// Values of a name that takes none: memcached ignores them, and these are what it does.
const YES: [&[u8]; 5] = [b"", b"1", b"on", b"true", b"yes"];

/// Walks one `-o` list. An empty list and a trailing comma are accepted; an empty entry before a comma is an error.
fn extended(draft: &mut Draft, list: &[u8]) -> Result<(), Exit> {
    let mut rest = list;
    while !rest.is_empty() {
        let end = memchr::memchr(b',', rest).unwrap_or(rest.len());
        let entry = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        let (name, value) = match memchr::memchr(b'=', entry) {
            Some(at) => (&entry[..at], Some(&entry[at + 1..])),
            None => (entry, None),
        };
        let Some(sub) = subs().find(|sub| sub.name.as_bytes() == name) else {
            let entry = String::from_utf8_lossy(entry);
            return Err(Exit::line(FAILURE, format_args!("Illegal suboption \"{entry}\"")));
        };
        let value = match (value, sub.need) {
            (Some(value), Need::Nothing) if !YES.contains(&value) => {
                let (name, value) = (sub.name, String::from_utf8_lossy(value));
                return Err(Exit::line(FAILURE, format_args!("{name} takes no value, and not \"{value}\"")));
            }
            (Some(value), _) => value,
            (None, Need::Nothing) => b"",
            (None, Need::Otherwise(value)) => value.as_bytes(),
            (None, Need::OrElse(complaint)) => return Err(Exit::line(FAILURE, complaint)),
        };
        match sub.act {
            Act::Apply(Apply::Value(apply)) => apply(draft, value)?,
            Act::Apply(Apply::Switch(apply)) => apply(&mut draft.settings),
            Act::NotYet(_) => return Err(Exit::not_yet(format_args!("-o {}", sub.name))),
            Act::Extended | Act::Print(_) => {}
        }
    }
    Ok(())
}
