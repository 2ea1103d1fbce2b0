//! A TLS stream over a TCP socket: the handshake, and bytes in both directions.
//!
//! Owns the socket and rustls' state for it. Must not know certificates (`tls` makes the configuration) nor what the
//! bytes mean. `transport` calls it in place of a plain socket and keeps the same contract: a read reports when nothing
//! more is there, a write reports how much it took.
//!
//! Two differences to a socket: a read shorter than asked does not prove that the socket is drained
//! ([`TlsStream::may_have_more`]), and bytes that a write took may still wait here, encrypted
//! ([`TlsStream::has_unsent`]). The handshake happens inside reads; until it is complete they return nothing.

use crate::limits::{TLS_READ, TLS_RECORD_MAX};
use crate::tls::{Tls, TlsCounters};
use mio::net::TcpStream;
use rustls::{Error, ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Minimum cipher text for which a read goes through the worker's buffer.
const DETOUR_MIN: usize = 4096;

/// Server side of one encrypted connection.
pub(super) struct TlsStream {
    socket: TcpStream,
    tls: ServerConnection,
    counters: Arc<TlsCounters>,
    /// The last read of the socket was short: the rest needs an event.
    drained: bool,
    /// The socket has returned `WouldBlock`. A short read that held nothing for the caller does not imply that: the
    /// peer's end of stream may have come with it, in the same event.
    blocked: bool,
    /// The peer has sent its last byte.
    ended: bool,
    /// Something was sent since [`TlsStream::take_sent`].
    sent: bool,
    /// Why later input cannot be decrypted.
    failure: Option<Error>,
}

/// Destination of decrypted bytes: slices, filled in order.
struct CipherSink<'a, 'b> {
    parts: &'a mut [IoSliceMut<'b>],
    /// The slice being filled, and the offset in it.
    part: usize,
    at: usize,
    taken: usize,
}

impl CipherSink<'_, '_> {
    fn room(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Takes decrypted bytes until the slices are full.
    fn take(&mut self, tls: &mut ServerConnection) {
        while let Some(part) = self.parts.get_mut(self.part) {
            // The reader's errors report an empty buffer or the end of the stream; both are tracked elsewhere.
            let n = tls.reader().read(&mut part[self.at..]).unwrap_or(0);
            self.taken += n;
            self.at += n;
            if self.at < part.len() {
                return;
            }
            (self.part, self.at) = (self.part + 1, 0);
        }
    }
}

/// Reader for the library that records whether a read drained the socket.
struct Watched<'a> {
    socket: &'a mut TcpStream,
    drained: bool,
    blocked: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let result = self.socket.read(into);
        self.drained = !matches!(result, Ok(n) if n == into.len());
        self.blocked = matches!(&result, Err(error) if error.kind() == ErrorKind::WouldBlock);
        result
    }
}

