//! Bytes of a connection that begins as a text connection, on a server that knows some keys.

use super::{conversation, server};
use oxcached::proto::Protocol;

/// Items that commands may meet: a short value, a number, one that is copied, one that is pinned, one with flags.
pub const ITEMS: &[u8] = b"set a 0 0 5\r\nhello\r\nset n 0 0 2\r\n10\r\nset f 7 100 1\r\nx\r\nset s 0 0 0\r\n\r\n\
    set l 0 0 80\r\n01234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n\
    append l 0 0 20\r\n01234567890123456789\r\n";

/// Runs one input.
pub fn run(input: &[u8]) {
    conversation::check(server::ROOMY, Protocol::Ascii, ITEMS, input);
}
