//! A log-linear histogram of numbers below 2^36: written by one thread, read by any.
//!
//! Owns the buckets' bounds and the figures that are computed from their counts. Each power of two has 16 buckets, so
//! a bucket is at most 1/16 as wide as its values; numbers below 32 have a bucket each. Nanoseconds up to 68 seconds
//! fit, and larger numbers count in the last bucket. Must not know what the numbers mean. `latency` holds the words.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Powers of two with buckets: the largest number is 2^36 - 1.
const POWERS: u32 = 36;

/// Logarithm of the number of buckets for each power of two.
const GROUP: u32 = 4;

/// Number of buckets.
const BUCKETS: usize = ((POWERS - GROUP + 1) << GROUP) as usize;

/// Words of a histogram: its buckets, then the sum of all numbers.
pub(super) const WORDS: usize = BUCKETS + 1;

/// Largest number with a bucket of its own size.
const LARGEST: u64 = (1 << POWERS) - 1;

/// Bucket of `value`.
#[inline]
fn bucket(value: u64) -> usize {
    let value = value.min(LARGEST);
    // Below 2^GROUP all bits are significant, as in the first power with buckets.
    let shift = (value | 1 << GROUP).ilog2() - GROUP;
    ((shift as usize) << GROUP) + (value >> shift) as usize
}

/// Smallest and largest number of a bucket.
fn bounds(bucket: usize) -> (u64, u64) {
    let shift = (bucket >> GROUP).saturating_sub(1);
    let low = ((bucket - (shift << GROUP)) as u64) << shift;
    (low, low + (1 << shift) - 1)
}

/// Counts `value` in the histogram in `words`, by loads and stores: the caller must be its only writer.
#[inline]
pub(super) fn record(words: &[AtomicU64], value: u64) {
    let add = |at: usize, n: u64| {
        if let Some(cell) = words.get(at) {
            cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
        }
    };
    add(bucket(value), 1);
    add(BUCKETS, value);
}

/// A histogram apart from the workers': written by one thread, read by any.
pub struct SingleHistogram(Box<[AtomicU64]>);

impl Default for SingleHistogram {
    fn default() -> Self {
        Self((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl SingleHistogram {
    /// Counts `value`. One thread may call this.
    pub fn record(&self, value: u64) {
        record(&self.0, value);
    }

    /// Its counts now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        snapshot.add_words(&self.0);
        snapshot
    }
}

/// Counts of a histogram at one moment. Two of them can be added, and an earlier one be subtracted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistogramSnapshot {
    counts: Box<[u64; BUCKETS]>,
    sum: u64,
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), sum: 0 }
    }
}

