//! A server on a thread of its own, for tests.
//!
//! Owns the thread. [`Server::spawn`] makes it.

use super::{Server, ServerHandle};
use crate::proto::Control;
use std::io;
use std::net::SocketAddr;
use std::thread;

/// A server that runs on its own thread.
pub struct Running {
    handle: ServerHandle,
    addresses: Vec<SocketAddr>,
    thread: thread::JoinHandle<io::Result<()>>,
}

impl Running {
    /// Network addresses of its listeners, in the order of opening.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Handle that stops it.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Stops it and waits for its thread.
    pub fn shutdown(self) -> io::Result<()> {
        self.handle.shutdown(Control::Shutdown);
        self.wait()
    }

    /// Waits until it has been stopped by other means.
    pub fn wait(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Server {
    /// Runs it on its own thread, for tests.
    pub fn spawn(self) -> io::Result<Running> {
        let (handle, addresses) = (self.handle(), self.addresses.clone());
        let thread = thread::Builder::new().name("mc-main".to_owned()).spawn(move || self.run(None))?;
        Ok(Running { handle, addresses, thread })
    }
}
