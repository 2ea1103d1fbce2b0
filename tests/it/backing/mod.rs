//! What sessions and connections do with a backing: loads before changes, room for changes, replies after commits.
//!
//! The backing is a map that follows the store's changes as a durable copy does. Each of its loads, refusals and commits
//! comes when the test wants it to. The replies and counters of a server whose items only the backing holds must be
//! those of a server without a backing that holds the same items in memory.

mod commits;
mod loads;
mod room;

use crate::support::{Client, shared};
use oxcached::cache::{
    Admission, Backing, CommitNumber, CommitReport, Committed, Completion, Family, Key, Load, Storage,
};
use oxcached::clock::Expiry;
use oxcached::proto::{Completions, Cx, Input, Output, Protocol, Session, Shared, SlotName, Step};
use oxcached::store::{Change, ChangeOp, ChangeSink, Entry, Meta, Mode, iflag};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Worker 0 serves, worker 1 loads. A small cache, since a store is never freed.
const ARGS: &str = "-U 0 -t 2 -m 8";

/// An item of the backing.
#[derive(Clone, PartialEq, Debug)]
struct Row {
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    marks: u8,
}

impl Row {
    fn of(entry: &Entry) -> Self {
        let mut value = Vec::new();
        match entry.pin() {
            Some(pinned) => pinned.for_each_piece(|bytes| value.extend_from_slice(bytes)),
            None => entry.copy_value(&mut value),
        }
        let marks = entry.iflags() & (iflag::STALE | iflag::TOKEN);
        Self { value, flags: entry.flags(), cas: entry.cas(), marks }
    }
}

/// What the backing says of a change.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Answer {
    #[default]
    Granted,
    Full,
    Refused,
}

thread_local! {
    /// The thread has changed items since it last asked for the commit.
    static CHANGED: Cell<bool> = const { Cell::new(false) };
}

#[derive(Default)]
struct Shelf {
    rows: BTreeMap<Vec<u8>, Row>,
    /// Keys that have no item, although the backing loads them.
    phantoms: Vec<Vec<u8>>,
    loads: Vec<(Vec<u8>, Completion)>,
    answer: Answer,
    rooms: Vec<Completion>,
    /// Number of admissions asked for.
    asked: usize,
    replies_wait: bool,
    /// Number of the commit that gets the next change, and whether each change has one of its own.
    commit: u64,
    is_single: bool,
    ended: BTreeMap<u64, Committed>,
    reports: Vec<(u64, CommitReport)>,
    changes: usize,
}

/// A backing in the hands of a test.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Shelf>>);

impl Fake {
    /// A server over a backing.
    fn behind(args: &str) -> (Self, Arc<Shared>) {
        let (fake, shared) = (Self::default(), shared(args));
        shared.cache.put_behind(Box::new(fake.clone()));
        assert!(shared.cache.store.report_changes_to(Box::new(fake.clone())));
        (fake, shared)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap()
    }

    fn changed(&self) {
        CHANGED.set(true);
        self.shelf().changes += 1;
    }

    /// Ends the oldest load. The item comes into memory, unless there is none or memory loses it at once.
    fn end_load(&self, shared: &Shared, is_lost: bool) {
        let (key, completion) = self.shelf().loads.remove(0);
        let row = self.shelf().rows.get(&key).cloned();
        if let Some(row) = row.filter(|_| !is_lost) {
            put(shared, &key, &row);
        }
        drop(completion);
    }

    /// Ends a commit; changes go to the next one.
    fn end_commit(&self, commit: u64, outcome: Committed) {
        let mut shelf = self.shelf();
        shelf.ended.insert(commit, outcome);
        shelf.commit = shelf.commit.max(commit + 1);
        let (due, waiting) = std::mem::take(&mut shelf.reports).into_iter().partition(|(of, _)| *of == commit);
        shelf.reports = waiting;
        drop(shelf);
        let due: Vec<(u64, CommitReport)> = due;
        due.into_iter().for_each(|(_, report)| report(outcome));
    }
}

