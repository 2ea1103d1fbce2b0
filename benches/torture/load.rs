//! Owns the load: connections that write their own keys, read all keys, and check every reply.
//!
//! `Pipeline` connections send batches and rest between them; `Single` ones send one small request after the other
//! and record each latency. Called by `main`, one thread per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::histogram::Histogram;
use crate::keys::{Bounds, KEYS, Kind, POPULAR, kind, name, record};
use crate::{Outcome, Phase, ROWS, Run};

/// Requests per batch, and the bytes of requests and replies at which it ends early: a server blocked on an unread
/// reply must not be waited for.
const BATCH: usize = 24;
const BATCH_BYTES: usize = 100_000;

/// Maximum rest between two batches, and rest between two single requests.
const BATCH_REST: Duration = Duration::from_millis(4);
const SINGLE_REST: Duration = Duration::from_micros(400);

/// Maximum number of parts of a value.
const PARTS: u8 = 5;

/// Grace period in which an expired item may still be served: the server's clock ticks in seconds, and late on a busy
/// machine.
const GRACE: Duration = Duration::from_secs(5);

/// How a connection sends requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Pipeline,
    Single,
}

/// Counts of the clients; the names are those of `stats`.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sums {
    pub get_hits: u64,
    pub get_misses: u64,
    pub touch_hits: u64,
    pub touch_misses: u64,
    pub delete_hits: u64,
    pub delete_misses: u64,
    pub incr_hits: u64,
    pub incr_misses: u64,
    pub cmd_set: u64,
    /// Large values refused for lack of memory.
    pub refused: u64,
}

impl Sums {
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.get_hits, other.get_hits),
            (&mut self.get_misses, other.get_misses),
            (&mut self.touch_hits, other.touch_hits),
            (&mut self.touch_misses, other.touch_misses),
            (&mut self.delete_hits, other.delete_hits),
            (&mut self.delete_misses, other.delete_misses),
            (&mut self.incr_hits, other.incr_hits),
            (&mut self.incr_misses, other.incr_misses),
            (&mut self.cmd_set, other.cmd_set),
            (&mut self.refused, other.refused),
        ] {
            *sum += more;
        }
    }
}

/// Results of one connection.
pub struct Report {
    pub sums: Sums,
    /// Latencies by phase; empty for a pipeline.
    pub latency: [Histogram; ROWS],
    /// Requests by phase.
    pub requests: [u64; ROWS],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Get,
    /// Meta get.
    Mg,
    Gat,
    Touch,
    Set,
    Replace,
    Append,
    Prepend,
    Incr,
    Delete,
}

/// A request without its reply.
struct Sent {
    op: Op,
    key: u32,
    seq: u64,
    bounds: Bounds,
    /// The change that an item must have for this to succeed; 0 = no item can exist.
    base: u64,
    ttl: u32,
    /// A hit of our own item after this is too late.
    until: Option<Instant>,
}

/// The writer's knowledge of a key.
#[derive(Clone, Copy, Default)]
struct Own {
    /// Last change that stored a whole value; 0 = none, or deleted.
    base: u64,
    seq: u64,
    parts: u8,
    until: Option<Instant>,
}

pub struct Load<'a> {
    run: &'a Run,
    number: u32,
    manner: Manner,
    rng: Rng,
    stream: TcpStream,
    replies: BufReader<TcpStream>,
    own: Vec<Own>,
    request: Vec<u8>,
    sent: Vec<Sent>,
    line: Vec<u8>,
    value: Vec<u8>,
    scratch: Vec<u8>,
    report: Report,
}

impl<'a> Load<'a> {
    pub fn new(run: &'a Run, number: u32, manner: Manner, stream: TcpStream, seed: u64) -> Outcome<Self> {
        Ok(Self {
            run,
            number,
            manner,
            rng: Rng::with_seed(seed),
            replies: BufReader::with_capacity(1 << 16, stream.try_clone()?),
            stream,
            own: vec![Own::default(); (KEYS / run.writers + 1) as usize],
            request: Vec::new(),
            sent: Vec::new(),
            line: Vec::new(),
            value: Vec::new(),
            scratch: Vec::new(),
            report: Report {
                sums: Sums::default(),
                latency: std::array::from_fn(|_| Histogram::new()),
                requests: [0; ROWS],
            },
        })
    }

