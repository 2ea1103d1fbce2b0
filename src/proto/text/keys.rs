//! The keys of a `get` line.
//!
//! Owns where the keys of a line are, how far a multiget has come, and the search for the end of a line that is longer
//! than other commands may be. The end of a line and the presence of an over-long key are searched only once. Knows
//! bytes alone. Called by `get`; the session keeps what waits between two runs.

use crate::clock::Expiry;
use crate::find_byte::find_byte;
use crate::limits::{KEY_MAX, LEADING_SPACES_MAX};

/// The keys of a line from an offset on. A key that is too long is truncated to `KEY_MAX + 1` bytes, and its rest
/// counts as the next key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys<'a> {
    /// The line without its end.
    pub text: &'a [u8],
    /// End of the last key.
    pub at: usize,
}

impl<'a> Keys<'a> {
    /// The next key, if it begins before `end`.
    #[inline]
    pub fn next_before(&mut self, end: usize) -> Option<&'a [u8]> {
        let mut from = self.at;
        while from < end && self.text[from] == b' ' {
            from += 1;
        }
        if from >= end {
            return None;
        }
        let word = &self.text[from..self.text.len().min(from + KEY_MAX + 1)];
        let key = &word[..find_byte(b' ', word).unwrap_or(word.len())];
        self.at = from + key.len();
        Some(key)
    }
}

/// Whether a later key of the line is too long, which revokes all replies of the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LongKey {
    Unknown,
    Absent,
    Ahead,
}

/// An incomplete `get` or `gets` line that is longer than a line of any other command may be.
#[derive(Debug)]
pub struct LongLine {
    /// Number of leading bytes known to hold no newline.
    searched: usize,
}

impl LongLine {
    /// Begins a long line with `bytes`, which have no newline; `None` if the command may not be this long.
    pub fn begin(bytes: &[u8]) -> Option<Self> {
        is_get_line(bytes).then_some(Self { searched: bytes.len() })
    }

    /// Offset of the newline in `bytes`, which hold the same line as in the last call, and what has arrived since.
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let from = std::mem::replace(&mut self.searched, bytes.len());
        memchr::memchr(b'\n', &bytes[from..]).map(|at| from + at)
    }
}

/// A line that stopped before its end. Part of every session's state, so kept small.
#[derive(Clone, Copy, Debug)]
pub struct Multiget {
    /// Expiry time to set on each hit.
    pub touch: Option<Expiry>,
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
    pub fn new(cas: bool, touch: Option<Expiry>, done: usize) -> Self {
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

    #[test]
    fn keys_stop_at_the_end_and_long_ones_are_truncated() {
        let keys = |text: &'static [u8], end| {
            let mut keys = Keys { text, at: 0 };
            std::iter::from_fn(move || keys.next_before(end)).collect::<Vec<_>>()
        };
        let text = b"  a bc   d";
        assert_eq!(keys(text, text.len()), [&b"a"[..], b"bc", b"d"]);
        assert_eq!(keys(text, 5), [&b"a"[..], b"bc"]);
        assert!(keys(text, 2).is_empty());
        let mut long = Keys { text: &[b'x'; 2000], at: 3 };
        assert_eq!((long.next_before(2000).unwrap().len(), long.at), (KEY_MAX + 1, 3 + KEY_MAX + 1));
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
    fn a_line_is_searched_for_a_long_key_only_once() {
        let mut text = b"key ".repeat(1000);
        let mut line = Multiget::new(false, None, 0);
        line.look_ahead(&text, 0);
        assert_eq!(line.long_key, LongKey::Absent);
        text.fill(b'k'); // must not be searched again
        for done in (0..text.len()).step_by(100) {
            line.look_ahead(&text, done);
            assert_eq!(line.long_key, LongKey::Absent, "{done}");
        }
        let mut line = Multiget::new(false, None, 0);
        line.look_ahead(&text, 0);
        text.fill(b' ');
        line.look_ahead(&text, 100);
        assert_eq!(line.long_key, LongKey::Ahead);
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
