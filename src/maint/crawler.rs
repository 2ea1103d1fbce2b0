//! The handle through which sessions use the crawler: requests, and figures for `stats`.
//!
//! Owns one pending request and the figures. No caller waits here: a request is stored in atomics and the chores
//! thread is woken. Knows no protocol. Sessions and `stats` call it; `sweep` serves it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use std::thread::Thread;

/// A handle to the crawler, shared by all sessions.
#[derive(Default)]
pub struct Crawler {
    /// A requested run is pending or in progress.
    asked: AtomicBool,
    /// Classes of the pending request, one bit each; 0 = none pending.
    classes: AtomicU64,
    /// Items per class of the pending request, 0 = all.
    limit: AtomicU32,
    /// The chores thread is in an automatic run.
    automatic: AtomicBool,
    starts: AtomicU64,
    thread: OnceLock<Thread>,
}

/// A session's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CrawlRequest {
    pub classes: u64,
    pub limit: u32,
}

impl Crawler {
    /// Requests a run through `classes` (one bit each, at least one), of at most `limit` items per class (0 = all).
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

    /// Counts a run, including one outside the crawler: a dump.
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

    /// Whether a run is pending or in progress.
    pub fn is_running(&self) -> bool {
        self.asked.load(Acquire) || self.automatic.load(Relaxed)
    }

    /// Registers the calling thread as the one that serves requests.
    pub(super) fn serve_here(&self) {
        // Only the first thread is registered; a second one would only be woken later.
        let _ = self.thread.set(std::thread::current());
    }

    /// Takes the pending request; it is in progress from now on.
    pub(super) fn take(&self) -> Option<CrawlRequest> {
        if self.classes.load(Relaxed) == 0 {
            return None;
        }
        let classes = self.classes.swap(0, Acquire);
        Some(CrawlRequest { classes, limit: self.limit.load(Relaxed) })
    }

    /// Ends the request that was taken.
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
        assert_eq!(crawler.take(), Some(CrawlRequest { classes: 6, limit: 10 }));
        assert_eq!(crawler.take(), None);
        assert!(!crawler.crawl(2, 0), "one is under way");
        crawler.done();
        assert!(!crawler.is_running());
        assert!(crawler.crawl(2, 0));
        assert_eq!(crawler.starts(), 2);
    }
}