    /// Works until the run ends.
    pub fn work(mut self) -> Report {
        loop {
            let phase = self.run.phase();
            if phase == Phase::End {
                return self.report;
            }
            let begun = Instant::now();
            if let Err(problem) = self.turn(phase) {
                let waited = begun.elapsed().as_secs_f64();
                self.run.fault(format!("connection {}, after {waited:.1} s: {problem}", self.number));
                return self.report;
            }
        }
    }

    fn turn(&mut self, phase: Phase) -> Outcome<()> {
        self.request.clear();
        let batch = if self.manner == Manner::Pipeline { BATCH } else { 1 };
        let mut bytes = 0;
        while self.sent.len() < batch && bytes < BATCH_BYTES {
            bytes += self.draw();
        }
        let begun = Instant::now();
        self.stream.write_all(&self.request)?;
        let mut sent = std::mem::take(&mut self.sent);
        let count = sent.len() as u64;
        for request in sent.drain(..) {
            self.take_reply(&request, begun)?;
        }
        self.sent = sent;
        if let Some(row) = phase.measured().filter(|_| self.run.phase() == phase) {
            self.report.requests[row] += count;
            if self.manner == Manner::Single {
                self.report.latency[row].record(begun.elapsed().as_nanos() as u64);
            }
        }
        std::thread::sleep(match self.manner {
            Manner::Pipeline => BATCH_REST.mul_f64(self.rng.f64()),
            Manner::Single => SINGLE_REST,
        });
        Ok(())
    }

    /// Draws the next request; returns the approximate size of it and its reply in bytes.
    fn draw(&mut self) -> usize {
        let writers = self.run.writers;
        let op = match self.rng.u32(..100) {
            0..57 => Op::Get,
            57..60 => Op::Mg,
            60..84 => Op::Set,
            84..86 => Op::Replace,
            86..89 => Op::Append,
            89..91 => Op::Prepend,
            91..95 => Op::Delete,
            95..97 => Op::Gat,
            _ => Op::Touch,
        };
        // The key space expands during the run, so that the index grows.
        let known = (f64::from(KEYS) * (0.1 + 0.9 * self.run.progress())) as u32;
        let space = if self.rng.bool() { POPULAR } else { known };
        let mut key = self.rng.u32(..space);
        if !matches!(op, Op::Get | Op::Mg) {
            key = key / writers * writers + self.number; // this connection is its writer
        }
        let small = |key| matches!(kind(key, writers), Kind::Number | Kind::Small);
        if self.manner == Manner::Single && !small(key) {
            return 0;
        }
        if key >= KEYS {
            return 0;
        }
        let kind = kind(key, writers);
        let op = match op {
            Op::Append | Op::Prepend | Op::Replace | Op::Delete if kind == Kind::Number => Op::Incr,
            Op::Append | Op::Prepend if !kind.grows() || self.mine(key).parts >= PARTS => Op::Set,
            op => op,
        };
        self.ask(op, key, kind)
    }

    fn mine(&mut self, key: u32) -> &mut Own {
        &mut self.own[(key / self.run.writers) as usize]
    }

    /// Seconds to live: never expires, some, or very many.
    fn ttl(&mut self) -> u32 {
        match self.rng.u32(..100) {
            0..65 => 0,
            65..95 => self.rng.u32(1..25),
            _ => self.run.far_expiry,
        }
    }

