//! Owns the replay: requests in batches, a store after each miss, and the counts of both.
//!
//! One connection, so the server sees one order of requests. A batch ends before a key that it already contains, so
//! that a later request sees the outcome of an earlier one. Called by `main`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::mix::{Op, Request, Source};

/// Keys per batch.
const BATCH: usize = 64;

/// Counts of the requests after the warm-up.
#[derive(Clone, Copy, Default)]
pub struct Score {
    pub gets: u64,
    pub misses: u64,
}

struct Client {
    stream: TcpStream,
    batch: Vec<Request>,
    /// Number of keys in the batch.
    waiting: usize,
    /// Stores and deletes to send before the next get.
    out: Vec<u8>,
    received: Vec<u8>,
    score: Score,
}

/// Sends up to `requests` of `source`, at most `pace` per second. The first `warm_up` do not count.
pub fn run(
    stream: TcpStream,
    source: &mut Source,
    requests: u64,
    warm_up: u64,
    pace: Option<u32>,
) -> Outcome<(Score, u64)> {
    let mut client = Client {
        stream,
        batch: (0..=BATCH).map(|_| Request::default()).collect(),
        waiting: 0,
        out: Vec::new(),
        received: Vec::new(),
        score: Score::default(),
    };
    let start = Instant::now();
    let mut sent = 0;
    while sent < requests {
        let at = client.waiting;
        if !source(&mut client.batch[at]) {
            break;
        }
        client.add()?;
        sent += 1;
        if sent == warm_up {
            client.ask()?;
            client.score = Score::default();
        }
        if let Some(pace) = pace
            && client.waiting == 0
        {
            let due = Duration::from_secs_f64(sent as f64 / f64::from(pace));
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    client.ask()?;
    Ok((client.score, sent))
}

impl Client {
    /// Adds the request that follows the batch in `batch`.
    fn add(&mut self) -> Outcome<()> {
        let (batch, rest) = self.batch.split_at(self.waiting);
        if batch.iter().any(|request| request.key == rest[0].key) {
            let last = self.waiting;
            self.ask()?;
            self.batch.swap(0, last);
        }
        let request = &self.batch[self.waiting];
        match request.op {
            Op::Get => self.waiting += 1,
            Op::Set => store(&mut self.out, request),
            Op::Delete => {
                self.out.extend_from_slice(b"delete ");
                self.out.extend_from_slice(request.key.as_bytes());
                self.out.extend_from_slice(b" noreply\r\n");
            }
        }
        if self.waiting == BATCH {
            self.ask()?;
        }
        Ok(())
    }

    /// Gets the batch's keys and prepares the stores of the missing ones.
    fn ask(&mut self) -> Outcome<()> {
        if self.waiting == 0 {
            return Ok(());
        }
        self.out.extend_from_slice(b"get");
        for request in &self.batch[..self.waiting] {
            self.out.push(b' ');
            self.out.extend_from_slice(request.key.as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
        self.stream.write_all(&self.out)?;
        self.out.clear();
        self.received.clear();
        let (mut at, mut asked) = (0, 0);
        loop {
            let line = self.line(at)?;
            at += line.len() + 2;
            let mut words = line.split(|&byte| byte == b' ');
            match words.next() {
                Some(b"END") => break,
                Some(b"VALUE") => {}
                _ => return Err(format!("instead of a value: {}", String::from_utf8_lossy(&line)).into()),
            }
            let (key, bytes) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
            while asked < self.waiting && self.batch[asked].key.as_bytes() != key {
                self.miss(asked);
                asked += 1;
            }
            asked += 1;
            at += std::str::from_utf8(bytes)?.parse::<usize>()? + 2;
        }
        (asked..self.waiting).for_each(|request| self.miss(request));
        self.score.gets += self.waiting as u64;
        self.waiting = 0;
        Ok(())
    }

    fn miss(&mut self, request: usize) {
        self.score.misses += 1;
        store(&mut self.out, &self.batch[request]);
    }

    /// The line that begins at byte `at` of the reply, without its end.
    fn line(&mut self, at: usize) -> Outcome<Vec<u8>> {
        let mut searched = at;
        loop {
            let rest = self.received.get(searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                return Ok(self.received[at..searched + end - 1].to_vec());
            }
            searched = searched.max(self.received.len());
            let had = self.received.len();
            self.received.resize(had + (1 << 16), 0);
            let n = self.stream.read(&mut self.received[had..])?;
            self.received.truncate(had + n);
            if n == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }
}

fn store(out: &mut Vec<u8>, request: &Request) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "set {} 0 {} {} noreply\r\n", request.key, request.ttl, request.value);
    out.resize(out.len() + request.value, b'x');
    out.extend_from_slice(b"\r\n");
}
