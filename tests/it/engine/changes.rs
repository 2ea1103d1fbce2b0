//! Changes reported to a sink: which ones each verb makes, and that their order is the order of the mutations.
//!
//! In the test with threads, every thread changes the same keys by all verbs, while items are evicted, expire and are
//! flushed, pages move and the index grows. The sink records each change with the verb that made it. Replayed, every
//! change must follow from the one before it (a sum from its number, a joined value from its parts), every removed item
//! must be as the changes before left it, and the last state must be that of the store. `CHANGES_SEED` repeats the
//! choices, if not the timing.

use crate::binary::packet::{arith, req, store};
use crate::support::{self, Client, move_pages, sweep, work};
use oxcached::proto::{Protocol, Shared};
use oxcached::settings::Settings;
use oxcached::store::{Change, ChangeOp, ChangeSink, Dead, Entry, Key, Lookup, iflag};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};

/// What a client can see of an item.
#[derive(Clone, PartialEq, Debug)]
struct Row {
    value: Vec<u8>,
    flags: u32,
    exptime: u32,
    cas: u64,
    marks: u8,
}

impl Row {
    fn of(entry: &Entry, now: u32) -> Self {
        let mut value = Vec::new();
        match entry.pin() {
            Some(pinned) => pinned.for_each_piece(|bytes| value.extend_from_slice(bytes)),
            None => entry.copy_value(&mut value),
        }
        let marks = entry.iflags() & (iflag::STALE | iflag::TOKEN);
        Self { value, flags: entry.flags(), exptime: entry.exptime(now), cas: entry.cas(), marks }
    }
}

/// The verb that a thread is running.
#[derive(Clone, PartialEq, Debug)]
enum Verb {
    Any,
    Add,
    Replace,
    Append(Vec<u8>),
    Prepend(Vec<u8>),
    Cas(u64),
    Incr(u64),
    Touch,
    Mark,
}

thread_local! {
    static VERB: RefCell<Verb> = const { RefCell::new(Verb::Any) };
}

/// A reported change.
struct Record {
    seq: u64,
    key: Vec<u8>,
    op: ChangeOp,
    row: Row,
    verb: Verb,
    now: u32,
}

#[derive(Default)]
struct Recorded {
    changes: Vec<Record>,
    flushes: Vec<u64>,
}

/// Records all changes of a server's store.
struct Recorder {
    shared: Arc<Shared>,
    recorded: Arc<Mutex<Recorded>>,
}

impl ChangeSink for Recorder {
    fn change(&self, change: &Change<'_>) {
        let now = self.shared.clock.now();
        let record = Record {
            seq: change.seq,
            key: change.key.bytes().to_vec(),
            op: change.op,
            row: Row::of(change.item, now),
            verb: VERB.with_borrow(Verb::clone),
            now,
        };
        assert!(change.key.hash() == Key::new(&record.key).unwrap().hash());
        self.recorded.lock().unwrap().changes.push(record);
    }

    fn delete_absent(&self, _: &Key<'_>, _: u64) {
        panic!("without a backing no deletion is reported of a key without item");
    }

    fn flush(&self, seq: u64) {
        self.recorded.lock().unwrap().flushes.push(seq);
    }
}

fn record(shared: &Arc<Shared>) -> Arc<Mutex<Recorded>> {
    let recorded = Arc::<Mutex<Recorded>>::default();
    let sink = Recorder { shared: Arc::clone(shared), recorded: Arc::clone(&recorded) };
    assert!(shared.cache.store.report_changes_to(Box::new(sink)));
    recorded
}

/// The changes recorded since the last call, as `Op key value`, with flushes where their numbers put them.
fn changes(recorded: &Mutex<Recorded>) -> String {
    let Recorded { changes, flushes } = std::mem::take(&mut *recorded.lock().unwrap());
    let mut lines: Vec<(u64, String)> = flushes.into_iter().map(|seq| (seq, "Flush".to_owned())).collect();
    lines.extend(changes.iter().map(|Record { seq, key, op, row, .. }| {
        let [key, value] = [key, &row.value].map(|bytes| String::from_utf8_lossy(bytes));
        let marks = match row.marks {
            0 => "",
            iflag::STALE => " stale",
            iflag::TOKEN => " token",
            _ => " stale token",
        };
        (*seq, format!("{op:?} {key} {}{marks}", &value[..value.len().min(8)]))
    }));
    lines.sort_by_key(|(seq, _)| *seq);
    lines.into_iter().map(|(_, line)| line.trim_end().replace("  ", " ")).collect::<Vec<_>>().join(", ")
}

