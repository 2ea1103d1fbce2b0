//! Random transactions on a disk that fails or loses power at a random call (`vfs.rs`): what was committed stays, and
//! nothing else comes.
//!
//! A program of its own, since the file system replaces SQLite's default one in the whole process. `DISK_ROUNDS=` sets
//! the number of rounds of each test, `DISK_SEED=` (printed) repeats one round.
#![allow(clippy::unwrap_used, reason = "a test: what is not there fails it")]

mod vfs;

use oxcached::durable::engine::{Durability, Engine, EngineError, EngineErrorKind, Put, Record, ScanPosition};
use oxcached::durable::sqlite::SqliteEngine;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use vfs::{Disk, Fault};

const NOW: i64 = 1_800_000_000;
/// So small that a transaction writes pages before its commit.
const CACHE: u64 = 64 << 10;
const KEYS: usize = 300;
const TRANSACTIONS: usize = 30;

/// The live records.
type Model = BTreeMap<Vec<u8>, Record>;

struct World {
    _folder: TempDir,
    path: PathBuf,
    disk: Arc<Disk>,
    random: fastrand::Rng,
    model: Model,
    cas_high: u64,
}

/// How a transaction ended that has an error.
enum Failure {
    /// Before its commit: it must not be there.
    Before(EngineError),
    /// In its commit: a process that finds the files may find it whole, with these records.
    InCommit(EngineError, Model),
}

fn rounds(test: impl Fn(fastrand::Rng)) {
    let rounds = std::env::var("DISK_ROUNDS").map_or(30, |text| text.parse().unwrap());
    let fixed = std::env::var("DISK_SEED").ok().map(|text| text.parse::<u64>().unwrap());
    for _ in 0..fixed.map_or(rounds, |_| 1) {
        let seed = fixed.unwrap_or_else(|| fastrand::u64(..));
        // Shown only if the test fails.
        println!("DISK_SEED={seed}");
        test(fastrand::Rng::with_seed(seed));
    }
}

impl World {
    fn new(random: fastrand::Rng) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let disk = Disk::new(folder.path());
        Self { _folder: folder, path, disk, random, model: Model::new(), cas_high: 0 }
    }

    fn open(&self, durability: Durability) -> Result<SqliteEngine, EngineError> {
        SqliteEngine::open(&self.path, durability, CACHE)
    }

    /// Runs a random transaction; the model is that after it, or after an error that before it.
    fn transact(&mut self, engine: &mut SqliteEngine) -> Result<(), Failure> {
        let mut model = self.model.clone();
        self.change(engine, &mut model).map_err(Failure::Before)?;
        match engine.commit() {
            Ok(()) => self.model = model,
            Err(e) => return Err(Failure::InCommit(e, model)),
        }
        Ok(())
    }

    fn change(&mut self, engine: &mut SqliteEngine, model: &mut Model) -> Result<(), EngineError> {
        engine.begin()?;
        if self.random.u8(..12) == 0 {
            engine.flush()?;
            model.clear();
        }
        let mut keys: Vec<usize> = (0..self.random.usize(1..60)).map(|_| self.random.usize(..KEYS)).collect();
        keys.sort_unstable();
        keys.dedup();
        for number in keys {
            let key = format!("key{number}").into_bytes();
            match self.random.u8(..10) {
                0 | 1 => {
                    engine.delete(&key)?;
                    model.remove(&key);
                }
                2 => {
                    let expires = NOW + self.random.i64(1..1000);
                    let found = engine.touch(&key, expires, 1)?;
                    let record = model.get_mut(&key);
                    assert_eq!(found, record.is_some());
                    if let Some(record) = record {
                        (record.expires, record.marks) = (expires, 1);
                    }
                }
                _ => {
                    let size = [0, 10, 100, 1000, 5000, 20_000][self.random.usize(..6)];
                    let value = vec![self.random.u8(..); size];
                    let cas = self.random.u64(..);
                    let record = Record { value, flags: number as u32, expires: 0, cas, marks: 0, modified: NOW };
                    engine.put(&Put {
                        key: &key,
                        value: &record.value,
                        flags: record.flags,
                        expires: 0,
                        cas,
                        marks: 0,
                        modified: NOW,
                    })?;
                    model.insert(key, record);
                }
            }
        }
        Ok(())
    }

    /// One of the things that happen between transactions.
    fn between(&mut self, engine: &mut SqliteEngine) -> Result<(), EngineError> {
        match self.random.u8(..8) {
            0 | 1 => _ = engine.tend(NOW)?,
            2 => {
                let high = self.cas_high + self.random.u64(1..1000);
                engine.reserve_cas(high)?;
                self.cas_high = high;
            }
            // Moves the log into the file.
            3 => engine.close()?,
            // As another program may, at any time.
            4 => checkpoint(&self.path, "RESTART"),
            5 => checkpoint(&self.path, "PASSIVE"),
            _ => {}
        }
        Ok(())
    }

    /// The power goes, the engine with it; comes back, and another process opens the files.
    fn lose_power(&mut self, engine: SqliteEngine, durability: Durability) -> SqliteEngine {
        self.disk.power_off();
        drop(engine);
        self.disk.power_on(&mut self.random);
        check(&self.path);
        let engine = self.open(durability).unwrap();
        assert!(engine.opened().cas_high >= self.cas_high, "CAS ids come twice");
        self.cas_high = engine.opened().cas_high;
        engine
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.disk.remove();
    }
}

