//! A server with failing system calls, a client that is affected by the faults, and one that must not notice them.

use crate::plan::{Call, Fault, Plan, library};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Reached only by a failing test.
const DEADLINE: Duration = Duration::from_secs(20);

/// Deadline of a reply that a fault may have suppressed: the connection must be closed, not left waiting.
const REPLY: Duration = Duration::from_secs(10);

/// Time to read from a client with an irrelevant reply.
const MOMENT: Duration = Duration::from_millis(500);

/// More than any reply of these tests.
const REPLY_MAX: usize = 32 << 20;

#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Error numbers that accept(2), read(2), and so on name, on this platform.
pub mod errors {
    pub use libc::*;

    pub const ACCEPT: [i32; 16] = [
        EINTR,
        ECONNABORTED,
        EPERM,
        EPROTO,
        ENOBUFS,
        ENOMEM,
        EMFILE,
        ENFILE,
        ENETDOWN,
        ENOPROTOOPT,
        EHOSTDOWN,
        ENONET,
        EHOSTUNREACH,
        EOPNOTSUPP,
        ENETUNREACH,
        ENOSR,
    ];
    pub const RECEIVE: [i32; 12] =
        [EBADF, ECONNREFUSED, ECONNRESET, EFAULT, EINVAL, EIO, EISDIR, ENOMEM, ENOTCONN, ENOTSOCK, ETIMEDOUT, ENOBUFS];
    pub const SEND: [i32; 18] = [
        EACCES,
        EALREADY,
        EBADF,
        ECONNRESET,
        EDESTADDRREQ,
        EDQUOT,
        EFAULT,
        EFBIG,
        EINVAL,
        EIO,
        EISCONN,
        EMSGSIZE,
        ENOBUFS,
        ENOMEM,
        ENOSPC,
        ENOTCONN,
        EPERM,
        EPIPE,
    ];
    pub const EPOLL_CTL: [i32; 7] = [EBADF, EEXIST, EINVAL, ELOOP, ENOMEM, ENOSPC, EPERM];
    pub const MMAP: [i32; 6] = [EACCES, EAGAIN, EINVAL, ENFILE, ENOMEM, EPERM];
    pub const MADVISE: [i32; 6] = [EACCES, EAGAIN, EBADF, EINVAL, EIO, ENOMEM];
    pub const OPEN: [i32; 14] = [
        EACCES,
        EDQUOT,
        EFBIG,
        EINTR,
        EISDIR,
        ELOOP,
        EMFILE,
        ENAMETOOLONG,
        ENFILE,
        ENODEV,
        ENOENT,
        ENOMEM,
        ENOSPC,
        EROFS,
    ];
    pub const RENAME: [i32; 12] =
        [EACCES, EBUSY, EDQUOT, EINVAL, EISDIR, ELOOP, EMLINK, ENOENT, ENOMEM, ENOSPC, EROFS, EXDEV];
    pub const FILE: [i32; 6] = [EDQUOT, EFBIG, EINTR, EIO, ENOSPC, EPERM];
}

/// A server with the preloaded library, in its own directory.
pub struct Faulty {
    pub dir: TempDir,
    pub plan: Plan,
    child: Option<Child>,
}

