//! What a command leaves to its session.
//!
//! Owns the list of a session's next actions, the same for lines and packets. Knows no command. Built by the commands
//! of every protocol, carried out by the session.

use super::CloseReason;
use super::line::{BadLine, Run};
use super::listing::Listing;
use super::text::{Ask, Multiget};
use super::upload::{Finish, Upload};
use crate::cache::Key;
use crate::maint::Seat;
use crate::store::Reservation;

/// Next action of the session after a command.
pub(super) enum AfterCommand {
    /// Run the next command.
    Next,
    /// End the turn, since this command was costly.
    GiveWay,
    /// Receive the rest of a value.
    Upload(Box<Upload>),
    /// Discard the bytes of [`CommandResult::unwanted`].
    Swallow,
    /// A multiget stopped: the output is full, or the run's keys or bytes are used up.
    Multiget(Multiget),
    /// Begin an item dump.
    Dump(Ask),
    /// Send the reply in steps.
    Report(Box<dyn Listing>),
    /// The connection becomes a watcher.
    Watch(Seat),
    /// Close after the replies are written.
    Close(CloseReason),
}

/// Result of a command.
pub(super) struct CommandResult {
    /// Bytes consumed after the line, or after the packet's key. `binary::run` adds those of header, extras and key.
    pub used: usize,
    /// Bytes of the command's value that have not arrived and are to be discarded: with `Swallow` at once, with
    /// `GiveWay` in the next run, with `Report` after the report.
    pub unwanted: u64,
    pub next: AfterCommand,
}

impl CommandResult {
    /// The command is done and has no value.
    #[inline]
    pub fn done() -> Self {
        Self::then(AfterCommand::Next)
    }

    #[inline]
    pub fn then(next: AfterCommand) -> Self {
        Self { used: 0, unwanted: 0, next }
    }

    /// The value of `len` bytes is stored.
    #[inline]
    pub fn stored(len: usize) -> Self {
        Self { used: len, ..Self::done() }
    }

    /// The command is done; a value of `len` bytes follows and is discarded, `there` bytes of the input included.
    #[inline]
    pub fn past(len: usize, there: usize) -> Self {
        let used = len.min(there);
        let next = if used < len { AfterCommand::Swallow } else { AfterCommand::Next };
        Self { used, unwanted: (len - used) as u64, next }
    }

    /// Result of a command that costs much more than a get: nothing else runs in its turn.
    pub fn costly(self) -> Self {
        let next = match self.next {
            AfterCommand::Next | AfterCommand::Swallow => AfterCommand::GiveWay,
            next => next,
        };
        Self { next, ..self }
    }

    /// Refuses a line; `rest` holds what has arrived after it.
    #[cold]
    pub fn refused(run: &mut Run<'_, '_>, line: BadLine, rest: &[u8]) -> Self {
        run.noreply = line.noreply;
        run.reply(line.reply);
        Self::past(line.unwanted, rest.len())
    }

    /// The value has not arrived completely; `rest` holds what has.
    pub fn upload(reservation: Reservation, key: &Key<'_>, finish: Finish, rest: &[u8]) -> Self {
        let mut upload = Upload::new(reservation, key, finish);
        Self { used: upload.take(rest), unwanted: 0, next: AfterCommand::Upload(Box::new(upload)) }
    }
}
