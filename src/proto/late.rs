//! Commands whose item is being loaded, and replies whose commit has not ended.
//!
//! Owns how such a command waits, as plain data: its request stays in a slot of the output, and runs again when the
//! load has ended; what it replies then fills the slot. Other commands of the connection run meanwhile, and their
//! replies wait behind the slot. A command waits only once: if the item is not in memory then, it is a miss. Also owns
//! what stands for a reply whose commit has failed. Knows no protocol and no sockets. Used by the output, by the
//! commands that fetch, and by the session that runs them again.

use crate::cache::Completion;
use crate::clock::Expiry;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Text of the error where no command can wait.
pub(super) const REFUSED: &str = "SERVER_ERROR the item is being loaded";

/// Name of a slot, unique in the process: connections take turns at outputs, so the end of a load that a connection no
/// longer waits for must not name a later slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotName(u64);

impl SlotName {
    /// A name that no slot has had.
    pub(super) fn next() -> Self {
        static NAMES: AtomicU64 = AtomicU64::new(0);
        Self(NAMES.fetch_add(1, Relaxed))
    }
}

/// Makes the completions of loads for one connection's slots.
pub trait Completions {
    /// Reports, from any thread, that the command in `slot` must run again.
    fn completion(&self, slot: SlotName) -> Completion;
}

/// What a command does while its item is being loaded.
#[derive(Clone, Copy)]
pub enum Waits<'a> {
    /// The command waits in a slot.
    InSlot(&'a dyn Completions),
    /// The command is refused: nothing would deliver its reply.
    Refused,
}

/// A request that runs again.
#[derive(Debug)]
pub(super) enum LateRequest {
    /// A key of a text get.
    Fetch {
        key: Box<[u8]>,
        /// Show the CAS id.
        cas: bool,
        /// Expiry time to set.
        touch: Option<Expiry>,
    },
    /// A meta line, without its line end.
    Line(Box<[u8]>),
    /// A packet's get; a hit gets the expiry time `touch`.
    Packet { opcode: u8, opaque: [u8; 4], key: Box<[u8]>, touch: Option<Expiry> },
}

impl LateRequest {
    /// Memory of the request, in bytes.
    pub fn memory(&self) -> usize {
        match self {
            Self::Fetch { key: bytes, .. } | Self::Line(bytes) | Self::Packet { key: bytes, .. } => bytes.len(),
        }
    }
}

/// What stands for the reply to a change whose commit has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureForm {
    /// An error line.
    Line,
    /// An error packet.
    Packet {
        /// Opcode of the request.
        opcode: u8,
        /// Opaque value of the request.
        opaque: [u8; 4],
    },
    /// Nothing: one key of a multiget, which becomes a miss.
    Nothing,
    /// The end of the connection: a part of a reply, whose rest is sent anyway.
    Close,
}
