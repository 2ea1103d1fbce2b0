//! Owns the toy server that shows the limit: one thread, one epoll, one read and one write a wake-up, and the
//! [`store`]. It knows `get`, `mg KEY v`, `set`, `stats` and `version` in the form in which the loads send them, and
//! nothing of expiry, eviction, threads, TLS or hostile clients. Called by `main`, which runs as this server when the
//! benchmark starts it.

mod store;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use memchr::memchr;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use store::{Slot, Store};

const READ_BYTES: usize = 1 << 20;
/// Commands whose memory is fetched together.
const GROUP: usize = 32;
const LISTENER: Token = Token(usize::MAX);

/// Serves on a port of the kernel's choice, which it writes to the file that `MEMCACHED_PORT_FILENAME` names.
pub fn serve() -> Outcome<()> {
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let path = std::env::var_os("MEMCACHED_PORT_FILENAME").ok_or("no port file is named")?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    fs::write(path, format!("TCP INET: {}\n", listener.local_addr()?.port()))?;
    let mut clients = slab::Slab::<Client>::new();
    let mut toy =
        Toy { store: Store::new(), buffer: vec![0; READ_BYTES], out: Vec::new(), gets: 0, sets: 0, misses: 0 };
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let entry = clients.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(entry.key()), interest)?;
                    entry.insert(Client { stream, rest: Vec::new(), unsent: Vec::new() });
                }
                continue;
            }
            let slot = event.token().0;
            let Some(client) = clients.get_mut(slot) else { continue };
            if !client.unsent.is_empty() && !client.flush() || event.is_readable() && !toy.turn(client) {
                clients.remove(slot);
            }
        }
    }
}

struct Client {
    stream: TcpStream,
    /// Start of a command that is incomplete.
    rest: Vec<u8>,
    unsent: Vec<u8>,
}

impl Client {
    /// Sends what a full socket refused; false if the connection is over.
    fn flush(&mut self) -> bool {
        match self.stream.write(&self.unsent) {
            Ok(count) => {
                self.unsent.drain(..count);
                true
            }
            Err(problem) => problem.kind() == ErrorKind::WouldBlock,
        }
    }
}

struct Toy {
    store: Store,
    buffer: Vec<u8>,
    out: Vec<u8>,
    gets: u64,
    sets: u64,
    misses: u64,
}

/// A command in the read buffer: places of its key and value.
#[derive(Clone, Copy)]
struct Op {
    kind: Kind,
    key: (usize, usize),
    value: (usize, usize),
    hash: u64,
    slot: Option<Slot>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    /// After the last key of a `get`.
    End,
    MetaGet,
    Set {
        quiet: bool,
    },
    Stats,
    Version,
    Error,
}

