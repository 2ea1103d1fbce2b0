//! Commands that wait for a slower store behind the cache: their replies come late, and in order.
//!
//! A fake source has the keys that begin with `far`, and says so of those that begin with `none`. Each of its loads
//! ends when the test wants it to.

use crate::support::{Client, answer, shared};
use mio::{Events, Poll, Token};
use oxcached::cache::{Backing, Completion, Key, Load};
use oxcached::limits::OUTPUT_PINS;
use oxcached::net::{Acceptor, Answerer, ListenSocket, Listener, Workers};
use oxcached::proto::{Completions, Cx, Input, Output, Protocol, Session, Shared, SlotName, Step};
use oxcached::settings::Transport;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// Keys of loads that have begun and not ended, in the order of their beginning.
type Loads = Vec<(Vec<u8>, Completion)>;

#[derive(Clone, Default)]
struct Far(Arc<(Mutex<Loads>, Condvar)>);

impl Backing for Far {
    fn load(&self, key: &Key<'_>) -> Option<Load> {
        let (far, key) = (self.clone(), key.bytes().to_vec());
        (key.starts_with(b"far") || key.starts_with(b"none")).then(|| {
            Load::new(move |completion| {
                far.0.0.lock().unwrap().push((key, completion));
                far.0.1.notify_all();
            })
        })
    }
}

impl Far {
    /// A source, and a server over it.
    fn behind(args: &str) -> (Self, Arc<Shared>) {
        let (far, shared) = (Self::default(), shared(args));
        shared.cache.put_behind(Box::new(far.clone()));
        (far, shared)
    }

    /// Waits until `count` loads have begun.
    fn wait_for(&self, count: usize) {
        let begun = self.0.1.wait_while(self.0.0.lock().unwrap(), |loads| loads.len() < count).unwrap();
        assert_eq!(begun.len(), count);
    }

    /// Ends the load that began as number `at` of those that have not ended; the item's value is its key.
    fn end(&self, at: usize, near: &mut Client) {
        let (key, completion) = self.0.0.lock().unwrap().remove(at);
        if key.starts_with(b"far") {
            let key = String::from_utf8(key).unwrap();
            assert_eq!(near.ask(format!("set {key} 7 0 {}\r\n{key}\r\n", key.len()).as_bytes()), b"STORED\r\n");
        }
        drop(completion);
    }
}

/// Slots whose commands must run again, in the order of the loads' ends.
#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<SlotName>>>);

impl Completions for Ended {
    fn completion(&self, slot: SlotName) -> Completion {
        let ended = self.clone();
        Completion::new(move || ended.0.lock().unwrap().push(slot))
    }
}

/// One connection without sockets.
struct Conn {
    shared: Arc<Shared>,
    session: Session,
    input: Input,
    out: Output,
    ended: Ended,
}

impl Conn {
    fn new(shared: &Arc<Shared>) -> Self {
        let (session, ended) = (Session::new(Protocol::Negotiating), Ended::default());
        Self { shared: Arc::clone(shared), session, input: Input::default(), out: Output::default(), ended }
    }

    /// Runs what has arrived; returns the replies that can be sent.
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.input.append(bytes);
        let mut cx = Cx::new(&self.shared, &self.shared.stats.workers[0], 7).with_slots(&self.ended);
        let mut budget = 1000;
        assert_eq!(self.session.run(&mut cx, &mut self.input, &mut self.out, &mut budget), Step::Read);
        self.sent()
    }

    fn sent(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        while self.out.can_write() {
            let mut slices = Vec::new();
            self.out.io_slices(&mut slices);
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.out.advance(bytes.len());
            sent.extend(bytes);
        }
        sent
    }

    /// Runs the commands again whose loads have ended; returns the replies that can be sent.
    fn complete(&mut self) -> Vec<u8> {
        let slots = std::mem::take(&mut *self.ended.0.lock().unwrap());
        for slot in slots {
            let mut cx = Cx::new(&self.shared, &self.shared.stats.workers[0], 7);
            assert!(Session::complete(&mut cx, slot, &mut self.out));
        }
        self.sent()
    }
}

