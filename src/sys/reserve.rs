//! The allocator of the process: the system's, with a reserve for when that fails.
//!
//! A failed allocation of a few bytes cannot be handled at its call site: the language ends the process. So
//! [`RESERVE`] bytes are kept aside, untouched, and returned to the system when it refuses a small allocation, which
//! is then retried. From then on memory [is short](Reserving::is_short): requests that a client can do without are
//! refused (`headroom`), until [`Reserving::refill`] has restored the reserve. Large allocations that a client can
//! cause do not use the reserve; they are made by fallible calls.
//!
//! Owns the reserve; knows nothing of the memory's use. `main` installs it as the global allocator; the main thread
//! refills it once a second. Programs with another allocator, tests among them, are never short of memory.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release};

/// Bytes of address space in the reserve: ten times what some thousand connections allocate in a second.
pub const RESERVE: usize = 4 << 20;

/// Largest allocation for which the reserve is used; larger ones that a client can cause are fallible.
const SMALL_MAX: usize = 256 << 10;

/// The allocator of the program.
#[allow(missing_debug_implementations)]
pub struct Reserving<A = System> {
    system: A,
    /// The reserve; null while there is none.
    reserve: AtomicPtr<u8>,
    /// The reserve was used and is not restored.
    short: AtomicBool,
}

/// The allocator that `main` installs.
pub static ALLOCATOR: Reserving = Reserving::over(System);

/// [`ALLOCATOR`], for `#[global_allocator]`.
#[derive(Clone, Copy, Debug)]
pub struct Installed;

// SAFETY: every call goes to `ALLOCATOR`, which has the same contract.
unsafe impl GlobalAlloc for Installed {
    // SAFETY: the trait's contract.
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { ALLOCATOR.alloc(layout) }
    }

    // SAFETY: the trait's contract.
    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { ALLOCATOR.alloc_zeroed(layout) }
    }

    // SAFETY: the trait's contract.
    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { ALLOCATOR.realloc(block, layout, size) }
    }

    // SAFETY: the trait's contract.
    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { ALLOCATOR.dealloc(block, layout) }
    }
}

impl<A: GlobalAlloc> Reserving<A> {
    /// An allocator without a reserve yet.
    pub const fn over(system: A) -> Self {
        Self { system, reserve: AtomicPtr::new(null_mut()), short: AtomicBool::new(false) }
    }

    const LAYOUT: Layout = match Layout::from_size_align(RESERVE, 4096) {
        Ok(layout) => layout,
        Err(_) => panic!("a page is a power of two"),
    };

    /// Restores the reserve if there is none; false if the system refuses. Called by one thread.
    pub fn refill(&self) -> bool {
        if !self.reserve.load(Relaxed).is_null() {
            self.short.store(false, Relaxed);
            return true;
        }
        // SAFETY: the layout has a size.
        let bytes = unsafe { self.system.alloc(Self::LAYOUT) };
        self.reserve.store(bytes, Release);
        self.short.store(bytes.is_null(), Relaxed);
        !bytes.is_null()
    }

    /// Whether the reserve was used and is not restored.
    #[inline]
    pub fn is_short(&self) -> bool {
        self.short.load(Relaxed)
    }

    /// Returns the reserve to the system, for a retry; false if `wanted` is too large for that.
    #[cold]
    fn give_back(&self, wanted: usize) -> bool {
        if wanted > SMALL_MAX {
            return false;
        }
        self.short.store(true, Relaxed);
        let bytes = self.reserve.swap(null_mut(), AcqRel);
        if bytes.is_null() {
            // Another thread has taken the reserve and may be about to free it: let it run, then retry.
            std::thread::yield_now();
            return true;
        }
        // SAFETY: allocated with this layout by `refill`; the swap has made this thread its only owner.
        unsafe { self.system.dealloc(bytes, Self::LAYOUT) };
        true
    }

    /// The result of `allocate`, retried once if the reserve could be used.
    #[inline]
    fn try_twice(&self, size: usize, allocate: impl Fn() -> *mut u8) -> *mut u8 {
        let bytes = allocate();
        if bytes.is_null() && self.give_back(size) { allocate() } else { bytes }
    }
}

// SAFETY: every call goes to the inner allocator with the caller's arguments, under the same contract. A refused
// `realloc` leaves the old block as it was, so it may be called again.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Reserving<A> {
    // SAFETY: the trait's contract: the layout has a size.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        self.try_twice(layout.size(), || unsafe { self.system.alloc(layout) })
    }

    // SAFETY: the trait's contract: the layout has a size.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        self.try_twice(layout.size(), || unsafe { self.system.alloc_zeroed(layout) })
    }

    // SAFETY: the trait's contract: the block is of this allocator and has this layout.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        self.try_twice(size, || unsafe { self.system.realloc(block, layout, size) })
    }

    // SAFETY: the trait's contract: the block is of this allocator and has this layout.
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { self.system.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Provides this many bytes in all, and no more.
    struct Limited(AtomicUsize);

    // SAFETY: all memory is the system's.
    unsafe impl GlobalAlloc for Limited {
        // SAFETY: the trait's contract.
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(layout.size())).is_err() {
                return null_mut();
            }
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        // SAFETY: the trait's contract.
        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            self.0.fetch_add(layout.size(), Relaxed);
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(block, layout) }
        }
    }

    #[test]
    fn small_allocations_use_the_reserve_until_it_is_restored() {
        let allocator = Reserving::over(Limited(AtomicUsize::new(RESERVE + 10_000)));
        let layout = Layout::array::<u8>(4000).unwrap();
        assert!(allocator.refill() && !allocator.is_short());
        let mut blocks = Vec::new();
        let mut take = |size: usize| {
            let layout = Layout::array::<u8>(size).unwrap();
            // SAFETY: the layout has a size.
            let block = unsafe { allocator.alloc(layout) };
            if !block.is_null() {
                blocks.push((block, layout));
            }
            !block.is_null()
        };
        assert!(take(4000) && take(4000) && !allocator.is_short());
        assert!(!take(SMALL_MAX + 1) && !allocator.is_short(), "a large one is refused");
        assert!(take(4000) && allocator.is_short());
        assert!(take(4000) && !allocator.refill() && allocator.is_short());
        let freed = blocks.drain(1..).collect::<Vec<_>>();
        for (block, layout) in freed {
            // SAFETY: allocated above with this layout.
            unsafe { allocator.dealloc(block, layout) };
        }
        assert!(allocator.refill() && !allocator.is_short());
        for (block, _) in blocks {
            // SAFETY: allocated above with this layout; a refused `realloc` leaves it.
            unsafe {
                let block = allocator.realloc(block, layout, 6000);
                allocator.dealloc(block, Layout::array::<u8>(6000).unwrap());
            }
        }
    }
}
