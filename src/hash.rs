//! Hash function of keys.
//!
//! Owns the choice of function and its seed; knows nothing of the index. rapidhash: seeded, 64 bits, a few nanoseconds
//! for short keys. Its unseeded variant serves as a checksum.

use rapidhash::v3::{DEFAULT_RAPID_SECRETS, RapidSecrets, rapidhash_v3_inline, rapidhash_v3_nano_inline};
use std::hash::{BuildHasher, RandomState};
use std::sync::{LazyLock, OnceLock};

/// Seed of this process: a client cannot aim chosen keys at one bucket.
static SECRETS: LazyLock<RapidSecrets> =
    LazyLock::new(|| RapidSecrets::seed(*FIXED.get_or_init(|| RandomState::new().hash_one(0u8))));

/// The seed, once it is fixed.
static FIXED: OnceLock<u64> = OnceLock::new();

/// Fixes the seed, for reproducible runs; false if the seed is already fixed.
pub fn fix_seed(seed: u64) -> bool {
    FIXED.set(seed).is_ok()
}

/// Hash of a key.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    rapidhash_v3_nano_inline::<true, false>(key, &SECRETS)
}

/// Checksum of bytes, equal in every process. For files: detects damage, not forgery.
pub fn checksum(bytes: &[u8]) -> u64 {
    rapidhash_v3_inline::<true, false, false>(bytes, &DEFAULT_RAPID_SECRETS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn checksums_are_stable() {
        assert_eq!(super::checksum(b"oxcached"), 13_342_152_636_486_199_018);
    }
}
