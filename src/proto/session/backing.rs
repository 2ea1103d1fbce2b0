//! What a session does with a backing: it asks before each change, waits for room or for an item, and lets the reply
//! wait for the commit.
//!
//! Owns the state of a command that waits: it stays unconsumed in the input, or in its complete upload, and asks again
//! when what it waited for has come. It waits once for its item, and as often for room as there is none. Called by the
//! session's loop while there is a backing.

use super::{Session, SessionState};
use crate::cache::{Admission, Attempt, CommitNumber, Committed, Key, Load, NOT_KEPT};
use crate::proto::command_result::CommandResult;
use crate::proto::gate::{Asking, AwaitedThing, Gate};
use crate::proto::late::{FailureForm, LateRequest, SlotName};
use crate::proto::line::{BadLine, Run};
use crate::proto::turn::{Step, Turn, hold_reply};
use crate::proto::upload::{Finish, PacketSet};
use crate::proto::{Cx, Output, binary, meta, text};
use crate::stats::CommandKind;
use crate::store::Mode;

/// A command that waits for the backing.
pub(super) struct Awaiting {
    /// What it waits for, until [`Session::take_load`] takes it.
    load: Option<Load>,
    thing: AwaitedThing,
    /// The state in which it asks again.
    pub(super) then: SessionState,
}

/// How a command goes on that the session has asked for.
pub(super) enum Asked {
    /// It runs.
    Run,
    /// It was refused, with this result.
    Refused(CommandResult),
    /// It has to wait.
    Wait(Step),
}

/// A command behind its gate.
enum Passed {
    /// It changes no item.
    Free,
    /// It may change items.
    Change {
        /// The client wants no reply, whatever happens.
        silent: bool,
    },
    /// It replies this error.
    Refused(BadLine),
}

impl Passed {
    /// Notes a change that runs next.
    fn begin(&self, turn: &mut Turn<'_>, out: &Output, on_failure: FailureForm) {
        if let Self::Change { silent } = self {
            turn.begin_change(out, (!silent).then_some(on_failure));
        }
    }
}

impl Session {
    /// Asks for the command of `line`; `rest` holds the bytes received after it.
    #[cold]
    pub(super) fn ask_for_line(
        &mut self,
        cx: &Cx<'_>,
        (line, rest): (&[u8], &[u8]),
        out: &mut Output,
        turn: &mut Turn<'_>,
    ) -> Asked {
        let gate = self.gate(cx, out, |asking| text::ask(asking, line, rest));
        match self.pass(gate) {
            Ok(passed @ (Passed::Free | Passed::Change { .. })) => {
                passed.begin(turn, out, FailureForm::Line);
                turn.begin_command(cx, line);
                Asked::Run
            }
            Ok(Passed::Refused(bad)) => {
                cx.note(CommandKind::Other);
                Asked::Refused(CommandResult::refused(&mut Run::new(cx, out, false), bad, rest))
            }
            Err(step) => Asked::Wait(step),
        }
    }

    /// Asks for `packet`, at the front of `bytes`. One that its client may not send yet is refused for that.
    #[cold]
    pub(super) fn ask_for_packet(
        &mut self,
        cx: &Cx<'_>,
        packet: &binary::Packet<'_>,
        bytes: &[u8],
        out: &mut Output,
        turn: &mut Turn<'_>,
    ) -> Asked {
        let may_change = self.sasl.as_ref().is_none_or(|login| login.is_granted());
        let ask = |asking: &Asking<'_, '_>| if may_change { binary::ask(asking, packet, bytes) } else { Gate::Open };
        let gate = self.gate(cx, out, ask);
        match self.pass(gate) {
            Ok(passed @ (Passed::Free | Passed::Change { .. })) => {
                let (opcode, opaque) = (packet.head.opcode, packet.head.opaque);
                passed.begin(turn, out, FailureForm::Packet { opcode, opaque });
                turn.begin_command(cx, bytes);
                Asked::Run
            }
            Ok(Passed::Refused(bad)) => {
                cx.note(CommandKind::Other);
                Asked::Refused(binary::refuse_change(cx, packet, bytes, out, bad.reply))
            }
            Err(step) => Asked::Wait(step),
        }
    }

