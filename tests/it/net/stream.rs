//! Turns, buffers, backpressure, suspension, closing.

use super::harness::{Client, Server, settings, tcp, unix, until};
use super::script::{Stall, later};
use oxcached::clock::Clock;
use oxcached::limits::{OUTPUT_HIGH, READ_BUF};
use oxcached::proto::{ConnState, Session};
use oxcached::settings::Settings;
use oxcached::stats::Counter;
use std::io::{BufRead, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

#[test]
fn the_real_session_answers() {
    let server = Server::start::<Session>(settings(), vec![tcp()], Clock::real());
    let mut client = server.client();
    assert_eq!(client.ask("nonsense"), "ERROR");
    client.send("quit\r\n");
    client.expect_end();
    until("close", || server.open() == 1);
    assert_eq!(server.counter(Counter::BytesRead), 16);
    assert_eq!(server.counter(Counter::BytesWritten), 7);
}

#[test]
fn r1_4_clients_are_spread_round_robin() {
    let server = Server::with(Settings { num_threads: 4, ..settings() }, vec![tcp()]);
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("echo a"), "a");
    }
    for worker in 0..4 {
        let mut totals = oxcached::stats::Stats::new(0);
        totals.workers = vec![server.shared.stats.workers[worker].clone()];
        assert_eq!(totals.totals().get(Counter::BytesRead), 16);
    }
}

#[test]
fn r3_1_yield_and_every_reply_in_order() {
    let server = Server::new();
    let (mut one, mut two) = (server.client(), server.client());
    let lines = |name: &str| (0..5000).map(|n| format!("echo {name}{n}\r\n")).collect::<String>();
    one.send(lines("a"));
    two.send(lines("b"));
    for n in 0..5000 {
        assert_eq!(one.line(), format!("a{n}"));
        assert_eq!(two.line(), format!("b{n}"));
    }
    // At least: the split of the bytes into reads decides how often less than a whole budget is available.
    assert!(server.counter(Counter::ConnYields) >= 2);
}

#[test]
fn r3_1_only_an_exhausted_budget_counts_as_a_yield() {
    let server = Server::start::<Session>(settings(), vec![tcp()], Clock::real());
    let mut yields = 0;
    // As many as memcached counts.
    for (commands, expected) in [(1, 0), (19, 0), (20, 1), (21, 1), (40, 2), (41, 2), (100, 5), (1000, 50)] {
        let mut client = server.client();
        client.send("mn\r\n".repeat(commands));
        for _ in 0..commands {
            assert_eq!(client.line(), "MN");
        }
        until("the yields", || server.counter(Counter::ConnYields) >= yields + expected);
        assert_eq!(client.ask("mn"), "MN");
        assert_eq!(server.counter(Counter::ConnYields), yields + expected, "{commands}");
        yields += expected;
    }
    let mut client = server.client();
    for n in 0..3000 {
        client.send(format!("set key{n} 0 0 1 noreply\r\nx\r\n"));
    }
    // The second turn begins after the first one's yield is counted.
    assert_eq!([client.ask("mn"), client.ask("mn")], ["MN"; 2]);
    let yields = server.counter(Counter::ConnYields);
    let mut dumper = server.client();
    dumper.send("lru_crawler metadump all\r\n");
    while dumper.line() != "END" {}
    assert_eq!(dumper.ask("mn"), "MN");
    assert_eq!(server.counter(Counter::ConnYields), yields, "slices of a dump");
}

#[test]
fn r3_1_an_endless_pipeline_does_not_starve_others() {
    let server = Server::new();
    let endless = server.client();
    let stream = endless.stream.get_ref().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let lines = "echo x\r\n".repeat(1000);
        while (&stream).write_all(lines.as_bytes()).is_ok() {}
    });
    let mut reading = endless.stream.get_ref().try_clone().unwrap();
    let reader = std::thread::spawn(move || while reading.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {});
    let mut other = server.client();
    for _ in 0..200 {
        assert_eq!(other.ask("echo y"), "y");
    }
    endless.stream.get_ref().shutdown(Shutdown::Both).unwrap();
    writer.join().unwrap();
    reader.join().unwrap();
}

