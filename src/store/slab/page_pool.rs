//! The page pool: pages in use and free, the memory limit, and what is charged to it.
//!
//! Owns which pages have memory and which are free, under a lock of its own (rank: docs/locking.md); every call takes
//! the lock and holds it for a few instructions. The kernel takes long to clear a page, so callers touch new pages,
//! without a lock. Knows no classes and no chunks. Called by `slabs`, the store and the page mover.

use super::class_lock::Mutex;
use super::size_classes::PAGE_BYTES;
use std::collections::HashSet;
use std::ops::Range;

/// Maximum pages that have memory before they are needed: two huge pages. The kernel may take 20 ms to clear one in a
/// virtual machine.
const READY_PAGES: u64 = 4;

/// Overhead in bytes that is not charged to a limit of `limit` bytes: a twentieth of it and 10 MiB. (The process as a
/// whole may exceed the limit by a twentieth and 32 MiB.)
pub fn on_top(limit: u64) -> u64 {
    limit / 20 + (10 << 20)
}

/// A page taken for a class.
pub enum NewPage {
    /// A page with memory, all zero.
    Ready(u32),
    /// A page without memory, which the caller touches and hands to [`PagePool::touched`].
    Untouched(u32),
}

/// The pages that all classes share.
pub struct PagePool(Mutex<Pages>);

struct Pages {
    /// Number of the first page never handed out.
    next: u32,
    /// Numbers of the pages that exist as address space and may be handed out.
    numbers: Range<u32>,
    /// Pages with memory and no class (class 0, the global page pool), all zero.
    pool: Vec<u32>,
    /// Pages without memory: it was returned to the kernel.
    released: Vec<u32>,
    /// Touched pages for the classes that grow next, all zero; not counted as in use.
    ready: Vec<u32>,
    /// Pages that a thread is touching, without a lock, and will put into `ready`.
    touching: u64,
    /// Pages of the classes and of the global pool.
    used: u64,
    /// Bytes counted as allocated before the first page: `T_MEMD_INITIAL_MALLOC`, of memcached's tests.
    precharged: u64,
    limit: u64,
    /// Overhead bytes charged to the limit: the part beyond [`on_top`].
    charged: u64,
    /// Overhead in bytes after an index growth that waits until classes have given up pages for it; 0 = none waits.
    wanted: u64,
    /// Classes must give up pages: the limit was lowered below the memory in use, or the charge has risen.
    shrinking: bool,
}

impl Pages {
    fn take_untouched(&mut self) -> Option<u32> {
        let page = self.released.pop().or_else(|| self.take_new())?;
        self.touching += 1;
        Some(page)
    }

