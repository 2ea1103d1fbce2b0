//! The command line of oxctl.
//!
//! Owns options, commands and which belong together; `help` has their words. Must not connect or print. Called by
//! `main`.
//!
//! Two forms: `oxctl [OPTIONS] COMMAND [WORDS]`, and memcached-tool's `oxctl ADDRESS [MODE [WORDS]]`.

use crate::address::ServerAddress;
use crate::connection::ServerAccess;
use crate::failure::Failure;
use crate::stream::TlsFiles;
use lexopt::prelude::*;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest time of an option, in seconds: a day.
const SECONDS_MAX: f64 = 86_400.0;
/// Longest password in bytes. memcached's lines end at 2 KiB.
const PASSWORD_MAX: u64 = 1024;

/// What to do, and where.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) access: ServerAccess,
    pub(crate) json: bool,
    pub(crate) task: Task,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Task {
    Help,
    Version,
    Ping,
    /// `stats` and the words behind it.
    Stats(Vec<String>),
    /// A report that memcached does not have: its name, and the words behind it.
    Special(&'static str, Vec<String>),
    Watch(Vec<String>),
    Dump(DumpPlace),
    Load {
        from: DumpPlace,
        overwrite: bool,
    },
    Top {
        interval: Duration,
        count: Option<u64>,
    },
    Tool(ToolMode),
}

/// A file, or a standard stream.
#[derive(Debug, PartialEq)]
pub(crate) enum DumpPlace {
    Standard,
    Path(PathBuf),
}

/// A mode of memcached-tool.
#[derive(Debug, PartialEq)]
pub(crate) enum ToolMode {
    Display,
    Stats,
    Settings,
    Sizes,
    Dump { limit: Option<u64> },
    Keys { decode: bool, limit: Option<u64> },
}

/// The options as given.
#[derive(Default)]
struct Options {
    server: Option<String>,
    timeout: Option<Duration>,
    json: bool,
    user: Option<String>,
    password_file: Option<PathBuf>,
    tls: bool,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    overwrite: bool,
    interval: Option<Duration>,
    count: Option<u64>,
    decode: bool,
}

fn usage(what: impl Into<String>) -> Failure {
    Failure::Usage(what.into())
}

/// Reads a command line, its first word being the program's name, and the password file that it names.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Unavailable`] for the password file.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, Failure> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_iter(words);
    let mut free: Vec<OsString> = Vec::new();
    while let Some(argument) = parser.next().map_err(|e| usage(e.to_string()))? {
        let name = match argument {
            Short(letter) => format!("-{letter}"),
            Long(name) => format!("--{name}"),
            Value(word) => {
                free.push(word);
                continue;
            }
        };
        match name.as_str() {
            "-h" | "--help" => return alone(Task::Help),
            "-V" | "--version" => return alone(Task::Version),
            name => options.read(name, &mut parser)?,
        }
    }
    let (task, address) = choose(&options, free)?;
    check_options(&options, &task)?;
    Ok(Invocation { access: access(&options, address)?, json: options.json, task })
}

/// A task that needs no server.
fn alone(task: Task) -> Result<Invocation, Failure> {
    Ok(Invocation { access: access(&Options::default(), None)?, json: false, task })
}

impl Options {
    /// Reads one option and its value.
    fn read(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<(), Failure> {
        let mut value = || parser.value().map_err(|e| usage(e.to_string()));
        match name {
            "-s" | "--server" => self.server = Some(text(value()?)?),
            "--timeout" => self.timeout = Some(seconds(name, &value()?)?),
            "--json" => self.json = true,
            "--user" => self.user = Some(text(value()?)?),
            "--password-file" => self.password_file = Some(value()?.into()),
            "--tls" => self.tls = true,
            "--ca" => self.authorities = Some(value()?.into()),
            "--cert" => self.certificate = Some(value()?.into()),
            "--key" => self.key = Some(value()?.into()),
            "--overwrite" => self.overwrite = true,
            "--interval" => self.interval = Some(seconds(name, &value()?)?),
            "--count" => self.count = Some(number(name, &text(value()?)?)?),
            "-u" => self.decode = true,
            _ => return Err(usage(format!("unknown option '{name}'"))),
        }
        Ok(())
    }
}

fn text(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|word| usage(format!("'{}' is not UTF-8", word.display())))
}

