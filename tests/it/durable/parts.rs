//! The parts together, over an engine in memory.

use oxcached::cache::{Admission, Attempt, Backing, Committed, Completion, Fetched, Key, Load, Verbs};
use oxcached::clock::{Clock, Expiry};
use oxcached::durable::engine::{
    Engine, EngineError, EngineErrorKind, EngineSizes, Opened, Put, Reader, Record, ScanPosition, Tended,
};
use oxcached::durable::{Durable, DurableView};
use oxcached::events::Log;
use oxcached::proto::Shared;
use oxcached::settings::{Durability, DurableSettings, OnError, Settings, Warm};
use oxcached::stats::Counters;
use oxcached::store::{Entry, Meta, Mode, Write};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

const ORIGIN: i64 = 1_000_000_000;

type Records = BTreeMap<Vec<u8>, Record>;

/// What engines of one file share.
#[derive(Default)]
struct File {
    records: Mutex<Records>,
    opened: Mutex<Opened>,
    /// Commits fail with this.
    fault: Mutex<Option<EngineErrorKind>>,
    /// Commits wait while this is locked.
    gate: Mutex<()>,
}

/// A writer whose transactions are copies of all records.
struct Plain {
    file: Arc<File>,
    open: Option<Records>,
}

impl Plain {
    fn fail(&self) -> Result<(), EngineError> {
        let fault = *self.file.fault.lock();
        fault.map_or(Ok(()), |kind| Err(EngineError::new(kind, "injected".to_owned())))
    }
}

impl Engine for Plain {
    fn opened(&self) -> Opened {
        *self.file.opened.lock()
    }

    fn begin(&mut self) -> Result<(), EngineError> {
        self.open = Some(self.file.records.lock().clone());
        Ok(())
    }

    fn put(&mut self, put: &Put<'_>) -> Result<(), EngineError> {
        let Put { flags, expires, cas, marks, modified, .. } = *put;
        let record = Record { value: put.value.to_vec(), flags, expires, cas, marks, modified };
        self.open.as_mut().unwrap().insert(put.key.to_vec(), record);
        Ok(())
    }

    fn touch(&mut self, key: &[u8], expires: i64, marks: u8) -> Result<bool, EngineError> {
        let found = self.open.as_mut().unwrap().get_mut(key);
        Ok(found.map(|record| (record.expires, record.marks) = (expires, marks)).is_some())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.open.as_mut().unwrap().remove(key);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.open.as_mut().unwrap().clear();
        Ok(())
    }

    fn plan_flush(&mut self, at: Option<i64>) -> Result<(), EngineError> {
        self.file.opened.lock().flush_at = at;
        Ok(())
    }

    fn reserve_cas(&mut self, high: u64) -> Result<(), EngineError> {
        self.fail()?;
        self.file.opened.lock().cas_high = high;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), EngineError> {
        let _pass = self.file.gate.lock();
        self.fail()?;
        *self.file.records.lock() = self.open.take().unwrap();
        Ok(())
    }

    fn roll_back(&mut self) {
        self.open = None;
    }

    fn tend(&mut self, _: i64) -> Result<Tended, EngineError> {
        Ok(Tended::Idle { removed: 0 })
    }

    fn open_reader(&self) -> Result<Box<dyn Reader>, EngineError> {
        Ok(Box::new(PlainReader(Arc::clone(&self.file))))
    }

    fn sizes(&self) -> EngineSizes {
        EngineSizes::default()
    }

    fn close(&mut self) -> Result<(), EngineError> {
        Ok(())
    }
}

struct PlainReader(Arc<File>);

impl Reader for PlainReader {
    fn get(&mut self, key: &[u8], _: i64, record: &mut Record) -> Result<bool, EngineError> {
        let found = self.0.records.lock().get(key).cloned();
        let is_there = found.is_some();
        *record = found.unwrap_or_default();
        Ok(is_there)
    }

