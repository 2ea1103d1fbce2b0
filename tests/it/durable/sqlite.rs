//! The database of `-o store=sqlite:PATH` as a file: what is refused, what other programs see, how it shrinks.

use oxcached::durable::engine::{Durability, Engine, EngineError, EngineErrorKind, Put, Record, ScanPosition, Tended};
use oxcached::durable::sqlite::SqliteEngine;
use rusqlite::Connection;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NOW: i64 = 1_800_000_000;
const CACHE: u64 = 8 << 20;

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    (folder, path)
}

fn open(path: &Path) -> SqliteEngine {
    SqliteEngine::open(path, Durability::Batch, CACHE).unwrap()
}

fn refusal(path: &Path) -> EngineError {
    SqliteEngine::open(path, Durability::Sync, CACHE).err().expect("it is refused")
}

fn fill(engine: &mut impl Engine, count: usize, size: usize) {
    fill_with(engine, count, &vec![b'v'; size]);
}

fn fill_with(engine: &mut impl Engine, count: usize, value: &[u8]) {
    engine.begin().unwrap();
    for number in 0..count {
        let key = format!("key{number:06}");
        let put = Put { key: key.as_bytes(), value, flags: 5, expires: 0, cas: 6, marks: 0, modified: NOW };
        engine.put(&put).unwrap();
    }
    engine.commit().unwrap();
}

fn tend(engine: &mut impl Engine) {
    for _ in 0..100_000 {
        if let Tended::Idle { .. } = engine.tend(NOW).unwrap() {
            return;
        }
    }
    panic!("the upkeep does not end");
}

