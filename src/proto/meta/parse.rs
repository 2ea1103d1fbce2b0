//! Meta lines: words to commands.
//!
//! Owns which letters are flags, what their arguments must be, the modes, and which error takes precedence. Every
//! command accepts every flag: one without meaning for it is validated and ignored. Reads the words and nothing else:
//! no context, no store, no allocation; times stay as given. Keys are valid: 1 to `KEY_MAX` bytes, decoded or not.
//! Called by the dispatcher of this directory, whose commands define the effect of each flag.

use super::key;
use crate::clock::{Clock, Expiry};
use crate::decimal;
use crate::limits::KEY_MAX;
use crate::proto::line::{BAD_FORMAT, BadLine, value_len};
use crate::proto::tokens::Tokens;
use crate::store::Mode;

/// Maximum words of a command.
const WORDS_MAX: usize = 20;
/// Maximum length of an opaque, its letter included.
const OPAQUE_MAX: usize = 32;

/// Reply to an invalid number.
const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";
/// Reply to an over-long opaque.
pub(super) const LONG_OPAQUE: &str = "CLIENT_ERROR opaque token too long";

/// What a meta line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaVerb {
    /// `mg`: fetch.
    Get,
    /// `ms`, with the length of the value, which two bytes follow.
    Set { mode: Mode, vlen: u32 },
    /// `md`: delete, empty or mark stale.
    Delete,
    /// `ma`: increment or decrement.
    Arith { incr: bool },
    /// `me`, which has no flags but `b`.
    Inspect,
    /// `mn`, which has no key.
    Noop,
}

/// The command of a meta line.
#[derive(Clone, Copy)]
pub(super) struct MetaCommand<'a> {
    pub verb: MetaVerb,
    pub flags: Flags,
    words: &'a Tokens<'a>,
}

impl<'a> MetaCommand<'a> {
    /// The line without its end.
    #[inline]
    pub fn line(&self) -> &'a [u8] {
        self.words.text()
    }

    /// The key as given.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        self.words.get(1)
    }

    /// Index of the first flag among the words.
    #[inline]
    fn first_flag(&self) -> usize {
        if matches!(self.verb, MetaVerb::Set { .. }) { 3 } else { 2 }
    }

    /// The flags in their order.
    #[inline]
    pub fn flag_words(&self) -> impl Iterator<Item = &'a [u8]> {
        let words = self.words;
        (self.first_flag()..words.len()).map(|at| words.get(at))
    }

    /// The text of the flags.
    #[inline]
    pub fn flag_text(&self) -> &'a [u8] {
        self.words.text_from(self.first_flag())
    }
}

/// Parses the words of a line that the text protocol takes for a meta command: the first one is `m` and a letter.
///
/// # Errors
/// The refusal of a malformed line.
#[inline]
pub(super) fn parse<'a>(words: &'a Tokens<'a>) -> Result<MetaCommand<'a>, BadLine> {
    let letter = words.get(0).last().copied().unwrap_or_default();
    let mut command = MetaCommand { verb: MetaVerb::Noop, flags: Flags::NONE, words };
    let (first_flag, vlen) = match letter {
        b's' => (3, value_len(words.get(2))),
        b'n' => return Ok(command),
        _ => (2, Some(0)),
    };
    let Some(vlen) = vlen.filter(|_| is_sound(words, first_flag)) else {
        return Err(BadLine::new(BAD_FORMAT));
    };
    let refused = |reply| if first_flag == 3 { BadLine::before_value(reply, vlen) } else { BadLine::new(reply) };
    if letter == b'e' {
        return inspect(words).map_err(refused);
    }
    match command.flags.parse(words, first_flag) {
        Ok(()) => {}
        Err(_) if letter == b'a' => return Err(refused("CLIENT_ERROR invalid or duplicate flag")),
        Err(reply) => return Err(refused(reply)),
    }
    let flags = &command.flags;
    command.verb = match letter {
        b'g' => MetaVerb::Get,
        b's' => match flags.set_mode() {
            Some(mode) => MetaVerb::Set { mode, vlen },
            None => return Err(refused("CLIENT_ERROR invalid mode for ms M token")),
        },
        b'd' if flags.long_opaque.is_some() => return Err(refused(LONG_OPAQUE)),
        b'd' => MetaVerb::Delete,
        b'a' => match flags.mode {
            0 | b'I' | b'+' => MetaVerb::Arith { incr: true },
            b'D' | b'-' => MetaVerb::Arith { incr: false },
            _ => return Err(refused("CLIENT_ERROR invalid mode for ma M token")),
        },
        _ => return Err(refused("ERROR")),
    };
    Ok(command)
}

