//! Lines: text and meta commands, and their possible replies.
//!
//! Owns both protocols as the model knows them, and the parts shared with packets: expiry times, numbers. Called by
//! `client`, which sends the commands.

use super::client::Command;
use super::model::{Effect, Held, Reply, Val, short, text};
use super::world::{LAG_MAX, World};
use oxcached::clock::Expiry;
use oxcached::store::Store;
use std::rc::Rc;

const MONTH: i64 = 30 * 24 * 3600;

/// A command with an effect independent of the time it is read.
fn plain(key: &[u8], request: String, effect: Effect) -> Command {
    timed(key, request.into_bytes(), move |_| Rc::clone(&effect))
}

/// A command that begins to run when its line has arrived.
fn timed(key: &[u8], request: Vec<u8>, make: impl Fn(u32) -> Effect + 'static) -> Command {
    let head = request.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let what = short(&request[..head]).trim_end().to_owned();
    Command { key: key.to_vec(), request, head, opaque: None, make: Box::new(make), what }
}

/// A line followed by a value.
fn with_value(line: &str, value: &[u8]) -> Vec<u8> {
    [line.as_bytes(), b"\r\n", value, b"\r\n"].concat()
}

/// `flush_all` after `delay` seconds.
pub fn flush(delay: u32) -> Command {
    let request = if delay == 0 { "flush_all\r\n".to_owned() } else { format!("flush_all {delay}\r\n") };
    plain(b"", request, Rc::new(|held| vec![(Reply::text("OK\r\n"), held.clone())]))
}

pub fn get(key: &[u8], cas: bool, more: &str) -> Command {
    let (verb, owned) = (if cas { "gets" } else { "get" }, key.to_vec());
    let request = format!("{verb} {}{more}\r\n", text(key));
    plain(key, request, Rc::new(move |held| vec![(values(&owned, held, cas), held.clone())]))
}

/// A command about a key.
pub fn command(world: &World, key: &[u8]) -> Command {
    let name = text(key);
    match world.below(100) {
        0..30 => store(world, key),
        30..36 => meta_set(world, key),
        36..50 => get(key, world.chance(3), ""),
        // Several keys, one of which was never stored.
        50..56 => get(key, false, " never-stored"),
        56..64 => plain(
            key,
            format!("delete {name}\r\n"),
            Rc::new(|held| vec![(Reply::text(if held.is_some() { "DELETED\r\n" } else { "NOT_FOUND\r\n" }), None)]),
        ),
        64..76 => {
            let (incr, delta) = (world.chance(2), world.below(1000) as u64);
            let (short, store, klen) = (world.model.short, world.store(), key.len());
            plain(
                key,
                format!("{} {name} {delta}\r\n", if incr { "incr" } else { "decr" }),
                Rc::new(move |held| arith(held, incr, delta, short, store, klen)),
            )
        }
        76..84 => touch(world, key),
        84..90 => meta_get(world, key),
        90..94 => {
            // Marks stale, or removes.
            let stale = world.chance(2);
            plain(
                key,
                format!("md {name}{}\r\n", if stale { " I" } else { "" }),
                Rc::new(move |held| {
                    let Some(val) = held else { return vec![(Reply::text("NF\r\n"), None)] };
                    let left = stale.then(|| Val { stale: true, token: false, cas: None, ..val.clone() });
                    vec![(Reply::text("HD\r\n"), left)]
                }),
            )
        }
        _ => compare_and_swap(world, key),
    }
}

fn touch(world: &World, key: &[u8]) -> Command {
    let (given, gat, name, key_bytes) = (exptime(world), world.chance(2), text(key), key.to_vec());
    let request = if gat { format!("gat {given} {name}\r\n") } else { format!("touch {name} {given}\r\n") };
    let (short, origin) = (world.model.short, world.model.origin());
    timed(key, request.into_bytes(), move |read_at| {
        let (key, expiry) = (key_bytes.clone(), expiry(given, read_at, origin));
        Rc::new(move |held| {
            let Some(val) = held else {
                return vec![(Reply::text(if gat { "END\r\n" } else { "NOT_FOUND\r\n" }), None)];
            };
            let reply = if gat { values(&key, held, false) } else { Reply::text("TOUCHED\r\n") };
            val.touched(expiry, (read_at, origin), short).into_iter().map(|val| (reply.clone(), Some(val))).collect()
        })
    })
}

