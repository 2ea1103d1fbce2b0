//! Magazines: per-thread caches of free chunks, which reduce contention for a slab class's lock.
//!
//! A magazine belongs to one thread and one class. It holds free chunks and changes not yet applied to the class:
//! item counts, sizes, ring entries. A thread that had to wait for a class lock opens its magazine. Its next [`USES`]
//! allocations and frees use the magazine, which takes the class lock only when it is empty or full. Then it closes,
//! and the thread uses the class directly until it has to wait again. So a single active thread has no magazine, and
//! of two threads that contend for a class one stops contending.
//!
//! Code that needs the state of the whole class takes a `WholeClass`, which recalls the magazines and closes them:
//! statistics, growth, page moves, tending, a switch of the mode. No magazine is open in flat mode, and none takes a
//! chunk of a draining page.
//!
//! Lock order: the class lock, then a magazine's. The class lock holder locks all magazines, one after the other; a
//! magazine lock holder takes no other lock. A chunk in a magazine counts as in use and is marked as taken. A ring
//! entry in a magazine is as good as one in the ring: the chunk's `RING` bit is set, and the entry reaches the ring
//! before the page drains.
//!
//! Classes of large chunks have no magazines. Large items, TEMP items and items of threads beyond the first
//! [`THREADS`] use the class directly. Owns magazines, and which are open; knows the class by its allocator and its
//! queues. Called by `class`, and by `slabs` for threads that do not hold the class.

use crate::cache_lines::{Shared, wrote};
use crate::store::evict::{ItemCounts, Queues};
use crate::store::item::Handle;
use crate::store::item::{Header, Item, state};
use crate::store::slab::thread_slot::{self, THREADS};
use crate::store::slab::{Arena, ChunkKind, Chunks, Mutex, MutexGuard, SizeHistogram};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::Release, fence};
use std::sync::{Arc, OnceLock};

/// Capacity of a magazine: chunks of each kind, and ring entries.
const ROOM: usize = 32;

/// Maximum bytes of chunks of a kind in a magazine; classes of which two chunks exceed this have no magazines.
const BYTES: usize = 8192;

/// Allocations and frees before a magazine closes: replacing an item makes two.
const USES: u32 = 512;

/// Largest part of a class's free chunks that one fill takes, as a divisor: the rest is for other threads.
const FILL_PART: u64 = 16;

/// Failed searches for a free chunk per recall of the magazines, counted from each new page of the class. In a class
/// without free chunks each recall would find a chunk or two, at the price of touching the cache lines of other
/// threads.
const SEARCHES: u8 = 64;

/// A fixed-capacity stack of handles.
struct Handful {
    handles: [Handle; ROOM],
    len: usize,
}

impl Handful {
    fn push(&mut self, handle: Handle) {
        wrote(Shared::Class, &self.len);
        wrote(Shared::Class, &self.handles[self.len]);
        self.handles[self.len] = handle;
        self.len += 1;
    }

    fn last(&self) -> Option<Handle> {
        self.len.checked_sub(1).map(|last| self.handles[last])
    }

    fn pop(&mut self) -> Option<Handle> {
        let last = self.last()?;
        wrote(Shared::Class, &self.len);
        self.len -= 1;
        Some(last)
    }
}

/// A thread's share of a class.
pub struct Magazine {
    /// Allocations and frees left; 0 = it is about to close, or closed.
    uses: u32,
    /// Set when the magazine could not serve its thread, until it is renewed.
    refused: bool,
    /// Chunks to take when the magazine is empty.
    batch: usize,
    /// Maximum chunks of each kind.
    room: usize,
    /// Strides of maximum-size chunks, and of fitted ones when the magazine was last renewed.
    max_size: usize,
    fitted: usize,
    /// The class has no free fitted chunk: any item may take a maximum-size one.
    loose: bool,
    /// The draining page of the class; 0 = none.
    draining: usize,
    /// Free chunks of each `ChunkKind`.
    free: [Handful; 2],
    /// Entries for the ring, oldest first.
    entries: Handful,
    counts: ItemCounts,
    histogram: SizeHistogram,
}

impl Magazine {
    fn new(chunks: &Chunks) -> Self {
        let max_size = chunks.pool(ChunkKind::MaxSize).layout().stride;
        let [free, fitted, entries] = [(); 3].map(|()| Handful { handles: [Handle::NOWHERE; ROOM], len: 0 });
        Self {
            uses: 0,
            refused: false,
            batch: 0,
            room: (BYTES / max_size).min(ROOM),
            max_size,
            fitted: 0,
            loose: false,
            draining: 0,
            free: [free, fitted],
            entries,
            counts: ItemCounts::default(),
            histogram: chunks.new_histogram(),
        }
    }

