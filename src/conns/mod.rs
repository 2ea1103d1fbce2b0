//! Open connections and listeners: the public data of each, and their number per address.
//!
//! Owns the table by descriptor, the states, and the counts of `-o maxconns_per_ip`. Must not know sockets or sessions:
//! `net` enters and removes connections and sets their state; `stats conns` and log lines read them.

mod addresses;
mod state;

pub use addresses::{AddressPlace, Addresses};
pub use state::ConnState;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

/// Public data of a connection. Written by its worker, read by any thread.
pub struct ConnInfo {
    /// Peer address; `None` for unix peers and listeners.
    pub peer: Option<SocketAddr>,
    /// Local (listening) address; `None` for unix sockets.
    pub local: Option<SocketAddr>,
    /// Path of a unix listener.
    pub path: Option<Box<str>>,
    /// Whether it is a datagram socket.
    pub udp: bool,
    /// Its place in the count of its address, if connections per address are limited.
    pub place: Option<AddressPlace>,
    /// A `ConnState` as a number.
    state: AtomicU8,
    /// Relative time of the last command.
    last_cmd: AtomicU32,
}

impl ConnInfo {
    /// Data of a connection in `state`; `now` counts as its last command.
    pub fn new(peer: Option<SocketAddr>, local: Option<SocketAddr>, state: ConnState, now: u32) -> Self {
        let (path, udp, place) = (None, false, None);
        Self { peer, local, path, udp, place, state: AtomicU8::new(state as u8), last_cmd: AtomicU32::new(now) }
    }

    /// Current state.
    pub fn state(&self) -> ConnState {
        ConnState::from_u8(self.state.load(Relaxed))
    }

    /// Sets the current state.
    #[inline]
    pub fn set_state(&self, state: ConnState) {
        self.state.store(state as u8, Relaxed);
    }

    /// Relative time of the last command.
    pub fn last_cmd(&self) -> u32 {
        self.last_cmd.load(Relaxed)
    }

    /// Sets the time of the last command.
    #[inline]
    pub fn set_last_cmd(&self, now: u32) {
        self.last_cmd.store(now, Relaxed);
    }
}

/// All open connections and listeners by descriptor. Lock rank: see docs/locking.md.
#[derive(Default)]
pub struct ConnTable(Mutex<BTreeMap<i32, Arc<ConnInfo>>>);

impl ConnTable {
    /// Adds a connection.
    pub fn insert(&self, fd: i32, info: Arc<ConnInfo>) {
        self.0.lock().insert(fd, info);
    }

    /// The connection of descriptor `fd`.
    pub fn get(&self, fd: i32) -> Option<Arc<ConnInfo>> {
        self.0.lock().get(&fd).cloned()
    }

    /// Removes a connection. Must run before its descriptor is closed.
    pub fn remove(&self, fd: i32) {
        self.0.lock().remove(&fd);
    }

    /// The next `most` connections above descriptor `fd`, in order.
    pub fn list_after(&self, fd: i32, most: usize) -> Vec<(i32, Arc<ConnInfo>)> {
        let behind = (Bound::Excluded(fd), Bound::Unbounded);
        self.0.lock().range(behind).take(most).map(|(fd, info)| (*fd, Arc::clone(info))).collect()
    }

    /// Passes the next `most` connections above descriptor `fd` to `each`, which runs under the lock; returns the
    /// descriptor of the last one, `None` if there was none.
    pub fn visit_after(&self, fd: i32, most: usize, each: &mut dyn FnMut(&ConnInfo)) -> Option<i32> {
        let behind = (Bound::Excluded(fd), Bound::Unbounded);
        self.0.lock().range(behind).take(most).map(|(fd, info)| (each(info), *fd).1).last()
    }

    /// All connections, ordered by descriptor.
    pub fn list(&self) -> Vec<(i32, Arc<ConnInfo>)> {
        self.0.lock().iter().map(|(fd, info)| (*fd, Arc::clone(info))).collect()
    }
}
