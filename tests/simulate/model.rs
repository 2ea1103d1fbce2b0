//! Possible values of each key, and possible replies.
//!
//! A key has a set of possible states: an item may have been evicted, or have expired by one thread's clock and not
//! by another's. An operation maps each state to a reply and a next state; the actual reply keeps the states that fit
//! it. If none fits, the server has a fault.
//!
//! Operations overlap by one level: while some run one after the other, other whole ones may interleave
//! ([`Model::open`]). The order in which they took effect is unknown, so every position of the outer ones among the
//! inner ones is tried.
//!
//! Knows no store and no session; `client` reports requests and replies, `world` the time.

use oxcached::clock::Expiry;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Maximum number of states of a key; more means that the model is wrong.
const STATES_MAX: usize = 64;

/// An item as clients see it.
#[derive(Clone, PartialEq, Debug)]
pub struct Val {
    pub value: Rc<Vec<u8>>,
    pub flags: u32,
    pub expiry: Expiry,
    /// `None` until a client has seen it.
    pub cas: Option<u64>,
    /// Time at which it was stored, by the clock of the storing thread.
    pub stored: u32,
    /// Marked stale, and the token given out.
    pub stale: bool,
    pub token: bool,
}

impl Val {
    /// A newly stored value.
    pub fn new(value: &Rc<Vec<u8>>, stored: u32) -> Self {
        let value = Rc::clone(value);
        Self { value, flags: 0, expiry: Expiry::Never, cas: None, stored, stale: false, token: false }
    }

    /// This item with another expiry time, given at `now` with the wall clock at `origin`. While memory is `short`,
    /// there may be no room for a late one, and a date may become the seconds that it has left.
    pub fn touched(&self, expiry: Expiry, (now, origin): (u32, i64), short: bool) -> Vec<Self> {
        const LATE: u32 = 90 * 24 * 3600;
        let mut times = vec![expiry];
        if short {
            match expiry {
                Expiry::Never => times.push(Expiry::At(now + LATE)),
                Expiry::At(time) if time > now + LATE => times.push(Expiry::At(now + LATE)),
                Expiry::At(_) => {}
                Expiry::Date(_) => times.push(Expiry::At(expiry.relative(origin).min(now + LATE))),
            }
        }
        times.into_iter().map(|expiry| Self { expiry, ..self.clone() }).collect()
    }

    /// This item with `more` appended or prepended; `None` if it would be too large.
    pub fn joined(&self, more: &[u8], behind: bool, klen: usize) -> Option<Self> {
        let value = if behind { [&self.value, more].concat() } else { [more, &self.value].concat() };
        let memcached_size = 48 + 8 + if self.flags == 0 { 0 } else { 4 } + klen + 1 + value.len() + 2;
        let joined = Self { value: Rc::new(value), cas: None, stale: false, token: false, ..self.clone() };
        (memcached_size <= 1 << 20).then_some(joined)
    }
}

/// Value of a key, if any.
pub type Held = Option<Val>;

/// A possible reply of the server.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// These bytes.
    Exact(Vec<u8>),
    /// `VALUE` with or without a CAS id, and `END`.
    Values { key: Vec<u8>, val: Val, cas: bool },
    /// A meta reply with a CAS id as last field, between `head` and `tail`.
    Numbered { head: Vec<u8>, cas: Option<u64>, tail: Vec<u8> },
    /// A number of at most `most`, between `head` and `tail`.
    Bounded { head: Vec<u8>, most: u64, tail: Vec<u8> },
    /// A packet with a CAS id, between `head` and `body`.
    Packet { head: [u8; 16], cas: Option<u64>, body: Vec<u8> },
}

impl Reply {
    pub fn text(text: &str) -> Self {
        Self::Exact(text.as_bytes().to_vec())
    }

