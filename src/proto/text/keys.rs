//! The keys of a `get` line.
//!
//! Owns where the keys of a line are, how far a multiget has come, and the search for the end of a line that is longer
//! than other commands may be. The end of a line and the presence of an over-long key are searched only once. Knows
//! bytes alone. Called by `get`; the session keeps what waits between two runs.

use crate::limits::{KEY_MAX, LEADING_SPACES_MAX};

/// Whether a later key of the line is too long, which revokes all its replies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LongKey {
    Unknown,
    Absent,
    Ahead,
}

/// An incomplete `get` or `gets` line longer than other commands may be.
#[derive(Debug)]
pub struct LongLine {
    /// Number of leading bytes known to hold no newline.
    searched: usize,
}

impl LongLine {
    /// Begins with `bytes` without a newline; `None` if the command may not be this long.
    pub fn begin(bytes: &[u8]) -> Option<Self> {
        is_get_line(bytes).then_some(Self { searched: bytes.len() })
    }

    /// Offset of the newline in `bytes`: the same line with more bytes appended.
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let from = std::mem::replace(&mut self.searched, bytes.len());
        memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at)
    }
}

/// A line that stopped before its end. Part of every session's state, so kept small.
#[derive(Clone, Copy, Debug)]
pub struct Multiget {
    /// Expiry time to set on each hit.
    pub touch: Option<u32>,
    /// Length of the line with its newline; set by the session.
    pub line: u32,
    /// Bytes of the line already processed.
    pub done: u32,
    /// Keys looked up since the output was last full.
    pub fetched: u32,
    /// Show the CAS id.
    pub cas: bool,
    /// At least one key was looked up.
    pub any: bool,
    /// Whether an over-long key follows.
    pub long_key: LongKey,
}

impl Multiget {
    /// A multiget of the keys from `done` on.
    pub fn new(cas: bool, touch: Option<u32>, done: usize) -> Self {
        Self { touch, line: 0, done: done as u32, fetched: 0, cas, any: false, long_key: LongKey::Unknown }
    }

    /// Finds out whether a key from `done` on is too long, once per line.
    pub fn look_ahead(&mut self, text: &[u8], done: usize) {
        if self.long_key == LongKey::Unknown {
            self.long_key = if has_long_key(text, done) { LongKey::Ahead } else { LongKey::Absent };
        }
    }
}

/// Whether an over-long line may continue: only `get` and `gets` have an unbounded number of keys.
pub(in crate::proto) fn is_get_line(bytes: &[u8]) -> bool {
    let spaces = bytes.iter().take_while(|&&byte| byte == b' ').count();
    let word = &bytes[spaces..];
    spaces <= LEADING_SPACES_MAX && (word.starts_with(b"get ") || word.starts_with(b"gets "))
}

/// The next word that begins in `at..end`, truncated to `KEY_MAX + 1` bytes.
#[inline]
pub(super) fn next_key(text: &[u8], at: usize, end: usize) -> Option<(usize, usize)> {
    let mut from = at;
    while from < end && text[from] == b' ' {
        from += 1;
    }
    if from >= end {
        return None;
    }
    let word = &text[from..text.len().min(from + KEY_MAX + 1)];
    Some((from, from + memchr::memchr(b' ', word).unwrap_or(word.len())))
}

/// Whether a word from `at` on is too long for a key. Jumps to the last space of each window of `KEY_MAX + 1` bytes,
/// so most bytes are not read: about 1 ms for the longest line, once per line.
fn has_long_key(text: &[u8], mut at: usize) -> bool {
    while let Some(window) = text.get(at..at + KEY_MAX + 1) {
        let Some(space) = memchr::memrchr(b' ', window) else { return true };
        at += space + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[u8], end: usize) -> Vec<(usize, usize)> {
        let mut at = 0;
        std::iter::from_fn(|| next_key(text, at, end).inspect(|(_, to)| at = *to)).collect()
    }

    #[test]
    fn next_key_stops_at_the_end_and_truncates_long_words() {
        let text = b"  a bc   d";
        assert_eq!(words(text, text.len()), [(2, 3), (4, 6), (9, 10)]);
        assert_eq!(words(text, 5), [(2, 3), (4, 6)]);
        assert_eq!(words(text, 2), []);
        assert_eq!(next_key(&[b'x'; 2000], 3, 2000), Some((3, 3 + KEY_MAX + 1)));
    }

    #[test]
    fn searched_part_of_a_line_is_not_searched_again() {
        let mut bytes = b"get ".repeat(1000);
        let mut line = LongLine::begin(&bytes).unwrap();
        bytes.fill(b'\n'); // must not be searched again
        for n in 0..100 {
            bytes.push(b'k');
            assert_eq!(line.end(&bytes), None, "{n}");
            bytes[4000 + n] = b'\n';
        }
        bytes.extend_from_slice(b"kk\nk\n");
        assert_eq!(line.end(&bytes), Some(4102));
        assert!(LongLine::begin(&b"incr ".repeat(1000)).is_none());
    }

    #[test]
    fn over_long_key_is_found_at_any_offset() {
        for (len, long) in [(KEY_MAX, false), (KEY_MAX + 1, true), (4 * KEY_MAX, true)] {
            let word = "k".repeat(len);
            for before in (0..600).chain([65_536]) {
                let padding = "ab ".repeat(before / 3) + &" ".repeat(before % 3);
                for end in ["", " ", " a b"] {
                    let text = format!("{padding}{word}{end}");
                    assert_eq!(has_long_key(text.as_bytes(), 0), long, "{before} {len} {end:?}");
                }
            }
        }
        assert!(!has_long_key(b"", 0));
        assert!(!has_long_key(&[b' '; 1000], 0));
    }
}
