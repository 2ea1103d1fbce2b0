//! Deadlines on a manual clock.

use super::harness::{Client, Server, settings, tcp, unix, until};
use super::script::{Script, Stall};
use oxcached::auth::{Auth, Credentials, Format, Seed};
use oxcached::clock::Clock;
use oxcached::net::Listener;
use oxcached::proto::{ConnState, Shared};
use oxcached::settings::Settings;
use oxcached::stats::Counter;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

/// A server that closes clients after three idle seconds.
fn impatient() -> Server {
    Server::by_hand(Settings { idle_timeout: 3, ..settings() }, vec![tcp()])
}

/// A server that gives clients three seconds to log in.
fn guarded(listeners: Vec<Listener>) -> Server {
    let users = Credentials::parse(b"ann:secret", Format::Tokens, &Seed::from_bytes(&[0; 32])).unwrap();
    let settings = Settings { auth_timeout: 3, idle_timeout: 5, ..settings() };
    let shared = Shared::new(settings, Clock::manual(0), Box::new(|_| ())).unwrap();
    let shared = Shared { auth: Some(Auth::of(Some(users), None).unwrap()), ..shared };
    Server::over::<Script>(shared, listeners)
}

/// Stalls the only worker in the middle of a turn of `client`, runs `meanwhile`, and resumes it.
fn while_stopped(name: &str, client: &mut Client, meanwhile: impl FnOnce()) {
    let stall = Stall::new(name);
    client.send(format!("stall {name}\r\n"));
    stall.reached();
    meanwhile();
    stall.end();
    assert_eq!(client.ask("echo again"), "again");
}

#[test]
fn r4_1_idle_clients_are_kicked_after_the_limit_and_busy_ones_are_not() {
    let server = impatient();
    let (mut idle, mut half, mut busy, mut upload) =
        (server.client(), server.client(), server.client(), server.client());
    for client in [&mut idle, &mut half, &mut busy, &mut upload] {
        assert_eq!(client.ask("echo a"), "a");
    }
    upload.send("upload 3\r\n");
    until("upload", || server.in_state(ConnState::Nread) == 1);
    half.send("echo ha");
    server.pass(3, &mut busy);
    assert_eq!(server.counter(Counter::IdleKicks), 0);
    server.pass(1, &mut busy);
    idle.expect_end();
    half.expect_end();
    assert_eq!(server.counter(Counter::IdleKicks), 2);
    // An incomplete upload is not idle, however long it takes; idle time counts from its command once it is complete.
    server.pass(100, &mut busy);
    upload.send("abc");
    assert_eq!(upload.line(), "sum 294");
    assert_eq!(server.counter(Counter::IdleKicks), 2);
    server.pass(1, &mut busy);
    upload.expect_end();
    assert_eq!(server.counter(Counter::IdleKicks), 3);
}

#[test]
fn a_request_in_time_is_served_even_if_the_worker_is_late() {
    let server = impatient();
    let (mut other, mut waiting, mut silent) = (server.client(), server.client(), server.client());
    for client in [&mut other, &mut waiting, &mut silent] {
        assert_eq!(client.ask("echo a"), "a");
    }
    // Both would be due now; one has sent a request.
    server.pass(3, &mut other);
    while_stopped("late", &mut other, || {
        waiting.send("echo b\r\n");
        server.shared.clock.advance(2);
    });
    assert_eq!(waiting.line(), "b");
    silent.expect_end();
    assert_eq!(server.counter(Counter::IdleKicks), 1);
}

#[test]
fn a_stall_of_the_worker_does_not_count_as_idle_time() {
    let server = impatient();
    let (mut other, mut silent) = (server.client(), server.client());
    assert_eq!([other.ask("echo a"), silent.ask("echo a")], ["a"; 2]);
    while_stopped("idleness", &mut other, || server.shared.clock.advance(1000));
    server.pass(2, &mut other);
    assert_eq!(silent.ask("echo b"), "b");
    assert_eq!(server.counter(Counter::IdleKicks), 0);
    server.pass(4, &mut other);
    silent.expect_end();
}

