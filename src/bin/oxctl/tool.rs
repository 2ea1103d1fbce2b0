//! The modes of memcached-tool: `oxctl ADDRESS [MODE]`.
//!
//! Owns their output, which equals the script's byte for byte, oddities included: values of statistics keep the
//! carriage return of their line. Must not know the command line. Called by `main`.

use crate::args::ToolMode;
use crate::connection::{Connection, ServerAccess, is_error};
use crate::dump::{self, KeyStream, percent_decoded};
use crate::failure::Failure;
use crate::printer::{Printer, json_event, json_object, shown};
use crate::record::number;
use crate::report::{REPORT_MAX, too_long};
use crate::say;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// # Errors
/// [`Failure::Unavailable`] and [`Failure::Refused`]; [`Failure::of_output`].
pub(crate) fn run(access: &ServerAccess, mode: &ToolMode, as_json: bool, out: &mut Printer) -> Result<(), Failure> {
    match mode {
        ToolMode::Display => display(access, as_json, out),
        ToolMode::Stats => statistics(access, "stats", as_json, ["Field", "Value"], [22, 13, 29, 14], out),
        ToolMode::Settings => statistics(access, "stats settings", as_json, ["Field", "Value"], [17, 11, 24, 12], out),
        ToolMode::Sizes => statistics(access, "stats sizes", as_json, ["Size", "Count"], [17, 11, 24, 12], out),
        ToolMode::Dump { limit } => {
            announce("contents", *limit);
            dump::items(access, *limit, out.stream()).map(drop)
        }
        ToolMode::Keys { decode, limit } => keys(access, *decode, *limit, as_json, out),
    }
}

fn announce(what: &str, limit: Option<u64>) {
    let limit = limit.map_or(String::new(), |limit| format!(" (limiting to {limit} keys)"));
    say(&format!("Dumping memcache {what}{limit}"));
}

/// The lines of a report up to its `END`, without `\n` and with `\r`.
fn lines(connection: &mut Connection, request: &str) -> Result<Vec<Vec<u8>>, Failure> {
    connection.restart_timeout();
    connection.send(format!("{request}\r\n").as_bytes())?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    loop {
        let line = connection.raw_line()?.to_owned();
        bytes += line.len() + size_of::<Vec<u8>>();
        if line.starts_with(b"END") {
            return Ok(found);
        }
        if is_error(line.trim_ascii_end()) {
            let (address, line) = (connection.address(), shown(line.trim_ascii_end()));
            return Err(Failure::Refused(format!("{address} refuses '{request}': {line}")));
        }
        if bytes > REPORT_MAX {
            return Err(too_long(connection, REPORT_MAX));
        }
        if !line.starts_with(b"STAT ") {
            return Err(connection.misfit(&line));
        }
        found.push(line);
    }
}

/// Name and value of a row: each is set off by any white space, and the value runs to the end of the line.
fn name_and_value(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let blanks = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let rest = line.strip_prefix(b"STAT")?;
    let rest = &rest[Some(blanks(rest)).filter(|&count| count > 0)?..];
    let (name, rest) = rest.split_at(rest.iter().take_while(|byte| !byte.is_ascii_whitespace()).count());
    Some((name, &rest[Some(blanks(rest)).filter(|&count| count > 0)?..]))
}

