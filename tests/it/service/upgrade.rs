//! The binary is replaced in place under load: a held socket, a memory file, `-o save_on_term` and `-o drain`.
//!
//! Each client counts by `incr` in a key of its own, so that a request that ran without an answer, or did not run with
//! one, shows in the next count. `scripts/upgrade` prints the figures.

use super::harness::Manager;
use crate::support::{DEADLINE, until};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;

/// What one client has seen.
#[derive(Default)]
struct Seen {
    answered: u64,
    closed: u64,
    longest: Duration,
}

/// A client that reconnects where its connection was closed, and repeats what has no answer.
struct Counter {
    address: SocketAddr,
    key: String,
    stream: Option<BufReader<TcpStream>>,
    count: u64,
    seen: Seen,
}

impl Counter {
    /// Sends `wanted` increments at once and reads their answers, with as many connections as it takes.
    fn increment(&mut self, wanted: u64) {
        let goal = self.count + wanted;
        let begun = Instant::now();
        while self.count < goal {
            assert!(begun.elapsed() < DEADLINE, "no answer");
            let stream = self.stream.get_or_insert_with(|| {
                let stream = TcpStream::connect(self.address).expect("the socket is held");
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream.set_nodelay(true).unwrap();
                BufReader::new(stream)
            });
            let requests = format!("incr {} 1\r\n", self.key).repeat((goal - self.count) as usize);
            let mut is_open = stream.get_mut().write_all(requests.as_bytes()).is_ok();
            while is_open && self.count < goal {
                let mut line = String::new();
                is_open = match stream.read_line(&mut line) {
                    Ok(0) => false,
                    Ok(_) => {
                        assert_eq!(line, format!("{}\r\n", self.count + 1), "{}", self.key);
                        self.count += 1;
                        self.seen.answered += 1;
                        true
                    }
                    Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
                    Err(e) => panic!("{e}"),
                };
            }
            if !is_open {
                self.stream = None;
                self.seen.closed += 1;
            }
        }
        self.seen.longest = self.seen.longest.max(begun.elapsed());
    }
}

#[test]
fn an_upgrade_under_load_loses_no_request() {
    let upgrades: u32 = std::env::var("UPGRADES").map_or(3, |count| count.parse().unwrap());
    let manager = Manager::new();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let file = manager.text("memory");
    let start = || {
        let args = ["-t", "2", "-m", "64", "-e", &file, "-o", "save_on_term,drain=20"];
        manager.start(manager.activated(vec![held.try_clone().unwrap().into()], None, &args)).0
    };
    let mut server = start();
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (stop, answers, key) = (Arc::clone(&stop), Arc::clone(&answers), format!("n{number}"));
            let mut client = super::harness::Client::new(address);
            assert_eq!(client.ask(&format!("set {key} 0 0 1\r\n0")), "STORED");
            let mut counter = Counter { address, key, stream: Some(client.0), count: 0, seen: Seen::default() };
            std::thread::spawn(move || {
                // One request at a time, or pipelines.
                while !stop.load(Relaxed) {
                    let wanted = [1, 1, 1, 50][number % 4];
                    counter.increment(wanted);
                    answers.fetch_add(wanted, Relaxed);
                }
                counter.seen
            })
        })
        .collect();
    let more = |count: u64| {
        let goal = answers.load(Relaxed) + count;
        until("answers", || clients.iter().any(|client| client.is_finished()) || answers.load(Relaxed) >= goal);
    };
    let mut gaps = Vec::new();
    for _ in 0..upgrades {
        more(500);
        server.signal("TERM");
        let (begun, mut last) = (Instant::now(), answers.load(Relaxed));
        // The moment of the last answer of the old server.
        let mut last_at = begun;
        until("the end", || {
            let now = answers.load(Relaxed);
            if now != last {
                (last, last_at) = (now, Instant::now());
            }
            server.has_ended()
        });
        let (code, said) = server.end();
        assert!(code == Some(0) && said.ends_with("Gracefully stopping\n"), "{said}");
        server = start();
        more(1);
        gaps.push(last_at.elapsed().as_millis());
    }
    more(500);
    stop.store(true, Relaxed);
    let seen: Vec<Seen> = clients.into_iter().map(|client| client.join().expect("a lost request")).collect();
    let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum::<u64>();
    let longest = seen.iter().map(|seen| seen.longest.as_millis()).max().unwrap_or_default();
    println!("upgrades                             {upgrades}");
    println!("answered requests                    {}", sum(|seen| seen.answered));
    println!("lost requests                        0");
    println!("connections closed between requests  {}", sum(|seen| seen.closed));
    println!("ms without an answer, each upgrade   {gaps:?}");
    println!("ms of the longest request            {longest}");
    assert_eq!(server.stop("TERM").0, Some(0));
}
