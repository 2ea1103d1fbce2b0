//! Listeners on sockets that the service manager has opened: socket activation.
//!
//! Owns the rule of which kinds are served, and the error texts. Must not know workers or connections. `server` calls
//! it in place of [`open`](super::open).

use super::bind::{BindError, PortFile, port_line};
use super::listener::{ListenSocket, Listener, protocol};
use crate::settings::{Settings, Transport};
use crate::sys::error_text;
use crate::sys::inherited::InheritedSocket;
use socket2::{Domain, Protocol, SockRef, Type};
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Makes listeners of `sockets`, with the transport and protocol of `-Z` and `-B`. The port file has their ports, and
/// those of the admin listener, `admin`, last.
///
/// # Errors
/// A socket is of no kind that can be served.
pub fn adopt(
    settings: &Settings,
    sockets: Vec<InheritedSocket>,
    port_file: Option<&Path>,
    admin: &[SocketAddr],
) -> Result<Vec<Listener>, BindError> {
    let file = port_file.and_then(PortFile::create);
    let mut listeners = Vec::new();
    let mut ports = String::new();
    for inherited in sockets {
        let InheritedSocket { number, name, .. } = &inherited;
        let shown = format!("inherited descriptor {number} ({name})");
        let listener = listener(settings, inherited).map_err(|why| BindError(format!("{shown}: {why}")))?;
        match (&listener.socket, listener.local) {
            (ListenSocket::Tcp(_), Some(local)) => ports.push_str(&port_line("TCP", local)),
            (ListenSocket::Udp(_), Some(local)) => ports.push_str(&port_line("UDP", local)),
            _ => {}
        }
        listeners.push(listener);
    }
    if let Some(file) = file {
        admin.iter().for_each(|local| ports.push_str(&port_line("ADMIN", *local)));
        file.publish(&ports);
    }
    Ok(listeners)
}

/// One listener; an error says why the socket is none.
fn listener(settings: &Settings, inherited: InheritedSocket) -> Result<Listener, String> {
    let system = |e: io::Error| error_text(&e);
    let view = SockRef::from(&inherited.socket);
    let (domain, kind) = (view.domain().map_err(system)?, view.r#type().map_err(system)?);
    let is_network = domain == Domain::IPV4 || domain == Domain::IPV6;
    let protocols: &[Protocol] = match kind {
        Type::STREAM if domain == Domain::UNIX => &[],
        Type::STREAM if is_network => &[Protocol::TCP, Protocol::MPTCP],
        Type::DGRAM if is_network => &[Protocol::UDP],
        _ => return Err("neither a TCP or UDP socket nor a unix stream socket".to_owned()),
    };
    let own = view.protocol().map_err(system)?;
    if is_network && !own.is_some_and(|own| protocols.contains(&own)) {
        return Err("of a protocol that is neither TCP nor UDP".to_owned());
    }
    if kind == Type::STREAM && !view.is_listener().map_err(system)? {
        return Err("not listening; a socket unit must not have Accept=yes".to_owned());
    }
    if kind == Type::DGRAM && settings.has_auth() {
        return Err("UDP has no logins, so it cannot be used with -S or -Y".to_owned());
    }
    view.set_nonblocking(true).map_err(system)?;
    let address = view.local_addr().map_err(system)?;
    if kind == Type::STREAM {
        // Accepted connections inherit them; that they do not is no fault of the socket.
        let _ = view.set_keepalive(true);
        if is_network {
            let _ = view.set_tcp_nodelay(true);
        }
    }
    let socket = match kind {
        Type::DGRAM => ListenSocket::Udp(mio::net::UdpSocket::from_std(inherited.socket.into())),
        _ if is_network => ListenSocket::Tcp(mio::net::TcpListener::from_std(inherited.socket.into())),
        _ => ListenSocket::Unix(mio::net::UnixListener::from_std(inherited.socket.into())),
    };
    let is_tls = settings.ssl.enabled && matches!(socket, ListenSocket::Tcp(_));
    Ok(Listener {
        local: address.as_socket(),
        path: address.as_pathname().map(|path| path.display().to_string()),
        // The file is the service manager's.
        file: None,
        protocol: protocol(settings.binding_protocol),
        transport: if is_tls { Transport::Tls } else { Transport::Plain },
        socket,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ProtocolChoice;
    use socket2::Socket;
    use std::os::fd::OwnedFd;

    fn judge(settings: &Settings, socket: impl Into<OwnedFd>) -> Result<Listener, String> {
        let inherited = InheritedSocket { socket: socket.into(), number: 3, name: "x".to_owned() };
        adopt(settings, vec![inherited], None, &[]).map(|mut all| all.remove(0)).map_err(|BindError(text)| text)
    }

    #[test]
    fn listening_sockets_are_served_and_other_kinds_refused() {
        let settings = Settings { binding_protocol: ProtocolChoice::Ascii, ..Settings::default() };
        let dir = tempfile::tempdir().unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, again) = (tcp.local_addr().unwrap(), tcp.try_clone().unwrap());
        let listener = judge(&settings, tcp).unwrap();
        assert!(matches!(listener.socket, ListenSocket::Tcp(_)));
        assert_eq!((listener.local, listener.transport), (Some(address), Transport::Plain));
        assert_eq!(listener.protocol, crate::proto::Protocol::Ascii);
        assert_eq!(again.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut tls = settings.clone();
        tls.ssl.enabled = true;
        assert_eq!(judge(&tls, again).unwrap().transport, Transport::Tls);
        let path = dir.path().join("socket");
        let listener = judge(&tls, std::os::unix::net::UnixListener::bind(&path).unwrap()).unwrap();
        assert_eq!((listener.path.as_deref(), listener.transport), (path.to_str(), Transport::Plain));
        let listener = judge(&settings, std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        assert!(matches!(listener.socket, ListenSocket::Udp(_)));

        let refused = |settings: &Settings, socket: OwnedFd, why: &str| {
            assert_eq!(judge(settings, socket).err().unwrap(), format!("inherited descriptor 3 (x): {why}"));
        };
        let secret = Settings { sasl: true, ..Settings::default() };
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        refused(&secret, udp.into(), "UDP has no logins, so it cannot be used with -S or -Y");
        let neither = "neither a TCP or UDP socket nor a unix stream socket";
        refused(&settings, std::os::unix::net::UnixDatagram::unbound().unwrap().into(), neither);
        refused(&settings, Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap().into(), neither);
        let idle = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        refused(&settings, idle.into(), "not listening; a socket unit must not have Accept=yes");
        refused(&settings, tempfile::tempfile().unwrap().into(), "Socket operation on non-socket");
    }
}
