//! One connection: a session without sockets, and what its client asks.
//!
//! Owns the commands, the cuts of their bytes, slow reading, and what the model is told. Runs as a thread of `world`.

use super::model::{Effect, Held, Reply, Val, short, text};
use super::world::{LAG_MAX, Thread, World};
use oxcached::proto::{Cx, Input, Output, Protocol, Session, Step};
use std::rc::Rc;

const MONTH: i64 = 30 * 24 * 3600;

/// A command that is on its way.
struct Sent {
    key: Vec<u8>,
    /// What the client has still to send.
    rest: Vec<u8>,
    /// Bytes of the first line that are not sent yet.
    line_left: usize,
    /// The time at which the line was read.
    read_at: Option<u32>,
    make: Box<dyn Fn(u32) -> Effect>,
    what: String,
}

/// A command before it is sent.
pub struct Command {
    pub key: Vec<u8>,
    pub request: Vec<u8>,
    /// What it does, given the time at which its line is read.
    pub make: Box<dyn Fn(u32) -> Effect>,
}

/// Replies that a slow reader has not taken, and what they must be.
struct Unread {
    out: Output,
    expected: Vec<Reply>,
}

pub struct Client {
    pub thread: usize,
    session: Session,
    input: Input,
    out: Output,
    got: Vec<u8>,
    sent: Option<Sent>,
    unread: Vec<Unread>,
}

impl Client {
    pub fn new(thread: usize) -> Self {
        Self {
            thread,
            session: Session::new(Protocol::Negotiating),
            input: Input::default(),
            out: Output::default(),
            got: Vec::new(),
            sent: None,
            unread: Vec::new(),
        }
    }

    /// Nothing is half sent.
    pub fn is_idle(&self) -> bool {
        self.sent.is_none()
    }

    /// A value may be on its way.
    pub fn is_uploading(&self) -> bool {
        self.sent.is_some()
    }

    /// Replies that are not read yet.
    pub fn held(&self) -> usize {
        self.unread.len()
    }

    /// One step. Within another operation (`inner`) it is a whole command that runs at once.
    pub fn step(&mut self, world: &World, inner: bool) {
        if let Some(mut sent) = self.sent.take() {
            if world.chance(20) {
                self.session = Session::new(Protocol::Negotiating); // the connection is reset
                self.input.reset();
                self.out.clear();
                self.got.clear();
                return;
            }
            let whole = inner || world.chance(2);
            let n = if whole { sent.rest.len() } else { world.below(sent.rest.len()) };
            self.send(world, &mut sent, n, inner);
            return;
        }
        if !self.unread.is_empty() && world.chance(4) {
            let Unread { mut out, expected } = self.unread.swap_remove(world.below(self.unread.len()));
            let mut got = Vec::new();
            drain(&mut out, &mut got);
            assert!(
                expected.iter().any(|reply| reply.fits(&got).is_some_and(|(len, _)| len == got.len())),
                "a slow reader got {:?} of {} bytes, want one of {:?}",
                short(&got),
                got.len(),
                expected.iter().map(|reply| short(format!("{reply:?}").as_bytes())).collect::<Vec<_>>()
            );
            return;
        }
        let command = self.command(world);
        let line = command.request.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let what = short(&command.request[..line]).trim_end().to_owned();
        let mut sent =
            Sent { key: command.key, rest: command.request, line_left: line, read_at: None, make: command.make, what };
        let len = sent.rest.len();
        let n = if !inner && world.chance(4) { 1 + world.below(len - 1) } else { len };
        self.send(world, &mut sent, n, inner);
    }

    /// Sends `n` bytes more; with the last of them comes the reply.
    fn send(&mut self, world: &World, sent: &mut Sent, n: usize, inner: bool) {
        let now = world.threads[self.thread].now();
        let bytes: Vec<u8> = sent.rest.drain(..n).collect();
        if sent.read_at.is_none() && n >= sent.line_left {
            sent.read_at = Some(now);
        }
        sent.line_left = sent.line_left.saturating_sub(n);
        let last = sent.rest.is_empty();
        world.model.reach(now);
        if last && !inner {
            world.model.open(&sent.key);
        }
        self.feed(world, &bytes);
        if !last {
            self.sent = Some(Sent {
                rest: std::mem::take(&mut sent.rest),
                key: std::mem::take(&mut sent.key),
                make: std::mem::replace(&mut sent.make, Box::new(|_| unreachable!())),
                what: std::mem::take(&mut sent.what),
                ..*sent
            });
            return;
        }
        let effect = (sent.make)(sent.read_at.unwrap_or(now));
        let got = std::mem::take(&mut self.got);
        let len = world.model.close(&sent.key, !inner, &effect, now, &got, &sent.what);
        assert_eq!(len, got.len(), "{} has more replies than one: {:?}", sent.what, short(&got));
    }

