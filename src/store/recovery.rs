//! Recovery of the items in a memory file.
//!
//! The file has only pages and persistent counters: free lists, queues, counts and the index are rebuilt from the
//! items' headers. An item is kept if it is marked as linked and its lengths and chain are consistent. A process that
//! was killed leaves at worst an unused chunk, because LINKED is set last when an item is stored, and cleared first
//! when it is removed or its value changes in place.
//!
//! Owns that scan. Runs once, at start, before any other thread has the store; called by `maint`.

use crate::limits::KEY_MAX;
use crate::store::evict::unmark;
use crate::store::index::{GrowthStep, Pace};
use crate::store::item::{Handle, Header, Item, Key, Links, WORD, iflag, kind, state};
use crate::store::memory_file::MemoryFile;
use crate::store::reservation::{CHAIN_HEADER, begin_link, chain_of};
use crate::store::slab::PAGE_BYTES;
use crate::store::store::Store;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;

/// Result of a recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Items recovered.
    pub items: u64,
    /// Linked items dropped: dead, on a page beyond `-m`, replaced by a newer item of the key, or inconsistent.
    pub dropped: u64,
}

/// A page in use.
struct FoundPage {
    number: u32,
    class: usize,
    /// Mean access time of the page's items. The present if it has none, since it then holds chunks of chains.
    atime: u32,
}

/// An item to be queued, with its sort key (access time in flat mode, CAS id).
type Queued = ((u32, u64), Handle);

impl Store {
    /// Recovers the items of the memory file, at relative time `now`. Drops the least recently used pages if `-m` is
    /// smaller than before.
    ///
    /// 24-bit times are extended with the last tick of the previous process, and the results compared with `now`:
    /// however old the file is, no item looks younger than it is.
    pub fn adopt(&'static self, now: u32) -> Adopted {
        let Some(memory_file) = self.memory_file() else { return Adopted::default() };
        let left = self.time_left();
        debug_assert!(left <= now);
        self.finish_flush();
        self.settle(now);
        let (pages, before) = self.adopt_pages(memory_file, left);
        while self.index.wants_growth(before) && self.index.begin_growth(before, Pace::Wide) {
            while self.grow_step(1 << 16) != GrowthStep::Over {}
        }
        let mut adopted = Adopted::default();
        let (mut parts, mut key) = (HashSet::new(), Vec::new());
        for page in &pages {
            for handle in self.slots(page) {
                let Some(item) = self.linked(handle) else { continue };
                let is_dead = self.dead(&item, left).is_some() || (1..=now).contains(&self.exptime(&item, left));
                let is_kept = !is_dead && self.is_consistent(handle, &item, &parts);
                if is_kept {
                    item.limit_idle_since(left, now);
                }
                if !is_kept || !self.index_item(handle, item, &mut key, &mut parts) {
                    self.unmark_linked(item);
                }
            }
        }
        let flat = self.slabs.is_flat();
        let mut queued: BTreeMap<usize, Vec<Queued>> = BTreeMap::new();
        for page in &pages {
            let mut class = self.slabs.class(page.class);
            for handle in self.slots(page) {
                class.chunks.adopt_chunk(&self.arena, handle);
                match self.linked(handle) {
                    Some(mut item) => {
                        adopted.items += 1;
                        let header = item.header();
                        if flat || header.has(iflag::CHUNKED) || header.state() & state::SEGMENT == state::HOT {
                            // CAS ids order the items; in flat mode access times do, before them.
                            let order = (if flat { item.atime(now) } else { 0 }, item.cas());
                            queued.entry(self.lru_class(handle, &item)).or_default().push((order, handle));
                        } else {
                            let memcached_size = self.memcached_size_of(&item);
                            class.adopt_item(&self.arena, handle, &mut item, memcached_size, true, flat);
                        }
                    }
                    // A chunk of a chain whose former item had a ring entry: the rings begin empty, so its mark is
                    // cleared.
                    None if parts.contains(&handle) => unmark(&self.arena, handle),
                    None => {
                        self.arena.chunk(handle)[0].store(0, Relaxed);
                        class.free(&self.arena, handle);
                    }
                }
            }
        }
        for (id, mut items) in queued {
            // Oldest first: by CAS id, or by access time in flat mode.
            items.sort_unstable_by_key(|(order, _)| *order);
            let mut class = self.slabs.class(id);
            for (_, handle) in items {
                if let Some(mut item) = Item::at(self.arena.chunk(handle)) {
                    let memcached_size = self.memcached_size_of(&item);
                    let own = self.arena.class(handle) == id;
                    class.adopt_item(&self.arena, handle, &mut item, memcached_size, own, flat);
                }
            }
        }
        adopted.dropped = before.saturating_sub(adopted.items);
        adopted
    }

