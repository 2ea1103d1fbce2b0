//! What each key may hold, and which replies are possible.
//!
//! A key has a set of states that it may be in: an item may have been evicted, or have expired by one thread's clock and
//! not by another's. An operation gives each state a reply and a state that follows; what was replied keeps the states
//! that fit it. None that fits is a fault of the server.
//!
//! Operations overlap by one level: while one runs, other whole ones may come in between ([`Model::open`]). Which order
//! took effect is not known, so every place of the outer one among the inner ones is tried.
//!
//! Knows no store and no session; `client` tells it what was asked and replied, `world` what time it is.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// States of a key that are kept apart; more than this means that the model has lost its way.
const STATES_MAX: usize = 64;

/// An item as clients see it.
#[derive(Clone, PartialEq, Debug)]
pub struct Val {
    pub value: Rc<Vec<u8>>,
    pub flags: u32,
    /// Relative time, 0 = never.
    pub exptime: u32,
    /// `None` until a client has seen it.
    pub cas: Option<u64>,
    /// When it was stored, by the clock of the thread that did.
    pub stored: u32,
    /// Marked stale, and the token given out.
    pub stale: bool,
    pub token: bool,
}

/// What a key holds.
pub type Held = Option<Val>;

/// What a server may reply.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// These bytes.
    Exact(Vec<u8>),
    /// `VALUE` with a CAS id, or without, and `END`.
    Values { key: Vec<u8>, val: Val, cas: bool },
    /// A meta reply whose last field is a CAS id: what comes before it, and behind.
    Numbered { head: Vec<u8>, cas: Option<u64>, tail: Vec<u8> },
    /// A number of these at most: what comes before it, and behind.
    Bounded { head: Vec<u8>, most: u64, tail: Vec<u8> },
}

/// A reply that fits: its length, and the CAS id that it shows.
type Fit = (usize, Option<u64>);

impl Reply {
    pub fn text(text: &str) -> Self {
        Self::Exact(text.as_bytes().to_vec())
    }

    /// How `bytes` begin with this reply.
    pub fn fits(&self, bytes: &[u8]) -> Option<Fit> {
        match self {
            Self::Exact(exact) => bytes.starts_with(exact).then_some((exact.len(), None)),
            Self::Values { key, val, cas: false } => {
                let mut block = format!("VALUE {} {} {}\r\n", text(key), val.flags, val.value.len()).into_bytes();
                block.extend_from_slice(&val.value);
                block.extend_from_slice(b"\r\nEND\r\n");
                bytes.starts_with(&block).then_some((block.len(), None))
            }
            Self::Values { key, val, cas: true } => {
                let head = format!("VALUE {} {} {} ", text(key), val.flags, val.value.len()).into_bytes();
                let mut tail = b"\r\n".to_vec();
                tail.extend_from_slice(&val.value);
                tail.extend_from_slice(b"\r\nEND\r\n");
                numbered(bytes, &head, &tail).filter(|(_, id)| val.cas.is_none() || val.cas == *id)
            }
            Self::Numbered { head, cas, tail } => {
                numbered(bytes, head, tail).filter(|(_, id)| cas.is_none() || cas == id)
            }
            Self::Bounded { head, most, tail } => {
                numbered(bytes, head, tail).filter(|(_, number)| *number <= Some(*most)).map(|(len, _)| (len, None))
            }
        }
    }
}

fn numbered(bytes: &[u8], head: &[u8], tail: &[u8]) -> Option<Fit> {
    let rest = bytes.strip_prefix(head)?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let number = text(&rest[..digits]).parse().ok()?;
    rest[digits..].starts_with(tail).then_some((head.len() + digits + tail.len(), Some(number)))
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("(no text)")
}

/// What an operation does to a key: for what it holds, the replies that are possible, each with what is held then.
pub type Effect = Rc<dyn Fn(&Held) -> Vec<(Reply, Held)>>;

/// An operation that has ended.
#[derive(Clone)]
struct Done {
    effect: Effect,
    /// The time of the thread that ran it.
    now: u32,
    time: Time,
    /// The flush to come when it began.
    pending: u32,
    reply: Vec<u8>,
    what: String,
}

#[derive(Default)]
struct Key {
    states: Vec<Held>,
    /// Operations since an outer one began, while one is open; and the flush to come at that time.
    log: Option<Vec<Done>>,
    pending: u32,
}