    fn scan(
        &mut self,
        position: &mut ScanPosition,
        _: i64,
        _: bool,
        visit: &mut dyn FnMut(&[u8], &Record) -> ControlFlow<()>,
    ) -> Result<bool, EngineError> {
        let records = self.0.records.lock().clone();
        let start = position.0.clone();
        for (key, record) in records.iter().filter(|(key, _)| **key > start) {
            position.0.clone_from(key);
            if visit(key, record).is_break() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn back_up(&mut self, _: &Path) -> Result<(), EngineError> {
        Ok(())
    }
}

/// A server's parts over a file.
struct Rig {
    shared: Shared,
    durable: Arc<Durable>,
    file: Arc<File>,
    counters: Counters,
}

impl Rig {
    fn over(file: &Arc<File>, change: impl FnOnce(&mut DurableSettings)) -> Self {
        let settings = Settings { num_threads: 1, ..Settings::default() };
        let shared = Shared::new(settings, Clock::manual(ORIGIN), Box::new(|_| ())).unwrap();
        let mut settings = DurableSettings { warm: Warm::None, ..DurableSettings::default() };
        change(&mut settings);
        let engine = Box::new(Plain { file: Arc::clone(file), open: None });
        let time = (shared.clock.now(), shared.clock.unix(0));
        let durable = Durable::start(&shared.cache, settings, engine, time).unwrap();
        Self { shared, durable, file: Arc::clone(file), counters: Counters::default() }
    }

    fn sync(file: &Arc<File>) -> Self {
        Self::over(file, |settings| settings.durability = Durability::Sync)
    }

    fn verbs(&self) -> Verbs<'_> {
        let clock = &self.shared.clock;
        Verbs {
            cache: &self.shared.cache,
            counters: &self.counters,
            now: clock.now(),
            life_begin: clock.begun(),
            log: Log::new(&self.shared.events, 0),
            attempt: Attempt::First,
        }
    }

    fn backing(&self) -> &dyn Backing {
        self.shared.cache.backing().unwrap()
    }

    fn store(&self, key: &str, value: &[u8], expiry: Expiry) -> u64 {
        let key = Key::new(key.as_bytes()).unwrap();
        let meta = Meta { klen: key.bytes().len(), vlen: value.len(), flags: 5, expiry, iflags: 0, cas: 0 };
        let (store, now) = (self.shared.cache.store, self.shared.clock.now());
        let mut reservation = store.reserve(&key, &meta, now).unwrap();
        reservation.write(value).unwrap();
        let cas = store.next_cas();
        store.commit(reservation, &key, Write::new(Mode::Set, cas), now);
        cas
    }

    /// Waits for the commit of this thread's last changes.
    fn committed(&self) -> Committed {
        let (tell, told) = mpsc::channel();
        let number = self.backing().take_commit().expect("a change");
        self.backing().when_committed(number, Box::new(move |outcome| tell.send(outcome).unwrap()));
        told.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        let key = Key::new(key.as_bytes()).unwrap();
        let mut verbs = self.verbs();
        loop {
            let shown = verbs.fetch(&key, None, |entry| {
                let mut value = Vec::new();
                match entry.pin() {
                    Some(pinned) => pinned.for_each_piece(|bytes| value.extend_from_slice(bytes)),
                    None => entry.copy_value(&mut value),
                }
                value
            });
            match shown {
                Fetched::Hit(value) => return Some(value),
                Fetched::Miss => return None,
                Fetched::Pending(load) => wait(load),
            }
            verbs.attempt = Attempt::Again; // a command waits once
        }
    }

    fn delete(&self, key: &str) {
        let key = Key::new(key.as_bytes()).unwrap();
        self.shared.cache.store.visit(&key, self.shared.clock.now(), Entry::unlink);
    }

    fn forget(&self, key: &str) {
        self.shared.cache.store.forget(&Key::new(key.as_bytes()).unwrap());
    }

    fn flush(&self) {
        self.shared.cache.store.flush(self.shared.clock.now() - 1, self.shared.clock.now());
    }

    /// Waits until a condition holds that another thread brings about.
    fn until(&self, what: &str, condition: impl Fn(&DurableView) -> bool) {
        for _ in 0..20_000 {
            if condition(&self.durable.view()) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("{what}: {:?}", self.durable.view());
    }
}

fn wait(load: Load) {
    let (tell, told) = mpsc::channel();
    load.then(Completion::new(move || tell.send(()).unwrap()));
    told.recv_timeout(Duration::from_secs(20)).unwrap();
}

fn key_of(n: usize) -> String {
    format!("key{n}")
}

#[test]
fn what_was_stored_comes_back_in_the_next_process() {
    let file = Arc::<File>::default();
    let first = Rig::sync(&file);
    let large = vec![b'l'; 300_000];
    let cas = first.store("a", b"one", Expiry::Never);
    first.store("large", &large, Expiry::At(first.shared.clock.now() + 100));
    first.store("gone", b"x", Expiry::Never);
    first.delete("gone");
    assert_eq!(first.committed(), Committed::Durable);
    assert_eq!(file.records.lock()["a".as_bytes()].cas, cas);
    let clock = &first.shared.clock;
    assert_eq!(file.records.lock()["large".as_bytes()].expires, clock.unix(clock.now()) + 100);
    drop(first);
    let second = Rig::sync(&file);
    assert_eq!(second.get("a").as_deref(), Some(&b"one"[..]));
    assert_eq!(second.get("large"), Some(large));
    assert_eq!((second.get("gone"), second.get("never")), (None, None));
    assert!(second.shared.cache.store.next_cas() > cas, "CAS ids do not repeat");
}

#[test]
fn changes_that_wait_are_seen_by_loads() {
    let file = Arc::<File>::default();
    let rig = Rig::over(&file, |settings| settings.delay = Some(Duration::from_secs(3600)));
    rig.until("the first scan", |view| !view.is_warming);
    let large = vec![b'l'; 100_000];
    rig.store("a", b"one", Expiry::Never);
    rig.forget("a");
    assert_eq!(rig.get("a").as_deref(), Some(&b"one"[..]), "from the pending changes");
    rig.delete("a");
    assert_eq!(rig.get("a"), None);
    rig.store("b", b"two", Expiry::Never);
    rig.forget("b");
    rig.flush();
    assert_eq!(rig.get("b"), None, "flushed while it waited");
    rig.store("c", b"three", Expiry::Never);
    assert!(file.records.lock().is_empty(), "nothing was committed");
    rig.store("large", &large, Expiry::Never);
    rig.durable.stop();
    let records = file.records.lock();
    assert_eq!(records.keys().collect::<Vec<_>>(), [&b"c"[..], b"large"]);
    assert_eq!(records[&b"large"[..]].value, large);
}

#[test]
fn a_flush_ends_records_at_once_and_for_the_next_process() {
    let file = Arc::<File>::default();
    let rig = Rig::sync(&file);
    rig.store("a", b"one", Expiry::Never);
    assert_eq!(rig.committed(), Committed::Durable);
    rig.forget("a");
    let gate = rig.file.gate.lock();
    rig.flush();
    assert_eq!(rig.get("a"), None, "the flush is not committed");
    rig.store("b", b"two", Expiry::Never);
    drop(gate);
    assert_eq!(rig.committed(), Committed::Durable);
    assert_eq!(rig.get("a"), None);
    assert_eq!(rig.get("b").as_deref(), Some(&b"two"[..]));
    assert_eq!(file.records.lock().len(), 1);
}

#[test]
fn a_flush_that_came_due_between_two_processes_is_carried_out_first() {
    let file = Arc::<File>::default();
    let record = Record { value: b"old".to_vec(), cas: 10, ..Record::default() };
    file.records.lock().insert(b"a".to_vec(), record);
    file.opened.lock().flush_at = Some(ORIGIN - 10);
    let rig = Rig::over(&file, |settings| settings.warm = Warm::All);
    assert!(file.records.lock().is_empty(), "before the start has returned");
    assert_eq!(file.opened.lock().flush_at, None);
    rig.until("the first scan", |view| !view.is_warming);
    assert_eq!((rig.get("a"), rig.durable.view().figures.warmed), (None, 0));
}

#[test]
fn a_failed_commit_gives_errors_and_the_items_from_before() {
    let file = Arc::<File>::default();
    let rig = Rig::sync(&file);
    rig.store("a", b"before", Expiry::Never);
    rig.store("b", b"before", Expiry::Never);
    assert_eq!(rig.committed(), Committed::Durable);
    *file.fault.lock() = Some(EngineErrorKind::Full);
    rig.store("a", b"after", Expiry::Never);
    rig.delete("b");
    rig.store("new", b"after", Expiry::Never);
    assert_eq!(rig.committed(), Committed::Failed);
    for (key, value) in [("a", Some(&b"before"[..])), ("b", Some(b"before")), ("new", None)] {
        assert_eq!(rig.get(key).as_deref(), value, "{key}");
    }
    rig.until("refusals", |_| matches!(rig.backing().admit(), Admission::Refused));
    // A change that had been admitted before.
    rig.store("late", b"x", Expiry::Never);
    assert_eq!((rig.committed(), rig.get("late")), (Committed::Failed, None));
    *file.fault.lock() = None;
    rig.until("admission", |_| matches!(rig.backing().admit(), Admission::Granted));
    rig.store("a", b"again", Expiry::Never);
    assert_eq!(rig.committed(), Committed::Durable);
    assert_eq!(file.records.lock()["a".as_bytes()].value, b"again");
}

#[test]
fn a_failed_flush_has_not_happened() {
    let file = Arc::<File>::default();
    let rig = Rig::sync(&file);
    rig.store("a", b"one", Expiry::Never);
    assert_eq!(rig.committed(), Committed::Durable);
    *file.fault.lock() = Some(EngineErrorKind::Io);
    rig.flush();
    assert_eq!(rig.committed(), Committed::Failed);
    assert_eq!(rig.get("a").as_deref(), Some(&b"one"[..]));
}

#[test]
fn without_sync_a_failed_commit_is_repeated_and_nothing_is_lost() {
    let file = Arc::<File>::default();
    *file.fault.lock() = Some(EngineErrorKind::Full);
    let rig = Rig::over(&file, |settings| {
        settings.durability = Durability::Batch;
        settings.queue = 1 << 20;
    });
    rig.store("a", b"one", Expiry::Never);
    assert_eq!(rig.backing().take_commit(), None, "replies do not wait");
    rig.until("an error", |view| view.figures.errors > 0);
    assert!(matches!(rig.backing().admit(), Admission::Granted), "there is room");
    rig.forget("a");
    assert_eq!(rig.get("a").as_deref(), Some(&b"one"[..]));
    for n in 0..20 {
        rig.store(&key_of(n), &[b'v'; 60_000], Expiry::Never);
    }
    assert!(matches!(rig.backing().admit(), Admission::Refused));
    *file.fault.lock() = None;
    rig.until("commits", |view| view.queue_bytes == 0);
    assert!(matches!(rig.backing().admit(), Admission::Granted));
    assert_eq!(file.records.lock().len(), 21);
}

#[test]
fn kept_in_the_cache_alone_an_item_has_no_old_record() {
    let file = Arc::<File>::default();
    let rig = Rig::over(&file, |settings| {
        settings.durability = Durability::Batch;
        settings.queue = 1 << 20;
        settings.on_error = OnError::Cache;
    });
    rig.store("a", b"old", Expiry::Never);
    rig.backing().take_commit();
    rig.until("a commit", |view| view.figures.commits > 0 && view.queue_bytes == 0);
    *file.fault.lock() = Some(EngineErrorKind::Full);
    for n in 0..20 {
        rig.store(&key_of(n), &[b'v'; 60_000], Expiry::Never);
        rig.backing().take_commit();
    }
    rig.until("an error", |view| view.figures.errors > 0);
    rig.store("a", b"new", Expiry::Never);
    assert!(matches!(rig.backing().admit(), Admission::Granted));
    assert_eq!(rig.get("a").as_deref(), Some(&b"new"[..]));
    *file.fault.lock() = None;
    rig.until("commits", |view| view.queue_bytes == 0);
    assert!(!file.records.lock().contains_key("a".as_bytes()), "its record would be an old value");
    assert!((1..20).contains(&rig.durable.view().dropped), "those beyond the bound");
}

#[test]
fn a_full_queue_makes_writers_wait_until_there_is_room() {
    let file = Arc::<File>::default();
    let rig = Rig::over(&file, |settings| {
        settings.durability = Durability::Batch;
        settings.queue = 1 << 20;
    });
    let gate = file.gate.lock();
    for n in 0..40 {
        rig.store(&key_of(n), &[b'v'; 30_000], Expiry::Never);
    }
    rig.backing().take_commit();
    let Admission::Full(load) = rig.backing().admit() else { panic!("admitted") };
    drop(gate);
    wait(load);
    assert!(matches!(rig.backing().admit(), Admission::Granted));
}

#[test]
fn the_start_warms_memory_and_fills_the_filter() {
    let file = Arc::<File>::default();
    {
        let mut records = file.records.lock();
        for n in 0..5000 {
            let record = Record { value: b"v".to_vec(), cas: n as u64 + 10, ..Record::default() };
            records.insert(key_of(n).into_bytes(), record);
        }
    }
    let rig = Rig::over(&file, |settings| settings.warm = Warm::Items(3000));
    rig.until("the first scan", |view| !view.is_warming);
    let view = rig.durable.view();
    assert_eq!((view.figures.warmed, view.records), (3000, 5000));
    assert_eq!(rig.shared.cache.store.items(), 3000);
    assert_eq!(rig.get("never"), None);
    assert_eq!(rig.durable.view().figures.loads, 0, "the filter knows that it was never stored");
    assert!((0..5000).all(|n| rig.get(&key_of(n)).is_some()));
}
