//! What a client may cost: sizes, times, numbers; and the end of the server while clients do their worst.

use super::harness::{Host, Peer};
use crate::support::until;
use oxcached::settings::{AdminTimes, Settings};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Time limits that no test reaches.
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(50);

/// A server on which only the time limits that `change` sets can pass.
fn host(args: &str, change: impl FnOnce(&mut AdminTimes)) -> Host {
    Host::with(args, |settings: &mut Settings| {
        let mut times =
            AdminTimes { head: NEVER, idle: NEVER, write: NEVER, answer: NEVER, ping: NEVER, pong: NEVER, tick: NEVER };
        change(&mut times);
        settings.admin.times = times;
    })
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

#[test]
fn heads_are_bounded() {
    let host = host("", |_| ());
    for head in [
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(9000)),
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(9000)),
        format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(101)),
        format!("GET /healthz HTTP/1.1\r\nX: {}", "x".repeat(20_000)),
    ] {
        let mut peer = host.connect();
        let _ = peer.socket.write_all(head.as_bytes());
        assert!(peer.rest().starts_with("HTTP/1.1 431 "), "{}", &head[..40]);
    }
    until("counted", || count(&host.counters.too_large) == 4);
    host.until_empty();
    assert_eq!(host.get("/healthz").0, 200);
    host.stop();
}

#[test]
fn what_is_no_request_is_refused() {
    let host = host("", |_| ());
    for text in
        ["get a\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n", "GET / HTTP/1.1\r\nHo st: a\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"]
    {
        let mut peer = host.connect();
        peer.send(text);
        assert!(peer.rest().starts_with("HTTP/1.1 400 "), "{text:?}");
    }
    // Two lengths of one body: what stands behind the first could be another's request.
    let mut peer = host.connect();
    peer.send("POST /switch/verbosity HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n1");
    assert!(peer.rest().starts_with("HTTP/1.1 400 "));
    host.until_empty();
    host.stop();
}

