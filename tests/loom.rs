//! Models of the store's thread protocols, run by loom through every interleaving.
//!
//! Each model repeats one protocol of `src/store` with the same orderings and nothing else: the bucket's lock bit,
//! pins, index growth, labels and their counts, rescues by the mover, magazines, and optimistic reads. A model of a
//! protocol that lacks an ordering must fail, so each has such a variant next to it. Built with `--cfg loom_models` only;
//! run by `make loom`.
#![cfg(loom_models)]
#![allow(clippy::unwrap_used)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, Ordering::*, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;

const LOCK: u64 = 1;
const MOVED: u64 = 2;
const VERSION: u64 = 8;

/// Runs `model` in all interleavings with up to `preemptions` forced switches.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Takes the lock bit, as `Table::lock` does.
fn lock(word: &AtomicU64) {
    loop {
        let old = word.load(Relaxed);
        if old & LOCK == 0 && word.compare_exchange(old, old | LOCK, Acquire, Relaxed).is_ok() {
            return;
        }
        thread::yield_now();
    }
}

/// Releases the lock bit, as dropping a `Bucket` does.
fn unlock(word: &AtomicU64, order: Ordering) {
    let old = word.load(Relaxed);
    word.store(old & !LOCK, order);
}

/// A chunk of two words; an intact value has the same number in both.
#[derive(Default)]
struct Chunk([AtomicU64; 2]);

impl Chunk {
    fn write(&self, value: u64) {
        self.0.iter().for_each(|word| word.store(value, Relaxed));
    }

    fn read(&self) -> (u64, u64) {
        (self.0[0].load(Relaxed), self.0[1].load(Relaxed))
    }
}

/// One bucket with one slot, and the two chunks that its key's values alternate between.
#[derive(Default)]
struct Cell {
    word: AtomicU64,
    slot: AtomicUsize,
    chunks: [Chunk; 2],
}

/// Two sets of the key, the second into the chunk that the first one freed, while another thread reads.
fn replace_under_lock(unlocking: Ordering) {
    let cell = Arc::new(Cell::default());
    let writer = Arc::clone(&cell);
    let writing = thread::spawn(move || {
        for value in 1..=2u64 {
            let free = value as usize % 2;
            writer.chunks[free].write(value);
            lock(&writer.word);
            writer.slot.store(free, Relaxed);
            unlock(&writer.word, unlocking);
        }
    });
    lock(&cell.word);
    let (first, second) = cell.chunks[cell.slot.load(Relaxed)].read();
    unlock(&cell.word, unlocking);
    assert_eq!(first, second, "a torn value");
    writing.join().unwrap();
}

#[test]
fn a_locked_read_sees_whole_values() {
    explore(4, || replace_under_lock(Release));
}

#[test]
#[should_panic(expected = "a torn value")]
fn unlocking_must_release() {
    explore(4, || replace_under_lock(Relaxed));
}

const DEAD: u64 = 1 << 31;
const COUNT: u64 = DEAD - 1;

/// A linked item with a large value: bytes that readers borrow without a lock.
struct Large {
    word: AtomicU64,
    linked: AtomicU32,
    pins: AtomicU64,
    value: UnsafeCell<u64>,
    freed: AtomicUsize,
}

impl Large {
    /// The chunk now belongs to another thread, which writes to it.
    fn free(&self) {
        self.freed.fetch_add(1, Relaxed);
        // loom checks that no reader is left.
        self.value.with_mut(|_| ());
    }
}

/// A deleter, a reader that has already pinned and one that may pin; the last of the three frees.
fn pin_and_unlink(unpinning: Ordering) {
    let large = Arc::new(Large {
        word: AtomicU64::new(0),
        linked: AtomicU32::new(1),
        pins: AtomicU64::new(1),
        value: UnsafeCell::new(7),
        freed: AtomicUsize::new(0),
    });
    let read = move |large: &Large| {
        large.value.with(|_| ());
        if large.pins.fetch_sub(1, unpinning) & (DEAD | COUNT) == DEAD | 1 {
            large.free();
        }
    };
    let pinned = Arc::clone(&large);
    let first = thread::spawn(move || read(&pinned));
    let found = Arc::clone(&large);
    let second = thread::spawn(move || {
        lock(&found.word);
        let hit = found.linked.load(Relaxed) == 1;
        if hit {
            found.pins.fetch_add(1, AcqRel);
        }
        unlock(&found.word, Release);
        if hit {
            read(&found);
        }
    });
    lock(&large.word);
    large.linked.store(0, Relaxed);
    unlock(&large.word, Release);
    if large.pins.fetch_or(DEAD, AcqRel) & COUNT == 0 {
        large.free();
    }
    first.join().unwrap();
    second.join().unwrap();
    assert_eq!(large.freed.load(Relaxed), 1);
}