#[test]
fn the_login_timeout_excludes_stalls_of_the_worker() {
    let server = guarded(vec![tcp()]);
    let mut other = server.client();
    assert_eq!(other.ask("login"), "welcome");
    // Some wait in the worker; others connect while it is stalled.
    let mut clients: Vec<_> = (0..10).map(|_| server.client()).collect();
    until("their arrival", || server.open() == 12);
    while_stopped("login", &mut other, || {
        clients.extend((0..10).map(|_| server.client()));
        until("their way to the worker", || server.gauge(|g| &g.conn_structs) >= 22);
        server.shared.clock.advance(6);
    });
    until("their arrival", || server.open() == 22);
    server.pass(2, &mut other);
    let last = clients.pop();
    for client in &mut clients {
        assert_eq!(client.ask("login"), "welcome");
    }
    assert_eq!(server.counter(Counter::AuthTimeouts), 0);
    server.pass(2, &mut other);
    let mut last = last.unwrap();
    assert_eq!(last.line(), "too late");
    last.expect_end();
    assert_eq!(server.counter(Counter::AuthTimeouts), 1);
}

#[test]
fn local_clients_have_a_login_timeout_but_no_idle_timeout() {
    let (listener, dir) = unix();
    let server = guarded(vec![tcp(), listener]);
    let mut other = server.client();
    assert_eq!(other.ask("login"), "welcome");
    let connect = || Client { stream: BufReader::new(UnixStream::connect(dir.path().join("socket")).unwrap()) };
    let (mut good, mut late) = (connect(), connect());
    good.stream.get_mut().write_all(b"login\r\n").unwrap();
    assert_eq!(good.line(), "welcome");
    until("their arrival", || server.open() == 5);
    server.pass(10, &mut other);
    assert_eq!(late.line(), "too late");
    late.expect_end();
    good.stream.get_mut().write_all(b"echo a\r\n").unwrap();
    assert_eq!(good.line(), "a");
}

/// More than the buffers between two sockets hold.
const BIG: usize = 20_000_000;

#[test]
fn a_stalled_peer_is_closed_and_a_slow_one_is_not() {
    let (listener, dir) = unix();
    let server = Server::by_hand(Settings { write_timeout: 5, ..settings() }, vec![tcp(), listener]);
    let mut other = server.client();
    let (mut deaf, mut closing, mut slow) = (server.client(), server.client(), server.client());
    let mut local = UnixStream::connect(dir.path().join("socket")).unwrap();
    deaf.send(format!("big {BIG}\r\n"));
    closing.send(format!("bye {BIG}\r\n"));
    slow.send(format!("big {BIG}\r\necho end\r\n"));
    local.write_all(format!("big {BIG}\r\n").as_bytes()).unwrap();
    until("blocked writers", || server.in_state(ConnState::Mwrite) == 4);
    let mut taken = 0;
    for timeouts in [0, 3, 3, 3] {
        server.pass(3, &mut other);
        let written = server.counter(Counter::BytesWritten);
        until("more is written", || {
            taken += slow.stream.read(&mut vec![0; 200_000]).unwrap();
            server.counter(Counter::BytesWritten) > written + 1000
        });
        assert_eq!(server.counter(Counter::WriteTimeouts), timeouts);
    }
    assert_eq!((server.open(), server.in_state(ConnState::Mwrite)), (4, 1));
    until("what was kept for them is given back", || server.gauge(|g| &g.response_obj_count) <= 1);
    for client in [&mut deaf, &mut closing] {
        let mut rest = Vec::new();
        assert_eq!(client.stream.read_to_end(&mut rest).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(rest.len() < BIG);
    }
    // The limit applies to a stall: a transfer may take any time.
    let mut rest = vec![0; BIG + 2 - taken];
    slow.stream.read_exact(&mut rest).unwrap();
    assert_eq!(slow.line(), "end");
    server.pass(20, &mut other);
    assert_eq!(slow.ask("echo still"), "still");
    assert_eq!(server.counter(Counter::WriteTimeouts), 3);
}

#[test]
fn without_a_write_timeout_replies_wait_indefinitely() {
    let server = impatient();
    let (mut deaf, mut other) = (server.client(), server.client());
    deaf.send(format!("bye {BIG}\r\n"));
    until("a blocked writer", || server.in_state(ConnState::Mwrite) == 1);
    server.pass(2000, &mut other);
    let mut bytes = Vec::new();
    assert_eq!(deaf.stream.read_to_end(&mut bytes).unwrap(), BIG);
    assert_eq!(server.counter(Counter::WriteTimeouts), 0);
}
