//! Times of turns in one second: quantiles, and counts by bucket.
//!
//! Owns the buckets of the heat map and the names of these columns. Knows neither workers nor frames: it gets what was
//! counted between two readings.

use crate::stats::HistogramSnapshot;

/// Quantiles, by their names for the page.
const QUANTILES: [(&str, f64); 3] = [("latency_p50", 0.5), ("latency_p99", 0.99), ("latency_p999", 0.999)];

/// Powers of two, in nanoseconds, of the first bucket's upper bound and of the last bound.
const FIRST: u32 = 11;
const LAST: u32 = 30;

/// Buckets: two for each power of two, and one for what is longer.
const BUCKETS: usize = (2 * (LAST - FIRST) + 2) as usize;

/// Columns of a sample.
pub(super) const TURN_COLUMNS: usize = QUANTILES.len() + BUCKETS;

/// Upper bound of a bucket, in nanoseconds: 2^11, 1.5 * 2^11, 2^12 and so on. A histogram counts exactly below each.
/// The last bucket has no bound; that of its row is given.
fn bound(bucket: usize) -> u64 {
    (2 + (bucket as u64 & 1)) << (FIRST as usize - 1 + bucket / 2)
}

/// Names of the columns, in order.
pub(super) fn turn_columns() -> impl Iterator<Item = String> {
    let quantiles = QUANTILES.iter().map(|(name, _)| (*name).to_owned());
    quantiles.chain((0..BUCKETS).map(|bucket| format!("latency_bucket_{bucket}")))
}

/// Upper bounds of the buckets, in microseconds.
pub(super) fn bounds() -> impl Iterator<Item = f64> {
    (0..BUCKETS).map(|bucket| bound(bucket) as f64 / 1000.0)
}

/// The columns of what was counted in a second: quantiles in microseconds, NaN without a turn, then the counts.
pub(super) fn columns_of(turns: &HistogramSnapshot) -> [f32; TURN_COLUMNS] {
    let is_idle = turns.count() == 0;
    let mut below = 0;
    std::array::from_fn(|at| match QUANTILES.get(at) {
        Some(_) if is_idle => f32::NAN,
        Some((_, quantile)) => (turns.quantile(*quantile) as f64 / 10.0).round() as f32 / 100.0,
        None => {
            let bucket = at - QUANTILES.len();
            let now = if bucket + 1 == BUCKETS { turns.count() } else { turns.below(bound(bucket)) };
            let before = std::mem::replace(&mut below, now);
            (below - before) as f32
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Stats, TurnClass};

    #[test]
    fn each_turn_counts_in_the_bucket_of_its_time() {
        let stats = Stats::new(1);
        stats.latency.open().unwrap();
        let times = [0, 2047, 2048, 3071, 3072, 1 << 29, (1 << 30) - 1, 1 << 30, u64::MAX];
        for nanos in times {
            stats.latency.workers[0].turn(TurnClass::Get, nanos, 1);
        }
        let columns = columns_of(&stats.latency.lifetime().all_turns());
        let counts = &columns[QUANTILES.len()..];
        assert_eq!((counts[0], counts[1], counts[2]), (2.0, 2.0, 1.0));
        assert_eq!(counts[BUCKETS - 4..], [0.0, 1.0, 1.0, 2.0], "{counts:?}");
        assert_eq!(counts.iter().sum::<f32>() as usize, times.len());
        assert_eq!(bounds().count(), BUCKETS);
        assert!(bounds().is_sorted() && turn_columns().count() == TURN_COLUMNS);
        assert!((3.0..3.3).contains(&columns[0]), "{columns:?}");
    }

    #[test]
    fn without_turns_there_are_no_quantiles() {
        let columns = columns_of(&HistogramSnapshot::default());
        assert!(columns[..QUANTILES.len()].iter().all(|value| value.is_nan()));
        assert!(columns[QUANTILES.len()..].iter().all(|count| *count == 0.0));
    }
}