impl TlsStream {
    /// A stream before its handshake.
    pub(super) fn new(socket: TcpStream, config: Arc<ServerConfig>, state: &Tls) -> Result<Self, Error> {
        let mut tls = ServerConnection::new(config)?;
        tls.set_buffer_limit(Some(state.write_size()));
        let counters = Arc::clone(state.counters());
        Ok(Self { socket, tls, counters, drained: false, blocked: false, ended: false, sent: false, failure: None })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether the handshake is unfinished.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Counts a handshake that took too long.
    pub(super) fn too_slow(&self) {
        self.counters.handshake_errors.fetch_add(1, Relaxed);
    }

    /// Reads from the socket at most once, through `scratch`, which holds nothing between calls. `Interrupted`: bytes
    /// came, but none for the caller; it must call again, after other connections have had their turn. `InvalidData`: a
    /// TLS error; its text is for watchers.
    pub(super) fn read(&mut self, into: &mut [IoSliceMut<'_>], scratch: &mut Vec<u8>) -> io::Result<usize> {
        // Reset before each read: there may have been an event since the last one.
        (self.drained, self.blocked) = (false, false);
        let mut sink = CipherSink { parts: into, part: 0, at: 0, taken: 0 };
        sink.take(&mut self.tls);
        if sink.taken == 0 && !self.ended && self.failure.is_none() {
            self.receive(&mut sink, scratch)?;
            // Answers a handshake or key update at once; what the socket does not take is `has_unsent`.
            if self.failure.is_none() && self.tls.wants_write() {
                self.flush()?;
            }
        }
        match (sink.taken, &self.failure) {
            (0, Some(failure)) => Err(io::Error::new(ErrorKind::InvalidData, failure.clone())),
            (0, None) if self.ended => Ok(0),
            (0, None) if self.blocked => Err(ErrorKind::WouldBlock.into()),
            (0, None) => Err(ErrorKind::Interrupted.into()),
            (n, _) => Ok(n),
        }
    }

    /// Reads the socket once and decrypts into `sink`.
    fn receive(&mut self, sink: &mut CipherSink<'_, '_>, scratch: &mut Vec<u8>) -> io::Result<()> {
        // rustls may still hold up to one record less a byte; that and the bytes read now must fit into the sink.
        let size = sink.room().saturating_sub(TLS_RECORD_MAX).min(TLS_READ);
        if size < DETOUR_MIN || self.tls.is_handshaking() || !make_room(scratch) {
            let mut socket = Watched { socket: &mut self.socket, drained: false, blocked: false };
            let result = self.tls.read_tls(&mut socket);
            (self.drained, self.blocked) = (socket.drained, socket.blocked);
            match result {
                Ok(0) => self.ended = true,
                Ok(_) => self.process(sink),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            return Ok(());
        }
        let mut bytes = match self.socket.read(&mut scratch[..size]) {
            Ok(0) => {
                self.ended = true;
                return Ok(());
            }
            Ok(n) => {
                self.drained = n < size;
                &scratch[..n]
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                (self.drained, self.blocked) = (true, true);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        while !bytes.is_empty() && self.failure.is_none() && !self.ended {
            self.tls.read_tls(&mut bytes)?;
            self.process(sink);
        }
        Ok(())
    }

    fn process(&mut self, sink: &mut CipherSink<'_, '_>) {
        let handshaking = self.tls.is_handshaking();
        let processed = self.tls.process_new_packets();
        match processed {
            Ok(state) => self.ended |= state.peer_has_closed(),
            Err(error) => {
                let foreign = matches!(error, Error::InvalidMessage(_));
                let counters = &self.counters;
                let counter = if handshaking && !foreign { &counters.handshake_errors } else { &counters.proto_errors };
                counter.fetch_add(1, Relaxed);
                // Sends the alert to TLS peers only; another protocol's client could not parse it.
                if !(handshaking && foreign) {
                    let _ = self.flush();
                }
                self.failure = Some(error);
            }
        }
        sink.take(&mut self.tls);
    }

    /// Whether a read may return bytes although the last one, of `n` of `asked` bytes, was short.
    pub(super) fn may_have_more(&self, n: usize, asked: usize) -> bool {
        n >= asked || !self.drained || self.ended || self.failure.is_some()
    }

    /// Encrypts what fits into the library's buffer and sends what the socket takes. Encrypted bytes count as written;
    /// they are sent before anything later.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.flush()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        let n = self.tls.writer().write_vectored(slices)?;
        self.flush()?;
        Ok(n)
    }

    /// Whether encrypted bytes wait for room in the socket.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    /// Whether something was sent since the last call.
    pub(super) fn take_sent(&mut self) -> bool {
        std::mem::take(&mut self.sent)
    }

    /// Sends encrypted bytes; false if the socket is full.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => self.sent = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sends `close_notify`, if the socket takes it at once.
    pub(super) fn close(&mut self) {
        if self.failure.is_none() && !self.tls.is_handshaking() {
            self.tls.send_close_notify();
            let _ = self.flush();
        }
    }
}

/// Allocates the worker's buffer on first use. Without memory the library reads by itself, 4 KB at a time.
#[inline]
fn make_room(scratch: &mut Vec<u8>) -> bool {
    let missing = TLS_READ.saturating_sub(scratch.len());
    let fits = missing == 0 || scratch.try_reserve_exact(missing).is_ok();
    if fits {
        scratch.resize(TLS_READ, 0);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;
    use std::io::Write;

    /// A client's first bytes and its end of stream arrive in one event.
    #[test]
    fn an_end_that_comes_with_half_a_record_is_seen() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        client.write_all(&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]).unwrap();
        drop(client);
        socket.set_nonblocking(true).unwrap();
        let mut stream = TlsStream {
            socket: TcpStream::from_std(socket),
            tls: ServerConnection::new(config).unwrap(),
            counters: Arc::default(),
            drained: false,
            blocked: false,
            ended: false,
            sent: false,
            failure: None,
        };
        let mut room = [0; 4096];
        loop {
            match stream.read(&mut [IoSliceMut::new(&mut room)], &mut Vec::new()) {
                Ok(n) => break assert_eq!(n, 0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "no event would follow"),
            }
        }
    }
}
