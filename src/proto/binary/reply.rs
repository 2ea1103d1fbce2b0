//! A running packet: its context and its replies.
//!
//! Owns the error statuses and the form of replies without a value. Knows no command. Used by every command of the
//! binary protocol.

use super::header::{Head, Parts};
use super::parse::is_quiet;
use super::trace;
use crate::cache::Verbs;
use crate::proto::{Cx, Output};

/// Error of a command, with its number and text on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    NotFound = 0x01,
    Exists = 0x02,
    TooLarge = 0x03,
    Invalid = 0x04,
    NotStored = 0x05,
    NonNumeric = 0x06,
    Refused = 0x20,
    Unknown = 0x81,
    NoMemory = 0x82,
    /// Defined by the protocol; memcached never sends it.
    Busy = 0x86,
}

impl Status {
    pub fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Exists => "Data exists for key.",
            Self::TooLarge => "Too large.",
            Self::Invalid => "Invalid arguments",
            Self::NotStored => "Not stored.",
            Self::NonNumeric => "Non-numeric server-side value for incr or decr",
            Self::Refused => "Auth failure.",
            Self::Unknown => "Unknown command",
            Self::NoMemory => "Out of memory",
            Self::Busy => "Temporary failure",
        }
    }
}

/// State of one running command.
pub(super) struct PacketRun<'a, 'b> {
    pub cx: &'a Cx<'b>,
    pub verbs: Verbs<'a>,
    pub out: &'a mut Output,
    pub head: Head,
    /// Omit replies without information.
    pub quiet: bool,
}

impl<'a, 'b> PacketRun<'a, 'b> {
    #[inline]
    pub fn new(cx: &'a Cx<'b>, head: Head, out: &'a mut Output) -> Self {
        Self { cx, verbs: cx.verbs(), out, head, quiet: is_quiet(head.opcode) }
    }

    /// Appends a reply's header; the caller appends the body.
    #[inline]
    pub fn begin_reply(&mut self, parts: &Parts) {
        let header = self.head.reply(parts);
        if self.cx.verbose() > 1 {
            trace::reply(self.cx.fd, &header);
        }
        self.out.put(&header);
    }

    /// Replies success without a body, unless quiet.
    #[inline]
    pub fn done(&mut self, cas: u64) {
        if !self.quiet {
            self.begin_reply(&Parts { cas, ..Parts::default() });
        }
    }

    /// Appends an error reply with the text of its status.
    pub fn fail(&mut self, status: Status) {
        self.fail_saying(status, status.text());
    }

    /// Appends an error reply, also for quiet commands.
    pub fn fail_saying(&mut self, status: Status, text: &str) {
        if self.cx.verbose() > 1 {
            trace::error(self.cx.fd, text);
        }
        self.begin_reply(&Parts { status: status as u16, body: text.len() as u32, ..Parts::default() });
        self.out.put(text.as_bytes());
    }
}
