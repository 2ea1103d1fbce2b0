//! Times of turns and commands, slow turns, large values: by text, packet and datagram, and for watchers.

use super::watch::{Client, Service};
use crate::binary::packet::{Packet, get, req, res, set};
use crate::support::script::in_every_cut;
use crate::support::{self, shared};
use oxcached::proto::{Cx, Input, Output, Protocol, Session, Shared, TurnTrace};
use oxcached::stats::{CommandKind, TurnClass};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;

type Tcp = Client<TcpStream>;

/// Rows of a report without `STAT`, up to its end.
fn rows(client: &mut Tcp, command: &str) -> Vec<String> {
    client.send(&format!("{command}\r\n"));
    let mut rows = Vec::new();
    loop {
        let line = client.line();
        match line.strip_prefix("STAT ") {
            Some(row) => rows.push(row.trim_end().to_owned()),
            None => {
                assert_eq!(line, "END\r\n");
                return rows;
            }
        }
    }
}

fn by_name(client: &mut Tcp, command: &str) -> BTreeMap<String, String> {
    let rows = rows(client, command);
    rows.iter().map(|row| row.split_once(' ').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

/// Sends a request in one piece and reads its replies, of which `last` is the end.
fn exchange(client: &mut Tcp, request: &str, last: &str) {
    client.send(request);
    while client.line() != last {}
}

/// Names of the rows with a count, without `:count`, and the counts.
fn counts(client: &mut Tcp) -> BTreeMap<String, u64> {
    let rows = by_name(client, "stats latency");
    let count = |(name, value): (&String, &String)| Some((name.strip_suffix(":count")?.into(), value.parse().unwrap()));
    rows.iter().filter_map(count).collect()
}

#[test]
fn a_turn_counts_in_the_class_of_its_command() {
    let service = Service::new("-t 1");
    let mut client = service.client();
    for (request, last) in [
        ("set a 0 0 1\r\n5\r\n", "STORED\r\n"),
        ("add a 0 0 1\r\n5\r\n", "NOT_STORED\r\n"),
        ("get a\r\n", "END\r\n"),
        ("get a \r\n", "END\r\n"),
        ("gat 0 a\r\n", "END\r\n"),
        ("get a b\r\n", "END\r\n"),
        ("incr a 1\r\n", "6\r\n"),
        ("touch a 0\r\n", "TOUCHED\r\n"),
        ("mg a v\r\n", "6\r\n"),
        ("mn\r\n", "MN\r\n"),
        ("delete a\r\n", "DELETED\r\n"),
        ("get a\r\nget b\r\nmn\r\n", "MN\r\n"),
        ("version\r\n", "VERSION 1.6.45\r\n"),
    ] {
        exchange(&mut client, request, last);
    }
    let mut counts = counts(&mut client);
    assert!(counts.remove("other").unwrap() >= 1, "the version, and turns that only read");
    assert!(counts.remove("all").unwrap() >= 13);
    let expected = [("set", 2), ("get", 3), ("multiget", 1), ("arith", 1), ("touch", 1), ("meta", 2), ("delete", 1)];
    let expected = expected.into_iter().chain([("batch", 1), ("turn_commands", 13)]);
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)).collect());
    assert_eq!(by_name(&mut client, "stats latency")["turn_commands:max"], "3");
}

