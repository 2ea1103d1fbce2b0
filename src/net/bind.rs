//! Opens the listening sockets that the settings ask for: `-l`, `-p`, `-U`, `-s`, `-a`, `-b`, `unix_group`, and the
//! port file.
//!
//! Owns the order of attempts, the socket options and the error texts. Must not know workers or connections: it returns
//! bound, listening, non-blocking sockets. `server` calls it once, after the change of user.

use super::listener::{ListenSocket, Listener, protocol};
use crate::settings::{ListenPlace, ListenSpec, ProtocolChoice, Settings, Transport};
use crate::sys::resolve::{self, SocketKind};
use crate::sys::unix_socket::{self, SocketFile, UnixSocketOptions};
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

/// Opens the sockets that `settings` asks for. Writes the bound ports and the unix sockets of the list to `port_file`
/// (not with `-s`), so that the process that started the server with port -1 learns them; those of the admin listener,
/// `admin`, come last.
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
            let file = self.unix(path, self.settings.binding_protocol)?;
            // As in memcached, the file stays; the next start replaces it.
            file.keep();
            return Ok(());
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
        self.unix_entries()?;
        if let Some(file) = file {
            admin.iter().for_each(|local| self.note_port("ADMIN", *local));
            file.publish(&self.ports);
        }
        Ok(())
    }

    /// Opens every network entry of the listen list. A failing entry does not stop later ones from being tried (and
    /// complained about). The result is the first error with an error number other than 0. Equal entries are opened
    /// once.
    fn entries(&mut self, kind: SocketKind, port: i32) -> io::Result<()> {
        let settings = self.settings;
        let mut entries: Vec<NetworkEntry<'_>> = Vec::new();
        for spec in &settings.listeners {
            let ListenPlace::Network { host, port: own } = &spec.place else { continue };
            let entry = NetworkEntry { spec, host: host.as_deref(), port: own.unwrap_or(port) };
            if entry.port <= 0 || !entries.iter().any(|earlier| earlier.is_same(&entry)) {
                entries.push(entry);
            }
        }
        let mut result = Ok(());
        let mut postponed = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            match self.addresses(kind, entry) {
                // A wildcard cannot be bound after one of the addresses that it contains.
                Ok(addresses) if kind == SocketKind::Stream && are_contained(&addresses, &entries[at + 1..]) => {
                    postponed.push((entry, addresses));
                }
                Ok(addresses) => keep_first(&mut result, self.bind(kind, entry, addresses)),
                Err(e) => keep_first(&mut result, Err(e)),
            }
        }
        for (entry, addresses) in postponed {
            keep_first(&mut result, self.bind(kind, entry, addresses));
        }
        result
    }

    /// Resolves an entry.
    fn addresses(&mut self, kind: SocketKind, entry: &NetworkEntry<'_>) -> io::Result<Vec<SocketAddr>> {
        let port = if entry.port == -1 { 0 } else { entry.port };
        resolve::listen_addresses(entry.host, port, kind).map_err(|text| {
            self.complaints.push(format!("getaddrinfo(): {text}"));
            io::Error::from_raw_os_error(0)
        })
    }

    /// Binds every address of an entry. An address that is in use, or that the system does not have, is skipped with a
    /// warning: one bound address is enough. A name may resolve to both families where the kernel has only one.
    fn bind(&mut self, kind: SocketKind, entry: &NetworkEntry<'_>, addresses: Vec<SocketAddr>) -> io::Result<()> {
        let mut skipped = io::Error::from_raw_os_error(0);
        let (mut absent, mut warnings) = (0, Vec::new());
        let mut bound = 0;
        for address in addresses {
            let socket = match new_socket(address, kind) {
                Ok(socket) => socket,
                Err(e) if e.raw_os_error() == Some(libc::EMFILE) => {
                    self.complain("server_socket", &e);
                    return Err(e);
                }
                Err(e) => {
                    // Without a host both families are meant as far as the kernel has them.
                    if entry.host.is_some() {
                        warnings.push(format!("{}: {}", address.ip(), error_text(&e)));
                    }
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
                    match self.is_served(address, entry.spec) {
                        Some(true) => bound += 1,
                        Some(false) => self.complaints.push(format!(
                            "{address} is part of another entry, which has another protocol or transport"
                        )),
                        None => warnings.push(format!("{address}: {}", error_text(&e))),
                    }
                    skipped = e;
                    continue;
                }
                Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                    warnings.push(format!("{}: this machine has no such address", address.ip()));
                    absent += 1;
                    skipped = e;
                    continue;
                }
                Err(e) => {
                    self.complain("bind()", &e);
                    return Err(e);
                }
            }
            self.admit(socket, kind, entry.spec)?;
        }
        if bound == 0 {
            (0..absent).for_each(|_| self.complain("bind()", &skipped));
            return Err(skipped);
        }
        warnings.iter().for_each(|warning| say(format_args!("not listening on {warning}")));
        Ok(())
    }

    /// Whether clients of a TCP address that is in use reach a listener of this server, opened before, that serves them
    /// as `spec` asks. `None`: the address is another process's.
    fn is_served(&self, address: SocketAddr, spec: &ListenSpec) -> Option<bool> {
        let contains = |own: SocketAddr| {
            own.port() == address.port()
                && own.is_ipv4() == address.is_ipv4()
                && (own.ip() == address.ip() || own.ip().is_unspecified())
        };
        let is_tcp = |listener: &&Listener| matches!(listener.socket, ListenSocket::Tcp(_));
        let mut tcp = self.listeners.iter().filter(is_tcp);
        let own = tcp.find(|listener| listener.local.is_some_and(contains))?;
        Some(own.protocol == protocol(spec.protocol) && own.transport == spec.transport)
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

    /// Opens the unix sockets of the listen list.
    fn unix_entries(&mut self) -> Result<(), String> {
        let settings = self.settings;
        for (at, spec) in settings.listeners.iter().enumerate() {
            let ListenPlace::Unix(path) = &spec.place else { continue };
            if settings.listeners[..at].contains(spec) {
                continue;
            }
            let file = self.unix(path, spec.protocol)?;
            self.ports.push_str(&format!("UNIX: {}\n", settings.locate(path).display()));
            if let Some(listener) = self.listeners.last_mut() {
                listener.file = Some(file);
            }
        }
        Ok(())
    }

    /// Listens on the unix socket `path`.
    fn unix(&mut self, path: &Path, protocol: ProtocolChoice) -> Result<SocketFile, String> {
        let settings = self.settings;
        let group = settings.unix_group.as_ref().map(|group| group.gid);
        let options = UnixSocketOptions { mode: settings.access, group, backlog: settings.backlog };
        let place = settings.locate(path);
        let (socket, file) = unix_socket::listen(&place, &options).map_err(|refused| {
            refused.call.iter().for_each(|call| self.complain(call, &refused.error));
            format!("failed to listen on UNIX socket: {}: {}", path.display(), error_text(&refused.error))
        })?;
        let socket = ListenSocket::Unix(mio::net::UnixListener::from_std(OwnedFd::from(socket).into()));
        self.push(socket, None, Some(place.display().to_string()), (protocol, Transport::Plain));
        Ok(file)
    }

    fn note_port(&mut self, name: &str, local: SocketAddr) {
        self.ports.push_str(&port_line(name, local));
    }

    fn push(
        &mut self,
        socket: ListenSocket,
        local: Option<SocketAddr>,
        path: Option<String>,
        (choice, transport): (ProtocolChoice, Transport),
    ) {
        self.listeners.push(Listener { socket, local, path, file: None, protocol: protocol(choice), transport });
    }

    fn complain(&mut self, what: &str, error: &io::Error) {
        self.complaints.push(format!("{what}: {}", error_text(error)));
    }

    fn warn(&self, what: &str, error: &io::Error) {
        say(format_args!("{what}: {}", error_text(error)));
    }
}

