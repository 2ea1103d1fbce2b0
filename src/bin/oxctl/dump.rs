//! `oxctl dump`: all items of a server, as the commands that store them.
//!
//! Owns the walk: one connection streams the keys (`lru_crawler metadump`), another one fetches values, some keys at a
//! time. Memory holds one such group of keys, and no value as a whole. Must not know options. Called by `main`, `tool`.

use crate::args::DumpPlace;
use crate::connection::{Connection, ServerAccess, is_error};
use crate::failure::Failure;
use crate::printer::{Printer, shown};
use crate::record::{RecordHead, encoded_key, is_plain, number};
use crate::say;
use serde_json::json;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::thread;
use std::time::{Duration, Instant};

/// Most keys that one request names.
const GROUP: usize = 256;
/// Bytes of keys after which a request is full. All of it fits into socket buffers: it is sent before the first reply
/// is read, and a server whose replies are not read stops reading.
const GROUP_BYTES: usize = 12 << 10;
/// Time between two attempts while another crawl keeps the crawler.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// What became of the keys of a dump.
#[derive(Default)]
pub(crate) struct DumpTally {
    pub(crate) items: u64,
    /// Keys whose item expired, or was deleted or evicted, before its value was fetched.
    pub(crate) gone: u64,
}

/// The lines of `lru_crawler metadump all`.
pub(crate) struct KeyStream {
    connection: Connection,
    /// The first line, received to see whether the dump starts.
    first: Option<Vec<u8>>,
    line: Vec<u8>,
    has_ended: bool,
    /// Lines before the first key: the `OK` of newer servers. memcached-tool counts it among the keys.
    pub(crate) preamble: u64,
}

impl KeyStream {
    /// Starts a dump; waits up to the timeout while the crawler is busy.
    ///
    /// # Errors
    /// [`Failure::Refused`] for a server that lacks the command, or stays busy.
    pub(crate) fn open(access: &ServerAccess) -> Result<Self, Failure> {
        let mut connection = Connection::open(access)?;
        let deadline = Instant::now() + access.timeout;
        loop {
            connection.restart_timeout();
            connection.send(b"lru_crawler metadump all\r\n")?;
            let first = connection.raw_line()?.to_owned();
            if first.starts_with(b"BUSY") && Instant::now() < deadline {
                thread::sleep(BUSY_PAUSE);
                continue;
            }
            if is_error(first.trim_ascii_end()) {
                let line = shown(first.trim_ascii_end());
                return Err(Failure::Refused(format!("{} refuses to list its keys: {line}", access.address)));
            }
            connection.bound_each_call();
            let is_ok = first.trim_ascii_end() == b"OK";
            let (first, preamble) = (Some(first).filter(|_| !is_ok), u64::from(is_ok));
            return Ok(Self { connection, first, line: Vec::new(), has_ended: false, preamble });
        }
    }

    /// The next line without its `\n`; `None` behind the last.
    ///
    /// # Errors
    /// [`Failure::Unavailable`].
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Failure> {
        match self.first.take() {
            Some(line) => self.line = line,
            None if self.has_ended => return Ok(None),
            None => {
                self.line.clear();
                self.line.extend_from_slice(self.connection.raw_line()?);
            }
        }
        self.has_ended = self.line.starts_with(b"END");
        Ok((!self.has_ended).then_some(&self.line))
    }
}

/// The key of a line of a metadump, decoded, and its expiry time: 0 for none.
fn key_and_expiry(line: &[u8]) -> Option<(Vec<u8>, i64)> {
    let rest = line.strip_prefix(b"key=")?;
    let end = memchr::memchr(b' ', rest)?;
    let expiry = rest[end..].strip_prefix(b" exp=")?;
    let expiry = number(expiry.split(|&byte| byte == b' ').next()?)?;
    Some((percent_decoded(&rest[..end]), if expiry == -1 { 0 } else { expiry }))
}

/// Replaces `%XX` by bytes.
pub(crate) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|&byte| (byte as char).to_digit(16));
        match (first, digit(0), digit(1)) {
            // Two digits of base 16 are a byte.
            (b'%', Some(high), Some(low)) => (bytes.push((high * 16 + low) as u8), rest = &behind[2..]),
            _ => (bytes.push(first), rest = behind),
        };
    }
    bytes
}