#[test]
fn a_class_has_figures_and_cumulative_counts() {
    let service = Service::new("-t 1");
    let mut client = service.client();
    (0..50).for_each(|_| exchange(&mut client, "get a\r\n", "END\r\n"));
    let rows = by_name(&mut client, "stats latency get");
    let number = |name: &str| rows[name].parse::<f64>().unwrap();
    assert_eq!(number("get:count"), 50.0);
    let figures = ["get:p50_us", "get:p90_us", "get:p99_us", "get:p999_us", "get:max_us"].map(number);
    assert!(figures[0] > 0.0 && figures.is_sorted() && number("get:mean_us") <= figures[4], "{figures:?}");
    let mut below: Vec<(f64, u64)> = rows
        .iter()
        .filter_map(|(name, count)| {
            Some((name.strip_prefix("get:below_us:")?.parse().unwrap(), count.parse().unwrap()))
        })
        .collect();
    below.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert_eq!(rows.len(), 7 + below.len());
    assert!(below.is_sorted_by_key(|(_, count)| *count) && below.windows(2).all(|two| two[1].0 > two[0].0 * 1.9));
    assert_eq!(below.last().unwrap().1, 50, "{below:?}");
    assert!(below[0].1 > 0, "empty counts are left out");
}

#[test]
fn a_reset_begins_again() {
    let service = Service::new("-t 1");
    let mut client = service.client();
    exchange(&mut client, "get a\r\n", "END\r\n");
    assert_eq!(client.ask("stats reset\r\n"), "RESET\r\n");
    assert!(!counts(&mut client).contains_key("get"));
    exchange(&mut client, "get a\r\n", "END\r\n");
    assert_eq!(counts(&mut client)["get"], 1);
}

#[test]
fn times_are_measured_while_they_are_switched_on() {
    let service = Service::new("-t 1 -o latency=off");
    let mut client = service.client();
    exchange(&mut client, "get a\r\n", "END\r\n");
    assert_eq!(rows(&mut client, "stats latency"), [""; 0]);
    assert_eq!(client.ask("latency full\r\n"), "OK\r\n");
    exchange(&mut client, "get a\r\nget b\r\nget c d\r\nmn\r\n", "MN\r\n");
    let rows = counts(&mut client);
    assert_eq!((rows["batch"], rows["command:get"], rows["command:multiget"], rows["command:mn"]), (1, 2, 1, 1));
    assert_eq!(client.ask("latency turn\r\n"), "OK\r\n");
    exchange(&mut client, "get a\r\n", "END\r\n");
    let rows = counts(&mut client);
    assert_eq!((rows["get"], rows["command:get"]), (1, 2));
    assert_eq!(client.ask("latency off\r\n"), "OK\r\n");
    exchange(&mut client, "get a\r\n", "END\r\n");
    assert_eq!(counts(&mut client)["get"], 1);
}

/// Asks by packet for a report; its rows, or the status of the refusal.
fn rows_by_packet(client: &mut Tcp, report: &str) -> Result<Vec<(String, String)>, u16> {
    client.0.get_mut().write_all(&req(0x10).key(report).bytes()).unwrap();
    let mut rows = Vec::new();
    loop {
        let mut head = [0; 24];
        client.0.read_exact(&mut head).unwrap();
        let (key, status) = (usize::from(head[3]), u16::from_be_bytes([head[6], head[7]]));
        let mut body = vec![0; u32::from_be_bytes(*head[8..].first_chunk().unwrap()) as usize];
        client.0.read_exact(&mut body).unwrap();
        if status != 0 {
            return Err(status);
        }
        if body.is_empty() {
            return Ok(rows);
        }
        let (name, value) = body.split_at(key);
        rows.push((String::from_utf8(name.into()).unwrap(), String::from_utf8(value.into()).unwrap()));
    }
}

