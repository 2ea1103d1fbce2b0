//! Owns the latency histogram: 16 buckets per doubling, so a percentile is within 7 % of the true value. Called by
//! `loader`, once a batch, and by the torture program.

const STEPS: usize = 16;
const STEPS_LOG2: u32 = 4;
const BUCKETS: usize = STEPS * 64;

/// Counts of nanosecond values.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }

    pub fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max = self.max.max(ns);
    }

    /// Adds the values of `other`.
    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, more)| *sum += more);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Number of values.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// The exact maximum, in microseconds.
    pub fn max_us(&self) -> f64 {
        self.max as f64 / 1000.0
    }

    /// Microseconds below which `share` of all values lie; `None` without values.
    pub fn percentile_us(&self, share: f64) -> Option<f64> {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return Some(upper_ns(index) as f64 / 1000.0);
            }
        }
        None
    }
}

fn bucket(ns: u64) -> usize {
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEPS_LOG2;
    (shift as usize + 1) * STEPS + ((ns >> shift) as usize - STEPS)
}

/// Largest value of a bucket.
fn upper_ns(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let shift = index / STEPS - 1;
    (((index % STEPS + STEPS) as u64 + 1) << shift) - 1
}
