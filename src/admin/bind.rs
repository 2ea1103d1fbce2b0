//! Opens the sockets of the admin listener.
//!
//! Owns the error texts, and the rule that an address which other machines reach needs a token. `server` calls it after
//! the change of user and before the clients' listeners.

use crate::limits::ADMIN_BACKLOG;
use crate::settings::{AdminAddr, Settings};
use crate::sys::error_text;
use crate::sys::inherited::InheritedSocket;
use crate::sys::resolve::{SocketKind, listen_addresses};
use crate::sys::unix_socket::{self, SocketFile, UnixSocketOptions};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Mode of a unix socket: its user's alone.
const MODE: u32 = 0o700;

/// Why the admin listener cannot be opened.
#[derive(Debug, PartialEq, Eq)]
pub enum BindRefused {
    /// Other machines would reach it without a token.
    Insecure(String),
    /// The system's refusal.
    System(String),
}

/// Bound, listening, non-blocking sockets.
#[derive(Debug)]
pub struct AdminSockets {
    pub(super) tcp: Vec<std::net::TcpListener>,
    pub(super) unix: Option<UnixSocket>,
    /// Browsers of this machine reach it, and other machines do not.
    pub(super) is_loopback: bool,
}

/// A unix socket and its file, which goes with it.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: std::os::unix::net::UnixListener,
    /// `None` if the service manager owns the file.
    pub(super) file: Option<SocketFile>,
}

impl AdminSockets {
    /// Opens what `--admin` names; `None` without it.
    ///
    /// # Errors
    /// The complete message for the operator.
    pub fn open(settings: &Settings) -> Result<Option<Self>, BindRefused> {
        match &settings.admin.addr {
            None => Ok(None),
            Some(AdminAddr::Unix(path)) => unix(&settings.locate(path)).map(Some).map_err(|e| {
                let why = error_text(&e);
                BindRefused::System(format!("failed to listen on admin socket {}: {why}", path.display()))
            }),
            Some(AdminAddr::Tcp { host, port, .. }) => tcp(settings, host.as_deref(), *port).map(Some),
        }
    }

    /// Checks what `--admin` names, without binding.
    ///
    /// # Errors
    /// As [`AdminSockets::open`], for a name without addresses, and for one that other machines reach.
    pub fn check(settings: &Settings) -> Result<(), BindRefused> {
        match &settings.admin.addr {
            Some(AdminAddr::Tcp { host, port, .. }) => addresses(settings, host.as_deref(), *port).map(|_| ()),
            Some(AdminAddr::Unix(_)) | None => Ok(()),
        }
    }

    /// Takes over the sockets that the service manager has opened in place of the address that `--admin` names.
    ///
    /// # Errors
    /// The complete message for the operator.
    pub fn adopt(settings: &Settings, inherited: Vec<InheritedSocket>) -> Result<Self, BindRefused> {
        let mut sockets = Self { tcp: Vec::new(), unix: None, is_loopback: true };
        for InheritedSocket { socket, number, .. } in inherited {
            let system = |why: &str| BindRefused::System(format!("inherited descriptor {number} (admin): {why}"));
            let failed = |e: io::Error| system(&error_text(&e));
            if settings.admin.addr.is_none() {
                return Err(system("--admin is not given"));
            }
            let view = SockRef::from(&socket);
            if !view.is_listener().map_err(failed)? {
                return Err(system("not a listening stream socket"));
            }
            view.set_nonblocking(true).map_err(failed)?;
            match view.local_addr().map_err(failed)?.as_socket() {
                Some(address) => {
                    sockets.is_loopback &= address.ip().to_canonical().is_loopback();
                    sockets.tcp.push(socket.into());
                }
                None if view.domain().map_err(failed)? == Domain::UNIX && sockets.unix.is_none() => {
                    sockets.unix = Some(UnixSocket { listener: socket.into(), file: None });
                }
                None => return Err(system("a second one that is no TCP socket")),
            }
        }
        if !sockets.is_loopback && !settings.admin.insecure && !settings.admin.asks_for_proof(&settings.ssl) {
            return Err(insecure("of an inherited socket"));
        }
        sockets.is_loopback &= sockets.unix.is_none();
        Ok(sockets)
    }

    /// Network addresses of the sockets.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}

/// The system's refusal of the address.
fn system(settings: &Settings, why: &str) -> BindRefused {
    let shown = settings.admin.text.as_deref().unwrap_or_default();
    BindRefused::System(format!("failed to listen on admin address {shown}: {why}"))
}

/// The addresses of the name, and whether browsers of this machine alone reach them.
fn addresses(settings: &Settings, host: Option<&str>, port: u16) -> Result<(Vec<SocketAddr>, bool), BindRefused> {
    let addresses = listen_addresses(host, port.into(), SocketKind::Stream).map_err(|why| system(settings, &why))?;
    let is_loopback = addresses.iter().all(|address| address.ip().to_canonical().is_loopback());
    if !is_loopback && !settings.admin.insecure && !settings.admin.asks_for_proof(&settings.ssl) {
        let shown = settings.admin.text.as_deref().unwrap_or_default();
        return Err(insecure(shown));
    }
    Ok((addresses, is_loopback))
}

/// Binds every address of the name. One bound address is enough: the kernel may lack a family.
fn tcp(settings: &Settings, host: Option<&str>, port: u16) -> Result<AdminSockets, BindRefused> {
    let (addresses, is_loopback) = addresses(settings, host, port)?;
    let mut bound = Vec::new();
    let mut skipped = io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
    for mut address in addresses {
        // All families share the port that the system chose for the first.
        if let (0, Some(first)) = (port, bound.first().and_then(|s: &std::net::TcpListener| s.local_addr().ok())) {
            address.set_port(first.port());
        }
        match listen(address) {
            Ok(socket) => bound.push(socket),
            Err(e) => skipped = e,
        }
    }
    if bound.is_empty() {
        return Err(system(settings, &error_text(&skipped)));
    }
    Ok(AdminSockets { tcp: bound, unix: None, is_loopback })
}

fn insecure(shown: &str) -> BindRefused {
    BindRefused::Insecure(format!(
        "ERROR: Other machines reach the admin address {shown}: give -o admin_token_file, or admin_insecure"
    ))
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(ADMIN_BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
}

fn unix(path: &Path) -> io::Result<AdminSockets> {
    let options = UnixSocketOptions { mode: MODE, group: None, backlog: ADMIN_BACKLOG };
    let (socket, file) = unix_socket::listen(path, &options).map_err(|refused| refused.error)?;
    let listener = OwnedFd::from(socket).into();
    let file = Some(file);
    Ok(AdminSockets { tcp: Vec::new(), unix: Some(UnixSocket { listener, file }), is_loopback: false })
}
