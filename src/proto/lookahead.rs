//! Lookahead in a pipeline.
//!
//! Owns the scan over several commands that arrived together: it hashes their keys and prefetches the memory they
//! will touch before the first of them runs, so that cache misses overlap. A wrong guess costs time, never
//! correctness: each entry records where its command must begin, and the lookup checks it. Knows no protocol: the
//! session passes the guess of its wire format. Stored in the input.

use crate::cache::{Cache, Key};
use crate::limits::KEY_MAX;

/// Maximum commands per scan.
const DEPTH: usize = 24;

/// A scanned command.
#[derive(Clone, Copy, Default)]
pub struct Known {
    /// Offsets of the command's first byte and of its newline (or the end of its packet) from the start of the scan.
    start: usize,
    end: usize,
    /// Hash of its key, if it appears to have one.
    hash: Option<u64>,
}

/// The scanned commands that have not run.
pub struct Lookahead {
    known: [Known; DEPTH],
    len: usize,
    next: usize,
    /// Bytes consumed since the scan.
    at: usize,
}

impl Lookahead {
    /// An empty scan.
    #[inline]
    pub fn none() -> Self {
        Self { known: [Known::default(); DEPTH], len: 0, next: 0, at: 0 }
    }

    /// Length of the line at the front of `bytes` without its newline, and the hash of its key if known. Rescans when
    /// the last scan is used up and more than one command waits; `guess` returns the key of a line (empty: none) and
    /// the length of the value after it.
    #[inline]
    pub fn line(
        &mut self,
        bytes: &[u8],
        most: u32,
        cache: &Cache,
        guess: impl Fn(&[u8]) -> (&[u8], usize),
    ) -> Option<(usize, Option<u64>)> {
        if let Some(known) = self.scanned() {
            return Some(known);
        }
        let newline = memchr::memchr(b'\n', bytes)?;
        if newline + 1 == bytes.len() || most < 2 {
            return Some((newline, None));
        }
        self.scan(bytes, newline, most, cache, guess);
        Some((newline, self.known[0].hash))
    }

    /// Records that the line at the front ends at `newline`, for the next [`Lookahead::line`].
    pub fn found(&mut self, newline: usize) {
        self.begin();
        self.known[0] = Known { start: 0, end: newline, hash: None };
        self.len = 1;
    }

    /// Hash of the key of the packet at the front of `bytes`, if known. Rescans as [`Lookahead::line`] does; `guess`
    /// returns the length of the packet at the front and its key (empty: none).
    #[inline]
    pub fn packet(
        &mut self,
        bytes: &[u8],
        most: u32,
        cache: &Cache,
        guess: impl Fn(&[u8]) -> Option<(usize, &[u8])>,
    ) -> Option<u64> {
        if let Some((_, hash)) = self.scanned() {
            return hash;
        }
        let (len, _) = guess(bytes)?;
        if len >= bytes.len() || most < 2 {
            return None;
        }
        self.begin();
        let mut start = 0;
        while self.len < DEPTH.min(most as usize)
            && let Some((len, key)) = bytes.get(start..).and_then(&guess)
        {
            self.add(Known { start, end: start + len, hash: hash(key) }, cache);
            start += len;
        }
        self.load(cache)
    }

    /// Length and hash of the command now at the front, from the last scan.
    #[inline]
    fn scanned(&mut self) -> Option<(usize, Option<u64>)> {
        while self.next < self.len {
            let known = self.known[self.next];
            self.next += 1;
            if known.start == self.at {
                return Some((known.end - known.start, known.hash));
            }
        }
        None
    }

    /// Discards the scan: the buffer holds other bytes now.
    #[inline]
    pub fn forget(&mut self) {
        self.len = 0;
        self.next = 0;
    }

    /// Records that `n` bytes were consumed.
    #[inline]
    pub fn consumed(&mut self, n: usize) {
        self.at += n;
    }

    fn scan(
        &mut self,
        bytes: &[u8],
        first_newline: usize,
        most: u32,
        cache: &Cache,
        guess: impl Fn(&[u8]) -> (&[u8], usize),
    ) {
        self.begin();
        let (mut start, mut newline) = (0, first_newline);
        while self.len < DEPTH.min(most as usize) {
            let (key, value) = guess(&bytes[start..newline]);
            self.add(Known { start, end: newline, hash: hash(key) }, cache);
            start = newline + 1 + value;
            match bytes.get(start..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                Some(at) => newline = start + at,
                None => break,
            }
        }
        self.load(cache);
    }

    #[inline]
    fn begin(&mut self) {
        (self.len, self.next, self.at) = (0, 0, 0);
    }

    #[inline]
    fn add(&mut self, known: Known, cache: &Cache) {
        if let Some(hash) = known.hash {
            cache.store.prefetch_bucket(hash);
        }
        self.known[self.len] = known;
        self.len += 1;
    }

    /// Prefetches the items of all scanned commands. Returns the hash of the first, which is about to run.
    #[inline]
    fn load(&mut self, cache: &Cache) -> Option<u64> {
        for hash in self.known[..self.len].iter().filter_map(|known| known.hash) {
            cache.store.prefetch_items(hash);
        }
        self.next = 1;
        self.known[0].hash
    }
}

/// The valid key of a command, with its hash if that is known.
#[inline]
pub fn key(bytes: &[u8], hash: Option<u64>) -> Key<'_> {
    Key::hashed(bytes, hash.unwrap_or_else(|| crate::hash::hash(bytes)))
}

#[inline]
fn hash(key: &[u8]) -> Option<u64> {
    (!key.is_empty() && key.len() <= KEY_MAX).then(|| crate::hash::hash(key))
}