    /// Allocates a chunk for a new HOT item of `need` bytes; `write` writes the item, except for its value. `None` if
    /// the magazine cannot serve it: allocate from the class, under its lock.
    fn place(
        &mut self,
        arena: &Arena,
        need: usize,
        memcached_size: usize,
        write: impl FnOnce(Handle) -> Item,
    ) -> Option<(Handle, Item)> {
        let kind = match self.free[ChunkKind::Fitted as usize].last() {
            Some(fitted) if need <= arena.stride(fitted) => ChunkKind::Fitted,
            _ => ChunkKind::MaxSize,
        };
        let is_due = kind == ChunkKind::Fitted || self.loose || need > self.fitted;
        let can = self.uses > 0 && self.entries.len < ROOM && is_due;
        let Some(handle) = can.then(|| self.free[kind as usize].pop()).flatten() else {
            self.refused = true;
            return None;
        };
        wrote(Shared::Class, &self.uses);
        self.uses -= 1;
        self.histogram.note(need);
        let mut item = write(handle);
        self.counts.add(state::HOT, memcached_size);
        // As written, the bit is right: a thread that pops a ring entry clears it only while no item relies on the
        // entry.
        if !item.header().is(state::RING) {
            item.change_state(0, state::RING);
            self.entries.push(handle);
        }
        Some((handle, item))
    }

    /// Subtracts an unlinked small item from the counts and takes its chunk; false if the chunk must go to the class.
    fn put(&mut self, arena: &Arena, handle: Handle, memcached_size: usize) -> bool {
        let kind = if arena.stride(handle) == self.max_size { ChunkKind::MaxSize } else { ChunkKind::Fitted };
        let free = &mut self.free[kind as usize];
        if self.uses == 0 || free.len >= self.room {
            self.refused = true;
            return false;
        }
        let Some(word) = arena.chunk(handle).first().filter(|_| handle.page() != self.draining) else { return false };
        wrote(Shared::Item, word);
        // Atomic: until now the class lock holder may change the item's label, and it counts what it changes.
        let header = Header(word.fetch_and(u32::from(state::RING) << 16, Relaxed));
        debug_assert!(header.klen() > 0 && !header.is(state::LINKED), "freed twice, or while in the index");
        free.push(handle);
        wrote(Shared::Class, &self.uses);
        self.uses -= 1;
        self.counts.remove(header.state(), memcached_size);
        true
    }

    /// Applies all pending changes to the class, and returns all but `keep` chunks of each kind to it.
    fn settle(&mut self, chunks: &mut Chunks, queues: &mut Queues, arena: &Arena, keep: usize) {
        for free in &mut self.free {
            while free.len > keep
                && let Some(handle) = free.pop()
            {
                chunks.free(arena, handle);
            }
        }
        queues.absorb(&chunks.view(arena), &self.entries.handles[..self.entries.len], &mut self.counts);
        self.entries.len = 0;
        chunks.note_sizes(&mut self.histogram);
    }

    /// Takes chunks for items of `need` bytes, a few of those that the class has free.
    fn fill(&mut self, chunks: &mut Chunks, arena: &Arena, need: usize) {
        let count = self.batch.min((chunks.at_hand() / FILL_PART) as usize);
        self.batch = (2 * self.batch).min(ROOM / 2);
        for _ in 0..count {
            if self.free.iter().any(|free| free.len >= self.room) {
                return;
            }
            let Some(handle) = chunks.take_present(arena, need) else { return };
            self.free[chunks.kind_of(arena, handle) as usize].push(handle);
        }
    }
}

/// One thread's magazine, on cache lines of its own.
#[repr(align(128))]
struct MagazineCell {
    /// Whether the magazine is open: a copy of its bit in [`OpenMagazines`], which its thread reads without the
    /// class lock.
    open: AtomicBool,
    magazine: Mutex<Magazine>,
}

impl MagazineCell {
    fn lock(&self) -> MutexGuard<'_, Magazine> {
        let magazine = self.magazine.lock();
        // As in `Slabs::class`: chunks change owners under this lock.
        fence(Release);
        magazine
    }
}

/// The magazines of a class, indexed by thread number.
pub struct Magazines {
    cells: [OnceLock<Box<MagazineCell>>; THREADS],
}