#[test]
fn a_pinned_value_is_freed_once_and_last() {
    explore(3, || pin_and_unlink(AcqRel));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn unpinning_must_release() {
    explore(3, || pin_and_unlink(Relaxed));
}

/// A table of one bucket with room for three entries; entry 0 = free. A thread that loads a word zeroed by the kernel
/// has passed a barrier (the kernel removed the page from its core): acquiring loads model that.
#[derive(Default)]
struct Table {
    word: AtomicU64,
    entries: [AtomicU32; 3],
    /// Number of moved buckets.
    cursor: AtomicU64,
}

impl Table {
    fn insert(&self, entry: u32) {
        let free = self.entries.iter().find(|cell| cell.load(Relaxed) == 0).unwrap();
        free.store(entry, Relaxed);
    }

    fn unlock(&self) {
        let old = self.word.load(Acquire);
        self.word.store(old & !LOCK, Release);
    }
}

/// Two tables, as in `Index`, with table numbers 0 and 1.
#[derive(Default)]
struct Index {
    tables: [Table; 2],
    /// Current table; in the high half, the number of the table it replaces plus 1.
    current: AtomicU64,
}

impl Index {
    fn lock(&self) -> &Table {
        loop {
            let current = self.current.load(Acquire);
            if current >> 32 != 0
                && let Some(table) = self.lock_in((current >> 32) - 1)
            {
                return table;
            }
            if let Some(table) = self.lock_in(current & 0xffff_ffff) {
                return table;
            }
            thread::yield_now();
        }
    }

    fn lock_in(&self, number: u64) -> Option<&Table> {
        let table = &self.tables[number as usize];
        lock(&table.word);
        let moved = table.word.load(Acquire) & MOVED != 0 || table.cursor.load(Acquire) > 0;
        let current = self.current.load(Acquire);
        let in_use = current & 0xffff_ffff == number || current >> 32 == number + 1;
        if !moved && in_use {
            return Some(table);
        }
        table.unlock();
        None
    }

    fn add(&self, entry: u32) {
        let table = self.lock();
        table.insert(entry);
        table.unlock();
    }

    fn has(&self, entry: u32) -> bool {
        let table = self.lock();
        let found = table.entries.iter().any(|cell| cell.load(Relaxed) == entry);
        table.unlock();
        found
    }

    fn grow(&self, forget_to_mark: bool) {
        self.current.store(1 | 1 << 32, Release);
        let [old, new] = &self.tables;
        lock(&old.word);
        for entry in old.entries.iter().map(|cell| cell.load(Relaxed)).filter(|entry| *entry != 0) {
            lock(&new.word);
            new.insert(entry);
            new.unlock();
        }
        if !forget_to_mark {
            old.word.store(old.word.load(Relaxed) | MOVED, Relaxed);
        }
        old.unlock();
        if !forget_to_mark {
            old.cursor.store(1, Release);
        }
        self.current.store(1, Release);
        // The kernel releases the memory.
        old.entries.iter().for_each(|cell| cell.store(0, Relaxed));
        old.word.store(0, Release);
    }
}

fn grow_while_used(forget_to_mark: bool) {
    let index = Arc::new(Index::default());
    index.add(1);
    let user = Arc::clone(&index);
    let using = thread::spawn(move || {
        user.add(2);
        assert!(user.has(2) && user.has(1), "an entry was lost");
    });
    index.grow(forget_to_mark);
    using.join().unwrap();
    assert!(index.has(1) && index.has(2), "an entry was lost");
}

#[test]
fn growth_loses_no_entry() {
    explore(3, || grow_while_used(false));
}

#[test]
#[should_panic(expected = "an entry was lost")]
fn growth_must_mark_moved_buckets() {
    explore(3, || grow_while_used(true));
}

/// The part that a variant omits from the optimistic read.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    /// The fence after taking the bucket's lock bit.
    LockFence,
    /// The fence after taking the class's lock.
    ClassFence,
    /// The version increment on a change.
    Version,
    /// The fence between reading and the second load of the version.
    Check,
    /// Both marks of a moved bucket.
    Moved,
    /// The check that the bucket is unchanged before an access is recorded.
    Same,
}

