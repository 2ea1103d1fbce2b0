//! The mutex of the slab classes, the pages and the magazines. It tells `sys::panics` that its thread holds it, and with
//! the feature `lock-times` notes how long.
//!
//! Owns the notes, which each thread keeps of its own locks. They are in processor time: a holder that waits for a
//! core holds longer, but that is the machine's doing. Called by `slabs` and `magazine`; `benches/holds` reads the notes.

use crate::sys::panics::{lock_released, lock_taken};
use parking_lot::lock_api::{self, RawMutex};

pub(in crate::store) type Mutex<T> = lock_api::Mutex<RawHeld, T>;
pub(in crate::store) type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawHeld, T>;

type Plain = parking_lot::RawMutex;

/// A mutex whose holder ends the process if it panics: what it protects may be half changed.
pub struct RawHeld(Plain);

// SAFETY: the inner mutex excludes, and every acquisition's guard goes back to it once.
unsafe impl RawMutex for RawHeld {
    #[allow(clippy::declare_interior_mutable_const)] // the trait asks for it
    const INIT: Self = Self(Plain::INIT);
    type Guard = (<Plain as RawMutex>::Guard, times::Hold);

    #[inline]
    fn lock(&self) -> Self::Guard {
        let guard = self.0.lock();
        lock_taken();
        (guard, times::begin())
    }

    #[inline]
    fn try_lock(&self) -> Option<Self::Guard> {
        let guard = self.0.try_lock()?;
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

    /// When it began.
    pub type Hold = u64;

    thread_local! {
        /// Nanoseconds of each hold that has ended.
        static HOLDS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }

    /// Shows the calling thread's holds since the last call.
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
