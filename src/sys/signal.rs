//! Signals as events: a handler sets a flag and writes a byte to a socket that the main thread polls.
//!
//! Installed by `main` before anything else runs, polled by `server`. A library user (a test) that installs
//! nothing keeps its own signal handling.

use mio::net::UnixStream;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{flag, low_level};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT or SIGTERM: leave.
    Exit,
    /// SIGUSR1: stop every thread in order, save what is to be saved, leave.
    Graceful,
    /// SIGHUP: read files again.
    Reload,
}

/// Installed handlers; dropping it takes them away.
pub struct Signals {
    flags: Vec<(Signal, Arc<AtomicBool>)>,
    wake: UnixStream,
    ids: Vec<SigId>,
}

impl Signals {
    /// Installs handlers for SIGINT, SIGTERM, SIGUSR1 and SIGHUP. SIGPIPE needs none: std ignores it from
    /// the start.
    pub fn install() -> io::Result<Self> {
        let (wake, write) = std::os::unix::net::UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        let mut signals = Self { flags: Vec::new(), wake: UnixStream::from_std(wake), ids: Vec::new() };
        for (number, meaning) in
            [(SIGINT, Signal::Exit), (SIGTERM, Signal::Exit), (SIGUSR1, Signal::Graceful), (SIGHUP, Signal::Reload)]
        {
            let flag = Arc::new(AtomicBool::new(false));
            // Order matters: the flag is set before the byte that makes the main thread look at it.
            signals.ids.push(flag::register(number, Arc::clone(&flag))?);
            signals.ids.push(low_level::pipe::register(number, write.try_clone()?)?);
            signals.flags.push((meaning, flag));
        }
        Ok(signals)
    }

    /// What becomes readable when a signal came.
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