#[test]
fn packets_have_the_same_classes_and_rows() {
    let service = Service::new("-t 1 -o slow_threshold=0");
    let mut client = service.client();
    let mut send = |request: Packet, reply: Packet| {
        client.0.get_mut().write_all(&request.bytes()).unwrap();
        let mut got = vec![0; reply.bytes().len()];
        client.0.read_exact(&mut got).unwrap();
    };
    send(set("a", "x"), res(0x01));
    send(get("a"), res(0x00).u32(0).value("x"));
    send(req(0x1c).u32(0).key("a"), res(0x1c).u32(0));
    send(req(0x04).key("a"), res(0x04));
    let rows = rows_by_packet(&mut client, "latency").unwrap();
    for class in ["set", "get", "touch", "delete"] {
        assert!(rows.contains(&(format!("{class}:count"), "1".into())), "{class}: {rows:?}");
    }
    let of_get = rows_by_packet(&mut client, "latency get").unwrap();
    assert!(of_get.iter().any(|(name, count)| name.starts_with("get:below_us:") && count == "1"), "{of_get:?}");
    assert_eq!(rows_by_packet(&mut client, "latency nothing"), Err(1));
    let slow = rows_by_packet(&mut client, "slow").unwrap();
    let of = |words: &str| slow.iter().filter(|(_, fields)| fields.contains(words)).count();
    assert_eq!((of(" cmd=get key=a"), of(" cmd=set key=a"), of(" cmd=admin key=latency")), (1, 1, 3), "{slow:?}");
    assert_eq!(rows_by_packet(&mut client, "slow reset"), Ok(vec![]));
    assert!(rows_by_packet(&mut client, "slow").unwrap().len() < slow.len());
    assert_eq!(rows_by_packet(&mut client, "slow nothing"), Err(1));
    assert_eq!(rows_by_packet(&mut client, "large"), Ok(vec![]));
}

#[test]
fn a_datagram_socket_has_turns_of_its_own() {
    let service = Service::new("-t 1 -U -1 -o slow_threshold=0,large_threshold=4096");
    let mut client = service.client();
    exchange(&mut client, &format!("set big 0 0 5000\r\n{}\r\n", "v".repeat(5000)), "STORED\r\n");
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(support::DEADLINE)).unwrap();
    udp.connect(service.udp()).unwrap();
    udp.send(b"\0\x01\0\0\0\x01\0\0get big\r\n").unwrap();
    let mut datagram = [0; 2000];
    (0..4).for_each(|_| assert!(udp.recv(&mut datagram).unwrap() > 8));
    let port = udp.local_addr().unwrap().port();
    let from = format!("rip=127.0.0.1 rport={port} transport=udp");
    // The turn ends after its last datagram has left.
    support::until("the turn", || rows(&mut client, "stats slow").iter().any(|row| row.contains(&from)));
    assert_eq!(counts(&mut client)["get"], 1);
    let slow = rows(&mut client, "stats slow");
    let row = slow.iter().find(|row| row.contains(&from)).unwrap();
    assert!(row.contains("class=get cmds=1 in=17 out=5") && row.ends_with("cmd=get key=big"), "{row}");
    let large = rows(&mut client, "stats large");
    assert!(large[0].starts_with("2 ts=") && large[0].contains(&format!("dir=sent size=5000 {from}")), "{large:?}");
    assert!(large[1].contains("dir=stored size=5000 rip=127.0.0.1") && large[1].contains("transport=tcp"));
}

#[test]
fn slow_turns_name_client_and_command() {
    let service = Service::new("-t 1 -o latency=full");
    let mut client = service.client();
    let addr = client.0.get_ref().local_addr().unwrap();
    assert_eq!(rows(&mut client, "stats slow"), [""; 0]);
    exchange(&mut client, "set v1 0 0 3\r\nabc\r\n", "STORED\r\n");
    assert_eq!(client.ask("latency slow 0\r\n"), "OK\r\n");
    let keys: String = (1..2000).map(|n| format!(" v{n}")).collect();
    let request = format!("get{keys}\r\n");
    exchange(&mut client, &request, "END\r\n");
    exchange(&mut client, "mn\r\ndelete v1\r\nget%20 odd\r\n", "ERROR\r\n");
    assert_eq!(client.ask("latency slow off\r\n"), "OK\r\n");
    let slow = rows(&mut client, "stats slow");
    let row = |words: &str| slow.iter().find(|row| row.contains(words)).unwrap_or_else(|| panic!("{words}: {slow:#?}"));
    let multiget = row("class=multiget");
    for part in [
        format!("cmds=1 in={} out=24 rip=127.0.0.1 rport={} transport=tcp cfd=", request.len(), addr.port()),
        " cmd=get key=v1 longest_us=".to_owned(),
        " longest_cmd=get longest_key=v1".to_owned(),
    ] {
        assert!(multiget.contains(&part), "{part}: {multiget}");
    }
    let batch = row("class=batch cmds=3 in=27 out=20 ");
    assert!(batch.contains(" cmd=mn longest_us="), "{batch}");
    let ids: Vec<u64> = slow.iter().map(|row| row.split_once(' ').unwrap().0.parse().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a == &(b + 1)), "the newest first: {ids:?}");
    assert_eq!(rows(&mut client, "stats slow 2"), slow[..2]);
    assert_eq!(client.ask("stats slow reset\r\n"), "RESET\r\n");
    assert_eq!(rows(&mut client, "stats slow"), [""; 0]);
}

