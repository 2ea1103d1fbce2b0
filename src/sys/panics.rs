//! Panic policy: a panic ends the process with a core file, unless the panicking code is [`contain`]ed and holds no
//! lock of the store.
//!
//! Owns the hook, which runs at the place of the panic, before unwinding: it reports and counts the panic. A panic
//! under a lock of the store may leave a class or a bucket half changed, and a thread that ended silently would leave
//! its work undone; both end the process at once. docs/architecture.md lists the threads.
//!
//! `main` installs the hook. A process without it (tests) has the default one: then [`contain`] catches the panic and
//! the process continues.

use super::stderr;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Maximum time for writing the last message when standard error is not read.
const LAST_WORDS: Duration = Duration::from_millis(100);

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Depth of [`contain`] calls of the thread.
    static CONTAINED: Cell<u32> = const { Cell::new(0) };
    /// Locks of the store that the thread holds.
    static LOCKS: Cell<u32> = const { Cell::new(0) };
}

/// Installs the hook.
pub fn install() {
    set_hook(Box::new(judge));
}

/// Number of contained panics since the start.
pub fn count() -> u64 {
    COUNT.load(Relaxed)
}

/// Runs `work` and catches its panic, after which the caller must be able to continue. On [`Err`] the panic has been
/// reported and counted.
pub fn contain<R>(work: impl FnOnce() -> R) -> Result<R, Panicked> {
    CONTAINED.set(CONTAINED.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(CONTAINED.get() - 1);
    result.map_err(|_| Panicked)
}

/// The contained code has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// Ends the process with a core file after printing `words`: a thread cannot continue.
pub fn fatal(words: fmt::Arguments<'_>) -> ! {
    end(&format!("{words}\n"))
}

/// Records that the thread takes a lock of the store.
#[inline]
pub fn lock_taken() {
    LOCKS.set(LOCKS.get() + 1);
}

/// Records that the thread releases the lock.
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

/// Reads the symbols of the program, if panics are reported with backtraces: a thread in a sandbox cannot open files.
pub fn load_symbols() {
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        trap("symbols");
        // Symbols are looked up when the text is made, and stay in memory.
        drop(backtrace.to_string());
    }
}

/// Thread, place and message; with `RUST_BACKTRACE` also the backtrace.
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
    // Earlier lines come first, if standard error is read. This thread may hold the queue's lock, so both waits are
    // bounded.
    stderr::flush(stderr::LINGER);
    stderr::write_now(words.as_bytes(), LAST_WORDS);
    std::process::abort()
}

/// Fault injection point: panics once if the environment names `_place`, or stalls there. Not in release builds.
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
        if PLACE.as_deref().and_then(|set| set.strip_prefix("stall ")) == Some(place) && !SPRUNG.swap(true, Relaxed) {
            loop {
                std::thread::park();
            }
        }
        let is_set = PLACE.as_deref() == Some(place);
        assert!(!is_set || SPRUNG.swap(true, Relaxed), "the trap `{place}`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contained_code_returns_its_result_or_its_panic() {
        assert_eq!(contain(|| 7), Ok(7));
        let nested = contain(|| contain(|| panic!("inner")).is_err());
        assert_eq!((nested, CONTAINED.get()), (Ok(true), 0));
    }
}
