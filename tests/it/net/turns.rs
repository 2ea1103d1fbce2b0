//! Bounds of a turn's work and of a connection's memory, however much its client sends.

use super::harness::{Client, Server, settings, tcp, until};
use oxcached::clock::Clock;
use oxcached::limits::{LONG_INPUT_MIN, READ_BUF};
use oxcached::proto::{ConnState, Session};
use oxcached::settings::Settings;
use oxcached::stats::Counter;
use std::io::{Read, Write};

const REFUSAL: &str = "SERVER_ERROR out of memory reading request";

fn product(settings: Settings) -> Server {
    Server::start::<Session>(settings, vec![tcp()], Clock::real())
}

/// A session that always has work, and a peer that takes its replies at once.
#[test]
fn r3_1_a_turn_ends_even_if_its_session_never_does() {
    let server = Server::new();
    let (mut endless, mut other) = (server.client(), server.client());
    endless.send("spin\r\n");
    until("read", || server.counter(Counter::BytesRead) == 6);
    for _ in 0..20 {
        assert_eq!(other.ask("echo y"), "y");
    }
    assert_eq!(server.counter(Counter::ConnYields), 0, "these are no used up budgets");
}

/// A value that is read into its item, and one that is refused and discarded, from clients that never pause.
#[test]
fn r3_1_a_turn_ends_though_its_value_does_not() {
    let server = product(Settings { maxbytes: 256 << 20, item_size_max: 128 << 20, ..settings() });
    for len in [100 << 20, 1 << 30] {
        let streams: Vec<_> = (0..2).map(|_| server.client()).collect();
        let mut other = server.client();
        std::thread::scope(|scope| {
            for (n, client) in streams.iter().enumerate() {
                scope.spawn(move || {
                    let (mut socket, piece) = (client.stream.get_ref(), vec![b'v'; 1 << 20]);
                    let mut sent = write!(socket, "set key{n} 0 0 {len}\r\n");
                    for _ in 0..len >> 20 {
                        sent = sent.and_then(|()| socket.write_all(&piece));
                    }
                });
            }
            let before = server.counter(Counter::BytesRead);
            until("values", || server.counter(Counter::BytesRead) > before + (8 << 20));
            for _ in 0..20 {
                assert_eq!(other.ask("get a"), "END");
            }
            let read = server.counter(Counter::BytesRead) - before;
            assert!(read < 2 * len as u64, "the values have ended");
            streams.iter().for_each(|client| client.stream.get_ref().shutdown(std::net::Shutdown::Both).unwrap());
        });
    }
}

#[test]
fn r3_1_the_end_comes_between_two_turns() {
    for graceful in [false, true] {
        let mut server = Server::new();
        let mut clients: Vec<Client> = (0..9).map(|_| server.client()).collect();
        clients.iter_mut().for_each(|client| client.send("spin\r\n"));
        until("read", || server.counter(Counter::BytesRead) == 9 * 6);
        server.stop(graceful);
        clients.iter_mut().for_each(Client::expect_end);
    }
}

/// Sends an incomplete line of `bytes` from its own thread, since the server may stop reading it.
fn send_line(client: &Client, bytes: usize) {
    let mut stream = client.stream.get_ref().try_clone().unwrap();
    std::thread::spawn(move || {
        let mut left = bytes;
        let piece = "k ".repeat(32 * 1024);
        let mut sent = stream.write_all(b"get ");
        while left > 0 && sent.is_ok() {
            let n = left.min(piece.len());
            sent = stream.write_all(&piece.as_bytes()[..n]);
            left -= n;
        }
    });
}

/// Expects the refusal and the close; a reset may precede the text.
fn was_refused(client: &mut Client) {
    let mut got = String::new();
    let _ = client.stream.read_to_string(&mut got);
    assert!(got.is_empty() || got.trim_end() == REFUSAL, "{got}");
}

