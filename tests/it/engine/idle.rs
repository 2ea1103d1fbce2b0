//! Background threads sleep without work, and do due work in time: the steps of the chores and of the mover under a
//! manual clock, with every wake-up counted.

use crate::support::{Client, shared};
use oxcached::maint::{ChoreWork, MoverWork, Rest};
use oxcached::proto::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const HOUR: u32 = 3600;

/// Steps of one thread without a rest that count as a spin.
const STEPS_MAX: u32 = 100_000;

/// Wake-ups that prove that a thread does not rest.
const MANY: u32 = 200;

/// Time of a thread's next step.
#[derive(Clone, Copy)]
enum Next {
    At(u64),
    Tick { second: u32, news: u64 },
}

/// The two threads and the main thread's tick.
struct World {
    shared: Arc<Shared>,
    /// Microseconds since the start.
    micros: Arc<AtomicU64>,
    chores: (ChoreWork, Next),
    mover: (MoverWork, Next),
    chores_wakes: u32,
    mover_wakes: u32,
}

impl World {
    fn new(args: &str) -> Self {
        let shared = shared(args);
        let (micros, base) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let clock = || {
            let micros = Arc::clone(&micros);
            // Each read of the clock takes time, so that time-bounded work ends.
            move || base + Duration::from_micros(micros.fetch_add(100, Relaxed))
        };
        let store = shared.cache.store;
        let chores = ChoreWork::new(store, Arc::clone(&shared.crawler), clock());
        let mover = MoverWork::new(store, Arc::clone(&shared.mover), clock());
        let [chores_wakes, mover_wakes] = [0; 2];
        Self { chores: (chores, Next::At(0)), mover: (mover, Next::At(0)), micros, shared, chores_wakes, mover_wakes }
    }

    /// Advances the clock by `seconds`.
    fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            let end = self.micros.load(Relaxed) / 1_000_000 * 1_000_000 + 1_000_000;
            while let Some(at) = self.next_at().filter(|&at| at < end) {
                self.micros.fetch_max(at, Relaxed);
                self.work(at);
            }
            self.micros.fetch_max(end, Relaxed);
            self.shared.clock.advance(1);
            let (now, news) = (self.shared.clock.now(), self.shared.news());
            for next in [&mut self.chores.1, &mut self.mover.1] {
                if let Next::Tick { second, news: known } = *next
                    && (now >= second || news != known)
                {
                    *next = Next::At(end);
                }
            }
        }
    }

    fn next_at(&self) -> Option<u64> {
        let at = |next| if let Next::At(at) = next { Some(at) } else { None };
        at(self.chores.1).into_iter().chain(at(self.mover.1)).min()
    }

    /// Runs the due threads until they rest.
    fn work(&mut self, at: u64) {
        let is_due = |next| matches!(next, Next::At(due) if due <= at);
        if is_due(self.chores.1) {
            self.chores_wakes += 1;
            let rest = until_rest(|| self.chores.0.step(&self.shared.moment(), || self.shared.news()));
            self.chores.1 = next(at, rest, self.chores.0.news());
        }
        if is_due(self.mover.1) {
            self.mover_wakes += 1;
            let rest = until_rest(|| {
                let (now, tuning) = self.shared.tuning();
                self.mover.0.step(now, tuning, || self.shared.news())
            });
            self.mover.1 = next(at, rest, self.mover.0.news());
        }
    }

    /// Wake-ups of the chores and of the mover during `seconds`; stops early after `MANY`.
    fn wakes(&mut self, seconds: u32) -> (u32, u32) {
        let before = (self.chores_wakes, self.mover_wakes);
        let mut wakes = (0, 0);
        for _ in 0..seconds {
            self.pass(1);
            wakes = (self.chores_wakes - before.0, self.mover_wakes - before.1);
            if wakes.0 + wakes.1 > MANY {
                break;
            }
        }
        wakes
    }

    fn items(&self) -> u64 {
        self.shared.cache.store.items()
    }
}

#[track_caller]
fn until_rest(mut step: impl FnMut() -> Rest) -> Rest {
    let mut rests = (0..STEPS_MAX).map(|_| step());
    rests.find(|rest| *rest != Rest::No).expect("it spins")
}