    /// Asks for the command of a complete upload. False if it was refused.
    #[cold]
    pub(super) fn ask_for_upload(&mut self, cx: &Cx<'_>, out: &mut Output, turn: &mut Turn<'_>) -> Result<bool, Step> {
        turn.end_change(cx, out);
        let SessionState::Value(upload) = &self.state else { return Ok(true) };
        let (mode, silent, packet) = match &upload.finish {
            Finish::Text(set) => (set.mode, set.noreply, None),
            Finish::Meta(pending, _) => (pending.set.mode, false, None),
            Finish::Packet(set) => (set.mode, false, Some(*set)),
        };
        let needs = Key::new(&upload.key).filter(|_| mode != Mode::Set);
        let gate = self.gate(cx, out, |asking| asking.ask(needs.as_ref(), silent, 0));
        let on_failure = match packet {
            Some(PacketSet { opcode, opaque, .. }) => FailureForm::Packet { opcode, opaque },
            None => FailureForm::Line,
        };
        match (self.pass(gate)?, packet) {
            (Passed::Refused(bad), Some(set)) => binary::refuse_upload(cx, set, out, bad.reply),
            (Passed::Refused(bad), None) => Run::new(cx, out, bad.noreply).reply(bad.reply),
            (passed, _) => {
                passed.begin(turn, out, on_failure);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks for a command that `command` describes.
    fn gate(&self, cx: &Cx<'_>, out: &Output, command: impl FnOnce(&Asking<'_, '_>) -> Gate) -> Gate {
        cx.set_attempt(if self.waited { Attempt::AfterWait } else { Attempt::First });
        match cx.shared.cache.backing() {
            Some(backing) => command(&Asking { cx, backing, behind_slots: out.has_slots() }),
            None => Gate::Open,
        }
    }

    /// Takes the command through its gate. The error is the step that must precede it.
    fn pass(&mut self, gate: Gate) -> Result<Passed, Step> {
        let passed = match gate {
            Gate::Open => Passed::Free,
            Gate::Change { silent } => Passed::Change { silent },
            Gate::Refused(bad) => Passed::Refused(bad),
            Gate::Behind => return Err(Step::Flush),
            Gate::Wait(load, thing) => {
                let then = std::mem::take(&mut self.state);
                self.state = SessionState::Awaiting(Box::new(Awaiting { load: Some(load), thing, then }));
                return Err(Step::Suspend);
            }
        };
        self.waited = false;
        Ok(passed)
    }

    /// After [`Step::Suspend`]: what a command waits for. When it has ended, the caller calls [`Session::resume`] with
    /// no bytes.
    pub fn take_load(&mut self) -> Option<Load> {
        match &mut self.state {
            SessionState::Awaiting(awaiting) => awaiting.load.take(),
            _ => None,
        }
    }

    /// Lets the command that waits ask again; false if none does.
    pub(super) fn end_wait(&mut self) -> bool {
        let SessionState::Awaiting(awaiting) = &mut self.state else { return false };
        self.waited |= awaiting.thing == AwaitedThing::Item;
        self.state = std::mem::take(&mut awaiting.then);
        true
    }

    /// Runs the command in `slot` again and fills the slot. False without memory: the connection must be closed.
    #[must_use]
    pub fn complete(cx: &mut Cx<'_>, slot: SlotName, out: &mut Output) -> bool {
        let Some(request) = out.request_in(slot) else { return true };
        cx.set_attempt(Attempt::Again);
        let mut reply = Output::default();
        if !reply.make_room() {
            return false;
        }
        let (changes, on_failure) = match request {
            LateRequest::Fetch { touch, .. } => (touch.is_some(), FailureForm::Nothing),
            LateRequest::Line(line) => (meta::changes(line), FailureForm::Line),
            LateRequest::Packet { opcode, opaque, touch, .. } => {
                (touch.is_some(), FailureForm::Packet { opcode: *opcode, opaque: *opaque })
            }
        };
        if changes && is_refused(cx) {
            put_failure(on_failure, reply.bytes());
            out.fill(slot, reply);
            return true;
        }
        let at = reply.mark();
        match request {
            LateRequest::Fetch { key, cas, touch } => text::fetch_late(cx, key, *cas, *touch, &mut reply),
            LateRequest::Line(line) => text::run_late(cx, line, &mut reply),
            LateRequest::Packet { opcode, opaque, key, touch } => {
                binary::run_late(cx, binary::Head::echo(*opcode, *opaque), key, *touch, &mut reply);
            }
        }
        hold_reply(cx, &mut reply, at, changes.then_some(on_failure));
        out.fill(slot, reply);
        true
    }

    /// Ends the wait of the replies for `commit`. False if the connection must be closed.
    #[must_use]
    pub fn end_commit(commit: CommitNumber, outcome: Committed, out: &mut Output) -> bool {
        match outcome {
            Committed::Durable => out.end_commit(commit, None),
            Committed::Failed => out.end_commit(commit, Some(&put_failure)),
        }
    }
}

/// Whether the backing refuses changes. A late command waits for no room: there are few of them.
fn is_refused(cx: &Cx<'_>) -> bool {
    cx.shared.cache.backing().is_some_and(|backing| matches!(backing.admit(), Admission::Refused))
}

/// Appends what stands for a reply whose change is not kept.
fn put_failure(form: FailureForm, bytes: &mut Vec<u8>) {
    match form {
        FailureForm::Line => {
            bytes.extend_from_slice(NOT_KEPT.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        FailureForm::Packet { opcode, opaque } => binary::put_failure(binary::Head::echo(opcode, opaque), bytes),
        FailureForm::Nothing | FailureForm::Close => {}
    }
}
