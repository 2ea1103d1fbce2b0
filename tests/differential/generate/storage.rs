//! Owns the storage commands: valid ones, ones with broken values, large ones. Called by `generate`.

use fastrand::Rng;

use super::{fields, odd, pick};
use crate::stream::{Command, Part};

const VERBS: &[&str] = &["set", "set", "set", "add", "replace", "append", "prepend", "cas"];

/// Completes a value that still lacks bytes, and is otherwise an unknown command.
const FILLER: &[u8] = b"zzzzzzzzzzzzzzzz\r\n";

/// A storage command with as many bytes as announced, sometimes with an odd field.
pub fn store(random: &mut Rng) -> Command {
    let verb = pick(random, VERBS);
    let mut value = fields::value(random);
    let length = if random.u8(..30) == 0 {
        // The value is then read as commands: a short one suffices.
        value.truncate(50);
        pick(random, fields::LENGTHS_REFUSED).to_owned()
    } else if random.u8(..30) == 0 {
        format!("0{}", value.len())
    } else {
        value.len().to_string()
    };
    let head = [verb.as_bytes(), b" ", &fields::any_key(random), b" "].concat();
    let fields = format!("{} {} {length}", fields::flags(random), fields::exptime(random));
    let unique = if verb == "cas" { format!(" {}", fields::number(random)) } else { String::new() };
    let line = [&head, fields.as_bytes(), unique.as_bytes(), fields::tail(random).as_bytes()].concat();
    Command::bytes([odd::vary(random, line), value, b"\r\n".to_vec()].concat())
}

/// A cas with the last id seen, so that it may succeed.
pub fn cas(random: &mut Rng, key: &[u8]) -> Command {
    let value = fields::value(random);
    let head = format!(" {} {} {} ", fields::flags(random), fields::exptime(random), value.len());
    let tail = format!("{}\r\n", fields::tail(random));
    Command::bytes([b"cas ", key, head.as_bytes()].concat())
        .then(Part::Cas(key.to_vec()))
        .then_bytes([tail.as_bytes(), &value, b"\r\n"].concat())
}

/// A storage command with a wrong end of its value, or with missing fields in its line.
pub fn broken(random: &mut Rng) -> Command {
    let verb = pick(random, VERBS);
    let key = fields::key(random);
    let unique = if verb == "cas" { " 7" } else { "" };
    let tail = fields::tail(random);
    let line = |length: usize| {
        let rest = format!(" 0 0 {length}{unique}{tail}\r\n");
        [verb.as_bytes(), b" ", &key, rest.as_bytes()].concat()
    };
    let bytes = match random.u8(..8) {
        0 => [line(1).as_slice(), b"xyz\r\n"].concat(),
        1 => [line(4).as_slice(), b"xyz\r\n", FILLER].concat(),
        2 => [line(9).as_slice(), b"xyz\r\n", FILLER].concat(),
        3 => [line(3).as_slice(), b"xyz\n", FILLER].concat(),
        4 => [line(3).as_slice(), b"xyz\r", FILLER].concat(),
        5 => [line(3).as_slice(), b"xyz\rq\n", FILLER].concat(),
        6 => [line(0).as_slice(), b"xyz\r\n"].concat(),
        _ => {
            let whole = [verb.as_bytes(), b" ", &key, b" 0 0 1"].concat();
            let words = whole.split(|byte| *byte == b' ').collect::<Vec<_>>();
            let short = words[..random.usize(1..words.len())].join(&b' ');
            [short.as_slice(), tail.as_bytes(), b"\r\n"].concat()
        }
    };
    Command::bytes(bytes)
}

/// Values about the sizes where storage changes: a chunk, two chunks, the largest item.
pub fn large(random: &mut Rng) -> Command {
    let key = fields::key(random);
    let verb = pick(random, &["set", "set", "set", "add", "append", "prepend", "replace"]);
    let item_max = 1_048_576 - 48 - 8 - (key.len() + 1) - 2;
    let size = match random.u8(..8) {
        0 => 524_288 - random.usize(..200),
        1 => 1_048_576 + random.usize(..3),
        2 => random.usize(2_000..20_000),
        3 => 2_097_152 - random.usize(..200),
        // Also with client flags, which take four bytes more.
        _ => item_max + 3 - random.usize(..9),
    };
    let flags = pick(random, &["0", "0", "1"]);
    let line = format!(" {flags} 0 {size}{}\r\n", if random.u8(..4) == 0 { " noreply" } else { "" });
    let mut bytes = [verb.as_bytes(), b" ", &key, line.as_bytes()].concat();
    bytes.resize(bytes.len() + size, b'a' + random.u8(..26));
    bytes.extend_from_slice(b"\r\nget ");
    bytes.extend_from_slice(&key);
    bytes.extend_from_slice(b"\r\n");
    Command::bytes(bytes)
}
