//! Owns the built-in load generator: one thread, one event loop, closed-loop connections that send a batch, count its
//! replies and send the next. Called by `main` for a `Plan`, and by `forms` and `latency` for their loads.
//!
//! Every run ends with all replies counted: a missing one (a stall) or an extra one is an error, not a figure.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use memchr::memmem;
use mio::{Events, Poll, Token};

use crate::form::Reply;
use crate::histogram::Histogram;
use crate::report::{Load, Run};
use crate::server::Server;
use crate::stream::{Stream, Transport, would_block};
use crate::template::{Keys, Template};
use crate::tls::Tls;
use crate::workload::Plan;
use crate::{Outcome, machine, wire};

/// Unmeasured start of a run: caches warm up, connections spread out.
const WARM_UP: Duration = Duration::from_millis(300);
/// Maximum time without a reply before the run fails.
const STALL_MAX: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 256 * 1024;
/// Bytes of an incomplete mark that are kept between two reads.
const CARRY_MAX: usize = 8;

/// Fills the server and loads it for `seconds`.
pub fn measure(server: &Server, plan: &Plan, tls: Option<&Tls>, seconds: Duration) -> Outcome<Run> {
    if plan.transport == Transport::Tls {
        wire::fill(&mut tls.ok_or("no certificate")?.connect(server, 0)?, 0, plan.keys, plan.value_size)?;
    } else {
        wire::fill(&mut server.control()?, 0, plan.keys, plan.value_size)?;
    }
    let load = Work {
        batches: plan.batches(),
        keys: plan.zipf.map_or_else(|| Keys::uniform(plan.keys), |exponent| Keys::zipf(plan.keys, exponent)),
        connections: plan.connections,
        transport: plan.transport,
        listener: 0,
        churn: plan.churn,
    };
    let run = load.run(server, tls, seconds)?;
    if !plan.may_miss {
        let stats = match plan.transport {
            Transport::Tls => wire::stats(&mut tls.ok_or("no certificate")?.connect(server, 0)?)?,
            _ => wire::stats(&mut server.control()?)?,
        };
        let misses = wire::number(&stats, "get_misses")?;
        if misses > 0 {
            return Err(format!("{misses} gets missed: the server lost keys").into());
        }
    }
    Ok(run)
}

/// What the connections of a load send.
pub struct Work {
    /// Batches that a connection repeats in order.
    pub batches: Vec<Template>,
    pub keys: Keys,
    pub connections: usize,
    pub transport: Transport,
    /// Number of the TCP listener.
    pub listener: usize,
    /// A connection for each batch.
    pub churn: bool,
}

impl Work {
    /// Loads a server that is filled.
    pub fn run(self, server: &Server, tls: Option<&Tls>, seconds: Duration) -> Outcome<Run> {
        let mut loader = Loader::new(server, tls, self)?;
        loader.run_for(WARM_UP)?;
        loader.forget();
        let own_before = machine::cpu_ns(std::process::id())?;
        let (cpu_before, started) = (server.cpu_ns()?, Instant::now());
        loader.run_for(seconds)?;
        let (cpu_ns, elapsed) = (server.cpu_ns()? - cpu_before, started.elapsed());
        let own_ns = machine::cpu_ns(std::process::id())? - own_before;
        let operations = loader.operations;
        loader.drain()?;
        let latency_us = [0.5, 0.99, 0.999].map(|share| loader.latency.percentile_us(share));
        Ok(Run::load(Load::new(operations, elapsed, cpu_ns, Some(own_ns), latency_us), server.rss_bytes()?))
    }
}

struct Connection {
    stream: Stream,
    batches: Vec<Template>,
    batch: usize,
    /// Bytes of the batch already written.
    written: usize,
    /// Marks, or bytes, outstanding.
    pending: u64,
    sent: Instant,
    carry: [u8; CARRY_MAX],
    carried: usize,
}

struct Loader<'a> {
    server: &'a Server,
    tls: Option<&'a Tls>,
    transport: Transport,
    listener: usize,
    churn: bool,
    poll: Poll,
    connections: Vec<Connection>,
    keys: Keys,
    /// `None` where bytes are counted.
    finder: Option<memmem::Finder<'static>>,
    /// Bytes that a mark may have in an earlier read.
    carry_max: usize,
    buffer: Vec<u8>,
    latency: Histogram,
    operations: u64,
    /// Connections made so far.
    opened: u32,
    /// Whether a finished batch is followed by another.
    sending: bool,
}

