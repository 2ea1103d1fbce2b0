//! Optimistic reads of a bucket: without its lock, and without a write.
//!
//! Everything read between [`Index::begin_read`] and [`OptimisticRead::validate`] is consistent if the latter returns
//! true, because the first word, with the version, has not changed; else it may be anything. A writer takes the lock
//! and then passes a release fence (`Table::lock_from`), so a reader that has loaded any part of its change sees the
//! lock bit or another version. Called by the store's `read`.

use super::line::{Line, slots};
use super::{Bucket, Index, LOCK, LOW_HALF, SPINS, Table, tag_of};
use std::sync::atomic::{Ordering::*, fence};

/// Maximum lines of one search. Lines that other buckets reuse during the search might link in a circle. Only a table
/// that may not grow has chains of nearly this length.
const LINES_MAX: usize = 256;

/// The optimistic read failed: the bucket has changed, or its chain is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsure;

/// An optimistic read of a bucket in progress.
#[derive(Clone, Copy)]
pub struct OptimisticRead {
    table: &'static Table,
    line: Line,
    /// The first word when the read began.
    word: u64,
}

impl Index {
    /// Begins an optimistic read of the bucket of `hash`. `None` if it stays locked for long.
    #[inline]
    pub fn begin_read(&'static self, hash: u64) -> Option<OptimisticRead> {
        for _ in 0..SPINS {
            let current = self.current.load(Acquire);
            let old = current >> 32; // number of the table that grows, plus 1
            let mut read = if old == 0 { None } else { self.read_in(old - 1, hash) };
            if read.is_none() {
                read = self.read_in(current & LOW_HALF, hash);
            }
            if read.is_some_and(|read| read.word & LOCK == 0) {
                return read;
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Begins a read in table `number`, unless the bucket has moved to its successor.
    #[inline]
    fn read_in(&'static self, number: u64, hash: u64) -> Option<OptimisticRead> {
        let table = self.table(number);
        let place = table.bucket_of(hash);
        let line = table.line(place);
        let word = line.words[0].load(Acquire);
        self.is_kept(table, number, place, word).then_some(OptimisticRead { table, line, word })
    }
}

impl OptimisticRead {
    /// Returns the first `Some` of `each` over the handles with the hash's tag. Every handle that `each` gets was in
    /// the bucket when the read began: no ghost, and no torn value.
    ///
    /// # Errors
    /// The bucket has changed, or its chain is too long.
    #[inline]
    pub fn find<R>(&self, hash: u64, mut each: impl FnMut(u64) -> Option<R>) -> Result<Option<R>, Unsure> {
        if self.word & LOW_HALF == 0 {
            // Zero: nothing was ever inserted (`read_in` has checked that the table is current). Return now: if the
            // bucket is filled, moved and its memory returned to the kernel, the word is zero again, and `validate`
            // would see no change.
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

    /// Whether the bucket has not changed since the read began: all that was read since is consistent.
    #[inline]
    pub fn validate(&self) -> bool {
        fence(Acquire);
        self.line.words[0].load(Relaxed) as u32 == self.word as u32
    }

    #[cfg(test)]
    pub(super) fn line(&self) -> Line {
        self.line
    }

    /// Version of the bucket when the read began: [`Bucket::version`].
    #[inline]
    pub fn version(&self) -> u32 {
        self.word as u32 / super::VERSION as u32
    }

    /// Locks the bucket if it has not changed since the read began and is not locked. A handle must have been found in
    /// it: a first word that is not zero, and unchanged, shows that the bucket is still in this table.
    #[inline]
    pub fn lock(self) -> Option<Bucket> {
        debug_assert!(self.word & LOW_HALF != 0, "may be the word of memory returned to the kernel");
        self.table.lock_from(self.line, self.word)
    }
}
