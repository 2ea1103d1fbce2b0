//! Several threads on few keys: every value read must be one that was written for its key, whole.
//!
//! Values are made of records that name their key and check themselves, in sizes on both sides of every change of
//! layout. Meanwhile items are evicted, the index grows from its smallest size, the sweep runs, pages move between
//! the slab classes all the time, some clients read and some write slowly, and time passes. At the end no chunk may
//! be missing. `STRESS_SEED` repeats the choices, if not the timing.

use crate::support::{self, Client, Held, assert_empty, move_pages, work};
use oxcached::settings::Settings;
use oxcached::store::GrowthStep;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Barrier, Mutex};

const THREADS: usize = 4;

/// Length of a record before its body: key, seed, body length.
const RECORD: usize = 16;

/// Checksum of the value stored under each CAS id of a key.
type Seen = Mutex<HashMap<(u32, u64), u64>>;

/// Appends a record of `len` bytes, its head included.
fn record(key: u32, seed: u64, len: usize, to: &mut Vec<u8>) {
    let start = to.len();
    to.extend_from_slice(&key.to_le_bytes());
    to.extend_from_slice(&seed.to_le_bytes());
    to.extend_from_slice(&(len as u32).to_le_bytes());
    let mut state = seed | 1;
    while to.len() < start + len {
        state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        to.extend_from_slice(&state.to_le_bytes());
    }
    to.truncate(start + len);
}

/// Asserts that `value` is records of `key`.
#[track_caller]
fn check(key: u32, value: &[u8]) {
    let mut rest = value;
    let mut expected = Vec::new();
    while !rest.is_empty() {
        assert!(rest.len() >= RECORD, "key {key}: {} stray bytes of {}", rest.len(), value.len());
        let seed = u64::from_le_bytes(rest[4..12].try_into().unwrap());
        let len = u32::from_le_bytes(rest[12..16].try_into().unwrap()) as usize;
        expected.clear();
        record(key, seed, len.clamp(RECORD, value.len().max(RECORD)), &mut expected);
        assert!(rest.starts_with(&expected), "key {key}: a torn or foreign value of {} bytes", value.len());
        rest = &rest[len..];
    }
}