impl Backing for Fake {
    fn load(&self, key: &Key<'_>) -> Option<Load> {
        let (fake, key) = (self.clone(), key.bytes().to_vec());
        let is_there = self.shelf().rows.contains_key(&key) || self.shelf().phantoms.contains(&key);
        is_there.then(|| {
            Load::new(move |completion| {
                fake.shelf().loads.push((key, completion));
            })
        })
    }

    fn admit(&self) -> Admission {
        self.shelf().asked += 1;
        let answer = self.shelf().answer;
        let fake = self.clone();
        match answer {
            Answer::Granted => Admission::Granted,
            Answer::Refused => Admission::Refused,
            Answer::Full => Admission::Full(Load::new(move |completion| {
                fake.shelf().rooms.push(completion);
            })),
        }
    }

    fn replies_wait(&self) -> bool {
        self.shelf().replies_wait
    }

    fn take_commit(&self) -> Option<CommitNumber> {
        let mut shelf = self.shelf();
        let commit = (CHANGED.take() && shelf.replies_wait).then_some(CommitNumber(shelf.commit));
        shelf.commit += u64::from(commit.is_some() && shelf.is_single);
        commit
    }

    fn when_committed(&self, commit: CommitNumber, report: CommitReport) {
        let mut shelf = self.shelf();
        let ended = shelf.ended.get(&commit.0).copied();
        match ended {
            Some(outcome) => {
                drop(shelf);
                report(outcome);
            }
            None => shelf.reports.push((commit.0, report)),
        }
    }
}

impl ChangeSink for Fake {
    fn change(&self, change: &Change<'_>) {
        let key = change.key.bytes().to_vec();
        self.changed();
        match change.op {
            ChangeOp::Set | ChangeOp::Touch => _ = self.shelf().rows.insert(key, Row::of(change.item)),
            ChangeOp::Delete | ChangeOp::Reclaim(_) => _ = self.shelf().rows.remove(&key),
            ChangeOp::Evict => {}
        }
    }

    fn delete_absent(&self, key: &Key<'_>, _: u64) {
        self.changed();
        self.shelf().rows.remove(key.bytes());
    }

    fn flush(&self, _: u64) {
        self.changed();
        self.shelf().rows.clear();
    }
}

/// The items that a test begins with.
fn seeds() -> BTreeMap<Vec<u8>, Row> {
    let row = |value: &str, cas| Row { value: value.into(), flags: 7, cas, marks: 0 };
    [("far", row("there", 123)), ("ten", row("10", 124))].map(|(key, row)| (key.as_bytes().to_vec(), row)).into()
}

/// Sizes of the parts in which requests of `len` bytes arrive: at once, byte by byte, and some between.
fn sizes(len: usize) -> [usize; 3] {
    [len, 7, 1]
}

/// Stores an item without a session, as a load does. Its thread is worker 1.
fn put(shared: &Shared, key: &[u8], row: &Row) {
    let cx = Cx::new(shared, &shared.stats.workers[1], 0);
    let (verbs, key) = (cx.verbs(), Key::new(key).unwrap());
    let storage = Storage { chosen: Some(row.cas), ..Storage::new(Family::Meta, Mode::Set, 0) };
    let meta = Meta {
        klen: key.bytes().len(),
        vlen: row.value.len(),
        flags: row.flags,
        expiry: Expiry::Never,
        iflags: 0,
        cas: 0,
    };
    let mut reservation = verbs.reserve(&key, &meta, &storage).unwrap();
    reservation.write(&row.value).unwrap();
    verbs.commit(reservation, &key, &storage);
    CHANGED.set(false); // a load is no change
}

/// What a connection waited for.
#[derive(Clone, Copy)]
enum Ended {
    Slot(SlotName),
    Wait,
    Commit(CommitNumber, Committed),
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Ended>>>);

