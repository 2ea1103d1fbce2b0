//! Which page should move so that fewer requests miss: `slab_automove` 1 while evicted keys come back.
//!
//! Owns the weights of each class's ghost hits and the decision, nothing that acts. [`Sample`]s of all classes go in, a
//! pair of classes comes out. Called by the mover's thread.
//!
//! A class's ghosts stand for about as many items as the class has, so their hits are what twice the memory would
//! spare it. Each doubling is taken to spare as much as the last one did, as with popularities by Zipf's law: a class of
//! `p` pages with `h` hits gains `h * log2(1 + 1/p)` by one page more, and loses `h * log2(1 + 1/(p-1))` by one page
//! less. Small items come out first where all are equally popular: a page holds more of them.

use super::automove::{Sample, Tuning};

/// Ghost hits of all classes that make a step: counts age by one part of the window, and a page may move.
const STEP: u64 = 50;

/// Standard deviations by which a count may be off: so far each class is taken to be better off than it looks.
const DOUBT: f64 = 2.0;

/// Classes weighed against each other.
#[derive(Default)]
pub(super) struct Gradient {
    /// As of the last step.
    before: Vec<Sample>,
    classes: Vec<Weighed>,
}

/// What a class has met lately: what is older counts less.
#[derive(Clone, Copy, Default)]
struct Weighed {
    hits: f64,
    evictions: f64,
}

impl Gradient {
    /// Takes note of the classes; true if that ends a step.
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

    /// The page that should move, as of the last step.
    pub(super) fn decide(&self, tuning: &Tuning) -> Option<(usize, usize)> {
        let ids = 1..self.classes.len();
        let (gain, dst) = ids.clone().filter_map(|id| Some((self.gain(id)?, id))).max_by(|a, b| a.0.total_cmp(&b.0))?;
        let losses = ids.filter(|&id| id != dst).filter_map(|id| Some((self.loss(id, dst, tuning)?, id)));
        let (loss, src) = losses.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (loss < gain * tuning.ratio).then_some((src, dst))
    }

    /// What one page more would spare a class; `None` if it should not have one.
    fn gain(&self, id: usize) -> Option<f64> {
        let (sample, hits) = (&self.before[id], self.classes[id].hits);
        // Whose last page is not full yet gets no other one.
        (!sample.has_free_page()).then(|| (hits - doubt(hits)) * doublings(sample.pages))
    }

    /// What one page less would cost a class; `None` if it should not give one.
    fn loss(&self, id: usize, dst: usize, tuning: &Tuning) -> Option<f64> {
        let (sample, class) = (&self.before[id], &self.classes[id]);
        if sample.pages < 2 {
            return None;
        }
        if sample.has_free_page() {
            return Some(0.0);
        }
        // Who evicts nothing has no ghosts, be its items in use or not: their age tells.
        let older = (self.before[dst].age as f64) < sample.age as f64 * tuning.ratio;
        (class.evictions >= 1.0 || older).then(|| (class.hits + doubt(class.hits)) * doublings(sample.pages - 1))
    }
}

/// By how many doublings one page makes `pages` more.
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

    /// What the test's classes, from 1 on, have after a step: pages, ghost hits, evictions, age.
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
        assert!(!gradient.note(vec![Sample::default(); samples.len()], &TUNING), "there is nothing to compare with");
        assert!(gradient.note(samples, &TUNING));
        gradient
    }

    #[test]
    fn a_page_goes_where_it_spares_most() {
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
            "the ratio is the operator's"
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
    fn a_class_that_evicts_nothing_gives_what_is_old_only() {
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
