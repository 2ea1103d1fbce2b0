//! Automatic choice of the page to move by ghost hits, to minimise misses: `slab_automove` 1 while evicted keys
//! return.
//!
//! A ghost is what remains of an evicted key, a part of its hash. It is hit when that key comes back.
//!
//! Owns the decayed counts of each class's ghost hits and the decision; moves nothing. Takes [`Sample`]s of all
//! classes, and proposes a pair of classes. Called by the mover's thread.
//!
//! A class has about as many ghosts as items, so their hits are the misses that twice the memory would avoid. Each
//! doubling is assumed to avoid as many as the last one, as with popularities by Zipf's law: a class of `p` pages
//! with `h` hits gains `h * log2(1 + 1/p)` from another page, and loses `h * log2(1 + 1/(p-1))` with a page less. At
//! equal popularity this favours small items: a page holds more of them.

use super::automove::{Sample, Tuning};

/// Ghost hits of all classes together that make a step. With each step the counts decay by one part in `window`, and a
/// page may move.
const STEP: u64 = 50;

/// Standard deviations of a count's error margin: a class's gain is taken that much lower, its loss that much higher.
const DOUBT: f64 = 2.0;

/// Classes weighed against each other.
#[derive(Default)]
pub(super) struct Gradient {
    /// Samples of the last step.
    before: Vec<Sample>,
    classes: Vec<Weighed>,
}

/// Counts of a class; older ones count less.
#[derive(Clone, Copy, Default)]
struct Weighed {
    hits: f64,
    evictions: f64,
}

impl Gradient {
    /// Adds the latest samples; true if that ends a step.
    pub(super) fn note(&mut self, now: Vec<Sample>, tuning: &Tuning) -> bool {
        if self.before.len() != now.len() {
            self.classes = vec![Weighed::default(); now.len()];
            self.before = now;
            return false;
        }
        let hits = |(before, now): (&Sample, &Sample)| now.ghost_hits.saturating_sub(before.ghost_hits);
        if self.before.iter().zip(&now).map(hits).sum::<u64>() < STEP {
            return false;
        }
        let kept = 1.0 - 1.0 / f64::from(tuning.window.max(1));
        for ((weighed, before), now) in self.classes.iter_mut().zip(&self.before).zip(&now) {
            weighed.hits = weighed.hits * kept + hits((before, now)) as f64;
            // `stats reset` clears this counter.
            weighed.evictions = weighed.evictions * kept + now.evicted.saturating_sub(before.evicted) as f64;
        }
        self.before = now;
        true
    }

    /// Returns source and destination of the page that should move, as of the last step.
    pub(super) fn decide(&self, tuning: &Tuning) -> Option<(usize, usize)> {
        let ids = 1..self.classes.len();
        let (gain, dst) = ids.clone().filter_map(|id| Some((self.gain(id)?, id))).max_by(|a, b| a.0.total_cmp(&b.0))?;
        let losses = ids.filter(|&id| id != dst).filter_map(|id| Some((self.loss(id, dst, tuning)?, id)));
        let (loss, src) = losses.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (loss < gain * tuning.ratio).then_some((src, dst))
    }

    /// Misses that one page more would avoid; `None` if the class should not get one.
    fn gain(&self, id: usize) -> Option<f64> {
        let (sample, hits) = (&self.before[id], self.classes[id].hits);
        // A class with a page's worth of free chunks gets no other page.
        (!sample.has_free_page()).then(|| (hits - doubt(hits)) * doublings(sample.pages))
    }

    /// Misses that one page less would cause; `None` if the class should not give one.
    fn loss(&self, id: usize, dst: usize, tuning: &Tuning) -> Option<f64> {
        let (sample, class) = (&self.before[id], &self.classes[id]);
        if sample.pages < 2 {
            return None;
        }
        if sample.has_free_page() {
            return Some(0.0);
        }
        // A class without evictions has no ghosts, whether its items are in use or not: their age decides.
        let older = (self.before[dst].age as f64) < sample.age as f64 * tuning.ratio;
        (class.evictions >= 1.0 || older).then(|| (class.hits + doubt(class.hits)) * doublings(sample.pages - 1))
    }
}