impl Without {
    /// Takes the lock bit and fences, as `Table::lock_from` does.
    fn lock(self, word: &AtomicU64) {
        lock(word);
        if self != Self::LockFence {
            fence(Release);
        }
    }

    /// As `Bucket::changed`.
    fn change(self, word: &AtomicU64) {
        if self != Self::Version {
            word.store(word.load(Relaxed) + VERSION, Relaxed);
        }
    }

    /// As `OptimisticRead::validate`.
    fn holds(self, word: &AtomicU64, before: u64) -> bool {
        if self != Self::Check {
            fence(Acquire);
        }
        word.load(Relaxed) == before
    }
}

/// An optimistic read of a bucket: version, slot, words, version again. One thread gives the key another chunk and
/// frees the old one; another takes that chunk for a value of its own. A thread that writes a chunk has fenced since
/// the chunk last changed hands: when it took the bucket's lock to unlink the item, or the class's lock to take the
/// chunk.
fn read_without_lock(without: Without) {
    let cell = Arc::new(Cell::default());
    let class = Arc::new(Mutex::new(None));
    cell.chunks[1].write(1);
    let (writer, freed) = (Arc::clone(&cell), Arc::clone(&class));
    let writing = thread::spawn(move || {
        without.lock(&writer.word);
        writer.slot.store(1, Relaxed);
        without.change(&writer.word);
        unlock(&writer.word, Release);
        // The free list's mark.
        writer.chunks[0].0[0].store(9, Relaxed);
        *freed.lock().unwrap() = Some(0);
    });
    let taker = Arc::clone(&cell);
    let taking = thread::spawn(move || {
        let taken: Option<usize> = class.lock().unwrap().take();
        if let Some(chunk) = taken {
            if without != Without::ClassFence {
                fence(Release);
            }
            // The free list has already written the first word.
            taker.chunks[chunk].0[1].store(7, Relaxed);
        }
    });
    let before = cell.word.load(Acquire);
    if before & LOCK == 0 {
        let (first, second) = cell.chunks[cell.slot.load(Relaxed)].read();
        if without.holds(&cell.word, before) {
            assert_eq!(first, second, "a torn value");
            assert_eq!(first, before / VERSION, "another value than the version's");
        }
    }
    writing.join().unwrap();
    taking.join().unwrap();
}

#[test]
fn a_validated_read_sees_whole_values() {
    explore(4, || read_without_lock(Without::Nothing));
}

#[test]
#[should_panic(expected = "value")]
fn freeing_a_chunk_needs_a_fence() {
    explore(4, || read_without_lock(Without::LockFence));
}

#[test]
#[should_panic(expected = "value")]
fn reusing_a_chunk_needs_a_fence() {
    explore(4, || read_without_lock(Without::ClassFence));
}

#[test]
#[should_panic(expected = "value")]
fn freeing_a_chunk_needs_another_version() {
    explore(4, || read_without_lock(Without::Version));
}

#[test]
#[should_panic(expected = "value")]
fn validation_needs_a_fence() {
    explore(4, || read_without_lock(Without::Check));
}

/// A value that changes in place, twice, while it is read.
fn read_while_changed(without: Without) {
    let cell = Arc::new(Cell::default());
    let writer = Arc::clone(&cell);
    let writing = thread::spawn(move || {
        for value in 1..=2 {
            without.lock(&writer.word);
            writer.chunks[0].write(value);
            without.change(&writer.word);
            unlock(&writer.word, Release);
        }
    });
    let before = cell.word.load(Acquire);
    if before & LOCK == 0 {
        let (first, second) = cell.chunks[0].read();
        if without.holds(&cell.word, before) {
            assert_eq!((first, second), (before / VERSION, before / VERSION), "a torn value");
        }
    }
    writing.join().unwrap();
}

#[test]
fn a_validated_read_sees_no_half_of_a_change() {
    explore(4, || read_while_changed(Without::Nothing));
}

#[test]
#[should_panic(expected = "a torn value")]
fn a_change_in_place_needs_a_fence() {
    explore(4, || read_while_changed(Without::LockFence));
}

