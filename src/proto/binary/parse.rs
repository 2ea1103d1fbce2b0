//! Packets: bytes to commands.
//!
//! Owns the opcodes, the layout of each command's packet, and which lengths are refused. Reads bytes and nothing else:
//! no context, no store, no allocation. Keys are valid: 1 to `KEY_MAX` bytes. Called by the session for each packet,
//! and by the lookahead for the packets after it.

use super::header::{Head, REQUEST, SIZE};
use crate::limits::{BODY_MAX, KEY_MAX};
use crate::proto::lookahead::{AheadKeys, Guess};
use crate::store::Mode;

/// The front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum Front<'a> {
    /// Header, extras or key are incomplete.
    Unfinished,
    /// Not a packet.
    Foreign,
    /// A packet; its value may be incomplete.
    Packet(Packet<'a>),
}

/// A packet up to its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) struct Packet<'a> {
    pub head: Head,
    /// Offset of the value; a packet that is refused for its header alone ends with the header.
    pub start: usize,
    pub command: Result<PacketCommand<'a>, BadPacket>,
}

/// The command of a packet. Times are as given: unsigned, unlike in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum PacketCommand<'a> {
    /// Get; with `exptime`, get-and-touch or touch.
    Get {
        key: &'a [u8],
        exptime: Option<u32>,
        shown: Shown,
    },
    /// Set, add, replace, append, prepend. The latter two have neither flags nor time.
    Store {
        key: &'a [u8],
        mode: Mode,
        flags: u32,
        exptime: u32,
    },
    Delete {
        key: &'a [u8],
    },
    /// Increment, decrement; `initial` and `exptime` are those of an item created on a miss.
    Arith {
        key: &'a [u8],
        incr: bool,
        delta: u64,
        initial: u64,
        exptime: u32,
    },
    Quit,
    /// Flush from `exptime` on, 0 = now.
    Flush {
        exptime: u32,
    },
    Noop,
    Version,
    /// Statistics; an empty `report` is the general one.
    Stat {
        report: &'a [u8],
    },
    /// List of SASL mechanisms. Without authentication this command and the next are unknown.
    SaslList,
    /// A message of a login.
    Sasl {
        mechanism: &'a [u8],
    },
    /// Nodes of the cluster, with any lengths. Without `-o cluster_file` it is unknown.
    Config {
        name: &'a [u8],
    },
}

/// What the reply to a hit contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) struct Shown {
    pub key: bool,
    pub value: bool,
}

/// A refused packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum BadPacket {
    /// Extras and key do not fit into the body. Refused as unknown; the connection is closed.
    Unsound,
    /// The body is longer than any may be. Refused as invalid; the connection is closed.
    TooLong,
    /// The key, or another length, is invalid for the command. Refused as invalid; the connection is closed.
    Lengths,
    /// The opcode is no command's. Refused as unknown; its value is discarded.
    Unknown,
}

/// Parses the front of `bytes`.
#[inline]
pub(in crate::proto) fn parse(bytes: &[u8]) -> Front<'_> {
    let Some(header) = bytes.first_chunk::<SIZE>() else { return Front::Unfinished };
    if header[0] != REQUEST {
        return Front::Foreign;
    }
    let head = Head::read(header);
    if let Some(bad) = refusal(&head) {
        return Front::Packet(Packet { head, start: SIZE, command: Err(bad) });
    }
    let Some((extras, key)) = extras_and_key(&head, bytes) else { return Front::Unfinished };
    let command = command(head.opcode, extras, key, head.value());
    Front::Packet(Packet { head, start: SIZE + head.before_value(), command })
}

/// Why the header alone is refused, for every command.
#[inline]
fn refusal(head: &Head) -> Option<BadPacket> {
    if !head.is_sound() {
        Some(BadPacket::Unsound)
    } else if head.body > BODY_MAX {
        Some(BadPacket::TooLong)
    } else if usize::from(head.key) > KEY_MAX {
        Some(BadPacket::Lengths)
    } else {
        None
    }
}

/// Extras and key of the packet at the front; `None` if they are incomplete.
#[inline]
fn extras_and_key<'a>(head: &Head, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    Some(bytes.get(SIZE..SIZE + head.before_value())?.split_at(usize::from(head.extras)))
}

/// Looks at the packet at the front before it is parsed: adds its key to `ahead`. `None` if its key is incomplete or it
/// is refused.
#[inline]
pub(in crate::proto) fn guess(bytes: &[u8], ahead: &mut impl AheadKeys) -> Option<Guess> {
    let header = bytes.first_chunk::<SIZE>().filter(|header| header[0] == REQUEST)?;
    let head = Head::read(header);
    if refusal(&head).is_some() {
        return None;
    }
    let (_, key) = extras_and_key(&head, bytes)?;
    Some(Guess { hash: ahead.add(key), len: head.whole() })
}

/// Whether packets of `opcode` are accepted before a login: version, and the login itself.
pub(super) fn needs_no_login(opcode: u8) -> bool {
    matches!(opcode, 0x0b | 0x20..=0x22)
}

