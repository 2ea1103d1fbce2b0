//! What text and meta commands share: the context and reply of a running one, the refusal of a line, the value after
//! it.
//!
//! Owns the form of one-line replies and of `-vv` lines. Knows no command. Used by `text` and `meta`.

use super::{Cx, Output};
use crate::cache::{Key, Verbs};
use crate::decimal;
use crate::limits::VALUE_LEN_MAX;
use crate::printable::is_printable;

/// Reply to most malformed lines.
pub(super) const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";

/// Reply to a value for which memory ran out while it arrived.
pub(super) const MEMORY_RAN_OUT: &str = "SERVER_ERROR Out of memory during read";
/// Reply to a value without CRLF after it.
pub(super) const BAD_DATA_CHUNK: &str = "CLIENT_ERROR bad data chunk";

/// State of one running command.
pub(super) struct Run<'a, 'b> {
    pub cx: &'a Cx<'b>,
    pub verbs: Verbs<'a>,
    pub out: &'a mut Output,
    /// The client wants no reply.
    pub noreply: bool,
}

impl<'a, 'b> Run<'a, 'b> {
    #[inline]
    pub fn new(cx: &'a Cx<'b>, out: &'a mut Output, noreply: bool) -> Self {
        Self { cx, verbs: cx.verbs(), out, noreply }
    }

    /// Appends a one-line reply, unless `noreply`.
    #[inline]
    pub fn reply(&mut self, line: &str) {
        if self.cx.verbose() > 1 {
            self.log_reply(line);
        }
        if !self.noreply {
            self.out.put(line.as_bytes());
            self.out.put(b"\r\n");
        }
    }

    #[cold]
    fn log_reply(&self, line: &str) {
        let noreply = if self.noreply { "NOREPLY " } else { "" };
        self.log(format_args!(">{} {noreply}{line}\n", self.cx.fd));
    }

    /// Writes a line of `-vv` to standard error.
    #[cold]
    pub fn log(&self, line: std::fmt::Arguments<'_>) {
        crate::sys::stderr::write(line.to_string().as_bytes());
    }

    /// Logs the result of a lookup, for `-vvv`.
    #[cold]
    pub fn log_lookup(&self, key: &Key<'_>, hit: bool) {
        let word = if hit { "FOUND KEY" } else { "NOT FOUND" };
        if is_printable(key.bytes()) {
            self.log(format_args!("> {word} {}\n", String::from_utf8_lossy(key.bytes())));
        } else {
            self.log(format_args!("> {word} {}\n", key.bytes().escape_ascii()));
        }
    }
}

/// A refused line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// The reply, unless `noreply`.
    pub reply: &'static str,
    /// Length of the value that follows and is discarded, with its line end.
    pub unwanted: usize,
    pub noreply: bool,
}

impl BadLine {
    /// A refused line without a value.
    #[inline]
    pub fn new(reply: &'static str) -> Self {
        Self { reply, unwanted: 0, noreply: false }
    }

    /// A refused line that a value of `vlen` bytes follows.
    #[inline]
    pub fn before_value(reply: &'static str, vlen: u32) -> Self {
        Self { unwanted: vlen as usize + 2, ..Self::new(reply) }
    }
}

/// Length of a value; `None` if no value may be that long.
#[inline]
pub(super) fn value_len(token: &[u8]) -> Option<u32> {
    decimal::token_i32(token).and_then(|n| u32::try_from(n).ok()).filter(|&n| n <= VALUE_LEN_MAX)
}

/// The line without its newline and one carriage return before it.
#[inline]
pub(super) fn strip_end(line: &[u8]) -> &[u8] {
    let text = &line[..line.len() - 1];
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// The value of `vlen` bytes at the front of `rest`, and the two bytes after it; `None` if they have not all arrived.
/// The two bytes must be CRLF and are never stored.
#[inline]
pub(super) fn value_and_end(rest: &[u8], vlen: usize) -> Option<(&[u8], [u8; 2])> {
    let end = rest.get(vlen..)?.first_chunk()?;
    Some((&rest[..vlen], *end))
}