/// Whether a line has a key and each flag begins as a flag can. A failure is a malformed line, not an invalid flag.
#[inline]
fn is_sound(words: &Tokens<'_>, first_flag: usize) -> bool {
    // memcached's range of letters includes the six characters between `Z` and `a`.
    let begins_flag = |token: &[u8]| matches!(token.first(), Some(b'A'..=b'z' | b'0'..=b'9'));
    words.len() >= first_flag && (first_flag..words.len()).all(|at| begins_flag(words.get(at)))
}

fn inspect<'a>(words: &'a Tokens<'a>) -> Result<MetaCommand<'a>, &'static str> {
    // A `b` without further words is ignored, as in memcached.
    let base64 = words.len() >= 4 && words.get(2) == b"b";
    if words.get(1).len() > KEY_MAX || base64 && !key::is_valid(words.get(1)) {
        return Err(BAD_FORMAT);
    }
    Ok(MetaCommand { verb: MetaVerb::Inspect, flags: Flags { base64, ..Flags::NONE }, words })
}

/// Flags of one command.
#[derive(Clone, Copy)]
pub(super) struct Flags {
    /// Index of an over-long opaque, which is an error only after the flags before it took effect.
    pub long_opaque: Option<u8>,
    /// `T`, the new expiry time: word index and seconds.
    pub touch: Option<(u8, i32)>,
    /// `N`, which creates the item on a miss, with this expiry time: word index and seconds.
    pub vivify: Option<(u8, i32)>,
    /// `R`, which wins the token if the item expires sooner: word index and seconds.
    pub recache: Option<(u8, i32)>,
    /// `F`: client flags.
    pub flags: u32,
    /// `C`: CAS id to compare with.
    pub compare: Option<u64>,
    /// `E`: CAS id for the item.
    pub chosen: Option<u64>,
    /// `M`, the mode: the byte after the letter, 0 = none.
    pub mode: u8,
    /// `D`: amount of an increment or decrement.
    pub delta: u64,
    /// `J`: number of an item that arithmetic creates.
    pub initial: u64,
    /// `v`: reply with the value.
    pub value: bool,
    /// `q`: omit the usual reply.
    pub quiet: bool,
    /// `u`: do not record the access.
    pub no_bump: bool,
    /// `I`: mark the item stale (`md`), or store a value with a lower CAS id as stale (`ms`).
    pub stale: bool,
    /// `x`: empty the item instead of deleting it.
    pub empty: bool,
    /// A flag is present for which memcached records the access after it builds the reply: `N T R l h`.
    pub bumps_late: bool,
    /// `b`: the key is base64, and valid as such.
    pub base64: bool,
}

/// Expiry times of a command's flags, each with the word index of its flag.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// `T`: the item's new expiry time.
    pub touch: Option<(u8, Expiry)>,
    /// `N`: expiry time of an item created on a miss.
    pub vivify: Option<(u8, Expiry)>,
    /// `R`: the token is won if the item expires before this relative time.
    pub recache: Option<(u8, u32)>,
}

