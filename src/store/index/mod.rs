//! The hash index: 64-byte buckets of twelve tagged handles, or ten where handles may have 40 bits. Each bucket has its
//! own lock bit.
//!
//! Tag 0 marks a free slot; key tags are 1..=254. A full bucket moves its last handle to an overflow line of three
//! slots, 16 bytes, and keeps that line's number in its last slot (`chain`); so does a full overflow line. Tag 255
//! marks a slot that holds a [`Ghost`] of an evicted key instead of a handle: only in a bucket's first line, and only
//! until the slot is needed or the bucket moves to a larger table. `line` has the bit layout.
//!
//! A bucket's number is `high half of the hash * buckets >> 32`, so when the table grows (by a third, in small steps)
//! old bucket i feeds only new buckets near i * 4/3. A moved bucket is marked, and its users go to the new table. The
//! memory of an emptied table is returned to the kernel but its addresses stay mapped: a late user of it finds a lock
//! bit to take, sees that the table is no longer in use, and retries.
//!
//! Owns placement, locking and growth. Knows no items: callers compare keys and supply hashes. Called by the store.

mod ghost;
mod growth;
mod line;
mod optimistic;
mod overflow;
mod scan;

pub use growth::{GrowthStep, Pace};
pub use line::Ghost;

use crate::cache_lines::{Shared, wrote};
use crate::store::slab::{Region, prefetch};
use crate::sys::panics::{lock_released, lock_taken};
use line::{GHOST_TAG, Line, slots};
use overflow::{LINE_BYTES, Overflow};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::*, fence};

const BUCKET_BYTES: usize = Line::BUCKET * 8;

/// Fill of the slots at which the table grows.
const GROW_AT: f64 = 0.8;

/// Alignment of the parts of a table: no huge page holds the end of one part and the beginning of another, since memory
/// is returned to the kernel in pages.
const PAGE: usize = 2 << 20;

// Bits of a bucket's first word. Bit 2, which says that an overflow line follows, is known to `line` only.
const LOCK: u64 = 1;
const MOVED: u64 = 2;
const VERSION: u64 = 8;
const LOW_HALF: u64 = 0xffff_ffff;

/// Overflow lines per bucket: more than any table below the growth threshold can need.
const LINES_A_BUCKET: u64 = 8;

/// Extra overflow lines: the first of these numbers for which there is address space. With them a table that may not
/// grow, or grows late, holds 134 million more items, or 2 million, or 130,000.
const LINES_MORE: [u64; 3] = [1 << 26, 1 << 20, 1 << 16];

/// Address space that a table leaves to the rest of the process where it is short.
const SPARE: usize = 32 << 20;

/// Maximum tables of a process: growth by a third from one bucket to 2^32 takes fewer.
const TABLES_MAX: usize = 128;

/// Spins before a waiter yields the core: the lock holder may be waiting for it.
const SPINS: u32 = 100;

/// Tag of a hash.
#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash as u8).clamp(1, 254)
}

/// Buckets that hold `items` items before the table should grow.
fn buckets_for(items: u64, long: bool) -> u64 {
    (items as f64 / (Line::bucket_slots(long) as f64 * GROW_AT)).ceil().max(16.0) as u64
}

/// Maps a hash to one of `len` places, 2^32 at most, by its upper half. Hashes of one place stay close if `len` grows.
#[inline]
pub fn place_of(hash: u64, len: u64) -> usize {
    (((hash >> 32) * len) >> 32) as usize
}

/// Slots for the tables of a process, all empty.
fn no_tables() -> Option<Box<[OnceLock<Table>; TABLES_MAX]>> {
    let tables: Box<[_]> = std::iter::repeat_with(OnceLock::new).take(TABLES_MAX).collect();
    tables.try_into().ok()
}