    /// Bytes arrive, and are run until all is done.
    fn feed(&mut self, world: &World, mut bytes: &[u8]) {
        let thread = &world.threads[self.thread];
        loop {
            if !bytes.is_empty() {
                let n = match self.session.upload_target().filter(|target| !target.is_empty()) {
                    Some(target) => {
                        let n = target.len().min(bytes.len());
                        target[..n].copy_from_slice(&bytes[..n]);
                        self.session.uploaded(n);
                        n
                    }
                    None => {
                        self.input.append(bytes);
                        bytes.len()
                    }
                };
                bytes = &bytes[n..];
            }
            if !self.run(world, thread) {
                continue;
            }
            if bytes.is_empty() {
                break;
            }
        }
        drain(&mut self.out, &mut self.got);
    }

    /// One run; true if more bytes are due.
    fn run(&mut self, world: &World, thread: &Thread) -> bool {
        let mut budget = thread.shared.settings.reqs_per_event;
        let mut cx = Cx::new(&thread.shared, &thread.shared.stats.workers[0], 7);
        match self.session.run(&mut cx, &mut self.input, &mut self.out, &mut budget) {
            Step::Read => true,
            Step::Yield | Step::Flush => {
                drain(&mut self.out, &mut self.got);
                false
            }
            step => panic!("{step:?} on {}", world.place()),
        }
    }

    /// A command about a key.
    fn command(&mut self, world: &World) -> Command {
        let key = world.key();
        let name = text(&key).to_owned();
        let evicting = world.model.evicting;
        let plain = |request: String, effect: Effect| Command {
            key: key.clone(),
            request: request.into_bytes(),
            make: Box::new(move |_| Rc::clone(&effect)),
        };
        match world.below(100) {
            0..34 => self.store(world, key),
            34..50 => {
                let (cas, key) = (world.chance(3), key.clone());
                let verb = if cas { "gets" } else { "get" };
                let request = format!("{verb} {name}\r\n");
                plain(request, Rc::new(move |held| vec![(values(&key, held, cas), held.clone())]))
            }
            50..56 => {
                // The same key many times: each must be there or not, and some key that was never stored.
                let key = key.clone();
                plain(
                    format!("get {name} never-stored\r\n"),
                    Rc::new(move |held| vec![(values(&key, held, false), held.clone())]),
                )
            }
            56..64 => plain(
                format!("delete {name}\r\n"),
                Rc::new(|held| vec![(Reply::text(if held.is_some() { "DELETED\r\n" } else { "NOT_FOUND\r\n" }), None)]),
            ),
            64..76 => {
                let (incr, delta) = (world.chance(2), world.below(1000) as u64);
                let thread = world.threads[self.thread].shared.cache.store;
                plain(
                    format!("{} {name} {delta}\r\n", if incr { "incr" } else { "decr" }),
                    Rc::new(move |held| arith(held, incr, delta, evicting, thread, name.len())),
                )
            }
            76..84 => {
                let given = exptime(world);
                let gat = world.chance(2);
                let request = if gat { format!("gat {given} {name}\r\n") } else { format!("touch {name} {given}\r\n") };
                let make = move |read_at: u32| -> Effect {
                    let (key, exptime) = (key.clone(), relative(given, read_at));
                    Rc::new(move |held| {
                        let Some(val) = held else {
                            return vec![(Reply::text(if gat { "END\r\n" } else { "NOT_FOUND\r\n" }), None)];
                        };
                        let reply = if gat { values(&key, held, false) } else { Reply::text("TOUCHED\r\n") };
                        vec![(reply, Some(Val { exptime, ..val.clone() }))]
                    })
                };
                Command { key: name_bytes(&request, gat), request: request.into_bytes(), make: Box::new(make) }
            }
            84..90 => self.meta_get(world, key),
            90..94 => {
                // Marks stale, or removes.
                let stale = world.chance(2);
                let request = format!("md {name}{}\r\n", if stale { " I" } else { "" });
                plain(
                    request,
                    Rc::new(move |held| match held {
                        None => vec![(Reply::text("NF\r\n"), None)],
                        Some(val) if stale => {
                            vec![(
                                Reply::text("HD\r\n"),
                                Some(Val { stale: true, token: false, cas: None, ..val.clone() }),
                            )]
                        }
                        Some(_) => vec![(Reply::text("HD\r\n"), None)],
                    }),
                )
            }
            _ => {
                // A compare and swap with the id that some client has seen, or another.
                let known = world.model.known_cas(&key);
                let id = known.map_or(1, |id| if world.chance(3) { id + 1 } else { id });
                let value = Rc::new(world.value(&key));
                let mut request = format!("cas {name} 0 0 {} {id}\r\n", value.len()).into_bytes();
                request.extend_from_slice(&value);
                request.extend_from_slice(b"\r\n");
                let make = move |read_at: u32| -> Effect {
                    let value = Rc::clone(&value);
                    Rc::new(move |held| {
                        let mut results = out_of_memory(held, held, evicting);
                        let new = Val {
                            value: Rc::clone(&value),
                            flags: 0,
                            exptime: 0,
                            cas: None,
                            stored: read_at,
                            stale: false,
                            token: false,
                        };
                        match held {
                            None => results.push((Reply::text("NOT_FOUND\r\n"), None)),
                            Some(val) => {
                                if val.cas.is_none_or(|cas| cas == id) {
                                    results.push((Reply::text("STORED\r\n"), Some(new)));
                                }
                                if val.cas != Some(id) {
                                    results.push((Reply::text("EXISTS\r\n"), held.clone()));
                                }
                            }
                        }
                        results
                    })
                };
                Command { key, request, make: Box::new(make) }
            }
        }
    }

