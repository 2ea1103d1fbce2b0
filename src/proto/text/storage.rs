//! `set`, `add`, `replace`, `append`, `prepend`, `cas`.
//!
//! Owns the storage line and the value behind it, behind an `ms` line too. A value that has arrived whole is stored at once; else its
//! reservation becomes an [`Upload`] that the session fills. The two bytes after the value must be CRLF and
//! are never stored.

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

/// What a value arrives for.
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
    /// Takes the value at the front of `rest` and finishes the command, or leaves both to an [`Upload`].
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

    /// The value is there, if memory was, and `end` is what stands behind it.
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
        Origin::Binary(..) => return, // packets finish their own
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

/// Passes over a value of `vlen` bytes that nobody wants.
pub(in crate::proto) fn swallow(rest: &[u8], vlen: usize) -> CommandResult {
    let unwanted = vlen + 2;
    let used = unwanted.min(rest.len());
    CommandResult {
        used,
        next: if used < unwanted { AfterCommand::Swallow((unwanted - used) as u64) } else { AfterCommand::Line },
    }
}
