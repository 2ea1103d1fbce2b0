//! `set`, `add`, `replace`, `append`, `prepend`, `cas`.
//!
//! Owns the storage line and the value behind it. A value that has arrived whole is stored at once; else its
//! reservation becomes an [`Upload`] that the session fills. The two bytes after the value must be CRLF and
//! are never stored.

use super::{BAD_FORMAT, Next, Ran, Run, Tokens};
use crate::cache::{Key, Refused};
use crate::decimal;
use crate::limits::VALUE_LEN_MAX;
use crate::proto::upload::{Origin, Upload};
use crate::store::{Meta, Mode, OutOfMemory, Reservation, Stored};

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
pub(super) fn run(run: &mut Run<'_, '_>, line: &[u8], rest: &[u8], verb: Verb, hash: Option<u64>) -> Ran {
    let tokens = Tokens::split(super::strip_end(line));
    let vlen = decimal::token_i32(tokens.get(4)).and_then(|n| u32::try_from(n).ok()).filter(|&n| n <= VALUE_LEN_MAX);
    let (Some(vlen), true) = (vlen, tokens.len() >= 5) else {
        run.reply(BAD_FORMAT);
        return Ran::line();
    };
    let vlen = vlen as usize;
    run.noreply = tokens.last() == b"noreply";
    let Some((key, mut reservation, compare)) = begin(run, line, &tokens, vlen, verb.0, hash) else {
        return swallow(rest, vlen);
    };
    if rest.len() < vlen + 2 {
        let origin = Origin::Text { noreply: run.noreply };
        let mut upload = Upload::new(reservation, &key, verb.0, compare, origin);
        let used = upload.take(rest);
        return Ran { used, next: Next::Upload(Box::new(upload)) };
    }
    if reservation.write(&rest[..vlen]) == Err(OutOfMemory) {
        run.reply("SERVER_ERROR Out of memory during read");
    } else if &rest[vlen..vlen + 2] != b"\r\n" {
        run.verbs.reject(reservation);
        run.reply("CLIENT_ERROR bad data chunk");
    } else {
        let stored = run.verbs.commit(reservation, &key, verb.0, compare);
        run.reply(reply_to(stored));
    }
    Ran { used: vlen + 2, next: Next::Line }
}

/// Finishes a complete upload.
pub(in crate::proto) fn finish(cx: &super::Cx<'_>, mut upload: Upload, out: &mut super::Output, noreply: bool) {
    let mut run = Run { cx, verbs: cx.verbs(), out, noreply };
    let Some(reservation) = upload.reservation.take() else {
        return run.reply("SERVER_ERROR Out of memory during read");
    };
    if &upload.end != b"\r\n" {
        run.verbs.reject(reservation);
        return run.reply("CLIENT_ERROR bad data chunk");
    }
    let Some(key) = upload.key() else { return };
    let stored = run.verbs.commit(reservation, &key, upload.mode, upload.compare);
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

/// Checks key, flags, exptime and CAS in memcached's order and takes memory. `None`: an error was replied
/// and the value is unwanted.
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
    // Flags and exptime are C numbers, which may end at any white space: they are read from the line.
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

fn swallow(rest: &[u8], vlen: usize) -> Ran {
    let unwanted = vlen + 2;
    let used = unwanted.min(rest.len());
    Ran { used, next: if used < unwanted { Next::Swallow((unwanted - used) as u64) } else { Next::Line } }
}