/// The index.
pub struct Index {
    /// Boxed: 80 KB, which would be copied between frames of a small stack at start.
    tables: Box<[OnceLock<Table>; TABLES_MAX]>,
    /// Number of the current table; in the high half the number of the table it replaces plus 1, or 0.
    current: AtomicU64,
    may_grow: bool,
    /// Set where address space counts as memory: little of it is reserved.
    lean: bool,
}

struct Table {
    buckets: Region,
    len: u64,
    overflow: Overflow,
    /// Next bucket to move to the successor; written by the growing thread only.
    cursor: AtomicU64,
    /// Buckets before this one have, or had, memory; used by the growing thread only.
    touched: AtomicU64,
    /// The memory of buckets before this one was returned to the kernel; used by the growing thread only.
    given_back: AtomicU64,
}

impl Table {
    /// Creates a table of `len` buckets. Unless it is `lean`, tries to reserve overflow lines for a table that may not
    /// grow.
    fn new(len: u64, long: bool, lean: bool) -> Option<Self> {
        let buckets = (len as usize * BUCKET_BYTES).next_multiple_of(PAGE);
        let (region, lines) = LINES_MORE[usize::from(lean)..].iter().find_map(|more| {
            let lines = (LINES_A_BUCKET * len + more).min(u64::from(u32::MAX) - 1);
            // One reservation: all of it or nothing.
            Some((Region::reserve(buckets + (lines as usize + 1) * LINE_BYTES, SPARE)?, lines))
        })?;
        let (buckets, overflow) = region.split(buckets / 8);
        Some(Self {
            buckets,
            len,
            overflow: Overflow::over(overflow, lines, long),
            cursor: AtomicU64::new(0),
            touched: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
        })
    }

    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        place_of(hash, self.len)
    }

    /// The lowest upper half of a hash that falls into `bucket`.
    fn first_place(&self, bucket: usize) -> u64 {
        ((bucket as u64) << 32).div_ceil(self.len)
    }

    #[inline]
    fn line(&self, bucket: usize) -> Line {
        Line::bucket(self.buckets.words(), bucket, self.overflow.is_long())
    }

    /// Slots of all buckets, without overflow lines.
    fn slots(&self) -> u64 {
        self.len * Line::bucket_slots(self.overflow.is_long()) as u64
    }

    /// Whether growth has moved a bucket on. Locking it then would allocate memory that was returned to the kernel.
    #[inline]
    fn has_passed(&self, place: usize) -> bool {
        (place as u64) < self.cursor.load(Acquire)
    }

    #[inline]
    fn try_lock(&'static self, bucket: usize) -> Option<Bucket> {
        let line = self.line(bucket);
        let word = line.words[0].load(Relaxed);
        if word & LOCK == 0 { self.lock_from(line, word) } else { None }
    }

    /// Locks the bucket of `line` if its first word is still `word`.
    #[inline]
    fn lock_from(&'static self, line: Line, word: u64) -> Option<Bucket> {
        wrote(Shared::Bucket, &line.words[0]);
        line.words[0].compare_exchange(word, word | LOCK, Acquire, Relaxed).ok()?;
        // An optimistic read that loads a word written after this fence sees the lock bit, or a later first word.
        fence(Release);
        lock_taken();
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

/// Position of a handle in a locked bucket; valid until the bucket changes.
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
        lock_released();
        let word = self.line.words[0].load(Relaxed);
        self.line.words[0].store(word & !LOCK, Release);
    }
}

