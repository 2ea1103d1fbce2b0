//! Replies that wait for the commits of their changes, by sessions alone and over sockets.

use super::room::{LINES, packets, server};
use super::{ARGS, CHANGED, Conn, Fake, put, seeds, sizes};
use crate::binary::packet::req;
use crate::late::serve;
use crate::support::{Client, shared};
use Committed::{Durable, Failed};
use oxcached::cache::{Committed, NOT_KEPT};
use oxcached::limits::OUTPUT_PINS;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::Relaxed;

/// A server whose replies wait for commits, with all items in memory.
fn syncing() -> (Fake, std::sync::Arc<oxcached::proto::Shared>) {
    let (fake, shared) = server();
    fake.shelf().replies_wait = true;
    fake.shelf().changes = 0;
    (fake, shared)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `request` between two others, in parts of some sizes. Its reply comes after the commit, or `error` in its place.
#[track_caller]
fn check(request: &[u8], fence: &[u8], error: &[u8]) {
    let plain = shared(ARGS);
    seeds().iter().for_each(|(key, row)| put(&plain, key, row));
    let requests = [fence, request, fence].concat();
    let replies = Client::new(&plain).ask(&requests);
    let answer = Client::new(&shared(ARGS)).ask(fence);
    for outcome in [Durable, Failed] {
        for size in sizes(requests.len()) {
            let (fake, shared) = syncing();
            let mut conn = Conn::new(&shared);
            requests.chunks(size).for_each(|part| conn.feed(part));
            let shown = format!("{}, parts of {size}, {outcome:?}", requests.escape_ascii());
            let waits = fake.shelf().changes > 0;
            if waits {
                assert_eq!(text(&conn.got), text(&answer), "{shown}");
                fake.end_commit(0, outcome);
                conn.resume();
            }
            let failed = [&answer, error, &answer].concat();
            let expected = if waits && outcome == Failed { &failed } else { &replies };
            assert_eq!(text(&conn.got), text(expected), "{shown}");
            assert!(conn.out.is_empty());
        }
    }
}

#[test]
fn a_reply_comes_after_its_commit_or_becomes_an_error() {
    for line in LINES {
        check(line.as_bytes(), b"mn\r\n", format!("{NOT_KEPT}\r\n").as_bytes());
    }
    for packet in packets() {
        let bytes = packet.bytes();
        let mut error =
            vec![0x81, bytes[1], 0, 0, 0, 0, 0, 0x86, 0, 0, 0, NOT_KEPT.len() as u8, 0xde, 0xad, 0xbe, 0xef];
        error.extend([0; 8]);
        error.extend(NOT_KEPT.as_bytes());
        check(&bytes, &req(0x0a).bytes(), &error);
    }
}

#[test]
fn a_client_that_wants_no_reply_does_not_wait() {
    let (fake, shared) = syncing();
    let mut conn = Conn::new(&shared);
    conn.feed(b"set far 0 0 1 noreply\r\nx\r\ndelete ten noreply\r\nmg far v\r\n");
    assert_eq!(text(&conn.got), "VA 1\r\nx\r\n");
    assert!(fake.shelf().reports.is_empty() && !CHANGED.get(), "the backing has learned of the changes");
}

#[test]
fn each_reply_has_the_outcome_of_its_own_commit() {
    let large = "v".repeat(5000);
    let outcomes = |bits: usize| [0, 1, 2, 3].map(|n| if bits >> n & 1 == 0 { Durable } else { Failed });
    for bits in 0..16 {
        let (fake, shared) = syncing();
        put(&shared, b"large", &super::Row { value: large.clone().into(), flags: 7, cas: 9, marks: 0 });
        fake.shelf().is_single = true;
        let mut conn = Conn::new(&shared);
        conn.feed(b"get ten\r\nset a 0 0 1\r\nx\r\nget large\r\nget a\r\ngat 9 large\r\nget large\r\n");
        conn.feed(b"ms b 1 q\r\nx\r\nmg a v\r\nincr ten 1\r\nmn\r\n");
        let error = format!("{NOT_KEPT}\r\n");
        let value = format!("VALUE large 7 5000\r\n{large}\r\nEND\r\n");
        let mut expected = "VALUE ten 7 2\r\n10\r\nEND\r\n".to_owned();
        assert_eq!(text(&conn.got), expected);
        let replies = [
            ("STORED\r\n", format!("{value}VALUE a 0 1\r\nx\r\nEND\r\n")),
            (&value, value.clone()),
            ("", "VA 1\r\nx\r\n".to_owned()),
            ("11\r\n", "MN\r\n".to_owned()),
        ];
        for (n, outcome) in outcomes(bits).into_iter().enumerate() {
            fake.end_commit(n as u64, outcome);
            conn.resume();
            expected += if outcome == Durable { replies[n].0 } else { &error };
            expected += &replies[n].1;
            assert_eq!(text(&conn.got), expected, "{bits:b}, commit {n}");
        }
        assert!(conn.out.is_empty());
    }
}

#[test]
fn one_commit_ends_the_wait_of_a_whole_pipeline() {
    let (fake, shared) = syncing();
    let mut conn = Conn::new(&shared);
    let sets = OUTPUT_PINS + 50;
    let requests: String = (0..sets).map(|n| format!("set k{n} 0 0 1\r\nx\r\n")).collect();
    conn.feed(requests.as_bytes());
    assert_eq!((conn.got.len(), fake.shelf().changes), (0, OUTPUT_PINS), "no more commands run than may wait");
    assert_eq!(fake.shelf().reports.len(), 1);
    fake.end_commit(0, Durable);
    conn.resume();
    assert_eq!(text(&conn.got), "STORED\r\n".repeat(OUTPUT_PINS));
    assert_eq!(fake.shelf().changes, sets);
    fake.end_commit(1, Durable);
    conn.resume();
    assert_eq!(text(&conn.got), "STORED\r\n".repeat(sets));
}

#[test]
fn late_replies_wait_as_well() {
    let error = format!("{NOT_KEPT}\r\n");
    for (request, reply, failed) in [
        ("mg far T30 v\r\n", "VA 5\r\nthere\r\n", error.as_str()),
        (
            "gat 30 far ten\r\n",
            "VALUE far 7 5\r\nthere\r\nVALUE ten 7 2\r\n10\r\nEND\r\n",
            "VALUE ten 7 2\r\n10\r\nEND\r\n",
        ),
        ("gat 30 far\r\n", "VALUE far 7 5\r\nthere\r\nEND\r\n", "END\r\n"),
    ] {
        for outcome in [Durable, Failed] {
            for ends_first in [false, true] {
                let (fake, shared) = Fake::behind(ARGS);
                fake.shelf().rows = seeds();
                put(&shared, b"ten", &seeds()[&b"ten"[..]]);
                (fake.shelf().replies_wait, fake.shelf().is_single) = (true, true);
                let mut conn = Conn::new(&shared);
                conn.feed(format!("mn\r\n{request}set new 0 0 1\r\nx\r\nmn\r\n").as_bytes());
                assert_eq!(text(&conn.got), "MN\r\n");
                // The touch of `ten` has a commit of its own.
                let touched = fake.shelf().commit;
                if ends_first {
                    (0..touched).for_each(|commit| fake.end_commit(commit, Durable));
                    conn.resume();
                }
                fake.end_load(&shared, false);
                conn.resume();
                assert_eq!(text(&conn.got), "MN\r\n", "the late touch waits");
                if !ends_first {
                    (0..touched).for_each(|commit| fake.end_commit(commit, Durable));
                    conn.resume();
                }
                fake.end_commit(touched, outcome);
                conn.resume();
                let shown = if outcome == Durable { reply } else { failed };
                assert_eq!(text(&conn.got), format!("MN\r\n{shown}"), "{request} {outcome:?}");
                fake.end_commit(touched + 1, Durable);
                conn.resume();
                assert_eq!(text(&conn.got), format!("MN\r\n{shown}STORED\r\nMN\r\n"), "{request} {outcome:?}");
            }
        }
    }
}

#[test]
fn a_failed_part_of_a_reply_ends_the_connection() {
    let (fake, shared) = syncing();
    put(&shared, b"large", &super::Row { value: vec![b'v'; 5000], flags: 0, cas: 9, marks: 0 });
    for outcome in [Durable, Failed] {
        let mut conn = Conn::new(&shared);
        let commit = fake.shelf().commit;
        conn.feed(format!("gat 100{}\r\n", " large".repeat(100)).as_bytes());
        assert!(conn.got.is_empty());
        for at in commit..commit + 3 {
            fake.end_commit(at, outcome);
            conn.resume();
        }
        assert_eq!(conn.is_broken, outcome == Failed);
        assert_eq!(conn.got.ends_with(b"\r\nEND\r\n"), outcome == Durable);
    }
}

/// A server over sockets.
struct Net {
    fake: Fake,
    shared: std::sync::Arc<oxcached::proto::Shared>,
    addr: std::net::SocketAddr,
    workers: Option<oxcached::net::Workers>,
}

impl Net {
    fn new() -> Self {
        Self::with("")
    }

    fn with(args: &str) -> Self {
        let (fake, shared) = Fake::behind(&format!("-U 0 -t 1 -m 8 {args}"));
        fake.shelf().rows = seeds();
        fake.shelf().phantoms = vec![b"none".to_vec()];
        fake.shelf().replies_wait = true;
        let (addr, workers) = serve(&shared);
        Self { fake, shared, addr, workers: Some(workers) }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.addr).unwrap();
        client.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
        client
    }

    /// Lets the worker do all that it can: it answers another client some times.
    fn settle(&self) {
        let mut other = self.connect();
        for _ in 0..20 {
            other.write_all(b"mn\r\n").unwrap();
            expect(&mut other, "MN\r\n");
        }
    }

    fn until(&self, done: impl Fn(&super::Shelf) -> bool) {
        crate::support::until("the backing is asked", || done(&self.fake.shelf()));
    }

    /// Waits until no client is connected; the listener counts as a connection.
    fn until_alone(&self) {
        let is_alone = || self.shared.stats.globals.curr_conns.load(Relaxed) == 1;
        crate::support::until("no client is connected", is_alone);
    }
}

