//! Item dumps: `lru_crawler metadump` and `mgdump`, `stats cachedump`.
//!
//! Owns the line formats and a dump's position. A dump is a state of its session (`listing`): each step appends some
//! kilobytes, then other connections run, so a slow or vanished reader holds at most one step's bytes. Knows no
//! sockets. Begun and stepped by the session.

use crate::clock::Clock;
use crate::decimal;
use crate::limits::KEY_MAX;
use crate::printable::is_printable;
use crate::proto::line::Run;
use crate::proto::listing::{Listed, Listing, room};
use crate::proto::{Cx, Output};
use crate::store::{Entry, Walk, iflag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Maximum memory slots visited in one step.
const STEP_SLOTS: u32 = 4096;

/// Maximum index buckets visited in one step.
const STEP_BUCKETS: u32 = 512;

/// Upper bound for a line: an escaped key, and seven numbers with their names.
const DUMP_LINE_MAX: usize = 3 * KEY_MAX + 250;

/// Maximum length of `stats cachedump`, and the part of it that memcached reserves for the last line. Unit: bytes.
const CACHE_DUMP_MAX: usize = 2 << 20;
const END_ROOM: usize = 6;

/// Format of a dump's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum DumpKind {
    /// `metadump`: everything but the value.
    Meta,
    /// `mgdump`: the key, as an `mg` command.
    Keys,
}

impl DumpKind {
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

/// Items to dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum Of {
    /// Items of these classes (one bit each), in memory order.
    Classes(u64),
    /// All items, in hash order.
    Hashes,
}

/// A requested dump.
pub(in crate::proto) struct Ask {
    pub kind: DumpKind,
    /// `None` if the class list is invalid.
    pub of: Option<Of>,
    pub noreply: bool,
}

enum Position {
    Memory(Walk),
    Hashes(u32),
}

/// A running dump.
pub(in crate::proto) struct Dump {
    kind: DumpKind,
    position: Position,
}

/// Begins a dump, or replies why not. `first`: no other reply waits to be sent.
pub(in crate::proto) fn begin(cx: &Cx<'_>, ask: &Ask, first: bool, out: &mut Output) -> Option<Box<dyn Listing>> {
    let store = cx.shared.cache.store;
    let refusal = match ask.of {
        _ if !first => ask.kind.not_first(),
        None => "BADCLASS invalid class id",
        Some(Of::Classes(0)) => "NOTSTARTED no items to crawl",
        // A dump has unbounded length, so datagrams cannot carry it.
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
    Run::new(cx, out, ask.noreply).reply(refusal);
    None
}

impl Listing for Dump {
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed {
        // Reserves the step's memory, so that nothing is allocated under a bucket lock.
        let Some(full) = room(out, 16 * DUMP_LINE_MAX) else { return Listed::NoMemory };
        let bytes = out.bytes();
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
            return Listed::Done;
        }
        Listed::More
    }
}

/// `stats cachedump`: keys of one class, up to `CACHE_DUMP_MAX` bytes.
pub(super) struct CacheDump {
    walk: Walk,
    /// Items left.
    items: u32,
    /// Bytes left.
    bytes: usize,
}

impl CacheDump {
    /// A dump of at most `limit` items; 0 = no limit.
    pub(super) fn new(cx: &Cx<'_>, class: u32, limit: u32) -> Self {
        let walk = cx.shared.cache.store.begin_walk(1 << class);
        Self { walk, items: if limit == 0 { u32::MAX } else { limit }, bytes: CACHE_DUMP_MAX - END_ROOM }
    }
}

impl Listing for CacheDump {
    fn step(&mut self, cx: &Cx<'_>, out: &mut Output) -> Listed {
        // Reserves the step's memory, so that nothing is allocated under a bucket lock.
        let Some(full) = room(out, 2 * DUMP_LINE_MAX) else { return Listed::NoMemory };
        let bytes = out.bytes();
        let (store, clock) = (cx.shared.cache.store, &cx.shared.clock);
        let now = clock.now();
        let over = store.walk(&mut self.walk, STEP_SLOTS, now, |entry| {
            let start = bytes.len();
            if cache_line(entry, clock, now, bytes) {
                if bytes.len() - start > self.bytes {
                    bytes.truncate(start);
                    self.items = 0;
                } else {
                    self.bytes -= bytes.len() - start;
                    self.items -= 1;
                }
            }
            self.items > 0 && bytes.len() < full
        });
        if over || self.items == 0 {
            out.put(b"END\r\n");
            return Listed::Done;
        }
        Listed::More
    }
}

/// `ITEM … [… b; … s]`; false if the key is not printable.
fn cache_line(entry: &Entry, clock: &Clock, now: u32, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(b"ITEM ");
    let key = out.len();
    entry.copy_key(out);
    if entry.iflags() & iflag::KEY_BINARY != 0 || !is_printable(&out[key..]) {
        out.truncate(start);
        return false;
    }
    out.extend_from_slice(b" [");
    decimal::put(out, entry.vlen() as u64);
    out.extend_from_slice(b" b; ");
    match entry.exptime(now) {
        0 => out.push(b'0'),
        exptime => put_signed(out, clock.unix_expiry(exptime)),
    }
    out.extend_from_slice(b" s]\r\n");
    true
}

fn line(cx: &Cx<'_>, kind: DumpKind, entry: &Entry, now: u32, out: &mut Vec<u8>) {
    match kind {
        DumpKind::Meta => meta_line(cx, entry, now, out),
        DumpKind::Keys => key_line(entry, out),
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
        exptime => put_signed(out, clock.unix_expiry(exptime)),
    }
    out.extend_from_slice(b" la=");
    put_signed(out, clock.unix(entry.atime(now)));
    out.extend_from_slice(b" cas=");
    decimal::put(out, if cx.shared.cache.use_cas { entry.cas() } else { 0 });
    out.extend_from_slice(if entry.fetched() { b" fetch=yes cls=" } else { b" fetch=no cls=" });
    decimal::put(out, entry.class().into());
    out.extend_from_slice(b" size=");
    decimal::put(out, entry.memcached_size() as u64);
    out.extend_from_slice(b" flags=");
    decimal::put(out, entry.flags().into());
    out.extend_from_slice(b" \n");
}

/// The `mg` command that fetches the item.
fn key_line(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(b"mg ");
    let start = out.len();
    entry.copy_key(out);
    // A key from the binary protocol may hold any bytes without the base64 mark.
    if entry.iflags() & iflag::KEY_BINARY != 0 || !is_printable(&out[start..]) {
        to_base64(out, start);
        out.extend_from_slice(b" b");
    }
    out.extend_from_slice(b"\r\n");
}

fn put_signed(out: &mut Vec<u8>, n: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Percent-encodes the bytes from `start` on, except letters, digits and `-._~`.
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

/// Encodes the bytes from `start` on in base64.
fn to_base64(out: &mut Vec<u8>, start: usize) {
    // A key is at most 255 bytes long.
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
    fn keys_are_percent_encoded() {
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
    fn binary_keys_are_dumped_in_base64() {
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