fn checksum(value: &[u8]) -> u64 {
    value.iter().fold(value.len() as u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}

struct Worker {
    client: Client,
    rng: fastrand::Rng,
    keys: u32,
    large: bool,
    seen: Arc<Seen>,
    held: Vec<(u32, Held)>,
    /// A slow writer, and the bytes it has yet to send.
    slow: (Client, Vec<u8>),
}

impl Worker {
    fn key(&mut self) -> u32 {
        let popular = self.rng.bool();
        self.rng.u32(..if popular { 10 } else { self.keys })
    }

    fn len(&mut self) -> usize {
        match self.rng.u32(..100) {
            0..40 => self.rng.usize(RECORD..200),
            40..60 => self.rng.usize(4080..4110),
            60..80 => self.rng.usize(RECORD..20_000),
            80..90 => self.rng.usize(65_500..65_600),
            _ if self.large => self.rng.usize(500_000..900_000),
            _ => 100,
        }
    }

    fn step(&mut self) {
        let key = self.key();
        match self.rng.u32(..100) {
            0..30 => self.write(key),
            30..60 => self.read(key, "get"),
            60..70 => self.read(key, "gets"),
            70..76 => {
                if self.held.len() > 5 {
                    let (key, held) = self.held.swap_remove(self.rng.usize(..self.held.len()));
                    self.examine(key, &held.read());
                }
                let held = self.client.ask_and_hold(format!("gets k{key}\r\n").as_bytes());
                self.held.push((key, held));
            }
            76..84 => {
                self.client.ask(format!("delete k{key}\r\n").as_bytes());
            }
            84..92 => {
                // Far expiry times need another layout.
                let exptime = if self.rng.bool() { support::UNIX + 200 * 24 * 3600 } else { self.rng.i64(1..60) };
                let touch = self.client.ask(format!("touch k{key} {exptime}\r\n").as_bytes());
                assert!([&b"TOUCHED\r\n"[..], b"NOT_FOUND\r\n"].contains(&&touch[..]));
            }
            92..96 => self.count(key),
            96..98 => self.write_slowly(key),
            _ => {
                self.client.ask(if self.rng.u8(..100) == 0 { b"flush_all\r\n" } else { b"stats slabs\r\n" });
            }
        }
    }

    fn write(&mut self, key: u32) {
        let verb = *self.rng.choice(&["set", "set", "set", "add", "replace", "append", "prepend"]).unwrap();
        let (seed, len) = (self.rng.u64(..), self.len());
        let mut request = format!("{verb} k{key} {} 0 {len}\r\n", key % 2).into_bytes();
        record(key, seed, len, &mut request);
        request.extend_from_slice(b"\r\n");
        let cut = self.rng.usize(..request.len());
        self.client.feed(&request[..cut]);
        self.client.feed(&request[cut..]);
        let reply = std::mem::take(&mut self.client.got);
        let known: [&[u8]; 4] = [
            b"STORED\r\n",
            b"NOT_STORED\r\n",
            b"SERVER_ERROR out of memory storing object\r\n",
            b"SERVER_ERROR Out of memory during read\r\n",
        ];
        assert!(known.contains(&&reply[..]), "{verb}: {:?}", String::from_utf8_lossy(&reply));
    }

    /// Sends the rest of a pending value, or the first part of another one.
    fn write_slowly(&mut self, key: u32) {
        let rest = std::mem::take(&mut self.slow.1);
        if rest.is_empty() {
            let (seed, len) = (self.rng.u64(..), self.len());
            let mut request = format!("set k{key} {} 0 {len}\r\n", key % 2).into_bytes();
            record(key, seed, len, &mut request);
            request.extend_from_slice(b"\r\n");
            let rest = request.split_off(self.rng.usize(..request.len()));
            self.slow.0.feed(&request);
            self.slow.1 = rest;
        } else {
            let reply = self.slow.0.ask(&rest);
            assert!(reply == b"STORED\r\n" || reply.starts_with(b"SERVER_ERROR "), "{reply:?}");
        }
    }

    fn read(&mut self, key: u32, verb: &str) {
        let reply = self.client.ask(format!("{verb} k{key}\r\n").as_bytes());
        self.examine(key, &reply);
    }

    fn examine(&self, key: u32, reply: &[u8]) {
        if reply == b"END\r\n" {
            return;
        }
        let end = reply.iter().position(|&byte| byte == b'\r').unwrap();
        let line = std::str::from_utf8(&reply[..end]).unwrap();
        let words: Vec<_> = line.split(' ').collect();
        let len: usize = words[3].parse().unwrap();
        assert_eq!(words[..3], ["VALUE", &format!("k{key}"), &format!("{}", key % 2)]);
        let value = &reply[end + 2..end + 2 + len];
        assert_eq!(&reply[end + 2 + len..], b"\r\nEND\r\n");
        check(key, value);
        if let Some(cas) = words.get(4) {
            let sum = checksum(value);
            let first = *self.seen.lock().unwrap().entry((key, cas.parse().unwrap())).or_insert(sum);
            assert_eq!(first, sum, "key {key}: two values under CAS id {cas}");
        }
    }

    /// Arithmetic in place and out of place.
    fn count(&mut self, key: u32) {
        let request = match self.rng.u8(..4) {
            0 => format!("set n{key} 0 0 3\r\n997\r\n"),
            1 => format!("decr n{key} 3\r\n"),
            2 => format!("incr n{key} 900\r\n"),
            _ => format!("get n{key}\r\n"),
        };
        let reply = String::from_utf8(self.client.ask(request.as_bytes())).unwrap();
        let number = match request.starts_with("get") {
            true => reply.split("\r\n").nth(1).unwrap_or_default().trim_end(),
            false => reply.trim_end(),
        };
        let wordy = ["", "STORED", "NOT_FOUND"].contains(&number) || number.starts_with("SERVER_ERROR");
        assert!(wordy || number.parse::<u64>().is_ok(), "{reply:?}");
    }
}

fn run(settings: Settings, keys: u32, steps: u32, large: bool) {
    let seed =
        std::env::var("STRESS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("STRESS_SEED={seed}");
    let settings = Settings { num_threads: THREADS as u32, hashpower_init: 1, ..settings };
    let shared = support::shared_with(settings);
    let (done, start) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(THREADS + 1)));
    let seen: Arc<Seen> = Arc::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let client = Client::of_worker(&shared, number);
                let rng = fastrand::Rng::with_seed(seed ^ number as u64);
                let seen = Arc::clone(&seen);
                let slow = (Client::of_worker(&shared, number), Vec::new());
                let mut worker = Worker { client, rng, keys, large, seen, held: Vec::new(), slow };
                let start = Arc::clone(&start);
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..steps {
                        worker.step();
                    }
                    for (key, held) in std::mem::take(&mut worker.held) {
                        worker.examine(key, &held.read());
                    }
                    worker.slow.0.restart();
                })
            })
            .collect();
        let (chores, told) = (Arc::clone(&shared), Arc::clone(&done));
        scope.spawn(move || {
            start.wait();
            for round in 0.. {
                work(&chores, round);
                if told.load(Relaxed) {
                    return;
                }
            }
        });
        let (moving, told) = (Arc::clone(&shared), Arc::clone(&done));
        scope.spawn(move || move_pages(&moving, fastrand::Rng::with_seed(seed), &told));
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Relaxed);
        for result in results {
            result.unwrap();
        }
    });
    let store = shared.cache.store;
    while store.grow_step(1000) != GrowthStep::Over {}
    let evicted: u64 = store.classes(shared.clock.now()).iter().map(|view| view.counts.evicted).sum();
    println!("{} items, {evicted} evicted, {} index slots", store.items(), store.index_view().2);
    let mut client = Client::new(&shared);
    for key in 0..keys {
        client.feed(format!("delete k{key} noreply\r\ndelete n{key} noreply\r\n").as_bytes());
    }
    assert_empty(&shared);
}

