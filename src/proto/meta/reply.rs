//! Flags in the replies of meta commands.
//!
//! Owns which flags every command echoes, and how a number and a time to live are shown. Called by the commands of this
//! directory.

use super::key::put_key;
use super::parse::MetaCommand;
use crate::cache::Verbs;
use crate::decimal;
use crate::proto::Output;
use crate::sys::spare::Spare;

/// Appends `word` if it is a flag that every command echoes.
#[inline]
pub(super) fn echo(out: &mut Spare<'_>, word: &[u8], key: &[u8], base64: bool) {
    match word.first() {
        Some(b'O') => {
            out.put(b" ");
            out.put(word);
        }
        Some(b'k') => {
            out.put(b" k");
            put_key(out, key, base64);
            if base64 {
                out.put(b" b");
            }
        }
        _ => {}
    }
}

/// Appends a line with a status, and the flags that every command echoes.
#[inline]
pub(super) fn put_status(out: &mut Output, status: &[u8], command: &MetaCommand<'_>, key: &[u8]) {
    out.append(|reply| {
        reply.put(status);
        for word in command.flag_words() {
            echo(reply, word, key, command.flags.base64);
        }
        reply.put(b"\r\n");
    });
}

/// Appends a flag with a number.
#[inline]
pub(super) fn put_number(out: &mut Spare<'_>, flag: &[u8], number: u64) {
    out.put(flag);
    decimal::write(out, number);
}

/// Appends the `t` flag: seconds left until `exptime`.
#[inline]
pub(super) fn put_ttl(out: &mut Spare<'_>, exptime: u32, verbs: &Verbs<'_>) {
    if exptime == 0 {
        out.put(b" t-1");
    } else {
        put_number(out, b" t", u64::from(verbs.seconds_left(exptime)));
    }
}
