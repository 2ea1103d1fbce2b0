//! Text lines: bytes to commands.
//!
//! Owns which words are commands, their grammar, and the order of memcached's checks. Reads the line and nothing else:
//! no context, no store, no allocation. Keys are valid: 1 to `KEY_MAX` bytes. Called by the dispatcher for each line,
//! and by the lookahead for the lines after it.

use super::keys::Keys;
use crate::decimal;
use crate::find_byte::find_byte;
use crate::limits::KEY_MAX;
use crate::proto::line::{BAD_FORMAT, BadLine, strip_end, value_len};
use crate::proto::lookahead::{AheadKeys, Guess};
use crate::proto::meta;
use crate::proto::tokens::Tokens;
use crate::proto::upload::TextSet;
use crate::store::Mode;

/// The command of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum TextCommand<'a> {
    /// `get` and `gets` with one key.
    Get { key: &'a [u8], cas: bool },
    /// `get` and `gets` with any keys; with `exptime`, `gat` and `gats`. The keys of a long line are found in several
    /// turns, so a key that is too long, or none, is an error when it is reached.
    Multiget { keys: Keys<'a>, cas: bool, exptime: Option<i32> },
    /// `set`, `add`, `replace`, `append`, `prepend`, `cas`.
    Set(SetLine<'a>),
    /// `delete`.
    Delete { key: &'a [u8], noreply: bool },
    /// `incr` and `decr`.
    Arith { key: &'a [u8], delta: u64, incr: bool, noreply: bool },
    /// `touch`.
    Touch { key: &'a [u8], exptime: i32, noreply: bool },
    /// A meta line, for the parser of `meta`.
    Meta(&'a [u8]),
    /// `version`.
    Version,
    /// `quit`.
    Quit,
    /// `stats`. As in every admin command, the other words are read while it runs: memcached checks settings in
    /// between.
    Stats(&'a [u8]),
    /// `watch`.
    Watch(&'a [u8]),
    /// Another admin command, or none.
    Other(&'a [u8]),
}

/// A storage line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) struct SetLine<'a> {
    pub set: TextSet,
    pub flags: u32,
    pub exptime: i32,
    /// Length of the value, which two bytes follow.
    pub vlen: u32,
    pub key: &'a [u8],
}

/// Parses a line, its newline included.
///
/// # Errors
/// The refusal of a malformed line.
#[inline]
pub(in crate::proto) fn parse(line: &[u8]) -> Result<TextCommand<'_>, BadLine> {
    /// memcached's shortest line, its end included.
    const LINE_MIN: usize = 4;
    if line.len() < LINE_MIN {
        return Err(BadLine::new(BAD_FORMAT));
    }
    let text = strip_end(line);
    match one_key(text) {
        Some((key, cas)) => Ok(TextCommand::Get { key, cas }),
        None => parse_word(text),
    }
}

/// Key of a `get` or `gets` line with one valid key, and whether it is `gets`. The fast path. Many clients put a blank
/// behind the last key.
#[inline]
fn one_key(text: &[u8]) -> Option<(&[u8], bool)> {
    let (key, cas) = match text.strip_prefix(b"get")? {
        [b' ', key @ ..] => (key, false),
        [b's', b' ', key @ ..] => (key, true),
        _ => return None,
    };
    let key = key.strip_suffix(b" ").unwrap_or(key);
    (!key.is_empty() && key.len() <= KEY_MAX && find_byte(b' ', key).is_none()).then_some((key, cas))
}

/// Parses a line that is not a `get` of one key.
#[inline]
fn parse_word(text: &[u8]) -> Result<TextCommand<'_>, BadLine> {
    let word = find_byte(b' ', text).unwrap_or(text.len());
    let gets = |cas| Ok(TextCommand::Multiget { keys: Keys { text, at: word }, cas, exptime: None });
    match &text[..word] {
        b"get" => gets(false),
        b"gets" => gets(true),
        b"gat" => gat(text, false),
        b"gats" => gat(text, true),
        b"set" => set(text, word, Mode::Set),
        b"add" => set(text, word, Mode::Add),
        b"replace" => set(text, word, Mode::Replace),
        b"append" => set(text, word, Mode::Append),
        b"prepend" => set(text, word, Mode::Prepend),
        b"cas" => set(text, word, Mode::Cas),
        b"delete" => with_key(text, 2, |key, _, noreply| Ok(TextCommand::Delete { key, noreply })),
        b"incr" => arith(text, true),
        b"decr" => arith(text, false),
        b"touch" => touch(text),
        b"mg" | b"ms" | b"md" | b"ma" | b"me" | b"mn" => Ok(TextCommand::Meta(text)),
        b"quit" => Ok(TextCommand::Quit),
        b"version" => Ok(TextCommand::Version),
        b"stats" => Ok(TextCommand::Stats(text)),
        b"watch" => Ok(TextCommand::Watch(text)),
        _ => Ok(TextCommand::Other(text)),
    }
}

fn gat(text: &[u8], cas: bool) -> Result<TextCommand<'_>, BadLine> {
    let tokens = Tokens::split(text);
    if tokens.len() < 3 {
        return Err(BadLine::new(BAD_FORMAT));
    }
    let Some(exptime) = decimal::token_i32(tokens.get(1)) else {
        return Err(BadLine::new("CLIENT_ERROR invalid exptime argument"));
    };
    Ok(TextCommand::Multiget { keys: Keys { text, at: tokens.offset(2) }, cas, exptime: Some(exptime) })
}

/// A storage line in its usual form: single spaces, a valid key, and flags, expiry time and length of a few digits. The
/// fast path of all but `cas`; `word` is the length of the command.
#[inline]
fn usual_set(text: &[u8], word: usize, mode: Mode) -> Option<SetLine<'_>> {
    let rest = text.get(word + 1..)?;
    let (key, rest) = rest.split_at_checked(find_byte(b' ', rest)?)?;
    let (flags, rest) = decimal::short_number(rest.strip_prefix(b" ")?)?;
    let (exptime, rest) = decimal::short_number(rest.strip_prefix(b" ")?)?;
    let (vlen, rest) = decimal::short_number(rest.strip_prefix(b" ")?)?;
    if !(1..=KEY_MAX).contains(&key.len()) || !matches!(rest, b"" | b" noreply") {
        return None;
    }
    let set = TextSet { mode, compare: 0, noreply: !rest.is_empty() };
    Some(SetLine { set, flags, exptime: exptime as i32, vlen, key })
}

/// A storage line; `word` is the length of the command.
#[inline]
fn set(text: &[u8], word: usize, mode: Mode) -> Result<TextCommand<'_>, BadLine> {
    match usual_set(text, word, mode) {
        Some(line) if mode != Mode::Cas => Ok(TextCommand::Set(line)),
        _ => any_set(text, mode),
    }
}

fn any_set(text: &[u8], mode: Mode) -> Result<TextCommand<'_>, BadLine> {
    let tokens = Tokens::split(text);
    let Some(vlen) = value_len(tokens.get(4)).filter(|_| tokens.len() >= 5) else {
        return Err(BadLine::new(BAD_FORMAT));
    };
    let (key, noreply) = (tokens.get(1), tokens.last() == b"noreply");
    // Flags and exptime are C numbers, which end at any white space, so they are parsed from the line.
    let flags = decimal::c_unsigned(tokens.text_from(2));
    let exptime = decimal::c_signed(tokens.text_from(3));
    let compare = match mode {
        Mode::Cas if tokens.len() > 5 => decimal::token_u64(tokens.get(5)),
        Mode::Cas => None,
        _ => Some(0),
    };
    match (flags, exptime, compare) {
        (Some(flags), Some(exptime), Some(compare)) if key.len() <= KEY_MAX => {
            let set = TextSet { mode, compare, noreply };
            Ok(TextCommand::Set(SetLine { set, flags: flags as u32, exptime: exptime as i32, vlen, key }))
        }
        _ => Err(BadLine { noreply, ..BadLine::before_value(BAD_FORMAT, vlen) }),
    }
}

/// A command with a key, of at least `min` tokens; the last one may be `noreply`. `rest` gets the key, the token after
/// it and whether `noreply` was given, and makes the command; an error that it returns is the reply.
fn with_key<'a>(
    text: &'a [u8],
    min: usize,
    rest: impl FnOnce(&'a [u8], &'a [u8], bool) -> Result<TextCommand<'a>, &'static str>,
) -> Result<TextCommand<'a>, BadLine> {
    let tokens = Tokens::split(text);
    if tokens.len() < min {
        return Err(BadLine::new(BAD_FORMAT));
    }
    let (key, noreply) = (tokens.get(1), tokens.last() == b"noreply");
    let parsed = if key.len() > KEY_MAX { Err(BAD_FORMAT) } else { rest(key, tokens.get(2), noreply) };
    parsed.map_err(|reply| BadLine { noreply, ..BadLine::new(reply) })
}

