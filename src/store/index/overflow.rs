//! The overflow lines of a table, to which full buckets link.
//!
//! Owns which lines are in use, and which are touched ahead of use. Free lines form a linked list, so neither
//! allocation nor freeing moves anything. Lock rank: docs/locking.md. Called by the rest of the index.

use super::line::Line;
use crate::cache_lines::{Shared, wrote};
use crate::store::slab::{Region, touch};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::*, fence};

/// Bytes of a line.
pub(super) const LINE_BYTES: usize = Line::OVERFLOW * 8;

/// Lines in a small page.
const PAGE_LINES: u32 = (4096 / LINE_BYTES) as u32;

/// The overflow lines of one table.
pub(super) struct Overflow {
    lines: Region,
    long: bool,
    /// Lines before this one have, or had, memory; used by the growing thread only.
    touched: AtomicU32,
    pool: Mutex<Pool>,
}

/// Free lines. On cache lines of its own, because every bucket that overflows writes it and every lookup reads the
/// fields around it.
#[repr(align(128))]
struct Pool {
    /// First line of the free list; 0 = none.
    free: u32,
    /// First line that was never in use.
    next: u32,
    len: u32,
}

impl Overflow {
    /// Creates `len` lines in `lines`, which has room for the unused line 0 too; for `long` (40-bit) handles or short
    /// ones.
    pub fn over(lines: Region, len: u64, long: bool) -> Self {
        let touched = AtomicU32::new(0);
        Self { lines, long, touched, pool: Mutex::new(Pool { free: 0, next: 1, len: len as u32 }) }
    }

    /// Whether handles may have 40 bits.
    #[inline]
    pub fn is_long(&self) -> bool {
        self.long
    }

    /// The line with this number.
    #[inline]
    pub fn line(&self, number: u32) -> Line {
        Line::overflow(self.lines.words(), number, self.long)
    }

    /// Allocates an empty line for a bucket that the caller has locked; `None` if all are in use.
    pub fn take(&self) -> Option<u32> {
        let mut pool = self.pool.lock();
        wrote(Shared::Lock, &*pool);
        // As in `Table::lock_from`: an optimistic read of the bucket that had the line sees that the bucket has
        // changed.
        fence(Release);
        if pool.free != 0 {
            let number = pool.free;
            let line = self.line(number);
            pool.free = line.words[1].load(Relaxed) as u32;
            line.words[1].store(0, Relaxed);
            return Some(number);
        }
        let number = pool.next;
        (number <= pool.len).then(|| {
            pool.next += 1;
            number
        })
    }

    /// Frees an empty line.
    pub fn give(&self, number: u32) {
        let mut pool = self.pool.lock();
        wrote(Shared::Lock, &*pool);
        let line = self.line(number);
        wrote(Shared::Bucket, line.words);
        line.words[0].store(0, Relaxed);
        line.words[1].store(pool.free.into(), Relaxed);
        pool.free = number;
    }

    /// Bytes of the lines that were ever in use or touched.
    pub fn bytes(&self) -> u64 {
        let used = self.pool.lock().next - 1;
        u64::from(used.max(self.touched.load(Relaxed))) * LINE_BYTES as u64
    }

    /// Touches the memory of the `2 * ahead` lines that come into use next; false if the first `ahead` of them have
    /// been touched. Called by the growing thread only.
    pub fn touch(&self, ahead: u32) -> bool {
        let (next, end) = {
            let pool = self.pool.lock();
            (pool.next, pool.len + 1)
        };
        let touched = self.touched.load(Relaxed);
        if next.saturating_add(ahead).min(end) <= touched {
            return false;
        }
        let until = next.saturating_add(2 * ahead).checked_next_multiple_of(PAGE_LINES).unwrap_or(end).min(end);
        for number in (touched..until).step_by(PAGE_LINES as usize) {
            touch(&self.line(number).words[0]);
        }
        self.touched.store(until, Relaxed);
        true
    }

    /// Returns all memory to the kernel. No thread may write to a line any more.
    pub fn discard(&self) {
        self.lines.discard(0, self.lines.words().len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[cfg(target_os = "linux")]
    #[test]
    fn lines_that_come_into_use_have_memory_and_later_ones_get_it_in_time() {
        use crate::store::slab::region::thread_faults;
        let overflow = Overflow::over(Region::reserve(10_001 * LINE_BYTES, 0).unwrap(), 10_000, false);
        let take_from = |overflow: &Overflow, count| {
            let before = thread_faults();
            (0..count).for_each(|_| overflow.line(overflow.take().unwrap()).set(0, 9, 9));
            thread_faults() - before
        };
        // Fault in the program's own pages first, with another pool.
        let other = Overflow::over(Region::reserve(101 * LINE_BYTES, 0).unwrap(), 100, false);
        take_from(&other, 50);
        let take = |count| take_from(&overflow, count);
        assert!(overflow.touch(1000));
        assert!(!overflow.touch(1000), "nothing has come into use");
        assert_eq!(take(1000), 0);
        assert!(!overflow.touch(1000), "1000 more have memory");
        assert_eq!(take(999), 0);
        assert!(overflow.touch(1000));
        assert_eq!(take(1000), 0);
        while overflow.touch(1000) {
            take(1000);
        }
        assert_eq!(take(1000), 0, "the last lines have memory too");
    }

    #[test]
    fn lines_that_were_given_back_are_taken_before_new_ones_and_are_empty() {
        let overflow = Overflow::over(Region::reserve(101 * LINE_BYTES, 0).unwrap(), 100, false);
        let first: Vec<u32> = (0..100).map(|_| overflow.take().unwrap()).collect();
        assert_eq!(overflow.take(), None, "all are in use");
        for &number in &first {
            let line = overflow.line(number);
            line.set(0, 9, number.into());
            line.set(1, 9, number.into());
        }
        let back: HashSet<u32> = first.iter().copied().filter(|number| number % 3 != 0).collect();
        for &number in &back {
            overflow.give(number);
        }
        let again: HashSet<u32> = (0..back.len()).map(|_| overflow.take().unwrap()).collect();
        assert_eq!(again, back);
        assert!(again.iter().all(|&number| overflow.line(number).used() == 0));
        assert!(
            first.iter().all(|&n| back.contains(&n) || overflow.line(n).handle(1) == u64::from(n)),
            "others are as they were"
        );
        assert_eq!((overflow.take(), overflow.bytes()), (None, 100 * LINE_BYTES as u64));
    }
}
