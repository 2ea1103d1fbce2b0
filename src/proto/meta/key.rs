//! Base64 keys.
//!
//! Owns memcached's base64 decoding, which is laxer than the standard: bytes outside the alphabet are skipped; a group
//! of four characters with padding ends the text, and the padding may stand anywhere in it. Allocates only to print a
//! key. Called by the parser, the dispatcher, and every command that prints a key.

use crate::limits::KEY_MAX;
use crate::sys::spare::Spare;
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

/// Not a character of the alphabet.
const FOREIGN: u8 = 64;

/// Six bits of each character. Padding counts as zero bits.
static SEXTETS: [u8; 256] = {
    let mut sextets = [FOREIGN; 256];
    let mut bits = 0;
    while bits < 64 {
        sextets[b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[bits] as usize] = bits as u8;
        bits += 1;
    }
    sextets[b'=' as usize] = 0;
    sextets
};

/// Whether a base64 key of at most `KEY_MAX` bytes is valid.
pub(super) fn is_valid(text: &[u8]) -> bool {
    let text = text.get(..KEY_MAX).unwrap_or(text);
    let count = text.iter().filter(|&&byte| SEXTETS[usize::from(byte)] != FOREIGN).count();
    count > 0 && count % 4 == 0 && padding(text) <= 2
}

/// Padding characters in the first group of four that has one.
fn padding(text: &[u8]) -> usize {
    let Some(first) = memchr::memchr(b'=', text) else { return 0 };
    let before = text[..first].iter().filter(|&&byte| SEXTETS[usize::from(byte)] != FOREIGN).count();
    let group = text[first..].iter().filter(|&&byte| SEXTETS[usize::from(byte)] != FOREIGN).take(4 - before % 4);
    group.filter(|&&byte| byte == b'=').count()
}

/// Decodes a base64 key of at most `KEY_MAX` bytes; `None` if it is invalid.
pub(in crate::proto) fn decode(text: &[u8]) -> Option<DecodedKey> {
    let mut key = DecodedKey { buf: [0; KEY_MAX], len: 0 };
    let (mut count, mut bits, mut padding, mut ended) = (0, 0, 0, false);
    for &byte in text.get(..KEY_MAX).unwrap_or(text) {
        let sextet = SEXTETS[usize::from(byte)];
        if sextet == FOREIGN {
            continue;
        }
        count += 1;
        if ended {
            continue;
        }
        bits = bits << 6 | u32::from(sextet);
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
pub(super) fn put_key(out: &mut Spare<'_>, key: &[u8], base64: bool) {
    if base64 {
        out.put(STANDARD.encode(key).as_bytes());
    } else {
        out.put(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::spare;

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
            assert_eq!(is_valid(text), key.is_some(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn shows_what_it_read() {
        let mut out = Vec::new();
        spare::append(&mut out, 8, |out| {
            put_key(out, b"\0\xff", true);
            put_key(out, b"\0\xff", false);
        });
        assert_eq!(out, b"AP8=\0\xff");
    }
}