impl<'a> Loader<'a> {
    fn new(server: &'a Server, tls: Option<&'a Tls>, work: Work) -> Outcome<Loader<'a>> {
        let mark = match work.batches[0].reply {
            Reply::Mark(mark) => Some(mark),
            Reply::Bytes { .. } => None,
        };
        let mut loader = Loader {
            server,
            tls,
            transport: work.transport,
            listener: work.listener,
            churn: work.churn,
            poll: Poll::new()?,
            connections: Vec::new(),
            keys: work.keys,
            finder: mark.map(memmem::Finder::new),
            carry_max: mark.map_or(0, |mark| mark.len() - 1),
            buffer: vec![0; CARRY_MAX + READ_BYTES],
            latency: Histogram::new(),
            operations: 0,
            opened: 0,
            sending: true,
        };
        for slot in 0..work.connections {
            let stream = loader.connect(slot)?;
            loader.connections.push(Connection {
                stream,
                batches: work.batches.clone(),
                batch: slot % work.batches.len(),
                written: 0,
                pending: 0,
                sent: Instant::now(),
                carry: [0; CARRY_MAX],
                carried: 0,
            });
            loader.start_batch(slot)?;
        }
        Ok(loader)
    }

    fn connect(&mut self, slot: usize) -> Outcome<Stream> {
        let number = self.churn.then_some(self.opened);
        let mut stream = Stream::connect(self.server, self.transport, self.listener, self.tls, number)?;
        self.opened += 1;
        stream.register(self.poll.registry(), Token(slot))?;
        Ok(stream)
    }

    /// Resets the counts.
    fn forget(&mut self) {
        self.latency = Histogram::new();
        self.operations = 0;
    }

    fn run_for(&mut self, time: Duration) -> Outcome<()> {
        let deadline = Instant::now() + time;
        let mut events = Events::with_capacity(1024);
        while Instant::now() < deadline {
            self.turn(&mut events)?;
        }
        Ok(())
    }

    /// Reads the outstanding replies, and checks that nothing follows them.
    fn drain(&mut self) -> Outcome<()> {
        self.sending = false;
        let mut events = Events::with_capacity(1024);
        while self.connections.iter().any(|connection| connection.pending > 0) {
            self.turn(&mut events)?;
        }
        for slot in 0..self.connections.len() {
            self.readable(slot)?;
        }
        Ok(())
    }

    fn turn(&mut self, events: &mut Events) -> Outcome<()> {
        self.poll.poll(events, Some(STALL_MAX))?;
        if events.is_empty() {
            let missing = self.connections.iter().map(|connection| connection.pending).sum::<u64>();
            return Err(format!("no reply for {STALL_MAX:?}; {missing} marks or bytes are missing").into());
        }
        for event in events.iter() {
            let slot = event.token().0;
            if event.is_writable() {
                self.flush(slot)?;
            }
            if event.is_readable() {
                self.readable(slot)?;
            }
        }
        Ok(())
    }

    fn start_batch(&mut self, slot: usize) -> Outcome<()> {
        let connection = &mut self.connections[slot];
        connection.batch = (connection.batch + 1) % connection.batches.len();
        let batch = &mut connection.batches[connection.batch];
        batch.draw(&mut self.keys);
        connection.pending = batch.expected;
        connection.written = 0;
        connection.sent = Instant::now();
        self.flush(slot)
    }

    fn flush(&mut self, slot: usize) -> Outcome<()> {
        let connection = &mut self.connections[slot];
        let bytes = &connection.batches[connection.batch].bytes;
        while connection.written < bytes.len() {
            match connection.stream.write(&bytes[connection.written..]) {
                Ok(count) => connection.written += count,
                Err(problem) if would_block(&problem) => break,
                Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
                Err(problem) => return Err(problem.into()),
            }
        }
        Ok(connection.stream.pump()?)
    }

    /// Reads until a short read: with edge-triggered events, no bytes remain then.
    fn readable(&mut self, slot: usize) -> Outcome<()> {
        loop {
            let connection = &mut self.connections[slot];
            let carried = connection.carried;
            self.buffer[..carried].copy_from_slice(&connection.carry[..carried]);
            let count = match connection.stream.read(&mut self.buffer[carried..]) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(count) => count,
                Err(problem) if would_block(&problem) => return Ok(()),
                Err(problem) if problem.kind() == ErrorKind::Interrupted => continue,
                Err(problem) => return Err(problem.into()),
            };
            let last = carried + count < self.buffer.len() && connection.stream.short_read_is_last();
            self.count_replies(slot, carried, carried + count)?;
            if last {
                return Ok(());
            }
        }
    }

    /// The first `carried` bytes of `size` are of an earlier read.
    fn count_replies(&mut self, slot: usize, carried: usize, size: usize) -> Outcome<()> {
        let connection = &mut self.connections[slot];
        let data = &self.buffer[..size];
        let found = match &self.finder {
            Some(finder) => finder.find_iter(data).count() as u64,
            None => (size - carried) as u64,
        };
        // The kept bytes are shorter than a mark, so none is counted twice.
        connection.carried = size.min(self.carry_max);
        connection.carry[..connection.carried].copy_from_slice(&data[size - connection.carried..]);
        if found > connection.pending {
            let text = String::from_utf8_lossy(&data[..size.min(200)]).into_owned();
            return Err(format!("more replies than requests; the last read starts {text:?}").into());
        }
        connection.pending -= found;
        if connection.pending == 0 && found > 0 {
            self.latency.record(connection.sent.elapsed().as_nanos() as u64);
            self.operations += connection.batches[connection.batch].operations;
            if self.sending {
                if self.churn {
                    self.connections[slot].stream = self.connect(slot)?;
                    self.connections[slot].carried = 0;
                }
                self.start_batch(slot)?;
            }
        }
        Ok(())
    }
}
