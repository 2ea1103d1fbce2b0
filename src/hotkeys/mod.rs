//! Hot keys: which keys get most reads, writes, misses and bytes.
//!
//! Owns a sampler for each worker, with its Space-Saving sketch, and the merged result of the last window. Knows
//! neither protocols nor the store: the verbs count accesses, `events` holds the bit that says whether they must. Off,
//! it has no memory but the samplers' locks.
//!
//! ```text
//!   worker: countdown ──► sketch of the window in progress ──► frozen window ──┐
//!   worker: …                                                                  ├──► HotKeyWindow
//!   worker: …                                                                  ┘
//! ```
//!
//! # Reading
//!
//! [`HotKeys::window`] returns the last window that has ended, as an [`HotKeyWindow`]: merged once, then shared by all
//! readers until the next one ends. [`HotKeyWindow::top`] ranks its keys by a [`Weight`]; [`HotKeyWindow::rate`] and
//! [`HotKeyWindow::share`] scale samples to true rates. A caller that must not take long merges by
//! [`HotKeys::begin_merge`], in steps.

mod merge;
mod sketch;
mod windows;

pub use merge::{HotKey, HotKeyMerge, HotKeyWindow, Merged};
pub use sketch::AccessTally;

use crate::hash::hash;
use crate::limits::HEADROOM;
use crate::sys::headroom;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use windows::{KeySampler, Sketches};

/// Kind of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// A fetch.
    Read,
    /// A store, deletion, increment or touch.
    Write,
}

/// One command's access of one key.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Its kind.
    pub kind: AccessKind,
    /// It found no item.
    pub missed: bool,
    /// Length of the value that was fetched, or sent to be stored.
    pub bytes: usize,
}

/// What keys are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields of `AccessTally`
pub enum Weight {
    Reads,
    Writes,
    Misses,
    Bytes,
}

impl Weight {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reads, Self::Writes, Self::Misses, Self::Bytes];

    /// Its word in commands and rows.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Misses => "misses",
            Self::Bytes => "bytes",
        }
    }

    /// Its value in a tally.
    pub fn of(self, tally: &AccessTally) -> u64 {
        match self {
            Self::Reads => tally.reads,
            Self::Writes => tally.writes,
            Self::Misses => tally.misses,
            Self::Bytes => tally.bytes,
        }
    }
}

/// Where windows begin: `seconds` each, from relative second `begin` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Epoch {
    begin: u32,
    seconds: u32,
}

impl Epoch {
    /// Number of the window at `now`; `None` before the first.
    fn number(self, now: u32) -> Option<u32> {
        Some(now.checked_sub(self.begin)? / self.seconds)
    }
}

/// Memory is short: the hot keys stay off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSketchMemory;

/// The hot keys of a server.
pub struct HotKeys {
    /// Average accesses between two samples.
    gap: u32,
    /// Length of a window, in seconds.
    seconds: u32,
    /// One for each worker, and one at the end for all other threads.
    samplers: Box<[KeySampler]>,
    /// When the first window begins; `None` while off. Held through a whole switch (on, off, reset), so that two of
    /// them cannot mix.
    epoch: Mutex<Option<Epoch>>,
    /// Result of the last window that was merged.
    merged: Mutex<Option<Arc<HotKeyWindow>>>,
    /// Number of resets, for the seeds of the countdowns.
    resets: AtomicU64,
}

impl HotKeys {
    /// Switched off. On, one access in `gap` is a sample, on average, and a window takes `seconds`; both at least 1.
    pub fn new(workers: usize, gap: u32, seconds: u32) -> Self {
        Self {
            gap: gap.max(1),
            seconds: seconds.max(1),
            samplers: (0..=workers).map(|_| KeySampler::default()).collect(),
            epoch: Mutex::default(),
            merged: Mutex::default(),
            resets: AtomicU64::new(0),
        }
    }

    /// Average accesses between two samples.
    pub fn gap(&self) -> u32 {
        self.gap
    }

    /// Length of a window, in seconds.
    pub fn seconds(&self) -> u32 {
        self.seconds
    }

    /// Whether accesses are sampled.
    pub fn is_on(&self) -> bool {
        self.epoch.lock().is_some()
    }

    /// Begins to sample, or begins again with empty windows. The first window begins with the next second, so that it
    /// is a whole one. `announce` runs once the samplers are ready.
    ///
    /// # Errors
    /// Memory is short; nothing has changed.
    pub fn begin(&self, now: u32, announce: impl FnOnce()) -> Result<(), NoSketchMemory> {
        let epoch = Epoch { begin: now.saturating_add(1), seconds: self.seconds };
        let bytes = self.samplers.len() * KeySampler::BYTES;
        if !headroom::is_there(bytes + HEADROOM) {
            return Err(NoSketchMemory);
        }
        let round = self.resets.fetch_add(1, Relaxed) << 32;
        let mut all = Vec::new();
        all.try_reserve_exact(self.samplers.len()).map_err(|_| NoSketchMemory)?;
        for number in 0..self.samplers.len() as u64 {
            let seed = hash(&(round + number).to_le_bytes());
            all.push(Some(Sketches::new(epoch, seed).ok_or(NoSketchMemory)?));
        }
        self.switch(Some(epoch), &mut all, announce);
        Ok(())
    }

    /// Stops sampling and frees the memory. `announce` runs first.
    pub fn end(&self, announce: impl FnOnce()) {
        self.switch(None, &mut [], announce);
    }

    fn switch(&self, epoch: Option<Epoch>, sketches: &mut [Option<Sketches>], announce: impl FnOnce()) {
        // Old memory is freed without the lock; if there is no room for it here, with the lock.
        let mut old = Vec::new();
        let _ = old.try_reserve_exact(self.samplers.len());
        let mut current = self.epoch.lock();
        *current = epoch;
        for (number, sampler) in self.samplers.iter().enumerate() {
            let replaced = sampler.replace(sketches.get_mut(number).and_then(Option::take));
            if old.len() < old.capacity() {
                old.push(replaced);
            }
        }
        let merged = self.merged.lock().take();
        announce();
        drop(current);
        drop((old, merged));
    }

    /// Counts an access by worker `number` (`None`: another thread) down; true if it must be recorded.
    #[inline]
    pub fn is_due(&self, number: Option<usize>) -> bool {
        self.sampler(number).is_some_and(KeySampler::is_due)
    }

    /// Records a sampled access of a key, 1 to `KEY_MAX` bytes long, at `now`.
    #[cold]
    pub fn record(&self, number: Option<usize>, now: u32, hash: u64, key: &[u8], access: Access) {
        if let Some(sampler) = self.sampler(number) {
            sampler.record(self.gap, now, hash, key, access);
        }
    }

    #[inline]
    fn sampler(&self, number: Option<usize>) -> Option<&KeySampler> {
        match number {
            Some(number) => self.samplers.get(number),
            None => self.samplers.last(),
        }
    }

    /// The last window that has ended, at `now`. `None` while off and in the first window.
    pub fn window(&self, now: u32) -> Option<Arc<HotKeyWindow>> {
        let mut merge = self.begin_merge(now);
        loop {
            match merge.step(self, now) {
                Merged::More => {}
                Merged::Done(window) => return window,
            }
        }
    }

    /// As [`HotKeys::window`], in steps of some 100 us.
    pub fn begin_merge(&self, now: u32) -> HotKeyMerge {
        HotKeyMerge::new(self, now)
    }

    /// Bytes of all sketches.
    pub fn bytes(&self) -> usize {
        self.samplers.iter().map(KeySampler::bytes).sum()
    }
}
