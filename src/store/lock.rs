//! The mutex of the slab classes and the pages: the plain one, or with the feature `lock-times` one that notes how
//! long it is held.
//!
//! Owns the notes, which each thread keeps of its own locks. They are in processor time: a holder who has to wait for a
//! core holds longer, but that is the machine's doing. Called by `slabs`; `benches/holds` reads the notes.

#[cfg(not(feature = "lock-times"))]
pub(super) use parking_lot::{Mutex, MutexGuard};
#[cfg(feature = "lock-times")]
pub(super) use timed::{Mutex, MutexGuard};

#[cfg(feature = "lock-times")]
pub use timed::take_holds;

#[cfg(feature = "lock-times")]
mod timed {
    use crate::sys::cpu::thread_ns;
    use parking_lot::lock_api::{self, RawMutex};
    use std::cell::RefCell;

    pub(crate) type Mutex<T> = lock_api::Mutex<RawTimed, T>;
    pub(crate) type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawTimed, T>;

    thread_local! {
        /// Nanoseconds of each hold that has ended.
        static HOLDS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }

    /// Shows the calling thread's holds since the last call.
    pub fn take_holds(each: impl FnMut(u64)) {
        HOLDS.with_borrow_mut(|holds| holds.drain(..).for_each(each));
    }

    type Plain = parking_lot::RawMutex;

    /// A mutex whose guards know when they were taken.
    pub(crate) struct RawTimed(Plain);

    // SAFETY: the inner mutex excludes, and every acquisition's guard goes back to it once.
    unsafe impl RawMutex for RawTimed {
        #[allow(clippy::declare_interior_mutable_const)] // the trait asks for it
        const INIT: Self = Self(Plain::INIT);
        type Guard = (<Plain as RawMutex>::Guard, u64);

        fn lock(&self) -> Self::Guard {
            let guard = self.0.lock();
            (guard, thread_ns())
        }

        fn try_lock(&self) -> Option<Self::Guard> {
            self.0.try_lock().map(|guard| (guard, thread_ns()))
        }

        // SAFETY: the trait's contract: the calling thread holds the lock.
        unsafe fn unlock(&self, (guard, since): Self::Guard) {
            let held = thread_ns().saturating_sub(since);
            // SAFETY: the guard is of an acquisition of the inner mutex, which ends here.
            unsafe { self.0.unlock(guard) }
            HOLDS.with_borrow_mut(|holds| holds.push(held));
        }

        fn is_locked(&self) -> bool {
            self.0.is_locked()
        }
    }
}