/// All keys.
#[derive(Default)]
pub struct Model {
    keys: RefCell<HashMap<Vec<u8>, Key>>,
    time: RefCell<Time>,
    /// Items may vanish.
    pub evicting: bool,
    /// Operations are printed.
    pub trace: bool,
}

#[derive(Clone, Copy, Default)]
struct Time {
    /// The latest time that any thread has worked at.
    latest: u32,
    /// The last second before a flush to come; 0 = none.
    pending: u32,
}

impl Model {
    pub fn new(evicting: bool, trace: bool) -> Self {
        Self { evicting, trace, ..Self::default() }
    }

    /// A thread works at `now`: a flush whose second has passed takes effect.
    pub fn reach(&self, now: u32) {
        let due = {
            let mut time = self.time.borrow_mut();
            time.latest = time.latest.max(now);
            let due = time.pending != 0 && time.pending < now;
            if due {
                time.pending = 0;
            }
            due
        };
        if due {
            self.flush_now(now);
        }
    }

    /// `flush_all` by a thread at `now`, `oldest` as the server computes it.
    pub fn flush(&self, oldest: u32, now: u32) {
        let at_once = oldest != 0 && oldest < now;
        let before = *self.time.borrow();
        self.time.borrow_mut().pending = if at_once { 0 } else { oldest };
        if at_once {
            self.flush_now(now);
        } else if before.pending != 0 && before.pending <= before.latest {
            // In its last second a flush that is replaced now may have taken any item.
            self.all_keys(
                "flush that was replaced",
                now,
                Rc::new(|held| vec![(Reply::Exact(Vec::new()), None), (Reply::Exact(Vec::new()), held.clone())]),
            );
        }
    }

    fn flush_now(&self, now: u32) {
        self.all_keys("flush", now, Rc::new(|_| vec![(Reply::Exact(Vec::new()), None)]));
    }

    /// Something happens to all keys.
    fn all_keys(&self, what: &str, now: u32, effect: Effect) {
        let time = *self.time.borrow();
        let done = Done { effect, now, time, pending: time.pending, reply: Vec::new(), what: what.to_owned() };
        for key in self.keys.borrow_mut().values_mut() {
            match &mut key.log {
                Some(log) => log.push(done.clone()),
                None => key.states = self.all(&key.states, std::slice::from_ref(&done)),
            }
        }
    }

    /// An operation on `key` begins, in which others may come.
    pub fn open(&self, key: &[u8]) {
        let mut keys = self.keys.borrow_mut();
        let key = entry(&mut keys, key);
        if key.log.is_none() {
            key.log = Some(Vec::new());
            key.pending = self.time.borrow().pending;
        }
    }

    /// An operation on `key` ends; it `begun` by [`Model::open`] if `outer`. `reply` begins with its reply: gives how long that is.
    pub fn close(&self, key: &[u8], outer: bool, effect: &Effect, now: u32, reply: &[u8], what: &str) -> usize {
        let mut keys = self.keys.borrow_mut();
        let state = entry(&mut keys, key);
        let time = *self.time.borrow();
        if self.trace {
            println!("  {now}: {}{what} -> {:?}", if outer { "" } else { "(within) " }, short(reply));
        }
        if !outer && state.log.is_some() {
            // Judged when the outer one ends: what it has changed is not known yet. Inner ones are asked one at a time.
            let (effect, pending) = (Rc::clone(effect), time.pending);
            let done = Done { effect, now, time, pending, reply: reply.to_vec(), what: what.to_owned() };
            state.log.iter_mut().for_each(|log| log.push(done.clone()));
            return reply.len();
        }
        let log = if outer { state.log.take().unwrap_or_default() } else { Vec::new() };
        let mut results: Vec<Held> = Vec::new();
        let mut length = None;
        let pending = if outer { state.pending } else { time.pending };
        let effect = Rc::clone(effect);
        let own = Done { effect, now, time, pending, reply: reply.to_vec(), what: what.to_owned() };
        for place in 0..=log.len() {
            let before = self.all(&state.states, &log[..place]);
            for (len, after) in self.apply(&before, &own) {
                let end = self.all(&[after], &log[place..]);
                if !end.is_empty() {
                    length = Some(len);
                }
                end.into_iter().for_each(|held| add(&mut results, held));
            }
        }
        let Some(len) = length else {
            let inner: Vec<_> = log.iter().map(|done| format!("{} -> {:?}", done.what, short(&done.reply))).collect();
            panic!(
                "{what} at {now} (latest {}, flush to come {}) of {}\n  replied {:?}\n  held {:?}\n  meanwhile {inner:?}",
                time.latest,
                time.pending,
                text(key),
                short(reply),
                state.states.iter().map(describe).collect::<Vec<_>>(),
            )
        };
        assert!(results.len() < STATES_MAX, "{} states of {}", results.len(), text(key));
        state.states = results;
        len
    }

