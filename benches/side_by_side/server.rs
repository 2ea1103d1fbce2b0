//! Owns a server under test: its binary, start, addresses and costs. Called by `main` (start), and by every measuring
//! module (connect, cpu, rss, stats).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Outcome, machine, wire};

/// Maximum time until a server opens its port.
const START_MAX: Duration = Duration::from_secs(60);

/// One of the compared programs.
#[derive(Clone)]
pub struct Target {
    pub name: &'static str,
    pub version: String,
    pub binary: OsString,
    /// Words in front of the binary: the program that it runs under.
    pub under: Vec<OsString>,
    pub dialect: Dialect,
}

/// What a program's command line is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Memcached,
    /// Neither memcached's options nor its port file; one port that must be named.
    Pogocache,
}

impl Target {
    pub fn oxcached() -> Outcome<Target> {
        let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/release/oxcached").into_os_string();
        Target::probed("oxcached", named("OXCACHED_BIN").unwrap_or_else(default), Dialect::Memcached)
    }

    pub fn memcached() -> Outcome<Target> {
        let binary = named("MEMCACHED_BIN").unwrap_or_else(|| "memcached".into());
        Target::probed("memcached", binary, Dialect::Memcached)
    }

    /// Rejects a missing binary by name now, instead of by a port that never opens.
    fn probed(name: &'static str, binary: OsString, dialect: Dialect) -> Outcome<Target> {
        let option = if dialect == Dialect::Memcached { "-V" } else { "--version" };
        let probe = Command::new(&binary).arg(option).stdin(Stdio::null()).output();
        let output = probe.map_err(|problem| format!("{name} ({}): {problem}", binary.display()))?;
        let version = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned();
        eprintln!("{name}: {version} ({})", binary.display());
        Ok(Target { name, version, binary, under: Vec::new(), dialect })
    }
}

/// Those with which the side-by-side benchmark compares as well.
impl Target {
    /// An older memcached: `MEMCACHED_OLD`.
    pub fn old() -> Outcome<Option<Target>> {
        named("MEMCACHED_OLD").map(|binary| Target::probed("old", binary, Dialect::Memcached)).transpose()
    }

    /// `POGOCACHE`.
    pub fn pogocache() -> Outcome<Option<Target>> {
        named("POGOCACHE").map(|binary| Target::probed("pogocache", binary, Dialect::Pogocache)).transpose()
    }

    /// This program itself as the server that `word` names.
    pub fn own(name: &'static str, word: &str) -> Outcome<Target> {
        let under = vec![std::env::current_exe()?.into_os_string()];
        Ok(Target { name, version: String::new(), binary: word.into(), under, dialect: Dialect::Memcached })
    }

    /// Whether the program was built with TLS.
    pub fn speaks_tls(&self) -> bool {
        let help = Command::new(&self.binary).arg("-h").stdin(Stdio::null()).output();
        help.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("ssl_chain_cert"))
    }
}

/// A program that a variable of the environment names.
pub fn named(variable: &str) -> Option<OsString> {
    std::env::var_os(variable).filter(|path| !path.is_empty())
}

/// Where a server listens.
#[derive(Clone, Copy)]
pub enum Door<'a> {
    /// A list of interfaces, as `-l` has it; the kernel picks the ports.
    Interfaces(&'a str),
    /// A unix socket.
    Socket,
}

/// A connection of the benchmark itself.
pub trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

/// A running server; dropping it kills the process.
pub struct Server {
    child: Child,
    /// Ports of the TCP listeners, in their order.
    ports: Vec<u16>,
    udp_port: Option<u16>,
    admin_port: Option<u16>,
    socket: Option<PathBuf>,
    directory: TempDir,
}

impl Server {
    /// Starts a server with one worker, a free port, and `options`.
    pub fn start(target: &Target, core: Option<usize>, options: &[impl AsRef<OsStr>]) -> Outcome<Server> {
        Self::start_at(target, core, Door::Interfaces("127.0.0.1"), options)
    }

    /// [`Server::start`] with a choice of where it listens.
    pub fn start_at(
        target: &Target,
        core: Option<usize>,
        door: Door,
        options: &[impl AsRef<OsStr>],
    ) -> Outcome<Server> {
        let directory = tempfile::tempdir()?;
        let mut words = target.under.iter().chain([&target.binary]);
        let mut command = machine::bound(core, words.next().ok_or("no program")?);
        command.args(words);
        if target.dialect == Dialect::Pogocache {
            return Self::pogocache(command, directory);
        }
        let child = memcached(&mut command, directory.path(), door, options).spawn()?;
        let socket = matches!(door, Door::Socket).then(|| directory.path().join(SOCKET));
        let mut server = Server { child, ports: Vec::new(), udp_port: None, admin_port: None, socket, directory };
        server.await_start()?;
        Ok(server)
    }

