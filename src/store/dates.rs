//! Dates: expiry times that follow the wall clock.
//!
//! Owns the unix time of relative time 0, which changes when the wall clock is set or the machine was suspended. An
//! item with a date stores the unix time itself, so a change of the clock takes effect at once and touches no item.
//! Knows no clock: the main thread sets the origin with each tick. Called wherever an item is judged or shown.

use crate::clock::Expiry;
use crate::store::item::Item;
use crate::store::store::Store;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

/// An origin that has not been set.
const UNSET: i64 = i64::MIN;

/// Where relative time stands in unix time.
pub(super) struct WallOrigin {
    /// Unix time of relative time 0.
    unix: AtomicI64,
    /// Changes of it since it was first set.
    changes: AtomicU32,
}

impl Default for WallOrigin {
    fn default() -> Self {
        Self { unix: AtomicI64::new(UNSET), changes: AtomicU32::new(0) }
    }
}

impl Store {
    /// Sets the unix time of relative time 0. Called by one thread at a time.
    pub fn set_origin(&self, unix: i64) {
        let before = self.wall.unix.swap(unix, Relaxed);
        if before != unix && before != UNSET {
            self.wall.changes.fetch_add(1, Relaxed);
        }
    }

    /// Changes of the origin, which may have made items dead.
    pub(super) fn origin_changes(&self) -> u32 {
        self.wall.changes.load(Relaxed)
    }

    /// Relative time of `expiry` by the present wall clock; 0 = never.
    #[inline]
    pub fn relative(&self, expiry: Expiry) -> u32 {
        expiry.relative(self.wall.unix.load(Relaxed))
    }

    /// Relative expiry time of an item; 0 = never.
    #[inline]
    pub(super) fn exptime(&self, item: &Item, now: u32) -> u32 {
        self.relative(item.expiry(now))
    }

    /// Whether the item is expired at `now`. Only items with a date read the origin.
    #[inline]
    pub(super) fn is_expired(&self, item: &Item, now: u32) -> bool {
        item.is_expired(now, || self.wall.unix.load(Relaxed))
    }
}
