//! The largest items, for `stats largest`.
//!
//! Owns the list. The caller walks in steps: all memory is passed. Sizes are read without locks; only an item that may
//! belong to the list is locked, for the copy of its key. Knows no format.

use crate::limits::KEY_MAX;
use crate::store::{Entry, Store, Walk};

/// Room that the copy of a key needs.
const KEY_ROOM: usize = KEY_MAX + 16;

/// An item, as it was when the walk passed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LargeItem {
    /// Its key.
    pub key: Vec<u8>,
    /// Size as memcached counts it, by which items are ranked, in bytes.
    pub size: usize,
    /// Length of its value, in bytes.
    pub value: usize,
    /// Slab class.
    pub class: u8,
    /// Seconds since the last access.
    pub age: u32,
    /// Expiry time; 0 = never.
    pub exptime: u32,
}

/// A search for the largest items.
pub struct LargestItems {
    walk: Walk,
    /// As many as are wanted; the size of a free place is 0.
    items: Vec<LargeItem>,
    /// A key that is compared.
    key: Vec<u8>,
}

impl LargestItems {
    /// Begins a search for `count` items. `None` if memory is short.
    pub fn new(store: &Store, count: usize) -> Option<Self> {
        let room = || {
            let mut key = Vec::new();
            key.try_reserve_exact(KEY_ROOM).ok().map(|()| key)
        };
        let mut items = Vec::new();
        items.try_reserve_exact(count).ok()?;
        for _ in 0..count {
            items.push(LargeItem { key: room()?, ..LargeItem::default() });
        }
        Some(Self { walk: store.begin_walk(u64::MAX << 1), items, key: room()? })
    }

    /// Passes the next `slots` slots of memory; true when all are passed.
    pub fn step(&mut self, store: &'static Store, slots: u32, now: u32) -> bool {
        let least = self.items.iter().map(|item| item.size).min().unwrap_or(0);
        let Self { walk, items, key } = self;
        walk.skip_below(least + 1);
        store.walk(walk, slots, now, |entry| {
            offer(items, key, entry, now);
            true
        })
    }

    /// The items that were found, smallest first.
    pub fn into_items(mut self) -> Vec<LargeItem> {
        self.items.retain(|item| item.size > 0);
        self.items.sort_by(|one, other| (one.size, &other.key).cmp(&(other.size, &one.key)));
        self.items
    }
}

/// Puts an item in place of the smallest one, or of one with the same key: a page move may show an item twice.
fn offer(items: &mut [LargeItem], key: &mut Vec<u8>, entry: &Entry, now: u32) {
    key.clear();
    entry.copy_key(key);
    let size = entry.memcached_size();
    let same = items.iter().position(|item| item.size > 0 && item.key == *key);
    let smallest = || {
        let (at, item) = items.iter().enumerate().min_by_key(|(_, item)| item.size)?;
        (item.size < size).then_some(at)
    };
    let Some(at) = same.or_else(smallest) else { return };
    let item = &mut items[at];
    std::mem::swap(&mut item.key, key);
    (item.size, item.value, item.class) = (size, entry.vlen(), entry.class());
    (item.age, item.exptime) = (now.saturating_sub(entry.atime(now)), entry.exptime(now));
}
