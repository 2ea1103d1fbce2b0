//! Parses the command line, and the configuration file that it names, into settings.
//!
//! Owns the walk over the arguments and over the `-o` list, which source of an option wins, and the possible results.
//! Must not know any option: the rows of `options` define them. Called by `main`, and by tests in process.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::check;
use super::config::{self, ConfigFile};
use super::given::{Given, Row, listing};
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
    /// Check what a start with these settings would check, and print the options.
    Check {
        /// The settings; their warnings come first.
        settings: Box<Settings>,
        /// For standard output, if all is well.
        options: String,
    },
    /// Print and exit with code 0.
    Print {
        /// For standard output.
        text: String,
        /// For standard error, each with its line feed.
        warnings: Vec<String>,
    },
}

/// Settings in progress, with facts that only the final checks need.
#[derive(Default)]
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
    /// `--check-config` was given.
    check_only: bool,
    /// What has been applied, in order.
    given: Vec<Given>,
}

impl Draft {
    /// Applies an option.
    fn take(&mut self, given: Given) -> Result<(), Exit> {
        let (act, name) = match given.row {
            Row::Flag(flag) => (flag.act, help::name(flag)),
            Row::Sub(sub) => (sub.act, format!("-o {}", sub.name)),
        };
        match act {
            Act::Apply(Apply::Value(apply)) => apply(self, &given.value)?,
            Act::Apply(Apply::Switch(apply)) => apply(&mut self.settings),
            Act::NotYet(_) => return Err(Exit::not_yet(name)),
            Act::CheckConfig => {
                self.check_only = true;
                return Ok(());
            }
            // The file has been read by now; the others are no options by themselves.
            Act::ConfigFile | Act::Extended | Act::Print(_) => return Ok(()),
        }
        self.given.push(given);
        Ok(())
    }
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
    let mut draft = Draft::default();
    match take_all(&mut draft, args) {
        Ok(Some(print)) => {
            return Ok(Action::Print { text: print(&draft.settings), warnings: draft.settings.warnings });
        }
        Ok(None) => {}
        Err(exit) => return Err(after_warnings(&draft.settings.warnings, &exit)),
    }
    let warnings = draft.settings.warnings.clone();
    let options = draft.check_only.then(|| listing(&draft.given));
    match check::finish(draft) {
        Ok(settings) => Ok(match options {
            None => Action::Run(Box::new(settings)),
            Some(options) => Action::Check { settings: Box::new(settings), options },
        }),
        Err(exit) => Err(after_warnings(&warnings, &exit)),
    }
}

/// Makes the text that an option prints.
type Print = fn(&Settings) -> String;

/// Applies the options of the configuration file, if there is one, and of the command line, until one fails or prints.
fn take_all(draft: &mut Draft, args: Vec<OsString>) -> Result<Option<Print>, Exit> {
    let specs = specs(&args);
    if specs.iter().any(|spec| spec.short == config::FILE.short) {
        let mut command_line = Vec::new();
        // Errors come with the scan below, after those of the file.
        let _ = each_option(&mut Getopt::silent(args.iter().cloned(), &specs), None, &mut |given| {
            command_line.push(given);
            Ok(())
        });
        let mut files = command_line.iter().filter(|given| given.row == Row::Flag(&config::FILE));
        if let Some(file) = files.next() {
            if files.next().is_some() {
                return Err(Exit::line(USAGE, "--config can be given once"));
            }
            take_file(draft, Path::new(OsStr::from_bytes(&file.value)), &command_line)?;
        }
    }
    each_option(&mut Getopt::new(args, &specs), None, &mut |given| draft.take(given))
}

/// Applies the options of a configuration file which the command line does not give, after a check of all of them.
fn take_file(draft: &mut Draft, path: &Path, command_line: &[Given]) -> Result<(), Exit> {
    let mut file = ConfigFile::read(path)?;
    let mut checked = Draft::default();
    for line in std::mem::take(&mut file.lines) {
        let place = file.place(line.number);
        // The scanner begins its own errors with the name of the program.
        let words = std::iter::once(place.clone().into_bytes()).chain(line.words);
        let words: Vec<OsString> = words.map(OsString::from_vec).collect();
        let specs = specs(&words);
        let mut options = Getopt::new(words, &specs);
        let done = each_option(&mut options, Some(&place), &mut |given| match given.row {
            Row::Flag(Flag { act: Act::ConfigFile | Act::CheckConfig, .. }) => {
                Err(Exit::line(USAGE, "--config and --check-config count on the command line only"))
            }
            _ => checked.take(given),
        });
        match done {
            Ok(None) => {}
            Ok(Some(_)) => return Err(file.refuse(line.number, "this option counts on the command line only")),
            Err(exit) => return Err(Exit { code: exit.code, stderr: format!("{place}: {}", exit.stderr) }),
        }
        for word in options.left_over() {
            file.leave_out(line.number, "it is no option", &word);
        }
    }
    draft.settings.warnings.extend(file.warnings());
    let is_replaced = |given: &Given| command_line.iter().any(|other| other.row == given.row);
    checked.given.into_iter().filter(|given| !is_replaced(given)).try_for_each(|given| draft.take(given))
}

/// The options that the scanner must know, in an order in which it lists candidates for an ambiguous abbreviation.
fn specs(args: &[OsString]) -> Vec<Spec> {
    let mut specs: Vec<Spec> = FLAGS.iter().filter(|flag| is_scanned(flag, args)).map(spec).collect();
    specs.sort_by_key(|spec| memchr::memchr(spec.short, LONG_ORDER).unwrap_or(LONG_ORDER.len()));
    specs
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

/// Passes each option to `act` until that fails or an option prints. `place` is where the options are.
fn each_option(
    options: &mut Getopt,
    place: Option<&str>,
    act: &mut dyn FnMut(Given) -> Result<(), Exit>,
) -> Result<Option<Print>, Exit> {
    for (letter, value) in options {
        let value = value.unwrap_or_default();
        let value = &value[value.iter().take_while(|&&byte| is_space(byte)).count()..];
        let Some(flag) = FLAGS.iter().find(|flag| flag.short == letter) else {
            return Err(Exit::line(FAILURE, format_args!("Illegal argument \"{}\"", char::from(letter))));
        };
        let given = |row: Row, value: &[u8]| Given { row, value: value.to_vec(), place: place.map(str::to_owned) };
        match flag.act {
            Act::Extended => each_name(value, |row, value| act(given(row, value)))?,
            Act::Print(print) => return Ok(Some(print)),
            _ => act(given(Row::Flag(flag), value))?,
        }
    }
    Ok(None)
}

/// Values of a name that takes none: memcached ignores them, and these are what it does.
const YES: [&[u8]; 5] = [b"", b"1", b"on", b"true", b"yes"];

/// Passes each name of an `-o` list to `act`. An empty list and a trailing comma are accepted; an empty entry before a
/// comma is an error.
fn each_name(list: &[u8], mut act: impl FnMut(Row, &[u8]) -> Result<(), Exit>) -> Result<(), Exit> {
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
        act(Row::Sub(sub), value)?;
    }
    Ok(())
}
