//! The text protocol: one command line in, one reply out.
//!
//! Owns which words are commands and the order of memcached's checks; the session above owns state between commands,
//! `cache` below what a verb means. Hot commands go through one `match`, admin commands through another.

mod admin;
mod crawler;
mod dump;
mod get;
mod keys;
pub(super) mod login;
mod storage;

pub(super) use dump::{Ask, begin as begin_dump};
pub(super) use get::{fetch_late, resume as resume_multiget};
pub(super) use keys::{LongLine, Multiget, is_get_line};
pub(super) use storage::finish;

use super::command_result::{AfterCommand, CommandResult};
use super::line::{BAD_FORMAT, Run, strip_end};
use super::tokens::Tokens;
use super::{CloseReason, Cx, Output, meta};
use crate::cache::{Arith, ArithResult, Done};
use crate::decimal;
use crate::settings::VERSION;

/// Runs the command in `line` (newline included); `rest` holds the bytes received after it. `hash` is the hash of the
/// second word, if known.
#[inline]
pub(super) fn run(cx: &Cx<'_>, line: &[u8], rest: &[u8], out: &mut Output, hash: Option<u64>) -> CommandResult {
    let mut run = Run::new(cx, out, false);
    if cx.verbose() > 1 {
        let shown = String::from_utf8_lossy(&line[..line.len().saturating_sub(2)]);
        run.log(format_args!("<{} {shown}\n", cx.fd));
    }
    if line.len() < 4 {
        run.reply(BAD_FORMAT);
        return CommandResult::done();
    }
    let text = strip_end(line);
    let word = memchr::memchr(b' ', text).unwrap_or(text.len());
    match &text[..word] {
        b"get" => get::run(&mut run, text, word, get::GetKind::default(), hash),
        b"gets" => get::run(&mut run, text, word, get::GetKind { cas: true, touch: None }, hash),
        b"gat" => get::run_touching(&mut run, text, false),
        b"gats" => get::run_touching(&mut run, text, true),
        b"set" => storage::run(&mut run, line, rest, storage::SET, hash),
        b"add" => storage::run(&mut run, line, rest, storage::ADD, hash),
        b"replace" => storage::run(&mut run, line, rest, storage::REPLACE, hash),
        b"append" => storage::run(&mut run, line, rest, storage::APPEND, hash),
        b"prepend" => storage::run(&mut run, line, rest, storage::PREPEND, hash),
        b"cas" => storage::run(&mut run, line, rest, storage::CAS, hash),
        b"delete" => simple(&mut run, text, 2, |run, tokens| delete(run, tokens, hash)),
        b"incr" => simple(&mut run, text, 3, |run, tokens| arith(run, tokens, true)),
        b"decr" => simple(&mut run, text, 3, |run, tokens| arith(run, tokens, false)),
        b"touch" => simple(&mut run, text, 3, touch),
        b"ms" => meta::set(&mut run, line, rest, hash),
        b"mg" | b"md" | b"ma" | b"me" | b"mn" => {
            meta::run(&mut run, text, hash);
            CommandResult::done()
        }
        b"quit" => CommandResult::then(AfterCommand::Close(CloseReason::Normal)),
        b"version" => {
            run.reply(&format!("VERSION {VERSION}"));
            CommandResult::done()
        }
        b"stats" => CommandResult::then(admin::stats(&mut run, &Tokens::split(text))).costly(),
        b"watch" => CommandResult::then(admin::watch(&mut run, &Tokens::split(text))),
        _ => unknown(&mut run, text),
    }
}

/// Runs a meta line again, after it waited.
pub(super) fn run_late(cx: &Cx<'_>, text: &[u8], out: &mut Output) {
    meta::run(&mut Run { cx, verbs: cx.verbs(), out, noreply: false }, text, None);
}

/// Runs a command with a key: at least `min` tokens, `noreply` as the last one.
fn simple(
    run: &mut Run<'_, '_>,
    text: &[u8],
    min: usize,
    body: impl FnOnce(&mut Run<'_, '_>, &Tokens<'_>),
) -> CommandResult {
    let tokens = Tokens::split(text);
    if tokens.len() < min {
        run.reply(BAD_FORMAT);
    } else {
        run.noreply = tokens.last() == b"noreply";
        body(run, &tokens);
    }
    CommandResult::done()
}

fn delete(run: &mut Run<'_, '_>, tokens: &Tokens<'_>, hash: Option<u64>) {
    let Some(key) = run.key(tokens.get(1), hash) else { return };
    let reply = match run.verbs.delete(&key) {
        Done::Done => "DELETED",
        Done::NotFound => "NOT_FOUND",
    };
    run.reply(reply);
}

fn arith(run: &mut Run<'_, '_>, tokens: &Tokens<'_>, incr: bool) {
    let Some(key) = run.key(tokens.get(1), None) else { return };
    let Some(delta) = decimal::token_u64(tokens.get(2)) else {
        return run.reply("CLIENT_ERROR invalid numeric delta argument");
    };
    match run.verbs.arith(&key, Arith { incr, delta, compare: 0 }) {
        ArithResult::Number(number, _) => run.reply(itoa::Buffer::new().format(number)),
        ArithResult::NonNumeric => run.reply("CLIENT_ERROR cannot increment or decrement non-numeric value"),
        ArithResult::NoMemory => run.reply("SERVER_ERROR out of memory"),
        ArithResult::NotFound | ArithResult::Exists => run.reply("NOT_FOUND"),
    }
}

fn touch(run: &mut Run<'_, '_>, tokens: &Tokens<'_>) {
    let Some(key) = run.key(tokens.get(1), None) else { return };
    let Some(exptime) = decimal::token_i32(tokens.get(2)) else {
        return run.reply("CLIENT_ERROR invalid exptime argument");
    };
    let reply = match run.verbs.touch(&key, run.cx.shared.clock.expiry(i64::from(exptime))) {
        Done::Done => "TOUCHED",
        Done::NotFound => "NOT_FOUND",
    };
    run.reply(reply);
}

/// Runs an admin command, or replies to an unknown one.
#[cold]
fn unknown(run: &mut Run<'_, '_>, text: &[u8]) -> CommandResult {
    crate::sys::panics::trap("turn");
    let tokens = Tokens::split(text);
    run.noreply = tokens.last() == b"noreply";
    if let Some(next) = admin::run(run, &tokens) {
        return CommandResult::then(next).costly();
    }
    if tokens.len() > 1 && tokens.last().starts_with(b"HTTP/") {
        return CommandResult::then(AfterCommand::Close(CloseReason::Error));
    }
    run.reply("ERROR");
    CommandResult::done()
}
