//! Packets: requests and their possible replies.
//!
//! Owns the binary protocol as the model knows it: the bytes of requests, and the possible replies for each state of
//! a key. Called by `client`, which sends the packets.

use super::client::Command;
use super::commands::{expiry, exptime, sum};
use super::model::{Effect, Held, Reply, Val, text};
use super::world::World;
use oxcached::clock::Expiry;
use std::rc::Rc;

const NOT_FOUND: (u16, &str) = (1, "Not found");
const EXISTS: (u16, &str) = (2, "Data exists for key.");
const NOT_STORED: (u16, &str) = (5, "Not stored.");
const NON_NUMERIC: (u16, &str) = (6, "Non-numeric server-side value for incr or decr");
const NO_MEMORY: u16 = 0x82;

/// Maximum packets of a bulk, and length of their values.
const BULK_MAX: usize = 2000;
const BULK_BYTES: usize = 2_500_000;

/// Header length.
const HEADER: usize = 24;

/// Fields of a request that its reply echoes.
#[derive(Clone, Copy)]
struct Echo {
    opcode: u8,
    quiet: bool,
    opaque: [u8; 4],
}

impl Echo {
    fn head(self, status: u16, extras: u8, key: usize, body: usize) -> [u8; 16] {
        let mut head = [0; 16];
        (head[0], head[1], head[4]) = (0x81, self.opcode, extras);
        head[2..4].copy_from_slice(&(key as u16).to_be_bytes());
        head[6..8].copy_from_slice(&status.to_be_bytes());
        head[8..12].copy_from_slice(&(body as u32).to_be_bytes());
        head[12..].copy_from_slice(&self.opaque);
        head
    }

    /// A reply without a CAS id.
    fn plain(self, status: u16, key: usize, body: &[u8]) -> Reply {
        Reply::Exact([&self.head(status, 0, key, body.len())[..], &[0; 8], body].concat())
    }

    /// An error reply, also of quiet commands.
    fn fail(self, (status, text): (u16, &str)) -> Reply {
        self.plain(status, 0, text.as_bytes())
    }

    /// Success with nothing but a CAS id, which quiet commands omit.
    fn done(self, body: &[u8]) -> Reply {
        match self.quiet {
            true => Reply::text(""),
            false => Reply::Packet { head: self.head(0, 0, 0, body.len()), cas: None, body: body.to_vec() },
        }
    }
}

fn request(echo: Echo, extras: &[u8], key: &[u8], value: &[u8], cas: u64) -> Vec<u8> {
    let body = extras.len() + key.len() + value.len();
    let mut head = echo.head(0, extras.len() as u8, key.len(), body);
    head[0] = 0x80;
    [&head[..], &cas.to_be_bytes(), extras, key, value].concat()
}

/// Takes the packets with this opaque off the front of `bytes`.
pub fn take_replies(bytes: &mut Vec<u8>, opaque: [u8; 4]) -> Vec<u8> {
    let mut end = 0;
    while let Some(head) = bytes.get(end..end + HEADER)
        && head[12..16] == opaque
    {
        assert_eq!((head[0], head[5]), (0x81, 0), "no reply's header: {head:?}");
        end += HEADER + u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        assert!(end <= bytes.len(), "a packet of {end} bytes, of which {} came", bytes.len());
    }
    bytes.drain(..end).collect()
}

/// CAS id in the reply to a change.
pub fn changed_id(reply: &[u8]) -> Option<u64> {
    let head = reply.first_chunk::<HEADER>()?;
    let changes = matches!(head[1], 0x01 | 0x02 | 0x03 | 0x05 | 0x06 | 0x0e | 0x0f) && head[6..8] == [0, 0];
    changes
        .then(|| u64::from_be_bytes([head[16], head[17], head[18], head[19], head[20], head[21], head[22], head[23]]))
}

/// A packet and its effect, complete except for the time at which it is read.
struct Draft<'a> {
    echo: Echo,
    key: &'a [u8],
    extras: &'a [u8],
    value: &'a [u8],
    cas: u64,
}

impl Draft<'_> {
    fn command(self, name: &str, make: impl Fn(u32) -> Effect + 'static) -> Command {
        let Self { echo, key, extras, value, cas } = self;
        let what = format!(
            "packet {name}{} {} opaque {:02x?}, cas {cas}, extras {extras:02x?}, {} B",
            if echo.quiet { " (quiet)" } else { "" },
            text(key),
            echo.opaque,
            value.len()
        );
        let request = request(echo, extras, key, value, cas);
        let head = HEADER + extras.len() + key.len();
        Command { key: key.to_vec(), request, head, opaque: Some(echo.opaque), make: Box::new(make), what }
    }
}