impl Faulty {
    /// Starts a server on the loopback interface that writes its ports to a file.
    pub fn start(args: &[&str]) -> Self {
        let mut server = Self::launch(args, &[]);
        let ports = server.path("ports");
        until("port file", || {
            if let Some(status) = server.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("ended with {status}: {}", server.said());
            }
            ports.exists()
        });
        server
    }

    /// Starts a server with faults set from its first call on.
    pub fn launch(args: &[&str], faults: &[(Call, Fault)]) -> Self {
        Self::launch_in(TempDir::new().unwrap(), args, faults)
    }

    /// Starts a server in the directory of an earlier one.
    pub fn launch_in(dir: TempDir, args: &[&str], faults: &[(Call, Fault)]) -> Self {
        let plan = Plan::new(&dir.path().join("plan"), seed());
        for (call, fault) in faults {
            plan.set(*call, *fault);
        }
        let _ = fs::remove_file(dir.path().join("ports"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_oxcached"));
        command.args(["-u", "root", "-p", "-1", "-t", "2"]).args(args).current_dir(dir.path());
        if !args.contains(&"-l") {
            command.args(["-l", "127.0.0.1"]);
        }
        command.env("LD_PRELOAD", library()).env("FAULTS", "plan").env("MEMCACHED_PORT_FILENAME", "ports");
        command.env_remove("RUST_LOG").env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(dir.path().join("stderr")).unwrap());
        let child = Some(command.spawn().unwrap());
        Self { dir, plan, child }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its output on standard error.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("stderr")).unwrap()).into_owned()
    }

    pub fn address(&self) -> SocketAddr {
        let ports = fs::read_to_string(self.path("ports")).unwrap();
        let port = ports.lines().find_map(|line| line.strip_prefix("TCP INET: ")).unwrap();
        ([127, 0, 0, 1], port.parse().unwrap()).into()
    }

    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// The server's descriptor of a client.
    #[track_caller]
    pub fn descriptor_of(&self, client: &TcpStream) -> i32 {
        let peer = format!(":addr tcp:{}\r", client.local_addr().unwrap());
        let rows = self.client().ask("stats conns\r\n", "END\r\n");
        let row = rows.split("STAT ").find(|row| row.contains(&peer)).unwrap_or_else(|| panic!("{peer} in {rows}"));
        row.split(':').next().unwrap().parse().unwrap()
    }

    /// Waits until the server's clock has ticked twice: its work of a second is done.
    pub fn let_a_second_pass(&self) {
        let time = || {
            let rows = self.client().ask("stats\r\n", "END\r\n");
            let row = rows.lines().find_map(|row| row.strip_prefix("STAT time ")).unwrap_or_else(|| panic!("{rows}"));
            row.parse::<u64>().unwrap()
        };
        let start = time();
        until("the next but one second", || time() >= start + 2);
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), pid]).status().unwrap().success());
    }

    /// Exit status of a server that ends, `None` for one that serves; panics if neither happens.
    pub fn outcome(&mut self) -> Option<ExitStatus> {
        let (ports, socket, mut status) = (self.path("ports"), self.path("socket"), None);
        until("an end or an answer", || {
            status = self.child.as_mut().unwrap().try_wait().unwrap();
            let answers = || match (ports.exists(), socket.exists()) {
                (true, _) => TcpStream::connect(self.address())
                    .is_ok_and(|socket| socket.set_read_timeout(Some(REPLY)).is_ok() && answers(socket)),
                (_, true) => UnixStream::connect(&socket)
                    .is_ok_and(|socket| socket.set_read_timeout(Some(REPLY)).is_ok() && answers(socket)),
                _ => false,
            };
            status.is_some() || answers()
        });
        status
    }

    /// Waits for the end of the server.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end of the server", || {
            status = self.child.as_mut().unwrap().try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// The server's poll that watches one of its descriptors.
    #[track_caller]
    pub fn poll_of(&self, fd: i32) -> i32 {
        let infos = fs::read_dir(format!("/proc/{}/fdinfo", self.pid())).unwrap().map(|entry| entry.unwrap().path());
        let watches = |text: &str| {
            let watched = text.lines().filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next());
            watched.into_iter().any(|watched| watched == fd.to_string())
        };
        let mut polls = infos.filter(|path| watches(&fs::read_to_string(path).unwrap_or_default()));
        polls.next().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap()
    }

    /// Ends the server by a signal and checks that nothing panicked. Returns the directory.
    #[track_caller]
    pub fn end_by(mut self, signal: &str) -> (TempDir, String) {
        self.signal(signal);
        let (status, said) = (self.ended(), self.said());
        self.child = None;
        assert!(status.success(), "{status}: {said}");
        sound(&said);
        (std::mem::replace(&mut self.dir, TempDir::new().unwrap()), said)
    }

    /// Kills the server. Returns the directory.
    pub fn kill(mut self) -> TempDir {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        std::mem::replace(&mut self.dir, TempDir::new().unwrap())
    }

    #[track_caller]
    pub fn end(self) -> String {
        self.end_by("TERM").1
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the server said: {}", self.said());
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asserts that no part of a server has panicked.
#[track_caller]
pub fn sound(said: &str) {
    assert!(!said.contains("panic"), "{said}");
}

/// Seed of the run's choices.
pub fn seed() -> u64 {
    std::env::var("FAULTS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Whether the server behind a connection serves; one that is about to end may still accept connections.
fn answers(mut socket: impl Read + Write) -> bool {
    let mut reply = [0; 8];
    socket.write_all(b"version\r\n").is_ok() && socket.read_exact(&mut reply).is_ok() && &reply == b"VERSION "
}

pub struct Client(TcpStream);

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(REPLY)).unwrap();
        socket.set_write_timeout(Some(REPLY)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self(socket)
    }

    pub fn socket(&self) -> &TcpStream {
        &self.0
    }

    /// Sends a request and reads up to `end`, or the bytes before the server closes. Silence is a failure.
    #[track_caller]
    pub fn ask(&mut self, request: &str, end: &str) -> String {
        if self.0.write_all(request.as_bytes()).is_err() {
            return String::new();
        }
        self.reply(end)
    }

    #[track_caller]
    pub fn reply(&mut self, end: &str) -> String {
        let (mut reply, mut bytes) = (Vec::new(), [0; 65536]);
        while !reply.ends_with(end.as_bytes()) {
            assert!(reply.len() < REPLY_MAX, "no end: {:.200}", String::from_utf8_lossy(&reply));
            match self.0.read(&mut bytes) {
                Ok(0) => break,
                Ok(n) => reply.extend_from_slice(&bytes[..n]),
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => break,
                Err(e) => panic!("neither a reply nor a closed connection: {e}"),
            }
        }
        String::from_utf8(reply).unwrap()
    }

    /// Sends what the server accepts, and reads for `MOMENT` at most: a watcher receives lines all the time.
    pub fn send_and_look(&mut self, request: &str) {
        self.0.set_nonblocking(true).unwrap();
        let (mut rest, mut bytes, mut quiet, start) = (request.as_bytes(), [0; 65536], 0, Instant::now());
        while quiet < 50 && start.elapsed() < MOMENT {
            let sent = if rest.is_empty() { 0 } else { self.0.write(rest).unwrap_or(0) };
            rest = &rest[sent..];
            let read = match self.0.read(&mut bytes) {
                Ok(0) => return,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => return,
            };
            quiet = if sent + read > 0 { 0 } else { quiet + 1 };
            if quiet > 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// [`Client::ask`] for injected short calls, after which the kernel sends no event: further requests cause the
    /// events. Returns the reply without theirs.
    #[track_caller]
    pub fn ask_and_nudge(&mut self, request: &str, end: &str) -> String {
        self.0.write_all(request.as_bytes()).unwrap();
        self.0.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let (mut reply, mut nudges, mut bytes, start) = (Vec::new(), 0, [0; 65536], Instant::now());
        // Reads the replies to all nudges, which the next request would read otherwise.
        while !reply.ends_with(format!("{end}{}", "MN\r\n".repeat(nudges)).as_bytes()) {
            match self.0.read(&mut bytes) {
                Ok(0) => panic!("closed after {} bytes", reply.len()),
                Ok(n) => reply.extend_from_slice(&bytes[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && start.elapsed() < REPLY => {
                    nudges += 1;
                    self.0.write_all(b"mn\r\n").unwrap();
                }
                Err(e) => panic!("after {} bytes: {e}", reply.len()),
            }
        }
        self.0.set_read_timeout(Some(REPLY)).unwrap();
        reply.truncate(reply.len() - 4 * nudges);
        String::from_utf8(reply).unwrap()
    }
}

/// Runs `faults` next to a client that must get every reply promptly and correctly.
#[track_caller]
pub fn beside_a_witness(server: &Faulty, faults: impl FnOnce()) {
    let (stop, mut witness) = (AtomicBool::new(false), server.client());
    // The first turn precedes the registration: after the second one it is registered, so no fault hits that.
    witness.ask("version\r\n", "\r\n");
    witness.ask("version\r\n", "\r\n");
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let large = "w".repeat(20_000);
            let mut rounds = 0;
            while !stop.load(Relaxed) || rounds == 0 {
                for value in ["short", &large] {
                    let set = format!("set witness 0 0 {}\r\n{value}\r\nget witness\r\n", value.len());
                    let reply = witness.ask(&set, "END\r\n");
                    let expected = format!("STORED\r\nVALUE witness 0 {}\r\n{value}\r\nEND\r\n", value.len());
                    assert!(reply == expected, "the witness got {} bytes: {:.80}", reply.len(), reply);
                }
                rounds += 1;
            }
        });
        // Stops the witness even if the faults panic.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(faults));
        stop.store(true, Relaxed);
        let seen = seen.join();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
