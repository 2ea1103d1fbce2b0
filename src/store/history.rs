//! How often keys have left a class of late.
//!
//! A ghost (`index`) knows when a key has left for the last time; a history counts how often that was within the last
//! two rounds of the hand. Who leaves the ring unread for the third time stays: it has been asked for more often than
//! what the hand finds unread for a whole period. Counts are halved as the hand goes period, so they mean the same
//! whether popularity lasts or not.
//!
//! Owns the table of counts and its size. It has memory only where that takes none from items, so a class may have no
//! history, or lose it. Under the class's lock, but for the making of tables. Knows no items; called by the store,
//! which evicts, and by the thread of chores.

use crate::store::evict::{ClockPeriod, Part};
use crate::store::index::place_of;
use crate::store::slab::prefetch;
use crate::store::slabs::{Class, Slabs, on_top};

/// Entries of a line.
const ENTRIES: usize = 32;

/// An entry: 12 bits of a key's hash, above the count.
const COUNT: u16 = 15;
const TAG_SHIFT: u32 = 4;

/// An entry of nobody. It is not zero, so that a new table is written, and has its memory before the class is locked.
const NOBODY: u16 = 1 << TAG_SHIFT;

/// Entries among which a key takes the place of the least frequent one.
const CANDIDATES: usize = 8;

/// Who leaves the ring for this many times stays.
const STAYS: u16 = 3;

/// How many may stay for one that leaves: a search for memory must come to an end.
const STAY_MAX: u32 = 8;

/// Rounds of the hand in which counts are halved.
const HALVED_IN: u64 = 2;

/// Evictions an item in which they are halved at the latest.
const HALVED_IN_MAX: u64 = 16;

/// Bytes an item of a table: at most, at least where one begins, and where it has to go.
const BYTES_MAX: u64 = 8;
const BYTES_MIN: u64 = 4;
const BYTES_LEFT: u64 = 3;

/// Lines of the largest table: as many as [`place_of`] tells apart, 256 GB.
const LINES_MAX: u64 = 1 << 32;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u16; ENTRIES]);

const LINE_BYTES: u64 = size_of::<Line>() as u64;

/// Counts of keys by their hash; empty where there is no memory for it.
#[derive(Default)]
pub struct History {
    lines: Vec<Line>,
    /// Departures counted.
    noted: usize,
    /// The line whose counts are halved next, and how much of a line is due.
    fading: usize,
    due: u64,
    /// How many have stayed since the last one that left.
    stayed: u32,
}

impl History {
    /// An empty table of so many lines; of none if there is no memory.
    fn new(lines: usize) -> Self {
        let mut new = Self::default();
        if new.lines.try_reserve_exact(lines).is_ok() {
            new.lines.resize(lines, Line([NOBODY; ENTRIES]));
        }
        new
    }

    /// Whether anything is remembered.
    pub fn is_kept(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Loads what [`History::lets_go`] will look at.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(line) = self.lines.get(place_of(hash, self.lines.len() as u64)) {
            prefetch(line);
        }
    }

    /// Counts that an item of a class of `items` is about to leave it; false if it should stay instead.
    pub fn lets_go(&mut self, hash: u64, part: Part, period: &ClockPeriod, items: u64) -> bool {
        if !self.is_kept() {
            return true;
        }
        let times = self.note(hash);
        self.fade(period, items);
        let stays = part == Part::Ring && times >= STAYS && self.stayed < STAY_MAX;
        self.stayed = if stays { self.stayed + 1 } else { 0 };
        !stays
    }

    /// Counts a departure; gives the count.
    fn note(&mut self, hash: u64) -> u16 {
        let place = place_of(hash, self.lines.len() as u64);
        let line = &mut self.lines[place].0;
        // Bits of the hash that do not choose the line.
        let tag = ((hash >> 8) as u16) << TAG_SHIFT;
        self.noted = self.noted.wrapping_add(1);
        if let Some(entry) = line.iter_mut().find(|entry| **entry & !COUNT == tag) {
            *entry += u16::from(*entry & COUNT < COUNT);
            return *entry & COUNT;
        }
        let from = self.noted % (ENTRIES / CANDIDATES) * CANDIDATES;
        if let Some(least) = line[from..from + CANDIDATES].iter_mut().min_by_key(|entry| **entry & COUNT) {
            *least = tag | 1;
        }
        1
    }

