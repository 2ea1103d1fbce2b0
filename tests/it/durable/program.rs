//! `-o store=` from outside: what survives the end of the program, and what is refused at the start. Runs the real
//! binary; every wait is for an observable condition.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// Directory of one test, with its store.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, socket: &str, options: &str) -> Command {
        let mut command = crate::program();
        let store = format!("store=sqlite:{}{options}", self.path("items").display());
        command.args(["-s", self.path(socket).to_str().unwrap(), "-o", &store]);
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["-u", "root"]);
        }
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn start(&self, options: &str) -> Running {
        let child = self.command("socket", options).spawn().unwrap();
        let mut running = Running { child, socket: self.path("socket") };
        let begun = Instant::now();
        while UnixStream::connect(&running.socket).is_err() {
            if let Some(status) = running.child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", running.said());
            }
            assert!(begun.elapsed() < DEADLINE, "the server does not answer");
            thread::sleep(Duration::from_millis(2));
        }
        running
    }

    /// A start that must fail: what it says.
    fn fails(&self, socket: &str, options: &str, more: &[&str]) -> String {
        let output = self.command(socket, options).args(more).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

struct Running {
    child: Child,
    socket: PathBuf,
}

impl Running {
    fn said(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn end(mut self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        self.child.wait().unwrap();
        let _ = fs::remove_file(&self.socket);
    }

    fn client(&self) -> Client {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client(BufReader::new(stream))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    /// Sends a request; returns the lines of its reply, as many as there are spaces for.
    fn ask(&mut self, request: &str, lines: usize) -> Vec<String> {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        (0..lines).map(|_| self.line()).collect()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// A row of `stats store`.
    fn stat(&mut self, name: &str) -> u64 {
        self.0.get_mut().write_all(b"stats store\r\n").unwrap();
        let mut value = None;
        loop {
            let line = self.line();
            if line == "END" {
                return value.unwrap_or_else(|| panic!("no row {name}"));
            }
            if let Some((row, number)) = line.strip_prefix("STAT ").and_then(|row| row.split_once(' '))
                && row == name
            {
                value = number.parse().ok();
            }
        }
    }
}

/// Every kind of change, acknowledged.
fn change(client: &mut Client) {
    for (request, reply) in [
        ("set a 7 0 3\r\none\r\n", "STORED"),
        ("set gone 0 0 1\r\nx\r\n", "STORED"),
        ("delete gone\r\n", "DELETED"),
        ("set n 0 0 2\r\n41\r\n", "STORED"),
        ("incr n 1\r\n", "42"),
        ("set t 0 0 1\r\nt\r\n", "STORED"),
        ("touch t 100000\r\n", "TOUCHED"),
        ("append a 0 0 4\r\n two\r\n", "STORED"),
        ("ms m 2 T200000 F3\r\nhi\r\n", "HD"),
        ("md m I\r\n", "HD"),
    ] {
        assert_eq!(client.ask(request, 1), [reply], "{request}");
    }
}

/// What [`change`] has left.
fn compare(client: &mut Client) {
    assert_eq!(client.ask("get gone\r\n", 1), ["END"]);
    assert_eq!(client.ask("get a\r\n", 3), ["VALUE a 7 7", "one two", "END"]);
    assert_eq!(client.ask("get n\r\n", 3), ["VALUE n 0 2", "42", "END"]);
    let seconds: u32 = client.ask("mg t t\r\n", 1)[0].strip_prefix("HD t").unwrap().parse().unwrap();
    assert!((99_000..=100_001).contains(&seconds), "{seconds}");
    assert_eq!(client.ask("mg m v f\r\n", 2), ["VA 2 f3 X W", "hi"], "stale, and its first reader wins");
}

#[test]
fn acknowledged_changes_survive_a_kill_with_sync() {
    let folder = Folder::new();
    let first = folder.start(",durability=sync");
    change(&mut first.client());
    first.end("-KILL");
    let second = folder.start(",durability=sync");
    let mut client = second.client();
    compare(&mut client);
    assert_eq!(client.ask("flush_all\r\n", 1), ["OK"]);
    second.end("-KILL");
    assert_eq!(folder.start("").client().ask("get a\r\n", 1), ["END"], "it was flushed");
}

#[test]
fn what_waits_is_written_at_a_stop() {
    for signal in ["-TERM", "-USR1"] {
        let folder = Folder::new();
        let first = folder.start(",durability=async,store_delay=60000");
        let mut client = first.client();
        change(&mut client);
        assert!(client.stat("store_queue_items") > 0 && client.stat("store_commits") == 0);
        first.end(signal);
        let second = folder.start(",store_warm=none");
        let mut client = second.client();
        compare(&mut client);
        assert!(client.stat("store_load_hits") >= 4, "they were read");
    }
}

#[test]
fn a_command_finds_an_item_that_only_the_store_has() {
    let folder = Folder::new();
    let first = folder.start(",durability=sync");
    change(&mut first.client());
    first.end("-TERM");
    let second = folder.start(",store_warm=none");
    let mut client = second.client();
    assert_eq!(client.ask("add a 0 0 1\r\nx\r\n", 1), ["NOT_STORED"]);
    assert_eq!(client.ask("incr n 1\r\n", 1), ["43"]);
    assert_eq!(client.ask("prepend t 0 0 1\r\n>\r\n", 1), ["STORED"]);
    assert_eq!(client.ask("delete m\r\nget m\r\nget t\r\n", 5), ["DELETED", "END", "VALUE t 0 2", ">t", "END"]);
    assert_eq!(client.ask("add gone 0 0 1\r\nx\r\n", 1), ["STORED"]);
}

#[test]
fn large_values_that_wait_leave_room_for_others() {
    let folder = Folder::new();
    let running = folder.start(",durability=async,store_delay=60000");
    let mut client = running.client();
    let value = "v".repeat(100_000);
    for n in 0..1500 {
        assert_eq!(client.ask(&format!("set key{n} 0 0 {}\r\n{value}\r\n", value.len()), 1), ["STORED"], "{n}");
    }
    assert!(client.stat("store_commits") > 0, "it did not wait for its delay");
    assert_eq!(client.ask("get key0\r\n", 1), [format!("VALUE key0 0 {}", value.len())], "evicted, and loaded");
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let folder = Folder::new();
    let memory = folder.path("memory");
    assert!(folder.fails("s", "", &["-e", memory.to_str().unwrap()]).contains("-o store cannot be combined with -e"));
    let refused = folder.fails("s", ",drop_privileges", &[]);
    assert!(refused.contains("-o store cannot be combined with drop_privileges"), "{refused}");
    assert!(folder.fails("s", ",durability=maybe", &[]).contains("durability must be async, batch or sync"));
    fs::write(folder.path("items"), [b'x'; 9000]).unwrap();
    assert!(folder.fails("s", "", &[]).contains("store: "), "no database");
    fs::remove_file(folder.path("items")).unwrap();
    let running = folder.start("");
    let refused = folder.fails("other", "", &[]);
    assert!(refused.contains("another process uses it"), "{refused}");
    drop(running);
}