#[test]
fn each_verb_reports_its_changes() {
    let shared = support::shared("-m 64");
    let recorded = record(&shared);
    let mut client = Client::new(&shared);
    let large = "v".repeat(5000);
    let large_item = format!("set k 0 0 5000\r\n{large}\r\n");
    let large_number = format!("set k 0 0 5000\r\n7{}\r\n", " ".repeat(4999));
    let too_large = 2 << 20;
    let item = "ms k 2 E100 T1000\r\n10\r\n";
    let soon = "set k 0 1 1\r\na\r\n";
    for (before, request, expected) in [
        ("", "set k 0 0 1\r\na\r\n", "Set k a"),
        (item, "set k 0 0 1\r\na\r\n", "Set k a"),
        (item, &format!("set k 0 0 5000\r\n{large}\r\n"), "Set k vvvvvvvv"),
        (item, "set k 0 -1 1\r\na\r\n", "Set k a"),
        (item, &format!("set k 0 0 {too_large}\r\n{}\r\n", "v".repeat(too_large)), "Delete k 10"),
        (item, &format!("add k 0 0 {too_large}\r\n{}\r\n", "v".repeat(too_large)), ""),
        (item, &format!("ms k {too_large} MR\r\n{}\r\n", "v".repeat(too_large)), "Delete k 10"),
        ("", "add k 0 0 1\r\na\r\n", "Set k a"),
        (item, "add k 0 0 1\r\na\r\n", ""),
        ("", "replace k 0 0 1\r\na\r\n", ""),
        (item, "replace k 0 0 1\r\na\r\n", "Set k a"),
        (item, "append k 0 0 1\r\na\r\n", "Set k 10a"),
        (item, "prepend k 0 0 1\r\na\r\n", "Set k a10"),
        ("", "append k 0 0 1\r\na\r\n", ""),
        ("", "ms k 1 MA N30\r\na\r\n", "Set k a"),
        (item, "cas k 0 0 1 100\r\na\r\n", "Set k a"),
        (item, "cas k 0 0 1 99\r\na\r\n", ""),
        (item, "ms k 1 C99 I\r\na\r\n", "Set k a stale"),
        ("", "cas k 0 0 1 99\r\na\r\n", ""),
        (item, "incr k 5\r\n", "Set k 15"),
        (item, "decr k 5\r\n", "Set k 5"),
        (item, "incr k 90\r\n", "Set k 100"),
        ("set k 0 0 1\r\na\r\n", "incr k 1\r\n", ""),
        ("", "incr k 1\r\n", ""),
        ("", "ma k N30 J7\r\n", "Set k 7"),
        (item, "ma k T50 E200\r\n", "Set k 11"),
        (item, "touch k 50\r\n", "Touch k 10"),
        ("set k 0 0 1\r\na\r\n", "touch k 2000000000\r\n", "Touch k a"), // another layout
        (item, "gat 50 k\r\n", "Touch k 10"),
        ("", "touch k 50\r\n", ""),
        (item, "mg k T50 v\r\n", "Touch k 10"),
        (item, "get k nokey\r\n", ""),
        (item, "mg k v f t c s h l\r\n", ""),
        (item, "me k\r\n", ""),
        (item, "mg k R2000 v\r\n", "Touch k 10 token"),
        (item, "md k I T50\r\n", "Set k 10 stale"),
        (item, "md k I\r\nmg k v\r\nmg k v\r\n", "Set k 10 stale, Touch k 10 stale token"),
        ("", "mg k N30 v\r\n", "Set k token"),
        ("", "mg k N30 T50 E200 v\r\n", "Set k token"),
        (item, "mg k N30 v\r\n", ""),
        (item, "gats 50 nokey k\r\n", "Touch k 10"),
        (item, "ma k C100 q\r\n", "Set k 11"),
        (item, "ma k C99\r\n", ""),
        (item, "ma k MD D50 T50\r\n", "Set k 0"),
        (item, "md k x I T50 E300\r\n", "Set k stale"),
        (item, "md k q C100\r\n", "Delete k 10"),
        ("", "md k I\r\n", ""),
        (&large_item, "append k 0 0 1\r\na\r\n", "Set k vvvvvvvv"),
        (&large_item, "touch k 50\r\n", "Touch k vvvvvvvv"),
        (&large_item, "md k I T50\r\n", "Set k vvvvvvvv stale"),
        (&large_item, "mg k T50 s\r\n", "Touch k vvvvvvvv"),
        (&large_item, "md k\r\n", "Delete k vvvvvvvv"),
        (&large_number, "incr k 1\r\n", "Set k 8"),
        (&large_number, "ma k T50\r\n", "Set k 8"),
        (item, "md k x\r\n", "Set k"),
        (item, "md k\r\n", "Delete k 10"),
        (item, "md k C99\r\n", ""),
        (item, "delete k\r\n", "Delete k 10"),
        ("", "delete k\r\n", ""),
        (item, "flush_all\r\n", "Flush"),
        (item, "flush_all\r\nget k\r\n", "Flush, Reclaim(Flushed) k 10"),
        (item, "flush_all\r\nset k 0 0 1\r\na\r\n", "Flush, Set k a"),
        (item, "flush_all\r\nadd k 0 0 1\r\na\r\n", "Flush, Set k a"),
        (item, "flush_all\r\nreplace k 0 0 1\r\na\r\n", "Flush, Reclaim(Flushed) k 10"),
        (item, "flush_all 2\r\n", ""),
        (item, "flush_all 2\r\n+3get k\r\n", "Flush, Reclaim(Flushed) k 10"),
        (soon, "+2get k\r\n", "Reclaim(Expired) k a"),
        (soon, "+2sweep", "Reclaim(Expired) k a"),
        (soon, "+2set k 0 0 1\r\nb\r\n", "Set k b"),
        (soon, "+2append k 0 0 1\r\nb\r\n", "Reclaim(Expired) k a"),
        (soon, "+2cas k 0 0 1 5\r\nb\r\n", "Reclaim(Expired) k a"),
    ] {
        client.ask(b"delete k\r\n");
        client.ask(before.as_bytes());
        drop(changes(&recorded));
        for (n, part) in request.split('+').enumerate() {
            let mut part = part;
            if n > 0 {
                shared.clock.advance(part[..1].parse().unwrap());
                part = &part[1..];
            }
            match part {
                "sweep" => sweep(shared.cache.store, shared.clock.now()),
                _ => drop(client.ask(part.as_bytes())),
            }
        }
        assert_eq!(changes(&recorded), expected, "{before:?} {:?}", &request[..request.len().min(50)]);
    }
}

