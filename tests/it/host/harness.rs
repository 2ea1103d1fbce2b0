//! A server's program in a directory of its own, and a client for it.

use crate::support::{DEADLINE, until};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// Whether the test may make mounts, groups and other users' processes.
pub fn am_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A directory, and the command that starts a server there.
pub struct Place {
    pub dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A server that has changed its user must be able to write here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Replaces a file by renaming, as deployment tools do.
    pub fn replace(&self, name: &str, text: &str) {
        self.write("draft", text);
        fs::rename(self.path("draft"), self.path(name)).unwrap();
    }

    /// A command for two workers on a free port; `DIR` in `args` is the directory.
    pub fn command(&self, args: &str) -> Command {
        self.run(self.words(args))
    }

    /// The words of that command.
    pub fn words(&self, args: &str) -> Vec<String> {
        let dir = self.dir.path().to_str().unwrap();
        let as_root = if am_root() && !args.contains("-u ") { "-u root" } else { "" };
        let address = if args.contains("-l ") { "" } else { "-l 127.0.0.1" };
        let args = format!("{address} -p -1 -t 2 {as_root} {}", args.replace("DIR", dir));
        let words = args.split_ascii_whitespace().map(str::to_owned);
        std::iter::once(env!("CARGO_BIN_EXE_oxcached").to_owned()).chain(words).collect()
    }

    /// That command in a shell, which runs `script` before.
    pub fn after(&self, script: &str, args: &str) -> Command {
        let shell = ["sh".to_owned(), "-c".to_owned(), format!("{script}; exec \"$0\" \"$@\"")];
        self.run(shell.into_iter().chain(self.words(args)))
    }

    /// The words as a command in the directory, with the environment of a test.
    pub fn run(&self, words: impl IntoIterator<Item = String>) -> Command {
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        for name in ["MEMCACHED_SASL_PWDB", "SASL_CONF_PATH", "RUST_LOG", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command.env("MEMCACHED_PORT_FILENAME", self.path("ports")).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// A server with these options.
    pub fn serve(&self, args: &str) -> Program {
        self.start(self.command(args))
    }

    /// Runs a command that serves; fails with its output if it ends instead.
    pub fn start(&self, mut command: Command) -> Program {
        let _ = fs::remove_file(self.path("ports"));
        let mut program = Program { child: command.spawn().unwrap(), port: 0 };
        until("the port file", || {
            if let Some(status) = program.child.try_wait().unwrap() {
                panic!("it ended, {status}: {}", program.said());
            }
            self.path("ports").exists()
        });
        let text = fs::read_to_string(self.path("ports")).unwrap();
        let port = text.lines().find_map(|line| line.strip_prefix("TCP INET: "));
        program.port = port.map_or(0, |port| port.parse().unwrap());
        program
    }

    /// Exit code and standard error of a server that does not start.
    pub fn fails(&self, mut command: Command) -> (Option<i32>, String) {
        let program = Program { child: command.spawn().unwrap(), port: 0 };
        let (status, said) = program.ended();
        (status.code(), said)
    }
}

/// A running server; killed when dropped.
pub struct Program {
    pub child: Child,
    pub port: u16,
}

impl Program {
    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    /// Sends `text` on a new connection; the reply up to `end`.
    #[track_caller]
    pub fn ask(&self, text: &str, end: &str) -> String {
        talk(&mut self.connect(), text, end)
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Ends it by SIGTERM; its standard error.
    #[track_caller]
    pub fn stop(self) -> String {
        self.signal("TERM");
        let (status, said) = self.ended();
        assert!(status.success(), "{status}: {said}");
        said
    }

    /// Waits for its end: status and standard error.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let said = self.said();
        (self.child.wait().unwrap(), said)
    }

    /// The rest of its standard error.
    fn said(&mut self) -> String {
        let mut said = String::new();
        let stderr = self.child.stderr.take();
        stderr.map(|mut stderr| stderr.read_to_string(&mut said).unwrap());
        said
    }

    /// A line of `/proc/PID/task/TID/status` of each thread, by the thread's name.
    pub fn threads(&self, line: &str) -> Vec<(String, String)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let read = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("status")).unwrap();
            let find = |name: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
                value.unwrap_or_default().to_owned()
            };
            (find("Name"), find(line))
        };
        let mut threads: Vec<_> = tasks.map(|task| read(task.unwrap())).collect();
        threads.sort();
        threads
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `text`; the reply up to `end`.
#[track_caller]
pub fn talk(stream: &mut (impl Read + Write), text: &str, end: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let (mut got, mut part) = (Vec::new(), [0; 65536]);
    while !got.ends_with(end.as_bytes()) {
        match stream.read(&mut part) {
            Ok(n) if n > 0 => got.extend_from_slice(&part[..n]),
            other => panic!("{other:?} after {}", String::from_utf8_lossy(&got)),
        }
    }
    String::from_utf8(got).unwrap()
}

/// A GET of the admin listener at a unix socket.
pub fn http(socket: &std::path::Path, path: &str, header: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n").unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    String::from_utf8_lossy(&got).into_owned()
}