/// A noop packet: its reply shows that all earlier replies have arrived.
pub fn noop(world: &World) -> Command {
    let echo = Echo { opcode: 0x0a, quiet: false, opaque: opaque(world) };
    let effect: Effect = Rc::new(move |held| vec![(echo.plain(0, 0, b""), held.clone())]);
    Draft { echo, key: b"", extras: b"", value: b"", cas: 0 }.command("noop", move |_| Rc::clone(&effect))
}

/// `flush` after `delay` seconds.
pub fn flush(world: &World, delay: u32) -> Command {
    let quiet = world.chance(2);
    let echo = Echo { opcode: if quiet { 0x18 } else { 0x08 }, quiet, opaque: opaque(world) };
    let extras = delay.to_be_bytes();
    let reply = if quiet { Reply::text("") } else { echo.plain(0, 0, b"") };
    let effect: Effect = Rc::new(move |held| vec![(reply.clone(), held.clone())]);
    let extras = if delay == 0 && world.chance(2) { &[][..] } else { &extras };
    Draft { echo, key: b"", extras, value: b"", cas: 0 }.command("flush", move |_| Rc::clone(&effect))
}

fn opaque(world: &World) -> [u8; 4] {
    world.serial().to_be_bytes()
}

pub fn get(world: &World, key: &[u8], quiet: bool) -> Command {
    let with_key = world.chance(2);
    let opcode = match (with_key, quiet) {
        (false, false) => 0x00,
        (false, true) => 0x09,
        (true, false) => 0x0c,
        (true, true) => 0x0d,
    };
    let echo = Echo { opcode, quiet, opaque: opaque(world) };
    let effect = fetch(echo, key, (with_key, true), None);
    Draft { echo, key, extras: b"", value: b"", cas: 0 }.command("get", move |_| Rc::clone(&effect))
}

/// A packet about a key.
pub fn command(world: &World, key: &[u8]) -> Command {
    let quiet = world.chance(2);
    let echo = |loud: u8, silent: u8| Echo { opcode: if quiet { silent } else { loud }, quiet, opaque: opaque(world) };
    match world.below(100) {
        0..34 => store(world, key, quiet),
        34..44 => join(world, key, quiet),
        44..64 => get(world, key, quiet),
        64..76 => {
            let given = exptime(world).max(0);
            let (with_key, value) = (world.chance(2), world.below(3) > 0);
            let echo = match (with_key, value) {
                (_, false) => Echo { opcode: 0x1c, quiet: false, opaque: opaque(world) },
                (true, true) => echo(0x23, 0x24),
                (false, true) => echo(0x1d, 0x1e),
            };
            let (owned, short, origin) = (key.to_vec(), world.model.short, world.model.origin());
            Draft { echo, key, extras: &(given as u32).to_be_bytes(), value: b"", cas: 0 }.command(
                "gat",
                move |read_at| {
                    let touch = (expiry(given, read_at, origin), (read_at, origin), short);
                    fetch(echo, &owned, (with_key && value, value), Some(touch))
                },
            )
        }
        76..84 => delete(world, key, quiet, compare(world, key)),
        _ => arith(world, key, quiet),
    }
}

fn delete(world: &World, key: &[u8], quiet: bool, cas: u64) -> Command {
    let echo = Echo { opcode: if quiet { 0x14 } else { 0x04 }, quiet, opaque: opaque(world) };
    let effect: Effect = Rc::new(move |held| match held {
        None => vec![(echo.fail(NOT_FOUND), None)],
        Some(val) => {
            let reply = if echo.quiet { Reply::text("") } else { echo.plain(0, 0, b"") };
            compared(val, cas, (reply, None), (echo.fail(EXISTS), held.clone()))
        }
    });
    Draft { echo, key, extras: b"", value: b"", cas }.command("delete", move |_| Rc::clone(&effect))
}

/// A CAS id to compare with: mostly none, else the known one, or another.
fn compare(world: &World, key: &[u8]) -> u64 {
    match world.below(8) {
        0 => world.model.known_cas(key).unwrap_or(1),
        1 => world.model.known_cas(key).map_or(1, |id| id + 1),
        _ => 0,
    }
}

