//! Opens the listening sockets that the settings ask for: `-l`, `-p`, `-U`, `-s`, `-a`, `-b`, and the port file.
//!
//! Owns the order of attempts, the socket options and the error texts. Must not know workers or connections: it returns
//! bound, listening, non-blocking sockets. `server` calls it once, after the change of user.

use super::{ListenSocket, Listener};
use crate::proto;
use crate::settings::{self, ListenSpec, Settings, Transport};
use crate::sys::resolve::{self, SocketKind};
use crate::sys::unix_socket::{self, UnixSocketOptions};
use crate::sys::{error_text, say};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Largest send buffer requested for a datagram socket.
const SEND_BUFFER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why the server cannot listen: the complete message, one line per complaint.
#[derive(Debug, PartialEq, Eq)]
pub struct BindError(pub String);

/// Opens the sockets that `settings` asks for. Writes the bound ports to `port_file` (not for a unix socket), so that
/// the process that started the server with port -1 learns them; those of the admin listener, `admin`, come last.
pub fn open(settings: &Settings, port_file: Option<&Path>, admin: &[SocketAddr]) -> Result<Vec<Listener>, BindError> {
    let mut opener = Binder { settings, listeners: Vec::new(), ports: String::new(), complaints: Vec::new() };
    match opener.all(port_file, admin) {
        Ok(()) => Ok(opener.listeners),
        Err(last) => {
            opener.complaints.push(last);
            Err(BindError(opener.complaints.join("\n")))
        }
    }
}

struct Binder<'a> {
    settings: &'a Settings,
    listeners: Vec<Listener>,
    /// Lines of the port file.
    ports: String,
    /// Complaints so far, reported only if opening fails.
    complaints: Vec<String>,
}

