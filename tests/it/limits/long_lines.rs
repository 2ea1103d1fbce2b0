//! Long multigets, run by run: the work of one run is bounded, and the replies equal those of an undivided line.
//!
//! Each session has a peer that reads everything at once, so only its own bounds end a run.

use crate::support::{Client, shared};
use oxcached::limits::{GET_LINE_MAX, INPUT_MAX, OUTPUT_HIGH, TURN_KEYS, TURN_LINE};
use oxcached::proto::{CloseReason, Cx, Input, Output, Protocol, Session, Shared, Step};
use oxcached::stats::Counter;
use std::sync::Arc;

struct Conversation {
    shared: Arc<Shared>,
    session: Session,
    input: Input,
    out: Output,
    got: Vec<u8>,
    /// Keys looked up in each run, and the step that ended it.
    runs: Vec<(u64, Step)>,
}

impl Conversation {
    fn new(args: &str) -> Self {
        Self {
            shared: shared(args),
            session: Session::new(Protocol::Negotiating),
            input: Input::default(),
            out: Output::default(),
            got: Vec::new(),
            runs: Vec::new(),
        }
    }

    fn counter(&self, counter: Counter) -> u64 {
        self.shared.stats.totals().get(counter)
    }

    /// Receives `bytes` and runs until the session needs more or the connection ends.
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            assert!(self.input.grow());
            let space = self.input.space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.input.filled(n);
            bytes = &bytes[n..];
            while self.run() {}
        }
    }

    /// One run; true if more work remains.
    fn run(&mut self) -> bool {
        let before = self.counter(Counter::GetCmds);
        let counters = Arc::clone(&self.shared.stats.workers[0]);
        let shared = Arc::clone(&self.shared);
        let step = self.session.run(&mut Cx::new(&shared, &counters, 7), &mut self.input, &mut self.out, &mut { 20 });
        assert!(self.out.remaining() < 2 * OUTPUT_HIGH);
        while !self.out.is_empty() {
            let mut slices = Vec::new();
            self.out.io_slices(&mut slices);
            let n: usize = slices.iter().map(|slice| slice.len()).sum();
            slices.into_iter().for_each(|slice| self.got.extend_from_slice(&slice));
            self.out.advance(n);
        }
        self.runs.push((self.counter(Counter::GetCmds) - before, step));
        matches!(self.runs.last(), Some((_, Step::Yield | Step::Flush)))
    }

    fn got(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.got)).unwrap()
    }
}

/// Keys per lookup group of a run.
const GROUP: u64 = 16;

#[test]
fn a_run_looks_up_a_bounded_number_of_keys() {
    let mut client = Conversation::new("-m 64 -t 1");
    let keys = 500_000;
    client.feed(format!("get{}", " a".repeat(keys)).as_bytes());
    assert!(client.runs.iter().all(|run| *run == (0, Step::Read)), "a line runs when its end is there");
    client.runs.clear();
    client.feed(b"\r\nmn\r\n");
    assert_eq!(client.got(), "END\r\nMN\r\n");
    assert_eq!(client.counter(Counter::GetCmds), keys as u64);
    let (last, rest) = client.runs.split_last().unwrap();
    assert_eq!(last.1, Step::Read);
    for (looked_up, step) in rest {
        assert_eq!(*step, Step::Yield);
        assert!(*looked_up < u64::from(TURN_KEYS) + GROUP, "{looked_up}");
    }
    assert!(rest.len() >= keys / TURN_KEYS as usize);
}

#[test]
fn the_key_limit_counts_all_lines_of_a_run() {
    let mut client = Conversation::new("-m 64 -t 1");
    let line = format!("get{}\r\n", " a".repeat(1000));
    client.feed(line.repeat(20).as_bytes());
    assert_eq!(client.got(), "END\r\n".repeat(20));
    assert!(client.runs.iter().all(|(looked_up, _)| *looked_up < u64::from(TURN_KEYS) + GROUP));
}

#[test]
fn a_run_scans_a_bounded_number_of_bytes() {
    for (end, reply) in [("", "CLIENT_ERROR bad command line format\r\n"), ("a", "END\r\n"), ("a a ", "END\r\n")] {
        let mut client = Conversation::new("-m 64 -t 1");
        let spaces = 4 << 20;
        client.feed(format!("gets{}{end}", " ".repeat(spaces)).as_bytes());
        client.runs.clear();
        client.feed(b"\r\n");
        assert_eq!(client.got(), reply, "{end:?}");
        assert!(client.runs.len() >= spaces / TURN_LINE, "{end:?}: {}", client.runs.len());
    }
}

