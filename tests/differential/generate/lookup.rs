//! Owns the commands on keys that carry no value: reads, touches, deletes, arithmetic. Called by `generate`.

use fastrand::Rng;

use super::{fields, pick};
use crate::stream::Command;

/// get, gets, gat, gats: lines without their end.
pub fn read(random: &mut Rng) -> Vec<u8> {
    let verb = pick(random, &["get", "get", "gets", "gat", "gats"]);
    let mut line = verb.as_bytes().to_vec();
    if verb.starts_with("gat") && random.u8(..20) != 0 {
        line.push(b' ');
        line.extend_from_slice(fields::exptime(random).as_bytes());
    }
    let keys = match random.u8(..20) {
        0 => 0,
        1 => random.usize(20..60),
        _ => random.usize(1..5),
    };
    for _ in 0..keys {
        line.push(b' ');
        // Long keys many times over would make a long line, and those have rules of their own.
        let key = if keys > 5 { b"num".to_vec() } else { fields::key(random) };
        line.extend_from_slice(&key);
    }
    line
}

/// A read with a key that is too long. To be sent alone: memcached throws away the replies of earlier commands with it,
/// if they were in the same read.
pub fn long_key(random: &mut Rng) -> Command {
    let verb = pick(random, &["get", "gets", "gat 0", "gats -1", "gat x"]);
    let mut words = vec![verb.as_bytes().to_vec(), vec![b'L'; random.usize(251..400)]];
    for _ in 0..random.usize(..4) {
        words.insert(random.usize(1..=words.len()), fields::key(random));
    }
    Command::bytes([words.join(&b' ').as_slice(), b"\r\n"].concat())
}

/// delete, incr, decr, touch, flush_all: lines without their end.
pub fn change(random: &mut Rng) -> Vec<u8> {
    let key = fields::any_key(random);
    let (verb, argument) = match random.u8(..20) {
        0..4 => ("delete", pick(random, &["", "", " 0", " 10", " 0 noreply", " abc"]).to_owned()),
        4..10 => ("incr", format!(" {}", fields::number(random))),
        10..16 => ("decr", format!(" {}", fields::number(random))),
        16..19 => ("touch", format!(" {}", fields::exptime(random))),
        _ => return flush(random),
    };
    let mut line = [verb.as_bytes(), b" ", &key, argument.as_bytes(), fields::tail(random).as_bytes()].concat();
    if random.u8(..30) == 0 {
        line.truncate(line.iter().rposition(|byte| *byte == b' ').unwrap_or(line.len()));
    }
    line
}

/// Moments that are now, long past, or never reached.
fn flush(random: &mut Rng) -> Vec<u8> {
    const WHEN: &[&str] =
        &["", "", " 0", " -1", " 100000", " 2592001", " 1000000000", " 2147483648", " 99999999999", " abc", " noreply"];
    format!("flush_all{}{}", pick(random, WHEN), fields::tail(random)).into_bytes()
}
