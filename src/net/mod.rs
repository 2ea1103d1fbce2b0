//! Sockets, workers and connections: moves bytes between clients and sessions.
//!
//! The main thread accepts ([`Acceptor`]) and hands connections to workers ([`Workers`]) over bounded channels. A
//! connection stays on one worker until it closes. Knows of the protocols only the [`Handler`] trait; must not know
//! `server`, which calls it.

mod acceptor;
mod bind;
mod conn;
mod conns;
mod datagram;
mod deadlines;
mod drain;
mod handler;
mod inherited;
mod interest;
mod late_events;
mod listener;
mod napi;
mod notify;
mod shared_buffers;
mod tls;
mod transport;
mod udp;
mod watcher_socket;
mod wheel;
mod worker;
mod worker_context;
mod workers;

pub use acceptor::Acceptor;
pub use bind::{BindError, open};
pub use datagram::{Allowance, Answerer, DATAGRAM_MAX, HEADER as DATAGRAM_HEADER, SendOutcome, TurnEnd};
pub use handler::Handler;
pub use inherited::adopt;
pub use listener::{ListenSocket, Listener};
pub use notify::Remote;
pub use workers::{Dispatcher, Workers};