/// Selects the outcome by whether the item has the id `compare`; 0 matches any.
fn compared(val: &Val, compare: u64, same: (Reply, Held), other: (Reply, Held)) -> Vec<(Reply, Held)> {
    let mut results = Vec::new();
    if compare == 0 || val.cas.is_none_or(|cas| cas == compare) {
        results.push(same);
    }
    if compare != 0 && val.cas != Some(compare) {
        results.push(other);
    }
    results
}

/// A new expiry time, its time of receipt by both clocks, and whether memory is short.
type Touch = (Expiry, (u32, i64), bool);

fn fetch(echo: Echo, key: &[u8], (with_key, value): (bool, bool), touch: Option<Touch>) -> Effect {
    let shown = if with_key { key.to_vec() } else { Vec::new() };
    Rc::new(move |held| {
        let Some(val) = held else {
            let reply = match (echo.quiet, with_key) {
                (true, _) => Reply::text(""),
                (false, true) => echo.plain(1, shown.len(), &shown),
                (false, false) => echo.fail(NOT_FOUND),
            };
            return vec![(reply, None)];
        };
        let told: &[u8] = if value { &val.value } else { b"" };
        let body = [&val.flags.to_be_bytes()[..], &shown, told].concat();
        let reply = Reply::Packet { head: echo.head(0, 4, shown.len(), body.len()), cas: val.cas, body };
        let left = match touch {
            None => vec![val.clone()],
            Some((expiry, moment, short)) => val.touched(expiry, moment, short),
        };
        left.into_iter().map(|val| (reply.clone(), Some(val))).collect()
    })
}

/// Many packets of one kind about keys of their own: pages fill, and become empty.
pub fn bulk(world: &World) -> Vec<Command> {
    let len = *world.choice(&[20, 100, 700, 3000, 20_000, 200_000]);
    let count = if world.chance(3) { 40 } else { BULK_MAX.min(BULK_BYTES / len) };
    let (from, what) = (world.below(count / 4 + 1), world.below(4));
    let given = if world.chance(3) { 1 + world.below(100) as i64 } else { 0 };
    let one = |n: usize| {
        let key = format!("bulk{len}-{}", from + n).into_bytes();
        match what {
            0 | 1 => set(world, &key, true, ("set", 1, 0x11), (world.value_of(&key, len), given, 0)),
            // Few items remain on each page.
            2 if world.chance(20) => get(world, &key, true),
            2 => delete(world, &key, true, 0),
            _ => get(world, &key, true),
        }
    };
    (0..count).map(one).chain([noop(world)]).collect()
}

fn store(world: &World, key: &[u8], quiet: bool) -> Command {
    let verb = *world.choice(&[("set", 1, 0x11), ("set", 1, 0x11), ("add", 2, 0x12), ("replace", 3, 0x13)]);
    set(world, key, quiet, verb, (world.value(key), exptime(world).max(0), compare(world, key)))
}

