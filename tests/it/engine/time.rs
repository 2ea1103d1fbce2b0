//! Threads with differing clocks, flushes, and counters beyond their wrap.
//!
//! Every thread of the server reads the clock itself, and uses that time for the duration of a command or of a
//! chore's step. Here each "thread" is a `Shared` over one store, with its own clock. Unlike `tests/model`, which has
//! one clock, this has several.

use crate::support::{self, Client, UNIX, script, settings};
use oxcached::clock::{Clock, START};
use oxcached::point::{Point, set_hook};
use oxcached::proto::Shared;
use oxcached::store::Store;
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ARGS: &str = "-m 8 -t 1";
const DAY: u32 = 24 * 60 * 60;

/// A thread that works on `store` at relative time `now`.
struct Thread {
    client: Client,
}

impl Thread {
    fn new(store: &'static Store, now: u32) -> Self {
        let clock = Clock::manual(UNIX);
        clock.advance(i64::from(now) - i64::from(START));
        let shared = Shared::over(store, settings(ARGS), clock, Box::new(|_| ()));
        Self { client: Client::new(&Arc::new(shared)) }
    }

    /// A thread with its clock in the middle of a second, as a server's is.
    fn within_a_second() -> Self {
        Self::of_server(ARGS, Clock::manual_within_a_second(UNIX))
    }

    fn of_server(args: &str, clock: Clock) -> Self {
        let shared = Shared::over(support::shared(args).cache.store, settings(args), clock, Box::new(|_| ()));
        Self { client: Client::new(&Arc::new(shared)) }
    }

    /// The wall clock is set forward by `seconds`.
    fn set_wall(&mut self, seconds: i64) -> &mut Self {
        self.client.shared.set_wall(seconds);
        self
    }

    /// Unix time.
    fn unix(&self) -> i64 {
        self.client.shared.clock.unix(self.client.shared.clock.now())
    }

    fn pair(now: u32) -> [Self; 2] {
        let store = support::shared(ARGS).cache.store;
        [Self::new(store, now), Self::new(store, now)]
    }

    /// Advances this thread's clock alone.
    fn pass(&mut self, seconds: i64) -> &mut Self {
        self.client.shared.clock.advance(seconds);
        self
    }

    fn ask(&mut self, request: &str) -> String {
        String::from_utf8(self.client.ask(request.as_bytes())).unwrap()
    }

    fn set(&mut self, key: &str) -> &mut Self {
        assert_eq!(self.ask(&format!("set {key} 0 0 1\r\n1\r\n")), "STORED\r\n");
        self
    }

    #[track_caller]
    fn finds(&mut self, key: &str, there: bool) {
        let reply = self.ask(&format!("get {key}\r\n"));
        assert_eq!(reply.starts_with("VALUE"), there, "{key}: {reply}");
    }
}

#[test]
fn an_access_ahead_of_a_threads_clock_does_not_count_as_before_a_flush() {
    for now in [1000, 1 << 24, 90 * DAY, 200 * DAY] {
        let [mut ahead, mut behind] = Thread::pair(now);
        ahead.ask("flush_all\r\n");
        ahead.pass(1);
        ahead.set("live");
        behind.finds("live", true);
        ahead.finds("live", true);
        assert_eq!(behind.ask("add live 0 0 1\r\n2\r\n"), "NOT_STORED\r\n");
        support::sweep(behind.client.shared.cache.store, now - 2);
        ahead.finds("live", true);
    }
}

#[test]
fn a_lagging_thread_stores_live_items() {
    for lag in [1, 2, 60] {
        for flush in ["flush_all\r\n", "flush_all 1\r\n", "flush_all 5\r\n"] {
            let [mut ahead, mut behind] = Thread::pair(1000);
            behind.set("old");
            behind.pass(-lag);
            ahead.ask(flush);
            ahead.pass(10).finds("old", false);
            behind.set("new");
            ahead.finds("new", true);
            behind.finds("new", true);
            behind.finds("old", false);
        }
    }
}

#[test]
fn a_delayed_flush_applies_once_to_earlier_items() {
    let [mut one, mut other] = Thread::pair(1000);
    one.ask("flush_all 3\r\n");
    for second in 0..8 {
        one.set(&format!("k{second}"));
        other.pass(1);
        one.pass(1);
    }
    // Stored in the seconds 0, 1 and 2: nothing stored in the last of them survives.
    for second in 0..8 {
        other.finds(&format!("k{second}"), second > 2);
    }
    one.finds("k7", true);
}

