//! The hash index: 64-byte buckets of twelve tagged handles, each bucket with its own lock bit.
//!
//! ```text
//! word 0    low half: version << 3 | chain << 2 | moved << 1 | lock     high half: tags 0..4
//! word 1    tags 4..12
//! word 2..8 handles 0..12, two a word
//! ```
//! A tag of 0 marks a free slot; tags of keys are 1..=254. A full bucket moves its last handle to a line of
//! the same shape from the overflow pool, and keeps that line's number in slot 11 (`chain`). A tag of 255 marks a
//! slot that has no handle but a [`Ghost`], what is remembered of an evicted key: only in a bucket's first line,
//! and only until the slot is needed or the bucket moves to a larger table.
//!
//! Owns placement, locking and growth. Knows no items: callers compare keys and give hashes. A bucket's
//! number is `high half of the hash * buckets >> 32`, so when the table grows (by a third, in small steps)
//! old bucket i feeds only new buckets near i * 4/3; a moved bucket says so and its users go to the new
//! table. A table's memory is given back when it is empty but its addresses stay, so a late user of it finds
//! a lock bit to take, sees that the table is no longer in use, and tries again.

mod ghost;
mod growth;
mod look;
mod scan;

pub use ghost::Ghost;

use super::region::{Region, prefetch};
use ghost::GHOST_TAG;
use growth::GROW_AT;
use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::*, fence};

/// Slots of a bucket.
pub const SLOTS: usize = 12;
const LAST: usize = SLOTS - 1;

const LOCK: u64 = 1;
const MOVED: u64 = 2;
const CHAIN: u64 = 4;
const VERSION: u64 = 8;
const LOW_HALF: u64 = 0xffff_ffff;

/// Tag of the slot that links to an overflow line.
const LINK_TAG: u8 = 255;

/// Tables a process can go through: growth by a third from one bucket to 2^32 takes fewer.
const TABLES_MAX: usize = 128;

/// Tries before a waiter lets another thread have the core: the holder may be waiting for it.
const SPINS: u32 = 100;

/// Tag of a hash.
#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash as u8).clamp(1, 254)
}

/// The index.
pub struct Index {
    tables: [OnceLock<Table>; TABLES_MAX],
    /// Number of the current table; in the high half the number of the one it replaces plus 1, or 0.
    current: AtomicU64,
    may_grow: bool,
}

struct Table {
    buckets: Region,
    len: u64,
    overflow: Region,
    pool: Mutex<Pool>,
    /// Next bucket to move to the following table; used by the one thread that grows.
    cursor: AtomicU64,
}

/// Overflow lines not in use. Lock rank: docs/locking.md.
struct Pool {
    free: Vec<u32>,
    next: u32,
    len: u32,
}

impl Table {
    fn new(len: u64) -> Option<Self> {
        // 2 lines a bucket are more than any table below the growth threshold can need. Lines for 180 million
        // items more (address space only) keep a table usable that may not grow, or whose growth is late.
        let lines = 2 * len + (1 << 24);
        Some(Self {
            buckets: Region::reserve(len as usize * 64)?,
            len,
            overflow: Region::reserve((lines as usize + 1) * 64)?,
            pool: Mutex::new(Pool { free: Vec::new(), next: 1, len: lines as u32 }),
            cursor: AtomicU64::new(0),
        })
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        (((hash >> 32) * self.len) >> 32) as usize
    }

    /// The lowest upper half of a hash that falls into `bucket`.
    fn first_place(&self, bucket: usize) -> u64 {
        ((bucket as u64) << 32).div_ceil(self.len)
    }

    #[inline]
    fn line(&self, bucket: usize) -> Line {
        Line(&self.buckets.words()[bucket * 8..bucket * 8 + 8])
    }

    /// Whether growth has passed a bucket. Whoever locked it now would give it memory again that has been given back.
    #[inline]
    fn has_passed(&self, place: usize) -> bool {
        (place as u64) < self.cursor.load(Acquire)
    }

    fn overflow_line(&self, number: u32) -> Line {
        let at = number as usize * 8;
        Line(self.overflow.words().get(at..at + 8).unwrap_or(&self.overflow.words()[..8]))
    }

    fn take_line(&self) -> Option<u32> {
        let mut pool = self.pool.lock();
        // As in `lock_from`: who still reads the bucket that had the line will see that it has changed.
        fence(Release);
        pool.free.pop().or_else(|| {
            let number = pool.next;
            (number <= pool.len).then(|| {
                pool.next += 1;
                number
            })
        })
    }

    fn give_line(&self, number: u32) {
        self.pool.lock().free.push(number);
    }

