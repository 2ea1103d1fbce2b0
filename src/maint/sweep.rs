//! The sweep: walks item memory in small steps and removes dead items.
//!
//! Owns when a run begins, and its pace. There is a full pass a minute and after every flush. Between two of them a
//! class gets a run of its own when many of its items have expired: every run records when the items that it keeps will
//! expire. While nothing happens the full pass waits for the first of these. A class that refused memory is due as
//! well: it may be full of items that must not be evicted but have expired. With the crawler switched off there is one
//! pass a day, because every item must be seen well within 97 days, half the range of a short expiry time. A run
//! requested by `lru_crawler crawl` alternates with these, step by step, and ends or delays none of them. Knows the
//! store and the crawler's handle; `chores` calls `step`. *News* is a number that changes with every event that
//! may cause work (`background`).

use super::ChoreInput;
use super::crawler::Crawler;
use crate::events::Event;
use crate::limits::CLASSES;
use crate::store::{Seen, Store, Walk};
use std::time::{Duration, Instant};

/// Slots visited in one step, some tens of microseconds; memcached pauses after as many items.
const STEP_SLOTS: u32 = 1000;

/// Seconds from the start of one full pass to that of the next.
const FULL: u32 = 60;
/// Seconds from one full pass to the next while the crawler is switched off.
const FULL_WHEN_OFF: u32 = 24 * 60 * 60;

/// Minimum seconds between two automatic runs through one class.
const REST: u32 = 5;
/// Minimum seconds before a run that only refused memory makes due, for each second that the last run took.
const REST_PART: u32 = 10;

/// Seconds ahead for which a run counts expiries: until the next full pass.
const AHEAD: usize = FULL as usize;

/// Expiry times that a run has seen in one class.
#[derive(Clone)]
struct ExpiryHistogram {
    seen: u64,
    /// Those of `seen` that were removed.
    removed: u64,
    expirable: u64,
    /// Items that expire this many seconds after the run's start.
    due: [u32; AHEAD],
    /// Earliest expiry time of all.
    soonest: u32,
}

impl ExpiryHistogram {
    fn note(&mut self, exptime: u32, start: u32) {
        self.seen += 1;
        if exptime != 0 {
            self.expirable += 1;
            self.soonest = self.soonest.min(exptime);
            if let Some(count) = self.due.get_mut(exptime.saturating_sub(start) as usize) {
                *count = count.saturating_add(1);
            }
        }
    }

    fn note_removed(&mut self) {
        self.seen += 1;
        self.removed += 1;
    }

    /// Seconds after the run's start at which enough items have expired for another run to pay: a hundredth of those
    /// that can expire, plus a thousandth of all that must be visited.
    fn pays_at(&self) -> Option<u32> {
        let worth = self.expirable / 100 + (self.seen - self.removed) / 1000 + 1;
        let mut sum = 0;
        let second = self.due.iter().position(|&count| {
            sum += u64::from(count);
            sum > worth
        });
        second.map(|second| second as u32)
    }

    /// Records a run that visited items, for watchers. One sweep covers all segments, so `lru` is `na`.
    fn record(&self, store: &Store, class: usize, next_run: u32, elapsed: u32) {
        if self.seen == 0 {
            return;
        }
        let (low_mark, due) = (self.expirable / 100 + 1, self.due.iter().map(|&count| u64::from(count)).sum::<u64>());
        let (seen, removed) = (self.seen, self.removed);
        let fields = format!(
            "crawler={class} lru=na low_mark={low_mark} next_reclaims={due} since_run=0 next_run={next_run} \
             elapsed={elapsed} examined={seen} reclaimed={removed}"
        );
        store.record(&Event::Crawled { fields: fields.as_bytes() });
    }
}

/// One run of the sweep through some classes.
struct Pass {
    walk: Walk,
    classes: u64,
    start: u32,
    /// The run visits every item of its classes.
    is_whole: bool,
    /// Values of [`Store::flushed`] and of the news when it began.
    flushed: (u32, u32),
    news: u64,
    /// Items still to be visited, per class.
    left: [u32; CLASSES],
    histogram: Vec<ExpiryHistogram>,
}

impl Pass {
    /// `limit` items per class, 0 = all.
    fn new(store: &Store, classes: u64, limit: u32, now: u32, news: u64) -> Self {
        let left = if limit == 0 { u32::MAX } else { limit };
        let empty = ExpiryHistogram { seen: 0, removed: 0, expirable: 0, due: [0; AHEAD], soonest: u32::MAX };
        Self {
            walk: store.begin_walk(classes),
            classes,
            start: now,
            is_whole: limit == 0,
            flushed: store.flushed(now),
            news,
            left: [left; CLASSES],
            histogram: vec![empty; CLASSES],
        }
    }

