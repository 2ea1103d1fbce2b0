//! `get`, `gets`, `gat`, `gats`.
//!
//! Owns multigets: keys are hashed and their memory prefetched in groups before the first of a group is looked up. A
//! line stops when the output is full or the run has used up its keys or bytes, and resumes there in a later run.
//! Called by the text dispatcher and, for a stopped line, by the session.

use super::cluster;
use super::keys::{Keys, LongKey, Multiget};
use crate::cache::{Fetched, Key};
use crate::clock::Expiry;
use crate::cluster::KEY;
use crate::decimal;
use crate::limits::{COPY_MAX, KEY_MAX, TURN_LINE};
use crate::point::point;
use crate::proto::command_result::{AfterCommand, CommandResult};
use crate::proto::late::{self, LateRequest};
use crate::proto::line::{BAD_FORMAT, Run, strip_end};
use crate::proto::lookahead;
use crate::proto::output::Mark;
use crate::proto::tokens::Tokens;
use crate::proto::{Cx, Output};
use crate::stats::{CommandKind, Counter};

/// Keys per lookup group: enough to overlap their cache misses, few enough to stay in the L1 cache.
const GROUP: usize = 16;

/// Variant of get.
#[derive(Clone, Copy, Debug)]
struct GetKind {
    /// Show the CAS id.
    cas: bool,
    /// Set this expiry time on each hit.
    touch: Option<Expiry>,
}

/// `get` and `gets` of one key. `hash` is that of the key, if known.
#[inline]
pub(super) fn one(run: &mut Run<'_, '_>, key: &[u8], cas: bool, hash: Option<u64>) -> CommandResult {
    fetch(run, &lookahead::key(key, hash), GetKind { cas, touch: None });
    end(run);
    CommandResult::done()
}

/// `get`, `gets`, `gat` and `gats` of any keys.
pub(super) fn many(run: &mut Run<'_, '_>, keys: Keys<'_>, cas: bool, exptime: Option<i32>) -> CommandResult {
    let touch = exptime.map(|exptime| run.cx.shared.clock.expiry(i64::from(exptime)));
    proceed(run, keys.text, Multiget::new(cas, touch, keys.at))
}

/// Resumes a stopped line.
pub(in crate::proto) fn resume(cx: &Cx<'_>, line: &[u8], out: &mut Output, stopped: Multiget) -> CommandResult {
    let mut run = Run::new(cx, out, false);
    proceed(&mut run, strip_end(line), stopped)
}

/// Answers the keys of `text` from `line.done` on, within the limits of one run.
fn proceed(run: &mut Run<'_, '_>, text: &[u8], mut line: Multiget) -> CommandResult {
    let start = run.out.mark();
    let mut done = line.done as usize;
    let kind = GetKind { cas: line.cas, touch: line.touch };
    let (end_of_run, cap) = (text.len().min(done + TURN_LINE), run.cx.reply_cap());
    let mut group = [(&text[..0], 0usize, 0u64); GROUP];
    loop {
        let (mut len, mut long) = (0, false);
        let mut keys = Keys { text, at: done };
        while len < GROUP
            && let Some(key) = keys.next_before(end_of_run)
        {
            if key.len() > KEY_MAX {
                long = true; // keys before it still count as looked up
                break;
            }
            let hash = crate::hash::hash(key);
            run.verbs.cache.store.prefetch_bucket(hash);
            group[len] = (key, keys.at, hash);
            len += 1;
        }
        if len == 0 && !long {
            if end_of_run < text.len() {
                return stop(run, text, line, done.max(end_of_run), start);
            }
            if line.any {
                end(run)
            } else {
                run.reply(BAD_FORMAT)
            }
            return CommandResult::done();
        }
        if len > 1 {
            run.cx.note(CommandKind::Multiget);
        }
        for &(_, _, hash) in &group[..len] {
            run.verbs.cache.store.prefetch_items(hash);
        }
        for &(key, to, hash) in &group[..len] {
            if line.fetched >= cap || !run.out.make_room() {
                return no_memory(run, start);
            }
            run.out.end_of_reply(); // each key is a separate reply
            point("a key of several is next");
            fetch(run, &Key::hashed(key, hash), kind);
            line.fetched += 1;
            done = to;
            if run.out.is_full() {
                line.look_ahead(text, done);
                if line.long_key == LongKey::Ahead {
                    run.out.rewind(start);
                    continue;
                }
                return stop(run, text, Multiget { fetched: 0, any: true, ..line }, done, start);
            }
        }
        if long {
            // As in memcached, a trailing `noreply` silences this error only if the over-long key is the first of the
            // line, and never for `gat`.
            let first = !line.any && len == 0 && kind.touch.is_none();
            run.noreply = first && Tokens::split(text).last() == b"noreply";
            run.out.rewind(start);
            return too_long(run);
        }
        line.any = true;
        if run.cx.spend_keys(len as u32) && done < text.len() {
            return stop(run, text, line, done, start);
        }
    }
}

