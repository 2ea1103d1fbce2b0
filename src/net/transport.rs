//! The byte stream under a connection.
//!
//! Owns the socket: dropping a [`Transport`] closes it. All stream I/O goes through here; an encrypted stream is one
//! more variant. Knows neither buffers nor protocols; `conn` calls it.
//!
//! Contract of all variants: a read after which [`Transport::may_have_more`] is false, or that would block, has drained
//! the socket. After a write, [`Transport::is_full`] indicates whether the rest must wait for an event.
//!
//! # When a short read drains the socket
//! Events are edge-triggered: each is delivered once. Bytes that were there when it was delivered and are left unread
//! cause no other event; bytes that arrive later do. So a read that returns less than asked may count as the last one
//! only if the kernel returns less for no other reason than an empty queue:
//! - TCP stops at an urgent mark. `poll` reports a mark with `EPOLLPRI`, as does the event that delivers the bytes
//!   around it: without `EPOLLPRI`, a short read is proof. After it the caller never takes a short read for proof, nor
//!   `EAGAIN`, which at a mark also stands for a pending signal: it makes the kernel check the queue again
//!   ([`Transport::reregister`]).
//! - A Unix socket stops at each message that carries descriptors, and at an out-of-band byte, and only the first
//!   shows, in a flag that `read` does not return. Only `EAGAIN` is proof; it has no other reason.
//! - TLS reads a TCP socket: the same mark, and its own buffers.
//!
//! A short write always means a full send buffer: the kernel notes that it owes an event before it gives up, and the
//! bytes that it took free room when the peer takes them.

use super::tls::TlsStream;
use crate::sys::socket::{unacknowledged, unread};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Which directions the peer has closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Peer {
    Open,
    /// It has sent its last byte: read on until the end of the stream, no further event will come.
    Ended,
    /// It has disconnected: nothing that is sent reaches it.
    Gone,
}

/// A connected, non-blocking stream socket.
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed: the state of a TLS connection is large, and plain ones should not pay for it.
    Tls(Box<TlsStream>),
}

impl Transport {
    pub(super) fn fd(&self) -> i32 {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tls(stream) => stream.socket().as_raw_fd(),
        }
    }

    pub(super) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Tls(_))
    }

    /// Reads once. `scratch` is memory for a stream that must decrypt first. An encrypted stream returns `Interrupted`
    /// when bytes came that hold nothing for the caller.
    #[inline]
    pub(super) fn read(&mut self, into: &mut [u8], scratch: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(&mut [IoSliceMut::new(into)], scratch),
        }
    }

    pub(super) fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>], scratch: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_vectored(into),
            Self::Unix(stream) => stream.read_vectored(into),
            Self::Tls(stream) => stream.read(into, scratch),
        }
    }

    /// Whether another read may return bytes, after one of `n` of `asked` bytes, if no urgent data has come.
    #[inline]
    pub(super) fn may_have_more(&self, n: usize, asked: usize) -> bool {
        match self {
            Self::Tcp(_) => n >= asked,
            Self::Unix(_) => true,
            Self::Tls(stream) => stream.may_have_more(n, asked),
        }
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(&[IoSlice::new(bytes)]),
        }
    }

    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
            Self::Tls(stream) => stream.write(slices),
        }
    }

    /// Whether the send buffer is full, after a write that took `n` of `offered`.
    #[inline]
    pub(super) fn is_full(&self, n: usize, offered: usize) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => n < offered,
            Self::Tls(stream) => stream.has_unsent(),
        }
    }

    /// Sends what earlier writes took but did not send; false if the send buffer is full.
    #[inline]
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(true),
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// Whether an encrypted stream has sent something since the last call.
    pub(super) fn take_sent(&mut self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.take_sent(),
        }
    }

    /// Has the system probe a silent peer at this interval, and reset the connection after 6 probes without an answer.
    /// A unix socket needs none: its peer is a process of this machine.
    pub(super) fn probe_peer(&self, interval: Duration) {
        let socket = match self {
            Self::Unix(_) => return,
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Tls(stream) => SockRef::from(stream.socket()),
        };
        let probes = TcpKeepalive::new().with_time(interval).with_interval(interval).with_retries(6);
        if let Err(error) = socket.set_tcp_keepalive(&probes) {
            log::warn!("a silent watcher is not probed: {error}");
        }
    }

    /// Whether the kernel holds bytes that were not read; true where it does not tell.
    pub(super) fn has_unread(&self) -> bool {
        unread(self.as_fd()).map_or(true, |bytes| bytes > 0)
    }

    /// Whether the peer's machine has everything that was sent, the end of the stream included.
    pub(super) fn is_acknowledged(&self) -> bool {
        !self.is_tcp() || unacknowledged(self.as_fd()).is_ok_and(|bytes| bytes == 0)
    }

    /// Ends the stream to the peer, after what was sent.
    pub(super) fn end_writing(&mut self) -> io::Result<()> {
        self.close();
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => stream.socket().shutdown(Shutdown::Write),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.socket().as_fd(),
        }
    }

    /// Makes the close discard unsent bytes: the peer reads a reset.
    pub(super) fn abandon(&self) {
        let socket = match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
            Self::Tls(stream) => SockRef::from(stream.socket()),
        };
        if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
            log::debug!("linger: {error}");
        }
    }

    /// Whether a TLS handshake is unfinished.
    #[inline]
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.is_handshaking())
    }

    /// Counts a handshake that took too long.
    pub(super) fn too_slow(&self) {
        if let Self::Tls(stream) = self {
            stream.too_slow();
        }
    }

    /// Sends `close_notify` on an encrypted stream, if it can be sent at once.
    pub(super) fn close(&mut self) {
        if let Self::Tls(stream) = self {
            stream.close();
        }
    }

    /// Starts events.
    pub(super) fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.source().register(registry, token, interest)
    }

    /// Changes the requested events. Reports the present readiness as a new event, so nothing is lost between a failed
    /// attempt and this call.
    pub(super) fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.source().reregister(registry, token, interest)
    }

    /// Ends events.
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
            Self::Tls(stream) => stream.socket_mut(),
        }
    }
}
