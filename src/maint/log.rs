//! The logger: takes events from the workers' rings and sends them, line by line, to the watchers.
//!
//! Owns the table of watchers, the thread, and its pace: it polls every millisecond while there are events and less
//! and less often, down to once a second, while there are none; without watchers it sleeps. No thread waits for it:
//! rings and watchers' buffers are bounded and drop what does not fit. Knows no sockets (it gets a [`WatchSink`]) and
//! no protocol. Sessions take a [`Seat`], `net` hands over the socket, `server` starts and stops the thread.

use super::background::{Background, StopFlag};
use super::watcher::{WatchSink, Watcher};
use crate::events::{EventClass, Events, line};
use crate::limits::{WATCHERS_ENDED_MAX, WATCHERS_MAX};
use crate::sys::panics::{contain, trap};
use parking_lot::Mutex;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

/// Shortest and longest time between two polls of the rings.
const SLEEP_MIN: Duration = Duration::from_millis(1);
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Reason that a watcher is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchRefused {
    /// The number of watchers is at its limit.
    TooMany,
    /// No memory for the rings, or the server is stopping.
    Failed,
}

/// The table of watchers, shared by sessions, which take seats, and the logger thread.
pub struct Watchers {
    events: Arc<Events>,
    /// Maximum bytes waiting for one watcher.
    limit: usize,
    table: Mutex<SeatTable>,
    thread: OnceLock<Thread>,
}

/// Lock rank: see docs/locking.md.
#[derive(Default)]
struct SeatTable {
    /// Classes that each seat watches; none = free.
    seats: [EventClass; WATCHERS_MAX],
    /// Watchers that the thread has not taken yet.
    arrivals: Vec<(Seat, Box<dyn WatchSink>)>,
    closed: bool,
}

impl Watchers {
    /// An empty table; `limit` bytes may wait for each watcher.
    pub fn new(events: Arc<Events>, limit: usize) -> Arc<Self> {
        Arc::new(Self { events, limit, table: Mutex::default(), thread: OnceLock::new() })
    }

    /// Takes a free seat; from now on events of `classes` are recorded.
    ///
    /// # Errors
    /// See [`WatchRefused`].
    pub fn seat(self: &Arc<Self>, classes: EventClass) -> Result<Seat, WatchRefused> {
        // System calls, so not under the lock.
        let has_rings = self.events.open().is_ok();
        let mut table = self.table.lock();
        let free = table.seats.iter().position(|seat| *seat == EventClass::NONE).ok_or(WatchRefused::TooMany)?;
        if table.closed || !has_rings {
            return Err(WatchRefused::Failed);
        }
        table.seats[free] = classes;
        self.events.want(table.wanted());
        Ok(Seat { watchers: Arc::clone(self), index: free, classes, since: self.events.next_number() })
    }

    /// Number of watchers.
    pub fn len(&self) -> usize {
        self.table.lock().seats.iter().filter(|seat| **seat != EventClass::NONE).count()
    }

    /// Whether there are no watchers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn arrivals(&self) -> Vec<(Seat, Box<dyn WatchSink>)> {
        std::mem::take(&mut self.table.lock().arrivals)
    }

    /// Refuses new watchers from now on; returns those that the thread has not taken yet.
    fn close(&self) -> Vec<(Seat, Box<dyn WatchSink>)> {
        self.table.lock().closed = true;
        self.arrivals()
    }
}

impl SeatTable {
    fn wanted(&self) -> EventClass {
        self.seats.iter().fold(EventClass::NONE, |all, seat| all.and(*seat))
    }
}

/// A place in the table of watchers. Dropping it, or the connection that holds it, frees the place.
pub struct Seat {
    watchers: Arc<Watchers>,
    index: usize,
    classes: EventClass,
    since: u64,
}

impl Seat {
    /// Passes the watcher's socket to the logger, which greets it. While the server stops, drops it.
    pub fn take(self, sink: Box<dyn WatchSink>) {
        let watchers = Arc::clone(&self.watchers);
        let mut table = watchers.table.lock();
        if table.closed {
            // Seat and sink are dropped at the end of this function. Dropping a seat takes the lock, so it must be
            // free.
            drop(table);
            return;
        }
        table.arrivals.push((self, sink));
        drop(table);
        if let Some(thread) = watchers.thread.get() {
            thread.unpark();
        }
    }

