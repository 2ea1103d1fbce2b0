//! Writing behind the bytes of a `Vec`, without a check for growth at each piece.
//!
//! Owns the `unsafe` that makes the written bytes a part of the `Vec`. Knows nothing of what is written. Replies of
//! several pieces are written with it, and copies of item memory.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// Capacity behind the bytes of a `Vec`, written from front to back.
pub struct Spare<'a> {
    room: &'a mut [MaybeUninit<u8>],
    /// Bytes written; all of them are initialised.
    len: usize,
}

/// Reserves `room` bytes behind those of `out`, and appends what `write` writes there.
#[inline]
pub fn append<R>(out: &mut Vec<u8>, room: usize, write: impl FnOnce(&mut Spare<'_>) -> R) -> R {
    out.reserve(room);
    let before = out.len();
    let mut spare = Spare { room: out.spare_capacity_mut(), len: 0 };
    let result = write(&mut spare);
    let len = spare.len;
    // SAFETY: `Spare` has written the first `len` bytes behind `before`, and no more than the capacity.
    unsafe { out.set_len(before + len) };
    result
}

impl Spare<'_> {
    /// Number of bytes written.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets what was written.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Writes `bytes`.
    ///
    /// # Panics
    /// They do not fit into the room that was reserved.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.room[self.len..end].write_copy_of_slice(bytes);
        self.len = end;
    }

    /// Writes the first `len` of eight bytes, by one store: there must be room for all eight.
    ///
    /// # Panics
    /// They do not fit into the room that was reserved.
    #[inline]
    pub fn put_some(&mut self, bytes: [u8; 8], len: usize) {
        self.room[self.len..][..8].write_copy_of_slice(&bytes);
        self.len += len.min(8);
    }

    /// Writes words of eight bytes; none if they do not all fit.
    #[inline]
    pub fn put_words(&mut self, words: impl ExactSizeIterator<Item = u64>) {
        let Some(room) = self.room.get_mut(self.len..self.len + words.len() * 8) else { return };
        let mut written = 0;
        // Counted as they are written: an iterator may have fewer words than it says.
        for (place, word) in room.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes().map(MaybeUninit::new);
            written += 8;
        }
        self.len += written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_follows_the_bytes() {
        let mut out = b"before ".to_vec();
        let len = append(&mut out, 40, |spare| {
            spare.put(b"forgotten");
            spare.clear();
            assert!(spare.is_empty());
            spare.put(b"after ");
            spare.put_words([u64::from_le_bytes(*b"two word"), u64::from_le_bytes(*b"s, part ")].into_iter());
            spare.put_some(*b"of one..", 6);
            spare.len()
        });
        assert_eq!((out.as_slice(), len), (&b"before after two words, part of one"[..], 28));
        append(&mut out, 0, |_| ());
        assert_eq!(out.len(), 35);
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn no_byte_is_written_beyond_the_room() {
        let mut out = Vec::new();
        append(&mut out, 4, |spare| {
            let room = spare.room.len();
            spare.put(&vec![0; room + 1]);
        });
    }
}