    /// Returns whether the run is over.
    fn step(&mut self, store: &'static Store, now: u32) -> bool {
        let Self { walk, left, histogram, start, .. } = self;
        store.sweep(walk, STEP_SLOTS, now, |class, seen| {
            match seen {
                Seen::Lives(exptime) => histogram[class].note(exptime, *start),
                Seen::Dead => histogram[class].note_removed(),
            }
            if left[class] != u32::MAX {
                left[class] -= 1;
            }
            left[class] != 0
        })
    }
}

/// State of the sweep between two steps.
pub(super) struct Sweep {
    /// The requested run and the automatic one. While there are both they take turns.
    asked: Option<Box<Pass>>,
    automatic: Option<Box<Pass>>,
    /// The next turn is the automatic run's.
    is_automatics_turn: bool,
    /// Start and end of the last full pass, and the news when it began.
    full: (u32, u32),
    full_news: Option<u64>,
    /// Second from which enough items of a class have expired for an early visit, before the next full pass; `None` =
    /// no early visit.
    prompt: [Option<u32>; CLASSES],
    /// First expiry among the items that the last run kept in a class.
    soonest: [u32; CLASSES],
    /// When a class may next be visited because it refused memory, and its count of refusals at the last visit.
    refused: [(u32, u64); CLASSES],
    /// Time before which no step runs.
    resume_at: Option<Instant>,
    /// The last flush that a full pass has seen; see [`Store::flushed`].
    flushed: (u32, u32),
}

impl Default for Sweep {
    fn default() -> Self {
        // With the crawler on, the first pass is due at once: relative time starts above `FULL`.
        Self {
            asked: None,
            automatic: None,
            is_automatics_turn: false,
            full: (0, 0),
            full_news: None,
            prompt: [None; CLASSES],
            soonest: [u32::MAX; CLASSES],
            refused: [(0, 0); CLASSES],
            resume_at: None,
            flushed: (0, 0),
        }
    }
}

