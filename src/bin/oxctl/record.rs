//! Records of a dump: the command that stores an item, its value, a line end.
//!
//! Owns the format, which is memcached-tool's: `add KEY FLAGS EXPTIME BYTES`. A key that such a line cannot carry, with
//! blanks or control characters, is in an `ms` line in base64. A dump is therefore a valid request of memcached's text
//! protocol. Used by `dump` and `load`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest key in bytes, as written in a line.
const KEY_MAX: usize = 250;
/// Longest value: the upper limit of memcached's `-I`.
const VALUE_MAX: u64 = 1 << 30;
/// Longest line of a record: a key and numbers.
pub(crate) const RECORD_LINE_MAX: usize = 512;

/// What a record says of an item, its value aside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordHead {
    /// As it is written: base64 if `encoded`.
    key: Vec<u8>,
    encoded: bool,
    flags: u32,
    /// Unix time, or 0 for an item that does not expire.
    expiry: i64,
    pub(crate) length: u64,
}

/// Whether a text command can name `key`.
pub(crate) fn is_plain(key: &[u8]) -> bool {
    (1..=KEY_MAX).contains(&key.len()) && key.iter().all(|&byte| byte > b' ' && byte != 0x7f)
}

/// A key as meta commands take it with the flag `b`.
pub(crate) fn encoded_key(key: &[u8]) -> Vec<u8> {
    STANDARD.encode(key).into_bytes()
}

impl RecordHead {
    pub(crate) fn new(key: &[u8], flags: u32, expiry: i64, length: u64) -> Self {
        let encoded = !is_plain(key);
        let key = if encoded { encoded_key(key) } else { key.to_owned() };
        Self { key, encoded, flags, expiry, length }
    }

    /// The line before the value, with its line end. `overwrite` stores also over an existing item.
    pub(crate) fn line(&self, overwrite: bool) -> Vec<u8> {
        let Self { key, encoded, flags, expiry, length } = self;
        let (before, behind) = if *encoded {
            let mode = if overwrite { 'S' } else { 'E' };
            ("ms ", format!(" {length} b F{flags} T{expiry} M{mode}\r\n"))
        } else {
            (if overwrite { "set " } else { "add " }, format!(" {flags} {expiry} {length}\r\n"))
        };
        [before.as_bytes(), key, behind.as_bytes()].concat()
    }

    /// Reads the line before a value, without its line end.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, &'static str> {
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let (key, encoded, flags, expiry, length) = match words[..] {
            [b"add" | b"set", key, flags, expiry, length] => (key, false, flags, expiry, length),
            [b"ms", key, length, b"b", flags, expiry, b"ME" | b"MS"] => {
                let flags = flags.strip_prefix(b"F").ok_or("the flags are missing")?;
                (key, true, flags, expiry.strip_prefix(b"T").ok_or("the expiry time is missing")?, length)
            }
            _ => return Err("neither 'add KEY FLAGS EXPTIME BYTES' nor its form for binary keys"),
        };
        if !is_plain(key) || (encoded && STANDARD.decode(key).is_err()) {
            return Err("the key is invalid");
        }
        let head = Self {
            key: key.to_owned(),
            encoded,
            flags: number(flags).ok_or("the flags are no number of 32 bits")?,
            expiry: number(expiry).ok_or("the expiry time is no number")?,
            length: number(length).filter(|&length| length <= VALUE_MAX).ok_or("the length is no number up to 2^30")?,
        };
        Ok(head)
    }

    /// The key for a message.
    pub(crate) fn shown_key(&self) -> String {
        crate::printer::shown(&self.key)
    }
}

/// A decimal number without a plus sign.
pub(crate) fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(text).ok()?;
    if text.starts_with('+') { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_are_written() {
        for key in [&b"a"[..], b"a b", b"\r\nflush_all\r\n", b"\x80\xff", &[b'k'; 250]] {
            let head = RecordHead::new(key, u32::MAX, -1, 1 << 20);
            for overwrite in [false, true] {
                let line = head.line(overwrite);
                let line = line.strip_suffix(b"\r\n").unwrap();
                assert!(line.len() <= RECORD_LINE_MAX && !line.contains(&b'\n'));
                assert_eq!(RecordHead::parse(line), Ok(head.clone()));
            }
        }
        assert_eq!(RecordHead::new(b"a", 1, 0, 2).line(false), b"add a 1 0 2\r\n");
        assert_eq!(RecordHead::new(b"a b", 1, 60, 2).line(true), b"ms YSBi 2 b F1 T60 MS\r\n");
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "get a",
            "add a 1 0",
            "add a 1 0 2 noreply",
            "add  1 0 2",
            "add a\t 1 0 2",
            "add a x 0 2",
            "add a 4294967296 0 2",
            "add a -1 0 2",
            "add a 1 +0 2",
            "add a 1 0 -2",
            "add a 1 0 1073741825",
            "ms YSBi 2 F1 T0 ME",
            "ms YSB 2 b F1 T0 ME",
            "ms YSBi 2 b F1 T0 MA",
            "ms YSBi 2 b 1 T0 ME",
        ] {
            assert!(RecordHead::parse(line.as_bytes()).is_err(), "{line}");
        }
        let long = format!("add {} 1 0 2", "k".repeat(251));
        assert!(RecordHead::parse(long.as_bytes()).is_err());
    }
}