#[test]
fn each_packet_reports_its_changes() {
    let shared = support::shared("-m 64");
    let recorded = record(&shared);
    let mut client = Client::speaking(&shared, Protocol::Binary);
    let item = store(0x01, "k", 0, 0, "10");
    let value = |opcode: u8| req(opcode).key("k").value("a");
    let exptime = |opcode: u8| req(opcode).u32(50).key("k");
    let before = || Some(&item);
    for (before, packet, expected) in [
        (None, store(0x01, "k", 0, 0, "a"), "Set k a"),
        (before(), store(0x11, "k", 0, 0, "a"), "Set k a"),
        (before(), store(0x01, "k", 0, 0, "a").cas(1), ""),
        (before(), store(0x01, "k", 0, 0, "a".repeat(2 << 20).as_str()), "Delete k 10"),
        (None, store(0x02, "k", 0, 0, "a"), "Set k a"),
        (before(), store(0x12, "k", 0, 0, "a"), ""),
        (before(), store(0x03, "k", 0, 0, "a"), "Set k a"),
        (None, store(0x13, "k", 0, 0, "a"), ""),
        (before(), value(0x0e), "Set k 10a"),
        (before(), value(0x0f), "Set k a10"),
        (before(), value(0x19), "Set k 10a"),
        (before(), value(0x1a), "Set k a10"),
        (None, value(0x0e), ""),
        (before(), req(0x04).key("k"), "Delete k 10"),
        (before(), req(0x14).key("k"), "Delete k 10"),
        (before(), req(0x04).key("k").cas(1), ""),
        (None, req(0x04).key("k"), ""),
        (before(), arith(0x05, "k", 5, 0, 0), "Set k 15"),
        (before(), arith(0x16, "k", 5, 0, 0), "Set k 5"),
        (before(), arith(0x15, "k", 990, 0, 0), "Set k 1000"),
        (None, arith(0x05, "k", 5, 7, 30), "Set k 7"),
        (None, arith(0x05, "k", 5, 7, u32::MAX), ""),
        (before(), exptime(0x1c), "Touch k 10"),
        (before(), exptime(0x1d), "Touch k 10"),
        (before(), exptime(0x1e), "Touch k 10"),
        (before(), exptime(0x23), "Touch k 10"),
        (None, exptime(0x1c), ""),
        (before(), req(0x00).key("k"), ""),
        (before(), req(0x08), "Flush"),
        (before(), req(0x18), "Flush"),
    ] {
        client.ask(&req(0x04).key("k").bytes());
        if let Some(before) = before {
            client.ask(&before.bytes());
        }
        drop(changes(&recorded));
        packet.bytes().chunks(8192).for_each(|part| drop(client.ask(part)));
        assert_eq!(changes(&recorded), expected, "opcode {:#x}", packet.bytes()[1]);
    }
}

