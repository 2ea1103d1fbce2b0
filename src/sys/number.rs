//! Floating point numbers by C's rules.
//!
//! Owns one libc call. It must not know where the text came from. Called by `settings` and by the commands that take
//! ratios, which accept whatever `strtod` accepts: hexadecimal floats, `inf`, trailing garbage.
#![allow(unsafe_code)]

use std::ffi::CString;

/// The value that `atof` returns for `text`: that of the longest valid prefix after leading white space, 0.0 when
/// there is none. The text ends at its first NUL.
pub fn atof(text: &[u8]) -> f64 {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    let Ok(text) = CString::new(&text[..end]) else { return 0.0 };
    // SAFETY: the pointer is to a live C string; with a null end pointer the call writes nothing back.
    unsafe { libc::strtod(text.as_ptr(), std::ptr::null_mut()) }
}

#[cfg(test)]
mod tests {
    use super::atof;

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
}