    /// Whether `bytes` are this reply: if so, the CAS id that they show.
    pub fn fits(&self, bytes: &[u8]) -> Option<Option<u64>> {
        match self {
            Self::Exact(exact) => (bytes == exact).then_some(None),
            Self::Values { key, val, cas } => {
                let head = format!("VALUE {} {} {}", text(key), val.flags, val.value.len()).into_bytes();
                let tail = [b"\r\n", &val.value[..], b"\r\nEND\r\n"].concat();
                let between = bytes.strip_prefix(&head[..])?.strip_suffix(&tail[..])?;
                if !cas {
                    return between.is_empty().then_some(None);
                }
                let id = number(between.strip_prefix(b" ")?)?;
                val.cas.is_none_or(|known| known == id).then_some(Some(id))
            }
            Self::Numbered { head, cas, tail } => {
                let id = number(bytes.strip_prefix(&head[..])?.strip_suffix(&tail[..])?)?;
                cas.is_none_or(|known| known == id).then_some(Some(id))
            }
            Self::Bounded { head, most, tail } => {
                let number = number(bytes.strip_prefix(&head[..])?.strip_suffix(&tail[..])?)?;
                (number <= *most).then_some(None)
            }
            Self::Packet { head, cas, body } => {
                let (id, rest) = bytes.strip_prefix(head)?.split_first_chunk()?;
                let id = u64::from_be_bytes(*id);
                (rest == body && id != 0 && cas.is_none_or(|known| known == id)).then_some(Some(id))
            }
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.iter().all(u8::is_ascii_digit) { text(digits).parse().ok() } else { None }
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or("(no text)")
}

/// Effect of an operation on a key: for the value held, the possible replies, each with the value held then.
pub type Effect = Rc<dyn Fn(&Held) -> Vec<(Reply, Held)>>;

/// A completed operation.
#[derive(Clone)]
pub struct Op {
    pub effect: Effect,
    /// Time of the thread that ran it.
    pub now: u32,
    /// `None`: the reply was lost.
    pub reply: Option<Vec<u8>>,
    pub what: String,
}

/// A completed operation, with the model's time at its completion.
#[derive(Clone)]
struct Done {
    op: Op,
    time: Time,
    /// The delayed flush at its start.
    pending: u32,
}

#[derive(Default)]
struct Key {
    states: Vec<Held>,
    /// Operations since an outer one began, while one is open; and the delayed flush at that time.
    log: Option<Vec<Done>>,
    pending: u32,
}

/// All keys.
#[derive(Default)]
pub struct Model {
    keys: RefCell<HashMap<Vec<u8>, Key>>,
    time: RefCell<Time>,
    /// CAS ids in the replies to changes.
    ids: RefCell<HashSet<u64>>,
    /// Unix time of relative time 0.
    origin: Cell<i64>,
    /// Items may be evicted.
    vanishing: bool,
    /// Memory may be refused.
    pub short: bool,
    /// Operations are printed.
    pub trace: bool,
}

#[derive(Clone, Copy, Default)]
struct Time {
    /// The latest time that any thread has worked at.
    latest: u32,
    /// The last second before a delayed flush; 0 = none.
    pending: u32,
}

impl Model {
    pub fn new(origin: i64, vanishing: bool, short: bool, trace: bool) -> Self {
        Self { origin: Cell::new(origin), vanishing, short, trace, ..Self::default() }
    }

    pub fn origin(&self) -> i64 {
        self.origin.get()
    }

    /// The wall clock is set: dates are nearer or further away. An item that was dead by the old clock may have been
    /// removed. No operation may be open.
    pub fn set_origin(&self, origin: i64) {
        let latest = self.time.borrow().latest;
        for key in self.keys.borrow_mut().values_mut() {
            assert!(key.log.is_none(), "the wall clock is set between operations");
            let was_dead = |val: &Val| (1..=latest).contains(&val.expiry.relative(self.origin.get()));
            if key.states.iter().flatten().any(was_dead) {
                add(&mut key.states, None);
            }
        }
        self.origin.set(origin);
    }

    /// A thread works at `now`: a delayed flush takes effect once its second has passed.
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
            // In its last second, a flush that is now replaced may have flushed any item.
            self.all_keys(
                "flush that was replaced",
                now,
                Rc::new(|held| vec![(Reply::text(""), None), (Reply::text(""), held.clone())]),
            );
        }
    }

    fn flush_now(&self, now: u32) {
        self.all_keys("flush", now, Rc::new(|_| vec![(Reply::text(""), None)]));
    }

    /// Applies `effect` to all keys.
    fn all_keys(&self, what: &str, now: u32, effect: Effect) {
        let time = *self.time.borrow();
        let op = Op { effect, now, reply: None, what: what.to_owned() };
        let done = Done { op, time, pending: time.pending };
        for key in self.keys.borrow_mut().values_mut() {
            match &mut key.log {
                Some(log) => log.push(done.clone()),
                None => key.states = self.apply(&key.states, &done),
            }
        }
    }

    /// Begins an operation on `key`, during which others may interleave.
    pub fn open(&self, key: &[u8]) {
        let mut keys = self.keys.borrow_mut();
        let key = entry(&mut keys, key);
        if key.log.is_none() {
            key.log = Some(Vec::new());
            key.pending = self.time.borrow().pending;
        }
    }

