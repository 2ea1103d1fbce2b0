//! `get`, `gets`, `gat`, `gats`.
//!
//! Owns the reading of many keys: keys are hashed and their memory loaded in groups before any of them is
//! looked up, and a reply that outgrows the output's bound stops the line and goes on where it was. Called
//! by the text dispatcher and, for a stopped line, by the session.

use super::{BAD_FORMAT, Next, Ran, Run};
use crate::cache::Key;
use crate::decimal;
use crate::limits::{COPY_MAX, KEY_MAX};
use crate::point::point;
use crate::stats::Counter;

/// Keys looked up together: enough to overlap their cache misses, few enough to stay in the first-level cache.
const GROUP: usize = 16;

/// Which of the four it is.
#[derive(Clone, Copy, Default, Debug)]
pub struct Kind {
    /// Show the CAS id.
    pub cas: bool,
    /// Give each hit this expiry time.
    pub touch: Option<u32>,
}

/// A line that stopped before its end.
#[derive(Clone, Copy, Debug)]
pub struct Multiget {
    kind: Kind,
    /// Bytes of the line, counted from its first one, that are done.
    pub done: usize,
}

/// `get` and `gets`: `text` is the line, `word` the length of its first word.
#[inline]
pub(super) fn run(run: &mut Run<'_, '_>, text: &[u8], word: usize, kind: Kind, hash: Option<u64>) -> Ran {
    let keys = &text[word..];
    // The common case: one key.
    if let Some(key) = keys.get(1..)
        && !key.is_empty()
        && key.len() <= KEY_MAX
        && memchr::memchr(b' ', key).is_none()
    {
        let key = match hash {
            Some(hash) => Key::hashed(key, hash),
            None => Key::hashed(key, crate::hash::hash(key)),
        };
        fetch(run, &key, kind);
        end(run);
        return Ran::line();
    }
    if keys.iter().all(|&byte| byte == b' ') {
        run.reply(BAD_FORMAT);
        return Ran::line();
    }
    // The word counts for the line's first reply alone.
    let tokens = super::Tokens::split(text);
    run.noreply = tokens.last() == b"noreply" && tokens.get(1).len() > KEY_MAX;
    many(run, text, Multiget { kind, done: word })
}

/// `gat` and `gats`.
pub(super) fn run_touching(run: &mut Run<'_, '_>, text: &[u8], cas: bool) -> Ran {
    let tokens = super::Tokens::split(text);
    if tokens.len() < 3 {
        run.reply(BAD_FORMAT);
        return Ran::line();
    }
    let Some(exptime) = decimal::token_i32(tokens.get(1)) else {
        run.reply("CLIENT_ERROR invalid exptime argument");
        return Ran::line();
    };
    let kind = Kind { cas, touch: Some(run.cx.shared.clock.expiry(i64::from(exptime))) };
    many(run, text, Multiget { kind, done: tokens.offset(2) })
}

/// Goes on with a stopped line.
pub(in crate::proto) fn resume(cx: &super::Cx<'_>, line: &[u8], out: &mut super::Output, stopped: Multiget) -> Ran {
    let mut run = Run { cx, verbs: cx.verbs(), out, noreply: false };
    many(&mut run, super::strip_end(line), stopped)
}

