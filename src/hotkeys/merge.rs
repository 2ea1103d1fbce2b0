//! Merges the frozen windows of all workers into one result.
//!
//! Owns the sums, the ranks and the scale. Sums are kept by the hash of a key, and only keys with a rank are copied: a
//! merge takes memory for `HOTKEY_MERGED_MAX` sums, whatever the number of workers. Two keys with equal hashes of 64
//! bits would count as one; the hash is seeded, so no client can find such keys. Called by readers only.

use super::sketch::Sketch;
use super::{AccessTally, Epoch, HotKeys, Weight};
use crate::limits::{HOTKEY_COUNTERS, HOTKEY_MERGED_MAX, HOTKEYS_SHOWN_MAX};
use std::collections::HashMap;
use std::sync::Arc;

/// Samplers merged in one step.
const SAMPLERS_PER_STEP: usize = 2;

/// Merges begun again because the window ended meanwhile.
const RESTARTS_MAX: u32 = 3;

const _: () = assert!(HOTKEY_MERGED_MAX >= 2 * HOTKEY_COUNTERS);

/// A key of a window. All numbers are samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    /// The key's bytes.
    pub key: Box<[u8]>,
    /// Sampled accesses: no more than there were.
    pub tally: AccessTally,
    /// Maximum number of sampled accesses that the tally lacks.
    pub error: u64,
}

/// The merged result of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKeyWindow {
    /// Its number since sampling began.
    pub number: u32,
    /// Relative time of its end.
    pub end: u32,
    /// Length in seconds.
    pub seconds: u32,
    /// Average accesses for each sample.
    pub gap: u32,
    /// Of all samples.
    pub total: AccessTally,
    keys: Vec<HotKey>,
    /// Indices of `keys` for each of [`Weight::ALL`], by falling weight.
    ranks: [Vec<u16>; 4],
}

impl HotKeyWindow {
    /// The keys with the most of `weight`, at most `HOTKEYS_SHOWN_MAX`; keys that have none are left out.
    pub fn top(&self, weight: Weight) -> impl Iterator<Item = &HotKey> {
        self.ranks[weight as usize].iter().map(|&at| &self.keys[usize::from(at)])
    }

    /// Accesses, or bytes, per second that this many samples stand for.
    pub fn rate(&self, samples: u64) -> f64 {
        samples as f64 * f64::from(self.gap) / f64::from(self.seconds)
    }

    /// Share of a key in all of `weight`, 0 to 1.
    pub fn share(&self, weight: Weight, key: &HotKey) -> f64 {
        match weight.of(&self.total) {
            0 => 0.0,
            total => weight.of(&key.tally) as f64 / total as f64,
        }
    }
}

/// Outcome of a step.
pub enum Merged {
    /// More steps follow.
    More,
    /// The last window that has ended, if there is one.
    Done(Option<Arc<HotKeyWindow>>),
}

/// Sums of one key.
struct KeySum {
    tally: AccessTally,
    /// What the error is below the sum of all sketches' largest.
    spare: u64,
    /// Where its bytes are: a sampler, and a counter in its frozen sketch.
    sampler: u32,
    counter: u16,
}

/// A merge in progress.
pub struct HotKeyMerge {
    /// The window; `None` if there is none.
    window: Option<(Epoch, u32)>,
    /// Next sampler.
    next: usize,
    sums: HashMap<u64, KeySum>,
    total: AccessTally,
    /// Sum of the largest errors of all sketches, and of sums that were dropped.
    error: u64,
    restarts: u32,
}

impl HotKeyMerge {
    /// Memory that a merge takes at most, in bytes.
    pub const BYTES_MAX: usize =
        4 * HOTKEY_MERGED_MAX * size_of::<(u64, KeySum)>() + 4 * HOTKEYS_SHOWN_MAX * (size_of::<HotKey>() + 256);

    pub(super) fn new(hotkeys: &HotKeys, now: u32) -> Self {
        let epoch = *hotkeys.epoch.lock();
        let window = epoch.and_then(|epoch| Some((epoch, epoch.number(now)?.checked_sub(1)?)));
        let sums = HashMap::new();
        Self { window, next: 0, sums, total: AccessTally::default(), error: 0, restarts: 0 }
    }

