//! `set`, `add`, `replace`, `append`, `prepend`, `cas`.
//!
//! Owns their replies. A complete value is stored at once; for an incomplete one the reservation becomes an upload,
//! which the session fills and returns to [`finish`]. Called by the text dispatcher.

use super::parse::SetLine;
use crate::cache::{Family, Key, Refused, Storage};
use crate::proto::command_result::CommandResult;
use crate::proto::line::{BAD_DATA_CHUNK, MEMORY_RAN_OUT, Run, value_and_end};
use crate::proto::lookahead;
use crate::proto::upload::{Finish, TextSet};
use crate::store::{Meta, Reservation, Stored};

/// Runs a storage command; `rest` begins with the value. `hash` is that of the key, if known.
#[inline]
pub(super) fn run(run: &mut Run<'_, '_>, line: &SetLine<'_>, rest: &[u8], hash: Option<u64>) -> CommandResult {
    let (set, key, vlen) = (line.set, lookahead::key(line.key, hash), line.vlen as usize);
    run.noreply = set.noreply;
    let expiry = run.cx.shared.clock.expiry(i64::from(line.exptime));
    let meta = Meta { klen: line.key.len(), vlen, flags: line.flags, expiry, iflags: 0, cas: 0 };
    let mut reservation = match run.verbs.reserve(&key, &meta, &Storage::new(Family::Classic, set.mode, set.compare)) {
        Ok(reservation) => reservation,
        Err(refused) => {
            run.reply(match refused {
                Refused::TooLarge => "SERVER_ERROR object too large for cache",
                Refused::NoMemory => "SERVER_ERROR out of memory storing object",
            });
            return CommandResult::past(vlen + 2, rest.len());
        }
    };
    let Some((value, end)) = value_and_end(rest, vlen) else {
        return CommandResult::upload(reservation, &key, Finish::Text(set), rest);
    };
    let full = reservation.write(value).is_ok().then_some(reservation);
    finish(run, set, &key, full, end);
    CommandResult::stored(vlen + 2)
}

/// Finishes the command: `full` is `None` if memory ran out, `end` holds the two bytes after the value.
#[inline]
pub(in crate::proto) fn finish(
    run: &mut Run<'_, '_>,
    set: TextSet,
    key: &Key<'_>,
    full: Option<Reservation>,
    end: [u8; 2],
) {
    let Some(reservation) = full else { return run.reply(MEMORY_RAN_OUT) };
    if end != *b"\r\n" {
        return run.reply(BAD_DATA_CHUNK);
    }
    let (stored, _) = run.verbs.commit(reservation, key, &Storage::new(Family::Classic, set.mode, set.compare));
    run.cx.note_stored(key.bytes(), stored);
    run.reply(reply_to(stored));
}

#[inline]
fn reply_to(stored: Stored) -> &'static str {
    match stored {
        Stored::Stored { .. } => "STORED",
        Stored::NotStored => "NOT_STORED",
        Stored::Exists => "EXISTS",
        Stored::NotFound => "NOT_FOUND",
        Stored::NoMemory => "SERVER_ERROR out of memory storing object",
    }
}
