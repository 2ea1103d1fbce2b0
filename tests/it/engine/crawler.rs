//! The crawler from outside: all forms of `lru_crawler`, the sweep, and dumps during concurrent changes.
//!
//! In process, on a clock that the test moves; only the reader that disconnects needs a socket.

use crate::support::{self, Client, settings, shared, until};
use oxcached::maint::Chores;
use oxcached::net::{Answerer, DATAGRAM_HEADER};
use oxcached::proto::{Cx, Input, Output, Protocol, Session, Shared, Step};
use oxcached::server::Server;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

pub fn ask(client: &mut Client, request: &str) -> String {
    String::from_utf8(client.ask(request.as_bytes())).unwrap()
}

/// Value of one row of a `stats` report.
fn stat(client: &mut Client, report: &str, name: &str) -> Option<u64> {
    let rows = ask(client, &format!("stats{report}\r\n"));
    let row = rows.lines().find_map(|row| row.strip_prefix("STAT ")?.strip_prefix(name)?.strip_prefix(' '));
    row.map(|value| value.parse().unwrap())
}

/// The chores' thread, and one that ticks as the main thread would.
struct Ticked(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Drop for Ticked {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
        let ended = self.1.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

fn chores(shared: &Arc<Shared>) -> Ticked {
    let (moment, news, clock) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    let (store, crawler) = (shared.cache.store, Arc::clone(&shared.crawler));
    let chores = Chores::start(store, crawler, move || moment.moment(), move || news.news()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let to_stop = Arc::clone(&stop);
    let ticker = std::thread::spawn(move || {
        while !to_stop.load(Relaxed) {
            chores.tick(clock.clock.now(), clock.news());
            std::thread::sleep(Duration::from_millis(1));
        }
        chores.stop();
    });
    Ticked(stop, Some(ticker))
}

fn fill(client: &mut Client, prefix: &str, count: usize, exptime: u32) {
    for n in 0..count {
        client.feed(format!("set {prefix}{n} 0 {exptime} 2 noreply\r\nok\r\n").as_bytes());
    }
}

#[test]
fn dumps_have_memcacheds_format() {
    let shared = shared("");
    let mut client = Client::new(&shared);
    assert_eq!(ask(&mut client, "lru_crawler metadump all\r\n"), "OK\r\nEND\r\n");
    assert_eq!(ask(&mut client, "lru_crawler mgdump hash\r\n"), "OK\r\nEN\r\n");
    ask(&mut client, "set a 5 0 1\r\n1\r\nset b%1~ 0 100 3\r\nxyz\r\nset gone 0 1 1\r\n1\r\nget a\r\n");
    shared.clock.advance(1);
    let a = "key=a exp=-1 la=1000000062 cas=2 fetch=yes cls=1 size=65 flags=5 \n";
    let b = "key=b%251~ exp=1000000162 la=1000000062 cas=3 fetch=no cls=1 size=66 flags=0 \n";
    for of in ["all", "1", "7,1", "hash"] {
        let dump = ask(&mut client, &format!("lru_crawler metadump {of}\r\n"));
        assert!([a, b].iter().all(|line| dump.contains(line)), "{dump}");
        assert_eq!(dump.len(), "OK\r\nEND\r\n".len() + a.len() + b.len());
        let dump = ask(&mut client, &format!("lru_crawler mgdump {of}\r\n"));
        assert!(dump.starts_with("OK\r\nmg ") && dump.ends_with("\r\nEN\r\n"), "{dump}");
        assert!(dump.contains("mg a\r\n") && dump.contains("mg b%1~\r\n"), "{dump}");
    }
    assert_eq!(ask(&mut client, "lru_crawler metadump 2\r\n"), "OK\r\nEND\r\n");
    assert_eq!(stat(&mut client, "", "lru_crawler_starts"), Some(11));
    ask(&mut client, "flush_all\r\n");
    assert_eq!(ask(&mut client, "lru_crawler metadump all\r\n"), "OK\r\nEND\r\n");

    let mut client = Client::new(&support::shared("-C"));
    ask(&mut client, "set a 0 0 1\r\n1\r\n");
    assert!(ask(&mut client, "lru_crawler metadump all\r\n").contains(" cas=0 "));
}

#[test]
fn a_datagram_gets_no_dump_after_all_other_checks() {
    let shared = shared("");
    ask(&mut Client::new(&shared), "set a 0 0 1\r\n1\r\n");
    let mut answerer = Answerer::<Session>::default();
    for (classes, said) in [
        ("noreply\r", "BADCLASS invalid class id\r\n"),
        (",", "NOTSTARTED no items to crawl\r\n"),
        ("all", "ERROR an unknown error happened\r\n"),
    ] {
        let request = format!("\0\x07\0\0\0\x01\0\0lru_crawler mgdump {classes}\r\n");
        let replies = support::answer(&mut answerer, &shared, request.as_bytes());
        assert_eq!(replies.len(), 1, "{classes}");
        assert_eq!(&replies[0][DATAGRAM_HEADER..], said.as_bytes(), "{classes}");
    }
}

#[test]
fn expired_large_items_are_swept_when_memory_is_full() {
    for args in ["-m 8 -M", "-m 8 -M -o no_lru_crawler"] {
        let shared = shared(args);
        let mut client = Client::new(&shared);
        let value = "v".repeat(700_000);
        let mut set = |key: &str, exptime: u32| {
            let set = format!("set {key} 0 {exptime} {}\r\n{value}\r\n", value.len());
            ask(&mut client, &set) == "STORED\r\n"
        };
        shared.clock.advance(10);
        let _chores = chores(&shared);
        let stored = (0..).take_while(|n| set(&format!("k{n}"), 15)).count();
        assert!(stored > 3, "{stored}");
        shared.clock.advance(20);
        until("room for another", || set("next", 15));
    }
}

#[test]
fn refusals_have_memcacheds_texts() {
    let shared = shared("");
    let mut client = Client::new(&shared);
    let cases = [
        ("metadump", "ERROR"),
        ("metadump all noreply", ""),
        ("metadump noreply", ""),
        ("mgdump 0", "BADCLASS invalid class id"),
        ("metadump 64", "BADCLASS invalid class id"),
        ("metadump ,", "NOTSTARTED no items to crawl"),
        ("crawl ,", "NOTSTARTED no items to crawl"),
        ("crawl foo", "BADCLASS invalid class id"),
        ("crawl hash", "ERROR an unknown error happened"),
        ("crawl 1", "OK"),
        ("crawl all", "BUSY currently processing crawler request"),
        ("enable", "ERROR failed to start lru crawler thread"),
        ("disable", "OK"),
        ("disable", "OK"),
        ("crawl all", "CLIENT_ERROR lru crawler disabled"),
        ("metadump all", "CLIENT_ERROR lru crawler disabled"),
        ("enable noreply", ""),
        ("enable", "OK"),
        ("sleep 1000001", "CLIENT_ERROR sleep must be one second or less"),
        ("sleep 1000000", "OK"),
        ("tocrawl x", "CLIENT_ERROR bad command line format"),
    ];
    for (command, reply) in cases {
        let reply = if reply.is_empty() { String::new() } else { format!("{reply}\r\n") };
        assert_eq!(ask(&mut client, &format!("lru_crawler {command}\r\n")), reply, "{command}");
    }
    assert_eq!(stat(&mut client, "", "lru_crawler_running"), Some(1), "no thread serves the request here");

    let mut client = Client::new(&support::shared("-X"));
    assert_eq!(ask(&mut client, "lru_crawler metadump foo\r\n"), "ERROR metadump not allowed\r\n");
    assert_eq!(ask(&mut client, "lru_crawler mgdump all\r\n"), "ERROR key dump not allowed\r\n");
}

#[test]
fn a_dump_must_come_first_and_others_may_follow() {
    let mut client = Client::new(&shared(""));
    let refused = "ERROR cannot pipeline other commands before metadump\r\n";
    let version = ask(&mut client, "version\r\n");
    for before in ["version\r\n", "set a 0 0 1 noreply\r\n1\r\n", "get nope\r\n", "lru_crawler foo noreply\r\n"] {
        let reply = ask(&mut client, &format!("{before}lru_crawler metadump foo\r\nversion\r\n"));
        assert!(reply.ends_with(&format!("{refused}{version}")), "{reply}");
    }
    let reply = ask(&mut client, "lru_crawler mgdump all\r\nlru_crawler mgdump hash\r\nget a\r\n");
    assert_eq!(reply, "OK\r\nmg a\r\nEN\r\nOK\r\nmg a\r\nEN\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
}

#[test]
fn large_items_belong_to_the_largest_class() {
    let shared = shared("-I 4m");
    let mut client = Client::new(&shared);
    let largest = shared.cache.store.sizes().largest();
    let value = "x".repeat(2 << 20);
    assert_eq!(ask(&mut client, &format!("set large 0 0 {}\r\n{value}\r\n", value.len())), "STORED\r\n");
    assert_eq!(ask(&mut client, &format!("lru_crawler mgdump {largest}\r\n")), "OK\r\nmg large\r\nEN\r\n");
    let others: Vec<_> = (1..largest).map(|class| class.to_string()).collect();
    assert_eq!(ask(&mut client, &format!("lru_crawler mgdump {}\r\n", others.join(","))), "OK\r\nEN\r\n");
    assert!(ask(&mut client, &format!("stats cachedump {largest} 0\r\n")).starts_with("ITEM large ["));
    assert_eq!(ask(&mut client, "stats cachedump 1 0\r\n"), "END\r\n");
}

#[test]
fn a_crawl_removes_expired_items() {
    // The maintainer would reclaim some of it.
    let shared = shared("-o no_lru_maintainer,lru_crawler_sleep=0");
    let mut client = Client::new(&shared);
    fill(&mut client, "immortal", 30, 0);
    fill(&mut client, "long", 30, 3600);
    fill(&mut client, "short", 30, 1);
    client.ask(format!("set other 0 1 400\r\n{}\r\n", "x".repeat(400)).as_bytes());
    ask(&mut client, "get short1 short2\r\nlru_crawler crawl 1\r\n");
    shared.clock.advance(2);
    let _chores = chores(&shared);
    // No thread serves the request until now; the automatic pass follows it.
    until("the end of all runs", || {
        stat(&mut client, "", "lru_crawler_running") == Some(0)
            && stat(&mut client, "", "crawler_items_checked") >= Some(90 + 61)
    });
    assert_eq!(stat(&mut client, " slabs", "1:used_chunks"), Some(60));
    assert_eq!(stat(&mut client, " items", "items:1:crawler_reclaimed"), Some(30));
    assert_eq!(stat(&mut client, " items", "items:1:expired_unfetched"), Some(28));
    assert_eq!(stat(&mut client, " items", "items:1:crawler_items_checked"), Some(90 + 60));
    assert_eq!(stat(&mut client, "", "crawler_reclaimed"), Some(31));
    assert_eq!(stat(&mut client, "", "lru_crawler_starts"), Some(2));
    assert_eq!(ask(&mut client, "stats reset\r\n"), "RESET\r\n");
    assert_eq!(stat(&mut client, "", "lru_crawler_starts"), Some(0));
}

#[test]
fn a_crawl_can_be_bounded_and_slow() {
    let shared = shared("-o lru_crawler_sleep=0,lru_crawler_tocrawl=7");
    let mut client = Client::new(&shared);
    fill(&mut client, "k", 5000, 0);
    let _chores = chores(&shared);
    let checked = |client: &mut Client| stat(client, "", "crawler_items_checked").unwrap();
    until("the first automatic pass, without a bound", || checked(&mut client) == 5000);
    until("its end", || !shared.crawler.is_running());
    ask(&mut client, "lru_crawler crawl all\r\n");
    until("seven more", || checked(&mut client) == 5007 && !shared.crawler.is_running());

    ask(&mut client, "lru_crawler tocrawl 0\r\n");
    ask(&mut client, "lru_crawler sleep 200000\r\n");
    assert_eq!(ask(&mut client, "lru_crawler crawl 1\r\n"), "OK\r\n");
    assert_eq!(ask(&mut client, "lru_crawler crawl 1\r\n"), "BUSY currently processing crawler request\r\n");
    until("the first step", || checked(&mut client) > 5007);
    assert!(checked(&mut client) < 10_007, "it pauses after some items");
    ask(&mut client, "lru_crawler sleep 0\r\n");
    until("the rest", || checked(&mut client) == 10_007 && !shared.crawler.is_running());
}

#[test]
fn items_are_swept_soon_after_they_expire() {
    let shared = shared("-o lru_crawler_sleep=0");
    let mut client = Client::new(&shared);
    let store = shared.cache.store;
    fill(&mut client, "immortal", 1000, 0);
    fill(&mut client, "long", 1000, 40);
    fill(&mut client, "short", 1000, 20);
    let _chores = chores(&shared);
    let checked = |client: &mut Client| stat(client, "", "crawler_items_checked").unwrap();
    until("the first full pass", || checked(&mut client) == 3000 && !shared.crawler.is_running());
    shared.clock.advance(19);
    assert_eq!(checked(&mut client), 3000, "nothing is due");
    shared.clock.advance(1);
    // Waits for the end of the run: the class rests after it, by the clock.
    until("the short ones leave, between two full passes", || store.items() == 2000 && !shared.crawler.is_running());
    shared.clock.advance(20);
    until("the long ones leave", || store.items() == 1000);
    until("rest", || !shared.crawler.is_running());
    assert!(checked(&mut client) >= 3000 + 3000 + 2000);

    fill(&mut client, "later", 10, 1);
    shared.clock.advance(60);
    until("items that no run has seen leave with the next full pass", || store.items() == 1000);
}

#[test]
fn nothing_is_swept_while_the_crawler_is_off() {
    let shared = shared("-o no_lru_crawler");
    let mut client = Client::new(&shared);
    fill(&mut client, "k", 100, 1);
    let _chores = chores(&shared);
    shared.clock.advance(600);
    assert_eq!(shared.cache.store.items(), 100);
    assert_eq!(stat(&mut client, "", "lru_crawler_running"), None, "the rows are there only while it is on");
    ask(&mut client, "lru_crawler enable\r\n");
    until("they leave", || shared.cache.store.items() == 0);
    assert!(stat(&mut client, "", "lru_crawler_starts") >= Some(1));
}

/// Stops a thread on drop, also when the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A dump that the test steps by hand, with `between` run between the steps.
fn dump_in_steps(shared: &Shared, request: &str, mut between: impl FnMut()) -> String {
    let (mut session, mut input, mut out) = (Session::new(Protocol::Ascii), Input::default(), Output::default());
    input.append(request.as_bytes());
    let mut text = Vec::new();
    loop {
        let step = session.run(&mut Cx::new(shared, &shared.stats.workers[0], 7), &mut input, &mut out, &mut 20);
        // One bucket more than a step's bytes; a table that is late in growing has long ones.
        assert!(out.remaining() < 64 * 1024, "a step is bounded: {}", out.remaining());
        text.extend_from_slice(out.plain().unwrap());
        out.clear();
        match step {
            Step::Read => return String::from_utf8(text).unwrap(),
            Step::Yield | Step::Flush => between(),
            other => panic!("{other:?}"),
        }
    }
}

fn keys(dump: &str) -> HashMap<&str, u32> {
    let mut keys = HashMap::new();
    for line in dump.lines() {
        if let Some(key) = line.strip_prefix("key=").and_then(|line| line.split(' ').next()) {
            *keys.entry(key).or_insert(0) += 1;
        }
    }
    keys
}

#[test]
fn unchanged_items_are_dumped_once_during_changes() {
    const FIXED: usize = 30_000;
    let shared = shared("-m 256 -o hashpower=12,lru_crawler_sleep=0 -I 2m");
    let bytes = || stat(&mut Client::new(&shared), "", "hash_bytes").unwrap();
    let small = bytes();
    let _chores = chores(&shared);
    fill(&mut Client::new(&shared), "fixed", FIXED, 0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (shared, stop) = (&shared, &stop);
        scope.spawn(move || {
            let mut client = Client::new(shared);
            for n in (0..).take_while(|_| !stop.load(Relaxed)) {
                let (new, old) = (n % 700_000, n / 2);
                client.feed(format!("set moving{new} 0 {} {}\r\n", n % 3, n % 90).as_bytes());
                client.feed(
                    format!("{}\r\ndelete moving{old}\r\nget fixed{}\r\n", "x".repeat(n % 90), n % FIXED).as_bytes(),
                );
                client.got.clear();
            }
        });
        let _stop = StopAtEnd(stop);
        for round in 0..3 {
            let mut client = Client::new(shared);
            let dump = dump_in_steps(shared, "lru_crawler metadump all\r\n", || {
                client.feed(b"set between 0 0 1 noreply\r\n1\r\n");
            });
            assert!(dump.starts_with("OK\r\n") && dump.ends_with("\nEND\r\n"));
            let met = keys(&dump);
            let bad = (0..FIXED).find(|n| met.get(format!("fixed{n}").as_str()) != Some(&1));
            assert_eq!(bad, None, "in round {round}, in the order of memory");

            // In hash order, even items rewritten meanwhile are visited exactly once.
            let mut at = 0;
            let dump = dump_in_steps(shared, "lru_crawler metadump hash\r\n", || {
                for n in (at..at + 300).map(|n| n % FIXED) {
                    client
                        .feed(format!("set fixed{n} 0 0 {} noreply\r\n{}\r\n", n % 50, "y".repeat(n % 50)).as_bytes());
                }
                at += 300;
            });
            let met = keys(&dump);
            let bad = (0..FIXED).find(|n| met.get(format!("fixed{n}").as_str()) != Some(&1));
            assert_eq!(bad, None, "in round {round}, in the order of hashes");
        }
    });
    until("the index has grown", || bytes() > 3 * small);
}

#[test]
fn a_slow_or_vanished_dump_reader_delays_no_client() {
    let server = Server::start(settings("-p -1 -l 127.0.0.1 -t 1 -m 256")).unwrap();
    let shared = server.shared().clone();
    let running = server.spawn().unwrap();
    let connect = || {
        let stream = TcpStream::connect(running.addresses()[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    // More than the kernel buffers for a reader that does not read.
    fill(&mut Client::new(&shared), &"k".repeat(200), 150_000, 0);
    let mut slow = connect();
    let mut gone = connect();
    for stream in [&mut slow, &mut gone] {
        stream.write_all(b"lru_crawler metadump all\r\nversion\r\n").unwrap();
        stream.read_exact(&mut [0; 100]).unwrap();
    }
    let mut other = BufReader::new(connect());
    let mut line = String::new();
    for _ in 0..100 {
        other.get_mut().write_all(b"set x 0 0 1\r\n1\r\n").unwrap();
        line.clear();
        other.read_line(&mut line).unwrap();
        assert_eq!(line, "STORED\r\n");
    }
    let open = || shared.conns.list().len();
    let before = open();
    drop(gone);
    until("the one that went away is closed", || open() == before - 1);
    // The slow reader gets all of its dump, then the reply to its next request.
    let lines = BufReader::new(slow).lines().map(Result::unwrap);
    let mut last = Vec::new();
    let mut count = 0;
    for line in lines {
        count += usize::from(line.starts_with("key="));
        if line == "END" || line.starts_with("VERSION") {
            last.push(line);
        }
        if last.len() == 2 {
            break;
        }
    }
    assert_eq!(last[0], "END");
    assert!(count >= 149_000, "{count}");
    drop(other);
    running.shutdown().unwrap();
}