    /// Gives the pages in use to their classes, as many as `-m` allows. Returns them, and the number of linked items on
    /// all pages, dropped ones included. `now` is the last tick of the previous process.
    fn adopt_pages(&self, memory_file: &MemoryFile, now: u32) -> (Vec<FoundPage>, u64) {
        let mut items = 0;
        let mut pages: Vec<FoundPage> = Vec::new();
        for number in 1..=memory_file.page_count() as u32 {
            let known = memory_file.entries().get(number).filter(|&(class, stride)| self.sizes.cuts(class, stride));
            let Some((class, stride)) = known else { continue };
            self.arena.assign(number, class, stride);
            let mut page = FoundPage { number, class, atime: now };
            let (mut sum, mut count) = (0u64, 0);
            for item in self.slots(&page).filter_map(|handle| self.linked(handle)) {
                sum += u64::from(item.atime(now));
                count += 1;
            }
            page.atime = sum.checked_div(count).map_or(now, |mean| mean as u32);
            items += count;
            pages.push(page);
        }
        // Most recently used first. Each class may keep one page whatever the limit is, as in memcached.
        pages.sort_by_key(|page| std::cmp::Reverse(page.atime));
        let mut room = self.slabs.pages.limit() / PAGE_BYTES as u64;
        let mut has_page = HashSet::new();
        pages.retain(|page| {
            let first = !has_page.contains(&page.class);
            let kept = (room > 0 || first) && {
                let stride = self.arena.stride(Handle::new(page.number, 0));
                self.slabs.class(page.class).chunks.adopt_page(page.number, stride)
            };
            if kept {
                has_page.insert(page.class);
                room = room.saturating_sub(1);
            } else {
                self.arena.assign(page.number, 0, 0);
            }
            kept
        });
        for id in has_page {
            self.slabs.class(id).chunks.end_adoption();
        }
        let mut used: Vec<(u32, usize)> = pages.iter().map(|page| (page.number, page.class)).collect();
        used.sort_unstable();
        for number in 1..=memory_file.page_count() as u32 {
            if used.binary_search_by_key(&number, |(number, _)| *number).is_err() {
                memory_file.clear_page(number);
                memory_file.entries().enter(number, 0, 0);
            }
        }
        self.slabs.pages.adopt(&used);
        (pages, items)
    }

    fn slots(&self, page: &FoundPage) -> impl Iterator<Item = Handle> + use<> {
        let number = page.number;
        (0..self.arena.slots(number)).map(move |slot| Handle::new(number, slot))
    }

    /// The linked item in a chunk, if there is one.
    fn linked(&self, handle: Handle) -> Option<Item> {
        Item::at(self.arena.chunk(handle)).filter(|item| item.header().is(state::LINKED))
    }

    /// Whether an item's lengths are consistent: its value fits its chunk, or fills a chain that no other item has.
    fn is_consistent(&self, handle: Handle, item: &Item, parts: &HashSet<Handle>) -> bool {
        if item.header().klen() > KEY_MAX || parts.contains(&handle) {
            return false;
        }
        if !item.header().has(iflag::CHUNKED) {
            return item.header().value_offset() + item.vlen() <= item.chunk().len() * WORD;
        }
        let (mut seen, mut missing) = (HashSet::new(), item.vlen());
        let mut next = chain_of(item);
        while let Some(part) = next {
            let chunk = self.arena.chunk(part);
            // Every chunk of a chain has `kind::CHAIN` and belongs to one item only. All but the last are full.
            let is_part = Header::of(chunk).kind() == Some(kind::CHAIN) && missing > 0;
            if !is_part || parts.contains(&part) || !seen.insert(part) {
                return false;
            }
            missing -= missing.min((chunk.len() * WORD).saturating_sub(CHAIN_HEADER));
            next = Links::of(chunk).next;
        }
        missing == 0
    }

