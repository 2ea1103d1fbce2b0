//! A server with limited address space: optional memory is refused while some is left, and the process and its items
//! survive.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

/// More prefixes than are counted.
const PREFIXES: usize = 66_000;

/// A server on a unix socket.
struct Server {
    process: Child,
    socket: PathBuf,
    _dir: TempDir,
}

impl Server {
    /// Starts with `limit` KiB of address space; `None` if the server refuses to start.
    fn start(limit: usize) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("socket");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "ulimit -v $0; exec \"$@\"",
            &limit.to_string(),
            env!("CARGO_BIN_EXE_oxcached"),
            "-m",
            "64",
            "-t",
            "2",
        ]);
        command.arg("-s").arg(&socket).stdin(Stdio::null());
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["-u", "root"]);
        }
        let mut server = Self { process: command.spawn().unwrap(), socket, _dir: dir };
        let start = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            if let Some(status) = server.process.try_wait().unwrap() {
                assert!(status.code().is_some(), "{status}");
                return None;
            }
            assert!(start.elapsed() < DEADLINE, "it does not start");
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(server)
    }

    fn client(&self) -> UnixStream {
        let client = UnixStream::connect(&self.socket).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a request and reads replies up to `end`, or to the end of the connection.
fn ask(client: &mut UnixStream, request: &[u8], end: &[u8]) -> Vec<u8> {
    client.write_all(request).unwrap();
    let (mut replies, mut part) = (Vec::new(), vec![0; 65_536]);
    while !replies.ends_with(end) {
        match client.read(&mut part) {
            Ok(n) if n > 0 => replies.extend_from_slice(&part[..n]),
            _ => break,
        }
    }
    replies
}

#[test]
fn prefixes_and_their_dumps_leave_memory_for_items() {
    let mut started = 0;
    // The remaining memory depends on the reservations at start.
    for megabytes in (300..=460).step_by(10) {
        let Some(mut server) = Server::start(megabytes << 10) else { continue };
        started += 1;
        let mut client = server.client();
        ask(&mut client, b"set keep 0 0 1\r\nx\r\nstats detail on\r\n", b"OK\r\n");
        for from in (0..PREFIXES).step_by(500) {
            let mut gets = String::new();
            for n in from..from + 500 {
                gets.push_str(&format!("get {}{n}:k\r\n", "p".repeat(230)));
            }
            ask(&mut client, (gets + "mn\r\n").as_bytes(), b"MN\r\n");
        }
        let mut silent: Vec<UnixStream> = (0..60).map(|_| server.client()).collect();
        let packet = [&[0x80, 0x10, 0, 11, 0, 0, 0, 0, 0, 0, 0, 11][..], &[0; 12], b"detail dump"].concat();
        for (n, client) in silent.iter_mut().enumerate() {
            let request = if n % 2 == 0 { &b"stats detail dump\r\n"[..] } else { &packet };
            client.write_all(request).unwrap();
        }
        let reply = ask(&mut client, b"get keep\r\n", b"END\r\n");
        assert_eq!(reply, b"VALUE keep 0 1\r\nx\r\nEND\r\n", "with {megabytes} MB");
        // A dump that is complete, or refused.
        let dump = ask(&mut server.client(), b"stats detail dump\r\n", b"END\r\n");
        assert!(dump.is_empty() || dump.ends_with(b"END\r\n"));
        assert_eq!(ask(&mut server.client(), b"mn\r\n", b"MN\r\n"), b"MN\r\n");
        assert!(server.process.try_wait().unwrap().is_none(), "with {megabytes} MB");
    }
    assert!(started > 0);
}
