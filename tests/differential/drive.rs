//! Owns the run of a case: the same bytes to both servers, their replies side by side. Called by `main` and `shrink`.
//!
//! No reply is awaited by guessing times: an exchange ends with a command that has a unique reply (the sentinel), or
//! with the client's half-close, after which the server's close ends the reply. If an incomplete value swallowed the
//! sentinel itself, `PATIENCE` passes and both connections are half-closed; its length does not affect the
//! comparison. Where one server alone has closed a connection for a known reason, the case ends: the other has run
//! commands that it has not, so what follows cannot be compared.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::cas::Ids;
use crate::server::Server;
use crate::stream::{ALL_CONNECTIONS, Case, End, Exchange, Part, Transport, shown};
use crate::wire::Wire;
use crate::{datagrams, known};

/// Silence after which a missing sentinel counts as swallowed.
const PATIENCE: Duration = Duration::from_millis(300);
/// Silence after which a server counts as hanging.
const HANG: Duration = Duration::from_secs(20);

pub struct Binaries {
    pub ours: PathBuf,
    pub reference: PathBuf,
}

/// Two replies that should have been equal.
pub struct Difference {
    /// Index of the exchange.
    pub at: usize,
    pub what: String,
    pub ours: Vec<u8>,
    pub reference: Vec<u8>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let same = self.ours.iter().zip(&self.reference).take_while(|(a, b)| a == b).count();
        let from = same.saturating_sub(100);
        let tail = |reply: &[u8]| shown(&reply[from.min(reply.len())..], 2000);
        writeln!(out, "{}; the replies are equal for {same} bytes (shown from byte {from})", self.what)?;
        writeln!(out, "  oxcached:  {}", tail(&self.ours))?;
        write!(out, "  memcached: {}", tail(&self.reference))
    }
}

/// Runs a case on new servers; `None` if all replies were equal.
pub fn run(binaries: &Binaries, case: &Case) -> Option<Difference> {
    if case.transport == Transport::Udp {
        return datagrams::run(binaries, case);
    }
    let mut runner = Runner::new(binaries, case);
    for (at, exchange) in case.exchanges.iter().enumerate() {
        let difference = runner.exchange(at, exchange);
        if difference.is_some() || runner.parted {
            return difference;
        }
    }
    None
}

struct Runner {
    /// oxcached, then the reference.
    servers: [Server; 2],
    slots: [Option<[Wire; 2]>; ALL_CONNECTIONS],
    poll: Poll,
    sentinels: u64,
    cas: Ids,
    /// One server alone has closed a connection.
    parted: bool,
}

impl Runner {
    fn new(binaries: &Binaries, case: &Case) -> Runner {
        let servers =
            [&binaries.ours, &binaries.reference].map(|binary| Server::start(binary, case.transport, &case.flags));
        Runner {
            servers,
            slots: [const { None }; ALL_CONNECTIONS],
            poll: Poll::new().unwrap(),
            sentinels: 0,
            cas: Ids::default(),
            parted: false,
        }
    }

    fn exchange(&mut self, at: usize, exchange: &Exchange) -> Option<Difference> {
        let slot = exchange.connection;
        let mut wires = match self.slots[slot].take() {
            Some(wires) => wires,
            None => self.open(),
        };
        let writes = self.writes(exchange);
        if wires[0].written == 0 && writes.iter().any(|(_, barrier)| *barrier) {
            self.settle(&mut wires, exchange.is_binary());
        }
        let mut sent = Vec::new();
        for (bytes, barrier) in &writes {
            sent.extend_from_slice(bytes);
            wires.iter_mut().for_each(|wire| wire.output.extend_from_slice(bytes));
            self.pump_until(&mut wires, HANG, Wire::is_sent);
            if *barrier && let Some(dead) = self.barrier() {
                return Some(difference(at, dead, wires));
            }
        }
        let mark = match exchange.end {
            End::HalfClose => None,
            End::Sentinel => Some(self.sentinel(&mut wires, exchange.is_binary())),
        };
        let synced = mark.is_some_and(|mark| {
            self.pump_until(&mut wires, PATIENCE, |wire| wire.closed || wire.input.ends_with(&mark))
        });
        if !synced {
            wires.iter_mut().for_each(Wire::half_close);
            if !self.pump_until(&mut wires, HANG, |wire| wire.closed) {
                return Some(difference(at, "a server neither answers nor closes".into(), wires));
            }
        }
        match exchange.is_binary() {
            true => self.cas.learn_packets(&wires[1].input),
            false => self.cas.learn_lines(&wires[1].input),
        }
        self.verdict(at, exchange, &sent, wires)
    }

