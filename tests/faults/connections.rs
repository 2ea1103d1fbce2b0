//! Calls on client sockets: accept, read, write, and the events of all three.

use crate::harness::{Client, Faulty, beside_a_witness, errors, until};
use crate::plan::{Call, Fault};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

const HIT: &str = "VALUE a 0 5\r\nvalue\r\nEND\r\n";

fn fill(server: &Faulty) {
    let large = "l".repeat(100_000);
    let request = format!("set a 0 0 5\r\nvalue\r\nset large 0 0 {}\r\n{large}\r\nmn\r\n", large.len());
    assert!(server.client().ask(&request, "MN\r\n").starts_with("STORED\r\nSTORED\r\n"));
}

#[test]
fn a_failed_read_ends_its_connection_alone() {
    let server = Faulty::start(&[]);
    fill(&server);
    beside_a_witness(&server, || {
        for error in errors::RECEIVE {
            let mut client = server.client();
            client.ask("mn\r\n", "MN\r\n");
            let fd = server.descriptor_of(client.socket());
            server.plan.set(Call::Receive, Fault::error(error).on(fd).times(1));
            let reply = client.ask("get a\r\n", "END\r\n");
            assert_eq!((reply.as_str(), server.plan.made(Call::Receive)), ("", 1), "error {error}");
            server.plan.clear(Call::Receive);
        }
    });
    server.end();
}

#[test]
fn a_failed_write_ends_its_connection_alone() {
    let server = Faulty::start(&[]);
    fill(&server);
    beside_a_witness(&server, || {
        for error in errors::SEND {
            for (key, request) in [("a", "get a\r\n"), ("large", "get large\r\n"), ("both", "get a large a large\r\n")]
            {
                let mut client = server.client();
                client.ask("mn\r\n", "MN\r\n");
                let fd = server.descriptor_of(client.socket());
                server.plan.set(Call::Send, Fault::error(error).on(fd).times(1));
                let reply = client.ask(request, "END\r\n");
                assert_eq!((reply.as_str(), server.plan.made(Call::Send)), ("", 1), "{key}, error {error}");
                server.plan.clear(Call::Send);
            }
        }
    });
    server.end();
}

#[test]
fn a_worker_that_cannot_poll_ends_the_process() {
    let mut server = Faulty::start(&[]);
    let mut client = server.client();
    client.ask("mn\r\n", "MN\r\n");
    let poll = server.poll_of(server.descriptor_of(client.socket()));
    server.plan.set(Call::EpollWait, Fault::error(errors::EBADF).on(poll));
    client.ask("mn\r\n", "MN\r\n");
    let (status, said) = (server.ended(), server.said());
    assert_eq!(status.signal(), Some(errors::SIGABRT), "{said}");
    assert!(said.contains("cannot poll: "), "{said}");
}

#[test]
fn a_main_thread_that_cannot_poll_stops_the_server() {
    let mut server = Faulty::start(&[]);
    let rows = server.client().ask("stats conns\r\n", "END\r\n");
    let row = rows.lines().find_map(|row| row.strip_prefix("STAT ")?.strip_suffix(":state conn_listening"));
    let poll = server.poll_of(row.unwrap_or_else(|| panic!("{rows}")).parse().unwrap());
    server.plan.set(Call::EpollWait, Fault::error(errors::EBADF).on(poll));
    let (status, said) = (server.ended(), server.said());
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.ends_with("Exiting on error\n"), "{said}");
}

/// Polls of the only worker, counted between requests of another client.
#[test]
fn a_lone_urgent_byte_lets_its_worker_sleep() {
    const REQUESTS: u64 = 200;
    let server = Faulty::start(&["-t", "1"]);
    let (mut client, mut other) = (server.client(), server.client());
    client.ask("mn\r\n", "MN\r\n");
    let poll = server.poll_of(server.descriptor_of(client.socket()));
    for _ in 0..3 {
        SockRef::from(client.socket()).send_out_of_band(b"!").unwrap();
        other.ask("mn\r\n", "MN\r\n");
        server.plan.set(Call::EpollWait, Fault::none().on(poll));
        for _ in 0..REQUESTS {
            other.ask("mn\r\n", "MN\r\n");
        }
        // The first poll may have begun before the record.
        let polls = server.plan.seen(Call::EpollWait);
        assert!((REQUESTS - 1..REQUESTS + 10).contains(&polls), "{polls} polls");
        assert_eq!(client.ask("mn\r\n", "MN\r\n"), "MN\r\n");
    }
    server.end();
}