#[test]
fn the_slow_turns_of_a_worker_are_bounded() {
    let service = Service::new("-t 1 -o slow_threshold=0");
    let mut client = service.client();
    for n in 0..200 {
        exchange(&mut client, &format!("get k{n}\r\n"), "END\r\n");
    }
    let slow = rows(&mut client, "stats slow");
    assert_eq!(slow.len(), 128);
    let of_key = |n: u32| slow.iter().any(|row| row.ends_with(&format!(" cmd=get key=k{n}")));
    assert!(of_key(199) && of_key(110) && !of_key(60));
}

#[test]
fn a_value_that_arrives_in_parts_is_named_by_its_key() {
    let service = Service::new("-t 1 -o slow_threshold=0,latency=full");
    let mut client = service.client();
    client.send("set later 0 0 50000\r\nbegin");
    let mut other = service.client();
    support::until("the first part", || {
        rows(&mut other, "stats slow").iter().any(|row| row.ends_with("longest_cmd=set longest_key=later"))
            || rows(&mut other, "stats slow").iter().any(|row| row.ends_with(" cmd=set key=later"))
    });
    assert_eq!(other.ask("stats slow reset\r\n"), "RESET\r\n");
    client.send(&"v".repeat(49_995));
    assert_eq!(client.ask("\r\n"), "STORED\r\n");
    let slow = rows(&mut client, "stats slow");
    assert!(
        slow.iter().any(|row| row.contains("class=set cmds=0 ") && row.contains(" cmd=set key=later")),
        "{slow:#?}"
    );
    assert_eq!(counts(&mut client)["command:set"], 1);
}

#[test]
fn passwords_are_not_shown() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("users");
    std::fs::write(&file, "ann:secret\n").unwrap();
    let service = Service::new(&format!("-t 1 -o slow_threshold=0 -Y {}", file.display()));
    let mut client = service.client();
    client.send("set user 0 0 10\r\n");
    let info = || service.shared.stats.latency.lifetime().all_turns().count();
    support::until("the line", || info() > 0);
    assert_eq!(client.ask("ann secret\r\n"), "STORED\r\n");
    let slow = rows(&mut client, "stats slow");
    assert!(slow.iter().any(|row| row.ends_with(" cmd=set key=user")), "{slow:?}");
    assert!(!slow.iter().any(|row| row.contains("secret") || row.contains("ann")), "{slow:?}");
}

#[test]
fn watchers_see_slow_turns_and_large_values() {
    let service = Service::new("-t 1 -o slow_threshold=off,large_threshold=4096");
    let mut client = service.client();
    let mut watcher = service.watcher("watch slow large");
    let port = client.0.get_ref().local_addr().unwrap().port();
    exchange(&mut client, &format!("set a%b 0 0 5000\r\n{}\r\n", "v".repeat(5000)), "STORED\r\n");
    let event = watcher.event();
    let from = format!("rip=127.0.0.1 rport={port} transport=tcp cfd=");
    assert!(event.starts_with(&format!("large dir=stored size=5000 {from}")), "{event}");
    assert!(event.ends_with(" cmd=set key=a%25b"), "{event}");
    exchange(&mut client, "mg a%b v\r\nmn\r\n", "MN\r\n");
    let event = watcher.event();
    assert!(event.starts_with("large dir=sent size=5000 ") && event.ends_with(" cmd=mg key=a%25b"), "{event}");
    assert_eq!(client.ask("latency slow 0\r\n"), "OK\r\n");
    exchange(&mut client, "get none\r\n", "END\r\n");
    while !watcher.event().ends_with(" cmd=get key=none") {}
}

