//! Signals as events: a handler sets a flag and writes a byte to a socket that the main thread polls.
//!
//! Installed by `main` before anything else runs, polled by `server`. A library user (a test) that installs nothing
//! keeps its own signal handling.
#![allow(unsafe_code)]

use mio::net::UnixStream;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Request of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM: exit.
    Exit,
    /// SIGUSR1: stop every thread in order, save the cache if so configured, exit.
    Graceful,
    /// SIGHUP: reload files.
    Reload,
}

/// Installed handlers; dropping this removes them.
pub struct Signals {
    flags: Vec<(Signal, Arc<AtomicBool>)>,
    wake: UnixStream,
    ids: Vec<SigId>,
}

impl Signals {
    /// Installs handlers for SIGINT, SIGTERM, SIGUSR1 and SIGHUP. SIGPIPE needs none: std ignores it from the start.
    pub fn install() -> io::Result<Self> {
        let (wake, write) = std::os::unix::net::UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        // One descriptor for all signals: they count against a connection limit that may be small.
        let write = Arc::new(write);
        let mut signals = Self { flags: Vec::new(), wake: UnixStream::from_std(wake), ids: Vec::new() };
        for (number, meaning) in
            [(SIGINT, Signal::Exit), (SIGTERM, Signal::Exit), (SIGUSR1, Signal::Graceful), (SIGHUP, Signal::Reload)]
        {
            let flag = Arc::new(AtomicBool::new(false));
            signals.ids.push(register(number, Arc::clone(&flag), Arc::clone(&write))?);
            signals.flags.push((meaning, flag));
        }
        Ok(signals)
    }

    /// Becomes readable when a signal has come.
    pub fn source(&mut self) -> &mut UnixStream {
        &mut self.wake
    }

    /// Signals since the last call, each at most once.
    pub fn take(&mut self) -> Vec<Signal> {
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(n) if n > 0) {}
        self.flags.iter().filter(|(_, flag)| flag.swap(false, Relaxed)).map(|(signal, _)| *signal).collect()
    }
}

/// Order matters: the flag is set before the byte wakes the main thread. If the socket is full, `send` fails, which is
/// fine: unread bytes wake the main thread.
fn register(number: i32, flag: Arc<AtomicBool>, write: Arc<impl AsRawFd + Send + Sync + 'static>) -> io::Result<SigId> {
    let action = move || {
        flag.store(true, Relaxed);
        // SAFETY: the descriptor is open as long as `write` lives, the byte is a static.
        unsafe { libc::send(write.as_raw_fd(), b"X".as_ptr().cast(), 1, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    };
    // SAFETY: the action only stores to an atomic and calls send, both of which a signal handler may; it allocates
    // nothing, takes no lock and cannot panic. signal-hook keeps errno.
    unsafe { low_level::register(number, action) }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            low_level::unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_taken_once() {
        let mut signals = Signals::install().unwrap();
        assert!(signals.take().is_empty());
        low_level::raise(SIGHUP).unwrap();
        low_level::raise(SIGHUP).unwrap();
        assert_eq!(signals.take(), [Signal::Reload]);
        assert!(signals.take().is_empty());
    }
}
