//! Get, get-and-touch, touch: with or without key, with or without value.
//!
//! Owns their replies: flags as extras, then the key if requested, then the value. A quiet command suppresses the reply
//! to a miss, not to a hit. Called by the dispatcher of this directory.

use super::cluster;
use super::header::{Parts, SIZE};
use super::parse::Shown;
use super::reply::{PacketRun, Status};
use super::trace;
use crate::cache::{Fetched, Key};
use crate::clock::Expiry;
use crate::cluster::KEY;
use crate::limits::COPY_MAX;
use crate::proto::late::{self, LateRequest};
use crate::store::Entry;

/// Length of the extras of a hit.
const EXTRAS: usize = 4;

/// Runs the command; `touch` is the expiry time that a hit gets.
#[inline]
pub(super) fn run(run: &mut PacketRun<'_, '_>, key: &Key<'_>, touch: Option<Expiry>, shown: Shown) {
    let verbs = run.verbs;
    let start = run.out.bytes().len();
    let found = verbs.fetch(key, touch, |entry| {
        run.out.bytes().truncate(start);
        hit(run, key, entry, shown);
    });
    if !matches!(found, Fetched::Hit(())) {
        run.out.bytes().truncate(start);
    }
    run.cx.note_sent(key.bytes(), run.out);
    if let Fetched::Pending(load) = found {
        let (opcode, opaque) = (run.head.opcode, run.head.opaque);
        let request = LateRequest::Packet { opcode, opaque, key: key.bytes().into(), touch };
        if !run.out.wait(run.cx.waits, load, request) {
            run.fail_saying(Status::Busy, late::REFUSED);
        }
    } else if matches!(found, Fetched::Miss) {
        let is_named = key.bytes().len() == KEY.len() && touch.is_none();
        let is_answered = is_named && cluster::answer(run, key.bytes(), shown.key);
        if !is_answered && !run.quiet {
            miss(run, key, shown);
        }
    } else if run.cx.verbose() > 1
        && let Some(header) = run.out.bytes()[start..].first_chunk::<SIZE>()
    {
        trace::reply(run.cx.fd, header);
    }
}

#[inline]
fn hit(run: &mut PacketRun<'_, '_>, key: &Key<'_>, entry: &Entry, shown: Shown) {
    let shown_key = if shown.key { key.bytes() } else { &[] };
    let vlen = if shown.value { entry.vlen() } else { 0 };
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

/// Replies to a miss: with the key alone if the key was requested.
fn miss(run: &mut PacketRun<'_, '_>, key: &Key<'_>, shown: Shown) {
    if !shown.key {
        return run.fail(Status::NotFound);
    }
    let len = key.bytes().len() as u16;
    run.begin_reply(&Parts { status: Status::NotFound as u16, key: len, body: len.into(), ..Parts::default() });
    run.out.put(key.bytes());
}
