//! Which keys may stand in a line as they are.
//!
//! Owns the rule. A key that comes by packet or in base64 may hold any bytes; one with a space or a line end in it would
//! forge words or lines of what shows it. Called by everything that writes keys into lines.

/// Whether `key` has neither spaces nor control characters.
#[inline]
pub fn is_printable(key: &[u8]) -> bool {
    !key.iter().any(|byte| *byte <= b' ' || *byte == 0x7f)
}

/// Whether `key` has no white space: a line with it still has the words that it should have. Told to the client that gave
/// the key, other control characters do no harm.
#[inline]
pub fn is_one_word(key: &[u8]) -> bool {
    !key.iter().any(|byte| matches!(byte, b' ' | b'\t'..=b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_splits_words_or_lines_is_not_printable() {
        for key in [&b"a"[..], b"a:%~\\", b"\xc3\xa4\xff\x80"] {
            assert!(is_printable(key) && is_one_word(key), "{}", key.escape_ascii());
        }
        for key in [&b"a b"[..], b"\n", b"a\r", b"\0a", b"a\tb", b"\x0b", b"\x1b[2J", b"\x7f"] {
            assert!(!is_printable(key), "{}", key.escape_ascii());
        }
        for key in [&b"a b"[..], b"\n", b"a\r", b"a\tb", b"\x0b"] {
            assert!(!is_one_word(key), "{}", key.escape_ascii());
        }
        assert!(is_one_word(b"\0\x01\x1b\x7f"));
    }
}
