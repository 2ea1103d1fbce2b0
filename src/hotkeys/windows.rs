//! The sampler of one worker: countdown, window in progress, frozen window.
//!
//! Owns when a window ends. All samplers number their windows alike, from the second in which sampling began, so a
//! window of each covers the same time. The worker freezes its window when it records a sample after the window's end;
//! a reader does so for a worker that has been idle since. A frozen window that is not the latest is not shown, so an
//! idle worker's last one does not look current. Knows no other sampler.

use super::sketch::Sketch;
use super::{Access, Epoch};
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Window in progress.
struct LiveWindow {
    sketch: Sketch,
    number: u32,
    epoch: Epoch,
    /// State of the random numbers of the countdown.
    random: u64,
}

/// The last window that ended.
pub(super) struct FrozenWindow {
    pub(super) sketch: Sketch,
    /// `None` before the first.
    pub(super) number: Option<u32>,
    pub(super) epoch: Epoch,
}

/// Memory of a sampler that is on.
pub(super) struct Sketches {
    live: LiveWindow,
    frozen: FrozenWindow,
}

impl Sketches {
    /// Memory for windows of `epoch`; `None` if memory is short.
    pub(super) fn new(epoch: Epoch, seed: u64) -> Option<Self> {
        Some(Self {
            live: LiveWindow { sketch: Sketch::new()?, number: 0, epoch, random: seed | 1 },
            frozen: FrozenWindow { sketch: Sketch::new()?, number: None, epoch },
        })
    }
}

/// Samples accesses of one worker. Aligned so that two workers share no cache line.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct KeySampler {
    /// Accesses until the next sample. Written by the worker without read-modify-writes; where several threads share a
    /// sampler, some accesses are not counted down.
    countdown: AtomicU32,
    /// Held by the worker for one sample, by others for a swap of both windows. Lock ranks: see docs/locking.md.
    live: Mutex<Option<LiveWindow>>,
    /// Held by a reader while it reads.
    frozen: Mutex<Option<FrozenWindow>>,
}

impl KeySampler {
    /// Bytes of the sketches of a sampler that is on.
    pub(super) const BYTES: usize = 2 * Sketch::bytes();

    /// Counts an access down; true if it is the next sample.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        let left = self.countdown.load(Relaxed).saturating_sub(1);
        self.countdown.store(left, Relaxed);
        left == 0
    }

    /// Records a sample at `now`, unless that is before the first window, and begins the next countdown, of `gap`
    /// accesses on average. Never waits: a sample that meets a reader is dropped, and the next access is a sample.
    pub(super) fn record(&self, gap: u32, now: u32, hash: u64, key: &[u8], access: Access) {
        let Some(mut guard) = self.live.try_lock() else { return };
        let Some(live) = &mut *guard else { return };
        if let Some(number) = live.epoch.number(now) {
            if number > live.number {
                let Some(mut frozen) = self.frozen.try_lock() else { return };
                live.freeze(&mut frozen, number);
            }
            live.sketch.record(hash, key, access);
        }
        self.countdown.store(live.next_gap(gap), Relaxed);
    }

    /// Freezes the window in progress if it has ended, and returns the frozen one.
    pub(super) fn frozen(&self, now: u32) -> MutexGuard<'_, Option<FrozenWindow>> {
        let mut live = self.live.lock();
        let mut frozen = self.frozen.lock();
        if let Some(live) = &mut *live
            && let Some(number) = live.epoch.number(now)
            && number > live.number
        {
            live.freeze(&mut frozen, number);
        }
        frozen
    }

    /// Switches the sampler on or off, or resets it; returns the memory that it had.
    pub(super) fn replace(&self, sketches: Option<Sketches>) -> impl Sized {
        let (new_live, new_frozen) = sketches.map(|Sketches { live, frozen }| (live, frozen)).unzip();
        let mut live = self.live.lock();
        let mut frozen = self.frozen.lock();
        self.countdown.store(0, Relaxed);
        (std::mem::replace(&mut *live, new_live), std::mem::replace(&mut *frozen, new_frozen))
    }

    /// Bytes of its sketches.
    pub(super) fn bytes(&self) -> usize {
        if self.live.lock().is_some() { Self::BYTES } else { 0 }
    }
}

impl LiveWindow {
    /// Ends the window and begins window `number`. Windows in between had no sample.
    fn freeze(&mut self, frozen: &mut Option<FrozenWindow>, number: u32) {
        if let Some(frozen) = frozen {
            std::mem::swap(&mut self.sketch, &mut frozen.sketch);
            (frozen.number, frozen.epoch) = (Some(self.number), self.epoch);
        }
        self.sketch.clear();
        self.number = number;
    }