impl Magazines {
    /// No magazine yet, for a class of chunks up to `stride` bytes. `None` if they are too large.
    pub fn new(stride: usize) -> Option<Arc<Self>> {
        (2 * stride <= BYTES).then(|| Arc::new(Self { cells: [const { OnceLock::new() }; THREADS] }))
    }

    /// Locks the magazine of thread `number`, if it is open.
    #[inline]
    fn own(&self, number: usize) -> Option<MutexGuard<'_, Magazine>> {
        let cell = self.cells[number].get()?;
        cell.open.load(Relaxed).then(|| cell.lock())
    }

    /// Writes a new item into a chunk of the magazine of thread `number`, if that is open: see [`Magazine::place`].
    #[inline(never)]
    pub fn place(
        &self,
        number: usize,
        arena: &Arena,
        (need, memcached_size): (usize, usize),
        write: impl FnOnce(Handle) -> Item,
    ) -> Option<(Handle, Item)> {
        self.own(number)?.place(arena, need, memcached_size, write)
    }

    /// Frees an item's chunk to the magazine of thread `number`, if that is open: see [`Magazine::put`].
    #[inline(never)]
    pub fn put(&self, number: usize, arena: &Arena, handle: Handle, memcached_size: usize) -> bool {
        self.own(number).is_some_and(|mut own| own.put(arena, handle, memcached_size))
    }
}

/// Which magazines of a class are open; part of the class.
#[derive(Default)]
pub struct OpenMagazines {
    /// The magazines; `None` if the class's chunks are too large for them.
    all: Option<Arc<Magazines>>,
    /// Threads with an open magazine, one bit each.
    open: u64,
    /// Searches that found no free chunk, modulo [`SEARCHES`].
    searches: u8,
}

impl OpenMagazines {
    /// No magazine is open yet.
    pub fn new(all: Option<Arc<Magazines>>) -> Self {
        Self { all, ..Self::default() }
    }

    /// The magazines, for their threads.
    pub fn all(&self) -> Option<Arc<Magazines>> {
        self.all.clone()
    }

    /// Whether any magazine is open.
    #[inline]
    pub fn any(&self) -> bool {
        self.open != 0
    }

    /// Applies to the class what all magazines hold, and closes them.
    #[cold]
    pub fn recall(&mut self, chunks: &mut Chunks, queues: &mut Queues, arena: &Arena) {
        for (number, cell) in self.all.iter().flat_map(|all| all.cells.iter().enumerate()) {
            if let Some(cell) = cell.get()
                && self.open >> number & 1 != 0
            {
                let mut magazine = cell.lock();
                magazine.settle(chunks, queues, arena, 0);
                magazine.uses = 0;
                cell.open.store(false, Relaxed);
            }
        }
        self.open = 0;
    }

    /// Whether a search that found no free chunk is to recall the magazines: one in [`SEARCHES`].
    pub fn is_recall_due(&mut self) -> bool {
        self.searches = (self.searches + 1) % SEARCHES;
        self.searches == 1
    }

    /// Begins to count searches, at a new page of the class.
    pub fn count_searches(&mut self) {
        self.searches = 0;
    }

    /// Completes an operation that the calling thread's magazine could not serve: an item of `need` bytes got its
    /// chunk, or, with a `need` of 0, a chunk was freed. If the thread had to wait for the class (`contended`), its
    /// magazine opens, or stays open; otherwise it closes when its uses are spent.
    #[inline]
    pub fn renew(
        &mut self,
        (chunks, queues): (&mut Chunks, &mut Queues),
        arena: &Arena,
        need: usize,
        contended: bool,
        flat: bool,
    ) {
        if contended || self.any() && thread_slot::current().is_some() {
            self.renew_cold((chunks, queues), arena, need, contended, flat);
        }
    }

