//! Moves a page from one slab class to another one, or to the global pool.
//!
//! Owns the order of the steps, slice by slice; `maint` calls the slices, on one thread. Steps of a [`Move`]:
//!
//! 1. The oldest page of its class starts to drain: none of its chunks is allocated, and one that is freed is drained.
//! 2. Its slots are visited in passes. Free chunks leave the free list. Items are rescued (copied to another chunk of
//!    the class, which replaces theirs in the index), or evicted if there is no memory for that. Chunks in use are left
//!    for the next pass: values that arrive, and chains that are read. A large value in a single chunk is rescued even
//!    while it is read, and its last reader frees the old chunk.
//! 3. Once every chunk is drained, the ring drops its entries of the page.
//! 4. The page is cleared and given away.
//!
//! No reader can hold a handle of the page by then. Handles live in the index, in lists of the class and in chains,
//! where steps 2 and 3 replaced them; outside a lock only pins and reservations hold them, and their chunks are in
//! use. Walks and evictors that remember a handle look it up in its bucket again before they touch the item, and
//! accept arbitrary bytes from any earlier read. So no epoch is waited for.
//!
//! The page's chunks are not reused while it drains: a chunk that holds an item holds that same item until it is
//! drained.

use crate::store::change::ChangeOp;
use crate::store::class::Class;
use crate::store::evict::Part;
use crate::store::index::Bucket;
use crate::store::item::Handle;
use crate::store::item::Links;
use crate::store::item::WORD;
use crate::store::item::{Header, Item, Key, iflag, kind, state};
use crate::store::link::{Linked, NotLocked};
use crate::store::reservation::{ChainName, Pinned, chain_head, chain_of};
use crate::store::slab::Arena;
use crate::store::slab::ChunkKind;
use crate::store::store::Store;
use crate::store::write::Dead;

/// Slots examined under one hold of the class lock.
const SLICE_SLOTS: u32 = 32;

/// Ring entries examined under one hold of the class lock.
const SLICE_ENTRIES: usize = 4096;

/// Maximum passes through the slots of a page, as in memcached. After that many, a chain that is still being read is
/// unlinked, and a move that finds no memory fails.
const PASSES_MAX: u32 = 5000;

/// Reason that a chunk is still in use, in memcached's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Busy {
    /// There is no chunk to rescue the item to.
    NoMemory,
    /// A chain that is being read.
    Active,
    /// Not in the index: a value that arrives, or one still read after it was deleted.
    Floating,
    /// The item's bucket is locked.
    Locked,
}

impl Busy {
    fn word(self) -> &'static str {
        match self {
            Self::NoMemory => "from_lru",
            Self::Active => "busy_active",
            Self::Floating => "busy_floating",
            Self::Locked => "locked",
        }
    }
}

impl From<NotLocked> for Busy {
    fn from(why: NotLocked) -> Self {
        match why {
            NotLocked::Contended => Self::Locked,
            NotLocked::Unlinked => Self::Floating,
        }
    }
}

/// Counters of a move; each field is the `stats` row `slab_reassign_` plus its name.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct MoveCounts {
    pub rescues: u64,
    pub chunk_rescues: u64,
    pub inline_reclaim: u64,
    pub busy_items: u64,
    pub busy_deletes: u64,
    pub busy_nomem: u64,
    /// `None` until a chunk is found in use.
    pub last_busy_status: Option<&'static str>,
}

/// State of a move after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to do at once.
    More,
    /// A pass freed nothing: chunks in use need time.
    Waits,
    /// The page has arrived at its destination.
    Done,
    /// There is no memory for the page's items: the page stays in its class.
    Failed,
}

enum MoveStage {
    /// The slots are visited in passes.
    Clear,
    /// The ring drops its entries of the page, downwards from this position.
    Forget(usize),
    /// Nothing refers to the page any more: it is cleared and given away.
    Give,
    /// The page has arrived.
    Over,
}

