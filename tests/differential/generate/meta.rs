//! Owns the meta commands: keys plain and in base64, every flag with valid and odd arguments, values whole and
//! broken. Called by `generate`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;

use super::{Theme, fields, odd, pick};
use crate::stream::{Command, Part};

/// Flags that request output or change how a command runs.
const PLAIN: &[&str] = &["v", "k", "O123", "q", "t", "c", "f", "s", "h", "l", "u", "x", "I", "O", "P1", "Lx"];

/// Times are never, at once, or so far apart that a second does not matter.
const WITH_NUMBER: &[&str] = &[
    "T0",
    "T100000",
    "T-1",
    "T2000000000",
    "N0",
    "N100000",
    "N-1",
    "R30",
    "R200000",
    "R0",
    "R-1",
    "R2000000000",
    "C0",
    "C5",
    "C2",
    "C18446744073709551615",
    "E5",
    "E0",
    "E1099511627776",
    "E18446744073709551615",
    "F0",
    "F5",
    "F4294967295",
    "J0",
    "J13",
    "J18446744073709551615",
    "D0",
    "D1",
    "D10",
    "D95",
    "D18446744073709551615",
];

/// Modes of `ms` and `ma`.
const MODES: &[&str] = &["MI", "M+", "MD", "M-", "MS", "ME", "MA", "MP", "MR", "MS", "MSfoo", "MIncr"];

/// Refused words, and words one byte away from them.
const ODD: &[&str] = &[
    "T",
    "Tx",
    "T2147483648",
    "N",
    "Nx",
    "R9999999999",
    "C",
    "C-1",
    "C18446744073709551616",
    "Ex",
    "F4294967296",
    "F-1",
    "Fx",
    "J",
    "Jx",
    "Dx",
    "D-1",
    "M",
    "Mx",
    "Ms",
    "S",
    "z",
    "A1",
    "1",
    "9x",
    "_",
    "[x",
    "~",
    "!v",
    "-1",
    "\u{e9}",
    "b",
    "bx",
    "vx",
    "kfoo",
    "q1",
    "Oabcdefghijklmnopqrstuvwxyz01234",
    "Oabcdefghijklmnopqrstuvwxyz012345",
    "noreply",
];

/// mg, ma, md, me, mn: lines without their end.
pub fn line(random: &mut Rng, theme: Theme) -> Vec<u8> {
    let verb = match (random.u8(..10), theme) {
        (0..6, Theme::Reads) => "mg",
        (0..6, Theme::Arithmetic) => "ma",
        (6 | 7, _) => "md",
        (8, _) => "me",
        _ => pick(random, &["mn", "mn", "mn x", "mnx", "mx a", "m", "md", "me"]),
    };
    if verb.len() != 2 || verb == "mn" {
        return verb.as_bytes().to_vec();
    }
    [verb.as_bytes(), b" ", &key_and_flags(random, "")].concat()
}

/// A key, the word `between`, and flags; sometimes with a key in base64, or marked as such.
fn key_and_flags(random: &mut Rng, between: &str) -> Vec<u8> {
    let key = fields::any_key(random);
    let mut words = (0..random.usize(..6)).map(|_| flag(random).to_owned()).collect::<Vec<_>>();
    if random.u8(..60) == 0 {
        words.extend((0..random.usize(10..24)).map(|_| pick(random, PLAIN).to_owned()));
    }
    let encoded = random.u8(..6) == 0;
    if encoded {
        words.insert(random.usize(..=words.len()), "b".into());
    }
    let mut text = if encoded { in_base64(random, &key) } else { key };
    for word in between.split_whitespace().chain(words.iter().map(String::as_str)) {
        text.push(b' ');
        text.extend_from_slice(word.as_bytes());
    }
    text
}

fn flag(random: &mut Rng) -> &'static str {
    match random.u8(..100) {
        0..45 => pick(random, PLAIN),
        45..80 => pick(random, WITH_NUMBER),
        80..94 => pick(random, MODES),
        _ => pick(random, ODD),
    }
}

