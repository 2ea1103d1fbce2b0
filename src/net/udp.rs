//! Datagram sockets.
//!
//! Owns one worker's datagram sockets and what waits for a full send buffer; what a datagram says and how it is answered
//! is the business of `datagram`. `worker` gives each socket its turns.

use super::datagram::Answerer;
use super::hub::{Hub, is_verbose, say};
use super::notify::NewUdp;
use super::talk::Talk;
use crate::proto::{ConnCard, ConnState};
use crate::stats::Counter;
use mio::net::UdpSocket;
use mio::{Interest, Token};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Datagrams received in one turn.
const BATCH: usize = 32;

/// Largest request datagram that IP can carry.
const REQUEST_MAX: usize = 64 * 1024;

/// Reply bytes that wait for a full send buffer; what exceeds them is lost, as on any network.
const UNSENT_MAX: usize = 4 * 1024 * 1024;

/// First slot of datagram sockets' tokens; no connection table grows so far.
const FIRST: usize = u32::MAX as usize - 0xffff;

/// One worker's datagram sockets.
pub(super) struct Datagrams<S> {
    sockets: Vec<Endpoint>,
    /// Memory of one request, taken when there is a socket at all.
    request: Vec<u8>,
    answerer: Answerer<S>,
}

struct Endpoint {
    socket: UdpSocket,
    card: Arc<ConnCard>,
    /// Datagrams for a full send buffer; while there are any, no request is received.
    unsent: VecDeque<(SocketAddr, Vec<u8>)>,
    unsent_bytes: usize,
    /// In the worker's ready queue.
    queued: bool,
}

impl<S: Talk> Datagrams<S> {
    pub(super) fn new() -> Self {
        Self { sockets: Vec::new(), request: Vec::new(), answerer: Answerer::default() }
    }

    /// Whether `token` is that of a datagram socket.
    #[inline]
    pub(super) fn owns(token: usize) -> bool {
        (FIRST..=u32::MAX as usize).contains(&token)
    }

    /// Takes in a socket.
    pub(super) fn open(&mut self, mut new: NewUdp, hub: &Hub) {
        let token = Token(FIRST + self.sockets.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = hub.registry.register(&mut new.socket, token, interest) {
            log::error!("registering a datagram socket: {error}");
            return;
        }
        let fd = new.socket.as_raw_fd();
        hub.shared.conns.insert(fd, Arc::clone(&new.card));
        hub.shared.stats.globals.curr_conns.fetch_add(1, Relaxed);
        hub.shared.stats.globals.total_conns.fetch_add(1, Relaxed);
        if is_verbose(&hub.shared, 2) {
            say(&format!("<{fd} server listening (udp)"));
        }
        self.request.resize(REQUEST_MAX, 0);
        let (socket, card) = (new.socket, new.card);
        self.sockets.push(Endpoint { socket, card, unsent: VecDeque::new(), unsent_bytes: 0, queued: false });
    }

    /// Notes that a socket is in the ready queue; false if it was already.
    pub(super) fn enqueue(&mut self, token: usize) -> bool {
        self.sockets.get_mut(token - FIRST).is_some_and(|endpoint| !std::mem::replace(&mut endpoint.queued, true))
    }

    /// Notes that a socket has left the ready queue.
    pub(super) fn dequeue(&mut self, token: usize) {
        if let Some(endpoint) = self.sockets.get_mut(token - FIRST) {
            endpoint.queued = false;
        }
    }

    /// Answers a batch of datagrams; true if there may be more.
    pub(super) fn turn(&mut self, token: usize, writable: bool, hub: &Hub) -> bool {
        let Self { sockets, request, answerer } = self;
        let Some(endpoint) = sockets.get_mut(token - FIRST) else { return false };
        if writable {
            endpoint.send_unsent(hub);
        }
        for _ in 0..BATCH {
            if !endpoint.unsent.is_empty() {
                return false;
            }
            let (n, peer) = match endpoint.socket.recv_from(request) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // An earlier reply was refused by its receiver: no business of the next request.
                Err(_) => continue,
            };
            let mut cx = hub.cx(endpoint.socket.as_raw_fd());
            if answerer.answer(&request[..n], &mut cx, |datagram| endpoint.send(peer, datagram, hub)) {
                endpoint.card.set_last_cmd(hub.shared.clock.now());
            }
        }
        true
    }

    /// Closes all sockets.
    pub(super) fn close(&mut self, hub: &Hub) {
        for mut endpoint in self.sockets.drain(..) {
            // A clone lives on in other workers, so closing this one would not end its events.
            if let Err(error) = hub.registry.deregister(&mut endpoint.socket) {
                log::error!("deregistering a datagram socket: {error}");
            }
            hub.shared.conns.remove(endpoint.socket.as_raw_fd());
            endpoint.card.set_state(ConnState::Closed);
            hub.shared.stats.globals.curr_conns.fetch_sub(1, Relaxed);
        }
    }
}

impl Endpoint {
    fn send(&mut self, peer: SocketAddr, datagram: &[u8], hub: &Hub) {
        if self.unsent.is_empty() {
            match self.socket.send_to(datagram, peer) {
                Ok(n) => return hub.counters.add(Counter::BytesWritten, n as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return log::debug!("a datagram to {peer} is lost: {error}"),
            }
        }
        if self.unsent_bytes + datagram.len() <= UNSENT_MAX {
            self.unsent_bytes += datagram.len();
            self.unsent.push_back((peer, datagram.to_vec()));
        }
    }

    fn send_unsent(&mut self, hub: &Hub) {
        while let Some((peer, datagram)) = self.unsent.front() {
            match self.socket.send_to(datagram, *peer) {
                Ok(n) => hub.counters.add(Counter::BytesWritten, n as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => log::debug!("a datagram to {peer} is lost: {error}"),
            }
            self.unsent_bytes -= datagram.len();
            self.unsent.pop_front();
        }
    }
}
