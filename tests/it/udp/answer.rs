//! The answer to one datagram, turn by turn, without sockets.

use crate::net::harness::settings;
use oxcached::clock::Clock;
use oxcached::limits::TURN_KEYS;
use oxcached::net::{Allowance, Answerer, DATAGRAM_HEADER, DATAGRAM_MAX, SendOutcome, TurnEnd};
use oxcached::proto::{Cx, Input, Output, Protocol, Session, Shared, Step};
use oxcached::settings::Settings;
use oxcached::stats::Counter;

const COMMANDS: u32 = 20;
const DATAGRAMS: u32 = 256;

/// More than the output's limit and two values of 1 MB.
const HELD_MAX: usize = 3 << 20;

const TOO_LARGE: &str = "SERVER_ERROR reply too large for datagrams\r\n";

struct Server {
    shared: Shared,
    answerer: Answerer<Session>,
}

impl Server {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let shared = Shared::new(settings, Clock::manual(1_000_000_000), Box::new(|_| ())).unwrap();
        Self { shared, answerer: Answerer::default() }
    }

    fn cx(&self) -> Cx<'_> {
        Cx::new(&self.shared, &self.shared.stats.workers[0], 7)
    }

    /// Stores a value through another connection.
    fn store(&self, key: &str, len: usize) {
        let (mut session, mut input, mut out) = (Session::new(Protocol::Ascii), Input::default(), Output::default());
        input.append(format!("set {key} 0 0 {len}\r\n{}\r\n", "v".repeat(len)).as_bytes());
        assert_eq!(session.run(&mut self.cx(), &mut input, &mut out, &mut 20), Step::Read);
        assert_eq!(out.plain(), Some(&b"STORED\r\n"[..]));
    }

    fn begin(&mut self, body: &str) {
        let request = [b"\x01\x02\0\0\0\x01\0\0", body.as_bytes()].concat();
        self.answerer.space()[..request.len()].copy_from_slice(&request);
        let cx = Cx::new(&self.shared, &self.shared.stats.workers[0], 7);
        assert!(self.answerer.begin(request.len(), &cx));
    }

    /// One turn; returns how it ended and the part of its allowance that it used.
    fn turn(&mut self, send: impl FnMut(&[u8]) -> SendOutcome) -> (TurnEnd, u32, u32) {
        let mut allowance = Allowance { commands: COMMANDS, datagrams: DATAGRAMS };
        let mut cx = Cx::new(&self.shared, &self.shared.stats.workers[0], 7);
        let progress = self.answerer.turn(&mut cx, &mut allowance, send);
        (progress, COMMANDS - allowance.commands, DATAGRAMS - allowance.datagrams)
    }

    /// The whole answer: its replies, and the number of turns.
    fn answer(&mut self, body: &str) -> (Vec<Vec<u8>>, u32) {
        self.begin(body);
        let (mut replies, mut turns) = (Replies::default(), 0);
        loop {
            turns += 1;
            let (progress, _, _) = self.turn(|datagram| replies.take(datagram));
            assert!(self.answerer.held() < HELD_MAX, "{}", self.answerer.held());
            if progress == TurnEnd::Done {
                assert_eq!(replies.next, 0, "a series is cut off");
                return (replies.whole, turns);
            }
        }
    }
}

/// Reassembles series and checks that they are complete.
#[derive(Default)]
struct Replies {
    whole: Vec<Vec<u8>>,
    /// The incomplete series, and the number of its next datagram.
    part: Vec<u8>,
    next: u16,
    datagrams: usize,
}

impl Replies {
    fn take(&mut self, datagram: &[u8]) -> SendOutcome {
        let number = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        assert_eq!((number(0), number(2)), (0x0102, self.next));
        self.datagrams += 1;
        self.part.extend_from_slice(&datagram[DATAGRAM_HEADER..]);
        self.next += 1;
        if self.next == number(4) {
            self.whole.push(std::mem::take(&mut self.part));
            self.next = 0;
        } else {
            assert_eq!(datagram.len(), DATAGRAM_MAX, "only the last may be short");
        }
        SendOutcome::Yes
    }
}

