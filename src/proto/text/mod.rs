//! The text protocol: one command line in, one reply out.
//!
//! `parse` owns which words are commands and the order of memcached's checks; here a parsed command runs. The session
//! above owns state between commands, `cache` below what a verb means. Admin commands have a `match` of their own, in
//! `admin`.

mod admin;
mod cluster;
mod crawler;
mod dump;
mod gate;
mod get;
mod hotkeys;
mod keys;
mod latency;
pub(super) mod login;
mod parse;
mod storage;

pub(super) use dump::{Ask, begin as begin_dump};
pub(super) use gate::ask;
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

/// Runs the command in `line` (newline included); `rest` holds the bytes received after it. `hash` is that of the only
/// key of the command, if known.
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
            get::one(&mut run, key, cas, hash)
        }
        Ok(TextCommand::Multiget { keys, cas, exptime }) => {
            cx.note(if exptime.is_some() { CommandKind::Gat } else { CommandKind::Get });
            get::many(&mut run, keys, cas, exptime)
        }
        Ok(TextCommand::Set(line)) => {
            cx.note(store_kind(line.set.mode));
            storage::run(&mut run, &line, rest, hash)
        }
        Ok(TextCommand::Meta(text)) => meta::run(&mut run, text, rest, hash),
        Ok(command) => run_rarer(&mut run, command, hash),
        Err(line) => {
            cx.note(CommandKind::Other);
            CommandResult::refused(&mut run, line, rest)
        }
    }
}

/// Runs a command other than `get`, `set` and the like. A function of its own, so that those are compiled into the
/// session's loop.
#[inline(never)]
fn run_rarer(run: &mut Run<'_, '_>, command: TextCommand<'_>, hash: Option<u64>) -> CommandResult {
    match command {
        TextCommand::Delete { key, noreply } => {
            run.cx.note(CommandKind::Delete);
            run.noreply = noreply;
            delete(run, &lookahead::key(key, hash));
        }
        TextCommand::Arith { key, delta, incr, noreply } => {
            run.cx.note(if incr { CommandKind::Incr } else { CommandKind::Decr });
            run.noreply = noreply;
            arith(run, &lookahead::key(key, hash), Arith { incr, delta, compare: 0 });
        }
        TextCommand::Touch { key, exptime, noreply } => {
            run.cx.note(CommandKind::Touch);
            run.noreply = noreply;
            touch(run, &lookahead::key(key, hash), exptime);
        }
        TextCommand::Version => {
            run.cx.note(CommandKind::Other);
            run.reply(&format!("VERSION {VERSION}"));
        }
        TextCommand::Quit => return CommandResult::then(AfterCommand::Close(CloseReason::Normal)),
        TextCommand::Stats(text) => {
            run.cx.note(CommandKind::Admin);
            return CommandResult::then(admin::stats(run, &Tokens::split(text))).costly();
        }
        TextCommand::Watch(text) => return CommandResult::then(admin::watch(run, &Tokens::split(text))),
        TextCommand::Other(text) => return other(run, text),
        TextCommand::Get { .. } | TextCommand::Multiget { .. } | TextCommand::Set(_) | TextCommand::Meta(_) => {}
    }
    CommandResult::done()
}

/// Runs a meta line again, once the load that it waited for has ended.
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
    if tokens.is(0, "config")
        && let Some(cluster) = &run.cx.shared.cluster
    {
        return cluster::config(run, cluster, &tokens);
    }
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