fn next(at: u64, rest: Rest, news: u64) -> Next {
    match rest {
        Rest::No => Next::At(at),
        Rest::For(pause) => Next::At(at + pause.as_micros() as u64),
        Rest::Until(second) => Next::Tick { second, news },
    }
}

fn fill(client: &mut Client, count: usize, exptime: impl Fn(usize) -> u32) {
    for n in 0..count {
        client.feed(format!("set k{n} 0 {} 100 noreply\r\n{}\r\n", exptime(n), "v".repeat(100)).as_bytes());
    }
}

/// Every combination of the settings that sweep, tend and move pages, each with spare memory and without.
fn variants() -> impl Iterator<Item = String> {
    let sweep =
        ["", "-o no_lru_crawler", "-o no_lru_maintainer", "-o no_lru_crawler,no_lru_maintainer", "-o no_modern", "-M"];
    let moves = ["", "-o slab_automove=0", "-o slab_automove=2"];
    sweep.into_iter().flat_map(move |sweep| {
        moves.into_iter().flat_map(move |moves| ["-m 64", "-m 2"].map(|memory| format!("{memory} {sweep} {moves}")))
    })
}

#[test]
fn nothing_wakes_while_nothing_happens() {
    for args in variants() {
        for flushes in [false, true] {
            let mut world = World::new(&args);
            let mut client = Client::new(&world.shared);
            fill(&mut client, 16_000, |_| 0);
            if flushes {
                client.feed(b"flush_all noreply\r\n");
            }
            world.pass(200);
            assert_eq!(world.wakes(HOUR), (0, 0), "{args}, flushed: {flushes}");
        }
    }
}

#[test]
fn threads_rest_soon_after_the_last_command() {
    let mut world = World::new("");
    let mut client = Client::new(&world.shared);
    // The first items cause a full pass, and have memory touched ahead.
    fill(&mut client, 100, |_| 0);
    world.pass(10);
    fill(&mut client, 100, |_| 0);
    world.pass(5);
    // The full pass, due a minute after the previous one, finds the new items.
    let (chores, mover) = world.wakes(40);
    assert_eq!((chores, mover), (0, 0));
    assert!(world.wakes(60).0 >= 1);
}

#[test]
fn expired_items_are_swept_after_any_idle_time() {
    for late in [5, 59, 61, 1000, 2 * HOUR] {
        let mut world = World::new("");
        fill(&mut Client::new(&world.shared), 1000, |n| if n % 2 == 0 { late } else { 0 });
        world.pass(late);
        world.pass(65);
        assert_eq!(world.items(), 500, "those of {late} seconds");
        let (chores, _) = world.wakes(HOUR);
        assert!(chores < 40, "{chores} wake-ups for one more pass");
        assert_eq!(world.wakes(HOUR), (0, 0));
    }
}

#[test]
fn a_flush_is_swept_at_once_even_after_a_long_rest() {
    for args in ["", "-o no_lru_crawler", "-o no_lru_maintainer"] {
        let mut world = World::new(args);
        let mut client = Client::new(&world.shared);
        fill(&mut client, 10_000, |_| 0);
        world.pass(HOUR);
        assert_eq!(world.items(), 10_000);
        client.feed(b"flush_all noreply\r\n");
        world.pass(7);
        assert_eq!(world.items(), 0, "{args}");
        fill(&mut client, 10_000, |_| 0);
        client.feed(b"flush_all 100 noreply\r\n");
        world.pass(110);
        assert_eq!(world.items(), 0, "a flush to come, {args}");
    }
}

#[test]
fn tail_items_are_reclaimed_on_expiry_without_the_crawler() {
    let mut world = World::new("-o no_lru_crawler");
    let mut client = Client::new(&world.shared);
    fill(&mut client, 1, |_| 100);
    world.pass(99);
    assert_eq!(world.items(), 1);
    world.pass(3);
    assert_eq!(world.items(), 0);
    world.pass(5);
    assert_eq!(world.wakes(HOUR), (0, 0));
}

#[test]
fn incomplete_uploads_keep_no_thread_awake() {
    for args in variants() {
        let mut world = World::new(&args);
        let mut clients: Vec<Client> = (0..3).map(|_| Client::new(&world.shared)).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            client.feed(format!("set half{n} 0 0 100\r\nhalf").as_bytes());
        }
        let mut large = Client::new(&world.shared);
        large.feed(format!("set large 0 0 600000\r\n{}", "l".repeat(300_000)).as_bytes());
        fill(&mut Client::new(&world.shared), 3000, |_| 0);
        world.wakes(200);
        assert_eq!(world.wakes(HOUR), (0, 0), "{args}");
    }
}