#[track_caller]
fn expect(client: &mut TcpStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(text(&bytes), expected);
}

#[track_caller]
fn expect_nothing(client: &TcpStream) {
    client.set_nonblocking(true).unwrap();
    assert_eq!((&mut &*client).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
}

#[test]
fn a_reply_waits_and_no_other_client_does() {
    let net = Net::new();
    let mut client = net.connect();
    client.write_all(b"mn\r\nset new 0 0 1\r\nx\r\nget new\r\n").unwrap();
    expect(&mut client, "MN\r\n");
    net.until(|shelf| shelf.reports.len() == 1);
    // It is read and run meanwhile.
    client.write_all(b"set new 0 0 1\r\ny\r\n").unwrap();
    net.until(|shelf| shelf.changes == 2);
    let mut other = net.connect();
    other.write_all(b"get new\r\n").unwrap();
    expect(&mut other, "VALUE new 0 1\r\ny\r\nEND\r\n");
    net.settle();
    expect_nothing(&client);
    net.fake.end_commit(0, Durable);
    expect(&mut client, "STORED\r\nVALUE new 0 1\r\nx\r\nEND\r\nSTORED\r\n");
    client.write_all(b"set new 0 0 1\r\nz\r\n").unwrap();
    net.until(|shelf| shelf.reports.len() == 1);
    net.fake.end_commit(1, Failed);
    expect(&mut client, &format!("{NOT_KEPT}\r\n"));
}

#[test]
fn a_suspended_client_gets_the_replies_before_its_wait() {
    let net = Net::new();
    let mut client = net.connect();
    client.write_all(b"set new 0 0 1\r\nx\r\ndelete far\r\nmn\r\n").unwrap();
    net.until(|shelf| shelf.loads.len() == 1 && shelf.reports.len() == 1);
    net.settle();
    expect_nothing(&client);
    net.fake.end_commit(0, Durable);
    expect(&mut client, "STORED\r\n");
    net.fake.end_load(&net.shared, false);
    net.until(|shelf| shelf.reports.len() == 1);
    net.settle();
    expect_nothing(&client);
    net.fake.end_commit(1, Durable);
    expect(&mut client, "DELETED\r\nMN\r\n");
}

#[test]
fn a_client_that_has_sent_its_last_byte_gets_its_replies_and_the_end() {
    let net = Net::new();
    let requests = ["set a 0 0 1\r\nx\r\nquit\r\n", "set b 0 0 1\r\nx\r\n"];
    let clients = requests.map(|request| {
        let mut client = net.connect();
        client.write_all(request.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client
    });
    net.until(|shelf| shelf.reports.len() == 2);
    net.settle();
    net.fake.end_commit(0, Durable);
    for mut client in clients {
        let mut all = String::new();
        client.read_to_string(&mut all).unwrap();
        assert_eq!(all, "STORED\r\n");
    }
}

#[test]
fn a_client_that_goes_away_keeps_nothing() {
    let net = Net::new();
    let [mut held, mut suspended] = [net.connect(), net.connect()];
    held.write_all(b"set a 0 0 1\r\nx\r\n").unwrap();
    suspended.write_all(b"touch far 9\r\n").unwrap();
    net.until(|shelf| shelf.reports.len() == 1 && shelf.loads.len() == 1);
    // With unread bytes or not, a reset shows that the peer is gone.
    for client in [held, suspended] {
        socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
    }
    net.until_alone();
    let mut other = net.connect();
    other.write_all(b"set b 0 0 1\r\nx\r\n").unwrap();
    net.until(|shelf| shelf.reports.len() == 2);
    net.fake.end_load(&net.shared, false);
    net.fake.end_commit(0, Durable);
    expect(&mut other, "STORED\r\n");
}

#[test]
fn a_backing_that_dies_leaves_no_client_waiting() {
    let net = Net::new();
    let mut client = net.connect();
    client.write_all(b"set a 0 0 1\r\nx\r\n").unwrap();
    net.until(|shelf| shelf.reports.len() == 1);
    let reports = std::mem::take(&mut net.fake.shelf().reports);
    drop(reports);
    expect(&mut client, &format!("{NOT_KEPT}\r\n"));
}

#[test]
fn a_server_that_stops_acknowledges_nothing() {
    let mut net = Net::new();
    let mut client = net.connect();
    client.write_all(b"set a 0 0 1\r\nx\r\n").unwrap();
    net.until(|shelf| shelf.reports.len() == 1);
    net.workers.take().unwrap().stop();
    let mut all = Vec::new();
    let end = client.read_to_end(&mut all).map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    assert!(all.is_empty());
    net.fake.end_commit(0, Durable);
}

#[test]
fn a_drain_waits_for_replies_on_hold_and_for_loads() {
    let net = Net::new();
    let [mut held, mut suspended, mut idle] = [net.connect(), net.connect(), net.connect()];
    idle.write_all(b"mn\r\n").unwrap();
    expect(&mut idle, "MN\r\n");
    held.write_all(b"set a 0 0 1\r\nx\r\n").unwrap();
    suspended.write_all(b"replace none 0 0 1\r\nx\r\n").unwrap();
    net.until(|shelf| shelf.reports.len() == 1 && shelf.loads.len() == 1);
    let workers = net.workers.as_ref().unwrap();
    workers.drain();
    // An idle client is closed after a while; these are not.
    idle.read_to_end(&mut Vec::new()).unwrap();
    net.fake.end_commit(0, Durable);
    net.fake.end_load(&net.shared, false);
    for (client, reply) in [(&mut held, "STORED\r\n"), (&mut suspended, "NOT_STORED\r\n")] {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        assert_eq!(text(&all), reply);
    }
    crate::support::until("all are closed", || workers.left() == Some(0));
}

#[test]
fn the_backing_learns_of_a_change_that_a_read_makes() {
    let (fake, shared) = syncing();
    let mut conn = Conn::new(&shared);
    conn.feed(b"md far I\r\n");
    fake.end_commit(0, Durable);
    conn.resume();
    fake.shelf().changes = 0;
    conn.feed(b"mg far v\r\n");
    assert!(fake.shelf().changes == 1 && !CHANGED.get());
    assert_eq!(text(&conn.got), "HD\r\nVA 5 X W\r\nthere\r\n");
    // Nor does another connection's reply wait for it.
    let mut other = Conn::new(&shared);
    other.feed(b"touch nokey 1\r\n");
    assert_eq!(text(&other.got), "NOT_FOUND\r\n");
}

#[test]
fn pipelines_behind_replies_on_hold_cost_no_connection() {
    const CLIENTS: usize = 30;
    const SETS: usize = 800;
    // 30 times 64 KiB of commands would be more.
    let net = Net::with("-o read_buf_mem_limit=1");
    let requests = format!("set k 0 0 100\r\n{}\r\n", "v".repeat(100)).repeat(SETS);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut client, requests) = (net.connect(), requests.clone());
            std::thread::spawn(move || {
                let mut sender = client.try_clone().unwrap();
                let sender = std::thread::spawn(move || sender.write_all(requests.as_bytes()));
                expect(&mut client, &"STORED\r\n".repeat(SETS));
                sender.join().unwrap().unwrap();
            })
        })
        .collect();
    net.until(|shelf| shelf.changes == CLIENTS * OUTPUT_PINS);
    net.settle();
    crate::support::until("all replies", || {
        let commit = net.fake.shelf().commit;
        net.fake.end_commit(commit, Durable);
        clients.iter().all(|client| client.is_finished())
    });
    clients.into_iter().for_each(|client| client.join().unwrap());
}
