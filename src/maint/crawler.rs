//! The crawler as sessions see it: what they may ask of it, and its numbers.
//!
//! Owns one pending request and the figures of `stats`. Nobody waits here: a request is left in atomics and
//! the thread of chores is woken. Knows no protocol. Sessions and `stats` call it; `sweep` serves it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use std::thread::Thread;

/// A handle to the crawler, shared by all sessions.
#[derive(Default)]
pub struct Crawler {
    /// A run that somebody asked for is waiting or under way.
    asked: AtomicBool,
    /// Classes of the waiting request, one bit each; 0 = none waits.
    classes: AtomicU64,
    /// Items a class of the waiting request, 0 = all.
    limit: AtomicU32,
    /// The thread of chores is on a run of its own.
    automatic: AtomicBool,
    starts: AtomicU64,
    thread: OnceLock<Thread>,
}

/// What a session asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub classes: u64,
    pub limit: u32,
}

impl Crawler {
    /// Asks for a run through `classes` (one bit each, at least one), of at most `limit` items a class (0 = all).
    /// False if an earlier request is not done yet.
    pub fn crawl(&self, classes: u64, limit: u32) -> bool {
        if self.asked.swap(true, Acquire) {
            return false;
        }
        self.limit.store(limit, Relaxed);
        self.classes.store(classes, Release);
        self.note_start();
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        true
    }

    /// Counts a run, be it one that somebody else does: a dump.
    pub fn note_start(&self) {
        self.starts.fetch_add(1, Relaxed);
    }

    /// Runs since the last reset.
    pub fn starts(&self) -> u64 {
        self.starts.load(Relaxed)
    }

    /// `stats reset`.
    pub fn reset(&self) {
        self.starts.store(0, Relaxed);
    }

    /// Whether a run is waiting or under way.
    pub fn is_running(&self) -> bool {
        self.asked.load(Acquire) || self.automatic.load(Relaxed)
    }

    /// Says which thread serves the requests: the calling one.
    pub(super) fn serve_here(&self) {
        // A second server of the same handle would be a mistake that costs a delay, no more.
        let _ = self.thread.set(std::thread::current());
    }

    /// The waiting request; it is under way from now on.
    pub(super) fn take(&self) -> Option<Request> {
        if self.classes.load(Relaxed) == 0 {
            return None;
        }
        let classes = self.classes.swap(0, Acquire);
        Some(Request { classes, limit: self.limit.load(Relaxed) })
    }

    /// The request that was taken is done.
    pub(super) fn done(&self) {
        self.asked.store(false, Release);
    }

    pub(super) fn set_automatic(&self, on: bool) {
        self.automatic.store(on, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time() {
        let crawler = Crawler::default();
        assert_eq!(crawler.take(), None);
        assert!(crawler.crawl(6, 10));
        assert!(crawler.is_running());
        assert!(!crawler.crawl(2, 0), "one is waiting");
        assert_eq!(crawler.take(), Some(Request { classes: 6, limit: 10 }));
        assert_eq!(crawler.take(), None);
        assert!(!crawler.crawl(2, 0), "one is under way");
        crawler.done();
        assert!(!crawler.is_running());
        assert!(crawler.crawl(2, 0));
        assert_eq!(crawler.starts(), 2);
    }
}