#[test]
#[should_panic(expected = "a torn value")]
fn a_change_in_place_needs_another_version() {
    explore(4, || read_while_changed(Without::Version));
}

#[test]
#[should_panic(expected = "a torn value")]
fn a_read_of_a_change_in_place_needs_a_fence() {
    explore(4, || read_while_changed(Without::Check));
}

/// An optimistic read of a bucket that moves to the next table, while the old table's memory is released; then its
/// entry gets another chunk, and the old one is overwritten. Entry 1 is chunk 0, entry 2 chunk 1. Words zeroed by the
/// kernel are modelled as in [`Table`]: a thread that sees one has passed a barrier.
fn read_while_growing(without: Without) {
    let index = Arc::new(Index::default());
    let chunks: Arc<[Chunk; 2]> = Arc::default();
    chunks[1].write(1);
    index.tables[0].word.store(VERSION, Relaxed);
    index.tables[0].insert(1);
    let (grower, free) = (Arc::clone(&index), Arc::clone(&chunks));
    let growing = thread::spawn(move || {
        let [old, new] = &grower.tables;
        grower.current.store(1 | 1 << 32, Release);
        without.lock(&old.word);
        without.lock(&new.word);
        new.insert(1);
        without.change(&new.word);
        new.unlock();
        if without != Without::Moved {
            old.word.store(old.word.load(Relaxed) | MOVED, Relaxed);
        }
        old.unlock();
        if without != Without::Moved {
            old.cursor.store(1, Release);
        }
        grower.current.store(1, Release);
        old.entries.iter().for_each(|cell| cell.store(0, Release));
        old.word.store(0, Release);
        // Any thread could do the rest; the growing one does.
        without.lock(&new.word);
        new.entries[0].store(2, Relaxed);
        without.change(&new.word);
        new.unlock();
        free[0].write(9);
    });
    let current = index.current.load(Acquire);
    for number in [(current >> 32).checked_sub(1), Some(current & 0xffff_ffff)].into_iter().flatten() {
        let table = &index.tables[number as usize];
        let before = table.word.load(Acquire);
        let moved = before & MOVED != 0 || table.cursor.load(Acquire) > 0;
        let current = index.current.load(Acquire);
        let in_use = without == Without::Moved || current & 0xffff_ffff == number || current >> 32 == number + 1;
        if before & LOCK != 0 {
            break;
        }
        if moved || !in_use {
            continue;
        }
        let entry = table.entries[0].load(Relaxed);
        if !without.holds(&table.word, before) {
            break;
        }
        assert_ne!(entry, 0, "an entry was missed");
        let (first, second) = chunks[entry as usize - 1].read();
        if without.holds(&table.word, before) {
            assert_eq!(first, second, "a torn value");
            assert_eq!(first, u64::from(entry) - 1, "a value of another key");
        }
        break;
    }
    growing.join().unwrap();
}

#[test]
fn a_validated_read_misses_nothing_during_growth() {
    explore(4, || read_while_growing(Without::Nothing));
}

#[test]
#[should_panic(expected = "an entry was missed")]
fn growth_must_mark_moved_buckets_for_optimistic_reads() {
    explore(4, || read_while_growing(Without::Moved));
}

#[test]
#[should_panic(expected = "value")]
fn a_read_in_the_old_table_needs_a_fence() {
    explore(4, || read_while_growing(Without::Check));
}

/// An access is recorded after a read, while the item is deleted and its chunk becomes part of another value: the
/// lock is taken only if the bucket is as it was when the read began.
fn note_access(without: Without) {
    let word = Arc::new(AtomicU64::new(VERSION));
    let chunk = Arc::new(AtomicU64::new(0));
    let (deleter, free) = (Arc::clone(&word), Arc::clone(&chunk));
    let deleting = thread::spawn(move || {
        without.lock(&deleter);
        without.change(&deleter);
        unlock(&deleter, Release);
        free.store(100, Relaxed);
    });
    let before = word.load(Acquire);
    if before == VERSION {
        let locked = match without {
            Without::Same => word.fetch_or(LOCK, Acquire) & LOCK == 0,
            _ => word.compare_exchange(before, before | LOCK, Acquire, Relaxed).is_ok(),
        };
        if locked {
            chunk.fetch_add(1, Relaxed);
            unlock(&word, Release);
        }
    }
    deleting.join().unwrap();
    assert_eq!(chunk.load(Relaxed), 100, "an access was noted of something else");
}

