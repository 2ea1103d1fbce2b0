//! Through real sockets: the protocol of a connection, and datagrams.

use super::packet::{all, err, get, hit, req, res, set, store};
use crate::support::settings;
use oxcached::server::{Running, Server};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

fn start(args: &str) -> Running {
    Server::start(settings(args)).unwrap().spawn().unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[track_caller]
fn answers(stream: &mut TcpStream, request: &[u8], expected: &[u8]) {
    stream.write_all(request).unwrap();
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer == expected, "{}", answer.escape_ascii());
}

/// Expects a close by the server without further bytes.
#[track_caller]
fn ends(mut stream: TcpStream) {
    let end = stream.read(&mut [0; 8]);
    assert!(matches!(&end, Ok(0)) || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
}

#[test]
fn the_first_byte_decides() {
    let server = start("-p -1 -U 0 -l 127.0.0.1");
    let mut binary = connect(server.addresses()[0]);
    answers(&mut binary, &all(&[set("a", "x"), get("a")]), &all(&[res(0x01).cas(2), hit(0x00, 2, 0, "x")]));
    let mut text = connect(server.addresses()[0]);
    answers(&mut text, b"gets a\r\n", b"VALUE a 0 1 2\r\nx\r\nEND\r\n");
    answers(&mut text, &[b"\x80\x0b".as_slice(), &[b'x'; 9], b"\r\n"].concat(), b"ERROR\r\n");
    binary.write_all(b"this is no packet at all").unwrap();
    ends(binary);
    server.shutdown().unwrap();
}

#[test]
fn listeners_may_speak_one_protocol() {
    for args in ["-B binary -l 127.0.0.1 -p -1", "-p -1 -l proto[binary]:127.0.0.1"] {
        let server = start(args);
        let mut client = connect(server.addresses()[0]);
        answers(&mut client, &req(0x0a).bytes(), &res(0x0a).bytes());
        let mut client = connect(server.addresses()[0]);
        client.write_all(b"version, said in a long line\r\n").unwrap();
        ends(client);
        server.shutdown().unwrap();
    }
    for args in ["-B ascii -l 127.0.0.1 -p -1", "-p -1 -l proto[ascii]:127.0.0.1"] {
        let server = start(args);
        let mut client = connect(server.addresses()[0]);
        client.write_all(&req(0x0b).opaque(0).bytes()).unwrap();
        answers(&mut client, b"\r\nversion\r\n", b"ERROR\r\nVERSION 1.6.45\r\n");
        server.shutdown().unwrap();
    }
}

#[test]
fn errors_that_close_are_sent_first() {
    let server = start("-p -1 -l 127.0.0.1");
    for (request, reply) in [(req(0x0a).value("x"), err(0x0a, 0x04)), (req(0x07), res(0x07))] {
        let mut client = connect(server.addresses()[0]);
        answers(&mut client, &request.bytes(), &reply.bytes());
        ends(client);
    }
    server.shutdown().unwrap();
}

#[test]
fn large_values_travel_both_ways() {
    let server = start("-p -1 -l 127.0.0.1 -I 8m");
    let value = "0123456789abcdef".repeat(400_000);
    let mut client = connect(server.addresses()[0]);
    let mut writer = client.try_clone().unwrap();
    let request = all(&[set("large", &value), req(0x0c).key("large")]);
    let sender = std::thread::spawn(move || writer.write_all(&request).unwrap());
    answers(&mut client, b"", &all(&[res(0x01).cas(2), res(0x0c).cas(2).u32(0).key("large").value(&value)]));
    sender.join().unwrap();
    server.shutdown().unwrap();
}

#[test]
fn each_datagram_chooses_its_protocol() {
    let server = start("-p -1 -U -1 -l 127.0.0.1");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.connect(server.addresses()[1]).unwrap();
    let ask = |id: u8, body: &[u8], replies: &[&[u8]]| {
        client.send(&[&[0, id, 0, 0, 0, 1, 0, 0], body].concat()).unwrap();
        for reply in replies {
            let mut datagram = [0; 2000];
            let n = client.recv(&mut datagram).unwrap();
            let total = u8::from(!reply.is_empty());
            assert_eq!(&datagram[..n], &[&[0, id, 0, 0, 0, total, 0, 0], *reply].concat());
        }
    };
    let found = hit(0x00, 2, 0, "x").bytes();
    ask(1, &all(&[set("a", "x"), get("a")]), &[&res(0x01).cas(2).bytes(), &found]);
    ask(2, b"get a\r\n", &[b"VALUE a 0 1\r\nx\r\nEND\r\n"]);
    // Half a packet is dropped with its datagram; quiet commands send no reply.
    ask(3, &get("a").bytes()[..24], &[]);
    ask(4, &store(0x11, "a", 0, 0, "z").bytes(), &[]);
    ask(5, &req(0x07).bytes(), &[&res(0x07).bytes()]);
    ask(6, &req(0x17).bytes(), &[b""]);
    ask(7, &get("a").bytes(), &[&hit(0x00, 3, 0, "z").bytes()]);
    server.shutdown().unwrap();
}