    pub(super) fn classes(&self) -> EventClass {
        self.classes
    }

    /// Events up to this number are not for this watcher.
    pub(super) fn since(&self) -> u64 {
        self.since
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.watchers.table.lock();
        table.seats[self.index] = EventClass::NONE;
        self.watchers.events.want(table.wanted());
    }
}

/// Counts of one round, for `stats`.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct RoundTally {
    /// Events that found their ring full.
    pub dropped: u64,
    /// Events taken from the rings.
    pub written: u64,
    /// Lines that found their watcher's buffer full.
    pub skipped: u64,
    /// Lines put into watchers' buffers.
    pub sent: u64,
    /// Number of watchers now.
    pub watchers: u64,
}

/// The logger thread; dropping this stops it.
pub struct Logger(Background);

impl Logger {
    /// Starts the thread. `count` gets every round's counts.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start(watchers: Arc<Watchers>, count: impl Fn(RoundTally) + Send + 'static) -> io::Result<Self> {
        let work = move |stop: &StopFlag| {
            // Only this thread sets the cell.
            let _ = watchers.thread.set(thread::current());
            // A panic drops the active watchers; the rings are consistent, because an entry is removed before it is
            // processed. So the thread continues with new watchers.
            while contain(|| run(&watchers, stop, &count)).is_err() {}
            // Drops watchers that were not taken yet, and with them their connections.
            drop(watchers.close());
        };
        Background::start("mc-log", work).map(Self)
    }

    /// Stops the thread and waits for it; all watchers' connections end.
    pub fn stop(self) {
        drop(self.0);
    }
}

fn run(watchers: &Arc<Watchers>, stop: &StopFlag, count: &impl Fn(RoundTally)) {
    let mut active: Vec<Watcher> = Vec::new();
    let (mut sleep, mut dropped) = (SLEEP_MIN, 0);
    while !stop.to_stop() {
        let arrivals = watchers.arrivals().into_iter();
        active.extend(arrivals.map(|(seat, sink)| Watcher::new(sink, seat, watchers.limit)));
        if active.is_empty() {
            // A watcher that arrives now has unparked this thread, so this returns at once.
            thread::park();
            continue;
        }
        trap("logger");
        let (mut tally, busy) = round(&watchers.events, &mut active);
        let before = std::mem::replace(&mut dropped, watchers.events.dropped());
        tally.dropped = dropped - before;
        tally.watchers = watchers.len() as u64;
        count(tally);
        sleep = if busy { (sleep / 2).max(SLEEP_MIN) } else { (sleep + sleep / 8).min(SLEEP_MAX) };
        if !active.is_empty() {
            thread::park_timeout(sleep);
        }
    }
}

/// Distributes the recorded events to the watchers, and sends; true if there was something to do.
fn round(events: &Events, active: &mut Vec<Watcher>) -> (RoundTally, bool) {
    let mut tally = RoundTally::default();
    let mut text = Vec::new();
    tally.written = events.drain(|entry| {
        let class = entry.event.class();
        text.clear();
        for watcher in active.iter_mut().filter(|watcher| watcher.wants(class, entry.number)) {
            if text.is_empty() {
                line::put(entry, &mut text);
            }
            if watcher.offer(&text) {
                tally.sent += 1;
            } else {
                tally.skipped += 1;
            }
        }
    });
    let mut busy = tally.written > 0;
    for watcher in active.iter_mut() {
        busy |= watcher.round();
    }
    dismiss_ended(active);
    active.retain(|watcher| !watcher.is_gone());
    (tally, busy)
}