/// A page move in progress. It must be stepped until it is done or failed, or passed to [`Store::cancel_move`].
pub struct Move {
    src: usize,
    dst: usize,
    page: u32,
    /// New layout of the page, if it stays in its class.
    resize: Option<ChunkKind>,
    stage: MoveStage,
    /// Number of slots that were ever used, and the next one to examine.
    slots: u32,
    slot: u32,
    passes: u32,
    /// Chunks found in use in this pass, and whether the pass made progress.
    busy: u64,
    progress: bool,
    /// In this pass an item found no memory.
    short: bool,
    /// Chunks of the page that were in use and have been emptied.
    live: u32,
    /// The class has no victim to make room for an item of the page.
    starved: bool,
    /// A free chunk of the class for the next rescue.
    spare: Option<Handle>,
    in_use: Vec<Handle>,
    key: Vec<u8>,
    counts: MoveCounts,
}

impl Move {
    fn new(src: usize, dst: usize, page: u32, stage: MoveStage) -> Self {
        Self {
            src,
            dst,
            page,
            resize: None,
            stage,
            slots: 0,
            slot: 0,
            passes: 0,
            busy: 0,
            progress: false,
            short: false,
            live: 0,
            starved: false,
            spare: None,
            in_use: Vec::with_capacity(SLICE_SLOTS as usize),
            key: Vec::with_capacity(Key::CAPACITY),
            counts: MoveCounts::default(),
        }
    }

    /// Takes a free chunk of `need` bytes. While a maximum-size page drains to be laid out for fitted chunks, no new
    /// maximum-size page is begun: it would be the next one to drain.
    fn take_spare(&self, class: &mut Class, arena: &Arena, need: usize) -> Option<Handle> {
        if self.resize == Some(ChunkKind::Fitted) && class.chunks.is_choosy(need) {
            class.take_recalled(arena, need)
        } else {
            class.take_free(arena, need)
        }
    }

    /// Source and destination class; 0 is the pool.
    pub fn classes(&self) -> (usize, usize) {
        (self.src, self.dst)
    }

    /// Whether less than an eighth of the page's slots held items.
    pub fn was_mostly_free(&self) -> bool {
        self.live < self.slots / 8
    }

    /// Whether the page stays in its class and gets a new layout.
    pub fn is_resize(&self) -> bool {
        self.resize.is_some()
    }

    /// Takes the counts since the last call.
    pub fn take_counts(&mut self) -> MoveCounts {
        std::mem::take(&mut self.counts)
    }
}

impl Store {
    /// Begins to move a page of class `src`, or of the pool (0), to class `dst`, or to the pool. `None` if `src` has
    /// no page to spare. Only one move may exist at a time.
    pub fn begin_move(&'static self, src: usize, dst: usize) -> Option<Move> {
        if src == 0 {
            return Some(Move::new(src, dst, self.slabs.pages.take_pooled()?, MoveStage::Give));
        }
        let mut class = self.slabs.class(src);
        if let Some(page) = class.chunks.give_unused() {
            return Some(Move::new(src, dst, page, MoveStage::Give));
        }
        let kind = class.chunks.kind_of_oldest();
        let page = class.whole(&self.arena).begin_drain(kind)?;
        Some(Move { slots: class.chunks.draining_slots(), ..Move::new(src, dst, page, MoveStage::Clear) })
    }

    /// Begins to lay out a page of `class` for the other kind of chunk, if that is due. The class lacks the page until
    /// the move is done.
    pub fn begin_resize(&'static self, id: usize) -> Option<Move> {
        let mut class = self.slabs.class(id);
        let mut class = class.whole(&self.arena);
        let kind = class.chunks.kind_to_resize()?;
        if !self.slabs.may_evict() && !class.chunks.has_room_for_a_page(kind) {
            return None;
        }
        let page = class.begin_drain(kind)?;
        let resize = Some(kind.other());
        Some(Move { slots: class.chunks.draining_slots(), resize, ..Move::new(id, id, page, MoveStage::Clear) })
    }

