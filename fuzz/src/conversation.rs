//! One conversation, whole and cut: the targets of single protocols.
//!
//! Promises: the replies are whole; the server is ready for the next command, or in the midst of one, or has closed;
//! the cuts between arrivals change nothing; no memory is lost.

use super::support::Client;
use super::{contains, dice, framing, server};
use oxcached::limits::LINE_WAIT_MAX;
use oxcached::proto::{Protocol, Shared};
use std::fmt::Debug;
use std::sync::Arc;

/// Inputs up to this length are sometimes sent byte by byte.
const BYTEWISE_MAX: usize = 400;

/// What a client has read in the end.
#[derive(Default)]
pub struct Outcome {
    got: Vec<u8>,
    closed: bool,
}

impl Outcome {
    pub fn of(client: &mut Client) -> Self {
        Self { got: std::mem::take(&mut client.got), closed: client.closed }
    }

    /// Panics if there is half a reply in it, or something that is none.
    pub fn assert_whole(&self, binary: bool, sent: &[u8]) {
        let problem = if binary { framing::binary(&self.got) } else { framing::text(sent, &self.got) };
        if let Some(problem) = problem.filter(|_| binary || !may_show_raw_keys(sent)) {
            panic!("{problem}\nin {:?}", self.got.escape_ascii().to_string());
        }
    }

    /// Whether `bytes` are among the replies.
    pub fn shows(&self, bytes: &[u8]) -> bool {
        contains(&self.got, bytes)
    }

    /// Panics if this, of a conversation cut at `cuts`, is not the same as `whole`, of the uncut one.
    pub fn assert_same(&self, whole: &Outcome, cuts: &dyn Debug) {
        let [mine, wanted] = [self, whole].map(|outcome| without_reports(&outcome.got));
        let same = mine.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
        let tail = |got: &[u8]| got[same.saturating_sub(40)..].escape_ascii().to_string();
        assert!(
            mine == wanted && self.closed == whole.closed,
            "cut at {cuts:?}, from reply byte {same}:\n  cut {:?} closed {}\nwhole {:?} closed {}",
            tail(&mine),
            self.closed,
            tail(&wanted),
            whole.closed,
        );
    }
}

/// Runs `input` as one connection's bytes, on a server that `prepare` has filled.
pub fn check(options: &str, protocol: Protocol, prepare: &[u8], input: &[u8]) {
    let whole = converse(options, protocol, prepare, &[input]);
    let (cuts, pieces) = arrivals(input, &mut dice(input));
    let cut = converse(options, protocol, prepare, &pieces);
    if protocol == Protocol::Binary || !depends_on_cuts(input) {
        cut.assert_same(&whole, &cuts);
    }
}

/// Places to cut an input at, and what lies between them.
pub fn arrivals<'a>(input: &'a [u8], dice: &mut fastrand::Rng) -> (Vec<usize>, Vec<&'a [u8]>) {
    let mut cuts: Vec<usize> = match input.len() {
        0 | 1 => Vec::new(),
        len if len <= BYTEWISE_MAX && dice.u8(..4) == 0 => (1..len).collect(),
        len => (0..dice.usize(1..9)).map(|_| dice.usize(1..len)).collect(),
    };
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([input.len()]);
    let pieces = ends.scan(0, |from, to| Some(&input[std::mem::replace(from, to)..to])).collect();
    (cuts, pieces)
}

fn converse(options: &str, protocol: Protocol, prepare: &[u8], arrivals: &[&[u8]]) -> Outcome {
    let shared = server::start(options);
    Client::new(&shared).feed(prepare);
    let mut client = Client::speaking(&shared, protocol);
    let mut sent = Vec::new();
    for arrival in arrivals {
        sent.extend_from_slice(arrival);
        client.feed(arrival);
    }
    let outcome = Outcome::of(&mut client);
    let binary = protocol == Protocol::Binary;
    outcome.assert_whole(binary, &sent);
    still_in_step(&mut client, binary, &shared);
    drop(client);
    server::stop(&shared);
    outcome
}

/// Whoever waits for a command understands the next one.
fn still_in_step(client: &mut Client, binary: bool, shared: &Arc<Shared>) {
    if client.is_idle() {
        let (ask, wanted) = if binary { (noop(0x80), noop(0x81)) } else { (b"mn\r\n".into(), b"MN\r\n".into()) };
        assert_eq!(client.ask(&ask).escape_ascii().to_string(), wanted.escape_ascii().to_string());
    }
    assert_eq!(Client::new(shared).ask(b"mn\r\n"), b"MN\r\n", "a new client is served");
}

fn noop(magic: u8) -> Vec<u8> {
    let mut packet = vec![0; 24];
    packet[..2].copy_from_slice(&[magic, 0x0a]);
    packet[12..16].copy_from_slice(b"step");
    packet
}

/// Keys given as base64 may hold line ends, and some commands show them raw (docs/compat.md).
fn may_show_raw_keys(sent: &[u8]) -> bool {
    contains(sent, b" b")
}

/// Dumps and `watch` are refused behind commands of the same arrival, and a line without its end is refused by its
/// length: that is how a server's patience shows.
pub fn depends_on_cuts(input: &[u8]) -> bool {
    let long = input.split(|byte| *byte == b'\n').any(|line| line.len() >= LINE_WAIT_MAX);
    long || contains(input, b"lru_") || contains(input, b"watch")
}

/// Replies less the rows of reports: those count pages that the run before has taken, or stand in an order of memory or
/// of hashes.
fn without_reports(got: &[u8]) -> Vec<u8> {
    if got.first() == Some(&0x81) {
        return packets(got).filter(|packet| packet[1] != 0x10).flatten().copied().collect();
    }
    const ROWS: [&[u8]; 3] = [b"STAT ", b"ITEM ", b"PREFIX "];
    let lines = got.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !ROWS.iter().any(|row| line.starts_with(row))).flatten().copied().collect()
}

fn packets(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let header = bytes.get(..24)?;
        let body = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let (packet, rest) = bytes.split_at_checked(24 + body)?;
        bytes = rest;
        Some(packet)
    })
}
