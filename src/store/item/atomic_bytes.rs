//! Bytes in atomic words.
//!
//! Owns how keys, values and numbers are read from and written to the words of a chunk: by relaxed loads and stores of
//! whole words, so that a read concurrent with a write returns torn bytes at worst. Knows neither chunk layouts nor
//! items; used by everything in item memory.

use crate::cache_lines::{Shared, wrote};
use crate::sys::spare::Spare;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Bytes of a word of item memory. Chunk strides are multiples of it.
pub const WORD: usize = size_of::<AtomicU32>();

/// Whether the bytes from word `at` on equal `key`.
#[inline]
pub fn key_equals(chunk: &[AtomicU32], at: usize, key: &[u8]) -> bool {
    let Some(words) = chunk.get(at..at + key.len().div_ceil(WORD)) else { return false };
    let ((pairs, last), (whole, rest)) = (words.as_chunks::<2>(), key.as_chunks::<8>());
    // Without a branch per word: the tag has matched, so most keys are equal.
    let compare = |found, ([low, high], bytes): (&[AtomicU32; 2], &[u8; 8])| {
        found | (both(low.load(Relaxed), high.load(Relaxed)) ^ u64::from_le_bytes(*bytes))
    };
    let differ = pairs.iter().zip(whole).fold(0, compare);
    // Up to seven bytes, in one word or two.
    let behind = match (last, pairs.get(whole.len())) {
        ([word], _) => both(word.load(Relaxed), 0),
        (_, Some([low, high])) => both(low.load(Relaxed), high.load(Relaxed)),
        _ => 0,
    };
    let shift = rest.len() * 8;
    let tail = match key.last_chunk() {
        Some(last) if shift != 0 => u64::from_le_bytes(*last) >> (64 - shift),
        _ => tail_word(rest),
    };
    differ == 0 && behind & ((1 << shift) - 1) == tail
}

/// Two words as one.
#[inline]
fn both(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Up to 7 bytes as the low bytes of a word.
#[inline]
fn tail_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Appends `len` bytes from byte offset `at` to `out`, which needs room for [`COPY_ROOM`] bytes more; none if the range
/// exceeds the chunk (a torn length).
#[inline]
pub fn copy_out(chunk: &[AtomicU32], at: usize, len: usize, out: &mut Spare<'_>) {
    let end = at + len;
    if end > chunk.len() * WORD || len == 0 {
        return;
    }
    let shift = at % WORD;
    let (mut words, mut rest) = (&chunk[at / WORD..end.div_ceil(WORD)], len);
    if shift != 0
        && let Some((first, behind)) = words.split_first()
    {
        let here = rest.min(WORD - shift);
        out.put_some((u64::from(first.load(Relaxed)) >> (shift * 8)).to_le_bytes(), here);
        (words, rest) = (behind, rest - here);
    }
    // Two words per store while all their bytes belong to the range.
    let (pairs, last) = words.split_at(rest / 8 * 2);
    out.put_words(pairs.as_chunks().0.iter().map(|[low, high]| both(low.load(Relaxed), high.load(Relaxed))));
    if let Some((low, high)) = last.split_first() {
        let high = high.first().map_or(0, |high| high.load(Relaxed));
        out.put_some(both(low.load(Relaxed), high).to_le_bytes(), rest % 8);
    }
}

/// Bytes that [`copy_out`] may write behind its range.
pub const COPY_ROOM: usize = 8;

/// Writes `bytes` at byte offset `at` of a chunk; the surrounding bytes stay. No other thread may write the chunk.
/// Writes nothing if they do not fit.
#[inline]
pub fn copy_in(chunk: &[AtomicU32], at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if end > chunk.len() * WORD || bytes.is_empty() {
        return;
    }
    let shift = at % WORD;
    let mut words = &chunk[at / WORD..end.div_ceil(WORD)];
    wrote(Shared::Item, words);
    let mut bytes = bytes;
    if shift != 0
        && let Some((first, rest)) = words.split_first()
    {
        let (here, behind) = bytes.split_at(bytes.len().min(WORD - shift));
        merge(first, shift, here);
        (words, bytes) = (rest, behind);
    }
    let (whole, rest) = bytes.as_chunks::<WORD>();
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u32::from_le_bytes(*bytes), Relaxed);
    }
    if !rest.is_empty() {
        merge(&words[whole.len()], 0, rest);
    }
}