/// Answers the keys of `text` from `stopped.done` on.
fn many(run: &mut Run<'_, '_>, text: &[u8], stopped: Multiget) -> Ran {
    let Multiget { kind, mut done } = stopped;
    let start = run.out.mark();
    let (mut doomed, mut fetched, cap) = (false, 0, run.cx.reply_cap());
    let mut group = [(0usize, 0usize, 0u64); GROUP];
    loop {
        let (mut len, mut long) = (0, false);
        let mut scan = done;
        while len < GROUP
            && let Some((from, to)) = next_key(text, scan)
        {
            if to - from > KEY_MAX {
                long = true; // but the keys before it are fetched
                break;
            }
            let hash = crate::hash::hash(&text[from..to]);
            run.verbs.cache.store.prefetch_bucket(hash);
            group[len] = (from, to, hash);
            len += 1;
            scan = to;
        }
        if len == 0 && !long {
            end(run);
            return Ran::line();
        }
        for &(_, _, hash) in &group[..len] {
            run.verbs.cache.store.prefetch_items(hash);
        }
        for &(from, to, hash) in &group[..len] {
            if fetched >= cap {
                run.out.rewind(start);
                run.verbs.counters.add(Counter::ResponseOom, 1);
                run.reply("SERVER_ERROR out of memory writing get response");
                return Ran::line();
            }
            run.out.end_of_reply(); // each key is a reply of its own
            point("a key of several is next");
            fetch(run, &Key::hashed(&text[from..to], hash), kind);
            fetched += 1;
            done = to;
            if run.out.is_full() {
                // Once replies have left, an over-long key further on could no longer take them back.
                doomed = doomed || has_long_key(text, done);
                if doomed {
                    run.out.rewind(start);
                    continue;
                }
                return Ran::then(Next::Multiget(Multiget { kind, done }));
            }
        }
        if long {
            run.out.rewind(start);
            return too_long(run);
        }
    }
}

/// The next word from `at` on.
#[inline]
fn next_key(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut from = at;
    while text.get(from) == Some(&b' ') {
        from += 1;
    }
    if from >= text.len() {
        return None;
    }
    let to = memchr::memchr(b' ', &text[from..]).map_or(text.len(), |space| from + space);
    Some((from, to))
}

fn has_long_key(text: &[u8], at: usize) -> bool {
    text[at..].split(|&byte| byte == b' ').any(|word| word.len() > KEY_MAX)
}

/// An over-long key takes back the whole line's replies; the second line end is memcached's.
fn too_long(run: &mut Run<'_, '_>) -> Ran {
    let quiet = std::mem::take(&mut run.noreply);
    run.reply(if quiet { "" } else { "CLIENT_ERROR bad command line format\r\n" });
    Ran::line()
}

#[inline]
fn end(run: &mut Run<'_, '_>) {
    if run.cx.verbose() > 1 {
        run.log(format_args!(">{} END\n", run.cx.fd));
    }
    run.out.put(b"END\r\n");
}

/// Looks one key up and appends its `VALUE` block.
#[inline]
fn fetch(run: &mut Run<'_, '_>, key: &Key<'_>, kind: Kind) {
    let (out, show_cas) = (&mut *run.out, run.verbs.cache.use_cas);
    // Room for the longest copied reply: nothing is allocated under the bucket's lock.
    out.bytes().reserve(COPY_MAX + KEY_MAX + 96);
    let start = out.bytes().len();
    let hit = run.verbs.fetch(key, kind.touch, |entry| {
        let vlen = entry.vlen();
        let bytes = out.bytes();
        bytes.truncate(start);
        bytes.extend_from_slice(b"VALUE ");
        bytes.extend_from_slice(key.bytes());
        bytes.push(b' ');
        decimal::put(bytes, u64::from(entry.flags()));
        bytes.push(b' ');
        decimal::put(bytes, vlen as u64);
        if kind.cas {
            bytes.push(b' ');
            decimal::put(bytes, if show_cas { entry.cas() } else { 0 });
        }
        bytes.extend_from_slice(b"\r\n");
        if vlen <= COPY_MAX {
            entry.copy_value(bytes);
        } else if let Some(value) = entry.pin() {
            out.pin(value);
        }
        out.put(b"\r\n");
    });
    if hit.is_none() {
        out.bytes().truncate(start);
    }
    if run.cx.verbose() > 1 {
        log_lookup(run, key, hit.is_some());
    }
}

#[cold]
fn log_lookup(run: &Run<'_, '_>, key: &Key<'_>, hit: bool) {
    if run.cx.verbose() > 2 {
        run.log_lookup(key, hit);
    }
    if hit {
        let shown = String::from_utf8_lossy(key.bytes());
        run.log(format_args!(">{} sending key {shown}\n", run.cx.fd));
    }
}