    /// Runs the next slice of a move.
    pub fn step_move(&'static self, m: &mut Move, now: u32) -> Progress {
        match m.stage {
            MoveStage::Clear => self.clear_slice(m, now),
            MoveStage::Forget(from) => {
                let mut class = self.slabs.class(m.src);
                match class.forget_entries(from, SLICE_ENTRIES) {
                    0 => {
                        m.counts.inline_reclaim += class.end_drain();
                        m.stage = MoveStage::Give;
                    }
                    next => m.stage = MoveStage::Forget(next),
                }
                Progress::More
            }
            MoveStage::Give => {
                self.return_spare(m);
                if m.src != 0 {
                    self.arena.clear(m.page);
                }
                if !self.give(m) {
                    self.slabs.pages.put(m.page);
                }
                m.stage = MoveStage::Over;
                Progress::Done
            }
            MoveStage::Over => Progress::Done,
        }
    }

    /// Gives the moved page to its class; false if it is for the pool, or the class has no memory for its tables.
    fn give(&self, m: &Move) -> bool {
        if m.dst == 0 {
            return false;
        }
        let mut class = self.slabs.class(m.dst);
        let fits = class.chunks.reserve_page();
        if fits {
            class.chunks.receive(&self.arena, m.page, m.resize);
        }
        fits
    }

    /// Ends a move at once. A page that is not empty stays in its class, another one goes to the pool.
    pub fn cancel_move(&'static self, mut m: Move) {
        self.return_spare(&mut m);
        if !matches!(m.stage, MoveStage::Clear) {
            // The page is empty: finish the move, to the pool.
            m.dst = 0;
            while self.step_move(&mut m, 0) != Progress::Done {}
            return;
        }
        let mut entries = self.slabs.class(m.src).ring_span();
        while entries > 0 {
            entries = self.slabs.class(m.src).forget_entries(entries, SLICE_ENTRIES);
        }
        let slots = self.arena.slots(m.page);
        let slices = || (0..slots).step_by(SLICE_SLOTS as usize).map(|from| from..(from + SLICE_SLOTS).min(slots));
        // While the page drains none of its chunks is reused, so none gets a new ring entry.
        slices().for_each(|slice| self.slabs.class(m.src).settle(&self.arena, slice));
        self.slabs.class(m.src).chunks.keep_page();
        slices().for_each(|slice| self.slabs.class(m.src).chunks.regain(&self.arena, m.page, m.slots, slice));
    }

    /// Returns the memory of one unused page above the limit to the system; false if there is none.
    pub fn release_page(&self) -> bool {
        let Some(page) = self.slabs.pages.take_surplus() else { return false };
        self.arena.release(page);
        self.slabs.pages.released(page);
        self.note_upkeep();
        true
    }

    /// Whether classes must give up pages because the limit was lowered.
    pub fn is_shrinking(&self) -> bool {
        self.slabs.pages.is_shrinking()
    }

    /// Whether memory in use has reached the limit.
    pub fn is_full(&self) -> bool {
        self.slabs.pages.is_full()
    }

    /// Number of pages of a class, or of the pool (0).
    pub fn page_count(&self, class: usize) -> u64 {
        if class == 0 { self.slabs.pages.pooled() } else { self.slabs.class(class).chunks.page_count() }
    }

    /// Whether a move from `class` can succeed: it has a second page and, with eviction disabled, room on the other
    /// pages for the items of the first one.
    pub fn can_spare(&self, class: usize) -> bool {
        if class == 0 {
            return self.slabs.pages.pooled() > 0;
        }
        let mut class = self.slabs.class(class);
        if !self.slabs.may_evict() {
            class.whole(&self.arena);
        }
        let chunks = &class.chunks;
        chunks.page_count() > 1 && (self.slabs.may_evict() || chunks.has_room_for_a_page(chunks.kind_of_oldest()))
    }