    #[cold]
    fn renew_cold(
        &mut self,
        (chunks, queues): (&mut Chunks, &mut Queues),
        arena: &Arena,
        need: usize,
        contended: bool,
        flat: bool,
    ) {
        let Some(number) = (if contended { thread_slot::take() } else { thread_slot::current() }) else { return };
        let was_open = self.open >> number & 1 != 0;
        // An item in flat mode's list must be removed from it when it is freed.
        if !was_open && (!contended || flat || queues.has_lru_items()) {
            return;
        }
        let Some(magazines) = &self.all else { return };
        let new =
            || Box::new(MagazineCell { open: AtomicBool::new(false), magazine: Mutex::new(Magazine::new(chunks)) });
        let cell = magazines.cells[number].get_or_init(new);
        let mut magazine = cell.lock();
        if !std::mem::take(&mut magazine.refused) && !contended {
            return; // the magazine was not asked: such items always use the class directly
        }
        let stays = contended || magazine.uses > 0;
        let keep = if stays { magazine.room / 2 } else { 0 };
        magazine.settle(chunks, queues, arena, keep);
        if stays {
            if magazine.uses == 0 {
                (magazine.uses, magazine.batch) = (USES, 2);
            }
            magazine.draining = chunks.draining_page().map_or(0, |page| page as usize);
            let fitted = chunks.pool(ChunkKind::Fitted);
            (magazine.fitted, magazine.loose) = (fitted.layout().stride, fitted.at_hand() == 0);
            if need > 0 {
                magazine.fill(chunks, arena, need);
            }
            self.open |= 1 << number;
        } else {
            self.open &= !(1 << number);
        }
        cell.open.store(stays, Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Expiry;
    use crate::store::class::ClassView;
    use crate::store::item::{Key, Meta};
    use crate::store::page_move::rescue::{Move, Progress};
    use crate::store::slab::SizeConfig;
    use crate::store::store::{Config, Lookup, Store};
    use crate::store::write::{Mode, Stored, Write};
    use std::thread;

    const NOW: u32 = 1000;
    /// Class of the items of these tests, and `memcached_size` of each.
    const CLASS: usize = 4;
    const MEMCACHED_SIZE: u64 = 48 + 8 + 9 + 102;
    /// Capacity of a magazine of this class.
    const MOST: usize = ROOM;

    fn store(megabytes: u64, evict: bool) -> &'static Store {
        let sizes = SizeConfig::default();
        let (maxbytes, initial_items, may_grow) = (megabytes << 20, 40_000, true);
        Store::leak(&Config { sizes, maxbytes, evict, initial_items, may_grow, exact: true, precharged: 0 }).unwrap()
    }

    fn put(store: &'static Store, n: usize) -> bool {
        let key = format!("{n:08}").into_bytes();
        let meta = Meta { klen: key.len(), vlen: 100, flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
        let Some(mut reservation) = store.reserve(&Key::new(&key).unwrap(), &meta, NOW) else { return false };
        assert_eq!(usize::from(reservation.class()), CLASS);
        reservation.write(&[n as u8; 100]).unwrap();
        let write = Write::new(Mode::Set, store.next_cas());
        matches!(store.commit(reservation, &Key::new(&key).unwrap(), write, NOW).0, Stored::Stored { vlen: 100, .. })
    }

    fn delete(store: &'static Store, n: usize) -> bool {
        let key = format!("{n:08}").into_bytes();
        store.visit(&Key::new(&key).unwrap(), NOW, |entry| entry.unlink()) == Lookup::Hit(())
    }

    fn has(store: &'static Store, n: usize) -> bool {
        let key = format!("{n:08}").into_bytes();
        let mut value = Vec::new();
        let found = store.visit(&Key::new(&key).unwrap(), NOW, |entry| entry.copy_value(&mut value));
        assert!(found == Lookup::Miss || value == [n as u8; 100], "a wrong value of {n}");
        found != Lookup::Miss
    }

    /// Opens the calling thread's magazine, as if the thread had waited for the class.
    fn open(store: &'static Store) {
        store.slabs.class(CLASS).renew_magazine(&store.arena, 0, true, store.slabs.is_flat());
    }

    fn own(store: &'static Store) -> Option<MutexGuard<'static, Magazine>> {
        store.slabs.magazines[CLASS].as_ref()?.own(thread_slot::current()?)
    }

    fn is_open(store: &'static Store) -> bool {
        own(store).is_some()
    }

    /// Free chunks in the calling thread's magazine.
    fn held(store: &'static Store) -> usize {
        own(store).map_or(0, |own| own.free.iter().map(|free| free.len).sum())
    }

    fn view(store: &'static Store) -> ClassView {
        store.classes(NOW)[CLASS]
    }

    fn step(store: &'static Store, job: &mut Move) {
        for _ in 0..10_000 {
            if store.step_move(job, NOW) == Progress::Done {
                return;
            }
        }
        panic!("the move does not end");
    }

    #[test]
    fn views_include_open_magazines() {
        let store = store(8, true);
        (0..1000).for_each(|n| assert!(put(store, n)));
        assert!(!is_open(store), "no thread had to wait");
        open(store);
        (1000..1100).for_each(|n| assert!(put(store, n)));
        (0..50).for_each(|n| assert!(delete(store, n)));
        (900..950).for_each(|n| assert!(put(store, n)));
        assert!(is_open(store) && store.slabs.class(CLASS).len() != 1050, "changes are pending");
        let seen = view(store);
        assert!(!is_open(store) && !store.slabs.class(CLASS).has_open_magazines());
        assert_eq!((seen.items, seen.hot, seen.used_chunks, seen.requested), (1050, 1050, 1050, 1050 * MEMCACHED_SIZE));
        open(store);
        assert!(put(store, 1100) && is_open(store));
        assert_eq!(store.items(), 1051);
        open(store);
        assert!(delete(store, 1100) && is_open(store));
        assert_eq!(store.bytes(), 1050 * MEMCACHED_SIZE);
        open(store);
        (50..1100).for_each(|n| assert!(delete(store, n)));
        assert_eq!((store.items(), store.bytes()), (0, 0));
        let seen = view(store);
        assert_eq!((seen.items, seen.hot, seen.used_chunks, seen.requested), (0, 0, 0, 0));
    }

    #[test]
    fn a_magazine_closes_when_its_uses_are_spent() {
        let store = store(8, true);
        assert!(put(store, 0));
        open(store);
        let sets = (1..).take_while(|&n| put(store, n % 10) && is_open(store)).count();
        assert!((USES as usize / 2..=USES as usize).contains(&sets), "{sets} sets");
        assert_eq!(store.slabs.class(CLASS).len(), 10);
        assert!((0..10).all(|n| put(store, n)) && !is_open(store), "no thread had to wait");
    }

    #[test]
    fn a_thread_that_waits_for_the_class_opens_a_magazine() {
        let store = store(8, true);
        thread::scope(|scope| {
            let setter =
                scope.spawn(|| (0..).find(|n| !put(store, n % 100) || is_open(store)).map(|n| put(store, n % 100)));
            while !setter.is_finished() {
                let class = store.slabs.class(CLASS);
                thread::yield_now();
                drop(class);
            }
            assert_eq!(setter.join().unwrap(), Some(true));
        });
    }

    #[test]
    fn the_ring_has_at_most_one_entry_per_chunk() {
        let store = store(8, true);
        (0..100).for_each(|n| assert!(put(store, n)));
        open(store);
        (0..2000).for_each(|n| assert!(put(store, n % 100)));
        view(store);
        let class = store.slabs.class(CLASS);
        let chunks = class.chunks.used()
            + [ChunkKind::MaxSize, ChunkKind::Fitted]
                .map(|kind| class.chunks.pool(kind).free_len())
                .iter()
                .sum::<u64>();
        let entries = class.queues.ring_len();
        assert!(entries >= 100 && entries as u64 <= chunks, "{entries} entries");
    }

    #[test]
    fn items_stored_through_a_magazine_can_be_evicted() {
        let store = store(2, true);
        let count = (0..).take_while(|&n| put(store, n) && store.malloced() < 2 << 20).count() + 1000;
        (0..count).for_each(|n| _ = delete(store, n));
        for n in 0..4 * count {
            if n % 100 == 0 {
                open(store);
            }
            assert!(put(store, n), "there are victims");
        }
        assert!((3 * count..4 * count).any(|n| has(store, n)));
        let seen = view(store);
        assert_eq!(seen.items + seen.counts.evicted, 4 * count as u64);
        assert_eq!(seen.used_chunks, seen.items);
        let (class, mut left) = (store.slabs.class(CLASS), 0);
        let in_ring = class.queues.ring_len() as u64;
        drop(class);
        (0..4 * count).for_each(|n| left += u64::from(delete(store, n)));
        assert!(in_ring >= seen.hot && left == seen.items, "every HOT item has its entry");
    }

    #[test]
    fn chunks_in_magazines_are_used_before_evicting() {
        let store = store(2, true);
        let count = (0..).find(|&n| put(store, n) && view(store).counts.evicted > 0).unwrap();
        open(store);
        (count - MOST..count).for_each(|n| assert!(delete(store, n)));
        assert_eq!(held(store), MOST);
        thread::scope(|scope| {
            scope.spawn(|| (count..count + MOST).for_each(|n| assert!(put(store, n + 1))));
        });
        assert_eq!(view(store).counts.evicted, 1);
    }

    #[test]
    fn without_eviction_every_chunk_is_found() {
        let store = store(2, false);
        let count = (0..).take_while(|&n| put(store, n)).count();
        for round in 1..200 {
            open(store);
            (0..MOST).for_each(|n| assert!(delete(store, n)));
            assert_eq!(held(store), MOST);
            // One search in 64 recalls the magazines anyway: vary at which of them that happens.
            store.slabs.class(CLASS).magazines.searches = round;
            thread::scope(|scope| {
                scope.spawn(|| (0..MOST).for_each(|n| assert!(put(store, n), "memory is out early")));
            });
        }
        assert!(!put(store, count));
        assert_eq!(view(store).items, count as u64);
    }

    #[test]
    fn a_draining_page_gets_its_chunks_from_magazines() {
        let store = store(16, true);
        let count = (0..).take_while(|&n| put(store, n) && view(store).pages < 3).count();
        open(store);
        // The oldest page has the first items.
        (0..MOST).for_each(|n| assert!(delete(store, n)));
        assert_eq!(held(store), MOST);
        let mut job = store.begin_move(CLASS, 0).unwrap();
        assert!(!is_open(store));
        open(store);
        (MOST..2 * MOST).for_each(|n| assert!(delete(store, n)));
        assert_eq!(held(store), 0, "no magazine takes its chunks");
        (count - MOST..count).for_each(|n| assert!(delete(store, n)));
        assert!(is_open(store) && held(store) == MOST, "it holds others");
        step(store, &mut job);
        assert_eq!((view(store).pages, store.free_pages()), (2, 1));
        assert!((2 * MOST..count - MOST).all(|n| has(store, n)));
        let class = store.slabs.class(CLASS);
        assert!(
            class.next_to_leave(&store.arena, 64).all(|handle| store.arena.class(handle) == CLASS),
            "no entry of the page"
        );
    }

    #[test]
    fn items_of_a_cancelled_move_can_be_evicted() {
        let store = store(16, true);
        let count = 1 + (0..).take_while(|&n| put(store, n) && view(store).pages < 3).count();
        (0..count).for_each(|n| assert!(delete(store, n)));
        open(store);
        (0..count).for_each(|n| assert!(put(store, n)));
        let job = store.begin_move(CLASS, 0).unwrap();
        open(store);
        (0..MOST).for_each(|n| assert!(put(store, n)));
        store.cancel_move(job);
        let seen = view(store);
        assert_eq!((seen.items, seen.hot + seen.cold), (count as u64, count as u64));
        (0..count).for_each(|n| assert!(delete(store, n)));
        assert_eq!(view(store).used_chunks, 0);
    }

    #[test]
    fn there_are_no_magazines_in_flat_mode() {
        let store = store(8, true);
        let queued = || store.slabs.class(CLASS).queues.lru_len();
        assert!(put(store, 0));
        open(store);
        assert!((1..100).all(|n| put(store, n)) && is_open(store));
        store.set_flat(true);
        assert!(!is_open(store));
        open(store);
        (100..200).for_each(|n| assert!(put(store, n)));
        assert!(!is_open(store) && queued() == 100);
        store.set_flat(false);
        open(store);
        assert!(!is_open(store), "the LRU list is not empty");
        (100..200).for_each(|n| assert!(delete(store, n)));
        open(store);
        assert!(is_open(store) && queued() == 0);
        assert_eq!(view(store).items, 100);
    }

    #[test]
    fn queueing_an_item_in_the_lru_list_closes_magazines() {
        let store = store(8, true);
        let queued = || store.slabs.class(CLASS).queues.lru_len();
        assert!(put(store, 0));
        open(store);
        let first = store.slabs.class(CLASS).longest_here().unwrap();
        store.move_back(first, Item::at(store.arena.chunk(first)).unwrap());
        assert!(!is_open(store) && queued() == 1);
        assert!(delete(store, 0));
        open(store);
        assert!(is_open(store) && queued() == 0);
        let meta = Meta { klen: 1, vlen: 100, flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
        let (iflags, key) = (meta.layout_flags(NOW, false), b"k");
        let handle = store.take_chunk_for(CLASS, meta.footprint(iflags), NOW, |class, handle| {
            let mut item = Item::write(store.arena.chunk(handle), &meta, key, iflags, NOW);
            class.enlist(&store.arena, handle, &mut item, 160, true, state::COLD);
        });
        assert!(!is_open(store) && queued() == 1);
        let handle = handle.unwrap();
        store.free_item(handle, Item::at(store.arena.chunk(handle)).unwrap());
        assert_eq!((queued(), view(store).items), (0, 0));
    }
}
