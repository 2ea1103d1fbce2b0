//! Whether replies are whole, and nothing stands between them.
//!
//! Owns the forms of replies, not which reply a command gets.

use oxcached::limits::KEY_MAX;

/// First words of reply lines that stand alone, and of those that more follows.
const LINES: [&str; 36] = [
    "END",
    "STORED",
    "NOT_STORED",
    "EXISTS",
    "NOT_FOUND",
    "DELETED",
    "TOUCHED",
    "OK",
    "RESET",
    "ERROR",
    "CLIENT_ERROR",
    "SERVER_ERROR",
    "VERSION",
    "STAT",
    "ITEM",
    "PREFIX",
    "BUSY",
    "BADCLASS",
    "NOSPARE",
    "SAME",
    "NOTSTARTED",
    "MEMLIMIT_ADJUST_FAILED",
    "MEMLIMIT_TOO_SMALL",
    "WATCHER_TOO_MANY",
    "WATCHER_FAILED",
    "HD",
    "EN",
    "NF",
    "NS",
    "EX",
    "MN",
    "ME",
    "mg",
    "BADCLASS",
    "SERVER_ERROR:",
    "Error",
];

/// The first line that is none of a reply; `None` if the replies of a text conversation are whole. As in memcached, a
/// `get` with a key that is too long is answered with an empty line more.
pub fn text(asked: &[u8], mut replies: &[u8]) -> Option<String> {
    let long_key = asked.split(|byte| matches!(byte, b' ' | b'\n')).any(|word| word.len() > KEY_MAX);
    while !replies.is_empty() {
        let Some(end) = replies.iter().position(|byte| *byte == b'\n') else { return broken("no line end", replies) };
        let line = &replies[..end];
        let words = line.split(|byte| *byte == b' ').collect::<Vec<_>>();
        let dumped = line.starts_with(b"key=");
        let Some(line) = line.strip_suffix(b"\r").or(dumped.then_some(line)) else {
            return broken("no carriage return", line);
        };
        replies = &replies[end + 1..];
        let announced = match words[0] {
            b"VALUE" if words.len() == 4 || words.len() == 5 => Some(words[3]),
            b"VA" if words.len() > 1 => Some(words[1]),
            b"VALUE" | b"VA" => return broken("not a header", line),
            _ => None,
        };
        if let Some(announced) = announced {
            let len = std::str::from_utf8(announced).ok().and_then(|text| text.trim_end().parse::<usize>().ok());
            let Some(len) = len else { return broken("no length", line) };
            let Some((_, rest)) = replies.split_at_checked(len) else { return broken("half a value", line) };
            let Some(rest) = rest.strip_prefix(b"\r\n") else { return broken("a value of another length", line) };
            replies = rest;
            continue;
        }
        let number = !line.is_empty() && line.iter().all(u8::is_ascii_digit);
        let first = words[0].trim_ascii_end();
        if !(dumped || number || (long_key && line.is_empty()) || LINES.iter().any(|known| known.as_bytes() == first)) {
            return broken("unknown", line);
        }
    }
    None
}

/// The same of packets.
pub fn binary(mut replies: &[u8]) -> Option<String> {
    while !replies.is_empty() {
        let Some((header, rest)) = replies.split_first_chunk::<24>() else { return broken("half a header", replies) };
        let body = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let (key, extras) = (usize::from(u16::from_be_bytes([header[2], header[3]])), usize::from(header[4]));
        if header[0] != 0x81 || header[5] != 0 || key + extras > body {
            return broken("not a reply's header", header);
        }
        let Some((_, rest)) = rest.split_at_checked(body) else { return broken("half a body", header) };
        replies = rest;
    }
    None
}

fn broken(what: &str, at: &[u8]) -> Option<String> {
    Some(format!("{what}: {:?}", at[..at.len().min(200)].escape_ascii().to_string()))
}

/// Replies of a conversation: packets if its first byte says so.
pub fn replies(asked: &[u8], replies: &[u8]) -> Option<String> {
    if asked.first() == Some(&0x80) { binary(replies) } else { text(asked, replies) }
}
