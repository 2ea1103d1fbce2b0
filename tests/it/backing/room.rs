//! Changes while the backing has no room for them, or refuses them.

use super::{ARGS, Answer, Conn, Fake, put, seeds, sizes};
use crate::binary::packet::{Packet, all, arith, req, store};
use crate::support::{Client, answer, shared};
use oxcached::cache::NOT_KEPT;
use oxcached::limits::READ_BUF;
use oxcached::net::Answerer;
use oxcached::proto::{Session, Shared};
use std::sync::Arc;

/// Requests that change items. `ten` and `far` are in memory.
pub(super) const LINES: [&str; 22] = [
    "set far 0 0 1\r\nx\r\n",
    "add new 0 0 1\r\nx\r\n",
    "replace far 0 0 1\r\nx\r\n",
    "append far 0 0 1\r\nx\r\n",
    "prepend far 0 0 1\r\nx\r\n",
    "cas far 0 0 1 123\r\nx\r\n",
    "incr ten 1\r\n",
    "decr ten 1\r\n",
    "touch far 100\r\n",
    "delete far\r\n",
    "gat 100 far\r\n",
    "gats 100 far ten\r\n",
    "flush_all\r\n",
    "flush_all 0\r\n",
    "ms far 1\r\nx\r\n",
    "ms far 1 q MA\r\nx\r\n",
    "md far\r\n",
    "md far q\r\n",
    "ma ten\r\n",
    "mg far T30 v\r\n",
    "mg new N30 v q\r\n",
    "mg far R30 v\r\n",
];

pub(super) fn packets() -> Vec<Packet> {
    vec![
        store(0x01, "far", 0, 0, "x"),
        store(0x11, "far", 0, 0, "x"),
        store(0x02, "new", 0, 0, "x"),
        store(0x03, "far", 0, 0, "x"),
        req(0x0e).key("far").value("x"),
        req(0x1a).key("far").value("x"),
        req(0x04).key("far"),
        req(0x14).key("far"),
        arith(0x05, "ten", 1, 0, 0),
        arith(0x16, "ten", 1, 0, 0),
        req(0x1c).u32(100).key("far"),
        req(0x1d).u32(100).key("far"),
        req(0x1e).u32(100).key("far"),
        req(0x08),
        req(0x18),
    ]
}

/// A server over a backing with all items in memory as well.
pub(super) fn server() -> (Fake, Arc<Shared>) {
    let (fake, shared) = Fake::behind(ARGS);
    seeds().iter().for_each(|(key, row)| put(&shared, key, row));
    (fake, shared)
}

/// Runs `request` between two others, in parts of some sizes, while there is no room; then with room.
#[track_caller]
fn check_full(request: &[u8], fence: &[u8]) {
    let plain = shared(ARGS);
    seeds().iter().for_each(|(key, row)| put(&plain, key, row));
    let requests = [fence, request, fence].concat();
    let replies = Client::new(&plain).ask(&requests);
    for size in sizes(requests.len()) {
        let (fake, shared) = server();
        let before = fake.shelf().rows.clone();
        fake.shelf().answer = Answer::Full;
        let mut conn = Conn::new(&shared);
        requests.chunks(size).for_each(|part| conn.feed(part));
        let shown = requests.escape_ascii();
        // There is still no room the first time.
        for _ in 0..2 {
            assert!(conn.is_suspended, "{shown}, parts of {size}");
            assert_eq!(fake.shelf().rooms.len(), 1);
            assert_eq!(fake.shelf().rows, before, "{shown}, parts of {size}");
            let room = fake.shelf().rooms.remove(0);
            drop(room);
            conn.resume();
        }
        let room = std::mem::take(&mut *fake.shelf()).rooms;
        drop(room);
        conn.resume();
        assert_eq!(String::from_utf8_lossy(&conn.got), String::from_utf8_lossy(&replies), "{shown}, parts of {size}");
        assert!(conn.out.is_empty() && !conn.is_suspended);
    }
}

#[test]
fn a_change_waits_for_room_and_runs_once() {
    LINES.iter().for_each(|line| check_full(line.as_bytes(), b"mn\r\n"));
    packets().iter().for_each(|packet| check_full(&packet.bytes(), &req(0x0a).bytes()));
}