#[test]
fn large_values_are_kept_by_every_protocol() {
    in_every_cut(
        || support::Client::new(&shared("-t 1 -o large_threshold=4096")),
        |talk| {
            let value = "v".repeat(4097);
            talk.expect(&format!("set exact 0 0 4096\r\n{}\r\n", &value[1..]), "STORED\r\n");
            talk.expect(&format!("set a 0 0 4097\r\n{value}\r\n"), "STORED\r\n");
            talk.expect(&format!("ms b 4097\r\n{value}\r\n"), "HD\r\n");
            talk.expect("append b 0 0 1\r\nx\r\n", "STORED\r\n");
            talk.expect(
                "get a exact none\r\n",
                &format!("VALUE a 0 4097\r\n{value}\r\nVALUE exact 0 4096\r\n{}\r\nEND\r\n", &value[1..]),
            );
            talk.expect("gat 0 a\r\n", &format!("VALUE a 0 4097\r\n{value}\r\nEND\r\n"));
            talk.expect("mg b s\r\n", "HD s4098\r\n");
            talk.expect("mg b v\r\n", &format!("VA 4098\r\n{value}x\r\n"));
            let row = |id: u32, direction: &str, size: u32, command: &str| {
                let seconds = support::UNIX + 62;
                let local = "rip=unix rport=0 transport=local cfd=7";
                format!("STAT {id} ts={seconds} dir={direction} size={size} {local} {command}\r\n")
            };
            let newest = [
                row(6, "sent", 4098, "cmd=mg key=b"),
                row(5, "sent", 4097, "cmd=gat key=a"),
                row(4, "sent", 4097, "cmd=multiget key=a"),
                row(3, "stored", 4098, "cmd=append key=b"),
                row(2, "stored", 4097, "cmd=ms key=b"),
                row(1, "stored", 4097, "cmd=set key=a"),
            ];
            talk.expect("stats large\r\n", &format!("{}END\r\n", newest.concat()));
            talk.expect("stats large 1\r\n", &format!("{}END\r\n", newest[0]));
            talk.expect("latency large off\r\n", "OK\r\n");
            talk.expect("mg b v\r\n", &format!("VA 4098\r\n{value}x\r\n"));
            talk.expect("stats large 1\r\n", &format!("{}END\r\n", newest[0]));
            talk.expect("stats large reset\r\n", "RESET\r\n");
            talk.expect("stats large\r\n", "END\r\n");
        },
    );
}

scripts! {
    the_command_sets_mode_and_thresholds "" r"
        > latency full
        OK
        > stats latency
        STAT mode full
        END
        > latency off
        OK
        > stats latency
        END
        > latency sometimes
        CLIENT_ERROR usage: latency off|turn|full, latency slow|large <threshold>|off
        > latency
        CLIENT_ERROR usage: latency off|turn|full, latency slow|large <threshold>|off
        > latency slow 500
        OK
        > latency slow -1
        CLIENT_ERROR bad command line format
        > latency slow
        CLIENT_ERROR bad command line format
        > latency large 4095
        CLIENT_ERROR bad command line format
        > latency large off noreply
        > stats latency nothing
        CLIENT_ERROR unknown argument
        > stats latency batch
        END
        > stats slow -1
        CLIENT_ERROR unknown argument
        > stats slows
        ERROR
        > stats slow
        END
    "
    keys_are_not_shown_where_dumps_are_disabled "-X" r"
        > stats slow
        CLIENT_ERROR stats of keys not allowed
        > stats large
        CLIENT_ERROR stats of keys not allowed
        > stats latency
        STAT mode turn
        END
    "
}

