//! The meta commands: `mg`, `ms`, `md`, `ma`, `mn`, `me`.
//!
//! Owns their grammar and replies; their effects on items are `cache`'s. A command is a key and flags, each a letter
//! with its argument attached; flags that request output return in the order given. Called by the text dispatcher,
//! since meta commands share its lines.

mod arith;
mod delete;
mod flags;
mod get;
mod inspect;
mod key;
mod set;

pub(super) use set::{PendingSet, finish as finish_set, run as set};

use super::Output;
use super::text::{BAD_FORMAT, Run, Tokens};
use crate::cache::Verbs;
use crate::decimal;
use flags::Flags;
use key::put_key;

/// Runs a command without a value; `text` is its line. `hash` is that of the second word, if known.
#[inline]
pub(super) fn run(run: &mut Run<'_, '_>, text: &[u8], hash: Option<u64>) {
    let command = match text[1] {
        b'n' => return run.reply("MN"),
        b'g' => get::run,
        b'd' => delete::run,
        b'a' => arith::run,
        _ => inspect::run,
    };
    let tokens = Tokens::split(text);
    if is_sound(&tokens, 2) { command(run, &tokens, hash) } else { run.reply(BAD_FORMAT) }
}

/// Parses the words from `from` on as flags; appends the error reply on failure.
#[inline]
fn parse<'a>(run: &mut Run<'_, '_>, tokens: &Tokens<'a>, from: usize) -> Option<Flags<'a>> {
    match Flags::parse(tokens, from, &run.cx.shared.clock) {
        Ok(flags) => Some(flags),
        Err(error) => {
            run.reply(error);
            None
        }
    }
}

/// Whether a line has a key and each flag begins as a flag can. A failure is a malformed line, not an invalid flag.
#[inline]
fn is_sound(tokens: &Tokens<'_>, from: usize) -> bool {
    // memcached's range of letters includes the six characters between `Z` and `a`.
    let begins_flag = |token: &[u8]| matches!(token.first(), Some(b'A'..=b'z' | b'0'..=b'9'));
    tokens.len() >= from && (from..tokens.len()).all(|at| begins_flag(tokens.get(at)))
}

/// Appends `word` if it is a flag that every command echoes.
#[inline]
fn echo(out: &mut Output, word: &[u8], key: &[u8], base64: bool) {
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
fn put_number(out: &mut Output, flag: &[u8], number: u64) {
    out.put(flag);
    decimal::put(out.bytes(), number);
}

/// Appends the `t` flag: seconds left until `exptime`.
#[inline]
fn put_ttl(out: &mut Output, exptime: u32, verbs: &Verbs<'_>) {
    if exptime == 0 {
        out.put(b" t-1");
    } else {
        put_number(out, b" t", u64::from(verbs.seconds_left(exptime)));
    }
}
