//! What comes to a connection from other threads while it waits: a reply, the end of a load, the end of a commit.
//!
//! Owns how each of them reaches the session and the output. Called by `worker`, which gives the connection a turn
//! afterwards. Knows no channels: `notify` brings the events.

use super::conn::{Awaits, Conn};
use super::handler::Handler;
use super::worker_context::WorkerContext;
use crate::cache::{CommitNumber, Committed};
use crate::proto::{Cx, Output, Session, SlotName};
use crate::stats::Counter;

impl<S: Handler> Conn<S> {
    /// Takes the late reply; the caller gives a turn next.
    pub(super) fn resume(&mut self, reply: &[u8], out: &mut Output) {
        self.awaits = Awaits::Nothing;
        self.session.resume(reply, out);
    }

    /// Runs the command in a slot again; the caller gives a turn next. False if the connection must be closed.
    pub(super) fn complete(&mut self, slot: SlotName, context: &mut WorkerContext) -> bool {
        let WorkerContext { shared, counters, number, buffers, trace, .. } = context;
        let mut cx = Cx::new(shared, counters, self.transport.fd()).of_worker(*number).in_turn(trace);
        let completed = Session::complete(&mut cx, slot, &mut buffers.output);
        if !completed {
            counters.add(Counter::ResponseOom, 1);
        }
        completed
    }

    /// Ends the wait of the replies for a commit; the caller gives a turn next. False if the connection must be closed.
    pub(super) fn end_commit(commit: CommitNumber, outcome: Committed, context: &mut WorkerContext) -> bool {
        Session::end_commit(commit, outcome, &mut context.buffers.output)
    }

    /// Asks for the outcome of the commit for which the first reply on hold waits. The next one is asked for when that
    /// has ended: a turn follows it.
    #[inline]
    pub(super) fn await_commit(&self, token: usize, context: &mut WorkerContext) {
        if let Some(commit) = context.buffers.output.next_commit()
            && let Some(backing) = context.shared.cache.backing()
        {
            backing.when_committed(commit, context.mailbox.commit_report(token, commit));
        }
    }
}