#[test]
fn slow_heads_end() {
    let host = host("", |times| times.head = SOON);
    let mut slow = host.connect();
    slow.send("GET /healthz HTTP/1.1\r\nHost:");
    assert!(slow.rest().starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    let mut silent = host.connect();
    assert_eq!(silent.rest(), "", "closed without a word");
    assert_eq!(count(&host.counters.read_timeouts), 2);
    // A second request is bounded as the first is.
    let mut second = host.connect();
    second.request("GET /healthz");
    assert_eq!(second.reply().status, 200);
    second.send("GET ");
    assert!(second.rest().starts_with("HTTP/1.1 408 "));
    // One byte at a time gains nothing.
    let mut dribbling = host.connect();
    while dribbling.socket.write_all(b"G").is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    host.until_empty();
    assert_eq!(count(&host.counters.idle_timeouts), 0);
    host.stop();
}

#[test]
fn idle_connections_end() {
    let host = host("", |times| times.idle = SOON);
    let mut peer = host.connect();
    for _ in 0..2 {
        peer.request("GET /healthz");
        assert_eq!(peer.reply().status, 200);
    }
    assert_eq!(peer.rest(), "");
    assert_eq!((count(&host.counters.idle_timeouts), count(&host.counters.read_timeouts)), (1, 0));
    host.until_empty();
    host.stop();
}

#[test]
fn bodies_are_bounded() {
    let host = host("-o admin_write", |times| times.head = SOON);
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", 413),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 413),
        ("POST /switch/verbosity HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1025\r\n\r\n", 413),
        ("POST /switch/verbosity HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n", 413),
        ("POST /switch/verbosity HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n1", 408),
    ] {
        let mut peer = host.connect();
        peer.send(request);
        let reply = peer.reply();
        assert_eq!((reply.status, reply.header("connection")), (status, "close"), "{request:?}");
        assert_eq!(peer.rest(), "");
    }
    let mut peer = host.connect();
    peer.send("POST /switch/verbosity HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    peer.send(&format!("401\r\n{}\r\n0\r\n\r\n", "1".repeat(0x401)));
    assert_eq!(peer.reply().status, 413);
    assert_eq!(count(&host.counters.too_large), 5);
    host.until_empty();
    host.stop();
}

#[test]
fn a_reader_that_takes_nothing_or_little_is_cut_off() {
    const PIPELINED: usize = 90;
    let stalled = host("", |times| times.write = SOON);
    let dribbled = host("", |times| times.answer = SOON);
    for (host, reads) in [(stalled, false), (dribbled, true)] {
        // A peer with a small window, for more answers than the kernel takes for it.
        let mut peers: Vec<Peer> = (0..8).map(|_| Peer::with_window(host.admin, 2048)).collect();
        for peer in &mut peers {
            let request = "GET /stats.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(PIPELINED);
            peer.send(&request);
        }
        until("all are cut off", || {
            if reads {
                peers.iter_mut().for_each(|peer| _ = peer.socket.read(&mut [0]));
            }
            count(&host.counters.write_timeouts) == 8
        });
        host.until_empty();
        host.stop();
    }
}

#[test]
fn a_connection_has_a_hundred_requests() {
    let host = host("", |_| ());
    let mut peer = host.connect();
    let _ = peer.socket.write_all("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(120).as_bytes());
    for n in 1..=100 {
        let reply = peer.reply();
        assert_eq!((reply.status, reply.head.contains("connection: close")), (200, n == 100), "{n}");
    }
    assert_eq!(peer.rest(), "");
    assert_eq!(count(&host.counters.requests), 100);
    host.stop();
}

#[test]
fn connections_are_bounded_before_they_cost_anything() {
    let host = host("-o admin_conns=3", |_| ());
    let mut held: Vec<Peer> = (0..3).map(|_| host.connect()).collect();
    until("all are in", || count(&host.counters.conns) == 3);
    for _ in 0..5 {
        let mut more = host.connect();
        assert!(more.rest().starts_with("HTTP/1.1 503 "), "refused");
    }
    assert_eq!((count(&host.counters.conns_refused), count(&host.counters.accepted)), (5, 8));
    held.pop();
    until("a place is free", || {
        let mut peer = host.connect();
        let _ = peer.socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        peer.head().status == 200
    });
    for peer in &mut held {
        peer.request("GET /healthz");
        assert_eq!(peer.reply().status, 200, "those that are in are served");
    }
    host.stop();
}

#[test]
fn a_storm_leaves_nothing_behind() {
    let host = host("", |_| ());
    for n in 0..1000 {
        let mut peer = host.connect();
        match n % 4 {
            0 => {}
            1 => peer.send("GET /hea"),
            2 => peer.request("GET /stats.json"),
            _ => {
                peer.request("GET /healthz");
                let _ = peer.socket.shutdown(Shutdown::Write);
            }
        }
    }
    until("all are accepted", || count(&host.counters.accepted) == 1000);
    host.until_empty();
    assert_eq!(host.get("/healthz").0, 200);
    host.stop();
}

#[test]
fn a_peer_that_has_sent_all_it_will_is_answered() {
    let host = host("", |_| ());
    let mut peer = host.connect();
    peer.request("GET /healthz");
    peer.socket.shutdown(Shutdown::Write).unwrap();
    assert!(peer.rest().ends_with("ok\n"));
    host.until_empty();
    host.stop();
}

#[test]
fn the_server_stops_whatever_its_viewers_do() {
    let host = host("-o admin_conns=100", |_| ());
    let mut peers = Vec::new();
    for n in 0..20 {
        let mut peer = host.connect();
        match n % 5 {
            0 => {}
            1 => peer.send("GET /healthz HTTP/1.1\r\nHost"),
            2 => peer.request("GET /events"),
            3 => peer.upgrade(),
            _ => {
                peer.request("GET /healthz");
                assert_eq!(peer.reply().status, 200);
            }
        }
        peers.push(peer);
    }
    until("viewers are in", || count(&host.counters.viewers) == 8);
    // More than the sockets take: every viewer's task waits for its peer.
    (0..40).for_each(|_| host.hub.publish(u64::MAX, &"x".repeat(1 << 19).into()));
    host.stop();
    for peer in &mut peers {
        peer.rest();
    }
}
