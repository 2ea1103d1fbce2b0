//! The hash of keys.
//!
//! Owns the choice of function and its seed; knows nothing of the index. rapidhash: seeded, 64 bits, a few
//! nanoseconds for short keys.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_nano_inline};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// Seed of this process: keys chosen by a client cannot be aimed at one bucket.
static SECRETS: LazyLock<RapidSecrets> = LazyLock::new(|| RapidSecrets::seed(RandomState::new().hash_one(0u8)));

/// Hash of a key.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    rapidhash_v3_nano_inline::<true, false>(key, &SECRETS)
}
