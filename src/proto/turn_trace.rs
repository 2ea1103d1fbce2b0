//! What a worker's turn did, and how long it took.
//!
//! Owns the clock reads of turns and commands. The end of a turn is the beginning of the next one of the same poll, so
//! a timed turn costs one clock read, and the first of a poll two; a command only notes its kind. With `latency=full`
//! the end of a command is the beginning of the next one of its run. Knows no sockets. Each worker has one: `net`
//! begins and ends turns, the session reports what ran. `stats` owns the histograms; `latest_records` keeps slow turns.

use super::raw_command::{RawCommand, RunOrigin};
use crate::settings::{LatencyMode, NO_THRESHOLD, Runtime};
use crate::stats::{CommandKind, Counter, Counters, TurnClass, WorkerLatency};
use crate::sys::monotonic;
use std::cell::{Cell, Ref, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;

/// The current turn of a worker.
pub struct TurnTrace {
    latency: Arc<WorkerLatency>,
    mode: Cell<LatencyMode>,
    /// Nanoseconds from which a turn is slow.
    slow: Cell<u64>,
    /// Beginning of the turn, or of the next one; 0 after work that belongs to no turn. Nanoseconds of
    /// [`monotonic::nanos`], as all times here.
    begun: Cell<u64>,
    /// Kind of the last command.
    kind: Cell<CommandKind>,
    commands: Cell<u32>,
    /// Bytes that the worker had read and written before the turn.
    moved: Cell<[u64; 2]>,
    /// Sender of the datagram that is answered.
    sender: Cell<Option<SocketAddr>>,
    first: RefCell<RawCommand>,
    timer: CommandTimer,
}

/// Times the commands of a turn, with `latency=full`.
#[derive(Default)]
struct CommandTimer {
    /// Beginning of the running command; 0 without one.
    begun: Cell<u64>,
    /// Nanoseconds that the running command took in earlier runs.
    earlier: Cell<u64>,
    running: RefCell<RawCommand>,
    /// The longest command of the turn, and its nanoseconds.
    longest: RefCell<RawCommand>,
    nanos: Cell<u64>,
}

/// A turn that has ended.
pub(super) struct EndedTurn<'a> {
    pub class: TurnClass,
    pub commands: u32,
    /// Bytes read and written.
    pub moved: [u64; 2],
    pub first: Ref<'a, RawCommand>,
    /// The longest command and its nanoseconds.
    pub longest: Option<(u64, Ref<'a, RawCommand>)>,
}

impl TurnTrace {
    /// A trace that has begun no turn, for a worker's histograms.
    pub fn new(latency: Arc<WorkerLatency>) -> Self {
        Self {
            latency,
            mode: Cell::new(LatencyMode::Off),
            slow: Cell::new(u64::MAX),
            begun: Cell::new(0),
            kind: Cell::new(CommandKind::Other),
            commands: Cell::new(0),
            moved: Cell::new([0; 2]),
            sender: Cell::new(None),
            first: RefCell::default(),
            timer: CommandTimer::default(),
        }
    }

    /// Reads the settings; the next turn begins with a clock read. Called after each poll.
    #[inline]
    pub fn follow(&self, runtime: &Runtime) {
        self.mode.set(runtime.latency_mode());
        self.slow.set(match runtime.slow_threshold() {
            NO_THRESHOLD => u64::MAX,
            micros => micros * 1000,
        });
        self.pause();
    }

    /// Whether turns are timed.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.mode.get() != LatencyMode::Off
    }

    /// Whether commands are timed.
    #[inline]
    pub(super) fn times_commands(&self) -> bool {
        self.mode.get() == LatencyMode::Full
    }

    /// Lets the next turn begin with a clock read: what the worker has done since the last one belongs to no turn.
    #[inline]
    pub fn pause(&self) {
        self.begun.set(0);
    }

    /// Beginning of the turn, in [`monotonic::nanos`]; 0 unless it is timed.
    #[inline]
    pub fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// Begins a turn.
    #[inline]
    pub fn begin_turn(&self, counters: &Counters) {
        if self.begun.get() == 0 {
            self.begun.set(monotonic::nanos());
        }
        self.kind.set(CommandKind::Other);
        self.commands.set(0);
        self.moved.set(moved(counters));
        self.first.borrow_mut().clear();
        self.timer.nanos.set(0);
    }

    /// Ends and records a turn; returns its nanoseconds if it was slow.
    #[inline]
    pub fn end_turn(&self) -> Option<u64> {
        let (begun, now) = (self.begun.get(), monotonic::nanos());
        if begun == 0 {
            return None;
        }
        let nanos = now - begun;
        self.begun.set(now);
        let commands = self.commands.get();
        self.latency.turn(TurnClass::of(self.kind.get(), commands), nanos, commands);
        (nanos >= self.slow.get()).then_some(nanos)
    }

    /// The turn that has ended.
    pub(super) fn ended(&self, counters: &Counters) -> EndedTurn<'_> {
        let ([read, written], [read_before, written_before]) = (moved(counters), self.moved.get());
        let nanos = self.timer.nanos.get();
        EndedTurn {
            class: TurnClass::of(self.kind.get(), self.commands.get()),
            commands: self.commands.get(),
            moved: [read - read_before, written - written_before],
            first: self.first.borrow(),
            longest: (nanos > 0).then(|| (nanos, self.timer.longest.borrow())),
        }
    }

    /// Sender of the datagram that is answered.
    pub(super) fn sender(&self) -> Option<SocketAddr> {
        self.sender.get()
    }

    /// Sets the sender of the datagram that is answered; `None` after a turn of a datagram socket.
    #[inline]
    pub fn set_sender(&self, sender: Option<SocketAddr>) {
        self.sender.set(sender);
    }

    /// Begins a run of a session whose bytes belong to `origin`. `unfinished` is the time in nanoseconds that an
    /// unfinished command, which it continues, has taken.
    #[inline]
    pub(super) fn begin_run(&self, origin: RunOrigin<'_>, unfinished: Option<u32>) {
        let mut first = self.first.borrow_mut();
        if self.slow.get() != u64::MAX && self.commands.get() == 0 && first.is_empty() {
            first.set(origin);
        }
        if self.times_commands() {
            self.timer.begin(unfinished.map(|nanos| (nanos, origin)));
        }
    }

    /// While commands are timed: the last command, of kind `ended`, ends, and one that begins with `bytes` begins.
    #[cold]
    pub(super) fn next_command(&self, ended: CommandKind, bytes: &[u8]) {
        let now = monotonic::nanos();
        self.timer.end(now, ended, &self.latency);
        self.timer.earlier.set(0);
        self.timer.begun.set(now);
        self.timer.running.borrow_mut().set(RunOrigin::Request(bytes));
    }

    /// Ends a run of `commands` commands, the last one of kind `kind`. Returns the nanoseconds that this command has
    /// taken if it is unfinished.
    #[inline]
    pub(super) fn end_run(&self, kind: CommandKind, commands: u32, is_unfinished: bool) -> u32 {
        if commands > 0 || kind != CommandKind::Other {
            self.kind.set(kind);
            self.commands.set(self.commands.get() + commands);
        }
        if self.times_commands() { self.timer.end_run(kind, is_unfinished, &self.latency) } else { 0 }
    }
}