#[test]
fn a_refusal_for_lack_of_memory_reports_what_it_removes() {
    const REFUSED: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";
    let shared = support::shared("-m 2 -M");
    let recorded = record(&shared);
    let mut client = Client::new(&shared);
    let [small, large] = [900, 9000].map(|len| "v".repeat(len));
    for (prefix, value) in [("k", &small), ("l", &large)] {
        let set = |n| format!("set {prefix}{n} 0 0 {}\r\n{value}\r\n", value.len());
        let stored = (0..).find(|&n: &usize| client.ask(set(n).as_bytes()) == REFUSED).unwrap();
        assert!(stored > 3);
    }
    drop(changes(&recorded));
    for (request, expected) in [
        ("set k1 0 0 9000", "Delete k1 vvvvvvvv"),
        ("add k2 0 0 9000", ""),
        ("replace k2 0 0 9000", ""),
        ("ms k2 9000 MR", "Delete k2 vvvvvvvv"),
        ("ms k3 9000 ME", "Delete k3 vvvvvvvv"),
        ("set nokey 0 0 9000", ""),
    ] {
        assert_eq!(client.ask(format!("{request}\r\n{large}\r\n").as_bytes()), REFUSED, "{request}");
        assert_eq!(changes(&recorded), expected, "{request}");
    }
}

#[test]
fn evictions_are_reported_and_moves_are_not() {
    let shared = support::shared("-m 2 -o no_slab_automove");
    let recorded = record(&shared);
    let mut client = Client::new(&shared);
    let value = "v".repeat(900);
    let evicted = || shared.cache.store.classes(0).iter().map(|view| view.counts.evicted).sum::<u64>();
    for n in 0.. {
        client.ask(format!("set k{n} 0 0 900\r\n{value}\r\n").as_bytes());
        if evicted() >= 100 {
            break;
        }
    }
    let ops: Vec<ChangeOp> = recorded.lock().unwrap().changes.iter().map(|change| change.op).collect();
    let count = |op| ops.iter().filter(|&&other| other == op).count() as u64;
    assert_eq!(count(ChangeOp::Evict), evicted());
    assert_eq!(count(ChangeOp::Set), shared.cache.store.items() + evicted());
    assert_eq!(ops.len() as u64, count(ChangeOp::Set) + evicted());

    let shared = support::shared("-m 64");
    let recorded = record(&shared);
    let mut client = Client::new(&shared);
    for n in 0..3000 {
        client.ask(format!("set k{n} 0 0 900\r\n{value}\r\n").as_bytes());
    }
    let store = shared.cache.store;
    let src = (1..=store.sizes().largest()).find(|&class| store.page_count(class) > 1).unwrap();
    drop(changes(&recorded));
    let mut job = store.begin_move(src, 0).unwrap();
    while store.step_move(&mut job, shared.clock.now()) != oxcached::store::Progress::Done {}
    assert!(job.take_counts().rescues > 0);
    assert_eq!(changes(&recorded), "");
}

