//! Which requests are answered: names, sites, tokens, certificates; and which may change settings.

use super::harness::{Host, Peer, Reply};
use crate::support::settings;
use crate::tls::harness::Files;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oxcached::server::Server;
use rustls::{ClientConnection, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

fn ask(host: &Host, request: &str, headers: &str) -> Reply {
    let mut peer = host.connect();
    peer.send(&format!("{request} HTTP/1.1\r\n{headers}\r\n"));
    peer.reply()
}

#[test]
fn other_names_and_sites_are_refused() {
    let host = Host::new("-o admin_host=cache.example");
    assert_eq!(ask(&host, "GET /stats.json", "Host: cache.example:80\r\n").status, 200);
    assert_eq!(ask(&host, "GET /stats.json", "Host: evil.example\r\n").status, 403);
    assert_eq!(ask(&host, "GET http://evil.example/stats.json", "Host: localhost\r\n").status, 403);
    assert_eq!(ask(&host, "GET /stats.json", "").status, 400);
    let site =
        |origin: &str| ask(&host, "GET /stats.json", &format!("Host: localhost:9\r\nOrigin: {origin}\r\n")).status;
    assert_eq!((site("http://localhost:9"), site("http://evil.example"), site("null")), (200, 403, 403));
    let counters = &host.counters;
    assert_eq!((counters.host_refused.load(Relaxed), counters.origin_refused.load(Relaxed)), (2, 2));
    host.stop();
}

#[test]
fn a_token_is_required_but_for_health() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, "correct-horse-battery\n").unwrap();
    let host = Host::new(&format!("-o admin_token_file={}", file.display()));
    let with = |authorization: &str| {
        ask(&host, "GET /stats.json", &format!("Host: localhost\r\nAuthorization: {authorization}\r\n")).status
    };
    let refused = ask(&host, "GET /stats.json", "Host: localhost\r\n");
    assert_eq!((refused.status, refused.header("www-authenticate").starts_with("Basic ")), (401, true));
    assert_eq!(with("Bearer correct-horse-battery"), 200);
    assert_eq!(with(&format!("Basic {}", STANDARD.encode("any:correct-horse-battery"))), 200);
    assert_eq!(with("Bearer correct-horse-batterY"), 401);
    assert_eq!(ask(&host, "GET /nothing", "Host: localhost\r\n").status, 401, "paths are not told apart");
    assert_eq!(ask(&host, "GET /events", "Host: localhost\r\n").status, 401);
    assert_eq!(ask(&host, "GET /healthz", "Host: localhost\r\n").status, 200);
    assert_eq!(host.counters.token_refused.load(Relaxed), 4);
    host.stop();
}

#[test]
fn an_address_of_other_machines_needs_a_token() {
    let start = |more: &str| Server::start(settings(&format!("-l 127.0.0.1 -p -1 -t 1 -m 64 -k {more}"))).err();
    let refused = start("--admin=0.0.0.0:0").unwrap();
    assert_eq!(refused.code, 64);
    assert_eq!(
        refused.message,
        "ERROR: Other machines reach the admin address 0.0.0.0:0: give -o admin_token_file, or admin_insecure"
    );
    assert_eq!(start("--admin=0.0.0.0:0 -o admin_insecure"), None);
    let missing = start("--admin=127.0.0.1:0 -o admin_token_file=/nothing/there").unwrap();
    assert_eq!(missing.message, "admin token: /nothing/there: No such file or directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let refused = start(&format!("--admin={address}")).unwrap();
    assert_eq!(refused.code, 71);
    assert_eq!(refused.message, format!("failed to listen on admin address {address}: Address already in use"));
}

#[test]
fn switches_need_leave() {
    let refuses = Host::new("");
    let post = |host: &Host, name: &str, body: &str| {
        let headers = format!("Host: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut peer = host.connect();
        peer.send(&format!("POST /switch/{name} HTTP/1.1\r\n{headers}"));
        let reply = peer.reply();
        (reply.status, reply.body)
    };
    assert_eq!(post(&refuses, "verbosity", "1").0, 403);
    assert_eq!(refuses.shared.runtime.verbose(), 0);
    refuses.stop();

    let host = Host::new("-o admin_write");
    assert_eq!(post(&host, "verbosity", " 1\n"), (200, "ok\n".to_owned()));
    assert_eq!(host.shared.runtime.verbose(), 1);
    for body in ["", "x", "3", "-1"] {
        assert_eq!(post(&host, "verbosity", body).0, 400, "{body}");
    }
    assert_eq!(host.shared.runtime.verbose(), 1);
    assert_eq!(post(&host, "verbosity", "0").0, 200);
    assert_eq!(post(&host, "refresh_certs", ""), (400, "TLS is not enabled\n".to_owned()));
    assert_eq!(post(&host, "nothing", "").0, 404);
    let reply = ask(&host, "GET /switch/verbosity", "Host: localhost\r\n");
    assert_eq!((reply.status, reply.header("allow")), (405, "POST"));
    let foreign = "Host: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n";
    assert_eq!(ask(&host, "POST /switch/verbosity", foreign).status, 403);
    host.stop();
}

#[test]
fn with_tls_the_listener_speaks_it() {
    let files = Files::new();
    let host = Host::new(&files.options("admin_conns=9"));
    let get = |config| {
        let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(client, TcpStream::connect(host.admin).unwrap());
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(get(files.client_config(rustls::ALL_VERSIONS, None)).ends_with("\r\n\r\nok\n"));
    let mut plain = host.connect();
    plain.request("GET /healthz");
    assert!(!plain.rest().contains("200"), "nothing in the clear");
    crate::support::until("counted", || host.counters.tls_errors.load(Relaxed) == 1);
    host.until_empty();
    host.stop();
}

#[test]
fn a_unix_socket_is_its_users_alone_and_goes_with_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    for _ in 0..2 {
        let args = format!("-l 127.0.0.1 -p -1 -t 1 -m 64 -k --admin={}", path.display());
        let running = Server::start(settings(&args)).unwrap().spawn().unwrap();
        let file = fs::symlink_metadata(&path).unwrap();
        assert!(file.file_type().is_socket());
        assert_eq!(file.permissions().mode() & 0o777, 0o700);
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "no browser reaches it: {text}");
        running.shutdown().unwrap();
        assert!(!path.exists());
    }
    fs::write(&path, "mine").unwrap();
    let args = format!("-l 127.0.0.1 -p -1 -t 1 -m 64 -k --admin={}", path.display());
    let refused = Server::start(settings(&args)).err().unwrap();
    assert_eq!(refused.message, format!("failed to listen on admin socket {}: Address already in use", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn one_client_is_no_other_ones_limit() {
    let host = Host::new("");
    let mut peers: Vec<Peer> = (0..64).map(|_| host.connect()).collect();
    for peer in &mut peers {
        peer.request("GET /stats.json");
    }
    for peer in &mut peers {
        assert_eq!(peer.reply().status, 200);
    }
    assert_eq!(host.counters.answers_refused.load(Relaxed), 0);
    host.stop();
}
