//! Chunk sizes of a class's pages.
//!
//! A class's *maximum-size* chunks hold any of its items. Where most items of a class are shorter, some of its pages
//! are divided into more, *fitted* chunks, of one size per class, chosen from the sizes of recent items. Both kinds
//! are one class for eviction and in `stats`; an item too long for a fitted chunk uses a maximum-size one.
//!
//! Owns the choice; knows sizes only. Called by `chunk_pool` under the class lock.

use super::size_classes::PAGE_BYTES;
use crate::cache_lines::{Shared, wrote};
use crate::store::item::WORD;

/// Number of histogram buckets. The smallest classes have no more different sizes, in words. In others a bucket spans 3
/// % of the difference to the next smaller class, which is fine enough.
const STEPS: usize = 32;

/// Item count at which all counts are halved.
const MEMORY: u32 = 16_384;

/// Minimum item count for a decision.
const ENOUGH: u32 = 32;

/// Smallest gain in items per page, in thousandths, for which a fitted layout is used: a smaller one is soon lost to
/// free chunks of one kind while the other kind is needed.
const GAIN_MIN: u32 = 20;

/// Additional gain of another layout, in thousandths, for which pages in use are resized.
const GAIN_MORE: u32 = 40;

/// Division of a page into chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkLayout {
    /// Bytes between chunks, a multiple of [`WORD`]; 0 = there are no such chunks.
    pub stride: usize,
    /// Chunks of a page.
    pub per_page: u32,
}

impl ChunkLayout {
    /// The layout with chunks of `stride` bytes.
    pub fn new(stride: usize) -> Self {
        Self { stride, per_page: (PAGE_BYTES / stride.max(1)) as u32 }
    }
}

/// Histogram of the sizes of a class's recent items.
#[derive(Default)]
pub struct SizeHistogram {
    max_size: ChunkLayout,
    /// Size of the longest item of the next smaller class.
    low: usize,
    step: usize,
    counts: [u32; STEPS],
    total: u32,
}

impl SizeHistogram {
    /// An empty histogram of a class for items of more than `low` bytes.
    pub fn new(low: usize, max_size: ChunkLayout) -> Self {
        let step = max_size.stride.saturating_sub(low).div_ceil(STEPS).next_multiple_of(WORD).max(WORD);
        Self { max_size, low, step, ..Self::default() }
    }

    /// An empty histogram of the same class.
    pub fn like(&self) -> Self {
        Self { max_size: self.max_size, low: self.low, step: self.step, ..Self::default() }
    }

    /// Adds the counts of another histogram of the same class, and clears it.
    pub fn absorb(&mut self, other: &mut Self) {
        for (count, more) in self.counts.iter_mut().zip(&mut other.counts) {
            *count += std::mem::take(more);
        }
        self.total += std::mem::take(&mut other.total);
        self.halve_if_full();
    }

    /// Counts an item of `size` bytes.
    #[inline]
    pub fn note(&mut self, size: usize) {
        let at = size.saturating_sub(self.low + 1) / self.step;
        wrote(Shared::Class, &self.total);
        self.counts[at.min(STEPS - 1)] += 1;
        self.total += 1;
        self.halve_if_full();
    }

    #[inline]
    fn halve_if_full(&mut self) {
        if self.total >= MEMORY {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// The fitted layout that saves most memory for these items, if the gain is worth it.
    pub fn best(&self) -> Option<ChunkLayout> {
        let layouts = (1..=STEPS).map(|steps| ChunkLayout::new(self.low + steps * self.step));
        let fitted = layouts
            .take_while(|layout| layout.stride < self.max_size.stride)
            .filter(|layout| layout.stride * 32768 >= PAGE_BYTES);
        let best = fitted.max_by_key(|&layout| self.gain(layout))?;
        (self.total >= ENOUGH && self.gain(best) >= GAIN_MIN).then_some(best)
    }

    /// Whether `fitted` gains next to nothing now, or another layout gains so much more that pages should be resized.
    pub fn outgrows(&self, fitted: ChunkLayout) -> bool {
        let (gain, best) = (self.gain(fitted), self.best().map_or(0, |best| self.gain(best)));
        gain < GAIN_MIN / 2 || best > gain + GAIN_MORE
    }

    /// Whether enough items are counted to justify resizing pages in use.
    pub fn is_settled(&self) -> bool {
        self.total >= MEMORY / 4
    }

    /// Items per thousand that are too long for `stride` bytes.
    pub fn longer(&self, stride: usize) -> u32 {
        let longer: u32 = self.counts[self.steps_to(stride)..].iter().sum();
        longer * 1000 / self.total.max(1)
    }

    /// Whether every counted item fits `stride` bytes.
    pub fn fit(&self, stride: usize) -> bool {
        self.counts[self.steps_to(stride)..].iter().all(|&count| count == 0)
    }

    /// Index of the first bucket of sizes longer than `stride` bytes.
    fn steps_to(&self, stride: usize) -> usize {
        (stride.saturating_sub(self.low) / self.step).min(STEPS)
    }

    /// Memory that the layout saves if every item gets a chunk of its kind, in thousandths.
    fn gain(&self, layout: ChunkLayout) -> u32 {
        let fits = 1000 - self.longer(layout.stride);
        fits - fits * self.max_size.per_page / layout.per_page.max(1)
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
    fn the_layout_fits_the_stored_items() {
        assert_eq!(histogram([136; 31]).best(), None, "too few items");
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
    fn sizes_beyond_the_class_count_as_its_largest() {
        let mut large = SizeHistogram::new(394_840, ChunkLayout::new(524_264));
        (0..100).for_each(|_| large.note(400_000_000));
        assert_eq!(large.best(), None);
    }

    #[test]
    fn new_item_sizes_outgrow_an_old_layout() {
        let mut histogram = histogram([152; 20_000]);
        assert_eq!(histogram.best(), None);
        (0..40_000).for_each(|_| histogram.note(120));
        assert_eq!(histogram.best(), Some(ChunkLayout::new(120)));
        assert!(histogram.outgrows(ChunkLayout::new(144)));
        assert!(!histogram.outgrows(ChunkLayout::new(120)));
    }
}
