//! `set`, `add`, `replace`, `append`, `prepend`, `cas`.
//!
//! Owns the storage line and its end. A complete value is stored at once; for an incomplete one the reservation becomes
//! an upload, which the session fills and returns to [`finish`].

use crate::cache::{Key, Refused};
use crate::decimal;
use crate::limits::VALUE_LEN_MAX;
use crate::proto::command_result::CommandResult;
use crate::proto::line::{BAD_DATA_CHUNK, BAD_FORMAT, MEMORY_RAN_OUT, Run, strip_end, value_and_end};
use crate::proto::tokens::Tokens;
use crate::proto::upload::{Finish, TextSet};
use crate::store::{Meta, Mode, Reservation, Stored};

/// A storage verb.
#[derive(Clone, Copy, Debug)]
pub struct Verb(Mode);

/// `set`
pub const SET: Verb = Verb(Mode::Set);
/// `add`
pub const ADD: Verb = Verb(Mode::Add);
/// `replace`
pub const REPLACE: Verb = Verb(Mode::Replace);
/// `append`
pub const APPEND: Verb = Verb(Mode::Append);
/// `prepend`
pub const PREPEND: Verb = Verb(Mode::Prepend);
/// `cas`
pub const CAS: Verb = Verb(Mode::Cas);

/// Runs a storage command; `rest` begins with the value.
#[inline]
pub(super) fn run(run: &mut Run<'_, '_>, line: &[u8], rest: &[u8], verb: Verb, hash: Option<u64>) -> CommandResult {
    let tokens = Tokens::split(strip_end(line));
    let vlen = decimal::token_i32(tokens.get(4)).and_then(|n| u32::try_from(n).ok()).filter(|&n| n <= VALUE_LEN_MAX);
    let (Some(vlen), true) = (vlen, tokens.len() >= 5) else {
        run.reply(BAD_FORMAT);
        return CommandResult::done();
    };
    let vlen = vlen as usize;
    run.noreply = tokens.last() == b"noreply";
    let Some((key, mut reservation, compare)) = begin(run, line, &tokens, vlen, verb.0, hash) else {
        return CommandResult::past(vlen + 2, rest.len());
    };
    let set = TextSet { mode: verb.0, compare, noreply: run.noreply };
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
    let stored = run.verbs.commit(reservation, key, set.mode, set.compare);
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

/// Checks key, flags, exptime and CAS in memcached's order and reserves memory. `None` after an error reply: the
/// value must be discarded.
#[inline]
fn begin<'k>(
    run: &mut Run<'_, '_>,
    line: &'k [u8],
    tokens: &Tokens<'k>,
    vlen: usize,
    mode: Mode,
    hash: Option<u64>,
) -> Option<(Key<'k>, Reservation, u64)> {
    let key = run.key(tokens.get(1), hash)?;
    // Flags and exptime are C numbers, which end at any white space, so they are parsed from the line.
    let flags = decimal::c_unsigned(&line[tokens.offset(2)..]);
    let exptime = decimal::c_signed(&line[tokens.offset(3)..]);
    let (Some(flags), Some(exptime)) = (flags, exptime) else {
        run.reply(BAD_FORMAT);
        return None;
    };
    let mut compare = 0;
    if mode == Mode::Cas {
        let Some(cas) = decimal::token_u64(tokens.get(5)).filter(|_| tokens.len() > 5) else {
            run.reply(BAD_FORMAT);
            return None;
        };
        compare = cas;
    }
    let exptime = run.cx.shared.clock.expiry(i64::from(exptime as i32));
    let meta = Meta { klen: key.bytes().len(), vlen, flags: flags as u32, exptime, iflags: 0, cas: 0 };
    match run.verbs.begin(&key, &meta, mode) {
        Ok(reservation) => Some((key, reservation, compare)),
        Err(refused) => {
            run.reply(match refused {
                Refused::TooLarge => "SERVER_ERROR object too large for cache",
                Refused::NoMemory => "SERVER_ERROR out of memory storing object",
            });
            None
        }
    }
}