/// A network entry of the listen list.
struct NetworkEntry<'a> {
    spec: &'a ListenSpec,
    host: Option<&'a str>,
    /// Its own port, or that of `-p` or `-U`.
    port: i32,
}

impl NetworkEntry<'_> {
    /// Whether both entries stand for the same listeners.
    fn is_same(&self, other: &NetworkEntry<'_>) -> bool {
        let facts = |entry: &NetworkEntry<'_>| (entry.port, entry.spec.transport, entry.spec.protocol);
        self.host == other.host && facts(self) == facts(other) && self.spec.tag == other.spec.tag
    }
}

/// Whether one of `later`, a wildcard, contains one of `addresses` with its port.
fn are_contained(addresses: &[SocketAddr], later: &[NetworkEntry<'_>]) -> bool {
    let contains = |entry: &NetworkEntry<'_>, address: &SocketAddr| {
        entry.port == i32::from(address.port()) && entry.spec.is_wildcard_of(address.ip())
    };
    let specific = |address: &&SocketAddr| address.port() != 0 && !address.ip().is_unspecified();
    addresses.iter().filter(specific).any(|address| later.iter().any(|entry| contains(entry, address)))
}

/// Keeps the first error with an error number other than 0, else the first.
fn keep_first(result: &mut io::Result<()>, next: io::Result<()>) {
    let is_final = matches!(result, Err(first) if first.raw_os_error() != Some(0));
    if next.is_err() && !is_final {
        *result = next;
    }
}

