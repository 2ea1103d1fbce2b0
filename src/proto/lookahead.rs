//! Lookahead in a pipeline.
//!
//! Owns the scan over several commands that arrived together: it hashes their keys and prefetches the memory they
//! will touch before the first of them runs, so that cache misses overlap. A wrong guess costs time, never
//! correctness: each entry records where its command must begin, and the lookup checks it. Stored in the input;
//! called by the session, for lines or packets.

use crate::cache::Cache;
use crate::limits::KEY_MAX;

/// Maximum commands per scan.
const DEPTH: usize = 24;

/// Guesses the length of the packet at the front, and the hash of its key.
pub type Guess = fn(&[u8]) -> Option<(usize, Option<u64>)>;

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
    /// the last scan is used up and more than one command waits.
    #[inline]
    pub fn line(&mut self, bytes: &[u8], most: u32, cache: &Cache) -> Option<(usize, Option<u64>)> {
        if let Some(known) = self.scanned() {
            return Some(known);
        }
        let newline = memchr::memchr(b'\n', bytes)?;
        if newline + 1 == bytes.len() || most < 2 {
            return Some((newline, None));
        }
        self.scan(bytes, newline, most, cache);
        Some((newline, self.known[0].hash))
    }

    /// Records that the line at the front ends at `newline`, for the next [`Lookahead::line`].
    pub fn found(&mut self, newline: usize) {
        self.begin();
        self.known[0] = Known { start: 0, end: newline, hash: None };
        self.len = 1;
    }

    /// Hash of the key of the packet at the front of `bytes`, if known. `guess` returns a packet's length and that
    /// hash. Rescans as [`Lookahead::line`] does.
    #[inline]
    pub fn packet(&mut self, bytes: &[u8], most: u32, cache: &Cache, guess: Guess) -> Option<u64> {
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
            && let Some((len, hash)) = bytes.get(start..).and_then(guess)
        {
            self.add(Known { start, end: start + len, hash }, cache);
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

    fn scan(&mut self, bytes: &[u8], first_newline: usize, most: u32, cache: &Cache) {
        self.begin();
        let (mut start, mut newline) = (0, first_newline);
        while self.len < DEPTH.min(most as usize) {
            let (hash, value) = key_and_value(&bytes[start..newline]);
            self.add(Known { start, end: newline, hash }, cache);
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

/// Guesses the hash of the key of a one-key command, and the length of the value behind its line.
#[inline]
fn key_and_value(line: &[u8]) -> (Option<u64>, usize) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(word) = memchr::memchr(b' ', &line[..line.len().min(8)]) else { return (None, 0) };
    let rest = &line[word + 1..];
    match &line[..word] {
        b"get" | b"gets" => {
            let one = memchr::memchr(b' ', rest).is_none();
            (one.then(|| hash(rest)).flatten(), 0)
        }
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => {
            let Some(end) = memchr::memchr(b' ', rest) else { return (None, 0) };
            let vlen = rest[end + 1..].split(|&byte| byte == b' ').nth(2);
            (hash(&rest[..end]), vlen.and_then(crate::decimal::token_u32).map_or(0, |n| n as usize + 2))
        }
        b"mg" | b"md" | b"ma" => (meta_hash(rest).map(|(hash, _)| hash), 0),
        b"ms" => match meta_hash(rest) {
            Some((hash, behind)) => {
                let vlen = behind.split(|&byte| byte == b' ').next().and_then(crate::decimal::token_u32);
                (Some(hash), vlen.map_or(0, |n| n as usize + 2))
            }
            None => (None, 0),
        },
        b"delete" => (hash(&rest[..memchr::memchr(b' ', rest).unwrap_or(rest.len())]), 0),
        _ => (None, 0),
    }
}

/// Hash of a meta command's key, and the words after it. `None` if the key may be base64.
#[inline]
fn meta_hash(rest: &[u8]) -> Option<(u64, &[u8])> {
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let behind = rest.get(end + 1..).unwrap_or_default();
    let base64 = behind.split(|&byte| byte == b' ').any(|word| word.first() == Some(&b'b'));
    if base64 { None } else { Some((hash(&rest[..end])?, behind)) }
}

#[inline]
fn hash(key: &[u8]) -> Option<u64> {
    (!key.is_empty() && key.len() <= KEY_MAX).then(|| crate::hash::hash(key))
}
