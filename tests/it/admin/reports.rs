//! Statistics of unbounded length: sent in steps, each of which is bounded, for any number of rows and any reader
//! speed.

use crate::support::{Client, answer, settings, shared};
use oxcached::net::{Allowance, Answerer, DATAGRAM_HEADER, SendOutcome, TurnEnd};
use oxcached::proto::{ConnInfo, ConnState, Cx, Input, Output, Protocol, Session, Shared, Step};
use oxcached::server::Server;
use oxcached::stats::{Counter, PrefixEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Upper bound for the output after one step: the step itself, and the rows of one batch beyond it.
const STEP_MAX: usize = 64 * 1024;

/// The server's budget for unsent dumps in packets.
const REPORTS_MAX: u64 = 64 << 20;

/// A session that the test steps by hand.
struct Steps {
    shared: Arc<Shared>,
    session: Session,
    input: Input,
    out: Output,
    /// Turns given to other sessions.
    yields: usize,
}

impl Steps {
    fn new(shared: &Arc<Shared>, request: &[u8]) -> Self {
        let mut input = Input::default();
        input.append(request);
        let session = Session::new(Protocol::Negotiating);
        Self { shared: Arc::clone(shared), session, input, out: Output::default(), yields: 0 }
    }

    /// One run of the session; its replies stay in the output.
    fn step(&mut self) -> Step {
        let mut cx = Cx::new(&self.shared, &self.shared.stats.workers[0], 7);
        let step = self.session.run(&mut cx, &mut self.input, &mut self.out, &mut 20);
        assert!(self.out.remaining() < STEP_MAX, "a step is bounded: {}", self.out.remaining());
        self.yields += usize::from(step == Step::Yield);
        step
    }

    /// All replies.
    fn finish(&mut self) -> Vec<u8> {
        let mut replies = Vec::new();
        loop {
            let step = self.step();
            replies.extend_from_slice(self.out.plain().unwrap());
            self.out.clear();
            match step {
                Step::Yield | Step::Flush => {}
                Step::Read => return replies,
                other => panic!("{other:?}"),
            }
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Records prefixes of 100 bytes and more, as if clients had used them.
fn fill_prefixes(shared: &Shared, count: usize) {
    for n in 0..count {
        shared.cache.prefixes.record(format!("{}{n}:k", "p".repeat(100)).as_bytes(), PrefixEvent::Miss);
    }
}

fn fill_conns(shared: &Shared, count: i32) {
    for fd in 0..count {
        let peer = format!("[2001:db8::{:x}]:{}", fd % 65_536, 1024 + fd % 60_000).parse().unwrap();
        let card = ConnInfo::new(Some(peer), Some("[::1]:11211".parse().unwrap()), ConnState::Read, 0);
        shared.conns.insert(100 + fd, Arc::new(card));
    }
}

/// A packet with a key only.
fn stat_packet(key: &str, value: usize) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    (bytes[0], bytes[1], bytes[3], bytes[11]) = (0x80, 0x10, key.len() as u8, (key.len() + value) as u8);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// A flush packet.
const FLUSH: [u8; 24] = [0x80, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Key and value of each packet.
fn packets(mut bytes: &[u8]) -> Vec<(u16, String, String)> {
    let mut all = Vec::new();
    while let Some(head) = bytes.first_chunk::<24>() {
        let (key, status) = (usize::from(head[3]), u16::from_be_bytes([head[6], head[7]]));
        let body = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let (key, value) = bytes[24..24 + body].split_at(key);
        all.push((status, text(key.to_vec()), text(value.to_vec())));
        bytes = &bytes[24 + body..];
    }
    assert!(bytes.is_empty());
    all
}

#[test]
fn searches_of_all_items_give_way_after_few_of_them() {
    const ITEMS: usize = 20_000;
    let shared = shared("-m 64");
    let mut client = Client::new(&shared);
    for n in 0..ITEMS {
        client.feed(format!("set prefix:{n} 0 0 1 noreply\r\nx\r\n").as_bytes());
    }
    for (request, slots) in [("stats largest\r\nmn\r\n", 1024), ("stats prefixes\r\nmn\r\n", 256)] {
        let mut steps = Steps::new(&shared, request.as_bytes());
        let rows = text(steps.finish());
        assert!(rows.contains("STAT 1 ") && rows.ends_with("END\r\nMN\r\n"), "{rows}");
        assert!(steps.yields >= ITEMS / slots, "{request}: {}", steps.yields);
    }
}

#[test]
fn prefixes_are_sent_in_steps() {
    let shared = shared("");
    fill_prefixes(&shared, 60_000);
    let mut steps = Steps::new(&shared, b"stats detail dump\r\nmn\r\n");
    let dump = text(steps.finish());
    assert!(steps.yields > 200, "{}", steps.yields);
    let lines: BTreeSet<&str> = dump.lines().filter(|line| line.ends_with(" get 1 hit 0 set 0 del 0")).collect();
    assert_eq!((lines.len(), dump.lines().count()), (60_000, 60_002));
    assert!(dump.ends_with("END\r\nMN\r\n"));
    // A dump that is reset meanwhile ends.
    let mut steps = Steps::new(&shared, b"stats detail dump\r\n");
    assert_eq!(steps.step(), Step::Yield);
    Client::new(&shared).feed(b"stats reset\r\n");
    assert!(text(steps.finish()).ends_with("END\r\n"));
    assert!(steps.yields < 5);
}

#[test]
fn prefixes_in_a_packet_are_gathered_in_steps_within_a_budget() {
    let shared = shared("");
    fill_prefixes(&shared, 60_000);
    let request = stat_packet("detail dump", 0);
    let mut steps = Steps::new(&shared, &request);
    let dump = packets(&steps.finish());
    assert!(steps.yields > 400, "{}", steps.yields);
    let names: Vec<_> = dump.iter().map(|(status, name, _)| (*status, name.as_str())).collect();
    assert_eq!(names, [(0, "detailed"), (0, "")]);
    assert_eq!(dump[0].2.lines().count(), 60_001);
    assert!(dump[0].2.ends_with("END\r\n"));

    let kept = || shared.stats.globals.reports.used();
    assert_eq!(kept(), 0);
    let mut silent: Vec<Steps> = Vec::new();
    let refusal = loop {
        let mut steps = Steps::new(&shared, &request);
        assert_eq!(steps.step(), Step::Yield);
        assert!(kept() <= REPORTS_MAX && silent.len() < 100);
        if !steps.out.is_empty() {
            break packets(steps.out.plain().unwrap());
        }
        silent.push(steps);
    };
    assert_eq!(refusal, [(0x82, String::new(), "Out of memory".into())]);
    assert!(silent.len() >= 3, "{}", silent.len());
    let stats = text(Client::new(&shared).ask(b"stats\r\n"));
    assert!(stats.contains(&format!("STAT response_obj_bytes {}\r\n", kept())));
    drop(silent);
    assert_eq!(kept(), 0);
    assert_eq!(packets(&Steps::new(&shared, &request).finish()).len(), 2);
}

#[test]
fn connections_are_sent_in_steps() {
    let shared = shared("");
    fill_conns(&shared, 5000);
    let mut steps = Steps::new(&shared, b"stats conns\r\nmn\r\n");
    assert_eq!(steps.step(), Step::Yield);
    // Some connections come and some go meanwhile.
    shared.conns.remove(5099);
    shared.conns.insert(9000, shared.conns.get(100).unwrap());
    let report = text(steps.out.plain().unwrap().to_vec());
    steps.out.clear();
    let report = report + &text(steps.finish());
    assert!(steps.yields > 10 && report.ends_with("END\r\nMN\r\n"));
    let told: Vec<i32> = report
        .lines()
        .filter_map(|line| line.strip_prefix("STAT ")?.strip_suffix(":state conn_read")?.parse().ok())
        .collect();
    assert_eq!(told, (100..5099).chain([9000]).collect::<Vec<_>>());
    assert_eq!(report.lines().count(), 5000 * 4 + 2);
}

#[test]
fn sizes_are_counted_and_sent_in_steps() {
    let shared = shared("-m 256 -o track_sizes");
    let mut client = Client::new(&shared);
    let mut wanted = BTreeMap::new();
    for n in 0..30_000_usize {
        let len = n % 3000;
        client.feed(format!("set {n:08} 0 0 {len} noreply\r\n{}\r\n", "v".repeat(len)).as_bytes());
        *wanted.entry((48 + 8 + 8 + 1 + len + 2_usize).div_ceil(32) * 32).or_insert(0_u64) += 1;
    }
    let mut steps = Steps::new(&shared, b"stats sizes\r\nget 00000001\r\n");
    let report = text(steps.finish());
    assert!(steps.yields >= 3, "{}", steps.yields);
    let rows: String = wanted.iter().map(|(size, count)| format!("STAT {size} {count}\r\n")).collect();
    assert_eq!(report, format!("{rows}END\r\nVALUE 00000001 0 1\r\nv\r\nEND\r\n"));

    // A value is ignored, and may arrive late.
    let mut steps = Steps::new(&shared, &[&stat_packet("sizes", 10)[..], b"1234"].concat());
    let mut report = steps.finish();
    steps.input.append(b"567890");
    steps.input.append(&[&[0x80, 0x0a][..], &[0; 22]].concat());
    report.extend(steps.finish());
    let report = packets(&report);
    let rows = wanted.iter().map(|(size, count)| (0, size.to_string(), count.to_string()));
    let ends = std::iter::repeat_n((0, String::new(), String::new()), 2);
    assert_eq!(report, rows.chain(ends).collect::<Vec<_>>());
    assert_eq!(shared.stats.globals.reports.used(), 0);
}

#[test]
fn keys_of_a_class_are_sent_in_steps_within_their_limits() {
    let shared = shared("-m 256");
    let mut client = Client::new(&shared);
    for n in 0..30_000 {
        client.feed(format!("set {}{n:05} 0 0 1 noreply\r\nv\r\n", "k".repeat(100)).as_bytes());
    }
    let class =
        (1..64).find(|class| client.ask(format!("stats cachedump {class} 1\r\n").as_bytes()).len() > 5).unwrap();
    let line = format!("ITEM {}00000 [1 b; 0 s]\r\n", "k".repeat(100)).len();
    for (limit, items) in [(0, ((2 << 20) - 6) / line), (1, 1), (4097, 4097), (20_000, ((2 << 20) - 6) / line)] {
        let mut steps = Steps::new(&shared, format!("stats cachedump {class} {limit}\r\nmn\r\n").as_bytes());
        let dump = text(steps.finish());
        assert!(steps.yields >= items * line / STEP_MAX, "{}", steps.yields);
        assert!(dump.ends_with("END\r\nMN\r\n"));
        let lines: BTreeSet<&str> = dump.lines().filter(|line| line.starts_with("ITEM ")).collect();
        assert_eq!((lines.len(), dump.lines().count()), (items, items + 2), "limit {limit}");
    }
}

#[test]
fn a_datagram_gets_a_report_as_one_series_or_an_error() {
    let shared = shared("-o track_sizes");
    fill_conns(&shared, 5000);
    let mut answerer = Answerer::<Session>::default();
    let mut ask = |request: &str| {
        let request = [b"\0\x07\0\0\0\x01\0\0", request.as_bytes()].concat();
        let (mut replies, mut part) = (Vec::new(), Vec::new());
        for datagram in answer(&mut answerer, &shared, &request) {
            part.extend_from_slice(&datagram[DATAGRAM_HEADER..]);
            let number = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
            if number(2) + 1 == number(4) {
                replies.push(text(std::mem::take(&mut part)));
            }
        }
        assert!(part.is_empty());
        replies
    };
    let replies = ask("mn\r\nstats conns\r\nstats sizes\r\nmn\r\n");
    assert_eq!([&replies[0], &replies[2], &replies[3]], ["MN\r\n", "END\r\n", "MN\r\n"]);
    assert!(replies[1].lines().count() == 5000 * 4 + 1 && replies[1].ends_with("END\r\n"));
    assert_eq!(ask("stats detail dump\r\n"), ["END\r\n"]);
    fill_prefixes(&shared, 60_000);
    let refused = "SERVER_ERROR reply too large for datagrams\r\n";
    assert_eq!(ask("mn\r\nstats detail dump\r\nmn\r\n"), ["MN\r\n", refused]);
    assert_eq!(shared.stats.totals().get(Counter::ResponseOom), 1);
}

/// `-R` counts commands, whatever they cost.
#[test]
fn a_run_ends_after_a_report_or_admin_command() {
    let shared = shared("-o track_sizes");
    fill_conns(&shared, 10);
    let costly = [
        ("stats", "STAT pid "),
        ("stats settings", "STAT maxbytes "),
        ("stats items", "END"),
        ("stats slabs", "STAT active_slabs "),
        ("stats conns", "STAT 100:addr "),
        ("stats sizes", "END"),
        ("stats detail dump", "END"),
        ("stats cachedump 1 1", "END"),
        ("stats reset", "RESET"),
        ("cache_memlimit 64", "OK"),
        ("slabs automove 1", "OK"),
        ("lru mode flat", "OK"),
        ("lru_crawler tocrawl 0", "OK"),
        ("verbosity 0", "OK"),
        ("flush_all", "OK"),
    ];
    for (command, begins) in costly {
        let mut steps =
            Steps::new(&shared, format!("mn\r\nmn\r\n{}mn\r\n", format!("{command}\r\n").repeat(30)).as_bytes());
        let (mut seen, mut runs) = (0, 0);
        while seen < 30 {
            runs += 1;
            assert!(runs <= 300, "{command}");
            assert_eq!(steps.step(), Step::Yield, "{command}");
            let got = text(steps.out.plain().unwrap().to_vec());
            steps.out.clear();
            let replies = got.lines().filter(|line| line.starts_with(begins)).count();
            assert!(replies <= 1, "{command}: {got}");
            seen += replies;
        }
        assert_eq!((steps.step(), steps.out.plain()), (Step::Read, Some(&b"MN\r\n"[..])), "{command}");
    }
    let with_value = [&stat_packet("settings", 5)[..], b"value"].concat();
    for packet in [stat_packet("", 0), with_value, stat_packet("sizes", 0), FLUSH.to_vec()] {
        let mut steps = Steps::new(&shared, &packet.repeat(30));
        let (mut ends, mut runs) = (0, 0);
        while steps.step() == Step::Yield {
            let got = packets(steps.out.plain().unwrap());
            steps.out.clear();
            let now = got.iter().filter(|(_, key, _)| key.is_empty()).count();
            assert!(now <= 1);
            (ends, runs) = (ends + now, runs + 1);
        }
        assert!(ends == 30 && runs <= 300, "{ends} {runs}");
    }
}

/// Where a run ends is invisible to clients: commands stay one pipeline even after the first replies were sent.
#[test]
fn commands_that_must_come_first_are_refused_after_a_sent_report() {
    let shared = shared("");
    fill_conns(&shared, 1000);
    for report in ["stats conns", "stats", "flush_all noreply"] {
        for (command, refusal) in [
            ("watch", "ERROR cannot pipeline other commands before watch\r\n"),
            ("lru_crawler metadump all", "ERROR cannot pipeline other commands before metadump\r\n"),
        ] {
            let got = text(Steps::new(&shared, format!("{report}\r\n{command}\r\n").as_bytes()).finish());
            assert!(got.ends_with(refusal), "{report}, {command}: {got}");
        }
    }
    let mut steps = Steps::new(&shared, b"stats\r\n");
    steps.finish();
    steps.input.append(b"lru_crawler metadump all\r\n");
    assert_eq!(text(steps.finish()), "OK\r\nEND\r\n");
}

#[test]
fn a_datagram_socket_ends_its_turn_after_a_report() {
    let shared = shared("");
    let mut answerer = Answerer::<Session>::default();
    for (request, replies) in [("stats\r\n".repeat(30) + "mn\r\n", 31), ("stats\r\nquit\r\n".into(), 1)] {
        let request = [b"\0\x07\0\0\0\x01\0\0", request.as_bytes()].concat();
        let mut cx = Cx::new(&shared, &shared.stats.workers[0], 7);
        answerer.space()[..request.len()].copy_from_slice(&request);
        assert!(answerer.begin(request.len(), &cx));
        let (mut turns, mut all) = (0, 0);
        loop {
            let (mut series, mut allowance) = (0, Allowance { commands: 20, datagrams: 256 });
            let end = answerer.turn(&mut cx, &mut allowance, |datagram| {
                series += usize::from(datagram[2..4] == [0, 0]);
                SendOutcome::Yes
            });
            (turns, all) = (turns + 1, all + series);
            match end {
                TurnEnd::Done => break,
                end => assert!(end == TurnEnd::More && series <= 1, "{series}"),
            }
        }
        assert_eq!((turns, all), (replies.min(30) + 1, replies), "the last turn has what stands behind the reports");
    }
}

/// Checks this in a server too; `conn_yields` still counts only exhausted `-R` budgets.
#[test]
fn reports_do_not_count_as_exhausted_budgets() {
    let server = Server::start(settings("-p -1 -l 127.0.0.1 -t 1 -m 64 -R 4")).unwrap();
    let shared = server.shared().clone();
    let running = server.spawn().unwrap();
    let mut client = TcpStream::connect(running.addresses()[0]).unwrap();
    let mut ask = |request: &str| {
        client.write_all(request.as_bytes()).unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"MN\r\n") {
            let mut part = [0; 65_536];
            let n = client.read(&mut part).unwrap();
            got.extend_from_slice(&part[..n]);
        }
        (text(got).lines().filter(|line| *line == "END").count(), shared.stats.totals().get(Counter::ConnYields))
    };
    assert_eq!(ask(&("stats\r\n".repeat(50) + "mn\r\n")), (50, 0));
    assert_eq!(ask(&("get a\r\n".repeat(9) + "mn\r\n")), (9, 2));
    running.shutdown().unwrap();
}

#[test]
fn clients_that_do_not_read_hold_one_step_each() {
    const CLIENTS: usize = 30;
    let server = Server::start(settings("-p -1 -l 127.0.0.1 -t 1 -m 64")).unwrap();
    let shared = server.shared().clone();
    let running = server.spawn().unwrap();
    fill_prefixes(&shared, 60_000);
    let connect = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&running.addresses()[0].into()).unwrap();
        TcpStream::from(socket)
    };
    let mut silent: Vec<TcpStream> = (0..CLIENTS).map(|_| connect()).collect();
    for client in &mut silent {
        client.write_all(b"stats detail dump\r\nmn\r\n").unwrap();
    }
    let blocked = || shared.conns.list().iter().filter(|(_, card)| card.state() == ConnState::Mwrite).count();
    let start = Instant::now();
    while blocked() < CLIENTS {
        assert!(start.elapsed() < Duration::from_secs(20), "{} blocked", blocked());
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut other = connect();
    let mut reply = [0; 4];
    other.write_all(b"mn\r\n").unwrap();
    other.read_exact(&mut reply).unwrap();
    let stats = text(Client::new(&shared).ask(b"stats\r\n"));
    let held = stats.lines().find_map(|line| line.strip_prefix("STAT response_obj_bytes ")).unwrap();
    let held: usize = held.parse().unwrap();
    assert!((CLIENTS..CLIENTS * STEP_MAX).contains(&held), "{held}");
    // A client that starts to read gets the whole report.
    let mut dump = Vec::new();
    while !dump.ends_with(b"MN\r\n") {
        let mut part = [0; 65_536];
        let n = silent[0].read(&mut part).unwrap();
        dump.extend_from_slice(&part[..n]);
    }
    assert_eq!(text(dump).lines().count(), 60_002);
    drop(silent);
    running.shutdown().unwrap();
}