impl Toy {
    /// Serves what a connection sent; false if it is over.
    fn turn(&mut self, client: &mut Client) -> bool {
        loop {
            let start = client.rest.len();
            if self.buffer.len() < start + READ_BYTES {
                self.buffer.resize(start + READ_BYTES, 0);
            }
            self.buffer[..start].copy_from_slice(&client.rest);
            client.rest.clear();
            let count = match client.stream.read(&mut self.buffer[start..]) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(problem) => {
                    client.rest.extend_from_slice(&self.buffer[..start]);
                    return problem.kind() == ErrorKind::WouldBlock;
                }
            };
            let size = start + count;
            let used = self.run(size);
            client.rest.extend_from_slice(&self.buffer[used..size]);
            if client.unsent.is_empty() {
                match client.stream.write(&self.out) {
                    Ok(sent) => client.unsent.extend_from_slice(&self.out[sent..]),
                    Err(problem) if problem.kind() == ErrorKind::WouldBlock => {
                        client.unsent.extend_from_slice(&self.out);
                    }
                    Err(_) => return false,
                }
            } else {
                client.unsent.extend_from_slice(&self.out);
            }
            self.out.clear();
            if size < self.buffer.len() {
                return true;
            }
        }
    }

    /// Runs the whole commands among the first `size` bytes; returns the bytes of these.
    fn run(&mut self, size: usize) -> usize {
        let mut at = 0;
        let mut group = [Op { kind: Kind::End, key: (0, 0), value: (0, 0), hash: 0, slot: None }; GROUP];
        let mut in_get = false;
        loop {
            let mut filled = 0;
            while filled < GROUP {
                let Some((op, next)) = parse(&self.buffer[..size], at, &mut in_get) else { break };
                (group[filled], at) = (op, next);
                filled += 1;
            }
            if filled == 0 {
                return at;
            }
            self.run_group(&mut group[..filled]);
        }
    }

    /// Each pass touches independent words, so the processor waits for them together: the slots, then the items.
    fn run_group(&mut self, group: &mut [Op]) {
        for op in &mut *group {
            op.hash = oxcached::hash::hash(&self.buffer[op.key.0..op.key.1]);
        }
        let mut sum = 0;
        for op in &*group {
            sum ^= self.store.touch_slot(op.hash);
        }
        for op in &mut *group {
            op.slot = self.store.slot(op.hash);
            sum ^= op.slot.map_or(0, |slot| self.store.touch_item(slot));
        }
        std::hint::black_box(sum);
        for op in &*group {
            self.run_one(op);
        }
    }

    fn run_one(&mut self, op: &Op) {
        let key = &self.buffer[op.key.0..op.key.1];
        match op.kind {
            Kind::Get | Kind::MetaGet => {
                self.gets += 1;
                let Some(value) = self.store.get(op.hash, op.slot, key) else {
                    self.misses += 1;
                    if op.kind == Kind::MetaGet {
                        self.out.extend_from_slice(b"EN\r\n");
                    }
                    return;
                };
                if op.kind == Kind::Get {
                    self.out.extend_from_slice(b"VALUE ");
                    self.out.extend_from_slice(key);
                    self.out.extend_from_slice(b" 0 ");
                } else {
                    self.out.extend_from_slice(b"VA ");
                }
                self.out.extend_from_slice(itoa::Buffer::new().format(value.len() - 2).as_bytes());
                self.out.extend_from_slice(b"\r\n");
                self.out.extend_from_slice(value);
            }
            Kind::End => self.out.extend_from_slice(b"END\r\n"),
            Kind::Set { quiet } => {
                self.sets += 1;
                self.store.set(op.hash, key, &self.buffer[op.value.0..op.value.1]);
                if !quiet {
                    self.out.extend_from_slice(b"STORED\r\n");
                }
            }
            Kind::Stats => {
                for (name, count) in [("cmd_get", self.gets), ("cmd_set", self.sets), ("get_misses", self.misses)] {
                    self.out.extend_from_slice(format!("STAT {name} {count}\r\n").as_bytes());
                }
                self.out.extend_from_slice(b"END\r\n");
            }
            Kind::Version => self.out.extend_from_slice(b"VERSION limit\r\n"),
            Kind::Error => self.out.extend_from_slice(b"ERROR\r\n"),
        }
    }
}

/// The command, or the next key of a `get`, at `at`, and where the next begins. `None`: not all of it is there.
fn parse(bytes: &[u8], at: usize, in_get: &mut bool) -> Option<(Op, usize)> {
    let op = |kind, key| Op { kind, key, value: (0, 0), hash: 0, slot: None };
    let word = |from: usize| from + bytes[from..].iter().take_while(|&&byte| byte > b' ').count();
    let skip = |from: usize| from + bytes[from..].iter().take_while(|&&byte| byte == b' ').count();
    if *in_get {
        let from = skip(at);
        let to = word(from);
        if from == to {
            *in_get = false;
            return Some((op(Kind::End, (0, 0)), to + memchr(b'\n', &bytes[to..])? + 1));
        }
        return Some((op(Kind::Get, (from, to)), to));
    }
    let end = at + memchr(b'\n', &bytes[at..])? + 1;
    let from = (at + 4).min(end);
    match &bytes[at..from] {
        b"get " => {
            *in_get = true;
            parse(bytes, from, in_get)
        }
        b"set " => {
            let to = word(from);
            let mut rest = bytes[to..end].split(|&byte| byte <= b' ').filter(|word| !word.is_empty()).skip(2);
            let digits = rest.next().unwrap_or_default();
            let size = digits.iter().fold(0, |sum: usize, digit| sum * 10 + usize::from(digit.wrapping_sub(b'0')));
            let next = end + size + 2;
            if next > bytes.len() {
                return None;
            }
            let kind = Kind::Set { quiet: rest.next().is_some() };
            Some((Op { value: (end, next), ..op(kind, (from, to)) }, next))
        }
        b"stat" => Some((op(Kind::Stats, (0, 0)), end)),
        b"vers" => Some((op(Kind::Version, (0, 0)), end)),
        _ if bytes[at..].starts_with(b"mg ") => Some((op(Kind::MetaGet, (at + 3, word(at + 3))), end)),
        _ => Some((op(Kind::Error, (0, 0)), end)),
    }
}