    fn store(&mut self, world: &World, key: Vec<u8>) -> Command {
        let verb = *world.choice(&["set", "set", "set", "set", "add", "replace", "append", "prepend"]);
        let (value, given) = (Rc::new(world.value(&key)), exptime(world));
        let flags = if world.chance(2) { 0 } else { world.below(1 << 32) as u32 };
        let evicting = world.model.evicting;
        let mut request = format!("{verb} {} {flags} {given} {}\r\n", text(&key), value.len()).into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n");
        let klen = key.len();
        let make = move |read_at: u32| -> Effect {
            let (value, exptime) = (Rc::clone(&value), relative(given, read_at));
            Rc::new(move |held| {
                let new = Val {
                    value: Rc::clone(&value),
                    flags,
                    exptime,
                    cas: None,
                    stored: read_at,
                    stale: false,
                    token: false,
                };
                let mut results = out_of_memory(held, if verb == "set" { &None } else { held }, evicting);
                let (reply, left) = match (verb, held) {
                    ("set", _) | ("add", None) | ("replace", Some(_)) => ("STORED\r\n", Some(new)),
                    ("append" | "prepend", Some(old)) => {
                        let parts: [&[u8]; 2] =
                            if verb == "append" { [&old.value, &value] } else { [&value, &old.value] };
                        let joined = parts.concat();
                        let nominal = 48 + 8 + if old.flags == 0 { 0 } else { 4 } + klen + 1 + joined.len() + 2;
                        if evicting {
                            results.push((Reply::text("NOT_STORED\r\n"), held.clone())); // no room for both values
                        }
                        if nominal > 1 << 20 {
                            ("NOT_STORED\r\n", held.clone())
                        } else {
                            let val =
                                Val { value: Rc::new(joined), cas: None, stale: false, token: false, ..old.clone() };
                            ("STORED\r\n", Some(val))
                        }
                    }
                    _ => ("NOT_STORED\r\n", held.clone()),
                };
                results.push((Reply::text(reply), left));
                results
            })
        };
        Command { key, request, make: Box::new(make) }
    }

    fn meta_get(&mut self, world: &World, key: Vec<u8>) -> Command {
        let name = text(&key).to_owned();
        let clock = Rc::clone(&world.now);
        // `l`, the seconds since the last access, must be no more than since the item was stored by any clock.
        let ages = world.chance(2);
        let request = if ages { format!("mg {name} l\r\n") } else { format!("mg {name} f s c\r\n") };
        let effect: Effect = Rc::new(move |held| {
            let Some(val) = held else { return vec![(Reply::text("EN\r\n"), None)] };
            let mut replies = Vec::new();
            let latest = clock.get();
            let won = val.stale && !val.token;
            let marks = match (val.stale, won, val.token) {
                (true, true, _) => " X W",
                (true, false, _) => " Z X",
                (false, _, true) => " Z",
                (false, _, false) => "",
            };
            let next = Some(Val { token: val.token || won, ..val.clone() });
            if ages {
                // A thread may have kept a time that it read long ago.
                let most = u64::from(latest.saturating_sub(val.stored) + LAG_MAX);
                let tail = format!("{marks}\r\n").into_bytes();
                replies.push((Reply::Bounded { head: b"HD l".to_vec(), most, tail }, next));
            } else {
                let head = format!("HD f{} s{} c", val.flags, val.value.len()).into_bytes();
                replies.push((Reply::Numbered { head, cas: val.cas, tail: format!("{marks}\r\n").into_bytes() }, next));
            }
            replies
        });
        Command { key, request: request.into_bytes(), make: Box::new(move |_| Rc::clone(&effect)) }
    }

