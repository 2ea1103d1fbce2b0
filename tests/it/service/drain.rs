//! `-o drain`, `-o save_on_term`: what a stop leaves to clients, and to the next server.

use super::harness::{Client, Manager, Server};
use crate::support::{DEADLINE, until};
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::TcpStream;

/// Requests of a pipeline: their replies are more than the buffers of a connection take.
const PIPELINE: usize = 3000;

fn draining(manager: &Manager, args: &[&str]) -> Server {
    let args = [&["-t", "2", "-o", "drain=600"], args].concat();
    manager.start(manager.command(&args)).0
}

/// What follows until the end of the stream.
#[track_caller]
fn rest(client: &mut Client) -> String {
    let mut text = String::new();
    client.0.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn every_request_sent_before_the_stop_has_its_answer() {
    // Confined threads may do all of it.
    ["modern", "drop_privileges"].into_iter().for_each(requests_before_the_stop_are_answered);
}

fn requests_before_the_stop_are_answered(options: &str) {
    let manager = Manager::new();
    let server = draining(&manager, &["-o", options]);
    let value = "v".repeat(4000);
    assert_eq!(manager.client().ask(&format!("set a 0 0 4000\r\n{value}")), "STORED");
    let mut idle: Vec<Client> = (0..50).map(|_| manager.client()).collect();
    assert!(idle.iter_mut().all(|client| client.ask("mn") == "MN"));
    let mut half = manager.client();
    half.send("set b 0 0 10\r\n12345");
    let mut busy: Vec<Client> = (0..8).map(|_| manager.client()).collect();
    busy.iter_mut().for_each(|client| client.send(&"get a\r\n".repeat(PIPELINE)));
    server.signal("TERM");
    assert_eq!(manager.wait_for("STOPPING=1"), "STOPPING=1\nSTATUS=Stopping");
    let address = manager.address("TCP");
    until("no new client", || TcpStream::connect(address).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused));
    assert!(idle.iter_mut().all(|client| rest(client).is_empty()));
    let reply = format!("VALUE a 0 4000\r\n{value}\r\nEND\r\n");
    for client in &mut busy {
        let text = rest(client);
        assert_eq!(text.len(), PIPELINE * reply.len());
        assert!(text == reply.repeat(PIPELINE));
    }
    // The last one holds the server until its request is complete.
    assert!(manager.wait_for("STATUS=Draining: 1 ").ends_with("1 connection left"));
    half.send("67890\r\nget b\r\n");
    assert_eq!(rest(&mut half), "STORED\r\nVALUE b 0 10\r\n1234567890\r\nEND\r\n");
    assert_eq!(server.end(), (Some(0), String::new()));
}

#[test]
fn clients_that_go_on_are_closed_between_two_requests() {
    let manager = Manager::new();
    let server = draining(&manager, &[]);
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let mut client = manager.client();
            assert_eq!(client.ask(&format!("set n{number} 0 0 1\r\n0")), "STORED");
            std::thread::spawn(move || {
                for count in 1_u64.. {
                    // A request that meets the close is not answered in part.
                    let sent = client.0.get_mut().write_all(format!("incr n{number} 1\r\n").as_bytes());
                    let mut line = Vec::new();
                    let end = client.0.read_until(b'\n', &mut line);
                    if sent.is_err() || end.is_err() || line.is_empty() {
                        return count - 1;
                    }
                    assert_eq!(String::from_utf8(line).unwrap(), format!("{count}\r\n"));
                }
                0
            })
        })
        .collect();
    let mut watch = manager.client();
    until("load", || {
        assert!(watch.ask("get n0").starts_with("VALUE n0 "));
        let count: u32 = watch.line().parse().unwrap();
        assert_eq!(watch.line(), "END");
        count > 50
    });
    assert_eq!(server.stop("TERM"), (Some(0), String::new()));
    for client in clients {
        assert!(client.join().unwrap() > 0);
    }
}

#[test]
fn a_client_that_never_ends_its_request_is_closed_at_the_bound() {
    let manager = Manager::new();
    let (server, _) = manager.start(manager.command(&["-t", "2", "-o", "drain=1"]));
    let mut slow = manager.client();
    slow.send("set a 0 0 10\r\n12345");
    assert_eq!(server.stop("INT"), (Some(0), String::new()));
    assert_eq!(rest(&mut slow), "");
}

#[test]
fn a_second_signal_ends_the_drain() {
    for second in ["TERM", "INT", "USR1"] {
        let manager = Manager::new();
        let server = draining(&manager, &[]);
        let mut slow = manager.client();
        slow.send("set a 0 0 10\r\n12345");
        assert_eq!(manager.client().ask("mn"), "MN");
        server.signal("TERM");
        manager.wait_for("STATUS=Draining: ");
        assert_eq!(server.stop(second), (Some(0), String::new()), "{second}");
        assert_eq!(rest(&mut slow), "");
    }
}

#[test]
fn a_server_that_drains_is_alive_and_not_ready() {
    let manager = Manager::new();
    let mut command = manager.command(&["-t", "2", "-o", "drain=600", "--admin=127.0.0.1:0"]);
    command.env("WATCHDOG_USEC", "100000");
    let (server, _) = manager.start(command);
    let mut slow = manager.client();
    slow.send("set a 0 0 10\r\n12345");
    assert_eq!(manager.client().ask("mn"), "MN");
    server.signal("TERM");
    manager.wait_for("STATUS=Draining: ");
    manager.wait_for("WATCHDOG=1");
    for (path, status) in [("/readyz", "503"), ("/healthz", "200")] {
        let mut stream = TcpStream::connect(manager.address("ADMIN")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {text}");
    }
    slow.send("67890\r\n");
    assert_eq!(rest(&mut slow), "STORED\r\n");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn save_on_term_keeps_the_items_and_without_it_they_are_gone() {
    let manager = Manager::new();
    let file = manager.text("memory");
    for (options, signal, is_kept) in [
        ("save_on_term", "TERM", true),
        ("save_on_term", "INT", true),
        ("save_on_term,drain=600", "TERM", true),
        ("drain=600", "TERM", false),
        ("drain=600", "USR1", true),
        ("modern", "TERM", false),
        ("modern", "USR1", true),
    ] {
        let args = ["-t", "2", "-e", &file, "-o", options];
        let (server, _) = manager.start(manager.command(&args));
        assert_eq!(manager.client().ask(&format!("set a 0 0 {}\r\n{options}", options.len())), "STORED");
        assert_eq!(server.stop(signal).0, Some(0));
        let (server, _) = manager.start(manager.command(&args));
        let mut client = manager.client();
        let found = client.ask("get a") != "END";
        assert_eq!(found, is_kept, "{options} {signal}");
        if found {
            assert_eq!(client.line(), options);
        }
        assert_eq!(server.stop("KILL").0, None);
        std::fs::remove_file(&file).unwrap();
    }
    let (code, text) = manager.fails(manager.command(&["-o", "save_on_term"]));
    assert_eq!((code, text.as_str()), (Some(64), "save_on_term requires a memory file (-e)\n"));
    for bad in ["drain=x", "drain=-1", "drain=3601"] {
        let (code, text) = manager.fails(manager.command(&["-o", bad]));
        assert_eq!((code, text.as_str()), (Some(1), "drain must be between 0 and 3600 seconds\n"), "{bad}");
    }
}
