//! Walks over all items in steps: in the order of memory, or of hashes.
//!
//! Owns positions that stay valid between two steps whatever happens meanwhile, and the sweep that takes out
//! items whose time is over. A walk holds nothing between its steps and one bucket at a time within them.
//! Knows neither pace nor purpose: `maint` sweeps, `proto` dumps.
//!
//! A walk in the order of memory meets an item that is there throughout, and neither rewritten nor moved to another
//! page, exactly once. One in the order of hashes meets each *key* that is there throughout exactly once, also if it is
//! rewritten or moved. What comes, goes or moves meanwhile may be met or not, or twice.

use crate::limits::KEY_MAX;
use crate::point::point;
use crate::store::entry::Entry;
use crate::store::item::Handle;
use crate::store::item::{Item, state};
use crate::store::store::Store;
use crate::store::write::Dead;
use std::sync::atomic::Ordering::Relaxed;

/// Room for a key and the spare bytes that copying needs.
const KEY_ROOM: usize = KEY_MAX + 16;

/// Entries of a class's ring that the sweep drops at most in one step.
const TRIM: usize = 1024;

/// Where a walk through memory is.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// One bit for each class to visit.
    classes: u64,
    page: u32,
    slot: u32,
    /// Pages that come into use after the start are not visited, so that every walk ends.
    end: u32,
}

/// What the sweep met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An item whose time was over; it is gone.
    Dead,
    /// An item that expires at this time; 0 = never.
    Lives(u32),
}

/// Slots before the hand at which tending looks for items whose time is over.
const BEFORE_HAND: usize = 64;

/// What one class's counters have to be told.
#[derive(Default)]
struct Tally {
    checked: u64,
    reclaimed: u64,
    unfetched: u64,
}

impl Store {
    /// Whether any class has a page.
    pub fn has_pages(&self) -> bool {
        self.slabs.next_page() > 1
    }

    /// How often a class had no memory to give, since the start.
    pub fn refused(&self, class: usize) -> u64 {
        self.slabs.stats(class).refused()
    }

    /// A walk through the items of `classes`, one bit a class.
    pub fn begin_walk(&self, classes: u64) -> Walk {
        Walk { classes, page: 1, slot: 0, end: self.slabs.next_page() }
    }

    /// Shows live items to `each`, each under its bucket's lock, until it gives false or `slots` slots are passed.
    /// True when the walk is over.
    pub fn walk(&'static self, walk: &mut Walk, slots: u32, now: u32, mut each: impl FnMut(&Entry) -> bool) -> bool {
        let mut key = Vec::with_capacity(KEY_ROOM);
        self.pass(walk, slots, |walk, handle, item| {
            let class = self.lru_class(handle, &item);
            if walk.classes >> class & 1 == 0 {
                return true;
            }
            key.clear();
            item.copy_key(&mut key);
            let hash = crate::hash::hash(&key);
            let bucket = self.index.lock(hash);
            if bucket.find(hash, |raw| raw == handle.raw()).is_none() {
                return true; // gone meanwhile
            }
            let item = Item::at(self.arena.chunk(handle)).filter(|item| self.dead(item, now).is_none());
            item.is_none_or(|item| each(&Entry::of(self, 0, handle, item)))
        })
    }

    /// Shows the nominal size of each item on the next `slots` slots, live or not. True when the walk is over.
    pub fn walk_sizes(&'static self, walk: &mut Walk, slots: u32, mut each: impl FnMut(usize)) -> bool {
        self.pass(walk, slots, |_, _, item| {
            each(self.memcached_size_of(&item));
            true
        })
    }

    /// Shows the live items of the bucket at `place` of the hashes, under its lock, and gives the next place. The
    /// first place is 0; after the last comes `None`.
    pub fn walk_hashes(&'static self, place: u32, now: u32, mut each: impl FnMut(&Entry)) -> Option<u32> {
        let mut key = Vec::new();
        let hash_of = |raw| {
            key.clear();
            if let Some((_, item)) = self.item(raw) {
                item.copy_key(&mut key);
            }
            crate::hash::hash(&key)
        };
        self.index.scan(place, hash_of, |raw| {
            if let Some((handle, item)) = self.item(raw)
                && self.dead(&item, now).is_none()
            {
                each(&Entry::of(self, 0, handle, item));
            }
        })
    }

