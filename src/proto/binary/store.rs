//! Set, add, replace, append, prepend.
//!
//! Owns how a packet becomes a stored value. A complete value is stored at once; for an incomplete one the
//! reservation becomes an [`Upload`] that the session fills.

use super::{AfterPacket, PacketResult, Run, Status};
use crate::cache::{Key, Refused};
use crate::proto::upload::{Origin, Upload};
use crate::proto::{Cx, Output};
use crate::store::{Meta, Mode, Reservation, Stored};

/// Set, add and replace; with a CAS id each is a compare-and-swap.
#[inline]
pub(super) fn run(run: &mut Run<'_, '_>, key: &Key<'_>, extras: &[u8], rest: &[u8], mode: Mode) -> PacketResult {
    let (mut flags, mut exptime) = (0, 0);
    if let Some([f0, f1, f2, f3, e0, e1, e2, e3]) = extras.first_chunk::<8>() {
        flags = u32::from_be_bytes([*f0, *f1, *f2, *f3]);
        exptime = run.cx.shared.clock.expiry(i64::from(u32::from_be_bytes([*e0, *e1, *e2, *e3])));
    }
    let meta = Meta { klen: key.bytes().len(), vlen: run.head.value(), flags, exptime, iflags: 0, cas: 0 };
    take(run, key, rest, &meta, mode)
}

/// Append and prepend.
#[inline]
pub(super) fn run_join(run: &mut Run<'_, '_>, key: &Key<'_>, rest: &[u8], mode: Mode) -> PacketResult {
    let meta = Meta { klen: key.bytes().len(), vlen: run.head.value(), flags: 0, exptime: 0, iflags: 0, cas: 0 };
    take(run, key, rest, &meta, mode)
}

#[inline]
fn take(run: &mut Run<'_, '_>, key: &Key<'_>, rest: &[u8], meta: &Meta, mode: Mode) -> PacketResult {
    let mut reservation = match run.verbs.reserve(key, meta, mode) {
        Ok(reservation) => reservation,
        Err(refused) => {
            match refused {
                Refused::TooLarge => run.fail(Status::TooLarge),
                Refused::NoMemory => run.fail_saying(Status::NoMemory, "Out of memory allocating item"),
            }
            return PacketResult::past(meta.vlen, rest.len());
        }
    };
    // Without CAS ids (-C) a requested one is ignored.
    let compare = if run.verbs.cache.use_cas { run.head.cas } else { 0 };
    let swaps = compare != 0 && !matches!(mode, Mode::Append | Mode::Prepend);
    let mode = if swaps { Mode::Cas } else { mode };
    if rest.len() < meta.vlen {
        let mut upload = Upload::new(reservation, key, Origin::Binary(run.head, mode, compare));
        let used = upload.take(rest);
        return PacketResult { used, next: AfterPacket::Upload(Box::new(upload)) };
    }
    let written = reservation.write(&rest[..meta.vlen]);
    commit(run, written.is_ok().then_some(reservation), key, mode, compare);
    PacketResult { used: meta.vlen, next: AfterPacket::Packet }
}

/// Finishes a packet after its upload is complete.
pub(in crate::proto) fn finish(cx: &Cx<'_>, upload: Upload, out: &mut Output) {
    let Origin::Binary(head, mode, compare) = upload.origin else { return };
    let quiet = super::decode(head.opcode).is_some_and(|(_, quiet)| quiet);
    let mut run = Run { cx, verbs: cx.verbs(), out, head, quiet };
    let Some(key) = Key::new(&upload.key) else { return };
    commit(&mut run, upload.reservation, &key, mode, compare);
}

/// Stores the value; `None` means that memory ran out during the upload.
#[inline]
fn commit(run: &mut Run<'_, '_>, reservation: Option<Reservation>, key: &Key<'_>, mode: Mode, compare: u64) {
    let Some(reservation) = reservation else {
        return run.fail_saying(Status::NoMemory, "Out of memory during read");
    };
    let (stored, cas) = run.verbs.commit_numbered(reservation, key, mode, compare);
    match (stored, mode) {
        (Stored::Stored { .. }, _) => run.done(cas),
        (Stored::Exists, _) | (Stored::NotStored | Stored::NoMemory, Mode::Add) => run.fail(Status::Exists),
        (Stored::NotFound, _) | (Stored::NotStored | Stored::NoMemory, Mode::Replace) => run.fail(Status::NotFound),
        (Stored::NotStored | Stored::NoMemory, _) => run.fail(Status::NotStored),
    }
}
