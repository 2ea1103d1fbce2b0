//! Flags in the replies of meta commands.
//!
//! Owns which flags every command echoes, and how a number and a time to live are shown. Called by the commands of this
//! directory.

use super::key::put_key;
use crate::cache::Verbs;
use crate::decimal;
use crate::proto::Output;

/// Appends `word` if it is a flag that every command echoes.
#[inline]
pub(super) fn echo(out: &mut Output, word: &[u8], key: &[u8], base64: bool) {
    match word.first() {
        Some(b'O') => {
            out.put(b" ");
            out.put(word);
        }
        Some(b'k') => {
            out.put(b" k");
            put_key(out.bytes(), key, base64);
            if base64 {
                out.put(b" b");
            }
        }
        _ => {}
    }
}

/// Appends a flag with a number.
#[inline]
pub(super) fn put_number(out: &mut Output, flag: &[u8], number: u64) {
    out.put(flag);
    decimal::put(out.bytes(), number);
}

/// Appends the `t` flag: seconds left until `exptime`.
#[inline]
pub(super) fn put_ttl(out: &mut Output, exptime: u32, verbs: &Verbs<'_>) {
    if exptime == 0 {
        out.put(b" t-1");
    } else {
        put_number(out, b" t", u64::from(verbs.seconds_left(exptime)));
    }
}