    /// Compares, and keeps the connection for the next exchange.
    fn verdict(&mut self, at: usize, exchange: &Exchange, sent: &[u8], mut wires: [Wire; 2]) -> Option<Difference> {
        let closed = wires.each_ref().map(|wire| wire.closed);
        let [ours, reference] = wires.each_ref().map(|wire| exchange.compare.essence(&wire.input));
        if (ours != reference || closed[0] != closed[1]) && known::explain(sent, &ours, &reference).is_none() {
            let mut what = match closed {
                [true, false] => "only oxcached closed the connection".to_owned(),
                [false, true] => "only memcached closed the connection".to_owned(),
                _ => "different replies".to_owned(),
            };
            if let Some(status) = self.servers[0].death() {
                what += &format!("; oxcached has ended: {status}");
            }
            return Some(Difference { at, what, ours, reference });
        }
        self.parted = closed[0] != closed[1];
        if closed == [false, false] {
            for wire in &mut wires {
                wire.input.clear();
                wire.output.clear();
                wire.written = 0;
            }
            self.slots[exchange.connection] = Some(wires);
        }
        None
    }

    fn open(&mut self) -> [Wire; 2] {
        let registry = self.poll.registry();
        self.servers.each_ref().map(|server| Wire::open(server.at(), registry))
    }

    /// Ensures that a worker holds a connection: a barrier has no effect while the connection still waits for one.
    fn settle(&mut self, wires: &mut [Wire; 2], binary: bool) {
        let mark = self.sentinel(wires, binary);
        self.pump_until(wires, HANG, |wire| wire.closed || wire.input.ends_with(&mark));
    }

    /// The exchange's bytes, one entry per write, and whether a barrier follows it.
    fn writes(&self, exchange: &Exchange) -> Vec<(Vec<u8>, bool)> {
        let mut writes = vec![(Vec::new(), false)];
        for part in exchange.commands.iter().flat_map(|command| &command.parts) {
            let last = writes.last_mut().unwrap();
            match part {
                Part::Split | Part::Barrier => {
                    last.1 = matches!(part, Part::Barrier);
                    writes.push((Vec::new(), false));
                }
                _ => self.cas.fill(part, &mut last.0),
            }
        }
        if depends_on_arrival(&writes.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect::<Vec<_>>()) {
            let last = writes.len() - 1;
            writes[..last].iter_mut().for_each(|(_, barrier)| *barrier = true);
        }
        writes.retain(|(bytes, barrier)| *barrier || !bytes.is_empty());
        writes
    }

    /// Requests a unique reply; returns its bytes.
    fn sentinel(&mut self, wires: &mut [Wire; 2], binary: bool) -> Vec<u8> {
        self.sentinels += 1;
        let number = self.sentinels;
        if binary {
            let mut packet = [0; 24];
            (packet[0], packet[1]) = (0x80, 0x0a);
            packet[12..16].copy_from_slice(&(number as u32).to_be_bytes());
            wires.iter_mut().for_each(|wire| wire.output.extend_from_slice(&packet));
            packet[0] = 0x81;
            return packet.into();
        }
        let command = format!("set __sentinel 0 0 8 noreply\r\n{number:08}\r\nget __sentinel\r\n");
        for wire in wires {
            wire.output.extend_from_slice(command.as_bytes());
        }
        format!("VALUE __sentinel 0 8\r\n{number:08}\r\nEND\r\n").into_bytes()
    }

    fn barrier(&mut self) -> Option<String> {
        let names = ["oxcached", "memcached"];
        let problems = self.servers.iter_mut().zip(names).filter_map(|(server, name)| {
            let problem = server.barrier().err()?;
            Some(format!("{name} no longer answers: {problem}, {:?}", server.death()))
        });
        problems.collect::<Vec<_>>().into_iter().next()
    }

    /// Moves bytes on both wires until `done` holds for both (true) or nothing has moved for `patience` (false).
    fn pump_until(&mut self, wires: &mut [Wire; 2], patience: Duration, done: impl Fn(&Wire) -> bool) -> bool {
        let mut events = Events::with_capacity(64);
        let (mut moved, mut before) = (Instant::now(), (0, 0));
        loop {
            wires.iter_mut().for_each(Wire::pump);
            if wires.iter().all(&done) {
                return true;
            }
            let now = wires.iter().fold((0, 0), |sum, wire| (sum.0 + wire.written, sum.1 + wire.input.len()));
            if now != before {
                (moved, before) = (Instant::now(), now);
            }
            let Some(left) = patience.checked_sub(moved.elapsed()) else { return false };
            match self.poll.poll(&mut events, Some(left)) {
                Err(problem) if problem.kind() != ErrorKind::Interrupted => panic!("poll: {problem}"),
                _ => {}
            }
        }
    }
}

/// Whether the replies depend on which bytes the server reads at once: commands that fail while earlier replies are
/// unsent. Two adjacent writes may arrive together at one server and separately at the other.
fn depends_on_arrival(sent: &[u8]) -> bool {
    [&b"dump"[..], b"watch"].iter().any(|word| sent.windows(word.len()).any(|window| window == *word))
}

fn difference(at: usize, what: String, wires: [Wire; 2]) -> Difference {
    let [ours, reference] = wires.map(|wire| wire.input);
    Difference { at, what, ours, reference }
}
