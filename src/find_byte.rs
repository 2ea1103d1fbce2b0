//! The first of some byte in a word or line.
//!
//! Owns the search over short distances, where calling a vectored search costs more than the search. Knows no
//! protocol; used by the parsers, and by the lookahead.

/// Bytes that are searched before `memchr` is called for the rest.
const NEAR: usize = 64;

const ONES: u64 = 0x0101_0101_0101_0101;

/// Offset of the first `byte` in `text`.
#[inline]
pub fn find_byte(byte: u8, text: &[u8]) -> Option<usize> {
    let pattern = u64::from(byte) * ONES;
    let (words, _) = text.as_chunks::<8>();
    for (at, word) in words.iter().take(NEAR / 8).enumerate() {
        if let Some(found) = first_equal(word, pattern) {
            return Some(at * 8 + found);
        }
    }
    if text.len() > NEAR {
        return memchr::memchr(byte, &text[NEAR..]).map(|at| NEAR + at);
    }
    match text.last_chunk::<8>() {
        Some(last) => first_equal(last, pattern).map(|at| text.len() - 8 + at),
        None => text.iter().position(|&other| other == byte),
    }
}

/// Offset of the first byte of `word` that equals those of `pattern`.
#[inline]
fn first_equal(word: &[u8; 8], pattern: u64) -> Option<usize> {
    let differences = u64::from_le_bytes(*word) ^ pattern;
    // The lowest bit that is set belongs to the lowest zero byte: a borrow only comes from a zero byte below.
    let zeroes = differences.wrapping_sub(ONES) & !differences & (ONES << 7);
    (zeroes != 0).then(|| zeroes.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_memchr_finds() {
        let mut random = fastrand::Rng::with_seed(1);
        for len in 0..200 {
            for _ in 0..50 {
                let text: Vec<u8> = (0..len).map(|_| b"\x00\x01 !\x7f\x80\x81\xa0\xff"[random.usize(..9)]).collect();
                for byte in [0, 1, b' ', b'!', 0x80, 0x81, 0xff, b'x'] {
                    assert_eq!(find_byte(byte, &text), memchr::memchr(byte, &text), "{byte} in {text:?}");
                }
            }
            let mut text = vec![b'k'; len];
            text.push(b'\n');
            text.extend_from_slice(b"\n\n");
            assert_eq!(find_byte(b'\n', &text), Some(len));
        }
    }
}
