//! Datagram framing.

use crate::net::harness::{Server, settings, until};
use oxcached::net::{ListenSocket, Listener};
use oxcached::proto::Protocol;
use oxcached::settings::{Settings, Transport};
use oxcached::stats::Counter;
use std::net::UdpSocket;
use std::time::Duration;

fn server(settings: Settings) -> (Server, UdpSocket) {
    let socket = mio::net::UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let local = Some(socket.local_addr().unwrap());
    let listener = Listener {
        socket: ListenSocket::Udp(socket),
        local,
        path: None,
        file: None,
        protocol: Protocol::Negotiating,
        transport: Transport::Plain,
    };
    let server = Server::with(settings, vec![listener]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.connect(server.addr).unwrap();
    (server, client)
}

fn ask(client: &UdpSocket, id: u8, body: &str) {
    client.send(&[&[0, id, 0, 0, 0, 1, 0, 0], body.as_bytes()].concat()).unwrap();
}

/// Header (id, sequence, total) and body of the next datagram.
fn answer(client: &UdpSocket) -> ([u16; 4], Vec<u8>) {
    let mut bytes = [0; 2000];
    let n = client.recv(&mut bytes).unwrap();
    assert!((8..=1400).contains(&n));
    let header = [0, 2, 4, 6].map(|at| u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    (header, bytes[8..n].to_vec())
}

#[test]
fn trap_21_each_reply_is_a_separate_series() {
    let (server, client) = server(settings());
    ask(&client, 11, "multi a b\r\necho c\r\n");
    for body in ["a\r\n", "b\r\n", "c\r\n"] {
        assert_eq!(answer(&client), ([11, 0, 1, 0], body.into()));
    }
    ask(&client, 12, "big 3000\r\n");
    for (sequence, len) in [(0, 1392), (1, 1392), (2, 218)] {
        let (header, body) = answer(&client);
        assert_eq!((header, body.len()), ([12, sequence, 3, 0], len));
    }
    assert_eq!(server.counter(Counter::BytesRead), 8 + 11 + 8 + 8 + 10);
}

#[test]
fn trap_21_anything_but_one_whole_request_is_dropped() {
    let (server, client) = server(settings());
    client.send(&[0, 1, 0, 0, 0, 2, 0, 0, b'e', b'\n']).unwrap();
    client.send(&[0, 1, 0, 0]).unwrap();
    client.send(&[0, 1, 0, 0, 0, 1, 0, 0]).unwrap();
    ask(&client, 2, "echo no newline");
    ask(&client, 3, "none\r\n");
    ask(&client, 4, "panic\r\n");
    ask(&client, 7, "away\r\n");
    ask(&client, 6, "echo a\r\n");
    assert_eq!(answer(&client), ([6, 0, 1, 0], b"a\r\n".into()));
    assert_eq!(server.open(), 1);
}

#[test]
fn r3_6_an_error_that_would_close_a_connection_costs_a_datagram_its_answer() {
    let (_server, client) = server(settings());
    ask(&client, 5, "echo a\r\nabort\r\necho b\r\n");
    assert_eq!(answer(&client), ([5, 0, 1, 0], b"SERVER_ERROR reply too large for datagrams\r\n".into()));
    ask(&client, 6, "echo c\r\n");
    assert_eq!(answer(&client), ([6, 0, 1, 0], b"c\r\n".into()));
}

#[test]
fn trap_21_quit_is_answered_with_a_bare_header_if_nothing_else_is() {
    let (_server, client) = server(settings());
    ask(&client, 6, "quit\r\necho b\r\n");
    assert_eq!(answer(&client), ([6, 0, 0, 0], vec![]));
    ask(&client, 7, "echo a\r\nquit\r\necho b\r\n");
    assert_eq!(answer(&client), ([7, 0, 1, 0], b"a\r\n".into()));
    ask(&client, 8, "echo c\r\n");
    assert_eq!(answer(&client), ([8, 0, 1, 0], b"c\r\n".into()));
}

#[test]
fn every_worker_has_its_own_descriptor() {
    let (mut server, client) = server(Settings { num_threads: 3, num_threads_per_udp: 3, ..settings() });
    until("sockets", || server.open() == 3);
    assert!(server.shared.conns.list().iter().all(|(_, card)| card.udp && card.local == Some(server.addr)));
    for n in 0..100 {
        ask(&client, n, "echo a\r\n");
        assert_eq!(answer(&client).0[0], u16::from(n));
    }
    server.stop(false);
    assert_eq!((server.open(), server.shared.conns.list().len()), (0, 0));
}

#[test]
fn r3_1_a_datagram_of_many_commands_is_run_in_turns() {
    let (server, client) = server(Settings { reqs_per_event: 3, ..settings() });
    let lines: String = (0..20).map(|n| format!("echo {n}\r\n")).collect();
    ask(&client, 1, &lines);
    for n in 0..20 {
        assert_eq!(answer(&client), ([1, 0, 1, 0], format!("{n}\r\n").into()));
    }
    ask(&client, 2, "echo next\r\n");
    assert_eq!(answer(&client), ([2, 0, 1, 0], b"next\r\n".into()));
    assert!(server.counter(Counter::ConnYields) >= 6);
}

#[test]
fn r3_1_a_flood_of_invalid_datagrams_is_skipped_in_turns() {
    let (_server, client) = server(settings());
    for n in 0..200 {
        client.send(&[0, n, 0, 0, 0, 2]).unwrap();
    }
    ask(&client, 9, "echo b\r\n");
    assert_eq!(answer(&client), ([9, 0, 1, 0], b"b\r\n".into()));
}