    /// Merges the next samplers. A merge that takes longer than its window lasts begins again with the next one, and
    /// ends without a result if that happens too often, or without memory.
    pub fn step(&mut self, hotkeys: &HotKeys, now: u32) -> Merged {
        let Some((epoch, number)) = self.window else { return Merged::Done(None) };
        if self.next == 0
            && let Some(known) = hotkeys.merged.lock().as_ref()
            && (known.number, known.end) == (number, end_of(epoch, number))
        {
            return Merged::Done(Some(Arc::clone(known)));
        }
        let from = self.next;
        let some = hotkeys.samplers.iter().skip(from).take(SAMPLERS_PER_STEP);
        for (at, sampler) in some.enumerate() {
            if !self.reserve() {
                return Merged::Done(None);
            }
            if let Some(frozen) = &*sampler.frozen(now)
                && (frozen.number, frozen.epoch) == (Some(number), epoch)
            {
                self.add(&frozen.sketch, (from + at) as u32);
            }
        }
        self.next += SAMPLERS_PER_STEP;
        if self.next < hotkeys.samplers.len() {
            return Merged::More;
        }
        let window = self.finish(hotkeys, (epoch, number), now);
        if Self::new(hotkeys, now).window == self.window {
            let window = window.map(Arc::new);
            hotkeys.merged.lock().clone_from(&window);
            return Merged::Done(window);
        }
        let restarts = self.restarts + 1;
        *self = Self { restarts, ..Self::new(hotkeys, now) };
        if restarts > RESTARTS_MAX { Merged::Done(None) } else { Merged::More }
    }

    /// Makes room for the sums of another sketch: if there are too many, keeps half of them, those with the most
    /// accesses. False if memory is short.
    fn reserve(&mut self) -> bool {
        if self.sums.len() + HOTKEY_COUNTERS > HOTKEY_MERGED_MAX {
            let mut counts = Vec::new();
            if counts.try_reserve_exact(self.sums.len()).is_err() {
                return false;
            }
            counts.extend(self.sums.values().map(|sum| sum.tally.accesses()));
            let (_, &mut most, _) = counts.select_nth_unstable(self.sums.len() - HOTKEY_MERGED_MAX / 2);
            self.sums.retain(|_, sum| sum.tally.accesses() > most);
            self.error += most;
        }
        self.sums.try_reserve(HOTKEY_COUNTERS).is_ok()
    }

    /// Adds a sketch, for whose counters room is reserved.
    fn add(&mut self, sketch: &Sketch, sampler: u32) {
        self.total.add(&sketch.total);
        let least = sketch.least();
        self.error += least;
        for (at, counter) in sketch.counters().iter().enumerate() {
            let empty = || KeySum { tally: AccessTally::default(), spare: 0, sampler, counter: at as u16 };
            let sum = self.sums.entry(counter.hash).or_insert_with(empty);
            sum.tally.add(&counter.tally);
            sum.spare += least - counter.error;
        }
    }

    /// Copies the keys that have a rank. `None` if memory is short, or a key is gone because its window ended.
    fn finish(&mut self, hotkeys: &HotKeys, (epoch, number): (Epoch, u32), now: u32) -> Option<HotKeyWindow> {
        let mut keys = Vec::new();
        let mut places = HashMap::new();
        let ranks = Weight::ALL.map(|weight| self.rank(weight));
        let wanted: usize = ranks.iter().map(|rank| rank.as_ref().map_or(0, Vec::len)).sum();
        keys.try_reserve_exact(wanted).ok()?;
        places.try_reserve(wanted).ok()?;
        let ranks = ranks.map(|rank| {
            let place = |hash: u64| {
                if let Some(&place) = places.get(&hash) {
                    return Some(place);
                }
                keys.push(self.key(hotkeys, (epoch, number), hash, now)?);
                let place = (keys.len() - 1) as u16;
                places.insert(hash, place);
                Some(place)
            };
            rank?.into_iter().map(place).collect::<Option<Vec<u16>>>()
        });
        let [Some(reads), Some(writes), Some(misses), Some(bytes)] = ranks else { return None };
        let (total, end) = (self.total, end_of(epoch, number));
        let ranks = [reads, writes, misses, bytes];
        Some(HotKeyWindow { number, end, seconds: epoch.seconds, gap: hotkeys.gap, total, keys, ranks })
    }

    /// Hashes of the keys with the most of a weight, by falling weight.
    fn rank(&self, weight: Weight) -> Option<Vec<u64>> {
        let mut all = Vec::new();
        all.try_reserve_exact(self.sums.len()).ok()?;
        all.extend(self.sums.iter().map(|(&hash, sum)| (weight.of(&sum.tally), hash)).filter(|(of, _)| *of > 0));
        if all.len() > HOTKEYS_SHOWN_MAX {
            all.select_nth_unstable_by(HOTKEYS_SHOWN_MAX, |one, other| other.cmp(one));
            all.truncate(HOTKEYS_SHOWN_MAX);
        }
        all.sort_unstable_by(|one, other| other.cmp(one));
        Some(all.into_iter().map(|(_, hash)| hash).collect())
    }