#[test]
fn items_stored_in_the_last_second_before_a_flush_are_flushed() {
    let [mut one, mut other] = Thread::pair(1000);
    one.set("old").ask("flush_all 1\r\n");
    one.set("new");
    other.finds("old", false);
    other.finds("new", false);
    other.pass(1);
    one.pass(1).set("live");
    other.finds("live", true);
    other.finds("new", false);
}

#[test]
fn an_immediate_flush_cancels_a_delayed_one() {
    let [mut one, mut other] = Thread::pair(1000);
    one.ask("flush_all 5\r\n");
    one.ask("flush_all\r\n");
    one.set("live");
    other.pass(10).finds("live", true);
}

#[test]
fn items_live_after_a_flush_and_any_number_of_stores() {
    let [mut one, mut other] = Thread::pair(1000);
    let store = one.client.shared.cache.store;
    one.set("old").set("flushed").ask("flush_all\r\n");
    one.set("first");
    for step in [1 << 20, (1 << 39) - (1 << 21), 1 << 20, 1 << 38, 1 << 38, 1 << 39, 1 << 40, 1 << 41] {
        store.skip_ids(step);
        let key = format!("after{step}");
        one.set(&key);
        other.finds(&key, true);
        other.finds("first", true);
        other.finds("flushed", false);
    }
    // Items from below and above 2^40 ids are flushed alike.
    one.ask("flush_all\r\n");
    for key in ["first", "after1048576", "after2199023255552"] {
        other.finds(key, false);
    }
    one.set("last");
    other.finds("last", true);
}

#[test]
fn cas_ids_are_shown_whole_beyond_40_bits() {
    let [mut one, _] = Thread::pair(1000);
    let store = one.client.shared.cache.store;
    let gets = |one: &mut Thread, key: &str| -> u64 {
        let reply = one.ask(&format!("gets {key}\r\n"));
        reply.split_ascii_whitespace().nth(4).unwrap().parse().unwrap()
    };
    one.set("n").set("stale");
    for step in [(1 << 40) - (1 << 32) - 10, (1 << 32) - 20, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 << 40] {
        store.skip_ids(step);
        assert!(one.ask("incr n 1\r\n").trim_end().parse::<u64>().is_ok());
        assert_eq!(gets(&mut one, "n"), store.last_cas(), "incr");
        assert_eq!(one.ask("ma n c\r\n"), format!("HD c{}\r\n", store.last_cas()));
        assert_eq!(gets(&mut one, "n"), store.last_cas(), "ma");
        assert_eq!(one.ask("md stale I T100\r\n"), "HD\r\n");
        assert_eq!(one.ask("mg stale c\r\n").split_ascii_whitespace().nth(1), Some(&*format!("c{}", store.last_cas())));
        assert_eq!(one.ask("append n 0 0 0\r\n\r\n"), "STORED\r\n");
        assert_eq!(gets(&mut one, "n"), store.last_cas(), "append");
        let id = gets(&mut one, "n");
        assert_eq!(one.ask(&format!("cas n 0 0 1 {id}\r\n5\r\n")), "STORED\r\n");
        assert_eq!(one.ask(&format!("cas n 0 0 1 {id}\r\n5\r\n")), "EXISTS\r\n");
    }
}

#[test]
fn an_upload_while_ids_exceed_40_bits_is_stored() {
    for len in [10, 5000, 700_000] {
        let [mut one, _] = Thread::pair(1000);
        let store = one.client.shared.cache.store;
        store.skip_ids((1 << 40) - (1 << 33));
        one.client.feed(format!("set slow 7 100 {len}\r\n").as_bytes());
        store.skip_ids(1 << 34);
        one.client.feed(&vec![b'v'; len]);
        assert_eq!(one.ask("\r\n"), "STORED\r\n");
        let reply = one.ask("gets slow\r\n");
        assert!(reply.starts_with(&format!("VALUE slow 7 {len} {}\r\nvvvvv", store.last_cas())), "{}", &reply[..60]);
        assert_eq!(one.ask("mg slow t\r\n"), "HD t100\r\n");
    }
}

