//! `Key`: the bytes of a key, with their hash.
//!
//! Owns the bounds of a key and the pairing of bytes and hash. Knows no index.
//! Made by protocols for each command, and by the store from an item; passed down to every lookup.

use super::layout::Item;
use crate::hash;
use crate::limits::KEY_MAX;

/// A key, 1..=250 bytes, with its hash.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    bytes: &'a [u8],
    hash: u64,
}

impl<'a> Key<'a> {
    /// Capacity for a copied key: the longest one, and the spare bytes that copying needs.
    pub(in crate::store) const CAPACITY: usize = KEY_MAX + 16;

    /// Hashes the key; `None` if it is empty or too long.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        (!bytes.is_empty() && bytes.len() <= KEY_MAX).then(|| Self { bytes, hash: hash::hash(bytes) })
    }

    /// A valid key with a known hash.
    #[inline]
    pub fn hashed(bytes: &'a [u8], hash: u64) -> Self {
        debug_assert!(hash == hash::hash(bytes) && !bytes.is_empty() && bytes.len() <= KEY_MAX);
        Self { bytes, hash }
    }

    /// Copies the key of an item to `to`. Without the lock of its bucket it may be torn: then it is the key of no item,
    /// or of another one.
    pub(in crate::store) fn copied(item: &Item, to: &'a mut Vec<u8>) -> Self {
        to.clear();
        item.copy_key(to);
        Self { bytes: to, hash: hash::hash(to) }
    }

    /// The key's bytes.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The key's hash.
    #[inline]
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