    fn key(&self, hotkeys: &HotKeys, (epoch, number): (Epoch, u32), hash: u64, now: u32) -> Option<HotKey> {
        let sum = self.sums.get(&hash)?;
        let mut key = Vec::new();
        key.try_reserve_exact(crate::limits::KEY_MAX).ok()?;
        let frozen = hotkeys.samplers.get(sum.sampler as usize)?.frozen(now);
        let frozen = frozen.as_ref().filter(|frozen| (frozen.number, frozen.epoch) == (Some(number), epoch))?;
        let counter = frozen.sketch.counters().get(usize::from(sum.counter)).filter(|counter| counter.hash == hash)?;
        key.extend_from_slice(counter.key());
        Some(HotKey { key: key.into_boxed_slice(), tally: sum.tally, error: self.error.saturating_sub(sum.spare) })
    }
}

/// Relative time at which a window ends.
fn end_of(epoch: Epoch, number: u32) -> u32 {
    epoch.begin.saturating_add(epoch.seconds.saturating_mul(number + 1))
}

#[cfg(test)]
mod tests {
    use super::super::{Access, AccessKind};
    use super::*;
    use crate::hash::hash;

    const SECONDS: u32 = 10;

    fn on(workers: usize, gap: u32) -> HotKeys {
        let hotkeys = HotKeys::new(workers, gap, SECONDS);
        hotkeys.begin(99, || ()).unwrap();
        hotkeys
    }

    fn record(hotkeys: &HotKeys, worker: usize, now: u32, key: &[u8], access: Access) {
        hotkeys.record(Some(worker), now, hash(key), key, access);
    }

    fn read(hotkeys: &HotKeys, worker: usize, now: u32, key: &[u8]) {
        record(hotkeys, worker, now, key, Access { kind: AccessKind::Read, missed: false, bytes: 0 });
    }

    fn top(window: &HotKeyWindow, weight: Weight) -> Vec<(&[u8], u64)> {
        window.top(weight).map(|hot| (&*hot.key, weight.of(&hot.tally))).collect()
    }

    #[test]
    fn workers_are_summed_up_by_each_weight_and_scaled() {
        let hotkeys = on(2, 100);
        for _ in 0..30 {
            read(&hotkeys, 0, 100, b"a");
            read(&hotkeys, 1, 105, b"a");
        }
        for n in 0..50 {
            let access = Access { kind: AccessKind::Write, missed: n < 5, bytes: 7 };
            record(&hotkeys, 1, 109, b"b", access);
        }
        hotkeys.record(None, 100, hash(b"c"), b"c", Access { kind: AccessKind::Read, missed: true, bytes: 0 });
        assert!(hotkeys.window(109).is_none(), "the first window has not ended");
        let window = hotkeys.window(110).unwrap();
        assert_eq!(top(&window, Weight::Reads), [(&b"a"[..], 60), (b"c", 1)]);
        assert_eq!(top(&window, Weight::Writes), [(&b"b"[..], 50)]);
        assert_eq!(top(&window, Weight::Misses), [(&b"b"[..], 5), (b"c", 1)]);
        assert_eq!(top(&window, Weight::Bytes), [(&b"b"[..], 350)]);
        assert_eq!(window.total, AccessTally { reads: 61, writes: 50, misses: 6, bytes: 350 });
        assert_eq!((window.number, window.end, window.seconds, window.gap), (0, 110, 10, 100));
        let a = window.top(Weight::Reads).next().unwrap();
        assert_eq!((window.rate(a.tally.reads), a.error), (600.0, 0));
        assert_eq!((window.share(Weight::Reads, a), window.share(Weight::Bytes, a)), (60.0 / 61.0, 0.0));
    }

