//! Simulation points: places where a simulation lets other actors run, or makes the system refuse something.
//!
//! Between two steps of an operation that share no lock, other threads may do anything. A single-threaded simulation
//! can interleave only here: a call of [`point`] runs the hook of the calling thread, if there is one. The hook may use
//! the store and other sessions; a point that is reached within it does nothing.
//!
//! A [`point`] must not be called with a lock held. Release builds have no hooks, and calls cost nothing. Knows no
//! other module; called by `stats`, `proto` and the store, set by `tests/simulate`.

#[cfg(debug_assertions)]
use std::cell::RefCell;

/// Hook of a thread. Its result counts only at [`Point::Memory`], where it may do nothing else, since locks may be
/// held.
pub type Hook = Box<dyn FnMut(Point) -> bool>;

/// Kind of point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// Other actors may run.
    Between,
    /// Memory is requested from the system; true refuses it.
    Memory,
}

#[cfg(debug_assertions)]
thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Lets other actors run. The name documents the state of the operation.
#[inline(always)]
pub fn point(_name: &'static str) {
    #[cfg(debug_assertions)]
    run(Point::Between);
}

/// Whether the simulation refuses the requested memory. May be called with locks held.
#[inline(always)]
pub fn is_memory_refused() -> bool {
    #[cfg(debug_assertions)]
    return run(Point::Memory);
    #[cfg(not(debug_assertions))]
    false
}

#[cfg(debug_assertions)]
fn run(point: Point) -> bool {
    let Some(mut hook) = HOOK.with_borrow_mut(Option::take) else { return false };
    let answer = hook(point);
    HOOK.set(Some(hook));
    answer
}

/// Sets or removes the hook of the calling thread; false in builds without hooks.
pub fn set_hook(hook: Option<Hook>) -> bool {
    #[cfg(debug_assertions)]
    HOOK.set(hook);
    #[cfg(not(debug_assertions))]
    drop(hook);
    cfg!(debug_assertions)
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn a_hook_runs_at_each_point_and_not_within_itself() {
        let count = Rc::new(Cell::new(0));
        let seen = Rc::clone(&count);
        point("before");
        set_hook(Some(Box::new(move |reached| {
            seen.set(seen.get() + 1);
            point("within");
            reached == Point::Memory
        })));
        point("one");
        point("two");
        assert!(is_memory_refused());
        set_hook(None);
        point("after");
        assert_eq!((count.get(), is_memory_refused()), (3, false));
    }
}