#[test]
fn an_access_is_recorded_only_for_the_item_read() {
    explore(4, || note_access(Without::Nothing));
}

#[test]
#[should_panic(expected = "noted of something else")]
fn recording_an_access_needs_the_same_bucket() {
    explore(4, || note_access(Without::Same));
}

/// Bytes read and written without atomics; loom checks that no write is concurrent with a read.
struct Bytes {
    access: UnsafeCell<()>,
    value: AtomicU64,
}

impl Bytes {
    fn new(value: u64) -> Self {
        Self { access: UnsafeCell::new(()), value: AtomicU64::new(value) }
    }

    fn read(&self) -> u64 {
        self.access.with(|_| ());
        self.value.load(Relaxed)
    }

    fn write(&self, value: u64) {
        self.access.with_mut(|_| ());
        self.value.store(value, Relaxed);
    }
}

/// A key and three chunks with large values, under concurrent readers. A freed chunk is overwritten at once.
struct Moving {
    word: AtomicU64,
    slot: AtomicUsize,
    pins: [AtomicU64; 3],
    values: [Bytes; 3],
}

impl Moving {
    fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            slot: AtomicUsize::new(0),
            pins: Default::default(),
            values: [7, 0, 8].map(Bytes::new),
        }
    }

    /// Pins the key's value; returns its chunk.
    fn pin(&self) -> usize {
        lock(&self.word);
        let chunk = self.slot.load(Relaxed);
        self.pins[chunk].fetch_add(1, AcqRel);
        unlock(&self.word, Release);
        chunk
    }

    fn unpin(&self, chunk: usize) {
        if self.pins[chunk].fetch_sub(1, AcqRel) & (DEAD | COUNT) == DEAD | 1 {
            self.free(chunk);
        }
    }

    fn release(&self, chunk: usize) {
        if self.pins[chunk].fetch_or(DEAD, AcqRel) & COUNT == 0 {
            self.free(chunk);
        }
    }

    fn free(&self, chunk: usize) {
        self.values[chunk].write(99);
    }

    fn read(&self, chunk: usize) -> u64 {
        self.values[chunk].read()
    }

    /// As the mover does: copies under a pin, then checks again whether the item is still the key's.
    fn rescue(&self, check_again: bool) {
        let from = self.pin();
        if from == 0 {
            let value = self.read(0);
            self.values[1].write(value);
            lock(&self.word);
            let still = !check_again || self.slot.load(Relaxed) == 0;
            if still {
                self.slot.store(1, Relaxed);
            }
            unlock(&self.word, Release);
            if still {
                self.release(0);
            }
        }
        self.unpin(from);
    }
}

/// A large value is rescued while a client reads it.
#[test]
fn a_rescued_value_stays_readable() {
    explore(3, || {
        let moving = Arc::new(Moving::new());
        let reader = Arc::clone(&moving);
        let reading = thread::spawn(move || {
            let chunk = reader.pin();
            assert_eq!(reader.read(chunk), 7);
            reader.unpin(chunk);
        });
        moving.rescue(true);
        reading.join().unwrap();
        assert_eq!(moving.read(1), 7);
    });
}

/// A large value is rescued while a client stores a new one.
fn rescue_while_stored(check_again: bool) {
    let moving = Arc::new(Moving::new());
    let writer = Arc::clone(&moving);
    let writing = thread::spawn(move || {
        lock(&writer.word);
        let old = writer.slot.load(Relaxed);
        writer.slot.store(2, Relaxed);
        unlock(&writer.word, Release);
        writer.release(old);
    });
    moving.rescue(check_again);
    writing.join().unwrap();
    assert_eq!(moving.slot.load(Relaxed), 2, "the new value was lost");
    assert_eq!(moving.read(2), 8);
}

#[test]
fn a_rescue_loses_no_write() {
    explore(3, || rescue_while_stored(true));
}

#[test]
#[should_panic(expected = "the new value was lost")]
fn a_rescue_must_check_again() {
    explore(3, || rescue_while_stored(false));
}

