//! Owns a server process on a unix socket in its own directory. Called by `drive`, twice a case.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const START_MAX: Duration = Duration::from_secs(10);
/// A reply to `version` that takes longer means that the server hangs.
const REPLY_MAX: Duration = Duration::from_secs(20);

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    path: PathBuf,
    /// Where barriers are asked for: never used for the case itself.
    side: Option<UnixStream>,
    _directory: TempDir,
}

impl Server {
    /// One worker: what was sent first is worked on first, on whatever connection.
    pub fn start(binary: &Path, flags: &[&str]) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut command = Command::new(binary);
        command.args(["-t", "1", "-m", "512", "-s"]).arg(&path).args(flags);
        if runs_as_root() {
            command.args(["-u", "root"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|problem| panic!("{}: {problem}", binary.display()));
        let mut server = Server { child, path, side: None, _directory: directory };
        let started = Instant::now();
        while server.side.is_none() {
            match UnixStream::connect(&server.path) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(REPLY_MAX)).unwrap();
                    server.side = Some(stream);
                }
                Err(problem) if matches!(problem.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                    if let Some(status) = server.child.try_wait().unwrap() {
                        panic!("{} left at once: {status}", binary.display());
                    }
                    assert!(started.elapsed() < START_MAX, "{} opens no socket", binary.display());
                    std::thread::yield_now();
                }
                Err(problem) => panic!("{}: {problem}", server.path.display()),
            }
        }
        server.barrier().unwrap_or_else(|problem| panic!("{}: no version: {problem}", binary.display()));
        server
    }

    pub fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(&self.path)
    }

    /// Returns when the server has read everything sent before on any connection.
    pub fn barrier(&mut self) -> std::io::Result<()> {
        let side = self.side.as_mut().unwrap();
        side.write_all(b"version\r\n")?;
        let mut byte = [0];
        while byte != *b"\n" {
            side.read_exact(&mut byte)?;
        }
        Ok(())
    }

    /// How the process ended, when it did.
    pub fn death(&mut self) -> Option<String> {
        self.child.try_wait().unwrap().map(|status| status.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The owner of what this process creates is its effective user.
fn runs_as_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
