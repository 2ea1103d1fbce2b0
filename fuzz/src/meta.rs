//! The same as `text`, on a server whose items carry the marks of the meta commands.

use super::{conversation, server};
use oxcached::proto::Protocol;

/// One item of each kind: plain, a number, stale, won, short of time, with a CAS id of the client's choice, with a key in
/// base64.
const ITEMS: &[u8] =
    b"ms a 5 F7\r\nhello\r\nms n 2\r\n10\r\nms w 1\r\nx\r\nmd w I T30\r\nms v 1\r\ny\r\nmd v I T30\r\n\
    mg v\r\nms t 1 T20\r\nz\r\nmg t R30\r\nms c 1 E99\r\nq\r\nms YWI= 2 b\r\nok\r\nmg g N30\r\n";

/// Runs one input.
pub fn run(input: &[u8]) {
    conversation::check(server::ROOMY, Protocol::Ascii, ITEMS, input);
}
