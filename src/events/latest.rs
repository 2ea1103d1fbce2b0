//! The latest slow turns and large values.
//!
//! Owns their fields, the notation of a row, and for each worker a ring of `LATEST_MAX` of them that exists whether a
//! client watches or not. A worker never waits here: it drops and counts a record while a reader copies its ring. Knows
//! neither clocks nor thresholds. `proto` records and prints.

use super::line::PeerName;
use crate::limits::{KEY_MAX, LATEST_MAX};
use crate::printable::PercentEncoded;
use parking_lot::Mutex;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Longest word of a command that is kept.
const WORD_MAX: usize = 16;

/// A command's word and its first key, which may be empty; both cut to what memcached's commands can have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommandText {
    word: [u8; WORD_MAX],
    word_len: u8,
    key: [u8; KEY_MAX],
    key_len: u8,
}

const _: () = assert!(KEY_MAX <= u8::MAX as usize);

impl CommandText {
    /// Copies word and key.
    pub fn new(word: &[u8], key: &[u8]) -> Self {
        let (word_len, key_len) = (word.len().min(WORD_MAX), key.len().min(KEY_MAX));
        let mut text =
            Self { word: [0; WORD_MAX], word_len: word_len as u8, key: [0; KEY_MAX], key_len: key_len as u8 };
        text.word[..word_len].copy_from_slice(&word[..word_len]);
        text.key[..key_len].copy_from_slice(&key[..key_len]);
        text
    }

    /// The command's word.
    pub fn word(&self) -> &[u8] {
        &self.word[..usize::from(self.word_len)]
    }

    /// Its first key; may be empty.
    pub fn key(&self) -> &[u8] {
        &self.key[..usize::from(self.key_len)]
    }

    /// Writes ` <prefix>cmd=… <prefix>key=…`.
    fn put(&self, f: &mut fmt::Formatter<'_>, prefix: &str) -> fmt::Result {
        write!(f, " {prefix}cmd={}", PercentEncoded(self.word()))?;
        if self.key_len > 0 {
            write!(f, " {prefix}key={}", PercentEncoded(self.key()))?;
        }
        Ok(())
    }
}

impl fmt::Debug for CommandText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.put(f, "")
    }
}

/// A slow turn; `Display` gives the fields of its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlowRecord {
    /// Duration in nanoseconds.
    pub nanos: u64,
    /// Class of the turn.
    pub class: &'static str,
    /// Number of commands.
    pub commands: u32,
    /// Bytes read from the socket.
    pub read: u64,
    /// Bytes written to the socket.
    pub written: u64,
    /// The first command; `None` if the turn began within bytes that are discarded, or a login.
    pub first: Option<CommandText>,
    /// The command with the longest service time, in nanoseconds; `None` unless commands are timed.
    pub longest: Option<(u64, CommandText)>,
    /// The client; a local one has no address.
    pub peer: Option<SocketAddr>,
    /// The client sent datagrams.
    pub udp: bool,
    /// The connection's descriptor.
    pub fd: i32,
}

impl fmt::Display for SlowRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nanos, class, commands, read, written, peer, udp, fd, .. } = *self;
        write!(f, "us={} class={class} cmds={commands} in={read} out={written} ", nanos / 1000)?;
        write!(f, "{} cfd={fd}", PeerName { peer, udp })?;
        if let Some(first) = &self.first {
            first.put(f, "")?;
        }
        if let Some((nanos, longest)) = &self.longest {
            write!(f, " longest_us={}", nanos / 1000)?;
            longest.put(f, "longest_")?;
        }
        Ok(())
    }
}

/// A large value; `Display` gives the fields of its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LargeRecord {
    /// It was sent to the client; otherwise it was stored.
    pub sent: bool,
    /// The command and the key.
    pub command: CommandText,
    /// Length of the value in bytes.
    pub size: usize,
    /// The client; a local one has no address.
    pub peer: Option<SocketAddr>,
    /// The client sent datagrams.
    pub udp: bool,
    /// The connection's descriptor.
    pub fd: i32,
}

impl fmt::Display for LargeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, size, peer, udp, fd, .. } = *self;
        let direction = if sent { "sent" } else { "stored" };
        write!(f, "dir={direction} size={size} {} cfd={fd}", PeerName { peer, udp })?;
        self.command.put(f, "")
    }
}

/// A record with its place in the sequence of its kind, and its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbered<T> {
    /// From 1 on.
    pub id: u64,
    /// Seconds since 1970.
    pub seconds: i64,
    /// The record.
    pub record: T,
}

/// A ring of one worker's records.
struct RecordRing<T> {
    records: Vec<Numbered<T>>,
    /// Index of the oldest one, once there are `LATEST_MAX`.
    oldest: usize,
}

/// The latest records of one kind, of all workers.
pub struct LatestRecords<T> {
    /// One for each worker, and one at the end for other threads. Lock rank: see docs/locking.md.
    rings: Box<[Mutex<RecordRing<T>>]>,
    last: AtomicU64,
    dropped: AtomicU64,
}

impl<T: Copy> LatestRecords<T> {
    /// Empty rings for `workers` workers, without memory before their first record.
    pub(super) fn new(workers: usize) -> Self {
        let ring = |_| Mutex::new(RecordRing { records: Vec::new(), oldest: 0 });
        Self { rings: (0..=workers).map(ring).collect(), last: AtomicU64::new(0), dropped: AtomicU64::new(0) }
    }

