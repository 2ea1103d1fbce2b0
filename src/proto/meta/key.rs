//! Base64 keys.
//!
//! Owns memcached's base64 decoding, which is laxer than the standard: bytes outside the alphabet are skipped; a group
//! of four characters with padding ends the text, and the padding may stand anywhere in it. Allocates only to print a
//! key. Called by the parser, the dispatcher, and every command that prints a key.

use crate::limits::KEY_MAX;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A decoded key.
pub(in crate::proto) struct DecodedKey {
    buf: [u8; KEY_MAX],
    len: usize,
}

impl DecodedKey {
    pub fn bytes(&self) -> &[u8] {
        &self.buf[..self.len]
    }
}

/// Six bits of a character; `None` outside the alphabet. Padding counts as zero bits.
fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        b'=' => 0,
        _ => return None,
    }))
}

/// Decodes a base64 key of at most `KEY_MAX` bytes; `None` if it is invalid.
pub(in crate::proto) fn decode(text: &[u8]) -> Option<DecodedKey> {
    let mut key = DecodedKey { buf: [0; KEY_MAX], len: 0 };
    let (mut count, mut bits, mut padding, mut ended) = (0, 0, 0, false);
    for &byte in text.get(..KEY_MAX).unwrap_or(text) {
        let Some(sextet) = sextet(byte) else { continue };
        count += 1;
        if ended {
            continue;
        }
        bits = bits << 6 | sextet;
        padding += usize::from(byte == b'=');
        if count % 4 == 0 {
            // The lower 24 bits are those of this group of four.
            key.buf[key.len..key.len + 3].copy_from_slice(&bits.to_be_bytes()[1..]);
            key.len += 3;
            ended = padding > 0;
        }
    }
    if count == 0 || count % 4 != 0 || padding > 2 {
        return None;
    }
    key.len -= padding;
    Some(key)
}

/// Appends a key in its client's encoding.
#[inline]
pub(super) fn put_key(out: &mut Vec<u8>, key: &[u8], base64: bool) {
    if base64 {
        out.extend_from_slice(STANDARD.encode(key).as_bytes());
    } else {
        out.extend_from_slice(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_memcached_reads() {
        let cases: &[(&[u8], Option<&[u8]>)] = &[
            (b"Zm9v", Some(b"foo")),
            (b"YWI=", Some(b"ab")),
            (b"YQ==", Some(b"a")),
            (b"YR==", Some(b"a")),
            (b"YQ", None),
            (b"YQ=", None),
            (b"Y!Q\xff=_=", Some(b"a")),
            (b"YQ==YQ==", Some(b"a")),
            (b"Zm9vYQ==Zm9v", Some(b"fooa")),
            (b"=AAA", Some(b"\0\0")),
            (b"A=A=", Some(b"\0")),
            (b"====", None),
            (b"A===", None),
            (b"___", None),
            (b"", None),
        ];
        for (text, key) in cases {
            assert_eq!(decode(text).as_ref().map(DecodedKey::bytes), *key, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn shows_what_it_read() {
        let mut out = Vec::new();
        put_key(&mut out, b"\0\xff", true);
        put_key(&mut out, b"\0\xff", false);
        assert_eq!(out, b"AP8=\0\xff");
    }
}
