//! Format of an event for watchers: one line, ended by LF.
//!
//! Owns names and order of the fields. Called by the logger thread only.

use super::{Event, EventEntry};
use crate::printable::PercentEncoded;
use std::io::Write as _;
use std::net::SocketAddr;

/// A peer's address, port and transport.
pub(super) struct PeerName {
    pub(super) peer: Option<SocketAddr>,
    pub(super) udp: bool,
}

/// The peer of a connection.
fn stream(peer: Option<SocketAddr>) -> PeerName {
    PeerName { peer, udp: false }
}

impl std::fmt::Display for PeerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let transport = if self.udp { "udp" } else { "tcp" };
        match self.peer {
            Some(peer) => write!(f, "rip={} rport={} transport={transport}", peer.ip(), peer.port()),
            None => f.write_str("rip=unix rport=0 transport=local"),
        }
    }
}

/// Appends the line of `entry`.
pub fn put(entry: &EventEntry<'_>, out: &mut Vec<u8>) {
    // The microseconds are not padded: 1700000000.5 is 5 microseconds past the second. Writing to a Vec cannot fail.
    let (seconds, micros) = (entry.micros / 1_000_000, entry.micros % 1_000_000);
    let _ = write!(out, "ts={seconds}.{micros} gid={} ", entry.number);
    let _ = match entry.event {
        Event::ItemGet { key, status, class, fd, size } => {
            let (key, status) = (PercentEncoded(key), status.word());
            writeln!(out, "type=item_get key={key} status={status} clsid={class} cfd={fd} size={size}")
        }
        Event::ItemStore { key, status, verb, ttl, class, fd, size } => {
            let (key, status, verb) = (PercentEncoded(key), status.word(), verb.word());
            writeln!(
                out,
                "type=item_store key={key} status={status} cmd={verb} ttl={ttl} clsid={class} cfd={fd} size={size}"
            )
        }
        Event::Eviction { key, fetched, ttl, idle, class, size } => {
            let (key, fetched) = (PercentEncoded(key), if fetched { "yes" } else { "no" });
            writeln!(out, "type=eviction key={key} fetch={fetched} ttl={ttl} la={idle} clsid={class} size={size}")
        }
        Event::Deleted { key, meta, class, size } => {
            let (key, verb) = (PercentEncoded(key), if meta { "md" } else { "delete" });
            writeln!(out, "type=deleted key={key} cmd={verb} clsid={class} size={size}")
        }
        Event::ConnNew { peer, fd } => writeln!(out, "type=conn_new {} cfd={fd}", stream(peer)),
        Event::ConnClose { peer, reason, fd } => {
            writeln!(out, "type=conn_close {} reason={} cfd={fd}", stream(peer), reason.word())
        }
        Event::TlsError { fd, message } => {
            writeln!(out, "type=conntlserr fd={fd} msg={}", String::from_utf8_lossy(message))
        }
        Event::SlabMove { src, dst, begun } => {
            writeln!(out, "type=slab_move src={src} dst={dst} state={}", if begun { "ok" } else { "fail" })
        }
        Event::Crawled { fields } => writeln!(out, "type=lru_crawler {}", String::from_utf8_lossy(fields)),
        Event::Slow { fields } => writeln!(out, "type=slow {}", String::from_utf8_lossy(fields)),
        Event::Large { fields } => writeln!(out, "type=large {}", String::from_utf8_lossy(fields)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{CloseReason, LookupStatus, StoreStatus, StoreVerb};

    fn line(event: Event<'_>) -> String {
        let mut out = Vec::new();
        put(&EventEntry { number: 7, micros: 1_700_000_000_000_005, event }, &mut out);
        let line = String::from_utf8(out).unwrap();
        let rest = line.strip_prefix("ts=1700000000.5 gid=7 ").expect("the stamp");
        rest.to_owned()
    }

    #[test]
    fn lines_are_memcacheds() {
        let key = b"sp%$~-._Az\xff";
        let status = LookupStatus::NotFound;
        assert_eq!(
            line(Event::ItemGet { key, status, class: 0, fd: 29, size: 0 }),
            "type=item_get key=sp%25%24~-._Az%FF status=not_found clsid=0 cfd=29 size=0\n"
        );
        let (status, verb) = (StoreStatus::Stored, StoreVerb::Set);
        assert_eq!(
            line(Event::ItemStore { key: b"e", status, verb, ttl: 4_294_967_228, class: 1, fd: 29, size: 3 }),
            "type=item_store key=e status=stored cmd=set ttl=4294967228 clsid=1 cfd=29 size=3\n"
        );
        assert_eq!(
            line(Event::Eviction { key: b"e", fetched: false, ttl: -1, idle: 12, class: 5, size: 90 }),
            "type=eviction key=e fetch=no ttl=-1 la=12 clsid=5 size=90\n"
        );
        assert_eq!(
            line(Event::Deleted { key: b"e", meta: true, class: 1, size: 3 }),
            "type=deleted key=e cmd=md clsid=1 size=3\n"
        );
    }

    #[test]
    fn no_key_ends_a_word_or_a_line() {
        let key = b"a b\r\nc\0";
        let (found, stored, verb) = (LookupStatus::Found, StoreStatus::Stored, StoreVerb::Set);
        for event in [
            Event::ItemGet { key, status: found, class: 1, fd: 1, size: 1 },
            Event::ItemStore { key, status: stored, verb, ttl: 0, class: 1, fd: 1, size: 1 },
            Event::Eviction { key, fetched: true, ttl: 0, idle: 0, class: 1, size: 1 },
            Event::Deleted { key, meta: false, class: 1, size: 1 },
        ] {
            let line = line(event);
            assert!(line.contains(" key=a%20b%0D%0Ac%00 "), "{line}");
            assert_eq!(line.find(|c: char| c.is_control()), Some(line.len() - 1), "{line}");
        }
    }

    #[test]
    fn automatic_actions_have_lines() {
        assert_eq!(line(Event::SlabMove { src: 12, dst: 0, begun: true }), "type=slab_move src=12 dst=0 state=ok\n");
        assert_eq!(line(Event::Crawled { fields: b"crawler=1 lru=na" }), "type=lru_crawler crawler=1 lru=na\n");
        assert_eq!(line(Event::SlabMove { src: 1, dst: 2, begun: false }), "type=slab_move src=1 dst=2 state=fail\n");
    }

    #[test]
    fn connections_have_an_address_or_none() {
        let peer = Some("[::1]:46378".parse().unwrap());
        assert_eq!(line(Event::ConnNew { peer, fd: 31 }), "type=conn_new rip=::1 rport=46378 transport=tcp cfd=31\n");
        assert_eq!(
            line(Event::ConnClose { peer: None, reason: CloseReason::IdleTimeout, fd: 31 }),
            "type=conn_close rip=unix rport=0 transport=local reason=idle_timeout cfd=31\n"
        );
        assert_eq!(line(Event::TlsError { fd: 3, message: b"bad" }), "type=conntlserr fd=3 msg=bad\n");
    }
}
