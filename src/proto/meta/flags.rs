//! Flags of a meta command, parsed before the command runs.
//!
//! Owns which letters are flags, what their arguments must be and which error takes precedence. Every command accepts
//! every flag: one without meaning for it is validated and ignored. Called by the commands of this directory, which
//! define the effect of each flag.

use super::key;
use crate::clock::Clock;
use crate::decimal;
use crate::limits::KEY_MAX;
use crate::proto::line::{BAD_FORMAT, Run};
use crate::proto::tokens::Tokens;

/// Maximum words of a command.
const WORDS_MAX: usize = 20;
/// Maximum length of an opaque, its letter included.
const OPAQUE_MAX: usize = 32;

/// Reply to an invalid number.
const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";
/// Reply to an over-long opaque.
pub(super) const LONG_OPAQUE: &str = "CLIENT_ERROR opaque token too long";

/// Parsed flags of one command. Times are relative.
pub(super) struct Flags<'a> {
    text: &'a [u8],
    decoded: Option<Vec<u8>>,
    /// Index of an over-long opaque, which is an error only after the flags before it took effect.
    pub long_opaque: Option<usize>,
    /// `T` and its word index.
    pub touch: Option<(usize, u32)>,
    /// `N` and its word index.
    pub vivify: Option<(usize, u32)>,
    /// `R` and its word index.
    pub recache: Option<(usize, u32)>,
    /// `F`
    pub flags: u32,
    /// `C`
    pub compare: Option<u64>,
    /// `E`
    pub chosen: Option<u64>,
    /// `M`: the byte after the letter, 0 = none.
    pub mode: u8,
    /// `D`
    pub delta: u64,
    /// `J`
    pub initial: u64,
    /// `v`
    pub value: bool,
    /// `q`
    pub quiet: bool,
    /// `u`
    pub no_bump: bool,
    /// `I`
    pub stale: bool,
    /// `x`
    pub empty: bool,
    /// A flag is present for which memcached records the access after it builds the reply: `N T R l h`.
    pub bumps_late: bool,
}

impl<'a> Flags<'a> {
    /// Parses the words from `from` on; the key is the second word.
    ///
    /// # Errors
    /// The error reply: of the first unknown or repeated flag, else of the last bad argument.
    #[inline]
    pub fn parse(tokens: &Tokens<'a>, from: usize, clock: &Clock) -> Result<Self, &'static str> {
        let text = tokens.get(1);
        if text.len() > KEY_MAX {
            return Err(BAD_FORMAT);
        }
        if tokens.len() > WORDS_MAX {
            return Err("CLIENT_ERROR options flags are too long");
        }
        let mut flags = Self::none(text);
        let mut letters = 0u128;
        let mut error = None;
        for at in from..tokens.len() {
            let word = tokens.get(at);
            let (letter, argument) = (word[0], &word[1..]);
            // Letters are below 128: `is_sound` has checked the line.
            let bit = 1 << (letter & 127);
            if letters & bit != 0 {
                return Err("CLIENT_ERROR duplicate flag");
            }
            letters |= bit;
            let known = flags.take(at, letter, argument, clock);
            match known {
                Ok(()) => {}
                Err(Wrong::Unknown) => return Err("CLIENT_ERROR invalid flag"),
                Err(Wrong::Argument(reply)) => error = reply.or(error).or(Some(BAD_FORMAT)),
            }
        }
        match error {
            Some(reply) => Err(reply),
            None => Ok(flags),
        }
    }

    fn none(text: &'a [u8]) -> Self {
        Self {
            text,
            decoded: None,
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
        }
    }

    /// Parses one flag.
    #[inline]
    fn take(&mut self, at: usize, letter: u8, argument: &[u8], clock: &Clock) -> Result<(), Wrong> {
        let time = || match decimal::token_i32(argument) {
            Some(seconds) if !argument.is_empty() => Ok(Some((at, clock.expiry(i64::from(seconds))))),
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
            b'b' => match key::decode(self.text) {
                None => return Err(Wrong::Argument(Some("CLIENT_ERROR error decoding key"))),
                decoded => self.decoded = decoded,
            },
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

    /// The key, decoded.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.decoded.as_deref().unwrap_or(self.text)
    }

    /// Whether the key was given as base64.
    #[inline]
    pub fn is_base64(&self) -> bool {
        self.decoded.is_some()
    }

    /// `flag` if it precedes any over-long opaque, else `None`.
    #[inline]
    pub fn in_effect(&self, flag: Option<(usize, u32)>) -> Option<(usize, u32)> {
        flag.filter(|(at, _)| self.long_opaque.is_none_or(|end| *at < end))
    }

    /// Expiry time of a created item: the later of `T` and `N` counts; 0 = never.
    pub fn made_exptime(&self) -> u32 {
        let last = self.in_effect(self.touch).max(self.in_effect(self.vivify));
        last.map_or(0, |(_, exptime)| exptime)
    }
}

/// Parses the words from `from` on as flags; appends the error reply on failure.
#[inline]
pub(super) fn parse<'a>(run: &mut Run<'_, '_>, tokens: &Tokens<'a>, from: usize) -> Option<Flags<'a>> {
    match Flags::parse(tokens, from, &run.cx.shared.clock) {
        Ok(flags) => Some(flags),
        Err(error) => {
            run.reply(error);
            None
        }
    }
}

/// Whether a line has a key and each flag begins as a flag can. A failure is a malformed line, not an invalid flag.
#[inline]
pub(super) fn is_sound(tokens: &Tokens<'_>, from: usize) -> bool {
    // memcached's range of letters includes the six characters between `Z` and `a`.
    let begins_flag = |token: &[u8]| matches!(token.first(), Some(b'A'..=b'z' | b'0'..=b'9'));
    tokens.len() >= from && (from..tokens.len()).all(|at| begins_flag(tokens.get(at)))
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
        Flags::parse(&Tokens::split(line.as_bytes()), 2, &Clock::manual(0)).err()
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
        let parse = |line: &'static str| {
            let flags = Flags::parse(&Tokens::split(line.as_bytes()), 2, &Clock::manual(0));
            flags.map_err(str::to_owned).unwrap().made_exptime()
        };
        let now = crate::clock::START;
        assert_eq!(parse("mg k N30 T60"), now + 60);
        assert_eq!(parse("mg k T60 N30"), now + 30);
        assert_eq!(parse("mg k N30 Oaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa T60"), now + 60);
        assert_eq!(parse("mg k N30 Oaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa T60"), now + 30);
        assert_eq!(parse("mg k Oaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa T60"), 0);
    }
}
