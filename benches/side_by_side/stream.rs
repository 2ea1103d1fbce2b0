//! Owns a non-blocking connection of the loaders: TCP, a unix socket, or TLS over TCP. Called by `loader` and `pace`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use socket2::{Domain, Socket, Type};

use crate::Outcome;
use crate::server::Server;
use crate::tls::Tls;

/// How a load reaches its server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Unix,
    Tls,
}

pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<(ClientConnection, TcpStream)>),
}

impl Stream {
    /// Begins connection `number` of a load. One of many that follow each other is made from one of many addresses:
    /// each has its own ports, so connections in TIME_WAIT do not use them all up.
    pub fn connect(
        server: &Server,
        transport: Transport,
        listener: usize,
        tls: Option<&Tls>,
        number: Option<u32>,
    ) -> Outcome<Stream> {
        let tcp = || -> Outcome<TcpStream> {
            let port = server.port_of(listener).ok_or("the server has no such listener")?;
            let to = SocketAddr::from(([127, 0, 0, 1], port));
            number.map_or_else(|| Ok(TcpStream::connect(to)?), |number| connect_from(number, to))
        };
        Ok(match transport {
            Transport::Tcp => Stream::Tcp(tcp()?),
            Transport::Unix => Stream::Unix(UnixStream::connect(server.socket().ok_or("no unix socket")?)?),
            Transport::Tls => {
                let mut client = tls.ok_or("no certificate")?.client()?;
                client.set_buffer_limit(None);
                Stream::Tls(Box::new((client, tcp()?)))
            }
        })
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(stream) => {
                registry.register(stream, token, interest)?;
                stream.set_nodelay(true)
            }
            Stream::Unix(stream) => registry.register(stream, token, interest),
            Stream::Tls(both) => {
                registry.register(&mut both.1, token, interest)?;
                both.1.set_nodelay(true)
            }
        }
    }

    /// Whether a read that did not fill its buffer has emptied the connection.
    pub fn short_read_is_last(&self) -> bool {
        !matches!(self, Stream::Tls(_))
    }

    /// Sends what TLS has ready.
    pub fn pump(&mut self) -> io::Result<()> {
        let Stream::Tls(both) = self else { return Ok(()) };
        send_ready(&mut both.0, &mut both.1)
    }
}

fn send_ready(client: &mut ClientConnection, socket: &mut TcpStream) -> io::Result<()> {
    while client.wants_write() {
        match client.write_tls(socket) {
            Ok(_) => {}
            Err(problem) if would_block(&problem) => break,
            Err(problem) => return Err(problem),
        }
    }
    Ok(())
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tls(both) => {
                let count = both.0.writer().write(bytes)?;
                self.pump()?;
                Ok(count)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pump()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let both = match self {
            Stream::Tcp(stream) => return stream.read(buffer),
            Stream::Unix(stream) => return stream.read(buffer),
            Stream::Tls(both) => both,
        };
        loop {
            match both.0.reader().read(buffer) {
                Err(problem) if problem.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            let (client, socket) = &mut **both;
            if client.read_tls(socket)? == 0 {
                return Ok(0);
            }
            client.process_new_packets().map_err(|problem| io::Error::new(ErrorKind::InvalidData, problem))?;
            send_ready(client, socket)?;
        }
    }
}

/// Whether the connection cannot go on yet. One in progress reports NotConnected; its event arrives once it is
/// established.
pub fn would_block(problem: &io::Error) -> bool {
    matches!(problem.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

fn connect_from(number: u32, to: SocketAddr) -> Outcome<TcpStream> {
    let from = SocketAddr::from(([127, 0, 1 + (number / 250 % 200) as u8, 1 + (number % 250) as u8], 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.bind(&from.into())?;
    match socket.connect(&to.into()) {
        Err(problem) if problem.raw_os_error() != Some(libc::EINPROGRESS) => Err(problem.into()),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