#[test]
fn r3_3_incomplete_lines_share_a_limit_and_are_charged_their_memory() {
    const LINE: usize = 3 << 20; // in a buffer of 4 MiB
    let server = product(Settings { num_threads: 2, maxbytes: 64 << 20, ..settings() });
    let fit = LONG_INPUT_MIN / (4 << 20);
    let held = || server.gauge(|g| &g.long_input_bytes);
    let mut clients: Vec<_> = (0..fit).map(|_| server.client()).collect();
    for (n, client) in clients.iter().enumerate() {
        send_line(client, LINE);
        until("a line", || server.counter(Counter::BytesRead) == (n as u64 + 1) * (LINE as u64 + 4));
        assert_eq!(held(), (n as u64 + 1) * (4 << 20));
    }
    let mut short = server.client();
    let read = server.counter(Counter::BytesRead);
    short.send(format!("get {}", "k ".repeat(8000)));
    until("a line", || server.counter(Counter::BytesRead) == read + 16_004);
    assert_eq!(held(), LONG_INPUT_MIN, "the nominal amount");
    assert_eq!(server.counter(Counter::ReadBufOom), 0);
    until("gauge", || server.gauge(|g| &g.read_buf_bytes) >= LONG_INPUT_MIN);
    let others = server.gauge(|g| &g.read_buf_bytes) - LONG_INPUT_MIN;
    assert!(others <= 2 * 17 * READ_BUF as u64, "{others}");
    // More bytes are refused; small requests are not, nor is a line that takes the place of another.
    short.send("k ".repeat(1000));
    was_refused(&mut short);
    let mut refused = server.client();
    send_line(&refused, LINE);
    was_refused(&mut refused);
    assert_eq!(server.counter(Counter::ReadBufOom), 2);
    assert_eq!(server.client().ask("get a"), "END");
    clients.truncate(clients.len() - 1);
    until("room", || held() < LONG_INPUT_MIN);
    let mut last = server.client();
    last.send(format!("get {}", "k ".repeat(10_000)));
    until("a line", || held() == LONG_INPUT_MIN - (4 << 20) + (20 << 10)); // all of it is read
    let read = server.counter(Counter::BytesRead);
    send_line(&last, LINE);
    until("a line", || server.counter(Counter::BytesRead) == read + LINE as u64 + 4);
    assert_eq!(held(), LONG_INPUT_MIN);
    // Bytes after a long line are not charged like it.
    last.send("\r\nget a");
    assert_eq!(last.line(), "END");
    until("a line", || held() == LONG_INPUT_MIN - (4 << 20));
    last.send("\r\n");
    assert_eq!(last.line(), "END");
    // Every line that is answered or abandoned releases its memory.
    for client in &mut clients {
        assert_eq!(client.ask(""), "END");
    }
    until("nothing is held", || held() == 0);
    until("gauge", || server.gauge(|g| &g.read_buf_bytes) == server.gauge(|g| &g.read_buf_bytes_free));
}

#[test]
fn r3_3_read_buf_mem_limit_holds_for_long_lines() {
    let server = product(Settings { read_buf_mem_limit: 1 << 20, ..settings() });
    let mut client = server.client();
    client.send(format!("get {}", "k ".repeat(100_000)));
    until("a line", || server.counter(Counter::BytesRead) == 200_004);
    assert_eq!(client.ask(""), "SERVER_ERROR out of memory writing get response");
    send_line(&client, 2 << 20);
    was_refused(&mut client);
    assert_eq!(server.counter(Counter::ReadBufOom), 1);
    assert_eq!(server.client().ask("get a"), "END");
    until("nothing is held", || server.gauge(|g| &g.long_input_bytes) == 0);
}

/// A line stays charged while its peer takes no replies.
#[test]
fn r3_3_a_line_with_unread_replies_stays_charged() {
    let server = product(settings());
    let mut client = server.client();
    client.send(format!("set a 0 0 5000\r\n{}\r\n", "v".repeat(5000)));
    assert_eq!(client.line(), "STORED");
    client.send(format!("get{}\r\n", " a".repeat(100_000)));
    until("a blocked writer", || server.in_state(ConnState::Mwrite) == 1);
    let held = || server.gauge(|g| &g.long_input_bytes);
    assert_eq!(held(), 256 << 10);
    assert_eq!(server.client().ask("get b"), "END");
    assert_eq!(held(), 256 << 10);
    let mut all = vec![0; 100_000 * ("VALUE a 0 5000\r\n".len() + 5002) + 5];
    client.stream.read_exact(&mut all).unwrap();
    assert!(all.ends_with(b"\r\nEND\r\n"));
    until("nothing is held", || held() == 0);
}