    /// Halves the counts of as many lines as one departure is of the time in which all are halved.
    fn fade(&mut self, period: &ClockPeriod, items: u64) {
        let longest = HALVED_IN_MAX * items.max(1);
        let fade_period =
            period.length().map_or(longest, |length| (HALVED_IN * length).clamp(items.max(1) / 4, longest));
        self.due += self.lines.len() as u64;
        while self.due >= fade_period.max(1) {
            self.due -= fade_period.max(1);
            let line = &mut self.lines[self.fading].0;
            line.iter_mut().for_each(|entry| *entry = *entry & !COUNT | (*entry & COUNT) >> 1);
            self.fading = (self.fading + 1) % self.lines.len();
        }
    }
}

impl Class {
    /// Whether a small item that has been found to leave next, and whose page stays, should not do so after all. It
    /// is no longer in the ring then. (A large one is its queue's next victim again.)
    pub fn keeps(&mut self, hash: u64, part: Part) -> bool {
        let items = self.len();
        !self.history.lets_go(hash, part, &self.period, items)
    }
}

impl Slabs {
    /// Has the classes that evict remember as much as takes nothing from the pages, where `needed` bytes are needed
    /// beside these already, or nothing; gives the bytes of all tables. Called by the thread of chores every now and
    /// then.
    pub fn fit_histories(&self, needed: u64) -> u64 {
        let room = on_top(self.limit()).saturating_sub(needed);
        let evicts = |id: usize| !self.is_flat() && self.stats(id).evicted() != 0;
        let mut kept = false;
        let mut items_of = |id: usize| {
            let class = self.class(id);
            kept |= class.history.is_kept();
            if evicts(id) { class.len() } else { 0 }
        };
        let items: Vec<u64> = (0..self.len()).map(&mut items_of).collect();
        // A table may be larger than it should be by a half, so that it need not follow each item.
        let share = (room / 3 * 2).checked_div(items.iter().sum()).unwrap_or(0).min(BYTES_MAX);
        let least = if kept { BYTES_LEFT } else { BYTES_MIN };
        let share = if share < least { 0 } else { share };
        let fit =
            |(id, items): (usize, &u64)| self.fit_history(id, (items * share / LINE_BYTES).min(LINES_MAX) as usize);
        items.iter().enumerate().map(fit).sum()
    }