/// A positive number.
fn number(name: &str, text: &str) -> Result<u64, Failure> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number > 0);
    number.ok_or_else(|| usage(format!("{name} needs a positive number, not '{text}'")))
}

fn seconds(name: &str, word: &OsString) -> Result<Duration, Failure> {
    let text = word.to_string_lossy();
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=SECONDS_MAX).contains(seconds));
    let seconds = seconds.ok_or_else(|| usage(format!("{name} needs seconds from 0.001 to 86400, not '{text}'")))?;
    Ok(Duration::from_secs_f64(seconds))
}

/// The task of the free words, and the address among them.
fn choose(options: &Options, free: Vec<OsString>) -> Result<(Task, Option<ServerAddress>), Failure> {
    let mut free = free.into_iter();
    let Some(first) = free.next() else { return Err(usage("a command is missing")) };
    let rest: Vec<OsString> = free.collect();
    if let Some(name) = first.to_str()
        && let Some(chosen) = command(options, name, rest.clone())?
    {
        return Ok(chosen);
    }
    let first = text(first)?;
    if rest.is_empty() && !ServerAddress::resembles(&first) {
        return Err(usage(format!("'{first}' is no command; an address without a port needs a mode behind it")));
    }
    let address = ServerAddress::parse(&first).map_err(Failure::Usage)?;
    if options.server.is_some() {
        return Err(usage("the server is named twice"));
    }
    let mut rest = rest.into_iter();
    let mode = rest.next().map_or(Ok("display".to_owned()), text)?;
    let words: Vec<OsString> = rest.collect();
    if let Some(mode) = tool_mode(options, &mode, &words)? {
        return Ok((Task::Tool(mode), Some(address)));
    }
    match command(options, &mode, words)? {
        Some((task, None)) => Ok((task, Some(address))),
        Some((_, Some(_))) => Err(usage("the server is named twice")),
        None => Err(usage(format!("'{mode}' is neither a mode nor a command"))),
    }
}

/// A command with the words behind it; `None` if there is no command of this name.
fn command(
    options: &Options,
    name: &str,
    words: Vec<OsString>,
) -> Result<Option<(Task, Option<ServerAddress>)>, Failure> {
    let mut address = None;
    let task = match name {
        "ping" | "top" => {
            let words = protocol_words(words)?;
            at_most(name, &words, 1)?;
            if let Some(word) = words.first() {
                address = Some(ServerAddress::parse(word).map_err(Failure::Usage)?);
            }
            if address.is_some() && options.server.is_some() {
                return Err(usage("the server is named twice"));
            }
            if name == "ping" {
                Task::Ping
            } else {
                Task::Top { interval: options.interval.unwrap_or(INTERVAL), count: options.count }
            }
        }
        "stats" => Task::Stats(protocol_words(words)?),
        "hotkeys" => special("hotkeys", protocol_words(words)?, 2)?,
        "latency" => special("latency", protocol_words(words)?, 1)?,
        "slow" => special("slow", protocol_words(words)?, 1)?,
        "large" => special("large", protocol_words(words)?, 1)?,
        "largest" => special("largest", protocol_words(words)?, 1)?,
        "prefixes" => special("prefixes", protocol_words(words)?, 2)?,
        "watch" => {
            let classes = protocol_words(words)?;
            if classes.is_empty() {
                return Err(usage("watch needs classes of events, such as 'fetchers'"));
            }
            Task::Watch(classes)
        }
        "dump" => Task::Dump(place(name, words)?),
        "load" => Task::Load { from: place(name, words)?, overwrite: options.overwrite },
        _ => return Ok(None),
    };
    Ok(Some((task, address)))
}

fn special(name: &'static str, words: Vec<String>, most: usize) -> Result<Task, Failure> {
    at_most(name, &words, most)?;
    Ok(Task::Special(name, words))
}

fn at_most(name: &str, words: &[String], most: usize) -> Result<(), Failure> {
    match words.get(most) {
        Some(word) => Err(usage(format!("'{word}' is one word too many for {name}"))),
        None => Ok(()),
    }
}

/// The one word that names a file.
fn place(name: &str, words: Vec<OsString>) -> Result<DumpPlace, Failure> {
    let mut words = words.into_iter();
    match (words.next(), words.next()) {
        (Some(word), None) if word == "-" => Ok(DumpPlace::Standard),
        (Some(word), None) => Ok(DumpPlace::Path(word.into())),
        _ => Err(usage(format!("{name} needs one file, or '-'"))),
    }
}

