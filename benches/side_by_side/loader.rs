//! Owns the built-in load generator: one thread, one event loop, closed-loop connections that send a batch, count its
//! replies and send the next. Called by `main` for a `Plan`.
//!
//! Every run ends with all replies counted: a missing one (a stall) or an extra one is an error, not a figure.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use crate::histogram::Histogram;
use crate::report::{Load, Run};
use crate::server::Server;
use crate::template::{Digits, Template};
use crate::workload::{Plan, Verb};
use crate::{Outcome, machine, wire};

/// Unmeasured start of a run: caches warm up, connections spread out.
const WARM_UP: Duration = Duration::from_millis(300);
/// Maximum time without a reply before the run fails.
const STALL_MAX: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 256 * 1024;

/// Fills the server and loads it for `seconds`.
pub fn measure(server: &Server, plan: &Plan, seconds: Duration) -> Outcome<Run> {
    wire::fill(&mut server.connect()?, 0, plan.keys, plan.value_size)?;
    let mut loader = Loader::new(server.port(), plan)?;
    loader.run_for(WARM_UP)?;
    loader.forget();
    let own_before = machine::cpu_ns(std::process::id())?;
    let (cpu_before, started) = (server.cpu_ns()?, Instant::now());
    loader.run_for(seconds)?;
    let (cpu_ns, elapsed) = (server.cpu_ns()? - cpu_before, started.elapsed());
    let own_ns = machine::cpu_ns(std::process::id())? - own_before;
    let operations = loader.operations;
    loader.drain()?;
    let stats = wire::stats(&mut server.connect()?)?;
    let misses = wire::number(&stats, "get_misses")?;
    if misses > 0 {
        return Err(format!("{misses} gets missed: the server lost keys").into());
    }
    let latency_us = [0.5, 0.99, 0.999].map(|share| loader.latency.percentile_us(share));
    Ok(Run::load(Load::new(operations, elapsed, cpu_ns, Some(own_ns), latency_us), server.rss_bytes()?))
}

/// A byte string that occurs once in each reply and never in a value.
fn mark(verb: Verb) -> &'static [u8] {
    match verb {
        // The end of END and of STORED.
        Verb::Get => b"D\r\n",
        Verb::MetaGet => b"VA ",
    }
}

/// Bytes of an incomplete mark that are kept between two reads.
const CARRY_MAX: usize = 2;

struct Connection {
    stream: TcpStream,
    batches: Vec<Template>,
    batch: usize,
    /// Bytes of the batch already written.
    written: usize,
    /// Replies outstanding.
    pending: u64,
    sent: Instant,
    carry: [u8; CARRY_MAX],
    carried: usize,
}

struct Loader<'a> {
    plan: &'a Plan,
    address: SocketAddr,
    poll: Poll,
    connections: Vec<Connection>,
    random: fastrand::Rng,
    digits: Digits,
    finder: memmem::Finder<'static>,
    buffer: Vec<u8>,
    latency: Histogram,
    operations: u64,
    /// Connections made so far.
    opened: u32,
    /// Whether a finished batch is followed by another.
    sending: bool,
}

impl<'a> Loader<'a> {
    fn new(port: u16, plan: &'a Plan) -> Outcome<Loader<'a>> {
        let mut loader = Loader {
            plan,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            poll: Poll::new()?,
            connections: Vec::new(),
            random: fastrand::Rng::with_seed(20_260_101),
            digits: Digits::new(),
            finder: memmem::Finder::new(mark(plan.verb)),
            buffer: vec![0; CARRY_MAX + READ_BYTES],
            latency: Histogram::new(),
            operations: 0,
            opened: 0,
            sending: true,
        };
        let batches = Template::all(plan);
        for slot in 0..plan.connections {
            let stream = loader.connect(slot)?;
            loader.connections.push(Connection {
                stream,
                batches: batches.clone(),
                batch: slot % batches.len(),
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

    fn connect(&mut self, slot: usize) -> Outcome<TcpStream> {
        let mut stream =
            if self.plan.churn { connect_from(self.opened, self.address)? } else { TcpStream::connect(self.address)? };
        self.opened += 1;
        self.poll.registry().register(&mut stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
        stream.set_nodelay(true)?;
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
            return Err(format!("no reply for {STALL_MAX:?}; {missing} are missing").into());
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
        batch.draw(&mut self.random, &self.digits, self.plan.keys);
        connection.pending = batch.replies;
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
                // A connection in progress reports NotConnected; its event arrives once it is established.
                Err(problem) if matches!(problem.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(problem) if problem.kind() == ErrorKind::Interrupted => {}
                Err(problem) => return Err(problem.into()),
            }
        }
        Ok(())
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
                Err(problem) if matches!(problem.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(problem) if problem.kind() == ErrorKind::Interrupted => continue,
                Err(problem) => return Err(problem.into()),
            };
            let full = carried + count == self.buffer.len();
            self.count_replies(slot, carried + count)?;
            if !full {
                return Ok(());
            }
        }
    }

    fn count_replies(&mut self, slot: usize, size: usize) -> Outcome<()> {
        let connection = &mut self.connections[slot];
        let data = &self.buffer[..size];
        let found = self.finder.find_iter(data).count() as u64;
        // The kept bytes are shorter than a mark, so none is counted twice.
        connection.carried = size.min(CARRY_MAX);
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
                if self.plan.churn {
                    self.connections[slot].stream = self.connect(slot)?;
                    self.connections[slot].carried = 0;
                }
                self.start_batch(slot)?;
            }
        }
        Ok(())
    }
}

/// Connects from one of many loopback addresses: each has its own ports, so connections in TIME_WAIT do not use them
/// all up.
fn connect_from(number: u32, to: SocketAddr) -> Outcome<TcpStream> {
    let from = SocketAddr::from(([127, 0, 1 + (number / 250 % 200) as u8, 1 + (number % 250) as u8], 0));
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.bind(&from.into())?;
    match socket.connect(&to.into()) {
        Err(problem) if problem.raw_os_error() != Some(libc::EINPROGRESS) => Err(problem.into()),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
