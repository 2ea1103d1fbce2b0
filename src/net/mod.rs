//! Sockets and threads that serve them: bytes between clients and sessions.
//!
//! The main thread accepts ([`Acceptor`]) and hands connections to workers ([`Workers`]) over bounded
//! channels; a connection lives and dies on one worker. Knows of the protocols only what `proto::Session`
//! says; must not know `server`, which calls it.

mod listener;
mod open;

pub use listener::{ListenSocket, Listener};
pub use open::{OpenError, open};
