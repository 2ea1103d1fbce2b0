//! Owns a server process: its sockets in its own directory or for it, its certificate. Called by `drive` and
//! `datagrams`, twice a case.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::stream::Transport;
use crate::tls;

const START_MAX: Duration = Duration::from_secs(10);
/// Maximum time of a reply to `version`; a slower server hangs.
const REPLY_MAX: Duration = Duration::from_secs(20);

/// A running server; dropping it kills the process.
pub struct Server {
    child: Child,
    at: At,
    /// Channel for barriers, never used for the case itself.
    side: Box<dyn Channel>,
    _directory: TempDir,
}

/// Address of a server.
#[derive(Clone, Debug)]
pub enum At {
    Unix(PathBuf),
    /// TLS; its first listener is plain.
    Tls(SocketAddr),
    Udp(SocketAddr),
}

trait Channel: Read + Write {}
impl<T: Read + Write> Channel for T {}

impl Server {
    /// One worker: requests are processed in the order sent, on any connection.
    pub fn start(binary: &Path, transport: Transport, flags: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let (socket, ports) = (directory.path().join("socket"), directory.path().join("ports"));
        let mut command = Command::new(binary);
        command.args(["-t", "1", "-m", "512"]).args(flags).env("MEMCACHED_PORT_FILENAME", &ports);
        match transport {
            Transport::Unix => command.arg("-s").arg(&socket),
            Transport::Tls => {
                command.args(["-p", "-1", "-l", "notls:127.0.0.1,127.0.0.1", "-Z", "-o"]).arg(tls::options())
            }
            Transport::Udp => command.args(["-p", "-1", "-U", "-1", "-l", "127.0.0.1"]),
        };
        if runs_as_root() {
            command.args(["-u", "root"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|problem| panic!("{}: {problem}", binary.display()));
        let started = Instant::now();
        let (at, side) = loop {
            let ready = match transport {
                Transport::Unix => UnixStream::connect(&socket).ok().map(|stream| {
                    stream.set_read_timeout(Some(REPLY_MAX)).unwrap();
                    (At::Unix(socket.clone()), Box::new(stream) as Box<dyn Channel>)
                }),
                Transport::Tls | Transport::Udp => listeners(&ports).map(|[first, second]| {
                    let stream = TcpStream::connect(first).unwrap();
                    stream.set_read_timeout(Some(REPLY_MAX)).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let at = if transport == Transport::Tls { At::Tls(second) } else { At::Udp(second) };
                    (at, Box::new(stream) as Box<dyn Channel>)
                }),
            };
            if let Some(ready) = ready {
                break ready;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{} left at once: {status}", binary.display());
            }
            assert!(started.elapsed() < START_MAX, "{} opens no socket", binary.display());
            std::thread::yield_now();
        };
        let mut server = Server { child, at, side, _directory: directory };
        server.barrier().unwrap_or_else(|problem| panic!("{}: no version: {problem}", binary.display()));
        server
    }

    pub fn at(&self) -> &At {
        &self.at
    }

    /// Returns once the server has read everything sent before on any connection.
    pub fn barrier(&mut self) -> std::io::Result<()> {
        let side = &mut self.side;
        side.write_all(b"version\r\n")?;
        let mut byte = [0];
        while byte != *b"\n" {
            side.read_exact(&mut byte)?;
        }
        Ok(())
    }

    /// Exit status of the process, if it has ended.
    pub fn death(&mut self) -> Option<String> {
        self.child.try_wait().unwrap().map(|status| status.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first two addresses in a port file, once it exists.
fn listeners(file: &Path) -> Option<[SocketAddr; 2]> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut ports = text.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok());
    Some([ports.next()?, ports.next()?].map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port))))
}

/// Files that this process creates belong to its effective user.
fn runs_as_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
