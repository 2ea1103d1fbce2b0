//! Counters of the durable copy.
//!
//! Owns them; written by the writer, the loading threads and the workers, read by `report`. Cold: relaxed atomics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Counters since the start or the last `stats reset`.
        #[derive(Debug, Default)]
        pub struct DurableCounts { $($(#[$doc])* pub(super) $name: AtomicU64,)* }

        /// Their values.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct DurableFigures { $($(#[$doc])* pub $name: u64,)* }

        impl DurableCounts {
            /// Reads all.
            pub fn read(&self) -> DurableFigures {
                DurableFigures { $($name: self.$name.load(Relaxed),)* }
            }

            /// Sets all to 0.
            pub fn reset(&self) {
                $(self.$name.store(0, Relaxed);)*
            }
        }
    };
}

counts! {
    /// Commits that succeeded.
    commits
    /// Commits that failed.
    errors
    /// Records written.
    puts
    /// Expiry times written.
    touches
    /// Records deleted.
    deletes
    /// Records removed after their end.
    swept
    /// Items that memory was made to forget after a failed commit.
    forgotten
    /// Loads begun.
    loads
    /// Misses that joined a load in progress.
    load_joins
    /// Loads that found a record.
    load_hits
    /// Loads that found none.
    load_misses
    /// Loads that failed.
    load_errors
    /// Loads that were repeated because the key changed meanwhile.
    load_retries
    /// Items that were loaded at the start.
    warmed
    /// Times that a command waited because the changes had reached their bound.
    queue_full
    /// Commands that were refused because changes cannot be kept.
    refused
}