#[test]
fn an_upload_that_ends_long_after_its_expiry_is_expired() {
    for (len, command) in [
        (10, "set slow 0 10 10"),
        (200, "set slow 7 100 200"),
        (10, "ms slow 10 T10 MA N10"),
        (5000, "set slow 0 10 5000"),
    ] {
        for days in [1, 96, 98, 150, 193, 195, 300] {
            let [mut one, _] = Thread::pair(1000);
            one.client.feed(format!("{command}\r\n").as_bytes());
            one.pass(days * i64::from(DAY));
            one.client.feed(&vec![b'v'; len]);
            let stored = one.ask("\r\n");
            assert!(matches!(&*stored, "STORED\r\n" | "HD\r\n"), "{command}, {days} days: {stored}");
            one.finds("slow", false);
        }
    }
}

#[test]
fn incr_wraps_to_0_and_decr_stops_at_0() {
    script::run(
        ARGS,
        r"
        > set n 0 0 20
        > 18446744073709551614
        STORED
        > incr n 1
        18446744073709551615
        > incr n 1
        0
        > incr n 18446744073709551615
        18446744073709551615
        > incr n 18446744073709551615
        18446744073709551614
        > decr n 18446744073709551615
        0
        > decr n 1
        0
        ",
    );
}

/// An item stored to live N seconds survives the N-th tick, since it was stored within a second; the TTL that clients
/// see begins with N.
#[test]
fn a_lifetime_of_n_seconds_is_no_shorter() {
    let ways: [(&str, &str, &str); 9] = [
        ("set k 0 2 1\r\n1\r\n", "STORED\r\n", "get k\r\n"),
        ("add k 0 2 1\r\n1\r\n", "STORED\r\n", "get k\r\n"),
        ("set k 0 0 1\r\n1\r\ntouch k 2\r\n", "STORED\r\nTOUCHED\r\n", "get k\r\n"),
        ("set k 0 0 1\r\n1\r\ngat 2 k\r\n", "STORED\r\nVALUE k 0 1\r\n1\r\nEND\r\n", "get k\r\n"),
        ("ms k 1 T2\r\n1\r\n", "HD\r\n", "mg k v\r\n"),
        ("ma k N2 t\r\n", "HD t2\r\n", "mg k v\r\n"),
        ("mg k N2 t\r\n", "HD t2 W\r\n", "mg k s\r\n"),
        ("set k 0 0 1\r\n1\r\nmg k T2 t\r\n", "STORED\r\nHD t2\r\n", "mg k v\r\n"),
        ("set k 0 0 1\r\n1\r\nmd k I T2\r\n", "STORED\r\nHD\r\n", "mg k s\r\n"),
    ];
    for (request, reply, look) in ways {
        let mut one = Thread::within_a_second();
        assert_eq!(one.ask(request), reply);
        for left in [2, 1, 0] {
            assert!(one.ask("me k\r\n").contains(&format!(" exp={left} ")), "{request}");
            let dump = one.ask("lru_crawler metadump all\r\n");
            assert!(dump.contains(&format!("key=k exp={} ", UNIX + i64::from(START) + 2)), "{request}: {dump}");
            assert!(one.ask("mg k t\r\n").starts_with(&format!("HD t{left}")), "{request}");
            assert!(!matches!(&*one.ask(look), "END\r\n" | "EN\r\n"), "{request}");
            one.pass(1);
        }
        assert!(matches!(&*one.ask(look), "END\r\n" | "EN\r\n"), "{request}");
    }
    // A packet with the same expiry time, and a counter that it creates.
    let mut one = Thread::within_a_second();
    let set = [&[0x80, 1, 0, 1, 8, 0, 0, 0, 0, 0, 0, 10][..], &[0; 12], &[0, 0, 0, 0, 0, 0, 0, 2], b"k1"].concat();
    let incr = [&[0x80, 5, 0, 1, 20, 0, 0, 0, 0, 0, 0, 21][..], &[0; 12], &[0; 19], &[2], b"n"].concat();
    let mut packets = Client::new(&one.client.shared);
    packets.ask(&[set, incr].concat());
    one.pass(2);
    for key in ["k", "n"] {
        one.finds(key, true);
    }
    one.pass(1);
    for key in ["k", "n"] {
        one.finds(key, false);
    }
}