/// Stops `line` at `done`. Replies may be sent after this, so replies that a later over-long key revokes are dropped
/// now.
fn stop(run: &mut Run<'_, '_>, text: &[u8], mut line: Multiget, done: usize, start: Mark) -> CommandResult {
    line.done = done as u32;
    line.look_ahead(text, done);
    if line.long_key == LongKey::Ahead {
        run.out.rewind(start);
    }
    CommandResult::then(AfterCommand::Multiget(line))
}

/// Refuses the line: too many replies wait, or memory is short. Dropping the line's replies makes room for the error.
#[cold]
fn no_memory(run: &mut Run<'_, '_>, start: Mark) -> CommandResult {
    run.out.rewind(start);
    run.verbs.counters.add(Counter::ResponseOom, 1);
    run.reply("SERVER_ERROR out of memory writing get response");
    CommandResult::done()
}

/// Drops the whole line's replies because of an over-long key. memcached ends this error with two line ends.
fn too_long(run: &mut Run<'_, '_>) -> CommandResult {
    let quiet = std::mem::take(&mut run.noreply);
    run.reply(if quiet { "" } else { "CLIENT_ERROR bad command line format\r\n" });
    CommandResult::done()
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
fn fetch(run: &mut Run<'_, '_>, key: &Key<'_>, kind: GetKind) {
    let (out, show_cas) = (&mut *run.out, run.verbs.cache.use_cas);
    let mut pinned = None;
    let hit = out.append(|reply| {
        let hit = run.verbs.fetch(key, kind.touch, |entry| {
            let vlen = entry.vlen();
            reply.clear();
            pinned = None;
            reply.put(b"VALUE ");
            reply.put(key.bytes());
            reply.put(b" ");
            decimal::write(reply, u64::from(entry.flags()));
            reply.put(b" ");
            decimal::write(reply, vlen as u64);
            if kind.cas {
                reply.put(b" ");
                decimal::write(reply, if show_cas { entry.cas() } else { 0 });
            }
            reply.put(b"\r\n");
            if vlen <= COPY_MAX {
                entry.write_value(vlen, reply);
                reply.put(b"\r\n");
            } else {
                pinned = entry.pin();
            }
        });
        if !matches!(hit, Fetched::Hit(())) {
            reply.clear();
        }
        hit
    });
    let is_hit = matches!(hit, Fetched::Hit(()));
    if let Some(value) = pinned {
        out.pin(value);
        out.put(b"\r\n");
    } else if matches!(hit, Fetched::Miss) && key.bytes().len() == KEY.len() && kind.touch.is_none() {
        cluster::value(run.cx.shared, key.bytes(), kind.cas, out);
    }
    run.cx.note_sent(key.bytes(), out);
    if let Fetched::Pending(load) = hit {
        let request = LateRequest::Fetch { key: key.bytes().into(), cas: kind.cas, touch: kind.touch };
        if !run.out.wait(run.cx.waits, load, request) {
            run.reply(late::REFUSED);
        }
    } else if run.cx.verbose() > 1 {
        log_lookup(run, key, is_hit);
    }
}

/// Runs the fetch of one key again, once the load that it waited for has ended.
pub(in crate::proto) fn fetch_late(cx: &Cx<'_>, key: &[u8], cas: bool, touch: Option<Expiry>, out: &mut Output) {
    let kind = GetKind { cas, touch };
    cx.note(if touch.is_some() { CommandKind::Gat } else { CommandKind::Get });
    if let Some(key) = Key::new(key) {
        fetch(&mut Run { cx, verbs: cx.verbs(), out, noreply: false }, &key, kind);
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