    /// Has the system give memory for these buckets and for the next overflow lines: the first touch of a huge page
    /// takes it 0.1 ms, in virtual machines several, for which no bucket should stay locked.
    fn touch(&self, first: u64, last: u64) {
        const SMALL_PAGE: usize = 4096 / 64;
        let next_line = u64::from(self.pool.lock().next);
        let buckets = (first..=last.min(self.len - 1)).step_by(SMALL_PAGE).chain([last.min(self.len - 1)]);
        let words = buckets.map(|bucket| &self.line(bucket as usize).0[0]);
        let lines = [next_line, next_line + SMALL_PAGE as u64].map(|number| &self.overflow_line(number as u32).0[0]);
        words.chain(lines).for_each(|word| _ = word.fetch_or(0, Relaxed));
    }

    #[inline]
    fn try_lock(&'static self, bucket: usize) -> Option<Bucket> {
        let line = self.line(bucket);
        let word = line.0[0].load(Relaxed);
        if word & LOCK == 0 { self.lock_from(line, word) } else { None }
    }

    /// Locks the bucket of `line` if its first word is still `word`.
    #[inline]
    fn lock_from(&'static self, line: Line, word: u64) -> Option<Bucket> {
        line.0[0].compare_exchange(word, word | LOCK, Acquire, Relaxed).ok()?;
        // Who reads without the lock what is written from here on will see the lock, or what comes after it.
        fence(Release);
        Some(Bucket { table: self, line })
    }

