//! What viewers of the dashboard get: a greeting, samples, event lines.

use super::harness::{Host, Peer};
use crate::support::until;
use oxcached::limits::{DASHBOARD_FRAME, DASHBOARD_WATCHERS};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;

const TEXT: u8 = 0x81;

fn viewer(host: &Host) -> Peer {
    let mut peer = host.connect();
    peer.upgrade();
    peer
}

/// The next frame of a type.
fn next(peer: &mut Peer, kind: &str) -> Value {
    loop {
        let (opcode, payload) = peer.next_frame();
        assert!(payload.len() <= DASHBOARD_FRAME);
        let frame: Value = if opcode == 1 { serde_json::from_slice(&payload).unwrap() } else { Value::Null };
        if frame["type"] == kind {
            return frame;
        }
    }
}

fn ask(peer: &mut Peer, request: &Value) -> Value {
    peer.frame(TEXT, request.to_string().as_bytes());
    next(peer, "watching")
}

/// Sends commands to the data port and waits for the reply to the last of them.
fn command(host: &Host, text: &str) {
    let mut client = TcpStream::connect(host.clients).unwrap();
    client.write_all(format!("{text}mn\r\n").as_bytes()).unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"MN\r\n") {
        let mut bytes = [0; 4096];
        let count = client.read(&mut bytes).unwrap();
        assert!(count > 0, "{:?}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&bytes[..count]);
    }
}

#[test]
fn a_viewer_is_greeted_and_sees_what_clients_do() {
    let host = Host::new("");
    let mut peer = viewer(&host);
    let (_, first) = peer.next_frame();
    let hello: Value = serde_json::from_slice(&first).unwrap();
    assert_eq!((&hello["type"], &hello["watch"]["enabled"]), (&json!("hello"), &json!(true)));
    assert_eq!(hello["settings"]["num_threads"], "1");
    assert_eq!(next(&mut peer, "hotkeys")["on"], false);
    // The first sample is what later ones are compared with.
    next(&mut peer, "sample");
    command(&host, "set k 0 0 1\r\nx\r\nget k\r\nget none\r\n");
    let (mut hits, mut misses) = (0.0, 0.0);
    while hits == 0.0 || misses == 0.0 {
        let sample = next(&mut peer, "sample");
        hits += sample["values"]["get_hits"].as_f64().unwrap();
        misses += sample["values"]["get_misses"].as_f64().unwrap();
        assert_eq!(sample["problems"], json!([]));
        assert!(hits == 0.0 || sample["classes"][0]["items"] == 1, "{sample}");
    }
    let mut later = viewer(&host);
    let times = next(&mut later, "hello")["history"]["times"].as_array().unwrap().len();
    assert!(times >= 1, "a later viewer sees the past");
    drop((peer, later));
    host.until_empty();
    host.stop();
}

#[test]
fn a_viewer_watches_while_it_wants_to() {
    let host = Host::new("");
    let mut peer = viewer(&host);
    let answer = ask(&mut peer, &json!({ "type": "watch", "classes": ["mutations"], "filter": "key=pear" }));
    assert_eq!((&answer["classes"], &answer["refused"]), (&json!(["mutations"]), &Value::Null));
    command(&host, "set apple 0 0 1\r\nx\r\nset pear 0 0 1\r\nx\r\n");
    let lines = next(&mut peer, "watch")["lines"].clone();
    assert_eq!(lines.as_array().unwrap().len(), 1);
    assert!(lines[0].as_str().unwrap().contains("key=pear status=stored"), "{lines}");
    let watchers = || host.shared.watchers.len();
    assert_eq!(watchers(), 1);
    assert_eq!(ask(&mut peer, &json!({ "type": "unwatch" }))["classes"], json!([]));
    until("the seat is free", || watchers() == 0);
    ask(&mut peer, &json!({ "type": "watch", "classes": ["fetchers"] }));
    assert_eq!(watchers(), 1);
    drop(peer);
    until("the seat is free", || watchers() == 0);
    for nonsense in ["", "[1]", "{\"type\":\"nonsense\"}"] {
        let mut peer = viewer(&host);
        peer.frame(TEXT, nonsense.as_bytes());
        assert_eq!(next(&mut peer, "refused")["text"], "No such request.");
    }
    host.stop();
}

#[test]
fn refusals_to_watch_are_told_in_words() {
    let (host, off) = (Host::new(""), Host::new("-W"));
    let watch = json!({ "type": "watch", "classes": ["fetchers"] });
    let mut peer = viewer(&off);
    assert_eq!(next(&mut peer, "hello")["watch"]["enabled"], false);
    assert!(ask(&mut peer, &watch)["refused"].as_str().unwrap().contains("(-W)"));
    off.stop();
    let mut viewers: Vec<_> = (0..DASHBOARD_WATCHERS).map(|_| viewer(&host)).collect();
    assert!(viewers.iter_mut().all(|peer| ask(peer, &watch)["refused"].is_null()));
    let mut more = viewer(&host);
    assert_eq!(ask(&mut more, &watch)["refused"], format!("{DASHBOARD_WATCHERS} viewers watch already."));
    viewers.pop();
    until("a place is free", || ask(&mut more, &watch)["refused"].is_null());
    for (request, refusal) in [
        (json!({ "type": "watch", "classes": ["x"] }), "No such class: x."),
        (json!({ "type": "watch" }), "A request to watch names its classes."),
        (
            json!({ "type": "watch", "classes": ["fetchers"], "filter": "x".repeat(2000) }),
            "A filter has 1024 bytes at most.",
        ),
    ] {
        assert_eq!(ask(&mut more, &request)["refused"], refusal);
    }
    drop((viewers, more));
    host.until_empty();
    until("no seat is taken", || host.shared.watchers.is_empty());
    host.stop();
}

#[test]
fn an_event_stream_watches_by_its_query() {
    let host = Host::new("");
    let mut peer = host.connect();
    peer.request("GET /events?watch=deletions&filter=key%3Dpear");
    peer.until_line("data: {\"classes\":[\"deletions\"],\"refused\":null,\"type\":\"watching\"}");
    command(&host, "set pear 0 0 1\r\nx\r\ndelete apple\r\ndelete pear\r\n");
    loop {
        let line = peer.line();
        if line.contains("\"type\":\"watch\"") {
            assert!(line.contains("key=pear cmd=delete"), "{line}");
            break;
        }
    }
    host.stop();
}