#[test]
fn a_login_without_a_thread_for_its_check_is_refused() {
    let dir = tempfile::TempDir::new().unwrap();
    std::fs::write(dir.path().join("users"), oxcached::auth::hash_line("ann", b"secret", 4096).unwrap()).unwrap();
    let server = Faulty::launch_in(dir, &["-Y", "users"], &[]);
    until("port file", || server.path("ports").exists());
    let mut client = server.client();
    let login = "set auth 0 0 10\r\nann secret\r\n";
    server.plan.set(Call::Thread, Fault::error(errors::EAGAIN));
    for failed in 1..3 {
        assert_eq!(client.ask(login, "\r\n"), "SERVER_ERROR too many logins\r\n");
        assert_eq!(server.plan.made(Call::Thread), failed);
    }
    server.plan.clear(Call::Thread);
    assert_eq!(client.ask(login, "\r\n"), "STORED\r\n");
    server.end();
}

#[test]
fn interrupted_calls_are_retried() {
    let server = Faulty::start(&[]);
    fill(&server);
    let large = format!("VALUE large 0 100000\r\n{}\r\nEND\r\n", "l".repeat(100_000));
    for call in [Call::Receive, Call::Send, Call::EpollWait, Call::Accept, Call::Wake] {
        server.plan.set(call, Fault::error(errors::EINTR).chance(50));
        for _ in 0..50 {
            let mut client = server.client();
            assert_eq!(client.ask("get a\r\n", "END\r\n"), HIT, "{call:?}");
            assert!(client.ask("get large\r\n", "END\r\n") == large, "{call:?}");
        }
        assert!(server.plan.made(call) > 10, "{call:?}");
        server.plan.clear(call);
    }
    server.end();
}

#[test]
fn short_transfers_lose_no_byte() {
    let server = Faulty::start(&[]);
    beside_a_witness(&server, || {
        for (call, most) in [(Call::Receive, 1), (Call::Receive, 100), (Call::Send, 1), (Call::Send, 100)] {
            let mut client = server.client();
            client.ask("mn\r\n", "MN\r\n");
            let fd = server.descriptor_of(client.socket());
            server.plan.set(call, Fault::short(most).on(fd).chance(50));
            for round in 0..20 {
                let value = round.to_string().repeat(5 * round + 1);
                let large = "l".repeat(100 * round);
                let request = format!(
                    "set b 0 0 {}\r\n{value}\r\nset c 0 0 {}\r\n{large}\r\nget b c\r\n",
                    value.len(),
                    large.len()
                );
                let expected = format!(
                    "STORED\r\nSTORED\r\nVALUE b 0 {}\r\n{value}\r\nVALUE c 0 {}\r\n{large}\r\nEND\r\n",
                    value.len(),
                    large.len()
                );
                assert!(client.ask_and_nudge(&request, "END\r\n") == expected, "{call:?}, {most} bytes, round {round}");
            }
            assert!(server.plan.made(call) > 10, "{call:?}");
            server.plan.clear(call);
        }
    });
    server.end();
}

#[test]
fn clients_are_accepted_once_accepting_works_again() {
    let server = Faulty::start(&[]);
    fill(&server);
    let mut old = server.client();
    old.ask("version\r\n", "\r\n");
    beside_a_witness(&server, || {
        for error in errors::ACCEPT {
            for times in [1, 200] {
                server.plan.set(Call::Accept, Fault::error(error).times(times));
                let mut client = server.client();
                assert_eq!(client.ask("get a\r\n", "END\r\n"), HIT, "error {error}, {times} times");
                assert_eq!(server.plan.made(Call::Accept), times, "error {error}");
                assert_eq!(old.ask("get a\r\n", "END\r\n"), HIT);
                server.plan.clear(Call::Accept);
            }
        }
    });
    server.end();
}

/// For any error: accept is retried at intervals, and the error is logged once.
#[test]
fn a_failing_accept_is_retried_at_intervals_without_cost_for_other_listeners() {
    let server = Faulty::start(&["-l", "127.0.0.1,127.0.0.2"]);
    fill(&server);
    let ports = std::fs::read_to_string(server.path("ports")).unwrap();
    let port = ports.lines().filter_map(|line| line.strip_prefix("TCP INET: ")).nth(1).unwrap().parse().unwrap();
    let other = SocketAddr::from(([127, 0, 0, 2], port));
    for error in [errors::EINVAL, errors::EPERM, errors::ENOTSOCK, errors::EMFILE] {
        let fd = listener(&server);
        server.plan.set(Call::Accept, Fault::error(error).on(fd));
        let mut client = server.client();
        client.socket().write_all(b"get a\r\n").unwrap();
        until("attempts", || server.plan.made(Call::Accept) > 0);
        let start = Instant::now();
        // The other listener is closed too while no descriptor is free.
        if error != errors::EMFILE {
            for _ in 0..20 {
                assert_eq!(Client::new(other).ask("get a\r\n", "END\r\n"), HIT, "error {error}");
            }
        }
        until("more attempts", || server.plan.made(Call::Accept) > 100 || error == errors::EMFILE);
        // 16 attempts in 10 ms; clients of the other listener cause none.
        let intervals = start.elapsed().as_millis() as u64 / 10 + 2;
        assert!(
            server.plan.made(Call::Accept) <= 16 * (intervals + 1),
            "error {error}: {}",
            server.plan.made(Call::Accept)
        );
        server.plan.clear(Call::Accept);
        assert_eq!(client.reply("END\r\n"), HIT, "error {error}");
    }
    let said = server.end();
    let told = said.lines().filter(|line| line.starts_with("accept4(): ") && !line.contains("open files")).count();
    assert_eq!(told, 1, "{said}");
}