    /// Ends operations on `key` that ran one after the other; `outer` if they began with [`Model::open`].
    pub fn close(&self, key: &[u8], outer: bool, ops: Vec<Op>) {
        let mut keys = self.keys.borrow_mut();
        let state = entry(&mut keys, key);
        let time = *self.time.borrow();
        if self.trace {
            for op in &ops {
                let reply = op.reply.as_ref().map_or("(lost)".to_owned(), |reply| shown(reply));
                println!("  {}: {}{} -> {reply}", op.now, if outer { "" } else { "(within) " }, op.what);
            }
        }
        let pending = if outer { state.pending } else { time.pending };
        let own: Vec<Done> = ops.into_iter().map(|op| Done { op, time, pending }).collect();
        if !outer && let Some(log) = &mut state.log {
            // Checked when the outer ones end, since their changes are not yet known. Inner ones run one at a time.
            log.extend(own);
            return;
        }
        let log = if outer { state.log.take().unwrap_or_default() } else { Vec::new() };
        // Possible values after each number of inner operations, and a given number of own ones.
        let mut row = vec![state.states.clone()];
        for done in &log {
            row.push(self.apply(&row[row.len() - 1], done));
        }
        for mine in &own {
            let mut next: Vec<Vec<Held>> = Vec::new();
            for (n, states) in row.iter().enumerate() {
                let mut after = self.apply(states, mine);
                if let (Some(before), Some(n)) = (next.last(), n.checked_sub(1)) {
                    self.apply(before, &log[n]).into_iter().for_each(|held| add(&mut after, held));
                }
                next.push(after);
            }
            row = next;
        }
        let results = row.pop().unwrap_or_default();
        if results.is_empty() {
            let told = |done: &Done| {
                format!("{} at {} -> {:?}", done.op.what, done.op.now, done.op.reply.as_deref().map(shown))
            };
            panic!(
                "{:?} (latest {}, flush to come {}) of {}\n  held {:?}\n  meanwhile {:?}",
                own.iter().map(told).collect::<Vec<_>>(),
                time.latest,
                time.pending,
                text(key),
                state.states.iter().map(describe).collect::<Vec<_>>(),
                log.iter().map(told).collect::<Vec<_>>(),
            )
        }
        assert!(results.len() < STATES_MAX, "{} states of {}", results.len(), text(key));
        state.states = results;
    }

    /// Possible values after `done`.
    fn apply(&self, states: &[Held], done: &Done) -> Vec<Held> {
        let mut after = Vec::new();
        for held in states {
            for held in self.met(held, done.op.now, done.time, done.pending) {
                for (possible, mut next) in (done.op.effect)(&held) {
                    let id = match &done.op.reply {
                        None => None,
                        Some(reply) => match possible.fits(reply) {
                            None => continue,
                            Some(id) => id,
                        },
                    };
                    if let (Some(val), Some(id)) = (&mut next, id)
                        && val.cas.is_none()
                    {
                        val.cas = Some(id);
                    }
                    add(&mut after, next);
                }
            }
        }
        after
    }

    /// Records the CAS id in the reply to a change: it must be unique.
    pub fn note_id(&self, id: u64) {
        assert!(self.ids.borrow_mut().insert(id), "two changes have the CAS id {id}");
    }

    /// The values that a thread at `now` may see. `pending` is the delayed flush at the start of its operation.
    fn met(&self, held: &Held, now: u32, time: Time, pending: u32) -> Vec<Held> {
        let Some(val) = held else { return vec![None] };
        let hides = |pending: u32, now: u32| pending != 0 && pending == now;
        let exptime = val.expiry.relative(self.origin.get());
        if (exptime != 0 && exptime <= now) || (hides(pending, now) && hides(time.pending, now)) {
            return vec![None];
        }
        let may_hide = |pending: u32| pending != 0 && pending <= time.latest;
        let may_be_gone =
            self.vanishing || (exptime != 0 && exptime <= time.latest) || may_hide(pending) || may_hide(time.pending);
        if may_be_gone { vec![held.clone(), None] } else { vec![held.clone()] }
    }

    /// The minimum number of live items, and the maximum of those that are live or were so `grace` seconds ago.
    pub fn count(&self, grace: u32) -> (usize, usize) {
        let time = *self.time.borrow();
        let keys = self.keys.borrow();
        let met = |held: &Held, now: u32| self.met(held, now, time, time.pending);
        let certain =
            |key: &&Key| key.states.iter().all(|held| held.is_some() && met(held, time.latest) == [held.clone()]);
        let before = time.latest.saturating_sub(grace);
        let possible = |key: &&Key| key.states.iter().flat_map(|held| met(held, before)).any(|held| held.is_some());
        (keys.values().filter(certain).count(), keys.values().filter(possible).count())
    }

    /// The known CAS id of `key`'s item.
    pub fn known_cas(&self, key: &[u8]) -> Option<u64> {
        self.keys.borrow().get(key)?.states.iter().flatten().find_map(|val| val.cas)
    }

    /// Checks that no operation is open: the connections are gone.
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

/// A printable reply; packet headers in hex digits.
fn shown(reply: &[u8]) -> String {
    let Some((head, body)) = reply.split_at_checked(24).filter(|_| reply[0] == 0x81) else {
        return format!("{:?}", short(reply));
    };
    let digits: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits} {:?}", short(body))
}

fn describe(held: &Held) -> String {
    held.as_ref().map_or("nothing".to_owned(), |val| {
        format!(
            "{} B {:?} flags {} expiry {:?} cas {:?} stored {} {}{}",
            val.value.len(),
            short(&val.value[..val.value.len().min(20)]),
            val.flags,
            val.expiry,
            val.cas,
            val.stored,
            if val.stale { "stale " } else { "" },
            if val.token { "token" } else { "" },
        )
    })
}
