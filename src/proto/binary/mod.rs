//! The binary protocol: one packet in, at most one reply out.
//!
//! `parse` owns which opcodes are commands and their packets' layout; here a parsed command runs. The session above
//! owns state between packets, `cache` below what a verb means. A quiet command differs from the plain one only in the
//! replies it omits.

mod admin;
mod change;
mod cluster;
mod gate;
mod get;
mod header;
mod parse;
mod reply;
pub(super) mod sasl;
mod store;
mod trace;

pub(super) use gate::{ask, put_failure, refuse_change, refuse_upload};
pub(super) use header::{Head, REQUEST};
pub(super) use parse::{Front, Packet, guess, parse};
pub(super) use store::finish;

use super::command_result::{AfterCommand, CommandResult};
use super::upload::store_kind;
use super::{CloseReason, Cx, Output, lookahead};
use crate::cache::Arith;
use crate::clock::Expiry;
use crate::stats::CommandKind;
use crate::store::Meta;
use header::SIZE;
use parse::{BadPacket, PacketCommand, Shown};
use reply::{PacketRun, Status};

/// Logs bytes that are not a packet, with `-v`.
pub(super) fn trace_foreign(cx: &Cx<'_>, bytes: &[u8]) {
    if cx.verbose() > 0 {
        trace::foreign(bytes.first().copied().unwrap_or_default());
    }
}

/// Runs the packet at the front of `bytes`. The bytes consumed include the header. `hash` is the hash of its key, if
/// known.
#[inline]
pub(super) fn run(
    cx: &Cx<'_>,
    packet: &Packet<'_>,
    bytes: &[u8],
    out: &mut Output,
    hash: Option<u64>,
) -> CommandResult {
    if cx.verbose() > 1 {
        trace::request(cx.fd, &bytes[..SIZE]);
    }
    cx.note(describe(packet).0);
    let mut run = PacketRun::new(cx, packet.head, out);
    let rest = &bytes[packet.start..];
    let result = match packet.command {
        Ok(command) => dispatch(&mut run, command, rest, hash),
        Err(bad) => refuse(&mut run, bad, rest),
    };
    CommandResult { used: packet.start + result.used, ..result }
}

/// Runs a get again, once the load that it waited for has ended.
pub(super) fn run_late(cx: &Cx<'_>, head: Head, key: &[u8], touch: Option<Expiry>, out: &mut Output) {
    let shown = parse::shown(head.opcode);
    cx.note(get_kind(shown, touch.is_some()));
    get::run(&mut PacketRun::new(cx, head, out), &lookahead::key(key, None), touch, shown);
}

/// Kind and key of the command at the front of `bytes`, if that packet is complete up to its value.
pub(super) fn front_command(bytes: &[u8]) -> Option<(CommandKind, &[u8])> {
    match parse(bytes) {
        Front::Packet(packet) => Some(describe(&packet)),
        Front::Unfinished | Front::Foreign => None,
    }
}

/// Kind and key of a packet's command.
#[inline]
fn describe<'a>(packet: &Packet<'a>) -> (CommandKind, &'a [u8]) {
    match packet.command {
        Ok(PacketCommand::Get { key, exptime, shown }) => (get_kind(shown, exptime.is_some()), key),
        Ok(PacketCommand::Store { key, mode, .. }) => (store_kind(mode), key),
        Ok(PacketCommand::Delete { key }) => (CommandKind::Delete, key),
        Ok(PacketCommand::Arith { key, incr, .. }) => (if incr { CommandKind::Incr } else { CommandKind::Decr }, key),
        Ok(PacketCommand::Flush { .. }) => (CommandKind::Admin, &[]),
        Ok(PacketCommand::Stat { report }) => (CommandKind::Admin, report),
        _ => (CommandKind::Other, &[]),
    }
}

#[inline]
fn get_kind(shown: Shown, touches: bool) -> CommandKind {
    match (shown.value, touches) {
        (false, _) => CommandKind::Touch,
        (true, true) => CommandKind::Gat,
        (true, false) => CommandKind::Get,
    }
}

#[inline]
fn dispatch(run: &mut PacketRun<'_, '_>, command: PacketCommand<'_>, rest: &[u8], hash: Option<u64>) -> CommandResult {
    match command {
        PacketCommand::Get { key, exptime, shown } => {
            let touch = exptime.map(|exptime| run.cx.shared.clock.expiry(i64::from(exptime)));
            get::run(run, &lookahead::key(key, hash), touch, shown);
        }
        PacketCommand::Store { key, mode, flags, exptime } => {
            let key = lookahead::key(key, hash);
            let expiry = run.cx.shared.clock.expiry(i64::from(exptime));
            let (klen, vlen) = (key.bytes().len(), run.head.value());
            return store::run(run, &key, rest, &Meta { klen, vlen, flags, expiry, iflags: 0, cas: 0 }, mode);
        }
        PacketCommand::Delete { key } => change::delete(run, &lookahead::key(key, hash)),
        PacketCommand::Arith { key, incr, delta, initial, exptime } => {
            let arith = Arith { incr, delta, compare: run.head.cas };
            change::arith(run, &lookahead::key(key, hash), arith, initial, exptime);
        }
        PacketCommand::Quit => {
            run.done(0);
            return CommandResult::then(AfterCommand::Close(CloseReason::Normal));
        }
        PacketCommand::Flush { exptime } => {
            admin::flush(run, exptime);
            return CommandResult::done().costly();
        }
        PacketCommand::Noop => run.done(0),
        PacketCommand::Version => admin::version(run),
        PacketCommand::Stat { report } => {
            let past = CommandResult::past(run.head.value(), rest.len());
            return match admin::stat(run, report) {
                Some(listing) => CommandResult { next: AfterCommand::Report(listing), ..past },
                None => past.costly(),
            };
        }
        PacketCommand::Config { name } => match &run.cx.shared.cluster {
            Some(cluster) if cluster::fits(&run.head) => cluster::get(run, cluster, name),
            Some(_) => return refuse(run, BadPacket::Lengths, rest),
            None => return refuse(run, BadPacket::Unknown, rest),
        },
        // With authentication, `sasl` has answered these.
        PacketCommand::SaslList | PacketCommand::Sasl { .. } => run.fail(Status::Unknown),
    }
    CommandResult::past(run.head.value(), rest.len())
}

#[cold]
fn refuse(run: &mut PacketRun<'_, '_>, bad: BadPacket, rest: &[u8]) -> CommandResult {
    match bad {
        BadPacket::Unknown => {
            run.fail(Status::Unknown);
            return CommandResult::past(run.head.value(), rest.len());
        }
        BadPacket::Unsound => run.fail(Status::Unknown),
        BadPacket::TooLong => run.fail(Status::Invalid),
        BadPacket::Lengths => {
            run.fail(Status::Invalid);
            if run.cx.verbose() > 0 {
                trace::protocol_error(run.cx.fd, run.head.opcode);
            }
        }
    }
    CommandResult::then(AfterCommand::Close(CloseReason::Error))
}
