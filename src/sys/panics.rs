//! What becomes of a panic: the process ends with a core file, unless the code that panicked is [`contain`]ed and holds
//! no lock of the store.
//!
//! Owns the hook, which runs where the panic is, before anything is unwound: it says what happened and counts it. A
//! panic under a lock of the store may have left a class or a bucket half changed, and a thread that would end in silence
//! takes work with it that nothing else does; both end the process at once. docs/architecture.md lists the threads.
//!
//! `main` installs the hook. A process without it (tests) has the usual one: then [`contain`] catches and nothing ends.

use super::stderr;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long the last words may take when no reader takes them.
const LAST_WORDS: Duration = Duration::from_millis(100);

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Calls of [`contain`] that the thread is in.
    static CONTAINED: Cell<u32> = const { Cell::new(0) };
    /// Locks of the store that the thread holds.
    static LOCKS: Cell<u32> = const { Cell::new(0) };
}

/// Has panics judged from now on.
pub fn install() {
    set_hook(Box::new(judge));
}

/// Panics since the start, the contained ones.
pub fn count() -> u64 {
    COUNT.load(Relaxed)
}

/// Runs `work` and catches its panic, after which the caller must be able to go on. [`Err`] says that it panicked; that
/// was told and counted.
pub fn contain<R>(work: impl FnOnce() -> R) -> Result<R, Panicked> {
    CONTAINED.set(CONTAINED.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(CONTAINED.get() - 1);
    result.map_err(|_| Panicked)
}

/// What was contained has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// Ends the process with a core file after `words`: a thread cannot go on.
pub fn fatal(words: fmt::Arguments<'_>) -> ! {
    end(&format!("{words}\n"))
}

/// Says that the thread takes a lock of the store.
#[inline]
pub fn lock_taken() {
    LOCKS.set(LOCKS.get() + 1);
}

/// Says that it gives the lock back.
#[inline]
pub fn lock_released() {
    LOCKS.set(LOCKS.get() - 1);
}

fn judge(info: &PanicHookInfo<'_>) {
    let is_locked = LOCKS.get() > 0;
    let line = describe(info);
    if CONTAINED.get() > 0 && !is_locked {
        COUNT.fetch_add(1, Relaxed);
        stderr::write(line.as_bytes());
        return;
    }
    let why = if is_locked { "a lock of the store is held" } else { "the thread cannot go on" };
    end(&format!("{line}oxcached ends: {why}\n"));
}

/// Thread, place and message; with `RUST_BACKTRACE` how the thread came there.
fn describe(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let message = info.payload_as_str().unwrap_or("no message");
    let mut text = format!("thread '{}' panicked at {place}: {message}\n", thread.name().unwrap_or("unnamed"));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("{backtrace}\n"));
    }
    text
}

fn end(words: &str) -> ! {
    // What was said before comes first, if there is a reader. The thread itself may hold the queue, hence the bounds.
    stderr::flush(stderr::LINGER);
    stderr::write_now(words.as_bytes(), LAST_WORDS);
    std::process::abort()
}

/// A place at which a test has a thread panic: once, when the environment names it. Not in release builds.
#[inline]
pub fn trap(_place: &str) {
    #[cfg(debug_assertions)]
    trap::spring(_place);
}

#[cfg(debug_assertions)]
mod trap {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    static PLACE: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("OXCACHED_TRAP").ok());
    static SPRUNG: AtomicBool = AtomicBool::new(false);

    pub(super) fn spring(place: &str) {
        let is_set = PLACE.as_deref() == Some(place);
        assert!(!is_set || SPRUNG.swap(true, Relaxed), "the trap `{place}`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_contained_gives_its_result_or_its_panic() {
        assert_eq!(contain(|| 7), Ok(7));
        let nested = contain(|| contain(|| panic!("inner")).is_err());
        assert_eq!((nested, CONTAINED.get()), (Ok(true), 0));
    }
}
