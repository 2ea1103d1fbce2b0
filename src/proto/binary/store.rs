//! Set, add, replace, append, prepend.
//!
//! Owns how a packet becomes a stored value. A complete value is stored at once; for an incomplete one the reservation
//! becomes an upload, which the session fills and returns to [`finish`]. Called by the dispatcher of this directory.

use super::header::Head;
use super::reply::{PacketRun, Status};
use crate::cache::{Family, Key, Refused, Storage};
use crate::proto::command_result::CommandResult;
use crate::proto::upload::{Finish, PacketSet};
use crate::proto::{Cx, Output};
use crate::store::{Meta, Mode, Reservation, Stored};

/// Stores a value; with a CAS id, set, add and replace are a compare-and-swap.
#[inline]
pub(super) fn run(run: &mut PacketRun<'_, '_>, key: &Key<'_>, rest: &[u8], meta: &Meta, mode: Mode) -> CommandResult {
    let mut reservation = match run.verbs.reserve(key, meta, &Storage::new(Family::Binary, mode, 0)) {
        Ok(reservation) => reservation,
        Err(refused) => {
            match refused {
                Refused::TooLarge => run.fail(Status::TooLarge),
                Refused::NoMemory => run.fail_saying(Status::NoMemory, "Out of memory allocating item"),
            }
            return CommandResult::past(meta.vlen, rest.len());
        }
    };
    // Without CAS ids (-C) a requested one is ignored.
    let compare = if run.verbs.cache.use_cas { run.head.cas } else { 0 };
    let swaps = compare != 0 && !matches!(mode, Mode::Append | Mode::Prepend);
    let mode = if swaps { Mode::Cas } else { mode };
    if rest.len() < meta.vlen {
        let set = PacketSet { opcode: run.head.opcode, opaque: run.head.opaque, mode, compare };
        return CommandResult::upload(reservation, key, Finish::Packet(set), rest);
    }
    let written = reservation.write(&rest[..meta.vlen]);
    commit(run, written.is_ok().then_some(reservation), key, mode, compare);
    CommandResult::stored(meta.vlen)
}

/// Finishes a packet after its upload is complete.
pub(in crate::proto) fn finish(
    cx: &Cx<'_>,
    set: PacketSet,
    key: &Key<'_>,
    full: Option<Reservation>,
    out: &mut Output,
) {
    let PacketSet { opcode, opaque, mode, compare } = set;
    commit(&mut PacketRun::new(cx, Head::echo(opcode, opaque), out), full, key, mode, compare);
}

/// Stores the value; `None` means that memory ran out during the upload.
#[inline]
fn commit(run: &mut PacketRun<'_, '_>, reservation: Option<Reservation>, key: &Key<'_>, mode: Mode, compare: u64) {
    let Some(reservation) = reservation else {
        return run.fail_saying(Status::NoMemory, "Out of memory during read");
    };
    let (stored, cas) = run.verbs.commit(reservation, key, &Storage::new(Family::Binary, mode, compare));
    run.cx.note_stored(key.bytes(), stored);
    match (stored, mode) {
        (Stored::Stored { .. }, _) => run.done(cas),
        (Stored::Exists, _) | (Stored::NotStored | Stored::NoMemory, Mode::Add) => run.fail(Status::Exists),
        (Stored::NotFound, _) | (Stored::NotStored | Stored::NoMemory, Mode::Replace) => run.fail(Status::NotFound),
        (Stored::NotStored | Stored::NoMemory, _) => run.fail(Status::NotStored),
    }
}
