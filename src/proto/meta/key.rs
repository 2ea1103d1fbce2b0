//! Base64 keys.
//!
//! Owns memcached's base64 decoding, which is laxer than the standard: bytes outside the alphabet are skipped, a
//! quantum with padding ends the text, padding may stand anywhere in it. Called by the flag parser and by every
//! command that prints a key.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{self, GeneralPurpose, GeneralPurposeConfig};

/// Ignores the unused bits of the last quantum.
const LAX: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Decodes a base64 key; `None` if it is invalid.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let in_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut text: Vec<u8> = text.iter().copied().filter(in_alphabet).collect();
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let end = text.chunks(4).position(|quantum| quantum.contains(&b'='));
    text.truncate(end.map_or(text.len(), |quantum| quantum * 4 + 4));
    let padding = text.iter().filter(|&&byte| byte == b'=').count();
    if padding > 2 {
        return None;
    }
    text.iter_mut().filter(|byte| **byte == b'=').for_each(|byte| *byte = b'A'); // zero bits
    let mut key = LAX.decode(&text).ok()?;
    key.truncate(key.len() - padding);
    Some(key)
}

/// Appends a key in its client's encoding.
#[inline]
pub(super) fn put_key(out: &mut Vec<u8>, key: &[u8], base64: bool) {
    if base64 {
        out.extend_from_slice(general_purpose::STANDARD.encode(key).as_bytes());
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
            assert_eq!(decode(text).as_deref(), *key, "{}", text.escape_ascii());
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
