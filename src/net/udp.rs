//! Datagram sockets: memcached's frame around requests and replies.
//!
//! Owns one worker's datagram sockets. A datagram is a whole conversation: a fresh session runs over it once.
//! Must not know commands; `worker` gives each socket its turns.
//!
//! ```text
//!   request and reply header, big endian: id u16 | sequence u16 | datagrams in all u16 | 0 u16
//! ```

use super::hub::{Hub, is_verbose, say};
use super::notify::NewUdp;
use super::talk::Talk;
use crate::proto::{CloseReason, ConnCard, ConnState, Input, Output, Protocol, Step};
use crate::stats::Counter;
use mio::net::UdpSocket;
use mio::{Interest, Token};
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of the header.
const HEADER: usize = 8;

/// Most bytes of one reply datagram, header included.
const DATAGRAM_MAX: usize = 1400;

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
    input: Input,
    output: Output,
    session: PhantomData<S>,
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
        let output = Output::with_ends();
        Self { sockets: Vec::new(), request: Vec::new(), input: Input::default(), output, session: PhantomData }
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
        let Self { sockets, request, input, output, .. } = self;
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
            if n <= HEADER {
                continue;
            }
            hub.counters.add(Counter::BytesRead, n as u64);
            let (header, body) = request[..n].split_at(HEADER);
            if header[4..6] != [0, 1] {
                continue;
            }
            // What a panic has left there belongs to another datagram.
            input.reset();
            output.clear();
            input.append(body);
            endpoint.converse::<S>(&Reply { peer, id: [header[0], header[1]] }, input, output, hub);
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

/// Whom a reply answers.
struct Reply {
    peer: SocketAddr,
    id: [u8; 2],
}

impl Endpoint {
    fn converse<S: Talk>(&mut self, reply: &Reply, input: &mut Input, output: &mut Output, hub: &Hub) {
        let mut session = S::new(Protocol::Negotiating);
        // The datagram ends, so no client can go on for ever and the budget is only there to be counted down.
        let mut budget = u32::MAX;
        let quit = loop {
            let mut cx = hub.cx(self.socket.as_raw_fd());
            let step = session.run(&mut cx, input, output, &mut budget);
            let silent = output.ends_with_nothing();
            self.reply(reply, output, hub);
            match step {
                Step::Flush => {}
                // A farewell that says nothing is a bare header.
                Step::Close(reason) => break silent && reason == CloseReason::Normal,
                Step::Read | Step::Yield | Step::Suspend | Step::HandOver | Step::Abort(_) => break false,
            }
        };
        if quit {
            let [high, low] = reply.id;
            self.send(reply.peer, &[high, low, 0, 0, 0, 0, 0, 0], hub);
        }
        if budget < u32::MAX {
            self.card.set_last_cmd(hub.shared.clock.now());
        }
    }

    /// Sends what `output` holds, each reply as a series of its own.
    fn reply(&mut self, to: &Reply, output: &mut Output, hub: &Hub) {
        let mut whole = Vec::new();
        for slices in output.replies() {
            whole.clear();
            slices.iter().for_each(|slice: &IoSlice<'_>| whole.extend_from_slice(slice));
            let total = whole.len().div_ceil(DATAGRAM_MAX - HEADER);
            let [total_high, total_low] = (total as u16).to_be_bytes();
            for (sequence, part) in whole.chunks(DATAGRAM_MAX - HEADER).enumerate() {
                let [high, low] = (sequence as u16).to_be_bytes();
                let mut datagram = [0; DATAGRAM_MAX];
                datagram[..HEADER].copy_from_slice(&[to.id[0], to.id[1], high, low, total_high, total_low, 0, 0]);
                datagram[HEADER..HEADER + part.len()].copy_from_slice(part);
                self.send(to.peer, &datagram[..HEADER + part.len()], hub);
            }
        }
        output.clear();
    }

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
