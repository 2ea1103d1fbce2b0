//! Tokenizer of command lines.
//!
//! Owns memcached's tokenizer rules: only 0x20 separates, several count as one, only the first 23 tokens count. Knows
//! no command. Called by the parsers of text and meta commands, and by admin commands.

use crate::find_byte::find_byte;
use crate::limits::TOKENS_MAX;

/// Tokens of one line, as positions.
pub struct Tokens<'a> {
    text: &'a [u8],
    spans: [(u16, u16); TOKENS_MAX],
    len: usize,
}

impl<'a> Tokens<'a> {
    /// Splits `text` (without line end). Ignores bytes beyond 65,534, as memcached does: positions have 16 bits.
    #[inline]
    pub fn split(text: &'a [u8]) -> Self {
        let text = &text[..text.len().min(usize::from(u16::MAX) - 1)];
        let mut tokens = Self { text, spans: [(0, 0); TOKENS_MAX], len: 0 };
        let mut at = 0;
        while tokens.len < TOKENS_MAX {
            while text.get(at) == Some(&b' ') {
                at += 1;
            }
            if at == text.len() {
                break;
            }
            let end = find_byte(b' ', &text[at..]).map_or(text.len(), |space| at + space);
            tokens.spans[tokens.len] = (at as u16, end as u16);
            tokens.len += 1;
            at = end;
        }
        tokens
    }

    /// The line.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Number of tokens.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Token `at`; empty if there is none.
    #[inline]
    pub fn get(&self, at: usize) -> &'a [u8] {
        if at >= self.len {
            return &[];
        }
        let (from, to) = self.spans[at];
        &self.text[usize::from(from)..usize::from(to)]
    }

    /// Offset of token `at` in the line; the line's end if there is none.
    #[inline]
    pub fn offset(&self, at: usize) -> usize {
        if at >= self.len { self.text.len() } else { usize::from(self.spans[at].0) }
    }

    /// The line from token `at` on.
    #[inline]
    pub fn text_from(&self, at: usize) -> &'a [u8] {
        &self.text[self.offset(at)..]
    }

    /// The last token; empty if there is none.
    #[inline]
    pub fn last(&self) -> &'a [u8] {
        self.get(self.len.wrapping_sub(1))
    }

    /// Whether token `at` is `word` or a prefix of it, as memcached compares sub-commands.
    pub fn is(&self, at: usize, word: &str) -> bool {
        at < self.len && word.as_bytes().starts_with(self.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spaces_separate() {
        let tokens = Tokens::split(b"  a\tb   c\r ");
        assert_eq!(tokens.len(), 2);
        assert_eq!(tokens.get(0), b"a\tb");
        assert_eq!(tokens.get(1), b"c\r");
        assert_eq!(tokens.offset(1), 8);
        assert_eq!(tokens.get(2), b"");
    }

    #[test]
    fn bytes_beyond_16_bit_offsets_are_ignored() {
        const TEXT_MAX: usize = u16::MAX as usize - 1;
        for len in [TEXT_MAX - 1, TEXT_MAX, TEXT_MAX + 1, TEXT_MAX + 2, 2 * TEXT_MAX] {
            let mut line = vec![b'k'; len];
            line[2] = b' ';
            let tokens = Tokens::split(&line);
            assert_eq!((tokens.len(), tokens.get(0), tokens.offset(1)), (2, &b"kk"[..], 3));
            assert_eq!(tokens.last().len(), len.min(TEXT_MAX) - 3);
        }
        let line = [vec![b' '; TEXT_MAX], b"get".to_vec()].concat();
        assert_eq!(Tokens::split(&line).len(), 0);
    }

    #[test]
    fn at_most_23_tokens_count() {
        let line = b"x ".repeat(40);
        assert_eq!(Tokens::split(&line).len(), 23);
        assert_eq!(Tokens::split(b"").last(), b"");
    }
}
