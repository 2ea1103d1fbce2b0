//! Socket activation: the server serves sockets that its service manager has opened.

use super::harness::{Client, Manager};
use crate::support::DEADLINE;
use oxcached::settings::VERSION;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

/// Listening TCP socket of any port.
fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn inherited_sockets_of_every_kind_are_served_and_no_other_is_opened() {
    let manager = Manager::new();
    let (tcp, udp) = (listener(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let unix = UnixListener::bind(manager.path("socket")).unwrap();
    let (tcp_address, udp_address) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
    // Would be an error: the port is taken.
    let port = tcp_address.port().to_string();
    let command =
        manager.activated(vec![tcp.into(), unix.into(), udp.into()], None, &["-t", "2", "-p", &port, "-c", "40"]);
    let (server, messages) = manager.start(command);
    assert_eq!(messages, ["READY=1\nSTATUS=Serving with 2 workers"]);
    let expected = format!("TCP INET: {port}\nUDP INET: {}\n", udp_address.port());
    assert_eq!(fs::read_to_string(manager.path("ports")).unwrap(), expected);
    let mut client = Client::new(tcp_address);
    assert_eq!(client.ask("set a 0 0 1\r\nx"), "STORED");
    let local = UnixStream::connect(manager.path("socket")).unwrap();
    local.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut local = BufReader::new(local);
    local.get_mut().write_all(b"version\r\n").unwrap();
    let mut line = String::new();
    local.read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), format!("VERSION {VERSION}"));
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.set_read_timeout(Some(DEADLINE)).unwrap();
    datagrams.send_to(b"\0\x01\0\0\0\x01\0\0get a\r\n", udp_address).unwrap();
    let mut bytes = [0; 64];
    let n = datagrams.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[8..n], b"VALUE a 0 1\r\nx\r\nEND\r\n");
    // The descriptors are closed in programs that the server might start, and do not block.
    for number in 3..6 {
        let text = fs::read_to_string(format!("/proc/{}/fdinfo/{number}", server.pid())).unwrap();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = i32::from_str_radix(flags, 8).unwrap();
        assert_eq!(flags & libc::O_CLOEXEC, libc::O_CLOEXEC, "{number}: {flags:o}");
        assert_eq!(flags & libc::O_NONBLOCK, libc::O_NONBLOCK, "{number}: {flags:o}");
    }
    assert_eq!(server.stop("TERM").0, Some(0));
    assert!(manager.path("socket").exists(), "the file is the service manager's");
}

#[test]
fn clients_wait_while_another_server_takes_the_sockets() {
    let manager = Manager::new();
    let held = listener();
    let address = held.local_addr().unwrap();
    let start = || {
        let command = manager.activated(vec![held.try_clone().unwrap().into()], Some("oxcached.socket"), &["-t", "1"]);
        let server = manager.start(command).0;
        assert_eq!(Client::new(address).ask("mn"), "MN");
        server
    };
    assert_eq!(start().stop("TERM").0, Some(0));
    let mut early = Client::new(address);
    early.send("mn\r\n");
    let server = start();
    assert_eq!(early.line(), "MN");
    assert_eq!(server.stop("USR1").0, Some(0));
}

#[test]
fn a_socket_named_admin_is_the_admin_listener() {
    let manager = Manager::new();
    let (clients, admin) = (listener(), listener());
    let (address, admin_address) = (clients.local_addr().unwrap(), admin.local_addr().unwrap());
    let sockets = vec![admin.into(), clients.into()];
    let command = manager.activated(sockets, Some("admin:oxcached.socket"), &["-t", "1", "--admin=127.0.0.1:1"]);
    let (server, _) = manager.start(command);
    assert_eq!(Client::new(address).ask("mn"), "MN");
    let mut stream = TcpStream::connect(admin_address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("ready\n"), "{text}");
    assert_eq!(server.stop("TERM").0, Some(0));
    // Only that one is inherited: clients are served as the options say.
    let admin = listener();
    let command = manager.activated(vec![admin.into()], Some("admin"), &["-t", "1", "--admin=127.0.0.1:1"]);
    let (server, _) = manager.start(command);
    assert_eq!(manager.client().ask("mn"), "MN");
    assert_eq!(server.stop("TERM").0, Some(0));
}

#[test]
fn what_cannot_be_served_is_refused() {
    let manager = Manager::new();
    let fails = |command| {
        let (code, text) = manager.fails(command);
        assert_eq!(code, Some(71), "{text}");
        text
    };
    let datagrams = || UnixDatagram::unbound().unwrap().into();
    let text = fails(manager.activated(vec![listener().into(), datagrams()], Some("a:b"), &[]));
    assert_eq!(text, "inherited descriptor 4 (b): neither a TCP or UDP socket nor a unix stream socket\n");
    let connected = TcpStream::connect(listener().local_addr().unwrap()).unwrap();
    let text = fails(manager.activated(vec![connected.into()], None, &[]));
    assert_eq!(text, "inherited descriptor 3 (unknown): not listening; a socket unit must not have Accept=yes\n");
    let text = fails(manager.activated(vec![listener().into()], Some("admin"), &[]));
    assert_eq!(text, "inherited descriptor 3 (admin): --admin is not given\n");
    let text = fails(manager.activated(vec![datagrams()], Some("admin"), &["--admin=127.0.0.1:1"]));
    assert_eq!(text, "inherited descriptor 3 (admin): not a listening stream socket\n");
    let text = fails(manager.activated(vec![listener().into()], Some("a:b"), &[]));
    assert_eq!(text, "inherited sockets: 1 in LISTEN_FDS, 2 in LISTEN_FDNAMES\n");
    let mut command = manager.activated(vec![listener().into()], None, &[]);
    command.env("LISTEN_FDS", "9");
    let text = fails(command);
    assert_eq!(text, "inherited sockets (LISTEN_FDS): Bad file descriptor\n");
}

#[test]
fn sockets_of_another_process_are_left_alone() {
    let manager = Manager::new();
    let mut command = manager.command(&["-t", "1"]);
    command.env("LISTEN_FDS", "3").env("LISTEN_PID", "1").env("LISTEN_FDNAMES", "a:b:c");
    let (server, _) = manager.start(command);
    assert_eq!(manager.client().ask("mn"), "MN");
    assert_eq!(server.stop("TERM").0, Some(0));
}
