//! The server as a library: any number of servers in one process, each on its own ports.

use crate::support::settings;
use oxcached::proto::Control;
use oxcached::server::{Running, Server, StartError};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

fn start(args: &str) -> Running {
    Server::start(settings(args)).unwrap().spawn().unwrap()
}

/// Whether the server at `address` serves: a line gets a reply line.
fn serves(address: SocketAddr) -> bool {
    let Ok(mut client) = TcpStream::connect(address) else { return false };
    client.write_all(b"nonsense\r\n").unwrap();
    let mut answer = [0; 7];
    client.read_exact(&mut answer).is_ok() && &answer == b"ERROR\r\n"
}

#[test]
fn two_servers_serve_and_stop_independently() {
    let (one, two) = (start("-p -1 -l 127.0.0.1"), start("-p -1 -l 127.0.0.1 -t 1"));
    let (first, second) = (one.addresses()[0], two.addresses()[0]);
    assert!(serves(first) && serves(second));
    one.shutdown().unwrap();
    assert!(TcpStream::connect(first).is_err(), "its port is free");
    assert!(serves(second));

    let again = start(&format!("-l 127.0.0.1:{}", first.port()));
    assert!(serves(first));
    again.shutdown().unwrap();
    two.shutdown().unwrap();
}

#[test]
fn a_session_can_stop_the_server() {
    for how in [Control::Shutdown, Control::ShutdownGraceful] {
        let server = Server::start(settings("-p -1 -l 127.0.0.1")).unwrap();
        let shared = server.shared().clone();
        let running = server.spawn().unwrap();
        let mut client = TcpStream::connect(running.addresses()[0]).unwrap();
        (shared.control)(how);
        running.wait().unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let end = client.read(&mut [0; 8]);
        assert!(!matches!(&end, Ok(n) if *n > 0), "{end:?}");
    }
}

#[test]
fn a_request_made_before_it_runs_is_not_lost() {
    let server = Server::start(settings("-p -1 -l 127.0.0.1")).unwrap();
    server.handle().shutdown(Control::Shutdown);
    server.run(None).unwrap();
}

#[test]
fn the_clock_ticks() {
    let start = Instant::now();
    let server = Server::start(settings("-p -1 -l 127.0.0.1")).unwrap();
    let shared = server.shared().clone();
    let before = shared.clock.now();
    let running = server.spawn().unwrap();
    while shared.clock.now() < before + 2 {
        assert!(start.elapsed() < Duration::from_secs(20), "the clock stands");
        std::thread::sleep(Duration::from_millis(2));
    }
    // The clock began behind `start`, however long the start took.
    assert!(start.elapsed() >= Duration::from_secs(2), "the clock hurries");
    running.shutdown().unwrap();
}

#[test]
fn a_failed_start_leaves_nothing_behind() {
    let holder = start("-p -1 -l 127.0.0.1");
    let list = format!("127.0.0.1:{}", holder.addresses()[0].port());
    let error = Server::start(settings(&format!("-l {list}"))).err().unwrap();
    let message = format!("failed to listen on one of interface(s) {list}: Address already in use");
    assert_eq!(error, StartError { code: 71, message });
    let error = Server::start(settings("-l [::1")).err().unwrap();
    assert_eq!(error.code, 71);
    holder.shutdown().unwrap();
}
