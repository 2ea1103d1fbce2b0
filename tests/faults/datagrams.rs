//! Datagrams that cannot be received or sent are lost, with no other effect.

use crate::harness::{Faulty, beside_a_witness, errors, until};
use crate::plan::{Call, Fault};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Duration;

/// Sends a request until its reply arrives, since datagrams may be lost. Late replies to earlier attempts have other
/// ids.
fn ask(socket: &UdpSocket, request: &str) -> String {
    static ID: AtomicU16 = AtomicU16::new(0);
    let id = ID.fetch_add(1, Relaxed).to_be_bytes();
    let packet = [&id[..], b"\0\0\0\x01\0\0", request.as_bytes()].concat();
    let (mut reply, mut length) = ([0; 2000], 0);
    until("a reply", || {
        socket.send(&packet).unwrap();
        length = loop {
            match socket.recv(&mut reply) {
                Ok(length) if reply[..2] == id => break length,
                Ok(_) => {}
                Err(_) => break 0,
            }
        };
        length > 0
    });
    String::from_utf8_lossy(&reply[8..length]).into_owned()
}

#[test]
fn a_lost_datagram_affects_no_other() {
    let server = Faulty::start(&["-U", "-1"]);
    let ports = std::fs::read_to_string(server.path("ports")).unwrap();
    let port: u16 = ports.lines().find_map(|line| line.strip_prefix("UDP INET: ")).unwrap().parse().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(ask(&socket, "set a 0 0 1\r\nx\r\n"), "STORED\r\n");
    let rows = server.client().ask("stats conns\r\n", "END\r\n");
    let fds = rows.split("STAT ").filter(|row| row.contains(":UDP UDP"));
    let fds: Vec<i32> = fds.map(|row| row.split(':').next().unwrap().parse().unwrap()).collect();
    assert!(!fds.is_empty(), "{rows}");
    beside_a_witness(&server, || {
        for (call, list) in [(Call::Receive, &errors::RECEIVE[..]), (Call::Send, &errors::SEND[..])] {
            for error in list.iter().chain(&[errors::EINTR, errors::EHOSTUNREACH, errors::ENETDOWN]) {
                for fd in &fds {
                    server.plan.set(call, Fault::error(*error).on(*fd).times(3));
                    assert_eq!(ask(&socket, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n", "{call:?}, error {error}");
                    server.plan.clear(call);
                }
            }
        }
    });
    server.end();
}