/// Items that must not live, and times that are not extended.
#[test]
fn a_partial_second_revives_nothing() {
    let mut one = Thread::within_a_second();
    let now = UNIX + i64::from(START);
    for past in [-1, now, now - 1, now - 100] {
        one.ask(&format!("set k 0 {past} 1\r\n1\r\n"));
        one.finds("k", false);
        one.set("k").ask(&format!("touch k {past}\r\n"));
        one.finds("k", false);
    }
    // An absolute time: as a lifetime that ends then.
    one.ask(&format!("set k 0 {} 1\r\n1\r\n", now + 5));
    assert_eq!(one.ask("mg k t\r\n"), "HD t5\r\n");
    one.pass(5).finds("k", true);
    one.pass(1).finds("k", false);
    // The displayed TTL decides whether a client may recache.
    one.ask("set k 0 30 1\r\n1\r\n");
    assert_eq!(one.ask("mg k t R30\r\n"), "HD t30\r\n");
    one.pass(1);
    assert_eq!(one.ask("mg k t R30\r\n"), "HD t29 W\r\n");
    // A delayed flush hides older items in its last second.
    one.set("k").ask("flush_all 2\r\n");
    one.finds("k", true);
    one.pass(1).finds("k", false);
}

#[test]
fn dates_follow_the_wall_clock_and_lifetimes_do_not() {
    for day in [3600, -3600, 400 * i64::from(DAY)] {
        let mut one = Thread::within_a_second();
        assert_eq!(one.ask("set life 0 100 1\r\n1\r\n"), "STORED\r\n");
        one.set_wall(day);
        let now = UNIX + i64::from(START) + day;
        assert!(one.ask("stats\r\n").contains(&format!("STAT time {now}\r\n")));
        one.ask(&format!("set date 0 {} 1\r\n1\r\nset past 0 {now} 1\r\n1\r\n", now + 100));
        assert_eq!(one.ask("mg life t\r\nmg date t\r\nmg past t\r\n"), "HD t100\r\nHD t100\r\nEN\r\n");
        let dump = one.ask("lru_crawler metadump all\r\n");
        assert_eq!(dump.matches(&format!(" exp={} ", now + 100)).count(), 2, "{dump}");
        one.pass(101);
        one.finds("life", false);
        one.finds("date", false);
    }
}

/// Commands that give the item `k` a date, and large and chained values.
fn dated(date: i64) -> Vec<(String, &'static str)> {
    let set = |len: usize| format!("set k 0 {date} {len}\r\n{}\r\n", "7".repeat(len));
    vec![
        (set(1), "get k\r\n"),
        (set(300), "get k\r\n"),
        (set(10_000), "get k\r\n"),
        (set(700_000), "get k\r\n"),
        (format!("{}append k 0 0 3\r\nabc\r\n", set(1)), "get k\r\n"),
        (format!("set k 0 0 1\r\n9\r\ntouch k {date}\r\n"), "get k\r\n"),
        (format!("set k 0 5 1\r\n9\r\ntouch k {date}\r\nincr k 1\r\n"), "get k\r\n"),
        (format!("set k 0 0 5000\r\n{}\r\ngat {date} k\r\n", "v".repeat(5000)), "get k\r\n"),
        (format!("ms k 1 T{date}\r\n1\r\n"), "mg k v\r\n"),
        (format!("set k 0 5 1\r\n1\r\nmg k T{date}\r\n"), "mg k v\r\n"),
        (format!("ma k N{date} J5\r\nma k\r\n"), "mg k v\r\n"),
        (format!("mg k N{date} v\r\n"), "mg k s\r\n"),
        (format!("set k 0 0 1\r\n1\r\nmd k I T{date}\r\n"), "mg k s\r\n"),
    ]
}

