//! Get, get and touch, touch: with key or without, with value or without.
//!
//! Owns their replies: flags as extras, then the key if it was asked for, then the value. A quiet miss is
//! silent, a quiet hit is not.

use super::header::{Parts, SIZE};
use super::{Run, Status, trace};
use crate::cache::Key;
use crate::limits::COPY_MAX;
use crate::store::Entry;

/// Which of the family it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Hits get the expiry time of the extras.
    pub touch: bool,
    /// The reply carries the key.
    pub key: bool,
    /// The reply carries the value.
    pub value: bool,
}

/// Bytes of the extras of a hit.
const EXTRAS: usize = 4;

#[inline]
pub(super) fn run(run: &mut Run<'_, '_>, key: &Key<'_>, extras: &[u8], kind: Kind) {
    // Expiry times are not signed here: the largest is a date far off.
    let exptime = extras.first_chunk().map(|bytes| run.cx.shared.clock.expiry(i64::from(u32::from_be_bytes(*bytes))));
    let verbs = run.verbs;
    let start = run.out.bytes().len();
    let found = verbs.fetch(key, exptime, |entry| {
        run.out.bytes().truncate(start);
        hit(run, key, entry, kind);
    });
    if found.is_none() {
        run.out.bytes().truncate(start);
        if !run.quiet {
            miss(run, key, kind);
        }
    } else if run.cx.verbose() > 1
        && let Some(header) = run.out.bytes()[start..].first_chunk::<SIZE>()
    {
        trace::reply(run.cx.fd, header);
    }
}

#[inline]
fn hit(run: &mut Run<'_, '_>, key: &Key<'_>, entry: &Entry, kind: Kind) {
    let shown_key = if kind.key { key.bytes() } else { &[] };
    let vlen = if kind.value { entry.vlen() } else { 0 };
    let header = run.head.reply(&Parts {
        status: 0,
        extras: EXTRAS as u8,
        key: shown_key.len() as u16,
        body: (EXTRAS + shown_key.len() + vlen) as u32,
        cas: run.verbs.shown_cas(entry.cas()),
    });
    let bytes = run.out.bytes();
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&entry.flags().to_be_bytes());
    bytes.extend_from_slice(shown_key);
    if vlen == 0 {
        return;
    }
    if vlen <= COPY_MAX {
        entry.copy_value(bytes);
    } else if let Some(value) = entry.pin() {
        run.out.pin(value);
    }
}

/// A miss that has to show its key shows nothing else.
fn miss(run: &mut Run<'_, '_>, key: &Key<'_>, kind: Kind) {
    if !kind.key {
        return run.fail(Status::NotFound);
    }
    let len = key.bytes().len() as u16;
    run.begin_reply(&Parts { status: Status::NotFound as u16, key: len, body: len.into(), ..Parts::default() });
    run.out.put(key.bytes());
}
