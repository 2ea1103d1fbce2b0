//! Warm restart from outside: items survive an orderly stop and a kill; with other settings or damage, none is
//! restored wrong. Runs the real binary; every wait is for an observable condition.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// Directory of one test, with its memory file.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts a server on the memory file.
    fn start(&self, args: &[&str]) -> Process {
        Process::start(self, args)
    }

    /// A start that must fail: exit code and output.
    fn fails(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = self.command(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = crate::program();
        command.args(["-s", self.path("socket").to_str().unwrap(), "-e", self.path("memory").to_str().unwrap()]);
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["-u", "root"]);
        }
        command.args(args).stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn meta(&self) -> PathBuf {
        self.path("memory.meta")
    }
}

struct Process {
    child: Child,
    socket: PathBuf,
}

impl Process {
    fn start(scratch: &Scratch, args: &[&str]) -> Self {
        let socket = scratch.path("socket");
        let _ = fs::remove_file(&socket);
        let child = scratch.command(args).spawn().unwrap();
        let mut process = Self { child, socket };
        let begun = Instant::now();
        while UnixStream::connect(&process.socket).is_err() {
            if let Some(status) = process.child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", process.said());
            }
            assert!(begun.elapsed() < DEADLINE, "the server does not answer");
            std::thread::sleep(Duration::from_millis(2));
        }
        process
    }

    fn said(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn signal(&self, signal: i32) {
        let name = format!("-{signal}");
        assert!(Command::new("kill").args([&name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Ends the server by a signal, and returns its output.
    fn end(mut self, signal: i32) -> String {
        self.signal(signal);
        self.child.wait().unwrap();
        self.said()
    }

    fn stop_gracefully(self) -> String {
        self.end(10) // SIGUSR1
    }

    fn kill(self) -> String {
        self.end(9)
    }

    fn client(&self) -> Client {
        Client::new(&self.socket)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    fn new(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.line()
    }

    fn set(&mut self, key: &str, exptime: i64, value: &[u8]) {
        self.send(format!("set {key} 5 {exptime} {}\r\n", value.len()).as_bytes());
        self.send(value);
        self.send(b"\r\n");
        assert_eq!(self.line(), "STORED", "{key}");
    }

    /// Value and CAS id.
    fn gets(&mut self, key: &str) -> Option<(Vec<u8>, u64)> {
        let line = self.ask(&format!("gets {key}"));
        if line == "END" {
            return None;
        }
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!((words[0], words[1], words[2]), ("VALUE", key, "5"), "{line}");
        let mut value = vec![0; words[3].parse::<usize>().unwrap() + 2];
        self.0.read_exact(&mut value).unwrap();
        value.truncate(value.len() - 2);
        assert_eq!(self.line(), "END");
        Some((value, words[4].parse().unwrap()))
    }

    fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        self.gets(key).map(|(value, _)| value)
    }

    fn stats(&mut self, what: &str) -> HashMap<String, String> {
        self.send(format!("stats{what}\r\n").as_bytes());
        let mut rows = HashMap::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.strip_prefix("STAT ").and_then(|row| row.split_once(' ')) else {
                return rows;
            };
            rows.insert(name.to_owned(), value.to_owned());
        }
    }

    fn stat(&mut self, name: &str) -> u64 {
        self.stats("")[name].parse().unwrap()
    }
}

fn value(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + ((n * 31 + at * 7) % 26) as u8).collect()
}

const SIZES: [usize; 9] = [0, 1, 100, 4000, 4097, 70_000, 300_000, 600_000, 900_000];

#[test]
fn items_of_every_size_survive_an_orderly_stop() {
    let scratch = Scratch::new();
    let server = scratch.start(&["-m", "64"]);
    let mut client = server.client();
    assert_eq!(client.stats(" settings")["memory_file"], scratch.path("memory").to_str().unwrap());
    let mut cas = Vec::new();
    for (n, &len) in SIZES.iter().enumerate() {
        client.set(&format!("key{n}"), 0, &value(n, len));
        cas.push(client.gets(&format!("key{n}")).unwrap().1);
    }
    client.set("number", 0, b"41");
    assert_eq!(client.ask("incr number 1"), "42");
    client.set("gone", 0, b"x");
    assert_eq!(client.ask("delete gone"), "DELETED");
    let (items, bytes) = (client.stat("curr_items"), client.stat("bytes"));
    let said = server.stop_gracefully();
    assert!(said.contains("no metadata save file, starting with a clean cache"), "{said}");
    assert!(said.contains("Gracefully stopping"), "{said}");
    assert_eq!(fs::metadata(scratch.meta()).unwrap().permissions().mode() & 0o777, 0o600);

    // Another number of threads changes nothing.
    let server = scratch.start(&["-m", "64", "-t", "2"]);
    assert!(!scratch.meta().exists(), "metadata is good for one start");
    let mut client = server.client();
    assert_eq!((client.stat("curr_items"), client.stat("bytes")), (items, bytes));
    for (n, &len) in SIZES.iter().enumerate() {
        assert_eq!(client.gets(&format!("key{n}")), Some((value(n, len), cas[n])), "{len}");
    }
    assert_eq!((client.get("number"), client.get("gone")), (Some(b"42".to_vec()), None));
    // CAS ids continue, so that no old one matches a new value.
    client.set("key0", 0, b"new");
    assert!(client.gets("key0").unwrap().1 > *cas.iter().max().unwrap());
    assert_eq!(client.ask("incr number 1"), "43");
    for n in 0..SIZES.len() {
        assert_eq!(client.ask(&format!("delete key{n}")), "DELETED");
    }
    assert_eq!(client.ask("delete number"), "DELETED");
    let slabs = client.stats(" slabs");
    let used: u64 =
        slabs.iter().filter(|(name, _)| name.ends_with(":used_chunks")).map(|(_, n)| n.parse::<u64>().unwrap()).sum();
    assert_eq!(used, 0, "every chunk is accounted for");
}

#[test]
fn time_spent_stopped_counts() {
    let scratch = Scratch::new();
    let server = scratch.start(&[]);
    let mut client = server.client();
    client.set("short", 1, b"x");
    client.set("long", 1000, b"x");
    client.set("flushed", 0, b"x");
    let uptime = client.stat("uptime");
    server.stop_gracefully();
    let stopped = Instant::now();
    while stopped.elapsed() < Duration::from_millis(2100) {
        std::thread::sleep(Duration::from_millis(50)); // the elapsed time is what is tested
    }
    let server = scratch.start(&[]);
    let mut client = server.client();
    assert_eq!((client.get("short"), client.get("long")), (None, Some(b"x".to_vec())));
    assert!(client.stat("uptime") >= uptime + 2);
    assert_eq!(client.ask("flush_all"), "OK");
    server.stop_gracefully();
    let server = scratch.start(&[]);
    let mut client = server.client();
    assert_eq!((client.get("long"), client.get("flushed")), (None, None), "a flush is not forgotten");
}

#[test]
fn a_plain_stop_keeps_nothing() {
    for signal in [15, 2] {
        let scratch = Scratch::new();
        let server = scratch.start(&[]);
        server.client().set("key", 0, b"x");
        server.end(signal);
        assert!(!scratch.meta().exists());
        assert_eq!(scratch.start(&[]).client().get("key"), None);
    }
}

#[test]
fn other_layouts_start_empty_and_report_it() {
    for (args, setting) in [(&["-C"][..], "use_cas"), (&["-f", "1.5"], "slab_config"), (&["-n", "100"], "chunk_size")] {
        let scratch = Scratch::new();
        let server = scratch.start(&[]);
        server.client().set("key", 0, b"x");
        server.stop_gracefully();
        let server = scratch.start(args);
        let mut client = server.client();
        assert_eq!((client.get("key"), client.stat("curr_items")), (None, 0));
        let said = server.kill();
        assert!(said.contains(&format!("incompatible due to setting for [{setting}]")), "{said}");
        assert!(said.contains("starting with a clean cache"), "{said}");
    }
}

#[test]
fn damaged_metadata_stops_the_start_and_names_the_file() {
    let scratch = Scratch::new();
    for damage in [&b""[..], b"garbage", b"Tmain\nnothing", b"\xff\xfe"] {
        fs::write(scratch.meta(), damage).unwrap();
        let (code, said) = scratch.fails(&[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("corrupt metadata file") && said.contains("memory.meta: "), "{said}");
        assert!(said.contains("Remove that file"), "{said}");
        assert!(scratch.meta().exists(), "it is kept for inspection");
    }
}

#[test]
fn metadata_of_another_memory_file_restores_nothing() {
    let scratch = Scratch::new();
    let server = scratch.start(&[]);
    server.client().set("key", 0, b"x");
    server.stop_gracefully();
    fs::remove_file(scratch.path("memory")).unwrap();
    let server = scratch.start(&[]);
    assert_eq!(server.client().get("key"), None);
    assert!(server.kill().contains("not the one that the metadata was saved for"));
}

#[test]
fn unusable_files_are_errors() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("memory")).unwrap();
    let (code, said) = scratch.fails(&[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("failed to open file for mmap"), "{said}");
    fs::remove_dir(scratch.path("memory")).unwrap();
    let first = scratch.start(&[]);
    let (code, said) = scratch.fails(&["-p", "-1"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("another process uses it"), "{said}");
    drop(first);
}

#[test]
fn memory_may_grow_and_shrink_between_starts() {
    let scratch = Scratch::new();
    let server = scratch.start(&["-m", "16"]);
    let mut client = server.client();
    for n in 0..40 {
        client.set(&format!("key{n}"), 0, &value(n, 150_000));
    }
    client.set("large", 0, &value(7, 900_000));
    server.stop_gracefully();
    let server = scratch.start(&["-m", "64"]);
    let mut client = server.client();
    assert_eq!(client.stat("limit_maxbytes"), 64 << 20);
    for n in 0..40 {
        assert_eq!(client.get(&format!("key{n}")), Some(value(n, 150_000)));
    }
    for n in 40..200 {
        client.set(&format!("key{n}"), 0, &value(n, 150_000));
    }
    let held = client.stat("curr_items");
    server.stop_gracefully();
    let server = scratch.start(&["-m", "16"]);
    let mut client = server.client();
    let left = client.stat("curr_items");
    assert!(left > 40 && left < held, "{left} of {held}");
    // One page more for each class that has only one.
    assert!(client.stats(" slabs")["total_malloced"].parse::<u64>().unwrap() <= 20 << 20);
    let kept = (0..200).filter(|n| match client.get(&format!("key{n}")) {
        Some(found) => {
            assert_eq!(found, value(*n, 150_000));
            true
        }
        None => false,
    });
    assert!(kept.count() as u64 >= left - 1);
    for n in 0..300 {
        client.set(&format!("more{n}"), 0, &value(n, 150_000));
    }
    assert!(client.stats(" slabs")["total_malloced"].parse::<u64>().unwrap() <= 20 << 20);
}

/// A value that identifies itself: writer, round, then a filler derived from both.
fn claim(key: &str, round: u32) -> Vec<u8> {
    // Mostly small values, with every kind of larger one among them.
    let kind = (round as usize * 7 + key.len()) % 5;
    let len = [20, 200, 5000, 60_000, 700_000][if round.is_multiple_of(50) { kind } else { kind / 2 }];
    let mut value = format!("{key} {round} ").into_bytes();
    let seed = key.bytes().fold(round, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    while value.len() < len {
        value.push(b'a' + (seed.wrapping_mul(value.len() as u32) >> 7) as u8 % 26);
    }
    value
}

#[test]
fn after_a_kill_every_item_is_one_that_was_stored() {
    let scratch = Scratch::new();
    let mut server = scratch.start(&["-m", "64", "-t", "2"]);
    // Last acknowledged round, by writer and key.
    const WRITERS: usize = 3;
    const KEYS: usize = 40;
    let acknowledged: Vec<Vec<AtomicU32>> =
        (0..WRITERS).map(|_| (0..KEYS).map(|_| AtomicU32::new(0)).collect()).collect();
    let mut begin = 1;
    for kill in 1..=4u32 {
        let (dead, first) = (AtomicBool::new(false), begin);
        let reached = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for (writer, rounds) in acknowledged.iter().enumerate() {
                let (socket, dead, reached) = (server.socket.clone(), &dead, &reached);
                scope.spawn(move || {
                    let mut client = UnixStream::connect(socket).unwrap();
                    for round in begin.. {
                        for (number, last) in rounds.iter().enumerate() {
                            let key = format!("w{writer}k{number}");
                            let value = claim(&key, round);
                            let mut command = format!("set {key} 5 0 {}\r\n", value.len()).into_bytes();
                            command.extend_from_slice(&value);
                            command.extend_from_slice(format!("\r\nincr n{writer} 1\r\n").as_bytes());
                            let mut reply = [0; 8];
                            // An error means that the server was killed.
                            if client.write_all(&command).is_err() || client.read_exact(&mut reply).is_err() {
                                assert!(dead.load(Relaxed), "the server died by itself");
                                return;
                            }
                            assert_eq!(&reply, b"STORED\r\n");
                            last.store(round, Relaxed);
                            reached.fetch_max(round, Relaxed);
                            let mut byte = [0];
                            while client.read(&mut byte).is_ok_and(|n| n == 1) && byte != *b"\n" {}
                        }
                    }
                });
            }
            let mut client = server.client();
            for writer in 0..WRITERS {
                client.send(format!("add n{writer} 5 0 1\r\n0\r\n").as_bytes());
                client.line();
            }
            let begun = Instant::now();
            while reached.load(Relaxed) < begin + 5 * kill {
                assert!(begun.elapsed() < DEADLINE);
                std::thread::yield_now();
            }
            dead.store(true, Relaxed);
            server.signal(9);
        });
        server.child.wait().unwrap();
        server = scratch.start(&["-m", "64", "-t", "3"]);
        let mut client = server.client();
        for (writer, rounds) in acknowledged.iter().enumerate() {
            for (number, last) in rounds.iter().enumerate() {
                let key = format!("w{writer}k{number}");
                let last = last.load(Relaxed);
                let found = client.get(&key);
                // The last acknowledged value, or the one with its acknowledgement cut off by the kill.
                let cut_off = (last + 1).max(first);
                let stored = [last, cut_off].iter().any(|round| found.as_deref() == Some(&claim(&key, *round)));
                assert!(stored || (last, &found) == (0, &None), "{key} after round {last}: {found:?}");
                begin = begin.max(last + 2);
            }
            let number = client.get(&format!("n{writer}")).unwrap_or(b"0".to_vec());
            assert!(number.trim_ascii_end().iter().all(u8::is_ascii_digit), "{number:?}");
        }
    }
    let said = server.kill();
    assert!(said.contains("did not stop in order"), "{said}");
}

#[test]
fn a_file_of_another_boot_is_not_trusted_after_a_kill() {
    let scratch = Scratch::new();
    let server = scratch.start(&[]);
    server.client().set("key", 0, b"x");
    server.kill();
    // The boot id is the third word, under the checksum of the header.
    let path = scratch.path("memory");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &[1; 8], 16).unwrap();
    drop(file);
    assert_eq!(scratch.start(&[]).client().get("key"), None);
}