/// A date ends by the wall clock of now, whatever it said when the item was stored; with each rule of seconds the item
/// lives through the last second before the date.
#[test]
fn a_date_given_before_follows_the_wall_clock() {
    type MakeClock = fn(i64) -> Clock;
    for (clock, begun) in [(Clock::manual_within_a_second as MakeClock, 1), (Clock::manual, 0)] {
        for step in [50, -50, i64::from(200 * DAY), -i64::from(200 * DAY), -(20 << 24), 30 * 365 * i64::from(DAY)] {
            for way in 0..dated(0).len() {
                let mut one = Thread::of_server("-m 8 -t 1", clock(UNIX));
                let date = one.unix() + step + 100;
                if date <= one.unix() {
                    // Dead already; a clock that is set back revives nothing.
                    let (request, look) = &dated(date)[way];
                    one.ask(request);
                    assert!(matches!(&*one.ask(look), "END\r\n" | "EN\r\n") || request.starts_with("ma "), "{request}");
                    continue;
                }
                let (request, look) = &dated(date)[way];
                one.ask(request);
                let misses = |reply: &str| matches!(reply, "END\r\n" | "EN\r\n");
                one.set_wall(step);
                let name = &request[..request.len().min(60)];
                assert_eq!(one.ask("mg k t\r\n").split_ascii_whitespace().nth(1), Some("t100"), "{step}: {name}");
                one.pass(99 + begun);
                support::sweep(one.client.shared.cache.store, one.client.shared.clock.now());
                assert!(!misses(&one.ask(look)), "{step}: {name}");
                one.pass(1);
                assert!(misses(&one.ask(look)), "{step}: {name}");
            }
        }
    }
}

#[test]
fn a_wall_clock_that_is_set_ends_and_extends_dates_at_once() {
    let mut one = Thread::within_a_second();
    let date = one.unix() + 1000;
    one.ask(&format!("set date 0 {date} 1\r\n1\r\nset life 0 1000 1\r\n1\r\n"));
    one.set_wall(999);
    assert_eq!(one.ask("mg date t\r\nmg life t\r\n"), "HD t1\r\nHD t1000\r\n");
    one.set_wall(-5000);
    assert_eq!(one.ask("mg date t\r\nmg life t\r\n"), "HD t5001\r\nHD t1000\r\n");
    assert!(one.ask("me date\r\n").contains(" exp=5001 "));
    assert!(one.ask("lru_crawler metadump all\r\n").contains(&format!("key=date exp={date} ")));
    assert_eq!(one.ask("mg date t R6000 k\r\n"), "HD t5001 kdate W\r\n");
    one.set_wall(5001);
    assert_eq!(one.ask("mg date t\r\n"), "HD t0 Z\r\n", "the second of the date is the last one");
    one.set_wall(1);
    assert_eq!(one.ask("mg date t\r\nmg life t\r\n"), "EN\r\nHD t1000\r\n");
    // A flush to come is a delay.
    one.set("k").ask("flush_all 10\r\n");
    one.set_wall(100).finds("k", true);
    one.pass(9).finds("k", false);
}

/// A clock that is set makes items dead which no expiry time announced: the sweep looks at once.
#[test]
fn the_sweep_follows_the_wall_clock() {
    let mut one = Thread::within_a_second();
    let store = one.client.shared.cache.store;
    let before = (store.flushed(100), store.activity(100));
    one.set_wall(1);
    assert!(before.0 != store.flushed(100) && before.1 != store.activity(100));
    let date = one.unix() + 1000;
    one.ask(&format!("set date 0 {date} 1\r\n1\r\n"));
    one.set_wall(2000);
    support::sweep(store, one.client.shared.clock.now());
    support::assert_empty(&one.client.shared);
}

/// memcached's rule: a TTL of N seconds ends with the N-th second that begins.
#[test]
fn classic_seconds_count_from_the_begin_of_the_second() {
    let mut one = Thread::of_server(ARGS, Clock::manual_within_a_second(UNIX).classic());
    let now = one.unix();
    one.ask(&format!("set life 0 2 1\r\n1\r\nset date 0 {} 1\r\n1\r\n", now + 2));
    for left in [2, 1] {
        assert_eq!(one.ask("mg life t\r\nmg date t\r\n"), format!("HD t{left}\r\nHD t{left}\r\n"));
        let dump = one.ask("lru_crawler metadump all\r\n");
        assert_eq!(dump.matches(&format!(" exp={} ", now + 2)).count(), 2, "{dump}");
        one.pass(1);
    }
    assert_eq!(one.ask("mg life t\r\nmg date t\r\n"), "EN\r\nEN\r\n");
    // In a server: an item stored within a second lives no longer than asked.
    let server = oxcached::server::Server::start(settings("-p -1 -l 127.0.0.1 -t 1 -m 64 -o classic_second")).unwrap();
    assert_eq!(server.shared().clock.begun(), 0);
    server.handle().shutdown(oxcached::proto::Control::Shutdown);
    server.run(None).unwrap();
}

