//! `lru_crawler metadump` and `mgdump`: a list of all items, told step by step.
//!
//! Owns the forms of the lines and where a dump stands. A dump is a state of its session: each step appends
//! some kilobytes and then lets others run, so a slow or vanished reader holds nothing but one step's bytes.
//! Knows no sockets. Begun and stepped by the session.

use super::Run;
use crate::decimal;
use crate::limits::KEY_MAX;
use crate::proto::{Cx, Output};
use crate::store::{Entry, Walk, iflag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes after which a step ends; the longest line may follow.
const STEP_BYTES: usize = 32 * 1024;

/// Slots of memory visited in one step at most.
const STEP_SLOTS: u32 = 4096;

/// Buckets of the index visited in one step at most.
const STEP_BUCKETS: u32 = 512;

/// More than the longest line: a key of escapes, and seven numbers with their names.
const DUMP_LINE_MAX: usize = 3 * KEY_MAX + 250;

/// What is told of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum Kind {
    /// `metadump`: everything but the value.
    Meta,
    /// `mgdump`: the key, as an `mg` command.
    Keys,
}

impl Kind {
    pub(super) fn not_allowed(self) -> &'static str {
        match self {
            Self::Meta => "ERROR metadump not allowed",
            Self::Keys => "ERROR key dump not allowed",
        }
    }

    fn not_first(self) -> &'static str {
        match self {
            Self::Meta => "ERROR cannot pipeline other commands before metadump",
            Self::Keys => "ERROR cannot pipeline other commands before mgdump",
        }
    }

    fn end(self) -> &'static [u8] {
        match self {
            Self::Meta => b"END\r\n",
            Self::Keys => b"EN\r\n",
        }
    }
}

/// Which items are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum Of {
    /// Those of these classes (one bit each), in the order of memory.
    Classes(u64),
    /// All, in the order of hashes.
    Hashes,
}

/// A dump that was asked for.
pub(in crate::proto) struct Ask {
    pub kind: Kind,
    /// `None` if the list of classes was none.
    pub of: Option<Of>,
    pub noreply: bool,
}

enum Position {
    Memory(Walk),
    Hashes(u32),
}

/// A dump under way.
pub(in crate::proto) struct Dump {
    kind: Kind,
    position: Position,
}

/// Begins a dump, or refuses it. `first` says that no other reply waits to be sent before it.
pub(in crate::proto) fn begin(cx: &Cx<'_>, ask: &Ask, first: bool, out: &mut Output) -> Option<Box<Dump>> {
    let store = cx.shared.cache.store;
    let refusal = match ask.of {
        _ if !first => ask.kind.not_first(),
        None => "BADCLASS invalid class id",
        Some(Of::Classes(0)) => "NOTSTARTED no items to crawl",
        // A dump is no answer for a datagram: it has no end that the server could wait for.
        _ if out.is_datagrams() => "ERROR an unknown error happened",
        Some(of) => {
            cx.shared.crawler.note_start();
            out.put(b"OK\r\n");
            let position = match of {
                Of::Classes(classes) => Position::Memory(store.begin_walk(classes)),
                Of::Hashes => Position::Hashes(0),
            };
            return Some(Box::new(Dump { kind: ask.kind, position }));
        }
    };
    Run { cx, verbs: cx.verbs(), out, noreply: ask.noreply }.reply(refusal);
    None
}

impl Dump {
    /// Appends the next lines. True when the last one, which says so, is among them.
    pub(in crate::proto) fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> bool {
        let room = STEP_BYTES.saturating_sub(out.remaining());
        let bytes = out.bytes();
        let full = bytes.len() + room;
        // Room for all of it: nothing is allocated under a bucket's lock.
        bytes.reserve(room + 16 * DUMP_LINE_MAX);
        let (kind, store, now) = (self.kind, cx.shared.cache.store, cx.shared.clock.now());
        let over = match &mut self.position {
            Position::Memory(walk) => store.walk(walk, STEP_SLOTS, now, |entry| {
                line(cx, kind, entry, now, bytes);
                bytes.len() < full
            }),
            Position::Hashes(place) => 'buckets: {
                for _ in 0..STEP_BUCKETS {
                    match store.walk_hashes(*place, now, |entry| line(cx, kind, entry, now, bytes)) {
                        Some(next) => *place = next,
                        None => break 'buckets true,
                    }
                    if bytes.len() >= full {
                        break;
                    }
                }
                false
            }
        };
        if over {
            out.put(self.kind.end());
        }
        over
    }
}

