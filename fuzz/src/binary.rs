//! Packets. The parts of the input, between borders, are packets whose announced length is set right, so that a change of
//! their insides leaves them packets; a part that begins with a zero byte is sent as it is behind that byte.

use super::text::ITEMS;
use super::{conversation, parts, server};
use oxcached::proto::Protocol;

/// Runs one input.
pub fn run(input: &[u8]) {
    let mut sent = Vec::with_capacity(input.len());
    for part in parts(input) {
        match part.split_first() {
            Some((0, raw)) => sent.extend_from_slice(raw),
            _ if part.len() < 24 => sent.extend_from_slice(part),
            _ => {
                let from = sent.len();
                sent.extend_from_slice(part);
                sent[from + 8..from + 12].copy_from_slice(&(part.len() as u32 - 24).to_be_bytes());
            }
        }
    }
    conversation::check(server::ROOMY, Protocol::Binary, ITEMS, &sent);
}