/// A report sorted by name. `widths`: of the address and the second word of the head, of name and value of a row.
fn statistics(
    access: &ServerAccess,
    request: &str,
    as_json: bool,
    [field, value]: [&str; 2],
    widths: [usize; 4],
    out: &mut Printer,
) -> Result<(), Failure> {
    let lines = lines(&mut Connection::open(access)?, request)?;
    let sorted: BTreeMap<&[u8], &[u8]> = lines.iter().filter_map(|line| name_and_value(line)).collect();
    if as_json {
        let texts: Vec<_> = sorted.iter().map(|(name, value)| (shown(name), shown(value.trim_ascii_end()))).collect();
        return out.pretty_json(&json_object(texts.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
    }
    let [address_width, value_width, name_column, value_column] = widths;
    let address = access.address.to_string();
    out.line(&format!("#{address:<address_width$} {field:>5} {value:>value_width$}"))?;
    sorted.iter().try_for_each(|(name, value)| {
        padded(name, name_column, out)?;
        out.bytes(b" ")?;
        padded(value, value_column, out)?;
        out.bytes(b"\n")
    })
}

/// `text` at the right end of a column of `width` bytes.
fn padded(text: &[u8], width: usize, out: &mut Printer) -> Result<(), Failure> {
    out.bytes(&vec![b' '; width.saturating_sub(text.len())])?;
    out.bytes(text)
}

/// Adds the rows `STAT CLASS:NAME NUMBER` behind `prefix` to the classes; returns the last class named.
fn collect(lines: &[Vec<u8>], prefix: &str, classes: &mut BTreeMap<u64, BTreeMap<String, u64>>) -> u64 {
    let mut last = 0;
    for line in lines {
        let parsed = || {
            let rest = line.strip_prefix(prefix.as_bytes())?;
            let colon = memchr::memchr(b':', rest)?;
            let (name, value) = name_and_value(&[b"STAT ", &rest[colon + 1..]].concat()).map(|(name, value)| {
                (String::from_utf8_lossy(name).into_owned(), value.iter().take_while(|b| b.is_ascii_digit()).count())
            })?;
            let value = &rest[colon + 1 + name.len() + 1..][..value];
            Some((number::<u64>(&rest[..colon])?, name, number::<u64>(value)?))
        };
        if let Some((class, name, value)) = parsed() {
            classes.entry(class).or_default().insert(name, value);
            last = class;
        }
    }
    last
}

fn display(access: &ServerAccess, as_json: bool, out: &mut Printer) -> Result<(), Failure> {
    let mut connection = Connection::open(access)?;
    let mut classes = BTreeMap::new();
    collect(&lines(&mut connection, "stats items")?, "STAT items:", &mut classes);
    let last = collect(&lines(&mut connection, "stats slabs")?, "STAT ", &mut classes);
    if !as_json {
        out.line("  #  Item_Size  Max_age   Pages   Count   Full?  Evicted Evict_Time OOM")?;
    }
    let mut objects = Vec::new();
    for (class, rows) in classes.range(1..=last.max(1)) {
        let row = |name: &str| rows.get(name).copied().unwrap_or(0);
        let pages = row("total_pages");
        if pages == 0 || *class > last {
            continue;
        }
        let is_full = row("used_chunks") == row("total_chunks");
        if as_json {
            objects.push(json!({
                "class": class, "item_size": row("chunk_size"), "max_age": row("age"), "pages": pages,
                "count": row("number"), "full": is_full, "evicted": row("evicted"),
                "evict_time": row("evicted_time"), "oom": row("outofmemory"),
            }));
            continue;
        }
        let bytes = row("chunk_size");
        let size = if bytes < 1024 { format!("{bytes}B") } else { format!("{:.1}K", bytes as f64 / 1024.0) };
        let full = if is_full { "yes" } else { " no" };
        out.line(&format!(
            "{class:3} {size:>8} {:9}s {pages:7} {:7} {full:>7} {:8} {:8} {:4}",
            row("age"),
            row("number"),
            row("evicted"),
            row("evicted_time"),
            row("outofmemory"),
        ))?;
    }
    if as_json { out.pretty_json(&Value::Array(objects)) } else { Ok(()) }
}

fn keys(
    access: &ServerAccess,
    decode: bool,
    limit: Option<u64>,
    as_json: bool,
    out: &mut Printer,
) -> Result<(), Failure> {
    announce("keys", limit);
    let mut stream = KeyStream::open(access)?;
    let mut left = limit.unwrap_or(u64::MAX).saturating_sub(stream.preamble);
    while left > 0
        && let Some(line) = stream.next()?
    {
        left -= 1;
        if !line.starts_with(b"key=") {
            return Err(access.misfit(line));
        }
        if as_json {
            out.json(&json_event(&shown(line.trim_ascii_end())))?;
        } else {
            out.bytes(&if decode { percent_decoded(line) } else { line.to_owned() })?;
            out.bytes(b"\n")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_as_the_script_does() {
        let cut = |line: &'static str| name_and_value(line.as_bytes()).map(|(n, v)| (shown(n), shown(v)));
        let is = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(cut("STAT a 1\r"), is("a", "1\\x0d"));
        assert_eq!(cut("STAT a  b c\r"), is("a", "b c\\x0d"));
        assert_eq!(cut("STAT inter \r"), is("inter", ""));
        assert_eq!(cut("STAT inter\r"), is("inter", ""));
        assert_eq!(cut("STATa 1"), None);
        assert_eq!(cut("STAT a"), None);
    }

    #[test]
    fn classes_come_from_numbered_rows() {
        let lines = ["STAT 3:total_pages 1\r", "STAT active_slabs 1\r", "STAT 12:chunk_size 96\r", "STAT 3:x y\r"];
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes().to_owned()).collect();
        let mut classes = BTreeMap::new();
        assert_eq!(collect(&lines, "STAT ", &mut classes), 12);
        assert_eq!(classes[&3], BTreeMap::from([("total_pages".to_owned(), 1)]));
        assert_eq!(classes[&12]["chunk_size"], 96);
    }
}
