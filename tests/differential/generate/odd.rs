//! Owns malformed input: odd lines, odd line ends, lines about the length limits, incomplete input. Called by
//! `generate`.

use fastrand::Rng;

use super::{fields, pick};
use crate::stream::{Command, Part};

const LINES: &[&str] = &[
    "\r\n",
    "\n",
    "a\r\n",
    "ab\r\n",
    "ab\n",
    "abc\n",
    "mn\r\n",
    "mn\n",
    "me\n",
    "get\r\n",
    "get\n",
    "get \r\n",
    "get  a\r\n",
    " get a\r\n",
    "  \r\n",
    "    \r\n",
    "GET a\r\n",
    "Get a\r\n",
    "get\ta\r\n",
    "get a\tb\r\n",
    "get a\r\r\n",
    "get a \r\n",
    "gets\r\n",
    "gat\r\n",
    "gat 0\r\n",
    "gats 0\r\n",
    "touch a\r\n",
    "touch\r\n",
    "incr a\r\n",
    "decr\r\n",
    "delete\r\n",
    "delete noreply\r\n",
    "set\r\n",
    "set a\r\n",
    "set a 0 0\r\n",
    "set a 0 0 noreply\r\n",
    "set a x noreply\r\n",
    "cas a 0 0 1\r\nx\r\n",
    "cas a 0 0 1 noreply\r\nx\r\n",
    "foo\r\n",
    "foo bar\r\n",
    "foo noreply\r\n",
    "foo bar noreply\r\n",
    "noreply\r\n",
    "getx a\r\n",
    "ge a\r\n",
    "versionx\r\n",
    "flush_allx\r\n",
    "get / HTTP/1.1\r\n",
    "\0\0\0\0\r\n",
    "\u{7f}\u{80}\u{ff}\r\n",
    "\tget a\r\n",
];

/// A whole line.
pub fn line(random: &mut Rng) -> Vec<u8> {
    match random.u8(..8) {
        // Words of the protocol in any order.
        0 => {
            let words =
                ["get", "set", "a", "0", "1", "noreply", "cas", "decrement", "touch", "gat", "x", "slabs", "-1"];
            let chosen = (0..random.usize(1..30)).map(|_| words[random.usize(..words.len())]);
            let text = chosen.collect::<Vec<_>>().join(" ");
            // A storage line would take the following commands as its value; other generators make those.
            let text = if is_storage(&text) { format!("x{text}") } else { text };
            vary(random, text.into_bytes())
        }
        1 => {
            let mut noise = (0..random.usize(..60)).map(|_| random.u8(..)).collect::<Vec<_>>();
            noise.retain(|byte| *byte != b'\n');
            // The first byte of a connection may choose the binary protocol.
            [b"~".as_slice(), &noise, b"\r\n"].concat()
        }
        _ => pick(random, LINES).as_bytes().to_vec(),
    }
}

fn is_storage(text: &str) -> bool {
    text.starts_with("set") || text.starts_with("cas")
}

/// A command of one varied line.
pub fn varied(random: &mut Rng, line: impl Fn(&mut Rng) -> Vec<u8>) -> Command {
    let line = line(random);
    Command::bytes(vary(random, line))
}

/// Ends a line, sometimes with changed spaces or an unusual end.
pub fn vary(random: &mut Rng, mut line: Vec<u8>) -> Vec<u8> {
    match random.u8(..60) {
        0 => line.insert(0, b' '),
        1 => line.push(b' '),
        2 => {
            let at = line.iter().position(|byte| *byte == b' ').unwrap_or(0);
            line.insert(at, b' ');
        }
        3 => {
            if let Some(space) = line.iter_mut().find(|byte| **byte == b' ') {
                *space = b'\t';
            }
        }
        _ => {}
    }
    let end: &[u8] = match random.u8(..20) {
        0 | 1 => b"\n",
        2 => b"\r\r\n",
        _ => b"\r\n",
    };
    [&line, end].concat()
}

/// Lines of about 2048 and 16384 bytes, with and without their newline in the first read. Sent alone: the server's
/// reaction depends on the rest of its buffer.
pub fn long_line(random: &mut Rng) -> Command {
    let verb = pick(random, &["get ", "gets ", "gat 0 ", "foo ", "mg ", "delete ", "   get ", "incr "]);
    let spaced = |spaces: usize| [vec![b' '; spaces], b"get".to_vec()].concat();
    let head = match random.u8(..6) {
        0 => spaced(random.usize(99..103)),
        _ => verb.as_bytes().to_vec(),
    };
    let size = match random.u8(..4) {
        0 => random.usize(2046..2052),
        1 => random.usize(2100..16_000),
        2 => random.usize(17_000..40_000),
        _ => random.usize(1_000..2_046),
    };
    let mut line = head;
    // Keys of 30 bytes: a key that is too long would hide any other error.
    while line.len() < size {
        line.push(if line.len() % 31 == 30 { b' ' } else { b'k' });
    }
    match random.u8(..3) {
        0 => Command::bytes([line.as_slice(), b"\r\n"].concat()),
        _ => Command::bytes(line).then(Part::Barrier).then_bytes(b"\r\n".to_vec()),
    }
}

/// Commands that end the connection. Sent alone: replies of earlier commands in the same read may be lost.
pub fn closing(random: &mut Rng) -> Command {
    let line = pick(
        random,
        &[
            "quit\r\n",
            "quit foo\r\n",
            "quit noreply\r\n",
            "GET / HTTP/1.1\r\n",
            "POST /x HTTP/1.0\r\n",
            "foo HTTP/\r\n",
        ],
    );
    Command::bytes(line)
}

/// Input that stops in the middle, before the client closes.
pub fn unfinished(random: &mut Rng) -> Command {
    let key = fields::key(random);
    let texts: &[&[u8]] = &[
        b"get a",
        b"set ",
        b"set a 0 0 10\r\nhello",
        b"set a 0 0 5\r\nhello",
        b"set a 0 0 5\r\nhello\r",
        b"set a 0 0 2147483645\r\nhello\r\n",
        b"set a 0 0 99999999\r\nhello\r\n",
        b"set a 0 0 600000\r\nhello\r\n",
        b"append a 0 0 70 noreply\r\nhello\r\n",
        b"version\r\nge",
        b"",
    ];
    let text = pick(random, texts).to_vec();
    // The barrier: memcached holds replies back while a value is incomplete, and loses them when the client closes.
    Command::bytes([b"get ", key.as_slice(), b"\r\n"].concat()).then(Part::Barrier).then_bytes(text)
}
