//! The binary protocol: one packet in, at most one reply out.
//!
//! Owns which opcodes are commands, their packets' layout and the errors for others; the session above owns state
//! between packets, `cache` below what a verb means. A quiet command differs from the plain one only in the replies
//! it omits.

mod admin;
mod change;
mod get;
mod header;
mod parse;
mod reply;
pub(super) mod sasl;
mod store;
mod trace;

pub(super) use header::{Head, REQUEST};
pub(super) use parse::{Front, front, guess};
pub(super) use store::finish;

use super::command_result::{AfterCommand, CommandResult};
use super::{CloseReason, Cx, Output};
use crate::cache::Key;
use crate::limits::BODY_MAX;
use header::SIZE;
use parse::{Op, decode, is_refused};
use reply::{PacketRun, Status};

fn close(reason: CloseReason) -> CommandResult {
    CommandResult::then(AfterCommand::Close(reason))
}

/// Logs bytes that are not a packet, with `-v`.
pub(super) fn trace_foreign(cx: &Cx<'_>, bytes: &[u8]) {
    if cx.verbose() > 0 {
        trace::foreign(bytes.first().copied().unwrap_or_default());
    }
}

/// Runs the command of the packet at the front of `bytes` with header `head`. The bytes consumed include the
/// header. `hash` is the hash of its key, if known.
#[inline]
pub(super) fn run(cx: &Cx<'_>, head: Head, bytes: &[u8], out: &mut Output, hash: Option<u64>) -> CommandResult {
    if cx.verbose() > 1 {
        trace::request(cx.fd, &bytes[..SIZE]);
    }
    let command = decode(head.opcode);
    let quiet = command.is_some_and(|(_, quiet)| quiet);
    let mut run = PacketRun { cx, verbs: cx.verbs(), out, head, quiet };
    if is_refused(&head) {
        return CommandResult { used: SIZE, ..refuse(&mut run) };
    }
    let start = SIZE + head.before_value();
    let (extras, key) = bytes[SIZE..start].split_at(usize::from(head.extras));
    let rest = &bytes[start..];
    let ran = match command {
        Some((op, _)) if op.fits(&head) => dispatch(&mut run, op, extras, key, rest, hash),
        Some((_, _)) => protocol_error(&mut run),
        None => {
            run.fail(Status::Unknown);
            CommandResult::past(head.value(), rest.len())
        }
    };
    CommandResult { used: start + ran.used, ..ran }
}

/// Runs a get again, after it waited.
pub(super) fn run_late(cx: &Cx<'_>, opcode: u8, opaque: [u8; 4], body: (&[u8], &[u8]), out: &mut Output) {
    let (extras, key) = body;
    if let (Some((Op::Get(kind), quiet)), Some(key)) = (decode(opcode), Key::new(key)) {
        let head = Head { opcode, extras: 0, key: 0, body: 0, opaque, cas: 0 };
        get::run(&mut PacketRun { cx, verbs: cx.verbs(), out, head, quiet }, &key, extras, kind);
    }
}

#[inline]
fn dispatch(
    run: &mut PacketRun<'_, '_>,
    op: Op,
    extras: &[u8],
    key: &[u8],
    rest: &[u8],
    hash: Option<u64>,
) -> CommandResult {
    let hashed = match hash {
        Some(hash) => Some(Key::hashed(key, hash)),
        None => Key::new(key),
    };
    match (op, hashed) {
        (Op::Get(kind), Some(key)) => get::run(run, &key, extras, kind),
        (Op::Store(mode), Some(key)) => return store::run(run, &key, extras, rest, mode),
        (Op::Join(mode), Some(key)) => return store::run_join(run, &key, rest, mode),
        (Op::Delete, Some(key)) => change::delete(run, &key),
        (Op::Arith { incr }, Some(key)) => change::arith(run, &key, extras, incr),
        (Op::Quit, _) => {
            run.done(0);
            return close(CloseReason::Normal);
        }
        (Op::Flush, _) => {
            admin::flush(run, extras);
            return CommandResult::done().costly();
        }
        (Op::Noop, _) => run.done(0),
        (Op::Version, _) => admin::version(run),
        (Op::Stat, _) => {
            let past = CommandResult::past(run.head.value(), rest.len());
            return match admin::stat(run, key) {
                Some(listing) => CommandResult { next: AfterCommand::Report(listing), ..past },
                None => past.costly(),
            };
        }
        // SASL commands without authentication; all others either have a key or failed `fits`.
        _ => run.fail(Status::Unknown),
    }
    CommandResult::past(run.head.value(), rest.len())
}

/// Lengths that are invalid for every command.
#[cold]
fn refuse(run: &mut PacketRun<'_, '_>) -> CommandResult {
    if !run.head.is_sound() {
        run.fail(Status::Unknown);
    } else if run.head.body > BODY_MAX {
        run.fail(Status::Invalid);
    } else {
        return protocol_error(run);
    }
    close(CloseReason::Error)
}

/// Lengths that are invalid for this command.
#[cold]
fn protocol_error(run: &mut PacketRun<'_, '_>) -> CommandResult {
    run.fail(Status::Invalid);
    if run.cx.verbose() > 0 {
        trace::protocol_error(run.cx.fd, run.head.opcode);
    }
    close(CloseReason::Error)
}