/// Ends the oldest of the watchers whose peers have sent their last byte, if they are too many: they may have
/// disconnected, and must not take the seats of others.
fn dismiss_ended(active: &mut [Watcher]) {
    let ended = active.iter().filter(|watcher| watcher.has_ended()).count();
    let surplus = ended.saturating_sub(WATCHERS_ENDED_MAX);
    active.iter_mut().filter(|watcher| watcher.has_ended()).take(surplus).for_each(Watcher::dismiss);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Event;
    use crate::maint::WatchPeer;
    use std::io::ErrorKind;
    use std::time::Instant;

    /// A socket with room for a few bytes, and its peer.
    #[derive(Clone)]
    struct Pipe(Arc<Mutex<(Vec<u8>, usize, WatchPeer)>>);

    impl Pipe {
        fn with_room(room: usize) -> Self {
            Self(Arc::new(Mutex::new((Vec::new(), room, WatchPeer::Open))))
        }

        fn read(&self, room: usize) -> String {
            let mut pipe = self.0.lock();
            pipe.1 = room;
            String::from_utf8(std::mem::take(&mut pipe.0)).unwrap()
        }
    }

    impl WatchSink for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut pipe = self.0.lock();
            let n = bytes.len().min(pipe.1 - pipe.0.len());
            pipe.0.extend_from_slice(&bytes[..n]);
            if n == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(n) }
        }

        fn listen(&mut self) -> WatchPeer {
            self.0.lock().2
        }
    }

    fn table(limit: usize) -> Arc<Watchers> {
        Watchers::new(Arc::new(Events::new(1, 65536)), limit)
    }

    fn watcher(watchers: &Arc<Watchers>, classes: EventClass, pipe: &Pipe) -> Watcher {
        let limit = watchers.limit;
        Watcher::new(Box::new(pipe.clone()), watchers.seat(classes).map_err(|_| "no seat").unwrap(), limit)
    }

    fn delete(watchers: &Watchers, count: usize) {
        for _ in 0..count {
            watchers.events.put(&Event::Deleted { key: b"key", meta: false, class: 1, size: 1 });
        }
    }

    #[test]
    fn a_slow_reader_learns_how_many_lines_it_missed() {
        let (watchers, pipe) = (table(1000), Pipe::with_room(4));
        let mut here = vec![watcher(&watchers, EventClass::DELETIONS, &pipe)];
        assert_eq!(pipe.read(0), "OK\r\n");
        delete(&watchers, 100);
        let (tally, _) = round(&watchers.events, &mut here);
        assert_eq!((tally.written, tally.sent + tally.skipped), (100, 100));
        assert!((5..20).contains(&tally.sent), "{tally:?}");
        let sent = tally.sent as usize;
        let _ = pipe.read(100_000);
        let _ = round(&watchers.events, &mut here);
        assert_eq!(pipe.read(100_000).lines().count(), sent);
        delete(&watchers, 1);
        let _ = round(&watchers.events, &mut here);
        let after = pipe.read(0);
        assert!(after.starts_with(&format!("skipped={}\nts=", 100 - sent)), "{after}");
        assert!(after.ends_with("type=deleted key=key cmd=delete clsid=1 size=1\n"), "{after}");
    }

    #[test]
    fn a_watcher_sees_its_classes_from_its_arrival_on() {
        let watchers = table(10_000);
        let (first, second) = (Pipe::with_room(10_000), Pipe::with_room(10_000));
        let mut here = vec![watcher(&watchers, EventClass::DELETIONS, &first)];
        delete(&watchers, 1);
        here.push(watcher(&watchers, EventClass::DELETIONS.and(EventClass::FETCHERS), &second));
        let other = Pipe::with_room(10_000);
        here.push(watcher(&watchers, EventClass::CONNEVENTS, &other));
        delete(&watchers, 1);
        assert_eq!(round(&watchers.events, &mut here).0.sent, 3);
        assert_eq!(first.read(0).lines().count(), 3);
        assert_eq!(second.read(0).lines().count(), 2);
        assert_eq!(other.read(0), "OK\r\n");
    }

    #[test]
    fn without_memory_for_the_rings_watchers_are_refused() {
        let watchers = Watchers::new(Arc::new(Events::new(2, 1 << 55)), 1000);
        assert_eq!(watchers.seat(EventClass::FETCHERS).err(), Some(WatchRefused::Failed));
        assert!(watchers.is_empty() && !watchers.events.wants(EventClass::FETCHERS));
        delete(&watchers, 1);
        assert_eq!(watchers.events.dropped(), 1);
    }

    #[test]
    fn rings_get_their_memory_before_the_table_is_locked() {
        let (watchers, start) = (table(1000), Instant::now());
        let locked = watchers.table.lock();
        thread::scope(|scope| {
            let seat = scope.spawn(|| watchers.seat(EventClass::FETCHERS).is_ok());
            // An event is dropped while its ring has no memory; that of this thread gets it last.
            let is_open = || {
                let before = watchers.events.dropped();
                delete(&watchers, 1);
                watchers.events.dropped() == before
            };
            let mut opened = is_open();
            while !opened && start.elapsed() < Duration::from_secs(20) {
                thread::yield_now();
                opened = is_open();
            }
            drop(locked);
            assert!(seat.join().unwrap() && opened);
        });
    }

    #[test]
    fn a_watcher_that_disconnects_frees_its_seat() {
        let (watchers, pipe) = (table(1000), Pipe::with_room(1000));
        let seats: Vec<_> = (1..WATCHERS_MAX).map(|_| watchers.seat(EventClass::FETCHERS).ok()).collect();
        let mut here = vec![watcher(&watchers, EventClass::CONNEVENTS, &pipe)];
        assert_eq!(watchers.seat(EventClass::FETCHERS).err(), Some(WatchRefused::TooMany));
        pipe.0.lock().2 = WatchPeer::Gone;
        let _ = round(&watchers.events, &mut here);
        assert!(here.is_empty() && watchers.seat(EventClass::FETCHERS).is_ok());
        assert!(!watchers.events.wants(EventClass::CONNEVENTS) && watchers.events.wants(EventClass::FETCHERS));
        drop(seats);
        assert!(watchers.is_empty() && !watchers.events.wants(EventClass::FETCHERS));
    }

    #[test]
    fn watchers_that_have_sent_their_last_byte_stay_up_to_a_bound() {
        let watchers = table(1000);
        let pipes: Vec<Pipe> = (0..WATCHERS_MAX).map(|_| Pipe::with_room(1000)).collect();
        let mut here: Vec<Watcher> = pipes.iter().map(|pipe| watcher(&watchers, EventClass::DELETIONS, pipe)).collect();
        for pipe in &pipes[1..] {
            pipe.0.lock().2 = WatchPeer::Ended;
        }
        let _ = round(&watchers.events, &mut here);
        assert_eq!((here.len(), watchers.len()), (1 + WATCHERS_ENDED_MAX, 1 + WATCHERS_ENDED_MAX));
        delete(&watchers, 1);
        let _ = round(&watchers.events, &mut here);
        let got: Vec<bool> = pipes.iter().map(|pipe| pipe.read(0).contains("type=deleted")).collect();
        let stayed = |at: usize| at == 0 || at >= WATCHERS_MAX - WATCHERS_ENDED_MAX;
        assert_eq!(got, (0..WATCHERS_MAX).map(stayed).collect::<Vec<_>>(), "the oldest of them go");
    }

    /// A socket that makes its writer panic.
    struct Bad;

    impl WatchSink for Bad {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("as a test wants it")
        }

        fn listen(&mut self) -> WatchPeer {
            WatchPeer::Open
        }
    }

    #[test]
    fn the_thread_survives_a_panic_without_its_former_watchers() {
        let (watchers, before, after) = (table(1000), Pipe::with_room(1000), Pipe::with_room(1000));
        let logger = Logger::start(Arc::clone(&watchers), |_| ()).unwrap();
        watchers.seat(EventClass::DELETIONS).ok().unwrap().take(Box::new(before.clone()));
        while before.0.lock().0.is_empty() {
            thread::yield_now();
        }
        watchers.seat(EventClass::DELETIONS).ok().unwrap().take(Box::new(Bad));
        while !watchers.is_empty() {
            thread::yield_now();
        }
        watchers.seat(EventClass::DELETIONS).ok().unwrap().take(Box::new(after.clone()));
        while after.0.lock().0.is_empty() {
            thread::yield_now();
        }
        delete(&watchers, 1);
        while !after.0.lock().0.ends_with(b"size=1\n") {
            thread::sleep(SLEEP_MIN);
        }
        logger.stop();
        assert_eq!(before.read(0), "OK\r\n");
    }

    #[test]
    fn the_thread_greets_at_once_and_stops_with_watchers() {
        let (watchers, pipe) = (table(1000), Pipe::with_room(1000));
        let logger = Logger::start(Arc::clone(&watchers), |_| ()).unwrap();
        watchers.seat(EventClass::DELETIONS).ok().unwrap().take(Box::new(pipe.clone()));
        while pipe.0.lock().0.is_empty() {
            thread::yield_now();
        }
        delete(&watchers, 1);
        while !pipe.0.lock().0.ends_with(b"size=1\n") {
            thread::sleep(SLEEP_MIN);
        }
        logger.stop();
        assert!(watchers.is_empty());
        assert_eq!(watchers.seat(EventClass::DELETIONS).err(), Some(WatchRefused::Failed));
    }
}