impl Events {
    fn take(&self) -> Option<Ended> {
        let mut ended = self.0.lock().unwrap();
        (!ended.is_empty()).then(|| ended.remove(0))
    }
}

impl Completions for Events {
    fn completion(&self, slot: SlotName) -> Completion {
        let events = self.clone();
        Completion::new(move || events.0.lock().unwrap().push(Ended::Slot(slot)))
    }
}

/// One connection without sockets, of worker 0.
struct Conn {
    shared: Arc<Shared>,
    session: Session,
    input: Input,
    out: Output,
    events: Events,
    is_suspended: bool,
    /// Received bytes that wait until the connection is no longer suspended.
    unread: Vec<u8>,
    got: Vec<u8>,
    /// The connection must be closed.
    is_broken: bool,
}

impl Conn {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            session: Session::new(Protocol::Negotiating),
            input: Input::default(),
            out: Output::default(),
            events: Events::default(),
            is_suspended: false,
            unread: Vec::new(),
            got: Vec::new(),
            is_broken: false,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        self.go_on();
        self.await_commit();
    }

    fn await_commit(&mut self) {
        let Some(commit) = self.out.next_commit() else { return };
        let events = self.events.clone();
        let report = move |outcome| events.0.lock().unwrap().push(Ended::Commit(commit, outcome));
        self.shared.cache.backing().unwrap().when_committed(commit, Box::new(report));
    }

    /// Runs what can run and takes the replies that can be sent.
    fn go_on(&mut self) {
        while !self.is_suspended {
            if self.input.is_empty() || !self.unread.is_empty() {
                self.input.append(&std::mem::take(&mut self.unread));
            }
            let mut cx = Cx::new(&self.shared, &self.shared.stats.workers[0], 7).with_slots(&self.events);
            let step = self.session.run(&mut cx, &mut self.input, &mut self.out, &mut 1000);
            self.send();
            match step {
                Step::Suspend => {
                    self.is_suspended = true;
                    let events = self.events.clone();
                    let load = self.session.take_load().unwrap();
                    load.then(Completion::new(move || events.0.lock().unwrap().push(Ended::Wait)));
                }
                Step::Yield => {}
                Step::Read if self.unread.is_empty() => return,
                Step::Read => {}
                Step::Flush if self.out.is_empty() => {}
                Step::Flush => return, // behind a slot
                step => panic!("{step:?}"),
            }
        }
    }

    fn send(&mut self) {
        while self.out.can_write() {
            let mut slices = Vec::new();
            self.out.io_slices(&mut slices);
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.out.advance(bytes.len());
            self.got.extend(bytes);
        }
    }

    /// Goes on with what no longer waits.
    fn resume(&mut self) {
        while let Some(ended) = self.events.take() {
            match ended {
                Ended::Slot(slot) => {
                    let mut cx = Cx::new(&self.shared, &self.shared.stats.workers[0], 7);
                    assert!(Session::complete(&mut cx, slot, &mut self.out));
                }
                Ended::Wait => {
                    self.is_suspended = false;
                    self.session.resume(&[], &mut self.out);
                }
                Ended::Commit(commit, outcome) => {
                    self.is_broken |= !Session::end_commit(commit, outcome, &mut self.out);
                    if self.is_broken {
                        return;
                    }
                }
            }
            self.send();
            self.go_on();
            self.await_commit();
        }
    }
}

/// The rows of `stats` that count commands, but for stores: a load is one.
fn counters(shared: &Arc<Shared>) -> String {
    let all = Client::of_worker(shared, 1).ask(b"stats\r\n");
    let counts = |line: &&str| {
        let name = line.split(' ').nth(1).unwrap_or_default();
        let counts = ["cmd_", "cas_", "get_", "incr_", "decr_", "touch_", "delete_"];
        name != "cmd_set" && counts.iter().any(|prefix| name.starts_with(prefix))
    };
    String::from_utf8_lossy(&all).lines().filter(counts).map(|line| format!("{line}\n")).collect()
}
