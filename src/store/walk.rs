//! Walks over all items in steps: in memory order, or in hash order.
//!
//! Owns positions that stay valid between steps, the sweep that removes dead items, and tending, which is the work of
//! memcached's LRU maintainer ([`Store::tend`]). A walk holds no lock between its steps and one bucket at a time within
//! them. Knows neither pace nor purpose: `maint` sweeps and tends, `proto` dumps.
//!
//! A walk in memory order visits an item exactly once if it stays linked throughout and is neither rewritten nor moved
//! to another page. A walk in hash order visits each *key* that stays linked throughout exactly once, even if it is
//! rewritten or moved. Items stored, removed or moved meanwhile may be visited, missed, or visited twice.

use crate::point::point;
use crate::store::change::ChangeOp;
use crate::store::entry::Entry;
use crate::store::item::Handle;
use crate::store::item::{Item, Key, state};
use crate::store::store::Store;
use crate::store::write::Dead;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// Maximum entries without an item that the sweep drops from a class's ring in one step.
const TRIM_MAX: usize = 1024;

/// Position of a walk in memory order.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Classes to visit, one bit each.
    classes: u64,
    page: u32,
    slot: u32,
    /// First page not visited: pages that come into use after the start are left out, so every walk ends.
    end: u32,
    /// memcached_size below which an item is passed over, without its lock.
    least: usize,
}

impl Walk {
    /// Passes over items with a memcached_size below `least` from now on.
    pub fn skip_below(&mut self, least: usize) {
        self.least = least;
    }
}

/// An item that the sweep has visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A dead item, now removed.
    Dead,
    /// A live item that expires at this time; 0 = never.
    Lives(u32),
}

/// Slots ahead of the clock hand that tending checks for dead items.
const TEND_AHEAD: usize = 64;

/// Counts of one class, not added to its counters yet.
#[derive(Default)]
struct WalkTally {
    checked: u64,
    reclaimed: u64,
    unfetched: u64,
}

impl Store {
    /// Whether any class has a page.
    pub fn has_pages(&self) -> bool {
        !self.slabs.pages.handed_out().is_empty()
    }

    /// Allocations that a class has refused since the start.
    pub fn refused(&self, class: usize) -> u64 {
        self.slabs.stats(class).refused()
    }

    /// Begins a walk over the items of `classes`, one bit per class.
    pub fn begin_walk(&self, classes: u64) -> Walk {
        let Range { start, end } = self.slabs.pages.handed_out();
        Walk { classes, page: start, slot: 0, end, least: 0 }
    }

    /// Calls `each` with live items, each under its bucket's lock, until it returns false or `slots` slots are passed.
    /// True at the end of the walk.
    pub fn walk(&'static self, walk: &mut Walk, slots: u32, now: u32, mut each: impl FnMut(&Entry) -> bool) -> bool {
        let mut key = Vec::with_capacity(Key::CAPACITY);
        self.pass(walk, slots, |walk, handle, item| {
            let class = self.lru_class(handle, &item);
            let is_small = walk.least > 0 && self.memcached_size_of(&item) < walk.least;
            if walk.classes >> class & 1 == 0 || is_small {
                return true;
            }
            let Some((_bucket, linked)) = self.lock_item(&Key::copied(&item, &mut key), handle) else { return true };
            self.dead(&linked.item, now).is_some() || each(&Entry::of(self, 0, handle, linked.item))
        })
    }

    /// Calls `each` with the memcached_size of each item in the next `slots` slots, live or not. True at the end of the
    /// walk.
    pub fn walk_sizes(&'static self, walk: &mut Walk, slots: u32, mut each: impl FnMut(usize)) -> bool {
        self.pass(walk, slots, |_, _, item| {
            each(self.memcached_size_of(&item));
            true
        })
    }

    /// Calls `each` with the live items of the bucket at `place` in hash order, under its lock, and returns the next
    /// place. The first place is 0; `None` follows the last.
    pub fn walk_hashes(&'static self, place: u32, now: u32, mut each: impl FnMut(&Entry)) -> Option<u32> {
        let mut key = Vec::new();
        let hash_of = |raw| self.item(raw).map_or(0, |(_, item)| Key::copied(&item, &mut key).hash());
        self.index.scan(place, hash_of, |raw| {
            if let Some((handle, item)) = self.item(raw)
                && self.dead(&item, now).is_none()
            {
                each(&Entry::of(self, 0, handle, item));
            }
        })
    }

    /// Removes dead items from the next `slots` slots, and calls `each` for every item visited; when it returns false,
    /// the walk leaves the item's class out from then on. True at the end of the walk.
    pub fn sweep(
        &'static self,
        walk: &mut Walk,
        slots: u32,
        now: u32,
        mut each: impl FnMut(usize, Seen) -> bool,
    ) -> bool {
        let (mut tally, mut current) = (WalkTally::default(), 0);
        let mut key = Vec::with_capacity(Key::CAPACITY);
        let over = self.pass(walk, slots, |walk, handle, item| {
            let class = self.lru_class(handle, &item);
            if walk.classes >> class & 1 == 0 {
                return true;
            }
            if class != current {
                self.count(current, std::mem::take(&mut tally));
                current = class;
            }
            tally.checked += 1;
            let mut seen = Seen::Lives(self.exptime(&item, now));
            if self.dead(&item, now).is_some() {
                if self.unlink_dead((handle, item), now, &mut key, &mut tally) {
                    seen = Seen::Dead;
                }
            } else if item.is_long_idle(now) {
                self.limit_idle((handle, item), now, &mut key);
            }
            if !each(class, seen) {
                walk.classes &= !(1 << class);
            }
            true
        });
        self.count(current, tally);
        over
    }