impl Sweep {
    /// Runs the next step at `at`, if one is due, and returns how long the thread may rest: `None` when there is no
    /// run. Then only a request, news or the second [`Sweep::due_at`] can change that.
    pub(super) fn step(
        &mut self,
        store: &'static Store,
        crawler: &Crawler,
        input: &ChoreInput,
        news: u64,
        at: Instant,
    ) -> Option<Duration> {
        let pause = self.resume_at.map(|resume_at| resume_at.saturating_duration_since(at));
        if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
            return Some(pause);
        }
        if self.asked.is_none()
            && let Some(request) = crawler.take()
        {
            self.asked = Some(Box::new(Pass::new(store, request.classes, request.limit, input.now, news)));
        }
        if self.automatic.is_none()
            && let Some(classes) = self.due(store, input, news)
        {
            crawler.set_automatic(input.enabled);
            if input.enabled {
                crawler.note_start();
            }
            self.automatic = Some(Box::new(Pass::new(store, classes, 0, input.now, news)));
        }
        let is_automatics_turn = self.asked.is_none() || self.is_automatics_turn && self.automatic.is_some();
        let slot = if is_automatics_turn { &mut self.automatic } else { &mut self.asked };
        let run = slot.as_mut()?;
        self.is_automatics_turn = !is_automatics_turn;
        if run.step(store, input.now)
            && let Some(run) = slot.take()
        {
            self.note(&run, store, input.now);
            if is_automatics_turn { crawler.set_automatic(false) } else { crawler.done() }
        }
        if self.asked.is_none() && self.automatic.is_none() {
            return None;
        }
        self.resume_at = (!input.sleep.is_zero()).then(|| at + input.sleep);
        Some(input.sleep)
    }

    /// The classes through which an automatic run is due now.
    fn due(&self, store: &Store, input: &ChoreInput, news: u64) -> Option<u64> {
        if !store.has_pages() {
            return None;
        }
        if input.now >= self.full_at(store, input, news) {
            return Some(all_classes());
        }
        let largest = store.sizes().largest();
        let some = |due: &dyn Fn(usize) -> bool| -> u64 {
            (1..=largest).filter(|&class| due(class)).map(|class| 1 << class).sum()
        };
        let expired = some(&|class| input.now >= self.prompt_at(class, input));
        let refused = some(&|class| input.now >= self.refused_at(class, store));
        // The chunks of large items, which count in the largest class, may fill any class.
        let classes = expired | refused | if refused == 0 { 0 } else { 1 << largest };
        (classes != 0).then_some(classes)
    }

    /// The second in which a run will be due, if there is no news before.
    pub(super) fn due_at(&self, store: &Store, input: &ChoreInput, news: u64) -> u32 {
        if !store.has_pages() {
            return u32::MAX;
        }
        let of_class = |class| self.prompt_at(class, input).min(self.refused_at(class, store));
        let classes = (1..=store.sizes().largest()).map(of_class).min();
        self.full_at(store, input, news).min(classes.unwrap_or(u32::MAX))
    }

    /// When the next full pass is due.
    fn full_at(&self, store: &Store, input: &ChoreInput, news: u64) -> u32 {
        let (start, end) = self.full;
        if input.prompt && self.flushed != store.flushed(input.now) {
            return end.saturating_add(1);
        }
        let longest = start.saturating_add(FULL_WHEN_OFF);
        let at = match input.enabled {
            false => longest,
            // No news since: the next work is the first expiry that the last runs recorded.
            true if self.full_news == Some(news) => {
                self.soonest.iter().fold(longest, |at, &soonest| at.min(soonest)).max(start.saturating_add(FULL))
            }
            true => start.saturating_add(FULL),
        };
        at.max(end.saturating_add(REST))
    }

    /// When enough items of a class have expired for a run to pay.
    fn prompt_at(&self, class: usize, input: &ChoreInput) -> u32 {
        self.prompt[class].filter(|_| input.enabled).unwrap_or(u32::MAX)
    }

    /// When a class that refused memory may be visited.
    fn refused_at(&self, class: usize, store: &Store) -> u32 {
        let (not_before, refused) = self.refused[class];
        if store.refused(class) == refused { u32::MAX } else { not_before }
    }

    /// Records the results of a finished run.
    fn note(&mut self, run: &Pass, store: &Store, now: u32) {
        for class in (1..=store.sizes().largest()).filter(|class| run.classes >> class & 1 == 1) {
            let histogram = &run.histogram[class];
            if run.is_whole {
                let pays_at = histogram.pays_at().map(|seconds| run.start.saturating_add(seconds));
                self.prompt[class] = pays_at.map(|at| at.max(now.saturating_add(REST)));
                self.soonest[class] = histogram.soonest;
            }
            let next = self.prompt[class].unwrap_or(run.start.saturating_add(FULL)).saturating_sub(now);
            let elapsed = now.saturating_sub(run.start);
            histogram.record(store, class, next, elapsed);
            if run.is_whole {
                let rest = elapsed.saturating_mul(REST_PART).max(REST);
                self.refused[class] = (now.saturating_add(rest), store.refused(class));
            }
        }
        if run.classes == all_classes() && run.is_whole {
            (self.full, self.full_news, self.flushed) = ((run.start, now), Some(run.news), run.flushed);
        }
    }
}

/// One bit for each class that exists.
pub fn all_classes() -> u64 {
    u64::MAX << 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(due: &[(usize, u32)], seen: u64, expirable: u64) -> ExpiryHistogram {
        let mut histogram = ExpiryHistogram { seen, removed: 0, expirable, due: [0; AHEAD], soonest: u32::MAX };
        due.iter().for_each(|&(second, count)| histogram.due[second] = count);
        histogram
    }

    #[test]
    fn a_run_pays_when_a_hundredth_is_due() {
        assert_eq!(histogram(&[], 1000, 1000).pays_at(), None);
        assert_eq!(histogram(&[(3, 11), (9, 1)], 1000, 1000).pays_at(), None, "11 + 1 must be exceeded");
        assert_eq!(histogram(&[(3, 11), (9, 2)], 1000, 1000).pays_at(), Some(9));
        assert_eq!(histogram(&[(3, 900)], 1000, 1000).pays_at(), Some(3));
        // Few of many: not worth the walk.
        assert_eq!(histogram(&[(3, 10)], 1_000_000, 10).pays_at(), None);
    }

    #[test]
    fn expiry_times_are_counted_from_the_start_of_the_run() {
        let mut histogram = histogram(&[], 0, 0);
        for exptime in [0, 90, 100, 159, 160, 4_000_000] {
            histogram.note(exptime, 100);
        }
        assert_eq!((histogram.seen, histogram.expirable), (6, 5));
        assert_eq!((histogram.due[0], histogram.due[59], histogram.soonest), (2, 1, 90));
    }

    #[test]
    fn a_second_counts_as_many_items_as_it_can() {
        let mut histogram = histogram(&[(7, u32::MAX - 1)], 1 << 40, 1 << 40);
        (0..3).for_each(|_| histogram.note(107, 100));
        assert_eq!(histogram.due[7], u32::MAX);
    }
}
