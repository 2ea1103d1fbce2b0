//! The text protocol: one command line in, one reply out.
//!
//! Owns which words are commands and the order of memcached's checks; the session above owns state between commands,
//! `cache` below what a verb means. Hot commands go through one `match`, admin commands through another.

mod admin;
mod crawler;
mod dump;
mod get;
pub(super) mod login;
mod storage;
mod tokens;

pub(super) use dump::begin as begin_dump;
pub(super) use get::{LongLine, Multiget, resume as resume_multiget};
pub(super) use storage::{Arrival, finish as finish_upload, swallow};
pub(super) use tokens::Tokens;

use super::listing::Listing;
use super::upload::Upload;
use super::{CloseReason, Cx, Output, meta};
use crate::cache::{Arith, ArithResult, Done, Key, Verbs};
use crate::decimal;
use crate::limits::{KEY_MAX, LEADING_SPACES_MAX};
use crate::maint::Seat;
use crate::printable::is_printable;
use crate::settings::VERSION;

/// Reply to most malformed lines.
pub(super) const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";

/// Next action of the session after a command.
pub(super) enum AfterCommand {
    /// Run the next line.
    Line,
    /// End the turn, since this command was costly.
    GiveWay,
    /// Receive the rest of a value.
    Upload(Box<Upload>),
    /// Discard this many bytes.
    Swallow(u64),
    /// A multiget stopped: the output is full, or the run's keys or bytes are used up.
    Multiget(Multiget),
    /// Begin an item dump.
    Dump(dump::Ask),
    /// Send the reply in steps.
    Report(Box<dyn Listing>),
    /// The connection becomes a watcher.
    Watch(Seat),
    /// Close after the replies are written.
    Close(CloseReason),
}

/// Result of a command: bytes consumed after the line, and the next action.
pub(super) struct CommandResult {
    pub used: usize,
    pub next: AfterCommand,
}

impl CommandResult {
    pub fn line() -> Self {
        Self { used: 0, next: AfterCommand::Line }
    }

    fn then(next: AfterCommand) -> Self {
        Self { used: 0, next }
    }

    /// Result of a command that costs much more than a get: nothing else runs in its turn.
    fn costly(next: AfterCommand) -> Self {
        Self::then(if matches!(next, AfterCommand::Line) { AfterCommand::GiveWay } else { next })
    }
}

/// State of one running command.
pub(super) struct Run<'a, 'b> {
    pub cx: &'a Cx<'b>,
    pub verbs: Verbs<'a>,
    pub out: &'a mut Output,
    /// The client wants no reply.
    pub noreply: bool,
}

impl Run<'_, '_> {
    /// Appends a one-line reply, unless `noreply`.
    #[inline]
    pub fn reply(&mut self, line: &str) {
        if self.cx.verbose() > 1 {
            self.log_reply(line);
        }
        if !self.noreply {
            self.out.put(line.as_bytes());
            self.out.put(b"\r\n");
        }
    }

    #[cold]
    fn log_reply(&self, line: &str) {
        let noreply = if self.noreply { "NOREPLY " } else { "" };
        self.log(format_args!(">{} {noreply}{line}\n", self.cx.fd));
    }

    /// Writes a line of `-vv` to standard error.
    #[cold]
    fn log(&self, line: std::fmt::Arguments<'_>) {
        crate::sys::stderr::write(line.to_string().as_bytes());
    }

    /// Logs the result of a lookup, for `-vvv`.
    #[cold]
    pub fn log_lookup(&self, key: &Key<'_>, hit: bool) {
        let word = if hit { "FOUND KEY" } else { "NOT FOUND" };
        if is_printable(key.bytes()) {
            self.log(format_args!("> {word} {}\n", String::from_utf8_lossy(key.bytes())));
        } else {
            self.log(format_args!("> {word} {}\n", key.bytes().escape_ascii()));
        }
    }

    /// A valid key of the current command; appends the error reply for an over-long one.
    #[inline]
    pub fn key<'k>(&mut self, bytes: &'k [u8], hash: Option<u64>) -> Option<Key<'k>> {
        if bytes.len() > KEY_MAX {
            self.reply(BAD_FORMAT);
            return None;
        }
        match hash {
            Some(hash) => Some(Key::hashed(bytes, hash)),
            None => Key::new(bytes),
        }
    }
}

/// Runs the command in `line` (newline included); `rest` holds the bytes received after it. `hash` is the hash of the
/// second word, if known.
#[inline]
pub(super) fn run(cx: &Cx<'_>, line: &[u8], rest: &[u8], out: &mut Output, hash: Option<u64>) -> CommandResult {
    let verbs = cx.verbs();
    let mut run = Run { cx, verbs, out, noreply: false };
    if cx.verbose() > 1 {
        let shown = String::from_utf8_lossy(&line[..line.len().saturating_sub(2)]);
        run.log(format_args!("<{} {shown}\n", cx.fd));
    }
    if line.len() < 4 {
        run.reply(BAD_FORMAT);
        return CommandResult::line();
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
            CommandResult::line()
        }
        b"quit" => CommandResult::then(AfterCommand::Close(CloseReason::Normal)),
        b"version" => {
            run.reply(&format!("VERSION {VERSION}"));
            CommandResult::line()
        }
        b"stats" => CommandResult::costly(admin::stats(&mut run, &Tokens::split(text))),
        b"watch" => CommandResult::then(admin::watch(&mut run, &Tokens::split(text))),
        _ => unknown(&mut run, text),
    }
}

/// Whether an over-long line may continue: only `get` and `gets` have an unbounded number of keys.
pub(super) fn is_get_line(bytes: &[u8]) -> bool {
    let spaces = bytes.iter().take_while(|&&byte| byte == b' ').count();
    let word = &bytes[spaces..];
    spaces <= LEADING_SPACES_MAX && (word.starts_with(b"get ") || word.starts_with(b"gets "))
}

/// The line without its newline and one carriage return before it.
#[inline]
pub(super) fn strip_end(line: &[u8]) -> &[u8] {
    let text = &line[..line.len() - 1];
    text.strip_suffix(b"\r").unwrap_or(text)
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
    CommandResult::line()
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
        return CommandResult::costly(next);
    }
    if tokens.len() > 1 && tokens.last().starts_with(b"HTTP/") {
        return CommandResult::then(AfterCommand::Close(CloseReason::Error));
    }
    run.reply("ERROR");
    CommandResult::line()
}