/// A chunk of a chain is rescued, and the old one reused at once, while a client may read the chain. `looking` is the
/// ordering of the mover's check for readers.
fn rescue_chunk(looking: Ordering) {
    struct Chain {
        word: AtomicU64,
        pins: AtomicU64,
        first: AtomicUsize,
        parts: [Bytes; 2],
    }
    let chain = Arc::new(Chain {
        word: AtomicU64::new(0),
        pins: AtomicU64::new(0),
        first: AtomicUsize::new(0),
        parts: [7, 0].map(Bytes::new),
    });
    let pin = |chain: &Chain| {
        lock(&chain.word);
        chain.pins.fetch_add(1, AcqRel);
        let first = chain.first.load(Relaxed);
        unlock(&chain.word, Release);
        first
    };
    let reader = Arc::clone(&chain);
    let reading = thread::spawn(move || {
        let first = pin(&reader);
        let value = reader.parts[first].read();
        reader.pins.fetch_sub(1, AcqRel);
        assert_eq!(value, 7);
    });
    pin(&chain);
    chain.parts[1].write(chain.parts[0].read());
    lock(&chain.word);
    let sole = chain.pins.load(looking) & COUNT == 1;
    if sole {
        chain.first.store(1, Relaxed);
    }
    unlock(&chain.word, Release);
    if sole {
        chain.parts[0].write(99);
    }
    chain.pins.fetch_sub(1, AcqRel);
    reading.join().unwrap();
}