    /// Inserts an item into the index; false if a newer item of its key is there, or the index is full. `key` is
    /// scratch space.
    fn index_item(&'static self, handle: Handle, item: Item, key: &mut Vec<u8>, parts: &mut HashSet<Handle>) -> bool {
        let key = Key::copied(&item, key);
        let mut bucket = self.index.lock(key.hash());
        if let Some(mut old) = self.find(&bucket, &key) {
            // Both are linked because the process was killed during a replacement; the client has no reply yet, so
            // either is correct.
            if old.item.cas() >= item.cas() {
                return false;
            }
            old.remove(&mut bucket);
            self.for_each_part(&old.item, |part| {
                parts.remove(&part);
            });
        }
        if !bucket.insert(key.hash(), handle.raw(), |_| 0) {
            return false;
        }
        item.forget_readers();
        // Chain names are unique per process, so the chain gets a new one.
        let (chain, mut before) = (self.name_chain(key.hash()), None);
        self.for_each_part(&item, |part| {
            let chunk = self.arena.chunk(part);
            begin_link(Links { before, ..Links::of(chunk) }, chunk, chain);
            before = Some(part);
            parts.insert(part);
        });
        true
    }

    fn for_each_part(&self, item: &Item, mut each: impl FnMut(Handle)) {
        let mut next = if item.header().has(iflag::CHUNKED) { chain_of(item) } else { None };
        while let Some(part) = next {
            each(part);
            next = Links::of(self.arena.chunk(part)).next;
        }
    }

    /// Clears LINKED of an item that is dropped, so that its chunk will be freed.
    fn unmark_linked(&self, mut item: Item) {
        item.change_state(state::LINKED, 0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::clock::Expiry;
    use crate::store::item::Meta;
    use crate::store::slab::SizeConfig;
    use crate::store::store::{Config, Lookup};
    use crate::store::write::{Mode, Write};
    use std::path::Path;

    const NOW: u32 = 1000;

    fn of(bytes: &[u8]) -> Key<'_> {
        Key::new(bytes).unwrap()
    }

    fn store(path: &Path) -> &'static Store {
        let sizes = SizeConfig { chunk_max: 16 << 10, ..SizeConfig::default() };
        let (maxbytes, initial_items) = (2 << 20, 1000);
        let config = Config { sizes, maxbytes, evict: true, initial_items, may_grow: true, exact: true, precharged: 0 };
        Store::leak_in(&config, MemoryFile::open(path, 1, maxbytes).unwrap()).unwrap()
    }

    fn put(store: &'static Store, key: &[u8], vlen: usize) {
        put_expiring(store, key, vlen, Expiry::Never);
    }

    fn put_expiring(store: &'static Store, key: &[u8], vlen: usize, expiry: Expiry) {
        let meta = Meta { klen: key.len(), vlen, flags: 0, expiry, iflags: 0, cas: 0 };
        let mut reservation = store.reserve(&of(key), &meta, NOW).unwrap();
        reservation.write(&vec![b'v'; vlen]).unwrap();
        store.commit(reservation, &of(key), Write::new(Mode::Set, store.next_cas()), NOW);
    }

