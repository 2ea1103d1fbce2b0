//! Optimistic reads, concurrent with every change that can affect them.
//!
//! Each value is a function of its key and its CAS id, which the writer chose, so every read can be checked: a torn
//! value, another key's value or an older one under a newer CAS id fails. Numbers are changed in place, and have two
//! equal halves. Meanwhile items are touched, deleted, flushed and evicted, the index grows from its smallest size,
//! the sweep runs, pages move between the slab classes, and time passes. `READS_SEED` repeats the choices, if not the
//! timing.
//!
//! The last tests make each change in the middle of a read, on one thread.

use crate::support::{self, Client, UNIX, assert_empty, move_pages, sweep, work};
use oxcached::proto::{Protocol, Shared};
use oxcached::settings::Settings;
use oxcached::store::{Key, Lookup, Progress};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};

const THREADS: usize = 4;

/// First CAS id chosen by clients; those of the store stay far below.
const CHOSEN: u64 = 1 << 50;

/// Added to a number, it changes both halves by one.
const BOTH_HALVES: u64 = 1_000_000_001;
/// Initial number, in the middle of those with 18 digits.
const NUMBER: u64 = 500_000_000 * BOTH_HALVES;

/// The value of `key` with CAS id `cas`.
fn value(key: u32, cas: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(cas << 20 | u64::from(key));
    let len = match rng.u8(..100) {
        0..60 => rng.usize(..300),
        60..75 => rng.usize(3900..=4096),
        75..95 => rng.usize(..4096),
        _ => rng.usize(4097..30_000),
    };
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

/// State shared by all threads.
#[derive(Default)]
struct Known {
    /// The last CAS id chosen, minus [`CHOSEN`].
    cas: AtomicU64,
    /// Keys that only fill memory.
    fillers: AtomicU64,
    /// Number stored under each CAS id of a number's key.
    numbers: Mutex<HashMap<(u32, u64), u64>>,
    hits: AtomicU64,
}

struct Worker {
    text: Client,
    binary: Client,
    rng: fastrand::Rng,
    keys: u32,
    known: Arc<Known>,
}

impl Worker {
    fn new(shared: &Arc<Shared>, number: usize, rng: fastrand::Rng, keys: u32, known: &Arc<Known>) -> Self {
        let text = Client::of_worker(shared, number);
        let mut binary = Client::speaking(shared, Protocol::Binary);
        binary.counters = Arc::clone(&text.counters);
        Self { text, binary, rng, keys, known: Arc::clone(known) }
    }

    fn step(&mut self) {
        let key = if self.rng.bool() { self.rng.u32(..5) } else { self.rng.u32(..self.keys) };
        match self.rng.u16(..1000) {
            0..250 => self.get(key),
            250..450 => self.meta_get(key),
            450..550 => self.binary_get(key),
            550..700 => self.set(key),
            700..760 => self.number(key % 10),
            760..850 => self.change_number(key % 10),
            850..900 => self.touch(key),
            900..930 => drop(self.text.ask(format!("delete k{key}\r\n").as_bytes())),
            _ if self.rng.u16(..2000) == 0 => drop(self.text.ask(b"flush_all\r\n")),
            _ => self.fill(),
        }
    }

    fn get(&mut self, key: u32) {
        let reply = self.text.ask(format!("gets k{key}\r\n").as_bytes());
        let Some((line, rest)) = split(&reply, "END") else { return };
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words[..3], ["VALUE", &format!("k{key}"), &key.to_string()]);
        assert_eq!(rest.strip_suffix(b"END\r\n").unwrap().len(), words[3].parse::<usize>().unwrap() + 2);
        self.check(key, words[4].parse().unwrap(), &rest[..rest.len() - 7]);
    }

    fn meta_get(&mut self, key: u32) {
        let bump = if self.rng.bool() { " u" } else { "" };
        let reply = self.text.ask(format!("mg k{key} v c f s t h l{bump}\r\n").as_bytes());
        let Some((line, rest)) = split(&reply, "EN") else { return };
        let words: Vec<_> = line.split(' ').collect();
        let len = rest.len() - 2;
        assert_eq!((words[0], words[1].parse().unwrap()), ("VA", len));
        assert_eq!((&words[3][1..], &words[4][1..]), (key.to_string().as_str(), len.to_string().as_str()));
        self.check(key, words[2][1..].parse().unwrap(), &rest[..len]);
    }

    fn binary_get(&mut self, key: u32) {
        let name = format!("k{key}");
        let mut request = vec![0x80, 0x0c, 0, name.len() as u8, 0, 0, 0, 0, 0, 0, 0, name.len() as u8];
        request.extend_from_slice(&[0; 12]);
        request.extend_from_slice(name.as_bytes());
        let reply = self.binary.ask(&request);
        let body = u32::from_be_bytes(reply[8..12].try_into().unwrap()) as usize;
        assert_eq!((reply[0], reply.len()), (0x81, 24 + body));
        if reply[6..8] == [0, 0] {
            assert_eq!(&reply[24..28], key.to_be_bytes());
            assert_eq!(&reply[28..28 + name.len()], name.as_bytes());
            self.check(key, u64::from_be_bytes(reply[16..24].try_into().unwrap()), &reply[28 + name.len()..]);
        }
    }

    fn check(&self, key: u32, cas: u64, shown: &[u8]) {
        assert!(cas > CHOSEN, "key {key}: CAS id {cas}, which no client chose");
        assert!(shown == value(key, cas), "key {key}, CAS id {cas}: not its value");
        self.known.hits.fetch_add(1, Relaxed);
    }

    fn set(&mut self, key: u32) {
        let cas = CHOSEN + 1 + self.known.cas.fetch_add(1, Relaxed);
        let value = value(key, cas);
        let ttl = if self.rng.u8(..4) == 0 { 1 } else { 1000 };
        let mut request = format!("ms k{key} {} E{cas} F{key} T{ttl}\r\n", value.len()).into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n");
        let reply = self.text.ask(&request);
        assert!(reply == b"HD\r\n" || reply.starts_with(b"SERVER_ERROR "), "{}", String::from_utf8_lossy(&reply));
    }

    fn number(&mut self, key: u32) {
        let reply = self.text.ask(format!("gets n{key}\r\n").as_bytes());
        let Some((line, rest)) = split(&reply, "END") else { return };
        let cas = line.rsplit(' ').next().unwrap().parse().unwrap();
        let number: u64 = std::str::from_utf8(&rest[..18]).unwrap().parse().unwrap();
        assert_eq!((rest.len(), number % BOTH_HALVES), (18 + 7, 0), "n{key}: the halves of {number}");
        self.known.hits.fetch_add(1, Relaxed);
        if self.rng.u8(..8) != 0 {
            return; // other threads do not wait for the map
        }
        let first = *self.known.numbers.lock().unwrap().entry((key, cas)).or_insert(number);
        assert_eq!(first, number, "n{key}: two numbers under CAS id {cas}");
    }

    fn change_number(&mut self, key: u32) {
        let request = match self.rng.u8(..20) {
            0 => format!("set n{key} 0 0 18\r\n{NUMBER}\r\n"),
            1 => format!("delete n{key}\r\n"),
            2..11 => format!("decr n{key} {BOTH_HALVES}\r\n"),
            _ => format!("incr n{key} {BOTH_HALVES}\r\n"),
        };
        self.text.ask(request.as_bytes());
    }

    fn touch(&mut self, key: u32) {
        // Far expiry times need another layout.
        let exptime = if self.rng.bool() { UNIX + 200 * 24 * 3600 } else { self.rng.i64(1..60) };
        let reply = self.text.ask(format!("touch k{key} {exptime}\r\n").as_bytes());
        assert!([&b"TOUCHED\r\n"[..], b"NOT_FOUND\r\n"].contains(&&reply[..]));
    }

    fn fill(&mut self) {
        let n = self.known.fillers.fetch_add(1, Relaxed);
        let len = self.rng.usize(..1500);
        self.text.ask(format!("set filler{n} 0 0 {len}\r\n{}\r\n", "f".repeat(len)).as_bytes());
    }
}

