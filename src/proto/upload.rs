//! An incomplete value upload.
//!
//! Owns the reservation, counts missing bytes and carries, as plain data, what the command's end needs. Knows no
//! protocol: the session fills an upload, from the input or directly from the socket, and passes a complete one to the
//! protocol of its [`Finish`].

use crate::cache::{Key, Storage};
use crate::stats::CommandKind;
use crate::store::{Mode, OutOfMemory, Reservation};

/// Storage command that is carried out once its value is complete.
pub(super) enum Finish {
    /// A storage line; two bytes follow the value.
    Text(TextSet),
    /// An `ms` line and its flags; two bytes follow the value.
    Meta(PendingSet, Box<[u8]>),
    /// A storage packet; nothing follows the value.
    Packet(PacketSet),
}

impl Finish {
    /// Kind of the command.
    pub fn kind(&self) -> CommandKind {
        match self {
            Self::Text(set) => store_kind(set.mode),
            Self::Meta(..) => CommandKind::MetaSet,
            Self::Packet(set) => store_kind(set.mode),
        }
    }
}

/// Kind of a storage command.
#[inline]
pub(super) fn store_kind(mode: Mode) -> CommandKind {
    match mode {
        Mode::Set => CommandKind::Set,
        Mode::Add => CommandKind::Add,
        Mode::Replace => CommandKind::Replace,
        Mode::Append => CommandKind::Append,
        Mode::Prepend => CommandKind::Prepend,
        Mode::Cas => CommandKind::Cas,
    }
}

/// A storage line that waits for its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextSet {
    /// The verb.
    pub mode: Mode,
    /// CAS id to compare with.
    pub compare: u64,
    /// No reply is sent.
    pub noreply: bool,
}

/// An `ms` line that waits for its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingSet {
    /// Mode and conditions.
    pub set: Storage,
    /// Value length in bytes.
    pub vlen: usize,
    /// The key was given as base64.
    pub base64: bool,
    /// Omit the reply to success.
    pub quiet: bool,
}

/// A packet that waits for its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketSet {
    /// The packet's opcode.
    pub opcode: u8,
    /// Opaque value, echoed in the reply.
    pub opaque: [u8; 4],
    /// The verb.
    pub mode: Mode,
    /// CAS id to compare with.
    pub compare: u64,
}

/// An incomplete value upload.
pub struct Upload {
    /// `None` after an allocation failed: the rest is discarded.
    pub(super) reservation: Option<Reservation>,
    /// Value bytes that have not arrived.
    missing: usize,
    /// Bytes that follow the value and are not stored.
    pub(super) end: [u8; 2],
    end_len: usize,
    pub(super) key: Box<[u8]>,
    pub(super) finish: Finish,
}

impl Upload {
    /// An upload of which nothing has arrived.
    pub(super) fn new(reservation: Reservation, key: &Key<'_>, finish: Finish) -> Self {
        Self {
            missing: reservation.missing(),
            reservation: Some(reservation),
            end: [0; 2],
            end_len: 0,
            key: key.bytes().into(),
            finish,
        }
    }

    /// Number of bytes that follow the value.
    fn end_size(&self) -> usize {
        match self.finish {
            Finish::Text(_) | Finish::Meta(..) => self.end.len(),
            Finish::Packet(_) => 0,
        }
    }

    /// Consumes received bytes and returns how many; [`Upload::is_complete`] is true once the upload is complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.missing);
        self.write(&bytes[..n]);
        let rest = &bytes[n..];
        let ends = if self.missing == 0 { rest.len().min(self.end_size() - self.end_len) } else { 0 };
        self.end[self.end_len..self.end_len + ends].copy_from_slice(&rest[..ends]);
        self.end_len += ends;
        n + ends
    }

    fn write(&mut self, bytes: &[u8]) {
        self.missing -= bytes.len();
        if let Some(reservation) = &mut self.reservation
            && reservation.write(bytes) == Err(OutOfMemory)
        {
            self.reservation = None;
        }
    }

    /// Whether the value and the bytes that follow it have arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0 && self.end_len == self.end_size()
    }

    /// Memory for the next value bytes, if at least `DIRECT_READ_MIN` bytes are missing: only then does a direct read
    /// pay.
    pub(super) fn target(&mut self) -> Option<&mut [u8]> {
        if self.missing < crate::limits::DIRECT_READ_MIN {
            return None;
        }
        if self.reservation.as_mut()?.target().is_err() {
            self.reservation = None;
        }
        self.reservation.as_mut()?.target().ok()
    }

    /// Records that `n` bytes were written to [`Upload::target`].
    pub(super) fn advance(&mut self, n: usize) {
        if let Some(reservation) = &mut self.reservation {
            reservation.advance(n);
            self.missing -= n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Family;
    use crate::clock::Clock;
    use crate::clock::Expiry;
    use crate::proto::{Cx, Shared};
    use crate::settings::Settings;
    use crate::stats::Counters;
    use crate::store::Meta;

    const VALUE: &[u8] = b"twelve bytes";

    /// Feeds `bytes` to an upload in parts of `size` bytes; returns the bytes that it took.
    fn feed(upload: &mut Upload, bytes: &[u8], size: usize) -> usize {
        let mut taken = 0;
        for part in bytes.chunks(size) {
            taken += upload.take(part);
            if upload.is_complete() {
                break;
            }
        }
        taken
    }

    #[test]
    fn a_value_and_its_end_arrive_in_parts_of_any_size() {
        let settings = Settings { num_threads: 1, ..Settings::default() };
        let shared = Shared::new(settings, Clock::manual(0), Box::new(|_| ())).unwrap();
        let counters = Counters::default();
        let cx = Cx::new(&shared, &counters, 0);
        let key = Key::new(b"key").unwrap();
        let meta = Meta { klen: 3, vlen: VALUE.len(), flags: 0, expiry: Expiry::Never, iflags: 0, cas: 0 };
        let storage = Storage::new(Family::Classic, Mode::Set, 0);
        let line = || Finish::Text(TextSet { mode: Mode::Set, compare: 0, noreply: false });
        let packet = || Finish::Packet(PacketSet { opcode: 1, opaque: [0; 4], mode: Mode::Set, compare: 0 });
        let rest = [VALUE, b"\r\nget key\r\n"].concat();
        for size in 1..=rest.len() {
            for (finish, end) in [(line(), &b"\r\n"[..]), (packet(), b"")] {
                let reservation = cx.verbs().reserve(&key, &meta, &storage).unwrap();
                let mut upload = Upload::new(reservation, &key, finish);
                let whole = VALUE.len() + end.len();
                assert_eq!(feed(&mut upload, &rest[..whole - 1], size), whole - 1);
                assert!(!upload.is_complete());
                assert_eq!(feed(&mut upload, &rest[whole - 1..], size), 1, "nothing of the next command");
                assert!(upload.is_complete());
                assert_eq!((&upload.end[..end.len()], &*upload.key), (end, &b"key"[..]));
                assert_eq!(upload.reservation.unwrap().missing(), 0);
            }
        }
    }
}
