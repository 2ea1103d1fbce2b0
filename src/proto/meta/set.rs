//! `ms`: store with options.
//!
//! Owns the modes and the reply. `text::storage` receives the value, as for every storage command, then calls
//! [`finish`].

use super::flags::{Flags, LONG_OPAQUE};
use super::{echo, is_sound, parse, put_number};
use crate::cache::{Key, MetaSet, Refused};
use crate::decimal;
use crate::limits::VALUE_LEN_MAX;
use crate::proto::text::{Arrival, BAD_FORMAT, CommandResult, Run, Tokens, strip_end, swallow};
use crate::store::{Meta, Mode, Reservation, Stored, iflag};

/// A store that waits for its value.
#[derive(Clone, Copy, Debug)]
pub struct PendingSet {
    put: MetaSet,
    vlen: usize,
    /// The key was given as base64.
    base64: bool,
    /// Omit the reply to success.
    pub quiet: bool,
}

impl PendingSet {
    /// Ends the command without storing the value.
    pub fn abandon(&self, run: &Run<'_, '_>) {
        run.verbs.abandon_put(&self.put);
    }
}

/// Runs the command in `line`; `rest` begins with the value. `hash` is that of the second word, if known.
#[inline]
pub fn run(run: &mut Run<'_, '_>, line: &[u8], rest: &[u8], hash: Option<u64>) -> CommandResult {
    let text = strip_end(line);
    let tokens = Tokens::split(text);
    let vlen = decimal::token_i32(tokens.get(2)).and_then(|n| u32::try_from(n).ok()).filter(|&n| n <= VALUE_LEN_MAX);
    let (Some(vlen), true) = (vlen, is_sound(&tokens, 3)) else {
        run.reply(BAD_FORMAT);
        return CommandResult::line();
    };
    let vlen = vlen as usize;
    let Some(flags) = parse(run, &tokens, 3) else { return swallow(rest, vlen) };
    let Some(key) = run.key(flags.key(), hash.filter(|_| !flags.is_base64())) else { return swallow(rest, vlen) };
    let Some((order, reservation)) = begin(run, &key, &flags, vlen) else { return swallow(rest, vlen) };
    run.noreply = order.quiet;
    Arrival::Meta(order, &text[tokens.offset(3)..]).receive(run, reservation, &key, rest)
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
            let order = PendingSet { put, vlen, base64: flags.is_base64(), quiet: flags.quiet };
            return Some((order, reservation));
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

/// Stores a complete value; `words` are the line's flags.
#[inline]
pub fn finish(run: &mut Run<'_, '_>, order: PendingSet, words: &[u8], key: &Key<'_>, reservation: Reservation) {
    let (stored, cas) = run.verbs.commit_put(reservation, key, &order.put);
    let (status, vlen) = match stored {
        Stored::Stored { .. } if order.quiet => return,
        Stored::Stored { vlen, .. } => (b"HD", vlen),
        Stored::NotStored => (b"NS", order.vlen),
        Stored::Exists => (b"EX", order.vlen),
        Stored::NotFound => (b"NF", order.vlen),
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
            _ => echo(run.out, word, key.bytes(), order.base64),
        }
    }
    run.out.put(b"\r\n");
}