/// Whether packets of `opcode` are quiet: they omit replies without information.
#[inline]
pub(super) fn is_quiet(opcode: u8) -> bool {
    matches!(opcode, 0x09 | 0x0d | 0x11..=0x1a | 0x1e | 0x24)
}

/// What the reply to a hit contains, for each kind of get.
#[inline]
pub(super) fn shown(opcode: u8) -> Shown {
    Shown { key: matches!(opcode, 0x0c | 0x0d | 0x23 | 0x24), value: opcode != 0x1c }
}

/// The command of `opcode` with its `extras`, `key`, and a value of `value` bytes.
#[inline]
fn command<'a>(opcode: u8, extras: &[u8], key: &'a [u8], value: usize) -> Result<PacketCommand<'a>, BadPacket> {
    let (keyed, bare, no_value) = (!key.is_empty(), extras.is_empty(), value == 0);
    let get = |exptime| keyed.then_some(PacketCommand::Get { key, exptime, shown: shown(opcode) });
    let store = |mode| {
        let (flags, exptime) = extras.split_at_checked(4)?;
        let (flags, exptime) = (number(flags)?, number(exptime)?);
        keyed.then_some(PacketCommand::Store { key, mode, flags, exptime })
    };
    let join = |mode| (keyed && bare).then_some(PacketCommand::Store { key, mode, flags: 0, exptime: 0 });
    let arith = |incr| {
        let (delta, rest) = extras.split_first_chunk()?;
        let (initial, exptime) = rest.split_first_chunk()?;
        let (delta, initial) = (u64::from_be_bytes(*delta), u64::from_be_bytes(*initial));
        let exptime = number(exptime)?;
        (keyed && no_value).then_some(PacketCommand::Arith { key, incr, delta, initial, exptime })
    };
    let alone = |command| (bare && !keyed && no_value).then_some(command);
    match opcode {
        0x00 | 0x09 | 0x0c | 0x0d => get(None).filter(|_| bare && no_value),
        0x1c..=0x1e | 0x23 | 0x24 => number(extras).and_then(|exptime| get(Some(exptime))),
        0x01 | 0x11 => store(Mode::Set),
        0x02 | 0x12 => store(Mode::Add),
        0x03 | 0x13 => store(Mode::Replace),
        0x0e | 0x19 => join(Mode::Append),
        0x0f | 0x1a => join(Mode::Prepend),
        0x04 | 0x14 => (keyed && bare && no_value).then_some(PacketCommand::Delete { key }),
        0x05 | 0x15 => arith(true),
        0x06 | 0x16 => arith(false),
        0x07 | 0x17 => alone(PacketCommand::Quit),
        0x08 | 0x18 => {
            let exptime = if bare { Some(0) } else { number(extras) };
            exptime.filter(|_| !keyed && no_value).map(|exptime| PacketCommand::Flush { exptime })
        }
        0x0a => alone(PacketCommand::Noop),
        0x0b => alone(PacketCommand::Version),
        0x10 => bare.then_some(PacketCommand::Stat { report: key }),
        0x20 => alone(PacketCommand::SaslList),
        0x60..=0x63 => Some(PacketCommand::Config { name: key }),
        0x21 | 0x22 => (keyed && bare).then_some(PacketCommand::Sasl { mechanism: key }),
        _ => return Err(BadPacket::Unknown),
    }
    .ok_or(BadPacket::Lengths)
}