    /// Keeps a record of worker `worker`; the oldest one of that worker makes room. Drops it without memory, or while a
    /// reader copies the ring.
    #[cold]
    pub fn put(&self, worker: Option<usize>, seconds: i64, record: T) {
        let ring = worker.and_then(|worker| self.rings.get(worker)).or(self.rings.last());
        if let Some(mut ring) = ring.and_then(Mutex::try_lock)
            && ring.make_room()
        {
            let id = self.last.fetch_add(1, Relaxed) + 1;
            ring.put(Numbered { id, seconds, record });
        } else {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// The latest `most` records, oldest first; `None` without memory for them.
    pub fn latest(&self, most: usize) -> Option<Vec<Numbered<T>>> {
        let most = most.min(LATEST_MAX);
        let mut all = Vec::new();
        all.try_reserve_exact(LATEST_MAX + most).ok()?;
        for ring in &self.rings {
            all.extend_from_slice(&ring.lock().records);
            all.sort_unstable_by_key(|numbered| numbered.id);
            all.drain(..all.len().saturating_sub(most));
        }
        Some(all)
    }

    /// Maximum bytes that [`LatestRecords::latest`] allocates.
    pub fn bytes_max() -> usize {
        2 * LATEST_MAX * size_of::<Numbered<T>>()
    }

    /// Forgets all records.
    pub fn clear(&self) {
        for ring in &self.rings {
            let mut ring = ring.lock();
            ring.records.clear();
            ring.oldest = 0;
        }
    }

    /// Number of records since the start, those included that are no longer kept or were dropped.
    pub fn total(&self) -> u64 {
        self.last.load(Relaxed) + self.dropped()
    }

    /// Number of records that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl<T> RecordRing<T> {
    /// Allocates the whole ring before its first record; false without memory.
    fn make_room(&mut self) -> bool {
        self.records.capacity() >= LATEST_MAX || self.records.try_reserve_exact(LATEST_MAX).is_ok()
    }

    fn put(&mut self, record: Numbered<T>) {
        if self.records.len() < LATEST_MAX {
            self.records.push(record);
        } else {
            self.records[self.oldest] = record;
            self.oldest = (self.oldest + 1) % LATEST_MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::event::RECORD_MAX;

    fn ids<T: Copy>(records: &LatestRecords<T>, most: usize) -> Vec<u64> {
        records.latest(most).unwrap().iter().map(|numbered| numbered.id).collect()
    }

    #[test]
    fn the_latest_records_of_all_workers_are_kept_in_order() {
        let records = LatestRecords::new(2);
        for n in 0..3 * LATEST_MAX as u64 {
            records.put([Some(0), Some(1), None][n as usize % 3], n as i64, n);
        }
        let last = 3 * LATEST_MAX as u64;
        assert_eq!(ids(&records, 3), [last - 2, last - 1, last]);
        assert_eq!(ids(&records, 1000), (last - LATEST_MAX as u64 + 1..=last).collect::<Vec<_>>());
        let all = records.latest(1000).unwrap();
        assert!(all.iter().all(|one| one.record + 1 == one.id && one.seconds as u64 == one.record));
        records.put(Some(0), 0, 7);
        assert_eq!((ids(&records, 1), records.dropped()), (vec![last + 1], 0));
        records.clear();
        assert_eq!(ids(&records, 9), [0; 0]);
        records.put(Some(9), 0, 7);
        assert_eq!(ids(&records, 9), [last + 2], "a thread without a ring uses the last one");
    }

    #[test]
    fn a_record_is_dropped_while_its_ring_is_read() {
        let records = LatestRecords::new(1);
        let reader = records.rings[0].lock();
        records.put(Some(0), 0, ());
        records.put(None, 0, ());
        drop(reader);
        assert_eq!((records.dropped(), records.total(), ids(&records, 9)), (1, 2, vec![1]));
    }

    #[test]
    fn the_longest_row_is_within_its_bound() {
        let text = CommandText::new(&[b'\n'; 99], &[b'\n'; 999]);
        assert_eq!((text.word().len(), text.key().len()), (WORD_MAX, KEY_MAX));
        let peer = Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap());
        let slow = SlowRecord {
            nanos: u64::MAX,
            class: "multiget",
            commands: u32::MAX,
            read: u64::MAX,
            written: u64::MAX,
            first: Some(text),
            longest: Some((u64::MAX, text)),
            peer,
            udp: true,
            fd: i32::MIN,
        };
        assert!(slow.to_string().len() <= RECORD_MAX, "{}", slow.to_string().len());
        let large = LargeRecord { sent: false, command: text, size: usize::MAX, peer, udp: true, fd: i32::MIN };
        assert!(large.to_string().len() <= RECORD_MAX);
    }

    #[test]
    fn rows_name_what_is_known() {
        let get = CommandText::new(b"get", b"a b");
        let slow = SlowRecord {
            nanos: 12_034_999,
            class: "get",
            commands: 1,
            read: 9,
            written: 5,
            first: Some(get),
            longest: None,
            peer: None,
            udp: false,
            fd: 31,
        };
        let local = "us=12034 class=get cmds=1 in=9 out=5 rip=unix rport=0 transport=local cfd=31";
        assert_eq!(slow.to_string(), format!("{local} cmd=get key=a%20b"));
        assert_eq!(SlowRecord { first: None, ..slow }.to_string(), local);
        let longest = Some((7_000, CommandText::new(b"mn", b"")));
        assert_eq!(
            SlowRecord { longest, ..slow }.to_string(),
            format!("{local} cmd=get key=a%20b longest_us=7 longest_cmd=mn")
        );
        let peer = Some("10.0.0.1:7".parse().unwrap());
        let large = LargeRecord { sent: true, command: get, size: 70_000, peer, udp: true, fd: 9 };
        assert_eq!(large.to_string(), "dir=sent size=70000 rip=10.0.0.1 rport=7 transport=udp cfd=9 cmd=get key=a%20b");
    }
}
