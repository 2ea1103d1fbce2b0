//! A second, slower place for items: memory holds what was used last, the backing what was stored.
//!
//! Owns what commands ask of a backing, and how the end of a load or a commit is reported. Knows neither protocols nor
//! threads. Called by `Verbs` on a miss, and by the sessions before and after a command that may change an item;
//! without a backing a miss costs one more branch, and a hit nothing.
//!
//! ```text
//! a fetch misses            load     None: a miss; Some: the command waits for the load's end, then runs again
//! before a change           admit    Granted: run it; Full: wait, ask again; Refused: reply an error
//! after a change            take_commit, when_committed
//!                                    None: reply now; a number: reply when that commit has ended, or an error
//! ```

use super::Key;

/// What keeps items behind the cache. It learns of changes as the store's [`ChangeSink`](crate::store::ChangeSink).
/// Every function is called on the thread of a worker: none may block.
pub trait Backing: Send + Sync {
    /// Begins to load the item of `key` into the store; `None` if the backing has no such item.
    fn load(&self, key: &Key<'_>) -> Option<Load>;

    /// Whether the calling thread may run a command that changes items.
    fn admit(&self) -> Admission {
        Admission::Granted
    }

    /// Whether replies to changes wait for commits. A request whose reply cannot wait is refused then.
    fn replies_wait(&self) -> bool {
        false
    }

    /// The commit that covers every change that the calling thread has made since its last call; `None` if it made
    /// none, or if replies do not wait for commits.
    fn take_commit(&self) -> Option<CommitNumber> {
        None
    }

    /// Calls `report` once the commit has ended, at once if it has: on any thread, possibly before this call returns.
    fn when_committed(&self, commit: CommitNumber, report: CommitReport) {
        let _ = commit;
        report(Committed::Durable);
    }
}

/// Answer to a command that is about to change items.
pub enum Admission {
    /// It may run.
    Granted,
    /// The changes that are not yet written have reached their bound. The command asks again once the load has ended.
    Full(Load),
    /// The backing cannot keep changes now. The command must reply [`NOT_KEPT`], and change nothing.
    Refused,
}

/// Text of the error when a change could not be made durable.
pub const NOT_KEPT: &str = "SERVER_ERROR the item could not be stored durably";

/// Number of a commit. Commits end in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitNumber(pub u64);

/// Outcome of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Its changes are durable.
    Durable,
    /// Its changes are not durable, and memory no longer holds their items: the next fetch loads those from before.
    Failed,
}

/// Receives the outcome of a commit.
pub type CommitReport = Box<dyn FnOnce(Committed) + Send>;

/// Work of the backing that a command waits for: a load, or room for changes. Loads of one key may share their work;
/// each has a completion of its own.
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

/// Reports the end of a load when it is dropped, so that a backing that dies leaves no command waiting.
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
    /// The backing is loading the item; the fetch was not counted. The command runs again once the load has ended.
    Pending(Load),
}
