//! The server's program: signals, descriptors, threads.

use crate::support::until;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A running server whose admin listener is a unix socket.
struct Program {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Program {
    fn new(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut command = crate::program();
        command.args(["-l", "127.0.0.1", "-p", "-1", "-t", "1", "-m", "64", "-u", "root"]).args(args);
        command.arg(format!("--admin={}", path("admin.sock").display())).current_dir(directory.path());
        command.env("MEMCACHED_PORT_FILENAME", path("ports")).stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        until("the server is up", || path("ports").exists());
        let ports = fs::read_to_string(path("ports")).unwrap();
        let port = ports.trim().rsplit(' ').next().unwrap().parse().unwrap();
        Self { child, directory, port }
    }

    fn admin(&self) -> UnixStream {
        UnixStream::connect(self.directory.path().join("admin.sock")).unwrap()
    }

    /// The answer to one request; what has come of it where the connection was refused.
    fn get(&self, path: &str, headers: &str) -> String {
        let mut socket = self.admin();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let _ = socket.write_all(request.as_bytes());
        let mut text = String::new();
        let _ = socket.read_to_string(&mut text);
        text
    }

    /// Number of entries of a directory of this process.
    fn count(&self, what: &str) -> usize {
        let path: PathBuf = Path::new("/proc").join(self.child.id().to_string()).join(what);
        fs::read_dir(path).unwrap().count()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn descriptors_and_threads_return_to_their_start() {
    let program = Program::new(&[]);
    assert!(program.get("/stats.json", "").starts_with("HTTP/1.1 200 "));
    let (descriptors, threads) = (program.count("fd"), program.count("task"));
    for n in 0..1000 {
        let mut socket = program.admin();
        let request = ["", "GET /", "GET /events HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n\0"][n % 4];
        let _ = socket.write_all(request.as_bytes());
    }
    // Connections of the storm may still wait to be accepted.
    until("the storm is over", || program.get("/healthz", "").starts_with("HTTP/1.1 200 "));
    until("descriptors are back", || program.count("fd") <= descriptors);
    assert_eq!(program.count("task"), threads);
}

/// The resident memory, in bytes.
fn resident(program: &Program) -> usize {
    let statm = fs::read_to_string(format!("/proc/{}/statm", program.child.id())).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn memory_of_frames_goes_back_to_the_system() {
    let program = Program::new(&[]);
    let watch = || {
        let mut viewer = program.admin();
        viewer.write_all(b"GET /events?watch=fetchers HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        viewer.read_exact(&mut [0; 9]).unwrap();
        viewer
    };
    // What is made for the first viewer is there.
    drop(watch());
    until("the first viewer has left", || program.get("/stats.json", "").contains("\"viewers\":0"));
    let before = resident(&program);
    let viewers: Vec<UnixStream> = (0..8).map(|_| watch()).collect();
    let mut client = TcpStream::connect(("127.0.0.1", program.port)).unwrap();
    let gets = format!("get {}\r\n", "k".repeat(240)).repeat(100);
    until("frames are dropped", || {
        client.write_all(gets.as_bytes()).unwrap();
        client.read_exact(&mut [0; 500]).unwrap();
        !program.get("/stats.json", "").contains("\"frames_dropped\":0,")
    });
    let full = resident(&program);
    assert!(full > before + (6 << 20), "{before} {full}");
    drop(viewers);
    until("memory is back", || resident(&program) < before + (2 << 20));
}

#[test]
fn a_storm_waits_to_be_accepted() {
    let program = Program::new(&[]);
    let address = SockAddr::unix(program.directory.path().join("admin.sock")).unwrap();
    program.signal("-STOP");
    let storm: Vec<Socket> = (0..1000)
        .map(|n| {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.connect(&address).unwrap_or_else(|e| panic!("connection {n}: {e}"));
            socket
        })
        .collect();
    drop(storm);
    program.signal("-CONT");
    until("the storm is over", || program.get("/healthz", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn it_answers_when_every_client_has_its_place_and_takes_none() {
    let program = Program::new(&["-c", "40"]);
    let mut held: Vec<UnixStream> = (0..20).map(|_| program.admin()).collect();
    let mut clients = Vec::new();
    // Those that are in are answered, the first beyond `-c` is refused.
    let refused = loop {
        let mut client = TcpStream::connect(("127.0.0.1", program.port)).unwrap();
        client.write_all(b"version\r\n").unwrap();
        let mut line = String::new();
        let _ = BufReader::new(client.try_clone().unwrap()).read_line(&mut line);
        if !line.starts_with("VERSION") {
            break line;
        }
        clients.push(client);
        assert!(clients.len() < 40);
    };
    assert!(refused.is_empty() || refused.starts_with("ERROR Too many open connections"), "{refused}");
    assert!(clients.len() >= 10, "{} clients beside 20 admin connections", clients.len());
    assert!(program.get("/readyz", "").ends_with("\r\n\r\nready\n"));
    held.clear();
}

#[test]
fn a_new_token_is_read_at_sighup() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, "the-first-token-of-all").unwrap();
    let program = Program::new(&["-o", &format!("admin_token_file={}", file.display())]);
    let takes = |token: &str| {
        program.get("/stats.json", &format!("Authorization: Bearer {token}\r\n")).starts_with("HTTP/1.1 200 ")
    };
    assert!(takes("the-first-token-of-all") && !takes("the-second-token-there"));
    fs::write(&file, "the-second-token-there").unwrap();
    program.signal("-HUP");
    until("the new token counts", || takes("the-second-token-there"));
    assert!(!takes("the-first-token-of-all"));
    // A file that cannot be used changes nothing.
    fs::write(&file, "short").unwrap();
    program.signal("-HUP");
    assert!(takes("the-second-token-there") && !takes("short"));
}

#[test]
fn signals_end_it_with_viewers() {
    for signal in ["-TERM", "-USR1", "-INT"] {
        let mut program = Program::new(&[]);
        let mut viewers: Vec<UnixStream> = (0..5).map(|_| program.admin()).collect();
        for viewer in &mut viewers {
            viewer.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            viewer.read_exact(&mut [0; 9]).unwrap();
        }
        program.signal(signal);
        assert!(program.child.wait().unwrap().success(), "{signal}");
        assert!(!program.directory.path().join("admin.sock").exists());
    }
}