    /// Removes items whose time is over from the next `slots` slots, and tells `each` what was met; a class is left
    /// when it gives false. True when the walk is over.
    pub fn sweep(
        &'static self,
        walk: &mut Walk,
        slots: u32,
        now: u32,
        mut each: impl FnMut(usize, Seen) -> bool,
    ) -> bool {
        let (mut tally, mut current) = (Tally::default(), 0);
        let mut key = Vec::with_capacity(KEY_ROOM);
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
            let mut seen = Seen::Lives(item.exptime(now));
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

    /// One round of tending all classes: new items that nobody read in their time become COLD, and items whose time is
    /// over and who would leave next do so now. True if there is more to do.
    pub fn tend(&'static self, now: u32) -> bool {
        let mut soonest = u32::MAX;
        self.tend_until(now, &mut soonest)
    }

    /// The same; lowers `soonest` to the first expiry among the items that it looked at and that stay.
    pub fn tend_until(&'static self, now: u32, soonest: &mut u32) -> bool {
        let mut key = Vec::with_capacity(KEY_ROOM);
        let mut over = Vec::new();
        let mut more = false;
        for id in 1..self.slabs.len() {
            let mut class = self.slabs.class(id);
            class.recall(&self.arena);
            if class.len() == 0 {
                continue;
            }
            over.clear();
            over.extend(class.next_to_leave(BEFORE_HAND).filter_map(|handle| {
                let item = Item::at(self.arena.chunk(handle))?;
                if !item.header().is(state::LINKED) || self.lru_class(handle, &item) != id {
                    return None;
                }
                let is_due = self.dead(&item, now).is_some();
                if !is_due && item.exptime(now) != 0 {
                    *soonest = item.exptime(now).min(*soonest);
                }
                is_due.then_some((handle, item))
            }));
            drop(class);
            let mut tally = Tally::default();
            for &item in &over {
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

    /// Shows the linked items on the next slots as they look without any lock, until `look` gives false.
    fn pass(
        &'static self,
        walk: &mut Walk,
        mut slots: u32,
        mut look: impl FnMut(&mut Walk, Handle, Item) -> bool,
    ) -> bool {
        // Heads of large items lie in pages of other classes.
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
            slots = slots.saturating_sub(1); // a page costs something, be it passed over
            walk.page += 1;
            walk.slot = 0;
        }
        true
    }

    fn count(&self, class: usize, tally: Tally) {
        if tally.checked != 0 {
            let mut class = self.slabs.class(class);
            class.trim_ring(&self.arena, TRIM);
            let counts = &mut class.counts;
            counts.crawler_items_checked += tally.checked;
            counts.crawler_reclaimed += tally.reclaimed;
            counts.expired_unfetched += tally.unfetched;
        }
    }

    /// Limits the idleness of an item that is still linked.
    #[cold]
    fn limit_idle(&'static self, (handle, item): (Handle, Item), now: u32, key: &mut Vec<u8>) {
        key.clear();
        item.copy_key(key);
        let hash = crate::hash::hash(key);
        let bucket = self.index.lock(hash);
        if bucket.find(hash, |raw| raw == handle.raw()).is_some()
            && let Some(item) = Item::at(self.arena.chunk(handle))
        {
            item.limit_idle(now);
        }
    }

    /// Removes an item that looked lapsed, if it still is; counts it then, and gives true.
    fn unlink_dead(
        &'static self,
        (handle, item): (Handle, Item),
        now: u32,
        key: &mut Vec<u8>,
        tally: &mut Tally,
    ) -> bool {
        key.clear();
        item.copy_key(key);
        point("a dead item is found");
        let hash = crate::hash::hash(key);
        let bucket = self.index.lock(hash);
        let Some((slot, _)) = bucket.find(hash, |raw| raw == handle.raw()) else { return false };
        let Some(item) = Item::at(self.arena.chunk(handle)) else { return false };
        let Some(dead) = self.dead(&item, now) else { return false };
        // A stale item that nobody fetched counts as wasted, one that was flushed does not.
        let is_wasted = dead == Dead::Expired && !item.header().is(state::FETCHED);
        self.unlink(bucket, slot, handle, item);
        self.note_upkeep();
        tally.reclaimed += 1;
        tally.unfetched += u64::from(is_wasted);
        true
    }
}
