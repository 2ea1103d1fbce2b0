//! The kinds of events, and their packing into a ring's words.
//!
//! Owns their fields; knows neither producers nor the format of lines. Keys are copied as bytes; numbers take three
//! words: one for small fields and the descriptor, two for long fields.

use crate::limits::KEY_MAX;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A set of event classes, as named in a watcher's `watch` command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventClass(u16);

#[allow(missing_docs)] // the words of `watch`
impl EventClass {
    pub const NONE: Self = Self(0);
    pub const RAWCMDS: Self = Self(1);
    pub const EVICTIONS: Self = Self(1 << 1);
    pub const FETCHERS: Self = Self(1 << 2);
    pub const MUTATIONS: Self = Self(1 << 3);
    pub const SYSEVENTS: Self = Self(1 << 4);
    pub const CONNEVENTS: Self = Self(1 << 5);
    pub const PROXYREQS: Self = Self(1 << 6);
    pub const PROXYEVENTS: Self = Self(1 << 7);
    pub const PROXYUSER: Self = Self(1 << 8);
    pub const DELETIONS: Self = Self(1 << 9);
    pub const SLOW: Self = Self(1 << 10);
    pub const LARGE: Self = Self(1 << 11);
    /// Not a word of `watch`: accesses of keys are sampled for the hot keys. In the same mask, so that one test covers
    /// both.
    pub const ACCESSES: Self = Self(1 << 15);

    /// Union of both sets.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets have a class in common.
    #[inline]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The classes in both sets.
    #[inline]
    #[must_use]
    pub const fn among(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The classes of this set that `other` lacks.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) const fn bits(self) -> u16 {
        self.0
    }

    #[inline]
    pub(super) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

/// Every class with its word, in the order in which an abbreviation is looked up.
pub const WORDS: [(&str, EventClass); 12] = [
    ("rawcmds", EventClass::RAWCMDS),
    ("evictions", EventClass::EVICTIONS),
    ("fetchers", EventClass::FETCHERS),
    ("mutations", EventClass::MUTATIONS),
    ("sysevents", EventClass::SYSEVENTS),
    ("connevents", EventClass::CONNEVENTS),
    ("proxyreqs", EventClass::PROXYREQS),
    ("proxyevents", EventClass::PROXYEVENTS),
    ("proxyuser", EventClass::PROXYUSER),
    ("deletions", EventClass::DELETIONS),
    ("slow", EventClass::SLOW),
    ("large", EventClass::LARGE),
];

impl EventClass {
    /// The class that `word`, possibly abbreviated, names.
    pub fn named(word: &[u8]) -> Option<Self> {
        WORDS.iter().find(|(name, _)| name.as_bytes().starts_with(word)).map(|(_, class)| *class)
    }
}

/// Defines an enum of words, packed as one byte.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs)] // each is the word of the same name
        pub enum $name { $($variant),* }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word in a line.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            fn unpack(byte: u64) -> Option<Self> {
                Self::ALL.get(byte as usize & 0xff).copied()
            }
        }
    };
}

words! {
    /// Result of a look-up.
    LookupStatus { NotFound = "not_found", Found = "found", Flushed = "flushed", Expired = "expired" }
}

words! {
    /// Result of a store.
    StoreStatus {
        NotStored = "not_stored",
        Stored = "stored",
        Exists = "exists",
        NotFound = "not_found",
        TooLarge = "too_large",
        NoMemory = "no_memory",
    }
}

words! {
    /// Operation of a store.
    StoreVerb {
        Add = "add",
        Set = "set",
        Replace = "replace",
        Append = "append",
        Prepend = "prepend",
        Cas = "cas",
    }
}

words! {
    /// Reason that a connection ended.
    CloseReason { Error = "error", Normal = "normal", IdleTimeout = "idle_timeout", Shutdown = "shutdown" }
}

