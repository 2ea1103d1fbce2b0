//! The byte stream to a server: TCP, a unix socket, or TLS over TCP.
//!
//! Owns name look-ups, connecting and the TLS client. Must not know the protocol. Used by `connection`.

use crate::address::ServerAddress;
use crate::failure::Failure;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Files of a TLS client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// PEM file of the authorities that may have signed the server's certificate.
    pub(crate) authorities: PathBuf,
    /// The client's own certificate chain and key, in PEM.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// A connected stream. Its timeouts apply to single system calls.
pub(crate) enum ServerStream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl ServerStream {
    /// Connects until `deadline`; the addresses of a name share the time. The TLS handshake comes with the first bytes.
    ///
    /// # Errors
    /// [`Failure::Unavailable`]: no such host, no listener, no time left, or files of TLS that cannot be used.
    pub(crate) fn connect(address: &ServerAddress, tls: Option<&TlsFiles>, deadline: Instant) -> Result<Self, Failure> {
        let failed = |error: &io::Error| Failure::Unavailable(format!("cannot connect to {address}: {error}"));
        match address {
            ServerAddress::Unix(path) => Ok(Self::Unix(connect_unix(path, deadline).map_err(|e| failed(&e))?)),
            ServerAddress::Tcp { host, port } => {
                let client = tls.map(|files| tls_client(host, files)).transpose()?;
                let addresses = look_up(host, *port, deadline).map_err(|e| failed(&e))?;
                let stream = connect_tcp(&addresses, deadline).map_err(|e| failed(&e))?;
                Ok(match client {
                    None => Self::Tcp(stream),
                    Some(client) => Self::Tls(Box::new(StreamOwned::new(client, stream))),
                })
            }
        }
    }

    /// Bounds each read and write; `None`: it may wait endlessly.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)),
            Self::Unix(stream) => stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)),
            Self::Tls(stream) => {
                stream.sock.set_read_timeout(timeout).and_then(|()| stream.sock.set_write_timeout(timeout))
            }
        }
    }
}

impl Read for ServerStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for ServerStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// Time until `deadline`.
///
/// # Errors
/// It is over.
pub(crate) fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(too_late()) } else { Ok(left) }
}

/// The addresses of a name. The look-up runs in a thread of its own, since the C library gives it no deadline.
fn look_up(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(number) = host.parse() {
        return Ok(vec![SocketAddr::new(number, port)]);
    }
    let (sender, receiver) = mpsc::channel();
    let host = host.to_owned();
    thread::Builder::new().spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        // The receiver may have given up.
        let _ = sender.send(found.map(Vec::from_iter));
    })?;
    receiver.recv_timeout(time_left(deadline)?).map_err(|_| too_late())?
}

fn connect_tcp(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, (time_left(deadline)? / others).max(Duration::from_millis(1))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_unix(path: &str, deadline: Instant) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Bounds the wait for a place in a full backlog.
    socket.set_write_timeout(Some(time_left(deadline)?))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

fn tls_client(host: &str, files: &TlsFiles) -> Result<ClientConnection, Failure> {
    let config = client_config(files)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|e| Failure::Unavailable(format!("TLS cannot check the name '{host}': {e}")))?;
    ClientConnection::new(Arc::new(config), name).map_err(|e| Failure::Unavailable(format!("TLS: {e}")))
}

fn client_config(files: &TlsFiles) -> Result<ClientConfig, Failure> {
    let mut authorities = RootCertStore::empty();
    for certificate in certificates(&files.authorities)? {
        authorities.add(certificate).map_err(|e| unusable(&files.authorities, &e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Failure::Unavailable(format!("TLS: {e}")))?
        .with_root_certificates(authorities);
    match &files.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| unusable(key, &e))?;
            builder.with_client_auth_cert(certificates(chain)?, secret).map_err(|e| unusable(key, &e))
        }
    }
}

/// The certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found = CertificateDer::pem_file_iter(path).map_err(|e| unusable(path, &e))?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(|e| unusable(path, &e))?;
    if found.is_empty() { Err(unusable(path, &"it has no certificate")) } else { Ok(found) }
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Unavailable(format!("cannot use {}: {why}", path.display()))
}
