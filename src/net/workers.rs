//! All workers: starting them, handing connections to them, stopping them.
//!
//! Owns the threads. Must not know what a worker does. `server` starts and stops, `acceptor` dispatches.

use super::handler::Handler;
use super::napi::QueueWorkers;
use super::notify::{Mailbox, Message, WorkerEnd, mailbox};
use super::worker::Worker;
use crate::proto::{Session, Shared};
use crate::sys::sandbox::{Role, confine};
use crate::sys::{error_text, panics};
use mio::Poll;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

/// Descriptors that memcached reserves for each worker and shows as `reserved_fds`.
const RESERVED_FDS: u64 = 5;

/// The running workers. Dropping this without a stop leaves them running.
pub struct Workers {
    boxes: Arc<[Mailbox]>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Workers {
    /// Starts `settings.num_threads` workers.
    pub fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        Self::start_talking::<Session>(shared)
    }

    /// As [`Workers::start`], with another [`Handler`] in place of the product's sessions.
    pub fn start_talking<S: Handler>(shared: &Arc<Shared>) -> io::Result<Self> {
        let (mut boxes, mut threads) = (Vec::new(), Vec::new());
        for number in 0..shared.settings.num_threads.max(1) as usize {
            match start_one::<S>(shared, number) {
                Ok((to, thread)) => {
                    boxes.push(to);
                    threads.push(thread);
                }
                Err(error) => {
                    Self { boxes: boxes.into(), threads, shared: Arc::clone(shared) }.stop();
                    return Err(error);
                }
            }
        }
        Ok(Self { boxes: boxes.into(), threads, shared: Arc::clone(shared) })
    }

    /// Handle that passes connections to these workers.
    pub fn dispatcher(&self) -> Dispatcher {
        let by_queue = self.shared.settings.num_napi_ids > 0;
        Dispatcher {
            boxes: Arc::clone(&self.boxes),
            next: 0,
            queues: by_queue.then(|| QueueWorkers::new(self.boxes.len())),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Asks every worker for a sign of life, which each gives when it comes back to its poll.
    pub fn ask_pulse(&self) {
        self.boxes.iter().for_each(Mailbox::ask_pulse);
    }

    /// Whether every worker has given the sign of life that was asked for last.
    pub fn have_pulse(&self) -> bool {
        self.boxes.iter().all(Mailbox::has_pulse)
    }

    /// Makes the workers close connections as they come to rest. No connection may be dispatched afterwards.
    pub fn drain(&self) {
        self.boxes.iter().for_each(|to| to.end(WorkerEnd::Drain));
    }

    /// Connections left after [`Workers::drain`]; `None` until every worker has counted its own.
    pub fn left(&self) -> Option<usize> {
        self.boxes.iter().map(Mailbox::left).sum()
    }

    /// Closes every connection at once and waits for the threads.
    pub fn stop(self) {
        self.end(WorkerEnd::Drop);
    }

    /// Gives pipelines in progress one more turn, then as [`Workers::stop`].
    pub fn stop_gracefully(self) {
        self.end(WorkerEnd::Graceful);
    }

    fn end(self, how: WorkerEnd) {
        for to in self.boxes.iter() {
            to.end(how);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a worker had panicked");
            }
        }
    }
}

fn start_one<S: Handler>(shared: &Arc<Shared>, number: usize) -> io::Result<(Mailbox, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let (to, from) = mailbox(poll.registry())?;
    let worker = Worker::<S>::new(shared, number, poll, (to.clone(), from))?;
    shared.stats.globals.reserved_fds.fetch_add(RESERVED_FDS, Relaxed);
    let thread = std::thread::Builder::new().name("mc-worker".into()).spawn(move || {
        confine(Role::Worker);
        if let Err(error) = worker.run() {
            panics::fatal(format_args!("worker {number} cannot poll: {}", error_text(&error)));
        }
    })?;
    Ok((to, thread))
}

/// Hands sockets to workers, round robin, or by receive queue with `-N`. Never blocks.
pub struct Dispatcher {
    boxes: Arc<[Mailbox]>,
    next: usize,
    /// `None` without `-N`.
    queues: Option<QueueWorkers>,
    shared: Arc<Shared>,
}

impl Dispatcher {
    /// Sends to the worker of its receive queue, or to the next one that takes the message. False if none does: then
    /// the socket of the message is closed.
    pub(super) fn dispatch(&mut self, mut message: Message) -> bool {
        if let Some(queues) = &mut self.queues
            && let Some(worker) = queues.worker(message.fd(), &self.shared.stats.globals)
        {
            match self.boxes[worker].send(message) {
                Ok(()) => return true,
                Err(back) => message = back,
            }
        }
        for _ in 0..self.boxes.len() {
            let to = &self.boxes[self.next];
            self.next = (self.next + 1) % self.boxes.len();
            match to.send(message) {
                Ok(()) => return true,
                Err(back) => message = back,
            }
        }
        false
    }

    /// Number of workers.
    pub(super) fn workers(&self) -> usize {
        self.boxes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::net::notify::NewConn;
    use crate::net::transport::Transport;
    use crate::proto::{ConnInfo, ConnState, Protocol};
    use crate::settings::Settings;
    use std::io::{BufRead, BufReader, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    /// Descriptors of this process that are open on `path`.
    fn open_on(path: &std::path::Path) -> usize {
        let links =
            std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| entry.unwrap().path().read_link().ok());
        links.filter(|link| link == path).count()
    }

    #[test]
    fn r2_6_a_connection_that_cannot_be_registered_closes_only_itself() {
        let settings = Settings { num_threads: 1, ..Settings::default() };
        let shared = Arc::new(Shared::new(settings, Clock::real(), Box::new(|_| ())).unwrap());
        let workers = Workers::start(&shared).unwrap();
        let mut dispatcher = workers.dispatcher();
        let mut hand = |transport, id| {
            let info = Arc::new(ConnInfo::new(None, None, ConnState::NewCmd, shared.clock.now()));
            let new = NewConn { transport, info: Arc::clone(&info), protocol: Protocol::Negotiating, id };
            assert!(dispatcher.dispatch(Message::Conn(new)));
            info
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let good = hand(Transport::Unix(mio::net::UnixStream::from_std(theirs)), 1);
        // A poll refuses regular files.
        let file = tempfile::NamedTempFile::new().unwrap();
        let descriptor = OwnedFd::from(file.reopen().unwrap());
        assert_eq!(open_on(file.path()), 2);
        let bad = hand(Transport::Tcp(mio::net::TcpStream::from_std(descriptor.into())), 2);
        let end = Instant::now() + Duration::from_secs(20);
        while Arc::strong_count(&bad) > 1 || open_on(file.path()) > 1 {
            assert!(Instant::now() < end, "the connection still holds something");
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut replies = BufReader::new(ours);
        replies.get_mut().write_all(b"mn\r\n").unwrap();
        let mut line = String::new();
        replies.read_line(&mut line).unwrap();
        assert_eq!(line, "MN\r\n");
        let globals = &shared.stats.globals;
        assert_eq!((globals.curr_conns.load(Relaxed), globals.total_conns.load(Relaxed)), (1, 2));
        assert_eq!(shared.conns.list().len(), 1);
        workers.stop();
        assert_eq!(Arc::strong_count(&good), 1);
    }
}
