//! The sweep: goes through item memory and removes what is over, in small steps.
//!
//! Owns when a run begins, and its pace. A run that somebody asked for comes first; else there is a full pass a
//! minute and after every flush, and between two of them a run through each class where many items have come due: every run notes
//! when the items that it leaves will expire. A class that had to refuse memory is due as well: items that nobody may
//! evict may keep it that could go. With the crawler switched off there is one pass a day, because
//! every item must be seen well within 97 days, half the range of a short expiry time. Knows the store and the
//! crawler's handle; the thread of chores calls `step`.

use super::Moment;
use super::crawler::Crawler;
use crate::events::Event;
use crate::limits::CLASSES;
use crate::store::{Seen, Store, Walk};
use std::time::{Duration, Instant};

/// Slots visited in one step, some tens of microseconds; memcached pauses after as many items.
const STEP_SLOTS: u32 = 1000;

/// Seconds from the start of one full pass to that of the next.
const FULL: u32 = 60;
/// The same while the crawler is switched off.
const FULL_WHEN_OFF: u32 = 24 * 60 * 60;

/// Seconds of rest between two automatic runs through one class.
const REST: u32 = 5;
/// The same after a run that took longer than a second, for each second, where only want of memory makes it due.
const REST_PART: u32 = 10;

/// Seconds ahead in which a run counts what will expire: until the next full pass.
const AHEAD: usize = FULL as usize;

/// What a run has learned about one class.
#[derive(Clone)]
struct Census {
    seen: u64,
    /// Of those, how many were removed.
    removed: u64,
    expirable: u64,
    /// Items that expire so many seconds after the run's start.
    due: [u32; AHEAD],
}

impl Census {
    fn note(&mut self, exptime: u32, start: u32) {
        self.seen += 1;
        if exptime != 0 {
            self.expirable += 1;
            if let Some(count) = self.due.get_mut(exptime.saturating_sub(start) as usize) {
                *count += 1;
            }
        }
    }

    fn note_removed(&mut self) {
        self.seen += 1;
        self.removed += 1;
    }

    /// Seconds after the run's start at which so many items have come due that another run pays: a hundredth of
    /// those that can expire, and a thousandth of all that must be looked at.
    fn pays_at(&self) -> Option<u32> {
        let worth = self.expirable / 100 + (self.seen - self.removed) / 1000 + 1;
        let mut sum = 0;
        let second = self.due.iter().position(|&count| {
            sum += u64::from(count);
            sum > worth
        });
        second.map(|second| second as u32)
    }