    #[test]
    fn a_window_is_merged_once_and_not_shown_after_its_time() {
        let hotkeys = on(2, 1);
        read(&hotkeys, 0, 100, b"a");
        let window = hotkeys.window(110).unwrap();
        assert!(Arc::ptr_eq(&window, &hotkeys.window(119).unwrap()));
        read(&hotkeys, 1, 112, b"b");
        assert_eq!(top(&hotkeys.window(120).unwrap(), Weight::Reads), [(&b"b"[..], 1)], "an idle worker counts as 0");
        assert_eq!(top(&hotkeys.window(130).unwrap(), Weight::Reads), []);
        assert_eq!(top(&hotkeys.window(200_000).unwrap(), Weight::Reads), []);
        hotkeys.begin(150, || ()).unwrap();
        assert!(hotkeys.window(155).is_none(), "a reset begins a first window");
        read(&hotkeys, 0, 155, b"c");
        assert_eq!(top(&hotkeys.window(161).unwrap(), Weight::Reads), [(&b"c"[..], 1)]);
    }

    #[test]
    fn off_there_is_no_memory_and_no_window() {
        let hotkeys = HotKeys::new(3, 1, SECONDS);
        assert!(!hotkeys.is_on() && hotkeys.bytes() == 0 && hotkeys.window(1000).is_none());
        hotkeys.begin(99, || ()).unwrap();
        read(&hotkeys, 0, 100, b"a");
        assert!(hotkeys.is_on() && hotkeys.bytes() > 0 && hotkeys.window(110).is_some());
        hotkeys.end(|| ());
        read(&hotkeys, 0, 111, b"a");
        assert!(!hotkeys.is_on() && hotkeys.bytes() == 0 && hotkeys.window(120).is_none());
    }

    /// Exact counts of all workers are within the bounds of the sum, also for keys that some workers have dropped.
    #[test]
    fn sums_of_full_sketches_keep_true_bounds() {
        let (workers, mut rng, mut exact) = (4, fastrand::Rng::with_seed(5), HashMap::new());
        let hotkeys = on(workers, 1);
        for _ in 0..100_000 {
            let key = format!("{}", 50_000f64.powf(rng.f64()) as u64).into_bytes();
            *exact.entry(key.clone()).or_insert(0u64) += 1;
            read(&hotkeys, rng.usize(..workers), 100, &key);
        }
        let window = hotkeys.window(110).unwrap();
        assert_eq!(window.top(Weight::Reads).count(), HOTKEYS_SHOWN_MAX);
        for hot in window.top(Weight::Reads) {
            let count = exact[&*hot.key];
            assert!((hot.tally.reads..=hot.tally.reads + hot.error).contains(&count), "{hot:?} {count}");
        }
        let mut by_count: Vec<_> = exact.into_iter().collect();
        by_count.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let names: Vec<&[u8]> = window.top(Weight::Reads).take(20).map(|hot| &*hot.key).collect();
        assert!(by_count[..10].iter().all(|(key, _)| names.contains(&&**key)));
    }

    #[test]
    fn many_workers_take_bounded_memory_and_keep_what_is_hot() {
        let workers = 40;
        let hotkeys = on(workers, 1);
        for worker in 0..workers {
            for n in 0..HOTKEY_COUNTERS - 1 {
                read(&hotkeys, worker, 100, format!("{worker} {n}").as_bytes());
            }
            for _ in 0..10 {
                read(&hotkeys, worker, 100, b"hot");
            }
        }
        let mut merge = hotkeys.begin_merge(110);
        let window = loop {
            match merge.step(&hotkeys, 110) {
                Merged::More => assert!(merge.sums.len() <= HOTKEY_MERGED_MAX),
                Merged::Done(window) => break window.unwrap(),
            }
        };
        assert!(merge.sums.capacity() <= 2 * HOTKEY_MERGED_MAX && merge.error > 0);
        let hot = window.top(Weight::Reads).next().unwrap();
        assert_eq!((&*hot.key, hot.tally.reads), (&b"hot"[..], 10 * workers as u64));
    }

    #[test]
    fn a_merge_that_its_window_outruns_begins_again() {
        let hotkeys = on(6, 1);
        read(&hotkeys, 0, 100, b"old");
        read(&hotkeys, 5, 110, b"new");
        let mut merge = hotkeys.begin_merge(110);
        assert!(matches!(merge.step(&hotkeys, 110), Merged::More));
        let window = loop {
            if let Merged::Done(window) = merge.step(&hotkeys, 120) {
                break window.unwrap();
            }
        };
        assert_eq!((window.number, top(&window, Weight::Reads)), (1, vec![(&b"new"[..], 1)]));
        // One whose windows end faster than it steps gives up.
        let mut merge = hotkeys.begin_merge(130);
        let given_up = (0..100).find_map(|n| match merge.step(&hotkeys, 130 + n * SECONDS) {
            Merged::Done(window) => Some(window.is_none()),
            Merged::More => None,
        });
        assert_eq!(given_up, Some(true));
    }
}