const THREADS: usize = 4;
const KEYS: u32 = 8;
const STEPS: u32 = 20_000;

struct Worker {
    client: Client,
    rng: fastrand::Rng,
    fillers: u32,
}

impl Worker {
    fn value(&mut self) -> Vec<u8> {
        let len = match self.rng.u8(..100) {
            0..90 => self.rng.usize(..60),
            90..97 => self.rng.usize(60..1000),
            97..99 => 5000,
            _ => 40_000, // a chain
        };
        std::iter::repeat_with(|| self.rng.alphabetic() as u8).take(len).collect()
    }

    /// Sends a request as `verb`; the reply.
    fn ask(&mut self, verb: Verb, line: &str, value: &[u8]) -> Vec<u8> {
        VERB.set(verb);
        let mut request = line.as_bytes().to_vec();
        request.extend_from_slice(b"\r\n");
        if line
            .split(' ')
            .next()
            .is_some_and(|word| ["set", "add", "replace", "append", "prepend", "cas", "ms"].contains(&word))
        {
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
        let reply = self.client.ask(&request);
        VERB.set(Verb::Any);
        reply
    }

    fn step(&mut self) {
        let (key, value) = (self.rng.u32(..KEYS), self.value());
        let (len, ttl) = (value.len(), [0, 0, 1, 2, 100][self.rng.usize(..5)]);
        let touched = if self.rng.bool() { ttl } else { 2_000_000_000 };
        let number = self.rng.u64(1..1000);
        if self.rng.u16(..1000) == 0 {
            self.client.shared.clock.advance(1);
        }
        match self.rng.u8(..100) {
            0..8 => self.ask(Verb::Any, &format!("set k{key} 7 {ttl} {len}"), &value),
            8..14 => self.ask(Verb::Any, &format!("ms k{key} {len} T{ttl} F3"), &value),
            14..20 => self.ask(Verb::Add, &format!("add k{key} 0 {ttl} {len}"), &value),
            20..24 => self.ask(Verb::Replace, &format!("replace k{key} 0 {ttl} {len}"), &value),
            24..30 if len < 100 => self.ask(Verb::Append(value.clone()), &format!("append k{key} 0 0 {len}"), &value),
            30..36 if len < 100 => self.ask(Verb::Prepend(value.clone()), &format!("prepend k{key} 0 0 {len}"), &value),
            36..44 => {
                let reply = self.ask(Verb::Any, &format!("mg k{key} c"), b"");
                let reply = String::from_utf8(reply).unwrap();
                let Some(id) = reply.strip_prefix("HD c").and_then(|rest| rest.split_whitespace().next()) else {
                    return;
                };
                let id = id.parse().unwrap();
                self.ask(Verb::Cas(id), &format!("cas k{key} 0 {ttl} {len} {id}"), &value)
            }
            44..48 => self.ask(Verb::Any, &format!("set n{key} 0 {ttl} 3"), b"100"),
            48..62 => self.ask(Verb::Incr(number), &format!("incr n{key} {number}"), b""),
            62..68 => self.ask(Verb::Touch, &format!("touch k{key} {}", touched), b""),
            68..72 => self.ask(Verb::Touch, &format!("mg n{key} T{ttl} R30 v"), b""),
            72..74 => self.ask(Verb::Mark, &format!("md k{key} I T100"), b""),
            74..76 => self.ask(Verb::Any, &format!("mg k{key} N30 v"), b""),
            76..80 => self.ask(Verb::Any, &format!("delete k{key}"), b""),
            80 => self.ask(Verb::Any, &format!("md k{key} x"), b""),
            81 if self.rng.u8(..25) == 0 => self.ask(Verb::Any, "flush_all", b""),
            _ => {
                self.fillers += 1;
                let key = format!("filler{}-{:?}", self.fillers, std::thread::current().id()).replace(['(', ')'], "");
                self.ask(Verb::Any, &format!("set {key} 0 0 2000"), &[b'f'; 2000])
            }
        };
    }
}

/// Replays the changes of one key: each must follow from the state before. Returns the last state, with the number of
/// the change that made it.
fn replay<'a>(changes: &[&'a Record], flushes: &BTreeSet<u64>) -> Option<(u64, &'a Row)> {
    let mut state: Option<(u64, &Row)> = None;
    for (n, change) in changes.iter().enumerate() {
        let Record { seq, op, row, verb, now, .. } = *change;
        let about = || format!("change {n}: {op:?} by {verb:?} at {seq} of {}", String::from_utf8_lossy(&change.key));
        let is_flushed = |since| flushes.range(since..*seq).next().is_some();
        // A change of an item that a flush overtakes is undone by the next one.
        let is_undone = || changes.get(n + 1).is_some_and(|next| next.op == ChangeOp::Reclaim(Dead::Flushed));
        let before = |why: &str| {
            let (since, row) = state.unwrap_or_else(|| panic!("{}: {why} without an item", about()));
            assert!(!is_flushed(since) || is_undone(), "{}: {why} with a flushed item", about());
            row
        };
        match (op, verb) {
            (ChangeOp::Set, Verb::Any) => {}
            (ChangeOp::Set, Verb::Add) => {
                let is_dead = |(since, old): (u64, &Row)| is_flushed(since) || (1..=*now).contains(&old.exptime);
                assert!(state.is_none_or(is_dead), "{}: a live item", about());
            }
            (ChangeOp::Set, Verb::Replace) => drop(before("replaced")),
            (ChangeOp::Set, Verb::Append(more)) => {
                assert!(row.value == [&before("appended").value[..], more].concat(), "{}", about());
            }
            (ChangeOp::Set, Verb::Prepend(more)) => {
                assert!(row.value == [more, &before("prepended").value[..]].concat(), "{}", about());
            }
            (ChangeOp::Set, Verb::Cas(id)) => assert_eq!(before("compared").cas, *id, "{}", about()),
            (ChangeOp::Set, Verb::Incr(more)) => {
                let [old, new] = [before("added"), row].map(|row| String::from_utf8_lossy(&row.value).into_owned());
                let [old, new] = [old, new].map(|text| text.trim_end().parse::<u64>().unwrap());
                assert_eq!(new, old + more, "{}", about());
            }
            (ChangeOp::Set, Verb::Mark) => {
                let old = before("marked");
                assert_eq!((&row.value, row.flags, row.marks), (&old.value, old.flags, iflag::STALE), "{}", about());
            }
            (ChangeOp::Touch, _) => {
                let Row { exptime, marks, .. } = *row;
                assert!(*row == Row { exptime, marks, ..before("touched").clone() }, "{}", about());
            }
            (ChangeOp::Delete | ChangeOp::Evict | ChangeOp::Reclaim(_), _) => {
                let (since, old) = state.unwrap_or_else(|| panic!("{}: nothing to remove", about()));
                assert!(row == old, "{}: not the item that the changes before have left", about());
                match op {
                    ChangeOp::Reclaim(Dead::Expired) => assert!((1..=*now).contains(&old.exptime), "{}", about()),
                    ChangeOp::Reclaim(Dead::Flushed) => assert!(flushes.range(since..).next().is_some(), "{}", about()),
                    _ => {}
                }
            }
            (ChangeOp::Set, Verb::Touch) => panic!("{}", about()),
        }
        state = matches!(op, ChangeOp::Set | ChangeOp::Touch).then_some((*seq, row));
    }
    state
}

