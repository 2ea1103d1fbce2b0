//! The server under test: started with a durable copy, killed without warning.

use crate::Outcome;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longest time until a server answers.
const START_MAX: Duration = Duration::from_secs(20);

pub struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    /// Starts `program` and waits until it accepts connections. Memory is small, so that most items are in the copy
    /// alone.
    pub fn start(program: &str, folder: &Path, store: &Path, durability: &str) -> Outcome<Self> {
        let socket = folder.join("socket");
        let options = format!("store=sqlite:{},durability={durability}", store.display());
        let child = Command::new(program)
            .args(["-u", "root", "-t", "2", "-m", "8", "-I", "1m", "-o", &options, "-s"])
            .arg(&socket)
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let mut server = Self { child, socket };
        let begun = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server has ended: {status}").into());
            }
            if begun.elapsed() > START_MAX {
                return Err("the server does not answer".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(server)
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// SIGKILL; returns when it was sent.
    pub fn kill(mut self) -> Outcome<Instant> {
        let at = Instant::now();
        self.child.kill()?;
        self.child.wait()?;
        Ok(at)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
