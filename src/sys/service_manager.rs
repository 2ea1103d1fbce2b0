//! Messages to the service manager that started the process, by systemd's notification protocol.
//!
//! Owns the socket of `NOTIFY_SOCKET` and what could not be sent yet. A message is one datagram and never blocks. Must
//! not know what the server does: `server` says when it is ready, reloads, stops and lives. Without `NOTIFY_SOCKET`
//! nothing of this exists.
#![allow(unsafe_code)]

use super::{error_text, say};
use sd_notify::NotifyState;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Kinds of messages. Of each kind at most one waits: a newer one replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    MainPid,
    Ready,
    Reloading,
    Stopping,
    Status,
    Watchdog,
}

/// The service manager.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    /// Messages that the manager's socket had no room for, in order.
    waiting: Vec<(Kind, String)>,
    /// A failure was reported; further ones are not.
    failed: bool,
}

impl ServiceManager {
    /// The manager that `NOTIFY_SOCKET` names, a path or `@` and an abstract name; `None` without one. Removes the
    /// variable, and those of the watchdog. An address that cannot be used is reported, and there is no manager.
    ///
    /// Must be called while the process has one thread: it changes the environment.
    pub fn from_environment() -> Option<Self> {
        // SAFETY: the process has one thread (contract above), so no thread reads the environment meanwhile.
        let watchdog = unsafe { sd_notify::watchdog_enabled_and_unset_env() };
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        // SAFETY: as above.
        unsafe { std::env::remove_var("NOTIFY_SOCKET") };
        let opened = Self::open(&name, watchdog.filter(|limit| !limit.is_zero()));
        opened.inspect_err(|e| say(format_args!("NOTIFY_SOCKET {}: {}", name.to_string_lossy(), error_text(e)))).ok()
    }

    fn open(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::new(ErrorKind::Unsupported, "not a path or an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, watchdog, waiting: Vec::new(), failed: false })
    }

    /// Time without a sign of life after which the manager ends the process; `None` = it does not.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The server is ready, after its start or a reload.
    pub fn ready(&mut self, status: &str) {
        self.send(Kind::Ready, &[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// The server reloads its files.
    pub fn reloading(&mut self, status: &str) {
        let now = NotifyState::monotonic_usec_now();
        let states = [NotifyState::Reloading, NotifyState::Status(&one_line(status))];
        self.send(Kind::Reloading, &states.into_iter().chain(now).collect::<Vec<_>>());
    }

    /// The server stops.
    pub fn stopping(&mut self, status: &str) {
        self.send(Kind::Stopping, &[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
    }

    /// What the server does.
    pub fn status(&mut self, status: &str) {
        self.send(Kind::Status, &[NotifyState::Status(&one_line(status))]);
    }

    /// A sign of life.
    pub fn alive(&mut self) {
        self.send(Kind::Watchdog, &[NotifyState::Watchdog]);
    }

    /// The process continues as `pid`, a child.
    pub fn moved_to(&mut self, pid: u32) {
        self.send(Kind::MainPid, &[NotifyState::MainPid(pid)]);
    }

    /// Sends what waits, as far as there is room.
    pub fn retry(&mut self) {
        while let Some((_, text)) = self.waiting.first() {
            match self.socket.send_to_addr(text.as_bytes(), &self.address) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock || e.raw_os_error() == Some(libc::ENOBUFS) => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => {
                    if !std::mem::replace(&mut self.failed, true) {
                        say(format_args!("the service manager cannot be notified: {}", error_text(&e)));
                    }
                }
            }
            self.waiting.remove(0);
        }
    }

    fn send(&mut self, kind: Kind, states: &[NotifyState<'_>]) {
        self.waiting.retain(|(other, _)| *other != kind);
        let lines: Vec<String> = states.iter().map(NotifyState::to_string).collect();
        self.waiting.push((kind, lines.join("\n")));
        self.retry();
    }
}

/// A status ends at a line end: file names may have one.
fn one_line(status: &str) -> String {
    status.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager's socket, and the server's end.
    fn pair(name: &OsStr, address: &SocketAddr) -> (UnixDatagram, ServiceManager) {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, ServiceManager::open(name, None).unwrap())
    }

    fn next(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 256];
        let n = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..n].to_vec()).unwrap())
    }

    #[test]
    fn messages_reach_paths_and_abstract_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("oxcached-test-{}", std::process::id());
        for (name, address) in [
            (path.clone().into_os_string(), SocketAddr::from_pathname(&path).unwrap()),
            (format!("@{name}").into(), SocketAddr::from_abstract_name(&name).unwrap()),
        ] {
            let (socket, mut manager) = pair(&name, &address);
            manager.ready("Serving\nREADY=0");
            manager.alive();
            assert_eq!(next(&socket).unwrap(), "READY=1\nSTATUS=Serving?READY=0");
            assert_eq!(next(&socket).unwrap(), "WATCHDOG=1");
            manager.reloading("x");
            let text = next(&socket).unwrap();
            let now = text.strip_prefix("RELOADING=1\nSTATUS=x\nMONOTONIC_USEC=").unwrap();
            assert!(now.parse::<u64>().unwrap() > 0);
        }
        for bad in ["relative", "vsock:2:1234"] {
            assert_eq!(ServiceManager::open(OsStr::new(bad), None).unwrap_err().kind(), ErrorKind::Unsupported);
        }
    }

    #[test]
    fn a_full_socket_holds_one_message_of_each_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let (socket, mut manager) = pair(path.as_os_str(), &SocketAddr::from_pathname(&path).unwrap());
        let mut sent = 0;
        while manager.waiting.is_empty() {
            manager.status("full");
            sent += 1;
        }
        manager.ready("one");
        manager.reloading("two");
        manager.ready("three");
        manager.stopping("four");
        let kinds: Vec<Kind> = manager.waiting.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Kind::Status, Kind::Reloading, Kind::Ready, Kind::Stopping]);
        for _ in 1..sent {
            assert_eq!(next(&socket).unwrap(), "STATUS=full");
        }
        manager.retry();
        assert!(manager.waiting.is_empty());
        let rest: Vec<String> = std::iter::from_fn(|| next(&socket)).collect();
        assert_eq!(rest[2], "READY=1\nSTATUS=three");
        assert_eq!((rest.len(), rest[3].as_str()), (4, "STOPPING=1\nSTATUS=four"));
    }

    #[test]
    fn a_manager_that_is_gone_delays_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut manager = ServiceManager::open(dir.path().join("nobody").as_os_str(), None).unwrap();
        manager.ready("x");
        assert!(manager.waiting.is_empty() && manager.failed);
    }
}