    #[inline]
    fn lock(&'static self, bucket: usize) -> Bucket {
        let mut tries = 0;
        loop {
            if let Some(bucket) = self.try_lock(bucket) {
                return bucket;
            }
            tries += 1;
            if tries % SPINS == 0 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

/// Eight words: a bucket or an overflow line.
#[derive(Clone, Copy)]
struct Line(&'static [AtomicU64]);

impl Line {
    #[inline]
    fn has_chain(self) -> bool {
        self.0[0].load(Relaxed) & CHAIN != 0
    }

    /// Slots whose tag is `tag`, as a bit mask.
    #[inline]
    fn matching(self, tag: u8) -> u32 {
        let pattern = u64::from(tag) * 0x0101_0101_0101_0101;
        let low = zero_bytes((self.0[0].load(Relaxed) ^ pattern) >> 32 | !LOW_HALF);
        let high = zero_bytes(self.0[1].load(Relaxed) ^ pattern);
        low | high << 4
    }

    #[inline]
    fn handle(self, slot: usize) -> u32 {
        (self.0[2 + slot / 2].load(Relaxed) >> (slot % 2 * 32)) as u32
    }

    fn tag(self, slot: usize) -> u8 {
        if slot < 4 {
            (self.0[0].load(Relaxed) >> (32 + slot * 8)) as u8
        } else {
            (self.0[1].load(Relaxed) >> ((slot - 4) * 8)) as u8
        }
    }

    fn set(self, slot: usize, tag: u8, handle: u32) {
        let (word, shift) = if slot < 4 { (0, 32 + slot * 8) } else { (1, (slot - 4) * 8) };
        let old = self.0[word].load(Relaxed);
        self.0[word].store(old & !(0xff << shift) | u64::from(tag) << shift, Relaxed);
        self.set_handle(slot, handle);
    }

    #[inline]
    fn set_handle(self, slot: usize, handle: u32) {
        let cell = &self.0[2 + slot / 2];
        let shift = slot % 2 * 32;
        cell.store(cell.load(Relaxed) & !(LOW_HALF << shift) | u64::from(handle) << shift, Relaxed);
    }

    fn change_bits(self, clear: u64, set: u64) {
        let word = self.0[0].load(Relaxed);
        self.0[0].store(word & !clear | set, Relaxed);
    }
}

/// One bit for each zero byte of `x`.
#[inline]
fn zero_bytes(x: u64) -> u32 {
    const LOW7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let zero = !((x & LOW7).wrapping_add(LOW7) | x | LOW7);
    // Gathers the eight high bits into one byte.
    ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

/// Where a handle stands in a locked bucket; valid until the bucket changes.
#[derive(Clone, Copy)]
pub struct Slot {
    line: Line,
    slot: usize,
}

/// A locked bucket with its chain; unlocks when dropped.
pub struct Bucket {
    table: &'static Table,
    line: Line,
}

impl Drop for Bucket {
    #[inline]
    fn drop(&mut self) {
        let word = self.line.0[0].load(Relaxed);
        self.line.0[0].store(word & !LOCK, Release);
    }
}

impl Bucket {
    /// The first handle with the hash's tag that `is_it` accepts.
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<(Slot, u32)> {
        let tag = tag_of(hash);
        let mut line = self.line;
        loop {
            let mut matches = line.matching(tag);
            while matches != 0 {
                let slot = matches.trailing_zeros() as usize;
                matches &= matches - 1;
                let handle = line.handle(slot);
                if is_it(handle) {
                    return Some((Slot { line, slot }, handle));
                }
            }
            if !line.has_chain() {
                return None;
            }
            line = self.table.overflow_line(line.handle(LAST));
        }
    }

    /// Changes whenever a handle of the bucket does, or an item of it in place. It comes round after 2^29 changes: who
    /// compares versions must not sleep for that long between two of one bucket.
    #[inline]
    pub fn version(&self) -> u32 {
        self.line.0[0].load(Relaxed) as u32 / VERSION as u32
    }

    /// Puts another handle into a slot: the same key lives elsewhere now.
    #[inline]
    pub fn replace(&mut self, slot: Slot, handle: u32) {
        slot.line.set_handle(slot.slot, handle);
        self.changed();
    }

    /// Enters a handle, if need be in place of the ghost that is worth least by `worth`. False when no overflow line
    /// is left; then nothing changed.
    pub fn insert(&mut self, hash: u64, handle: u32, worth: impl Fn(Ghost) -> u32) -> bool {
        let tag = tag_of(hash);
        if self.line.matching(0) & self.own_slots() == 0
            && let Some(slot) = self.least_ghost(worth)
        {
            self.line.set(slot, tag, handle);
            self.changed();
            return true;
        }
        let mut line = self.line;
        loop {
            let usable = if line.has_chain() { LAST } else { SLOTS };
            let free = line.matching(0).trailing_zeros() as usize;
            if free < usable {
                line.set(free, tag, handle);
                self.changed();
                return true;
            }
            if line.has_chain() {
                line = self.table.overflow_line(line.handle(LAST));
                continue;
            }
            let Some(number) = self.table.take_line() else { return false };
            let next = self.table.overflow_line(number);
            next.set(0, line.tag(LAST), line.handle(LAST));
            next.set(1, tag, handle);
            line.set(LAST, LINK_TAG, number);
            line.change_bits(0, CHAIN);
            self.changed();
            return true;
        }
    }

    /// Takes a handle out. The hole is filled from the end of the chain, so that lines empty and return.
    pub fn remove(&mut self, slot: Slot) {
        slot.line.set(slot.slot, 0, 0);
        self.changed();
        let mut before = None;
        let mut last = self.line;
        while last.has_chain() {
            let number = last.handle(LAST);
            before = Some((last, number));
            last = self.table.overflow_line(number);
        }
        let Some((before, number)) = before else { return };
        let in_last = std::ptr::eq(last.0, slot.line.0);
        let mut used = (0..SLOTS).rev().filter(|&s| last.tag(s) != 0);
        if !in_last && let Some(moving) = used.next() {
            slot.line.set(slot.slot, last.tag(moving), last.handle(moving));
            last.set(moving, 0, 0);
        }
        if (0..SLOTS).all(|s| last.tag(s) == 0) {
            before.set(LAST, 0, 0);
            before.change_bits(CHAIN, 0);
            self.table.give_line(number);
        }
    }

    /// Calls `each` with every handle of the bucket.
    pub fn for_each(&self, mut each: impl FnMut(u32)) {
        let mut line = self.line;
        loop {
            let usable = if line.has_chain() { LAST } else { SLOTS };
            for slot in (0..usable).filter(|&slot| !matches!(line.tag(slot), 0 | GHOST_TAG)) {
                each(line.handle(slot));
            }
            if !line.has_chain() {
                return;
            }
            line = self.table.overflow_line(line.handle(LAST));
        }
    }

    /// Must be called before the lock is given up whenever a reader without it could see a part of a change: if handles
    /// or more than one word of an item changed, or if a chunk can be used anew because no handle leads to it any more.
    #[inline]
    pub fn changed(&mut self) {
        let word = self.line.0[0].load(Relaxed);
        let low = (word & LOW_HALF).wrapping_add(VERSION) & LOW_HALF;
        self.line.0[0].store(word & !LOW_HALF | low, Relaxed);
    }
}

impl Index {
    /// An index sized for `items` items before it first grows; `None` without address space.
    pub fn new(items: u64, may_grow: bool) -> Option<Self> {
        let buckets = (items as f64 / (SLOTS as f64 * GROW_AT)).ceil().max(16.0) as u64;
        let index = Self { tables: [const { OnceLock::new() }; TABLES_MAX], current: AtomicU64::new(0), may_grow };
        index.tables[0].set(Table::new(buckets)?).ok()?;
        Some(index)
    }

    #[inline]
    fn table(&'static self, number: u64) -> &'static Table {
        self.tables[number as usize % TABLES_MAX].get().expect("`current` names only tables that were made")
    }

    /// Loads the bucket of `hash` ahead of use.
    #[inline]
    pub fn prefetch(&'static self, hash: u64) {
        let table = self.table(self.current.load(Acquire) & LOW_HALF);
        prefetch(&table.buckets.words()[table.bucket_of(hash) * 8]);
    }

    /// Calls `each` with the handles in the bucket of `hash` whose tag fits, without the lock: hints only.
    #[inline]
    pub fn peek(&'static self, hash: u64, mut each: impl FnMut(u32)) {
        let table = self.table(self.current.load(Acquire) & LOW_HALF);
        let line = table.line(table.bucket_of(hash));
        let mut matches = line.matching(tag_of(hash));
        while matches != 0 {
            each(line.handle(matches.trailing_zeros() as usize));
            matches &= matches - 1;
        }
    }

    /// Locks the bucket of `hash`.
    #[inline]
    pub fn lock(&'static self, hash: u64) -> Bucket {
        loop {
            let current = self.current.load(Acquire);
            // Growing: the old table counts until the bucket has moved.
            if current >> 32 != 0
                && let Some(bucket) = self.lock_in((current >> 32) - 1, hash)
            {
                return bucket;
            }
            if let Some(bucket) = self.lock_in(current & LOW_HALF, hash) {
                return bucket;
            }
        }
    }

    /// Locks the bucket of `hash`, unless somebody holds it.
    pub fn try_lock(&'static self, hash: u64) -> Option<Bucket> {
        loop {
            let current = self.current.load(Acquire);
            let old = (current >> 32).checked_sub(1);
            for number in old.into_iter().chain([current & LOW_HALF]) {
                let table = self.table(number);
                let place = table.bucket_of(hash);
                if !table.has_passed(place)
                    && let Some(bucket) = self.if_current(number, place, table.try_lock(place)?)
                {
                    return Some(bucket);
                }
            }
        }
    }

    /// Unlocks the bucket of `hash`, whose guard was forgotten.
    #[cfg(feature = "debug-commands")]
    pub fn unlock(&'static self, hash: u64) {
        let table = self.table(self.current.load(Acquire) & LOW_HALF);
        drop(Bucket { table, line: table.line(table.bucket_of(hash)) });
    }

    /// Locks the bucket in one table, unless it has moved on to the next.
    #[inline]
    fn lock_in(&'static self, number: u64, hash: u64) -> Option<Bucket> {
        let table = self.table(number);
        let place = table.bucket_of(hash);
        if table.has_passed(place) { None } else { self.if_current(number, place, table.lock(place)) }
    }

    /// The locked bucket, if its entries are still kept there.
    #[inline]
    fn if_current(&'static self, number: u64, place: usize, bucket: Bucket) -> Option<Bucket> {
        // Acquire: who sees that the memory is zero again must see the cursor that had passed it before.
        let word = bucket.line.0[0].load(Acquire);
        self.is_kept(number, place, word).then_some(bucket)
    }

    /// Whether the entries of the bucket at `place` were kept in table `number` when its first word was `word`, which
    /// was loaded with Acquire.
    #[inline]
    fn is_kept(&'static self, number: u64, place: usize, word: u64) -> bool {
        // Behind the cursor the memory may be given back already, and the moved bit with it.
        let moved = word & MOVED != 0 || self.table(number).has_passed(place);
        let current = self.current.load(Acquire);
        !moved && (current & LOW_HALF == number || current >> 32 == number + 1)
    }

    /// Bytes of the tables in use, overflow lines included. While one replaces another they have as much memory as the
    /// new one will have: that comes as the other goes.
    pub fn bytes(&'static self) -> u64 {
        let current = self.current.load(Acquire);
        let lines = |table: &Table| u64::from(table.pool.lock().next) - 1;
        let table = self.table(current & LOW_HALF);
        let old = (current >> 32).checked_sub(1).map_or(0, |number| lines(self.table(number)));
        (table.len + lines(table) + old) * 64
    }

    /// Slots of the current table.
    pub fn slots(&'static self) -> u64 {
        self.table(self.current.load(Acquire) & LOW_HALF).len * SLOTS as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn index(items: u64) -> &'static Index {
        Box::leak(Box::new(Index::new(items, true).unwrap()))
    }

    /// Splitmix64, to have many hashes from a counter.
    fn hash(n: u64) -> u64 {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ z >> 27
    }

    #[test]
    fn zero_bytes_finds_exactly_the_zeroes() {
        assert_eq!(zero_bytes(0x0001_ff00_8000_0100), 0b1001_0101);
        assert_eq!(zero_bytes(u64::MAX), 0);
        assert_eq!(zero_bytes(0), 0xff);
        for byte in 0..8 {
            assert_eq!(zero_bytes(!(0xff << (byte * 8))), 1 << byte);
        }
    }

    #[test]
    fn behaves_as_a_map_through_overflow_and_growth() {
        let index = index(64);
        let mut model: HashMap<u64, u32> = HashMap::new();
        let by_handle = |handle: u32| hash(u64::from(handle));
        for n in 1..20_000u32 {
            let h = hash(u64::from(n));
            assert!(index.lock(h).insert(h, n, |_| 0));
            model.insert(h, n);
            if n % 3 == 0 {
                let gone = hash(u64::from(n / 2));
                let mut bucket = index.lock(gone);
                let found = bucket.find(gone, |handle| handle == n / 2);
                assert_eq!(found.is_some(), model.remove(&gone).is_some());
                if let Some((slot, _)) = found {
                    bucket.remove(slot);
                }
            }
            if index.wants_growth(model.len() as u64) {
                assert!(index.begin_growth(0));
            }
            index.grow(3, |_| (), by_handle);
        }
        for (h, n) in &model {
            assert!(index.lock(*h).find(*h, |handle| handle == *n).is_some());
        }
        while !index.grow(1000, |_| (), by_handle) {}
        let mut seen = 0;
        let mut place = Some(0);
        while let Some(from) = place {
            place = index.scan(from, by_handle, |handle| {
                seen += 1;
                assert!(model.contains_key(&by_handle(handle)));
            });
        }
        assert_eq!(seen, model.len());
    }

    #[test]
    fn a_bucket_that_is_held_is_refused_and_stays_held() {
        let index = index(1);
        let held = index.lock(7);
        assert!((0..2).all(|_| index.try_lock(7).is_none()));
        drop(held);
    }

    #[test]
    fn one_bucket_can_hold_any_number() {
        let index = index(1);
        for n in 1..=100u32 {
            assert!(index.lock(7).insert(7, n, |_| 0));
        }
        for n in (1..=100u32).rev() {
            let mut bucket = index.lock(7);
            let (slot, _) = bucket.find(7, |handle| handle == n).unwrap();
            bucket.remove(slot);
        }
        let bucket = index.lock(7);
        assert!(bucket.find(7, |_| true).is_none());
        assert!(!bucket.line.has_chain(), "emptied lines go back to the pool");
    }

    #[test]
    fn threads_do_not_lose_entries_while_the_table_grows() {
        let index = index(64);
        let per_thread = 20_000u32;
        std::thread::scope(|scope| {
            for t in 0..3u32 {
                scope.spawn(move || {
                    for n in 1..=per_thread {
                        let handle = t * per_thread + n;
                        let h = hash(u64::from(handle));
                        assert!(index.lock(h).insert(h, handle, |_| 0));
                        assert!(index.lock(h).find(h, |x| x == handle).is_some());
                    }
                });
            }
            scope.spawn(move || {
                for _ in 0..40 {
                    index.begin_growth(0);
                    while !index.grow(64, |_| (), |handle| hash(u64::from(handle))) {}
                }
            });
        });
        for handle in 1..=3 * per_thread {
            let h = hash(u64::from(handle));
            assert!(index.lock(h).find(h, |x| x == handle).is_some(), "{handle}");
        }
    }

    #[test]
    fn a_walk_meets_every_entry_once_though_the_table_grows() {
        let by_handle = |handle: u32| hash(u64::from(handle));
        for steps_a_scan in [0, 1, 2, 3, 7, 50] {
            let index = index(64);
            for n in 1..=2000u32 {
                assert!(index.lock(by_handle(n)).insert(by_handle(n), n, |_| 0));
            }
            let mut seen = HashMap::new();
            let mut place = Some(0);
            while let Some(from) = place {
                place = index.scan(from, by_handle, |handle| *seen.entry(handle).or_insert(0) += 1);
                assert!(place.is_none_or(|next| next > from));
                if index.slots() < 4000 && !index.is_growing() {
                    index.begin_growth(0);
                }
                index.grow(steps_a_scan, |_| (), by_handle);
            }
            assert!((1..=2000).all(|n| seen.get(&n) == Some(&1)), "{steps_a_scan} buckets moved between scans");
        }
    }
}