    fn clear_slice(&'static self, m: &mut Move, now: u32) -> Progress {
        let slots = m.slots;
        let to = (m.slot + SLICE_SLOTS).min(slots);
        let mut in_use = std::mem::take(&mut m.in_use);
        {
            let mut class = self.slabs.class(m.src);
            class.chunks.clear_free(&self.arena, m.slot..to, &mut in_use);
            if class.chunks.is_drained() {
                m.stage = MoveStage::Forget(class.ring_span());
                in_use.clear();
            }
        }
        for handle in in_use.drain(..) {
            match self.clear_chunk(m, handle, now) {
                Ok(()) => {
                    m.progress = true;
                    m.live += 1;
                }
                Err(busy) => {
                    m.busy += 1;
                    m.counts.last_busy_status = Some(busy.word());
                    m.counts.busy_nomem += u64::from(busy == Busy::NoMemory);
                    m.short |= busy == Busy::NoMemory;
                }
            }
        }
        m.in_use = in_use;
        m.slot = to;
        if to < slots || matches!(m.stage, MoveStage::Forget(_)) {
            return Progress::More;
        }
        // The end of a pass. Other threads may have freed chunks meanwhile.
        m.slot = 0;
        m.passes = m.passes.saturating_add(1);
        m.counts.busy_items += std::mem::take(&mut m.busy);
        let short = std::mem::take(&mut m.short);
        if std::mem::take(&mut m.progress) {
            return Progress::More;
        }
        if short && m.passes > PASSES_MAX { Progress::Failed } else { Progress::Waits }
    }

    /// Empties a chunk of the page, unless it is in use.
    fn clear_chunk(&'static self, m: &mut Move, from: Handle, now: u32) -> Result<(), Busy> {
        let header = Header::of(self.arena.chunk(from));
        let mut key = std::mem::take(&mut m.key);
        let cleared = match header.kind() {
            None if header.is(state::LINKED) => {
                let need = Item::at(self.arena.chunk(from)).map_or(self.arena.stride(from), |item| item.words() * WORD);
                self.ensure_spare(m, need);
                self.clear_item(m, &mut key, from, now)
            }
            Some(kind::CHAIN) => {
                self.ensure_spare(m, self.arena.stride(from));
                self.clear_link(m, &mut key, from, now)
            }
            Some(kind::DRAINED) => Ok(()),
            _ => Err(Busy::Floating),
        };
        m.key = key;
        cleared
    }

    /// Rescues an item, or the head of a large one.
    fn clear_item(&'static self, m: &mut Move, key: &mut Vec<u8>, from: Handle, now: u32) -> Result<(), Busy> {
        let item = Item::at(self.arena.chunk(from)).ok_or(Busy::Floating)?;
        let key = Key::copied(&item, key);
        let chunked = item.header().has(iflag::CHUNKED);
        // A value too long to be copied under locks is immutable, and stays while it is pinned.
        let copied = if item.header().is_large() && !chunked { m.spare } else { None };
        let pin = match copied {
            Some(to) => {
                let (bucket, linked) = self.try_lock_item(&key, from)?;
                let pin = Pinned::new(self, from, &linked.item);
                drop(bucket);
                self.arena.copy_words(from, to, item.header_words()..item.words());
                pin
            }
            None => None,
        };
        // Declared after `pin`, so that both locks are released first: dropping the pin may free the item, which takes
        // a class lock.
        let mut class = self.slabs.class(if chunked { self.sizes.largest() } else { m.src });
        let (mut bucket, mut linked) = self.try_lock_item(&key, from)?;
        let item = linked.item;
        if let Some(end) = self.must_end(m, &item, now) {
            drop(class);
            return self.end(m, end, &key, (bucket, linked));
        }
        let Some(to) = m.spare.take() else {
            drop(class);
            return self.evict_for(m, item.words() * WORD, &key, (bucket, linked), now);
        };
        let words = if copied.is_some() { item.header_words() } else { item.words() };
        self.arena.copy_words(from, to, 1..words);
        item.copy_head(self.arena.chunk(to));
        if chunked {
            class.rename_head(&self.arena, from, to);
        } else {
            class.enlist_copy(&self.arena, from, to, self.memcached_size_of(&item));
        }
        linked.replace(&mut bucket, to);
        drop((bucket, class));
        m.counts.rescues += 1;
        if chunked {
            // Only the old head is freed: its chain belongs to the new one now.
            self.slabs.class(m.src).free(&self.arena, from);
        } else {
            self.release(linked);
        }
        drop(pin);
        Ok(())
    }

