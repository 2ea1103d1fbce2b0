//! A password hashed as SCRAM stores it: salt, iteration count and two keys.
//!
//! Owns the derivation (RFC 5802, with SHA-256 as in RFC 7677) and the text form, which is PostgreSQL's:
//! `SCRAM-SHA-256$<count>:<salt>$<StoredKey>:<ServerKey>`, the binary parts in base64. The text form is not enough to
//! log in. Used by `credentials`, `scram` and `oxcached --hash-password`.

use super::seed::random;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac::{self, HMAC_SHA256};
use ring::{digest, pbkdf2};
use std::borrow::Cow;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use subtle::{Choice, ConstantTimeEq};

/// First bytes of the text form.
pub(super) const PREFIX: &[u8] = b"SCRAM-SHA-256$";

/// Default iteration count: RFC 7677's minimum and PostgreSQL's default.
pub const ITERATIONS_DEFAULT: u32 = 4096;

/// Clients refuse fewer; with more, one login would take most of a second.
const ITERATIONS: RangeInclusive<u32> = ITERATIONS_DEFAULT..=1_000_000;

const KEY: usize = digest::SHA256_OUTPUT_LEN;
const SALT_NEW: usize = 16;

/// Stored form of a password.
#[derive(Clone)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Box<[u8]>,
    /// Hash of the client key; a client proves that it has that key.
    pub(super) stored_key: [u8; KEY],
    /// Key with which the server proves that it knows the verifier.
    pub(super) server_key: [u8; KEY],
}

impl Verifier {
    /// Derives the keys; slow on purpose.
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let count = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let mut salted = [0; KEY];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, salt, &prepared(password), &mut salted);
        let client_key = sign(&salted, b"Client Key");
        Self { iterations, salt: salt.into(), stored_key: hash(&client_key), server_key: sign(&salted, b"Server Key") }
    }

    /// Whether `password` has this verifier; as slow as [`Verifier::derive`].
    pub fn check(&self, password: &[u8]) -> Choice {
        let given = Self::derive(password, &self.salt, self.iterations);
        given.stored_key.ct_eq(&self.stored_key) & given.server_key.ct_eq(&self.server_key)
    }

    /// Parses the text form, prefix included.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text.strip_prefix(PREFIX)?).ok()?;
        let (count_and_salt, keys) = text.split_once('$')?;
        let (count, salt) = count_and_salt.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let salt = BASE64.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        Some(Self {
            iterations: count.parse().ok().filter(|count| ITERATIONS.contains(count))?,
            salt: salt.into(),
            stored_key: BASE64.decode(stored_key).ok()?.try_into().ok()?,
            server_key: BASE64.decode(server_key).ok()?.try_into().ok()?,
        })
    }

    /// Returns the text form.
    pub fn text(&self) -> String {
        let (salt, stored) = (BASE64.encode(&self.salt), BASE64.encode(self.stored_key));
        let (count, server) = (self.iterations, BASE64.encode(self.server_key));
        format!("SCRAM-SHA-256${count}:{salt}${stored}:{server}")
    }
}

/// A line for a file of users, without its line feed.
///
/// # Errors
/// The reason, for the operator.
pub fn hash_line(user: &str, password: &[u8], iterations: u32) -> Result<String, String> {
    if user.is_empty() || user.contains([':', '\n', '\r', '\0']) {
        return Err("a user's name may not be empty, nor hold a colon or a line's end".to_owned());
    }
    if password.is_empty() {
        return Err("a password may not be empty".to_owned());
    }
    if !ITERATIONS.contains(&iterations) {
        return Err(format!("iterations must be between {} and {}", ITERATIONS.start(), ITERATIONS.end()));
    }
    let salt = random::<SALT_NEW>().map_err(|_| "no random numbers from the system")?;
    Ok(format!("{user}:{}", Verifier::derive(password, &salt, iterations).text()))
}

/// HMAC-SHA-256.
pub(super) fn sign(key: &[u8], text: &[u8]) -> [u8; KEY] {
    let mut tag = [0; KEY];
    tag.copy_from_slice(hmac::sign(&hmac::Key::new(HMAC_SHA256, key), text).as_ref());
    tag
}

/// SHA-256.
pub(super) fn hash(bytes: &[u8]) -> [u8; KEY] {
    let mut sum = [0; KEY];
    sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    sum
}

/// The password after SASLprep, which clients apply too. A password without such a form is used unchanged, as by
/// PostgreSQL.
fn prepared(password: &[u8]) -> Cow<'_, [u8]> {
    if password.is_ascii() {
        return Cow::Borrowed(password);
    }
    match str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok()) {
        Some(prepared) => Cow::Owned(prepared.into_owned().into_bytes()),
        None => Cow::Borrowed(password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scram` tests the keys of RFC 7677, section 3, by way of the proof.
    #[test]
    fn the_text_form_goes_both_ways() {
        let made = Verifier::derive(b"pencil", b"0123456789abcdef", 4096);
        let text = made.text();
        assert!(text.starts_with("SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$"), "{text}");
        let read = Verifier::parse(text.as_bytes()).unwrap();
        assert_eq!(read.text(), text);
        assert!(bool::from(read.check(b"pencil")) && !bool::from(read.check(b"pencils")));
    }

    #[test]
    fn incomplete_text_forms_are_refused() {
        let text = Verifier::derive(b"pencil", b"0123456789abcdef", 4096).text();
        for cut in 0..text.len() {
            assert!(Verifier::parse(&text.as_bytes()[..cut]).is_none(), "{cut}");
        }
        for bad in [
            text.replace("4096", "4095"),
            text.replace("4096", "1000001"),
            text.replace("4096", "-1"),
            text.replace("$4096", "$ 4096"),
            format!("{text} "),
            format!("{text}:x"),
        ] {
            assert!(Verifier::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_line_names_its_user_and_never_the_password() {
        let line = hash_line("ann", b"secret", 4096).unwrap();
        assert!(line.starts_with("ann:SCRAM-SHA-256$4096:") && !line.contains("secret"));
        assert_ne!(line, hash_line("ann", b"secret", 4096).unwrap(), "the salt is new each time");
        for (user, password, count) in [("", "x", 4096), ("a:b", "x", 4096), ("a", "", 4096), ("a", "x", 4095)] {
            assert!(hash_line(user, password.as_bytes(), count).is_err(), "{user:?} {password:?} {count}");
        }
    }

    #[test]
    fn passwords_are_prepared_as_clients_prepare_them() {
        let keys = |password: &str| Verifier::derive(password.as_bytes(), b"salt", 4096).stored_key;
        assert_eq!(keys("I\u{ad}X"), keys("IX"), "RFC 4013: the soft hyphen is mapped to nothing");
        assert_eq!(keys("\u{2168}"), keys("IX"), "RFC 4013: NFKC");
        let raw = Verifier::derive(b"\xff", b"salt", 4096);
        assert!(bool::from(raw.check(b"\xff")));
    }
}
