//! Random commands against a plain `HashMap`, reply by reply, on a clock that the test moves.
//!
//! The first test has enough memory, so every reply is known. The others evict all the time: a key may be missing at
//! any lookup, but a present value must be right. All end with the proof that no chunk is lost. `MODEL_SEED` repeats
//! a run, `MODEL_OPS` sets the number of its commands.

use crate::support::{self, Client, Held, UNIX, assert_empty, sweep};
use oxcached::limits::{COPY_MAX, VALUE_LEN_MAX};
use oxcached::proto::Shared;
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum of the clock in seconds: absolute exptimes stay below 2^31 unix seconds.
const CLOCK_MAX: u32 = 900_000_000;

const MISS: &str = "NOT_FOUND\r\n";
const NOT_STORED: &str = "NOT_STORED\r\n";
const NO_MEMORY: &str = "SERVER_ERROR out of memory storing object\r\n";
const READ_NO_MEMORY: &str = "SERVER_ERROR Out of memory during read\r\n";

#[derive(Clone, PartialEq, Debug)]
struct Val {
    value: Vec<u8>,
    flags: u32,
    /// Relative time, 0 = never.
    exptime: u32,
    atime: u32,
}

/// Expected reply of a command and the key's new value, given the old value.
type Effect = (String, Option<Val>);

struct Model {
    rng: fastrand::Rng,
    client: Client,
    items: HashMap<Vec<u8>, Val>,
    keys: Vec<Vec<u8>>,
    /// Largest value tried.
    value_max: usize,
    /// Items may be evicted.
    evicting: bool,
    /// From this time on, items last used at or before it are flushed.
    oldest_live: u32,
    held: Vec<(Held, Vec<u8>)>,
    last_cas: u64,
    hits: u64,
}