/// An event. `class` is a slab class, `fd` the descriptor of the connection that caused it, `size` the length of a
/// value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Event<'a> {
    /// A look-up of a key, by a client or as a part of another command.
    ItemGet { key: &'a [u8], status: LookupStatus, class: u8, fd: i32, size: usize },
    /// A store of a value; `ttl` is its remaining time to live.
    ItemStore { key: &'a [u8], status: StoreStatus, verb: StoreVerb, ttl: u32, class: u8, fd: i32, size: usize },
    /// An eviction; `ttl` is the remaining time to live, -1 = unlimited, `idle` the seconds since the last access.
    Eviction { key: &'a [u8], fetched: bool, ttl: i64, idle: u32, class: u8, size: usize },
    /// A client deleted an item, by `delete` or by `md`.
    Deleted { key: &'a [u8], meta: bool, class: u8, size: usize },
    /// A new connection; a local one has no `peer`.
    ConnNew { peer: Option<SocketAddr>, fd: i32 },
    /// The end of a connection.
    ConnClose { peer: Option<SocketAddr>, reason: CloseReason, fd: i32 },
    /// A failure of a TLS connection.
    TlsError { fd: i32, message: &'a [u8] },
    /// Start of an automatic page move from slab class `src` to `dst`, successful if `begun`.
    SlabMove { src: u8, dst: u8, begun: bool },
    /// The crawler has finished a slab class. `fields` is the text behind `type=lru_crawler ` in the watchers' line.
    Crawled { fields: &'a [u8] },
    /// A slow turn. `fields` is the text behind its type in the watchers' line.
    Slow { fields: &'a [u8] },
    /// A large value was stored or sent. `fields` is the text behind its type in the watchers' line.
    Large { fields: &'a [u8] },
}

/// An event with its number and its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventEntry<'a> {
    /// Position in the sequence of all events.
    pub number: u64,
    /// Microseconds since 1970.
    pub micros: u64,
    /// The event.
    pub event: Event<'a>,
}

/// Longest message in an event.
const MESSAGE_MAX: usize = 300;

/// Upper bound for the fields of a slow turn or a large value: two escaped keys, and some hundred bytes.
pub(crate) const RECORD_MAX: usize = 2 * 3 * KEY_MAX + 600;

/// Packs small fields into one word: 8 bits each for `a` and `b`, 8 for the slab class, 32 for a descriptor or a
/// time.
fn small(a: u8, b: u8, class: u8, wide: u32) -> u64 {
    u64::from(a) | u64::from(b) << 8 | u64::from(class) << 16 | u64::from(wide) << 32
}

/// Packs an address into two words; its family and port go into the fields of `small`.
fn pack_peer(peer: Option<SocketAddr>, reason: u8, fd: i32) -> [u64; 3] {
    let (family, ip, port) = match peer {
        None => (0, 0, 0),
        Some(SocketAddr::V4(v4)) => (4, u128::from(v4.ip().to_bits()), v4.port()),
        Some(SocketAddr::V6(v6)) => (6, v6.ip().to_bits(), v6.port()),
    };
    [small(family, reason, 0, fd as u32) | u64::from(port) << 16, (ip >> 64) as u64, ip as u64]
}

fn unpack_peer([first, high, low]: [u64; 3]) -> Option<SocketAddr> {
    let ip = match first & 0xff {
        4 => IpAddr::V4(Ipv4Addr::from_bits(low as u32)),
        6 => IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, (first >> 16) as u16))
}

impl<'a> Event<'a> {
    /// The class of the event.
    #[inline]
    pub fn class(&self) -> EventClass {
        match self {
            Self::ItemGet { .. } => EventClass::FETCHERS,
            Self::ItemStore { .. } => EventClass::MUTATIONS,
            Self::Eviction { .. } => EventClass::EVICTIONS,
            Self::Deleted { .. } => EventClass::DELETIONS,
            Self::ConnNew { .. } | Self::ConnClose { .. } | Self::TlsError { .. } => EventClass::CONNEVENTS,
            Self::SlabMove { .. } | Self::Crawled { .. } => EventClass::SYSEVENTS,
            Self::Slow { .. } => EventClass::SLOW,
            Self::Large { .. } => EventClass::LARGE,
        }
    }

    /// Returns kind, numbers and bytes.
    pub(super) fn pack(&self) -> (u8, [u64; 3], &'a [u8]) {
        match *self {
            Self::ItemGet { key, status, class, fd, size } => {
                (0, [small(status as u8, 0, class, fd as u32), size as u64, 0], key)
            }
            Self::ItemStore { key, status, verb, ttl, class, fd, size } => {
                (1, [small(status as u8, verb as u8, class, fd as u32), size as u64, ttl.into()], key)
            }
            Self::Eviction { key, fetched, ttl, idle, class, size } => {
                (2, [small(fetched.into(), 0, class, idle), size as u64, ttl as u64], key)
            }
            Self::Deleted { key, meta, class, size } => (3, [small(meta.into(), 0, class, 0), size as u64, 0], key),
            Self::ConnNew { peer, fd } => (4, pack_peer(peer, 0, fd), b""),
            Self::ConnClose { peer, reason, fd } => (5, pack_peer(peer, reason as u8, fd), b""),
            Self::TlsError { fd, message } => {
                (6, [small(0, 0, 0, fd as u32), 0, 0], &message[..message.len().min(MESSAGE_MAX)])
            }
            Self::SlabMove { src, dst, begun } => (7, [small(begun.into(), src, dst, 0), 0, 0], b""),
            Self::Crawled { fields } => (8, [0; 3], &fields[..fields.len().min(MESSAGE_MAX)]),
            Self::Slow { fields } => (9, [0; 3], &fields[..fields.len().min(RECORD_MAX)]),
            Self::Large { fields } => (10, [0; 3], &fields[..fields.len().min(RECORD_MAX)]),
        }
    }

    /// Unpacks an event; `None` if the words are no valid event.
    pub(super) fn unpack(kind: u8, args: [u64; 3], bytes: &'a [u8]) -> Option<Self> {
        let [first, second, third] = args;
        let (class, wide, size, key) = ((first >> 16) as u8, (first >> 32) as u32, second as usize, bytes);
        let fd = wide as i32;
        Some(match kind {
            0 => Self::ItemGet { key, status: LookupStatus::unpack(first)?, class, fd, size },
            1 => Self::ItemStore {
                key,
                status: StoreStatus::unpack(first)?,
                verb: StoreVerb::unpack(first >> 8)?,
                ttl: third as u32,
                class,
                fd,
                size,
            },
            2 => Self::Eviction { key, fetched: first & 1 != 0, ttl: third as i64, idle: wide, class, size },
            3 => Self::Deleted { key, meta: first & 1 != 0, class, size },
            4 => Self::ConnNew { peer: unpack_peer(args), fd },
            5 => Self::ConnClose { peer: unpack_peer(args), reason: CloseReason::unpack(first >> 8)?, fd },
            6 => Self::TlsError { fd, message: bytes },
            7 => Self::SlabMove { src: (first >> 8) as u8, dst: class, begun: first & 1 != 0 },
            8 => Self::Crawled { fields: bytes },
            9 => Self::Slow { fields: bytes },
            10 => Self::Large { fields: bytes },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_unpacked_as_packed() {
        let v4 = Some("127.0.0.1:65535".parse().unwrap());
        let v6 = Some("[2001:db8::f]:1".parse().unwrap());
        let (key, fd) = (&b"a key"[..], -1);
        let size = usize::MAX;
        let all = [
            Event::ItemGet { key, status: LookupStatus::Expired, class: 63, fd, size },
            Event::ItemStore {
                key,
                status: StoreStatus::NoMemory,
                verb: StoreVerb::Cas,
                ttl: u32::MAX,
                class: 1,
                fd: 9,
                size: 0,
            },
            Event::Eviction { key, fetched: true, ttl: -1, idle: u32::MAX, class: 255, size },
            Event::Deleted { key: b"", meta: true, class: 2, size: 1 },
            Event::ConnNew { peer: None, fd: 3 },
            Event::ConnNew { peer: v4, fd: i32::MAX },
            Event::ConnClose { peer: v6, reason: CloseReason::Shutdown, fd: 3 },
            Event::TlsError { fd: 3, message: b"no" },
            Event::SlabMove { src: 63, dst: 0, begun: true },
            Event::Crawled { fields: b"crawler=1" },
            Event::Slow { fields: b"us=1" },
            Event::Large { fields: b"dir=sent" },
        ];
        for event in all {
            let (kind, args, bytes) = event.pack();
            assert_eq!(Event::unpack(kind, args, bytes), Some(event));
        }
        assert_eq!(Event::unpack(99, [0; 3], b""), None);
        assert_eq!(Event::unpack(0, [255, 0, 0], b""), None);
    }

    #[test]
    fn classes_are_named_by_the_front_of_their_word() {
        assert_eq!(EventClass::named(b"f"), Some(EventClass::FETCHERS));
        assert_eq!(EventClass::named(b"deletions"), Some(EventClass::DELETIONS));
        assert_eq!(EventClass::named(b"p"), Some(EventClass::PROXYREQS));
        assert_eq!(EventClass::named(b"s"), Some(EventClass::SYSEVENTS), "before memcached has no class of the word");
        assert_eq!(
            (EventClass::named(b"sl"), EventClass::named(b"l")),
            (Some(EventClass::SLOW), Some(EventClass::LARGE))
        );
        assert_eq!(EventClass::named(b"proxyu"), Some(EventClass::PROXYUSER));
        assert_eq!((EventClass::named(b"fetchersx"), EventClass::named(b"x")), (None, None));
    }
}
