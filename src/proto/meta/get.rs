//! `mg`: fetch with options.
//!
//! Owns the reply's words and their order; [`MetaGet`] defines the effect on the item. Called by the dispatcher of this
//! directory.

use super::parse::{Flags, LONG_OPAQUE, MetaCommand, Times};
use super::reply::{echo, put_number, put_status, put_ttl};
use crate::cache::{Fetched, Key, MetaGet, MetaSeen, Recache, Verbs, Vivify};
use crate::limits::COPY_MAX;
use crate::printable::is_one_word;
use crate::proto::late::{self, LateRequest};
use crate::proto::line::Run;
use crate::store::{Entry, Pinned};
use crate::sys::spare::Spare;

/// Runs the command.
#[inline]
pub fn run(run: &mut Run<'_, '_>, command: &MetaCommand<'_>, key: &Key<'_>) {
    let flags = &command.flags;
    let times = flags.times(&run.cx.shared.clock);
    let (out, verbs) = (&mut *run.out, run.verbs);
    let mut pinned = None;
    let hit = out.append(|reply| {
        let hit = verbs.peek(key, &peek(flags, &times), |seen, entry| {
            reply.clear();
            pinned = show(reply, command, &times, key, seen, entry, &verbs);
        });
        if !matches!(hit, Fetched::Hit(())) {
            reply.clear();
            pinned = None;
        }
        hit
    });
    let is_hit = matches!(hit, Fetched::Hit(()));
    if let Some(value) = pinned {
        out.pin(value);
        out.put(b"\r\n");
    }
    run.cx.note_sent(key.bytes(), run.out);
    if let Fetched::Pending(load) = hit {
        if !run.out.wait(run.cx.waits, load, LateRequest::Line(command.line().into())) {
            run.reply(late::REFUSED);
        }
        return;
    }
    if run.cx.verbose() > 2 {
        run.log_lookup(key, is_hit);
    }
    if flags.long_opaque.is_some() {
        run.reply(LONG_OPAQUE);
    } else if !is_hit && !flags.quiet {
        put_status(run.out, b"EN", command, key.bytes());
    }
}

/// Fetch options of the flags.
#[inline]
fn peek(flags: &Flags, times: &Times) -> MetaGet {
    let spoilt = flags.long_opaque.is_some();
    let touch = flags.in_effect(times.touch);
    MetaGet {
        touch: touch.map(|(_, expiry)| expiry),
        recache: flags
            .in_effect(times.recache)
            .map(|(at, before)| Recache { before, touched: touch.is_some_and(|(touch_at, _)| touch_at < at) }),
        vivify: times.vivify.map(|_| Vivify { expiry: flags.made_expiry(times), chosen: flags.chosen }),
        bump: !(flags.no_bump || spoilt && flags.bumps_late),
        spoilt,
    }
}

/// Appends the reply to a hit, up to a value that is pinned and returned.
#[inline]
fn show(
    out: &mut Spare<'_>,
    command: &MetaCommand<'_>,
    times: &Times,
    key: &Key<'_>,
    seen: &MetaSeen,
    entry: Option<&Entry>,
    verbs: &Verbs<'_>,
) -> Option<Pinned> {
    let flags = &command.flags;
    let with_value = flags.value && flags.compare != Some(seen.cas);
    if with_value {
        put_number(out, b"VA ", seen.vlen as u64);
    } else {
        out.put(b"HD");
    }
    let mut exptime = seen.exptime;
    let base64 = seen.binary || flags.base64 && !is_one_word(key.bytes());
    for word in command.flag_words() {
        match (word[0], times.touch, times.vivify) {
            (b'T', Some((_, touched)), _) => exptime = verbs.relative(touched),
            (b'N', _, Some((_, made))) if seen.made => exptime = verbs.relative(made),
            (b's', ..) => put_number(out, b" s", seen.vlen as u64),
            (b't', ..) => put_ttl(out, exptime, verbs),
            (b'c', ..) => put_number(out, b" c", seen.cas),
            (b'f', ..) => put_number(out, b" f", u64::from(seen.flags)),
            (b'l', ..) => put_number(out, b" l", u64::from(seen.idle)),
            (b'h', ..) => put_number(out, b" h", u64::from(seen.fetched)),
            _ => echo(out, word, key.bytes(), base64),
        }
    }
    for (shown, mark) in [(seen.sent, b" Z"), (seen.stale, b" X"), (seen.won, b" W")] {
        if shown {
            out.put(mark);
        }
    }
    out.put(b"\r\n");
    if !with_value {
        return None;
    }
    if let Some(entry) = entry {
        if seen.vlen > COPY_MAX {
            return entry.pin();
        }
        entry.write_value(seen.vlen, out);
    }
    out.put(b"\r\n");
    None
}