    /// Accesses until the next sample: random and evenly spread over 1 to twice the average, so that a pattern of
    /// requests cannot keep in step with the samples.
    fn next_gap(&mut self, gap: u32) -> u32 {
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let high = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        let span = 2 * u64::from(gap) - 1;
        1 + ((high * span) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::super::AccessKind;
    use super::*;
    use crate::hash::hash;

    const READ: Access = Access { kind: AccessKind::Read, missed: false, bytes: 1 };

    fn sampler(begin: u32, seconds: u32) -> KeySampler {
        let sampler = KeySampler::default();
        drop(sampler.replace(Sketches::new(Epoch { begin, seconds }, 7)));
        sampler
    }

    fn record(sampler: &KeySampler, now: u32, key: &[u8]) {
        sampler.record(1, now, hash(key), key, READ);
    }

    fn frozen(sampler: &KeySampler, now: u32) -> (Option<u32>, Vec<(Vec<u8>, u64)>) {
        let frozen = sampler.frozen(now);
        let frozen = frozen.as_ref().unwrap();
        let keys = frozen.sketch.counters().iter().map(|counter| (counter.key().to_vec(), counter.tally.reads));
        (frozen.number, keys.collect())
    }

    #[test]
    fn a_window_is_frozen_by_the_first_sample_after_its_end() {
        let sampler = sampler(100, 10);
        record(&sampler, 99, b"before"); // not counted: its second had begun
        record(&sampler, 100, b"a");
        record(&sampler, 109, b"a");
        assert_eq!(sampler.frozen.lock().as_ref().unwrap().number, None);
        record(&sampler, 110, b"b");
        assert_eq!(sampler.frozen.lock().as_ref().unwrap().number, Some(0));
        assert_eq!(frozen(&sampler, 110), (Some(0), vec![(b"a".to_vec(), 2)]));
        assert_eq!(frozen(&sampler, 120), (Some(1), vec![(b"b".to_vec(), 1)]), "a reader freezes an idle worker's");
        record(&sampler, 150, b"c");
        assert_eq!(frozen(&sampler, 150).0, Some(2), "its empty window, which is not the latest");
        assert_eq!(frozen(&sampler, 160), (Some(5), vec![(b"c".to_vec(), 1)]));
    }

    #[test]
    fn a_worker_does_not_wait_for_a_reader() {
        let sampler = sampler(100, 10);
        record(&sampler, 100, b"a");
        let reader = sampler.frozen(100);
        record(&sampler, 109, b"a");
        record(&sampler, 110, b"b"); // cannot freeze: dropped
        assert!(sampler.is_due(), "the next access is tried");
        drop(reader);
        record(&sampler, 110, b"c");
        assert_eq!(frozen(&sampler, 110), (Some(0), vec![(b"a".to_vec(), 2)]));
        assert_eq!(frozen(&sampler, 120), (Some(1), vec![(b"c".to_vec(), 1)]));
    }

    #[test]
    fn gaps_have_their_average_and_keep_no_step() {
        for gap in [1u32, 2, 100, 1_000_000] {
            let sampler = sampler(0, 10);
            let mut live = sampler.live.lock();
            let live = live.as_mut().unwrap();
            let (mut sum, mut phases, rounds) = (0u64, [0u32; 10], 100_000u32);
            for _ in 0..rounds {
                let next = live.next_gap(gap);
                assert!((1..2 * gap.max(1)).contains(&next));
                sum += u64::from(next);
                phases[(sum % 10) as usize] += 1;
            }
            let average = sum as f64 / f64::from(rounds);
            assert!((average / f64::from(gap) - 1.0).abs() < 0.02, "{average} of {gap}");
            if gap > 1 {
                assert!(phases.iter().all(|&hits| (9_000..11_000).contains(&hits)), "{phases:?}");
            }
        }
    }

    #[test]
    fn a_countdown_samples_one_access_in_so_many() {
        let sampler = sampler(0, 1000);
        let mut samples = 0;
        for _ in 0..100_000 {
            if sampler.is_due() {
                sampler.record(100, 5, 1, b"k", READ);
                samples += 1;
            }
        }
        assert!((900..1100).contains(&samples), "{samples}");
    }

    #[test]
    fn a_sampler_that_is_off_has_no_memory_and_records_nothing() {
        let sampler = KeySampler::default();
        record(&sampler, 1, b"k");
        assert!(sampler.bytes() == 0 && sampler.frozen(50).is_none());
        drop(sampler.replace(Sketches::new(Epoch { begin: 0, seconds: 1 }, 7)));
        assert_eq!(sampler.bytes(), KeySampler::BYTES);
        drop(sampler.replace(None));
        assert_eq!(sampler.bytes(), 0);
    }
}
