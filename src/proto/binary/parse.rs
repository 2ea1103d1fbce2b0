//! Packets: where they end, and which commands they are.
//!
//! Owns the opcodes, and which lengths each command allows. Reads bytes alone. Called by the session and by the
//! commands of the binary protocol.

use super::header::{Head, REQUEST, SIZE};
use crate::limits::{BODY_MAX, KEY_MAX};
use crate::store::Mode;

/// Variant of get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GetVariant {
    /// Sets the expiry time of the extras on a hit.
    pub touch: bool,
    /// The reply contains the key.
    pub key: bool,
    /// The reply contains the value.
    pub value: bool,
}

/// A command, quiet or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Get(GetVariant),
    Store(Mode),
    /// Append or prepend.
    Join(Mode),
    Delete,
    Arith {
        incr: bool,
    },
    Quit,
    Flush,
    Noop,
    Version,
    Stat,
    /// Authentication: handled by `sasl` if enabled, otherwise refused as unknown.
    SaslList,
    Sasl,
}

/// Command of an opcode, and whether it is quiet.
#[inline]
pub(super) fn decode(opcode: u8) -> Option<(Op, bool)> {
    let get = |touch, key, value| Op::Get(GetVariant { touch, key, value });
    Some(match opcode {
        0x00 => (get(false, false, true), false),
        0x09 => (get(false, false, true), true),
        0x0c => (get(false, true, true), false),
        0x0d => (get(false, true, true), true),
        0x1c => (get(true, false, false), false),
        0x1d => (get(true, false, true), false),
        0x1e => (get(true, false, true), true),
        0x23 => (get(true, true, true), false),
        0x24 => (get(true, true, true), true),
        0x01 => (Op::Store(Mode::Set), false),
        0x11 => (Op::Store(Mode::Set), true),
        0x02 => (Op::Store(Mode::Add), false),
        0x12 => (Op::Store(Mode::Add), true),
        0x03 => (Op::Store(Mode::Replace), false),
        0x13 => (Op::Store(Mode::Replace), true),
        0x0e => (Op::Join(Mode::Append), false),
        0x19 => (Op::Join(Mode::Append), true),
        0x0f => (Op::Join(Mode::Prepend), false),
        0x1a => (Op::Join(Mode::Prepend), true),
        0x04 => (Op::Delete, false),
        0x14 => (Op::Delete, true),
        0x05 => (Op::Arith { incr: true }, false),
        0x15 => (Op::Arith { incr: true }, true),
        0x06 => (Op::Arith { incr: false }, false),
        0x16 => (Op::Arith { incr: false }, true),
        0x07 => (Op::Quit, false),
        0x17 => (Op::Quit, true),
        0x08 => (Op::Flush, false),
        0x18 => (Op::Flush, true),
        0x0a => (Op::Noop, false),
        0x0b => (Op::Version, false),
        0x10 => (Op::Stat, false),
        0x20 => (Op::SaslList, false),
        0x21 | 0x22 => (Op::Sasl, false),
        _ => return None,
    })
}

impl Op {
    /// Whether a packet's lengths are valid for the command.
    #[inline]
    pub fn fits(self, head: &Head) -> bool {
        let (extras, key, value) = (head.extras, head.key > 0, head.value() > 0);
        match self {
            Self::Get(kind) if kind.touch => extras == 4 && key,
            Self::Get(_) | Self::Delete => extras == 0 && key && !value,
            Self::Store(_) => extras == 8 && key,
            Self::Join(_) => extras == 0 && key,
            Self::Arith { .. } => extras == 20 && key && !value,
            Self::Quit | Self::Noop | Self::Version | Self::SaslList => extras == 0 && !key && !value,
            Self::Flush => (extras == 0 || extras == 4) && !key && !value,
            Self::Stat => extras == 0,
            Self::Sasl => extras == 0 && key,
        }
    }
}

/// Result of parsing the front of the input.
pub(in crate::proto) enum Front {
    /// Header, extras or key are incomplete.
    Unfinished,
    /// Not a packet.
    Foreign,
    /// A complete header; extras and key are complete too unless the header alone is refused.
    Packet(Head),
}

/// Parses the front of `bytes`.
#[inline]
pub(in crate::proto) fn front(bytes: &[u8]) -> Front {
    let Some(header) = bytes.first_chunk::<SIZE>() else { return Front::Unfinished };
    if header[0] != REQUEST {
        return Front::Foreign;
    }
    let head = Head::read(header);
    // A packet refused for its header alone needs no more bytes.
    if !is_refused(&head) && bytes.len() < SIZE + head.before_value() {
        return Front::Unfinished;
    }
    Front::Packet(head)
}

/// Whether the header alone is refused, for every command.
#[inline]
pub(super) fn is_refused(head: &Head) -> bool {
    !head.is_sound() || head.body > BODY_MAX || usize::from(head.key) > KEY_MAX
}

/// Length of the packet at the front, and its key. `None` if its key is incomplete or it is refused.
pub(in crate::proto) fn guess(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let Front::Packet(head) = front(bytes) else { return None };
    if is_refused(&head) {
        return None;
    }
    let key = &bytes[SIZE + usize::from(head.extras)..SIZE + head.before_value()];
    Some((SIZE + head.body as usize, key))
}
