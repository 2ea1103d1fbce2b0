//! `ms`: store with options.
//!
//! Owns the reply. A complete value is stored at once; for an incomplete one the reservation becomes an upload, which
//! the session fills and returns to [`finish`]. Called by the dispatcher of this directory.

use super::parse::{Flags, LONG_OPAQUE, MetaCommand};
use super::reply::{echo, put_number};
use crate::cache::{Family, Key, Refused, Storage};
use crate::clock::Expiry;
use crate::proto::command_result::CommandResult;
use crate::proto::line::{BAD_DATA_CHUNK, MEMORY_RAN_OUT, Run, value_and_end};
use crate::proto::upload::{Finish, PendingSet};
use crate::store::{Meta, Mode, Reservation, Stored, iflag};

/// Runs the command with its mode and value length; `rest` begins with the value.
#[inline]
pub fn run(
    run: &mut Run<'_, '_>,
    command: &MetaCommand<'_>,
    key: &Key<'_>,
    (mode, vlen): (Mode, usize),
    rest: &[u8],
) -> CommandResult {
    let Some((pending, mut reservation)) = begin(run, &command.flags, key, mode, vlen) else {
        return CommandResult::past(vlen + 2, rest.len());
    };
    let words = command.flag_text();
    let Some((value, end)) = value_and_end(rest, vlen) else {
        return CommandResult::upload(reservation, key, Finish::Meta(pending, words.into()), rest);
    };
    run.noreply = pending.quiet;
    let full = reservation.write(value).is_ok().then_some(reservation);
    finish(run, &pending, words, key, full, end);
    CommandResult::stored(vlen + 2)
}

/// Reserves memory by the mode's rules; appends the error reply on failure.
#[inline]
fn begin(
    run: &mut Run<'_, '_>,
    flags: &Flags,
    key: &Key<'_>,
    mode: Mode,
    vlen: usize,
) -> Option<(PendingSet, Reservation)> {
    let joins = matches!(mode, Mode::Append | Mode::Prepend);
    let set = Storage {
        family: Family::Meta,
        mode,
        compare: flags.compare.unwrap_or(0),
        stale_ok: flags.stale && mode == Mode::Cas,
        vivify: joins && flags.vivify.is_some(),
        chosen: flags.chosen,
    };
    let times = flags.times(&run.cx.shared.clock);
    // An item created by an append gets the expiry time of `N`.
    let time = if set.vivify { times.vivify } else { times.touch };
    let meta = Meta {
        klen: key.bytes().len(),
        vlen,
        flags: flags.flags,
        expiry: time.map_or(Expiry::Never, |(_, expiry)| expiry),
        iflags: if flags.base64 { iflag::KEY_BINARY } else { 0 },
        cas: 0,
    };
    match run.verbs.reserve(key, &meta, &set) {
        Ok(_) if flags.long_opaque.is_some() => {
            run.verbs.abandon(&set);
            run.reply(LONG_OPAQUE);
        }
        Ok(reservation) => {
            return Some((PendingSet { set, vlen, base64: flags.base64, quiet: flags.quiet }, reservation));
        }
        Err(Refused::TooLarge) => run.reply("SERVER_ERROR object too large for cache"),
        Err(Refused::NoMemory) => run.reply("SERVER_ERROR out of memory storing object"),
    }
    None
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
        run.verbs.abandon(&pending.set);
        return run.reply(BAD_DATA_CHUNK);
    }
    let (stored, cas) = run.verbs.commit(reservation, key, &pending.set);
    run.cx.note_stored(key.bytes(), stored);
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
    run.out.append(|reply| {
        reply.put(status);
        for word in words.split(|&byte| byte == b' ') {
            match word.first() {
                Some(b'c') => put_number(reply, b" c", cas),
                Some(b's') => put_number(reply, b" s", vlen as u64),
                _ => echo(reply, word, key.bytes(), pending.base64),
            }
        }
        reply.put(b"\r\n");
    });
}
