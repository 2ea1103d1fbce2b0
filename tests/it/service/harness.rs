//! A service manager for one server: its notification socket, the sockets that it hands down, and its signals.

use crate::support::{DEADLINE, until};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A directory, and the notification socket in it.
pub struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A server that has changed its user must still be able to write here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        fs::set_permissions(dir.path().join("notify"), fs::Permissions::from_mode(0o777)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { dir, socket }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn socket(&self) -> &UnixDatagram {
        &self.socket
    }

    /// The next message.
    #[track_caller]
    pub fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let n = self.socket.recv(&mut bytes).expect("a message");
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    }

    /// Whether a message has come.
    pub fn has_message(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let is_there = self.socket.recv(&mut [0; 4096]).is_ok();
        self.socket.set_nonblocking(false).unwrap();
        is_there
    }

    /// Receives messages until one begins with `start`.
    #[track_caller]
    pub fn wait_for(&self, start: &str) -> String {
        loop {
            let text = self.next();
            if text.starts_with(start) {
                return text;
            }
        }
    }

    /// A command line of the server: any port of 127.0.0.1 unless `args` say otherwise, `-u root` if needed, and this
    /// manager's socket in its environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = crate::program();
        self.prepare(&mut command, args);
        command
    }

    fn prepare(&self, command: &mut Command, args: &[&str]) {
        if !args.contains(&"-s") {
            command.args(["-p", "-1", "-l", "127.0.0.1"]);
        }
        if fs::metadata("/proc/self").unwrap().uid() == 0 && !args.contains(&"-u") {
            command.args(["-u", "root"]);
        }
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(self.path("log")).unwrap());
        command.env("NOTIFY_SOCKET", self.path("notify")).env("MEMCACHED_PORT_FILENAME", self.path("ports"));
        command.env_remove("RUST_LOG");
    }

    /// A command line as [`Manager::command`] whose process has `sockets`, three at most, as its descriptors from 3 on.
    pub fn activated(&self, sockets: Vec<OwnedFd>, names: Option<&str>, args: &[&str]) -> Command {
        let count = sockets.len();
        let mut command = Command::new("sh");
        // The shell's pid becomes the server's.
        let script = "exec 3<&0 4<&1 5<&2 </dev/null >/dev/null 2>\"$LOG\"; N=3
            while [ $N -le 5 ]; do [ $N -lt $((3 + LISTEN_FDS)) ] || eval \"exec $N<&-\"; N=$((N + 1)); done
            export LISTEN_PID=$$; exec \"$@\"";
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_oxcached")]);
        self.prepare(&mut command, args);
        command.env("LOG", self.path("log")).env("LISTEN_FDS", count.to_string());
        if let Some(names) = names {
            command.env("LISTEN_FDNAMES", names);
        }
        let mut stdio = sockets.into_iter().map(Stdio::from).chain(std::iter::repeat_with(Stdio::null));
        command.stdin(stdio.next().unwrap()).stdout(stdio.next().unwrap()).stderr(stdio.next().unwrap());
        command
    }

    /// Starts a server and waits until it is ready; returns its messages up to then.
    pub fn start(&self, mut command: Command) -> (Server, Vec<String>) {
        let _ = fs::remove_file(self.path("ports"));
        let mut server = Server { child: command.spawn().unwrap(), log: self.path("log") };
        let mut messages = Vec::new();
        self.socket.set_nonblocking(true).unwrap();
        until("READY=1", || {
            let status = server.child.try_wait().unwrap();
            assert!(status.is_none(), "the server ended with {status:?}: {}", server.said());
            let mut bytes = [0; 4096];
            while let Ok(n) = self.socket.recv(&mut bytes) {
                messages.push(String::from_utf8(bytes[..n].to_vec()).unwrap());
                if messages.last().is_some_and(|message| message.starts_with("READY=1")) {
                    return true;
                }
            }
            false
        });
        self.socket.set_nonblocking(false).unwrap();
        (server, messages)
    }

    /// Runs a command line that must end by itself: exit code and standard error.
    pub fn fails(&self, mut command: Command) -> (Option<i32>, String) {
        let mut server = Server { child: command.spawn().unwrap(), log: self.path("log") };
        let mut code = None;
        until("the end", || {
            let status = server.child.try_wait().unwrap();
            code = status.and_then(|status| status.code());
            status.is_some()
        });
        (code, server.said())
    }

    /// Addresses in the port file, on 127.0.0.1, by the start of their lines.
    pub fn address(&self, kind: &str) -> SocketAddr {
        let text = fs::read_to_string(self.path("ports")).unwrap();
        let port = text.lines().find_map(|line| line.strip_prefix(kind)?.rsplit(' ').next()).expect(kind);
        SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
    }

    pub fn client(&self) -> Client {
        Client::new(self.address("TCP"))
    }
}

/// A running server.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// What it has written to standard error.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end; exit code and standard error.
    pub fn end(mut self) -> (Option<i32>, String) {
        until("the end", || self.has_ended());
        (self.child.wait().unwrap().code(), self.said())
    }

    pub fn stop(self, signal: &str) -> (Option<i32>, String) {
        self.signal(signal);
        self.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the text protocol.
pub struct Client(pub BufReader<TcpStream>);

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The next line; empty at the end of the stream.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    pub fn ask(&mut self, command: &str) -> String {
        self.send(&format!("{command}\r\n"));
        self.line()
    }
}
