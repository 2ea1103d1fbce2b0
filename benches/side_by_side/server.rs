//! Owns a server under test: which binary, how it is started, where it listens, what it costs.
//! Called by `main` (start), and by every measuring module (connect, cpu, rss, stats).

use std::ffi::OsString;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Outcome, machine, wire};

/// How long a server may take to open its port.
const START_MAX: Duration = Duration::from_secs(10);

/// One of the two programs that are compared.
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

    /// Refuses a missing binary now, by name, and not as a port that never opens.
    fn probed(self) -> Outcome<Target> {
        let probe = Command::new(&self.binary).arg("-V").stdin(Stdio::null()).output();
        let output = probe.map_err(|problem| format!("{} ({}): {problem}", self.name, self.binary.display()))?;
        eprintln!("{}: {} ({})", self.name, String::from_utf8_lossy(&output.stdout).trim(), self.binary.display());
        Ok(self)
    }
}

/// A running server; it is killed when this is dropped.
pub struct Server {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Server {
    /// One worker, a free port, and `options`.
    pub fn start(target: &Target, core: Option<usize>, options: &[&str]) -> Outcome<Server> {
        let directory = tempfile::tempdir()?;
        let port_file = directory.path().join("port");
        let mut command = machine::bound(core, &target.binary);
        command.args(["-t", "1", "-l", "127.0.0.1", "-p", "-1", "-U", "0"]).args(options);
        if machine::is_root() {
            command.args(["-u", "root"]);
        }
        command.env("MEMCACHED_PORT_FILENAME", &port_file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut server = Server { child, port: 0, _directory: directory };
        let started = Instant::now();
        while server.port == 0 {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server left at once: {status}").into());
            }
            if started.elapsed() > START_MAX {
                return Err("no port file came".into());
            }
            thread::sleep(Duration::from_millis(2));
            server.port = fs::read_to_string(&port_file).ok().and_then(|text| tcp_port(&text)).unwrap_or(0);
        }
        Ok(server)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn connect(&self) -> Outcome<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
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

impl Drop for Server {
    fn drop(&mut self) {
        // Either fails only when the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tcp_port(port_file: &str) -> Option<u16> {
    let row = port_file.lines().find(|line| line.starts_with("TCP"))?;
    row.rsplit(' ').next()?.parse().ok()
}