    fn all(&self, states: &[Held], log: &[Done]) -> Vec<Held> {
        let mut states = states.to_vec();
        for done in log {
            let mut next = Vec::new();
            for (len, held) in self.apply(&states, done) {
                if len == done.reply.len() {
                    add(&mut next, held);
                }
            }
            states = next;
        }
        states
    }

    /// What may be held after `done`, and how long its reply is.
    fn apply(&self, states: &[Held], done: &Done) -> Vec<(usize, Held)> {
        let mut after = Vec::new();
        for held in states {
            for held in self.met(held, done.now, done.time, done.pending) {
                for (possible, mut next) in (done.effect)(&held) {
                    let Some((len, id)) = possible.fits(&done.reply) else { continue };
                    if let (Some(val), Some(id)) = (&mut next, id)
                        && val.cas.is_none()
                    {
                        val.cas = Some(id);
                    }
                    if !after.contains(&(len, next.clone())) {
                        after.push((len, next));
                    }
                }
            }
        }
        after
    }

    /// What a thread at `now` may meet of what is held. `pending` is the flush to come when its operation began.
    fn met(&self, held: &Held, now: u32, time: Time, pending: u32) -> Vec<Held> {
        let Some(val) = held else { return vec![None] };
        let hides = |pending: u32, now: u32| pending != 0 && pending == now;
        if (val.exptime != 0 && val.exptime <= now) || (hides(pending, now) && hides(time.pending, now)) {
            return vec![None];
        }
        let may_hide = |pending: u32| pending != 0 && pending <= time.latest;
        let may_be_gone = self.evicting
            || (val.exptime != 0 && val.exptime <= time.latest)
            || may_hide(pending)
            || may_hide(time.pending);
        if may_be_gone { vec![held.clone(), None] } else { vec![held.clone()] }
    }

    /// The least and the largest number of items that there may be.
    pub fn count(&self) -> (usize, usize) {
        let time = *self.time.borrow();
        let keys = self.keys.borrow();
        // What has expired may still lie there.
        let certain = |key: &&Key| {
            key.states
                .iter()
                .all(|held| held.is_some() && self.met(held, time.latest, time, time.pending) == [held.clone()])
        };
        let possible = |key: &&Key| key.states.iter().any(Option::is_some);
        (keys.values().filter(certain).count(), keys.values().filter(possible).count())
    }

    /// The CAS id that an item of `key` is known to have.
    pub fn known_cas(&self, key: &[u8]) -> Option<u64> {
        self.keys.borrow().get(key)?.states.iter().flatten().find_map(|val| val.cas)
    }

    /// Forgets that operations are open: their connections are gone.
    pub fn crash(&self) {
        for key in self.keys.borrow_mut().values_mut() {
            assert!(key.log.is_none(), "a crash comes between operations");
        }
    }
}

fn entry<'a>(keys: &'a mut HashMap<Vec<u8>, Key>, key: &[u8]) -> &'a mut Key {
    keys.entry(key.to_vec()).or_insert_with(|| Key { states: vec![None], ..Key::default() })
}

fn add(states: &mut Vec<Held>, held: Held) {
    if !states.contains(&held) {
        states.push(held);
    }
}

pub fn short(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

fn describe(held: &Held) -> String {
    held.as_ref().map_or("nothing".to_owned(), |val| {
        format!(
            "{} B {:?} flags {} exptime {} cas {:?} stored {} {}{}",
            val.value.len(),
            short(&val.value[..val.value.len().min(20)]),
            val.flags,
            val.exptime,
            val.cas,
            val.stored,
            if val.stale { "stale " } else { "" },
            if val.token { "token" } else { "" },
        )
    })
}