    /// Rescues a chunk of a chain.
    fn clear_link(&'static self, m: &mut Move, key: &mut Vec<u8>, from: Handle, now: u32) -> Result<(), Busy> {
        let chain = ChainName::of(self.arena.chunk(from));
        let bucket = self.index.try_lock(chain.hash()).ok_or(Busy::Locked)?;
        let (key, linked) = self.find_chain(key, &bucket, chain).ok_or(Busy::Floating)?;
        let (handle, item) = (linked.handle, linked.item);
        if let Some(end) = self.must_end(m, &item, now) {
            return self.end(m, end, &key, (bucket, linked));
        }
        let Some(to) = m.spare else {
            return self.evict_for(m, self.arena.stride(from), &key, (bucket, linked), now);
        };
        let pin = Pinned::new(self, handle, &item).ok_or(Busy::Floating)?;
        drop(bucket);
        self.arena.copy_words(from, to, 1..usize::MAX);
        let (bucket, _) = self.try_lock_item(&key, handle)?;
        // A chain that is in the index and has no reader may be changed; no reader can begin now, under the bucket
        // lock.
        if pin.is_shared() {
            drop(bucket);
            return Err(Busy::Active);
        }
        Header::claim(self.arena.chunk(to), kind::CHAIN);
        let links = Links::of(self.arena.chunk(from));
        links.put(self.arena.chunk(to));
        match links.before {
            None => chain_head(&item, Some(to)),
            Some(before) => {
                let before = self.arena.chunk(before);
                Links { next: Some(to), ..Links::of(before) }.put(before);
            }
        }
        if let Some(next) = links.next {
            let next = self.arena.chunk(next);
            Links { before: Some(to), ..Links::of(next) }.put(next);
        }
        drop(bucket);
        m.spare = None;
        m.counts.chunk_rescues += 1;
        self.slabs.class(m.src).free(&self.arena, from);
        drop(pin);
        Ok(())
    }

    /// Finds the large item in a locked bucket that owns a chain, and copies its key to `key`.
    fn find_chain<'k>(&self, key: &'k mut Vec<u8>, bucket: &Bucket, chain: ChainName) -> Option<(Key<'k>, Linked)> {
        let mut found = None;
        bucket.for_each(|raw| {
            let item = self.item(raw).filter(|(_, item)| item.header().has(iflag::CHUNKED));
            let first = item.and_then(|(_, item)| chain_of(&item));
            if first.is_some_and(|first| ChainName::of(self.arena.chunk(first)) == chain) {
                found = item;
            }
        });
        let (handle, item) = found?;
        let key = Key::copied(&item, key);
        Some((key, self.find_handle(bucket, &key, handle)?))
    }

    /// Locks the bucket of `hash` until [`Store::debug_unlock`], for `debugitem lock`.
    #[cfg(feature = "debug-commands")]
    pub fn debug_lock(&'static self, hash: u64) {
        std::mem::forget(self.index.lock(hash));
        crate::sys::panics::lock_released();
    }

    /// Undoes [`Store::debug_lock`].
    #[cfg(feature = "debug-commands")]
    pub fn debug_unlock(&'static self, hash: u64) {
        self.index.unlock(hash);
    }

    /// Returns why an item must not be rescued, if so.
    fn must_end(&self, m: &Move, item: &Item, now: u32) -> Option<NoRescue> {
        if let Some(dead) = self.dead(item, now) {
            return Some(NoRescue::Dead(dead));
        }
        // Readers of a chain hold handles of its chunks.
        let read = item.header().has(iflag::CHUNKED) && Pinned::is_pinned(item);
        read.then_some(if m.passes > PASSES_MAX { NoRescue::Deleted } else { NoRescue::Later })
    }

    fn end(
        &'static self,
        m: &mut Move,
        end: NoRescue,
        key: &Key<'_>,
        (bucket, linked): (Bucket, Linked),
    ) -> Result<(), Busy> {
        match end {
            NoRescue::Later => return Err(Busy::Active),
            NoRescue::Dead(dead) => {
                let class = self.lru_class(linked.handle, &linked.item);
                self.unlink(bucket, key, linked, ChangeOp::Reclaim(dead));
                self.slabs.class(class).counts.reclaimed += 1;
            }
            NoRescue::Deleted => {
                m.counts.busy_deletes += 1;
                self.unlink(bucket, key, linked, ChangeOp::Evict);
            }
        }
        Ok(())
    }

    /// Evicts the class's next victim to make room for the item, which is retried; or the item itself, if it is COLD
    /// and unread or there is no other victim.
    fn evict_for(
        &'static self,
        m: &mut Move,
        need: usize,
        key: &Key<'_>,
        (mut bucket, mut linked): (Bucket, Linked),
        now: u32,
    ) -> Result<(), Busy> {
        if !self.slabs.may_evict() {
            return Err(Busy::NoMemory);
        }
        let handle = linked.handle;
        if std::mem::take(&mut m.starved) {
            self.remove(&mut bucket, key, &mut linked, ChangeOp::Evict);
            drop(bucket);
            let id = self.lru_class(handle, &linked.item);
            self.note_eviction(&mut self.slabs.class(id).counts, key.bytes(), handle, &linked.item, now);
            self.release(linked);
            return Ok(());
        }
        let item = linked.item;
        drop(bucket);
        // The page is the class's oldest: a hand that came here would take its unread items as the next victims.
        let unread = item.header().is_unread_cold();
        let id = if unread { self.lru_class(handle, &item) } else { m.src };
        let mut class = self.slabs.class(id);
        let own = unread.then_some((handle, Some(Part::Ring)));
        match own.or_else(|| self.slabs.victim_anywhere(&mut class, &self.arena, need)) {
            Some(victim) => {
                let mut class = self.drop_victim(id, class, victim, now);
                // Taken at once: under a steady write load a free chunk would never be left over.
                if !unread && m.spare.is_none() {
                    m.spare = m.take_spare(&mut class, &self.arena, need);
                }
            }
            None => m.starved = true,
        }
        m.progress = true;
        Err(Busy::NoMemory)
    }

    /// Makes the move hold a free chunk of `need` bytes, if the class has one.
    fn ensure_spare(&'static self, m: &mut Move, need: usize) {
        if m.spare.is_some_and(|spare| self.arena.stride(spare) < need) {
            self.return_spare(m);
        }
        if m.spare.is_none() {
            m.spare = m.take_spare(&mut self.slabs.class(m.src), &self.arena, need);
        }
    }

    fn return_spare(&'static self, m: &mut Move) {
        if let Some(spare) = m.spare.take() {
            self.slabs.class(m.src).free(&self.arena, spare);
        }
    }
}