    /// Reads a large value slowly: the reply stays pinned.
    pub fn hold(&mut self, world: &World) {
        if self.sent.is_some() || self.unread.len() > 3 {
            return;
        }
        let key = world.key();
        let now = world.threads[self.thread].now();
        world.model.reach(now);
        world.model.open(&key);
        self.input.append(format!("get {}\r\n", text(&key)).as_bytes());
        let thread = &world.threads[self.thread];
        let mut budget = thread.shared.settings.reqs_per_event;
        let mut cx = Cx::new(&thread.shared, &thread.shared.stats.workers[0], 7);
        let step = self.session.run(&mut cx, &mut self.input, &mut self.out, &mut budget);
        assert!(matches!(step, Step::Read | Step::Flush), "{step:?}");
        let mut shown = Vec::new();
        let mut slices = Vec::new();
        self.out.io_slices(&mut slices);
        slices.iter().for_each(|slice| shown.extend_from_slice(slice));
        drop(slices);
        let reply_key = key.clone();
        let effect: Effect = Rc::new(move |held| vec![(values(&reply_key, held, false), held.clone())]);
        if shown.len() == self.out.remaining() {
            let len = world.model.close(&key, true, &effect, now, &shown, "get by a slow reader");
            assert_eq!(len, shown.len());
            self.unread.push(Unread { out: std::mem::take(&mut self.out), expected: vec![Reply::Exact(shown)] });
        } else {
            drain(&mut self.out, &mut self.got);
            let got = std::mem::take(&mut self.got);
            world.model.close(&key, true, &effect, now, &got, "get");
        }
        if step == Step::Flush {
            self.feed(world, &[]);
            assert!(self.got.is_empty());
        }
    }
}

fn name_bytes(request: &str, gat: bool) -> Vec<u8> {
    request.split_ascii_whitespace().nth(if gat { 2 } else { 1 }).unwrap().as_bytes().to_vec()
}

fn values(key: &[u8], held: &Held, cas: bool) -> Reply {
    match held {
        None => Reply::text("END\r\n"),
        Some(val) => Reply::Values { key: key.to_vec(), val: val.clone(), cas },
    }
}

fn out_of_memory(_held: &Held, left: &Held, evicting: bool) -> Vec<(Reply, Held)> {
    if !evicting {
        return Vec::new();
    }
    let replies = ["SERVER_ERROR out of memory storing object\r\n", "SERVER_ERROR Out of memory during read\r\n"];
    replies.iter().map(|reply| (Reply::text(reply), left.clone())).collect()
}

/// An exptime argument.
fn exptime(world: &World) -> i64 {
    match world.below(20) {
        0..10 => 0,
        10..14 => 1 + world.below(200) as i64,
        14..16 => 1 + world.below(MONTH as usize) as i64,
        16 => -1,
        _ => super::world::UNIX + i64::from(world.latest()) - 3000 + world.below(400 * 24 * 3600) as i64,
    }
}

/// The relative time that it means to a thread at `now`.
fn relative(given: i64, now: u32) -> u32 {
    match given {
        0 => 0,
        ..0 => 1,
        1..=MONTH => now + given as u32,
        _ => (given - super::world::UNIX).max(1) as u32,
    }
}

fn arith(
    held: &Held,
    incr: bool,
    delta: u64,
    evicting: bool,
    store: &oxcached::store::Store,
    klen: usize,
) -> Vec<(Reply, Held)> {
    let Some(old) = held else { return vec![(Reply::text("NOT_FOUND\r\n"), None)] };
    let chunked = store.sizes().is_chunked(store.sizes().nominal(klen, old.value.len(), old.flags != 0));
    let Some(number) = number(&old.value).filter(|_| !chunked) else {
        let reply = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
        return vec![(Reply::text(reply), held.clone())];
    };
    let sum = if incr { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
    let len = old.value.len();
    let mut value = sum.to_string().into_bytes();
    let longer = value.len() > len;
    value.resize(len.max(value.len()), b' ');
    let marks = if longer { (false, false) } else { (old.stale, old.token) };
    let new = Val { value: Rc::new(value), cas: None, stale: marks.0, token: marks.1, ..old.clone() };
    let mut results = vec![(Reply::Exact(format!("{sum}\r\n").into_bytes()), Some(new))];
    if evicting {
        results.push((Reply::text("SERVER_ERROR out of memory\r\n"), held.clone()));
    }
    results
}

/// memcached's reading of a stored number: digits after white space, then white space or nothing.
fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let ends = digits.get(end).is_none_or(u8::is_ascii_whitespace);
    if ends { text(&digits[..end]).parse().ok() } else { None }
}

/// Takes all of `out`.
fn drain(out: &mut Output, to: &mut Vec<u8>) {
    while !out.is_empty() {
        let mut slices = Vec::new();
        out.io_slices(&mut slices);
        let mut taken = 0;
        for slice in slices {
            to.extend_from_slice(&slice);
            taken += slice.len();
        }
        assert!(taken > 0, "an output that is not empty has something to write");
        out.advance(taken);
    }
}
