//! Servers that the tests start, peers that play one, and runs of oxctl.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A process that ends with its test.
pub struct Ending(pub Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running oxcached or memcached.
pub struct Server {
    _child: Ending,
    pub port: u16,
    _dir: TempDir,
}

impl Server {
    /// An oxcached with more options.
    pub fn oxcached(more: &[&str]) -> Self {
        Self::start(env!("CARGO_BIN_EXE_oxcached").into(), more)
    }

    /// The memcached of `MEMCACHED_BIN`, if it is set.
    pub fn memcached(more: &[&str]) -> Option<Self> {
        Some(Self::start(std::env::var_os("MEMCACHED_BIN")?.into(), more))
    }

    /// An oxcached, and a memcached if there is one.
    pub fn each(more: &[&str]) -> Vec<Self> {
        [Some(Self::oxcached(more)), Self::memcached(more)].into_iter().flatten().collect()
    }

    fn start(program: PathBuf, more: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let ports = dir.path().join("ports");
        let mut command = Command::new(program);
        // A user that exists everywhere; without root the option is not read.
        command.args(["-u", "root", "-l", "127.0.0.1", "-p", "-1", "-U", "0", "-t", "1"]).args(more);
        command.env("MEMCACHED_PORT_FILENAME", &ports).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = Ending(command.spawn().unwrap());
        let end = Instant::now() + DEADLINE;
        let port = loop {
            let text = std::fs::read_to_string(&ports).unwrap_or_default();
            if let Some(port) = text.lines().find_map(|line| line.strip_prefix("TCP INET: ")?.parse().ok()) {
                break port;
            }
            assert!(child.0.try_wait().unwrap().is_none() && Instant::now() < end, "it did not start");
            std::thread::sleep(Duration::from_millis(2));
        };
        Self { _child: child, port, _dir: dir }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs oxctl with `-s` and the words of `line`.
    pub fn ctl(&self, line: &str) -> Run {
        Run::of(ctl(&format!("-s {} {line}", self.address())).output().unwrap())
    }

    pub fn client(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client(BufReader::new(stream))
    }
}

/// A plain client.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// A line of the reply, without its end.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    #[track_caller]
    pub fn ask(&mut self, request: impl AsRef<[u8]>, reply: &str) {
        self.send(request);
        assert_eq!(self.line(), reply);
    }

    pub fn set(&mut self, key: &str, flags: u32, expiry: i64, value: &[u8]) {
        let head = format!("set {key} {flags} {expiry} {}\r\n", value.len());
        self.ask([head.as_bytes(), value, b"\r\n"].concat(), "STORED");
    }

    /// Flags, seconds left (-1: no expiry) and value of a key, which is base64 if `encoded`.
    pub fn get(&mut self, key: &str, encoded: bool) -> Option<(u32, i64, Vec<u8>)> {
        let b = if encoded { " b" } else { "" };
        self.send(format!("mg {key}{b} f t v\r\n"));
        let line = self.line();
        if line == "EN" {
            return None;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let find = |flag| words.iter().find_map(|word| word.strip_prefix(flag)).unwrap();
        let (flags, ttl) = (find('f').parse().unwrap(), find('t').parse().unwrap());
        let mut value = vec![0; words[1].parse::<usize>().unwrap() + 2];
        self.0.read_exact(&mut value).unwrap();
        value.truncate(value.len() - 2);
        Some((flags, ttl, value))
    }
}

/// A command line of oxctl.
pub fn ctl(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxctl"));
    command.args(line.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a run of oxctl left.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub out: Vec<u8>,
    pub err: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        Self { code: output.status.code(), out: output.stdout, err: String::from_utf8(output.stderr).unwrap() }
    }

    /// Standard output of a run that succeeded.
    #[track_caller]
    pub fn text(&self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        String::from_utf8(self.out.clone()).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// Exit code, and one line of complaint that holds `words`.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains("oxctl: ") && self.err.contains(words), "{:?} lacks {words}", self.err);
    }
}

/// A peer that accepts connections one after the other, and gives each to `play`. Ends with the test's process.
pub fn peer(mut play: impl FnMut(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().for_each(|stream| play(stream.unwrap())));
    address
}

/// A peer that reads one line of each connection, sends `reply`, and closes it.
pub fn answering(reply: impl Into<Vec<u8>>) -> String {
    let reply = reply.into();
    peer(move |mut stream| {
        let mut line = String::new();
        let _ = BufReader::new(&stream).read_line(&mut line);
        let _ = stream.write_all(&reply);
    })
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
