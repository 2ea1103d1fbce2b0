//! Statistics: the rows of `stats`, and the command that prints them.
//!
//! Owns the form of a report and its bound in bytes. Must not know any statistic. Used by `special`, `tool` and `top`.

use crate::address::ServerAddress;
use crate::connection::{Connection, ServerAccess, is_error};
use crate::failure::Failure;
use crate::printer::{Printer, json_object, json_value, shown};
use serde_json::Value;

/// Most bytes of one report. `stats conns` of 100,000 connections has some 15 MB.
pub(crate) const REPORT_MAX: usize = 64 << 20;

/// Most bytes of a report that is not `stats conns` or the like. One of 60 slab classes has 40 KB, one of 128 slow
/// turns at most 100 KB.
pub(crate) const SHORT_REPORT_MAX: usize = 4 << 20;

/// A report above its bound.
pub(crate) fn too_long(connection: &Connection, max: usize) -> Failure {
    Failure::Unavailable(format!("{} sends a report of more than {max} bytes", connection.address()))
}

/// What `stats` answers.
pub(crate) enum Reply {
    /// Rows up to `END`.
    Rows(Vec<ReportRow>),
    /// One line, such as `RESET` or `OK`.
    Word(String),
    /// One of the protocol's error replies.
    Error(String),
}

/// A row of a report, ready for a terminal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ReportRow {
    /// `STAT name value`.
    Stat(String, String),
    /// A row of another form: `PREFIX ...` or `ITEM ...`.
    Other(String),
}

/// Asks for `stats` and `words`, and receives a reply of up to `max` bytes.
///
/// # Errors
/// [`Failure::Unavailable`], also for a reply that is none.
pub(crate) fn ask(connection: &mut Connection, words: &str, max: usize) -> Result<Reply, Failure> {
    let blank = if words.is_empty() { "" } else { " " };
    connection.send(format!("stats{blank}{words}\r\n").as_bytes())?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    loop {
        let line = connection.line()?;
        bytes += line.len() + size_of::<ReportRow>();
        if bytes > max {
            return Err(too_long(connection, max));
        }
        match line {
            b"END" => return Ok(Reply::Rows(rows)),
            b"RESET" | b"OK" if rows.is_empty() => return Ok(Reply::Word(shown(line))),
            line if is_error(line) => return Ok(Reply::Error(shown(line))),
            line => match row(line) {
                Some(row) => rows.push(row),
                None => {
                    let line = line.to_owned();
                    return Err(connection.misfit(&line));
                }
            },
        }
    }
}

/// An error reply to `stats` and `words`.
pub(crate) fn refused(address: &ServerAddress, words: &str, reply: &str) -> Failure {
    let blank = if words.is_empty() { "" } else { " " };
    Failure::Refused(format!("{address} refuses 'stats{blank}{words}': {reply}"))
}

fn row(line: &[u8]) -> Option<ReportRow> {
    if let Some(rest) = line.strip_prefix(b"STAT ") {
        let (name, value) = match memchr::memchr(b' ', rest) {
            Some(blank) => (&rest[..blank], &rest[blank + 1..]),
            None => (rest, &b""[..]),
        };
        return Some(ReportRow::Stat(shown(name), shown(value)));
    }
    (line.starts_with(b"PREFIX ") || line.starts_with(b"ITEM ")).then(|| ReportRow::Other(shown(line)))
}

/// The names and values of a report; none for a reply without rows.
pub(crate) fn pairs(rows: &[ReportRow]) -> impl Iterator<Item = (&str, &str)> {
    rows.iter().filter_map(|row| match row {
        ReportRow::Stat(name, value) => Some((name.as_str(), value.as_str())),
        ReportRow::Other(_) => None,
    })
}

/// `oxctl stats`: prints a report as a table, or as one object of names and values.
///
/// # Errors
/// [`Failure::Refused`] for a report that the server does not have; see [`ask`].
pub(crate) fn run(access: &ServerAccess, words: &[String], as_json: bool, out: &mut Printer) -> Result<(), Failure> {
    let words = words.join(" ");
    match ask(&mut Connection::open(access)?, &words, REPORT_MAX)? {
        Reply::Rows(rows) if as_json => out.pretty_json(&as_object(&rows)),
        Reply::Rows(rows) => print(&rows, out),
        Reply::Word(word) if as_json => out.json(&json_value(&word)),
        Reply::Word(word) => out.line(&word),
        Reply::Error(line) => Err(refused(&access.address, &words, &line)),
    }
}

/// An object of names and values; a report with rows of other forms is an array of lines.
pub(crate) fn as_object(rows: &[ReportRow]) -> Value {
    let other = rows.iter().any(|row| matches!(row, ReportRow::Other(_)));
    if !other {
        return json_object(pairs(rows));
    }
    let line = |row: &ReportRow| match row {
        ReportRow::Stat(name, value) => Value::from(format!("STAT {name} {value}")),
        ReportRow::Other(line) => Value::from(line.as_str()),
    };
    rows.iter().map(line).collect()
}

/// Names and values in two columns.
pub(crate) fn print(rows: &[ReportRow], out: &mut Printer) -> Result<(), Failure> {
    let width = pairs(rows).map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter().try_for_each(|row| match row {
        ReportRow::Stat(name, value) => out.line(format!("{name:width$}  {value}").trim_end()),
        ReportRow::Other(line) => out.line(line),
    })
}
