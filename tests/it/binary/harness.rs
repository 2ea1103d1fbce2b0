//! Conversations in packets.

use super::packet::{Packet, all, req, rows};
use crate::support::script::{Conversation, Wire, in_every_cut};
use crate::support::{Client, shared};
use oxcached::proto::CloseReason;

pub type Talk = Conversation<Client>;

impl Wire for Packet {
    fn wire(&self) -> Vec<u8> {
        self.bytes()
    }
}

impl Wire for [Packet] {
    fn wire(&self) -> Vec<u8> {
        all(self)
    }
}

impl<const N: usize> Wire for [Packet; N] {
    fn wire(&self) -> Vec<u8> {
        all(self)
    }
}

impl Wire for Vec<Packet> {
    fn wire(&self) -> Vec<u8> {
        all(self)
    }
}

/// Runs `run` in every cutting, each time with a new server with these options.
#[track_caller]
pub fn talk(args: &str, run: impl Fn(&mut Talk)) {
    in_every_cut(|| Client::new(&shared(args)), run);
}

/// Expects these replies to `bytes` on a new connection, and then its end.
#[track_caller]
pub fn ends(bytes: &[u8], replies: &[Packet], reason: CloseReason) {
    talk("", |talk| {
        talk.expect(bytes, replies);
        talk.expect_end();
        assert_eq!(talk.peer().reason, Some(reason));
    });
}

impl Talk {
    /// Value of a row of `stats`.
    #[track_caller]
    pub fn stat(&mut self, name: &str) -> String {
        let rows = rows(&self.ask(&req(0x10)));
        rows.into_iter().find(|(row, _)| row == name).unwrap().1
    }
}
