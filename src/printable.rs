//! Which keys may be written into a line unescaped, and how others are.
//!
//! Owns both rules. A binary or base64 key may hold any bytes; a space or line end in it would forge words or lines of
//! the output. Called by everything that writes keys into lines.

/// Whether `key` has neither spaces nor control characters.
#[inline]
pub fn is_printable(key: &[u8]) -> bool {
    !key.iter().any(|byte| *byte <= b' ' || *byte == 0x7f)
}

/// A key, with every byte but letters, digits and `-._~` as `%XX`.
pub struct PercentEncoded<'a>(pub &'a [u8]);

impl std::fmt::Display for PercentEncoded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|&byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                write!(f, "{}", char::from(byte))
            } else {
                write!(f, "%{byte:02X}")
            }
        })
    }
}

/// Whether `key` has no space and no line end, so that a line with it keeps its words. Enough for replies to the client
/// that sent the key: other control characters, a tab among them, may stand in keys of the text protocol too.
#[inline]
pub fn is_one_word(key: &[u8]) -> bool {
    !key.iter().any(|byte| matches!(byte, b' ' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_split_words_or_lines_are_not_printable() {
        for key in [&b"a"[..], b"a:%~\\", b"\xc3\xa4\xff\x80"] {
            assert!(is_printable(key) && is_one_word(key), "{}", key.escape_ascii());
        }
        for key in [&b"a b"[..], b"\n", b"a\r", b"\0a", b"a\tb", b"\x0b", b"\x1b[2J", b"\x7f"] {
            assert!(!is_printable(key), "{}", key.escape_ascii());
        }
        for key in [&b"a b"[..], b"\n", b"a\r"] {
            assert!(!is_one_word(key), "{}", key.escape_ascii());
        }
        assert!(is_one_word(b"\0\x01\x1b\x7f\t\x0b"));
    }
}