fn seed() -> u64 {
    let seed = std::env::var("MODEL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("MODEL_SEED={seed}");
    seed
}

fn ops(otherwise: u32) -> u32 {
    std::env::var("MODEL_OPS").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

impl Model {
    fn new(shared: &Arc<Shared>, keys: usize, value_max: usize, evicting: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed());
        let keys = (0..keys)
            .map(|n| {
                let mut key = format!("key{n}").into_bytes();
                let len = match rng.u8(..10) {
                    0 => 250,
                    1..4 => rng.usize(key.len()..=250),
                    _ => key.len(),
                };
                key.resize(len, b'k');
                key
            })
            .collect();
        let client = Client::new(shared);
        let items = HashMap::new();
        let held = Vec::new();
        Self { rng, client, items, keys, value_max, evicting, oldest_live: 0, held, last_cas: 0, hits: 0 }
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.client.shared)
    }

    fn now(&self) -> u32 {
        self.client.shared.clock.now()
    }

    fn is_dead(&self, val: &Val) -> bool {
        let (now, oldest) = (self.now(), self.oldest_live);
        let flushed = oldest != 0 && oldest <= now && val.atime <= oldest;
        flushed || (val.exptime != 0 && val.exptime <= now)
    }

    fn live(&self, key: &[u8]) -> Option<Val> {
        self.items.get(key).filter(|val| !self.is_dead(val)).cloned()
    }

    fn run(&mut self, ops: u32) {
        for _ in 0..ops {
            self.step();
        }
    }

    fn step(&mut self) {
        match self.rng.u32(..1000) {
            0..300 => self.store(),
            300..480 => self.get(),
            480..560 => self.multiget(),
            560..640 => self.cas(),
            640..740 => self.arith(),
            740..800 => self.touch(),
            800..860 => self.gat(),
            860..940 => self.delete(),
            940..943 if !self.evicting || self.rng.u8(..100) == 0 => self.flush(),
            943..948 => self.read_held(),
            948..950 => self.check_items(),
            _ => self.pass_time(),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        // A few keys are popular.
        let at =
            if self.rng.bool() { self.rng.usize(..self.keys.len().min(8)) } else { self.rng.usize(..self.keys.len()) };
        self.keys[at].clone()
    }

    /// A value of letters or digits, often of a size at which the layout changes.
    fn value(&mut self) -> Vec<u8> {
        const EDGES: [usize; 9] = [0, 1, 7, 8, COPY_MAX - 1, COPY_MAX, COPY_MAX + 1, 65_535, 65_536];
        let rng = &mut self.rng;
        let len = match rng.u32(..1000) {
            // Few classes: each has one page at least, whatever the limit.
            700.. if self.evicting => *rng.choice(&[30, 700, 6500, 6500, 220_000, 600_000]).unwrap(),
            0..500 => rng.usize(..40),
            500..650 => *rng.choice(&EDGES).unwrap(),
            650..900 => rng.usize(..1500),
            900..980 => rng.usize(..20_000),
            980..995 => rng.usize(..200_000),
            _ => rng.usize(500_000..1_048_000),
        };
        let len = len.min(self.value_max);
        if len < 25 && rng.bool() {
            return (0..len).map(|_| rng.digit(10) as u8).collect();
        }
        let mut value = vec![0; len];
        rng.fill(&mut value);
        value.iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
        if len > 2 && rng.bool() {
            let at = rng.usize(..len - 1);
            value[at..at + 2].copy_from_slice(b"\r\n");
        }
        value
    }

    /// An exptime argument and the relative time it means.
    fn exptime(&mut self) -> (i64, u32) {
        const MONTH: i64 = 30 * 24 * 3600;
        let now = self.now();
        let given = match self.rng.u8(..20) {
            _ if self.evicting && self.rng.u8(..20) > 0 => 0,
            0..10 => 0,
            10..14 => self.rng.i64(1..200),
            14..16 => self.rng.i64(1..=MONTH),
            16 => -self.rng.i64(1..5),
            _ => UNIX + i64::from(now) + self.rng.i64(-3000..400 * 24 * 3600),
        };
        let relative = match given {
            0 => 0,
            ..0 => 1,
            1..=MONTH => now + given as u32,
            _ => (given - UNIX).max(1) as u32,
        };
        (given, relative)
    }

    /// Sends a command about `key`. The reply must be one that `effect` gives for the key's value or, with eviction,
    /// for no value. The model follows.
    fn send(&mut self, key: &[u8], request: &[u8], effect: impl Fn(Option<Val>) -> Effect) {
        let old = self.live(key);
        let reply = String::from_utf8(self.client.ask(request)).unwrap();
        let shown = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
        assert!(!self.client.closed, "closed after {shown:?}");
        let expected = effect(old.clone());
        let left = if reply == expected.0 {
            self.hits += u64::from(old.is_some());
            expected.1
        } else if self.evicting && reply == NO_MEMORY {
            if request.starts_with(b"set ") { None } else { old }
        } else if self.evicting && (reply == READ_NO_MEMORY || reply == "SERVER_ERROR out of memory\r\n") {
            old
        } else {
            let gone = effect(None);
            let joins = request.starts_with(b"append ") || request.starts_with(b"prepend ");
            if self.evicting && joins && reply == NOT_STORED {
                old // evicted, or no room for both values
            } else {
                assert!(
                    self.evicting && reply == gone.0,
                    "{shown:?} at {}\n got {:?}\nwant {:?}\n over {old:?}",
                    self.now(),
                    &reply[..reply.len().min(300)],
                    &expected.0[..expected.0.len().min(300)],
                );
                gone.1
            }
        };
        match left {
            Some(val) => self.items.insert(key.to_vec(), val),
            None => self.items.remove(key),
        };
    }

    fn store(&mut self) {
        let (key, value, (given, exptime)) = (self.key(), self.value(), self.exptime());
        let flags = if self.rng.bool() { 0 } else { self.rng.u32(..) };
        let verb = *self.rng.choice(&["set", "set", "set", "set", "add", "replace", "append", "prepend"]).unwrap();
        let noreply = self.rng.u8(..10) == 0 && !self.evicting;
        let mut request = format!("{verb} {} {flags} {given} {}", text(&key), value.len()).into_bytes();
        request.extend_from_slice(if noreply { b" noreply\r\n" } else { b"\r\n" });
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n");
        let now = self.now();
        let klen = key.len();
        self.send(&key, &request, |old| {
            let new = Val { value: value.clone(), flags, exptime, atime: now };
            let (reply, left) = match (verb, old) {
                ("set", _) | ("add", None) | ("replace", Some(_)) => ("STORED\r\n", Some(new)),
                ("add", Some(old)) => (NOT_STORED, Some(Val { atime: now, ..old })),
                ("append" | "prepend", Some(old)) => {
                    let joined = match verb {
                        "append" => [&old.value[..], &value].concat(),
                        _ => [&value[..], &old.value].concat(),
                    };
                    // memcached's item header, CAS id, NUL and line end count.
                    let memcached_size = 48 + 8 + if old.flags == 0 { 0 } else { 4 } + klen + 1 + joined.len() + 2;
                    if memcached_size > 1 << 20 {
                        (NOT_STORED, Some(old))
                    } else {
                        ("STORED\r\n", Some(Val { value: joined, atime: now, ..old }))
                    }
                }
                (_, None) => (NOT_STORED, None),
                (_, old) => unreachable!("{old:?}"),
            };
            (if noreply { String::new() } else { reply.to_owned() }, left)
        });
    }

    fn get(&mut self) {
        let key = self.key();
        let now = self.now();
        let request = format!("get {}\r\n", text(&key));
        let large = self.live(&key).is_some_and(|val| val.value.len() > COPY_MAX);
        if large && self.held.len() < 20 && !self.evicting && self.rng.bool() {
            // A slow reader.
            let val = self.live(&key).unwrap();
            let held = self.client.ask_and_hold(request.as_bytes());
            self.held.push((held, (block(&key, &val, None) + "END\r\n").into_bytes()));
            self.items.get_mut(&key).unwrap().atime = now;
            return;
        }
        self.send(&key, request.as_bytes(), |old| match old {
            Some(old) => (block(&key, &old, None) + "END\r\n", Some(Val { atime: now, ..old })),
            None => ("END\r\n".to_owned(), None),
        });
    }

    fn multiget(&mut self) {
        let keys: Vec<_> = (0..self.rng.usize(1..60)).map(|_| self.key()).collect();
        let mut request = b"get".to_vec();
        for key in &keys {
            request.push(b' ');
            request.extend_from_slice(key);
        }
        request.extend_from_slice(b"\r\n");
        let reply = self.client.ask(&request);
        let mut rest = &reply[..];
        let now = self.now();
        for key in &keys {
            let Some(val) = self.live(key) else { continue };
            let block = block(key, &val, None);
            if let Some(after) = rest.strip_prefix(block.as_bytes()) {
                rest = after;
                self.items.get_mut(key).unwrap().atime = now;
            } else {
                assert!(self.evicting, "{} is missing", text(key));
                self.items.remove(key);
            }
        }
        assert_eq!(String::from_utf8_lossy(&rest[..rest.len().min(300)]), "END\r\n");
    }

    /// CAS id of a key's item; checks the value too.
    fn cas_id(&mut self, key: &[u8]) -> Option<u64> {
        let reply = String::from_utf8(self.client.ask(format!("gets {}\r\n", text(key)).as_bytes())).unwrap();
        let Some(val) = self.live(key).filter(|_| reply != "END\r\n" || !self.evicting) else {
            assert_eq!(reply, "END\r\n");
            self.items.remove(key);
            return None;
        };
        let line = reply.split("\r\n").next().unwrap();
        let cas = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(reply, block(key, &val, Some(cas)) + "END\r\n");
        let now = self.now();
        self.items.get_mut(key).unwrap().atime = now;
        Some(cas)
    }

    fn cas(&mut self) {
        let (key, value, (given, exptime)) = (self.key(), self.value(), self.exptime());
        let id = self.cas_id(&key);
        let right = id.is_some() && self.rng.bool();
        let compare = id.unwrap_or(1) ^ if right { 0 } else { 1 << self.rng.u32(..40) };
        let mut request = format!("cas {} 0 {given} {} {compare}\r\n", text(&key), value.len()).into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n");
        let now = self.now();
        self.send(&key, &request, |old| match old {
            None => (MISS.to_owned(), None),
            Some(_) if right => {
                ("STORED\r\n".to_owned(), Some(Val { value: value.clone(), flags: 0, exptime, atime: now }))
            }
            old => ("EXISTS\r\n".to_owned(), old),
        });
        if let (Some(before), Some(after)) = (id, self.cas_id(&key)) {
            let stored = self.items.get(&key).is_some_and(|val| right && val.value == value);
            assert!(after >= before, "ids never fall");
            if stored {
                assert!(after > before.max(self.last_cas), "a new id is larger than any before");
                self.last_cas = after;
            }
        }
    }

    fn arith(&mut self) {
        let key = self.key();
        let incr = self.rng.bool();
        let delta = match self.rng.u8(..4) {
            0 => self.rng.u64(..),
            1 => self.rng.u64(..1000),
            _ => self.rng.u64(..10),
        };
        let request = format!("{} {} {delta}\r\n", if incr { "incr" } else { "decr" }, text(&key));
        let now = self.now();
        let (sizes, klen) = (self.shared().cache.store.sizes(), key.len());
        self.send(&key, request.as_bytes(), |old| {
            let Some(mut old) = old else { return (MISS.to_owned(), None) };
            // A value in a chain of chunks is never a number.
            let chunked = sizes.is_chunked(sizes.memcached_size(klen, old.value.len(), old.flags != 0));
            let Some(number) = number(&old.value).filter(|_| !chunked) else {
                let reply = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
                return (reply.to_owned(), Some(old));
            };
            let sum = if incr { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
            let len = old.value.len();
            let longer = sum.to_string().len() > len;
            old.value = sum.to_string().into_bytes();
            old.value.resize(len.max(old.value.len()), b' ');
            if longer {
                old.atime = now;
            }
            (format!("{sum}\r\n"), Some(old))
        });
    }

    fn touch(&mut self) {
        let (key, (given, exptime)) = (self.key(), self.exptime());
        let now = self.now();
        self.send(&key, format!("touch {} {given}\r\n", text(&key)).as_bytes(), |old| match old {
            Some(old) => ("TOUCHED\r\n".to_owned(), Some(Val { exptime, atime: now, ..old })),
            None => (MISS.to_owned(), None),
        });
    }

    fn gat(&mut self) {
        let (key, (given, exptime)) = (self.key(), self.exptime());
        let now = self.now();
        self.send(&key, format!("gat {given} {}\r\n", text(&key)).as_bytes(), |old| match old {
            Some(old) => (block(&key, &old, None) + "END\r\n", Some(Val { exptime, atime: now, ..old })),
            None => ("END\r\n".to_owned(), None),
        });
    }

    fn delete(&mut self) {
        let key = self.key();
        self.send(&key, format!("delete {}\r\n", text(&key)).as_bytes(), |old| {
            (if old.is_some() { "DELETED\r\n" } else { MISS }.to_owned(), None)
        });
    }

    fn flush(&mut self) {
        // A second delayed flush replaces the first: items flushed by the first and not yet removed would live again.
        self.check_items();
        let now = self.now();
        if self.rng.bool() {
            assert_eq!(self.client.ask(b"flush_all\r\n"), b"OK\r\n");
            self.oldest_live = now - 1;
            self.items.clear();
        } else {
            let delay = self.rng.u32(1..50);
            assert_eq!(self.client.ask(format!("flush_all {delay}\r\n").as_bytes()), b"OK\r\n");
            self.oldest_live = now + delay - 1;
            if self.oldest_live <= now {
                self.items.clear();
            }
        }
    }

    fn read_held(&mut self) {
        while self.held.len() > 3 {
            let (held, expected) = self.held.swap_remove(self.rng.usize(..self.held.len()));
            assert!(held.read() == expected, "a slow reader got other bytes than at the time of the request");
        }
    }

    fn pass_time(&mut self) {
        let seconds = match self.rng.u32(..500) {
            0 => self.rng.i64(0..30 * 24 * 3600),
            1..20 => self.rng.i64(0..100),
            _ => self.rng.i64(0..2),
        };
        if self.now() >= CLOCK_MAX {
            return;
        }
        self.client.shared.clock.advance(seconds);
        if seconds > 3600 || self.rng.u32(..500) == 0 {
            self.check_items();
        }
    }

    /// Sweeps, then compares the item counts.
    fn check_items(&mut self) {
        let store = self.client.shared.cache.store;
        sweep(store, self.now());
        let dead: Vec<_> = self.items.iter().filter(|(_, val)| self.is_dead(val)).map(|(key, _)| key.clone()).collect();
        for key in dead {
            self.items.remove(&key);
        }
        if self.evicting {
            return;
        }
        // Held values count until their readers are done.
        for (held, expected) in self.held.drain(..) {
            assert!(held.read() == expected, "a slow reader got other bytes than at the time of the request");
        }
        assert_eq!(store.items(), self.items.len() as u64);
        let bytes = |(key, val): (&Vec<u8>, &Val)| {
            48 + 8 + if val.flags == 0 { 0 } else { 4 } + key.len() + 1 + val.value.len() + 2
        };
        assert_eq!(store.bytes(), self.items.iter().map(bytes).sum::<usize>() as u64);
    }

    /// Deletes everything and checks that nothing is left.
    fn finish(mut self) {
        for (held, expected) in self.held.drain(..) {
            assert!(held.read() == expected);
        }
        println!("{} commands about live items, {} live at the end", self.hits, self.items.len());
        for key in &self.keys {
            self.client.feed(format!("delete {} noreply\r\n", text(key)).as_bytes());
        }
        assert!(self.client.got.is_empty());
        assert_empty(&self.shared());
    }
}

fn text(key: &[u8]) -> &str {
    std::str::from_utf8(key).unwrap()
}

/// The `VALUE` block of a reply.
fn block(key: &[u8], val: &Val, cas: Option<u64>) -> String {
    let cas = cas.map_or(String::new(), |cas| format!(" {cas}"));
    let value = text(&val.value);
    format!("VALUE {} {} {}{cas}\r\n{value}\r\n", text(key), val.flags, value.len())
}

/// memcached's parsing of a stored number: digits after white space, then white space or the end.
fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let ends = digits.get(end).is_none_or(u8::is_ascii_whitespace);
    if ends { text(&digits[..end]).parse().ok() } else { None }
}

#[test]
fn every_reply_matches_the_model() {
    let mut model = Model::new(&support::shared("-m 1024 -o hashpower=12"), 300, VALUE_LEN_MAX as usize, false);
    model.run(ops(100_000));
    model.finish();
}

#[test]
fn evicting_loses_items_but_never_mixes_them() {
    for args in [
        "-m 8",
        "-m 12 -f 1.08",
        "-m 8 -f 2 -n 200",
        "-m 8 -o slab_chunk_max=16,slab_sizes=100-500-2000",
        "-m 8 -o slab_chunk_max=1",
    ] {
        println!("{args}");
        let mut model = Model::new(&support::shared(args), 3000, 1_000_000, true);
        model.run(ops(20_000));
        let views = model.shared().cache.store.classes(model.now());
        let evicted: u64 = views.iter().map(|view| view.counts.evicted).sum();
        println!("{evicted} evicted");
        assert!(evicted > 100 || ops(0) != 0);
        model.finish();
    }
}

#[test]
fn without_eviction_memory_ends_in_an_error() {
    let mut model = Model::new(&support::shared("-m 8 -M"), 5000, 1_000_000, true);
    model.run(ops(30_000));
    model.finish();
}
