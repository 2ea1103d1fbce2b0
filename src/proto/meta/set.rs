//! `ms`: store with options.
//!
//! Owns the modes and the reply. A complete value is stored at once; for an incomplete one the reservation becomes an
//! upload, which the session fills and returns to [`finish`].

use super::flags::{Flags, LONG_OPAQUE, is_sound, parse};
use super::reply::{echo, put_number};
use crate::cache::{Key, MetaSet, Refused};
use crate::decimal;
use crate::limits::VALUE_LEN_MAX;
use crate::proto::command_result::CommandResult;
use crate::proto::line::{BAD_DATA_CHUNK, BAD_FORMAT, MEMORY_RAN_OUT, Run, strip_end, value_and_end};
use crate::proto::tokens::Tokens;
use crate::proto::upload::{Finish, PendingSet};
use crate::store::{Meta, Mode, Reservation, Stored, iflag};

/// Runs the command in `line`; `rest` begins with the value. `hash` is that of the second word, if known.
#[inline]
pub fn run(run: &mut Run<'_, '_>, line: &[u8], rest: &[u8], hash: Option<u64>) -> CommandResult {
    let text = strip_end(line);
    let tokens = Tokens::split(text);
    let vlen = decimal::token_i32(tokens.get(2)).and_then(|n| u32::try_from(n).ok()).filter(|&n| n <= VALUE_LEN_MAX);
    let (Some(vlen), true) = (vlen, is_sound(&tokens, 3)) else {
        run.reply(BAD_FORMAT);
        return CommandResult::done();
    };
    let vlen = vlen as usize;
    let past = CommandResult::past(vlen + 2, rest.len());
    let Some(flags) = parse(run, &tokens, 3) else { return past };
    let Some(key) = run.key(flags.key(), hash.filter(|_| !flags.is_base64())) else { return past };
    let Some((pending, mut reservation)) = begin(run, &key, &flags, vlen) else { return past };
    let words = &text[tokens.offset(3)..];
    let Some((value, end)) = value_and_end(rest, vlen) else {
        return CommandResult::upload(reservation, &key, Finish::Meta(pending, words.into()), rest);
    };
    run.noreply = pending.quiet;
    let full = reservation.write(value).is_ok().then_some(reservation);
    finish(run, &pending, words, &key, full, end);
    CommandResult::stored(vlen + 2)
}

/// Reserves memory by the mode's rules; appends the error reply on failure.
#[inline]
fn begin(run: &mut Run<'_, '_>, key: &Key<'_>, flags: &Flags<'_>, vlen: usize) -> Option<(PendingSet, Reservation)> {
    let Some(put) = put(flags) else {
        run.reply("CLIENT_ERROR invalid mode for ms M token");
        return None;
    };
    // An item created by an append gets the expiry time of `N`.
    let time = if put.vivify { flags.vivify } else { flags.touch };
    let meta = Meta {
        klen: key.bytes().len(),
        vlen,
        flags: flags.flags,
        exptime: time.map_or(0, |(_, exptime)| exptime),
        iflags: if flags.is_base64() { iflag::KEY_BINARY } else { 0 },
        cas: 0,
    };
    match run.verbs.begin_put(key, &meta, &put) {
        Ok(_) if flags.long_opaque.is_some() => {
            run.verbs.abandon_put(&put);
            run.reply(LONG_OPAQUE);
        }
        Ok(reservation) => {
            let pending = PendingSet { set: put, vlen, base64: flags.is_base64(), quiet: flags.quiet };
            return Some((pending, reservation));
        }
        Err(Refused::TooLarge) => run.reply("SERVER_ERROR object too large for cache"),
        Err(Refused::NoMemory) => run.reply("SERVER_ERROR out of memory storing object"),
    }
    None
}

/// Store options of the mode and the other flags; `None` for an unknown mode.
#[inline]
fn put(flags: &Flags<'_>) -> Option<MetaSet> {
    let compares = flags.compare.is_some();
    let mode = match flags.mode {
        0 | b'S' if compares => Mode::Cas,
        0 | b'S' => Mode::Set,
        b'R' if compares => Mode::Cas,
        b'R' => Mode::Replace,
        b'E' => Mode::Add,
        b'A' => Mode::Append,
        b'P' => Mode::Prepend,
        _ => return None,
    };
    let joins = matches!(mode, Mode::Append | Mode::Prepend);
    Some(MetaSet {
        mode,
        compare: flags.compare.unwrap_or(0),
        stale_ok: flags.stale && mode == Mode::Cas,
        vivify: joins && flags.vivify.is_some(),
        chosen: flags.chosen,
    })
}

/// Finishes the command: `full` is `None` if memory ran out, `end` holds the two bytes after the value, `words` are the
/// line's flags.
#[inline]
pub fn finish(
    run: &mut Run<'_, '_>,
    pending: &PendingSet,
    words: &[u8],
    key: &Key<'_>,
    full: Option<Reservation>,
    end: [u8; 2],
) {
    let Some(reservation) = full else { return run.reply(MEMORY_RAN_OUT) };
    if end != *b"\r\n" {
        run.noreply = false; // `ms` is never quiet about this
        run.verbs.abandon_put(&pending.set);
        return run.reply(BAD_DATA_CHUNK);
    }
    let (stored, cas) = run.verbs.commit_put(reservation, key, &pending.set);
    let (status, vlen) = match stored {
        Stored::Stored { .. } if pending.quiet => return,
        Stored::Stored { vlen, .. } => (b"HD", vlen),
        Stored::NotStored => (b"NS", pending.vlen),
        Stored::Exists => (b"EX", pending.vlen),
        Stored::NotFound => (b"NF", pending.vlen),
        Stored::NoMemory => {
            run.noreply = false;
            return run.reply("SERVER_ERROR out of memory storing object");
        }
    };
    run.out.put(status);
    for word in words.split(|&byte| byte == b' ') {
        match word.first() {
            Some(b'c') => put_number(run.out, b" c", cas),
            Some(b's') => put_number(run.out, b" s", vlen as u64),
            _ => echo(run.out, word, key.bytes(), pending.base64),
        }
    }
    run.out.put(b"\r\n");
}
