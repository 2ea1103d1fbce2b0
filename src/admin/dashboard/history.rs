//! The samples of the last half hour, in a ring of fixed size.
//!
//! Owns the ring; a row is a time and one number for each column. Knows neither what the columns mean nor how they are
//! sent. `sampler` adds a row a second; a new viewer gets all of them, thinned if they are too long.

use crate::limits::DASHBOARD_SAMPLES;
use std::collections::VecDeque;

/// Rows of `N` columns.
pub(super) struct SampleHistory<const N: usize> {
    rows: VecDeque<HistoryRow<N>>,
}

/// One sample. A value that does not exist is NaN.
#[derive(Clone, Copy)]
pub(super) struct HistoryRow<const N: usize> {
    /// Unix time in milliseconds.
    pub time: u64,
    pub values: [f32; N],
}

impl<const N: usize> SampleHistory<N> {
    /// An empty ring. Its memory is taken at once and stays as it is.
    pub fn new() -> Self {
        Self { rows: VecDeque::with_capacity(DASHBOARD_SAMPLES) }
    }

    /// Adds a row; the oldest leaves a full ring.
    pub fn push(&mut self, row: HistoryRow<N>) {
        if self.rows.len() == DASHBOARD_SAMPLES {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
    }

    /// The rows from the oldest on, each the mean of `step` of them. Their time is that of the last.
    pub fn thinned(&self, step: usize) -> Vec<HistoryRow<N>> {
        let step = step.max(1);
        // Groups end with the newest row, so that the last one is whole.
        let first = self.rows.len() % step;
        let (head, tail) = (self.rows.range(..first), self.rows.range(first..));
        let tail: Vec<_> = tail.copied().collect();
        let head: Vec<_> = head.copied().collect();
        std::iter::once(&head[..]).filter(|head| !head.is_empty()).chain(tail.chunks(step)).map(mean).collect()
    }
}

/// The mean of each column over the rows that have it.
fn mean<const N: usize>(rows: &[HistoryRow<N>]) -> HistoryRow<N> {
    let column = |at: usize| {
        let known = rows.iter().map(|row| row.values[at]).filter(|value| !value.is_nan());
        let (sum, count) = known.fold((0.0, 0_u16), |(sum, count), value| (sum + f64::from(value), count + 1));
        (sum / f64::from(count)) as f32
    };
    HistoryRow { time: rows.last().map_or(0, |row| row.time), values: std::array::from_fn(column) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize) -> SampleHistory<2> {
        let mut history = SampleHistory::new();
        for n in 0..count {
            let gap = if n % 2 == 0 { f32::NAN } else { n as f32 };
            history.push(HistoryRow { time: n as u64, values: [n as f32, gap] });
        }
        history
    }

    #[test]
    fn the_ring_keeps_the_last_samples_in_its_first_memory() {
        let mut history = filled(DASHBOARD_SAMPLES + 7);
        let capacity = history.rows.capacity();
        let rows = history.thinned(1);
        assert_eq!((rows.len(), rows[0].time), (DASHBOARD_SAMPLES, 7));
        history.push(HistoryRow { time: 9, values: [0.0; 2] });
        assert_eq!(history.rows.capacity(), capacity);
    }

    #[test]
    fn thinned_rows_are_means_that_end_with_the_newest() {
        let rows = filled(7).thinned(3);
        assert_eq!(rows.iter().map(|row| row.time).collect::<Vec<_>>(), [0, 3, 6]);
        assert_eq!(rows.iter().map(|row| row.values[0]).collect::<Vec<_>>(), [0.0, 2.0, 5.0]);
        assert!(rows[0].values[1].is_nan(), "a gap stays one");
        assert_eq!((rows[1].values[1], rows[2].values[1]), (2.0, 5.0));
        assert!(filled(0).thinned(4).is_empty() && filled(5).thinned(0).len() == 5);
    }
}