fn compare_and_swap(world: &World, key: &[u8]) -> Command {
    // With a CAS id that some client has seen, or another.
    let known = world.model.known_cas(key);
    let id = known.map_or(1, |id| if world.chance(3) { id.wrapping_add(1) } else { id });
    let (value, short) = (Rc::new(world.value(key)), world.model.short);
    let request = with_value(&format!("cas {} 0 0 {} {id}", text(key), value.len()), &value);
    timed(key, request, move |read_at| {
        let value = Rc::clone(&value);
        Rc::new(move |held| {
            let mut results = out_of_memory(held, false, short);
            match held {
                None => results.push((Reply::text("NOT_FOUND\r\n"), None)),
                Some(val) => {
                    if val.cas.is_none_or(|cas| cas == id) {
                        results.push((Reply::text("STORED\r\n"), Some(Val::new(&value, read_at))));
                    }
                    if val.cas != Some(id) {
                        results.push((Reply::text("EXISTS\r\n"), held.clone()));
                    }
                }
            }
            results
        })
    })
}

fn store(world: &World, key: &[u8]) -> Command {
    let verb = *world.choice(&["set", "set", "set", "set", "add", "replace", "append", "prepend"]);
    let (value, given) = (Rc::new(world.value(key)), exptime(world));
    let flags = if world.chance(2) { 0 } else { world.below(1 << 32) as u32 };
    let (short, klen, origin) = (world.model.short, key.len(), world.model.origin());
    let request = with_value(&format!("{verb} {} {flags} {given} {}", text(key), value.len()), &value);
    timed(key, request, move |read_at| {
        let (value, expiry) = (Rc::clone(&value), expiry(given, read_at, origin));
        Rc::new(move |held| {
            let mut results = out_of_memory(held, verb == "set", short);
            let refused = (Reply::text("NOT_STORED\r\n"), held.clone());
            let result = match (verb, held) {
                ("set", _) | ("add", None) | ("replace", Some(_)) => {
                    (Reply::text("STORED\r\n"), Some(Val { flags, expiry, ..Val::new(&value, read_at) }))
                }
                ("append" | "prepend", Some(old)) => {
                    if short {
                        results.push(refused.clone()); // no room for both values
                    }
                    match old.joined(&value, verb == "append", klen) {
                        None => refused,
                        Some(new) => (Reply::text("STORED\r\n"), Some(new)),
                    }
                }
                _ => refused,
            };
            results.push(result);
            results
        })
    })
}

/// `ms`, sometimes with a CAS id that the client chooses.
fn meta_set(world: &World, key: &[u8]) -> Command {
    let (value, given) = (Rc::new(world.value(key)), exptime(world));
    let (flags, short, origin) = (world.below(2) as u32 * 77, world.model.short, world.model.origin());
    let chosen = world.chance(2).then(|| 1 + world.below(1 << 50) as u64);
    let choice = chosen.map_or(String::new(), |id| format!(" E{id}"));
    let line = format!("ms {} {} c F{flags} T{given}{choice}", text(key), value.len());
    timed(key, with_value(&line, &value), move |read_at| {
        let (value, expiry) = (Rc::clone(&value), expiry(given, read_at, origin));
        Rc::new(move |held| {
            let mut results = out_of_memory(held, true, short);
            let reply = Reply::Numbered { head: b"HD c".to_vec(), cas: chosen, tail: b"\r\n".to_vec() };
            results.push((reply, Some(Val { flags, expiry, cas: chosen, ..Val::new(&value, read_at) })));
            results
        })
    })
}