/// A checkpoint by another connection, which may fail.
fn checkpoint(path: &Path, mode: &str) {
    let run = || Connection::open(path)?.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
    let _ = run();
}

fn check(path: &Path) {
    let result = Connection::open(path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(result.unwrap(), "ok");
}

fn records(engine: &SqliteEngine) -> Model {
    let mut found = Model::new();
    let mut reader = engine.open_reader().unwrap();
    let mut position = ScanPosition::default();
    loop {
        let more = reader.scan(&mut position, NOW, true, &mut |key, record| {
            found.insert(key.to_vec(), record.clone());
            ControlFlow::Continue(())
        });
        if !more.unwrap() {
            return found;
        }
    }
}

/// Keys whose records differ.
fn differences(found: &Model, expected: &Model) -> Vec<String> {
    let keys = found.keys().chain(expected.keys());
    let differ = keys.filter(|key| found.get(*key) != expected.get(*key));
    differ.map(|key| String::from_utf8_lossy(key).into_owned()).collect()
}

fn assert_same(found: &Model, expected: &Model, when: &str) {
    let keys = differences(found, expected);
    assert!(keys.is_empty(), "{when}: {keys:?}, of {} records, {} expected", found.len(), expected.len());
}

#[test]
fn a_synced_commit_survives_a_loss_of_power() {
    // Losses of power that left the state before a commit, and the state after the commit that they cut.
    let cut = std::cell::Cell::new((0, 0));
    rounds(|random| {
        let mut world = World::new(random);
        let mut engine = world.open(Durability::Sync).unwrap();
        for _ in 0..3 {
            if world.random.bool() {
                world.disk.lose_power_at_sync(world.random.u64(1..30));
            } else {
                world.disk.fail_nth(world.random.u64(1..1500), Fault::PowerLoss);
            }
            let mut in_commit = None;
            for _ in 0..TRANSACTIONS {
                match world.transact(&mut engine) {
                    Ok(()) => {}
                    Err(Failure::Before(_)) => break,
                    Err(Failure::InCommit(_, model)) => {
                        in_commit = Some(model);
                        break;
                    }
                }
                if world.between(&mut engine).is_err() {
                    break;
                }
            }
            engine = world.lose_power(engine, Durability::Sync);
            let found = records(&engine);
            let (lost, kept) = cut.get();
            if let Some(model) = in_commit
                && !differences(&found, &world.model).is_empty()
            {
                assert_same(&found, &model, "the commit that the power cut");
                world.model = model;
                cut.set((lost, kept + 1));
            } else {
                assert_same(&found, &world.model, "after a loss of power");
                cut.set((lost + 1, kept));
            }
        }
    });
    println!("states before and after a commit that was cut: {:?}", cut.get());
}

#[test]
fn a_loss_of_power_takes_the_newest_commits_alone() {
    rounds(|random| {
        let mut world = World::new(random);
        let mut engine = world.open(Durability::Batch).unwrap();
        // States that a loss may leave, oldest first: from the last one that was made durable on.
        let mut states = vec![Model::new()];
        for _ in 0..TRANSACTIONS {
            world.transact(&mut engine).map_err(|_| "no fault").unwrap();
            states.push(world.model.clone());
            let high = world.cas_high;
            world.between(&mut engine).unwrap();
            if world.cas_high != high {
                // Synced, with all before it.
                states = vec![world.model.clone()];
            }
        }
        let engine = world.lose_power(engine, Durability::Batch);
        let found = records(&engine);
        let fits = states.iter().any(|state| differences(&found, state).is_empty());
        assert!(fits, "{} records: none of {} states", found.len(), states.len());
    });
}

/// Runs transactions while calls fail as `arm` has them fail. An error leaves the state before the transaction.
fn failing(random: fastrand::Rng, arm: impl Fn(&mut World), kinds: &[EngineErrorKind]) -> usize {
    let mut world = World::new(random);
    let mut engine = world.open(Durability::Sync).unwrap();
    let mut errors = 0;
    let mut in_commit = None;
    for _ in 0..TRANSACTIONS {
        arm(&mut world);
        let result = world.transact(&mut engine);
        let error = match result {
            Ok(()) => {
                in_commit = None;
                world.between(&mut engine).err()
            }
            Err(Failure::Before(e)) => Some(e),
            Err(Failure::InCommit(e, model)) => {
                in_commit = Some(model);
                Some(e)
            }
        };
        engine.roll_back();
        world.disk.heal();
        if let Some(e) = error {
            errors += 1;
            assert!(kinds.contains(&e.kind), "{:?}: {e}", e.kind);
            assert_same(&records(&engine), &world.model, "after a rollback");
        }
    }
    if world.random.bool() {
        engine = world.lose_power(engine, Durability::Sync);
        let found = records(&engine);
        match in_commit {
            Some(model) if !differences(&found, &world.model).is_empty() => {
                assert_same(&found, &model, "the commit that failed");
            }
            _ => assert_same(&found, &world.model, "after errors and a loss of power"),
        }
    } else {
        drop(engine);
        check(&world.path);
        assert_same(&records(&world.open(Durability::Sync).unwrap()), &world.model, "after errors and an end");
    }
    errors
}

#[test]
fn an_error_of_the_disk_leaves_the_state_before() {
    let errors = std::cell::Cell::new(0);
    rounds(|random| {
        let arm = |world: &mut World| {
            let nth = world.random.u64(1..150);
            world.disk.fail_nth(nth, Fault::Error);
        };
        errors.set(errors.get() + failing(random, arm, &[EngineErrorKind::Io]));
    });
    assert!(errors.get() > 0);
}

#[test]
fn a_full_disk_leaves_the_state_before() {
    let errors = std::cell::Cell::new(0);
    rounds(|random| {
        let arm = |world: &mut World| {
            let bytes = world.random.u64(..1 << 20);
            world.disk.fill_after(bytes);
        };
        errors.set(errors.get() + failing(random, arm, &[EngineErrorKind::Full]));
    });
    assert!(errors.get() > 0);
}

#[test]
fn a_start_that_the_power_cuts_can_be_repeated() {
    // Every call of the creation, one after the other.
    for nth in 1.. {
        let mut world = World::new(fastrand::Rng::with_seed(nth));
        world.disk.fail_nth(nth, Fault::PowerLoss);
        let before = world.disk.calls();
        let result = world.open(Durability::Sync);
        let calls = world.disk.calls() - before;
        world.disk.power_off();
        drop(result);
        world.disk.power_on(&mut world.random);
        let mut engine = world.open(Durability::Sync).unwrap();
        assert!(world.transact(&mut engine).is_ok());
        if calls < nth {
            assert!(nth > 10, "{nth} calls of the disk for a new store");
            break;
        }
    }
}

#[test]
fn the_disk_loses_what_no_sync_has_kept() {
    let mut world = World::new(fastrand::Rng::with_seed(1));
    // Without a sync, a database in rollback mode is torn by a loss of power: the shim does what it is for.
    let mut torn = 0;
    for round in 0..20 {
        let path = world.path.with_extension(round.to_string());
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA synchronous = OFF; CREATE TABLE a (b, c UNIQUE)").unwrap();
        for number in 0..50 {
            connection.execute("INSERT INTO a VALUES (zeroblob(1000), ?1)", [number * 7919 % 50]).unwrap();
        }
        world.disk.power_off();
        drop(connection);
        world.disk.power_on(&mut world.random);
        let found =
            Connection::open(&path).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        torn += usize::from(found.ok().as_deref() != Some("ok"));
    }
    assert!(torn >= 3, "{torn} of 20 are torn");
}
