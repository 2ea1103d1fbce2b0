//! The secret of the process, and random bytes.
//!
//! Owns the only call that asks the system for random bytes, and the values from which fake login data for unknown
//! users is derived: the same each time for a name, indistinguishable from real ones. Used by the rest of `auth`.

use ring::error::Unspecified;
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};

/// Secret of one process. Clones are the same secret.
#[derive(Clone)]
pub struct Seed(hmac::Key);

impl Seed {
    /// A new random secret.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> Result<Self, Unspecified> {
        Ok(Self::from_bytes(&random::<32>()?))
    }

    /// A given secret, for tests.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, bytes))
    }

    /// Derives the value named `what` for `user`.
    pub(super) fn value(&self, what: &[u8], user: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(what);
        context.update(b":");
        context.update(user);
        let mut value = [0; 32];
        value.copy_from_slice(context.sign().as_ref());
        value
    }
}

/// Random bytes from the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Unspecified> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(bytes)
}
