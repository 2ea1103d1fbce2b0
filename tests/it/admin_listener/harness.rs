//! A server with an admin listener in process, and a client that writes raw bytes.

use crate::support::{DEADLINE, settings, until};
use oxcached::admin::{AdminCounters, Hub};
use oxcached::proto::Shared;
use oxcached::server::{Running, Server};
use oxcached::settings::Settings;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A running server.
pub struct Host {
    running: Option<Running>,
    pub clients: SocketAddr,
    pub admin: SocketAddr,
    pub hub: Arc<Hub>,
    pub counters: Arc<AdminCounters>,
    pub shared: Arc<Shared>,
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
        let (clients, shared) = (server.addresses()[0], Arc::clone(server.shared()));
        let thread = server.admin().unwrap();
        let (admin, hub) = (thread.addresses()[0], Arc::clone(thread.hub()));
        let counters = Arc::clone(thread.counters());
        Self { running: Some(server.spawn().unwrap()), clients, admin, hub, counters, shared }
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

    /// Waits until every connection has ended.
    pub fn until_empty(&self) {
        until("no connection", || self.counters.conns.load(Relaxed) == 0);
        assert_eq!(self.counters.viewers.load(Relaxed), 0);
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
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// A peer whose kernel takes few bytes that it does not read.
    pub fn with_window(address: SocketAddr, bytes: usize) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::over(socket.into())
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, got: Vec::new() }
    }

    pub fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    /// Sends a request without a body.
    pub fn request(&mut self, line: &str) {
        self.send(&format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }

    /// Begins a WebSocket.
    pub fn upgrade(&mut self) {
        self.send(
            "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        let reply = self.head();
        assert_eq!(reply.status, 101, "{}", reply.head);
        assert_eq!(reply.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    /// Sends a masked frame with this first byte: FIN, reserved bits, opcode.
    pub fn frame(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(0x80 | short as u8),
            long => bytes.extend([0x80 | 126, (long >> 8) as u8, long as u8]),
        }
        let mask = [7, 1, 2, 3];
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        // The server may have closed its side already.
        let _ = self.socket.write_all(&bytes);
    }

    /// Opcode and payload of the server's next frame.
    pub fn next_frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.take(2);
        assert_eq!(head[0] & 0xf0, 0x80, "each frame is whole");
        let length = match head[1] {
            126 => self.take(2).iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
            127 => self.take(8).iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
            short => usize::from(short),
        };
        (head[0] & 0xf, self.take(length))
    }

    /// Code of the server's close frame, behind any other frames.
    pub fn close_code(&mut self) -> u16 {
        loop {
            let (opcode, payload) = self.next_frame();
            if opcode == 8 {
                return u16::from(payload[0]) << 8 | u16::from(payload[1]);
            }
        }
    }

    /// Reads text frames until one of this text comes.
    pub fn until_text(&mut self, text: &str) {
        while self.next_frame() != (1, text.as_bytes().to_vec()) {}
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
        if reply.status == 304 {
            return reply; // has no body
        }
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

    /// The next line.
    pub fn line(&mut self) -> String {
        let end = self.line_end(b"\n");
        String::from_utf8(self.got.drain(..end).collect()).unwrap()
    }

    /// Reads until this line comes.
    pub fn until_line(&mut self, line: &str) {
        let end = self.line_end(format!("{line}\n").as_bytes());
        self.got.drain(..end);
    }

    /// Everything until the server closes the connection.
    pub fn rest(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.got)).into_owned()
    }
}
