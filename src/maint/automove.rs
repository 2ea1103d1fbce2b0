//! Automatic choice of the page to move: memcached's rules for `slab_automove` 1 and 2. While there are ghost hits,
//! `gradient` replaces the rule by age.
//!
//! Owns the window of past seconds and the decision; moves nothing. Takes one [`Sample`] of each class a second, and
//! proposes a pair of classes. Called by the mover's thread.

use crate::limits::CLASSES;
use crate::store::Store;

/// Free chunks, in pages, above which a class gives a page back; as in memcached.
const PAGES_FREE: f64 = 2.5;

/// Pages that a class keeps when it gives a page to another one; as in memcached.
const PAGES_KEPT: u64 = 2;

/// A class with more than this share of all evictions, on average over the window, wants memory even if it evicts in
/// few seconds of the window.
const EVICTED_SHARE: f64 = 0.25;

/// Settings of the operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// `slab_automove`: 0, 1 or 2.
    pub level: u32,
    /// `slab_automove_window`: length of the window in seconds; for `gradient`, steps after which a ghost hit counts
    /// a third.
    pub window: u32,
    /// `slab_automove_ratio`: the youngest class's age must be below this share of the oldest one's; for `gradient`,
    /// the loss of a page must be below this share of the gain.
    pub ratio: f64,
    /// Changes when another field does: the window starts over.
    pub version: u32,
}

/// Figures of one class at one moment.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Sample {
    pub evicted: u64,
    pub outofmemory: u64,
    pub pages: u64,
    pub per_page: u64,
    pub free_chunks: u64,
    /// Evicted keys that returned so soon that more memory would have kept their items.
    pub ghost_hits: u64,
    /// Seconds since the last access of the next victim.
    pub age: u64,
}

impl Sample {
    /// Whether a page's worth of chunks is free.
    pub(super) fn has_free_page(&self) -> bool {
        self.free_chunks >= self.per_page
    }
}

/// Samples of all classes now.
pub(super) fn sample(store: &Store, now: u32) -> Vec<Sample> {
    let views = store.classes(now);
    let of = |(id, view): (usize, &crate::store::ClassView)| Sample {
        evicted: view.counts.evicted,
        outofmemory: view.counts.outofmemory,
        pages: view.pages,
        per_page: store.sizes().class(id).per_page as u64,
        free_chunks: view.total_chunks - view.used_chunks,
        ghost_hits: view.ghost_hits,
        age: view.age_cold.into(),
    };
    views.iter().enumerate().map(of).collect()
}

/// One class in one second of the window.
#[derive(Clone, Copy, Default)]
struct Second {
    age: u64,
    /// The class evicted, refused memory, or got a page.
    dirty: bool,
    evicted: bool,
    /// The class's share of all evictions.
    share: f64,
}

/// The window of past seconds, and the settings by which it is judged.
pub(super) struct Automove {
    tuning: Tuning,
    before: Vec<Sample>,
    /// Seconds of each class; second `seen % window` is the newest.
    seconds: Vec<[Second; CLASSES]>,
    seen: usize,
}

impl Automove {
    pub(super) fn new(tuning: Tuning, now: Vec<Sample>) -> Self {
        let window = tuning.window.max(1) as usize;
        Self { tuning, before: now, seconds: vec![[Second::default(); CLASSES]; window], seen: 0 }
    }

    pub(super) fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// Starts the next second.
    pub(super) fn note(&mut self, now: Vec<Sample>) {
        self.seen += 1;
        let at = self.seen % self.seconds.len();
        let delta = |id: usize, of: fn(&Sample) -> u64| -> u64 {
            // `stats reset` clears counters.
            self.before.get(id).map_or(0, |before| of(&now[id]).saturating_sub(of(before)))
        };
        let total: u64 = (1..now.len()).map(|id| delta(id, |sample| sample.evicted)).sum();
        let mut row = [Second::default(); CLASSES];
        for id in 1..now.len() {
            let evicted = delta(id, |sample| sample.evicted);
            let dirty = evicted + delta(id, |sample| sample.outofmemory) + delta(id, |sample| sample.pages) > 0;
            let share = if total == 0 { 0.0 } else { evicted as f64 / total as f64 };
            row[id] = Second { age: now[id].age, dirty, evicted: evicted > 0, share };
        }
        self.seconds[at] = row;
        self.before = now;
    }

    /// Replaces the latest samples within the current second.
    pub(super) fn refresh(&mut self, now: Vec<Sample>) {
        self.before = now;
    }