/// Wherever a line stops, no reply is lost, repeated or out of order.
#[test]
fn replies_follow_the_order_of_the_keys() {
    for size in [0, 10, 200, 4096, 5000] {
        let mut client = Conversation::new("-m 256 -t 1");
        let value = "v".repeat(size);
        for key in 0..100 {
            client.feed(format!("set key{key} {key} 0 {size}\r\n{value}\r\n").as_bytes());
        }
        client.got();
        let keys: Vec<_> = (0..12_000).map(|n| n * 7 % 120).collect();
        let words: Vec<_> = keys.iter().map(|key| format!("key{key}")).collect();
        client.feed(format!("get {}\r\n", words.join(" ")).as_bytes());
        let mut wanted = String::new();
        for key in keys.iter().filter(|key| **key < 100) {
            wanted.push_str(&format!("VALUE key{key} {key} {size}\r\n{value}\r\n"));
        }
        wanted.push_str("END\r\n");
        assert!(client.got() == wanted, "{size}");
    }
}

/// All keys before it are looked up, and none of their replies is sent, as in memcached.
#[test]
fn an_over_long_last_key_revokes_the_replies_of_all_runs() {
    let long = "k".repeat(251);
    for (size, keys) in [(1, 100_000), (0, 100_000), (5000, 100_000), (1, 4096), (1, 4112), (1, 5)] {
        for rest in ["", " a", " noreply"] {
            let mut client = Conversation::new("-m 64 -t 1");
            client.feed(format!("set a 0 0 {size}\r\n{}\r\n", "v".repeat(size)).as_bytes());
            client.got();
            client.feed(format!("get{} {long}{rest}\r\nmn\r\n", " a".repeat(keys)).as_bytes());
            assert_eq!(client.got(), "CLIENT_ERROR bad command line format\r\n\r\nMN\r\n", "{size} {keys} {rest}");
            assert_eq!(client.counter(Counter::GetCmds), keys as u64);
            assert!(client.runs.iter().all(|(looked_up, _)| *looked_up < u64::from(TURN_KEYS) + GROUP));
        }
    }
    let mut client = Conversation::new("-m 64 -t 1");
    client.feed(format!("get {long} noreply\r\nget {long} {}noreply\r\nmn\r\n", "a ".repeat(5)).as_bytes());
    assert_eq!(client.got(), "\r\n\r\nMN\r\n");
}

#[test]
fn a_line_has_a_maximum_length() {
    let mut client = Conversation::new("-m 64 -t 1");
    client.feed(format!("get {}", "b ".repeat(GET_LINE_MAX / 2 - 10)).as_bytes());
    client.feed(b"\r\nmn\r\n");
    assert_eq!(client.got(), "END\r\nMN\r\n");
    assert!(client.input.size() <= INPUT_MAX);
    client.feed(format!("get {}", "b ".repeat(GET_LINE_MAX / 2 - 10)).as_bytes());
    client.feed(&[b'b'; 17]);
    assert_eq!(client.got(), "SERVER_ERROR out of memory reading request\r\n");
    assert_eq!(client.runs.last().unwrap().1, Step::Close(CloseReason::Error));
    assert_eq!(client.counter(Counter::ReadBufOom), 1);
}

/// A limit on waiting replies counts over all slices of a line.
#[test]
fn keys_beyond_the_reply_limit_are_refused_in_any_run() {
    for (limit, keys, refused) in [(8, 8192, false), (8, 8193, true), (1, 1024, false), (1, 1025, true)] {
        let mut client = Conversation::new(&format!("-m 64 -t 1 -o read_buf_mem_limit={limit}"));
        client.feed(format!("get{}\r\n", " a".repeat(keys)).as_bytes());
        let refusal = "SERVER_ERROR out of memory writing get response\r\n";
        assert_eq!(client.got(), if refused { refusal } else { "END\r\n" }, "{limit} {keys}");
    }
}

#[test]
fn a_long_line_has_the_same_replies_however_split() {
    let shared = shared("-m 64 -t 1");
    let mut rng = fastrand::Rng::with_seed(5);
    let mut client = Client::new(&shared);
    client.ask(b"set a 0 0 3\r\nabc\r\n");
    for key in ["b", &"k".repeat(251)] {
        let line = format!("get {}{key}\r\nget a\r\n", "a b  ".repeat(2000));
        client.restart();
        let wanted = client.ask(line.as_bytes());
        for _ in 0..50 {
            client.restart();
            let mut rest = line.as_bytes();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(1 + rng.usize(..rest.len().min(3000)));
                client.feed(now);
                rest = later;
            }
            assert!(client.got == wanted);
        }
    }
}
