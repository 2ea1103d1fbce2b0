//! Closing after the peer has taken its replies.

use super::harness::{Client, Server, settings, tcp, unix, until};
use oxcached::clock::Clock;
use oxcached::proto::{ConnState, Session};
use oxcached::settings::Settings;
use oxcached::stats::Counter;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;

/// More than the buffers between two sockets hold.
const BIG: usize = 20_000_000;

/// All bytes until the end.
fn rest(client: &mut Client<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn blocked(server: &Server) {
    until("a blocked writer", || server.in_state(ConnState::Mwrite) == 1);
}

#[test]
fn every_byte_is_sent_before_the_close() {
    let server = Server::new();
    let mut client = server.client();
    client.send(format!("echo a\r\nbye {BIG}\r\necho never\r\nup"));
    blocked(&server);
    let mut other = server.client();
    assert_eq!(other.ask("echo b"), "b");
    assert_eq!(client.line(), "a");
    assert_eq!(rest(&mut client).len(), BIG);
    drop(other);
    until("close", || server.open() == 1);
    until("buffers", || server.gauge(|g| &g.read_buf_count) == 1 && server.gauge(|g| &g.response_obj_count) == 0);
}

#[test]
fn bytes_after_the_end_are_not_read() {
    let server = Server::new();
    let mut client = server.client();
    client.send(format!("bye {BIG}\r\n"));
    blocked(&server);
    let read = server.counter(Counter::BytesRead);
    client.send("panic\r\n");
    // The client's bytes have arrived by then, and any turn of it is over.
    assert_eq!(server.client().ask("echo b"), "b");
    assert_eq!(server.counter(Counter::BytesRead), read + 8);
    assert_eq!(server.in_state(ConnState::Mwrite), 1);
}

#[test]
fn a_client_refused_for_lack_of_memory_gets_its_replies_first() {
    let server = Server::with(Settings { read_buf_mem_limit: 16 * 1024, ..settings() }, vec![tcp()]);
    let mut inside = server.client();
    inside.send("upload 10\r\nab");
    until("inside", || server.counter(Counter::BytesRead) == 13);
    let mut client = server.client();
    client.send(format!("big {BIG}\r\nup"));
    let bytes = rest(&mut client);
    assert_eq!(bytes.len(), BIG + 2 + "SERVER_ERROR out of memory reading request\r\n".len());
    assert!(bytes.ends_with(b"b\r\nSERVER_ERROR out of memory reading request\r\n"));
    assert_eq!(server.counter(Counter::ReadBufOom), 1);
    inside.send("cdefghij");
    assert!(inside.line().starts_with("sum"));
}

#[test]
fn a_reset_ends_the_wait_and_so_does_the_servers_end() {
    let mut server = Server::new();
    let client = server.client();
    client.stream.get_ref().write_all(format!("bye {BIG}\r\n").as_bytes()).unwrap();
    blocked(&server);
    client.reset();
    until("close", || server.open() == 1);
    until("buffers", || server.gauge(|g| &g.response_obj_count) == 0);
    let mut client = server.client();
    client.send(format!("bye {BIG}\r\n"));
    blocked(&server);
    server.stop(true);
    assert!(rest(&mut client).len() < BIG);
    assert_eq!(server.open(), 1);
}

#[test]
fn the_idle_timeout_does_not_apply_to_pending_replies() {
    let server = Server::by_hand(Settings { idle_timeout: 3, ..settings() }, vec![tcp()]);
    let (mut client, mut idle, mut other) = (server.client(), server.client(), server.client());
    client.send(format!("bye {BIG}\r\n"));
    blocked(&server);
    assert_eq!(idle.ask("echo a"), "a");
    server.pass(10, &mut other);
    idle.expect_end();
    assert_eq!(rest(&mut client).len(), BIG);
    assert_eq!(server.counter(Counter::IdleKicks), 1);
}

/// The header of a packet with only a key.
fn packet(opcode: u8, key: &str) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    (bytes[0], bytes[1], bytes[3], bytes[11]) = (0x80, opcode, key.len() as u8, key.len() as u8);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

#[test]
fn every_way_to_end_a_conversation_sends_the_value_before_it() {
    // More than a unix socket takes, less than an output that is sent before the next command.
    const LEN: usize = 250_000;
    let (listener, dir) = unix();
    let server =
        Server::start::<Session>(Settings { shutdown_command: true, ..settings() }, vec![listener], Clock::real());
    let connect = || Client { stream: BufReader::new(UnixStream::connect(dir.path().join("socket")).unwrap()) };
    let mut first = connect();
    let mut set = format!("set big 0 0 {LEN}\r\n").into_bytes();
    set.resize(set.len() + LEN, b'v');
    set.extend_from_slice(b"\r\n");
    first.stream.get_mut().write_all(&set).unwrap();
    assert_eq!(first.line(), "STORED");
    drop(first);
    until("close", || server.open() == 1);

    let text = format!("VALUE big 0 {LEN}\r\n\r\nEND\r\n").len() + LEN;
    let get = packet(0, "big");
    let hit = 24 + 4 + LEN;
    let conversations = [
        (b"get big\r\nquit\r\n".to_vec(), text),
        (b"mg big v\r\nquit\r\n".to_vec(), format!("VA {LEN}\r\n\r\n").len() + LEN),
        ([&get[..], &packet(7, "")].concat(), hit + 24),
        ([&get[..], &packet(0x17, "")].concat(), hit),
        // A set without extras, which is refused.
        ([&get[..], &packet(1, "abc")].concat(), hit + 24 + "Invalid arguments".len()),
        // Input that ends the connection without a reply.
        ([&get[..], &[0x81; 24]].concat(), hit),
        ([&b"get big\r\n"[..], &[b'x'; 3000]].concat(), text),
        ([&b"get big\r\n"[..], &[b'x'; 20_000], b"\r\n"].concat(), text),
        (b"get big\r\nGET / HTTP/1.1\r\n".to_vec(), text),
        (b"get big\r\nshutdown\r\n".to_vec(), text),
    ];
    for (sent, expected) in conversations {
        let mut client = connect();
        client.stream.get_mut().write_all(&sent).unwrap();
        blocked(&server);
        assert_eq!(rest(&mut client).len(), expected, "{}", sent.escape_ascii());
        until("close", || server.open() == 1);
    }
    assert_eq!(server.gauge(|g| &g.response_obj_count), 0);
}
