//! Owns the values of single fields: mostly ordinary, periodically at or over a limit. Called by the other
//! generators.

use fastrand::Rng;

use super::pick;

/// Few, so that commands share keys.
const KEYS: &[&str] =
    &["a", "b", "k1", "num", "n2", "p:x", "p:y", "q/z", "noreply", "0", "-1", "k\tt", "\u{e9}\u{1f600}"];

/// Client flags. Over 32 bits they are truncated; over 64, or with anything but digits, refused.
const FLAGS_ODD: &[&str] = &[
    "4294967295",
    "4294967296",
    "4294967301",
    "+5",
    "007",
    "-1",
    "0x10",
    "5.0",
    "abc",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
];

/// Expiry times with an effect independent of the current time: never, at once, or far from now. None is empty: the
/// later fields would move up, and a cas id become the length of a value that never arrives.
const EXPTIMES_ODD: &[&str] = &[
    "-1",
    "-100",
    "2592000",
    "2592001",
    "1000000000",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "+100000",
    "00100000",
    "abc",
    "100000x",
    "1000.5",
    "0x10000",
];

/// Lengths that are refused; none would swallow later bytes.
pub const LENGTHS_REFUSED: &[&str] =
    &["-1", "+1", "abc", "1x", "2147483646", "2147483647", "4294967295", "4294967296", "18446744073709551617", "0x1"];

const NUMBERS: &[&str] =
    &["0", "1", "5", "10", "99", "1000000", "4294967295", "18446744073709551614", "18446744073709551615"];

const NUMBERS_ODD: &[&str] = &[
    "18446744073709551616",
    "-1",
    "+1",
    "007",
    "0000000000000000000001",
    "00000000000000000000001",
    "abc",
    "1a",
    "1.5",
    "0x5",
    "99999999999999999999",
];

/// Values for incr and decr: numbers with and without white space, and non-numbers.
const VALUES: &[&str] = &[
    "",
    "0",
    "9",
    "10",
    "100",
    "007",
    " 5",
    "5 ",
    "-5",
    "5a",
    "abc",
    "18446744073709551615",
    "18446744073709551616",
    "000000000000000000000000007",
    "1 2",
    "\t7",
    "4294967296",
];

/// A key far from the length limit.
pub fn short_key(random: &mut Rng) -> Vec<u8> {
    match random.u8(..40) {
        0 => b"\x01\x7f\xff\0z".to_vec(),
        _ => pick(random, KEYS).as_bytes().to_vec(),
    }
}

pub fn key(random: &mut Rng) -> Vec<u8> {
    match random.u8(..40) {
        0 => vec![b'L'; 249],
        1 => vec![b'L'; 250],
        _ => short_key(random),
    }
}

/// A key that is sometimes too long.
pub fn any_key(random: &mut Rng) -> Vec<u8> {
    match random.u8(..60) {
        0 => vec![b'L'; 251],
        1 => vec![b'L'; random.usize(252..400)],
        _ => key(random),
    }
}

/// One of the `usual` nine times in ten.
fn mostly(random: &mut Rng, usual: &[&'static str], odd: &[&'static str]) -> &'static str {
    if random.u8(..10) == 0 { pick(random, odd) } else { pick(random, usual) }
}

pub fn flags(random: &mut Rng) -> &'static str {
    mostly(random, &["0", "0", "1", "5", "65535", "2147483648"], FLAGS_ODD)
}

pub fn exptime(random: &mut Rng) -> &'static str {
    mostly(random, &["0", "0", "0", "100000", "2000000000"], EXPTIMES_ODD)
}

pub fn number(random: &mut Rng) -> &'static str {
    mostly(random, NUMBERS, NUMBERS_ODD)
}

pub fn value(random: &mut Rng) -> Vec<u8> {
    match random.u8(..10) {
        0..5 => pick(random, VALUES).as_bytes().to_vec(),
        5 => b"one\r\ntwo\r\nEND\r\n".to_vec(),
        6 => {
            let mut bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            // memcached reads a number after nothing but white space from stale memory: docs/compat.md.
            if bytes.iter().all(|byte| matches!(byte, b'\t'..=b'\r' | b' ')) {
                bytes.push(b'x');
            }
            bytes
        }
        7 => vec![b'v'; random.usize(..2000)],
        8 => random.u64(..).to_string().into_bytes(),
        _ => vec![b'w'; random.usize(..100)],
    }
}

/// Nothing, `noreply`, or words that may be ignored.
pub fn tail(random: &mut Rng) -> &'static str {
    match random.u8(..20) {
        0..4 => " noreply",
        4 => " noreply ",
        5 => " extra words",
        6 => " x noreply",
        7 => " noreply x",
        8 => " NOREPLY",
        _ => "",
    }
}
