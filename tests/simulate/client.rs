//! One connection: a session without sockets, and its client.
//!
//! Owns the splits of sent bytes, slow reading, packet pipelines, datagrams, and the reports to the model. Requests
//! come from `commands` and `packets`. Runs as a thread of `world`.

use super::commands;
use super::model::{Effect, Op, short};
use super::packets;
use super::world::{Thread, World};
use oxcached::net::{Allowance, Answerer, DATAGRAM_HEADER, DATAGRAM_MAX, SendOutcome as StopFlag, TurnEnd};
use oxcached::point::point;
use oxcached::proto::{Cx, Input, Output, Protocol, Session, Step};
use std::collections::{BTreeMap, VecDeque};

/// Maximum length of a request datagram in bytes.
const REQUEST_MAX: usize = 60_000;

/// A command before it is sent.
pub struct Command {
    pub key: Vec<u8>,
    pub request: Vec<u8>,
    /// Bytes of the request that must have arrived before it begins to run.
    pub head: usize,
    /// The opaque of a packet.
    pub opaque: Option<[u8; 4]>,
    /// Its effect, given the time at which its head is read.
    pub make: Box<dyn Fn(u32) -> Effect>,
    pub what: String,
}

/// A command in progress.
struct SendOutcome {
    command: Command,
    /// Bytes not sent yet.
    left: usize,
    /// Time at which the head was read.
    read_at: Option<u32>,
    /// It was refused before its value arrived.
    refused: bool,
}

impl SendOutcome {
    fn new(command: Command) -> Self {
        Self { left: command.request.len(), read_at: None, refused: false, command }
    }

    fn op(&self, now: u32, reply: Option<Vec<u8>>) -> Op {
        let effect = (self.command.make)(self.read_at.unwrap_or(now));
        Op { effect, now, reply, what: self.command.what.clone() }
    }
}

/// Replies that a slow reader has not taken, and their expected bytes.
struct Unread {
    out: Output,
    expected: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text and meta commands.
    Lines,
    Packets,
    /// Either of them in datagrams.
    Datagrams,
}

pub struct Client {
    pub thread: usize,
    kind: Kind,
    session: Session,
    answerer: Answerer<Session>,
    input: Input,
    out: Output,
    got: Vec<u8>,
    sent: VecDeque<SendOutcome>,
    unread: Vec<Unread>,
}

impl Client {
    pub fn new(thread: usize, kind: Kind) -> Self {
        Self {
            thread,
            kind,
            session: Session::new(Protocol::Negotiating),
            answerer: Answerer::default(),
            input: Input::default(),
            out: Output::default(),
            got: Vec::new(),
            sent: VecDeque::new(),
            unread: Vec::new(),
        }
    }