impl Bucket {
    /// Returns the first handle with the hash's tag that `is_it` accepts.
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u64) -> bool) -> Option<(Slot, u64)> {
        let tag = tag_of(hash);
        let mut line = self.line;
        loop {
            for slot in slots(line.matching(tag)) {
                let handle = line.handle(slot);
                if is_it(handle) {
                    return Some((Slot { line, slot }, handle));
                }
            }
            line = self.table.overflow.line(line.next()?);
        }
    }

    /// Version of the bucket: changes with its handles, and with in-place changes of its items. Wraps after 2^29
    /// changes, so a thread that compares versions must not pause for that long in between.
    #[inline]
    pub fn version(&self) -> u32 {
        self.line.words[0].load(Relaxed) as u32 / VERSION as u32
    }

    /// Replaces the handle in a slot, for another item of the same key.
    #[inline]
    pub fn replace(&mut self, slot: Slot, handle: u64) {
        wrote(Shared::Bucket, slot.line.words);
        slot.line.set_handle(slot.slot, handle);
        self.changed();
    }

    /// Inserts a handle, in place of the ghost with the least `worth` if no slot of the first line is free. False if no
    /// overflow line is left; nothing has changed then.
    pub fn insert(&mut self, hash: u64, handle: u64, worth: impl Fn(Ghost) -> u64) -> bool {
        let tag = tag_of(hash);
        if self.line.matching(0) & self.line.own_slots() == 0
            && let Some(slot) = self.least_ghost(worth)
        {
            self.line.set(slot, tag, handle);
            self.changed();
            return true;
        }
        let mut line = self.line;
        loop {
            if let Some(free) = slots(line.matching(0) & line.own_slots()).next() {
                wrote(Shared::Bucket, line.words);
                line.set(free, tag, handle);
                self.changed();
                return true;
            }
            if let Some(number) = line.next() {
                line = self.table.overflow.line(number);
                continue;
            }
            let Some(number) = self.table.overflow.take() else { return false };
            let next = self.table.overflow.line(number);
            let (last_tag, last_handle) = line.last();
            [line, next].iter().for_each(|line| wrote(Shared::Bucket, line.words));
            next.set(0, last_tag, last_handle);
            next.set(1, tag, handle);
            line.link(number);
            self.changed();
            return true;
        }
    }

    /// Removes a handle. The chain's last handle fills its slot, so that overflow lines become empty and are freed.
    pub fn remove(&mut self, slot: Slot) {
        wrote(Shared::Bucket, slot.line.words);
        slot.line.set(slot.slot, 0, 0);
        self.changed();
        let mut before = None;
        let mut last = self.line;
        while let Some(number) = last.next() {
            before = Some((last, number));
            last = self.table.overflow.line(number);
        }
        let Some((before, number)) = before else { return };
        let in_last = std::ptr::eq(last.words, slot.line.words);
        let fills = if in_last { None } else { slots(last.used()).last() };
        if let Some(moving) = fills {
            slot.line.set(slot.slot, last.tag(moving), last.handle(moving));
            last.set(moving, 0, 0);
            wrote(Shared::Bucket, last.words);
        }
        if last.used() == 0 {
            before.end();
            self.table.overflow.give(number);
        }
    }

    /// Calls `each` with every handle of the bucket.
    pub fn for_each(&self, mut each: impl FnMut(u64)) {
        let mut line = self.line;
        loop {
            slots(line.used() & line.own_slots() & !line.matching(GHOST_TAG)).for_each(|slot| each(line.handle(slot)));
            let Some(next) = line.next() else { return };
            line = self.table.overflow.line(next);
        }
    }

    /// Increments the version. Must be called before the unlock whenever an optimistic read could see part of a change:
    /// if handles or more than one word of an item changed, or a chunk may be reused because its handle was removed.
    #[inline]
    pub fn changed(&mut self) {
        let word = self.line.words[0].load(Relaxed);
        let mut low = (word & LOW_HALF).wrapping_add(VERSION) & LOW_HALF;
        if low < VERSION {
            low += VERSION; // version 0 means that the bucket never changed
        }
        self.line.words[0].store(word & !LOW_HALF | low, Relaxed);
    }
}

impl Index {
    /// Least address space in bytes that [`Index::new`] reserves.
    pub fn least_bytes(items: u64, long: bool) -> usize {
        let bucket = BUCKET_BYTES + LINES_A_BUCKET as usize * LINE_BYTES;
        buckets_for(items, long) as usize * bucket + LINES_MORE[LINES_MORE.len() - 1] as usize * LINE_BYTES
    }