    #[test]
    fn chunks_of_chains_have_no_ring_entry_after_recovery() {
        let dir = tempfile::tempdir().unwrap();
        let [before, after] = ["before", "after"].map(|name| dir.path().join(name));
        let marked = |store: &'static Store| {
            let pages = store.slabs.pages.handed_out();
            let slots = pages.flat_map(|page| store.slots(&FoundPage { number: page, class: 0, atime: 0 }));
            let heads = slots.map(|handle| Header::of(store.arena.chunk(handle)));
            heads.filter(|header| header.kind() == Some(kind::CHAIN) && header.is(state::RING)).count()
        };
        let first = store(&before);
        put(first, b"single", 15_000);
        assert_eq!(first.visit(&of(b"single"), NOW, |entry| entry.unlink()), Lookup::Hit(()));
        put(first, b"chain", 40_000);
        first.note_time(NOW, 0);
        assert_eq!(marked(first), 1, "the ring entry of the chunk's former item");
        std::fs::copy(&before, &after).unwrap();
        let second = store(&after);
        assert_eq!(second.adopt(NOW), Adopted { items: 1, dropped: 0 });
        assert_eq!(marked(second), 0);
        assert_eq!(second.visit(&of(b"chain"), NOW, |entry| entry.vlen()), Lookup::Hit(40_000));
    }

    #[test]
    fn dates_are_judged_by_the_wall_clock_of_the_new_process() {
        const ORIGIN: i64 = 1_700_000_000;
        let date = ORIGIN + i64::from(NOW) + 100;
        for (set, is_kept) in [(0, true), (-5000, true), (99, true), (100, false), (5000, false)] {
            let dir = tempfile::tempdir().unwrap();
            let [before, after] = ["before", "after"].map(|name| dir.path().join(name));
            let first = store(&before);
            first.set_origin(ORIGIN);
            put_expiring(first, b"date", 10, Expiry::Date(date as u32));
            first.note_time(NOW, ORIGIN + i64::from(NOW));
            std::fs::copy(&before, &after).unwrap();
            let second = store(&after);
            second.set_origin(ORIGIN + set);
            assert_eq!(second.adopt(NOW).items, u64::from(is_kept), "{set}");
            let found = second.visit(&of(b"date"), NOW, |entry| i64::from(entry.exptime(NOW)));
            assert_eq!(found, if is_kept { Lookup::Hit(date - ORIGIN - set) } else { Lookup::Miss }, "{set}");
        }
    }

    #[test]
    fn times_are_right_however_long_the_file_has_lain() {
        const DAY: u32 = 24 * 60 * 60;
        for days in [0, 1, 89, 91, 97, 100, 150, 194, 195, 250, 300, 400, 1000] {
            let dir = tempfile::tempdir().unwrap();
            let [before, after] = ["before", "after"].map(|name| dir.path().join(name));
            let first = store(&before);
            let lives = [1, 60, 90, 95, 500];
            for life in lives {
                put_expiring(first, format!("{life}").as_bytes(), 10, Expiry::At(NOW + life * DAY));
            }
            put(first, b"eternal", 10);
            first.note_time(NOW, 0);
            std::fs::copy(&before, &after).unwrap();
            let (second, now) = (store(&after), NOW + days * DAY);
            second.adopt(now);
            for life in lives {
                let key = format!("{life}");
                let found = second.visit(&of(key.as_bytes()), now, |entry| entry.exptime(now));
                let expected = if days < life { Lookup::Hit(NOW + life * DAY) } else { Lookup::Miss };
                assert_eq!(found, expected, "{life} days to live, {days} days off");
            }
            let atime = second.visit(&of(b"eternal"), now, |entry| entry.atime(now));
            assert_eq!(atime, Lookup::Hit(NOW.max(now.saturating_sub(90 * DAY))), "{days} days off");
        }
    }

    #[test]
    fn a_flush_takes_effect_if_the_process_was_killed_during_it() {
        let dir = tempfile::tempdir().unwrap();
        let [before, after] = ["before", "after"].map(|name| dir.path().join(name));
        let first = store(&before);
        put(first, b"old", 10);
        first.persistent.flushes.fetch_add(1, Relaxed);
        first.note_time(NOW, 0);
        std::fs::copy(&before, &after).unwrap();
        let second = store(&after);
        second.adopt(NOW);
        assert_eq!(second.visit(&of(b"old"), NOW, |_| ()), Lookup::Miss);
        put(second, b"new", 10);
        assert_eq!(second.visit(&of(b"new"), NOW, |_| ()), Lookup::Hit(()));
    }

    #[test]
    fn a_flush_that_came_due_between_processes_takes_effect() {
        for (delay, off, lives) in [(100, 50, true), (100, 200, false), (100, 100, false)] {
            let dir = tempfile::tempdir().unwrap();
            let [before, after] = ["before", "after"].map(|name| dir.path().join(name));
            let first = store(&before);
            put(first, b"old", 10);
            first.flush(NOW + delay - 1, NOW);
            first.note_time(NOW, 0);
            std::fs::copy(&before, &after).unwrap();
            let (second, now) = (store(&after), NOW + off);
            second.adopt(now);
            assert_eq!(second.visit(&of(b"old"), now, |_| ()) == Lookup::Hit(()), lives, "{delay} {off}");
            let (now, new) = (now + delay, b"new");
            second.settle(now);
            let meta = Meta { klen: 3, vlen: 0, flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
            let reservation = second.reserve(&of(new), &meta, now).unwrap();
            second.commit(reservation, &of(new), Write::new(Mode::Set, second.next_cas()), now);
            assert_ne!(second.visit(&of(b"old"), now, |_| ()), Lookup::Hit(()));
            assert_eq!(second.visit(&of(new), now, |_| ()), Lookup::Hit(()));
        }
    }
}