#[test]
fn r3_2_an_idle_connection_holds_no_buffer_and_half_a_command_an_exact_copy() {
    let server = Server::new();
    let read_bytes = || server.gauge(|g| &g.read_buf_bytes);
    let (mut one, mut two) = (server.client(), server.client());
    assert_eq!(one.ask("echo a"), "a");
    until("gauge", || read_bytes() == READ_BUF as u64);
    one.send("echo hal");
    until("half", || server.counter(Counter::BytesRead) == 8 + 8);
    assert_eq!(two.ask("echo b"), "b");
    until("gauge", || read_bytes() == READ_BUF as u64 + 8);
    assert_eq!(one.ask("f"), "half");
    until("gauge", || read_bytes() == READ_BUF as u64);
}

#[test]
fn r3_3_backpressure_is_bounded_and_delays_no_other_client() {
    let server = Server::new();
    let (mut deaf, mut other) = (server.client(), server.client());
    deaf.send("big 100000\r\n".repeat(400));
    deaf.send("echo done\r\n");
    until("a blocked writer", || server.in_state(ConnState::Mwrite) == 1);
    assert_eq!(other.ask("echo b"), "b");
    until("gauge", || server.gauge(|g| &g.response_obj_count) == 1);
    assert!(server.gauge(|g| &g.response_obj_bytes) <= (OUTPUT_HIGH + 100_002) as u64);
    for _ in 0..400 {
        let mut line = Vec::new();
        deaf.stream.read_until(b'\n', &mut line).unwrap();
        assert_eq!(line.len(), 100_002);
    }
    assert_eq!(deaf.line(), "done");
    until("gauge", || server.gauge(|g| &g.response_obj_count) == 0);
}

#[test]
fn r3_3_a_client_that_sends_without_reading_is_no_longer_read() {
    let server = Server::new();
    let deaf = server.client();
    let stream = deaf.stream.get_ref();
    stream.set_nonblocking(true).unwrap();
    let lines = "big 1000\r\n".repeat(1000);
    let mut sent = 0;
    let mut write = || match (&*stream).write(&lines.as_bytes()[sent % lines.len()..]) {
        Ok(n) => sent += n,
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
    };
    until("a blocked writer", || {
        write();
        server.in_state(ConnState::Mwrite) == 1
    });
    let read = server.counter(Counter::BytesRead);
    for _ in 0..100 {
        write();
        assert_eq!(server.client().ask("echo b"), "b");
    }
    assert_eq!(server.counter(Counter::BytesRead), read + 100 * 8);
}

#[test]
fn large_uploads_are_read_directly_into_their_item() {
    let server = Server::new();
    let (mut one, mut two) = (server.client(), server.client());
    let value = vec![3; 5_000_000];
    one.send("upload 5000000\r\n");
    one.send(&value[..2_000_000]);
    assert_eq!(two.ask("echo b"), "b");
    one.send(&value[2_000_000..]);
    one.send("echo next\r\n");
    assert_eq!(one.line(), "sum 15000000");
    assert_eq!(one.line(), "next");
}

#[test]
fn replies_are_sent_on_flush() {
    let server = Server::new();
    let mut client = server.client();
    client.send("flush\r\nflush\r\necho end\r\n");
    assert_eq!([client.line(), client.line(), client.line()], ["flushed", "flushed", "end"]);
}

