//! A client without sockets: bytes into a `Session`, replies out of it.
//!
//! Owns a minimal replacement of `net`: input, output, and the steps that a session requests. Used by the in-process
//! tests (`model`, `split`, `stress`, `alloc` and others), and by the fuzz targets.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod script;

use oxcached::auth::Auth;
use oxcached::clock::Clock;
use oxcached::net::{Allowance, Answerer, SendOutcome, TurnEnd};
use oxcached::proto::{CloseReason, ConnState, Cx, Input, Output, Protocol, Session, Shared, Step};
use oxcached::settings::{Action, Settings, parse};
use oxcached::stats::Counters;
use oxcached::store::{Move, Progress, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Unix time at which a manual clock starts.
pub const UNIX: i64 = 1_000_000_000;

/// Reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for an effect of another thread or process.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Settings of a command line.
pub fn settings(args: &str) -> Settings {
    let words = std::iter::once("oxcached").chain(args.split_ascii_whitespace());
    match parse(words.map(Into::into)).unwrap() {
        Action::Run(settings) => *settings,
        other => panic!("{other:?}"),
    }
}

/// Shared state of a server with these arguments, on a manual clock.
pub fn shared(args: &str) -> Arc<Shared> {
    shared_with(settings(args))
}

/// [`shared`] from settings. Reserves address space for `-m` alone, as with `-k`: a store is never freed, and that of a
/// thousand servers would be more than a process has.
pub fn shared_with(settings: Settings) -> Arc<Shared> {
    let settings = Settings { lock_memory: true, ..settings };
    Arc::new(Shared::new(settings, Clock::manual(UNIX), Box::new(|_| ())).unwrap())
}

/// [`shared_with`] with users.
pub fn shared_with_auth(settings: Settings, auth: Auth) -> Arc<Shared> {
    let shared = Shared::new(settings, Clock::manual(UNIX), Box::new(|_| ())).unwrap();
    Arc::new(Shared { auth: Some(auth), ..shared })
}

/// Sweeps every page once, as the chores' thread does within a minute.
pub fn sweep(store: &'static Store, now: u32) {
    store.sweep(&mut store.begin_walk(u64::MAX << 1), u32::MAX, now, |_, _| true);
}

/// Asserts that the store holds no item, and that no chunk is in use.
#[track_caller]
pub fn assert_empty(shared: &Shared) {
    let store = shared.cache.store;
    for (class, view) in store.classes(shared.clock.now()).iter().enumerate() {
        assert_eq!(view.used_chunks, 0, "chunks in use in class {class}: {view:?}");
        assert_eq!((view.items, view.requested), (0, 0), "counted in class {class}: {view:?}");
    }
    assert_eq!((store.items(), store.bytes()), (0, 0));
}

/// Moves pages from any class to any other one, or through the pool, until stopped. Periodically cancels a move.
pub fn move_pages(shared: &Shared, mut rng: fastrand::Rng, stop: &AtomicBool) {
    let store = shared.cache.store;
    let (mut job, mut rescues, mut moved): (Option<Move>, _, _) = (None, 0, 0);
    while !stop.load(Relaxed) {
        let Some(current) = &mut job else {
            let largest = store.sizes().largest();
            let src = (0..=largest).filter(|&class| store.page_count(class) > 1).nth(rng.usize(..=largest) % 4);
            job = src.and_then(|src| store.begin_move(src, rng.usize(0..=largest)));
            std::thread::yield_now();
            continue;
        };
        let progress = store.step_move(current, shared.clock.now());
        let counts = current.take_counts();
        rescues += counts.rescues + counts.chunk_rescues;
        match progress {
            Progress::Done => (job, moved) = (None, moved + 1),
            Progress::Waits if rng.u8(..20) != 0 => std::thread::yield_now(),
            Progress::More if rng.u16(..2000) != 0 => {}
            _ => job.take().into_iter().for_each(|job| store.cancel_move(job)),
        }
    }
    job.into_iter().for_each(|job| store.cancel_move(job));
    println!("{moved} pages moved, {rescues} rescues");
    assert!(moved > 0 && rescues > 0);
}

/// One round of the chores.
pub fn work(shared: &Shared, round: u32) {
    let store = shared.cache.store;
    for _ in 0..20 {
        store.grow_step(3);
    }
    sweep(store, shared.clock.now());
    shared.clock.advance(i64::from(round.is_multiple_of(50)));
    std::thread::yield_now();
}

/// The datagrams that answer one datagram, served in turns as by a worker.
pub fn answer(answerer: &mut Answerer<Session>, shared: &Shared, datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    let mut cx = Cx::new(shared, &shared.stats.workers[0], 7);
    answerer.space()[..datagram.len()].copy_from_slice(datagram);
    if answerer.begin(datagram.len(), &cx) {
        let mut end = TurnEnd::More;
        while end != TurnEnd::Done {
            let mut allowance = Allowance { commands: shared.settings.reqs_per_event, datagrams: 256 };
            end = answerer.turn(&mut cx, &mut allowance, |datagram| {
                answers.push(datagram.to_vec());
                SendOutcome::Yes
            });
            cx = Cx::new(shared, &shared.stats.workers[0], 7);
        }
    }
    answers
}

/// One connection.
pub struct Client {
    pub shared: Arc<Shared>,
    pub counters: Arc<Counters>,
    session: Session,
    input: Input,
    out: Output,
    /// Replies received and not yet examined.
    pub got: Vec<u8>,
    /// The session ended the connection.
    pub closed: bool,
    /// The reason of an orderly end.
    pub reason: Option<CloseReason>,
    /// Does not read its replies: they stay in the output, and nothing runs once it is full.
    pub deaf: bool,
    /// Bytes that a deaf client has sent and the server has not read.
    waiting: Vec<u8>,
}

impl Client {
    pub fn new(shared: &Arc<Shared>) -> Self {
        Self::of_worker(shared, 0)
    }

    /// A connection with its protocol set by the listener.
    pub fn speaking(shared: &Arc<Shared>, protocol: Protocol) -> Self {
        Self { session: Session::new(protocol), ..Self::new(shared) }
    }

    /// A connection of worker number `worker`; only one thread may write that worker's counters.
    pub fn of_worker(shared: &Arc<Shared>, worker: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            counters: Arc::clone(&shared.stats.workers[worker]),
            session: Session::new(Protocol::Negotiating),
            input: Input::default(),
            out: Output::default(),
            got: Vec::new(),
            closed: false,
            reason: None,
            deaf: false,
            waiting: Vec::new(),
        }
    }

    /// Starts a new session with the same buffers.
    pub fn restart(&mut self) {
        self.session = Session::new(Protocol::Negotiating);
        self.input.reset();
        self.out.clear();
        self.got.clear();
        self.closed = false;
        self.reason = None;
        self.deaf = false;
        self.waiting.clear();
    }

    /// One arrival of bytes; replies go to `got`.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.deaf && !self.out.is_empty() {
            self.waiting.extend_from_slice(bytes);
            return;
        }
        self.arrive(bytes);
        if !self.deaf {
            self.receive();
        }
    }

    /// Reads again, including all waiting replies.
    pub fn listen(&mut self) {
        self.deaf = false;
        self.receive();
        if !self.closed {
            self.run();
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.feed(&waiting);
    }

    /// Between two commands without unconsumed bytes: the next byte begins a command.
    pub fn is_idle(&self) -> bool {
        !self.closed && self.input.is_empty() && self.session.waiting_state() == ConnState::Read
    }

    /// One arrival of bytes; the last replies stay in the output.
    fn arrive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.closed {
            let n = match self.session.upload_target().filter(|target| !target.is_empty()) {
                Some(target) => {
                    let n = target.len().min(bytes.len());
                    target[..n].copy_from_slice(&bytes[..n]);
                    self.session.uploaded(n);
                    n
                }
                None => {
                    assert!(self.input.grow());
                    let space = self.input.space();
                    let n = space.len().min(bytes.len());
                    space[..n].copy_from_slice(&bytes[..n]);
                    self.input.filled(n);
                    n
                }
            };
            bytes = &bytes[n..];
            if !self.run() {
                self.waiting.extend_from_slice(bytes);
                return;
            }
        }
    }

    /// Runs the received bytes; false if unread replies block further commands.
    fn run(&mut self) -> bool {
        loop {
            let mut budget = self.shared.settings.reqs_per_event;
            let mut cx = Cx::new(&self.shared, &self.counters, 7);
            match self.session.run(&mut cx, &mut self.input, &mut self.out, &mut budget) {
                Step::Read => return true,
                Step::Yield if self.out.remaining() < 32 * 1024 => {}
                Step::Yield | Step::Flush if self.deaf => return false,
                Step::Yield | Step::Flush => self.receive(),
                Step::Suspend => {
                    self.session.take_check().expect("only logins suspend").run();
                    self.session.resume(&[], &mut self.out);
                }
                // A watcher ends at once.
                Step::HandOver => {
                    self.closed = true;
                    return true;
                }
                Step::Close(reason) => {
                    self.closed = true;
                    self.reason = Some(reason);
                    return true;
                }
                Step::Abort(_) => {
                    self.out.clear();
                    self.closed = true;
                    return true;
                }
            }
        }
    }

    fn receive(&mut self) {
        drain(&mut self.out, &mut self.got);
    }

    /// Sends a request; returns all its replies.
    pub fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.feed(request);
        std::mem::take(&mut self.got)
    }

    /// Sends a request and leaves its replies unread; replies to earlier requests must have been read.
    pub fn ask_and_hold(&mut self, request: &[u8]) -> Held {
        self.arrive(request);
        Held { before: std::mem::take(&mut self.got), out: std::mem::take(&mut self.out) }
    }
}

/// Replies that wait for a slow reader, large values pinned.
pub struct Held {
    before: Vec<u8>,
    out: Output,
}

impl Held {
    pub fn read(mut self) -> Vec<u8> {
        drain(&mut self.out, &mut self.before);
        self.before
    }
}

/// Writes all of `out` to `to`, in pieces that end anywhere.
fn drain(out: &mut Output, to: &mut Vec<u8>) {
    while !out.is_empty() {
        if let Some(bytes) = out.plain() {
            to.extend_from_slice(bytes);
            out.clear();
            return;
        }
        let mut slices = Vec::new();
        out.io_slices(&mut slices);
        let most = 1 + to.len() % 70_001 + slices[0].len();
        let mut taken = 0;
        for slice in slices {
            let n = slice.len().min(most - taken);
            to.extend_from_slice(&slice[..n]);
            taken += n;
        }
        assert!(taken > 0, "an output that is not empty has something to write");
        out.advance(taken);
    }
}