    /// Whether no command is in progress.
    pub fn is_idle(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether a value may be incomplete.
    pub fn is_uploading(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Number of unread replies.
    pub fn held(&self) -> usize {
        self.unread.len()
    }

    /// One step. Within another operation (`inner`) it is a whole request that runs at once.
    pub fn step(&mut self, world: &World, inner: bool) {
        if !self.sent.is_empty() {
            if world.chance(20) {
                return self.reset();
            }
            let left = self.sent.iter().map(|sent| sent.left).sum();
            let n = if inner || world.chance(2) { left } else { world.below(left) };
            return self.send(world, n, inner);
        }
        if !self.unread.is_empty() && world.chance(4) {
            let Unread { mut out, expected } = self.unread.swap_remove(world.below(self.unread.len()));
            let mut got = Vec::new();
            drain(&mut out, &mut got);
            assert!(got == expected, "a slow reader got {:?}, want {:?}", short(&got), short(&expected));
            return;
        }
        if !inner && world.chance(15) && self.kind != Kind::Datagrams {
            return self.hold(world);
        }
        if world.chance(100) && world.may_flush() {
            return self.flush(world);
        }
        if !inner && self.kind == Kind::Packets && world.chance(40) {
            self.sent = packets::bulk(world).into_iter().map(SendOutcome::new).collect();
            let len = self.sent.iter().map(|sent| sent.left).sum();
            return if self.sent.len() < 50 {
                self.send(world, len, false)
            } else {
                world.alone(|| self.send(world, len, false))
            };
        }
        let requests = self.requests(world);
        if self.kind == Kind::Datagrams {
            return self.datagram(world, requests, inner);
        }
        let len = requests.iter().map(|command| command.request.len()).sum();
        self.sent = requests.into_iter().map(SendOutcome::new).collect();
        let n = if !inner && world.chance(4) { 1 + world.below(len - 1) } else { len };
        self.send(world, n, inner);
    }

    /// One command, or a pipeline of packets.
    fn requests(&self, world: &World) -> Vec<Command> {
        let packets = self.kind == Kind::Packets || (self.kind == Kind::Datagrams && world.chance(2));
        if !packets {
            return vec![commands::command(world, &world.key())];
        }
        let count = if world.chance(3) { 1 + world.below(6) } else { 1 };
        let mut requests: Vec<_> = (0..count).map(|_| packets::command(world, &world.key())).collect();
        requests.push(packets::noop(world));
        requests
    }

    /// Resets the connection.
    fn reset(&mut self) {
        self.session = Session::new(Protocol::Negotiating);
        self.input.reset();
        self.out.clear();
        self.got.clear();
        self.sent.clear();
    }

    /// Sends `n` more bytes. Complete commands are answered.
    fn send(&mut self, world: &World, n: usize, inner: bool) {
        let now = world.threads[self.thread].now();
        world.model.reach(now);
        let (mut bytes, mut whole) = (Vec::with_capacity(n), 0);
        for sent in &mut self.sent {
            let request = &sent.command.request;
            let from = request.len() - sent.left;
            let some = sent.left.min(n - bytes.len());
            bytes.extend_from_slice(&request[from..from + some]);
            sent.left -= some;
            if from + some >= sent.command.head {
                sent.read_at.get_or_insert(now);
            }
            whole += usize::from(sent.left == 0);
            if sent.left > 0 {
                break;
            }
        }
        // A command with an incomplete value may be refused, which can have an effect.
        let begun = whole + usize::from(self.sent.get(whole).is_some_and(|next| next.read_at.is_some()));
        if !inner {
            self.sent.iter().take(begun).for_each(|sent| world.model.open(&sent.command.key));
        }
        self.feed(world, &bytes, true);
        let mut ended = Ended::default();
        for (n, sent) in self.sent.iter_mut().take(begun).enumerate() {
            let reply = if sent.refused { Vec::new() } else { take_reply(&mut self.got, sent) };
            let is_over = !sent.refused && (n < whole || !reply.is_empty());
            sent.refused = n == whole && (sent.refused || is_over);
            ended.add(world, sent, is_over.then(|| sent.op(now, Some(reply))));
        }
        assert!(self.got.is_empty(), "{:?} answers nothing that was asked", short(&self.got));
        ended.tell(world, !inner);
        self.sent.drain(..whole);
    }

    /// Receives bytes and runs until all are consumed. With `shared`, other actors may step in between two runs.
    fn feed(&mut self, world: &World, mut bytes: &[u8], shared: bool) {
        let thread = &world.threads[self.thread];
        loop {
            if !bytes.is_empty() {
                let n = match self.session.upload_target().filter(|target| !target.is_empty()) {
                    Some(target) => {
                        let n = target.len().min(bytes.len());
                        target[..n].copy_from_slice(&bytes[..n]);
                        self.session.uploaded(n);
                        n
                    }
                    None => {
                        self.input.append(bytes);
                        bytes.len()
                    }
                };
                bytes = &bytes[n..];
            }
            if !self.run(world, thread, shared) {
                continue;
            }
            if bytes.is_empty() {
                break;
            }
        }
        drain(&mut self.out, &mut self.got);
    }

    /// One run; true if the session needs more bytes. With `shared`, other actors may step in after it.
    fn run(&mut self, world: &World, thread: &Thread, shared: bool) -> bool {
        let mut budget = if world.chance(4) { 1 } else { thread.shared.settings.reqs_per_event };
        let mut cx = Cx::new(&thread.shared, &thread.shared.stats.workers[0], 7);
        match self.session.run(&mut cx, &mut self.input, &mut self.out, &mut budget) {
            Step::Read => true,
            Step::Yield | Step::Flush => {
                drain(&mut self.out, &mut self.got);
                if shared {
                    point("a connection lets others run");
                }
                false
            }
            step => panic!("{step:?} on {}", world.place()),
        }
    }

    /// `flush_all`, immediate or delayed. Takes effect after interleaved operations, and is sent alone.
    fn flush(&mut self, world: &World) {
        let now = world.threads[self.thread].now();
        world.model.reach(now);
        // A delayed flush must lie in the future of every clock.
        let delay = if world.chance(3) { 0 } else { world.latest() - now + 8 + world.below(20) as u32 };
        let command = match self.kind {
            Kind::Lines => commands::flush(delay),
            Kind::Packets => packets::flush(world, delay),
            Kind::Datagrams if world.chance(2) => commands::flush(delay),
            Kind::Datagrams => packets::flush(world, delay),
        };
        let oldest = if delay == 0 { now - 1 } else { now + delay - 1 };
        let mut reply = if self.kind == Kind::Datagrams {
            self.answer(world, &command.request, false)
        } else {
            self.feed(world, &command.request, false);
            Some(std::mem::take(&mut self.got))
        };
        world.model.flush(oldest, now);
        Ended::tell_all(world, false, now, vec![command], &mut reply);
    }

    /// Sends requests in one datagram.
    fn datagram(&mut self, world: &World, mut requests: Vec<Command>, inner: bool) {
        let mut len = 0;
        requests.retain(|command| {
            len += command.request.len();
            len <= REQUEST_MAX
        });
        let now = world.threads[self.thread].now();
        world.model.reach(now);
        let mut bytes: Vec<u8> = requests.iter().flat_map(|command| command.request.iter().copied()).collect();
        if world.chance(20) && requests.len() == 1 {
            // Half a request counts as none.
            bytes.truncate(world.below(bytes.len()));
            _ = self.answer(world, &bytes, true);
            return;
        }
        if !inner {
            requests.iter().for_each(|command| world.model.open(&command.key));
        }
        let mut answer = self.answer(world, &bytes, true);
        Ended::tell_all(world, !inner, now, requests, &mut answer);
    }

    /// The reassembled replies to a datagram; `None` if one was lost. Other operations may interleave if `shared`.
    fn answer(&mut self, world: &World, request: &[u8], shared: bool) -> Option<Vec<u8>> {
        let thread = &world.threads[self.thread];
        let id = (world.serial() as u16).to_be_bytes();
        let datagram = [&id[..], &[0, 0, 0, 1, 0, 0], request].concat();
        let mut cx = Cx::new(&thread.shared, &thread.shared.stats.workers[0], 7);
        self.answerer.space()[..datagram.len()].copy_from_slice(&datagram);
        if !self.answerer.begin(datagram.len(), &cx) {
            assert!(request.is_empty(), "a datagram is no request");
            return Some(Vec::new());
        }
        let (mut got, mut lost, mut series) = (Vec::new(), false, (0, 0));
        loop {
            let mut allowance =
                Allowance { commands: 1 + world.below(4) as u32, datagrams: 1 + world.below(60) as u32 };
            let end = self.answerer.turn(&mut cx, &mut allowance, |datagram| {
                match world.below(100) {
                    0 => return StopFlag::Full,
                    1 => {
                        (lost, series) = (true, (0, 0));
                        return StopFlag::Lost;
                    }
                    _ => {}
                }
                let field = |at| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
                assert!(datagram.len() <= DATAGRAM_MAX && datagram[..2] == id && field(6) == 0);
                let (sequence, total) = (field(2), field(4));
                assert_eq!(sequence, series.0, "of {total}");
                assert!(sequence < total && (sequence == 0 || total == series.1), "{sequence} of {total}, {series:?}");
                series = if sequence + 1 == total { (0, 0) } else { (sequence + 1, total) };
                got.extend_from_slice(&datagram[DATAGRAM_HEADER..]);
                StopFlag::Yes
            });
            if end == TurnEnd::Done {
                assert_eq!(series.0, 0, "a series of {} ends early", series.1);
                return (!lost).then_some(got);
            }
            if shared {
                point("a datagram socket lets others run");
            }
        }
    }

    /// Reads a large value slowly: the reply stays pinned.
    fn hold(&mut self, world: &World) {
        if self.unread.len() > 3 {
            return;
        }
        let key = world.key();
        let now = world.threads[self.thread].now();
        world.model.reach(now);
        world.model.open(&key);
        let command = match self.kind {
            Kind::Packets => packets::get(world, &key, false),
            _ => commands::get(&key, false, ""),
        };
        self.input.append(&command.request);
        let thread = &world.threads[self.thread];
        let mut budget = thread.shared.settings.reqs_per_event;
        let mut cx = Cx::new(&thread.shared, &thread.shared.stats.workers[0], 7);
        let step = self.session.run(&mut cx, &mut self.input, &mut self.out, &mut budget);
        assert!(matches!(step, Step::Read | Step::Flush), "{step:?}");
        let mut shown = Vec::new();
        let mut slices = Vec::new();
        self.out.io_slices(&mut slices);
        slices.iter().for_each(|slice| shown.extend_from_slice(slice));
        drop(slices);
        if shown.len() == self.out.remaining() {
            self.unread.push(Unread { out: std::mem::take(&mut self.out), expected: shown.clone() });
        } else {
            drain(&mut self.out, &mut self.got);
            shown = std::mem::take(&mut self.got);
        }
        Ended::tell_all(world, true, now, vec![command], &mut Some(shown));
        if step == Step::Flush {
            self.feed(world, &[], false);
            assert!(self.got.is_empty());
        }
    }
}

/// The reply of `sent` at the front of the received bytes: for a line, all of them.
fn take_reply(got: &mut Vec<u8>, sent: &SendOutcome) -> Vec<u8> {
    match sent.command.opaque {
        None => std::mem::take(got),
        Some(opaque) => packets::take_replies(got, opaque),
    }
}

/// Completed commands, by key.
#[derive(Default)]
struct Ended(BTreeMap<Vec<u8>, Vec<Op>>);

impl Ended {
    /// Adds a command; `op` is `None` if it did not complete but no longer runs.
    fn add(&mut self, world: &World, sent: &SendOutcome, op: Option<Op>) {
        let reply = op.as_ref().and_then(|op| op.reply.as_deref()).filter(|_| sent.command.opaque.is_some());
        reply.and_then(packets::changed_id).into_iter().for_each(|id| world.model.note_id(id));
        self.0.entry(sent.command.key.clone()).or_default().extend(op);
    }

    /// Reports to the model; `outer` if the model knows of their start.
    fn tell(self, world: &World, outer: bool) {
        self.0.into_iter().for_each(|(key, ops)| world.model.close(&key, outer, ops));
    }

    /// [`Ended::tell`] for commands that were sent at once, each with its reply.
    fn tell_all(world: &World, outer: bool, now: u32, requests: Vec<Command>, replies: &mut Option<Vec<u8>>) {
        let mut ended = Self::default();
        for command in requests {
            let sent = SendOutcome::new(command);
            let reply = replies.as_mut().map(|replies| take_reply(replies, &sent));
            ended.add(world, &sent, Some(sent.op(now, reply)));
        }
        assert!(replies.as_ref().is_none_or(Vec::is_empty), "{replies:?} answers nothing that was asked");
        ended.tell(world, outer);
    }
}

/// Takes all of `out`.
fn drain(out: &mut Output, to: &mut Vec<u8>) {
    while !out.is_empty() {
        let mut slices = Vec::new();
        out.io_slices(&mut slices);
        let mut taken = 0;
        for slice in slices {
            to.extend_from_slice(&slice);
            taken += slice.len();
        }
        assert!(taken > 0, "an output that is not empty has something to write");
        out.advance(taken);
    }
}
