//! Bytes over TLS: small and large, whole and in pieces, faster than the peer reads.

use super::harness::{Client, Host, until};
use crate::support::script::{Peer, in_every_cut};
use oxcached::limits::TLS_RECORD_MAX;
use oxcached::proto::{ConnState, Control, Shared};
use oxcached::stats::{Counter, TurnClass};
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

fn value(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + (at % 23) as u8).collect()
}

fn set(client: &mut Client, key: &str, bytes: &[u8]) {
    client.send([format!("set {key} 0 0 {}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat());
    assert_eq!(client.line(), "STORED");
}

fn found(key: &str, bytes: &[u8]) -> Vec<u8> {
    [format!("VALUE {key} 0 {}\r\n", bytes.len()).as_bytes(), bytes, b"\r\nEND\r\n"].concat()
}

#[test]
fn a_record_that_is_too_long_ends_its_connection() {
    const HEADER: usize = 5;
    let host = Host::new("");
    for (len, errors) in [(TLS_RECORD_MAX - HEADER - 1, 0), (TLS_RECORD_MAX - HEADER + 1, 1)] {
        let mut client = host.client();
        let [high, low] = (len as u16).to_be_bytes();
        client.stream.get_mut().sock.write_all(&[0x17, 3, 3, high, low, 0]).unwrap();
        if errors == 0 {
            // The rest of the record is waited for.
            assert_eq!(host.client().ask("mn"), "MN");
            assert_eq!(host.counts().1, 0);
            continue;
        }
        let mut rest = Vec::new();
        let _ = client.stream.get_mut().sock.read_to_end(&mut rest);
        assert_eq!(host.counts().1, errors);
    }
    assert_eq!(host.client().ask("mn"), "MN");
}

#[test]
fn a_watcher_may_be_encrypted_and_sees_failed_handshakes() {
    let host = Host::new("");
    let mut watcher = host.client();
    assert_eq!(watcher.ask("watch fetchers connevents"), "OK");
    let mut client = host.client();
    assert_eq!(client.ask("get k"), "END");
    let mut socket = host.tcp(0);
    socket.write_all(b"version\r\n").unwrap();
    let mut told = 0;
    for wanted in ["type=item_get key=k", "type=conntlserr fd="] {
        told += 1;
        while !watcher.line().contains(wanted) {
            told += 1;
        }
    }
    // More than fits in transit, then nothing more: all bytes taken arrive, to the end of a line.
    let (lines, globals) = (50_000, &host.shared.stats.globals);
    let sent = || globals.log_watcher_sent.load(Relaxed);
    let lost = || globals.log_watcher_skipped.load(Relaxed) + globals.log_worker_dropped.load(Relaxed);
    for _ in 0..lines / 100 {
        client.send("get k\r\n".repeat(100));
        (0..100).for_each(|_| assert_eq!(client.line(), "END"));
    }
    until("every line is taken or lost", || sent() + lost() >= lines);
    while told < sent() {
        told += u64::from(watcher.line().contains(" type="));
    }
    // A reset, which the server sees at once.
    let socket = &watcher.stream.get_ref().sock;
    socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(watcher);
    until("the watcher is gone", || host.shared.watchers.is_empty());
}

/// A server, and a client that sends each arrival in a record of its own.
struct Records {
    client: Client,
    host: Host,
}

impl Peer for Records {
    fn send(&mut self, bytes: &[u8]) {
        self.client.send(bytes);
    }

    fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.client.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        self.client.stream.read_to_end(&mut rest).unwrap();
        rest.is_empty()
    }

    fn shared(&self) -> &Shared {
        &self.host.shared
    }
}

#[test]
fn replies_do_not_depend_on_records() {
    let connect = || {
        let host = Host::new("");
        Records { client: host.client(), host }
    };
    in_every_cut(connect, |talk| {
        talk.script(
            r"
            > set a 1 0 5
            > hello
            STORED
            > get a b
            VALUE a 1 5
            hello
            END
            > set big 0 0 5000 noreply
            > v{5000}
            > mg big v s
            VA 5000 s5000
            v{5000}
            > mg b q v
            > mn
            MN
            > set a 0 0 1
            > xx
            CLIENT_ERROR bad data chunk
            CLIENT_ERROR bad command line format
            > quit
            !closed
            ",
        );
    });
}

#[test]
fn values_of_all_sizes_are_stored_and_read() {
    let host = Host::new("ssl_wbuf_size=64");
    let mut client = host.client();
    for len in [0, 1, 100, 4096, 4097, 16_383, 16_384, 16_385, 40_000, 100_000, 1_000_000] {
        let bytes = value(len);
        set(&mut client, "key", &bytes);
        client.send("get key\r\n");
        client.expect(&found("key", &bytes));
    }
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let host = Host::new("");
    let mut client = host.client();
    let bytes = value(3000);
    let (mut sent, mut expected) = (Vec::new(), Vec::new());
    for number in 0..2000 {
        sent.extend_from_slice(format!("set key{number} 0 0 3000\r\n").as_bytes());
        sent.extend_from_slice(&bytes);
        sent.extend_from_slice(format!("\r\nget key{number}\r\n").as_bytes());
        expected.extend_from_slice(b"STORED\r\n");
        expected.extend_from_slice(&found(&format!("key{number}"), &bytes));
    }
    // Sent from a separate thread: the server stops reading when its replies are not read.
    let Client { stream } = &mut client;
    let StreamOwned { conn, sock } = stream.get_mut();
    let (mut cipher, mut at) = (Vec::new(), 0);
    while at < sent.len() {
        at += conn.writer().write(&sent[at..]).unwrap();
        while conn.wants_write() {
            conn.write_tls(&mut cipher).unwrap();
        }
    }
    let mut other = sock.try_clone().unwrap();
    let writer = std::thread::spawn(move || other.write_all(&cipher).unwrap());
    client.expect(&expected);
    writer.join().unwrap();
}

#[test]
fn replies_wait_for_a_client_that_does_not_read() {
    let host = Host::new("");
    let mut client = host.client();
    let bytes = value(1_000_000);
    set(&mut client, "big", &bytes);
    const GETS: usize = 40;
    client.send("get big\r\n".repeat(GETS));
    // The other client shares the worker, and is served while the first one's replies wait.
    let mut other = host.client();
    assert_eq!(other.ask("version"), "VERSION 1.6.45");
    until("the connection is blocked", || {
        let states: Vec<_> = host.shared.conns.list().iter().map(|(_, card)| card.state().name()).collect();
        states.contains(&"conn_mwrite")
    });
    for _ in 0..GETS {
        client.expect(&found("big", &bytes));
    }
    assert_eq!(client.ask("version"), "VERSION 1.6.45");
}

/// A socket that sends one byte at a time.
struct Trickle(TcpStream);

impl Read for Trickle {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn one_byte_at_a_time_is_enough() {
    let host = Host::new("");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = host.files.client_config(&[version], None);
        let tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(tls, Trickle(host.tcp(0)));
        // Each byte in its own record, too.
        for byte in b"set a 0 0 5\r\nhello\r\nget a\r\n" {
            stream.write_all(&[*byte]).unwrap();
        }
        let expected = b"STORED\r\nVALUE a 0 5\r\nhello\r\nEND\r\n";
        let mut bytes = vec![0; expected.len()];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, expected);
    }
}

#[test]
fn a_record_is_served_while_another_is_incomplete() {
    let host = Host::new("");
    let mut client = host.client();
    let StreamOwned { conn, sock } = client.stream.get_mut();
    conn.writer().write_all(b"version\r\n").unwrap();
    conn.writer().write_all(&[b"get ", &value(200)[..], b"\r\n"].concat()).unwrap();
    let mut cipher = Vec::new();
    while conn.wants_write() {
        conn.write_tls(&mut cipher).unwrap();
    }
    let (first, second) = cipher.split_at(cipher.len() - 100);
    sock.write_all(first).unwrap();
    let mut other = sock.try_clone().unwrap();
    let second = second.to_vec();
    assert_eq!(client.line(), "VERSION 1.6.45");
    other.write_all(&second).unwrap();
    assert_eq!(client.line(), "END");
}

#[test]
fn a_quit_ends_the_stream_with_a_closing_alert() {
    let host = Host::new("");
    let mut client = host.client();
    client.send("version\r\nquit\r\n");
    let mut rest = String::new();
    // Without the closing alert the client library would report an error.
    client.stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "VERSION 1.6.45\r\n");
}

