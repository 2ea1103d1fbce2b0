//! Owns the reading of traces: lines of `time,key,key size,value size,client,operation,ttl`, the format of Twitter's
//! published cache traces. Called by `main`.
//!
//! Ignores times: requests follow each other as fast as they are answered, and a TTL counts from then.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::Outcome;
use crate::mix::{Op, Request, Source};

/// memcached's maximum key length.
const KEY_MAX: usize = 250;
/// Larger values are stored with this size, which fits the default `-I`.
const VALUE_MAX: usize = 1_000_000;

/// The requests of a file. A malformed line ends the replay with a message.
pub fn open(path: &Path) -> Outcome<Source> {
    let mut lines = BufReader::new(File::open(path)?).lines();
    let (name, mut number) = (path.display().to_string(), 0_u64);
    Ok(Box::new(move |request| {
        number += 1;
        match lines.next() {
            Some(Ok(line)) if read(&line, request).is_some() => true,
            Some(_) => {
                eprintln!("{name}:{number}: not time,key,key size,value size,client,operation,ttl");
                false
            }
            None => false,
        }
    }))
}

fn read(line: &str, request: &mut Request) -> Option<()> {
    // Splits from the right: keys may contain commas.
    let mut words = line.trim_end().rsplitn(6, ',');
    let (ttl, op, _client) = (words.next()?, words.next()?, words.next()?);
    let (value, key_size): (usize, usize) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (_time, key) = words.next()?.split_once(',')?;
    request.op = match op {
        "get" | "gets" => Op::Get,
        "set" | "add" | "replace" | "cas" | "append" | "prepend" | "incr" | "decr" => Op::Set,
        "delete" => Op::Delete,
        _ => return None,
    };
    request.key.clear();
    request.key.extend(key.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(KEY_MAX));
    // Published traces shorten keys but keep their length field.
    while request.key.len() < key_size.min(KEY_MAX) {
        request.key.push('_');
    }
    request.value = value.min(VALUE_MAX);
    request.ttl = ttl.parse().ok()?;
    (!request.key.is_empty()).then_some(())
}