    fn ask(&mut self, op: Op, key: u32, kind: Kind) -> usize {
        let ttl = self.ttl();
        let bounds = self.run.ledger.bounds(key);
        let is_mine = key % self.run.writers == self.number;
        let old = if is_mine { *self.mine(key) } else { Own::default() };
        let mut sent = Sent { op, key, seq: 0, bounds, base: old.base, ttl, until: old.until };
        if matches!(op, Op::Set | Op::Replace | Op::Touch | Op::Gat) {
            self.mine(key).until = None; // set again by the reply
        }
        let from = self.request.len();
        let word = match op {
            Op::Get => "get ",
            Op::Mg => "mg ",
            Op::Gat => "gat ",
            Op::Touch => "touch ",
            Op::Set => "set ",
            Op::Replace => "replace ",
            Op::Append => "append ",
            Op::Prepend => "prepend ",
            Op::Incr => "incr ",
            Op::Delete => "delete ",
        };
        self.request.extend_from_slice(word.as_bytes());
        if op == Op::Gat {
            self.request.extend_from_slice(format!("{ttl} ").as_bytes());
        }
        name(key, &mut self.request);
        let mut expected = 0;
        match op {
            Op::Get | Op::Gat => expected = kind.filler().end,
            Op::Mg => {
                expected = kind.filler().end;
                self.request.extend_from_slice(b" k f v");
            }
            Op::Touch => self.request.extend_from_slice(format!(" {ttl}").as_bytes()),
            Op::Set | Op::Replace | Op::Append | Op::Prepend => {
                sent.seq = self.run.ledger.next(key);
                self.value.clear();
                if kind == Kind::Number {
                    self.value.extend_from_slice(sent.seq.to_string().as_bytes());
                } else {
                    let filler = self.rng.usize(kind.filler());
                    record(key, sent.seq, filler, &mut self.value);
                }
                let len = self.value.len();
                self.request.extend_from_slice(format!(" {} {ttl} {len}\r\n", key % 3).as_bytes());
                self.request.extend_from_slice(&self.value);
                let own = self.mine(key);
                own.seq = sent.seq;
                if matches!(op, Op::Set | Op::Replace) {
                    (own.base, own.parts) = (sent.seq, 1);
                } else {
                    own.parts += 1;
                }
            }
            Op::Incr => {
                sent.seq = self.run.ledger.next(key);
                let own = self.mine(key);
                let step = sent.seq - own.seq;
                own.seq = sent.seq;
                self.request.extend_from_slice(format!(" {step}").as_bytes());
            }
            Op::Delete => {
                sent.seq = self.run.ledger.next(key);
                let own = self.mine(key);
                *own = Own { seq: sent.seq, ..Own::default() };
            }
        }
        self.request.extend_from_slice(b"\r\n");
        self.sent.push(sent);
        self.request.len() - from + expected
    }

    fn take_reply(&mut self, sent: &Sent, begun: Instant) -> Outcome<()> {
        self.read_line()?;
        let Sent { op, key, .. } = *sent;
        let kind = kind(key, self.run.writers);
        let line = String::from_utf8_lossy(&self.line).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        let unknown = || format!("{op:?} of key {key}: {line:?}");
        let hit = match (op, words.as_slice()) {
            (Op::Get | Op::Gat, ["END"]) | (Op::Mg, ["EN", ..]) => false,
            (Op::Get | Op::Gat, ["VALUE", found, flags, len]) => {
                self.take_value(sent, kind, found, flags, len, begun)?;
                self.read_line()?;
                if self.line != b"END" {
                    return Err(unknown().into());
                }
                true
            }
            (Op::Mg, ["VA", len, found, flags]) => {
                let (found, flags) = (found.strip_prefix('k'), flags.strip_prefix('f'));
                self.take_value(sent, kind, found.unwrap_or(""), flags.unwrap_or(""), len, begun)?;
                true
            }
            (Op::Touch, ["TOUCHED"]) | (Op::Delete, ["DELETED"]) => true,
            (Op::Touch | Op::Delete | Op::Incr, ["NOT_FOUND"]) => false,
            (Op::Set | Op::Replace | Op::Append | Op::Prepend, ["STORED"]) => true,
            (Op::Replace | Op::Append | Op::Prepend, ["NOT_STORED"]) => false,
            (Op::Incr, [number]) if number.parse() == Ok(sent.seq) => true,
            // A large value needs several chunks of a scarce class.
            (Op::Set | Op::Replace, ["SERVER_ERROR", ..])
                if matches!(kind, Kind::Large | Kind::Huge) && line.to_lowercase().contains("out of memory") =>
            {
                self.report.sums.refused += 1;
                // A set counts once its first part has memory.
                self.report.sums.cmd_set += u64::from(line.ends_with("during read"));
                return Ok(());
            }
            _ => return Err(unknown().into()),
        };
        self.settle(sent, hit, begun);
        Ok(())
    }