impl Binder<'_> {
    fn all(&mut self, port_file: Option<&Path>, admin: &[SocketAddr]) -> Result<(), String> {
        if let Some(path) = &self.settings.socketpath {
            return self
                .unix(&self.settings.locate(path))
                .map_err(|e| format!("failed to listen on UNIX socket: {}: {}", path.display(), error_text(&e)));
        }
        let file = port_file.and_then(PortFile::create);
        for (kind, name, port) in
            [(SocketKind::Stream, "TCP", self.settings.port), (SocketKind::Datagram, "UDP", self.settings.udpport)]
        {
            if port == 0 {
                continue;
            }
            self.entries(kind, port).map_err(|e| match &self.settings.inter {
                Some(list) => format!("failed to listen on one of interface(s) {list}: {}", error_text(&e)),
                None => format!("failed to listen on {name} port {port}: {}", error_text(&e)),
            })?;
        }
        if let Some(file) = file {
            admin.iter().for_each(|local| self.note_port("ADMIN", *local));
            file.publish(&self.ports);
        }
        Ok(())
    }

    /// Opens every entry of the listen list. A failing entry does not stop later ones from being tried (and complained
    /// about). The result is the first error with an error number other than 0. Equal entries are opened once.
    fn entries(&mut self, kind: SocketKind, port: i32) -> io::Result<()> {
        let mut result = Ok(());
        let mut seen: Vec<ListenSpec> = Vec::new();
        for spec in &self.settings.listeners {
            let port = spec.port.unwrap_or(port);
            let spec = ListenSpec { port: Some(port), ..spec.clone() };
            if port > 0 && seen.contains(&spec) {
                continue;
            }
            if let Err(e) = self.entry(kind, &spec, port) {
                match &result {
                    Err(first) if io::Error::raw_os_error(first) != Some(0) => {}
                    _ => result = Err(e),
                }
            }
            seen.push(spec);
        }
        result
    }

    /// Opens one entry on its effective port.
    fn entry(&mut self, kind: SocketKind, spec: &ListenSpec, port: i32) -> io::Result<()> {
        let port = if port == -1 { 0 } else { port };
        let addresses = resolve::listen_addresses(spec.host.as_deref(), port, kind).map_err(|text| {
            self.complaints.push(format!("getaddrinfo(): {text}"));
            io::Error::from_raw_os_error(0)
        })?;
        self.bind(kind, spec, addresses)
    }

    /// Binds every address of an entry. An address that is in use, or that the system does not have, is skipped: one
    /// bound address is enough. A name may resolve to both families where the kernel has only one.
    fn bind(&mut self, kind: SocketKind, spec: &ListenSpec, addresses: Vec<SocketAddr>) -> io::Result<()> {
        let mut skipped = io::Error::from_raw_os_error(0);
        let mut absent = Vec::new();
        let mut bound = 0;
        for address in addresses {
            let socket = match new_socket(address, kind) {
                Ok(socket) => socket,
                Err(e) if e.raw_os_error() == Some(libc::EMFILE) => {
                    self.complain("server_socket", &e);
                    return Err(e);
                }
                Err(e) => {
                    skipped = e;
                    continue;
                }
            };
            if address.is_ipv6()
                && let Err(e) = socket.set_only_v6(true)
            {
                self.complain("setsockopt", &e);
                skipped = e;
                continue;
            }
            self.set_options(&socket, kind);
            match socket.bind(&address.into()) {
                Ok(()) => bound += 1,
                Err(e) if e.raw_os_error() == Some(libc::EADDRINUSE) => {
                    skipped = e;
                    continue;
                }
                Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                    absent.push(address);
                    skipped = e;
                    continue;
                }
                Err(e) => {
                    self.complain("bind()", &e);
                    return Err(e);
                }
            }
            self.admit(socket, kind, spec)?;
        }
        if bound == 0 {
            absent.iter().for_each(|_| self.complain("bind()", &skipped));
            return Err(skipped);
        }
        for address in absent {
            say(format_args!("not listening on {}: this machine has no such address", address.ip()));
        }
        Ok(())
    }

    /// Sets memcached's options on a listening socket; accepted connections inherit them. No failure here is fatal.
    fn set_options(&mut self, socket: &Socket, kind: SocketKind) {
        if self.settings.sock_cookie_id != 0
            && let Err(e) = socket.set_mark(self.settings.sock_cookie_id)
        {
            self.warn("setsockopt", &e);
        }
        let _ = socket.set_reuse_address(true);
        if kind == SocketKind::Datagram {
            self.grow_send_buffer(socket);
            return;
        }
        // `SO_LINGER` off is the system's default; setting it overrides an inherited value.
        for set in [socket.set_keepalive(true), socket.set_linger(None), socket.set_tcp_nodelay(true)] {
            if let Err(e) = set {
                self.warn("setsockopt", &e);
            }
        }
    }

    /// Finds the largest send buffer that the system grants, by bisection.
    fn grow_send_buffer(&self, socket: &Socket) {
        let old = match socket.send_buffer_size() {
            Ok(size) => size,
            Err(e) => {
                if self.settings.verbose > 0 {
                    self.warn("getsockopt(SO_SNDBUF)", &e);
                }
                return;
            }
        };
        let (mut low, mut high, mut granted) = (old, SEND_BUFFER_BYTES_MAX, 0);
        while low <= high {
            let middle = (low + high) / 2;
            if socket.set_send_buffer_size(middle).is_ok() {
                granted = middle;
                low = middle + 1;
            } else {
                high = middle - 1;
            }
        }
        if self.settings.verbose > 1 {
            say(format_args!("<{} send buffer was {old}, now {granted}", socket.as_raw_fd()));
        }
    }

    /// Listens on a bound socket and notes its port.
    fn admit(&mut self, socket: Socket, kind: SocketKind, spec: &ListenSpec) -> io::Result<()> {
        let local = socket.local_addr().ok().and_then(|a| a.as_socket());
        if kind == SocketKind::Stream
            && let Err(e) = socket.listen(self.settings.backlog)
        {
            self.complain("listen()", &e);
            return Err(e);
        }
        if let Some(local) = local {
            self.note_port(if kind == SocketKind::Stream { "TCP" } else { "UDP" }, local);
        }
        let socket = OwnedFd::from(socket);
        let socket = match kind {
            SocketKind::Stream => ListenSocket::Tcp(mio::net::TcpListener::from_std(socket.into())),
            SocketKind::Datagram => ListenSocket::Udp(mio::net::UdpSocket::from_std(socket.into())),
        };
        self.push(socket, local, None, (spec.protocol, spec.transport));
        Ok(())
    }

    fn unix(&mut self, path: &Path) -> io::Result<()> {
        let options = UnixSocketOptions { mode: self.settings.access, group: None, backlog: self.settings.backlog };
        let (socket, file) = unix_socket::listen(path, &options).map_err(|refused| {
            refused.call.iter().for_each(|call| self.complain(call, &refused.error));
            refused.error
        })?;
        file.keep();
        let socket = ListenSocket::Unix(mio::net::UnixListener::from_std(OwnedFd::from(socket).into()));
        self.push(socket, None, Some(path.display().to_string()), (self.settings.binding_protocol, Transport::Plain));
        Ok(())
    }

    fn note_port(&mut self, name: &str, local: SocketAddr) {
        let family = if local.is_ipv4() { "INET" } else { "INET6" };
        self.ports.push_str(&format!("{name} {family}: {}\n", local.port()));
    }

    fn push(
        &mut self,
        socket: ListenSocket,
        local: Option<SocketAddr>,
        path: Option<String>,
        (protocol, transport): (settings::ProtocolChoice, Transport),
    ) {
        let protocol = match protocol {
            settings::ProtocolChoice::Negotiating => proto::Protocol::Negotiating,
            settings::ProtocolChoice::Ascii => proto::Protocol::Ascii,
            settings::ProtocolChoice::Binary => proto::Protocol::Binary,
        };
        self.listeners.push(Listener { socket, local, path, protocol, transport });
    }

    fn complain(&mut self, what: &str, error: &io::Error) {
        self.complaints.push(format!("{what}: {}", error_text(error)));
    }

    fn warn(&self, what: &str, error: &io::Error) {
        say(format_args!("{what}: {}", error_text(error)));
    }
}

