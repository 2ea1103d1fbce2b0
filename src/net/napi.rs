//! Which worker serves the clients of which receive queue of the network card, for `-N`.
//!
//! Owns the assignment. A NAPI id names a receive queue: the first client of a queue takes the next worker that has no
//! queue, and later clients of that queue get the same one. Must not know how connections are handed over. Called by
//! the dispatcher.

use crate::stats::Globals;
use crate::sys::socket::incoming_napi_id;
use std::num::NonZeroU32;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering::Relaxed;

/// Queues by worker.
pub(super) struct QueueWorkers {
    workers: usize,
    /// Queue of worker `n`, for the workers that have one.
    queues: Vec<NonZeroU32>,
}

impl QueueWorkers {
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, queues: Vec::new() }
    }

    /// Worker for a client; `None` if it came through no queue, as from the machine itself. Then any may serve it.
    pub(super) fn worker(&mut self, client: RawFd, globals: &Globals) -> Option<usize> {
        let Some(queue) = incoming_napi_id(client).ok().and_then(NonZeroU32::new) else {
            globals.round_robin_fallback.fetch_add(1, Relaxed);
            return None;
        };
        let (worker, is_unexpected) = self.assign(queue);
        globals.unexpected_napi_ids.fetch_add(u64::from(is_unexpected), Relaxed);
        Some(worker)
    }

    /// Worker of `queue`; and true if there are more queues than workers, so that all were assigned again.
    fn assign(&mut self, queue: NonZeroU32) -> (usize, bool) {
        if let Some(worker) = self.queues.iter().position(|other| *other == queue) {
            return (worker, false);
        }
        let is_unexpected = self.queues.len() == self.workers;
        if is_unexpected {
            self.queues.clear();
        }
        self.queues.push(queue);
        (self.queues.len() - 1, is_unexpected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_keeps_its_worker_until_there_are_too_many() {
        let mut workers = QueueWorkers::new(2);
        let mut assign = |queue| workers.assign(NonZeroU32::new(queue).unwrap());
        assert_eq!([assign(7), assign(9), assign(7), assign(9)], [(0, false), (1, false), (0, false), (1, false)]);
        // A third queue: all workers are assigned again, in the order of clients.
        assert_eq!([assign(8), assign(7), assign(8)], [(0, true), (1, false), (0, false)]);
        assert_eq!([assign(9), assign(9)], [(0, true), (0, false)]);
    }

    #[test]
    fn clients_of_the_machine_itself_have_no_queue() {
        use std::os::fd::AsRawFd;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let globals = Globals::default();
        assert_eq!(QueueWorkers::new(1).worker(accepted.as_raw_fd(), &globals), None);
        assert_eq!(globals.round_robin_fallback.load(Relaxed), 1);
    }
}
