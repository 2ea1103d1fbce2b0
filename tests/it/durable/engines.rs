//! What every engine promises: one suite, run over all of them.

use oxcached::durable::engine::{
    Durability, Engine, EngineErrorKind, Put, Reader, Record, ScanPosition, Tended, marks,
};
use oxcached::durable::memory_engine::MemoryDisk;
use oxcached::durable::sqlite::SqliteEngine;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use tempfile::TempDir;

const NOW: i64 = 1_800_000_000;
const MIB: usize = 1 << 20;

/// Where an engine keeps its records between two openings.
trait Home {
    fn new() -> Self;
    fn open(&self, durability: Durability) -> Result<Box<dyn Engine>, EngineErrorKind>;
}

struct Memory(MemoryDisk);

impl Home for Memory {
    fn new() -> Self {
        Self(MemoryDisk::default())
    }

    fn open(&self, durability: Durability) -> Result<Box<dyn Engine>, EngineErrorKind> {
        self.0.open(durability).map(|engine| Box::new(engine) as Box<dyn Engine>).map_err(|e| e.kind)
    }
}

struct Sqlite(TempDir);

impl Home for Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, durability: Durability) -> Result<Box<dyn Engine>, EngineErrorKind> {
        let engine = SqliteEngine::open(&self.0.path().join("store"), durability, 8 << 20);
        engine.map(|engine| Box::new(engine) as Box<dyn Engine>).map_err(|e| e.kind)
    }
}

/// An engine and a reader of it.
struct Pair {
    engine: Box<dyn Engine>,
    reader: Box<dyn Reader>,
}

impl Pair {
    fn open(home: &impl Home) -> Self {
        let engine = home.open(Durability::Sync).unwrap();
        let reader = engine.open_reader().unwrap();
        Self { engine, reader }
    }

    fn commit(&mut self, change: impl FnOnce(&mut dyn Engine)) {
        self.engine.begin().unwrap();
        change(&mut *self.engine);
        self.engine.commit().unwrap();
    }

    fn get(&mut self, key: &[u8]) -> Option<Record> {
        self.get_at(key, NOW)
    }

    fn get_at(&mut self, key: &[u8], now: i64) -> Option<Record> {
        let mut record = Record::default();
        self.reader.get(key, now, &mut record).unwrap().then_some(record)
    }

