//! Reads that end before the socket is empty: the remaining bytes must be answered without a further event to wake
//! the worker.
//!
//! A suspended connection is not read, so that all bytes are in the socket when it resumes; a request of another
//! client in between ensures that the worker has consumed the events.

use super::harness::{Client, Server, settings, tcp, unix, until};
use super::script::later;
use oxcached::net::Remote;
use socket2::{MsgHdr, SockRef};
use std::io::{BufReader, IoSlice, PipeReader, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// A server on both kinds of sockets; its worker is queried through the first.
struct Both {
    server: Server,
    dir: tempfile::TempDir,
}

impl Both {
    fn new() -> Self {
        let (listener, dir) = unix();
        Self { server: Server::with(settings(), vec![tcp(), listener]), dir }
    }

    fn local(&self) -> Client<UnixStream> {
        let stream = UnixStream::connect(self.dir.path().join("socket")).unwrap();
        stream.set_read_timeout(Some(super::harness::DEADLINE)).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    /// Waits until the worker has served all earlier events.
    fn settle(&self) {
        assert_eq!(self.server.client().ask("echo settled"), "settled");
    }
}

fn suspended(name: &str) -> Remote {
    let mut remote = None;
    until("suspended", || {
        remote = later(name);
        remote.is_some()
    });
    remote.unwrap()
}

/// Sends the descriptor of a pipe's end with `bytes`; the other end shows when no process has it open any more.
fn pass_descriptor(to: &UnixStream, bytes: &[u8]) -> PipeReader {
    let (reader, writer) = pipe().unwrap();
    // struct cmsghdr on 64-bit Linux: length, level, type, then the descriptor.
    let mut control = Vec::new();
    control.extend_from_slice(&20_usize.to_ne_bytes());
    control.extend_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    control.extend_from_slice(&libc::SCM_RIGHTS.to_ne_bytes());
    control.extend_from_slice(&writer.as_raw_fd().to_ne_bytes());
    control.resize(24, 0);
    let slices = [IoSlice::new(bytes)];
    let message = MsgHdr::new().with_buffers(&slices).with_control(&control);
    assert_eq!(SockRef::from(to).sendmsg(&message, 0).unwrap(), bytes.len());
    reader
}

#[test]
fn a_tcp_urgent_mark_hides_no_later_bytes() {
    let both = Both::new();
    for marks in 1..4 {
        let mut client = both.server.client();
        client.send("later urgent\r\n");
        let remote = suspended("urgent");
        for n in 0..marks {
            client.send(format!("echo {n}\r\n"));
            SockRef::from(client.stream.get_ref()).send_out_of_band(b"!").unwrap();
        }
        client.send("echo end\r\n");
        both.settle();
        remote.resume(b"late\r\n".to_vec());
        assert_eq!(client.line(), "late");
        // Of several marks the kernel keeps the last; the bytes at the others are ordinary ones.
        assert_eq!(client.line(), "0");
        for _ in 1..marks {
            assert_eq!(client.line(), "what is !echo?");
        }
        assert_eq!(client.line(), "end");
        // And later bytes on the same connection, with and without a mark.
        client.send("echo x\r\nec");
        SockRef::from(client.stream.get_ref()).send_out_of_band(b"!").unwrap();
        client.send("ho y\r\n");
        assert_eq!([client.line(), client.line()], ["x", "y"]);
        assert_eq!(client.ask("echo z"), "z");
    }
}

#[test]
fn a_value_with_a_tcp_urgent_mark_arrives_whole() {
    let both = Both::new();
    let mut client = both.server.client();
    client.send("later value\r\n");
    let remote = suspended("value");
    client.send("upload 4\r\n\x01\x02");
    SockRef::from(client.stream.get_ref()).send_out_of_band(b"!").unwrap();
    client.send("\x03\x04echo a\r\n");
    both.settle();
    remote.resume(b"late\r\n".to_vec());
    assert_eq!([client.line(), client.line(), client.line()], ["late", "sum 10", "a"]);
}

#[test]
fn a_lone_urgent_byte_causes_neither_spin_nor_close() {
    let both = Both::new();
    let mut client = both.server.client();
    assert_eq!(client.ask("echo a"), "a");
    SockRef::from(client.stream.get_ref()).send_out_of_band(b"!").unwrap();
    both.settle();
    assert_eq!(client.ask("echo b"), "b");
    SockRef::from(client.stream.get_ref()).send_out_of_band(b"!").unwrap();
    client.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    client.expect_end();
}

#[test]
fn descriptors_passed_over_a_unix_socket_hide_nothing_and_are_closed() {
    let both = Both::new();
    let mut client = both.local();
    client.stream.get_mut().write_all(b"later rights\r\n").unwrap();
    let remote = suspended("rights");
    let mut first = pass_descriptor(client.stream.get_ref(), b"echo a\r\n");
    let mut second = pass_descriptor(client.stream.get_ref(), b"upload 2\r\n\x01");
    let mut third = pass_descriptor(client.stream.get_ref(), b"\x02");
    client.stream.get_mut().write_all(b"echo end\r\n").unwrap();
    both.settle();
    remote.resume(b"late\r\n".to_vec());
    assert_eq!([client.line(), client.line()], ["late", "a"]);
    assert_eq!([client.line(), client.line()], ["sum 3", "end"]);
    // The pipes end: the server has kept no descriptor.
    for pipe in [&mut first, &mut second, &mut third] {
        assert_eq!(pipe.read(&mut [0]).unwrap(), 0);
    }
    client.stream.get_mut().write_all(b"echo still\r\n").unwrap();
    assert_eq!(client.line(), "still");
}

#[test]
fn an_out_of_band_byte_on_a_unix_socket_hides_no_later_bytes() {
    let both = Both::new();
    let mut client = both.local();
    client.stream.get_mut().write_all(b"later band\r\n").unwrap();
    let remote = suspended("band");
    client.stream.get_mut().write_all(b"echo a\r\n").unwrap();
    if let Err(error) = SockRef::from(client.stream.get_ref()).send_out_of_band(b"!") {
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "a kernel without CONFIG_AF_UNIX_OOB");
    }
    client.stream.get_mut().write_all(b"echo end\r\n").unwrap();
    both.settle();
    remote.resume(b"late\r\n".to_vec());
    assert_eq!([client.line(), client.line(), client.line()], ["late", "a", "end"]);
}
