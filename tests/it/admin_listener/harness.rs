//! A server with an admin listener in process, and a client that writes raw bytes.

use crate::support::{DEADLINE, settings};
use oxcached::server::{Running, Server};
use oxcached::settings::Settings;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A running server.
pub struct Host {
    running: Option<Running>,
    pub clients: SocketAddr,
    pub admin: SocketAddr,
}

impl Host {
    /// A server with `--admin` on a free port and these further arguments.
    pub fn new(args: &str) -> Self {
        Self::with(args, |_| ())
    }

    /// [`Host::new`] with changed settings.
    pub fn with(args: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings(&format!("-l 127.0.0.1 -p -1 -t 1 -m 64 --admin=127.0.0.1:0 {args}"));
        // Reserves address space for `-m` alone: stores are never freed.
        settings.lock_memory = true;
        change(&mut settings);
        let server = Server::start(settings).unwrap();
        let (clients, admin) = (server.addresses()[0], server.admin().unwrap().addresses()[0]);
        Self { running: Some(server.spawn().unwrap()), clients, admin }
    }

    /// A connection to the admin listener.
    pub fn connect(&self) -> Peer {
        Peer::to(self.admin)
    }

    /// Status and body of one request on its own connection.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut peer = self.connect();
        peer.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let reply = peer.reply();
        (reply.status, reply.body)
    }

    /// Stops the server; fails if that takes longer than a test may.
    pub fn stop(mut self) {
        self.running.take().unwrap().shutdown().unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.shutdown();
        }
    }
}

/// One HTTP response.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    /// Value of a header.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let line = self
            .head
            .lines()
            .find(|line| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name)));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head)).split_once(':').unwrap().1.trim()
    }
}

/// A client of raw bytes.
pub struct Peer {
    pub socket: TcpStream,
    /// Received and not yet looked at.
    got: Vec<u8>,
}

impl Peer {
    pub fn to(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, got: Vec::new() }
    }

    pub fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    /// Reads more bytes; false at the end of the stream.
    fn more(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let count = match self.socket.read(&mut bytes) {
            Ok(count) => count,
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(e) => panic!("no byte arrives: {e}; so far {:?}", String::from_utf8_lossy(&self.got)),
        };
        self.got.extend_from_slice(&bytes[..count]);
        count > 0
    }

    fn line_end(&mut self, mark: &[u8]) -> usize {
        loop {
            if let Some(at) = self.got.windows(mark.len()).position(|part| part == mark) {
                return at + mark.len();
            }
            assert!(self.more(), "the connection ends in a head: {:?}", String::from_utf8_lossy(&self.got));
        }
    }

    /// The head of the next response.
    pub fn head(&mut self) -> Reply {
        let end = self.line_end(b"\r\n\r\n");
        let head: Vec<u8> = self.got.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head, body: String::new() }
    }

    /// The next response, with a body of known length.
    pub fn reply(&mut self) -> Reply {
        let mut reply = self.head();
        let length: usize = reply.header("content-length").parse().unwrap();
        reply.body = String::from_utf8(self.take(length)).unwrap();
        reply
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.got.len() < count {
            assert!(self.more(), "{count} bytes were to come, not {:?}", String::from_utf8_lossy(&self.got));
        }
        self.got.drain(..count).collect()
    }

    /// Everything until the server closes the connection.
    pub fn rest(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.got)).into_owned()
    }
}