/// Runs `requests` while no far item is in memory, with loads that end in each of some orders, and expects `replies`;
/// no byte is sent while the first load has not ended, other than those before it.
#[track_caller]
fn check(requests: &[u8], before: &[u8], replies: &[u8], loads: usize) {
    for rotation in 0..2 * loads {
        let (far, shared) = Far::behind("-U 0");
        let (mut conn, mut near) = (Conn::new(&shared), Client::new(&shared));
        near.ask(b"set near 3 0 4\r\nhere\r\n");
        let mut got = conn.feed(requests);
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(before));
        far.wait_for(loads);
        for left in (1..=loads).rev() {
            // From the front, the back, or somewhere in between.
            far.end(if rotation < loads { rotation % left } else { left - 1 - rotation % left }, &mut near);
            got.extend(conn.complete());
        }
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(replies), "rotation {rotation}");
        assert!(conn.out.is_empty());
        // The items are in memory now, so the same requests are answered at once, as far as there are items.
        let again = conn.feed(requests);
        assert!(replies.starts_with(&again));
        drop(far);
    }
}

#[test]
fn text_gets_are_answered_in_order() {
    let value = |key: &str| format!("VALUE {key} 7 {}\r\n{key}\r\n", key.len());
    let near = "VALUE near 3 4\r\nhere\r\n";
    let replies =
        format!("{near}END\r\n{}END\r\n{near}{}{}END\r\nEND\r\nMN\r\n", value("far1"), value("far2"), value("far3"));
    let requests = b"get near\r\nget far1\r\nget near far2 none1 far3\r\nget none2\r\nmn\r\n";
    check(requests, format!("{near}END\r\n").as_bytes(), replies.as_bytes(), 5);
}

#[test]
fn meta_gets_are_answered_in_order_with_their_opaques_and_without_quiet_misses() {
    let requests = b"mg near v q Oa\r\nmg far1 v q k Ob\r\nmg none1 v q Oc\r\nmg none2 v Od\r\nmg far2 s Oe\r\nmn\r\n";
    let replies = b"VA 4 Oa\r\nhere\r\nVA 4 kfar1 Ob\r\nfar1\r\nEN Od\r\nHD s4 Oe\r\nMN\r\n";
    check(requests, b"VA 4 Oa\r\nhere\r\n", replies, 4);
}

#[test]
fn base64_keys_wait_as_well() {
    check(b"mg ZmFyMQ== b k v\r\nmn\r\n", b"", b"VA 4 kfar1\r\nfar1\r\nMN\r\n", 1);
}

/// A binary request without extras or value.
fn packet(opcode: u8, key: &[u8], opaque: u8) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode, 0, key.len() as u8, 0, 0, 0, 0, 0, 0, 0, key.len() as u8, 0, 0, 0, opaque];
    bytes.extend([0; 8]);
    bytes.extend(key);
    bytes
}

#[test]
fn binary_gets_are_answered_in_order_and_quiet_misses_not_at_all() {
    const GETQ: u8 = 0x09;
    const NOOP: u8 = 0x0a;
    const GETKQ: u8 = 0x0d;
    let requests = [
        packet(GETQ, b"far1", 1),
        packet(GETQ, b"none", 2),
        packet(GETKQ, b"far2", 3),
        packet(GETQ, b"missing", 4),
        packet(NOOP, b"", 5),
    ]
    .concat();
    for first in 0..3 {
        let (far, shared) = Far::behind("-U 0");
        let (mut conn, mut near) = (Conn::new(&shared), Client::new(&shared));
        let mut got = conn.feed(&requests);
        assert!(got.is_empty());
        far.end(first, &mut near);
        far.end(1, &mut near);
        far.end(0, &mut near);
        got.extend(conn.complete());
        let mut replies = got.as_slice();
        let mut seen = Vec::new();
        while let [0x81, opcode, _, key, _, _, 0, 0, 0, 0, 0, body, 0, 0, 0, opaque, ..] = *replies {
            let value = &replies[24 + 4.min(usize::from(body)) + usize::from(key)..24 + usize::from(body)];
            seen.push((opcode, opaque, String::from_utf8_lossy(value).into_owned()));
            replies = &replies[24 + usize::from(body)..];
        }
        assert!(replies.is_empty(), "{got:?}");
        let expected = [(GETQ, 1, "far1"), (GETKQ, 3, "far2"), (NOOP, 5, "")];
        assert_eq!(seen, expected.map(|(opcode, opaque, value)| (opcode, opaque, value.to_owned())));
    }
}

#[test]
fn a_datagram_is_refused_instead_of_lost() {
    let (far, shared) = Far::behind("");
    let mut answerer = Answerer::<Session>::default();
    let get = |answerer: &mut _, key: &str| {
        let datagram = [b"\0\x01\0\0\0\x01\0\0", format!("get {key}\r\n").as_bytes()].concat();
        let answers = answer(answerer, &shared, &datagram);
        answers.iter().map(|answer| String::from_utf8_lossy(&answer[8..]).into_owned()).collect::<String>()
    };
    assert_eq!(get(&mut answerer, "far1"), "SERVER_ERROR the item is being loaded\r\nEND\r\n");
    assert_eq!(get(&mut answerer, "missing"), "END\r\n");
    far.wait_for(0);
}

