//! A running text or meta command: its context and its reply.
//!
//! Owns the form of one-line replies and of `-vv` lines. Knows no command. Used by the commands of `text` and `meta`,
//! which share lines.

use super::{Cx, Output};
use crate::cache::{Key, Verbs};
use crate::limits::KEY_MAX;
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

    /// A valid key of the current command; appends the error reply for an over-long one.
    #[inline]
    pub fn key<'k>(&mut self, bytes: &'k [u8], hash: Option<u64>) -> Option<Key<'k>> {
        if bytes.len() > KEY_MAX {
            self.reply(BAD_FORMAT);
            return None;
        }
        match hash {
            Some(hash) => Some(Key::hashed(bytes, hash)),
            None => Key::new(bytes),
        }
    }
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