#[test]
fn a_connection_without_events_is_closed() {
    let server = Faulty::start(&[]);
    fill(&server);
    beside_a_witness(&server, || {
        for error in errors::EPOLL_CTL {
            server.plan.set(Call::EpollCtl, Fault::error(error).times(1));
            let mut client = server.client();
            // The first turn precedes the registration and serves a request that has arrived by then.
            let reply = client.ask("get a\r\n", "END\r\n");
            assert!(reply.is_empty() || reply == HIT, "error {error}: {reply}");
            assert_eq!(client.ask("get a\r\n", "END\r\n"), "", "error {error}");
            assert_eq!(server.plan.made(Call::EpollCtl), 1);
            // A connection with a full send buffer.
            let mut client = server.client();
            client.ask("mn\r\n", "MN\r\n");
            let fd = server.descriptor_of(client.socket());
            server.plan.set(Call::EpollCtl, Fault::error(error).on(fd).times(1));
            let request = "get large\r\n".repeat(300);
            let reply = client.ask(&request, "never");
            assert!(reply.len() < 300 * 100_000, "error {error}: {} bytes", reply.len());
            assert_eq!(server.plan.made(Call::EpollCtl), 1);
            server.plan.clear(Call::EpollCtl);
        }
    });
    until("their descriptors are free", || {
        let rows = server.client().ask("stats conns\r\n", "END\r\n");
        rows.matches(":state conn_").count() <= 4
    });
    server.end();
}

/// Descriptor of the listener.
fn listener(server: &Faulty) -> i32 {
    let rows = server.client().ask("stats conns\r\n", "END\r\n");
    let row = rows.split("STAT ").find(|row| row.contains(":state conn_listening")).unwrap();
    row.split(':').next().unwrap().parse().unwrap()
}

/// Whether an epoll instance of the server watches a descriptor.
fn watched(server: &Faulty, fd: i32) -> bool {
    let files = std::fs::read_dir(format!("/proc/{}/fdinfo", server.pid())).unwrap();
    let text = |file: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(file.ok()?.path()).ok();
    let target = |line: &str| line.strip_prefix("tfd:").and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    files.filter_map(text).any(|text| text.lines().filter_map(target).any(|number: i32| number == fd))
}

#[test]
fn registering_a_listener_again_is_retried() {
    let server = Faulty::start(&[]);
    fill(&server);
    let fd = listener(&server);
    for error in errors::EPOLL_CTL {
        // After an accept without free descriptor the first call removes the listener's events; later calls request
        // them again.
        server.plan.set(Call::EpollCtl, Fault::error(error).on(fd).after(1).times(3));
        server.plan.set(Call::Accept, Fault::error(errors::EMFILE).times(1));
        server.plan.set(Call::Socket, Fault::error(errors::EMFILE).times(2));
        for _ in 0..3 {
            assert_eq!(server.client().ask("get a\r\n", "END\r\n"), HIT, "error {error}");
        }
        until("the last error", || {
            assert_eq!(server.client().ask("get a\r\n", "END\r\n"), HIT, "error {error}");
            server.plan.made(Call::EpollCtl) == 3
        });
        until("events again", || watched(&server, fd));
        assert_eq!(server.client().ask("get a\r\n", "END\r\n"), HIT, "error {error}");
        assert_eq!(server.plan.made(Call::Socket), 2);
    }
    server.end();
}

#[test]
fn a_watcher_with_failing_writes_is_removed() {
    let server = Faulty::start(&[]);
    fill(&server);
    beside_a_witness(&server, || {
        for error in errors::SEND {
            let mut watcher = server.client();
            watcher.ask("mn\r\n", "MN\r\n");
            let fd = server.descriptor_of(watcher.socket());
            // Events may follow at once.
            let (mut ok, mut socket) = ([0; 4], watcher.socket());
            socket.write_all(b"watch fetchers\r\n").unwrap();
            socket.read_exact(&mut ok).unwrap();
            assert_eq!(&ok, b"OK\r\n");
            server.plan.set(Call::Send, Fault::error(error).on(fd).times(1));
            // The witness causes events.
            let lines = watcher.reply("never");
            assert!(lines.lines().all(|line| line.starts_with("ts=")), "error {error}: {lines:.200}");
            assert_eq!(server.plan.made(Call::Send), 1);
            server.plan.clear(Call::Send);
        }
    });
    let mut client = server.client();
    until("no watcher", || client.ask("stats\r\n", "END\r\n").contains("STAT log_watchers 0\r\n"));
    server.end();
}
