//! The text protocol: one command line in, one reply out.
//!
//! `parse` owns which words are commands and the order of memcached's checks; here a parsed command runs. The session
//! above owns state between commands, `cache` below what a verb means. Admin commands go through a `match` of their
//! own.

mod admin;
mod crawler;
mod dump;
mod get;
mod keys;
mod latency;
pub(super) mod login;
mod parse;
mod storage;

pub(super) use dump::{Ask, begin as begin_dump};
pub(super) use get::{fetch_late, resume as resume_multiget};
pub(super) use keys::{LongLine, Multiget, is_get_line};
pub(super) use parse::guess;
pub(super) use storage::finish;

use super::command_result::{AfterCommand, CommandResult};
use super::line::Run;
use super::tokens::Tokens;
use super::upload::store_kind;
use super::{CloseReason, Cx, Output, lookahead, meta};
use crate::cache::{Arith, ArithResult, Done, Key};
use crate::settings::VERSION;
use crate::stats::CommandKind;
use parse::TextCommand;

/// Runs the command in `line` (newline included); `rest` holds the bytes received after it. `hash` is the hash of the
/// second word, if known.
#[inline]
pub(super) fn run(cx: &Cx<'_>, line: &[u8], rest: &[u8], out: &mut Output, hash: Option<u64>) -> CommandResult {
    let mut run = Run::new(cx, out, false);
    if cx.verbose() > 1 {
        let shown = String::from_utf8_lossy(&line[..line.len().saturating_sub(2)]);
        run.log(format_args!("<{} {shown}\n", cx.fd));
    }
    match parse::parse(line) {
        Ok(TextCommand::Get { key, cas }) => {
            cx.note(CommandKind::Get);
            return get::one(&mut run, key, cas, hash);
        }
        Ok(TextCommand::Multiget { keys, cas, exptime }) => {
            cx.note(keys.kind(exptime.is_some()));
            return get::many(&mut run, keys, cas, exptime);
        }
        Ok(TextCommand::Set(line)) => {
            cx.note(store_kind(line.set.mode));
            return storage::run(&mut run, &line, rest, hash);
        }
        Ok(TextCommand::Meta(text)) => return meta::run(&mut run, text, rest, hash),
        Ok(TextCommand::Delete { key, noreply }) => {
            cx.note(CommandKind::Delete);
            run.noreply = noreply;
            delete(&mut run, &lookahead::key(key, hash));
        }
        Ok(TextCommand::Arith { key, delta, incr, noreply }) => {
            cx.note(if incr { CommandKind::Incr } else { CommandKind::Decr });
            run.noreply = noreply;
            arith(&mut run, &lookahead::key(key, None), Arith { incr, delta, compare: 0 });
        }
        Ok(TextCommand::Touch { key, exptime, noreply }) => {
            cx.note(CommandKind::Touch);
            run.noreply = noreply;
            touch(&mut run, &lookahead::key(key, None), exptime);
        }
        Ok(TextCommand::Version) => {
            cx.note(CommandKind::Other);
            run.reply(&format!("VERSION {VERSION}"));
        }
        Ok(TextCommand::Quit) => return CommandResult::then(AfterCommand::Close(CloseReason::Normal)),
        Ok(TextCommand::Stats(text)) => {
            cx.note(CommandKind::Admin);
            return CommandResult::then(admin::stats(&mut run, &Tokens::split(text))).costly();
        }
        Ok(TextCommand::Watch(text)) => return CommandResult::then(admin::watch(&mut run, &Tokens::split(text))),
        Ok(TextCommand::Other(text)) => return other(&mut run, text),
        Err(line) => {
            cx.note(CommandKind::Other);
            return CommandResult::refused(&mut run, line, rest);
        }
    }
    CommandResult::done()
}

/// Runs a meta line again, after it waited.
pub(super) fn run_late(cx: &Cx<'_>, text: &[u8], out: &mut Output) {
    meta::run(&mut Run::new(cx, out, false), text, &[], None);
}

fn delete(run: &mut Run<'_, '_>, key: &Key<'_>) {
    let reply = match run.verbs.delete(key) {
        Done::Done => "DELETED",
        Done::NotFound => "NOT_FOUND",
    };
    run.reply(reply);
}

fn arith(run: &mut Run<'_, '_>, key: &Key<'_>, arith: Arith) {
    match run.verbs.arith(key, arith) {
        ArithResult::Number(number, _) => run.reply(itoa::Buffer::new().format(number)),
        ArithResult::NonNumeric => run.reply("CLIENT_ERROR cannot increment or decrement non-numeric value"),
        ArithResult::NoMemory => run.reply("SERVER_ERROR out of memory"),
        ArithResult::NotFound | ArithResult::Exists => run.reply("NOT_FOUND"),
    }
}

fn touch(run: &mut Run<'_, '_>, key: &Key<'_>, exptime: i32) {
    let reply = match run.verbs.touch(key, run.cx.shared.clock.expiry(i64::from(exptime))) {
        Done::Done => "TOUCHED",
        Done::NotFound => "NOT_FOUND",
    };
    run.reply(reply);
}

/// Runs an admin command, or replies to an unknown one.
#[cold]
fn other(run: &mut Run<'_, '_>, text: &[u8]) -> CommandResult {
    crate::sys::panics::trap("turn");
    let tokens = Tokens::split(text);
    run.noreply = tokens.last() == b"noreply";
    run.cx.note(CommandKind::Admin);
    if let Some(next) = admin::run(run, &tokens) {
        return CommandResult::then(next).costly();
    }
    run.cx.note(CommandKind::Other);
    if tokens.len() > 1 && tokens.last().starts_with(b"HTTP/") {
        return CommandResult::then(AfterCommand::Close(CloseReason::Error));
    }
    run.reply("ERROR");
    CommandResult::done()
}
