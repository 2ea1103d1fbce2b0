//! Owns one connection to a server, plain or TLS, which never blocks. Called by `drive`.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::Shutdown;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;

use crate::server::At;
use crate::tls;

pub struct Wire {
    link: Link,
    /// Bytes to send, of which the link has taken the first `written`.
    pub output: Vec<u8>,
    pub written: usize,
    /// Received bytes.
    pub input: Vec<u8>,
    pub closed: bool,
}

enum Link {
    Unix(UnixStream),
    Tls(TcpStream, Box<ClientConnection>),
}

impl Wire {
    pub fn open(at: &At, registry: &Registry) -> Wire {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let link = match at {
            At::Unix(path) => {
                let mut stream = UnixStream::connect(path).unwrap();
                registry.register(&mut stream, Token(0), interest).unwrap();
                Link::Unix(stream)
            }
            At::Tls(address) => {
                let stream = std::net::TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_nonblocking(true).unwrap();
                let mut stream = TcpStream::from_std(stream);
                registry.register(&mut stream, Token(0), interest).unwrap();
                Link::Tls(stream, Box::new(tls::client()))
            }
            At::Udp(_) => unreachable!("datagrams are no stream"),
        };
        Wire { link, output: Vec::new(), written: 0, input: Vec::new(), closed: false }
    }

    /// Writes and reads until the socket blocks.
    pub fn pump(&mut self) {
        let began = self.link.is_handshaking();
        self.send();
        self.receive();
        if began && !self.link.is_handshaking() {
            self.send();
        }
    }

    fn send(&mut self) {
        while self.written < self.output.len() {
            match self.link.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(problem) if problem.kind() == ErrorKind::WouldBlock => return,
                Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
                // The server has closed: the rest is dropped, and reading shows the close.
                Err(_) => self.written = self.output.len(),
            }
        }
    }

    fn receive(&mut self) {
        let mut chunk = [0; 65536];
        while !self.closed {
            match self.link.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(problem) if problem.kind() == ErrorKind::WouldBlock => return,
                Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
                // Reset: a close that left some of our bytes unread.
                Err(_) => self.closed = true,
            }
        }
    }

    /// Whether the kernel has all bytes to send.
    pub fn is_sent(&self) -> bool {
        let held = match &self.link {
            Link::Unix(_) => false,
            Link::Tls(_, session) => session.is_handshaking() || session.wants_write(),
        };
        self.written == self.output.len() && (self.closed || !held)
    }

    /// Ends the sending side. Failure is ignored: the server has closed first.
    pub fn half_close(&mut self) {
        let _ = match &mut self.link {
            Link::Unix(stream) => stream.shutdown(Shutdown::Write),
            Link::Tls(stream, session) => {
                session.send_close_notify();
                flush(stream, session).and_then(|()| stream.shutdown(Shutdown::Write))
            }
        };
    }
}

impl Link {
    fn is_handshaking(&self) -> bool {
        matches!(self, Link::Tls(_, session) if session.is_handshaking())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Link::Unix(stream) => stream.write(bytes),
            Link::Tls(stream, session) => {
                flush(stream, session)?;
                let taken = session.writer().write(bytes)?;
                match flush(stream, session) {
                    Err(problem) if problem.kind() != ErrorKind::WouldBlock => Err(problem),
                    // It takes some bytes before the handshake is complete, and no more.
                    _ if taken == 0 => Err(ErrorKind::WouldBlock.into()),
                    _ => Ok(taken),
                }
            }
        }
    }

    fn read(&mut self, chunk: &mut [u8]) -> Result<usize> {
        let (stream, session) = match self {
            Link::Unix(stream) => return stream.read(chunk),
            Link::Tls(stream, session) => (stream, session),
        };
        loop {
            match session.reader().read(chunk) {
                Err(problem) if problem.kind() == ErrorKind::WouldBlock => {}
                // The end, with or without a closing alert.
                Err(problem) if problem.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            match flush(stream, session) {
                Err(problem) if problem.kind() != ErrorKind::WouldBlock => return Err(problem),
                _ => {}
            }
            session.read_tls(stream)?;
            session.process_new_packets().map_err(Error::other)?;
        }
    }
}

/// Sends bytes that are already encrypted.
fn flush(stream: &mut TcpStream, session: &mut ClientConnection) -> Result<()> {
    while session.wants_write() {
        session.write_tls(stream)?;
    }
    Ok(())
}