/// Words that become part of a line of the protocol.
fn protocol_words(words: Vec<OsString>) -> Result<Vec<String>, Failure> {
    let words = words.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    match words.iter().find(|word| word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control())) {
        Some(word) => Err(usage(format!("'{}' is no word", word.escape_debug()))),
        None => Ok(words),
    }
}

/// A mode of memcached-tool; `None` if there is none of this name.
fn tool_mode(options: &Options, name: &str, words: &[OsString]) -> Result<Option<ToolMode>, Failure> {
    let words = words.iter().cloned().map(text).collect::<Result<Vec<_>, _>>()?;
    let limit = || words.first().map(|word| number("the limit", word)).transpose();
    let (mode, most) = match name {
        "display" => (ToolMode::Display, 0),
        "stats" => (ToolMode::Stats, 0),
        "settings" => (ToolMode::Settings, 0),
        "sizes" => (ToolMode::Sizes, 0),
        "dump" => (ToolMode::Dump { limit: limit()? }, 1),
        "keys" => (ToolMode::Keys { decode: options.decode, limit: limit()? }, 1),
        // Takes two classes, and displays all: moving pages was a command of memcached 1.2.
        "move" => {
            let class = |word: Option<&String>| word.and_then(|word| word.parse::<u64>().ok());
            let fits = |word| class(word).is_some_and(|class| (6..=17).contains(&class));
            if !fits(words.first()) || !fits(words.get(1)) {
                return Err(usage("move needs two classes from 6 to 17"));
            }
            (ToolMode::Display, 2)
        }
        _ => return Ok(None),
    };
    at_most(name, &words, most)?;
    Ok(Some(mode))
}

/// Refuses options that mean nothing to the task.
fn check_options(options: &Options, task: &Task) -> Result<(), Failure> {
    let is_top = matches!(task, Task::Top { .. });
    let has_format = matches!(task, Task::Tool(ToolMode::Dump { .. }) | Task::Dump(DumpPlace::Standard));
    let foreign = [
        ("--interval", options.interval.is_some() && !is_top),
        ("--count", options.count.is_some() && !(is_top && options.json)),
        ("--overwrite", options.overwrite && !matches!(task, Task::Load { .. })),
        ("-u", options.decode && !matches!(task, Task::Tool(ToolMode::Keys { .. }))),
        ("--json", options.json && has_format),
    ];
    match foreign.iter().find(|(_, is_foreign)| *is_foreign) {
        Some((name, _)) => Err(usage(format!("{name} has no meaning here"))),
        None => Ok(()),
    }
}

/// How to reach the server.
fn access(options: &Options, named: Option<ServerAddress>) -> Result<ServerAccess, Failure> {
    let address = match (&options.server, named) {
        (Some(text), None) => ServerAddress::parse(text).map_err(Failure::Usage)?,
        (_, named) => named.unwrap_or_else(ServerAddress::local),
    };
    let login = match (&options.user, &options.password_file) {
        (Some(user), Some(_)) if user.is_empty() || user.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            return Err(usage("--user needs a name without blanks"));
        }
        (Some(user), Some(file)) => Some((user.clone(), read_password(file)?)),
        (None, None) => None,
        _ => return Err(usage("--user and --password-file go together")),
    };
    let identity = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        _ => return Err(usage("--cert and --key go together")),
    };
    let tls = match (options.tls, &options.authorities) {
        (true, Some(authorities)) => Some(TlsFiles { authorities: authorities.clone(), identity }),
        (false, None) if identity.is_none() => None,
        _ => return Err(usage("--tls and --ca go together, and --cert and --key need them")),
    };
    if tls.is_some() && matches!(address, ServerAddress::Unix(_)) {
        return Err(usage("there is no TLS over a unix socket"));
    }
    Ok(ServerAccess { address, timeout: options.timeout.unwrap_or(TIMEOUT), tls, login })
}

