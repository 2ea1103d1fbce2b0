//! SIGTERM and SIGUSR1 end the server in every state of its connections: each conversation of the hostile clients, in
//! the state that docs/connection.md names, unread, and then the signal. Runs the real binary. These tests assert
//! that the server ends; `scripts/torture ends` prints how soon.

#[path = "../../../benches/torture/kinds.rs"]
#[allow(dead_code)]
mod kinds;

use crate::support::until;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};

use kinds::{Door, KINDS, Kind};
use socket2::SockRef;
use tempfile::TempDir;

const CLIENTS: usize = 3;

/// A server with a plain first listener, and an admin listener as its last; one with a guarded door requires logins at
/// the first, and TLS at its second.
struct Server {
    child: Child,
    ports: Vec<u16>,
    login: bool,
    _dir: TempDir,
}

impl Server {
    fn start(door: Door) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut command = crate::program();
        command.args(["-p", "-1", "-U", "0", "-t", "2", "--admin=127.0.0.1:0"]);
        let login = matches!(door, Door::Login | Door::Tls);
        if !login {
            command.args(["-l", "127.0.0.1"]);
        } else {
            let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            fs::write(path("chain.pem"), pair.cert.pem()).unwrap();
            fs::write(path("key.pem"), pair.signing_key.serialize_pem()).unwrap();
            fs::write(path("users"), "host:welcome\n").unwrap();
            let ssl = format!("ssl_chain_cert={},ssl_key={}", path("chain.pem"), path("key.pem"));
            command.args(["-l", "notls:127.0.0.1,127.0.0.1", "-Z", "-o", &ssl, "-Y", &path("users")]);
        }
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["-u", "root"]);
        }
        command.env("MEMCACHED_PORT_FILENAME", path("ports")).env_remove("RUST_LOG");
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { child, ports: Vec::new(), login, _dir: dir };
        let file = server._dir.path().join("ports");
        until("port file", || {
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended at once");
            file.exists()
        });
        let text = fs::read_to_string(file).unwrap();
        server.ports = text.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        server
    }

    fn connect(&self, door: Door) -> TcpStream {
        let listener = match door {
            Door::Plain | Door::Login => 0,
            Door::Tls => 1,
            Door::Admin => self.ports.len() - 1,
        };
        let stream = TcpStream::connect(("127.0.0.1", self.ports[listener])).unwrap();
        SockRef::from(&stream).set_recv_buffer_size(16 * 1024).unwrap();
        stream
    }

    /// Number of connections that `stats conns` shows in a state.
    fn in_state(&self, operator: &mut BufReader<TcpStream>, state: &str) -> usize {
        operator.get_mut().write_all(b"stats conns\r\n").unwrap();
        let (mut count, mut line) = (0, String::new());
        while line != "END\r\n" {
            line.clear();
            assert_ne!(operator.read_line(&mut line).unwrap(), 0, "the operator's connection was closed");
            count += usize::from(line.trim_end().ends_with(&format!(":state {state}")));
        }
        count
    }

    fn operator(&self) -> BufReader<TcpStream> {
        let mut operator = BufReader::new(self.connect(Door::Plain));
        if self.login {
            operator.get_mut().write_all(b"set login 0 0 12\r\nhost welcome\r\n").unwrap();
            let mut line = String::new();
            operator.read_line(&mut line).unwrap();
            assert_eq!(line, "STORED\r\n");
        }
        operator
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends what the socket accepts; the rest stays in `words`.
fn send(stream: &mut TcpStream, words: &mut Vec<u8>) {
    while !words.is_empty() {
        match stream.write(words) {
            Ok(n) => drop(words.drain(..n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            // Closed by the server, as garbage should be.
            Err(_) => words.clear(),
        }
    }
}

fn ends_beside(kind: &Kind, signal: &str) {
    let mut server = Server::start(kind.door);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| (server.connect(kind.door), (kind.words)(&mut rng))).collect();
    clients.iter().for_each(|(stream, _)| stream.set_nonblocking(true).unwrap());
    let mut operator = server.operator();
    match kind.shown {
        Some(state) => until(&format!("{} in {state}", kind.name), || {
            clients.iter_mut().for_each(|(stream, words)| send(stream, words));
            server.in_state(&mut operator, state) >= CLIENTS
        }),
        None => clients.iter_mut().for_each(|(stream, words)| send(stream, words)),
    }
    let told = Command::new("sh").args(["-c", &format!("kill -{signal} {}", server.child.id())]).status().unwrap();
    assert!(told.success());
    let mut status = None;
    until(&format!("the end by SIG{signal} beside: {}", kind.name), || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0), "SIG{signal} beside: {}", kind.name);
}

#[test]
fn r3_5_sigterm_ends_the_server_beside_clients_in_every_state() {
    KINDS.iter().for_each(|kind| ends_beside(kind, "TERM"));
}

#[test]
fn r3_5_sigusr1_ends_the_server_beside_clients_in_every_state() {
    KINDS.iter().for_each(|kind| ends_beside(kind, "USR1"));
}

#[test]
fn every_state_of_a_connection_has_a_conversation_that_leads_there() {
    for state in ["new_cmd", "read", "nread", "swallow", "mwrite", "watch"] {
        let state = format!("conn_{state}");
        assert!(KINDS.iter().any(|kind| kind.shown == Some(&state)), "{state}");
    }
}
