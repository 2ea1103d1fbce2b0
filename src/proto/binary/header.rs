//! The 24-byte packet header.
//!
//! Owns its layout in both directions; knows no command. Called by the rest of the binary protocol.
//!
//! ```text
//!   0 magic u8 | opcode u8 | key length u16 | extras length u8 | data type u8 | vbucket u16, or status
//!   8 body length u32 | opaque u32
//!  16 CAS id u64                            all numbers big endian; body = extras, key, value
//! ```

/// Header length.
pub const SIZE: usize = 24;

/// First byte of a request.
pub const REQUEST: u8 = 0x80;

/// First byte of a reply.
const RESPONSE: u8 = 0x81;

/// Request header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Opcode, valid or not.
    pub opcode: u8,
    /// Extras length.
    pub extras: u8,
    /// Key length.
    pub key: u16,
    /// Length of extras, key and value.
    pub body: u32,
    /// Opaque value, echoed in the reply.
    pub opaque: [u8; 4],
    /// CAS id.
    pub cas: u64,
}

impl Head {
    /// Parses a header; does not check its first byte.
    #[inline]
    pub fn read(bytes: &[u8; SIZE]) -> Self {
        let [_, opcode, key0, key1, extras, _, _, _, b0, b1, b2, b3, o0, o1, o2, o3, cas @ ..] = *bytes;
        Self {
            opcode,
            extras,
            key: u16::from_be_bytes([key0, key1]),
            body: u32::from_be_bytes([b0, b1, b2, b3]),
            opaque: [o0, o1, o2, o3],
            cas: u64::from_be_bytes(cas),
        }
    }

    /// What a reply echoes of a header; the rest is empty.
    pub fn echo(opcode: u8, opaque: [u8; 4]) -> Self {
        Self { opcode, extras: 0, key: 0, body: 0, opaque, cas: 0 }
    }

    /// Length of extras and key.
    #[inline]
    pub fn before_value(&self) -> usize {
        usize::from(self.extras) + usize::from(self.key)
    }

    /// Length of the whole packet.
    #[inline]
    pub fn whole(&self) -> usize {
        SIZE + self.body as usize
    }

    /// Whether extras and key lie within the body.
    #[inline]
    pub fn is_sound(&self) -> bool {
        self.before_value() <= self.body as usize
    }

    /// Length of the value. Requires [`Head::is_sound`].
    #[inline]
    pub fn value(&self) -> usize {
        (self.body as usize).saturating_sub(self.before_value())
    }

    /// Encodes the header of a reply to this request.
    #[inline]
    pub fn reply(&self, parts: &Parts) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[0] = RESPONSE;
        bytes[1] = self.opcode;
        bytes[2..4].copy_from_slice(&parts.key.to_be_bytes());
        bytes[4] = parts.extras;
        bytes[6..8].copy_from_slice(&parts.status.to_be_bytes());
        bytes[8..12].copy_from_slice(&parts.body.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.opaque);
        bytes[16..].copy_from_slice(&parts.cas.to_be_bytes());
        bytes
    }
}

/// Fields of a reply's header that are not echoed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    /// Status; 0 = success.
    pub status: u16,
    /// Extras length.
    pub extras: u8,
    /// Key length.
    pub key: u16,
    /// Length of extras, key and value.
    pub body: u32,
    /// CAS id of the item; 0 in error replies.
    pub cas: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_big_endian() {
        let mut bytes: [u8; SIZE] = std::array::from_fn(|n| n as u8);
        let head = Head::read(&bytes);
        assert_eq!((head.opcode, head.key, head.extras, head.body), (1, 0x0203, 4, 0x0809_0a0b));
        assert_eq!((head.opaque, head.cas), ([12, 13, 14, 15], 0x1011_1213_1415_1617));
        let parts = Parts { status: 0x0607, extras: 4, key: 0x0203, body: 0x0809_0a0b, cas: head.cas };
        (bytes[0], bytes[5]) = (RESPONSE, 0);
        assert_eq!(head.reply(&parts), bytes);
    }

    #[test]
    fn headers_with_inconsistent_lengths_are_unsound() {
        let head = Head { opcode: 0, extras: 8, key: 2, body: 9, opaque: [0; 4], cas: 0 };
        assert!(!head.is_sound() && head.value() == 0);
        let head = Head { body: 12, ..head };
        assert!(head.is_sound() && head.value() == 2);
    }
}
