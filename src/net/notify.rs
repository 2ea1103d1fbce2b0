//! How other threads reach a worker: channels, one waker, and the handle for a late reply.
//!
//! Owns messages in flight. A message owns its socket, so dropping a message closes the socket. Must not know what the
//! worker does with it. `acceptor` sends connections, [`Remote`] and [`Completion`] report late replies, `workers` asks
//! for the end.

use super::transport::Transport;
use crate::cache::{CommitNumber, CommitReport, Committed, Completion};
use crate::limits::WORKER_QUEUE;
use crate::proto::{Completions, ConnInfo, Protocol, SlotName};
use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::net::UdpSocket;
use mio::{Registry, Token};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

/// Token of the waker in every worker's poll; no connection's token has this slot.
pub(super) const BELL: Token = Token(usize::MAX);

/// An accepted connection on its way to its worker.
pub(super) struct NewConn {
    pub(super) transport: Transport,
    pub(super) info: Arc<ConnInfo>,
    pub(super) protocol: Protocol,
    /// Process-wide number of the connection, never reused.
    pub(super) id: u64,
}

/// A datagram socket (or a clone of one) on its way to its worker.
pub(super) struct NewUdp {
    pub(super) socket: UdpSocket,
    pub(super) info: Arc<ConnInfo>,
}

/// Message from the main thread.
pub(super) enum Message {
    Conn(NewConn),
    Udp(NewUdp),
}

impl Message {
    /// Descriptor of the socket.
    pub(super) fn fd(&self) -> RawFd {
        match self {
            Self::Conn(new) => new.transport.fd(),
            Self::Udp(new) => new.socket.as_raw_fd(),
        }
    }
}

/// What a connection waited for.
pub(super) enum LateEvent {
    /// The reply of a suspended connection; `None` if its source was dropped without one.
    Reply(Option<Vec<u8>>),
    /// The command in this slot must run again.
    Slot(SlotName),
    /// This commit has ended.
    Commit(CommitNumber, Committed),
}

/// A late event and its connection.
pub(super) struct Resume {
    pub(super) token: usize,
    pub(super) event: LateEvent,
}

/// Whether and how a worker ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum WorkerEnd {
    No,
    Drop,
    Graceful,
    /// Not the end yet: connections are closed as they come to rest.
    Drain,
}

struct Waker {
    inner: mio::Waker,
    /// Set by the first sender since the worker last cleared it: one system call wakes it for a whole batch.
    rung: AtomicBool,
    end: AtomicU8,
    /// A sign of life is asked for; the worker clears it when it comes back from its poll.
    pulse_awaited: AtomicBool,
    /// Connections left while draining; `UNCOUNTED` before.
    left: AtomicUsize,
}

/// The worker has not begun to drain.
const UNCOUNTED: usize = usize::MAX;

/// The senders' side. Clones are cheap.
#[derive(Clone)]
pub(super) struct Mailbox {
    /// At most `WORKER_QUEUE` messages: [`Mailbox::send`] looks before it sends, and only the main thread sends. A
    /// bounded channel would write to the memory of all its places at the start.
    messages: Sender<Message>,
    replies: Sender<Resume>,
    waker: Arc<Waker>,
}

/// The worker's side.
pub(super) struct Inbox {
    pub(super) messages: Receiver<Message>,
    /// Unbounded, but each connection has at most one reply and `OUTPUT_PINS` slots and commits in flight.
    pub(super) replies: Receiver<Resume>,
    waker: Arc<Waker>,
}

/// Makes both sides for the worker that polls with `registry`.
pub(super) fn mailbox(registry: &Registry) -> io::Result<(Mailbox, Inbox)> {
    let waker = Arc::new(Waker {
        inner: mio::Waker::new(registry, BELL)?,
        rung: AtomicBool::new(false),
        end: AtomicU8::new(WorkerEnd::No as u8),
        pulse_awaited: AtomicBool::new(false),
        left: AtomicUsize::new(UNCOUNTED),
    });
    let (messages, messages_in) = unbounded();
    let (replies, replies_in) = unbounded();
    let inbox = Inbox { messages: messages_in, replies: replies_in, waker: Arc::clone(&waker) };
    Ok((Mailbox { messages, replies, waker }, inbox))
}

