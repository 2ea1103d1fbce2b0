//! WebSockets and event streams.

use super::harness::Host;
use crate::support::until;
use oxcached::admin::LIVE;
use oxcached::limits::{ADMIN_MESSAGE, ADMIN_VIEWERS};
use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(30);
const NEVER: Duration = Duration::from_secs(3600);

fn until_viewers(host: &Host, count: u64) {
    until("viewers", || host.counters.viewers.load(Relaxed) == count);
}

#[test]
fn frames_are_pushed_to_both_kinds_of_viewers() {
    let host = Host::new("");
    let (mut socket, mut stream) = (host.connect(), host.connect());
    socket.upgrade();
    stream.request("GET /events");
    let head = stream.head();
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
    until_viewers(&host, 2);
    for text in ["{\"a\":1}", "{\"a\":2}"] {
        host.hub.publish(LIVE, &text.into());
    }
    socket.until_text("{\"a\":1}");
    socket.until_text("{\"a\":2}");
    stream.until_line("data: {\"a\":1}");
    stream.until_line("data: {\"a\":2}");
    drop((socket, stream));
    host.until_empty();
    host.stop();
}

#[test]
fn a_handshake_has_its_rules() {
    let host = Host::new("");
    let mut peer = host.connect();
    peer.request("GET /ws");
    let reply = peer.reply();
    assert_eq!((reply.status, reply.header("sec-websocket-version")), (426, "13"));
    peer.request("POST /ws");
    assert_eq!(peer.reply().status, 405);
    let mut other = host.connect();
    other.send("GET /ws HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nUpgrade: websocket\r\n");
    other.send(
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(other.reply().status, 403, "a page of another site");
    host.stop();
}

#[test]
fn breaches_of_the_protocol_close_with_their_code() {
    let host = Host::new("");
    type Breach = fn(&mut super::harness::Peer);
    let breaches: [(&str, u16, Breach); 9] = [
        ("no mask", 1002, |peer| peer.socket.write_all(&[0x81, 1, b'x']).unwrap()),
        ("a fragmented ping", 1002, |peer| peer.frame(0x09, b"x")),
        ("a long ping", 1002, |peer| peer.frame(0x89, &[0; 126])),
        ("a reserved bit", 1002, |peer| peer.frame(0xc1, b"x")),
        ("an unknown opcode", 1002, |peer| peer.frame(0x83, b"x")),
        ("a continuation of nothing", 1002, |peer| peer.frame(0x80, b"x")),
        ("a long frame", 1009, |peer| peer.frame(0x81, &[b'x'; ADMIN_MESSAGE + 1])),
        ("bytes that are no text", 1007, |peer| peer.frame(0x81, &[0xff])),
        ("a binary message", 1003, |peer| peer.frame(0x82, b"x")),
    ];
    for (n, (what, code, breach)) in breaches.into_iter().enumerate() {
        let mut peer = host.connect();
        peer.upgrade();
        breach(&mut peer);
        assert_eq!(peer.close_code(), code, "{what}");
        assert_eq!(peer.rest(), "", "{what}: closed");
        assert_eq!(host.counters.socket_errors.load(Relaxed), n as u64 + 1, "{what}");
    }
    // In parts, a message is bounded as one.
    let mut peer = host.connect();
    peer.upgrade();
    peer.frame(0x01, &[b'x'; ADMIN_MESSAGE]);
    peer.frame(0x80, b"x");
    assert_eq!(peer.close_code(), 1009);
    host.until_empty();
    host.stop();
}

#[test]
fn messages_of_the_longest_size_are_taken() {
    let host = Host::new("");
    let mut peer = host.connect();
    peer.upgrade();
    peer.frame(0x81, &[b'x'; ADMIN_MESSAGE]);
    peer.frame(0x89, b"are you there");
    while peer.next_frame() != (10, b"are you there".to_vec()) {}
    peer.frame(0x88, &[3, 0xe8]);
    assert_eq!(peer.close_code(), 1000, "echoed");
    assert_eq!(peer.rest(), "", "once");
    host.until_empty();
    assert_eq!(host.counters.socket_errors.load(Relaxed), 0);
    host.stop();
}

#[test]
fn a_viewer_without_a_pong_is_closed() {
    let host = Host::with("", |settings| {
        settings.admin.times.ping = SOON;
        settings.admin.times.pong = SOON;
    });
    let mut dead = host.connect();
    dead.upgrade();
    assert_eq!(dead.close_code(), 1008);
    assert_eq!(host.counters.pong_timeouts.load(Relaxed), 1);
    host.stop();
    let host = Host::with("", |settings| {
        settings.admin.times.ping = SOON;
        settings.admin.times.pong = NEVER;
    });
    let mut alive = host.connect();
    alive.upgrade();
    for _ in 0..3 {
        while alive.next_frame().0 != 9 {}
        alive.frame(0x8a, b"");
    }
    assert_eq!(host.counters.viewers.load(Relaxed), 1);
    host.stop();
}

#[test]
fn viewers_are_bounded() {
    let host = Host::new("");
    let mut viewers: Vec<_> = (0..ADMIN_VIEWERS).map(|_| host.connect()).collect();
    for (n, viewer) in viewers.iter_mut().enumerate() {
        if n % 2 == 0 {
            viewer.upgrade();
        } else {
            viewer.request("GET /events");
            assert_eq!(viewer.head().status, 200);
        }
    }
    let mut more = host.connect();
    more.request("GET /events");
    assert_eq!(more.reply().status, 503);
    assert_eq!(host.counters.viewers_refused.load(Relaxed), 1);
    assert_eq!(host.get("/healthz").0, 200, "others are served");
    viewers.pop();
    until_viewers(&host, ADMIN_VIEWERS as u64 - 1);
    more.request("GET /events");
    assert_eq!(more.head().status, 200);
    host.stop();
}

#[test]
fn a_viewer_that_reads_late_is_told_what_it_has_missed() {
    let host = Host::with("", |settings| settings.admin.times.write = NEVER);
    let mut peer = host.connect();
    peer.upgrade();
    until_viewers(&host, 1);
    // Far more than the sockets' buffers and the viewer's queue hold.
    for n in 0..400_u32 {
        host.hub.publish(LIVE, &format!("{{\"n\":{n},\"fill\":\"{}\"}}", "x".repeat(64 << 10)).into());
    }
    host.hub.publish(LIVE, &"{\"last\":true}".into());
    let mut told = 0;
    loop {
        let (opcode, payload) = peer.next_frame();
        if opcode != 1 {
            continue;
        }
        let frame: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        if frame["type"] == "dropped" {
            told += frame["frames"].as_u64().unwrap();
        }
        if frame["last"] == true {
            break;
        }
    }
    assert!(told > 0);
    assert_eq!(told, host.counters.frames_dropped.load(Relaxed));
    host.stop();
}

#[test]
fn a_viewer_that_never_reads_is_cut_off() {
    let host = Host::with("", |settings| settings.admin.times.write = SOON);
    let (mut socket, mut stream) = (host.connect(), host.connect());
    socket.upgrade();
    stream.request("GET /events");
    until_viewers(&host, 2);
    until("both are cut off", || {
        host.hub.publish(LIVE, &"x".repeat(256 << 10).into());
        host.counters.conns.load(Relaxed) == 0
    });
    assert_eq!(host.counters.write_timeouts.load(Relaxed), 2);
    host.stop();
}

#[test]
fn an_event_stream_ends_with_the_server_and_shows_that_it_lives() {
    let host = Host::with("", |settings| settings.admin.times.ping = SOON);
    let mut stream = host.connect();
    stream.request("GET /events");
    stream.until_line("retry: 2000");
    stream.until_line(":");
    stream.until_line(":");
    host.stop();
    assert!(stream.rest().ends_with("0\r\n\r\n"), "whole");
}
