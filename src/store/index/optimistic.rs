//! A look at a bucket without its lock, which writes nothing.
//!
//! What is read between the beginning of a look and [`OptimisticRead::holds`] is whole if that gives true, and may be
//! anything if not: the first word, with the version, stood still. Whoever changes something takes the lock first, and
//! then fences (`Table::lock_from`), so a reader who met any part of the change sees the lock, or another version.
//! Called by the store's `read`.

use super::line::{Line, slots};
use super::{Bucket, Index, LOCK, LOW_HALF, SPINS, Table, tag_of};
use std::sync::atomic::{Ordering::*, fence};

/// Lines that one search passes at most: some that are given to other buckets meanwhile might lead round and round.
/// Only in a table that may not grow chains are nearly as long.
const LINES_MAX: usize = 256;

/// What was read without the lock cannot be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsure;

/// A bucket that others may change.
#[derive(Clone, Copy)]
pub struct OptimisticRead {
    table: &'static Table,
    number: u64,
    place: usize,
    line: Line,
    /// The first word when the look began.
    word: u64,
}

impl Index {
    /// Begins a look at the bucket of `hash`; `None` if it stays locked for long.
    #[inline]
    pub fn begin_read(&'static self, hash: u64) -> Option<OptimisticRead> {
        for _ in 0..SPINS {
            let current = self.current.load(Acquire);
            let mut look = self.read_in(current >> 32, hash); // the old table, plus 1
            if look.is_none() {
                look = self.read_in((current & LOW_HALF) + 1, hash);
            }
            if look.is_some_and(|look| look.word & LOCK == 0) {
                return look;
            }
            std::hint::spin_loop();
        }
        None
    }

    /// The bucket in table `successor` - 1, unless it has moved on to the next, or there is no such table.
    #[inline]
    fn read_in(&'static self, successor: u64, hash: u64) -> Option<OptimisticRead> {
        let number = successor.checked_sub(1)?;
        let table = self.table(number);
        let place = table.bucket_of(hash);
        let line = table.line(place);
        let word = line.words[0].load(Acquire);
        self.is_kept(number, place, word).then_some(OptimisticRead { table, number, place, line, word })
    }
}

impl OptimisticRead {
    /// What `each` makes of the first handle with the hash's tag of which it makes something. Every handle it is given
    /// is one that stood in the bucket when the look began, no ghost and no half of a change.
    ///
    /// # Errors
    /// The bucket has changed, or its chain is too long.
    #[inline]
    pub fn find<R>(&self, hash: u64, mut each: impl FnMut(u64) -> Option<R>) -> Result<Option<R>, Unsure> {
        if self.word & LOW_HALF == 0 {
            // Nothing was ever entered. Memory that has been given back meanwhile would look the same, whatever was
            // there.
            return Ok(None);
        }
        let tag = tag_of(hash);
        let mut line = self.line;
        for _ in 0..LINES_MAX {
            for slot in slots(line.matching(tag)) {
                let handle = line.handle(slot);
                if !self.validate() {
                    return Err(Unsure);
                }
                if let Some(found) = each(handle) {
                    return Ok(Some(found));
                }
            }
            let Some(next) = line.next() else {
                return if self.validate() { Ok(None) } else { Err(Unsure) };
            };
            line = self.table.overflow.line(next);
        }
        Err(Unsure)
    }

    /// Whether nothing has changed since the look began, so that all that was read since is whole.
    #[inline]
    pub fn validate(&self) -> bool {
        fence(Acquire);
        self.line.words[0].load(Relaxed) as u32 == self.word as u32
    }

    #[cfg(test)]
    pub(super) fn line(&self) -> Line {
        self.line
    }

    /// Changes when the bucket does: [`Bucket::version`].
    #[inline]
    pub fn version(&self) -> u32 {
        self.word as u32 / super::VERSION as u32
    }

    /// Locks the bucket if nothing has changed since the look began; `None` as well if somebody holds it.
    #[inline]
    pub fn lock(self, index: &'static Index) -> Option<Bucket> {
        // A word of nothing but zeroes may be that of memory that was given back.
        index.if_current(self.number, self.place, self.table.lock_from(self.line, self.word)?)
    }
}
