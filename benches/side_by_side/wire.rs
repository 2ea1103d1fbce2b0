//! Owns the blocking side of a connection to a server: filling it, and reading its `stats`. Called by every measuring
//! module, never during a measurement.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};

use crate::Outcome;

/// Keys are a prefix and eight digits, 20 bytes in total; memtier_benchmark can draw the same ones.
pub const KEY_PREFIX: &str = "oxcached-ab:";
pub const KEY_DIGITS: usize = 8;
pub const KEY_SIZE: usize = KEY_PREFIX.len() + KEY_DIGITS;
/// Number of the first key: eight digits without a leading zero.
pub const KEY_FIRST: u32 = 10_000_000;

/// Bytes per write while filling.
const CHUNK_BYTES: usize = 128 * 1024;

pub fn key(number: u32) -> String {
    format!("{KEY_PREFIX}{:08}", KEY_FIRST + number)
}

/// Stores keys `from..to` with values of `value_size` bytes, and waits until the server has processed them.
pub fn fill(stream: &mut (impl Read + Write), from: u32, to: u32, value_size: usize) -> Outcome<()> {
    let tail = format!(" 0 0 {value_size} noreply\r\n{}\r\n", "x".repeat(value_size)).into_bytes();
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + tail.len() + KEY_SIZE + 4);
    for number in from..to {
        chunk.extend_from_slice(b"set ");
        chunk.extend_from_slice(key(number).as_bytes());
        chunk.extend_from_slice(&tail);
        if chunk.len() >= CHUNK_BYTES {
            stream.write_all(&chunk)?;
            sync(stream)?;
            chunk.clear();
        }
    }
    stream.write_all(&chunk)?;
    sync(stream)
}

/// Waits until the server has processed all that was sent. An unexpected reply is an error; pogocache says STORED even
/// where no reply was wanted.
pub fn sync(stream: &mut (impl Read + Write)) -> Outcome<()> {
    stream.write_all(b"version\r\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        match line.as_str() {
            "STORED" => {}
            _ if line.starts_with("VERSION ") => return Ok(()),
            _ => return Err(format!("while filling: {line}").into()),
        }
    }
    Err("while filling: the server closed the connection".into())
}

/// The rows of `stats`.
pub fn stats(stream: &mut (impl Read + Write)) -> Outcome<HashMap<String, String>> {
    stream.write_all(b"stats\r\n")?;
    let mut rows = HashMap::new();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("END"), None, None) => return Ok(rows),
            (Some("STAT"), Some(name), value) => {
                rows.insert(name.to_owned(), value.unwrap_or_default().to_owned());
            }
            _ => return Err(format!("in stats: {line}").into()),
        }
    }
    Err("stats ended early".into())
}

pub fn number(stats: &HashMap<String, String>, name: &str) -> Outcome<u64> {
    Ok(stats.get(name).ok_or_else(|| format!("no {name} in stats"))?.parse()?)
}
