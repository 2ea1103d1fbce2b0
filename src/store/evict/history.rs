//! Counts how often a key was evicted recently.
//!
//! A ghost (`index`) records only a key's last eviction; a history counts those of about the last two clock periods
//! (rounds of the clock hand, `s3fifo`). Each choice of an item as victim is a *departure* of its key. An item that
//! would leave the ring unread for the third time is kept: its key is requested more often than an item that the hand
//! finds unread after a whole period. Counts are halved every two periods, so that keys which were popular once lose
//! theirs.
//!
//! Owns the table and the rule for its size. Uses only memory that is not taken from items, so a class may have no
//! history, or lose it. Used under the class lock; tables are allocated without it. Knows no items. Called by `s3fifo`,
//! and by `slabs`, which resizes tables.

use super::class_stats::{ClockPeriod, Part};
use crate::store::index::place_of;
use crate::store::slab::prefetch;

/// Entries per line.
const ENTRIES: usize = 32;

/// Mask of an entry's count; the upper 12 bits hold part of the key's hash.
const COUNT: u16 = 15;
const TAG_SHIFT: u32 = 4;

/// Value of an unused entry; non-zero, so that a new table is written, and so has its memory, before the class is
/// locked.
const UNUSED: u16 = 1 << TAG_SHIFT;

/// Entries among which a new key replaces the one with the lowest count.
const CANDIDATES: usize = 8;

/// Departures, this one included, from which an item that leaves the ring is kept.
const KEEP_AT: u16 = 3;

/// Maximum items kept in a row, so that a search for memory ends.
const KEPT_MAX: u32 = 8;

/// Clock periods in which all counts are halved once.
const FADE_PERIODS: u64 = 2;

/// Maximum length of `FADE_PERIODS` periods, in evictions per item; also their length while the clock period is not
/// known.
const FADE_MAX: u64 = 16;

/// Bytes of a table per item: maximum, minimum while no class has a table, and minimum while any has one.
const BYTES_MAX: u64 = 8;
const BYTES_MIN: u64 = 4;
const BYTES_LEFT: u64 = 3;

/// Lines of the largest table: as many as [`place_of`] distinguishes, 256 GB.
const LINES_MAX: u64 = 1 << 32;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u16; ENTRIES]);

/// Bytes of a line.
pub const LINE_BYTES: u64 = size_of::<Line>() as u64;

/// Departure counts of one class, by key hash; empty if there is no spare memory for a table.
#[derive(Default)]
pub struct History {
    lines: Vec<Line>,
    /// Number of departures counted.
    departures: usize,
    /// Index of the line to halve next.
    next_to_fade: usize,
    /// Fraction of a line that is due to be halved: this, divided by the departures in `FADE_PERIODS` periods.
    due: u64,
    /// Items kept since the last departure that was allowed.
    kept: u32,
}

impl History {
    /// An empty table of `lines` lines; of none if there is no memory.
    pub fn new(lines: usize) -> Self {
        let mut new = Self::default();
        if new.lines.try_reserve_exact(lines).is_ok() {
            new.lines.resize(lines, Line([UNUSED; ENTRIES]));
        }
        new
    }

    /// Whether there is a table.
    pub fn is_kept(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Bytes of the table.
    pub fn bytes(&self) -> u64 {
        self.lines.len() as u64 * LINE_BYTES
    }

    /// Whether the table need not be replaced by one of `lines` lines.
    pub fn fits(&self, lines: usize) -> bool {
        let now = self.lines.len();
        now <= lines + lines / 2 && now >= lines - lines / 5
    }

    /// Prefetches the key's line for [`History::depart`].
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(line) = self.lines.get(place_of(hash, self.lines.len() as u64)) {
            prefetch(line);
        }
    }

    /// Counts a departure of the key; false if the item should be kept. `items` is the number of items of the class.
    pub fn depart(&mut self, hash: u64, part: Part, period: &ClockPeriod, items: u64) -> bool {
        if !self.is_kept() {
            return true;
        }
        let count = self.count(hash);
        self.fade(period, items);
        let keep = part == Part::Ring && count >= KEEP_AT && self.kept < KEPT_MAX;
        self.kept = if keep { self.kept + 1 } else { 0 };
        !keep
    }

    /// Counts a departure of the key; returns its count.
    fn count(&mut self, hash: u64) -> u16 {
        let place = place_of(hash, self.lines.len() as u64);
        let line = &mut self.lines[place].0;
        // These bits of the hash do not select the line.
        let tag = ((hash >> 8) as u16) << TAG_SHIFT;
        self.departures = self.departures.wrapping_add(1);
        if let Some(entry) = line.iter_mut().find(|entry| **entry & !COUNT == tag) {
            *entry += u16::from(*entry & COUNT < COUNT);
            return *entry & COUNT;
        }
        let from = self.departures % (ENTRIES / CANDIDATES) * CANDIDATES;
        if let Some(least) = line[from..from + CANDIDATES].iter_mut().min_by_key(|entry| **entry & COUNT) {
            *least = tag | 1;
        }
        1
    }

