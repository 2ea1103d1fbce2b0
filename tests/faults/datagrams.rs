//! Datagrams: what cannot be received or sent is lost, and nothing else.

use crate::harness::{Faulty, beside_a_witness, errors, until};
use crate::plan::{Call, Fault};
use std::net::UdpSocket;
use std::time::Duration;

/// A request and its reply, sent again until there is one: datagrams may be lost.
fn ask(socket: &UdpSocket, request: &str) -> String {
    let mut reply = [0; 2000];
    let packet = [b"\0\x07\0\0\0\x01\0\0", request.as_bytes()].concat();
    let mut length = 0;
    until("a reply", || {
        socket.send(&packet).unwrap();
        length = socket.recv(&mut reply).unwrap_or(0);
        length > 0
    });
    // Replies to those that were sent again and not lost.
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 2000]).is_ok() {}
    socket.set_nonblocking(false).unwrap();
    String::from_utf8_lossy(&reply[8..length]).into_owned()
}

#[test]
fn a_lost_datagram_is_no_other_ones_loss() {
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
