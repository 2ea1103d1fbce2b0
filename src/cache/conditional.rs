//! Verbs that compare a CAS id (`delete`) or create a number on a miss (`incr`, `decr`), for the binary protocol.
//!
//! Owns their rules only. Hits and misses are counted as for the text verbs, except a CAS mismatch and a created
//! number, which count as neither. Called through [`Verbs`].

use super::{Adjust, Adjusted, Arith, ArithResult, Key, Verbs, Vivify};
use crate::stats::{ClassCounter, Counter, PrefixEvent};
use crate::store::OutOfMemory;

/// Number that arithmetic stores on a miss.
#[derive(Clone, Copy, Debug)]
pub struct Initial {
    /// The number.
    pub number: u64,
    /// Expiry time of its item.
    pub exptime: u32,
}

/// Outcome of a delete with a CAS id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Deleted {
    Deleted,
    Exists,
    NotFound,
}

impl Verbs<'_> {
    /// `delete` of the item with CAS id `compare`; 0 = any. A mismatch counts neither as hit nor as miss.
    pub fn delete_if(&self, key: &Key<'_>, compare: u64) -> Deleted {
        if self.cache.detail() {
            self.cache.prefixes.record(key.bytes(), PrefixEvent::Delete);
        }
        let found = self.visit(key, |entry| {
            if compare != 0 && compare != self.shown_cas(entry.cas()) {
                return None;
            }
            entry.unlink();
            Some(entry.class())
        });
        match self.live(found) {
            Some(Some(class)) => {
                self.counters.add_class(class, ClassCounter::DeleteHits);
                Deleted::Deleted
            }
            Some(None) => Deleted::Exists,
            None => {
                self.counters.add(Counter::DeleteMisses, 1);
                Deleted::NotFound
            }
        }
    }

    /// Arithmetic that stores `initial` on a miss. Storing it counts neither as hit nor as miss.
    ///
    /// # Errors
    /// No memory for the new item.
    pub fn arith_or_create(&self, key: &Key<'_>, arith: Arith, initial: Initial) -> Result<ArithResult, OutOfMemory> {
        let vivify = Some((Vivify { exptime: initial.exptime, chosen: None }, initial.number));
        match self.adjust(key, Adjust { arith, touch: None, chosen: None, vivify }) {
            Adjusted::Number { number, cas, .. } => Ok(ArithResult::Number(number, cas)),
            Adjusted::Made { cas } => Ok(ArithResult::Number(initial.number, cas)),
            Adjusted::NotMade => Err(OutOfMemory),
            Adjusted::Refused(sum) => Ok(sum),
        }
    }
}
