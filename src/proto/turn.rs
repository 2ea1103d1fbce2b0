//! Budget and outcome of one run of a session.
//!
//! Owns what must precede the next command: the end of the run, a write, or memory. Knows no command. Used by `session`
//! before each command.

use super::late::FailureForm;
use super::output::Mark;
use super::{CloseReason, Cx, Output};
use crate::cache::CommitNumber;
use crate::stats::Counter;
use std::sync::atomic::Ordering::Relaxed;

/// What the session needs next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Every complete command ran. Write the replies, then read: into
    /// [`upload_target`](super::Session::upload_target) if it returns a slice, else into the input buffer
    /// ([`grow`](super::Input::grow) it first if it is full).
    Read,
    /// The budget is used up and input remains; or a costly command ran (a report, an admin command); or a multiget,
    /// dump or report is unfinished. Run other connections, then call again. Replies may stay unsent, and the last
    /// one incomplete.
    Yield,
    /// Replies reached their limit, or must be sent now: write all of them, then call again.
    Flush,
    /// The reply arrives later through [`resume`](super::Session::resume): write pending replies; neither read nor run
    /// until then.
    Suspend,
    /// The connection becomes a watcher: write the replies, pass its socket to
    /// [`hand_over`](super::Session::hand_over), and drop the session.
    HandOver,
    /// Write the replies, however long the peer takes, then close. Nothing more is read or run.
    Close(CloseReason),
    /// Close at once and drop unsent replies: they exceed the memory that one client may have.
    Abort(CloseReason),
}

/// What precedes the next command.
pub(super) enum Before {
    Nothing,
    Step(Step),
    /// The session asks the backing.
    Question,
}

/// Budget of one run, in commands.
pub(super) struct Turn<'a> {
    /// No command of the same pipeline ran in an earlier run.
    pub is_first: bool,
    pub granted: u32,
    pub left: &'a mut u32,
    /// Value of `left` at which the run has produced as many replies as may wait; 0 without a limit.
    floor: u32,
    /// While `left` is above this, a command only needs room in the output; from here on [`Turn::check`] runs first.
    /// `floor`, or the maximum while commands are timed or there is a backing.
    check_from: u32,
    /// There is a backing.
    pub asks: bool,
    /// The change that ran last, until [`Turn::end_change`].
    change: Option<RanChange>,
}

/// A command that may have changed items.
struct RanChange {
    /// Beginning of its reply.
    at: Mark,
    /// `None`: the client wants no reply.
    on_failure: Option<FailureForm>,
}

impl<'a> Turn<'a> {
    pub fn new(budget: &'a mut u32, cx: &Cx<'_>) -> Self {
        let floor = budget.saturating_sub(cx.reply_cap());
        let asks = cx.shared.cache.backing().is_some();
        let check_from = if asks || cx.times_commands() { u32::MAX } else { floor };
        Self { is_first: true, granted: *budget, left: budget, floor, check_from, asks, change: None }
    }

    /// What must precede the next command; `bytes` begin with that command.
    #[inline]
    pub fn wait_first(&mut self, cx: &Cx<'_>, bytes: &[u8], out: &mut Output) -> Before {
        if *self.left <= self.check_from {
            return self.check(cx, bytes, out);
        }
        make_room(cx, out).map_or(Before::Nothing, Before::Step)
    }

    /// [`Turn::wait_first`] for a command that changes no item.
    pub fn step_first(&mut self, cx: &Cx<'_>, bytes: &[u8], out: &mut Output) -> Option<Step> {
        match self.wait_first(cx, bytes, out) {
            Before::Nothing => None,
            Before::Step(step) => Some(step),
            Before::Question => {
                self.begin_command(cx, bytes);
                None
            }
        }
    }

    #[cold]
    fn check(&mut self, cx: &Cx<'_>, bytes: &[u8], out: &mut Output) -> Before {
        self.end_change(cx, out);
        if *self.left == 0 {
            return Before::Step(Step::Yield);
        }
        if *self.left <= self.floor && !out.is_empty() {
            cx.counters.add(Counter::ResponseOom, 1);
            return Before::Step(Step::Abort(CloseReason::Error));
        }
        if let Some(step) = make_room(cx, out) {
            return Before::Step(step);
        }
        if self.asks {
            return Before::Question;
        }
        self.begin_command(cx, bytes);
        Before::Nothing
    }

    /// Notes that a change runs next; what `out` gets is its reply, until [`Turn::end_change`].
    pub fn begin_change(&mut self, out: &Output, on_failure: Option<FailureForm>) {
        self.change = Some(RanChange { at: out.mark(), on_failure });
    }

    /// Notes that the reply of the change that runs goes on in a later run.
    pub fn change_goes_on(&mut self) {
        if let Some(change) = &mut self.change {
            change.on_failure = Some(FailureForm::Close);
        }
    }

    /// Ends a run: also a command that is no change may have changed an item, by winning a token or by finding it dead,
    /// and the backing must learn of that. No reply waits for it.
    #[cold]
    pub fn end_run(&mut self, cx: &Cx<'_>, out: &mut Output) {
        self.end_change(cx, out);
        let _ = take_commit(cx);
    }

    /// Lets the reply of the change that ran last wait for its commit. Called before the next command, and at the end
    /// of a run.
    pub fn end_change(&mut self, cx: &Cx<'_>, out: &mut Output) {
        if let Some(RanChange { at, on_failure }) = self.change.take() {
            hold_reply(cx, out, at, on_failure);
        }
    }

    /// Times the command at the front of `bytes`, which runs next.
    pub fn begin_command(&self, cx: &Cx<'_>, bytes: &[u8]) {
        if cx.times_commands()
            && let Some(trace) = cx.timing()
        {
            trace.next_command(cx.kind(), bytes);
        }
    }
}

/// Lets the reply from `at` on wait until the changes that this thread has made since the last call are durable. With
/// `None` nothing waits: the client reads no reply.
pub(super) fn hold_reply(cx: &Cx<'_>, out: &mut Output, at: Mark, on_failure: Option<FailureForm>) {
    if let (Some(commit), Some(on_failure)) = (take_commit(cx), on_failure) {
        out.hold(at, commit, on_failure);
    }
}

/// The commit of the changes that this thread has made since the last call.
pub(super) fn take_commit(cx: &Cx<'_>) -> Option<CommitNumber> {
    cx.shared.cache.backing()?.take_commit()
}

/// Step that must precede a reply, if any.
#[inline]
fn make_room(cx: &Cx<'_>, out: &mut Output) -> Option<Step> {
    if out.is_full() {
        return Some(Step::Flush);
    }
    (!out.make_room()).then(|| starved(cx, out))
}

/// Step if memory for another reply is short: writes waiting replies, or aborts if there are none.
#[cold]
pub(super) fn starved(cx: &Cx<'_>, out: &Output) -> Step {
    cx.shared.stats.globals.malloc_fails.fetch_add(1, Relaxed);
    if out.is_empty() { Step::Abort(CloseReason::Error) } else { Step::Flush }
}