/// The first line of a reply and the bytes after it, unless it is `miss`.
fn split<'a>(reply: &'a [u8], miss: &str) -> Option<(&'a str, &'a [u8])> {
    let end = reply.iter().position(|&byte| byte == b'\r').unwrap();
    let line = std::str::from_utf8(&reply[..end]).unwrap();
    (line != miss).then(|| (line, &reply[end + 2..]))
}

fn run(settings: Settings, keys: u32, steps: u32) {
    let seed = std::env::var("READS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("READS_SEED={seed}");
    let settings = Settings { num_threads: THREADS as u32, hashpower_init: 1, ..settings };
    let shared = support::shared_with(settings);
    let (done, start) = (AtomicBool::new(false), Barrier::new(THREADS + 2));
    let known = Arc::<Known>::default();
    std::thread::scope(|scope| {
        let (shared, done, start) = (&shared, &done, &start);
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let rng = fastrand::Rng::with_seed(seed ^ number as u64);
                let mut worker = Worker::new(shared, number, rng, keys, &known);
                scope.spawn(move || {
                    start.wait();
                    (0..steps).for_each(|_| worker.step());
                })
            })
            .collect();
        scope.spawn(move || {
            start.wait();
            for round in 0.. {
                work(shared, round);
                if done.load(Relaxed) {
                    return;
                }
            }
        });
        scope.spawn(move || {
            start.wait();
            move_pages(shared, fastrand::Rng::with_seed(seed), done);
        });
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    let store = shared.cache.store;
    let evicted: u64 = store.classes(shared.clock.now()).iter().map(|view| view.counts.evicted).sum();
    let hits = known.hits.load(Relaxed);
    println!("{hits} hits, {evicted} evicted, {} index slots", store.index_view().2);
    assert!(hits > u64::from(steps) / 4 && evicted > 0);
    Client::new(&shared).ask(b"flush_all\r\n");
    shared.clock.advance(2);
    sweep(store, shared.clock.now());
    assert_empty(&shared);
}

#[test]
fn a_read_shows_one_whole_value_during_any_change() {
    run(Settings { maxbytes: 16 << 20, factor: 2.0, ..Settings::default() }, 300, 400_000);
}

#[test]
fn a_read_shows_one_whole_value_in_few_buckets() {
    run(Settings { maxbytes: 16 << 20, factor: 2.0, ..Settings::default() }, 20, 300_000);
}

/// Reads `key` optimistically, with `meddle` run in the middle of the first attempt. Returns the number of attempts,
/// and the value shown.
fn read_while(shared: &Shared, key: &str, mut meddle: impl FnMut()) -> (u32, Option<Lookup<Vec<u8>>>) {
    let (mut tries, key) = (0, Key::new(key.as_bytes()).unwrap());
    let found = shared.cache.store.read(&key, shared.clock.now(), true, |entry| {
        tries += 1;
        let mut value = Vec::new();
        entry.copy_value(&mut value);
        if tries == 1 {
            meddle();
        }
        value
    });
    (tries, found)
}

#[test]
fn a_read_that_a_change_invalidates_is_retried() {
    let shared = support::shared("-m 64");
    let mut client = Client::new(&shared);
    let hit = |value: &str| Some(Lookup::Hit(value.into()));
    for (change, tries, found) in [
        ("get k", 1, hit("100")),
        ("touch other 5", 1, hit("100")),
        ("incr k 5", 2, hit("105")),
        ("touch k 50", 2, hit("100")),
        ("touch k 2000000000", 2, hit("100")), // new layout
        ("gat 50 k", 2, hit("100")),
        ("set k 0 0 3\r\n200", 2, hit("200")),
        ("append k 0 0 1\r\n0", 2, hit("1000")),
        ("ma k E77", 2, hit("101")),
        ("md k I", 1, None), // stale: only for locked reads
        ("md k x", 2, hit("")),
        ("delete k", 1, Some(Lookup::Miss)),
        ("set k 0 0 5000\r\n", 1, None), // too large to be copied
        ("flush_all", 1, hit("100")),    // no later than the read
    ] {
        client.ask(b"set k 0 1000 3\r\n100\r\n");
        let large = if change.ends_with("5000\r\n") { "v".repeat(5000) } else { String::new() };
        let read = read_while(&shared, "k", || drop(client.ask(format!("{change}{large}\r\n").as_bytes())));
        assert_eq!(read, (tries, found), "{change}");
    }
}

#[test]
fn a_read_finds_entries_that_index_growth_moves() {
    let settings = Settings { hashpower_init: 1, ..support::settings("-m 64") };
    let shared = support::shared_with(settings);
    let mut client = Client::new(&shared);
    let store = shared.cache.store;
    let mut moved = 0;
    // So many per wave that the table grows often.
    for wave in 1..=40 {
        let count = wave * 300;
        for n in count - 300..count {
            client.ask(format!("set k{n} 0 0 5\r\n{n:05}\r\n").as_bytes());
        }
        for n in 0..count {
            let (tries, found) = read_while(&shared, &format!("k{n}"), || {
                store.grow_step(1 + n % 7);
            });
            assert_eq!(found, Some(Lookup::Hit(format!("{n:05}").into())), "k{n}");
            moved += u32::from(tries > 1);
        }
    }
    assert!(moved > 0);
}

#[test]
fn a_read_finds_items_that_the_page_mover_moves() {
    let shared = support::shared("-m 64");
    let mut client = Client::new(&shared);
    for n in 0..40_000 {
        client.ask(format!("set k{n:05} 0 0 5\r\n{n:05}\r\n").as_bytes());
    }
    // Room on the remaining page, so that nothing is evicted.
    for n in (1..40_000).step_by(2) {
        client.ask(format!("delete k{n:05}\r\n").as_bytes());
    }
    let store = shared.cache.store;
    let src = (1..=store.sizes().largest()).find(|&class| store.page_count(class) > 1).unwrap();
    let mut job = store.begin_move(src, 0).unwrap();
    let (mut over, mut moved) = (false, 0);
    for n in (0..40_000).step_by(2) {
        let (tries, found) = read_while(&shared, &format!("k{n:05}"), || {
            over = over || store.step_move(&mut job, shared.clock.now()) == Progress::Done;
        });
        assert_eq!(found, Some(Lookup::Hit(format!("{n:05}").into())), "k{n:05}");
        moved += u32::from(tries > 1);
    }
    assert!(over && moved > 0);
}
