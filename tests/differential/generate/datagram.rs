//! Owns the datagrams: whole commands in one datagram, valid and odd headers, answers of several datagrams. Called by
//! `generate`.
//!
//! No command is left incomplete: memcached completes it with the next datagram, even of another client
//! (docs/compat.md).

use fastrand::Rng;

use super::{Theme, admin, binary, fields, lookup, meta, odd, pick, storage};
use crate::compare::Compare;
use crate::datagrams::SENTINELS;
use crate::stream::{CONNECTIONS, Command, Exchange, Part};

/// A few datagrams of one kind from one client. A case has either packets or text, since memcached's text commands
/// get the CAS ids of earlier packets.
pub fn exchange(random: &mut Rng, packets: bool) -> Exchange {
    let connection = random.usize(..CONNECTIONS);
    let theme = if random.bool() { Theme::Reads } else { Theme::Arithmetic };
    let (bodies, compare) = match (random.u8(..20), packets) {
        (0..14, true) => (several(random, |random| binary::short(random, theme)), Compare::Meta),
        (14..16, true) => (vec![binary::show(random)], Compare::Exact),
        (16..19, true) => {
            let (packet, compare) = binary::report(random);
            (vec![packet], compare)
        }
        (0..14, false) => (several(random, |random| text(random, theme)), Compare::Meta),
        (14..16, false) => (vec![large(random)], Compare::Exact),
        (16..19, false) => {
            let (line, compare) = admin::report(random);
            (vec![Command::bytes(line)], compare)
        }
        _ => {
            let datagrams = (0..random.usize(1..4)).map(|_| odd_frame(random)).collect();
            return Exchange { compare: Compare::Meta, ..Exchange::new(connection, datagrams) };
        }
    };
    let datagrams = bodies.into_iter().map(|body| framed(random, body)).collect();
    Exchange { compare, ..Exchange::new(connection, datagrams) }
}

/// Datagrams of several commands each.
fn several(random: &mut Rng, command: impl Fn(&mut Rng) -> Command) -> Vec<Command> {
    let datagram = |random: &mut Rng| {
        let commands = (0..random.usize(1..6)).map(|_| command(random));
        Command { parts: commands.flat_map(|command| command.parts).collect() }
    };
    (0..random.usize(1..4)).map(|_| datagram(random)).collect()
}

/// A whole text or meta command.
fn text(random: &mut Rng, theme: Theme) -> Command {
    match (random.u8(..20), theme) {
        (0..4, _) => stored(random),
        (4..7, _) => {
            let key = fields::key(random);
            storage::cas(random, &key)
        }
        (7..11, Theme::Reads) => odd::varied(random, lookup::read),
        (7..11, Theme::Arithmetic) => odd::varied(random, lookup::arithmetic),
        (11..15, _) => odd::varied(random, |random| meta::line(random, theme)),
        (15..17, _) => odd::varied(random, lookup::change),
        (17..18, _) => odd::varied(random, admin::line),
        (_, Theme::Reads) => Command::bytes(odd::line(random)),
        (_, Theme::Arithmetic) => stored(random),
    }
}

/// A value of the announced length.
fn stored(random: &mut Rng) -> Command {
    let (key, value) = (fields::key(random), fields::value(random));
    let verb = pick(random, &["set", "set", "add", "replace", "append", "prepend"]);
    let line =
        format!(" {} {} {}{}\r\n", fields::flags(random), fields::exptime(random), value.len(), fields::tail(random));
    Command::bytes([verb.as_bytes(), b" ", &key, line.as_bytes(), &value, b"\r\n"].concat())
}

/// Values of about one datagram's length or several, stored and read.
fn large(random: &mut Rng) -> Command {
    let key = b"big".repeat(random.usize(1..4));
    let size = match random.u8(..3) {
        0 => random.usize(1300..1420),
        1 => random.usize(2700..2820),
        _ => random.usize(1..20_000),
    };
    let value = vec![b'a' + random.u8(..26); size];
    let head = format!(" 0 0 {size}\r\n");
    let read = if random.bool() { b"\r\nget ".as_slice() } else { b"\r\ngets nothing " };
    Command::bytes([b"set ", key.as_slice(), head.as_bytes(), &value, read, &key, b" ", &key, b"\r\n"].concat())
}

/// Commands that end a conversation, alone or after another; later bytes are not read. For the end of a case:
/// memcached remembers the end (docs/compat.md).
pub fn farewell(random: &mut Rng) -> Exchange {
    let (mut before, after) = (["", "version\r\n", "delete nothing noreply\r\n"], ["", "version\r\n"]);
    let line = pick(random, &["quit\r\n", "quit noreply\r\n", "GET / HTTP/1.1\r\n", "foo HTTP/1.0\r\n"]);
    if !line.starts_with("quit") {
        // memcached loses the replies of the same read.
        before = [""; 3];
    }
    let body = Command::bytes([pick(random, &before), line, pick(random, &after)].concat());
    Exchange::new(0, vec![framed(random, body)])
}

/// A datagram with a harmless command and a wrong header, or one that ends within its header.
fn odd_frame(random: &mut Rng) -> Command {
    let (sequence, total, reserved) = (random.u16(..5), random.u16(..3), random.u16(..2));
    let mut datagram = header(random, sequence, total, reserved);
    datagram.extend_from_slice(pick(random, &["version\r\n", "get a", "mn\r\n", "\r\n"]).as_bytes());
    if random.u8(..4) == 0 {
        datagram.truncate(random.usize(..10));
    }
    Command::bytes(datagram)
}

fn framed(random: &mut Rng, body: Command) -> Command {
    let header = header(random, 0, 1, 0);
    let parts = body.parts.into_iter().filter(|part| !matches!(part, Part::Split | Part::Barrier));
    Command { parts: std::iter::once(Part::Bytes(header)).chain(parts).collect() }
}

fn header(random: &mut Rng, sequence: u16, total: u16, reserved: u16) -> Vec<u8> {
    [random.u16(..SENTINELS), sequence, total, reserved].iter().flat_map(|number| number.to_be_bytes()).collect()
}
