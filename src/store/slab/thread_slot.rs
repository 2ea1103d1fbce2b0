//! Thread slots: small numbers, unique among living threads, that index tables of per-thread state.
//!
//! Owns the numbers, and the switch with which a simulation lets one thread act as many. Knows nothing of the tables.
//! Called by `magazine` and `slabs`.

use std::cell::{Cell, OnceCell};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Maximum number of threads with a slot.
pub const THREADS: usize = u64::BITS as usize;

/// One bit for each taken slot.
static TAKEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
    static CONTENDED: Cell<bool> = const { Cell::new(false) };
    static OWNED: OnceCell<ThreadSlot> = const { OnceCell::new() };
}

/// A thread's slot, returned when the thread ends. State left in it passes to the next thread.
struct ThreadSlot(usize);

impl Drop for ThreadSlot {
    fn drop(&mut self) {
        CURRENT.set(None);
        TAKEN.fetch_and(!(1 << self.0), Relaxed);
    }
}

/// The calling thread's slot, if it has taken one.
#[inline]
pub fn current() -> Option<usize> {
    CURRENT.get()
}

/// The calling thread's slot; takes one if it has none and one is free.
pub fn take() -> Option<usize> {
    if current().is_some() {
        return current();
    }
    let taken = TAKEN.fetch_update(Relaxed, Relaxed, |taken| (taken != u64::MAX).then(|| taken | (taken + 1))).ok()?;
    let slot = ThreadSlot(taken.trailing_ones() as usize);
    // A thread that is ending gets no slot.
    let number = OWNED.try_with(|own| own.get_or_init(|| slot).0).ok()?;
    CURRENT.set(Some(number));
    Some(number)
}

/// Makes the calling thread use slot `slot` from now on, or none, for simulations, in which one thread acts as many. If
/// `contended`, each hold of a class lock counts as one waited for, so that magazines open. No effect in release
/// builds; only for programs with one thread.
pub fn act_as(slot: Option<usize>, contended: bool) {
    if cfg!(debug_assertions) {
        CURRENT.set(slot.filter(|&slot| slot < THREADS));
        CONTENDED.set(contended);
    }
}

/// Whether an uncontended hold counts as contended.
#[inline]
pub fn is_contention_simulated() -> bool {
    cfg!(debug_assertions) && CONTENDED.get()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn slots_are_reused_after_threads_end() {
        let own = take();
        assert!(own.is_some() && own == take());
        for _ in 0..3 * THREADS {
            assert_ne!(thread::spawn(take).join().unwrap(), own);
            assert!(thread::spawn(take).join().unwrap().is_some());
        }
    }
}
