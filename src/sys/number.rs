//! Floating point numbers by C's rules.
//!
//! Owns one libc call. It must not know where the text came from. Called by `settings` and by the commands that take
//! ratios. Both accept the numbers of `strtod`, hexadecimal ones and `inf` among them; commands ignore what follows.
#![allow(unsafe_code)]

use std::ffi::CString;

/// The value that `atof` returns for `text`: that of the longest valid prefix after leading white space, 0.0 when
/// there is none. The text ends at its first NUL.
pub fn atof(text: &[u8]) -> f64 {
    prefix(text).0
}

/// The number that `text` is, with white space around it at most.
pub fn float(text: &[u8]) -> Option<f64> {
    let (number, length) = prefix(text);
    (length > 0 && text[length..].trim_ascii().is_empty()).then_some(number)
}

/// The number in front of `text`, and its length with the white space before it; 0 when there is none.
fn prefix(text: &[u8]) -> (f64, usize) {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    let Ok(text) = CString::new(&text[..end]) else { return (0.0, 0) };
    let mut rest = std::ptr::null_mut();
    // SAFETY: the pointer is to a live C string. The call sets `rest` to a place in it, at its final NUL at most.
    let number = unsafe { libc::strtod(text.as_ptr(), &raw mut rest) };
    (number, rest.addr() - text.as_ptr().addr())
}

#[cfg(test)]
mod tests {
    use super::{atof, float};

    #[test]
    fn prefixes_count() {
        for (text, value) in
            [("1.5", 1.5), (" 2x", 2.0), ("x", 0.0), ("", 0.0), ("0x10", 16.0), ("1e2z", 100.0), ("-.5", -0.5)]
        {
            assert_eq!(atof(text.as_bytes()), value, "{text}");
        }
        assert!(atof(b"nan").is_nan());
        assert!(atof(b"inf").is_infinite());
        assert_eq!(atof(b"1\x005"), 1.0);
    }

    #[test]
    fn nothing_may_follow() {
        for (text, value) in [("1.5", Some(1.5)), (" 2 ", Some(2.0)), ("0x10", Some(16.0)), ("1e2", Some(100.0))] {
            assert_eq!(float(text.as_bytes()), value, "{text}");
        }
        for text in ["", " ", "x", "2x", "1,5", "1.5 2", "1\0", "1\x005"] {
            assert_eq!(float(text.as_bytes()), None, "{text}");
        }
    }
}
