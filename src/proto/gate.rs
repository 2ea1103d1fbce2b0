//! What a command that changes items asks of the backing before it runs.
//!
//! Owns the questions and their order: first whether its replies may come late, then whether there is room for its
//! change, last whether memory holds the item that it depends on. Knows no wire format: the parsers tell which command
//! it is ([`Asking`]), the session waits and refuses. Asked before each command while there is a backing, else never.

use super::Cx;
use super::late::{self, Waits};
use super::line::BadLine;
use crate::cache::{Admission, Backing, Key, Load, NOT_KEPT};

/// Text of the error to a change in a datagram, if its reply would have to wait until the change is durable.
const NO_LATE_ANSWER: &str = "SERVER_ERROR a datagram cannot wait for a commit";

/// Answer to a command that is about to run.
pub(super) enum Gate {
    /// It changes no item.
    Open,
    /// It may run, and may change items.
    Change {
        /// The client wants no reply, whatever happens.
        silent: bool,
    },
    /// It asks again once this has ended.
    Wait(Load, AwaitedThing),
    /// It asks again once the slots before it are filled: their commands came first, and may be of the same key.
    Behind,
    /// It must reply this error and change nothing.
    Refused(BadLine),
}

/// What a command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AwaitedThing {
    /// Room for its change.
    Room,
    /// Its item.
    Item,
}

/// A backing, and the state of the connection that asks.
pub(super) struct Asking<'a, 'b> {
    pub cx: &'a Cx<'b>,
    pub backing: &'a dyn Backing,
    /// Slots wait in the output.
    pub behind_slots: bool,
}

impl Asking<'_, '_> {
    /// Asks for a command that changes items. `needs` is the key of the item that it depends on, unless a miss waits in
    /// a slot; `silent`: the client wants no reply, whatever happens; `unwanted` is the length of the value behind its
    /// line.
    pub fn ask(&self, needs: Option<&Key<'_>>, silent: bool, unwanted: usize) -> Gate {
        let refused = |reply| Gate::Refused(BadLine { reply, unwanted, noreply: silent });
        let may_wait = matches!(self.cx.waits, Waits::InSlot(_));
        if self.behind_slots {
            return Gate::Behind;
        }
        if !may_wait && !silent && self.backing.replies_wait() {
            return refused(NO_LATE_ANSWER);
        }
        match self.backing.admit() {
            Admission::Granted => {}
            Admission::Full(load) if may_wait => return Gate::Wait(load, AwaitedThing::Room),
            Admission::Full(_) | Admission::Refused => return refused(NOT_KEPT),
        }
        match needs.and_then(|key| self.cx.verbs().load_first(key)) {
            None => Gate::Change { silent },
            Some(load) if may_wait => Gate::Wait(load, AwaitedThing::Item),
            Some(_) => refused(late::REFUSED),
        }
    }
}
