//! Sockets and threads that serve them: bytes between clients and sessions.
//!
//! The main thread accepts ([`Acceptor`]) and hands connections to workers ([`Workers`]) over bounded
//! channels; a connection lives and dies on one worker. Knows of the protocols only what [`Talk`]
//! says; must not know `server`, which calls it.

mod acceptor;
mod conn;
mod conns;
mod datagram;
mod deadlines;
mod desk;
mod hub;
mod listener;
mod notify;
mod open;
mod talk;
mod tls;
mod transport;
mod udp;
mod watching;
mod wheel;
mod worker;
mod workers;

pub use acceptor::Acceptor;
pub use datagram::{Allowance, Answerer, DATAGRAM_MAX, HEADER as DATAGRAM_HEADER, Sent, TurnEnd};
pub use listener::{ListenSocket, Listener};
pub use notify::Remote;
pub use open::{OpenError, open};
pub use talk::Talk;
pub use workers::{Dispatcher, Workers};
