//! Datagram sockets.
//!
//! Owns one worker's datagram sockets and the bound of a turn; `datagram` parses requests and frames answers. A socket
//! with a full send buffer receives nothing until the answer in progress is sent. `worker` gives each socket its turns.

use super::datagram::{Allowance, Answerer, SendOutcome, TurnEnd};
use super::handler::Handler;
use super::notify::NewUdp;
use super::worker_context::{WorkerContext, is_verbose, say};
use crate::proto::{ConnInfo, ConnState};
use crate::stats::Counter;
use mio::net::UdpSocket;
use mio::{Interest, Token};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Datagrams received in one turn, requests or not.
const RECEIVED_MAX: usize = 32;

/// Datagrams sent in one turn: 350 KB, about what a connection sends in one turn.
const SENT_MAX: u32 = 256;

/// First slot of datagram sockets' tokens; connection slots stay below it.
const FIRST: usize = u32::MAX as usize - 0xffff;

/// One worker's datagram sockets.
pub(super) struct Datagrams<S> {
    sockets: Vec<Endpoint<S>>,
}

struct Endpoint<S> {
    socket: UdpSocket,
    info: Arc<ConnInfo>,
    answerer: Answerer<S>,
    /// Source of the request in progress.
    peer: SocketAddr,
    /// The send buffer is full.
    blocked: bool,
    /// In the worker's ready queue.
    queued: bool,
}

impl<S: Handler> Datagrams<S> {
    pub(super) fn new() -> Self {
        Self { sockets: Vec::new() }
    }

    /// Whether `token` is that of a datagram socket.
    #[inline]
    pub(super) fn owns(token: usize) -> bool {
        (FIRST..=u32::MAX as usize).contains(&token)
    }

    /// Number of sockets.
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Adds a socket to the poll.
    pub(super) fn open(&mut self, mut new: NewUdp, context: &WorkerContext) {
        let token = Token(FIRST + self.sockets.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = context.registry.register(&mut new.socket, token, interest) {
            // Only at start: a server that accepts datagrams but never answers would be worse.
            crate::sys::panics::fatal(format_args!("a datagram socket cannot be polled: {error}"));
        }
        let fd = new.socket.as_raw_fd();
        context.shared.conns.insert(fd, Arc::clone(&new.info));
        context.shared.stats.globals.curr_conns.fetch_add(1, Relaxed);
        context.shared.stats.globals.total_conns.fetch_add(1, Relaxed);
        if is_verbose(&context.shared, 2) {
            say(&format!("<{fd} server listening (udp)"));
        }
        let (socket, info, answerer) = (new.socket, new.info, Answerer::default());
        let peer = SocketAddr::from(([0, 0, 0, 0], 0));
        self.sockets.push(Endpoint { socket, info, answerer, peer, blocked: false, queued: false });
    }

    /// Descriptor of a socket; -1 for none.
    pub(super) fn fd(&self, token: usize) -> i32 {
        self.sockets.get(token - FIRST).map_or(-1, |endpoint| endpoint.socket.as_raw_fd())
    }

    /// Marks a socket as queued; false if it was already.
    pub(super) fn enqueue(&mut self, token: usize) -> bool {
        self.sockets.get_mut(token - FIRST).is_some_and(|endpoint| !std::mem::replace(&mut endpoint.queued, true))
    }

    /// Marks a socket as no longer queued.
    pub(super) fn dequeue(&mut self, token: usize) {
        if let Some(endpoint) = self.sockets.get_mut(token - FIRST) {
            endpoint.queued = false;
        }
    }

    /// Answers datagrams, at most `-R` commands; true if there may be more to do.
    pub(super) fn turn(&mut self, token: usize, writable: bool, context: &WorkerContext) -> bool {
        let Some(endpoint) = self.sockets.get_mut(token - FIRST) else { return false };
        endpoint.blocked &= !writable;
        !endpoint.blocked && endpoint.turn(context)
    }

    /// Closes all sockets.
    pub(super) fn close(&mut self, context: &WorkerContext) {
        for mut endpoint in self.sockets.drain(..) {
            // A clone stays open in other workers, so closing this one would not end its events.
            if let Err(error) = context.registry.deregister(&mut endpoint.socket) {
                log::error!("deregistering a datagram socket: {error}");
            }
            context.shared.conns.remove(endpoint.socket.as_raw_fd());
            endpoint.info.set_state(ConnState::Closed);
            context.shared.stats.globals.curr_conns.fetch_sub(1, Relaxed);
        }
    }
}

impl<S: Handler> Endpoint<S> {
    fn turn(&mut self, context: &WorkerContext) -> bool {
        let Self { socket, info, answerer, peer, blocked, .. } = self;
        let mut allowance = Allowance { commands: context.reqs_per_event, datagrams: SENT_MAX };
        for _ in 0..RECEIVED_MAX {
            let mut cx = context.cx(socket.as_raw_fd());
            if !answerer.is_busy() {
                match socket.recv_from(answerer.space()) {
                    Ok((n, from)) if answerer.begin(n, &cx) => *peer = from,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                    // No request; or an earlier reply was refused by its receiver.
                    Ok(_) | Err(_) => continue,
                }
            }
            context.trace.set_sender(Some(*peer));
            let before = allowance.commands;
            let progress = answerer.turn(&mut cx, &mut allowance, |datagram| send(socket, *peer, datagram, context));
            if allowance.commands != before {
                info.set_last_cmd(context.shared.clock.now());
            }
            match progress {
                TurnEnd::Done => {}
                TurnEnd::More => break,
                TurnEnd::Full => {
                    *blocked = true;
                    return false;
                }
            }
            if allowance.commands == 0 {
                break;
            }
        }
        if allowance.commands == 0 {
            context.counters.add(Counter::ConnYields, 1);
        }
        true
    }
}

fn send(socket: &UdpSocket, peer: SocketAddr, datagram: &[u8], context: &WorkerContext) -> SendOutcome {
    match socket.send_to(datagram, peer) {
        Ok(n) => {
            context.counters.add(Counter::BytesWritten, n as u64);
            SendOutcome::Yes
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => SendOutcome::Full,
        Err(error) => {
            log::debug!("a datagram to {peer} is lost: {error}");
            SendOutcome::Lost
        }
    }
}
