//! Owns the commands on keys without a value: reads, touches, deletes, arithmetic. Called by `generate`.

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
        let key = fields::short_key(random);
        line.extend_from_slice(&key);
    }
    line
}

/// A read with a key at the length limit or over it. Sent alone: memcached also drops the replies of earlier commands
/// in the same read.
pub fn long_key(random: &mut Rng) -> Command {
    let verb = pick(random, &["get", "gets", "gat 0", "gats -1", "gat x"]);
    let mut words = vec![verb.as_bytes().to_vec(), vec![b'L'; random.usize(249..256)]];
    for _ in 0..random.usize(..4) {
        words.insert(random.usize(1..=words.len()), fields::key(random));
    }
    Command::bytes([words.join(&b' ').as_slice(), b"\r\n"].concat())
}

/// incr, decr: lines without their end.
pub fn arithmetic(random: &mut Rng) -> Vec<u8> {
    let verb = pick(random, &["incr", "decr"]);
    let argument = format!(" {}", fields::number(random));
    on_key(random, verb, &argument)
}

/// delete, touch, flush_all: lines without their end.
pub fn change(random: &mut Rng) -> Vec<u8> {
    match random.u8(..10) {
        0..4 => {
            let argument = pick(random, &["", "", " 0", " 10", " 0 noreply", " abc"]);
            on_key(random, "delete", argument)
        }
        4..8 => {
            let argument = format!(" {}", fields::exptime(random));
            on_key(random, "touch", &argument)
        }
        _ => flush(random),
    }
}

/// A command, a key, an argument, sometimes without the last of them.
fn on_key(random: &mut Rng, verb: &str, argument: &str) -> Vec<u8> {
    let key = fields::any_key(random);
    let mut line = [verb.as_bytes(), b" ", &key, argument.as_bytes(), fields::tail(random).as_bytes()].concat();
    if random.u8(..30) == 0 {
        line.truncate(line.iter().rposition(|byte| *byte == b' ').unwrap_or(line.len()));
    }
    line
}

/// Times that are now, long past, or never reached.
fn flush(random: &mut Rng) -> Vec<u8> {
    const WHEN: &[&str] =
        &["", "", " 0", " -1", " 100000", " 2592001", " 1000000000", " 2147483648", " 99999999999", " abc", " noreply"];
    format!("flush_all{}{}", pick(random, WHEN), fields::tail(random)).into_bytes()
}
