//! Facts about a socket that the standard library and socket2 do not offer.
//!
//! Knows descriptors, no connections and no protocols. Called by `net`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Id of the network card's receive queue through which the last bytes came; 0 = none, as on loopback.
///
/// # Errors
/// The kernel does not know the option (before 4.12), or `socket` is no socket.
pub fn incoming_napi_id(socket: RawFd) -> io::Result<u32> {
    let (mut id, mut len) = (0_u32, size_of::<u32>() as libc::socklen_t);
    // SAFETY: both pointers are to live variables, and `len` is the size of the first.
    let failed = unsafe {
        let option = libc::SO_INCOMING_NAPI_ID;
        libc::getsockopt(socket, libc::SOL_SOCKET, option, (&raw mut id).cast(), &raw mut len)
    };
    if failed == 0 { Ok(id) } else { Err(io::Error::last_os_error()) }
}

/// Whether the peer has gone for good: it takes no bytes any more. A peer that has only sent its last byte has not.
pub fn is_hung_up(socket: RawFd) -> bool {
    look(socket, 0) > 0
}

/// Whether a client waits in the accept queue of `listener`; true if the kernel does not tell.
pub fn has_client(listener: RawFd) -> bool {
    look(listener, libc::POLLIN) != 0
}

/// 1 if the socket is in one of the states `events`, has failed or has hung up; 0 if not; negative if the kernel does
/// not tell.
fn look(socket: RawFd, events: libc::c_short) -> libc::c_int {
    let mut entry = libc::pollfd { fd: socket, events, revents: 0 };
    // SAFETY: `entry` is one valid entry; with a timeout of 0 the call returns at once.
    unsafe { libc::poll(&raw mut entry, 1, 0) }
}

/// Bytes that have arrived and were not read.
///
/// # Errors
/// The kernel does not count them for this kind of descriptor.
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<usize> {
    count(socket, libc::FIONREAD)
}

/// Bytes of a TCP socket that were written and that its peer has not acknowledged.
///
/// # Errors
/// The kernel does not count them for this kind of descriptor.
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    count(socket, libc::TIOCOUTQ)
}

#[cfg(target_env = "gnu")]
type Request = libc::c_ulong;
#[cfg(not(target_env = "gnu"))]
type Request = libc::c_int;

fn count(socket: BorrowedFd<'_>, request: impl TryInto<Request>) -> io::Result<usize> {
    let request = request.try_into().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed; both requests write one int.
    match unsafe { libc::ioctl(socket.as_raw_fd(), request, &mut bytes) } {
        0 => Ok(bytes.unsigned_abs() as usize),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn bytes_are_counted_on_either_side() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        assert_eq!(unread(theirs.as_fd()).unwrap(), 0);
        ours.write_all(b"12345").unwrap();
        while unread(theirs.as_fd()).unwrap() < 5 {
            std::thread::yield_now();
        }
        theirs.read_exact(&mut [0; 5]).unwrap();
        while unacknowledged(ours.as_fd()).unwrap() > 0 {
            std::thread::yield_now();
        }
        // A peer that reads nothing acknowledges what its buffer takes.
        ours.set_nonblocking(true).unwrap();
        while ours.write(&[0; 65536]).is_ok() {}
        assert!(unacknowledged(ours.as_fd()).unwrap() > 0);
        assert!(unacknowledged(std::fs::File::open("/proc/self/stat").unwrap().as_fd()).is_err());
    }

    #[test]
    fn a_listener_tells_whether_a_client_waits() {
        let (tcp, directory) = (TcpListener::bind("127.0.0.1:0").unwrap(), tempfile::tempdir().unwrap());
        let unix = UnixListener::bind(directory.path().join("socket")).unwrap();
        assert!(!has_client(tcp.as_raw_fd()) && !has_client(unix.as_raw_fd()));
        let _clients: [TcpStream; 2] = [(); 2].map(|()| TcpStream::connect(tcp.local_addr().unwrap()).unwrap());
        let _local = UnixStream::connect(directory.path().join("socket")).unwrap();
        assert!(has_client(tcp.as_raw_fd()) && has_client(unix.as_raw_fd()));
        let _accepted = (tcp.accept().unwrap(), unix.accept().unwrap());
        assert!(has_client(tcp.as_raw_fd()) && !has_client(unix.as_raw_fd()));
        let _last = tcp.accept().unwrap();
        assert!(!has_client(tcp.as_raw_fd()));
    }

    #[test]
    fn a_peer_that_may_still_read_has_not_hung_up() {
        let (server, client) = UnixStream::pair().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&server).read(&mut [0]).unwrap(), 0);
        assert!(!is_hung_up(server.as_raw_fd()));
        drop(client);
        assert!(is_hung_up(server.as_raw_fd()));
    }

    #[test]
    fn a_reset_is_a_hang_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&server).read(&mut [0]).unwrap(), 0);
        assert!(!is_hung_up(server.as_raw_fd()));
        socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        assert!(is_hung_up(server.as_raw_fd()));
    }
}