#[test]
fn a_refused_change_replies_an_error_and_changes_nothing() {
    let check = |request: &[u8], fence: &[u8], expected: &[u8]| {
        let requests = [fence, request, fence].concat();
        for size in sizes(requests.len()) {
            let (fake, shared) = server();
            let before = fake.shelf().rows.clone();
            fake.shelf().answer = Answer::Refused;
            let mut conn = Conn::new(&shared);
            requests.chunks(size).for_each(|part| conn.feed(part));
            let shown = requests.escape_ascii();
            assert_eq!(
                String::from_utf8_lossy(&conn.got),
                String::from_utf8_lossy(expected),
                "{shown}, parts of {size}"
            );
            assert_eq!(fake.shelf().rows, before, "{shown}, parts of {size}");
            let mut near = Client::new(&shared);
            assert_eq!(near.ask(b"mg far v c\r\n"), b"VA 5 c123\r\nthere\r\n", "{shown}, parts of {size}");
        }
    };
    for line in LINES {
        check(line.as_bytes(), b"mn\r\n", format!("MN\r\n{NOT_KEPT}\r\nMN\r\n").as_bytes());
    }
    for silent in ["set far 0 0 1 noreply\r\nx\r\n", "delete far noreply\r\n", "flush_all noreply\r\n"] {
        check(silent.as_bytes(), b"mn\r\n", b"MN\r\nMN\r\n");
    }
    for packet in packets() {
        let (noop, error) = ((0x81u8, 0x0au8), packet.bytes()[1]);
        let reply = |(magic, opcode): (u8, u8), status: u8, text: &str| {
            let mut bytes =
                vec![magic, opcode, 0, 0, 0, 0, 0, status, 0, 0, 0, text.len() as u8, 0xde, 0xad, 0xbe, 0xef];
            bytes.extend([0; 8]);
            bytes.extend(text.as_bytes());
            bytes
        };
        let expected = [reply(noop, 0, ""), reply((0x81, error), 0x86, NOT_KEPT), reply(noop, 0, "")].concat();
        check(&packet.bytes(), &req(0x0a).bytes(), &expected);
    }
}

#[test]
fn reads_ask_for_no_room() {
    let (fake, shared) = server();
    fake.shelf().answer = Answer::Refused;
    let mut conn = Conn::new(&shared);
    conn.feed(b"get far\r\ngets far ten\r\nmg far v\r\nme nokey\r\nmn\r\nversion\r\nverbosity 0\r\nbad\r\nset far\r\n");
    assert_eq!(fake.shelf().asked, 0);
    let mut conn = Conn::new(&shared);
    conn.feed(&all(&[req(0x00).key("far"), req(0x0a), req(0x0b)]));
    assert_eq!(fake.shelf().asked, 0);
    assert!(!conn.got.is_empty());
}

#[test]
fn an_upload_asks_for_room_at_its_line_and_at_its_end() {
    let value = "v".repeat(2 * READ_BUF);
    for (at_end, reply) in [(Answer::Granted, "STORED\r\nMN\r\n"), (Answer::Refused, NOT_KEPT)] {
        let (fake, shared) = server();
        let mut conn = Conn::new(&shared);
        fake.shelf().answer = Answer::Full;
        conn.feed(format!("set far 0 0 {}\r\n", value.len()).as_bytes());
        assert!(conn.is_suspended);
        let room = fake.shelf().rooms.remove(0);
        fake.shelf().answer = Answer::Granted;
        drop(room);
        conn.resume();
        value.as_bytes().chunks(1000).for_each(|part| conn.feed(part));
        fake.shelf().answer = Answer::Full;
        conn.feed(b"\r\nmn\r\n");
        assert!(conn.is_suspended && conn.got.is_empty());
        let room = fake.shelf().rooms.remove(0);
        fake.shelf().answer = at_end;
        drop(room);
        conn.resume();
        let replies = if at_end == Answer::Granted { reply.to_owned() } else { format!("{reply}\r\nMN\r\n") };
        assert_eq!(String::from_utf8_lossy(&conn.got), replies);
        let kept = fake.shelf().rows[&b"far"[..]].value.len();
        assert_eq!(kept, if at_end == Answer::Granted { value.len() } else { 5 });
    }
}

#[test]
fn a_datagram_waits_neither_for_room_nor_for_a_commit() {
    let (fake, shared) = server();
    let mut answerer = Answerer::<Session>::default();
    let mut ask = |body: &[u8]| {
        let answers = answer(&mut answerer, &shared, &[b"\0\x01\0\0\0\x01\0\0", body].concat());
        answers.iter().map(|answer| String::from_utf8_lossy(&answer[8..]).into_owned()).collect::<String>()
    };
    fake.shelf().answer = Answer::Full;
    assert_eq!(ask(b"set far 0 0 1\r\nx\r\n"), format!("{NOT_KEPT}\r\n"));
    assert!(fake.shelf().rooms.is_empty());
    fake.shelf().answer = Answer::Granted;
    fake.shelf().replies_wait = true;
    assert_eq!(ask(b"set far 0 0 1\r\nx\r\n"), "SERVER_ERROR a datagram cannot wait for a commit\r\n");
    assert_eq!(ask(b"mg far v\r\n"), "VA 5\r\nthere\r\n");
    // It waits for no reply, so it may run.
    assert_eq!(ask(b"set far 0 0 1 noreply\r\nx\r\nmg far v\r\n"), "VA 1\r\nx\r\n");
}
