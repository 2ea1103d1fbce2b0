//! The hash of keys.
//!
//! Owns the choice of function and its seed; knows nothing of the index. rapidhash: seeded, 64 bits, a few
//! nanoseconds for short keys. The same function with a seed of its own serves as a checksum.

use rapidhash::v3::{DEFAULT_RAPID_SECRETS, RapidSecrets, rapidhash_v3_inline, rapidhash_v3_nano_inline};
use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, OnceLock};

/// Seed of this process: keys chosen by a client cannot be aimed at one bucket.
static SECRETS: LazyLock<RapidSecrets> =
    LazyLock::new(|| RapidSecrets::seed(*FIXED.get_or_init(|| RandomState::new().hash_one(0u8))));

/// The seed, once it is known.
static FIXED: OnceLock<u64> = OnceLock::new();

/// Fixes the seed, for runs that must be repeatable; false if a key has been hashed before.
pub fn fix_seed(seed: u64) -> bool {
    FIXED.set(seed).is_ok()
}

/// Hash of a key.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    rapidhash_v3_nano_inline::<true, false>(key, &SECRETS)
}

/// Checksum of bytes, the same in every process: for files, against damage, not against forgery.
pub fn checksum(bytes: &[u8]) -> u64 {
    rapidhash_v3_inline::<true, false, false>(bytes, &DEFAULT_RAPID_SECRETS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn checksums_stay_the_same() {
        assert_eq!(super::checksum(b"oxcached"), 13_342_152_636_486_199_018);
    }
}