#[test]
fn suspended_replies_arrive_in_order() {
    let server = Server::new();
    let (mut client, mut other) = (server.client(), server.client());
    client.send("echo a\r\nlater order\r\necho b\r\n");
    assert_eq!(client.line(), "a");
    assert_eq!(other.ask("echo c"), "c");
    client.send("echo d\r\n");
    let mut remote = None;
    until("suspended", || {
        remote = later("order");
        remote.is_some()
    });
    remote.unwrap().resume(b"late\r\n".to_vec());
    assert_eq!([client.line(), client.line(), client.line()], ["late", "b", "d"]);
}

#[test]
fn a_suspended_connection_ends_with_its_peer_but_not_with_its_last_byte() {
    let (listener, dir) = unix();
    let server = Server::with(settings(), vec![tcp(), listener]);
    let connect = || UnixStream::connect(dir.path().join("socket")).unwrap();
    let (mut half, mut other) = (server.client(), server.client());
    half.send("later half\r\necho b");
    half.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut reset = server.client();
    reset.send("later reset\r\n");
    let mut gone = connect();
    gone.write_all(b"later gone\r\n").unwrap();
    let mut remotes = Vec::new();
    until("suspended", || {
        remotes.extend(["half", "reset", "gone"].map(later).into_iter().flatten());
        remotes.len() == 3
    });
    reset.reset();
    drop(gone);
    until("the end of the two that have gone", || server.open() == 4);
    // Nor is a connection suspended if its peer disconnected before it was read.
    let stall = Stall::new("before");
    other.send("stall before\r\n");
    stall.reached();
    let mut gone = connect();
    gone.write_all(b"later before\r\n").unwrap();
    drop(gone);
    stall.end();
    assert_eq!(other.ask("echo a"), "a");
    until("its turn", || server.gauge(|g| &g.total_conns) == 7 && server.open() == 4);
    assert!(later("before").is_none());
    for remote in remotes {
        remote.resume(b"late\r\n".to_vec());
    }
    assert_eq!(half.line(), "late");
    half.expect_end();
    until("the other ends", || server.open() == 3);
}

#[test]
fn a_dropped_reply_handle_closes_its_connection() {
    let server = Server::new();
    let mut client = server.client();
    client.send("later death\r\n");
    until("suspended", || later("death").is_some());
    client.expect_end();
    until("close", || server.open() == 1);
}

#[test]
fn r1_5_stale_token_a_late_reply_after_the_servers_end_is_no_error() {
    let mut server = Server::new();
    let mut client = server.client();
    client.send("later gone\r\n");
    let mut remote = None;
    until("suspended", || {
        remote = later("gone");
        remote.is_some()
    });
    server.stop(false);
    client.expect_end();
    remote.unwrap().resume(b"late\r\n".to_vec());
}

#[test]
fn r3_5_every_kind_of_close_counts_once() {
    let server = Server::new();
    for _ in 0..10 {
        for bye in ["quit\r\n", "abort\r\n", "panic\r\n", "echo a\r\nquit\r\nquit\r\n"] {
            let mut client = server.client();
            client.send(bye);
            while !client.line().is_empty() {}
        }
        drop(server.client());
        server.client().reset();
        let mut half = server.client();
        half.send("echo b\r\nup");
        half.stream.get_ref().shutdown(Shutdown::Write).unwrap();
        assert_eq!(half.line(), "b");
        half.expect_end();
        let mut last = server.client();
        assert_eq!(last.ask("last words"), "words");
        last.expect_end();
    }
    until("all closed", || server.gauge(|g| &g.total_conns) == 81 && server.open() == 1);
    assert_eq!(server.shared.conns.list().len(), 1);
    until("buffers", || server.gauge(|g| &g.read_buf_count) == 1);
    assert_eq!(server.client().ask("echo still"), "still");
}

#[test]
fn r3_5_a_handed_over_connection_leaves_nothing_with_its_worker() {
    let server = Server::new();
    let mut away = server.client();
    away.send("echo a\r\naway\r\necho never\r\nup");
    assert_eq!(away.line(), "a");
    assert_eq!(away.line(), "handed over");
    away.expect_end();
    until("all closed", || server.open() == 1);
    assert_eq!(server.shared.conns.list().len(), 1);
    until("buffers", || server.gauge(|g| &g.read_buf_count) == 1);
    assert_eq!(server.client().ask("echo still"), "still");
}

