//! What each path answers.

use super::harness::{Host, Peer};
use crate::support::settings;
use oxcached::server::Server;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn health_is_answered() {
    let host = Host::new("");
    assert_eq!(host.get("/healthz"), (200, "ok\n".to_owned()));
    crate::support::until("ready", || host.get("/readyz").0 == 200);
    assert_eq!(host.get("/readyz").1, "ready\n");
    assert_eq!(host.get("/readyz?verbose").0, 200, "a query changes nothing");
    let accepting = &host.shared.stats.globals.accepting_conns;
    accepting.store(false, Relaxed);
    assert_eq!(host.get("/readyz"), (503, "paused: no descriptor is free for another client\n".to_owned()));
    accepting.store(true, Relaxed);
    assert_eq!(host.get("/readyz").0, 200);
    host.stop();
}

#[test]
fn a_server_that_does_not_serve_yet_is_not_ready() {
    let settings = settings("-l 127.0.0.1 -p -1 -t 1 -m 64 -k --admin=0");
    let server = Server::start(settings).unwrap();
    let mut peer = Peer::to(server.admin().unwrap().addresses()[0]);
    peer.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let reply = peer.reply();
    assert_eq!((reply.status, reply.body.as_str()), (503, "starting\n"));
    peer.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(peer.reply().status, 200, "on the same connection");
}

#[test]
fn unknown_paths_and_methods() {
    let host = Host::new("");
    for path in ["/nothing", "/healthz/", "/stats.jso", "/%2e%2e/x", "*"] {
        assert_eq!(host.get(path).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let mut peer = host.connect();
        peer.send(&format!("{method} /stats.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"));
        let reply = peer.reply();
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"), "{method}");
    }
    host.stop();
}

#[test]
fn a_head_request_gets_the_head_alone() {
    let host = Host::new("");
    let mut peer = host.connect();
    peer.send("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = peer.head();
    assert_eq!((head.status, head.header("content-length")), (200, "3"));
    assert_eq!(peer.reply().body, "ok\n");
    host.stop();
}

#[test]
fn every_answer_has_the_security_headers() {
    let host = Host::new("");
    for path in ["/healthz", "/stats.json", "/nothing"] {
        let mut peer = host.connect();
        peer.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let reply = peer.reply();
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert!(reply.header("content-security-policy").starts_with("default-src 'self';"));
    }
    host.stop();
}

#[test]
fn http_1_0_is_answered_once() {
    let host = Host::new("");
    let mut peer = host.connect();
    peer.send("GET /healthz HTTP/1.0\r\n\r\n");
    assert_eq!(peer.reply().body, "ok\n");
    assert_eq!(peer.rest(), "", "closed behind the answer");
    host.stop();
}

#[test]
fn statistics_are_json() {
    let host = Host::new("-o idle_timeout=17");
    let mut client = TcpStream::connect(host.clients).unwrap();
    client.write_all(b"set a 0 0 1\r\nx\r\nget a\r\nget b\r\n").unwrap();
    let expected = "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nEND\r\n";
    let mut bytes = vec![0; expected.len()];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    let mut peer = host.connect();
    peer.send("GET /stats.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let reply = peer.reply();
    assert_eq!(reply.header("content-type"), "application/json; charset=utf-8");
    let stats: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(stats["version"], "1.6.45");
    assert!(stats["time"].as_i64().unwrap() > 1_700_000_000);
    let general = &stats["general"];
    assert_eq!((general["get_hits"].as_u64(), general["get_misses"].as_u64()), (Some(1), Some(1)));
    assert_eq!(general["curr_items"].as_u64(), Some(1));
    assert!(general["rusage_user"].as_f64().is_some() && general["libevent"].is_string());
    assert_eq!(stats["settings"]["idle_timeout"].as_u64(), Some(17));
    assert_eq!(stats["settings"]["cas_enabled"], true);
    let class = stats["items"].as_object().unwrap().keys().next().unwrap().clone();
    assert_eq!(stats["items"][&class]["number"].as_u64(), Some(1));
    assert_eq!(stats["slabs"][&class]["used_chunks"].as_u64(), Some(1));
    assert_eq!(stats["slabs"]["active_slabs"].as_u64(), Some(1));
    assert_eq!(stats["conns"]["conn_listening"].as_u64(), Some(1));
    assert_eq!(stats["admin"]["conns"].as_u64(), Some(1));
    host.stop();
}