/// A server of one worker over sockets.
struct Server {
    shared: Arc<Shared>,
    far: Far,
    addr: SocketAddr,
    workers: Option<Workers>,
}

/// Serves TCP with one worker, until the workers are dropped.
pub fn serve(shared: &Arc<Shared>) -> (SocketAddr, Workers) {
    let workers = Workers::start_talking::<Session>(shared).unwrap();
    let socket = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    let listener = Listener {
        socket: ListenSocket::Tcp(socket),
        local: Some(addr),
        path: None,
        file: None,
        protocol: Protocol::Negotiating,
        transport: Transport::Plain,
    };
    let mut poll = Poll::new().unwrap();
    let dispatcher = workers.dispatcher();
    let mut acceptor = Acceptor::new(Arc::clone(shared), vec![listener], dispatcher, poll.registry(), 1).unwrap();
    // Ends with the process.
    std::thread::spawn(move || {
        let mut events = Events::with_capacity(16);
        loop {
            poll.poll(&mut events, acceptor.timeout()).unwrap();
            events.iter().map(|event| event.token()).for_each(|token: Token| acceptor.ready(token, poll.registry()));
            acceptor.on_timer(poll.registry());
        }
    });
    (addr, workers)
}

impl Server {
    fn new() -> Self {
        let (far, shared) = Far::behind("-t 1 -U 0");
        let (addr, workers) = serve(&shared);
        Self { shared, far, addr, workers: Some(workers) }
    }

    fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(self.addr).unwrap())
    }

    /// Ends all loads, the last one first.
    fn end_all(&self) {
        let mut near = Client::of_worker(&self.shared, 1);
        let begun = self.far.0.0.lock().unwrap().len();
        (0..begun).rev().for_each(|at| self.far.end(at, &mut near));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.workers.take());
    }
}

fn line(client: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line
}

#[test]
fn a_connection_suspends_only_at_its_bound_and_no_other_one_waits() {
    let server = Server::new();
    let (mut many, mut other) = (server.connect(), server.connect());
    let requests: String = (0..OUTPUT_PINS + 100).map(|n| format!("mg far{n} k\r\n")).collect();
    many.get_mut().write_all(requests.as_bytes()).unwrap();
    server.far.wait_for(OUTPUT_PINS);
    // The worker has no more to do for the first connection: it answers the other one, and no further load begins.
    for _ in 0..100 {
        other.get_mut().write_all(b"mn\r\n").unwrap();
        assert_eq!(line(&mut other), "MN\r\n");
    }
    server.far.wait_for(OUTPUT_PINS);
    server.end_all();
    for n in 0..OUTPUT_PINS {
        assert_eq!(line(&mut many), format!("HD kfar{n}\r\n"));
    }
    server.far.wait_for(100);
    server.end_all();
    for n in OUTPUT_PINS..OUTPUT_PINS + 100 {
        assert_eq!(line(&mut many), format!("HD kfar{n}\r\n"));
    }
}

#[test]
fn a_client_that_has_sent_its_last_byte_gets_its_late_replies() {
    let server = Server::new();
    let mut client = server.connect();
    client.get_mut().write_all(b"get far1\r\nquit\r\n").unwrap();
    client.get_mut().shutdown(Shutdown::Write).unwrap();
    let mut half = server.connect();
    half.get_mut().write_all(b"get far2\r\n").unwrap();
    half.get_mut().shutdown(Shutdown::Write).unwrap();
    server.far.wait_for(2);
    server.end_all();
    for (client, key) in [(&mut client, "far1"), (&mut half, "far2")] {
        let mut all = String::new();
        client.read_to_string(&mut all).unwrap();
        assert_eq!(all, format!("VALUE {key} 7 4\r\n{key}\r\nEND\r\n"));
    }
}

#[test]
fn a_load_may_end_after_its_client_has_gone() {
    let server = Server::new();
    let client = server.connect();
    client.get_ref().write_all(b"get far1\r\n").unwrap();
    server.far.wait_for(1);
    drop(client);
    let mut other = server.connect();
    other.get_mut().write_all(b"get far2\r\nmn\r\n").unwrap();
    server.far.wait_for(2);
    server.end_all();
    assert_eq!(line(&mut other), "VALUE far2 7 4\r\n");
}