impl Flags {
    const NONE: Self = Self {
        long_opaque: None,
        touch: None,
        vivify: None,
        recache: None,
        flags: 0,
        compare: None,
        chosen: None,
        mode: 0,
        delta: 1,
        initial: 0,
        value: false,
        quiet: false,
        no_bump: false,
        stale: false,
        empty: false,
        bumps_late: false,
        base64: false,
    };

    /// Parses the words from `first_flag` on; the key is the second word.
    ///
    /// # Errors
    /// The error reply: of the first unknown or repeated flag, else of the last bad argument.
    #[inline]
    fn parse(&mut self, words: &Tokens<'_>, first_flag: usize) -> Result<(), &'static str> {
        let key = words.get(1);
        if key.len() > KEY_MAX {
            return Err(BAD_FORMAT);
        }
        if words.len() > WORDS_MAX {
            return Err("CLIENT_ERROR options flags are too long");
        }
        let mut letters = 0u128;
        let mut error = None;
        for at in first_flag..words.len() {
            let word = words.get(at);
            let (letter, argument) = (word[0], &word[1..]);
            // Letters are below 128: `is_sound` has checked the line.
            let bit = 1 << (letter & 127);
            if letters & bit != 0 {
                return Err("CLIENT_ERROR duplicate flag");
            }
            letters |= bit;
            match self.take(at as u8, letter, argument, key) {
                Ok(()) => {}
                Err(Wrong::Unknown) => return Err("CLIENT_ERROR invalid flag"),
                Err(Wrong::Argument(reply)) => error = reply.or(error).or(Some(BAD_FORMAT)),
            }
        }
        error.map_or(Ok(()), Err)
    }

    /// Parses one flag.
    #[inline]
    fn take(&mut self, at: u8, letter: u8, argument: &[u8], key: &[u8]) -> Result<(), Wrong> {
        let time = || match decimal::token_i32(argument) {
            Some(seconds) if !argument.is_empty() => Ok(Some((at, seconds))),
            _ => Err(Wrong::Argument(Some(BAD_TOKEN))),
        };
        let number = |reply| match decimal::token_u64(argument) {
            Some(number) if !argument.is_empty() => Ok(number),
            _ => Err(Wrong::Argument(Some(reply))),
        };
        match letter {
            b'v' => self.value = true,
            b'q' => self.quiet = true,
            b'u' => self.no_bump = true,
            b'k' | b's' | b't' | b'c' | b'f' | b'P' | b'L' => {}
            b'l' | b'h' => self.bumps_late = true,
            b'N' | b'T' | b'R' => {
                self.bumps_late = true;
                let slot = match letter {
                    b'N' => &mut self.vivify,
                    b'T' => &mut self.touch,
                    _ => &mut self.recache,
                };
                *slot = time()?;
            }
            b'O' if argument.len() >= OPAQUE_MAX => self.long_opaque = Some(at),
            b'O' => {}
            b'b' if key::is_valid(key) => self.base64 = true,
            b'b' => return Err(Wrong::Argument(Some("CLIENT_ERROR error decoding key"))),
            b'C' => self.compare = Some(number(BAD_TOKEN)?),
            b'E' => self.chosen = Some(number(BAD_TOKEN)?),
            b'J' => self.initial = number("CLIENT_ERROR invalid numeric initial value")?,
            b'D' => self.delta = number("CLIENT_ERROR invalid numeric delta value")?,
            b'F' => match decimal::token_u32(argument) {
                Some(flags) if !argument.is_empty() => self.flags = flags,
                _ => return Err(Wrong::Argument(None)),
            },
            // memcached reads the line's next byte as the mode of a bare `M`, which is never a valid mode.
            b'M' => self.mode = argument.first().copied().unwrap_or(b' '),
            b'I' => self.stale = true,
            b'x' => self.empty = true,
            _ => return Err(Wrong::Unknown),
        }
        Ok(())
    }

    /// Mode of a set; `None` for an unknown one.
    #[inline]
    fn set_mode(&self) -> Option<Mode> {
        let compares = self.compare.is_some();
        Some(match self.mode {
            0 | b'S' if compares => Mode::Cas,
            0 | b'S' => Mode::Set,
            b'R' if compares => Mode::Cas,
            b'R' => Mode::Replace,
            b'E' => Mode::Add,
            b'A' => Mode::Append,
            b'P' => Mode::Prepend,
            _ => return None,
        })
    }

    /// The times of the flags as expiry times, counted from now.
    #[inline]
    pub fn times(&self, clock: &Clock) -> Times {
        let time = |flag: Option<(u8, i32)>| flag.map(|(at, seconds)| (at, clock.expiry(i64::from(seconds))));
        let recache = time(self.recache).map(|(at, before)| (at, clock.relative(before)));
        Times { touch: time(self.touch), vivify: time(self.vivify), recache }
    }

    /// `flag` if it precedes any over-long opaque, else `None`.
    #[inline]
    pub fn in_effect<T>(&self, flag: Option<(u8, T)>) -> Option<(u8, T)> {
        flag.filter(|(at, _)| self.long_opaque.is_none_or(|end| *at < end))
    }

    /// Expiry time of a created item: that of `T` or `N`, whichever is later on the line.
    pub fn made_expiry(&self, times: &Times) -> Expiry {
        let last = self.in_effect(times.touch).max(self.in_effect(times.vivify));
        last.map_or(Expiry::Never, |(_, expiry)| expiry)
    }
}

/// Error of a flag.
enum Wrong {
    /// Unknown flag.
    Unknown,
    /// Bad argument; with the reply, if the flag has a specific one.
    Argument(Option<&'static str>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> Option<&'static str> {
        parse(&Tokens::split(line.as_bytes())).err().map(|line| line.reply)
    }

    #[test]
    fn lines_parse_to_commands_or_refusals() {
        let set = |mode, vlen| Ok(MetaVerb::Set { mode, vlen });
        let bad = |reply| Err(BadLine::new(reply));
        let before = |vlen, reply| Err(BadLine::before_value(reply, vlen));
        for (line, verb) in [
            ("mn", Ok(MetaVerb::Noop)),
            ("mg k v t", Ok(MetaVerb::Get)),
            ("mg", bad(BAD_FORMAT)),
            ("mg k -v", bad(BAD_FORMAT)),
            ("md k q", Ok(MetaVerb::Delete)),
            ("md k Oaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", bad(LONG_OPAQUE)),
            ("mg k Oaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Ok(MetaVerb::Get)),
            ("ma k", Ok(MetaVerb::Arith { incr: true })),
            ("ma k MD", Ok(MetaVerb::Arith { incr: false })),
            ("ma k MX", bad("CLIENT_ERROR invalid mode for ma M token")),
            ("ma k Tx", bad("CLIENT_ERROR invalid or duplicate flag")),
            ("ms k 3", set(Mode::Set, 3)),
            ("ms k 3 C9", set(Mode::Cas, 3)),
            ("ms k 3 MR", set(Mode::Replace, 3)),
            ("ms k 3 MR C9", set(Mode::Cas, 3)),
            ("ms k 3 MA C9", set(Mode::Append, 3)),
            ("ms k 3 MX", before(3, "CLIENT_ERROR invalid mode for ms M token")),
            ("ms k 3 S", before(3, "CLIENT_ERROR invalid flag")),
            ("ms k", bad(BAD_FORMAT)),
            ("ms k x S", bad(BAD_FORMAT)),
            ("me Zm9v b", Ok(MetaVerb::Inspect)),
            ("me Zm9 b v", bad(BAD_FORMAT)),
            ("mx k", bad("ERROR")),
        ] {
            assert_eq!(parse(&Tokens::split(line.as_bytes())).map(|command| command.verb), verb, "{line}");
        }
    }

    #[test]
    fn flags_keep_their_order_and_arguments() {
        let words = Tokens::split(b"ms Zm9v 3 c b T-1 Oab F7 q");
        let Ok(command) = parse(&words) else { panic!("refused") };
        let flags = command.flags;
        assert_eq!((command.key(), command.flag_text()), (&b"Zm9v"[..], &b"c b T-1 Oab F7 q"[..]));
        assert!(command.flag_words().eq([&b"c"[..], b"b", b"T-1", b"Oab", b"F7", b"q"]));
        assert_eq!((flags.touch, flags.flags, flags.base64, flags.quiet), (Some((5, -1)), 7, true, true));
        let words = Tokens::split(b"me Zm9v b v");
        assert!(parse(&words).is_ok_and(|command| command.flags.base64));
        let words = Tokens::split(b"me Zm9v b");
        assert!(parse(&words).is_ok_and(|command| !command.flags.base64));
    }

    #[test]
    fn first_wrong_letter_or_last_wrong_argument_is_reported() {
        const DUPLICATE: &str = "CLIENT_ERROR duplicate flag";
        const INVALID: &str = "CLIENT_ERROR invalid flag";
        const INITIAL: &str = "CLIENT_ERROR invalid numeric initial value";
        const DELTA: &str = "CLIENT_ERROR invalid numeric delta value";
        for (line, reply) in [
            ("mg kkkk b N1 R1 T1 l O P L k s t c f v h u q x I", Some("CLIENT_ERROR options flags are too long")),
            ("mg kkkk b N1 R1 T1 l O P L k s t c f v h u q x", None),
            ("mg k F1 x C1 E1 M J1 D1 I", None),
            ("mg k k k", Some(DUPLICATE)),
            ("mg k Oa Ob", Some(DUPLICATE)),
            ("mg k S", Some(INVALID)),
            ("mg k 1", Some(INVALID)),
            ("mg k _", Some(INVALID)),
            ("mg k Tx S", Some(INVALID)),
            ("mg k Tx v v", Some(DUPLICATE)),
            ("mg k Jx", Some(INITIAL)),
            ("mg k Dx", Some(DELTA)),
            ("mg k D", Some(DELTA)),
            ("mg k Jx Dx Tx", Some(BAD_TOKEN)),
            ("mg k Tx Jx", Some(INITIAL)),
            ("mg k Fx", Some(BAD_FORMAT)),
            ("mg k Jx Fx", Some(INITIAL)),
            ("mg k Fx Jx", Some(INITIAL)),
            ("mg k F4294967296", Some(BAD_FORMAT)),
            ("mg k T2147483648", Some(BAD_TOKEN)),
            ("mg k T", Some(BAD_TOKEN)),
            ("mg k C-1", Some(BAD_TOKEN)),
            ("mg k E18446744073709551616", Some(BAD_TOKEN)),
            ("mg k b", Some("CLIENT_ERROR error decoding key")),
        ] {
            assert_eq!(error(line), reply, "{line}");
        }
        assert_eq!(error(&format!("mg {} S", "k".repeat(251))), Some(BAD_FORMAT));
    }

    #[test]
    fn times_apply_in_order_up_to_an_over_long_opaque() {
        let made = |line: &'static str| {
            let words = Tokens::split(line.as_bytes());
            let flags = parse(&words).map(|command| command.flags).ok().unwrap();
            flags.made_expiry(&flags.times(&Clock::manual(0)))
        };
        let now = crate::clock::START;
        assert_eq!(made("mg k N30 T60"), Expiry::At(now + 60));
        assert_eq!(made("mg k T60 N30"), Expiry::At(now + 30));
        assert_eq!(made("mg k N30 Oaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa T60"), Expiry::At(now + 60));
        assert_eq!(made("mg k N30 Oaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa T60"), Expiry::At(now + 30));
        assert_eq!(made("mg k Oaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa T60"), Expiry::Never);
    }
}
