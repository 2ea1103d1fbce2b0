//! What a session does with a backing: it asks before each change, and waits for room or for an item.
//!
//! Owns the state of a command that waits: it stays unconsumed in the input, or in its complete upload, and asks again
//! when what it waited for has come. It waits once for its item, and as often for room as there is none. Called by the
//! session's loop while there is a backing.

use super::{Session, SessionState};
use crate::cache::{Attempt, Key, Load};
use crate::proto::command_result::CommandResult;
use crate::proto::gate::{Asking, AwaitedThing, Gate};
use crate::proto::line::{BadLine, Run};
use crate::proto::turn::{Step, Turn};
use crate::proto::upload::Finish;
use crate::proto::{Cx, Output, binary, text};
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

impl Session {
    /// Asks for the command of `line`; `rest` holds the bytes received after it.
    #[cold]
    pub(super) fn ask_for_line(
        &mut self,
        cx: &Cx<'_>,
        (line, rest): (&[u8], &[u8]),
        out: &mut Output,
        turn: &Turn<'_>,
    ) -> Asked {
        let gate = self.gate(cx, out, |asking| text::ask(asking, line, rest));
        match self.pass(gate) {
            Ok(None) => {
                turn.begin_command(cx, line);
                Asked::Run
            }
            Ok(Some(bad)) => {
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
        turn: &Turn<'_>,
    ) -> Asked {
        let may_change = self.sasl.as_ref().is_none_or(|login| login.is_granted());
        let ask = |asking: &Asking<'_, '_>| if may_change { binary::ask(asking, packet, bytes) } else { Gate::Open };
        let gate = self.gate(cx, out, ask);
        match self.pass(gate) {
            Ok(None) => {
                turn.begin_command(cx, bytes);
                Asked::Run
            }
            Ok(Some(bad)) => {
                cx.note(CommandKind::Other);
                Asked::Refused(binary::refuse_change(cx, packet, bytes, out, bad.reply))
            }
            Err(step) => Asked::Wait(step),
        }
    }

    /// Asks for the command of a complete upload. False if it was refused.
    #[cold]
    pub(super) fn ask_for_upload(&mut self, cx: &Cx<'_>, out: &mut Output) -> Result<bool, Step> {
        let SessionState::Value(upload) = &self.state else { return Ok(true) };
        let (mode, silent, packet) = match &upload.finish {
            Finish::Text(set) => (set.mode, set.noreply, None),
            Finish::Meta(pending, _) => (pending.set.mode, false, None),
            Finish::Packet(set) => (set.mode, false, Some(*set)),
        };
        let needs = Key::new(&upload.key).filter(|_| mode != Mode::Set);
        let gate = self.gate(cx, out, |asking| asking.ask(needs.as_ref(), silent, 0));
        let Some(bad) = self.pass(gate)? else { return Ok(true) };
        match packet {
            Some(set) => binary::refuse_upload(cx, set, out, bad.reply),
            None => Run::new(cx, out, bad.noreply).reply(bad.reply),
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

    /// Takes the command through its gate: returns its refusal, or the step that must precede it.
    fn pass(&mut self, gate: Gate) -> Result<Option<BadLine>, Step> {
        let refused = match gate {
            Gate::Open | Gate::Change => None,
            Gate::Refused(bad) => Some(bad),
            Gate::Behind => return Err(Step::Flush),
            Gate::Wait(load, thing) => {
                let then = std::mem::take(&mut self.state);
                self.state = SessionState::Awaiting(Box::new(Awaiting { load: Some(load), thing, then }));
                return Err(Step::Suspend);
            }
        };
        self.waited = false;
        Ok(refused)
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
}
