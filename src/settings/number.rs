//! Integers by C's rules.
//!
//! Owns the text-to-integer conversions of the options: saturating ones, where memcached uses `atoi`, octal modes, and
//! 32-bit ones. Only white space may follow the digits, and no number wraps. Must not know which option a text belongs
//! to. Called by the option table.

/// `isspace` in the C locale.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Result of scanning a number.
struct Scan {
    /// A minus sign came first.
    negative: bool,
    /// The digits, saturated far above any 64-bit bound.
    magnitude: u128,
    /// Index just after the last digit; `None` when there was no digit.
    end: Option<usize>,
}

fn scan(text: &[u8], radix: u32) -> Scan {
    let mut at = text.iter().take_while(|&&byte| is_space(byte)).count();
    let sign = text.get(at).copied().filter(|byte| matches!(byte, b'+' | b'-'));
    at += usize::from(sign.is_some());
    let first = at;
    let mut magnitude = 0_u128;
    while let Some(digit) = text.get(at).and_then(|&byte| char::from(byte).to_digit(radix)) {
        magnitude = (magnitude * u128::from(radix) + u128::from(digit)).min(1 << 100);
        at += 1;
    }
    Scan { negative: sign == Some(b'-'), magnitude, end: (at > first).then_some(at) }
}

impl Scan {
    /// The value as a C `int`; `None` if out of range.
    fn int(&self) -> Option<i32> {
        let magnitude = self.magnitude.cast_signed(); // at most 2^100
        i32::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }

    /// Whether there is a number, with nothing but white space behind it.
    fn ends_cleanly(&self, text: &[u8]) -> bool {
        self.end.is_some_and(|end| text[end..].iter().all(|&byte| is_space(byte)))
    }
}

/// A whole number. One beyond an `int` gives the nearest `int`, where C's `atoi` truncates it to 32 bits.
pub(super) fn integer(text: &[u8]) -> Option<i32> {
    let scan = scan(text, 10);
    let nearest = if scan.negative { i32::MIN } else { i32::MAX };
    scan.ends_cleanly(text).then(|| scan.int().unwrap_or(nearest))
}

/// Whether `atoi` finds digits in front.
pub(super) fn begins_with_digits(text: &[u8]) -> bool {
    scan(text, 10).end.is_some()
}

/// The permissions of a file: octal digits only.
pub(super) fn mode(text: &[u8]) -> Option<u32> {
    let scan = scan(text, 8);
    let mode = u32::try_from(scan.magnitude).ok().filter(|mode| *mode <= 0o777);
    mode.filter(|_| !scan.negative && scan.ends_cleanly(text))
}

/// A signed 32-bit number.
pub(super) fn strict_i32(text: &[u8]) -> Option<i32> {
    let scan = scan(text, 10);
    scan.int().filter(|_| scan.ends_cleanly(text))
}

/// An unsigned 32-bit number.
pub(super) fn strict_u32(text: &[u8]) -> Option<u32> {
    let scan = scan(text, 10);
    let value = u32::try_from(scan.magnitude).ok().filter(|value| !scan.negative || *value == 0);
    value.filter(|_| scan.ends_cleanly(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_saturate_and_want_an_end() {
        for (text, value) in [
            (" \t-7 ", -7),
            ("+3", 3),
            ("007", 7),
            ("2147483647", i32::MAX),
            ("2147483648", i32::MAX),
            ("4294967297", i32::MAX),
            ("99999999999999999999", i32::MAX),
            ("-2147483649", i32::MIN),
            ("-99999999999999999999", i32::MIN),
        ] {
            assert_eq!(integer(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "x", "--3", "-", " ", "k1"] {
            assert_eq!((integer(text.as_bytes()), begins_with_digits(text.as_bytes())), (None, false), "{text}");
        }
        for text in ["100k", "0x10", "1,2", "1.5", "12 13", "-4z"] {
            assert_eq!((integer(text.as_bytes()), begins_with_digits(text.as_bytes())), (None, true), "{text}");
        }
    }

    #[test]
    fn modes_are_octal() {
        for (text, value) in [("770", Some(0o770)), ("0700", Some(0o700)), ("0", Some(0)), ("777", Some(0o777))] {
            assert_eq!(mode(text.as_bytes()), value, "{text}");
        }
        for text in
            ["", "x", "78", "999", "0x1", "-1", "1000", "2770", "rwx", "37777777777", "77777777777777777777777777777"]
        {
            assert_eq!(mode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn strict_forms_want_an_end() {
        for (text, value) in [
            ("12", Some(12)),
            ("12 ", Some(12)),
            ("12 z", None),
            ("12z", None),
            ("", None),
            ("-1", Some(-1)),
            ("4294967296", None),
        ] {
            assert_eq!(strict_i32(text.as_bytes()), value, "{text}");
        }
        assert_eq!(strict_i32(b"9223372036854775808"), None);
        for (text, value) in [("12", Some(12)), ("-1", None), ("-18446744073709551615", None), ("-0", Some(0))] {
            assert_eq!(strict_u32(text.as_bytes()), value, "{text}");
        }
        for text in ["4294967296", "18446744073709551616", "1 1x", "+"] {
            assert_eq!(strict_u32(text.as_bytes()), None, "{text}");
        }
        assert_eq!(strict_u32(b"4294967295"), Some(u32::MAX));
    }
}