fn arith(text: &[u8], incr: bool) -> Result<TextCommand<'_>, BadLine> {
    with_key(text, 3, |key, delta, noreply| match decimal::token_u64(delta) {
        Some(delta) => Ok(TextCommand::Arith { key, delta, incr, noreply }),
        None => Err("CLIENT_ERROR invalid numeric delta argument"),
    })
}

fn touch(text: &[u8]) -> Result<TextCommand<'_>, BadLine> {
    with_key(text, 3, |key, exptime, noreply| match decimal::token_i32(exptime) {
        Some(exptime) => Ok(TextCommand::Touch { key, exptime, noreply }),
        None => Err("CLIENT_ERROR invalid exptime argument"),
    })
}

/// The first word of `text` and what is behind it; the word is empty if there is none. `end` finds the first blank.
#[inline(always)]
fn next_word(text: &[u8], end: impl Fn(&[u8]) -> Option<usize>) -> (&[u8], &[u8]) {
    let blanks = text.iter().take_while(|&&byte| byte == b' ').count();
    let text = &text[blanks..];
    text.split_at(end(text).unwrap_or(text.len()))
}

/// [`next_word`] for a key.
#[inline]
fn next_key(text: &[u8]) -> (&[u8], &[u8]) {
    next_word(text, |text| find_byte(b' ', text))
}