#[test]
fn values_stay_whole_while_everything_moves() {
    run(Settings { maxbytes: 256 << 20, ..Settings::default() }, 5000, 40_000, false);
}

#[test]
fn values_stay_whole_while_memory_is_short() {
    run(Settings { maxbytes: 24 << 20, factor: 2.0, ..Settings::default() }, 400, 8000, true);
}

#[test]
fn values_stay_whole_in_short_chains() {
    let settings = Settings { maxbytes: 12 << 20, factor: 2.0, slab_chunk_size_max: 4096, ..Settings::default() };
    run(settings, 1500, 10_000, false);
}

/// Requests that move every counter of workers and classes: hits, misses, evictions, flushes, expiry.
fn move_counters(client: &mut Client, round: u32) {
    let key = round % 3000;
    let len = [10, 300, 5000][round as usize % 3];
    let value = "1".repeat(len);
    client.ask(format!("set k{key} 0 {} {len}\r\n{value}\r\nget k{key} other\r\n", round % 7).as_bytes());
    client.ask(format!("touch k{key} 5\r\nincr k{key} 1\r\ndelete k{}\r\nmg k{key} v\r\n", key / 2).as_bytes());
    if round % 1000 == 999 {
        client.ask(b"flush_all\r\n");
    }
}

#[test]
fn statistics_during_resets_are_never_absurd() {
    let settings = Settings { maxbytes: 4 << 20, num_threads: THREADS as u32, ..Settings::default() };
    let (shared, done) = (support::shared_with(settings), AtomicBool::new(false));
    let mut clients: Vec<Client> = (0..THREADS).map(|number| Client::of_worker(&shared, number)).collect();
    let (mut reader, mut resetter) = (clients.pop().unwrap(), clients.pop().unwrap());
    reader.ask(b"stats detail on\r\n");
    std::thread::scope(|scope| {
        let (shared, done) = (&shared, &done);
        for mut client in clients {
            scope.spawn(move || (0..).take_while(|_| !done.load(Relaxed)).for_each(|n| move_counters(&mut client, n)));
        }
        scope.spawn(move || (0..).take_while(|_| !done.load(Relaxed)).for_each(|round| work(shared, round)));
        scope.spawn(move || {
            while !done.load(Relaxed) {
                assert_eq!(resetter.ask(b"stats reset\r\n"), b"RESET\r\n");
            }
        });
        let reader = scope.spawn(move || {
            for _ in 0..300 {
                for what in ["", " items", " slabs", " detail dump"] {
                    let rows = String::from_utf8(reader.ask(format!("stats{what}\r\n").as_bytes())).unwrap();
                    for row in rows.lines() {
                        let mut numbers = row.split(' ').filter_map(|word| word.parse::<u64>().ok());
                        assert!(numbers.all(|number| number < 1 << 48), "{row}");
                    }
                }
            }
        });
        let read = reader.join();
        done.store(true, Relaxed);
        read.unwrap();
    });
}
