//! An allocation failure for a client's data costs that client, never the process.
//!
//! Owns a global allocator that refuses allocations of the server's threads above a size that the test sets; needs a
//! process of its own. An unhandled allocation failure ends this program.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code, reason = "a global allocator cannot be had without")]

#[allow(dead_code, reason = "the tests of the network layer use the rest")]
#[path = "it/net/harness.rs"]
mod harness;
#[allow(dead_code, reason = "as above")]
#[path = "it/net/script.rs"]
mod script;
#[path = "no_memory/tables.rs"]
mod tables;

use harness::{Client, Server, settings, tcp, until};
use oxcached::clock::Clock;
use oxcached::events::{Event, EventClass, Events};
use oxcached::maint::{Logger, WatchPeer, WatchSink, Watchers};
use oxcached::proto::Session;
use oxcached::stats::Counter;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

/// Smallest allocation that is refused.
static REFUSED: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Serialises the tests, which share `REFUSED`.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// Whether `REFUSED` does not apply to this thread: that of a client or a test.
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
    /// Smallest allocation of this thread alone that is refused.
    static REFUSED_HERE: Cell<usize> = const { Cell::new(usize::MAX) };
}

struct Scarce;

fn is_refused(size: usize) -> bool {
    size >= REFUSED.load(SeqCst) && !EXEMPT.get() || size >= REFUSED_HERE.get()
}

// SAFETY: every call is refused, which is always allowed, or passed unchanged to the system's allocator.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller upholds the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if is_refused(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller upholds the same contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Scarce = Scarce;

/// A server that has answered a first client, and a second client that checks that it still serves.
struct Trial {
    server: Server,
    other: Client,
    _turn: MutexGuard<'static, ()>,
}

impl Trial {
    fn new() -> Self {
        EXEMPT.set(true);
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let server = Server::start::<Session>(settings(), vec![tcp()], Clock::real());
        let mut other = server.client();
        other.send(format!("set a 0 0 4000\r\n{}\r\n", "v".repeat(4000)));
        assert_eq!(other.line(), "STORED");
        Self { server, other, _turn: turn }
    }

    /// Checks that the other client is served, now and without refusals.
    #[track_caller]
    fn serves_on(&mut self) {
        assert_eq!(self.other.ask("get b"), "END");
        refuse_from(usize::MAX);
        assert_eq!(self.other.ask("get b"), "END");
    }

    fn fails(&self) -> u64 {
        self.server.gauge(|g| &g.malloc_fails)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        refuse_from(usize::MAX);
    }
}

fn refuse_from(size: usize) {
    REFUSED.store(size, SeqCst);
}

/// Expects the end of the connection, after `words` unless a reset was quicker.
fn expect_end_after(client: &mut Client, words: &str) {
    let mut got = String::new();
    let _ = client.stream.read_to_string(&mut got);
    assert!(got.is_empty() || got == words, "{got}");
}

#[test]
fn a_line_without_memory_is_refused() {
    let mut trial = Trial::new();
    let mut client = trial.server.client();
    client.send(format!("get {}", "k ".repeat(20_000)));
    until("read", || trial.server.counter(Counter::BytesRead) > 40_000);
    refuse_from(100_000);
    client.send("k ".repeat(20_000));
    expect_end_after(&mut client, "SERVER_ERROR out of memory reading request\r\n");
    assert_eq!((trial.fails(), trial.server.counter(Counter::ReadBufOom)), (1, 1));
    trial.serves_on();
}

/// State that a connection keeps while another one is served: a copy of its unconsumed bytes, or a buffer in exchange
/// for its own.
#[test]
fn a_connection_without_memory_for_its_input_is_closed() {
    for (keys, refused) in [(800, 1500), (50_000, 60_000)] {
        let mut trial = Trial::new();
        let mut client = trial.server.client();
        let before = trial.server.counter(Counter::BytesRead);
        client.send(format!("get {}", "k ".repeat(keys)));
        until("read", || trial.server.counter(Counter::BytesRead) == before + 2 * keys as u64 + 4);
        refuse_from(refused);
        assert_eq!(trial.other.ask("get b"), "END");
        expect_end_after(&mut client, "");
        assert_eq!((trial.fails(), trial.server.counter(Counter::ReadBufOom)), (1, 1), "{keys}");
        trial.serves_on();
        assert_eq!(trial.server.gauge(|g| &g.long_input_bytes), 0);
    }
}

/// Replies without further memory are sent before the next command runs.
#[test]
fn replies_of_a_pipeline_are_sent_in_smaller_parts() {
    let mut trial = Trial::new();
    let value = "v".repeat(4000);
    let mut get = vec![0; 24];
    (get[0], get[1], get[3], get[11]) = (0x80, 0, 1, 1);
    get.push(b'a');
    let mut hit = vec![0; 24];
    (hit[0], hit[4]) = (0x81, 4);
    hit[8..12].copy_from_slice(&4004_u32.to_be_bytes());
    for (request, reply) in [
        (b"get a\r\n".to_vec(), format!("VALUE a 0 4000\r\n{value}\r\nEND\r\n").into_bytes()),
        (b"mg a v\r\n".to_vec(), format!("VA 4000\r\n{value}\r\n").into_bytes()),
        (get, [hit, vec![0; 4], value.into_bytes()].concat()),
    ] {
        let mut client = trial.server.client();
        refuse_from(32 * 1024);
        client.send(request.repeat(500));
        let mut got = vec![0; reply.len() * 500];
        client.stream.read_exact(&mut got).unwrap();
        for got in got.chunks_mut(reply.len()) {
            if got[0] == 0x81 {
                got[16..24].fill(0); // the CAS id
            }
            assert!(got == reply, "{}", got.escape_ascii());
        }
        trial.serves_on();
    }
    assert!(trial.fails() > 0);
}

