//! Into how large chunks a class cuts its pages.
//!
//! A class's *full* chunks take any of its items. Where most items of a class are shorter than that, some of its pages
//! are cut into more, *fitted* chunks, of one size a class, which the sizes of the latest items decide. Both kinds are
//! one class for eviction and in `stats`; an item that is too long for a fitted chunk uses a full one.
//!
//! Owns the choice; knows sizes only. Called by `pool` under the class's lock.

use super::size_classes::PAGE_BYTES;
use crate::store::item::WORD;

/// Sizes that are told apart: the classes of the smallest items have no more words between them, and 3 % of the
/// difference to the next smaller class is as good in others.
const STEPS: usize = 32;

/// Items after which older ones count half.
const MEMORY: u32 = 16_384;

/// Items without which nothing is known.
const ENOUGH: u32 = 32;

/// Smallest gain in items a page for which pages are cut in another way, in thousandths: less is soon lost to the
/// chunks that are free in one kind while the other one is asked for.
const GAIN_MIN: u32 = 20;

/// How much more another size must gain before pages that are cut already are cut anew, in thousandths.
const GAIN_MORE: u32 = 40;

/// A way to cut a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkLayout {
    /// Bytes between chunks, a multiple of [`WORD`]; 0 = there are no such chunks.
    pub stride: usize,
    /// Chunks of a page.
    pub per_page: u32,
}

impl ChunkLayout {
    /// The cut with chunks of `stride` bytes.
    pub fn new(stride: usize) -> Self {
        Self { stride, per_page: (PAGE_BYTES / stride.max(1)) as u32 }
    }
}

/// Sizes of the latest items of a class.
#[derive(Default)]
pub struct SizeHistogram {
    full: ChunkLayout,
    /// Size of the longest item of the next smaller class.
    low: usize,
    step: usize,
    counts: [u32; STEPS],
    total: u32,
}

impl SizeHistogram {
    /// None yet, of a class for items of more than `low` bytes.
    pub fn new(low: usize, full: ChunkLayout) -> Self {
        let step = full.stride.saturating_sub(low).div_ceil(STEPS).next_multiple_of(WORD).max(WORD);
        Self { full, low, step, ..Self::default() }
    }

    /// None yet, of the same class.
    pub fn like(&self) -> Self {
        Self { full: self.full, low: self.low, step: self.step, ..Self::default() }
    }

    /// Takes over what another one of the same class has counted.
    pub fn absorb(&mut self, other: &mut Self) {
        for (count, more) in self.counts.iter_mut().zip(&mut other.counts) {
            *count += std::mem::take(more);
        }
        self.total += std::mem::take(&mut other.total);
        self.push_lru();
    }

    /// Counts an item of `size` bytes in.
    #[inline]
    pub fn note(&mut self, size: usize) {
        let at = size.saturating_sub(self.low + 1) / self.step;
        self.counts[at.min(STEPS - 1)] += 1;
        self.total += 1;
        self.push_lru();
    }

    #[inline]
    fn push_lru(&mut self) {
        if self.total >= MEMORY {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// The fitted cut that would suit these items best, if one is worth it.
    pub fn best(&self) -> Option<ChunkLayout> {
        let cuts = (1..=STEPS).map(|steps| ChunkLayout::new(self.low + steps * self.step));
        let fitted = cuts
            .take_while(|layout| layout.stride < self.full.stride)
            .filter(|layout| layout.stride * 32768 >= PAGE_BYTES);
        let best = fitted.max_by_key(|&cut| self.gain(cut))?;
        (self.total >= ENOUGH && self.gain(best) >= GAIN_MIN).then_some(best)
    }

    /// Whether `fitted` gains next to nothing now, or another cut so much more that pages should be cut anew.
    pub fn outgrows(&self, fitted: ChunkLayout) -> bool {
        let (gain, best) = (self.gain(fitted), self.best().map_or(0, |best| self.gain(best)));
        gain < GAIN_MIN / 2 || best > gain + GAIN_MORE
    }

    /// Whether so many items are known that it is worth while to cut pages in use anew for such.
    pub fn is_settled(&self) -> bool {
        self.total >= MEMORY / 4
    }

    /// Items in a thousand that are too long for `stride` bytes.
    pub fn longer(&self, stride: usize) -> u32 {
        let longer: u32 = self.counts[self.steps_to(stride)..].iter().sum();
        longer * 1000 / self.total.max(1)
    }

    /// Whether every item that is remembered fits `stride` bytes.
    pub fn fit(&self, stride: usize) -> bool {
        self.counts[self.steps_to(stride)..].iter().all(|&count| count == 0)
    }

    /// The first of the counted sizes that is longer than `stride` bytes.
    fn steps_to(&self, stride: usize) -> usize {
        (stride.saturating_sub(self.low) / self.step).min(STEPS)
    }

    /// What memory the cut saves where every item gets a chunk of its kind, in thousandths.
    fn gain(&self, layout: ChunkLayout) -> u32 {
        let fits = 1000 - self.longer(layout.stride);
        fits - fits * self.full.per_page / layout.per_page.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(sizes: impl IntoIterator<Item = usize>) -> SizeHistogram {
        let mut histogram = SizeHistogram::new(112, ChunkLayout::new(152));
        sizes.into_iter().for_each(|size| histogram.note(size));
        histogram
    }

    #[test]
    fn the_cut_fits_what_is_stored() {
        assert_eq!(histogram([136; 31]).best(), None, "too few to tell");
        assert_eq!(histogram([136; 100]).best(), Some(ChunkLayout::new(136)));
        assert_eq!(histogram([135; 100]).best(), Some(ChunkLayout::new(136)));
        assert_eq!(histogram([137; 100]).best(), Some(ChunkLayout::new(140)));
        assert_eq!(histogram([132; 100]).best(), Some(ChunkLayout::new(132)));
        assert_eq!(histogram([152; 100]).best(), None);
        let of_two_sizes = |short, long| histogram((0..100).map(|n| if n < short { 120 } else { long }));
        assert_eq!(of_two_sizes(90, 152).best(), Some(ChunkLayout::new(120)));
        assert_eq!(of_two_sizes(50, 128).best(), Some(ChunkLayout::new(128)), "two strides can do no better");
        assert_eq!(of_two_sizes(5, 152).best(), None, "not worth it");
        assert_eq!(of_two_sizes(90, 152).longer(120), 100);
        assert_eq!(of_two_sizes(90, 152).longer(152), 0);
        assert_eq!([120, 152].map(|stride| of_two_sizes(99, 152).fit(stride)), [false, true]);
    }

    #[test]
    fn what_is_longer_than_the_class_counts_as_longest() {
        let mut large = SizeHistogram::new(394_840, ChunkLayout::new(524_264));
        (0..100).for_each(|_| large.note(400_000_000));
        assert_eq!(large.best(), None);
    }

    #[test]
    fn a_new_habit_outgrows_an_old_cut() {
        let mut histogram = histogram([152; 20_000]);
        assert_eq!(histogram.best(), None);
        (0..40_000).for_each(|_| histogram.note(120));
        assert_eq!(histogram.best(), Some(ChunkLayout::new(120)));
        assert!(histogram.outgrows(ChunkLayout::new(144)));
        assert!(!histogram.outgrows(ChunkLayout::new(120)));
    }
}