/// By the real clock, at any offset within a second.
#[test]
fn in_a_server_a_second_is_a_second() {
    let server = oxcached::server::Server::start(settings("-p -1 -l 127.0.0.1 -t 1 -m 64")).unwrap();
    let running = server.spawn().unwrap();
    let mut clients: Vec<_> = (0..4).map(|_| TcpStream::connect(running.addresses()[0]).unwrap()).collect();
    let ask = |client: &mut TcpStream, request: &[u8], end: &[u8]| {
        client.write_all(request).unwrap();
        let (mut reply, mut byte) = (Vec::new(), [0]);
        while !reply.ends_with(end) {
            client.read_exact(&mut byte).unwrap();
            reply.push(byte[0]);
        }
        reply
    };
    std::thread::scope(|scope| {
        for (n, client) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(220 * n as u64));
                let set = Instant::now();
                ask(client, format!("set k{n} 0 1 1\r\n1\r\n").as_bytes(), b"STORED\r\n");
                while ask(client, format!("get k{n}\r\n").as_bytes(), b"END\r\n") != b"END\r\n" {
                    assert!(set.elapsed() < Duration::from_secs(20), "it never ends");
                    std::thread::sleep(Duration::from_millis(3));
                }
                // The main thread may be late with the tick before.
                assert!(set.elapsed() >= Duration::from_millis(900), "{:?}", set.elapsed());
            });
        }
    });
    running.shutdown().unwrap();
}

#[test]
fn times_beyond_32_bits_are_truncated_or_refused_as_in_memcached() {
    // From 2038 on the text protocol cannot represent an absolute time.
    script::run(
        ARGS,
        r"
        > set k 0 2147483647 1
        > 1
        STORED
        > get k
        VALUE k 0 1
        1
        END
        > set k 0 2147483648 1
        > 2
        STORED
        > get k
        END
        > set k 0 4294967295 1
        > 3
        STORED
        > get k
        END
        > set k 0 4294967296 1
        > 4
        STORED
        > mg k v t
        VA 1 t-1
        4
        > set k 0 4294967396 1
        > 5
        STORED
        > mg k v t
        VA 1 t100
        5
        > set k 0 -1 1
        > 6
        STORED
        > get k
        END
        > set k 0 -4294967196 1
        > 7
        STORED
        > mg k v t
        VA 1 t100
        7
        > touch k 2147483648
        CLIENT_ERROR invalid exptime argument
        > gat 2147483648 k
        CLIENT_ERROR invalid exptime argument
        > mg k T2147483648
        CLIENT_ERROR bad token in command line format
        > flush_all 2147483648
        CLIENT_ERROR invalid exptime argument
        > get k
        VALUE k 0 1
        7
        END
        ",
    );
}

#[test]
fn the_last_seconds_of_relative_time_behave_like_any_others() {
    let [mut one, mut other] = Thread::pair(u32::MAX - 100);
    assert_eq!(one.set("kept").ask("set short 0 10 1\r\n1\r\nset long 0 200 1\r\n1\r\n"), "STORED\r\nSTORED\r\n");
    assert_eq!(one.ask("set month 0 2592000 1\r\n1\r\ntouch kept 2592000\r\n"), "STORED\r\nTOUCHED\r\n");
    assert_eq!(one.ask("set number 0 0 1\r\n1\r\nincr number 1\r\n"), "STORED\r\n2\r\n");
    let expected = [("short", 9), ("short", 10), ("long", 50), ("month", 98), ("kept", 99)];
    let mut passed = 0;
    for (key, second) in expected {
        one.pass(second - passed);
        other.pass(second - passed);
        passed = second;
        for thread in [&mut one, &mut other] {
            thread.finds(key, key != "short" || second < 10);
        }
        support::sweep(one.client.shared.cache.store, one.client.shared.clock.now());
    }
    // The clock stops: no time passes any more, and whatever was to expire has expired.
    one.pass(1000);
    support::sweep(one.client.shared.cache.store, one.client.shared.clock.now());
    for key in ["long", "month", "kept"] {
        one.finds(key, false);
    }
    one.finds("number", true);
    one.set("new").finds("new", true);
    assert_eq!(one.ask("flush_all\r\n"), "OK\r\n");
    one.finds("new", false);
}

