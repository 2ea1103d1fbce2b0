//! The front of a request, kept until it is known whether its turn is slow.
//!
//! Owns the copy. Knows no protocol and no clock. `turn_trace` copies the first command of each turn; `latest_records`
//! reads the copy of a slow one.

use crate::limits::KEY_MAX;

/// Bytes that are copied: the header and extras of a packet, or the words of a line, and the longest key.
const RAW_MAX: usize = 46 + KEY_MAX;

/// What the bytes of a run begin with.
#[derive(Clone, Copy, Debug)]
pub(super) enum RunOrigin<'a> {
    /// A request.
    Request(&'a [u8]),
    /// More of the value of a storage command with this word and key.
    Upload(&'static str, &'a [u8]),
    /// Bytes that are discarded, or a password: not to be shown.
    Hidden,
}

/// A copy of the front of a request.
pub(super) struct RawCommand {
    bytes: [u8; RAW_MAX],
    len: usize,
    /// Word of the command if `bytes` holds its key; empty if they hold the request.
    word: &'static str,
}

impl Default for RawCommand {
    fn default() -> Self {
        Self { bytes: [0; RAW_MAX], len: 0, word: "" }
    }
}

impl RawCommand {
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies what `origin` tells of a command.
    #[inline]
    pub fn set(&mut self, origin: RunOrigin<'_>) {
        let (word, from) = match origin {
            RunOrigin::Request(bytes) => ("", bytes),
            RunOrigin::Upload(word, key) => (word, key),
            RunOrigin::Hidden => ("", &[][..]),
        };
        (self.word, self.len) = (word, from.len().min(RAW_MAX));
        self.bytes[..self.len].copy_from_slice(&from[..self.len]);
    }

    /// What has been copied.
    pub fn origin(&self) -> RunOrigin<'_> {
        match (self.len, self.word) {
            (0, _) => RunOrigin::Hidden,
            (len, "") => RunOrigin::Request(&self.bytes[..len]),
            (len, word) => RunOrigin::Upload(word, &self.bytes[..len]),
        }
    }
}