fn line(cx: &Cx<'_>, kind: Kind, entry: &Entry, now: u32, out: &mut Vec<u8>) {
    match kind {
        Kind::Meta => meta_line(cx, entry, now, out),
        Kind::Keys => key_line(entry, out),
    }
}

/// `key=… exp=… la=… cas=… fetch=… cls=… size=… flags=… ` and a line feed.
fn meta_line(cx: &Cx<'_>, entry: &Entry, now: u32, out: &mut Vec<u8>) {
    let clock = &cx.shared.clock;
    out.extend_from_slice(b"key=");
    let start = out.len();
    entry.copy_key(out);
    escape(out, start);
    out.extend_from_slice(b" exp=");
    match entry.exptime(now) {
        0 => out.extend_from_slice(b"-1"),
        exptime => put_signed(out, clock.unix(exptime)),
    }
    out.extend_from_slice(b" la=");
    put_signed(out, clock.unix(entry.atime(now)));
    out.extend_from_slice(b" cas=");
    decimal::put(out, if cx.shared.cache.use_cas { entry.cas() } else { 0 });
    out.extend_from_slice(if entry.fetched() { b" fetch=yes cls=" } else { b" fetch=no cls=" });
    decimal::put(out, entry.class().into());
    out.extend_from_slice(b" size=");
    decimal::put(out, entry.nominal() as u64);
    out.extend_from_slice(b" flags=");
    decimal::put(out, entry.flags().into());
    out.extend_from_slice(b" \n");
}

/// The `mg` command that fetches the item.
fn key_line(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(b"mg ");
    let start = out.len();
    entry.copy_key(out);
    if entry.iflags() & iflag::KEY_BINARY != 0 {
        to_base64(out, start);
        out.extend_from_slice(b" b");
    }
    out.extend_from_slice(b"\r\n");
}

fn put_signed(out: &mut Vec<u8>, n: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Writes the bytes from `start` on as a URI does: `%` and two digits for all but letters, digits and `-._~`.
fn escape(out: &mut Vec<u8>, start: usize) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let Some(first) = out[start..].iter().position(|byte| !plain(byte)) else { return };
    let mut rest = [0; KEY_MAX + 5];
    let len = out.len() - start - first;
    rest[..len].copy_from_slice(&out[start + first..]);
    out.truncate(start + first);
    for byte in &rest[..len] {
        if plain(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// Writes the bytes from `start` on in base64.
fn to_base64(out: &mut Vec<u8>, start: usize) {
    // A key's length is one byte.
    let mut text = [0; 255_usize.div_ceil(3) * 4];
    if let Ok(len) = STANDARD.encode_slice(&out[start..], &mut text) {
        out.truncate(start);
        out.extend_from_slice(&text[..len]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped_as_in_a_uri() {
        let escaped = |key: &[u8]| {
            let mut out = [b"key=", key].concat();
            escape(&mut out, 4);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(escaped(b"aZ09-._~"), "key=aZ09-._~");
        assert_eq!(escaped(b"b%1/\x00\xff"), "key=b%251%2F%00%FF");
        assert_eq!(escaped(&[0xab; KEY_MAX]).len(), 4 + 3 * KEY_MAX);
    }

    #[test]
    fn binary_keys_are_told_in_base64() {
        let encoded = |key: &[u8]| {
            let mut out = [b"mg ", key].concat();
            to_base64(&mut out, 3);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(encoded(b"foo"), "mg Zm9v");
        assert_eq!(encoded(b"fo"), "mg Zm8=");
        assert_eq!(encoded(b"f"), "mg Zg==");
        assert_eq!(encoded(&[0xff; KEY_MAX]).len(), 3 + 336);
    }
}