#[test]
fn another_file_is_refused_and_left_alone() {
    let (_folder, path) = place();
    for text in ["not a database, but longer than the head of one ".repeat(30), "short".to_owned()] {
        fs::write(&path, &text).unwrap();
        let error = refusal(&path);
        assert_eq!(error.kind, EngineErrorKind::Corrupt, "{error}");
        assert!(error.message.contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)").unwrap();
    let before = fs::read(&path).unwrap();
    let error = refusal(&path);
    assert_eq!(error.kind, EngineErrorKind::Corrupt, "{error}");
    assert!(error.message.ends_with("a database of another program"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_later_format_is_refused() {
    let (_folder, path) = place();
    drop(open(&path));
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    let error = refusal(&path);
    assert_eq!(error.kind, EngineErrorKind::Unsuitable);
    assert!(error.message.ends_with("its format is 2, and 1 is known"), "{error}");
}

#[test]
fn an_empty_file_becomes_a_store() {
    let (_folder, path) = place();
    fs::write(&path, "").unwrap();
    fill(&mut open(&path), 1, 1);
    drop(open(&path));
}

#[test]
fn a_damaged_file_is_an_error() {
    let (_folder, path) = place();
    fill(&mut open(&path), 2000, 100);
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[4096..len].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    assert_eq!(refusal(&path).kind, EngineErrorKind::Corrupt);
    // Only rows are damaged: the store opens, and reading them fails.
    fs::remove_file(&path).unwrap();
    fill(&mut open(&path), 2000, 100);
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.len();
    bytes[len / 2..].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let mut reader = open(&path).open_reader().unwrap();
    let mut count = 0;
    let mut position = ScanPosition::default();
    let error = loop {
        let result = reader.scan(&mut position, NOW, true, &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        match result {
            Ok(more) => assert!(more, "the damage was not seen"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, EngineErrorKind::Corrupt);
    assert!(count < 2000);
}

#[test]
fn places_that_cannot_hold_a_store_are_refused() {
    let (folder, path) = place();
    assert_eq!(refusal(&folder.path().join("absent/store")).kind, EngineErrorKind::Other);
    assert_eq!(refusal(Path::new("")).kind, EngineErrorKind::Other);
    // Root may write anywhere but here.
    let error = refusal(Path::new("/sys/store"));
    assert_eq!(error.kind, EngineErrorKind::ReadOnly, "{error}");
    assert_ne!(refusal(folder.path()).kind, EngineErrorKind::Full);
    open(&path);
}

#[test]
fn the_path_is_never_an_address() {
    let folder = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:store?mode=memory", "a b%20c"] {
        let path = folder.path().join(name);
        fill(&mut open(&path), 1, 1);
        assert!(path.metadata().unwrap().len() > 0);
    }
}

#[test]
fn other_users_cannot_read_the_files() {
    let (folder, path) = place();
    let mut engine = open(&path);
    fill(&mut engine, 10, 10);
    engine.open_reader().unwrap().back_up(&folder.path().join("copy")).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["copy", "store", "store-lock", "store-shm", "store-wal"]);
}

#[test]
fn other_programs_read_it_meanwhile() {
    let (_folder, path) = place();
    let mut engine = open(&path);
    fill(&mut engine, 100, 10);
    let other = Connection::open(&path).unwrap();
    let count = || other.query_row("SELECT count(*) FROM item", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(), 100);
    fill(&mut engine, 200, 10);
    assert_eq!(count(), 200);
    let row = other.query_row("SELECT value, flags, cas, expires FROM item WHERE key = ?1", [b"key000001"], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u32>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    });
    assert_eq!(row.unwrap(), (b"vvvvvvvvvv".to_vec(), 5, 6, 0));
    // One that writes stops the writer for a moment, no longer.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(engine.begin().unwrap_err().kind, EngineErrorKind::InUse);
    other.execute_batch("COMMIT").unwrap();
    engine.begin().unwrap();
}

#[test]
fn the_file_is_known_by_its_head() {
    let (_folder, path) = place();
    fill(&mut open(&path), 1, 1);
    let other = Connection::open(&path).unwrap();
    let pragma = |name: &str| other.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(pragma("application_id"), 0x6f78_6364);
    assert_eq!(pragma("user_version"), 1);
    assert_eq!(pragma("auto_vacuum"), 2);
    let mode: String = other.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_flushed_file_shrinks() {
    let (_folder, path) = place();
    let mut engine = open(&path);
    fill(&mut engine, 10_000, 1000);
    engine.close().unwrap();
    let full = engine.sizes().file;
    assert!(full > 10_000_000);
    engine.begin().unwrap();
    engine.flush().unwrap();
    engine.commit().unwrap();
    tend(&mut engine);
    engine.close().unwrap();
    let sizes = engine.sizes();
    assert!(sizes.file < full / 5, "{sizes:?} of {full}");
    assert!(sizes.free > 0 && sizes.free < sizes.file);
    assert_eq!(sizes.log, 0);
}

#[test]
fn the_log_is_shortened_on_the_way() {
    let (_folder, path) = place();
    let mut engine = open(&path);
    let mut value = vec![0u8; 4000];
    let mut write = |engine: &mut SqliteEngine, rounds: usize| {
        for _ in 0..rounds {
            let next = value[0].wrapping_add(1);
            value.fill(next);
            fill_with(engine, 1000, &value);
            tend(engine);
        }
        engine.sizes().log
    };
    let free = write(&mut engine, 30);
    assert!((1..40 << 20).contains(&free), "{free}");
    // A reader that stands in the way costs the writer nothing but a longer log, which is cut when the reader has gone.
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN; SELECT count(*) FROM item").unwrap();
    let held = write(&mut engine, 30);
    assert!(held > 100 << 20, "{held}");
    other.execute_batch("COMMIT").unwrap();
    let free = write(&mut engine, 10);
    assert!(free <= 64 << 20, "{free}");
    engine.close().unwrap();
    assert_eq!(engine.sizes().log, 0);
}

#[test]
fn a_copy_is_a_store() {
    let (folder, path) = place();
    let mut engine = open(&path);
    fill(&mut engine, 5000, 100);
    engine.reserve_cas(77).unwrap();
    let mut reader = engine.open_reader().unwrap();
    let copy = folder.path().join("copy");
    reader.back_up(&copy).unwrap();
    // Later changes are not in it.
    fill(&mut engine, 6000, 100);
    let error = reader.back_up(&copy).unwrap_err();
    assert!(error.message.contains("File exists"), "{error}");
    assert!(reader.back_up(&folder.path().join("absent/copy")).is_err());
    let copied = open(&copy);
    assert_eq!(copied.opened().cas_high, 77);
    let rows = Connection::open(&copy).unwrap().query_row("SELECT count(*) FROM item", [], |row| row.get::<_, i64>(0));
    assert_eq!(rows.unwrap(), 5000);
    let mut record = Record::default();
    assert!(reader.get(b"key005999", NOW, &mut record).unwrap());
    assert!(!copied.open_reader().unwrap().get(b"key005999", NOW, &mut record).unwrap());
}

#[test]
fn links_name_one_store() {
    let (folder, path) = place();
    let engine = open(&path);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = refusal(&link);
    assert_eq!(error.kind, EngineErrorKind::InUse, "{error}");
    assert!(error.message.contains("store-lock"), "{error}");
    drop(engine);
    open(&link);
}