    /// Creates an index for `items` items before it first grows, for 40-bit handles if `long`. A `lean` one reserves
    /// little address space, unless it may not grow. `None` without address space.
    pub fn new(items: u64, may_grow: bool, long: bool, lean: bool) -> Option<Self> {
        let index = Self { tables: no_tables()?, current: AtomicU64::new(0), may_grow, lean: lean && may_grow };
        index.tables[0].set(Table::new(buckets_for(items, long), long, index.lean)?).ok()?;
        Some(index)
    }

    #[inline]
    fn table(&'static self, number: u64) -> &'static Table {
        self.tables[number as usize % TABLES_MAX].get().expect("`current` names only tables that were made")
    }

    /// Prefetches the bucket of `hash`.
    #[inline]
    pub fn prefetch(&'static self, hash: u64) {
        let table = self.table(self.current.load(Acquire) & LOW_HALF);
        prefetch(&table.line(table.bucket_of(hash)).words[0]);
    }

    /// Calls `each` with the handles that have the hash's tag in the first line of its bucket, without the lock: hints
    /// only.
    #[inline]
    pub fn peek(&'static self, hash: u64, mut each: impl FnMut(u64)) {
        let table = self.table(self.current.load(Acquire) & LOW_HALF);
        let line = table.line(table.bucket_of(hash));
        slots(line.matching(tag_of(hash))).for_each(|slot| each(line.handle(slot)));
    }

    /// Locks the bucket of `hash`.
    #[inline]
    pub fn lock(&'static self, hash: u64) -> Bucket {
        loop {
            let current = self.current.load(Acquire);
            // During growth the old table is valid until the bucket has moved.
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

    /// Locks the bucket of `hash`, unless it is locked already.
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

    /// Unlocks the bucket of `hash` after its guard was forgotten.
    #[cfg(feature = "debug-commands")]
    pub fn unlock(&'static self, hash: u64) {
        let table = self.table(self.current.load(Acquire) & LOW_HALF);
        lock_taken();
        drop(Bucket { table, line: table.line(table.bucket_of(hash)) });
    }

    /// Locks the bucket in one table, unless it has moved to the successor.
    #[inline]
    fn lock_in(&'static self, number: u64, hash: u64) -> Option<Bucket> {
        let table = self.table(number);
        let place = table.bucket_of(hash);
        if table.has_passed(place) { None } else { self.if_current(number, place, table.lock(place)) }
    }

    /// Returns the locked bucket if its entries are still in that table.
    #[inline]
    fn if_current(&'static self, number: u64, place: usize, bucket: Bucket) -> Option<Bucket> {
        // Acquire: a thread that reads zeroes of returned memory must see the cursor that had passed the bucket before.
        let word = bucket.line.words[0].load(Acquire);
        self.is_kept(bucket.table, number, place, word).then_some(bucket)
    }

    /// Whether `table`, which has this `number`, had the entries of the bucket at `place` when the bucket's first word
    /// was `word`. That word must be loaded with Acquire.
    #[inline]
    fn is_kept(&self, table: &Table, number: u64, place: usize, word: u64) -> bool {
        // Below the cursor the memory may have been returned to the kernel, and the moved bit with it.
        let moved = word & MOVED != 0 || table.has_passed(place);
        let current = self.current.load(Acquire);
        !moved && (current & LOW_HALF == number || current >> 32 == number + 1)
    }

    /// Bytes of the tables in use, overflow lines included. During growth only the new table's buckets count: it gets
    /// memory as the old one returns it.
    pub fn bytes(&'static self) -> u64 {
        let current = self.current.load(Acquire);
        let table = self.table(current & LOW_HALF);
        let old = (current >> 32).checked_sub(1).map_or(0, |number| self.table(number).overflow.bytes());
        table.len * BUCKET_BYTES as u64 + table.overflow.bytes() + old
    }

    /// Slots of the current table.
    pub fn slots(&'static self) -> u64 {
        self.table(self.current.load(Acquire) & LOW_HALF).slots()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn index(items: u64, long: bool) -> &'static Index {
        Box::leak(Box::new(Index::new(items, true, long, false).unwrap()))
    }

    /// Both forms of handles, with the number of the first one.
    const FORMS: [(bool, u64); 2] = [(false, 0), (true, 0xab_ffff_f000)];

    /// Splitmix64: hashes from a counter.
    fn hash(n: u64) -> u64 {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ z >> 27
    }

    #[test]
    fn behaves_as_a_map_through_overflow_and_growth() {
        FORMS.into_iter().for_each(|(long, base)| behaves_as_a_map(index(64, long), base));
    }

    fn behaves_as_a_map(index: &'static Index, base: u64) {
        let mut model: HashMap<u64, u64> = HashMap::new();
        for n in 1..20_000 {
            let h = hash(base + n);
            assert!(index.lock(h).insert(h, base + n, |_| 0));
            model.insert(h, base + n);
            if n % 3 == 0 {
                let gone = hash(base + n / 2);
                let mut bucket = index.lock(gone);
                let found = bucket.find(gone, |handle| handle == base + n / 2);
                assert_eq!(found.is_some(), model.remove(&gone).is_some());
                if let Some((slot, _)) = found {
                    bucket.remove(slot);
                }
            }
            if index.wants_growth(model.len() as u64) {
                assert!(index.begin_growth(0, Pace::Wide));
            }
            index.grow(3, |_| (), hash);
        }
        for (h, n) in &model {
            assert!(index.lock(*h).find(*h, |handle| handle == *n).is_some());
            let read = index.begin_read(*h).unwrap();
            assert_eq!(read.find(*h, |handle| (handle == *n).then_some(handle)), Ok(Some(*n)));
        }
        while index.grow(1000, |_| (), hash) != GrowthStep::Over {}
        let mut seen = 0;
        let mut place = Some(0);
        while let Some(from) = place {
            place = index.scan(from, hash, |handle| {
                seen += 1;
                assert!(model.contains_key(&hash(handle)));
            });
        }
        assert_eq!(seen, model.len());
    }

    #[test]
    fn try_lock_fails_on_a_locked_bucket_and_leaves_it_locked() {
        let index = index(1, false);
        let held = index.lock(7);
        assert!((0..2).all(|_| index.try_lock(7).is_none()));
        drop(held);
    }

    #[test]
    fn one_bucket_can_hold_any_number() {
        for (long, base) in FORMS {
            let index = index(1, long);
            for n in base + 1..=base + 100 {
                assert!(index.lock(7).insert(7, n, |_| 0));
            }
            for n in (base + 1..=base + 100).rev() {
                let mut bucket = index.lock(7);
                let (slot, _) = bucket.find(7, |handle| handle == n).unwrap();
                bucket.remove(slot);
            }
            let bucket = index.lock(7);
            assert!(bucket.find(7, |_| true).is_none());
            assert!(bucket.line.next().is_none(), "emptied lines return to the pool");
        }
    }

    #[test]
    fn a_reader_sees_a_change_though_the_version_comes_round() {
        let index = index(1, false);
        assert!(index.lock(7).insert(7, 1, |_| 0));
        let word = &index.begin_read(7).unwrap().line().words[0];
        word.store(word.load(Relaxed) | LOW_HALF & !(VERSION - 1), Relaxed);
        for n in 2..6 {
            let read = index.begin_read(7).unwrap();
            assert!(read.validate());
            assert!(index.lock(7).insert(7, n, |_| 0));
            assert!(!read.validate(), "change {n} is not seen");
            // Version 0 means that the bucket was never used.
            assert_ne!(index.begin_read(7).unwrap().version(), 0);
            assert_eq!(index.begin_read(7).unwrap().find(7, |handle| (handle == n).then_some(())), Ok(Some(())));
        }
    }

    #[test]
    fn the_table_has_as_many_buckets_at_most_as_half_a_hash_can_name() {
        const MOST: u64 = 1 << 32;
        let table = Table::new(MOST - 5, true, true).unwrap();
        for pace in [Pace::Wide, Pace::Narrow] {
            assert_eq!(table.next_len(0, pace), MOST);
            assert_eq!(table.next_len(u64::MAX, pace), MOST);
        }
        let index: &'static Index = Box::leak(Box::new(Index {
            tables: no_tables().unwrap(),
            current: AtomicU64::new(0),
            may_grow: true,
            lean: true,
        }));
        assert!(index.tables[0].set(Table::new(MOST, true, true).unwrap()).is_ok());
        assert_eq!(index.table(0).bucket_of(u64::MAX) as u64, MOST - 1);
        assert!(!index.wants_growth(u64::MAX) && !index.is_short_of_ghosts(u64::MAX), "eviction without a gain");
        assert!(!index.begin_growth(u64::MAX, Pace::Wide));
    }

