//! The login of `-Y`: a `set` with the value `user password`.
//!
//! Owns the format of such a line and value and the replies to anything else, as in memcached: key, flags, time and
//! `noreply` are ignored, and the bytes after a refused line count as the next line. Knows no users. Called by the
//! session until the client has logged in.

use crate::decimal;
use crate::limits::{LINE_MAX, LINE_WAIT_MAX, TOKEN_MAX};
use crate::proto::line::Run;
use crate::proto::tokens::Tokens;
use crate::proto::{Cx, Output};

/// Minimum bytes that memcached waits for before it parses.
const LOOK_MIN: usize = 3;

/// Shortest line, without its newline, that gets a reply.
const LINE_MIN: usize = 6;

/// Result of parsing the front of the input.
pub(in crate::proto) enum LoginLine {
    /// An incomplete line.
    Unfinished,
    /// Not a line; gets no reply.
    Foreign,
    /// A refused line: its length and the reply.
    Refused(usize, &'static str),
    /// A login line: its length, and the length of the value with its line end.
    Value(usize, usize),
}

/// Parses the front of `bytes`.
pub(in crate::proto) fn line(bytes: &[u8]) -> LoginLine {
    if bytes.len() < LOOK_MIN {
        return LoginLine::Unfinished;
    }
    let Some(newline) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() > LINE_WAIT_MAX { LoginLine::Foreign } else { LoginLine::Unfinished };
    };
    if !(LINE_MIN..LINE_MAX).contains(&newline) {
        return LoginLine::Foreign;
    }
    let used = newline + 1;
    // memcached looks for the carriage return one byte too early: the last byte is ignored, whatever it is.
    let text = &bytes[..newline - 1];
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let tokens = Tokens::split(text);
    let size = decimal::token_u32(tokens.get(4)).filter(|_| tokens.len() >= 5 && text.starts_with(b"set"));
    match size {
        None => LoginLine::Refused(used, "CLIENT_ERROR unauthenticated"),
        Some(size) if size > TOKEN_MAX => LoginLine::Refused(used, "CLIENT_ERROR auth token too long"),
        Some(size) => LoginLine::Value(used, size as usize + 2),
    }
}

/// User and password of `value`, which includes the two bytes after it.
///
/// # Errors
/// The error reply.
pub(in crate::proto) fn user_and_password(value: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let Some(token) = value.strip_suffix(b"\r\n") else {
        return Err("CLIENT_ERROR bad command line termination");
    };
    let space = memchr::memchr(b' ', token).ok_or("CLIENT_ERROR bad authentication token format")?;
    Ok((&token[..space], &token[space + 1..]))
}

/// Appends a one-line reply.
pub(in crate::proto) fn reply(cx: &Cx<'_>, out: &mut Output, line: &str) {
    Run::new(cx, out, false).reply(line);
    out.end_of_reply();
    cx.piped.set(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected results are those of memcached 1.6.45.
    #[test]
    fn lines_parse_as_in_memcached() {
        let refused = "CLIENT_ERROR unauthenticated";
        for (text, size) in [
            ("set k 0 0 7\r\n", 9),
            ("set k 0 0 77\n", 9),
            ("set k 0 0 7\r\r\n", 9),
            ("set k 0 0 7x\n", 9),
            ("set k 0 0 7\rx\n", 9),
            ("setfoo k 0 0 7\r\n", 9),
            ("set k 0 0 7 noreply\r\n", 9),
            ("set  k  0  0  7  \r\n", 9),
            ("set k 0 0 0\r\n", 2),
            ("set k 0 0 16384\r\n", 16386),
            ("set k 0 0 00000000007\r\n", 9),
        ] {
            assert!(
                matches!(line(text.as_bytes()), LoginLine::Value(n, s) if n == text.len() && s == size),
                "{text:?}"
            );
        }
        for (text, reply) in [
            ("abcde\r\n", refused),
            ("abcdef\n", refused),
            ("get foo\r\n", refused),
            (" set k 0 0 7\r\n", refused),
            ("SET k 0 0 7\r\n", refused),
            ("add k 0 0 7\r\n", refused),
            ("set k 0 0 7\n", refused),
            ("set k 0 0\r\n", refused),
            ("set k 0 0 -1\r\n", refused),
            ("set k 0 0 x\r\n", refused),
            ("set k 0 0 4294967296\r\n", refused),
            ("set k 0 0 000000000007\r\n", refused),
            ("set k 0 0 4294967295\r\n", "CLIENT_ERROR auth token too long"),
            ("set k 0 0 16385\r\n", "CLIENT_ERROR auth token too long"),
        ] {
            assert!(
                matches!(line(text.as_bytes()), LoginLine::Refused(n, r) if n == text.len() && r == reply),
                "{text:?}"
            );
        }
        for text in ["a\r\n", "abcd\r\n", "abcde\n", "\n\n\n", &"x".repeat(2049)] {
            assert!(matches!(line(text.as_bytes()), LoginLine::Foreign), "{text:?}");
        }
        for text in ["", "\n", "\r\n", "set k 0 0 7\r", &"x".repeat(2048)] {
            assert!(matches!(line(text.as_bytes()), LoginLine::Unfinished), "{text:?}");
        }
    }

    #[test]
    fn first_space_ends_the_user() {
        assert_eq!(user_and_password(b"foo bar\r\n"), Ok((&b"foo"[..], &b"bar"[..])));
        assert_eq!(user_and_password(b" a b \r\n"), Ok((&b""[..], &b"a b "[..])));
        assert_eq!(user_and_password(b"foobar\r\n"), Err("CLIENT_ERROR bad authentication token format"));
        assert_eq!(user_and_password(b"\r\n"), Err("CLIENT_ERROR bad authentication token format"));
        assert_eq!(user_and_password(b"foo bar\n\n"), Err("CLIENT_ERROR bad command line termination"));
    }
}
