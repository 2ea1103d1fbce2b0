//! A request in steady state allocates nothing.
//!
//! Owns a global allocator that counts allocations of the test's own thread; needs a process of its own.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code, reason = "a global allocator cannot be had without")]

mod support;

use oxcached::events::EventClass;
use oxcached::proto::{Cx, Input, Output, Protocol, Session, Shared, Step, TurnTrace};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use support::{Client, shared};

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    ASKED.with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: every call is passed unchanged to the system's allocator; counting touches no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the same contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations during the second pass over the requests, 10,000 commands; the first pass warms up.
fn allocations(client: &mut Client, requests: &[Vec<u8>]) -> u64 {
    let mut round = || {
        let before = ASKED.with(Cell::get);
        for n in 0..10_000 {
            client.feed(&requests[n % requests.len()]);
            client.got.clear();
        }
        ASKED.with(Cell::get) - before
    };
    round();
    round();
    round()
}

fn set(key: usize, len: usize) -> Vec<u8> {
    format!("set key{key} 5 100 {len}\r\n{}\r\n", "v".repeat(len)).into_bytes()
}

#[test]
fn steady_requests_allocate_nothing() {
    let all = |request: &dyn Fn(usize) -> Vec<u8>| (0..100).map(request).collect::<Vec<_>>();
    let get = |key: usize| format!("get key{key}\r\n").into_bytes();
    let multiget = |key: usize| {
        let keys: String = (key..key + 50).map(|key| format!(" key{key}")).collect();
        format!("get{keys}\r\n").into_bytes()
    };
    let pipeline = |key: usize| [set(key, 20), get(key), get(key + 1), get(key + 200), set(key + 1, 700)].concat();
    let number = |key: usize| format!("set key{key} 0 0 1\r\n1\r\nincr key{key} 1\r\ndecr key{key} 1\r\n").into_bytes();
    let line =
        |verb: &'static str, rest: &'static str| move |key: usize| format!("{verb} key{key}{rest}\r\n").into_bytes();
    for args in ["-m 64", "-m 64 -R 1", "-m 64 -C", "-m 64 -o hotkeys,hotkeys_sample=1"] {
        let mut client = Client::new(&shared(args));
        for (name, requests) in [
            ("set", all(&|key| set(key, 10))),
            ("set 4096", all(&|key| set(key, 4096))),
            ("get", all(&get)),
            ("set 10,000", all(&|key| set(key, 10_000))),
            ("set 10", all(&|key| set(key, 10))),
            ("multiget", all(&multiget)),
            ("pipeline", all(&pipeline)),
            ("gets", all(&line("gets", ""))),
            ("touch", all(&line("touch", " 100"))),
            ("add", all(&line("add", " 0 0 1\r\nx"))),
            ("replace", all(&line("replace", " 0 0 1\r\nx"))),
            ("append", all(&line("append", " 0 0 0\r\n"))),
            ("incr", all(&number)),
            ("delete", all(&line("delete", ""))),
        ] {
            assert_eq!(allocations(&mut client, &requests), 0, "{args}: {name}");
        }
    }
}

/// A packet: opcode, extras, key, value.
fn packet(opcode: u8, extras: &[u8], key: &str, value: &[u8]) -> Vec<u8> {
    let body = (extras.len() + key.len() + value.len()) as u32;
    let head = [&[0x80, opcode, 0, key.len() as u8, extras.len() as u8, 0, 0, 0], &body.to_be_bytes()[..]].concat();
    [head.as_slice(), &[0; 12], extras, key.as_bytes(), value].concat()
}

#[test]
fn steady_packets_allocate_nothing() {
    let all = |request: &dyn Fn(&str) -> Vec<u8>| (0..100).map(|n| request(&format!("key{n}"))).collect::<Vec<_>>();
    let set = |key: &str, len: usize| packet(0x01, &[0, 0, 0, 5, 0, 0, 0, 100], key, &vec![b'v'; len]);
    let number = |key: &str| {
        let one = [&[0; 7], &[1][..], &[0; 12]].concat();
        [packet(0x01, &[0; 8], key, b"1"), packet(0x05, &one, key, b""), packet(0x06, &one, key, b"")].concat()
    };
    let pipeline = |key: &str| {
        [set(key, 700), packet(0x0c, &[], key, b""), packet(0x09, &[], "none", b""), packet(0x0a, &[], "", b"")]
            .concat()
    };
    let mut client = Client::new(&shared("-m 64"));
    for (name, requests) in [
        ("set", all(&|key| set(key, 10))),
        ("set 10,000", all(&|key| set(key, 10_000))),
        ("pipeline", all(&pipeline)),
        ("get", all(&|key| packet(0x00, &[], key, b""))),
        ("touch", all(&|key| packet(0x1d, &[0, 0, 0, 100], key, b""))),
        ("append", all(&|key| packet(0x0e, &[], key, b""))),
        ("incr", all(&number)),
        ("delete", all(&|key| packet(0x04, &[], key, b""))),
    ] {
        assert_eq!(allocations(&mut client, &requests), 0, "{name}");
    }
}

#[test]
fn eviction_allocates_nothing() {
    let mut client = Client::new(&shared("-m 8"));
    let requests: Vec<_> = (0..30_000).map(|key| set(key, 900)).collect();
    let mut rounds = requests.chunks(10_000).cycle();
    for _ in 0..4 {
        allocations(&mut client, rounds.next().unwrap());
    }
    assert_eq!(allocations(&mut client, rounds.next().unwrap()), 0);
    let views = client.shared.cache.store.classes(client.shared.clock.now());
    assert!(views.iter().map(|view| view.counts.evicted).sum::<u64>() > 10_000);
}

/// Allocations of 1,000 timed turns, all of them slow.
fn allocations_of_turns(shared: &Arc<Shared>, trace: &TurnTrace, request: &[u8]) -> u64 {
    let (mut session, mut input, mut out) = (Session::new(Protocol::Ascii), Input::default(), Output::default());
    let counters = &shared.stats.workers[0];
    trace.follow(&shared.runtime);
    let mut round = || {
        let before = ASKED.with(Cell::get);
        for _ in 0..1_000 {
            trace.begin_turn(counters);
            input.append(request);
            let mut cx = Cx::new(shared, counters, 7).of_worker(0).in_turn(trace);
            assert_eq!(session.run(&mut cx, &mut input, &mut out, &mut 20), Step::Read);
            if let Some(nanos) = trace.end_turn() {
                Cx::new(shared, counters, 7).of_worker(0).in_turn(trace).keep_slow(trace, nanos);
            }
            out.clear();
        }
        ASKED.with(Cell::get) - before
    };
    round();
    round()
}

#[test]
fn timed_turns_and_their_records_allocate_nothing() {
    for mode in ["off", "turn", "full"] {
        let shared = shared(&format!("-m 64 -o latency={mode},slow_threshold=0,large_threshold=4096"));
        shared.events.open().unwrap();
        shared.events.want(EventClass::SLOW.and(EventClass::LARGE));
        let trace = TurnTrace::new(Arc::clone(&shared.stats.latency.workers[0]));
        let large = format!("set large 0 0 5000\r\n{}\r\nget large\r\n", "v".repeat(5000));
        for request in ["get a\r\n", "set a 0 0 1\r\nx\r\nget a\r\nmg a v\r\ndelete a\r\n", &large] {
            assert_eq!(allocations_of_turns(&shared, &trace, request.as_bytes()), 0, "{mode}: {request}");
        }
    }
}