    /// Returns source and destination of the page that should move; destination 0 is the pool. `full` is set if
    /// memory in use has reached the limit.
    pub(super) fn decide(&self, full: bool) -> Option<(usize, usize)> {
        let window = self.seconds.len();
        let newest = &self.seconds[self.seen % window];
        let mut oldest = None;
        let mut youngest = None;
        for (id, sample) in self.before.iter().enumerate().skip(1) {
            let of = |what: fn(&Second) -> f64| self.seconds.iter().map(|row| what(&row[id])).sum::<f64>();
            let dirty = self.seconds.iter().any(|row| row[id].dirty);
            if sample.free_chunks as f64 > sample.per_page as f64 * PAGES_FREE && full && !dirty {
                return Some((id, 0));
            }
            let age = (of(|second| second.age as f64) / window as f64) as u64;
            if sample.pages > PAGES_KEPT && oldest.is_none_or(|(_, most)| age > most) && age > 0 {
                oldest = Some((id, age));
            }
            let often = of(|second| f64::from(u8::from(second.evicted))) as usize > window / 2;
            let much = of(|second| second.share) / window as f64 > EVICTED_SHARE;
            if (often || much) && youngest.is_none_or(|(_, least)| age < least) {
                youngest = Some((id, age));
            }
        }
        let ((oldest, oldest_age), (youngest, youngest_age)) = (oldest?, youngest?);
        let wanted = (youngest_age as f64) < oldest_age as f64 * self.tuning.ratio && newest[youngest].evicted;
        (self.seen > window && wanted && oldest != youngest).then_some((oldest, youngest))
    }
}

/// The class with the most evictions between two samples.
pub(super) fn most_evicting(before: &[Sample], now: &[Sample]) -> Option<usize> {
    let evicted = |id: usize| before.get(id).map_or(0, |before| now[id].evicted.saturating_sub(before.evicted));
    (1..now.len()).filter(|&id| evicted(id) > 0).max_by_key(|&id| evicted(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u32 = 4;

    fn automove(start: Vec<Sample>) -> Automove {
        Automove::new(Tuning { level: 1, window: WINDOW, ratio: 0.8, version: 0 }, start)
    }

    /// Class 1 evicts young items, class 2 keeps old ones.
    fn uneven(second: u64) -> Vec<Sample> {
        let class = Sample { pages: 10, per_page: 100, ..Sample::default() };
        vec![Sample::default(), Sample { evicted: second * 50, age: 10, ..class }, Sample { age: 100, ..class }]
    }

    #[test]
    fn a_page_goes_from_the_oldest_class_to_the_youngest_that_evicts() {
        let mut automove = automove(uneven(0));
        for second in 1..=u64::from(WINDOW) {
            automove.note(uneven(second));
            assert_eq!(automove.decide(true), None, "the window is not full");
        }
        automove.note(uneven(5));
        assert_eq!(automove.decide(true), Some((2, 1)));
        automove.note(uneven(5));
        assert_eq!(automove.decide(true), None, "it does not evict any more");
    }

    #[test]
    fn ages_that_are_near_each_other_move_nothing() {
        let near = |second| {
            let mut samples = uneven(second);
            samples[2].age = 12;
            samples
        };
        let mut automove = automove(near(0));
        (1..20).for_each(|second| automove.note(near(second)));
        assert_eq!(automove.decide(true), None);
    }

    #[test]
    fn a_class_keeps_two_pages() {
        let few = |second| {
            let mut samples = uneven(second);
            samples[2].pages = 2;
            samples
        };
        let mut automove = automove(few(0));
        (1..20).for_each(|second| automove.note(few(second)));
        assert_eq!(automove.decide(true), None);
    }

    #[test]
    fn too_many_free_chunks_go_to_the_pool_once_memory_is_full() {
        let free = |chunks, evicted| {
            let class = Sample { pages: 10, per_page: 100, free_chunks: chunks, evicted, ..Sample::default() };
            vec![Sample::default(), class]
        };
        let mut automove = automove(free(251, 0));
        automove.note(free(251, 1));
        for _ in 1..WINDOW {
            automove.note(free(251, 1));
            assert_eq!(automove.decide(true), None, "it has evicted within the window");
        }
        automove.note(free(251, 1));
        assert_eq!(automove.decide(true), Some((1, 0)));
        assert_eq!(automove.decide(false), None, "there is memory left");
        automove.note(free(250, 1));
        assert_eq!(automove.decide(true), None, "not more than two pages and a half");
    }

    #[test]
    fn the_greedy_level_picks_the_class_that_evicts_most() {
        assert_eq!(most_evicting(&uneven(0), &uneven(0)), None);
        assert_eq!(most_evicting(&uneven(0), &uneven(1)), Some(1));
    }
}