    fn pogocache(mut command: Command, directory: TempDir) -> Outcome<Server> {
        // The port is free for as long as no other program asks for one; pogocache has no port file.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "--threads", "1", "--maxmemory", "2gb"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Server { child, ports: vec![port], udp_port: None, admin_port: None, socket: None, directory };
        server.until_connected()?;
        Ok(server)
    }

    fn await_start(&mut self) -> Outcome<()> {
        if self.socket.is_some() {
            return self.until_connected();
        }
        let started = Instant::now();
        while self.ports.is_empty() {
            self.still_starting(started)?;
            let text = fs::read_to_string(self.directory.path().join(PORT_FILE)).unwrap_or_default();
            self.ports = ports(&text, "TCP").collect();
            self.udp_port = ports(&text, "UDP").next();
            self.admin_port = ports(&text, "ADMIN").next();
        }
        Ok(())
    }

    fn until_connected(&mut self) -> Outcome<()> {
        let started = Instant::now();
        while self.control().is_err() {
            self.still_starting(started)?;
        }
        Ok(())
    }

    /// Waits a little, unless there is nothing to wait for.
    fn still_starting(&mut self, since: Instant) -> Outcome<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the server left at once: {status}").into());
        }
        if since.elapsed() > START_MAX {
            return Err("the server does not listen".into());
        }
        thread::sleep(Duration::from_millis(2));
        Ok(())
    }

    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    pub fn connect(&self) -> Outcome<TcpStream> {
        connect_to(self.port())
    }

    /// A connection of whichever kind the server takes.
    pub fn control(&self) -> Outcome<Box<dyn Duplex>> {
        match &self.socket {
            Some(path) => Ok(Box::new(UnixStream::connect(path)?)),
            None => Ok(Box::new(self.connect()?)),
        }
    }

    pub fn cpu_ns(&self) -> Outcome<u64> {
        machine::cpu_ns(self.child.id())
    }

    pub fn rss_bytes(&self) -> Outcome<u64> {
        machine::rss_bytes(self.child.id())
    }

    /// Keys looked up and values stored so far, by the server's own count.
    pub fn operations(&self) -> Outcome<u64> {
        let stats = wire::stats(&mut self.control()?)?;
        Ok(wire::number(&stats, "cmd_get")? + wire::number(&stats, "cmd_set")?)
    }
}

/// For some of the benchmarks only.
impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The unix socket, if the server listens there.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// A connection to TCP listener `number`.
    pub fn connect_to(&self, number: usize) -> Outcome<TcpStream> {
        connect_to(self.port_of(number).ok_or("no such listener")?)
    }

    /// Port of TCP listener `number`, if it exists.
    pub fn port_of(&self, number: usize) -> Option<u16> {
        self.ports.get(number).copied()
    }

    pub fn udp_port(&self) -> Option<u16> {
        self.udp_port
    }

    pub fn admin_port(&self) -> Option<u16> {
        self.admin_port
    }

    /// Sends a signal and waits for the process to end; `None` if that took longer than `most`.
    pub fn end_by(&mut self, signal: &str, most: Duration) -> Outcome<Option<Duration>> {
        let begun = Instant::now();
        let told = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.child.id())]).status()?;
        if !told.success() {
            return Err(format!("kill -{signal}: {told}").into());
        }
        while begun.elapsed() < most {
            if self.child.try_wait()?.is_some() {
                return Ok(Some(begun.elapsed()));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(None)
    }

    pub fn descriptors(&self) -> Outcome<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only if the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Names in a server's own directory.
const SOCKET: &str = "socket";
const PORT_FILE: &str = "port";

fn connect_to(port: u16) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// The words that every memcached understands.
fn memcached<'a>(
    command: &'a mut Command,
    directory: &Path,
    door: Door,
    options: &[impl AsRef<OsStr>],
) -> &'a mut Command {
    command.args(["-t", "1", "-U", "0"]);
    match door {
        Door::Interfaces(list) => command.args(["-l", list, "-p", "-1"]),
        Door::Socket => command.arg("-s").arg(directory.join(SOCKET)),
    };
    command.args(options);
    if machine::is_root() {
        command.args(["-u", "root"]);
    }
    command.env("MEMCACHED_PORT_FILENAME", directory.join(PORT_FILE));
    command.stdin(Stdio::null()).stdout(Stdio::null())
}

/// Ports of one kind in a port file.
fn ports<'a>(port_file: &'a str, kind: &'a str) -> impl Iterator<Item = u16> + 'a {
    let rows = port_file.lines().filter(move |line| line.starts_with(kind));
    rows.filter_map(|row| row.rsplit(' ').next()?.parse().ok())
}