/// Number of doublings, a fraction, that one more page is for `pages`.
fn doublings(pages: u64) -> f64 {
    (1.0 + 1.0 / pages.max(1) as f64).log2()
}

fn doubt(count: f64) -> f64 {
    DOUBT * (count + 1.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUNING: Tuning = Tuning { level: 1, window: 10, ratio: 0.8, version: 0 };

    /// The test's classes, from 1 on, after a step: pages, ghost hits, evictions, age.
    fn after(classes: &[(u64, u64, u64, u64)]) -> Gradient {
        let sample = |&(pages, ghost_hits, evicted, age): &_| Sample {
            pages,
            per_page: 100,
            ghost_hits,
            evicted,
            age,
            ..Sample::default()
        };
        let samples: Vec<Sample> = [&(0, 0, 0, 0)].into_iter().chain(classes).map(sample).collect();
        let mut gradient = Gradient::default();
        assert!(!gradient.note(vec![Sample::default(); samples.len()], &TUNING), "no earlier samples");
        assert!(gradient.note(samples, &TUNING));
        gradient
    }

    #[test]
    fn a_page_goes_where_it_avoids_most_misses() {
        // Hits for each page: 100, 200, 20.
        let gradient = after(&[(10, 1000, 2000, 5), (5, 1000, 2000, 5), (50, 1000, 2000, 5)]);
        assert_eq!(gradient.decide(&TUNING), Some((3, 2)));
    }

    #[test]
    fn classes_that_are_about_equal_keep_what_they_have() {
        assert_eq!(after(&[(10, 1000, 2000, 5), (10, 1200, 2000, 5)]).decide(&TUNING), None);
        assert_eq!(after(&[(10, 1000, 2000, 5), (10, 2000, 2000, 5)]).decide(&TUNING), Some((1, 2)));
        let strict = Tuning { ratio: 0.3, ..TUNING };
        assert_eq!(
            after(&[(10, 1000, 2000, 5), (10, 2000, 2000, 5)]).decide(&strict),
            None,
            "the operator sets the ratio"
        );
    }

    #[test]
    fn few_hits_prove_nothing() {
        assert_eq!(after(&[(10, 40, 80, 5), (10, 60, 80, 5)]).decide(&TUNING), None);
        assert_eq!(after(&[(10, 4000, 8000, 5), (10, 6000, 8000, 5)]).decide(&TUNING), Some((1, 2)));
    }

    #[test]
    fn a_class_keeps_its_last_page() {
        assert_eq!(after(&[(1, 0, 2000, 5), (10, 1000, 2000, 5)]).decide(&TUNING), None);
        assert_eq!(after(&[(2, 0, 2000, 5), (10, 1000, 2000, 5)]).decide(&TUNING), Some((1, 2)));
    }

    #[test]
    fn a_class_without_evictions_gives_only_old_pages() {
        assert_eq!(after(&[(10, 0, 0, 4), (10, 1000, 2000, 5)]).decide(&TUNING), None);
        assert_eq!(after(&[(10, 0, 0, 60), (10, 1000, 2000, 5)]).decide(&TUNING), Some((1, 2)));
    }

    #[test]
    fn a_page_that_is_free_costs_nothing_and_is_used_before_another_one_comes() {
        let mut gradient = after(&[(10, 1000, 2000, 5), (10, 1000, 2000, 5), (10, 900, 2000, 5)]);
        gradient.before[1].free_chunks = 100;
        assert_eq!(gradient.decide(&TUNING), Some((1, 2)));
        gradient.before[2].free_chunks = 100;
        gradient.before[3].free_chunks = 100;
        assert_eq!(gradient.decide(&TUNING), None);
    }

    #[test]
    fn hits_age_by_a_part_of_the_window_a_step() {
        let mut gradient = after(&[(10, 1000, 2000, 5), (10, 1000, 2000, 5)]);
        let mut now = gradient.before.clone();
        now[1].ghost_hits += STEP - 1;
        assert!(!gradient.note(now.clone(), &TUNING), "too few for a step, and they are not lost");
        now[1].ghost_hits += 1;
        now[1].evicted = 0;
        assert!(gradient.note(now, &TUNING));
        assert_eq!((gradient.classes[1].hits, gradient.classes[2].hits), (900.0 + STEP as f64, 900.0));
    }
}
