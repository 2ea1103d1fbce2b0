//! The memory kernel (placeholder until the engine lands).

use std::io::IoSlice;

/// A value that stays readable until this guard drops, however its key changes meanwhile.
pub struct Pinned {
    bytes: Vec<u8>,
    sent: usize,
}

impl Pinned {
    /// Bytes not yet written.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Appends the unwritten bytes to `slices`, at most until `slices` holds `max`.
    pub fn io_slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>, max: usize) {
        if slices.len() < max {
            slices.push(IoSlice::new(&self.bytes[self.sent..]));
        }
    }

    /// Marks `n` bytes as written; `n` is at most [`Pinned::remaining`].
    pub fn advance(&mut self, n: usize) {
        self.sent += n;
    }
}