impl Mailbox {
    /// Sends without blocking; returns the message when the queue is full or the worker has ended.
    pub(super) fn send(&self, message: Message) -> Result<(), Message> {
        if self.messages.len() >= WORKER_QUEUE {
            return Err(message);
        }
        self.messages.send(message).map_err(crossbeam_channel::SendError::into_inner)?;
        self.waker.ring();
        Ok(())
    }

    /// Asks the worker to end.
    pub(super) fn end(&self, how: WorkerEnd) {
        self.waker.end.store(how as u8, Release);
        self.waker.ring();
    }

    /// Asks for a sign of life.
    pub(super) fn ask_pulse(&self) {
        self.waker.pulse_awaited.store(true, Release);
        self.waker.ring();
    }

    /// Whether the worker has come back to its poll since [`Mailbox::ask_pulse`].
    pub(super) fn has_pulse(&self) -> bool {
        !self.waker.pulse_awaited.load(Acquire)
    }

    /// Connections left, once the worker drains.
    pub(super) fn left(&self) -> Option<usize> {
        Some(self.waker.left.load(Acquire)).filter(|left| *left != UNCOUNTED)
    }

    /// Handle for the late reply of connection `token`.
    pub(super) fn remote(&self, token: usize) -> Remote {
        Remote { mailbox: self.clone(), token, answered: false }
    }

    /// Handle for the outcome of a commit for which replies of connection `token` wait. Dropped unused, it reports a
    /// failure.
    pub(super) fn commit_report(&self, token: usize, commit: CommitNumber) -> CommitReport {
        let awaited = AwaitedCommit { mailbox: self.clone(), token, commit, outcome: Committed::Failed };
        Box::new(move |outcome| awaited.end(outcome))
    }

    fn post(&self, token: usize, event: LateEvent) {
        if self.replies.send(Resume { token, event }).is_ok() {
            self.waker.ring();
        }
    }
}

/// Reports the outcome of a commit when it is dropped.
struct AwaitedCommit {
    mailbox: Mailbox,
    token: usize,
    commit: CommitNumber,
    outcome: Committed,
}

impl AwaitedCommit {
    fn end(mut self, outcome: Committed) {
        self.outcome = outcome;
    }
}

impl Drop for AwaitedCommit {
    fn drop(&mut self) {
        self.mailbox.post(self.token, LateEvent::Commit(self.commit, self.outcome));
    }
}

/// Makes the completions of one connection's slots.
pub(super) struct SlotsOf<'a> {
    pub(super) mailbox: &'a Mailbox,
    pub(super) token: usize,
}

impl Completions for SlotsOf<'_> {
    fn completion(&self, slot: SlotName) -> Completion {
        let (mailbox, token) = (self.mailbox.clone(), self.token);
        Completion::new(move || mailbox.post(token, LateEvent::Slot(slot)))
    }
}

impl Inbox {
    /// Must be called before the queues are emptied: a later sender wakes the worker again.
    pub(super) fn clear_wakeup(&self) {
        self.waker.rung.swap(false, AcqRel);
        self.waker.pulse_awaited.store(false, Release);
    }

    /// Reports the connections left while draining.
    pub(super) fn set_left(&self, left: usize) {
        self.waker.left.store(left, Release);
    }

    pub(super) fn end(&self) -> WorkerEnd {
        match self.waker.end.load(Acquire) {
            0 => WorkerEnd::No,
            1 => WorkerEnd::Drop,
            2 => WorkerEnd::Graceful,
            _ => WorkerEnd::Drain,
        }
    }
}

impl Waker {
    fn ring(&self) {
        if self.rung.swap(true, AcqRel) {
            return;
        }
        let mut woken = self.inner.wake();
        while woken.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            woken = self.inner.wake();
        }
        if let Err(error) = woken {
            // The next sender tries again.
            self.rung.store(false, Release);
            log::error!("waking a worker: {error}");
        }
    }
}

/// The right to answer one suspended connection, once, from any thread. Dropping it unused closes that connection, so a
/// source that dies leaves no connection parked. If the connection has closed meanwhile, its token matches nothing and
/// the reply is discarded.
pub struct Remote {
    mailbox: Mailbox,
    token: usize,
    answered: bool,
}

impl Remote {
    /// Delivers the reply; never blocks.
    pub fn resume(mut self, reply: Vec<u8>) {
        self.answered = true;
        self.mailbox.post(self.token, LateEvent::Reply(Some(reply)));
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if !self.answered {
            self.mailbox.post(self.token, LateEvent::Reply(None));
        }
    }
}
