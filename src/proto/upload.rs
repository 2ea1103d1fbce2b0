//! An incomplete value upload.
//!
//! Owns the reservation and counts missing bytes; carries what its protocol needs to finish the command. The session
//! fills it, from the input or directly from the socket.

use super::{binary, meta};
use crate::cache::Key;
use crate::store::{Mode, OutOfMemory, Reservation};

/// Protocol command that an upload belongs to.
pub(super) enum Origin {
    /// A storage line; two bytes follow the value.
    Text {
        /// The verb.
        mode: Mode,
        /// CAS id to compare with.
        compare: u64,
        /// No reply is sent.
        noreply: bool,
    },
    /// An `ms` line with its flags; two bytes follow the value.
    Meta(meta::PendingSet, Box<[u8]>),
    /// A packet with this header, its verb and the CAS id to compare with.
    Binary(binary::Head, Mode, u64),
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
    pub(super) origin: Origin,
}

impl Upload {
    /// An upload of which nothing has arrived.
    pub(super) fn new(reservation: Reservation, key: &Key<'_>, origin: Origin) -> Self {
        Self {
            missing: reservation.missing(),
            reservation: Some(reservation),
            end: [0; 2],
            end_len: 0,
            key: key.bytes().into(),
            origin,
        }
    }

    /// Number of bytes that follow the value.
    fn end_size(&self) -> usize {
        match self.origin {
            Origin::Text { .. } | Origin::Meta(..) => self.end.len(),
            Origin::Binary(..) => 0,
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