/// Writes the items of a server to `out`; `limit` bounds the lines of the dump, as for memcached-tool.
///
/// # Errors
/// [`Failure::Unavailable`] and [`Failure::Refused`]; [`Failure::of_output`]. `out` then has whole records and at most
/// one part of a record.
pub(crate) fn items(access: &ServerAccess, limit: Option<u64>, out: &mut dyn Write) -> Result<DumpTally, Failure> {
    let mut keys = KeyStream::open(access)?;
    let mut values = Connection::open(access)?;
    values.bound_each_call();
    let mut tally = DumpTally::default();
    let mut left = limit.unwrap_or(u64::MAX).saturating_sub(keys.preamble);
    loop {
        let mut group = Vec::with_capacity(GROUP);
        let mut bytes = 0;
        while group.len() < GROUP && bytes < GROUP_BYTES && left > 0 {
            let Some(line) = keys.next()? else { break };
            left -= 1;
            match key_and_expiry(line) {
                Some(found) => {
                    bytes += found.0.len();
                    group.push(found);
                }
                None => {
                    let line = line.to_owned();
                    return Err(values.misfit(&line));
                }
            }
        }
        if group.is_empty() {
            return Ok(tally);
        }
        fetch(&mut values, &group, &mut tally, out)?;
    }
}

/// Fetches a group of keys, all in one write. The flag `u` leaves the order of use as it is: an item that `get` moves
/// to another queue of memcached can escape the metadump, and a dump must not decide what is evicted.
fn fetch(
    connection: &mut Connection,
    group: &[(Vec<u8>, i64)],
    tally: &mut DumpTally,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut request = Vec::new();
    for (key, _) in group {
        let (key, flags) = if is_plain(key) { (key.clone(), "") } else { (encoded_key(key), " b") };
        request.extend([b"mg ", &key[..], flags.as_bytes(), b" u f v\r\n"].concat());
    }
    connection.send(&request)?;
    for (key, expiry) in group {
        let line = connection.line()?.to_owned();
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        match words[..] {
            [b"EN"] => tally.gone += 1,
            [b"VA", length, flags] => {
                let numbers = flags.strip_prefix(b"f").and_then(number).zip(number(length));
                let Some((flags, length)) = numbers else { return Err(unfit(connection, &line)) };
                copy(connection, &RecordHead::new(key, flags, *expiry, length), tally, out)?;
            }
            _ => return Err(unfit(connection, &line)),
        }
    }
    Ok(())
}

fn unfit(connection: &Connection, line: &[u8]) -> Failure {
    if is_error(line) {
        return Failure::Refused(format!("{} refuses to give values: {}", connection.address(), shown(line)));
    }
    connection.misfit(line)
}

fn copy(
    connection: &mut Connection,
    head: &RecordHead,
    tally: &mut DumpTally,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::of_output(&error);
    out.write_all(&head.line(false)).map_err(failed)?;
    connection.value(head.length, out)?;
    out.write_all(b"\r\n").map_err(failed)?;
    tally.items += 1;
    Ok(())
}

/// `oxctl dump`. A file that it creates is readable by its owner only. The summary is on standard output, or on
/// standard error where the items are on standard output.
///
/// # Errors
/// See [`items`]; the message says that the dump is incomplete.
pub(crate) fn run(access: &ServerAccess, to: &DumpPlace, as_json: bool, out: &mut Printer) -> Result<(), Failure> {
    let incomplete = |failure| match failure {
        Failure::Unavailable(text) => Failure::Unavailable(format!("{text}; the dump is incomplete")),
        Failure::Refused(text) => Failure::Refused(format!("{text}; the dump is incomplete")),
        other => other,
    };
    let tally = match to {
        DumpPlace::Standard => items(access, None, out.stream()).map_err(incomplete)?,
        DumpPlace::Path(path) => {
            let failed =
                |error: std::io::Error| Failure::Unavailable(format!("cannot write {}: {error}", path.display()));
            let mut options = std::fs::File::options();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
            let mut file = BufWriter::new(file);
            let tally = items(access, None, &mut file).map_err(incomplete)?;
            file.flush().map_err(failed)?;
            tally
        }
    };
    let DumpTally { items, gone } = tally;
    if as_json {
        return out.json(&json!({ "items": items, "gone": gone }));
    }
    let gone = if gone == 0 { String::new() } else { format!("; {gone} more were gone before they were fetched") };
    let summary = format!("dumped {items} items{gone}");
    match to {
        DumpPlace::Standard => {
            out.flush()?;
            say(&format!("oxctl: {summary}"));
            Ok(())
        }
        DumpPlace::Path(_) => out.line(&summary),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_metadump_give_keys_and_expiry() {
        let parse = |line: &str| key_and_expiry(line.as_bytes());
        assert_eq!(parse("key=a%20b exp=7 la=1 cas=2"), Some((b"a b".to_vec(), 7)));
        assert_eq!(parse("key=a exp=-1 la=1"), Some((b"a".to_vec(), 0)));
        for line in ["", "key=a", "key= la=1", "key=a exp= la=1", "key=a exp=x la=1", "xkey=a exp=1 "] {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!(percent_decoded(b"%00%ff%F%"), b"\x00\xff%F%");
    }
}
