//! One worker's connections by token.
//!
//! Owns them. A token is a slab slot and, in the upper half, the low 32 bits of the connection's number, which is never
//! reused: an event for a closed connection finds nothing, even when its slot is taken again. Knows nothing of what a
//! connection does; `worker` calls it.

use super::conn::Conn;
use slab::Slab;

/// Slots of a worker's first connections.
const SLOTS_MIN: usize = 16;

/// Connections of one worker.
pub(super) struct ConnSlots<S> {
    slab: Slab<Conn<S>>,
}

/// The token of connection number `id` in `slot`.
fn token(slot: usize, id: u64) -> usize {
    slot | (id as u32 as usize) << 32
}

/// Slot of `token`.
pub(super) fn slot(token: usize) -> usize {
    token & u32::MAX as usize
}

impl<S> ConnSlots<S> {
    pub(super) fn new() -> Self {
        Self { slab: Slab::new() }
    }

    /// Makes room for one more connection; false without memory. The slab grows by a call that ends the process if it
    /// is refused, so the same memory is first asked for by one that does not.
    pub(super) fn reserve_one(&mut self) -> bool {
        let (len, room) = (self.slab.len(), self.slab.capacity());
        if len == room {
            let slots = 2 * room.max(SLOTS_MIN);
            let probe = Vec::<(usize, Conn<S>)>::new().try_reserve_exact(slots);
            if probe.is_err() {
                return false;
            }
            self.slab.reserve_exact(slots - len);
        }
        true
    }

    /// Adds a connection, for which there is room, and returns its token.
    pub(super) fn insert(&mut self, conn: Conn<S>) -> usize {
        let id = conn.id();
        token(self.slab.insert(conn), id)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Conn<S>> {
        let slot = slot(at);
        self.slab.get_mut(slot).filter(|conn| token(slot, conn.id()) == at)
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<Conn<S>> {
        self.get_mut(at)?;
        self.slab.try_remove(slot(at))
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Number of slots; those of all connections are below.
    pub(super) fn span(&self) -> usize {
        self.slab.capacity()
    }

    /// Token of the connection in `slot`.
    pub(super) fn token_in(&self, slot: usize) -> Option<usize> {
        self.slab.get(slot).map(|conn| token(slot, conn.id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::notify::NewConn;
    use crate::net::transport::Transport;
    use crate::proto::{ConnInfo, ConnState, Protocol, Session};
    use std::sync::Arc;

    fn conn(id: u64) -> Conn<Session> {
        let (end, _) = mio::net::UnixStream::pair().unwrap();
        let info = Arc::new(ConnInfo::new(None, None, ConnState::NewCmd, 62));
        Conn::new(NewConn { transport: Transport::Unix(end), info, protocol: Protocol::Negotiating, id }, 62)
    }

    #[test]
    fn r1_5_a_stale_token_finds_nothing_though_its_slot_is_taken() {
        let mut table = ConnSlots::new();
        let old = table.insert(conn(1));
        assert!(table.get_mut(old).is_some());
        assert!(table.remove(old).is_some());
        let new = table.insert(conn(2));
        assert_eq!(slot(old), slot(new));
        assert!(table.get_mut(old).is_none() && table.remove(old).is_none());
        assert!(table.get_mut(new).is_some());
        assert_eq!((0..2).filter_map(|slot| table.token_in(slot)).collect::<Vec<_>>(), [new]);
    }

    #[test]
    fn r1_5_numbers_beyond_32_bits_make_tokens_like_any_other() {
        let mut table = ConnSlots::new();
        for id in (1 << 32) - 3..(1 << 32) + 3 {
            let old = table.insert(conn(id));
            assert!(table.remove(old).is_some());
            let new = table.insert(conn(id + 1));
            assert!(table.get_mut(old).is_none() && table.get_mut(new).is_some_and(|conn| conn.id() == id + 1));
            assert!(!crate::net::udp::Datagrams::<Session>::owns(new) && new != crate::net::notify::BELL.0);
            assert!(table.remove(new).is_some());
        }
    }

    #[test]
    fn reserved_slots_are_there() {
        let mut table = ConnSlots::new();
        for id in 0..1000 {
            assert!(table.reserve_one());
            let span = table.span();
            table.insert(conn(id));
            assert_eq!(table.span(), span, "the slab has grown by itself");
        }
    }

    #[test]
    fn idle_connections_stay_small() {
        // With debug assertions, mio's sockets record their poll.
        let mio = if cfg!(debug_assertions) { 8 } else { 0 };
        assert!(size_of::<Conn<()>>() <= 64 + mio);
        assert!(size_of::<Session>() <= 56);
    }
}
