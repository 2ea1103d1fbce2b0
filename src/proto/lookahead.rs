//! Lookahead in a pipeline.
//!
//! Owns the scan over several commands that arrived together: it hashes their keys and prefetches the memory they will
//! touch before the first of them runs, so that cache misses overlap. A wrong guess costs time, never correctness: each
//! entry records where its command must begin, and the lookup checks it. Knows no protocol: the session passes a
//! function that guesses the keys of a line or packet. Stored in the input.

use crate::cache::{Cache, Key};
use crate::find_byte::find_byte;
use crate::limits::KEY_MAX;

/// Maximum commands per scan.
const DEPTH: usize = 24;

/// Maximum keys per scan. The commands of a scan may have more; those are not prefetched.
const KEYS: usize = 32;

/// A scanned command.
#[derive(Clone, Copy, Default)]
pub struct Known {
    /// Offsets of the command's first byte and of its newline (or the end of its packet) from the start of the scan.
    start: usize,
    end: usize,
    /// Hash of the key that its parser will find, if that is certain.
    hash: Option<u64>,
}

/// What a wire format tells of a command before it is parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guess {
    /// Hash of the key that the parser will find, if that is certain.
    pub hash: Option<u64>,
    /// A line: length of the value behind it, its line end included. A packet: its whole length.
    pub len: usize,
}

/// Takes the keys of commands that have not run.
pub trait AheadKeys {
    /// Takes `key`, unless its length is invalid; returns its hash.
    fn add(&mut self, key: &[u8]) -> Option<u64>;
}

/// Prefetches the index bucket of each key at once, and the items when all buckets are on their way.
pub struct Prefetch<'a> {
    cache: &'a Cache,
    hashes: [u64; KEYS],
    len: usize,
}

impl AheadKeys for Prefetch<'_> {
    #[inline(always)]
    fn add(&mut self, key: &[u8]) -> Option<u64> {
        let hash = (!key.is_empty() && key.len() <= KEY_MAX).then(|| crate::hash::hash(key))?;
        if let Some(place) = self.hashes.get_mut(self.len) {
            *place = hash;
            self.len += 1;
            self.cache.store.prefetch_bucket(hash);
        }
        Some(hash)
    }
}

impl Prefetch<'_> {
    /// Prefetches the items.
    #[inline]
    fn load(self) {
        for &hash in &self.hashes[..self.len] {
            self.cache.store.prefetch_items(hash);
        }
    }
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

    /// Length of the line at the front of `bytes` without its newline, and the hash of its key if known. When the last
    /// scan is used up and more than one command waits, scans up to `most` commands; `guess` looks at a line and adds
    /// its keys.
    #[inline]
    pub fn line<'a>(
        &mut self,
        bytes: &[u8],
        most: u32,
        cache: &'a Cache,
        guess: impl Fn(&[u8], &mut Prefetch<'a>) -> Guess,
    ) -> Option<(usize, Option<u64>)> {
        if let Some(known) = self.scanned() {
            return Some(known);
        }
        let newline = find_byte(b'\n', bytes)?;
        if newline + 1 == bytes.len() || most < 2 {
            return Some((newline, None));
        }
        Some((newline, self.scan(bytes, newline, most, cache, guess)))
    }

    /// Records that the line at the front ends at `newline`, for the next [`Lookahead::line`].
    pub fn found(&mut self, newline: usize) {
        self.begin();
        self.known[0] = Known { start: 0, end: newline, hash: None };
        self.len = 1;
    }

    /// Hash of the key of the packet at the front of `bytes`, if known. `len` is the length of this packet. Scans as
    /// [`Lookahead::line`] does; `guess` looks at the packet with which the bytes passed to it begin.
    #[inline]
    pub fn packet<'a>(
        &mut self,
        bytes: &[u8],
        most: u32,
        cache: &'a Cache,
        len: usize,
        guess: impl Fn(&[u8], &mut Prefetch<'a>) -> Option<Guess>,
    ) -> Option<u64> {
        if let Some((_, hash)) = self.scanned() {
            return hash;
        }
        if len >= bytes.len() || most < 2 {
            return None;
        }
        self.begin();
        let mut keys = Prefetch { cache, hashes: [0; KEYS], len: 0 };
        let mut start = 0;
        while self.len < DEPTH.min(most as usize)
            && let Some(Guess { hash, len }) = bytes.get(start..).and_then(|bytes| guess(bytes, &mut keys))
        {
            self.known[self.len] = Known { start, end: start + len, hash };
            self.len += 1;
            start += len;
        }
        keys.load();
        self.first()
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

    fn scan<'a>(
        &mut self,
        bytes: &[u8],
        first_newline: usize,
        most: u32,
        cache: &'a Cache,
        guess: impl Fn(&[u8], &mut Prefetch<'a>) -> Guess,
    ) -> Option<u64> {
        self.begin();
        let mut keys = Prefetch { cache, hashes: [0; KEYS], len: 0 };
        let (mut start, mut newline) = (0, first_newline);
        while self.len < DEPTH.min(most as usize) {
            let Guess { hash, len } = guess(&bytes[start..newline], &mut keys);
            self.known[self.len] = Known { start, end: newline, hash };
            self.len += 1;
            start = newline + 1 + len;
            match bytes.get(start..).and_then(|rest| find_byte(b'\n', rest)) {
                Some(at) => newline = start + at,
                None => break,
            }
        }
        keys.load();
        self.first()
    }

    #[inline]
    fn begin(&mut self) {
        (self.len, self.next, self.at) = (0, 0, 0);
    }

    /// Takes the first command of a scan, which runs next; returns the hash of its key.
    #[inline]
    fn first(&mut self) -> Option<u64> {
        self.next = 1;
        self.known[..self.len].first()?.hash
    }
}

/// The valid key of a command, with its hash if that is known.
#[inline]
pub fn key(bytes: &[u8], hash: Option<u64>) -> Key<'_> {
    debug_assert!(hash.is_none_or(|hash| hash == crate::hash::hash(bytes)), "a hash of another key");
    Key::hashed(bytes, hash.unwrap_or_else(|| crate::hash::hash(bytes)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::AheadKeys;

    /// Keys in the order in which they came; the hash of each is its number.
    #[derive(Default)]
    pub struct Keys(pub Vec<String>);

    impl AheadKeys for Keys {
        fn add(&mut self, key: &[u8]) -> Option<u64> {
            let number = (!key.is_empty()).then_some(self.0.len() as u64)?;
            self.0.push(String::from_utf8_lossy(key).into_owned());
            Some(number)
        }
    }
}