    /// Tends all classes once: items at the end of a ring that is too long move on, to WARM or COLD, and dead items
    /// among the next victims are removed. True if there is more to do.
    pub fn tend(&'static self, now: u32) -> bool {
        let mut soonest = u32::MAX;
        self.tend_until(now, &mut soonest)
    }

    /// Tends all classes once, and lowers `soonest` to the earliest expiry among the live items that it checked.
    pub fn tend_until(&'static self, now: u32, soonest: &mut u32) -> bool {
        let mut key = Vec::with_capacity(Key::CAPACITY);
        let mut dead = Vec::new();
        let mut more = false;
        for id in 1..self.slabs.len() {
            let mut guard = self.slabs.class(id);
            let class = guard.whole(&self.arena);
            if class.len() == 0 {
                continue;
            }
            dead.clear();
            dead.extend(class.next_to_leave(&self.arena, TEND_AHEAD).filter_map(|handle| {
                let item = Item::at(self.arena.chunk(handle))?;
                if !item.header().is(state::LINKED) || self.lru_class(handle, &item) != id {
                    return None;
                }
                let is_due = self.dead(&item, now).is_some();
                let exptime = self.exptime(&item, now);
                if !is_due && exptime != 0 {
                    *soonest = exptime.min(*soonest);
                }
                is_due.then_some((handle, item))
            }));
            drop(guard);
            let mut tally = WalkTally::default();
            for &item in &dead {
                self.unlink_dead(item, now, &mut key, &mut tally);
            }
            let mut class = self.slabs.class(id);
            class.counts.reclaimed += tally.reclaimed;
            class.counts.expired_unfetched += tally.unfetched;
            more |= !self.slabs.is_flat() && class.tend(&self.arena, self.slabs.stats(id), self.slabs.hot_pct());
        }
        self.juggles.fetch_add(1, Relaxed);
        more
    }

    /// Calls `look` with the linked items in the next slots, as read without any lock, until it returns false. True at
    /// the end of the walk.
    fn pass(
        &'static self,
        walk: &mut Walk,
        mut slots: u32,
        mut look: impl FnMut(&mut Walk, Handle, Item) -> bool,
    ) -> bool {
        // Chunked items count in the largest class, but the chunks with their headers are in pages of other classes.
        let anywhere = 1 << self.sizes.largest();
        while walk.page < walk.end && walk.classes != 0 {
            if slots == 0 {
                return false;
            }
            let class = self.arena.class(Handle::new(walk.page, 0));
            let wanted = class != 0 && walk.classes & (1 << class | anywhere) != 0;
            let in_page = if wanted { self.arena.slots(walk.page) } else { 0 };
            while walk.slot < in_page {
                if slots == 0 {
                    return false;
                }
                slots -= 1;
                let handle = Handle::new(walk.page, walk.slot);
                walk.slot += 1;
                let item = Item::at(self.arena.chunk(handle)).filter(|item| item.header().is(state::LINKED));
                if item.is_some_and(|item| !look(walk, handle, item)) {
                    return false;
                }
            }
            slots = slots.saturating_sub(1); // so that a run of skipped pages ends the step too
            walk.page += 1;
            walk.slot = 0;
        }
        true
    }

    fn count(&self, class: usize, tally: WalkTally) {
        if tally.checked != 0 {
            let mut class = self.slabs.class(class);
            class.trim_ring(&self.arena, TRIM_MAX);
            let counts = &mut class.counts;
            counts.crawler_items_checked += tally.checked;
            counts.crawler_reclaimed += tally.reclaimed;
            counts.expired_unfetched += tally.unfetched;
        }
    }

    /// Clamps the access time of an item that is still linked ([`Item::limit_idle`]).
    #[cold]
    fn limit_idle(&'static self, (handle, item): (Handle, Item), now: u32, key: &mut Vec<u8>) {
        if let Some((_bucket, linked)) = self.lock_item(&Key::copied(&item, key), handle) {
            linked.item.limit_idle(now);
        }
    }

    /// Removes and counts an item that was seen dead, if it still is; true if so.
    fn unlink_dead(
        &'static self,
        (handle, item): (Handle, Item),
        now: u32,
        key: &mut Vec<u8>,
        tally: &mut WalkTally,
    ) -> bool {
        let key = Key::copied(&item, key);
        point("a dead item is found");
        let Some((bucket, linked)) = self.lock_item(&key, handle) else { return false };
        let Some(dead) = self.dead(&linked.item, now) else { return false };
        // An expired item that was never fetched counts as unfetched; a flushed one does not.
        let is_wasted = dead == Dead::Expired && !linked.item.header().is(state::FETCHED);
        self.unlink(bucket, &key, linked, ChangeOp::Reclaim(dead));
        self.note_upkeep();
        tally.reclaimed += 1;
        tally.unfetched += u64::from(is_wasted);
        true
    }
}