    /// Tells watchers of a run that has met items. One sweep goes through all segments, so the word for those is `na`.
    fn tell(&self, store: &Store, class: usize, next_run: u32, elapsed: u32) {
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

/// One run.
struct Run {
    walk: Walk,
    classes: u64,
    start: u32,
    /// Somebody asked for it.
    asked: bool,
    /// Items still to be looked at, a class.
    left: [u32; CLASSES],
    census: Vec<Census>,
}

impl Run {
    /// `limit` items a class, 0 = all.
    fn new(store: &Store, classes: u64, limit: u32, asked: bool, now: u32) -> Self {
        let left = if limit == 0 { u32::MAX } else { limit };
        let empty = Census { seen: 0, removed: 0, expirable: 0, due: [0; AHEAD] };
        Self {
            walk: store.begin_walk(classes),
            classes,
            start: now,
            asked,
            left: [left; CLASSES],
            census: vec![empty; CLASSES],
        }
    }

    /// True when it is over.
    fn step(&mut self, store: &'static Store, now: u32) -> bool {
        let Self { walk, left, census, start, .. } = self;
        store.sweep(walk, STEP_SLOTS, now, |class, seen| {
            match seen {
                Seen::Lives(exptime) => census[class].note(exptime, *start),
                Seen::Lapsed => census[class].note_removed(),
            }
            if left[class] != u32::MAX {
                left[class] -= 1;
            }
            left[class] != 0
        })
    }
}

/// The sweep between two steps.
pub(super) struct Sweep {
    run: Option<Box<Run>>,
    /// When the last full pass began and ended.
    full: (u32, u32),
    /// When a class should be visited before the next full pass.
    prompt: [Option<u32>; CLASSES],
    /// When a class may next be visited because it had no memory, and how often that had been so before.
    refused: [(u32, u64); CLASSES],
    /// Not before.
    resume_at: Option<Instant>,
    /// The last flush that a full pass has seen; see [`Store::flushed`].
    flushed: (u32, u32),
}

impl Default for Sweep {
    fn default() -> Self {
        // With the crawler on, the first pass is due at once: relative time starts above `FULL`.
        Self {
            run: None,
            full: (0, 0),
            prompt: [None; CLASSES],
            refused: [(0, 0); CLASSES],
            resume_at: None,
            flushed: (0, 0),
        }
    }
}

impl Sweep {
    /// Does the next step, if it is time for one, and says how long nothing will be due: `None` when only a request
    /// or the passing of seconds can change that.
    pub(super) fn step(&mut self, store: &'static Store, crawler: &Crawler, moment: &Moment) -> Option<Duration> {
        let pause = self.resume_at.map(|at| at.saturating_duration_since(Instant::now()));
        if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
            return Some(pause);
        }
        if let Some(request) = crawler.take() {
            // An automatic run that is interrupted stays due, and begins again afterwards.
            crawler.set_automatic(false);
            self.run = Some(Box::new(Run::new(store, request.classes, request.limit, true, moment.now)));
        } else if self.run.is_none()
            && let Some(classes) = self.due(store, moment)
        {
            crawler.set_automatic(moment.enabled);
            if moment.enabled {
                crawler.note_start();
            }
            if classes == all_classes() {
                self.flushed = store.flushed(moment.now);
            }
            self.run = Some(Box::new(Run::new(store, classes, 0, false, moment.now)));
        }
        let run = self.run.as_mut()?;
        if run.step(store, moment.now) {
            self.finish(store, crawler, moment.now);
            return None;
        }
        self.resume_at = (!moment.sleep.is_zero()).then(|| Instant::now() + moment.sleep);
        Some(moment.sleep)
    }

    /// The classes through which a run should go now by itself.
    fn due(&self, store: &Store, moment: &Moment) -> Option<u64> {
        let every = if moment.enabled { FULL } else { FULL_WHEN_OFF };
        let (start, end) = self.full;
        let flushed = moment.prompt && self.flushed != store.flushed(moment.now) && moment.now > end;
        let classes = if flushed || moment.now >= start.saturating_add(every).max(end.saturating_add(REST)) {
            all_classes()
        } else {
            let largest = store.sizes().largest();
            let some = |due: &dyn Fn(usize) -> bool| -> u64 {
                (1..=largest).filter(|&class| due(class)).map(|class| 1 << class).sum()
            };
            let expired = some(&|class| moment.enabled && self.prompt[class].is_some_and(|at| moment.now >= at));
            let refused = some(&|class| {
                let (not_before, refused) = self.refused[class];
                moment.now >= not_before && store.refused(class) != refused
            });
            // Parts of large items may be what fills any class.
            expired | refused | if refused == 0 { 0 } else { 1 << largest }
        };
        (classes != 0 && store.has_pages()).then_some(classes)
    }

    fn finish(&mut self, store: &Store, crawler: &Crawler, now: u32) {
        let Some(run) = self.run.take() else { return };
        for class in (1..=store.sizes().largest()).filter(|class| run.classes >> class & 1 == 1) {
            let pays_at = run.census[class].pays_at().map(|seconds| run.start.saturating_add(seconds));
            self.prompt[class] = pays_at.map(|at| at.max(now.saturating_add(REST)));
            let next = self.prompt[class].unwrap_or(run.start.saturating_add(FULL)).saturating_sub(now);
            let elapsed = now.saturating_sub(run.start);
            run.census[class].tell(store, class, next, elapsed);
            self.refused[class] = (now.saturating_add((elapsed * REST_PART).max(REST)), store.refused(class));
        }
        if run.classes == all_classes() && !run.asked {
            self.full = (run.start, now);
        }
        if run.asked {
            crawler.done();
        } else {
            crawler.set_automatic(false);
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

    fn census(due: &[(usize, u32)], seen: u64, expirable: u64) -> Census {
        let mut census = Census { seen, removed: 0, expirable, due: [0; AHEAD] };
        due.iter().for_each(|&(second, count)| census.due[second] = count);
        census
    }

    #[test]
    fn a_run_pays_when_a_hundredth_is_due() {
        assert_eq!(census(&[], 1000, 1000).pays_at(), None);
        assert_eq!(census(&[(3, 11), (9, 1)], 1000, 1000).pays_at(), None, "11 + 1 must be exceeded");
        assert_eq!(census(&[(3, 11), (9, 2)], 1000, 1000).pays_at(), Some(9));
        assert_eq!(census(&[(3, 900)], 1000, 1000).pays_at(), Some(3));
        // Few of many: not worth the walk.
        assert_eq!(census(&[(3, 10)], 1_000_000, 10).pays_at(), None);
    }

    #[test]
    fn expiry_times_are_counted_from_the_start_of_the_run() {
        let mut census = census(&[], 0, 0);
        for exptime in [0, 90, 100, 159, 160, 4_000_000] {
            census.note(exptime, 100);
        }
        assert_eq!((census.seen, census.expirable), (6, 5));
        assert_eq!((census.due[0], census.due[59]), (2, 1));
    }
}
