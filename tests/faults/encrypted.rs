//! Faults of TLS connections, with records split anywhere.

use crate::harness::{Faulty, beside_a_witness, errors, until};
use crate::plan::{Call, Fault};
use crate::tls::Files;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REPLY: Duration = Duration::from_secs(10);

/// A server with a plain listener and one with TLS, and the port of the latter.
fn start(files: &Files) -> (Faulty, u16) {
    let options = files.options("modern");
    let mut args = vec!["-l", "notls:127.0.0.1,127.0.0.1"];
    args.extend(options.split(' '));
    let server = Faulty::start(&args);
    let ports = std::fs::read_to_string(server.path("ports")).unwrap();
    let port = ports.lines().rev().find_map(|line| line.strip_prefix("TCP INET: ")).unwrap().parse().unwrap();
    (server, port)
}

struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    fn new(port: u16, config: &Arc<ClientConfig>) -> Self {
        let tls = ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(REPLY)).unwrap();
        Self(StreamOwned::new(tls, socket))
    }

    fn socket(&self) -> &TcpStream {
        &self.0.sock
    }

    /// The reply up to `end`, or the bytes before the server closes. Silence is a failure.
    #[track_caller]
    fn ask(&mut self, request: &str, end: &str) -> String {
        let (mut reply, mut bytes) = (Vec::new(), [0; 4096]);
        if self.0.write_all(request.as_bytes()).is_err() {
            return String::new();
        }
        while !reply.ends_with(end.as_bytes()) {
            match self.0.read(&mut bytes) {
                Ok(0) => break,
                Ok(n) => reply.extend_from_slice(&bytes[..n]),
                Err(e) => {
                    assert_ne!(e.kind(), std::io::ErrorKind::WouldBlock, "neither a reply nor a closed connection");
                    break;
                }
            }
        }
        String::from_utf8(reply).unwrap()
    }

    /// As `Client::ask_and_nudge` of the harness.
    #[track_caller]
    fn ask_and_nudge(&mut self, request: &str, end: &str) -> String {
        self.0.write_all(request.as_bytes()).unwrap();
        self.socket().set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let (mut reply, mut nudges, mut bytes, start) = (Vec::new(), 0, [0; 4096], Instant::now());
        while !reply.ends_with(format!("{end}{}", "MN\r\n".repeat(nudges)).as_bytes()) {
            match self.0.read(&mut bytes) {
                Ok(0) => panic!("closed after {} bytes", reply.len()),
                Ok(n) => reply.extend_from_slice(&bytes[..n]),
                Err(e) => {
                    assert!(e.kind() == ErrorKind::WouldBlock && start.elapsed() < REPLY, "after {}: {e}", reply.len());
                    nudges += 1;
                    self.0.write_all(b"mn\r\n").unwrap();
                }
            }
        }
        self.socket().set_read_timeout(Some(REPLY)).unwrap();
        reply.truncate(reply.len() - 4 * nudges);
        String::from_utf8(reply).unwrap()
    }
}

fn exchange(length: usize) -> (String, String) {
    let value = "v".repeat(length);
    let request = format!("set a 0 0 {length}\r\n{value}\r\nget a\r\n");
    (request, format!("STORED\r\nVALUE a 0 {length}\r\n{value}\r\nEND\r\n"))
}

#[test]
fn a_failed_call_ends_its_encrypted_connection_alone() {
    let files = Files::new();
    let config = Arc::new(files.client_config(rustls::ALL_VERSIONS, None));
    let (server, port) = start(&files);
    beside_a_witness(&server, || {
        for (call, list) in [(Call::Receive, &errors::RECEIVE[..]), (Call::Send, &errors::SEND[..])] {
            for error in list {
                let mut client = Client::new(port, &config);
                assert_eq!(client.ask("mn\r\n", "MN\r\n"), "MN\r\n");
                let fd = server.descriptor_of(client.socket());
                server.plan.set(call, Fault::error(*error).on(fd).times(1));
                // The end of the stream may include bytes that the failed call did not send.
                let reply = client.ask("get a\r\n", "END\r\n");
                let sent = call == Call::Send && reply == "END\r\n";
                assert!(reply.is_empty() || sent, "{call:?}, error {error}: {reply}");
                assert_eq!((client.ask("get a\r\n", "END\r\n").as_str(), server.plan.made(call)), ("", 1));
                server.plan.clear(call);
            }
        }
    });
    server.end();
}

#[test]
fn a_failed_handshake_affects_no_other_client() {
    let files = Files::new();
    let config = Arc::new(files.client_config(rustls::ALL_VERSIONS, None));
    let (server, port) = start(&files);
    let (request, reply) = exchange(20_000);
    let mut old = Client::new(port, &config);
    assert_eq!(old.ask(&request, "END\r\n"), reply);
    let is_free = |fd: i32| !std::path::Path::new(&format!("/proc/{}/fd/{fd}", server.pid())).exists();
    let next = (0..).find(|&fd| is_free(fd)).unwrap();
    for (call, error) in
        [(Call::Receive, errors::ECONNRESET), (Call::Send, errors::EPIPE), (Call::Send, errors::ENOBUFS)]
    {
        // The next client gets the lowest free descriptor, once the one before has released it.
        until("a free descriptor", || is_free(next));
        server.plan.set(call, Fault::error(error).on(next).times(1));
        assert_eq!(Client::new(port, &config).ask("mn\r\n", "MN\r\n"), "");
        assert_eq!(server.plan.made(call), 1, "{call:?}");
        server.plan.clear(call);
        assert_eq!(old.ask(&request, "END\r\n"), reply);
    }
    server.end();
}

#[test]
fn interrupted_and_short_calls_lose_no_record() {
    let files = Files::new();
    let config = Arc::new(files.client_config(rustls::ALL_VERSIONS, None));
    let (server, port) = start(&files);
    beside_a_witness(&server, || {
        for call in [Call::Receive, Call::Send] {
            for fault in [Fault::error(errors::EINTR), Fault::short(1), Fault::short(300)] {
                let mut client = Client::new(port, &config);
                assert_eq!(client.ask("mn\r\n", "MN\r\n"), "MN\r\n");
                let fd = server.descriptor_of(client.socket());
                server.plan.set(call, fault.on(fd).chance(50));
                // Every second call fails by chance, so a few rounds may pass without enough of them.
                for _ in 0..20 {
                    for length in [1, 100, 2000, 20_000] {
                        let (request, reply) = exchange(length);
                        assert!(client.ask_and_nudge(&request, "END\r\n") == reply, "{call:?} of {length} bytes");
                    }
                    if server.plan.made(call) > 2 {
                        break;
                    }
                }
                assert!(server.plan.made(call) > 2);
                server.plan.clear(call);
            }
        }
    });
    server.end();
}
