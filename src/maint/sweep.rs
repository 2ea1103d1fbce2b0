//! The sweep: walks all pages in address order and removes items whose time is over.
//!
//! Owns the pace and the position. Must come round well within 97 days, half the range of an item's short
//! expiry time; it takes a minute.

use crate::store::Store;

/// Rounds of the chores' thread in which every page is visited once: one minute of rounds.
const ROUNDS: usize = 1200;

/// Where the sweep is.
#[derive(Default)]
pub struct Sweep {
    class: usize,
    page: usize,
}

impl Sweep {
    /// Visits the next pages.
    pub fn step(&mut self, store: &'static Store, now: u32) {
        let mut pages = (store.malloced() >> 20).div_ceil(ROUNDS as u64) as usize;
        while pages > 0 {
            if self.class == 0 || self.class > store.sizes().largest() {
                *self = Self { class: 1, page: 0 };
            }
            match store.sweep(self.class, self.page, 1, now) {
                Some(next) => self.page = next,
                None => {
                    *self = Self { class: self.class + 1, page: 0 };
                    if self.class > store.sizes().largest() {
                        return;
                    }
                }
            }
            pages -= 1;
        }
    }
}