    /// Takes a page that was never handed out. From then on each list has room for it, so that a page can be put back
    /// when there is no memory; `None` if the lists cannot grow.
    fn take_new(&mut self) -> Option<u32> {
        let count = (self.next + 1 - self.numbers.start) as usize;
        let fits = |list: &mut Vec<u32>| list.try_reserve(count - list.len()).is_ok();
        let lists = [&mut self.pool, &mut self.released, &mut self.ready];
        if self.next == self.numbers.end || !lists.into_iter().all(fits) {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    /// Pages touched, or being touched, ahead of use.
    fn ahead(&self) -> u64 {
        self.ready.len() as u64 + self.touching
    }

    /// Whether the limit allows `pages` more pages.
    fn have_room(&self, pages: u64) -> bool {
        self.malloced() + pages * PAGE_BYTES as u64 <= self.limit.saturating_sub(self.charged)
    }

    fn malloced(&self) -> u64 {
        self.precharged + self.used * PAGE_BYTES as u64
    }
}

impl PagePool {
    /// The pages with these `numbers`, for at most `limit` bytes.
    pub fn new(numbers: Range<u32>, limit: u64, precharged: u64) -> Self {
        Self(Mutex::new(Pages {
            next: numbers.start,
            numbers,
            pool: Vec::new(),
            released: Vec::new(),
            ready: Vec::new(),
            touching: 0,
            used: 0,
            precharged,
            limit,
            charged: 0,
            wanted: 0,
            shrinking: false,
        }))
    }

    /// Takes a page for a class. A class's first page may exceed the limit, as in memcached. `None` also without memory
    /// for the lists of pages.
    pub fn take(&self, first: bool) -> Option<NewPage> {
        let mut pages = self.0.lock();
        if let Some(page) = pages.pool.pop() {
            return Some(NewPage::Ready(page));
        }
        if !first && !pages.have_room(1) {
            return None;
        }
        if let Some(page) = pages.ready.pop() {
            pages.used += 1;
            return Some(NewPage::Ready(page));
        }
        pages.take_untouched().map(NewPage::Untouched)
    }

    /// Takes a page from the global pool, to be given to a class.
    pub fn take_pooled(&self) -> Option<u32> {
        self.0.lock().pool.pop()
    }

    /// Puts a page of no class, all zero, into the global pool.
    pub fn put(&self, page: u32) {
        self.0.lock().pool.push(page);
    }

    /// Takes a page to touch ahead of use, if fewer are ready than are in use, up to `READY_PAGES`: an empty server
    /// holds none. The caller touches it and calls [`PagePool::touched`].
    pub fn take_to_touch(&self) -> Option<u32> {
        let mut pages = self.0.lock();
        let ahead = pages.ahead();
        if ahead < READY_PAGES.min(pages.used) && pages.have_room(ahead + 1) { pages.take_untouched() } else { None }
    }

    /// Makes a touched page ready.
    pub fn touched(&self, page: u32) {
        let mut pages = self.0.lock();
        pages.touching -= 1;
        pages.ready.push(page);
    }

    /// Takes a ready or pooled page that exceeds the limit. The caller returns its memory to the kernel and calls
    /// [`PagePool::released`].
    pub fn take_surplus(&self) -> Option<u32> {
        let mut pages = self.0.lock();
        let mut page = if pages.have_room(pages.ahead()) { None } else { pages.ready.pop() };
        if page.is_none() && !pages.have_room(0) {
            page = pages.pool.pop();
            pages.used -= u64::from(page.is_some());
        }
        pages.shrinking &= !pages.have_room(0);
        page
    }

    /// Records that a page's memory was returned to the kernel.
    pub fn released(&self, page: u32) {
        self.0.lock().released.push(page);
    }

    /// Records the pages (number, class) that classes have adopted, in the order of their numbers.
    pub fn adopt(&self, used: &[(u32, usize)]) {
        let mut pages = self.0.lock();
        let next = used.last().map_or(pages.numbers.start, |(last, _)| last + 1);
        let taken: HashSet<u32> = used.iter().map(|(number, _)| *number).collect();
        pages.released = (pages.numbers.start..next).filter(|number| !taken.contains(number)).collect();
        // As for each page that `take_new` hands out.
        let (count, released) = ((next - pages.numbers.start) as usize, pages.released.len());
        pages.released.reserve(count - released);
        pages.pool.reserve(count);
        pages.ready.reserve(count);
        (pages.next, pages.used) = (next, used.len() as u64);
    }

    /// Numbers of the pages that have ever been handed out, released ones too.
    pub fn handed_out(&self) -> Range<u32> {
        let pages = self.0.lock();
        pages.numbers.start..pages.next
    }

    /// Number of pages in the global pool.
    pub fn pooled(&self) -> u64 {
        self.0.lock().pool.len() as u64
    }

    /// Bytes of pages in use, as reported by `total_malloced`.
    pub fn malloced(&self) -> u64 {
        self.0.lock().malloced()
    }

    /// Whether the limit allows no further page.
    pub fn is_full(&self) -> bool {
        !self.0.lock().have_room(1)
    }

    /// The limit on bytes of pages.
    pub fn limit(&self) -> u64 {
        self.0.lock().limit
    }

    /// Changes the limit on bytes of pages. False if the address space is smaller.
    pub fn set_limit(&self, limit: u64) -> bool {
        let mut pages = self.0.lock();
        if limit / PAGE_BYTES as u64 > u64::from(pages.numbers.end - 1) {
            return false;
        }
        pages.limit = limit;
        pages.shrinking = !pages.have_room(0);
        true
    }

    /// Whether classes must give up pages: the limit was lowered, or the charge has risen.
    pub fn is_shrinking(&self) -> bool {
        self.0.lock().shrinking
    }

    /// Sets the overhead in bytes; the part beyond [`on_top`] is charged to the limit. True if classes must give up
    /// pages from now on.
    pub fn charge(&self, bytes: u64) -> bool {
        let mut pages = self.0.lock();
        let charged = bytes.max(pages.wanted).saturating_sub(on_top(pages.limit));
        if charged < pages.charged && charged + PAGE_BYTES as u64 > pages.charged {
            return false; // hysteresis: a small decrease would move a page to and fro
        }
        // Each class may have one page above the limit, so only a charge that grows makes classes give up pages.
        let exceeds = charged > pages.charged && pages.malloced() > pages.limit.saturating_sub(charged);
        let begins = exceeds && !pages.shrinking;
        pages.shrinking |= exceeds;
        pages.charged = charged;
        begins
    }

    /// Sets the overhead in bytes that the index will need after its delayed growth; 0 = no growth is delayed.
    pub fn want(&self, bytes: u64) {
        self.0.lock().wanted = bytes;
    }

    /// Whether an overhead of `bytes` would be charged to the limit in part.
    pub fn would_charge(&self, bytes: u64) -> bool {
        bytes > on_top(self.limit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_BYTES as u64;

    /// Takes a page for a class, touching it as the store does.
    fn take(pool: &PagePool, first: bool) -> Option<u32> {
        match pool.take(first)? {
            NewPage::Ready(page) => Some(page),
            NewPage::Untouched(page) => {
                pool.touched(page);
                take(pool, first)
            }
        }
    }

    #[test]
    fn only_a_first_page_exceeds_the_limit() {
        let pool = PagePool::new(1..10, 2 * PAGE, 0);
        assert_eq!([(); 3].map(|()| take(&pool, false)), [Some(1), Some(2), None]);
        assert!(pool.is_full());
        assert_eq!((take(&pool, true), pool.malloced()), (Some(3), 3 * PAGE));
        pool.put(2);
        assert_eq!((take(&pool, false), pool.malloced()), (Some(2), 3 * PAGE), "a pooled page counts already");
    }

    #[test]
    fn a_lowered_limit_takes_pooled_pages_back() {
        let pool = PagePool::new(1..10, 4 * PAGE, 0);
        (0..4).for_each(|_| _ = take(&pool, false));
        assert!(pool.set_limit(3 * PAGE) && pool.is_shrinking() && pool.take_surplus().is_none());
        pool.put(1);
        assert_eq!(pool.take_surplus(), Some(1));
        pool.released(1);
        assert!(pool.take_surplus().is_none() && !pool.is_shrinking());
        assert!(!pool.set_limit(10 * PAGE), "there are nine pages");
        assert!(pool.set_limit(4 * PAGE));
        assert_eq!(take(&pool, false), Some(1), "a released page is used before a new one");
    }

    #[test]
    fn pages_touched_ahead_stay_within_the_limit() {
        let pool = PagePool::new(1..20, 5 * PAGE, 0);
        let touch = || pool.take_to_touch().map(|page| pool.touched(page)).is_some();
        (1..=3).for_each(|page| assert_eq!(take(&pool, false), Some(page)));
        assert_eq!([(); 3].map(|()| touch()), [true, true, false]);
        assert_eq!(pool.malloced(), 3 * PAGE, "not in use yet");
        pool.set_limit(4 * PAGE);
        assert_eq!((pool.take_surplus(), pool.take_surplus()), (Some(5), None));
    }

    #[test]
    fn no_more_pages_are_touched_ahead_than_are_in_use() {
        let pool = PagePool::new(1..20, 20 * PAGE, 0);
        let ahead = || {
            while let Some(page) = pool.take_to_touch() {
                pool.touched(page);
            }
            pool.0.lock().ahead()
        };
        let mut counts = vec![ahead()];
        for _ in 0..6 {
            take(&pool, false).unwrap();
            counts.push(ahead());
        }
        assert_eq!(counts, [0, 1, 2, 3, 4, 4, 4]);
    }

    #[test]
    fn a_charge_that_grows_makes_classes_give_up_pages_once() {
        let pool = PagePool::new(1..100, 20 * PAGE, 0);
        (0..20).for_each(|_| _ = take(&pool, false));
        let allowance = on_top(20 * PAGE);
        assert!(!pool.charge(allowance) && !pool.would_charge(allowance) && pool.would_charge(allowance + 1));
        assert!(pool.charge(allowance + PAGE) && pool.is_shrinking());
        assert!(!pool.charge(allowance + 2 * PAGE), "it has begun");
        pool.put(1);
        assert_eq!(pool.take_surplus(), Some(1));
        assert!(pool.is_shrinking(), "the charge is of two pages");
        pool.put(2);
        assert_eq!(pool.take_surplus(), Some(2));
        assert!(!pool.is_shrinking() && pool.take_surplus().is_none());
    }
}