    fn value(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key).map(|record| record.value)
    }

    /// All live records, read in slices of `limit`.
    fn scan(&mut self, limit: usize, values: bool) -> BTreeMap<Vec<u8>, Record> {
        let mut found = BTreeMap::new();
        let mut position = ScanPosition::default();
        loop {
            let mut visited = 0;
            let more = self.reader.scan(&mut position, NOW, values, &mut |key, record| {
                visited += 1;
                assert!(found.insert(key.to_vec(), record.clone()).is_none(), "a record comes twice");
                if visited < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            assert!(visited <= limit);
            if !more.unwrap() {
                return found;
            }
        }
    }

    /// Tends until nothing is due: how many records went, in how many slices.
    fn tend(&mut self, now: i64) -> (u64, usize) {
        let mut all = 0;
        for slices in 1..100_000 {
            match self.engine.tend(now).unwrap() {
                Tended::More { removed } => all += removed,
                Tended::Idle { removed } => return (all + removed, slices),
            }
        }
        panic!("the upkeep does not end");
    }
}

fn put<'a>(key: &'a [u8], value: &'a [u8]) -> Put<'a> {
    Put { key, value, flags: 0, expires: 0, cas: 1, marks: 0, modified: NOW }
}

fn key(number: usize) -> Vec<u8> {
    format!("key{number:06}").into_bytes()
}

/// Writes `count` records `key000000`... with values of `size` bytes.
fn fill(pair: &mut Pair, count: usize, size: usize) {
    let value = vec![b'v'; size];
    for first in (0..count).step_by(1000) {
        pair.commit(|engine| {
            for number in first..count.min(first + 1000) {
                engine.put(&put(&key(number), &value)).unwrap();
            }
        });
    }
}

fn records_come_back_as_they_were(home: &impl Home) {
    let mut pair = Pair::open(home);
    let all = Put {
        key: b"k",
        value: b"\0\xff value",
        flags: u32::MAX,
        expires: NOW + 10,
        cas: u64::MAX,
        marks: marks::STALE | marks::TOKEN | marks::KEY_BINARY | marks::CHOSEN_CAS,
        modified: NOW - 5,
    };
    pair.commit(|engine| engine.put(&all).unwrap());
    let record = Record {
        value: all.value.to_vec(),
        flags: all.flags,
        expires: all.expires,
        cas: all.cas,
        marks: all.marks,
        modified: all.modified,
    };
    assert_eq!(pair.get(b"k"), Some(record));
    assert_eq!(pair.get(b"other"), None);
    pair.commit(|engine| engine.put(&put(b"k", b"second")).unwrap());
    assert_eq!(
        pair.get(b"k").unwrap(),
        Record { value: b"second".to_vec(), cas: 1, modified: NOW, ..Record::default() }
    );
}

fn keys_may_hold_any_byte(home: &impl Home) {
    let mut pair = Pair::open(home);
    let mut keys: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    keys.extend((0..=255).map(|byte| [b"prefix", &[byte; 244][..]].concat()));
    assert_eq!(keys.last().unwrap().len(), 250);
    pair.commit(|engine| keys.iter().for_each(|key| engine.put(&put(key, key)).unwrap()));
    for key in &keys {
        assert_eq!(pair.value(key).as_deref(), Some(key.as_slice()));
    }
    let all = pair.scan(7, true);
    assert_eq!(all.len(), keys.len());
    assert!(all.iter().all(|(key, record)| *key == record.value));
}

fn values_have_any_size(home: &impl Home) {
    let mut pair = Pair::open(home);
    for size in [0, 1, 100, 489, 1000, 1002, 1003, 4061, 4096, 8192, 65_536, MIB, MIB + 1, 64 * MIB] {
        let value: Vec<u8> = (0..size).map(|at| (at * 31 + size) as u8).collect();
        pair.commit(|engine| engine.put(&put(b"k", &value)).unwrap());
        assert!(pair.value(b"k").is_some_and(|found| found == value), "{size} bytes");
    }
    pair.commit(|engine| engine.put(&put(b"k", b"")).unwrap());
    assert_eq!(pair.value(b"k").as_deref(), Some(&b""[..]));
}

fn a_touch_changes_expiry_and_marks_alone(home: &impl Home) {
    let mut pair = Pair::open(home);
    pair.commit(|engine| engine.put(&Put { flags: 7, cas: 9, ..put(b"k", b"value") }).unwrap());
    let before = pair.get(b"k").unwrap();
    pair.commit(|engine| {
        assert!(engine.touch(b"k", NOW + 100, marks::STALE).unwrap());
        assert!(!engine.touch(b"absent", NOW + 100, 0).unwrap());
    });
    assert_eq!(pair.get(b"k"), Some(Record { expires: NOW + 100, marks: marks::STALE, ..before }));
    assert_eq!(pair.get(b"absent"), None);
    // A record that has expired lives on if its touch comes before the upkeep.
    pair.commit(|engine| assert!(engine.touch(b"k", NOW, 0).unwrap()));
    assert_eq!(pair.get(b"k"), None);
    pair.commit(|engine| assert!(engine.touch(b"k", 0, 0).unwrap()));
    assert_eq!(pair.value(b"k").as_deref(), Some(&b"value"[..]));
}

fn a_deleted_record_is_gone(home: &impl Home) {
    let mut pair = Pair::open(home);
    fill(&mut pair, 3, 10);
    pair.commit(|engine| {
        engine.delete(&key(1)).unwrap();
        engine.delete(b"absent").unwrap();
    });
    assert_eq!(pair.scan(10, false).into_keys().collect::<Vec<_>>(), [key(0), key(2)]);
    assert_eq!(pair.get(&key(1)), None);
}

fn a_flush_ends_what_was_there(home: &impl Home) {
    let mut pair = Pair::open(home);
    fill(&mut pair, 3000, 10);
    pair.commit(|engine| {
        engine.flush().unwrap();
        assert!(!engine.touch(&key(0), 0, 0).unwrap(), "a flushed record cannot be touched");
        engine.put(&put(&key(2999), b"later")).unwrap();
    });
    assert_eq!(pair.get(&key(0)), None);
    assert_eq!(pair.value(&key(2999)).as_deref(), Some(&b"later"[..]));
    // Behind more records that have ended than one statement examines.
    assert_eq!(pair.scan(10, true).into_keys().collect::<Vec<_>>(), [key(2999)]);
    assert_eq!(pair.tend(NOW).0, 2999);
    assert_eq!(pair.scan(10, true).len(), 1);
    // A second flush, and one that is dropped.
    pair.commit(|engine| engine.flush().unwrap());
    assert_eq!(pair.scan(10, true).len(), 0);
    pair.commit(|engine| engine.put(&put(b"k", b"v")).unwrap());
    pair.engine.begin().unwrap();
    pair.engine.flush().unwrap();
    pair.engine.put(&put(b"l", b"v")).unwrap();
    pair.engine.roll_back();
    pair.commit(|engine| engine.put(&put(b"m", b"v")).unwrap());
    assert_eq!(pair.scan(10, true).into_keys().collect::<Vec<_>>(), [b"k", b"m"]);
    assert_eq!(pair.tend(NOW).0, 1);
    drop(pair);
    assert_eq!(Pair::open(home).scan(10, true).into_keys().collect::<Vec<_>>(), [b"k", b"m"]);
}

fn a_flush_during_a_sweep_is_swept_too(home: &impl Home) {
    let mut pair = Pair::open(home);
    fill(&mut pair, 2000, 200);
    pair.commit(|engine| engine.flush().unwrap());
    let (Tended::More { removed: first } | Tended::Idle { removed: first }) = pair.engine.tend(NOW).unwrap();
    fill(&mut pair, 2000, 200);
    pair.commit(|engine| engine.flush().unwrap());
    pair.commit(|engine| engine.put(&put(b"k", b"v")).unwrap());
    let (rest, _) = pair.tend(NOW);
    // Rows that the first flush had ended were replaced.
    assert!((2000..=4000).contains(&(first + rest)), "{first} + {rest}");
    assert_eq!(pair.scan(10, true).len(), 1);
    assert_eq!(pair.tend(NOW), (0, 1));
}

fn a_planned_flush_is_remembered(home: &impl Home) {
    let mut pair = Pair::open(home);
    assert_eq!(pair.engine.opened().flush_at, None);
    pair.commit(|engine| engine.plan_flush(Some(NOW + 60)).unwrap());
    drop(pair);
    let mut pair = Pair::open(home);
    assert_eq!(pair.engine.opened().flush_at, Some(NOW + 60));
    pair.commit(|engine| {
        engine.flush().unwrap();
        engine.plan_flush(None).unwrap();
    });
    drop(pair);
    assert_eq!(Pair::open(home).engine.opened().flush_at, None);
}

fn cas_ids_are_reserved(home: &impl Home) {
    for high in [1_000_000, u64::MAX] {
        let mut engine = home.open(Durability::Async).unwrap();
        engine.reserve_cas(high).unwrap();
        engine.begin().unwrap();
        assert_eq!(engine.reserve_cas(1).unwrap_err().kind, EngineErrorKind::Other);
        engine.roll_back();
        drop(engine);
        assert_eq!(home.open(Durability::Async).unwrap().opened().cas_high, high);
    }
}

fn expired_records_are_neither_shown_nor_kept(home: &impl Home) {
    let mut pair = Pair::open(home);
    pair.commit(|engine| {
        for number in 0..1000 {
            let expires = if number % 2 == 0 { NOW + 10 } else { 0 };
            engine.put(&Put { expires, ..put(&key(number), b"v") }).unwrap();
        }
    });
    assert_eq!(pair.scan(64, false).len(), 1000);
    assert!(pair.get_at(&key(0), NOW + 9).is_some());
    assert_eq!(pair.get_at(&key(0), NOW + 10), None);
    assert_eq!(pair.tend(NOW + 9).0, 0);
    assert_eq!(pair.tend(NOW + 10).0, 500);
    assert_eq!(pair.scan(64, false).len(), 500);
    pair.commit(|engine| assert!(!engine.touch(&key(0), 0, 0).unwrap(), "the upkeep has removed it"));
}

fn a_dropped_transaction_leaves_no_trace(home: &impl Home) {
    let mut pair = Pair::open(home);
    fill(&mut pair, 3, 10);
    let before = pair.scan(10, true);
    pair.engine.begin().unwrap();
    pair.engine.put(&put(b"new", b"v")).unwrap();
    pair.engine.put(&put(&key(0), b"other")).unwrap();
    pair.engine.delete(&key(1)).unwrap();
    pair.engine.touch(&key(2), 1, 1).unwrap();
    pair.engine.plan_flush(Some(1)).unwrap();
    assert_eq!(pair.scan(10, true), before, "a reader sees commits only");
    pair.engine.roll_back();
    pair.engine.roll_back();
    assert_eq!(pair.scan(10, true), before);
    drop(pair);
    let mut pair = Pair::open(home);
    assert_eq!(pair.scan(10, true), before);
    assert_eq!(pair.engine.opened().flush_at, None);
}

fn calls_out_of_order_are_errors(home: &impl Home) {
    let mut engine = home.open(Durability::Sync).unwrap();
    assert_eq!(engine.put(&put(b"k", b"v")).unwrap_err().kind, EngineErrorKind::Other);
    assert_eq!(engine.commit().unwrap_err().kind, EngineErrorKind::Other);
    engine.begin().unwrap();
    assert_eq!(engine.begin().unwrap_err().kind, EngineErrorKind::Other);
    engine.put(&put(b"k", b"v")).unwrap();
    engine.commit().unwrap();
}

fn a_clean_end_is_noted_until_the_next_change(home: &impl Home) {
    let mut engine = home.open(Durability::Batch).unwrap();
    assert!(!engine.opened().was_closed, "a new store");
    engine.close().unwrap();
    drop(engine);
    for _ in 0..2 {
        // Opened and left without a change.
        assert!(home.open(Durability::Batch).unwrap().opened().was_closed);
    }
    let mut engine = home.open(Durability::Batch).unwrap();
    engine.begin().unwrap();
    engine.roll_back();
    drop(engine);
    assert!(!home.open(Durability::Batch).unwrap().opened().was_closed);
}

fn records_outlive_the_engine(home: &impl Home) {
    for (round, durability) in [Durability::Async, Durability::Batch, Durability::Sync].into_iter().enumerate() {
        let mut engine = home.open(durability).unwrap();
        engine.begin().unwrap();
        engine.put(&put(&key(round), &key(round))).unwrap();
        engine.commit().unwrap();
        if round == 1 {
            engine.close().unwrap();
        }
    }
    let mut pair = Pair::open(home);
    assert_eq!(pair.scan(10, true).len(), 3);
    assert_eq!(pair.value(&key(1)), Some(key(1)));
}

fn a_scan_shows_every_record_once(home: &impl Home) {
    let mut pair = Pair::open(home);
    fill(&mut pair, 2500, 20);
    for limit in [1, 100, 2500, 10_000] {
        let found = pair.scan(limit, true);
        assert_eq!(found.len(), 2500);
        assert!(found.values().all(|record| record.value.len() == 20));
    }
    // Rows that come and go meanwhile do not hide the others.
    let (mut position, mut seen) = (ScanPosition::default(), 0);
    for round in 0.. {
        pair.commit(|engine| {
            engine.delete(&key(round)).unwrap();
            engine.put(&put(&key(2499 - round), b"other")).unwrap();
            engine.put(&put(&key(10_000 + round), b"new")).unwrap();
        });
        let more = pair.reader.scan(&mut position, NOW, false, &mut |shown, _| {
            seen += usize::from((key(100)..key(2500)).contains(&shown.to_vec()));
            ControlFlow::Continue(())
        });
        if !more.unwrap() {
            break;
        }
    }
    assert_eq!(seen, 2400);
    assert!(pair.scan(100, false).values().all(|record| record.value.is_empty() && record.cas == 1));
}

fn the_upkeep_comes_in_slices(home: &impl Home) {
    let mut pair = Pair::open(home);
    fill(&mut pair, 20_000, 100);
    pair.commit(|engine| engine.flush().unwrap());
    let (removed, slices) = pair.tend(NOW);
    assert_eq!(removed, 20_000);
    assert!(slices > 1, "{slices} slices");
    assert_eq!(pair.tend(NOW), (0, 1));
}

fn one_engine_at_a_time(home: &impl Home) {
    let engine = home.open(Durability::Sync).unwrap();
    assert_eq!(home.open(Durability::Sync).err(), Some(EngineErrorKind::InUse));
    drop(engine);
    home.open(Durability::Sync).unwrap();
}

/// A test of each promise, for each engine.
macro_rules! suite {
    ($($promise:ident)*) => {
        mod memory { $(#[test] fn $promise() { super::$promise(&<super::Memory as super::Home>::new()); })* }
        mod sqlite { $(#[test] fn $promise() { super::$promise(&<super::Sqlite as super::Home>::new()); })* }
    };
}

suite! {
    records_come_back_as_they_were
    keys_may_hold_any_byte
    values_have_any_size
    a_touch_changes_expiry_and_marks_alone
    a_deleted_record_is_gone
    a_flush_ends_what_was_there
    a_flush_during_a_sweep_is_swept_too
    a_planned_flush_is_remembered
    cas_ids_are_reserved
    expired_records_are_neither_shown_nor_kept
    a_dropped_transaction_leaves_no_trace
    calls_out_of_order_are_errors
    a_clean_end_is_noted_until_the_next_change
    records_outlive_the_engine
    a_scan_shows_every_record_once
    the_upkeep_comes_in_slices
    one_engine_at_a_time
}

#[test]
fn memory_fails_as_it_is_told() {
    let disk = MemoryDisk::default();
    let mut engine = disk.open(Durability::Sync).unwrap();
    disk.fail_nth(3, EngineErrorKind::Full);
    engine.begin().unwrap();
    engine.put(&put(b"k", b"v")).unwrap();
    assert_eq!(engine.commit().unwrap_err().kind, EngineErrorKind::Full);
    engine.roll_back();
    let mut reader = engine.open_reader().unwrap();
    assert!(!reader.get(b"k", NOW, &mut Record::default()).unwrap());
    disk.set_broken(Some(EngineErrorKind::Io));
    for _ in 0..3 {
        assert_eq!(engine.begin().unwrap_err().kind, EngineErrorKind::Io);
    }
    disk.set_broken(None);
    engine.begin().unwrap();
}

#[test]
fn memory_loses_what_was_not_synced() {
    for (durability, lost, expected) in
        [(Durability::Sync, 9, 10), (Durability::Batch, 0, 10), (Durability::Batch, 3, 7), (Durability::Async, 99, 4)]
    {
        let disk = MemoryDisk::default();
        let mut engine = disk.open(durability).unwrap();
        for number in 0..10 {
            if number == 4 {
                // Takes what was committed before it along.
                engine.reserve_cas(5).unwrap();
            }
            engine.begin().unwrap();
            engine.put(&put(&key(number), b"v")).unwrap();
            engine.commit().unwrap();
        }
        disk.lose_power(lost);
        assert_eq!(engine.begin().unwrap_err().kind, EngineErrorKind::Io);
        let later = disk.open(durability).unwrap();
        drop(engine);
        assert_eq!(disk.open(durability).err().map(|e| e.kind), Some(EngineErrorKind::InUse), "not the dead one's");
        let reader = later.open_reader().unwrap();
        assert_eq!(Pair { engine: Box::new(later), reader }.scan(100, false).len(), expected, "{durability:?}, {lost}");
    }
}
