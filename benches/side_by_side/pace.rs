//! Owns the open-loop load: requests that are due at a fixed rate, whatever the server does. Called by `latency`.
//!
//! One thread writes what is due, reads what has come, and never sleeps: a wait in the kernel would be later than the
//! next request is due. Connections are used in turn; one that waits for replies takes further requests all the same.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::Outcome;
use crate::form::{LINE, Reply, Request};
use crate::histogram::Histogram;
use crate::report::{Load, Run};
use crate::server::Server;
use crate::stream::{Stream, Transport, would_block};
use crate::template::{Keys, Template};

/// Unmeasured start of a run.
const WARM_UP: Duration = Duration::from_millis(500);
/// Maximum time for the last replies.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Number of the last key that the growth may store.
const LAST_KEY: u32 = 8_000_000;
/// Keys that come in one write.
const NEW_AT_ONCE: usize = 20;

/// A load at a fixed rate.
pub struct Pace {
    /// Requests that are sent in this order, over and over.
    pub commands: Vec<Template>,
    pub keys: Keys,
    pub connections: usize,
    /// Requests a second.
    pub rate: f64,
    pub growth: Option<Growth>,
}

/// Keys that are stored besides, on a connection of their own; unmeasured.
pub struct Growth {
    pub from: u32,
    pub per_second: u32,
    pub value_size: usize,
}

struct Connection {
    stream: Stream,
    /// Bytes that the socket has not taken.
    unsent: Vec<u8>,
    /// When the requests without a reply were due.
    due: VecDeque<Instant>,
    carry: [u8; 8],
    carried: usize,
}

impl Pace {
    pub fn run(mut self, server: &Server, seconds: Duration) -> Outcome<Run> {
        let connect = || Stream::connect(server, Transport::Tcp, 0, None, None);
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            let (due, unsent) = (VecDeque::new(), Vec::new());
            connections.push(Connection { stream: connect()?, unsent, due, carry: [0; 8], carried: 0 });
        }
        let mut grower = self.growth.take().map(|growth| Grower::new(growth, connect)).transpose()?;
        let Reply::Mark(mark) = LINE else { return Err("no mark".into()) };
        let finder = memmem::Finder::new(mark);
        let mut buffer = vec![0; 64 * 1024];
        let mut latency = Histogram::new();
        let interval = Duration::from_secs_f64(1.0 / self.rate);
        let started = Instant::now();
        let measured = started + WARM_UP;
        let end = measured + seconds;
        let (mut next, mut number) = (started, 0);
        let mut cpu_before = None;
        loop {
            let now = Instant::now();
            if cpu_before.is_none() && now >= measured {
                cpu_before = Some(server.cpu_ns()?);
            }
            while next <= now && next < end {
                let (slot, command) = (number % self.connections, number % self.commands.len());
                let batch = &mut self.commands[command];
                batch.draw(&mut self.keys);
                connections[slot].send(&batch.bytes, next)?;
                (next, number) = (next + interval, number + 1);
            }
            for connection in &mut connections {
                if !connection.due.is_empty() {
                    connection.receive(&mut buffer, &finder, &mut latency, measured)?;
                }
            }
            if let Some(grower) = &mut grower
                && now < end
            {
                grower.turn(now.duration_since(started))?;
            }
            if now >= end && connections.iter().all(|connection| connection.due.is_empty()) {
                break;
            }
            if now > end + DRAIN_MAX {
                return Err("replies are missing".into());
            }
        }
        let cpu_ns = server.cpu_ns()? - cpu_before.unwrap_or(0);
        let latency_us = [0.5, 0.99, 0.999].map(|share| latency.percentile_us(share));
        Ok(Run::load(Load::new(latency.len(), measured.elapsed(), cpu_ns, None, latency_us), server.rss_bytes()?))
    }
}

impl Connection {
    fn send(&mut self, bytes: &[u8], due: Instant) -> Outcome<()> {
        self.due.push_back(due);
        self.unsent.extend_from_slice(bytes);
        self.flush()
    }

    fn flush(&mut self) -> Outcome<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(problem) if would_block(&problem) => break,
                Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
                Err(problem) => return Err(problem.into()),
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        buffer: &mut [u8],
        finder: &memmem::Finder,
        latency: &mut Histogram,
        measured: Instant,
    ) -> Outcome<()> {
        self.flush()?;
        let carried = self.carried;
        buffer[..carried].copy_from_slice(&self.carry[..carried]);
        let count = match self.stream.read(&mut buffer[carried..]) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(count) => count,
            Err(problem) if would_block(&problem) || problem.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(problem) => return Err(problem.into()),
        };
        let size = carried + count;
        let now = Instant::now();
        for _ in finder.find_iter(&buffer[..size]) {
            let due = self.due.pop_front().ok_or("more replies than requests")?;
            if due >= measured {
                latency.record(now.duration_since(due).as_nanos() as u64);
            }
        }
        self.carried = size.min(finder.needle().len() - 1);
        self.carry[..self.carried].copy_from_slice(&buffer[size - self.carried..size]);
        Ok(())
    }
}

/// The connection that stores new keys.
struct Grower {
    stream: Stream,
    batch: Template,
    keys: Keys,
    per_second: u32,
    sent: u32,
    unsent: Vec<u8>,
}

impl Grower {
    fn new(growth: Growth, connect: impl Fn() -> Outcome<Stream>) -> Outcome<Grower> {
        let mut batch = Template::new(LINE, growth.value_size);
        (0..NEW_AT_ONCE).for_each(|_| batch.push(Request::Text("set @ 0 0 # noreply\r\n$\r\n")));
        let keys = Keys::counted(growth.from..LAST_KEY);
        Ok(Grower { stream: connect()?, batch, keys, per_second: growth.per_second, sent: 0, unsent: Vec::new() })
    }

    fn turn(&mut self, since: Duration) -> Outcome<()> {
        if self.unsent.is_empty() && f64::from(self.sent) < since.as_secs_f64() * f64::from(self.per_second) {
            self.batch.draw(&mut self.keys);
            self.unsent.extend_from_slice(&self.batch.bytes);
            self.sent += NEW_AT_ONCE as u32;
        }
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(problem) if would_block(&problem) => break,
                Err(problem) => return Err(problem.into()),
            }
        }
        Ok(())
    }
}
