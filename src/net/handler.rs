//! The protocol side of a connection, as a worker sees it.
//!
//! Owns the trait; knows no protocol. The product has one implementor, [`Session`]. Tests substitute a scripted one to
//! drive every step a session may ask for, panics included.

use super::notify::Remote;
use crate::cache::Completion;
use crate::maint::WatchSink;
use crate::proto::{ConnState, Cx, Input, Output, Protocol, Session, Shared, Step};
use std::net::SocketAddr;

/// One connection's protocol side; each method has the contract of the [`Session`] method of the same name.
#[allow(missing_docs)]
pub trait Handler: Send + 'static {
    fn new(protocol: Protocol) -> Self;
    fn run(&mut self, cx: &mut Cx<'_>, input: &mut Input, out: &mut Output, budget: &mut u32) -> Step;
    fn upload_target(&mut self) -> Option<&mut [u8]>;
    fn uploaded(&mut self, n: usize);
    /// After [`Step::Suspend`]: the connection is parked and the late reply may be requested. The holder of `remote`
    /// answers with it; dropping it closes the connection. `peer` is `None` for local clients.
    fn suspended(&mut self, shared: &Shared, peer: Option<SocketAddr>, remote: Remote);
    /// While suspended: the peer has sent its last byte. Not called for a peer that is known to have
    /// disconnected: its connection is closed.
    fn peer_ended(&self);
    fn resume(&mut self, reply: &[u8], out: &mut Output);
    /// After [`Step::HandOver`]: the connection has left its worker; `socket` is what remains of it.
    fn hand_over(&mut self, socket: Box<dyn WatchSink>);
    fn waiting_state(&self) -> ConnState;
    fn mid_request(&self) -> bool;
    fn awaits_login(&self, shared: &Shared) -> bool;
    fn refuse_late(&mut self, shared: &Shared, out: &mut Output);
}

impl Handler for Session {
    fn new(protocol: Protocol) -> Self {
        Session::new(protocol)
    }

    #[inline]
    fn run(&mut self, cx: &mut Cx<'_>, input: &mut Input, out: &mut Output, budget: &mut u32) -> Step {
        Session::run(self, cx, input, out, budget)
    }

    #[inline]
    fn upload_target(&mut self) -> Option<&mut [u8]> {
        Session::upload_target(self)
    }

    fn uploaded(&mut self, n: usize) {
        Session::uploaded(self, n);
    }

    /// Without a load, a check or users the handle is dropped, which closes the connection.
    fn suspended(&mut self, shared: &Shared, peer: Option<SocketAddr>, remote: Remote) {
        if let Some(load) = self.take_load() {
            return load.then(Completion::new(move || remote.resume(Vec::new())));
        }
        if let (Some(check), Some(auth)) = (self.take_check(), &shared.auth) {
            let source = peer.map(|peer| peer.ip().to_canonical());
            let ticket = auth.submit(check, source, Box::new(move || remote.resume(Vec::new())));
            self.keep_ticket(ticket);
        }
    }

    fn peer_ended(&self) {
        Session::peer_ended(self);
    }

    fn resume(&mut self, reply: &[u8], out: &mut Output) {
        Session::resume(self, reply, out);
    }

    fn hand_over(&mut self, socket: Box<dyn WatchSink>) {
        Session::hand_over(self, socket);
    }

    #[inline]
    fn waiting_state(&self) -> ConnState {
        Session::waiting_state(self)
    }

    #[inline]
    fn mid_request(&self) -> bool {
        Session::mid_request(self)
    }

    fn awaits_login(&self, shared: &Shared) -> bool {
        Session::awaits_login(self, shared)
    }

    fn refuse_late(&mut self, shared: &Shared, out: &mut Output) {
        Session::refuse_late(self, shared, out);
    }
}
