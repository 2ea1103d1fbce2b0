//! Delete, increment, decrement.
//!
//! Owns their replies; `cache` owns the rules. Called by the dispatcher of this directory.

use super::header::Parts;
use super::reply::{PacketRun, Status};
use crate::cache::{Arith, ArithResult, Deleted, Initial, Key};

/// Expiry time with which arithmetic creates no item.
const NO_CREATION: u32 = u32::MAX;

pub(super) fn delete(run: &mut PacketRun<'_, '_>, key: &Key<'_>) {
    match run.verbs.delete_if(key, run.head.cas) {
        Deleted::Deleted => run.done(0),
        Deleted::Exists => run.fail(Status::Exists),
        Deleted::NotFound => run.fail(Status::NotFound),
    }
}

/// `initial` and `exptime` are those of an item created on a miss.
pub(super) fn arith(run: &mut PacketRun<'_, '_>, key: &Key<'_>, arith: Arith, initial: u64, exptime: u32) {
    let sum = if exptime == NO_CREATION {
        Ok(run.verbs.arith(key, arith))
    } else {
        let expiry = run.cx.shared.clock.expiry(i64::from(exptime));
        run.verbs.arith_or_create(key, arith, Initial { number: initial, expiry })
    };
    let Ok(sum) = sum else {
        return run.fail_saying(Status::NoMemory, "Out of memory allocating new item");
    };
    match sum {
        ArithResult::Number(number, cas) => {
            if !run.quiet {
                let cas = if run.verbs.cache.use_cas { cas } else { 0 };
                run.begin_reply(&Parts { body: 8, cas, ..Parts::default() });
                run.out.put(&number.to_be_bytes());
            }
        }
        ArithResult::NonNumeric => run.fail(Status::NonNumeric),
        ArithResult::NoMemory => run.fail_saying(Status::NoMemory, "Out of memory incrementing value"),
        ArithResult::NotFound => run.fail(Status::NotFound),
        ArithResult::Exists => run.fail(Status::Exists),
    }
}