#[test]
fn a_quit_waits_until_replies_are_taken() {
    let host = Host::new("");
    let mut client = host.client();
    let (odd, first) = (value(200_000), value(600_000));
    set(&mut client, "odd", &odd);
    set(&mut client, "first", &first);
    // The capacity of the sockets is unknown, and replies are sent at `OUTPUT_HIGH`: each of these leaves 200,000
    // bytes behind the quit, and one of them does so with full sockets.
    for gets in (1..40).flat_map(|gets| [(0, gets), (1, gets)]).filter(|(_, gets)| gets % 2 == 1) {
        let mut client = host.client();
        let expected = [found("first", &first).repeat(gets.0), found("odd", &odd).repeat(gets.1)].concat();
        client.send([&"get first\r\n".repeat(gets.0), &"get odd\r\n".repeat(gets.1), "quit\r\n"].concat());
        until("blocked or closed", || {
            let conns = host.shared.conns.list();
            conns.len() == 2 || conns.iter().any(|(_, card)| card.state() == ConnState::Mwrite)
        });
        let mut all = Vec::new();
        client.stream.read_to_end(&mut all).unwrap();
        assert!(all == expected, "{} bytes of {}", all.len(), expected.len());
        until("closed", || host.shared.conns.list().len() == 2);
    }
}

