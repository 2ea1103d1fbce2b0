//! A listening socket and what its clients inherit from it.
//!
//! Owns the socket. Must not know how it was opened nor what happens to its clients. `bind` makes the listeners from
//! the settings, `inherited` from those of the service manager; `acceptor` takes them over.

use crate::proto::Protocol;
use crate::settings::{ProtocolChoice, Transport};
use crate::sys::unix_socket::SocketFile;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// One listening socket.
pub struct Listener {
    /// The socket: non-blocking, bound, and listening unless it is a datagram socket.
    pub socket: ListenSocket,
    /// Bound address; `None` for unix sockets.
    pub local: Option<SocketAddr>,
    /// Path of a unix socket.
    pub path: Option<String>,
    /// File of a unix socket that goes with the listener.
    pub file: Option<SocketFile>,
    /// Protocol of its clients.
    pub protocol: Protocol,
    /// Transport of its clients' bytes: plain or TLS.
    pub transport: Transport,
}

/// Protocol of a listener's clients.
pub(super) fn protocol(choice: ProtocolChoice) -> Protocol {
    match choice {
        ProtocolChoice::Negotiating => Protocol::Negotiating,
        ProtocolChoice::Ascii => Protocol::Ascii,
        ProtocolChoice::Binary => Protocol::Binary,
    }
}

/// The kinds of listening sockets.
pub enum ListenSocket {
    /// Stream socket on a network address.
    Tcp(mio::net::TcpListener),
    /// Stream socket on a path.
    Unix(mio::net::UnixListener),
    /// Datagram socket on a network address.
    Udp(mio::net::UdpSocket),
}

impl ListenSocket {
    /// The descriptor, which identifies the socket in verbose lines and `stats conns`.
    pub fn fd(&self) -> i32 {
        self.as_fd().as_raw_fd()
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.source().register(registry, token, Interest::READABLE)
    }

    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(socket) => socket,
            Self::Unix(socket) => socket,
            Self::Udp(socket) => socket,
        }
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}