fn value(key: &str, len: usize) -> Vec<u8> {
    format!("VALUE {key} 0 {len}\r\n{}\r\nEND\r\n", "v".repeat(len)).into()
}

#[test]
fn r3_1_a_turn_is_bounded_in_commands_and_in_datagrams() {
    let mut server = Server::new();
    server.store("small", 10);
    server.store("large", 100_000);
    for (key, len) in [("small", 10), ("large", 100_000)] {
        server.begin(&format!("get {key}\r\n").repeat(300));
        let mut replies = Replies::default();
        loop {
            let (progress, commands, datagrams) = server.turn(|datagram| replies.take(datagram));
            assert!(commands <= COMMANDS && datagrams <= DATAGRAMS);
            match progress {
                TurnEnd::Done => break,
                TurnEnd::More => assert!(commands == COMMANDS || datagrams == DATAGRAMS),
                TurnEnd::Full => panic!("nothing was refused"),
            }
        }
        assert!(replies.whole.len() == 300 && replies.whole.iter().all(|reply| *reply == value(key, len)));
    }
}

/// A multiget that yields resumes after its last reply, to which the end may still belong.
#[test]
fn r3_1_a_long_multiget_takes_several_turns_and_loses_nothing() {
    let mut server = Server::new();
    server.store("a", 10);
    let block = format!("VALUE a 0 10\r\n{}\r\n", "v".repeat(10)).into_bytes();
    let runs = 3;
    for misses in [0, 1, 15, 16, 999] {
        let keys = runs * TURN_KEYS as usize;
        let group = format!(" a{}", " b".repeat(misses));
        let groups = keys.div_ceil(misses + 1);
        for last in ["", " a", " b", "  "] {
            let (replies, turns) = server.answer(&format!("get{}{last}\r\nmn\r\n", group.repeat(groups)));
            let hits = groups + usize::from(last == " a");
            let end_apart = last == " b" || misses > 0 && last != " a";
            let mut wanted = vec![block.clone(); hits];
            if end_apart {
                wanted.push(b"END\r\n".to_vec());
            } else if let Some(reply) = wanted.last_mut() {
                reply.extend_from_slice(b"END\r\n");
            }
            wanted.push(b"MN\r\n".to_vec());
            assert!(replies == wanted, "{misses} {last:?}: {} replies of {}", replies.len(), wanted.len());
            assert!(turns >= runs as u32, "{misses}: {turns} turns");
        }
    }
}

#[test]
fn trap_21_the_end_of_a_multiget_belongs_to_its_last_key() {
    let mut server = Server::new();
    server.store("small", 10);
    server.store("large", 1_000_000);
    let block = |key: &str, len: usize| format!("VALUE {key} 0 {len}\r\n{}\r\n", "v".repeat(len)).into_bytes();
    let (small, large) = (block("small", 10), block("large", 1_000_000));
    let end = |block: &[u8]| [block, b"END\r\n"].concat();
    for (keys, wanted) in [
        ("small small", vec![small.clone(), end(&small)]),
        ("large small", vec![large.clone(), end(&small)]),
        ("small large", vec![small.clone(), end(&large)]),
        ("large large large", vec![large.clone(), large.clone(), end(&large)]),
        ("large none", vec![large.clone(), end(b"")]),
    ] {
        assert!(
            server.answer(&format!("get {keys}\r\nmn\r\n")).0 == [&wanted[..], &[b"MN\r\n".to_vec()]].concat(),
            "{keys}"
        );
    }
}

