//! `set`, `add`, `replace`, `append`, `prepend`, `cas`.
//!
//! Owns the storage line and the value after it, also after an `ms` line. A complete value is stored at once; for an
//! incomplete one the reservation becomes an [`Upload`] that the session fills. The two bytes after the value must be
//! CRLF and are never stored.

use super::{AfterCommand, BAD_FORMAT, CommandResult, Run, Tokens};
use crate::cache::{Key, Refused};
use crate::decimal;
use crate::limits::VALUE_LEN_MAX;
use crate::proto::meta;
use crate::proto::upload::{Origin, Upload};
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

/// Command that a value belongs to.
#[derive(Clone, Copy)]
pub(in crate::proto) enum Arrival<'a> {
    /// A storage verb, and the CAS id it compares with.
    Text(Mode, u64),
    /// `ms`, with the line's flags.
    Meta(meta::PendingSet, &'a [u8]),
}

/// Runs a storage command; `rest` begins with the value.
#[inline]
pub(super) fn run(run: &mut Run<'_, '_>, line: &[u8], rest: &[u8], verb: Verb, hash: Option<u64>) -> CommandResult {
    let tokens = Tokens::split(super::strip_end(line));
    let vlen = decimal::token_i32(tokens.get(4)).and_then(|n| u32::try_from(n).ok()).filter(|&n| n <= VALUE_LEN_MAX);
    let (Some(vlen), true) = (vlen, tokens.len() >= 5) else {
        run.reply(BAD_FORMAT);
        return CommandResult::line();
    };
    let vlen = vlen as usize;
    run.noreply = tokens.last() == b"noreply";
    let Some((key, reservation, compare)) = begin(run, line, &tokens, vlen, verb.0, hash) else {
        return swallow(rest, vlen);
    };
    Arrival::Text(verb.0, compare).receive(run, reservation, &key, rest)
}

impl Arrival<'_> {
    /// Consumes the value at the front of `rest` and finishes the command, or leaves both to an [`Upload`].
    #[inline]
    pub fn receive(
        self,
        run: &mut Run<'_, '_>,
        mut reservation: Reservation,
        key: &Key<'_>,
        rest: &[u8],
    ) -> CommandResult {
        let vlen = reservation.missing();
        if rest.len() < vlen + 2 {
            let mut upload = Upload::new(reservation, key, self.keep(run.noreply));
            let used = upload.take(rest);
            return CommandResult { used, next: AfterCommand::Upload(Box::new(upload)) };
        }
        let full = reservation.write(&rest[..vlen]).is_ok().then_some(reservation);
        self.finish(run, key, full, &rest[vlen..vlen + 2]);
        CommandResult { used: vlen + 2, next: AfterCommand::Line }
    }

    /// Finishes the command: `full` is `None` if memory ran out, `end` holds the two bytes after the value.
    #[inline]
    fn finish(self, run: &mut Run<'_, '_>, key: &Key<'_>, full: Option<Reservation>, end: &[u8]) {
        let Some(reservation) = full else { return run.reply("SERVER_ERROR Out of memory during read") };
        if end != b"\r\n" {
            if let Self::Meta(order, _) = self {
                run.noreply = false; // `ms` is never quiet about this
                order.abandon(run);
            }
            return run.reply("CLIENT_ERROR bad data chunk");
        }
        match self {
            Self::Text(mode, compare) => {
                let stored = run.verbs.commit(reservation, key, mode, compare);
                run.reply(reply_to(stored));
            }
            Self::Meta(order, words) => meta::finish_set(run, order, words, key, reservation),
        }
    }

    fn keep(self, noreply: bool) -> Origin {
        match self {
            Self::Text(mode, compare) => Origin::Text { mode, compare, noreply },
            Self::Meta(order, words) => Origin::Meta(order, words.into()),
        }
    }
}

/// Finishes a complete upload.
pub(in crate::proto) fn finish(cx: &super::Cx<'_>, upload: Upload, out: &mut super::Output) {
    let mut run = Run { cx, verbs: cx.verbs(), out, noreply: false };
    let Some(key) = Key::new(&upload.key) else { return };
    let arrival = match &upload.origin {
        Origin::Text { mode, compare, noreply } => {
            run.noreply = *noreply;
            Arrival::Text(*mode, *compare)
        }
        Origin::Meta(order, words) => {
            run.noreply = order.quiet;
            Arrival::Meta(*order, words)
        }
        Origin::Binary(..) => return, // handled by `binary::finish_upload`
    };
    arrival.finish(&mut run, &key, upload.reservation, &upload.end);
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

/// Discards a value of `vlen` bytes.
pub(in crate::proto) fn swallow(rest: &[u8], vlen: usize) -> CommandResult {
    let unwanted = vlen + 2;
    let used = unwanted.min(rest.len());
    CommandResult {
        used,
        next: if used < unwanted { AfterCommand::Swallow((unwanted - used) as u64) } else { AfterCommand::Line },
    }
}