/// The first line of a file.
fn read_password(path: &Path) -> Result<Vec<u8>, Failure> {
    let unusable = |why: String| Failure::Unavailable(format!("cannot use {}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| unusable(e.to_string()))?;
    let mut line = Vec::new();
    // Two more for a line end.
    let mut reader = BufReader::new(file.take(PASSWORD_MAX + 2));
    reader.read_until(b'\n', &mut line).map_err(|e| unusable(e.to_string()))?;
    let password = line.strip_suffix(b"\n").unwrap_or(&line);
    let password = password.strip_suffix(b"\r").unwrap_or(password);
    if password.is_empty() || password.len() as u64 > PASSWORD_MAX {
        return Err(unusable(format!("a password has 1 to {PASSWORD_MAX} bytes")));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, Failure> {
        parse(std::iter::once("oxctl").chain(line.split_whitespace()).map(OsString::from))
    }

    fn task(line: &str) -> Task {
        read(line).unwrap().task
    }

    fn address(line: &str) -> String {
        read(line).unwrap().access.address.to_string()
    }

    #[test]
    fn a_command_comes_first_or_behind_an_address() {
        assert_eq!(task("ping"), Task::Ping);
        assert_eq!(address("ping"), "127.0.0.1:11211");
        assert_eq!(address("ping cache1"), "cache1:11211");
        assert_eq!(address("-s [::1]:7 stats items"), "[::1]:7");
        assert_eq!(address("/tmp/socket watch fetchers"), "/tmp/socket");
        assert_eq!(task("stats detail dump"), Task::Stats(vec!["detail".to_owned(), "dump".to_owned()]));
        assert_eq!(task("cache1 hotkeys reads 5"), task("hotkeys reads 5"));
        assert_eq!(task("top --interval 0.5"), Task::Top { interval: Duration::from_millis(500), count: None });
        assert_eq!(task("load --overwrite -"), Task::Load { from: DumpPlace::Standard, overwrite: true });
    }

    #[test]
    fn an_address_alone_or_with_a_mode_is_memcached_tool() {
        assert_eq!(task("127.0.0.1"), Task::Tool(ToolMode::Display));
        assert_eq!(task("cache1 display"), Task::Tool(ToolMode::Display));
        assert_eq!(task("cache1 stats"), Task::Tool(ToolMode::Stats));
        assert_eq!(task("cache1 dump 3"), Task::Tool(ToolMode::Dump { limit: Some(3) }));
        assert_eq!(task("cache1 keys -u 3"), Task::Tool(ToolMode::Keys { decode: true, limit: Some(3) }));
        assert_eq!(task("cache1 move 6 17"), Task::Tool(ToolMode::Display));
        assert_eq!(task("dump cache1"), Task::Dump(DumpPlace::Path("cache1".into())));
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "",
            "statz",
            "cache1 nonsense",
            "cache1 display x",
            "cache1 dump 0",
            "cache1 dump 1 2",
            "cache1 keys x",
            "cache1 move 5 6",
            "cache1 move 6",
            "-s a -s",
            "-s a cache1 stats",
            "-s a ping b",
            "cache1 ping b",
            "ping --count 3",
            "top --count 3",
            "ping -u",
            "stats --overwrite",
            "dump - --json",
            "dump",
            "dump a b",
            "watch",
            "slow 3 4",
            "hotkeys reads 5 6",
            "--timeout 0 ping",
            "--timeout nan ping",
            "--timeout -1 ping",
            "--user ann ping",
            "--tls ping",
            "--cert a --key b ping",
            "--nonsense ping",
            "--json=yes ping",
        ] {
            assert!(matches!(read(line), Err(Failure::Usage(_))), "{line}");
        }
        let words = ["oxctl", "stats", "items\r\nflush_all"].map(OsString::from);
        assert!(matches!(parse(words), Err(Failure::Usage(_))));
    }

    #[test]
    fn the_password_is_the_first_line_of_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let line = format!("--user ann --password-file {path} ping");
        for (content, password) in [("se cret\r\nmore", Some("se cret")), ("x", Some("x")), ("\nx", None), ("", None)] {
            std::fs::write(path, content).unwrap();
            let login = read(&line).ok().and_then(|found| found.access.login);
            assert_eq!(login.map(|(_, word)| word), password.map(|word| word.as_bytes().to_owned()));
        }
        std::fs::write(path, vec![b'x'; 2000]).unwrap();
        assert!(read(&line).is_err());
        assert!(read("--user ann --password-file /nonexistent ping").is_err());
    }
}
