//! Events of the server, for clients that watch them.
//!
//! Owns the kinds of events, a bounded ring of them for each worker, the mask of the watched classes, and the latest
//! slow turns and large values ([`LatestRecords`]). Knows neither producers nor readers: workers record events in their
//! own ring ([`Log`]); the logger thread (`maint::log`) drains the rings and formats lines ([`mod@line`]). Without
//! watchers a producer tests one bit of a mask that it loads once per turn.
//!
//! ```text
//!   worker 1 ──► ring ──┐
//!   worker 2 ──► ring ──┼──► logger thread ──► lines ──► watchers
//!   others ──lock─► ring┘
//! ```

mod event;
mod latest;
pub mod line;
mod ring;

pub(crate) use event::RECORD_MAX;
pub use event::{CloseReason, Event, EventClass, EventEntry, LookupStatus, StoreStatus, StoreVerb, WORDS};
pub use latest::{CommandText, LargeRecord, LatestRecords, Numbered, SlowRecord};

use parking_lot::Mutex;
use ring::EventRing;
use std::io;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// All rings, the mask of watched classes, and the sequence of events.
pub struct Events {
    wanted: AtomicU16,
    /// Number of the last event or watcher: both draw from one sequence.
    sequence: AtomicU64,
    /// One for each worker, and one at the end for all other threads.
    rings: Box<[EventRing]>,
    /// Serialises producers of the last ring. Lock rank: see docs/locking.md.
    common: Mutex<()>,
    /// The latest slow turns.
    pub slow: LatestRecords<SlowRecord>,
    /// The latest large values.
    pub large: LatestRecords<LargeRecord>,
}

impl Events {
    /// Rings of `bytes` each for `workers` workers, and one for other threads. They have no memory before
    /// [`Events::open`].
    pub fn new(workers: usize, bytes: usize) -> Self {
        Self {
            wanted: AtomicU16::new(0),
            sequence: AtomicU64::new(0),
            rings: (0..=workers).map(|_| EventRing::new(bytes)).collect(),
            common: Mutex::new(()),
            slow: LatestRecords::new(workers),
            large: LatestRecords::new(workers),
        }
    }

    /// Allocates memory for the rings, unless they have it. It is not touched before entries come.
    ///
    /// # Errors
    /// The kernel has no memory.
    pub fn open(&self) -> io::Result<()> {
        self.rings.iter().try_for_each(EventRing::open)
    }

    /// Sets the watched classes.
    pub fn want(&self, classes: EventClass) {
        self.change(|wanted| wanted.among(EventClass::ACCESSES).and(classes));
    }

    /// Sets whether accesses of keys are sampled.
    pub fn sample_accesses(&self, on: bool) {
        let accesses = if on { EventClass::ACCESSES } else { EventClass::NONE };
        self.change(|wanted| wanted.without(EventClass::ACCESSES).and(accesses));
    }

    fn change(&self, change: impl Fn(EventClass) -> EventClass) {
        let _ = self.wanted.fetch_update(Relaxed, Relaxed, |bits| Some(change(EventClass::from_bits(bits)).bits()));
    }

    /// Whether one of `classes` is watched.
    #[inline]
    pub fn wants(&self, classes: EventClass) -> bool {
        self.wanted().meets(classes)
    }

    #[inline]
    fn wanted(&self) -> EventClass {
        EventClass::from_bits(self.wanted.load(Relaxed))
    }

    /// Draws the next number of the sequence.
    pub fn next_number(&self) -> u64 {
        self.sequence.fetch_add(1, Relaxed) + 1
    }

    /// The last number drawn.
    pub fn last_number(&self) -> u64 {
        self.sequence.load(Relaxed)
    }

    /// Continues the sequence after `last`.
    pub fn resume_after(&self, last: u64) {
        self.sequence.fetch_max(last, Relaxed);
    }

    /// Records an event from any thread; may wait for other threads that do the same.
    #[cold]
    pub fn put(&self, event: &Event<'_>) {
        let _held = self.common.lock();
        if let Some(ring) = self.rings.last() {
            self.put_into(ring, event);
        }
    }

    fn put_into(&self, ring: &EventRing, event: &Event<'_>) {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let (kind, args, bytes) = event.pack();
        ring.push(kind, [self.next_number(), micros, args[0], args[1], args[2]], bytes);
    }