#[test]
fn a_chunk_of_a_chain_is_rescued_only_without_readers() {
    explore(3, || rescue_chunk(Acquire));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn looking_for_readers_must_acquire() {
    explore(3, || rescue_chunk(Relaxed));
}

const FREQ: u64 = 3;
const WARM: u64 = 4;
const COLD: u64 = 8;

/// A hit relabels a COLD item WARM, without the class's lock, while the clock hand takes its last chance: the thread
/// that changed the label must have counted it. `blind`: the clock hand uses the label that it read before.
fn relabel(blind: bool) {
    let state = Arc::new(AtomicU64::new(COLD));
    let rewarmed = Arc::new(AtomicU64::new(0));
    let reader = {
        let (state, rewarmed) = (state.clone(), rewarmed.clone());
        thread::spawn(move || {
            for _ in 0..2 {
                let hit = |old: u64| Some((old & FREQ) + 1 | WARM);
                if state.fetch_update(Relaxed, Relaxed, hit).unwrap() & COLD != 0 {
                    rewarmed.fetch_add(1, Relaxed);
                }
            }
        })
    };
    let mut warm = 0;
    for _ in 0..2 {
        let seen = state.load(Relaxed);
        let chance = |old: u64| {
            let freq = (old & FREQ).saturating_sub(1);
            Some(freq | if freq == 0 { COLD } else { old & (WARM | COLD) })
        };
        let old = state.fetch_update(Relaxed, Relaxed, chance).unwrap();
        let (before, after) = (if blind { seen } else { old }, chance(old).unwrap());
        warm += i64::from(after & WARM != 0) - i64::from(before & WARM != 0);
    }
    reader.join().unwrap();
    let counted = warm + rewarmed.load(Relaxed) as i64;
    assert_eq!(counted, i64::from(state.load(Relaxed) & WARM != 0), "WARM items by the counts, and by the label");
}

#[test]
fn the_thread_that_changes_a_label_counts_it() {
    explore(3, || relabel(false));
}

#[test]
#[should_panic(expected = "WARM items by the counts")]
fn counting_needs_the_replaced_label() {
    explore(3, || relabel(true));
}

/// Flags in a chunk's header: there is an item, it is in the index, the ring has an entry of the chunk.
const ITEM: u64 = 16;
const LINKED: u64 = 32;
const RING: u64 = 64;

/// A thread frees the chunk of a HOT item into its magazine and reuses it for another item, while the class lock
/// holder takes the chunk's entry out of the ring. `blind`: the holder changes the header by an earlier load of it.
fn ring_and_magazine(blind: bool) {
    let head = Arc::new(AtomicU64::new(ITEM | LINKED | RING));
    let of_ring = |head: u64| head & ITEM != 0 && head & COLD == 0;
    let own = Arc::clone(&head);
    let owner = thread::spawn(move || {
        own.fetch_and(!LINKED, Relaxed);
        // As `Magazine::put`.
        let old = own.fetch_and(RING, Relaxed);
        let (mut hot, mut cold, mut entries) = (0, 0, 0);
        if old & COLD == 0 {
            hot -= 1
        } else {
            cold -= 1
        };
        // As `Item::write` and `Magazine::place`.
        let written = own.fetch_update(Relaxed, Relaxed, |old| Some(ITEM | old & RING)).unwrap();
        hot += 1;
        if written & RING == 0 {
            own.fetch_or(RING, Relaxed);
            entries += 1;
        }
        own.fetch_or(LINKED, Relaxed);
        (hot, cold, entries)
    });
    // As `Class::ring_step`: the entry is popped.
    let (mut hot, mut cold, mut entries) = (1, 0, 0);
    let change = |old: u64| match (of_ring(old), old & LINKED != 0) {
        (false, _) => Some(old & !RING),
        (true, false) => None,
        (true, true) => Some(old & !RING | COLD),
    };
    let seen = head.load(Relaxed);
    let changed = match (blind, change(seen)) {
        (false, _) => head.fetch_update(Relaxed, Relaxed, change),
        (true, None) => Err(seen),
        (true, Some(new)) => {
            head.fetch_and(!RING, Relaxed);
            head.fetch_or(new & COLD, Relaxed);
            Ok(seen)
        }
    };
    match changed {
        Err(_) => entries += 1,
        Ok(old) if of_ring(old) => (hot, cold) = (hot - 1, cold + 1),
        Ok(_) => {}
    }
    let told = owner.join().unwrap();
    let (hot, cold, entries) = (hot + told.0, cold + told.1, entries + told.2);
    let head = head.load(Relaxed);
    assert_eq!((hot, cold), if head & COLD == 0 { (1, 0) } else { (0, 1) }, "HOT and COLD items by the counts");
    assert_eq!(entries, i32::from(head & RING != 0), "entries of the chunk");
    assert!(entries == 1 || head & COLD != 0, "a HOT item without an entry");
}

#[test]
fn a_chunk_is_reused_while_its_entry_leaves_the_ring() {
    explore(3, || ring_and_magazine(false));
}

#[test]
#[should_panic(expected = "assertion")]
fn popping_an_entry_needs_the_current_header() {
    explore(3, || ring_and_magazine(true));
}

/// The part that a variant omits when a page starts to drain or a magazine opens.
#[derive(Clone, Copy, PartialEq)]
enum Omits {
    Nothing,
    /// The recall of the magazines' chunks.
    Recall,
    /// The draining page in the state of a magazine that opens later.
    Leaving,
}

#[derive(Default)]
struct Shelf {
    open: bool,
    leaving: bool,
    chunks: usize,
}

/// A thread opens its magazine and frees a chunk of a draining page: the chunk must reach the class.
fn page_and_magazine(omits: Omits) {
    /// Whether the page drains, its free chunks, and its drained chunks.
    type Class = Mutex<(bool, usize, usize)>;
    let (class, magazine): (Arc<Class>, Arc<Mutex<Shelf>>) = Default::default();
    let (of_class, own) = (Arc::clone(&class), Arc::clone(&magazine));
    let owner = thread::spawn(move || {
        {
            let class = of_class.lock().unwrap();
            let mut own = own.lock().unwrap();
            own.open = true;
            own.leaving = class.0 && omits != Omits::Leaving;
        }
        {
            let mut own = own.lock().unwrap();
            if own.open && !own.leaving {
                own.chunks += 1;
                return;
            }
        }
        let mut class = of_class.lock().unwrap();
        if class.0 {
            class.2 += 1
        } else {
            class.1 += 1
        };
    });
    {
        let mut class = class.lock().unwrap();
        if omits != Omits::Recall {
            let mut magazine = magazine.lock().unwrap();
            class.1 += std::mem::take(&mut magazine.chunks);
            magazine.open = false;
        }
        class.0 = true;
        let free = std::mem::take(&mut class.1);
        class.2 += free;
    }
    owner.join().unwrap();
    let class = class.lock().unwrap();
    assert_eq!((class.1, class.2), (0, 1), "a chunk of a page that leaves is not gone");
}

#[test]
fn a_draining_page_has_no_chunk_in_a_magazine() {
    explore(3, || page_and_magazine(Omits::Nothing));
}

#[test]
#[should_panic(expected = "is not gone")]
fn magazines_must_be_recalled() {
    explore(3, || page_and_magazine(Omits::Recall));
}

#[test]
#[should_panic(expected = "is not gone")]
fn a_magazine_must_know_the_draining_page() {
    explore(3, || page_and_magazine(Omits::Leaving));
}
