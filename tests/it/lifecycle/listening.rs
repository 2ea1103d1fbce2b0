//! Listeners of the `-l` list in the real program: unix sockets beside ports, their owners and files, interfaces, and
//! addresses that contain each other.

use super::process::{Process, Scratch, am_root, bare_command, command, ended, fails, quiet, signal};
use crate::support::until;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

/// The reply to `request`, up to `end`.
fn ask(mut stream: impl Read + Write, request: &str, end: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let (mut reply, mut byte) = (Vec::new(), [0]);
    while !reply.ends_with(end.as_bytes()) && stream.read(&mut byte).unwrap() == 1 {
        reply.push(byte[0]);
    }
    String::from_utf8(reply).unwrap()
}

fn version(stream: impl Read + Write) -> String {
    ask(stream, "version\r\n", "\n")
}

fn connect(path: &Path) -> UnixStream {
    UnixStream::connect(path).unwrap()
}

/// The TCP ports of the port file.
fn tcp_ports(scratch: &Scratch) -> Vec<u16> {
    let text = fs::read_to_string(scratch.path("ports")).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("TCP INET: ")).map(|port| port.parse().unwrap()).collect()
}

#[test]
fn unix_sockets_are_served_beside_ports_and_go_with_the_server() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.path("one"), scratch.path("two"));
    let list = format!("unix:{},127.0.0.1,proto[ascii]:unix:{}", one.display(), two.display());
    for end in ["TERM", "INT", "USR1"] {
        let server = Process::start(&scratch, &["-l", &list, "-p", "-1", "-a", "640"]);
        let port = tcp_ports(&scratch)[0];
        let rows = fs::read_to_string(scratch.path("ports")).unwrap();
        assert_eq!(rows, format!("TCP INET: {port}\nUNIX: {}\nUNIX: {}\n", one.display(), two.display()));
        assert_eq!(version(TcpStream::connect(("127.0.0.1", port)).unwrap()), "VERSION 1.6.45\r\n");
        for path in [&one, &two] {
            assert_eq!(version(connect(path)), "VERSION 1.6.45\r\n");
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
        }
        let conns = ask(connect(&two), "stats conns\r\n", "END\r\n");
        for path in [&one, &two] {
            let row = format!("addr unix:{}\r\n", path.display());
            assert!(conns.contains(&row), "{row}: {conns}");
        }
        let (code, text) = server.stop(end);
        assert_eq!((code, text.replace("Gracefully stopping\n", "")), quiet());
        assert!(!one.exists() && !two.exists(), "{end}");
    }
}

#[test]
fn a_daemon_resolves_its_unix_sockets_from_the_directory_of_its_start() {
    let scratch = Scratch::new();
    let mut start = command(&["-d", "-p", "0", "-l", "unix:socket", "-P", "pid"]);
    start.current_dir(scratch.path("")).env("MEMCACHED_PORT_FILENAME", "ports");
    let status = start.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let pid = scratch.wait_for("pid").trim().parse().unwrap();
    let path = scratch.path("socket");
    assert_eq!(version(connect(&path)), "VERSION 1.6.45\r\n");
    assert_eq!(scratch.wait_for("ports"), format!("UNIX: {}\n", path.display()));
    signal(pid, "TERM");
    until("end of the daemon", || ended(pid));
    assert!(!path.exists());
}

#[test]
fn only_the_socket_of_a_killed_server_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let entry = format!("unix:{}", path.display());
    let first = Process::start(&scratch, &["-l", &entry]);
    let inode = fs::metadata(&path).unwrap().ino();
    let (code, text) = fails(command(&["-l", &entry]));
    let refusal = format!("failed to listen on UNIX socket: {}: a running server listens on it\n", path.display());
    assert_eq!((code, text), (Some(71), refusal));
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    first.signal("KILL");
    first.end();
    assert!(path.exists());
    let second = Process::start(&scratch, &["-l", &entry]);
    assert_eq!(version(connect(&path)), "VERSION 1.6.45\r\n");
    assert_eq!(second.stop("TERM"), quiet());
}