    /// Removes the entries recorded by now, ring by ring, and passes each to `each`; returns their number. For one
    /// thread.
    pub fn drain(&self, mut each: impl FnMut(&EventEntry<'_>)) -> u64 {
        let mut seen = 0;
        let mut bytes = Vec::new();
        for ring in &self.rings {
            let end = ring.end();
            while let Some((kind, [number, micros, a, b, c])) = ring.pop(end, &mut bytes) {
                seen += 1;
                if let Some(event) = Event::unpack(kind, [a, b, c], &bytes) {
                    each(&EventEntry { number, micros, event });
                }
            }
        }
        seen
    }

    /// Number of events that found their ring full.
    pub fn dropped(&self) -> u64 {
        self.rings.iter().map(EventRing::dropped).sum()
    }
}

/// A thread's recorder of events, for one turn of one connection.
#[derive(Clone, Copy)]
pub struct Log<'a> {
    events: &'a Events,
    /// Index of the ring; `None` is the one for all other threads.
    ring: Option<u32>,
    fd: i32,
    wanted: EventClass,
}

impl<'a> Log<'a> {
    /// A recorder for the connection with descriptor `fd`, on no worker.
    #[inline]
    pub fn new(events: &'a Events, fd: i32) -> Self {
        Self { events, ring: None, fd, wanted: events.wanted() }
    }

    /// The recorder for worker `number`, to be used on that worker's thread only.
    #[inline]
    #[must_use]
    pub fn of_worker(self, number: usize) -> Self {
        Self { ring: Some(number as u32), ..self }
    }

    /// Those of `classes` that were watched when the turn began.
    #[inline]
    pub fn wanted_of(&self, classes: EventClass) -> EventClass {
        self.wanted.among(classes)
    }

    /// The same recorder without `classes`.
    #[must_use]
    pub fn without(self, classes: EventClass) -> Self {
        Self { wanted: self.wanted.without(classes), ..self }
    }

    /// The worker's number; `None` on no worker.
    #[inline]
    pub fn worker(&self) -> Option<usize> {
        self.ring.map(|ring| ring as usize)
    }

    /// Whether one of `classes` was watched when the turn began.
    #[inline]
    pub fn wants(&self, classes: EventClass) -> bool {
        self.wanted.meets(classes)
    }

    /// The connection's descriptor.
    #[inline]
    pub fn fd(&self) -> i32 {
        self.fd
    }

    /// Records an event, if its class is watched.
    #[cold]
    pub fn put(&self, event: &Event<'_>) {
        if !self.wants(event.class()) {
            return;
        }
        match self.ring.and_then(|ring| self.events.rings.get(ring as usize)) {
            Some(ring) => self.events.put_into(ring, event),
            None => self.events.put(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_drained_once_ring_by_ring() {
        let events = Events::new(2, 4096);
        let deleted = |key| Event::Deleted { key, meta: false, class: 1, size: 3 };
        Log::new(&events, 7).of_worker(0).put(&deleted(b"not watched"));
        events.open().unwrap();
        events.want(EventClass::DELETIONS);
        Log::new(&events, 7).of_worker(1).put(&deleted(b"b"));
        Log::new(&events, 7).of_worker(0).put(&deleted(b"a"));
        Log::new(&events, 7).put(&deleted(b"c"));
        let mut seen = Vec::new();
        assert_eq!(events.drain(|entry| seen.push((entry.number, format!("{:?}", entry.event)))), 3);
        assert_eq!(seen.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 1, 3]);
        assert!(seen[0].1.contains("[97]"), "{seen:?}");
        assert_eq!((events.drain(|_| panic!("drained")), events.dropped()), (0, 0));
    }

    #[test]
    fn watchers_and_samplers_switch_their_own_classes() {
        let events = Events::new(1, 0);
        events.sample_accesses(true);
        events.want(EventClass::FETCHERS);
        assert!(events.wants(EventClass::ACCESSES) && events.wants(EventClass::FETCHERS));
        events.want(EventClass::NONE);
        assert!(events.wants(EventClass::ACCESSES) && !events.wants(EventClass::FETCHERS));
        events.want(EventClass::MUTATIONS);
        events.sample_accesses(false);
        assert!(!events.wants(EventClass::ACCESSES) && events.wants(EventClass::MUTATIONS));
    }

    #[test]
    fn without_memory_events_are_counted_as_dropped() {
        let events = Events::new(1, 0);
        events.open().unwrap();
        events.put(&Event::Deleted { key: b"k", meta: true, class: 1, size: 3 });
        assert_eq!((events.drain(|_| ()), events.dropped()), (0, 1));
    }
}
