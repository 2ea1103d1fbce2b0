//! Mutex of the slab classes, the page pool and the magazines. It reports its holder to `sys::panics`; the feature
//! `lock-times` records hold times.
//!
//! Owns the records, which each thread keeps of its own locks. Times are processor time, so a holder that is
//! descheduled does not count as holding. Used by `slabs`, `magazine` and `page_pool`; `benches/holds` reads the
//! records.

use crate::cache_lines::{Shared, wrote};
use crate::sys::panics::{lock_released, lock_taken};
use parking_lot::lock_api::{self, RawMutex};

pub(in crate::store) type Mutex<T> = lock_api::Mutex<RawHeld, T>;
pub(in crate::store) type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawHeld, T>;

type Plain = parking_lot::RawMutex;

/// A mutex that ends the process if its holder panics: what it protects may be half changed.
pub struct RawHeld(Plain);

// SAFETY: the inner mutex gives exclusion, and each guard that it hands out is given back to it exactly once.
unsafe impl RawMutex for RawHeld {
    #[allow(clippy::declare_interior_mutable_const)] // the trait asks for it
    const INIT: Self = Self(Plain::INIT);
    type Guard = (<Plain as RawMutex>::Guard, times::Hold);

    #[inline]
    fn lock(&self) -> Self::Guard {
        let guard = self.0.lock();
        wrote(Shared::Lock, &self.0);
        lock_taken();
        (guard, times::begin())
    }

    #[inline]
    fn try_lock(&self) -> Option<Self::Guard> {
        let guard = self.0.try_lock()?;
        wrote(Shared::Lock, &self.0);
        lock_taken();
        Some((guard, times::begin()))
    }

    // SAFETY: the trait's contract: the calling thread holds the lock.
    #[inline]
    unsafe fn unlock(&self, (guard, hold): Self::Guard) {
        lock_released();
        // SAFETY: the guard is of an acquisition of the inner mutex, which ends here.
        times::end(hold, || unsafe { self.0.unlock(guard) });
    }

    fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

#[cfg(feature = "lock-times")]
pub use times::take_holds;

#[cfg(not(feature = "lock-times"))]
mod times {
    pub type Hold = ();

    #[inline]
    pub fn begin() -> Hold {}

    #[inline]
    pub fn end((): Hold, unlock: impl FnOnce()) {
        unlock();
    }
}

#[cfg(feature = "lock-times")]
mod times {
    use crate::sys::cpu::thread_ns;
    use std::cell::RefCell;

    /// Processor time of the thread when the hold began, in nanoseconds.
    pub type Hold = u64;

    thread_local! {
        /// Nanoseconds of each ended hold.
        static HOLDS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }

    /// Calls `each` with the nanoseconds of each hold of the calling thread since the last call.
    pub fn take_holds(each: impl FnMut(u64)) {
        HOLDS.with_borrow_mut(|holds| holds.drain(..).for_each(each));
    }

    pub fn begin() -> Hold {
        thread_ns()
    }

    pub fn end(since: Hold, unlock: impl FnOnce()) {
        let held = thread_ns().saturating_sub(since);
        unlock();
        HOLDS.with_borrow_mut(|holds| holds.push(held));
    }
}