#[test]
fn the_order_of_changes_is_that_of_the_mutations() {
    let seed =
        std::env::var("CHANGES_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("CHANGES_SEED={seed}");
    let settings = support::settings("-m 16 -f 2 -o slab_chunk_max=16");
    let shared = support::shared_with(Settings { num_threads: THREADS as u32, hashpower_init: 1, ..settings });
    let recorded = record(&shared);
    let (done, start) = (AtomicBool::new(false), Barrier::new(THREADS + 2));
    std::thread::scope(|scope| {
        let (shared, done, start) = (&shared, &done, &start);
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let rng = fastrand::Rng::with_seed(seed ^ number as u64);
                let mut worker = Worker { client: Client::of_worker(shared, number), rng, fillers: 0 };
                scope.spawn(move || {
                    start.wait();
                    (0..STEPS).for_each(|_| worker.step());
                })
            })
            .collect();
        scope.spawn(move || {
            start.wait();
            (0..).take_while(|_| !done.load(Relaxed)).for_each(|round| work(shared, round));
        });
        scope.spawn(move || {
            start.wait();
            move_pages(shared, fastrand::Rng::with_seed(seed), done);
        });
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    let (store, now) = (shared.cache.store, shared.clock.now());
    sweep(store, now);
    let Recorded { changes, flushes } = std::mem::take(&mut *recorded.lock().unwrap());
    let flushes: BTreeSet<u64> = flushes.into_iter().collect();
    let mut by_key: BTreeMap<&[u8], Vec<&Record>> = BTreeMap::new();
    let mut counts: HashMap<String, u32> = HashMap::new();
    for change in &changes {
        by_key.entry(&change.key).or_default().push(change);
        *counts.entry(format!("{:?}", change.op)).or_default() += 1;
    }
    println!("{counts:?}, {} flushes", flushes.len());
    let seqs: BTreeSet<u64> = changes.iter().map(|change| change.seq).collect();
    assert_eq!((seqs.len(), seqs.intersection(&flushes).count()), (changes.len(), 0), "numbers are unique");
    let mut live = 0;
    for (name, changes) in by_key {
        assert!(changes.is_sorted_by_key(|change| change.seq), "reported out of order");
        let last = replay(&changes, &flushes);
        let expected =
            last.filter(|(seq, row)| flushes.range(seq..).next().is_none() && (row.exptime == 0 || row.exptime > now));
        let found = match store.visit(&Key::new(name).unwrap(), now, |entry| Row::of(entry, now)) {
            Lookup::Hit(row) => Some(row),
            _ => None,
        };
        live += u64::from(found.is_some());
        assert!(found.as_ref() == expected.map(|(_, row)| row), "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(store.items(), live, "items without a change");
    for op in ["Set", "Touch", "Delete", "Evict", "Reclaim(Expired)", "Reclaim(Flushed)"] {
        assert!(counts.contains_key(op), "no {op}");
    }
}

/// Flushes within the next reported change, as another thread may while the key's bucket is locked.
struct Flusher {
    shared: Arc<Shared>,
    is_next: Arc<AtomicBool>,
}

impl ChangeSink for Flusher {
    fn change(&self, _: &Change<'_>) {
        if self.is_next.swap(false, Relaxed) {
            let now = self.shared.clock.now();
            self.shared.cache.store.flush(now - 1, now);
        }
    }

    fn delete_absent(&self, _: &Key<'_>, _: u64) {}

    fn flush(&self, _: u64) {}
}

#[test]
fn a_change_that_a_flush_overtakes_is_undone() {
    for (before, request, reply) in [
        ("", "set k 0 0 1\r\n8\r\n", "STORED\r\n"),
        ("", "ms k 1 E70000000000000\r\n8\r\n", "HD\r\n"),
        ("set k 0 0 1\r\n7\r\n", "set k 0 0 1\r\n8\r\n", "STORED\r\n"),
        ("set k 0 0 1\r\n7\r\n", "append k 0 0 1\r\n8\r\n", "STORED\r\n"),
        ("set k 0 0 1\r\n7\r\n", "incr k 1\r\n", "8\r\n"),
        ("set k 0 0 1\r\n7\r\n", "incr k 1000\r\n", "1007\r\n"),
        ("set k 0 0 1\r\n7\r\n", "md k I\r\n", "HD\r\n"),
    ] {
        let shared = support::shared("-m 8");
        let is_next = Arc::new(AtomicBool::new(false));
        let sink = Flusher { shared: Arc::clone(&shared), is_next: Arc::clone(&is_next) };
        assert!(shared.cache.store.report_changes_to(Box::new(sink)));
        let mut client = Client::new(&shared);
        client.ask(before.as_bytes());
        is_next.store(true, Relaxed);
        assert_eq!(String::from_utf8(client.ask(request.as_bytes())).unwrap(), reply, "{request}");
        assert!(!is_next.load(Relaxed), "{request}: no change was reported");
        assert_eq!(shared.cache.store.items(), 0, "{request}");
        assert_eq!(client.ask(b"get k\r\n"), b"END\r\n", "{request}");
        support::assert_empty(&shared);
    }
}
