//! Owns a server under test: its binary, start, addresses and costs. Called by `main` (start), and by every measuring
//! module (connect, cpu, rss, stats).

use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Outcome, machine, wire};

/// Maximum time until a server opens its port.
const START_MAX: Duration = Duration::from_secs(10);

/// One of the two compared programs.
pub struct Target {
    pub name: &'static str,
    pub binary: OsString,
}

impl Target {
    pub fn oxcached() -> Outcome<Target> {
        let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/release/oxcached").into_os_string();
        let binary = std::env::var_os("OXCACHED_BIN").filter(|path| !path.is_empty()).unwrap_or_else(default);
        Target { name: "oxcached", binary }.probed()
    }

    pub fn memcached() -> Outcome<Target> {
        let binary = std::env::var_os("MEMCACHED_BIN").filter(|path| !path.is_empty());
        Target { name: "memcached", binary: binary.unwrap_or_else(|| "memcached".into()) }.probed()
    }

    /// Rejects a missing binary by name now, instead of by a port that never opens.
    fn probed(self) -> Outcome<Target> {
        let probe = Command::new(&self.binary).arg("-V").stdin(Stdio::null()).output();
        let output = probe.map_err(|problem| format!("{} ({}): {problem}", self.name, self.binary.display()))?;
        eprintln!("{}: {} ({})", self.name, String::from_utf8_lossy(&output.stdout).trim(), self.binary.display());
        Ok(self)
    }
}

/// A running server; dropping it kills the process.
pub struct Server {
    child: Child,
    /// Ports of the TCP listeners, in their order.
    ports: Vec<u16>,
    udp_port: Option<u16>,
    admin_port: Option<u16>,
    _directory: TempDir,
}

impl Server {
    /// Starts a server with one worker, a free port, and `options`.
    pub fn start(target: &Target, core: Option<usize>, options: &[&str]) -> Outcome<Server> {
        Self::start_at(target, core, "127.0.0.1", options)
    }

    /// [`Server::start`] with a list of interfaces.
    pub fn start_at(target: &Target, core: Option<usize>, list: &str, options: &[&str]) -> Outcome<Server> {
        let directory = tempfile::tempdir()?;
        let port_file = directory.path().join("port");
        let mut command = machine::bound(core, &target.binary);
        command.args(["-t", "1", "-l", list, "-p", "-1", "-U", "0"]).args(options);
        if machine::is_root() {
            command.args(["-u", "root"]);
        }
        command.env("MEMCACHED_PORT_FILENAME", &port_file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut server = Server { child, ports: Vec::new(), udp_port: None, admin_port: None, _directory: directory };
        let started = Instant::now();
        while server.ports.is_empty() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server left at once: {status}").into());
            }
            if started.elapsed() > START_MAX {
                return Err("no port file came".into());
            }
            thread::sleep(Duration::from_millis(2));
            let text = fs::read_to_string(&port_file).unwrap_or_default();
            server.ports = ports(&text, "TCP").collect();
            server.udp_port = ports(&text, "UDP").next();
            server.admin_port = ports(&text, "ADMIN").next();
        }
        Ok(server)
    }

    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    pub fn connect(&self) -> Outcome<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port()))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    }

    pub fn cpu_ns(&self) -> Outcome<u64> {
        machine::cpu_ns(self.child.id())
    }

    pub fn rss_bytes(&self) -> Outcome<u64> {
        machine::rss_bytes(self.child.id())
    }

    /// Keys looked up and values stored so far, by the server's own count.
    pub fn operations(&self) -> Outcome<u64> {
        let stats = wire::stats(&mut self.connect()?)?;
        Ok(wire::number(&stats, "cmd_get")? + wire::number(&stats, "cmd_set")?)
    }
}

/// Used by the torture program only.
#[allow(dead_code)]
impl Server {
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

/// Ports of one kind in a port file.
fn ports<'a>(port_file: &'a str, kind: &'a str) -> impl Iterator<Item = u16> + 'a {
    let rows = port_file.lines().filter(move |line| line.starts_with(kind));
    rows.filter_map(|row| row.rsplit(' ').next()?.parse().ok())
}