    /// Halves the counts of the next lines: as many as one departure's share of the fade period.
    fn fade(&mut self, period: &ClockPeriod, items: u64) {
        let longest = FADE_MAX * items.max(1);
        let fade_period =
            period.length().map_or(longest, |length| (FADE_PERIODS * length).clamp(items.max(1) / 4, longest));
        self.due += self.lines.len() as u64;
        while self.due >= fade_period.max(1) {
            self.due -= fade_period.max(1);
            let line = &mut self.lines[self.next_to_fade].0;
            line.iter_mut().for_each(|entry| *entry = *entry & !COUNT | (*entry & COUNT) >> 1);
            self.next_to_fade = (self.next_to_fade + 1) % self.lines.len();
        }
    }
}

/// Lines for the tables of classes with `items` items each, within `room` bytes; none for any class if too little is
/// left. `kept` is set while any class has a table.
pub fn lines_of(items: &[u64], room: u64, kept: bool) -> impl Iterator<Item = usize> {
    // A table is replaced only if it exceeds its size by more than half, so two thirds of the room are shared out.
    let share = (room / 3 * 2).checked_div(items.iter().sum()).unwrap_or(0).min(BYTES_MAX);
    let least = if kept { BYTES_LEFT } else { BYTES_MIN };
    let share = if share < least { 0 } else { share };
    items.iter().map(move |items| (items * share / LINE_BYTES).min(LINES_MAX) as usize)
}

#[cfg(test)]
mod tests {
    use super::super::class_stats::ClassStats;
    use super::*;

    const ITEMS: u64 = 1000;

    /// Splitmix64: a hash from a number.
    fn hash(n: u64) -> u64 {
        let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^ z >> 27
    }

    fn history() -> History {
        History::new((ITEMS * BYTES_MAX / LINE_BYTES) as usize)
    }

    /// A clock period of `evictions` evictions from the ring.
    fn period_of(evictions: u64) -> ClockPeriod {
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

    /// Counts a departure of `key` from the ring after every `others` departures of other keys, which depart once.
    /// Returns the number of departures of `key` until it is kept; `None` = not within 20.
    fn departures(period: &ClockPeriod, others: u64, key: u64) -> Option<u64> {
        let mut history = history();
        (1..=20).find(|time| {
            let departs = |n| history.depart(hash(1_000_000 + time * others + n), Part::Ring, period, ITEMS);
            assert!((0..others).map(departs).filter(|departs| !departs).count() as u64 <= others / 500);
            !history.depart(hash(key), Part::Ring, period, ITEMS)
        })
    }

    #[test]
    fn an_item_is_kept_at_its_keys_third_departure_in_two_clock_periods() {
        let period = period_of(2000);
        let mean = |others| (0..20).filter_map(|key| departures(&period, others, key)).sum::<u64>() as f64 / 20.0;
        assert!((3.0..3.7).contains(&mean(100)), "{}", mean(100));
        assert!((3.0..4.5).contains(&mean(500)), "{}", mean(500));
        let kept = |others| (0..20).filter(|&key| departures(&period, others, key).is_some()).count();
        assert!(kept(8000) <= 1, "one departure in four clock periods");
        assert!(kept(500) == 20 && (0..20).all(|key| departures(&period_of(300), 1000, key).is_none()));
    }

    #[test]
    fn items_under_the_hand_and_one_of_nine_others_are_not_kept() {
        let (mut history, period) = (history(), period_of(2000));
        assert!((0..20).all(|_| history.depart(hash(1), Part::Main, &period, ITEMS)));
        let kept = (0..90).filter(|_| !history.depart(hash(1), Part::Ring, &period, ITEMS)).count();
        assert_eq!(kept, 80, "eight of nine");
    }

    #[test]
    fn without_a_table_no_item_is_kept() {
        let (mut history, period) = (History::default(), period_of(2000));
        history.prefetch(hash(1));
        assert!((0..20).all(|_| history.depart(hash(1), Part::Ring, &period, ITEMS)));
    }

    #[test]
    fn tables_share_the_room_with_hysteresis() {
        let items = [100_000, 0, 100_000];
        let lines = |room, kept| lines_of(&items, room, kept).collect::<Vec<_>>();
        let most = 100_000 * BYTES_MAX / LINE_BYTES;
        assert_eq!(lines(1 << 40, false), [most as usize, 0, most as usize]);
        let room = 200_000 * BYTES_MIN / 2 * 3;
        assert_eq!(lines(room, false), [(100_000 * BYTES_MIN / LINE_BYTES) as usize, 0, 6250]);
        assert_eq!(lines(room - 3, false), [0; 3]);
        assert_eq!(lines(room - 3, true), [(100_000 * BYTES_LEFT / LINE_BYTES) as usize, 0, 4687]);
        assert_eq!(lines(200_000 * BYTES_LEFT / 2 * 3 - 3, true), [0; 3]);
        let table = History::new(1000);
        assert!([667, 1000, 1250].iter().all(|&lines| table.fits(lines)));
        assert!([0, 666, 1251].iter().all(|&lines| !table.fits(lines)));
    }
}