/// A number of exactly four bytes.
#[inline]
fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::lookahead::tests::Keys;

    /// A packet of `opcode`: extras, key, and a value of `value` bytes that has not arrived.
    fn packet(opcode: u8, extras: &[u8], key: &[u8], value: usize) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        (bytes[0], bytes[1], bytes[4]) = (REQUEST, opcode, extras.len() as u8);
        bytes[2..4].copy_from_slice(&(key.len() as u16).to_be_bytes());
        bytes[8..12].copy_from_slice(&((extras.len() + key.len() + value) as u32).to_be_bytes());
        [&bytes, extras, key].concat()
    }

    fn parsed(bytes: &[u8]) -> Result<PacketCommand<'_>, BadPacket> {
        let Front::Packet(packet) = parse(bytes) else { panic!("no packet: {bytes:?}") };
        packet.command
    }

    const EXTRAS: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3];

    #[test]
    fn packets_parse_to_commands_or_refusals() {
        let (key, lengths) = (&b"k"[..], Err(BadPacket::Lengths));
        let shown = |key, value| Shown { key, value };
        let store = |mode, flags, exptime| Ok(PacketCommand::Store { key, mode, flags, exptime });
        let arith = |incr| Ok(PacketCommand::Arith { key, incr, delta: 1, initial: 2, exptime: 3 });
        let long = [b'k'; KEY_MAX + 1];
        for (opcode, extras, name, value, expected) in [
            (0x00, 0..0, key, 0, Ok(PacketCommand::Get { key, exptime: None, shown: shown(false, true) })),
            (0x0d, 0..0, key, 0, Ok(PacketCommand::Get { key, exptime: None, shown: shown(true, true) })),
            (0x1c, 16..20, key, 9, Ok(PacketCommand::Get { key, exptime: Some(3), shown: shown(false, false) })),
            (0x00, 0..0, b"", 0, lengths),
            (0x00, 0..0, key, 1, lengths),
            (0x00, 0..4, key, 0, lengths),
            (0x1c, 0..0, key, 0, lengths),
            (0x00, 0..0, &long[..], 0, lengths),
            (0x01, 12..20, key, 5, store(Mode::Set, 2, 3)),
            (0x12, 12..20, key, 0, store(Mode::Add, 2, 3)),
            (0x01, 0..4, key, 5, lengths),
            (0x01, 0..9, key, 5, lengths),
            (0x0e, 0..0, key, 5, store(Mode::Append, 0, 0)),
            (0x0e, 0..8, key, 5, lengths),
            (0x04, 0..0, key, 0, Ok(PacketCommand::Delete { key })),
            (0x04, 0..0, key, 1, lengths),
            (0x05, 0..20, key, 0, arith(true)),
            (0x16, 0..20, key, 0, arith(false)),
            (0x05, 0..19, key, 0, lengths),
            (0x05, 0..20, key, 1, lengths),
            (0x07, 0..0, b"", 0, Ok(PacketCommand::Quit)),
            (0x08, 0..0, b"", 0, Ok(PacketCommand::Flush { exptime: 0 })),
            (0x08, 16..20, b"", 0, Ok(PacketCommand::Flush { exptime: 3 })),
            (0x08, 0..8, b"", 0, lengths),
            (0x0a, 0..0, b"", 0, Ok(PacketCommand::Noop)),
            (0x0a, 0..0, key, 0, lengths),
            (0x0b, 0..0, b"", 0, Ok(PacketCommand::Version)),
            (0x10, 0..0, b"", 0, Ok(PacketCommand::Stat { report: b"" })),
            (0x10, 0..0, key, 7, Ok(PacketCommand::Stat { report: key })),
            (0x20, 0..0, b"", 0, Ok(PacketCommand::SaslList)),
            (0x21, 0..0, key, 7, Ok(PacketCommand::Sasl { mechanism: key })),
            (0x22, 0..0, b"", 7, lengths),
            (0x60, 0..0, key, 0, Ok(PacketCommand::Config { name: key })),
            (0x63, 0..4, b"", 7, Ok(PacketCommand::Config { name: b"" })),
            (0x64, 0..8, key, 7, Err(BadPacket::Unknown)),
            (0x1b, 0..0, key, 7, Err(BadPacket::Unknown)),
        ] {
            let bytes = packet(opcode, &EXTRAS[extras.clone()], name, value);
            assert_eq!(parsed(&bytes), expected, "{opcode:02x} {extras:?} {value}");
        }
    }

    #[test]
    fn a_header_alone_may_refuse_its_packet() {
        let header = |key: u16, extras: u8, body: u32| {
            let mut bytes = packet(0x0a, b"", b"", 0);
            bytes[2..4].copy_from_slice(&key.to_be_bytes());
            bytes[4] = extras;
            bytes[8..12].copy_from_slice(&body.to_be_bytes());
            bytes
        };
        assert_eq!(parsed(&header(2, 8, 9)), Err(BadPacket::Unsound));
        assert_eq!(parsed(&header(0, 0, BODY_MAX + 1)), Err(BadPacket::TooLong));
        assert_eq!(parsed(&header(KEY_MAX as u16 + 1, 0, 1000)), Err(BadPacket::Lengths));
        for bytes in [header(2, 8, 9), header(0, 0, BODY_MAX + 1), header(KEY_MAX as u16 + 1, 0, 1000)] {
            assert_eq!(guess(&bytes, &mut Keys::default()), None);
        }
        assert_eq!(parse(b"get k\r\nget k\r\nget k\r\nget k\r\n"), Front::Foreign);
    }

    #[test]
    fn a_cut_packet_is_unfinished_until_its_key_is_there() {
        let whole = packet(0x11, &EXTRAS[..8], b"key", 100);
        for end in 0..whole.len() {
            let guessed = guess(&whole[..end], &mut Keys::default());
            assert_eq!((parse(&whole[..end]), guessed), (Front::Unfinished, None), "{end}");
        }
        let Front::Packet(packet) = parse(&whole) else { panic!("unfinished") };
        assert!(packet.command.is_ok() && is_quiet(packet.head.opcode) && !is_quiet(0x01));
        assert_eq!((packet.start, packet.head.value()), (whole.len(), 100));
        let mut keys = Keys::default();
        assert_eq!(guess(&whole, &mut keys), Some(Guess { hash: Some(0), len: whole.len() + 100 }));
        assert_eq!(keys.0, ["key"]);
        assert_eq!(parse(&[&whole[..], b"more"].concat()), Front::Packet(packet));
    }

    #[test]
    fn a_command_is_small() {
        assert!(size_of::<Result<PacketCommand<'_>, BadPacket>>() <= 48);
    }
}