#[test]
fn a_multiget_without_memory_for_its_replies_is_refused() {
    let mut trial = Trial::new();
    let mut client = trial.server.client();
    refuse_from(32 * 1024);
    assert_eq!(client.ask(&format!("get{}", " a".repeat(20))), "SERVER_ERROR out of memory writing get response");
    assert_eq!(trial.server.counter(Counter::ResponseOom), 1);
    assert_eq!(client.ask("mn"), "MN");
    trial.serves_on();
}

/// The tables of a worker's connections grow with their number.
#[test]
fn a_connection_without_memory_for_its_place_is_closed() {
    let mut trial = Trial::new();
    refuse_from(4096);
    let mut seated = Vec::new();
    let closed = loop {
        let mut client = trial.server.client();
        client.send("mn\r\n");
        let mut got = [0; 4];
        if client.stream.read_exact(&mut got).is_err() {
            break client;
        }
        seated.push(client);
        assert!(seated.len() < 500, "the tables did not grow");
    };
    drop(closed);
    assert_eq!(trial.fails(), 1);
    assert_eq!(seated.pop().unwrap().ask("mn"), "MN");
    seated.truncate(1);
    until("its end", || trial.server.shared.conns.list().len() == 3);
    assert_eq!(trial.server.client().ask("mn"), "MN", "the place of another");
    trial.serves_on();
    assert!(seated.iter_mut().all(|client| client.ask("mn") == "MN"));
}

/// Not even one reply fits: none can be sent.
#[test]
fn a_connection_without_memory_for_any_reply_is_closed() {
    let trial = Trial::new();
    // The replies of the first client are kept, so the next client's have no memory yet.
    let mut deaf = trial.server.client();
    deaf.send(format!("set big 0 0 500000\r\n{}\r\n", "v".repeat(500_000)));
    assert_eq!(deaf.line(), "STORED");
    deaf.send("get big\r\n".repeat(100));
    until("a blocked writer", || trial.server.in_state(oxcached::proto::ConnState::Mwrite) == 1);
    refuse_from(10_000);
    let mut client = trial.server.client();
    client.send("mn\r\n");
    expect_end_after(&mut client, "");
    assert_eq!(trial.fails(), 1);
    refuse_from(usize::MAX);
    assert_eq!(trial.server.client().ask("mn"), "MN");
}

/// A watcher's socket that takes only the greeting until it is opened. Its memory was allocated before.
struct Sink {
    is_open: Arc<AtomicBool>,
    got: Arc<Mutex<Vec<u8>>>,
}

impl WatchSink for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut got = self.got.lock().unwrap();
        if !got.is_empty() && !self.is_open.load(SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        got.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn listen(&mut self) -> WatchPeer {
        WatchPeer::Open
    }
}

#[test]
fn a_watcher_without_memory_for_lines_skips_and_counts_them() {
    EXEMPT.set(true);
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (sent, skipped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let events = Arc::new(Events::new(1, 64 << 10));
    let watchers = Watchers::new(Arc::clone(&events), 64 << 10);
    let logger = Logger::start(Arc::clone(&watchers), {
        let (sent, skipped) = (Arc::clone(&sent), Arc::clone(&skipped));
        move |tally| {
            sent.fetch_add(tally.sent, SeqCst);
            skipped.fetch_add(tally.skipped, SeqCst);
        }
    })
    .unwrap();
    let (is_open, got) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::with_capacity(64 << 10))));
    let sink = Sink { is_open: Arc::clone(&is_open), got: Arc::clone(&got) };
    let Ok(seat) = watchers.seat(EventClass::DELETIONS) else { panic!("no seat") };
    seat.take(Box::new(sink));
    until("the greeting", || *got.lock().unwrap() == b"OK\r\n");
    refuse_from(1000);
    let record = || events.put(&Event::Deleted { key: b"key", meta: false, class: 1, size: 1 });
    (0..100).for_each(|_| record());
    until("all lines", || sent.load(SeqCst) + skipped.load(SeqCst) == 100);
    refuse_from(usize::MAX);
    let (first, lost) = (sent.load(SeqCst) as usize, skipped.load(SeqCst));
    assert!(first > 0 && lost > 0, "{first} lines, {lost} lost");
    is_open.store(true, SeqCst);
    record();
    let text = || String::from_utf8(got.lock().unwrap().clone()).unwrap();
    until("the last line", || text().lines().count() == 1 + first + 2);
    assert_eq!(text().lines().nth(1 + first), Some(format!("skipped={lost}").as_str()));
    logger.stop();
}
