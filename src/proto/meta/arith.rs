//! `ma`: increment and decrement.
//!
//! Owns the reply; [`Adjust`] defines the effect on the item. Called by the dispatcher of this directory.

use super::parse::{LONG_OPAQUE, MetaCommand, Times};
use super::reply::{echo, put_number, put_status, put_ttl};
use crate::cache::{Adjust, Adjusted, Arith, ArithResult, Key, Vivify};
use crate::proto::line::Run;

/// Result of the arithmetic, for the reply.
struct Shown {
    number: u64,
    cas: u64,
    exptime: u32,
    made: bool,
}

/// Runs the command.
pub fn run(run: &mut Run<'_, '_>, command: &MetaCommand<'_>, key: &Key<'_>, incr: bool) {
    let flags = &command.flags;
    let times = flags.times(&run.cx.shared.clock);
    let arith = Arith { incr, delta: flags.delta, compare: flags.compare.unwrap_or(0) };
    let vivify = Vivify { expiry: flags.made_expiry(&times), chosen: flags.chosen };
    let adjusted = run.verbs.adjust(
        key,
        Adjust {
            arith,
            touch: flags.in_effect(times.touch).map(|(_, expiry)| expiry),
            chosen: flags.chosen,
            vivify: flags.vivify.map(|_| (vivify, flags.initial)),
        },
    );
    let status = match adjusted {
        Adjusted::Number { number, cas, exptime } => {
            return show(run, command, &times, key, Shown { number, cas, exptime, made: false });
        }
        Adjusted::Made { cas } => {
            return show(run, command, &times, key, Shown { number: flags.initial, cas, exptime: 0, made: true });
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
    put_status(run.out, status, command, key.bytes());
}

/// Appends the reply to successful arithmetic.
fn show(run: &mut Run<'_, '_>, command: &MetaCommand<'_>, times: &Times, key: &Key<'_>, shown: Shown) {
    let flags = &command.flags;
    if flags.long_opaque.is_some() {
        return run.reply(LONG_OPAQUE);
    }
    if flags.quiet {
        return;
    }
    let mut text = itoa::Buffer::new();
    let digits = text.format(shown.number);
    let mut exptime = shown.exptime;
    let (clock, verbs) = (&run.cx.shared.clock, &run.verbs);
    run.out.append(|reply| {
        if flags.value {
            put_number(reply, b"VA ", digits.len() as u64);
        } else {
            reply.put(b"HD");
        }
        for word in command.flag_words() {
            match (word[0], times.touch, times.vivify) {
                (b'T', Some((_, touched)), _) => exptime = clock.relative(touched),
                (b'N', _, Some((_, made))) if shown.made => exptime = clock.relative(made),
                (b't', ..) => put_ttl(reply, exptime, verbs),
                (b'c', ..) => put_number(reply, b" c", shown.cas),
                _ => echo(reply, word, key.bytes(), flags.base64),
            }
        }
        reply.put(b"\r\n");
        if flags.value {
            reply.put(digits.as_bytes());
            reply.put(b"\r\n");
        }
    });
}
