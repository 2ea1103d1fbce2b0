//! Counts of cache lines that an operation writes and that other threads read or write too.
//!
//! Such a write takes the line from all other cores, so the lines written by an operation say how it scales, on any
//! number of cores: docs/scaling.md. With the feature `count-lines` each write calls [`wrote`], and
//! `take_lines` returns the number of different lines since the last call. Without it nothing is counted, and the
//! calls cost nothing. Knows no other module; called by the store, read by `benches/store`.

/// What a written cache line holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shared {
    /// A bucket of the index, with its lock and version, or an overflow line.
    Bucket,
    /// A chunk: an item's header, key and value, or the links of a free chunk.
    Item,
    /// The lock of a class, a magazine, the page pool or the overflow lines.
    Lock,
    /// What a class's lock protects: counters, free lists, clock hands, histograms.
    Class,
    /// Entries of a class's queues.
    Queue,
    /// Lock-free statistics of a class.
    Stats,
    /// The last CAS id.
    Ids,
}

impl Shared {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Bucket, Self::Item, Self::Lock, Self::Class, Self::Queue, Self::Stats, Self::Ids];
}

/// Notes that the calling thread has written `what`, or is about to. The argument must not panic: it is computed in
/// every build, unless the compiler finds that it has no effect.
#[inline(always)]
pub fn wrote<T: ?Sized>(_kind: Shared, _what: &T) {
    #[cfg(feature = "count-lines")]
    counting::note(_kind, _what);
}

#[cfg(feature = "count-lines")]
pub use counting::take_lines;

#[cfg(feature = "count-lines")]
mod counting {
    use super::Shared;
    use std::cell::RefCell;
    use std::collections::HashSet;

    /// Bytes of a cache line.
    const LINE: usize = 64;

    thread_local! {
        /// Lines written since the last `take_lines`.
        static WRITTEN: RefCell<HashSet<(usize, Shared)>> = RefCell::default();
    }

    pub fn note<T: ?Sized>(kind: Shared, what: &T) {
        if size_of_val(what) == 0 {
            return;
        }
        let from = std::ptr::from_ref(what).addr();
        WRITTEN.with_borrow_mut(|written| {
            written.extend((from / LINE..(from + size_of_val(what)).div_ceil(LINE)).map(|line| (line, kind)));
        });
    }

    /// Number of different lines of each kind, in the order of [`Shared::ALL`], that the calling thread has written
    /// since the last call.
    pub fn take_lines() -> [u64; Shared::ALL.len()] {
        let mut lines = [0; Shared::ALL.len()];
        WRITTEN.with_borrow_mut(|written| written.drain().for_each(|(_, kind)| lines[kind as usize] += 1));
        lines
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_line_counts_once_however_often_it_is_written() {
            #[repr(align(64))]
            struct Aligned([u8; 3 * LINE]);
            let memory = Aligned([0; 3 * LINE]);
            take_lines();
            for _ in 0..3 {
                note(Shared::Item, &memory.0[5]);
                note(Shared::Item, &memory.0[60..70]);
                note(Shared::Item, &memory.0[5..5]);
                note(Shared::Lock, &memory.0[63]);
            }
            assert_eq!(take_lines(), [0, 2, 1, 0, 0, 0, 0]);
            note(Shared::Bucket, &memory.0);
            assert_eq!((take_lines(), take_lines()), ([3, 0, 0, 0, 0, 0, 0], [0; 7]));
        }
    }
}