impl HistogramSnapshot {
    /// Adds the histogram in `words`.
    pub(super) fn add_words(&mut self, words: &[AtomicU64]) {
        for (count, cell) in self.counts.iter_mut().zip(words) {
            *count += cell.load(Relaxed);
        }
        self.sum = self.sum.wrapping_add(words.get(BUCKETS).map_or(0, |cell| cell.load(Relaxed)));
    }

    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// What was counted after `earlier`. Where the counts have been reset in between, those since the reset may be
    /// missing; none is negative.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut later = self.clone();
        later.subtract(earlier);
        later
    }

    pub(super) fn subtract(&mut self, earlier: &Self) {
        for (count, before) in self.counts.iter_mut().zip(earlier.counts.iter()) {
            *count = count.saturating_sub(*before);
        }
        self.sum = self.sum.wrapping_sub(earlier.sum);
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of all values; wraps at 2^64, after 584 years of time.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Arithmetic mean, from the exact sum; 0 without values.
    pub fn mean(&self) -> f64 {
        match self.count() {
            0 => 0.0,
            count => self.sum as f64 / count as f64,
        }
    }

    /// Smallest bound that a share `quantile` (0 to 1) of the values does not exceed: at most 1/16 above the true
    /// value; 0 without values.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let count = self.count();
        let rank = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let found = self.counts.iter().position(|n| {
            seen += n;
            seen >= rank
        });
        found.map_or(0, |at| bounds(at).1)
    }

    /// Upper bound of the largest value; 0 without values.
    pub fn max(&self) -> u64 {
        self.counts.iter().rposition(|&n| n > 0).map_or(0, |at| bounds(at).1)
    }

    /// Number of values below `bound`. Exact if `bound` is a power of two up to 2^35, or below 32; otherwise the bucket
    /// that holds `bound` is left out.
    pub fn below(&self, bound: u64) -> u64 {
        self.counts.iter().take(bucket(bound)).sum()
    }

    /// Buckets with values in rising order: smallest and largest number, and count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let filled = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        filled.map(|(at, &n)| (bounds(at).0, bounds(at).1, n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Odd numbers of every magnitude, and both sides of each power of two.
    fn numbers() -> Vec<u64> {
        let spread =
            (0..64).flat_map(|power| [0, 1, 3, 5, 11].map(|part| (1u64 << power) | ((1 << power) / 13 * part)));
        let edges = (0..64).flat_map(|power| [(1u64 << power) - 1, 1 << power, (1 << power) + 1]);
        spread.chain(edges).chain([u64::MAX]).collect()
    }

    fn snapshot(values: &[u64]) -> HistogramSnapshot {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        values.iter().for_each(|&value| record(&words, value));
        let mut snapshot = HistogramSnapshot::default();
        snapshot.add_words(&words);
        snapshot
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut next = 0;
        for at in 0..BUCKETS {
            let (low, high) = bounds(at);
            assert_eq!((low, bucket(low), bucket(high)), (next, at, at));
            assert!(high - low < 1.max(low / 16 + u64::from(low % 16 > 0)), "{at}: {low} to {high}");
            next = high + 1;
        }
        assert_eq!((next, bucket(u64::MAX), bucket(LARGEST)), (1 << POWERS, BUCKETS - 1, BUCKETS - 1));
    }

    #[test]
    fn buckets_and_quantiles_are_those_of_the_histogram_crate() {
        let config = histogram::Config::new(GROUP as u8, POWERS as u8).unwrap();
        let mut other = histogram::Histogram::with_config(&config);
        let values: Vec<u64> = numbers().into_iter().filter(|&n| n <= LARGEST).collect();
        values.iter().for_each(|&value| other.increment(value).unwrap());
        let ours = snapshot(&values);
        let theirs: Vec<_> = other.iter().map(|b| (b.start(), b.end(), b.count())).collect();
        assert_eq!(theirs.len(), BUCKETS);
        let filled: Vec<_> = theirs.into_iter().filter(|(.., n)| *n > 0).collect();
        assert_eq!(ours.buckets().collect::<Vec<_>>(), filled);
        for quantile in [0.0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let found = other.quantile_bucket(quantile).unwrap().unwrap();
            assert_eq!(ours.quantile(quantile), found.end(), "{quantile}");
        }
    }

    #[test]
    fn quantiles_are_at_most_a_sixteenth_above_the_value_of_their_rank() {
        let mut values: Vec<u64> = numbers().into_iter().filter(|&n| n <= LARGEST).collect();
        let snapshot = snapshot(&values);
        values.sort_unstable();
        for (at, &value) in values.iter().enumerate() {
            let found = snapshot.quantile((at as f64 + 0.5) / values.len() as f64);
            assert!(found >= value && found - value <= value / 16, "{value}: {found}");
        }
        assert_eq!(snapshot.max(), LARGEST);
        assert_eq!(snapshot.sum(), values.iter().sum::<u64>());
    }

    #[test]
    fn counts_below_a_power_of_two_are_exact() {
        let values = numbers();
        let snapshot = snapshot(&values);
        for power in 0..POWERS {
            let below = values.iter().filter(|&&n| n < 1 << power).count() as u64;
            assert_eq!(snapshot.below(1 << power), below, "2^{power}");
        }
    }

    #[test]
    fn an_earlier_snapshot_is_subtracted_and_another_added() {
        let (early, late) = (snapshot(&[5, 1000]), snapshot(&[5, 5, 1000, 7_000_000]));
        assert_eq!(late.since(&early), snapshot(&[5, 7_000_000]));
        let mut both = early.clone();
        both.add(&late.since(&early));
        assert_eq!(both, late);
        assert_eq!((early.since(&late).count(), HistogramSnapshot::default().count()), (0, 0));
    }

    #[test]
    fn an_empty_histogram_has_no_values() {
        let none = HistogramSnapshot::default();
        assert_eq!((none.quantile(0.5), none.max(), none.mean(), none.below(u64::MAX)), (0, 0, 0.0, 0));
    }

    #[test]
    fn a_sum_that_wraps_still_subtracts() {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        words[BUCKETS].store(u64::MAX - 2, Relaxed);
        let mut before = HistogramSnapshot::default();
        before.add_words(&words);
        record(&words, 10);
        let mut after = HistogramSnapshot::default();
        after.add_words(&words);
        assert_eq!((after.since(&before).sum(), after.since(&before).mean()), (10, 10.0));
    }
}
