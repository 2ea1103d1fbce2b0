//! Slow turns and large values: which ones are recorded, and reported to watchers.
//!
//! Owns the comparison with `large_threshold`, and how a command's word and first key are found in the copied front of
//! its request. Cold: a turn that is not slow and a value that fits into a reply's buffer never come here. Called by
//! `net` after a slow turn, and by the commands of every protocol after a value that may be large.

use super::raw_command::RunOrigin;
use super::tokens::Tokens;
use super::turn_trace::TurnTrace;
use super::{Cx, Output, binary};
use crate::events::{CommandText, Event, EventClass, LargeRecord, RECORD_MAX, SlowRecord};
use crate::limits::COPY_MAX;
use crate::store::Stored;
use std::fmt::Display;
use std::io::Write as _;
use std::net::SocketAddr;

impl Cx<'_> {
    /// Records the turn that `trace` has ended after `nanos` nanoseconds.
    #[cold]
    pub fn keep_slow(&self, trace: &TurnTrace, nanos: u64) {
        let turn = trace.ended(self.counters);
        let (peer, udp) = self.client();
        let [read, written] = turn.moved;
        let record = SlowRecord {
            nanos,
            class: turn.class.name(),
            commands: turn.commands,
            read,
            written,
            first: text(turn.first.origin()),
            longest: turn.longest.and_then(|(nanos, raw)| Some((nanos, text(raw.origin())?))),
            peer,
            udp,
            fd: self.fd,
        };
        self.shared.events.slow.put(self.log.worker(), self.unix(), record);
        if self.log.wants(EventClass::SLOW) {
            put_fields(&record, |fields| self.log.put(&Event::Slow { fields }));
        }
    }

    /// Records the value of `key` that was just pinned for a reply, if it is large.
    #[inline]
    pub(super) fn note_sent(&self, key: &[u8], out: &mut Output) {
        if let Some(size) = out.take_pinned() {
            self.keep_large(true, key, size);
        }
    }

    /// Records the value that was stored under `key`, if it is large.
    #[inline]
    pub(super) fn note_stored(&self, key: &[u8], stored: Stored) {
        if let Stored::Stored { vlen, .. } = stored
            && vlen > COPY_MAX
        {
            self.keep_large(false, key, vlen);
        }
    }

    #[cold]
    fn keep_large(&self, sent: bool, key: &[u8], size: usize) {
        if size as u64 <= self.shared.runtime.large_threshold() {
            return;
        }
        let (peer, udp) = self.client();
        let command = CommandText::new(self.kind().name().as_bytes(), key);
        let record = LargeRecord { sent, command, size, peer, udp, fd: self.fd };
        self.shared.events.large.put(self.log.worker(), self.unix(), record);
        if self.log.wants(EventClass::LARGE) {
            put_fields(&record, |fields| self.log.put(&Event::Large { fields }));
        }
    }

    /// Address of the client, if it has one, and whether it sends datagrams.
    fn client(&self) -> (Option<SocketAddr>, bool) {
        match self.trace().and_then(TurnTrace::sender) {
            Some(sender) => (Some(sender), true),
            None => (self.shared.conns.get(self.fd).and_then(|info| info.peer), false),
        }
    }

    fn unix(&self) -> i64 {
        self.shared.clock.unix(self.shared.clock.now())
    }
}

/// Formats a record without an allocation.
fn put_fields(record: &dyn Display, put: impl FnOnce(&[u8])) {
    let mut fields = [0; RECORD_MAX];
    let mut rest = &mut fields[..];
    // No record is longer than `RECORD_MAX`.
    let _ = write!(rest, "{record}");
    let left = rest.len();
    put(&fields[..RECORD_MAX - left]);
}

/// Word and first key of a command; `None` if nothing is known of it. The command may be one that its parser refused.
fn text(origin: RunOrigin<'_>) -> Option<CommandText> {
    match origin {
        RunOrigin::Hidden => None,
        RunOrigin::Upload(word, key) => Some(CommandText::new(word.as_bytes(), key)),
        RunOrigin::Request(bytes) if bytes.first() == Some(&binary::REQUEST) => {
            let (kind, key) = binary::front_command(bytes)?;
            Some(CommandText::new(kind.name().as_bytes(), key))
        }
        RunOrigin::Request(bytes) => {
            let end = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
            let tokens = Tokens::split(&bytes[..end]);
            let word = tokens.get(0);
            let key = if word == b"gat" || word == b"gats" { 2 } else { 1 };
            Some(CommandText::new(word, tokens.get(key)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::KEY_MAX;
    use crate::proto::raw_command::RawCommand;

    fn shown(origin: RunOrigin<'_>) -> Option<String> {
        let mut raw = RawCommand::default();
        raw.set(origin);
        text(raw.origin()).map(|text| format!("{text:?}"))
    }

    #[test]
    fn a_line_shows_its_word_and_key() {
        let line = |text: &str| shown(RunOrigin::Request(text.as_bytes())).unwrap();
        assert_eq!(line("get a\r\nget b\r\n"), " cmd=get key=a");
        assert_eq!(line("set k 0 0 5\r\nvalue\r\n"), " cmd=set key=k");
        assert_eq!(line("gat 100 k l\n"), " cmd=gat key=k");
        assert_eq!(line("mn\r\n"), " cmd=mn");
        assert_eq!(line("  mg  k\tl v\r\n"), " cmd=mg key=k%09l");
        let key = "k".repeat(KEY_MAX);
        assert_eq!(line(&format!("gats -2147483648 {key} {key}\r\n")), format!(" cmd=gats key={key}"));
    }

    #[test]
    fn a_packet_shows_its_kind_and_key() {
        let key = [b'k'; KEY_MAX];
        for (opcode, extras, word) in [(0, 0, "get"), (1, 8, "set"), (5, 20, "incr"), (0x1d, 4, "gat")] {
            let mut packet = vec![0; 24 + extras];
            (packet[0], packet[1], packet[3], packet[4], packet[11]) =
                (binary::REQUEST, opcode, KEY_MAX as u8, extras as u8, (KEY_MAX + extras) as u8);
            packet[10] = ((KEY_MAX + extras) >> 8) as u8;
            packet.extend_from_slice(&key);
            let expected = format!(" cmd={word} key={}", "k".repeat(KEY_MAX));
            assert_eq!(shown(RunOrigin::Request(&packet)), Some(expected));
            assert_eq!(shown(RunOrigin::Request(&packet[..20])), None);
        }
    }

    #[test]
    fn an_upload_shows_its_key_and_hidden_bytes_nothing() {
        assert_eq!(shown(RunOrigin::Upload("set", b"k")).as_deref(), Some(" cmd=set key=k"));
        assert_eq!((shown(RunOrigin::Hidden), shown(RunOrigin::Request(b""))), (None, None));
    }
}