    /// Updates our own key by its reply, and counts it.
    fn settle(&mut self, sent: &Sent, hit: bool, begun: Instant) {
        let Sent { op, key, seq, .. } = *sent;
        if seq != 0 {
            self.run.ledger.acknowledge(key, seq);
        }
        let needs_item = matches!(op, Op::Replace | Op::Append | Op::Prepend | Op::Incr | Op::Touch | Op::Gat);
        if hit && needs_item && sent.base < sent.bounds.floor.max(1) {
            let (base, floor) = (sent.base, sent.bounds.floor);
            self.run.fault(format!(
                "{op:?} of key {key} found something, though its last value, {base}, was deleted or flushed ({floor})"
            ));
        }
        if hit && matches!(op, Op::Set | Op::Replace | Op::Touch | Op::Gat) {
            let mortal = (1..self.run.far_expiry).contains(&sent.ttl);
            let until = Instant::now() + Duration::from_secs(sent.ttl.into()) + GRACE;
            self.mine(key).until = mortal.then_some(until);
        }
        // A change or touch that found the item after its expiry.
        if hit && needs_item && sent.until.is_some_and(|until| begun > until) {
            self.run.fault(format!("{op:?} of key {key} found an item long after its time"));
        }
        let sums = &mut self.report.sums;
        let count = |hits: &mut u64, misses: &mut u64| if hit { *hits += 1 } else { *misses += 1 };
        match op {
            Op::Get | Op::Mg => count(&mut sums.get_hits, &mut sums.get_misses),
            Op::Gat | Op::Touch => count(&mut sums.touch_hits, &mut sums.touch_misses),
            Op::Delete => count(&mut sums.delete_hits, &mut sums.delete_misses),
            Op::Incr => count(&mut sums.incr_hits, &mut sums.incr_misses),
            Op::Set | Op::Replace | Op::Append | Op::Prepend => sums.cmd_set += 1,
        }
    }

    fn take_value(
        &mut self,
        sent: &Sent,
        kind: Kind,
        found: &str,
        flags: &str,
        len: &str,
        begun: Instant,
    ) -> Outcome<()> {
        let Sent { op, key, .. } = *sent;
        let len: usize = len.parse()?;
        if len > 2 << 20 {
            return Err(format!("{op:?} of key {key}: a value of {len} bytes").into());
        }
        self.value.resize(len + 2, 0);
        self.replies.read_exact(&mut self.value)?;
        self.scratch.clear();
        name(key, &mut self.scratch);
        if found.as_bytes() != self.scratch || flags != (key % 3).to_string() || !self.value.ends_with(b"\r\n") {
            return Err(format!("{op:?} of key {key}: key {found:?}, flags {flags:?}, {len} bytes").into());
        }
        let verdict = self.run.ledger.judge(key, kind, sent.bounds, &self.value[..len], &mut self.scratch);
        if let Err(problem) = verdict {
            self.run.fault(format!("{op:?} of key {key} ({kind:?}): {problem}"));
        }
        if op != Op::Gat && sent.until.is_some_and(|until| begun > until) {
            self.run.fault(format!("{op:?} of key {key}: served long after its time"));
        }
        Ok(())
    }

    /// The next line, without its end.
    fn read_line(&mut self) -> Outcome<()> {
        self.line.clear();
        self.replies.read_until(b'\n', &mut self.line)?;
        match self.line.strip_suffix(b"\r\n") {
            Some(line) => self.line.truncate(line.len()),
            None => return Err("the server closed the connection".into()),
        }
        self.run.replies.fetch_add(1, Relaxed);
        Ok(())
    }
}