fn meta_get(world: &World, key: &[u8]) -> Command {
    let (name, clock) = (text(key), Rc::clone(&world.now));
    // `l`, the seconds since the last access, must be at most the time since the item was stored, by any clock.
    let ages = world.chance(2);
    let request = if ages { format!("mg {name} l\r\n") } else { format!("mg {name} f s c\r\n") };
    let effect: Effect = Rc::new(move |held| {
        let Some(val) = held else { return vec![(Reply::text("EN\r\n"), None)] };
        let won = val.stale && !val.token;
        let marks = match (val.stale, won, val.token) {
            (true, true, _) => " X W\r\n",
            (true, false, _) => " Z X\r\n",
            (false, _, true) => " Z\r\n",
            (false, _, false) => "\r\n",
        };
        let tail = marks.as_bytes().to_vec();
        let reply = if ages {
            // A thread may use a time that it read long ago.
            let most = u64::from(clock.get().saturating_sub(val.stored) + LAG_MAX);
            Reply::Bounded { head: b"HD l".to_vec(), most, tail }
        } else {
            let head = format!("HD f{} s{} c", val.flags, val.value.len()).into_bytes();
            Reply::Numbered { head, cas: val.cas, tail }
        };
        vec![(reply, Some(Val { token: val.token || won, ..val.clone() }))]
    });
    plain(key, request, effect)
}

fn values(key: &[u8], held: &Held, cas: bool) -> Reply {
    match held {
        None => Reply::text("END\r\n"),
        Some(val) => Reply::Values { key: key.to_vec(), val: val.clone(), cas },
    }
}

/// Replies while memory is short; a set without memory removes the old item.
fn out_of_memory(held: &Held, sets: bool, short: bool) -> Vec<(Reply, Held)> {
    if !short {
        return Vec::new();
    }
    let none = Reply::text("SERVER_ERROR out of memory storing object\r\n");
    let gone = if sets { None } else { held.clone() };
    vec![
        (none.clone(), gone),
        (none, held.clone()),
        (Reply::text("SERVER_ERROR Out of memory during read\r\n"), held.clone()),
    ]
}

/// An exptime argument.
pub fn exptime(world: &World) -> i64 {
    match world.below(20) {
        0..10 => 0,
        10..14 => 1 + world.below(200) as i64,
        14..16 => 1 + world.below(MONTH as usize) as i64,
        16 => -1,
        _ => world.model.origin() + i64::from(world.latest()) - 3000 + world.below(400 * 24 * 3600) as i64,
    }
}

/// The expiry time that it means to a thread at `now`, where relative time 0 is unix time `origin`.
pub fn expiry(given: i64, now: u32, origin: i64) -> Expiry {
    match given {
        0 => Expiry::Never,
        ..0 => Expiry::At(1),
        1..=MONTH => Expiry::At(now + given as u32),
        _ => match (given - origin).max(1) as u32 {
            past if past <= now => Expiry::At(past),
            _ => Expiry::Date(given as u32),
        },
    }
}

fn arith(held: &Held, incr: bool, delta: u64, short: bool, store: &Store, klen: usize) -> Vec<(Reply, Held)> {
    let Some(old) = held else { return vec![(Reply::text("NOT_FOUND\r\n"), None)] };
    let Ok((sum, new)) = sum(old, incr, delta, store, klen) else {
        let reply = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
        return vec![(Reply::text(reply), held.clone())];
    };
    let mut results = vec![(Reply::Exact(format!("{sum}\r\n").into_bytes()), Some(new))];
    if short {
        results.push((Reply::text("SERVER_ERROR out of memory\r\n"), held.clone()));
    }
    results
}

/// Error: the value is not a number.
pub struct NoNumber {
    /// Because of its length, whatever its bytes.
    pub by_length: bool,
}

/// The result, and the value held then.
pub fn sum(old: &Val, incr: bool, delta: u64, store: &Store, klen: usize) -> Result<(u64, Val), NoNumber> {
    let len = old.value.len();
    let by_length = len == 0 || store.sizes().is_chunked(store.sizes().memcached_size(klen, len, old.flags != 0));
    let Some(number) = number(&old.value).filter(|_| !by_length) else { return Err(NoNumber { by_length }) };
    let sum = if incr { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
    let mut value = sum.to_string().into_bytes();
    let longer = value.len() > len;
    value.resize(len.max(value.len()), b' ');
    let (stale, token) = if longer { (false, false) } else { (old.stale, old.token) };
    Ok((sum, Val { value: Rc::new(value), cas: None, stale, token, ..old.clone() }))
}

/// memcached's parsing of a stored number: digits after white space, then white space or the end.
fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let ends = digits.get(end).is_none_or(u8::is_ascii_whitespace);
    if ends { text(&digits[..end]).parse().ok() } else { None }
}