/// [`next_word`] for a number, which is too short for a vectored search.
#[inline]
fn next_number(text: &[u8]) -> (&[u8], &[u8]) {
    next_word(text, |text| text.iter().position(|&byte| byte == b' '))
}

/// Keys of one line that are prefetched with its pipeline; the line itself prefetches the others, in groups.
const GUESSED_KEYS: usize = 8;

/// Looks at a line, without its newline, before it is parsed: adds its keys to `ahead`. Checks nothing; a line that is
/// refused later costs a prefetch.
#[inline]
pub(in crate::proto) fn guess(line: &[u8], ahead: &mut impl AheadKeys) -> Guess {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(end) = find_byte(b' ', &line[..line.len().min(8)]) else { return Guess::default() };
    let (key, rest) = next_key(&line[end..]);
    let len = match &line[..end] {
        b"get" | b"gets" => {
            if rest.iter().any(|&byte| byte != b' ') {
                return several_keys(&line[end..], ahead);
            }
            0
        }
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => {
            let (_flags, rest) = next_number(rest);
            let (_exptime, rest) = next_number(rest);
            value_with_end(next_number(rest).0)
        }
        b"delete" | b"incr" | b"decr" | b"touch" => 0,
        b"mg" | b"md" | b"ma" | b"me" => {
            if has_base64_flag(rest) {
                return base64_key(key, 0, ahead);
            }
            0
        }
        b"ms" => {
            let (vlen, flags) = next_number(rest);
            if has_base64_flag(flags) {
                return base64_key(key, value_with_end(vlen), ahead);
            }
            value_with_end(vlen)
        }
        b"gat" | b"gats" => return several_keys(rest, ahead),
        _ => return Guess::default(),
    };
    Guess { hash: ahead.add(key), len }
}

/// Adds the first keys of a line that has several; no hash is passed on.
#[inline(never)]
fn several_keys(mut text: &[u8], ahead: &mut impl AheadKeys) -> Guess {
    for _ in 0..GUESSED_KEYS {
        let (key, rest) = next_key(text);
        ahead.add(key);
        text = rest;
    }
    Guess::default()
}

/// Adds the bytes that a base64 key stands for. The parser may take the key for a plain one: the hash is uncertain.
#[inline(never)]
fn base64_key(key: &[u8], len: usize, ahead: &mut impl AheadKeys) -> Guess {
    if let Some(key) = meta::decode(key) {
        ahead.add(key.bytes());
    }
    Guess { hash: None, len }
}

/// Whether a word of `flags` begins with the letter of the flag for base64 keys.
#[inline]
fn has_base64_flag(flags: &[u8]) -> bool {
    flags.windows(2).any(|pair| pair == b" b")
}

