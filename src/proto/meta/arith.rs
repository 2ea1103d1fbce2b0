//! `ma`: increment and decrement.

use super::flags::{Flags, LONG_OPAQUE};
use super::reply::{echo, put_number, put_ttl};
use crate::cache::{Adjust, Adjusted, Arith, ArithResult, Key, Vivify};
use crate::proto::line::Run;
use crate::proto::tokens::Tokens;

/// Result of the arithmetic, for the reply.
struct Shown {
    number: u64,
    cas: u64,
    exptime: u32,
    made: bool,
}

/// Runs the command; `hash` is that of the second word, if known.
pub fn run(run: &mut Run<'_, '_>, tokens: &Tokens<'_>, hash: Option<u64>) {
    let Ok(flags) = Flags::parse(tokens, 2, &run.cx.shared.clock) else {
        return run.reply("CLIENT_ERROR invalid or duplicate flag");
    };
    let incr = match flags.mode {
        0 | b'I' | b'+' => true,
        b'D' | b'-' => false,
        _ => return run.reply("CLIENT_ERROR invalid mode for ma M token"),
    };
    let Some(key) = run.key(flags.key(), hash.filter(|_| !flags.is_base64())) else { return };
    let arith = Arith { incr, delta: flags.delta, compare: flags.compare.unwrap_or(0) };
    let vivify = Vivify { exptime: flags.made_exptime(), chosen: flags.chosen };
    let adjusted = run.verbs.adjust(
        &key,
        Adjust {
            arith,
            touch: flags.in_effect(flags.touch).map(|(_, exptime)| exptime),
            chosen: flags.chosen,
            vivify: flags.vivify.map(|_| (vivify, flags.initial)),
        },
    );
    let status = match adjusted {
        Adjusted::Number { number, cas, exptime } => {
            return show(run, tokens, &flags, &key, Shown { number, cas, exptime, made: false });
        }
        Adjusted::Made { cas } => {
            return show(run, tokens, &flags, &key, Shown { number: flags.initial, cas, exptime: 0, made: true });
        }
        Adjusted::NotMade => return run.reply("SERVER_ERROR Out of memory allocating new item"),
        Adjusted::Refused(ArithResult::NonNumeric) => {
            return run.reply("CLIENT_ERROR cannot increment or decrement non-numeric value");
        }
        Adjusted::Refused(ArithResult::NoMemory) => return run.reply("SERVER_ERROR out of memory"),
        Adjusted::Refused(ArithResult::Exists) => b"EX",
        Adjusted::Refused(ArithResult::NotFound | ArithResult::Number(..)) => b"NF",
    };
    if flags.long_opaque.is_some() {
        return run.reply(LONG_OPAQUE);
    }
    run.out.put(status);
    for at in 2..tokens.len() {
        echo(run.out, tokens.get(at), key.bytes(), flags.is_base64());
    }
    run.out.put(b"\r\n");
}

/// Appends the reply to successful arithmetic.
fn show(run: &mut Run<'_, '_>, tokens: &Tokens<'_>, flags: &Flags<'_>, key: &Key<'_>, shown: Shown) {
    if flags.long_opaque.is_some() {
        return run.reply(LONG_OPAQUE);
    }
    if flags.quiet {
        return;
    }
    let mut text = itoa::Buffer::new();
    let digits = text.format(shown.number);
    if flags.value {
        put_number(run.out, b"VA ", digits.len() as u64);
    } else {
        run.out.put(b"HD");
    }
    let mut exptime = shown.exptime;
    for at in 2..tokens.len() {
        let word = tokens.get(at);
        match (word[0], flags.touch, flags.vivify) {
            (b'T', Some((_, touched)), _) => exptime = touched,
            (b'N', _, Some((_, made))) if shown.made => exptime = made,
            (b't', ..) => put_ttl(run.out, exptime, &run.verbs),
            (b'c', ..) => put_number(run.out, b" c", shown.cas),
            _ => echo(run.out, word, key.bytes(), flags.is_base64()),
        }
    }
    run.out.put(b"\r\n");
    if flags.value {
        run.out.put(digits.as_bytes());
        run.out.put(b"\r\n");
    }
}