/// Replaces up to 3 bytes of a word from byte `shift` on.
#[inline]
fn merge(cell: &AtomicU32, shift: usize, bytes: &[u8]) {
    let mask = ((1 << (bytes.len() * 8)) - 1) << (shift * 8);
    let old = cell.load(Relaxed);
    cell.store(old & !mask | (tail_word(bytes) as u32) << (shift * 8), Relaxed);
}

/// Loads a number of up to 64 bits from two words, the lower half first; 0 beyond the end. Not atomic as a whole: a
/// reader that may race with a writer must validate.
#[inline]
pub fn load_pair(words: &[AtomicU32], at: usize) -> u64 {
    let half = |at: usize| words.get(at).map_or(0, |word| u64::from(word.load(Relaxed)));
    half(at) | half(at + 1) << 32
}

/// Stores a number of up to 64 bits in two words, the lower half first; nothing if the words end before.
#[inline]
pub fn store_pair(words: &[AtomicU32], at: usize, number: u64) {
    if let Some([low, high]) = words.get(at..at + 2) {
        wrote(Shared::Item, low);
        wrote(Shared::Item, high);
        low.store(number as u32, Relaxed);
        high.store((number >> 32) as u32, Relaxed);
    }
}

/// Bytes `from..to` of a chunk, which do not change for `'a`.
///
/// # Safety
/// No thread may write these bytes for `'a`: the item is pinned, or the caller owns the chunk exclusively.
pub unsafe fn stable_bytes<'a>(chunk: &[AtomicU32], from: usize, to: usize) -> &'a [u8] {
    let to = to.min(chunk.len() * WORD);
    let from = from.min(to);
    // SAFETY: the range is inside the chunk, and its memory is never unmapped; the caller upholds stability.
    unsafe { std::slice::from_raw_parts(chunk.as_ptr().cast::<u8>().add(from), to - from) }
}

/// Bytes `from..to` of a chunk, for exclusive access.
///
/// # Safety
/// No other access to these bytes may happen while the slice lives, not even through a stale handle: docs/memory.md
/// lists the bytes that may be read through one.
#[allow(clippy::mut_from_ref)] // atomics may be written through a shared reference; the contract makes it exclusive
pub unsafe fn exclusive_bytes(chunk: &[AtomicU32], from: usize, to: usize) -> &mut [u8] {
    let to = to.min(chunk.len() * WORD);
    let from = from.min(to);
    wrote(Shared::Item, chunk.get(from / WORD..to / WORD).unwrap_or_default());
    // SAFETY: as above; atomics have interior mutability, so writing through their memory is allowed.
    unsafe { std::slice::from_raw_parts_mut(chunk.as_ptr().cast::<u8>().cast_mut().add(from), to - from) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::spare;

    /// `len` bytes of a chunk from `at` on.
    fn copied(chunk: &[AtomicU32], at: usize, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        spare::append(&mut out, len + COPY_ROOM, |spare| copy_out(chunk, at, len, spare));
        out
    }

    #[test]
    fn bytes_survive_every_alignment() {
        let chunk: Vec<AtomicU32> = (0..32).map(|_| AtomicU32::new(u32::MAX)).collect();
        let value: Vec<u8> = (1..=60).collect();
        for at in 0..40 {
            for len in 0..60 {
                copy_in(&chunk, at, &value[..len]);
                assert_eq!(copied(&chunk, at, len), &value[..len], "at {at} len {len}");
            }
        }
    }

    #[test]
    fn copy_in_keeps_neighbours() {
        let chunk: Vec<AtomicU32> = (0..4).map(|_| AtomicU32::new(u32::MAX)).collect();
        copy_in(&chunk, 3, &[0; 7]);
        assert_eq!(copied(&chunk, 0, 16), [255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn out_of_range_accesses_do_nothing() {
        let chunk: Vec<AtomicU32> = vec![AtomicU32::new(0), AtomicU32::new(0)];
        copy_in(&chunk, 4, &[1; 5]);
        assert!(copied(&chunk, 4, 5).is_empty());
        assert!(!key_equals(&chunk, 0, b"longer than eight"));
    }

    #[test]
    fn keys_compare_by_their_own_length() {
        let chunk: Vec<AtomicU32> = (0..8).map(|_| AtomicU32::new(0)).collect();
        copy_in(&chunk, 4, b"hello world");
        assert!(key_equals(&chunk, 1, b"hello world"));
        assert!(key_equals(&chunk, 1, b"hello wo"));
        assert!(!key_equals(&chunk, 1, b"hello worle"));
        assert!(!key_equals(&chunk, 1, b"Hello world"));
    }
}