fn new_socket(address: SocketAddr, kind: SocketKind) -> io::Result<Socket> {
    let (kind, protocol) = match kind {
        SocketKind::Stream => (Type::STREAM, Protocol::TCP),
        SocketKind::Datagram => (Type::DGRAM, Protocol::UDP),
    };
    Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))
}

/// Line of the port file.
pub(super) fn port_line(name: &str, local: SocketAddr) -> String {
    let family = if local.is_ipv4() { "INET" } else { "INET6" };
    format!("{name} {family}: {}\n", local.port())
}

/// The port file: written under a temporary name, then renamed, so that its presence proves that it is complete.
pub(super) struct PortFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl PortFile {
    /// Opens the temporary file; if that fails, the server starts without a port file.
    pub(super) fn create(path: &Path) -> Option<Self> {
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
    pub(super) fn publish(mut self, lines: &str) {
        let _ = self.file.write_all(lines.as_bytes());
        let _ = fs::rename(&self.temporary, &self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;

    fn network(host: Option<&str>, port: Option<i32>) -> ListenSpec {
        spec(ListenPlace::Network { host: host.map(str::to_owned), port })
    }

    fn spec(place: ListenPlace) -> ListenSpec {
        ListenSpec { place, transport: Transport::Plain, protocol: ProtocolChoice::Negotiating, tag: None }
    }

    fn settings(port: i32, entries: &[(Option<&str>, Option<i32>)]) -> Settings {
        let listeners = entries.iter().map(|(host, port)| network(*host, *port)).collect();
        Settings { port, inter: Some("LIST".to_owned()), listeners, ..Settings::default() }
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
        let spec = network(Some("name"), None);
        let entry = NetworkEntry { spec: &spec, host: Some("name"), port: -1 };
        let (absent, there) = ("203.0.113.9:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap());
        for (addresses, bound) in [(vec![absent, there], 1), (vec![there, absent], 1), (vec![absent, absent], 0)] {
            let (listeners, ports, complaints) = (Vec::new(), String::new(), Vec::new());
            let mut opener = Binder { settings: &settings, listeners, ports, complaints };
            for (kind, opened) in [(SocketKind::Stream, bound), (SocketKind::Datagram, 2 * bound)] {
                assert_eq!(opener.bind(kind, &entry, addresses.clone()).is_ok(), bound > 0);
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
        two.listeners[1].protocol = ProtocolChoice::Ascii;
        let error = open(&two, None, &[]).err().unwrap();
        let why = "is part of another entry, which has another protocol or transport";
        let general = "failed to listen on one of interface(s) LIST: Address already in use";
        assert_eq!(error.0, format!("127.0.0.1:{free} {why}\n{general}"));
        assert_eq!(open(&settings(-1, &[(Some("127.0.0.1"), None); 2]), None, &[]).unwrap().len(), 2, "any two ports");
    }

    /// A port that was free a moment ago.
    fn free_port() -> i32 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().into()
    }

    #[test]
    fn an_address_that_another_entry_contains_is_served() {
        for hosts in [
            ["0.0.0.0", "127.0.0.1"],
            ["127.0.0.1", "0.0.0.0"],
            ["127.0.0.1", "*"],
            ["*", "127.0.0.1"],
            ["127.0.0.2", "127.0.0.2"],
        ] {
            let port = free_port();
            let entries = hosts.map(|host| ((host != "*").then_some(host), None));
            let mut list = settings(port, &entries);
            let listeners = open(&list, None, &[]).unwrap();
            let ipv4 = listeners.iter().filter(|listener| listener.local.unwrap().is_ipv4());
            assert_eq!(ipv4.count(), 1, "{hosts:?}");
            let port = u16::try_from(port).unwrap();
            std::net::TcpStream::connect(("127.0.0.2", port)).unwrap();
            drop(listeners);

            // Each address has one protocol.
            list.listeners[1].protocol = ProtocolChoice::Binary;
            let error = open(&list, None, &[]).err().unwrap();
            assert!(error.0.contains(" is part of another entry, which has another protocol"), "{hosts:?}: {error:?}");
        }
        // Families are apart.
        let port = free_port();
        let both = open(&settings(port, &[(Some("127.0.0.1"), None), (Some("::1"), None)]), None, &[]);
        let addresses = both.map(|listeners| listeners.len());
        let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(addresses.ok(), has_ipv6.then_some(2));
    }

    #[test]
    fn unix_sockets_of_the_list_stand_in_the_port_file_and_go_at_the_end() {
        let (one, two, ports) = (scratch("one"), scratch("two"), scratch("unix-ports"));
        let mut settings = settings(-1, &[(Some("127.0.0.1"), None)]);
        settings.access = 0o660;
        for path in [&one, &two, &one] {
            settings.listeners.insert(0, spec(ListenPlace::Unix(path.clone())));
        }
        settings.listeners[1].protocol = ProtocolChoice::Ascii;
        let listeners = open(&settings, Some(&ports), &[]).unwrap();
        let port = listeners[0].local.unwrap().port();
        let expected = format!("TCP INET: {port}\nUNIX: {}\nUNIX: {}\n", one.display(), two.display());
        assert_eq!(fs::read_to_string(&ports).unwrap(), expected);
        assert_eq!(listeners.iter().map(|l| l.path.as_deref()).collect::<Vec<_>>(), [None, one.to_str(), two.to_str()]);
        assert!(
            listeners[1].protocol == crate::proto::Protocol::Negotiating
                && listeners[2].protocol == crate::proto::Protocol::Ascii
        );
        for path in [&one, &two] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o660);
        }
        drop(listeners);
        assert!(!one.exists() && !two.exists());

        // A failing start leaves none behind either.
        fs::write(&one, "mine").unwrap();
        settings.listeners.rotate_left(1);
        let why = "Address already in use";
        let expected = format!("bind(): {why}\nfailed to listen on UNIX socket: {}: {why}", one.display());
        assert_eq!(open(&settings, None, &[]).err().unwrap().0, expected);
        assert!(!two.exists());
        fs::remove_file(&one).unwrap();
        fs::remove_file(&ports).unwrap();
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
