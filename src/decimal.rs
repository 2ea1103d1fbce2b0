//! Parsing and formatting of numbers in memcached's formats.
//!
//! Owns the rules by which bytes become numbers; knows no protocol. Two families: *tokens* (digits only, a length
//! limit, `-` for signed ones) and *C numbers* (leading white space, signs, ended by white space), which memcached uses
//! for client flags, storage exptimes and stored counters.

use crate::sys::spare::Spare;

/// Maximum length of a 32-bit token.
const TOKEN32_MAX: usize = 11;
/// Maximum length of a 64-bit token.
const TOKEN64_MAX: usize = 22;

/// Digits to a `u64`; `None` on any other byte or overflow. Empty input is 0.
#[inline]
fn digits(bytes: &[u8]) -> Option<u64> {
    let mut sum = 0u64;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum = sum.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(sum)
}

/// An unsigned 32-bit token.
#[inline]
pub fn token_u32(token: &[u8]) -> Option<u32> {
    if token.len() > TOKEN32_MAX { None } else { digits(token)?.try_into().ok() }
}

/// A number of 1 to 9 digits at the front of `text`, and what follows it; `None` if there is none.
#[inline]
pub fn short_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let (mut sum, mut len) = (0, 0);
    while let Some(digit) = text.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit <= 9) {
        if len == 9 {
            return None;
        }
        sum = sum * 10 + u32::from(digit);
        len += 1;
    }
    if len == 0 { None } else { Some((sum, &text[len..])) }
}

/// An unsigned 64-bit token.
#[inline]
pub fn token_u64(token: &[u8]) -> Option<u64> {
    if token.len() > TOKEN64_MAX { None } else { digits(token) }
}

/// A signed 32-bit token; a lone `-` is 0, as in memcached.
#[inline]
pub fn token_i32(token: &[u8]) -> Option<i32> {
    if token.len() > TOKEN32_MAX { None } else { signed(token)?.try_into().ok() }
}

/// A signed 64-bit token.
pub fn token_i64(token: &[u8]) -> Option<i64> {
    if token.len() > TOKEN64_MAX { None } else { signed(token) }
}

fn signed(token: &[u8]) -> Option<i64> {
    match token.split_first() {
        Some((b'-', rest)) => 0i64.checked_sub_unsigned(digits(rest)?),
        _ => digits(token)?.try_into().ok(),
    }
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Sign and magnitude of a C number at the start of `text`; `None` if there is none, on overflow, or if
/// neither white space, NUL nor the end follows.
fn c_number(text: &[u8]) -> Option<(bool, u64)> {
    let start = text.iter().position(|&byte| !is_space(byte))?;
    let (negative, rest) = match text[start] {
        b'-' => (true, &text[start + 1..]),
        b'+' => (false, &text[start + 1..]),
        _ => (false, &text[start..]),
    };
    let len = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let ends = rest.get(len).is_none_or(|&byte| is_space(byte) || byte == 0);
    if len == 0 || !ends { None } else { Some((negative, digits(&rest[..len])?)) }
}

/// C's `strtoull` with memcached's checks. A negative number wraps modulo 2^64 and is refused if the result has its top
/// bit set: `-1` is refused, `-18446744073709551615` is 1.
#[inline]
pub fn c_unsigned(text: &[u8]) -> Option<u64> {
    let (negative, magnitude) = c_number(text)?;
    let value = if negative { magnitude.wrapping_neg() } else { magnitude };
    if negative && (value as i64) < 0 { None } else { Some(value) }
}

/// C's `strtol` with memcached's checks.
#[inline]
pub fn c_signed(text: &[u8]) -> Option<i64> {
    let (negative, magnitude) = c_number(text)?;
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { magnitude.try_into().ok() }
}

/// A floating point token; white space inside the token ends it, as in a C number.
pub fn token_f64(token: &[u8]) -> Option<f64> {
    let start = token.iter().position(|&byte| !is_space(byte))?;
    let rest = &token[start..];
    let end = rest.iter().position(|&byte| is_space(byte) || byte == 0).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// Appends a number in decimal to a reply.
#[inline]
pub fn write(out: &mut Spare<'_>, n: u64) {
    match u8::try_from(n) {
        // Client flags are 0 as a rule.
        Ok(digit @ 0..=9) => out.put(&[b'0' + digit]),
        _ => out.put(itoa::Buffer::new().format(n).as_bytes()),
    }
}

/// Appends a number in decimal.
#[inline]
pub fn put(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_end_at_other_bytes() {
        assert_eq!(short_number(b"0 x"), Some((0, &b" x"[..])));
        assert_eq!(short_number(b"007"), Some((7, &b""[..])));
        assert_eq!(short_number(b"999999999"), Some((999_999_999, &b""[..])));
        for text in [&b""[..], b"-1", b" 1", b"1000000000", b"x"] {
            assert_eq!(short_number(text), None);
        }
    }

    #[test]
    fn tokens_are_strict() {
        assert_eq!(token_u32(b"4294967295"), Some(u32::MAX));
        assert_eq!(token_u32(b"4294967296"), None);
        assert_eq!(token_u32(b"000000000007"), None);
        assert_eq!(token_u32(b"+1"), None);
        assert_eq!(token_i32(b"-2147483648"), Some(i32::MIN));
        assert_eq!(token_i32(b"2147483648"), None);
        assert_eq!(token_i32(b"-"), Some(0));
        assert_eq!(token_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(token_u64(b"18446744073709551616"), None);
        assert_eq!(token_i64(b"-9223372036854775808"), Some(i64::MIN));
    }

    #[test]
    fn c_numbers_are_lenient() {
        assert_eq!(c_unsigned(b"+5 "), Some(5));
        assert_eq!(c_unsigned(b"007\r\n"), Some(7));
        assert_eq!(c_unsigned(b" \t5"), Some(5));
        assert_eq!(c_unsigned(b"5\tx"), Some(5));
        assert_eq!(c_unsigned(b"5\0x"), Some(5));
        assert_eq!(c_unsigned(b"5a"), None);
        assert_eq!(c_unsigned(b"0x10 "), None);
        assert_eq!(c_unsigned(b"-1 "), None);
        assert_eq!(c_unsigned(b"-18446744073709551615 "), Some(1));
        assert_eq!(c_unsigned(b"18446744073709551616 "), None);
        assert_eq!(c_unsigned(b""), None);
        assert_eq!(c_signed(b"-12 "), Some(-12));
        assert_eq!(c_signed(b"9223372036854775808"), None);
        assert_eq!(c_signed(b"word"), None);
        assert_eq!(token_f64(b"2.0\r"), Some(2.0));
        assert_eq!(token_f64(b"2.0x"), None);
    }
}
