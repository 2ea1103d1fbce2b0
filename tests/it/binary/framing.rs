//! Invalid lengths, bytes that are not packets, and packets in pieces.

use super::harness::{ends, talk};
use super::packet::{all, arith, err, get, hit, req, res, set, store};
use crate::support::{Client, shared};
use oxcached::proto::CloseReason;

#[test]
fn lengths_invalid_for_every_command_are_unknown_commands() {
    // Key length beyond the body; extras beyond the body.
    for (at, byte) in [(3, 2), (4, 9)] {
        let mut bytes = get("a").bytes();
        bytes[at] = byte;
        ends(&bytes, &[err(0x00, 0x81)], CloseReason::Error);
    }
    let body = (1u32 << 30) + 1;
    for (body, closes) in [(body, true), (body - 1, false)] {
        let mut bytes = set("a", "").bytes();
        bytes[8..12].copy_from_slice(&body.to_be_bytes());
        if closes {
            ends(&bytes, &[err(0x01, 0x04)], CloseReason::Error);
        } else {
            talk("", |talk| talk.expect(&bytes, &err(0x01, 0x03)));
        }
    }
}

#[test]
fn lengths_invalid_for_the_command_close_the_connection() {
    let long = "k".repeat(251);
    let packets = [
        get(&long),
        req(0x30).key(&long),
        get(""),
        get("a").u32(0),
        get("a").value("x"),
        req(0x09),
        req(0x1c).key("a"),
        req(0x1d).u32(0),
        req(0x01).key("a").value("x"),
        store(0x11, "", 0, 0, "x"),
        req(0x0e).u32(1).key("a").value("x"),
        req(0x19).value("x"),
        req(0x04).key("a").value("x"),
        req(0x14),
        req(0x05).u64(1).u64(1).key("a"),
        arith(0x15, "", 1, 1, 0),
        arith(0x06, "a", 1, 1, 0).value("x"),
        req(0x07).key("a"),
        req(0x17).value("x"),
        req(0x08).u64(1),
        req(0x18).key("a"),
        req(0x0a).value("x"),
        req(0x0b).u32(1),
        req(0x10).u32(1),
        req(0x20).key("a"),
    ];
    for packet in packets {
        let bytes = packet.bytes();
        let stream = [bytes.clone(), req(0x0a).bytes()].concat();
        ends(&stream, &[err(bytes[1], 0x04)], CloseReason::Error);
    }
    talk("", |talk| {
        talk.expect(&[set(&long[1..], "x"), get(&long[1..])], &[res(0x01).cas(2), hit(0x00, 2, 0, "x")]);
    });
}

#[test]
fn touches_ignore_a_value() {
    talk("", |talk| {
        talk.expect(&[req(0x1d).u32(0).key("a").value("left over"), req(0x0a)], &[err(0x1d, 0x01), res(0x0a)]);
    });
}

#[test]
fn bytes_that_are_not_a_packet_close_without_a_reply() {
    for noise in [&b"get a\r\nand more than a header"[..], &[0x81; 24]] {
        ends(&[&req(0x0a).bytes(), noise].concat(), &[res(0x0a)], CloseReason::Error);
    }
}

/// A conversation that reaches every state.
fn conversation() -> Vec<u8> {
    let large = "0123456789abcdef".repeat(2500);
    all(&[
        set("a", "value"),
        store(0x12, "a", 0, 0, "other"),
        get("a"),
        req(0x0c).key("nothing"),
        store(0x01, "large", 3, 0, &large),
        req(0x0d).key("large"),
        req(0x0e).key("large").value("tail"),
        req(0x40).u64(1).key("body").value("unknown"),
        arith(0x05, "n", 1, 41, 0),
        arith(0x15, "n", 1, 41, 0),
        get("n"),
        req(0x10).key("sizes"),
        req(0x04).key("a"),
        store(0x01, "a", 0, 0, ""),
        req(0x23).u32(0).key("a"),
        store(0x13, "none", 0, 0, "x"),
        req(0x21).key("PLAIN").value("secret"),
        req(0x07),
    ])
}

#[test]
fn replies_do_not_depend_on_arrival_boundaries() {
    let stream = conversation();
    let whole = Client::new(&shared("")).ask(&stream);
    let state = shared("-m 1024");
    let reset = req(0x08).bytes();
    // CAS ids continue to count: only they are blanked.
    let blank = |replies: &[u8]| {
        let mut replies = replies.to_vec();
        let mut at = 0;
        while at < replies.len() {
            replies[at + 16..at + 24].fill(0);
            let body = u32::from_be_bytes(replies[at + 8..at + 12].try_into().unwrap());
            at += 24 + body as usize;
        }
        replies
    };
    let expected = blank(&whole);
    let cut = |pieces: &[&[u8]]| {
        Client::new(&state).feed(&reset);
        let mut client = Client::new(&state);
        pieces.iter().for_each(|piece| client.feed(piece));
        assert_eq!(client.reason, Some(CloseReason::Normal));
        assert!(blank(&client.got) == expected, "{:?}", pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>());
    };
    // Within the large value all splits are alike.
    for at in (1..600).chain((600..stream.len() - 700).step_by(1009)).chain(stream.len() - 700..stream.len()) {
        let (first, second) = stream.split_at(at);
        cut(&[first, second]);
    }
    cut(&stream.chunks(1).collect::<Vec<_>>());
    for size in [2, 3, 7, 23, 24, 25, 100, 1000, 16_384, 30_000] {
        cut(&stream.chunks(size).collect::<Vec<_>>());
    }
}