    /// Gives a class a table of about so many lines; gives its bytes. One that is too small or too large gives way to
    /// an empty one: it fills with a few evictions an item.
    fn fit_history(&self, id: usize, lines: usize) -> u64 {
        let fits = |now: usize| now <= lines + lines / 2 && now >= lines - lines / 5;
        let now = self.class(id).history.lines.len();
        if fits(now) {
            return now as u64 * LINE_BYTES;
        }
        // Memory comes and goes where no lock is held, and goes first.
        let old = std::mem::take(&mut self.class(id).history);
        drop(old);
        let new = History::new(lines);
        let bytes = new.lines.len() as u64 * LINE_BYTES;
        self.class(id).history = new;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::evict::ClassStats;
    use crate::store::item::Meta;
    use crate::store::slab::Arena;
    use crate::store::slab::{SizeConfig, Sizes};
    use crate::store::store::{Config, Lookup, Store};
    use crate::store::write::{Mode, Write};

    const ITEMS: u64 = 1000;

    /// Splitmix64: hashes from numbers.
    fn hash(n: u64) -> u64 {
        let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ z >> 27
    }

    fn history() -> History {
        History::new((ITEMS * BYTES_MAX / LINE_BYTES) as usize)
    }

    /// A hand that takes so many evictions from the ring for a period.
    fn round_of(evictions: u64) -> ClockPeriod {
        let (stats, mut period) = (ClassStats::default(), ClockPeriod::default());
        stats.note_items(ITEMS);
        for n in 0..=20 * ITEMS {
            (0..evictions * n / ITEMS - evictions * n.saturating_sub(1) / ITEMS)
                .for_each(|_| _ = stats.ghost(Part::Ring));
            period.pass();
            period.measure(ITEMS, &stats, true);
        }
        let length = period.length().unwrap();
        assert!(length.abs_diff(evictions) <= evictions / 10, "{length} for {evictions}");
        period
    }

    /// Has `key` leave the ring after each `others` other keys, which leave but once; gives how often until it stays.
    fn departures(period: &ClockPeriod, others: u64, key: u64) -> Option<u64> {
        let mut history = history();
        (1..=20).find(|time| {
            let stranger = |n| history.lets_go(hash(1_000_000 + time * others + n), Part::Ring, period, ITEMS);
            assert!((0..others).map(stranger).filter(|goes| !goes).count() as u64 <= others / 500);
            !history.lets_go(hash(key), Part::Ring, period, ITEMS)
        })
    }

    #[test]
    fn who_leaves_for_the_third_time_in_two_rounds_stays() {
        let period = round_of(2000);
        let mean = |others| (0..20).filter_map(|key| departures(&period, others, key)).sum::<u64>() as f64 / 20.0;
        assert!((3.0..3.7).contains(&mean(100)), "{}", mean(100));
        assert!((3.0..4.5).contains(&mean(500)), "{}", mean(500));
        let stays = |others| (0..20).filter(|&key| departures(&period, others, key).is_some()).count();
        assert!(stays(8000) <= 1, "it has left once in four rounds");
        assert!(stays(500) == 20 && (0..20).all(|key| departures(&round_of(300), 1000, key).is_none()));
    }

    #[test]
    fn nobody_stays_who_is_under_the_hand_and_not_everybody_else() {
        let (mut history, period) = (history(), round_of(2000));
        assert!((0..20).all(|_| history.lets_go(hash(1), Part::Main, &period, ITEMS)));
        let stays = (0..90).filter(|_| !history.lets_go(hash(1), Part::Ring, &period, ITEMS)).count();
        assert_eq!(stays, 80, "eight of nine");
    }

    #[test]
    fn without_a_table_everybody_goes() {
        let (mut history, period) = (History::default(), round_of(2000));
        history.prefetch(hash(1));
        assert!((0..20).all(|_| history.lets_go(hash(1), Part::Ring, &period, ITEMS)));
    }

    #[test]
    fn tables_take_what_room_there_is_for_classes_that_evict() {
        let sizes = Sizes::new(sizes());
        let arena = Arena::reserve(64 << 20, true, 0).unwrap();
        let slabs = Slabs::new(&sizes, arena.numbers(), 64 << 20, 0, true);
        let room = on_top(64 << 20);
        slabs.class(1).items[0] = 100_000;
        slabs.class(2).items[0] = 100_000;
        assert_eq!(slabs.fit_histories(0), 0, "nobody has left");
        let evict = || _ = slabs.stats(1).ghost(Part::Ring);
        evict();
        assert_eq!(slabs.fit_histories(0), 800_000);
        assert!(slabs.class(1).history.is_kept() && !slabs.class(2).history.is_kept());
        for needed in (0..=room).step_by(10_000) {
            let taken = slabs.fit_histories(needed);
            assert!(taken + needed <= room && (taken > 0 || needed + 450_001 > room), "{taken} beside {needed}");
        }
        assert_eq!(slabs.fit_histories(room - 599_000), 0, "it does not come and go with every byte");
        assert!(slabs.fit_histories(room - 601_000) > 0);
        assert_eq!(slabs.fit_histories(room), 0);
        slabs.fit_histories(0);
        slabs.set_flat(true, &arena);
        assert_eq!(slabs.fit_histories(0), 0, "flat mode needs none");
    }

    #[test]
    fn who_has_left_often_is_not_evicted_unread() {
        let (maxbytes, initial_items) = (2 << 20, 40_000);
        let sizes = sizes();
        let config = Config { sizes, maxbytes, evict: true, initial_items, may_grow: true, exact: true, precharged: 0 };
        let store = Store::leak(&config).unwrap();
        let put = |n: u32| {
            let key = n.to_be_bytes();
            let meta = Meta { klen: 4, vlen: 50, flags: 0, exptime: 0, iflags: 0, cas: 0 };
            let mut item = store.reserve(&key, &meta, 0).unwrap();
            item.write(&[7; 50]).unwrap();
            let class = usize::from(item.class());
            store.commit(item, &key, hash_of(n), Write::new(Mode::Set, store.next_cas()), 0);
            class
        };
        let has = |n: u32| store.visit(&n.to_be_bytes(), hash_of(n), 0, |_| ()) != Lookup::Miss;
        let (class, mut last) = (put(0), 0);
        while has(0) {
            last += 1;
            put(last);
        }
        let [never, often] = [last + 1, last + 2];
        [never, often].into_iter().for_each(|n| _ = put(n));
        {
            let mut class = store.slabs.class(class);
            class.history = History::new(20_000);
            // Hashes differ from run to run: so often that a count halved meanwhile is still enough, in a table so
            // large that keys hardly ever share an entry.
            (0..6).for_each(|_| _ = class.keeps(hash_of(often), Part::Main));
        }
        (1..=last * 3 / 2).for_each(|n| _ = put(often + n));
        assert_eq!([never, often].map(has), [false, true]);
    }

    fn hash_of(n: u32) -> u64 {
        crate::hash::hash(&n.to_be_bytes())
    }

    fn sizes() -> SizeConfig {
        SizeConfig {
            chunk_size: 48,
            growth_factor: 1.25,
            chunk_max: 512 << 10,
            item_size_max: 1 << 20,
            slab_sizes: Vec::new(),
            use_cas: true,
        }
    }
}
