//! Looking ahead in a pipeline.
//!
//! Owns the scan over several commands that have arrived together: their keys are hashed and the memory they
//! will touch is loaded before the first of them runs, so that cache misses overlap. A wrong guess costs
//! time, never meaning: each entry says where its command must begin, and the runner checks.

use crate::cache::Cache;
use crate::limits::KEY_MAX;

/// Commands scanned at once.
const DEPTH: usize = 24;

/// What is known of one command.
#[derive(Clone, Copy, Default)]
pub struct Known {
    /// Where the line begins and where its newline is, counted from the start of the scan.
    start: usize,
    newline: usize,
    /// Hash of the second word, if it can be a key.
    hash: Option<u64>,
}

/// The scanned commands not yet run.
pub struct Ahead {
    known: [Known; DEPTH],
    len: usize,
    next: usize,
    /// Bytes consumed since the scan.
    at: usize,
}

impl Ahead {
    /// Nothing scanned.
    #[inline]
    pub fn none() -> Self {
        Self { known: [Known::default(); DEPTH], len: 0, next: 0, at: 0 }
    }

    /// The line at the front of `bytes`: length up to its newline, and the hash of its key if known. Scans
    /// anew when the last scan is used up and more than one command waits.
    #[inline]
    pub fn line(&mut self, bytes: &[u8], most: u32, cache: &Cache) -> Option<(usize, Option<u64>)> {
        while self.next < self.len {
            let known = self.known[self.next];
            self.next += 1;
            if known.start == self.at {
                return Some((known.newline - known.start, known.hash));
            }
        }
        let newline = memchr::memchr(b'\n', bytes)?;
        if newline + 1 == bytes.len() || most < 2 {
            return Some((newline, None));
        }
        self.scan(bytes, newline, DEPTH.min(most as usize), cache);
        self.next = 1;
        Some((newline, self.known[0].hash))
    }

    /// Forgets what was scanned: other bytes stand there now.
    #[inline]
    pub fn forget(&mut self) {
        self.len = 0;
        self.next = 0;
    }

    /// Says that `n` bytes were consumed.
    #[inline]
    pub fn consumed(&mut self, n: usize) {
        self.at += n;
    }

    fn scan(&mut self, bytes: &[u8], first_newline: usize, most: usize, cache: &Cache) {
        (self.len, self.next, self.at) = (0, 0, 0);
        let (mut start, mut newline) = (0, first_newline);
        while self.len < most {
            let (hash, value) = key_and_value(&bytes[start..newline]);
            if let Some(hash) = hash {
                cache.store.prefetch_bucket(hash);
            }
            self.known[self.len] = Known { start, newline, hash };
            self.len += 1;
            start = newline + 1 + value;
            match bytes.get(start..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                Some(at) => newline = start + at,
                None => break,
            }
        }
        for hash in self.known[..self.len].iter().filter_map(|known| known.hash) {
            cache.store.prefetch_items(hash);
        }
    }
}

/// Hash of the key of a one-key command and the bytes of value behind the line, both guesses.
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

/// Hash of a meta command's key, and what stands behind it; nothing if the key may be base64.
#[inline]
fn meta_hash(rest: &[u8]) -> Option<(u64, &[u8])> {
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let behind = rest.get(end + 1..).unwrap_or_default();
    let binary = behind.split(|&byte| byte == b' ').any(|word| word.first() == Some(&b'b'));
    if binary { None } else { Some((hash(&rest[..end])?, behind)) }
}

#[inline]
fn hash(key: &[u8]) -> Option<u64> {
    (!key.is_empty() && key.len() <= KEY_MAX).then(|| crate::hash::hash(key))
}