#[test]
fn r3_3_an_answer_ends_at_the_maximum_length_of_a_series() {
    let mut server = Server::new();
    server.store("a", 1_000_000);
    server.store("s", 4000);
    let whole = u16::MAX as usize / 1_000_000_usize.div_ceil(DATAGRAM_MAX - DATAGRAM_HEADER);
    assert!(server.answer(&format!("get{}\r\n", " s".repeat(20_000))).0.iter().all(|reply| reply.len() > 4000));
    for request in ["get a\r\n".repeat(3000), format!("get{}\r\n", " a".repeat(30_000))] {
        let before = server.shared.stats.totals().get(Counter::ResponseOom);
        let (replies, turns) = server.answer(&request);
        assert!(turns as usize > whole * 2, "{turns} turns");
        assert_eq!(replies.len(), whole + 1);
        assert_eq!(replies[whole], TOO_LARGE.as_bytes());
        assert_eq!(server.shared.stats.totals().get(Counter::ResponseOom), before + 1);
    }
    let (replies, _) = server.answer("get a\r\n");
    assert!(replies == [value("a", 1_000_000)], "the next datagram is served");
}

#[test]
fn r3_3_a_reply_beyond_the_maximum_series_is_an_error() {
    let mut server = Server::with(Settings { item_size_max: 200 << 20, maxbytes: 512 << 20, ..settings() });
    server.store("huge", 92_000_000);
    server.store("a", 1);
    let (replies, _) = server.answer("get a\r\nget huge\r\nget a\r\n");
    assert_eq!(replies, [value("a", 1), TOO_LARGE.into()]);
}

#[test]
fn r3_3_a_full_send_buffer_loses_and_repeats_nothing() {
    let mut server = Server::new();
    server.store("a", 50_000);
    let (wanted, _) = server.answer("get a a\r\nversion\r\nget a\r\nget b\r\n");
    for room in 1..5 {
        server.begin("get a a\r\nversion\r\nget a\r\nget b\r\n");
        let mut replies = Replies::default();
        loop {
            let mut left = room;
            let (progress, _, _) = server.turn(|datagram| {
                left -= 1;
                if left < 0 { SendOutcome::Full } else { replies.take(datagram) }
            });
            match progress {
                TurnEnd::Done => break,
                TurnEnd::More => {}
                TurnEnd::Full => assert!(left < 0),
            }
        }
        assert!(replies.whole == wanted);
    }
    // Also the bare header that answers `quit`.
    server.begin("quit\r\n");
    assert_eq!(server.turn(|_| SendOutcome::Full).0, TurnEnd::Full);
    let mut last = Vec::new();
    let (progress, _, _) = server.turn(|datagram| {
        last.push(datagram.to_vec());
        SendOutcome::Yes
    });
    assert_eq!((progress, last), (TurnEnd::Done, vec![vec![1, 2, 0, 0, 0, 0, 0, 0]]));
}

#[test]
fn r3_3_a_reply_that_cannot_be_sent_loses_no_other() {
    let mut server = Server::new();
    server.store("a", 50_000);
    server.begin("get a\r\nset b 0 0 1\r\n1\r\nget b\r\n");
    let (mut sends, mut replies) = (0, Replies::default());
    let (progress, _, _) = server.turn(|datagram| {
        sends += 1;
        if sends == 1 { SendOutcome::Lost } else { replies.take(datagram) }
    });
    assert_eq!(progress, TurnEnd::Done);
    assert_eq!(replies.whole, [b"STORED\r\n".to_vec(), b"VALUE b 0 1\r\n1\r\nEND\r\n".to_vec()]);
}

#[test]
fn r3_5_an_abandoned_answer_holds_no_item() {
    let mut server = Server::new();
    server.store("a", 500_000);
    server.begin("get a\r\n");
    assert_eq!(server.turn(|_| SendOutcome::Full).0, TurnEnd::Full);
    let cx = server.cx();
    assert!(cx.verbs().delete(&oxcached::cache::Key::new(b"a").unwrap()) == oxcached::cache::Done::Done);
    let used = |server: &Server| {
        server.shared.cache.store.classes(server.shared.clock.now()).iter().map(|class| class.used_chunks).sum::<u64>()
    };
    assert!(used(&server) > 0, "the answer holds its value");
    server.answerer.space();
    assert_eq!(used(&server), 0);
}