fn new_socket(address: SocketAddr, kind: SocketKind) -> io::Result<Socket> {
    let (kind, protocol) = match kind {
        SocketKind::Stream => (Type::STREAM, Protocol::TCP),
        SocketKind::Datagram => (Type::DGRAM, Protocol::UDP),
    };
    Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))
}

/// The port file: written under a temporary name, then renamed, so that its presence proves that it is complete.
struct PortFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl PortFile {
    /// Opens the temporary file; if that fails, the server starts without a port file.
    fn create(path: &Path) -> Option<Self> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".lck");
        let temporary = PathBuf::from(temporary);
        match OpenOptions::new().append(true).create(true).open(&temporary) {
            Ok(file) => Some(Self { file, temporary, path: path.to_owned() }),
            Err(e) => {
                say(format_args!("Failed to open \"{}\": {}", temporary.display(), error_text(&e)));
                None
            }
        }
    }

    /// Errors are ignored: the process that waits for the file notices its absence.
    fn publish(mut self, lines: &str) {
        let _ = self.file.write_all(lines.as_bytes());
        let _ = fs::rename(&self.temporary, &self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;

    fn settings(port: i32, entries: &[(Option<&str>, Option<i32>)]) -> Settings {
        let entry = |(host, port): &(Option<&str>, Option<i32>)| ListenSpec {
            host: host.map(str::to_owned),
            port: *port,
            transport: Transport::Plain,
            protocol: settings::ProtocolChoice::Negotiating,
            tag: None,
        };
        Settings {
            port,
            inter: Some("LIST".to_owned()),
            listeners: entries.iter().map(entry).collect(),
            ..Settings::default()
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("oxcached-open-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn each_entry_has_its_own_port_and_the_file_names_all() {
        let path = scratch("ports");
        let mut settings = settings(-1, &[(Some("127.0.0.1"), None), (Some("127.0.0.1"), Some(-1))]);
        settings.udpport = -1;
        let listeners = open(&settings, Some(&path), &[]).unwrap();
        let ports: Vec<u16> = listeners.iter().map(|l| l.local.unwrap().port()).collect();
        assert_eq!(ports.len(), 4);
        assert_ne!(ports[0], ports[1]);
        let text = fs::read_to_string(&path).unwrap();
        let expected =
            format!("TCP INET: {}\nTCP INET: {}\nUDP INET: {}\nUDP INET: {}\n", ports[0], ports[1], ports[2], ports[3]);
        assert_eq!(text, expected);
        let mut temporary = path.clone().into_os_string();
        temporary.push(".lck");
        assert!(!Path::new(&temporary).exists());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_address_in_use_is_an_error_only_when_nothing_else_works() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = i32::from(taken.local_addr().unwrap().port());
        let error = open(&settings(port, &[(Some("127.0.0.1"), None)]), None, &[]).err().unwrap();
        assert_eq!(error.0, "failed to listen on one of interface(s) LIST: Address already in use");

        let mut any = settings(port, &[(None, None)]);
        any.inter = None;
        match open(&any, None, &[]) {
            Ok(listeners) => assert!(listeners.iter().all(|l| l.local.unwrap().is_ipv6())),
            Err(e) => assert_eq!(e.0, format!("failed to listen on TCP port {port}: Address already in use")),
        }
    }

    #[test]
    fn a_foreign_address_and_a_bad_port_say_why() {
        let error = open(&settings(-1, &[(Some("203.0.113.9"), None)]), None, &[]).err().unwrap();
        let why = "Cannot assign requested address";
        assert_eq!(error.0, format!("bind(): {why}\nfailed to listen on one of interface(s) LIST: {why}"));
        let both = [(Some("203.0.113.9"), None), (Some("127.0.0.1"), None)];
        let error = open(&settings(-1, &both), None, &[]).err().unwrap();
        assert_eq!(error.0, format!("bind(): {why}\nfailed to listen on one of interface(s) LIST: {why}"));
        let error = open(&settings(-2, &[(None, None)]), None, &[]).err().unwrap();
        let why = "getaddrinfo(): Servname not supported for ai_socktype";
        assert_eq!(error.0, format!("{why}\nfailed to listen on one of interface(s) LIST: Success"));
    }

    #[test]
    fn a_name_binds_those_of_its_addresses_that_exist() {
        let settings = settings(-1, &[]);
        let spec = ListenSpec {
            host: None,
            port: None,
            transport: Transport::Plain,
            protocol: settings::ProtocolChoice::Negotiating,
            tag: None,
        };
        let (absent, there) = ("203.0.113.9:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap());
        for (addresses, bound) in [(vec![absent, there], 1), (vec![there, absent], 1), (vec![absent, absent], 0)] {
            let (listeners, ports, complaints) = (Vec::new(), String::new(), Vec::new());
            let mut opener = Binder { settings: &settings, listeners, ports, complaints };
            for (kind, opened) in [(SocketKind::Stream, bound), (SocketKind::Datagram, 2 * bound)] {
                assert_eq!(opener.bind(kind, &spec, addresses.clone()).is_ok(), bound > 0);
                assert_eq!(opener.listeners.len(), opened);
            }
            assert_eq!(opener.complaints.is_empty(), bound > 0);
        }
    }

    #[test]
    fn a_duplicate_entry_is_opened_once() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let entries =
            [(Some("127.0.0.1"), Some(i32::from(free))), (Some("127.0.0.1"), None), (Some("127.0.0.1"), None)];
        let listeners = open(&settings(i32::from(free), &entries), None, &[]).unwrap();
        assert_eq!(listeners.len(), 1);
        drop(listeners);
        // One port cannot have two protocols.
        let mut two = settings(i32::from(free), &entries);
        two.listeners[1].protocol = settings::ProtocolChoice::Ascii;
        let error = open(&two, None, &[]).err().unwrap();
        assert_eq!(error.0, "failed to listen on one of interface(s) LIST: Address already in use");
        assert_eq!(open(&settings(-1, &[(Some("127.0.0.1"), None); 2]), None, &[]).unwrap().len(), 2, "any two ports");
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_replaces_only_sockets() {
        let path = scratch("unix");
        let settings = Settings { socketpath: Some(path.clone()), access: 0o640, ..Settings::default() };
        for _ in 0..2 {
            let listeners = open(&settings, None, &[]).unwrap();
            assert_eq!((listeners.len(), listeners[0].path.as_deref()), (1, path.to_str()));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        let error = open(&settings, None, &[]).err().unwrap();
        let why = "Address already in use";
        assert_eq!(error.0, format!("bind(): {why}\nfailed to listen on UNIX socket: {}: {why}", path.display()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        fs::remove_file(&path).unwrap();
    }
}