#[test]
fn r3_6_a_panic_costs_its_connection_only() {
    let server = Server::new();
    let (mut bad, mut good) = (server.client(), server.client());
    good.send("echo ha");
    bad.send("echo a\r\npanic\r\necho b\r\n");
    bad.expect_end();
    assert_eq!(good.ask("lf"), "half");
}

#[test]
fn r3_6_read_buffer_limit_answers_and_closes() {
    let server = Server::with(Settings { read_buf_mem_limit: 2 * 16 * 1024, ..settings() }, vec![tcp()]);
    let mut inside: Vec<_> = (0..2).map(|_| server.client()).collect();
    for (n, client) in inside.iter_mut().enumerate() {
        client.send("upload 10\r\nab");
        until("inside", || server.counter(Counter::BytesRead) == 13 * (n as u64 + 1));
    }
    let mut idle = server.client();
    assert_eq!(idle.ask("echo a"), "a");
    let mut third = server.client();
    third.send("echo ha");
    assert_eq!(third.line(), "SERVER_ERROR out of memory reading request");
    third.expect_end();
    assert_eq!(server.counter(Counter::ReadBufOom), 1);
    inside[0].send("cdefghij");
    assert!(inside[0].line().starts_with("sum"));
    idle.send("echo ha");
    assert_eq!(idle.ask("lf"), "half");
}

#[test]
fn r3_5_stopping_closes_every_client() {
    for graceful in [false, true] {
        let mut server = Server::with(Settings { num_threads: 3, ..settings() }, vec![tcp()]);
        let mut clients: Vec<Client> = (0..9).map(|_| server.client()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("echo a"), "a"));
        server.stop(graceful);
        clients.iter_mut().for_each(Client::expect_end);
        assert_eq!(server.open(), 1);
    }
}

/// A deterministic random generator.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn r3_2_no_byte_reaches_another_client() {
    let server = Server::with(Settings { reqs_per_event: 3, ..settings() }, vec![tcp()]);
    std::thread::scope(|scope| {
        for id in 0..8 {
            let (mut reader, mut numbers) = (server.client(), Numbers(id));
            let mut writer = reader.stream.get_ref().try_clone().unwrap();
            let asked: Vec<_> = (0..1500)
                .map(|n| match numbers.below(20) {
                    0 => (format!("big {}\r\n", 1000 * numbers.below(200)), None),
                    1 => (format!("upload {}\r\n{}", 40_000, "a".repeat(40_000)), Some("sum 3880000".to_owned())),
                    _ => (format!("echo {id}-{n}\r\n"), Some(format!("{id}-{n}"))),
                })
                .collect();
            let sent = asked.clone();
            scope.spawn(move || {
                let bytes: Vec<u8> = sent.into_iter().flat_map(|(line, _)| line.into_bytes()).collect();
                let mut at = 0;
                while at < bytes.len() {
                    let most = [1, 30, 3000, 90_000][numbers.below(4)];
                    let end = bytes.len().min(at + 1 + numbers.below(most));
                    writer.write_all(&bytes[at..end]).unwrap();
                    at = end;
                }
            });
            scope.spawn(move || {
                for (line, reply) in asked {
                    let got = reader.line();
                    match reply {
                        Some(reply) => assert_eq!(got, reply),
                        None => assert_eq!(format!("big {}\r\n", got.len()), line),
                    }
                }
            });
        }
    });
    let all_free = || server.gauge(|g| &g.read_buf_bytes) == server.gauge(|g| &g.read_buf_bytes_free);
    until("buffers", || all_free() && server.gauge(|g| &g.response_obj_count) == 0);
}
