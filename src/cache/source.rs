//! A second place to look for items that memory does not hold.
//!
//! Owns what the cache asks of such a place and how the end of a load is reported. Knows neither protocols nor threads.
//! Called by `Verbs` on a miss; without a source a miss costs one more branch, and a hit nothing.

use super::Key;

/// A slower store behind the cache.
pub trait Source: Send + Sync {
    /// Begins to load the item of `key` into the store; `None` if the source has no such item. Called on the thread of
    /// a worker: it must not block.
    fn load(&self, key: &Key<'_>) -> Option<Load>;
}

/// A load in progress. Loads of one key may share their work; each has a completion of its own.
pub struct Load(Box<dyn FnOnce(Completion) + Send>);

impl Load {
    /// A load that passes its completion to `subscribe`, which keeps it until the load has ended, with the item or
    /// without.
    pub fn new(subscribe: impl FnOnce(Completion) + Send + 'static) -> Self {
        Self(Box::new(subscribe))
    }

    /// Reports the end of the load to `completion`, at once if it has ended.
    pub fn then(self, completion: Completion) {
        (self.0)(completion);
    }
}

/// Reports the end of a load when it is dropped, so that a source that dies leaves no command waiting.
pub struct Completion(Option<Box<dyn FnOnce() + Send>>);

impl Completion {
    /// A completion that calls `report`, once, on the thread that drops it.
    pub fn new(report: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(report)))
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(report) = self.0.take() {
            report();
        }
    }
}

/// Result of a fetch.
pub enum Fetched<R> {
    /// A live item, and what `show` returned.
    Hit(R),
    /// No item.
    Miss,
    /// The source is loading the item; the fetch was not counted. The command runs again once the load has ended.
    Pending(Load),
}