#[test]
fn the_last_command_before_the_end_is_served() {
    let host = Host::new("");
    let mut client = host.client();
    client.send("set last 0 0 1\r\nx\r\n");
    client.stream.get_mut().conn.send_close_notify();
    client.stream.get_mut().flush().unwrap();
    assert_eq!(client.line(), "STORED");
    assert_eq!(client.line(), "", "and then the server closes too");
    let mut client = host.client();
    client.send("get last\r\n");
    client.expect(&found("last", b"x"));
}

#[test]
fn counters_count_plain_text() {
    let host = Host::new("");
    let mut client = host.client();
    assert_eq!(client.ask("get nothing"), "END");
    let rows = client.stats("");
    let get = |name: &str| rows.iter().find(|(row, _)| row == name).map(|(_, value)| value.as_str());
    assert_eq!(get("bytes_read"), Some("29"));
    assert_eq!(get("bytes_written"), Some("21"));
}

/// The server does not read while it is blocked, so both records are in its socket when it continues.
#[test]
fn an_urgent_byte_between_two_records_hides_neither() {
    let host = Host::new("");
    let mut client = host.client();
    let bytes = value(500_000);
    set(&mut client, "key", &bytes);
    let gets = 60;
    client.send("get key\r\n".repeat(gets));
    let states = || host.shared.conns.list().into_iter().map(|(_, card)| card.state());
    until("a blocked writer", || states().any(|state| state == ConnState::Mwrite));
    client.send("version\r\n");
    socket2::SockRef::from(&client.stream.get_ref().sock).send_out_of_band(b"!").unwrap();
    client.send("mn\r\n");
    for _ in 0..gets {
        client.expect(&found("key", &bytes));
    }
    assert_eq!([client.line(), client.line()], ["VERSION 1.6.45", "MN"]);
}

#[test]
fn a_stalled_peer_is_closed_and_a_slow_one_is_not() {
    let host = Host::new("write_timeout=5");
    let (mut deaf, mut slow, mut other) = (host.client(), host.client(), host.client());
    let bytes = value(500_000);
    set(&mut other, "key", &bytes);
    let gets = 60;
    for client in [&mut deaf, &mut slow] {
        client.send("get key\r\n".repeat(gets));
    }
    let blocked = || host.shared.conns.list().iter().filter(|(_, card)| card.state() == ConnState::Mwrite).count();
    until("blocked writers", || blocked() == 2);
    let mut pass = |seconds| {
        for _ in 0..seconds {
            host.shared.clock.advance(1);
            assert_eq!(other.ask("mn"), "MN");
        }
    };
    let totals = || host.shared.stats.totals();
    let (mut left, rounds) = (gets, 10);
    for _ in 0..rounds {
        let written = totals().get(Counter::BytesWritten);
        until("more is written", || {
            slow.expect(&found("key", &bytes));
            left -= 1;
            totals().get(Counter::BytesWritten) > written + 1000
        });
        pass(2);
    }
    // The last second is evaluated one poll later.
    until("it is counted", || totals().get(Counter::WriteTimeouts) == 1);
    assert_eq!(blocked(), 1);
    for _ in 0..left {
        slow.expect(&found("key", &bytes));
    }
    assert_eq!(slow.ask("version"), "VERSION 1.6.45");
    let mut rest = Vec::new();
    assert!(deaf.stream.read_to_end(&mut rest).is_err());
    let rows = slow.stats("");
    assert!(rows.contains(&("write_timeouts".to_owned(), "1".to_owned())));
}

#[test]
fn turns_over_tls_are_timed_and_named() {
    let host = Host::new("slow_threshold=0");
    let mut client = host.client();
    assert_eq!(client.ask("get k"), "END");
    // The turn ends after its reply has left.
    until("the turn", || host.shared.stats.latency.snapshot().turn(TurnClass::Get).count() == 1);
    let slow = host.shared.events.slow.latest(9).unwrap();
    let turn = slow.iter().find(|slow| slow.record.class == "get").unwrap();
    assert_eq!(turn.record.first.unwrap().key(), b"k");
    assert_eq!(turn.record.commands, 1);
}

#[test]
fn a_drain_answers_every_request_and_closes_between_records() {
    let host = Host::new("drain=600");
    let (mut idle, mut busy, mut half) = (host.client(), host.client(), host.client());
    let bytes = value(5000);
    set(&mut idle, "k", &bytes);
    busy.send("get k\r\n".repeat(3000));
    half.send("set h 0 0 4\r\nab");
    assert_eq!(idle.ask("mn"), "MN");
    (host.shared.control)(Control::Shutdown);
    let mut rest = Vec::new();
    assert_eq!(idle.stream.read_to_end(&mut rest).unwrap(), 0, "closed in order");
    busy.expect(&found("k", &bytes).repeat(3000));
    assert_eq!(busy.stream.read_to_end(&mut rest).unwrap(), 0, "closed in order");
    half.send("cd\r\n");
    assert_eq!(half.line(), "STORED");
    assert_eq!(half.stream.read_to_end(&mut rest).unwrap(), 0, "closed in order");
}
