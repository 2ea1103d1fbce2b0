//! `mg`: fetch with options.
//!
//! Owns the reply's words and their order. [`MetaGet`] defines the effect on the item.

use super::flags::{Flags, LONG_OPAQUE, parse};
use super::reply::{echo, put_number, put_ttl};
use crate::cache::{Fetched, Key, MetaGet, MetaSeen, Recache, Verbs, Vivify};
use crate::limits::COPY_MAX;
use crate::printable::is_one_word;
use crate::proto::Output;
use crate::proto::late::{self, LateRequest};
use crate::proto::line::Run;
use crate::proto::tokens::Tokens;
use crate::store::Entry;

/// Runs the command; `hash` is that of the second word, if known.
#[inline]
pub fn run(run: &mut Run<'_, '_>, tokens: &Tokens<'_>, hash: Option<u64>) {
    let Some(flags) = parse(run, tokens, 2) else { return };
    let Some(key) = run.key(flags.key(), hash.filter(|_| !flags.is_base64())) else { return };
    let (out, verbs) = (&mut *run.out, run.verbs);
    let start = out.bytes().len();
    let hit = run.verbs.peek(&key, &peek(&flags), |seen, entry| {
        out.bytes().truncate(start);
        show(out, tokens, &flags, &key, seen, entry, &verbs);
    });
    let is_hit = matches!(hit, Fetched::Hit(()));
    if !is_hit {
        run.out.bytes().truncate(start);
    }
    if let Fetched::Pending(load) = hit {
        if !run.out.wait(run.cx.waits, load, LateRequest::Line(tokens.text().into())) {
            run.reply(late::REFUSED);
        }
        return;
    }
    if run.cx.verbose() > 2 {
        run.log_lookup(&key, is_hit);
    }
    if flags.long_opaque.is_some() {
        run.reply(LONG_OPAQUE);
    } else if !is_hit && !flags.quiet {
        run.out.put(b"EN");
        for at in 2..tokens.len() {
            echo(run.out, tokens.get(at), key.bytes(), flags.is_base64());
        }
        run.out.put(b"\r\n");
    }
}

/// Fetch options of the flags.
#[inline]
fn peek(flags: &Flags<'_>) -> MetaGet {
    let spoilt = flags.long_opaque.is_some();
    let touch = flags.in_effect(flags.touch);
    MetaGet {
        touch: touch.map(|(_, exptime)| exptime),
        recache: flags
            .in_effect(flags.recache)
            .map(|(at, before)| Recache { before, touched: touch.is_some_and(|(touch_at, _)| touch_at < at) }),
        vivify: flags.vivify.map(|_| Vivify { exptime: flags.made_exptime(), chosen: flags.chosen }),
        bump: !(flags.no_bump || spoilt && flags.bumps_late),
        spoilt,
    }
}

/// Appends the reply to a hit.
#[inline]
fn show(
    out: &mut Output,
    tokens: &Tokens<'_>,
    flags: &Flags<'_>,
    key: &Key<'_>,
    seen: &MetaSeen,
    entry: Option<&Entry>,
    verbs: &Verbs<'_>,
) {
    let with_value = flags.value && flags.compare != Some(seen.cas);
    if with_value {
        put_number(out, b"VA ", seen.vlen as u64);
    } else {
        out.put(b"HD");
    }
    let mut exptime = seen.exptime;
    let base64 = seen.binary || flags.is_base64() && !is_one_word(key.bytes());
    for at in 2..tokens.len() {
        let word = tokens.get(at);
        match (word[0], flags.touch, flags.vivify) {
            (b'T', Some((_, touched)), _) => exptime = touched,
            (b'N', _, Some((_, made))) if seen.made => exptime = made,
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
        return;
    }
    if let Some(entry) = entry {
        if seen.vlen <= COPY_MAX {
            entry.copy_value(out.bytes());
        } else if let Some(value) = entry.pin() {
            out.pin(value);
        }
    }
    out.put(b"\r\n");
}