/// `given`: value, exptime and CAS id.
fn set(
    world: &World,
    key: &[u8],
    quiet: bool,
    (verb, loud, silent): (&'static str, u8, u8),
    (value, given, cas): (Vec<u8>, i64, u64),
) -> Command {
    let echo = Echo { opcode: if quiet { silent } else { loud }, quiet, opaque: opaque(world) };
    let value = Rc::new(value);
    let flags = if world.chance(2) { 0 } else { world.below(1 << 32) as u32 };
    let (short, origin) = (world.model.short, world.model.origin());
    let extras = [flags.to_be_bytes(), (given as u32).to_be_bytes()].concat();
    let draft = Draft { echo, key, extras: &extras, value: &Rc::clone(&value), cas };
    draft.command(verb, move |read_at| {
        let (value, expiry) = (Rc::clone(&value), expiry(given, read_at, origin));
        Rc::new(move |held| {
            let new = Val { flags, expiry, ..Val::new(&value, read_at) };
            let stored = (echo.done(b""), Some(new));
            let mut results = match (held, verb) {
                (Some(val), "set" | "replace") => compared(val, cas, stored, (echo.fail(EXISTS), held.clone())),
                (Some(val), _) if cas != 0 => compared(val, cas, stored, (echo.fail(EXISTS), held.clone())),
                (Some(_), _) => vec![(echo.fail(EXISTS), held.clone())],
                (None, "set" | "add") if cas == 0 => vec![stored],
                (None, _) => vec![(echo.fail(NOT_FOUND), None)],
            };
            if short {
                let left = if verb == "set" { &None } else { held };
                results.push((echo.fail((NO_MEMORY, "Out of memory allocating item")), left.clone()));
                results.push((echo.fail((NO_MEMORY, "Out of memory during read")), held.clone()));
                let refused = match verb {
                    "add" if cas == 0 => EXISTS,
                    "replace" if cas == 0 => NOT_FOUND,
                    _ => NOT_STORED,
                };
                results.push((echo.fail(refused), held.clone()));
            }
            results
        })
    })
}

/// Append and prepend.
fn join(world: &World, key: &[u8], quiet: bool) -> Command {
    let append = world.chance(2);
    let opcode = match (append, quiet) {
        (true, false) => 0x0e,
        (true, true) => 0x19,
        (false, false) => 0x0f,
        (false, true) => 0x1a,
    };
    let echo = Echo { opcode, quiet, opaque: opaque(world) };
    let (value, cas) = (Rc::new(world.value(key)), compare(world, key));
    let (klen, short) = (key.len(), world.model.short);
    let draft = Draft { echo, key, extras: b"", value: &Rc::clone(&value), cas };
    let effect: Effect = Rc::new(move |held| {
        let refused = (echo.fail(NOT_STORED), held.clone());
        let mut results = match held {
            None => vec![refused.clone()],
            Some(old) => {
                let joined = old.joined(&value, append, klen);
                let stored = joined.map_or_else(|| refused.clone(), |new| (echo.done(b""), Some(new)));
                compared(old, cas, stored, (echo.fail(EXISTS), held.clone()))
            }
        };
        if short {
            results.push(refused); // no room for both values
            for text in ["Out of memory allocating item", "Out of memory during read"] {
                results.push((echo.fail((NO_MEMORY, text)), held.clone()));
            }
        }
        results
    });
    draft.command(if append { "append" } else { "prepend" }, move |_| Rc::clone(&effect))
}

fn arith(world: &World, key: &[u8], quiet: bool) -> Command {
    let incr = world.chance(2);
    let opcode = match (incr, quiet) {
        (true, false) => 0x05,
        (true, true) => 0x15,
        (false, false) => 0x06,
        (false, true) => 0x16,
    };
    let echo = Echo { opcode, quiet, opaque: opaque(world) };
    let delta = if world.chance(10) { u64::MAX - world.below(9) as u64 } else { world.below(1000) as u64 };
    let (initial, cas) = (world.below(100_000) as u64, compare(world, key));
    // `None`: create no item.
    let given = (world.below(3) > 0).then(|| exptime(world).max(0));
    let time = given.map_or(u32::MAX, |given| given as u32);
    let extras = [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &time.to_be_bytes()].concat();
    let (short, store, klen, origin) = (world.model.short, world.store(), key.len(), world.model.origin());
    Draft { echo, key, extras: &extras, value: b"", cas }.command(if incr { "incr" } else { "decr" }, move |read_at| {
        Rc::new(move |held| {
            let Some(old) = held else {
                let Some(given) = given else { return vec![(echo.fail(NOT_FOUND), None)] };
                let value = Rc::new(initial.to_string().into_bytes());
                let new = Val { expiry: expiry(given, read_at, origin), ..Val::new(&value, read_at) };
                let mut results = vec![(echo.done(&initial.to_be_bytes()), Some(new))];
                if short {
                    results.push((echo.fail((NO_MEMORY, "Out of memory allocating new item")), None));
                }
                return results;
            };
            // A value too long for a number is refused before its CAS id is compared.
            let number = |sum: u64, new: Val| (echo.done(&sum.to_be_bytes()), Some(new));
            let mut results = match sum(old, incr, delta, store, klen) {
                Ok((sum, new)) => compared(old, cas, number(sum, new), (echo.fail(EXISTS), held.clone())),
                Err(no) if no.by_length => vec![(echo.fail(NON_NUMERIC), held.clone())],
                Err(_) => compared(old, cas, (echo.fail(NON_NUMERIC), held.clone()), (echo.fail(EXISTS), held.clone())),
            };
            if short {
                results.push((echo.fail((NO_MEMORY, "Out of memory incrementing value")), held.clone()));
            }
            results
        })
    })
}