    #[test]
    fn the_last_table_wants_no_successor() {
        let index: &'static Index = Box::leak(Box::new(Index {
            tables: no_tables().unwrap(),
            current: AtomicU64::new(TABLES_MAX as u64 - 1),
            may_grow: true,
            lean: true,
        }));
        assert!(index.tables[TABLES_MAX - 1].set(Table::new(16, false, true).unwrap()).is_ok());
        assert!(!index.wants_growth(1 << 20) && !index.is_short_of_ghosts(1 << 20), "eviction without a gain");
        assert!(!index.begin_growth(1 << 20, Pace::Wide));
        for n in 1..=10_000 {
            assert!(index.lock(hash(n)).insert(hash(n), n, |_| 0));
        }
        assert!((1..=10_000).all(|n| index.lock(hash(n)).find(hash(n), |handle| handle == n).is_some()));
    }

    #[test]
    fn threads_do_not_lose_entries_while_the_table_grows() {
        let index = index(64, false);
        let per_thread = 20_000;
        std::thread::scope(|scope| {
            for t in 0..3 {
                scope.spawn(move || {
                    for n in 1..=per_thread {
                        let handle = t * per_thread + n;
                        let h = hash(handle);
                        assert!(index.lock(h).insert(h, handle, |_| 0));
                        assert!(index.lock(h).find(h, |x| x == handle).is_some());
                    }
                });
            }
            scope.spawn(move || {
                for _ in 0..40 {
                    index.begin_growth(0, Pace::Wide);
                    while index.grow(64, |_| (), hash) != GrowthStep::Over {}
                }
            });
        });
        for handle in 1..=3 * per_thread {
            let h = hash(handle);
            assert!(index.lock(h).find(h, |x| x == handle).is_some(), "{handle}");
        }
    }

    #[test]
    fn a_walk_visits_every_entry_once_while_the_table_grows() {
        for steps_a_scan in [0, 1, 2, 3, 7, 50] {
            let index = index(64, false);
            for n in 1..=2000 {
                assert!(index.lock(hash(n)).insert(hash(n), n, |_| 0));
            }
            let mut seen = HashMap::new();
            let mut place = Some(0);
            while let Some(from) = place {
                place = index.scan(from, hash, |handle| *seen.entry(handle).or_insert(0) += 1);
                assert!(place.is_none_or(|next| next > from));
                if index.slots() < 4000 && !index.is_growing() {
                    index.begin_growth(0, Pace::Wide);
                }
                index.grow(steps_a_scan, |_| (), hash);
            }
            assert!((1..=2000).all(|n| seen.get(&n) == Some(&1)), "{steps_a_scan} buckets moved between scans");
        }
    }
}