#[test]
fn the_age_of_an_unread_item_never_wraps() {
    let [mut one, _] = Thread::pair(1000);
    one.set("kept");
    let mut days = 0;
    for _ in 0..300 {
        one.pass(i64::from(DAY));
        days += 1;
        // The sweep runs once a day at least.
        support::sweep(one.client.shared.cache.store, one.client.shared.clock.now());
        let idle = days.min(90) * DAY;
        assert_eq!(
            one.ask("me kept\r\n").split_ascii_whitespace().find_map(|f| f.strip_prefix("la=")),
            Some(&*idle.to_string())
        );
    }
}

#[test]
fn a_negative_exptime_has_passed_for_every_thread() {
    for lag in [1, 2, 60] {
        for request in [
            "set k 0 -1 1\r\nx\r\n",
            "set k 0 0 1\r\nx\r\ntouch k -1\r\n",
            "set k 0 0 1\r\nx\r\ngat -1 k\r\n",
            "ms k 1 T-1\r\nx\r\n",
            "ms k 1\r\nx\r\nmg k T-1\r\n",
        ] {
            let [ahead, mut behind] = Thread::pair(1000);
            behind.pass(-lag);
            let mut threads = [ahead, behind];
            for writer in [0, 1] {
                let reply = threads[writer].ask(request);
                assert!(!reply.contains("ERROR"), "{request}: {reply}");
                for thread in &mut threads {
                    thread.finds("k", false);
                    assert_eq!(thread.ask("mg k t\r\n"), "EN\r\n", "{request}");
                }
            }
        }
    }
}

/// A flush by another thread at each point of a command where no lock is held. The command comes before it or after
/// it: no data from before is seen afterwards, and nothing stays in memory.
#[test]
fn a_flush_within_a_command_leaves_no_older_data() {
    let long = "n".repeat(300);
    for (request, may_store) in [
        ("set k 0 0 3\r\nnew\r\n", true),
        ("add k 0 0 3\r\nnew\r\n", true),
        ("replace k 0 0 3\r\nnew\r\n", true),
        ("ms k 3 C2\r\nnew\r\n", true),
        ("ms k 3 E70000000000000\r\nnew\r\n", true),
        (format!("append k 0 0 300\r\n{long}\r\n").as_str(), false),
        (format!("prepend k 0 0 300\r\n{long}\r\n").as_str(), false),
        ("append k 0 0 1\r\n1\r\n", false),
        ("incr k 9999999\r\n", false),
        ("touch k 2000000000\r\n", false),
        ("gat 50 k\r\n", false),
        ("md k I T30\r\n", false),
        ("get k\r\n", false),
    ] {
        let mut points = 0;
        for number in 1.. {
            let shared = support::shared(ARGS);
            let (mut client, mut other) = (Client::new(&shared), Client::new(&shared));
            assert_eq!(client.ask(b"set k 0 0 1\r\n7\r\n"), b"STORED\r\n");
            let passed = Rc::new(Cell::new(0));
            let hook = {
                let passed = Rc::clone(&passed);
                move |point| {
                    passed.set(passed.get() + u32::from(point == Point::Between));
                    if point == Point::Between && passed.get() == number {
                        assert_eq!(other.ask(b"flush_all\r\n"), b"OK\r\n");
                    }
                    false
                }
            };
            set_hook(Some(Box::new(hook)));
            let reply = String::from_utf8(client.ask(request.as_bytes())).unwrap();
            set_hook(None);
            if passed.get() < number {
                break;
            }
            points += 1;
            let found = String::from_utf8(client.ask(b"get k\r\n")).unwrap();
            let is_new = may_store && found == "VALUE k 0 3\r\nnew\r\nEND\r\n";
            assert!(is_new || found == "END\r\n", "{request}, point {number}: {reply}, then {found}");
            client.ask(b"delete k\r\n");
            support::sweep(shared.cache.store, shared.clock.now());
            support::assert_empty(&shared);
        }
        // Builds without hooks have no points.
        assert!(points > 0 || !cfg!(debug_assertions), "{request}");
    }
}