#[test]
fn pages_that_cannot_be_released_are_not_retried_endlessly() {
    let mut world = World::new("-m 20");
    // Every page of the class holds incomplete uploads.
    let mut clients = Vec::new();
    let mut other = Client::new(&world.shared);
    for n in 0..150_000 {
        if n % 1000 == 0 {
            let mut client = Client::new(&world.shared);
            client.feed(format!("set k{n} 0 0 100\r\nhalf").as_bytes());
            clients.push(client);
        }
        other.feed(format!("set k{n} 0 0 100 noreply\r\n{}\r\n", "v".repeat(100)).as_bytes());
    }
    assert_eq!(other.ask(b"cache_memlimit 8\r\n"), b"OK\r\n");
    world.pass(300);
    assert_eq!(world.wakes(HOUR), (0, 0), "{:?}", world.shared.mover.figures());
    let pages = world.shared.cache.store.malloced();
    // Once the uploads end, the pages are released too.
    clients.clear();
    other.feed(b"get k1\r\n");
    world.pass(60);
    assert!(world.shared.cache.store.malloced() < pages);
}

#[test]
fn a_blocked_move_on_request_is_polled_at_a_bounded_rate() {
    let mut world = World::new("-m 64 -o no_slab_automove");
    let mut slow = Client::new(&world.shared);
    slow.feed(b"set half 0 0 100\r\nhalf");
    let mut client = Client::new(&world.shared);
    fill(&mut client, 30_000, |_| 0);
    world.pass(10);
    let views = world.shared.cache.store.classes(world.shared.clock.now());
    let class = (1..views.len()).max_by_key(|&class| views[class].pages).unwrap();
    assert_eq!(client.ask(format!("slabs reassign {class} 0\r\n").as_bytes()), b"OK\r\n");
    world.mover.1 = Next::At(0); // a request wakes the thread
    world.pass(20);
    // memcached's clients see retries counted: its own tests want more than 500 within 100 seconds.
    let (_, mover) = world.wakes(10);
    assert!((60..=101).contains(&mover), "{mover} checks of the page in 10 seconds");
    slow.feed(&[b'v'; 96]);
    slow.feed(b"\r\n");
    world.pass(2);
    assert_eq!(world.shared.mover.figures().moved, 1);
}

#[test]
fn crawls_on_request_do_not_end_the_sweep_of_a_flush() {
    // One step per second, about sixty in total.
    let mut world = World::new("-m 256 -o lru_crawler_sleep=1000000");
    let mut client = Client::new(&world.shared);
    fill(&mut client, 60_000, |_| 0);
    world.pass(200);
    client.feed(b"flush_all noreply\r\n");
    world.pass(5);
    let mut requests = 0;
    for _ in 0..300 {
        // Crawls a class without items, as often as the server accepts it.
        requests += u32::from(client.ask(b"lru_crawler crawl 30\r\n") == b"OK\r\n");
        world.chores.1 = Next::At(0);
        world.pass(1);
    }
    assert!(requests > 10, "{requests} runs on request were taken");
    assert_eq!(world.items(), 0);
    world.pass(10);
    assert!(!world.shared.crawler.is_running());
}

/// Whatever the order of the two runs, a crawl of few items does not replace what a full pass knows of all: the next
/// pass is due when the first of them expires.
#[test]
fn a_bounded_crawl_does_not_hide_an_expiry() {
    const EXPIRY: u32 = 1000;
    // The second of the last request: before, within and after the second of the full pass.
    for last in 55..=70 {
        let mut world = World::new("-m 8");
        let mut client = Client::new(&world.shared);
        assert_eq!(client.ask(b"lru_crawler tocrawl 1\r\n"), b"OK\r\n");
        fill(&mut client, 1000, |n| if n % 2 == 1 { EXPIRY } else { 0 });
        for _ in 0..last {
            let _ = client.ask(b"lru_crawler crawl all\r\n");
            world.chores.1 = Next::At(0); // a request wakes the thread
            world.pass(1);
        }
        world.pass(EXPIRY - last);
        world.pass(65);
        assert_eq!(world.items(), 500, "requests in the first {last} seconds");
    }
}
