//! CRAM-MD5 (RFC 2195), for clients without SCRAM: the password does not cross the wire, but the server must know it.
//!
//! Owns the challenge and the digest; knows no credentials file. Used by `sasl`.

use super::seed::random;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;

/// A unique challenge; `None` without random numbers.
pub(super) fn challenge() -> Option<Vec<u8>> {
    let number = u64::from_le_bytes(random().ok()?);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Some(format!("<{number}.{time}@memcached>").into_bytes())
}

/// User and digest of a response.
pub(super) fn parse(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr::memrchr(b' ', response)?;
    Some((&response[..space], &response[space + 1..]))
}

/// HMAC-MD5 of `challenge` keyed with `password`, in hexadecimal digits.
pub(super) fn digest(challenge: &[u8], password: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Md5>::new_from_slice(password).ok()?;
    mac.update(challenge);
    let mut text = String::with_capacity(32);
    for byte in mac.finalize().into_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

/// Compares `given` with the digest in constant time.
pub(super) fn is_right(challenge: &[u8], password: &[u8], given: &[u8]) -> bool {
    digest(challenge, password).is_some_and(|text| text.as_bytes().ct_eq(given).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_2195() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        let (user, digest) = parse(b"tim b913a602c7eda7a495b4e6e7334d3890").unwrap();
        assert_eq!(user, b"tim");
        assert!(is_right(challenge, b"tanstaaftanstaaf", digest));
        assert!(!is_right(challenge, b"tanstaaftanstaag", digest) && !is_right(b"<1>", b"tanstaaftanstaaf", digest));
        assert!(!is_right(challenge, b"tanstaaftanstaaf", &digest[..31]));
    }

    #[test]
    fn challenges_differ() {
        let (one, two) = (challenge().unwrap(), challenge().unwrap());
        assert!(one != two && one.starts_with(b"<") && one.ends_with(b"@memcached>"));
    }
}