#[test]
fn a_path_beyond_the_bound_is_an_error() {
    let scratch = Scratch::new();
    let path = scratch.text(&"n".repeat(120));
    let why = format!("its path has {} bytes, the maximum is 107", path.len());
    let expected = format!("failed to listen on UNIX socket: {path}: {why}\n");
    assert_eq!(fails(command(&["-s", &path])), (Some(71), expected.clone()));
    assert_eq!(fails(command(&["-p", "0", "-l", &format!("unix:{path}")])), (Some(71), expected));
    assert!(fs::read_dir(scratch.path("")).unwrap().next().is_none());
}

#[test]
fn a_unix_socket_gets_its_group_after_the_change_of_user() {
    if !am_root() {
        eprintln!("not run: only root may change user and groups");
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.path("socket");
    let entry = format!("unix:{}", path.display());
    let group = "unix_group=4321";
    let nobody = oxcached::sys::user::find_account(b"nobody").unwrap();
    for place in [["-l", &entry], ["-s", path.to_str().unwrap()]] {
        let all = [&place[..], &["-u", "nobody", "-a", "660", "-o", group]].concat();
        let mut server = Process { child: Some(bare_command(&all).spawn().unwrap()) };
        server.up("unix socket", || UnixStream::connect(&path).is_ok());
        let file = fs::metadata(&path).unwrap();
        assert_eq!((file.uid(), file.gid(), file.permissions().mode() & 0o777), (nobody.uid, 4321, 0o660));
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        assert_eq!(groups.trim(), "4321");
        assert_eq!(server.stop("TERM"), quiet());
    }
    // A user that is no member of the group.
    let _ = fs::remove_file(&path);
    let mut start = bare_command(&["-l", &entry, "-o", group]);
    start.uid(nobody.uid).gid(nobody.gid);
    let why = "Operation not permitted";
    let expected = format!("chown(): {why}\nfailed to listen on UNIX socket: {}: {why}\n", path.display());
    assert_eq!(fails(start), (Some(71), expected));
    assert!(!path.exists());
}

#[test]
fn an_interface_name_stands_for_its_addresses() {
    let scratch = Scratch::new();
    let mut start = command(&["-l", "lo", "-p", "-1"]);
    // No look-up in a domain of this machine finds the name first.
    start.env("LOCALDOMAIN", "invalid").env("RES_OPTIONS", "timeout:1 attempts:1");
    let server = Process::start_by(&scratch, start);
    assert_eq!(version(TcpStream::connect(("127.0.0.1", tcp_ports(&scratch)[0])).unwrap()), "VERSION 1.6.45\r\n");
    assert_eq!(server.stop("TERM"), quiet());
}

#[test]
fn an_address_that_another_one_contains_is_served_by_it() {
    for list in ["0.0.0.0,127.0.0.1", "127.0.0.1,0.0.0.0", "*,127.0.0.1", "127.0.0.1;*"] {
        let scratch = Scratch::new();
        let free = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let server = Process::start(&scratch, &["-l", list, "-p", &free.to_string()]);
        assert_eq!(tcp_ports(&scratch), [free], "{list}");
        assert_eq!(version(TcpStream::connect(("127.0.0.1", free)).unwrap()), "VERSION 1.6.45\r\n");
        assert_eq!(server.stop("TERM"), quiet());
    }
}

#[test]
fn an_address_in_use_beside_one_that_is_served_is_a_warning() {
    let scratch = Scratch::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    if TcpListener::bind(("::1", port)).is_err() {
        eprintln!("not run: this machine has no IPv6, or the port is taken there");
        return;
    }
    let server = Process::start(&scratch, &["-p", &port.to_string()]);
    let (code, text) = server.stop("TERM");
    assert_eq!((code, text), (Some(0), format!("not listening on 0.0.0.0:{port}: Address already in use\n")));
}