impl CommandTimer {
    /// Begins a run, with an unfinished command or between commands.
    #[cold]
    fn begin(&self, unfinished: Option<(u32, RunOrigin<'_>)>) {
        self.begun.set(unfinished.map_or(0, |_| monotonic::nanos()));
        if let Some((nanos, origin)) = unfinished {
            self.earlier.set(nanos.into());
            self.running.borrow_mut().set(origin);
        }
    }

    #[cold]
    fn end_run(&self, kind: CommandKind, is_unfinished: bool, latency: &WorkerLatency) -> u32 {
        let now = monotonic::nanos();
        if !is_unfinished {
            self.end(now, kind, latency);
        }
        let begun = self.begun.take();
        let taken = if begun == 0 { 0 } else { self.earlier.get() + now - begun };
        u32::try_from(taken).unwrap_or(u32::MAX)
    }

    /// Records the running command, if there is one.
    fn end(&self, now: u64, kind: CommandKind, latency: &WorkerLatency) {
        let begun = self.begun.take();
        if begun == 0 {
            return;
        }
        let nanos = self.earlier.get() + now - begun;
        latency.command(kind, nanos);
        if nanos > self.nanos.get() {
            self.nanos.set(nanos);
            self.running.swap(&self.longest);
        }
    }
}

fn moved(counters: &Counters) -> [u64; 2] {
    [Counter::BytesRead, Counter::BytesWritten].map(|counter| counters.get(counter))
}
