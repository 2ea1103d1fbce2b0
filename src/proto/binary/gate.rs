//! Which packets change items, which of them depend on the item that is there, and the refusal of a change.
//!
//! Owns no rules of verbs: it names what [`Asking::ask`] must know of each packet. Called by the session for each one
//! while there is a backing.

use super::header::{Head, Parts};
use super::parse::{Packet, PacketCommand};
use super::reply::{PacketRun, Status};
use crate::cache::NOT_KEPT;
use crate::proto::command_result::CommandResult;
use crate::proto::gate::{Asking, Gate};
use crate::proto::upload::PacketSet;
use crate::proto::{Cx, Output, lookahead};
use crate::store::Mode;

/// Asks whether `packet`, at the front of `bytes`, may run.
pub(in crate::proto) fn ask(asking: &Asking<'_, '_>, packet: &Packet<'_>, bytes: &[u8]) -> Gate {
    let head = &packet.head;
    let key = match packet.command {
        Ok(PacketCommand::Store { key, mode, .. }) => {
            let is_complete = bytes.len() - packet.start >= head.value();
            (is_complete && (mode != Mode::Set || head.cas != 0)).then_some(key)
        }
        Ok(PacketCommand::Delete { key } | PacketCommand::Arith { key, .. }) => Some(key),
        // Misses wait in slots.
        Ok(PacketCommand::Get { exptime: Some(_), .. } | PacketCommand::Flush { .. }) => None,
        _ => return Gate::Open,
    };
    asking.ask(key.map(|key| lookahead::key(key, None)).as_ref(), false, head.value())
}

/// The packet that stands for the reply to `head` if its commit has failed.
pub(in crate::proto) fn put_failure(head: Head, bytes: &mut Vec<u8>) {
    let parts = Parts { status: Status::Busy as u16, body: NOT_KEPT.len() as u32, ..Parts::default() };
    bytes.extend_from_slice(&head.reply(&parts));
    bytes.extend_from_slice(NOT_KEPT.as_bytes());
}

/// Refuses a packet at the front of `bytes` with an error text.
pub(in crate::proto) fn refuse_change(
    cx: &Cx<'_>,
    packet: &Packet<'_>,
    bytes: &[u8],
    out: &mut Output,
    text: &str,
) -> CommandResult {
    fail(cx, packet.head, out, text);
    let past = CommandResult::past(packet.head.value(), bytes.len() - packet.start);
    CommandResult { used: packet.start + past.used, ..past }
}

/// Refuses a packet whose value has arrived.
pub(in crate::proto) fn refuse_upload(cx: &Cx<'_>, set: PacketSet, out: &mut Output, text: &str) {
    fail(cx, Head::echo(set.opcode, set.opaque), out, text);
}

/// Replies an error, also to a quiet packet.
fn fail(cx: &Cx<'_>, head: Head, out: &mut Output, text: &str) {
    PacketRun::new(cx, head, out).fail_saying(Status::Busy, text);
}