/// Runs bytes as one turn; returns the turn's class, its number of commands, and the commands by kind.
fn turn(shared: &Arc<Shared>, trace: &TurnTrace, session: &mut Session, input: &mut Input, bytes: &[u8]) -> String {
    let (before, counters) = (shared.stats.latency.lifetime(), &shared.stats.workers[0]);
    trace.follow(&shared.runtime);
    trace.begin_turn(counters);
    input.append(bytes);
    let mut out = Output::default();
    session.run(&mut Cx::new(shared, counters, 7).in_turn(trace), input, &mut out, &mut 20);
    trace.end_turn();
    let after = shared.stats.latency.lifetime().since(&before);
    let class = TurnClass::ALL.iter().find(|class| after.turn(**class).count() > 0).unwrap();
    let kinds = CommandKind::ALL.iter().filter(|kind| after.command(**kind).count() > 0);
    let kinds: Vec<String> = kinds.map(|kind| format!("{} {}", after.command(*kind).count(), kind.name())).collect();
    format!("{} {}: {}", class.name(), after.turn_commands().sum(), kinds.join(", "))
}

#[test]
fn each_command_is_timed_once_however_it_arrives() {
    let shared = shared("-t 1 -o latency=full");
    let trace = TurnTrace::new(Arc::clone(&shared.stats.latency.workers[0]));
    let (mut session, mut input) = (Session::new(Protocol::Negotiating), Input::default());
    let mut turn = |bytes: &str| turn(&shared, &trace, &mut session, &mut input, bytes.as_bytes());
    assert_eq!(turn("get a\r\nset b 0 0 1\r\nx\r\nget a b\r\n"), "batch 3: 1 get, 1 multiget, 1 set");
    assert_eq!(turn("set c 0 0 50\r\nfirst"), "set 1: ");
    assert_eq!(turn("second"), "other 0: ");
    assert_eq!(turn(&format!("{}\r\nincr c 1\r\n", "v".repeat(39))), "arith 1: 1 set, 1 incr");
    assert_eq!(turn("set d 0 0 2000000\r\n"), "set 1: 1 set");
    assert_eq!(turn("refused"), "other 0: ");
    assert_eq!(turn(&"v".repeat(1_999_995)), "other 0: ");
    let line = format!("get {}\r\n", "k ".repeat(5000));
    assert_eq!(turn(&line), "multiget 1: ");
    assert_eq!(turn(""), "multiget 0: 1 multiget");
    assert_eq!(turn("half a li"), "other 0: ");
    assert_eq!(turn("ne\r\n"), "other 1: 1 other");
    assert_eq!(turn("stats\r\n"), "admin 1: 1 admin");
    assert_eq!(turn("ms e 1\r\nx\r\nma e\r\nmd e\r\nmn\r\nme e\r\n"), "batch 5: 1 ms, 1 md, 1 ma, 1 me, 1 mn");
    assert_eq!(turn("set b x y 1\r\nz\r\n"), "other 1: 1 other", "a refused line");
}

#[test]
fn switching_off_ends_what_was_being_timed() {
    let shared = shared("-t 1 -o latency=full");
    let trace = TurnTrace::new(Arc::clone(&shared.stats.latency.workers[0]));
    let (mut session, mut input) = (Session::new(Protocol::Negotiating), Input::default());
    let mut turn = |bytes: &str| turn(&shared, &trace, &mut session, &mut input, bytes.as_bytes());
    assert_eq!(turn("set c 0 0 50\r\nfirst"), "set 1: ");
    shared.runtime.set_latency_mode(oxcached::settings::LatencyMode::Turn);
    assert_eq!(turn(&format!("{}\r\nget c\r\n", "v".repeat(45))), "get 1: ");
}