/// Length of a value and its line end; 0 if `word` is not a length. (As a number, an empty word would be 0.)
#[inline]
fn value_with_end(word: &[u8]) -> usize {
    if word.is_empty() { 0 } else { decimal::token_u32(word).map_or(0, |len| len as usize + 2) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::lookahead::tests::Keys as Ahead;

    const LONG: &[u8] = &[b'k'; KEY_MAX + 1];
    const DELTA: &str = "CLIENT_ERROR invalid numeric delta argument";
    const EXPTIME: &str = "CLIENT_ERROR invalid exptime argument";

    fn get(key: &[u8], cas: bool) -> Result<TextCommand<'_>, BadLine> {
        Ok(TextCommand::Get { key, cas })
    }

    fn many(text: &[u8], at: usize, exptime: Option<i32>) -> Result<TextCommand<'_>, BadLine> {
        Ok(TextCommand::Multiget { keys: Keys { text, at }, cas: false, exptime })
    }

    fn bad<'a>(reply: &'static str, unwanted: usize, noreply: bool) -> Result<TextCommand<'a>, BadLine> {
        Err(BadLine { reply, unwanted, noreply })
    }

    #[test]
    fn lines_parse_to_commands_or_refusals() {
        let set = |mode, compare, noreply, flags, exptime| {
            let set = TextSet { mode, compare, noreply };
            Ok(TextCommand::Set(SetLine { set, flags, exptime, vlen: 3, key: b"k" }))
        };
        for (text, command) in [
            ("get k", get(b"k", false)),
            ("gets k", get(b"k", true)),
            ("get k ", get(b"k", false)),
            ("gets k ", get(b"k", true)),
            ("get k  ", many(b"get k  ", 3, None)),
            ("get a b", many(b"get a b", 3, None)),
            ("get", many(b"get", 3, None)),
            ("get   ", many(b"get   ", 3, None)),
            ("gat 5 a", many(b"gat 5 a", 6, Some(5))),
            ("gat 5", bad(BAD_FORMAT, 0, false)),
            ("gat x a", bad(EXPTIME, 0, false)),
            ("set k 0 0 3", set(Mode::Set, 0, false, 0, 0)),
            ("set k 7 -1 3 noreply", set(Mode::Set, 0, true, 7, -1)),
            ("append k 0 0 3 x", set(Mode::Append, 0, false, 0, 0)),
            ("cas k 0 0 3 9 noreply", set(Mode::Cas, 9, true, 0, 0)),
            ("set k 0 0", bad(BAD_FORMAT, 0, false)),
            ("set k 0 0 -1 noreply", bad(BAD_FORMAT, 0, false)),
            ("set k 0 0 x", bad(BAD_FORMAT, 0, false)),
            ("set k x 0 3", bad(BAD_FORMAT, 5, false)),
            ("set k 0 x 3 noreply", bad(BAD_FORMAT, 5, true)),
            ("cas k 0 0 3", bad(BAD_FORMAT, 5, false)),
            ("cas k 0 0 3 x", bad(BAD_FORMAT, 5, false)),
            ("delete k 0", Ok(TextCommand::Delete { key: b"k", noreply: false })),
            ("delete k noreply", Ok(TextCommand::Delete { key: b"k", noreply: true })),
            ("delete", bad(BAD_FORMAT, 0, false)),
            ("incr k 5", Ok(TextCommand::Arith { key: b"k", delta: 5, incr: true, noreply: false })),
            ("decr k 5 noreply", Ok(TextCommand::Arith { key: b"k", delta: 5, incr: false, noreply: true })),
            ("incr k", bad(BAD_FORMAT, 0, false)),
            ("incr k -5 noreply", bad(DELTA, 0, true)),
            ("touch k -5", Ok(TextCommand::Touch { key: b"k", exptime: -5, noreply: false })),
            ("touch k x", bad(EXPTIME, 0, false)),
            ("ms k 3 b", Ok(TextCommand::Meta(b"ms k 3 b"))),
            ("mn", Ok(TextCommand::Meta(b"mn"))),
            ("quit now", Ok(TextCommand::Quit)),
            ("version", Ok(TextCommand::Version)),
            ("stats items", Ok(TextCommand::Stats(b"stats items"))),
            ("watch", Ok(TextCommand::Watch(b"watch"))),
            ("flush_all 0", Ok(TextCommand::Other(b"flush_all 0"))),
            (" get k", Ok(TextCommand::Other(b" get k"))),
            ("GET k", Ok(TextCommand::Other(b"GET k"))),
            ("", bad(BAD_FORMAT, 0, false)),
        ] {
            assert_eq!(parse(format!("{text}\r\n").as_bytes()), command, "{text}");
            if text.len() >= 3 {
                assert_eq!(parse(format!("{text}\n").as_bytes()), command, "{text}");
            }
        }
    }

    #[test]
    fn a_storage_line_in_usual_form_parses_like_any_other() {
        let fields =
            ["", "k", "0", "00", "-1", "+1", "7", "x", "1 ", " 2", "999999999", "1000000000", "4294967296", "3\t"];
        let ends = ["", " ", " noreply", " noreply ", " x", "\tnoreply"];
        let mut usual = 0;
        for (number, key) in ["k", "", &"k".repeat(KEY_MAX), &"k".repeat(KEY_MAX + 1)].iter().enumerate() {
            for case in 0..fields.len().pow(3) * ends.len() {
                let (a, b, c) = (case % 14, case / 14 % 14, case / 196 % 14);
                let text = format!("set {key} {} {} {}{}", fields[a], fields[b], fields[c], ends[case / 2744]);
                if let Some(line) = usual_set(text.as_bytes(), 3, Mode::Set) {
                    assert_eq!(any_set(text.as_bytes(), Mode::Set), Ok(TextCommand::Set(line)), "{text}");
                    usual += usize::from(number == 0);
                }
            }
        }
        assert_eq!(usual, 4usize.pow(3) * 2);
    }

    #[test]
    fn a_key_that_is_too_long_refuses_the_line_except_for_gets() {
        let line = |before: &str, after: &str| [before.as_bytes(), LONG, after.as_bytes()].concat();
        for (before, after, refusal) in [
            ("set ", " 0 0 3", bad(BAD_FORMAT, 5, false)),
            ("set ", " 0 0 3 noreply", bad(BAD_FORMAT, 5, true)),
            ("set ", " 0 0 x", bad(BAD_FORMAT, 0, false)),
            ("delete ", "", bad(BAD_FORMAT, 0, false)),
            ("incr ", " x noreply", bad(BAD_FORMAT, 0, true)),
            ("touch ", " x", bad(BAD_FORMAT, 0, false)),
        ] {
            assert_eq!(parse(&line(before, &format!("{after}\r\n"))), refusal, "{before}..{after}");
        }
        let gets = line("get ", "\n");
        assert_eq!(parse(&gets), many(&gets[..gets.len() - 1], 3, None));
    }

    #[test]
    fn a_command_is_small() {
        assert!(size_of::<Result<TextCommand<'_>, BadLine>>() <= 64);
    }

    /// A parser that read on would see the rest of the line here, or panic at the end of the slice.
    #[test]
    fn a_line_that_is_cut_parses_as_what_is_left() {
        for line in ["get a b", "gat 5 a b", "cas k 0 0 3 9 noreply", "touch k 5", "ms k 3 b", "  x"] {
            for end in 0..=line.len() {
                let cut = [&line.as_bytes()[..end], b"\r\n"].concat();
                let longer = [&cut[..], b" 1 2 3 noreply\r\n"].concat();
                assert_eq!(parse(&longer[..cut.len()]), parse(&cut), "{line} {end}");
                guess(&cut[..end], &mut Ahead::default());
            }
        }
    }

    /// Of each line: the keys that are prefetched, whether the only one is certain, and the length of the value.
    #[test]
    fn guesses_agree_with_the_parser() {
        for (line, keys, certain, value) in [
            ("get k", "k", true, 0),
            ("get k ", "k", true, 0),
            ("get  k  ", "k", true, 0),
            ("get a b  c ", "a b c", false, 0),
            ("get 1 2 3 4 5 6 7 8 9", "1 2 3 4 5 6 7 8", false, 0),
            ("gets k\r", "k", true, 0),
            ("gat 5 a b", "a b", false, 0),
            ("gats 5 a\r", "a", false, 0),
            ("gat 5", "", false, 0),
            ("delete k noreply", "k", true, 0),
            ("incr k 5", "k", true, 0),
            ("decr  k 5 noreply", "k", true, 0),
            ("touch k 5", "k", true, 0),
            ("set k 0 0 3", "k", true, 5),
            ("set  k 0  0 3  noreply\r", "k", true, 5),
            ("append k 0 0 3", "k", true, 5),
            ("cas k 0 0 3 9", "k", true, 5),
            ("set k", "k", true, 0),
            ("mg a3== v b", "k", false, 0),
            ("mg k v b", "", false, 0),
            ("mg k v t", "k", true, 0),
            ("mg k Ob v", "k", true, 0),
            ("ms k 3 T9", "k", true, 5),
            ("ms a3== 3 b", "k", false, 5),
            ("ms k 0", "k", true, 2),
            ("ma k\r", "k", true, 0),
            ("md k q I", "k", true, 0),
            ("me k", "k", true, 0),
            ("me a3== b", "k", false, 0),
            ("mn ", "", false, 0),
            ("get", "", false, 0),
            ("get ", "", false, 0),
            ("flush_all 5", "", false, 0),
        ] {
            let mut ahead = Ahead::default();
            let guessed = guess(line.as_bytes(), &mut ahead);
            assert_eq!(
                (ahead.0.join(" ").as_str(), guessed.hash.is_some(), guessed.len),
                (keys, certain, value),
                "{line}"
            );
        }
    }
}
