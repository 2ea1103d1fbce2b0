//! A bounded single-producer, single-consumer ring of entries.
//!
//! Owns words and two positions; an entry is one word of kind and lengths, five words, and bytes. Knows no events;
//! [`super::Events`] pushes and pops. Positions only grow; a word's index is its position modulo the size. A full
//! ring drops new entries, so a producer never waits.

use crate::sys::words::Words;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// Words of an entry before its bytes.
const HEAD: usize = 6;

/// Words of a ring. Aligned so that the positions of two workers share no cache line.
#[repr(align(128))]
pub(super) struct EventRing {
    /// Absent until the first watcher; untouched until entries come.
    words: OnceLock<Words>,
    len: usize,
    /// Position of the next word to write.
    head: AtomicU64,
    /// Position of the next word to read.
    tail: AtomicU64,
    dropped: AtomicU64,
}

impl EventRing {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            words: OnceLock::new(),
            len: bytes / size_of::<u64>(),
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn open(&self) -> io::Result<()> {
        if self.words.get().is_none() {
            // Two watchers may call this at once; the memory of either will do.
            let _ = self.words.set(Words::zeroed(self.len)?);
        }
        Ok(())
    }

    fn words(&self) -> &[AtomicU64] {
        self.words.get().map_or(&[], |words| words)
    }

    /// Pushes an entry, or counts it as dropped. For one thread at a time.
    pub(super) fn push(&self, kind: u8, args: [u64; HEAD - 1], bytes: &[u8]) {
        let words = self.words();
        let len = HEAD + bytes.len().div_ceil(8);
        let head = self.head.load(Relaxed);
        // Acquire: the words freed by this position have been read.
        let used = (head - self.tail.load(Acquire)) as usize;
        if used + len > words.len() {
            self.dropped.store(self.dropped.load(Relaxed) + 1, Relaxed);
            return;
        }
        let mut places = words.iter().cycle().skip((head % words.len() as u64) as usize);
        let mut put = |word: u64| {
            if let Some(place) = places.next() {
                place.store(word, Relaxed);
            }
        };
        put(u64::from(kind) | (bytes.len() as u64) << 8);
        args.into_iter().for_each(&mut put);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            put(u64::from_le_bytes(word));
        }
        // Release: a thread that sees the new position sees the words.
        self.head.store(head + len as u64, Release);
    }

    /// Position after the last entry.
    pub(super) fn end(&self) -> u64 {
        self.head.load(Acquire)
    }

    /// Pops the next entry before position `end`, its bytes into `bytes`. For one thread.
    pub(super) fn pop(&self, end: u64, bytes: &mut Vec<u8>) -> Option<(u8, [u64; HEAD - 1])> {
        let tail = self.tail.load(Relaxed);
        if tail >= end {
            return None;
        }
        let words = self.words();
        let at = (tail % words.len() as u64) as usize;
        let mut places = words.iter().cycle().skip(at).map(|place| place.load(Relaxed));
        let first = places.next()?;
        let len = (first >> 8) as usize;
        let mut args = [0; HEAD - 1];
        args.iter_mut().for_each(|arg| *arg = places.next().unwrap_or(0));
        bytes.clear();
        for word in places.take(len.div_ceil(8)) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(len);
        // Release: the words have been read before the producer may write them again.
        self.tail.store(tail + (HEAD + len.div_ceil(8)) as u64, Release);
        Some((first as u8, args))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(ring: &EventRing) -> Vec<(u8, u64, Vec<u8>)> {
        let (end, mut bytes, mut all) = (ring.end(), Vec::new(), Vec::new());
        while let Some((kind, args)) = ring.pop(end, &mut bytes) {
            all.push((kind, args[0], bytes.clone()));
        }
        all
    }

    #[test]
    fn entries_of_any_length_wrap_around() {
        let ring = EventRing::new(8 * 101);
        ring.open().unwrap();
        for n in 0..1000u64 {
            let bytes = vec![n as u8; n as usize % 251];
            ring.push(n as u8, [n, 0, 0, 0, 0], &bytes);
            ring.push(1, [n, 0, 0, 0, 0], b"");
            assert_eq!(take(&ring), [(n as u8, n, bytes), (1, n, Vec::new())]);
        }
        assert_eq!(ring.dropped(), 0);
    }

    #[test]
    fn a_full_ring_drops_and_accepts_again_once_drained() {
        let ring = EventRing::new(8 * 13);
        ring.open().unwrap();
        for n in 0..5 {
            ring.push(0, [n, 0, 0, 0, 0], b"");
        }
        assert_eq!(take(&ring), [(0, 0, Vec::new()), (0, 1, Vec::new())]);
        assert_eq!(ring.dropped(), 3);
        ring.push(9, [7, 0, 0, 0, 0], b"abc");
        assert_eq!(take(&ring), [(9, 7, b"abc".to_vec())]);
    }

    #[test]
    fn entries_pushed_during_a_drain_wait_for_the_next_one() {
        let ring = EventRing::new(1024);
        ring.open().unwrap();
        ring.push(0, [1, 0, 0, 0, 0], b"");
        let (end, mut bytes) = (ring.end(), Vec::new());
        ring.push(0, [2, 0, 0, 0, 0], b"");
        assert!(ring.pop(end, &mut bytes).is_some() && ring.pop(end, &mut bytes).is_none());
        assert_eq!(take(&ring), [(0, 2, Vec::new())]);
    }

    #[test]
    fn two_threads_lose_and_tear_no_entry() {
        let ring = EventRing::new(8 * 500);
        ring.open().unwrap();
        let put = 20_000u64;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..put {
                    let before = ring.dropped();
                    loop {
                        ring.push(3, [n, !n, 0, 0, 0], &n.to_le_bytes());
                        if ring.dropped() == before {
                            break;
                        }
                        ring.dropped.store(before, Relaxed);
                        std::thread::yield_now();
                    }
                }
            });
            let (mut next, mut bytes) = (0, Vec::new());
            while next < put {
                let end = ring.end();
                while let Some((kind, args)) = ring.pop(end, &mut bytes) {
                    assert_eq!((kind, args[0], args[1], &bytes[..]), (3, next, !next, &next.to_le_bytes()[..]));
                    next += 1;
                }
            }
        });
    }
}
