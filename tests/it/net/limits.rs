//! `read_buf_mem_limit`: applies to waiting replies of one turn and of one multiget, not to sent ones.

use super::harness::{Server, settings, tcp, until};
use oxcached::clock::Clock;
use oxcached::proto::Session;
use oxcached::settings::Settings;
use oxcached::stats::Counter;
use std::io::Read;

/// A server with one worker that may hold `replies` waiting replies, each charged 1 KiB.
fn server(replies: u32) -> Server {
    with_turns(replies, 20)
}

/// [`server`] with turns of `commands` commands.
fn with_turns(replies: u32, commands: u32) -> Server {
    let settings = Settings { read_buf_mem_limit: replies * 1024, reqs_per_event: commands, ..settings() };
    Server::start::<Session>(settings, vec![tcp()], Clock::real())
}

/// The header of a packet with only a key.
fn packet(opcode: u8, key: &str) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    (bytes[0], bytes[1], bytes[3], bytes[11]) = (0x80, opcode, key.len() as u8, key.len() as u8);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

#[track_caller]
fn expect(server: &Server, sent: impl AsRef<[u8]>, replies: impl AsRef<[u8]>) {
    let mut client = server.client();
    client.send(sent);
    let mut got = vec![0; replies.as_ref().len()];
    client.stream.read_exact(&mut got).unwrap();
    assert!(got == replies.as_ref(), "{}", got.escape_ascii());
}

#[test]
fn sent_replies_do_not_count() {
    for replies in [20, 100] {
        let server = server(replies);
        expect(&server, "set a 0 0 3\r\nabc\r\n", "STORED\r\n");
        expect(&server, "get a\r\n".repeat(500), "VALUE a 0 3\r\nabc\r\nEND\r\n".repeat(500));
        expect(&server, "mg a v\r\n".repeat(500), "VA 3\r\nabc\r\n".repeat(500));
        expect(&server, "get b\r\n".repeat(500), "END\r\n".repeat(500));
        expect(&server, [packet(0, "b").repeat(500), packet(0x0a, "")].concat(), {
            let mut miss = [0; 24];
            (miss[0], miss[7], miss[11]) = (0x81, 1, 9);
            let noop = [&[0x81, 0x0a][..], &[0; 22]].concat();
            [[&miss[..], b"Not found"].concat().repeat(500), noop].concat()
        });
        assert_eq!(server.counter(Counter::ResponseOom), 0);
    }
}

#[test]
fn replies_above_the_limit_in_one_turn_cost_the_connection() {
    let server = with_turns(32, 500);
    expect(&server, "mg foo v\r\n".repeat(32), "EN\r\n".repeat(32));
    let mut client = server.client();
    client.send("mg foo v\r\n".repeat(500));
    client.expect_end();
    assert_eq!(server.counter(Counter::ResponseOom), 1);
    // Suppressed replies take no memory.
    expect(&server, format!("{}mn\r\n", "mg foo v q\r\n".repeat(400)), "MN\r\n");
    assert_eq!(server.counter(Counter::ResponseOom), 1);
}

#[test]
fn suppressed_replies_do_not_count() {
    let server = server(20);
    expect(&server, format!("{}mn\r\n", "mg a v q\r\n".repeat(500)), "MN\r\n");
    let noop = [&[0x81, 0x0a][..], &[0; 22]].concat();
    expect(&server, [packet(0x0d, "a").repeat(500), packet(0x0a, "")].concat(), noop);
    // Suppressed replies of one client do not count for the next.
    let mut clients: Vec<_> = (0..10).map(|_| server.client()).collect();
    let read = server.counter(Counter::BytesRead);
    for (n, client) in clients.iter_mut().enumerate() {
        client.send("mg a v q\r\n".repeat(19));
        until("read", || server.counter(Counter::BytesRead) == read + 190 * (n as u64 + 1));
    }
    for client in &mut clients {
        assert_eq!(client.ask("get a b c"), "END");
    }
    assert_eq!(server.counter(Counter::ResponseOom), 0);
}

#[test]
fn keys_of_earlier_lines_do_not_count_against_a_multiget() {
    let server = server(20);
    expect(&server, "get a b c\r\n".repeat(500), "END\r\n".repeat(500));
    expect(&server, format!("get{}\r\n", " a".repeat(20)), "END\r\n");
    assert_eq!(server.counter(Counter::ResponseOom), 0);
    expect(
        &server,
        format!("get{}\r\nmn\r\n", " a".repeat(21)),
        "SERVER_ERROR out of memory writing get response\r\nMN\r\n",
    );
    assert_eq!(server.counter(Counter::ResponseOom), 1);
}