/// Base64 of `key`, sometimes with an error.
fn in_base64(random: &mut Rng, key: &[u8]) -> Vec<u8> {
    let mut text = STANDARD.encode(key).into_bytes();
    match random.u8(..12) {
        0 => drop(text.pop()),
        1 => text.insert(random.usize(..=text.len()), b"!=-_\x80A"[random.usize(..6)]),
        2 => text.extend_from_slice(b"YQ=="),
        _ => {}
    }
    text
}

/// A valid `ms`, sometimes with odd flags.
pub fn store(random: &mut Rng) -> Command {
    let value = fields::value(random);
    let line = [b"ms ".as_slice(), &key_and_flags(random, &value.len().to_string())].concat();
    // Refused in the tokenizer: the value would be read as commands.
    let value = if line.split(|byte| *byte == b' ').any(|word| matches!(word.first(), Some(b'~' | b'!' | b'-' | 128..)))
    {
        b"zz".to_vec()
    } else {
        value
    };
    let line = [b"ms ".as_slice(), &with_length(&line[3..], value.len())].concat();
    Command::bytes([odd::vary(random, line), value, b"\r\n".to_vec(), settle()].concat())
}

/// The line's words with another length.
fn with_length(words: &[u8], length: usize) -> Vec<u8> {
    let mut words = words.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect::<Vec<_>>();
    words[1] = length.to_string().into_bytes();
    words.join(&b' ')
}

/// Ends every `ms`: after a failed one, memcached gives its cas id to the connection's next text store.
fn settle() -> Vec<u8> {
    b"ms __settle 0 q\r\n\r\n".to_vec()
}

/// An `ms` that compares with the last id seen, so that it may succeed.
pub fn cas(random: &mut Rng, key: &[u8]) -> Command {
    let value = fields::value(random);
    let head = format!(" {} ", value.len());
    let flags = (0..random.usize(..4)).map(|_| format!(" {}", flag(random))).filter(|word| !word.starts_with(" C"));
    let flags = flags.filter(|word| !matches!(word.as_bytes()[1], b'~' | b'!' | b'-' | 128..)).collect::<String>();
    // A digit after the id makes it higher, and one before it may.
    let (before, after) = [("C", ""), ("C", ""), ("C", ""), ("C1", ""), ("C", "0")][random.usize(..5)];
    Command::bytes([b"ms ", key, head.as_bytes(), before.as_bytes()].concat())
        .then(Part::Cas(key.to_vec()))
        .then_bytes([after.as_bytes(), flags.as_bytes(), b"\r\n", &value, b"\r\n", &settle()].concat())
}

/// An `mg`, `md` or `ma` that compares with the last id seen.
pub fn compare(random: &mut Rng, key: &[u8]) -> Command {
    let verb = pick(random, &["mg ", "md ", "ma "]);
    let flags = (0..random.usize(..4)).map(|_| format!(" {}", flag(random))).filter(|word| !word.starts_with(" C"));
    let tail = format!("{}\r\n", flags.collect::<String>());
    Command::bytes([verb.as_bytes(), key, b" C"].concat()).then(Part::Cas(key.to_vec())).then_bytes(tail)
}

/// An `ms` with a wrong end of its value, or with a missing word in its line.
pub fn broken(random: &mut Rng) -> Command {
    let key = fields::key(random);
    let flags = (0..random.usize(..3)).map(|_| format!(" {}", pick(random, PLAIN))).collect::<String>();
    let line = |length: &str| [b"ms ", key.as_slice(), format!(" {length}{flags}\r\n").as_bytes()].concat();
    let refused = pick(random, fields::LENGTHS_REFUSED);
    let bytes = match random.u8(..6) {
        0 => [line("1").as_slice(), b"xyz\r\n"].concat(),
        1 => [line("3").as_slice(), b"xyz\rq\n"].concat(),
        2 => [line("0").as_slice(), b"xyz\r\n"].concat(),
        3 => [line(refused).as_slice(), b"xyz\r\n"].concat(),
        4 => [line("-").as_slice(), b"\r\n"].concat(),
        _ => [b"ms ".as_slice(), &key, b"\r\n"].concat(),
    };
    Command::bytes([bytes, settle()].concat())
}