/// Reason that an item of the page is not rescued.
enum NoRescue {
    Dead(Dead),
    /// A chain that is being read: retried in a later pass.
    Later,
    /// A chain that has been read for too many passes.
    Deleted,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Expiry;
    use crate::store::item::Meta;
    use crate::store::slab::SizeConfig;
    use crate::store::store::Config;

    const NOW: u32 = 1000;

    /// Steps a move until it waits or ends.
    fn step(store: &'static Store, m: &mut Move) -> Progress {
        loop {
            match store.step_move(m, NOW) {
                Progress::More => {}
                other => return other,
            }
        }
    }

    #[test]
    fn a_move_waits_for_an_upload_after_any_number_of_passes() {
        let sizes = SizeConfig::default();
        let (maxbytes, initial_items, may_grow) = (16 << 20, 1000, true);
        let config = Config { sizes, maxbytes, evict: true, initial_items, may_grow, exact: true, precharged: 0 };
        let store = Store::leak(&config).unwrap();
        let meta = Meta { klen: 3, vlen: 1000, flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
        let arriving = store.reserve(&Key::new(b"key").unwrap(), &meta, NOW).unwrap();
        let class = usize::from(arriving.class());
        let mut others = Vec::new();
        while store.page_count(class) < 2 {
            others.push(store.reserve(&Key::new(b"key").unwrap(), &meta, NOW).unwrap());
        }
        drop(others);
        let mut m = store.begin_move(class, 0).unwrap();
        assert_eq!(step(store, &mut m), Progress::Waits);
        m.passes = u32::MAX - 1;
        for _ in 0..3 {
            assert_eq!(step(store, &mut m), Progress::Waits);
            assert!(m.passes > PASSES_MAX, "it begins again to be patient");
        }
        drop(arriving);
        assert_eq!(step(store, &mut m), Progress::Done);
    }
}
