//! Integers by C's rules.
//!
//! Owns the text-to-integer conversions the command line was defined with: `atoi`, `strtol` in base 8, and the strict
//! forms that insist on an end or white space after the digits. It must not know which option a text belongs to.
//! Called by the option table.

/// `isspace` in the C locale.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// What a scan of a number saw.
struct Scan {
    /// Whether a minus sign came first.
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
    /// The value as a C `long`, clamped, and whether it had to be.
    fn long(&self) -> (i64, bool) {
        let clamped = if self.negative { i64::MIN } else { i64::MAX };
        let magnitude = self.magnitude.min(1 << 100).cast_signed();
        i64::try_from(if self.negative { -magnitude } else { magnitude })
            .map_or((clamped, true), |value| (value, false))
    }

    /// Whether the number is followed by white space or nothing.
    fn ends_cleanly(&self, text: &[u8]) -> bool {
        self.end.is_some_and(|end| text.get(end).is_none_or(|&byte| is_space(byte)))
    }
}

/// `strtol(text, NULL, radix)` cut to an `int`: rubbish is 0, a too large number is clamped to 64 bits and then cut.
pub(super) fn strtol_int(text: &[u8], radix: u32) -> i32 {
    #[allow(clippy::cast_possible_truncation)] // the cut is the rule
    let value = scan(text, radix).long().0 as i32;
    value
}

/// `atoi`.
pub(super) fn atoi(text: &[u8]) -> i32 {
    strtol_int(text, 10)
}

/// A signed number that must be whole; only 64-bit overflow is refused, the rest is cut to 32 bits.
pub(super) fn strict_i32(text: &[u8]) -> Option<i32> {
    let scan = scan(text, 10);
    let (value, overflow) = scan.long();
    #[allow(clippy::cast_possible_truncation)] // the cut is the rule
    (!overflow && scan.ends_cleanly(text)).then_some(value as i32)
}

/// An unsigned number that must be whole; 64-bit overflow is refused, the rest is cut to 32 bits. A minus sign wraps,
/// and is refused only where the wrapped 64-bit value has its top bit set.
pub(super) fn strict_u32(text: &[u8]) -> Option<u32> {
    let scan = scan(text, 10);
    let magnitude = u64::try_from(scan.magnitude).ok()?;
    let value = if scan.negative { magnitude.wrapping_neg() } else { magnitude };
    let refused = scan.negative && value.cast_signed() < 0;
    #[allow(clippy::cast_possible_truncation)] // the cut is the rule
    (!refused && scan.ends_cleanly(text)).then_some(value as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atoi_takes_prefixes() {
        for (text, value) in [
            ("", 0),
            ("x", 0),
            ("100k", 100),
            (" \t-7 ", -7),
            ("+3", 3),
            ("--3", 0),
            ("4294967297", 1),
            ("2147483648", i32::MIN),
            ("99999999999999999999", -1),
            ("-99999999999999999999", 0),
        ] {
            assert_eq!(atoi(text.as_bytes()), value, "{text}");
        }
        assert_eq!(strtol_int(b"770", 8), 0o770);
        assert_eq!(strtol_int(b"78", 8), 7);
        assert_eq!(strtol_int(b"0x1", 8), 0);
    }

    #[test]
    fn strict_forms_want_an_end() {
        for (text, value) in
            [("12", Some(12)), ("12 z", Some(12)), ("12z", None), ("", None), ("-1", Some(-1)), ("4294967296", Some(0))]
        {
            assert_eq!(strict_i32(text.as_bytes()), value, "{text}");
        }
        assert_eq!(strict_i32(b"9223372036854775808"), None);
        for (text, value) in [("12", Some(12)), ("-1", None), ("-18446744073709551615", Some(1)), ("-0", Some(0))] {
            assert_eq!(strict_u32(text.as_bytes()), value, "{text}");
        }
        assert_eq!(strict_u32(b"18446744073709551616"), None);
    }
}
