//! Points at which a simulation lets other actors go first.
//!
//! Between two steps of an operation that hold no lock together, other threads may do anything. A simulation with one
//! thread has no such moments but these: a call of [`point`] runs the hook of the calling thread, if there is one. The
//! hook may use the store and other sessions; a point that is reached within it does nothing.
//!
//! Must not be called with a lock held. Release builds have no hooks, and calls cost nothing. Knows no other module;
//! called by `cache`, `stats`, `proto` and the store, set by `tests/simulate`.

#[cfg(debug_assertions)]
use std::cell::RefCell;

/// What a point calls: the name of the point is for reports.
pub type Hook = Box<dyn FnMut(&'static str)>;

#[cfg(debug_assertions)]
thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Other actors may go first here.
#[inline(always)]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    run(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
fn run(name: &'static str) {
    let Some(mut hook) = HOOK.with_borrow_mut(Option::take) else { return };
    hook(name);
    HOOK.set(Some(hook));
}

/// Sets or removes the hook of the calling thread; false where hooks do not exist.
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
        set_hook(Some(Box::new(move |_| {
            seen.set(seen.get() + 1);
            point("within");
        })));
        point("one");
        point("two");
        set_hook(None);
        point("after");
        assert_eq!(count.get(), 2);
    }
}
