//! One worker: an event loop that gives its connections their turns.
//!
//! Owns its poll, connections, ready queue and deadlines; a connection stays here until it closes. Must not know
//! protocols. `workers` starts it on its own thread.

use super::conn::{After, Awaits, Conn};
use super::conns::ConnSlots;
use super::deadlines::{Deadlines, Limit, Verdict};
use super::handler::Handler;
use super::notify::{BELL, Inbox, LateEvent, Mailbox, Message, NewConn, Resume, WorkerEnd};
use super::shared_buffers::NoMemory;
use super::transport::Peer;
use super::udp::Datagrams;
use super::worker_context::{WorkerContext, is_verbose, say};
use crate::proto::{CloseReason, Protocol, Shared};
use crate::stats::Counter;
use crate::sys::panics::{Panicked, contain, trap};
use mio::event::Event;
use mio::{Events, Poll};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Maximum events of one poll.
const EVENTS: usize = 1024;

/// Maximum connections judged between two polls.
const JUDGED_MAX: usize = 256;

/// Time in which a graceful stop still gives turns, to events that have arrived and to pipelines.
const GRACE: Duration = Duration::from_millis(250);

/// One event loop.
pub(super) struct Worker<S> {
    poll: Poll,
    pub(super) inbox: Inbox,
    pub(super) context: WorkerContext,
    pub(super) conns: ConnSlots<S>,
    udp: Datagrams<S>,
    /// Connections that have more to do after others had their turn; each at most once.
    ready: VecDeque<usize>,
    /// `None` if no state of a connection has a limit.
    deadlines: Option<Deadlines>,
    /// When a graceful stop was first seen.
    ending: Option<Instant>,
}

impl<S: Handler> Worker<S> {
    pub(super) fn new(shared: &Arc<Shared>, number: usize, poll: Poll, boxes: (Mailbox, Inbox)) -> io::Result<Self> {
        let registry = poll.registry().try_clone()?;
        Ok(Self {
            poll,
            inbox: boxes.1,
            context: WorkerContext::new(shared, number, registry, boxes.0),
            conns: ConnSlots::new(),
            udp: Datagrams::new(),
            ready: VecDeque::new(),
            deadlines: Deadlines::new(shared, shared.clock.now()),
            ending: None,
        })
    }

    /// Serves until a stop is requested, then closes everything.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let end = loop {
            self.round(&mut events, self.timeout())?;
            match self.inbox.end() {
                WorkerEnd::No => {}
                WorkerEnd::Drain => break self.drain(&mut events)?,
                end => break end,
            }
        };
        self.end(end);
        Ok(())
    }

    /// Polls once and gives the turns that are due.
    #[inline]
    pub(super) fn round(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        self.context.buffers.publish(&self.context.shared.stats.globals);
        self.context.buffers.bound_replies(&self.context.shared.stats.globals, self.context.replies_max);
        // Snapshot the queue length: connections that are queued later run after the next poll.
        let queued = self.ready.len();
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        self.context.clock.follow(self.context.shared.clock.now());
        self.context.trace.follow(&self.context.shared.runtime);
        for event in events.iter() {
            if event.token() == BELL {
                self.clear_wakeup();
            } else {
                self.event(event);
            }
            if self.is_over() {
                break;
            }
        }
        for _ in 0..queued {
            if self.is_over() {
                break;
            }
            if let Some(token) = self.ready.pop_front() {
                self.run_queued(token);
            }
        }
        self.judge(events);
        Ok(())
    }

    /// Whether to stop giving turns: at once on `WorkerEnd::Drop`, `GRACE` after `WorkerEnd::Graceful` was seen.
    /// Checked between any two turns.
    #[inline]
    pub(super) fn is_over(&mut self) -> bool {
        match self.inbox.end() {
            WorkerEnd::No | WorkerEnd::Drain => false,
            WorkerEnd::Drop => true,
            WorkerEnd::Graceful => self.ending.get_or_insert_with(Instant::now).elapsed() >= GRACE,
        }
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadlines = self.deadlines.as_ref().filter(|deadlines| !deadlines.is_empty())?;
        Some(if deadlines.is_due() { Duration::ZERO } else { Duration::from_secs(1) })
    }

    pub(super) fn clear_wakeup(&mut self) {
        self.inbox.clear_wakeup();
        let mut new_conns = 0;
        while let Ok(message) = self.inbox.messages.try_recv() {
            match message {
                Message::Conn(new) => {
                    new_conns += 1;
                    self.welcome(new, new_conns <= EVENTS);
                }
                Message::Udp(new) => self.udp.open(new, &self.context),
            }
            if self.is_over() {
                break;
            }
        }
        self.context.trace.pause();
        while let Ok(resume) = self.inbox.replies.try_recv() {
            self.resume(resume);
        }
    }

    fn event(&mut self, event: &Event) {
        let token = event.token().0;
        if Datagrams::<S>::owns(token) {
            self.udp_turn(token, event.is_writable());
            return;
        }
        let Some(conn) = self.conns.get_mut(token) else { return };
        conn.peer = conn.peer.max(if event.is_error() || event.is_write_closed() {
            Peer::Gone
        } else if event.is_read_closed() {
            Peer::Ended
        } else {
            Peer::Open
        });
        conn.readable |= event.is_readable() || conn.peer >= Peer::Ended;
        conn.urgent |= event.is_priority();
        // Writable events are ignored while nothing is blocked: a write that blocks causes its own event.
        let writable = event.is_writable() || conn.peer == Peer::Gone;
        if conn.awaits != Awaits::Nothing && conn.peer == Peer::Gone {
            // No late reply can reach the peer.
            return self.close(token, CloseReason::Error);
        }
        if conn.awaits == Awaits::Reply && conn.peer == Peer::Ended {
            conn.peer_ended();
        }
        let wanted = if conn.blocked { writable } else { conn.readable && conn.awaits != Awaits::Reply };
        if wanted && !conn.queued {
            self.drive(token);
        }
    }

    /// Runs the next turn of a queued connection or datagram socket.
    fn run_queued(&mut self, token: usize) {
        if Datagrams::<S>::owns(token) {
            self.udp.dequeue(token);
            self.udp_turn(token, false);
        } else if let Some(conn) = self.conns.get_mut(token) {
            conn.queued = false;
            self.drive(token);
        }
    }

    fn udp_turn(&mut self, token: usize, writable: bool) {
        self.context.begin_timing();
        let turn = contain(|| self.udp.turn(token, writable, &self.context));
        self.context.end_timing(|| self.udp.fd(token));
        self.context.trace.set_sender(None);
        // After a panic there may be more datagrams as well, and no event for them.
        let more = turn.unwrap_or_else(|_| {
            log::error!("a datagram made its session panic; it is dropped");
            true
        });
        if more && self.udp.enqueue(token) {
            self.ready.push_back(token);
        }
    }

    /// Gives a connection its turn.
    fn drive(&mut self, token: usize) {
        self.context.begin_timing();
        let turn = self.contained_turn(token);
        self.context.end_timing(|| self.conns.get_mut(token).map_or(-1, |conn| conn.fd()));
        self.settle(token, turn);
    }

    /// A connection's turn. A panic closes only that connection.
    #[inline]
    fn contained_turn(&mut self, token: usize) -> Result<Option<After>, Panicked> {
        contain(|| {
            self.seat(token);
            let conn = self.conns.get_mut(token)?;
            Some(conn.turn(token, &mut self.context))
        })
    }

    /// Does what a turn asks for.
    #[inline]
    fn settle(&mut self, token: usize, turn: Result<Option<After>, Panicked>) {
        match turn {
            Ok(Some(After::Wait)) => {
                self.context.buffers.rise();
                self.note_blocked(token);
            }
            Ok(Some(After::Requeue)) => {
                self.context.buffers.rise();
                if let Some(conn) = self.conns.get_mut(token) {
                    conn.queued = true;
                    self.ready.push_back(token);
                }
            }
            Ok(Some(After::HandOver)) => self.hand_over(token),
            Ok(Some(After::Close(reason))) => self.close(token, reason),
            Ok(None) => {}
            Err(_) => {
                log::error!("a connection made its worker panic; it is closed");
                self.close(token, CloseReason::Error);
            }
        }
    }

    /// Schedules a blocked connection to be judged at its write limit.
    #[inline]
    fn note_blocked(&mut self, token: usize) {
        if let Some(deadlines) = self.deadlines.as_mut().filter(|deadlines| deadlines.limit_writes())
            && let Some(since) = self.conns.get_mut(token).and_then(|conn| conn.blocked_since())
        {
            deadlines.blocked(token, since);
        }
    }

    /// Gives `token` the shared buffers; the previous owner keeps what is left of its bytes.
    #[inline]
    fn seat(&mut self, token: usize) {
        let owner = self.context.buffers.owner();
        if owner == Some(token) {
            return;
        }
        match owner.map(|owner| self.conns.get_mut(owner)) {
            Some(Some(conn)) => match self.context.buffers.vacate(conn.queued) {
                Ok(kept) => conn.kept = kept,
                Err(NoMemory) => self.drop_owner(),
            },
            // Closing wipes the buffers. If an owner is gone without that, its bytes must not reach the next one.
            Some(None) => self.context.buffers.wipe(),
            None => {}
        }
        if let Some(conn) = self.conns.get_mut(token) {
            self.context.buffers.seat(token, conn.kept.take());
        }
    }

    /// Closes the owner of the shared buffers: there is no memory for its unanswered input.
    #[cold]
    fn drop_owner(&mut self) {
        self.context.counters.add(Counter::ReadBufOom, 1);
        self.context.shared.stats.globals.malloc_fails.fetch_add(1, Relaxed);
        if let Some(owner) = self.context.buffers.owner() {
            self.close(owner, CloseReason::Error);
        }
    }

    /// Reserves room for one more connection in every table, so that none grows later on its account; false without
    /// memory. `ready` may hold tokens of closed connections, so it gets free places for all open ones besides.
    fn has_room(&mut self) -> bool {
        let queued = self.conns.len() + self.udp.len() + 1;
        self.conns.reserve_one()
            && self.ready.try_reserve(queued).is_ok()
            && self.deadlines.as_mut().is_none_or(|deadlines| deadlines.reserve(self.conns.span()))
    }

    /// Adds a new connection, or closes it without memory. `reads`: it gets its first turn before it is registered.
    fn welcome(&mut self, new: NewConn, reads: bool) {
        trap("worker");
        let shared = Arc::clone(&self.context.shared);
        if !self.has_room() {
            // Dropping the message closes the socket.
            shared.stats.globals.malloc_fails.fetch_add(1, Relaxed);
            log::warn!("no memory for connection {}; it is closed", new.id);
            return;
        }
        let protocol = new.protocol;
        let conn = Conn::new(new, self.context.clock.now());
        let fd = conn.fd();
        shared.conns.insert(fd, Arc::clone(conn.info()));
        shared.stats.globals.curr_conns.fetch_add(1, Relaxed);
        shared.stats.globals.total_conns.fetch_add(1, Relaxed);
        if is_verbose(&shared, 2) {
            say(&match protocol {
                Protocol::Negotiating => format!("<{fd} new auto-negotiating client connection"),
                Protocol::Ascii => format!("<{fd} new ascii client connection."),
                Protocol::Binary => format!("<{fd} new binary client connection."),
            });
        }
        conn.announce(&self.context);
        let token = self.conns.insert(conn);
        if reads {
            self.first_turn(token);
        }
        if let Some(conn) = self.conns.get_mut(token)
            && let Err(error) = conn.register(&self.context, token)
        {
            log::error!("registering a connection: {error}");
            self.close(token, CloseReason::Error);
            return;
        }
        self.judge_one(token);
    }

    /// Serves the request that most clients have sent by the time their connection is accepted. A client that has
    /// closed by then, or asks for it, is never registered. A turn that finds no byte is not recorded.
    fn first_turn(&mut self, token: usize) {
        self.context.begin_timing();
        let turn = self.contained_turn(token);
        if self.context.turn_bytes > 0 {
            self.context.end_timing(|| self.conns.get_mut(token).map_or(-1, |conn| conn.fd()));
        }
        self.settle(token, turn);
    }

    fn resume(&mut self, Resume { token, event }: Resume) {
        match event {
            LateEvent::Reply(reply) => self.answer(token, reply),
            LateEvent::Slot(slot) => self.deliver(token, |conn, context| conn.complete(slot, context)),
            LateEvent::Commit(commit, outcome) => {
                self.deliver(token, |_, context| Conn::<S>::end_commit(commit, outcome, context));
            }
        }
    }

    /// Passes a late event to its connection and sends what no longer waits. `take` is false if the connection must be
    /// closed.
    fn deliver(&mut self, token: usize, take: impl FnOnce(&mut Conn<S>, &mut WorkerContext) -> bool) {
        if self.conns.get_mut(token).is_none() {
            return;
        }
        let filled = contain(|| {
            self.seat(token);
            self.conns.get_mut(token).is_some_and(|conn| take(conn, &mut self.context))
        });
        match filled {
            Ok(true) => self.drive(token),
            Ok(false) => self.close(token, CloseReason::Error),
            Err(_) => {
                log::error!("a late reply made its worker panic; its connection is closed");
                self.close(token, CloseReason::Error);
            }
        }
    }

    /// Gives a suspended connection its reply.
    fn answer(&mut self, token: usize, reply: Option<Vec<u8>>) {
        if !self.conns.get_mut(token).is_some_and(|conn| conn.awaits == Awaits::Reply) {
            return;
        }
        let Some(reply) = reply else { return self.close(token, CloseReason::Error) };
        let taken = contain(|| {
            self.seat(token);
            self.conns.get_mut(token).is_some_and(|conn| {
                conn.resume(&reply, &mut self.context.buffers.output);
                let Some(deadlines) = &self.deadlines else { return false };
                let verdict = deadlines.limits.judge(&conn.since(&self.context), self.context.clock.now());
                if verdict != Verdict::Late(Limit::Login) {
                    return false;
                }
                // The check began in time, so its result decides; after a failed one there is no other attempt.
                conn.conclude(token, &mut self.context);
                conn.awaits_login(&self.context)
            })
        });
        match taken {
            Ok(false) => self.drive(token),
            Ok(true) => self.refuse_late(token),
            Err(_) => {
                log::error!("a late reply made its worker panic; its connection is closed");
                self.close(token, CloseReason::Error);
            }
        }
    }

    /// Judges connections with a deadline that passed before the poll that returned `events`, at most `JUDGED_MAX`.
    fn judge(&mut self, events: &Events) {
        let Some(deadlines) = &mut self.deadlines else { return };
        if !deadlines.all_served(events.iter().count(), EVENTS, self.conns.len()) {
            return;
        }
        for _ in 0..JUDGED_MAX {
            let Some(token) = self.deadlines.as_mut().and_then(Deadlines::pop) else { break };
            self.judge_one(token);
        }
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.turn(self.context.clock.now());
        }
    }

    /// Closes a connection that has been in some state for too long, or schedules the next check.
    fn judge_one(&mut self, token: usize) {
        let (Some(deadlines), Some(conn)) = (&mut self.deadlines, self.conns.get_mut(token)) else { return };
        match deadlines.limits.judge(&conn.since(&self.context), self.context.clock.now()) {
            Verdict::Free => {}
            Verdict::Until(second) => deadlines.schedule(token, second),
            Verdict::Late(Limit::Handshake) => {
                conn.too_slow(&self.context);
                self.close(token, CloseReason::Error);
            }
            Verdict::Late(Limit::Login) => self.refuse_late(token),
            Verdict::Late(Limit::Write) => {
                self.context.counters.add(Counter::WriteTimeouts, 1);
                conn.abandon();
                self.close(token, CloseReason::Error);
            }
            Verdict::Late(Limit::Idle) => {
                self.context.counters.add(Counter::IdleKicks, 1);
                self.close(token, CloseReason::IdleTimeout);
            }
        }
    }

    fn refuse_late(&mut self, token: usize) {
        self.context.counters.add(Counter::AuthTimeouts, 1);
        self.seat(token);
        if let Some(conn) = self.conns.get_mut(token) {
            conn.refuse_late(token, &mut self.context);
        }
        self.close(token, CloseReason::Error);
    }

    /// Closes a connection; the only way to. A second call has no effect.
    pub(super) fn close(&mut self, token: usize, reason: CloseReason) {
        if let Some(conn) = self.take_out(token) {
            conn.end(&mut self.context, reason);
        }
    }

    /// Hands the connection over to the logger; drops its unread input.
    fn hand_over(&mut self, token: usize) {
        if let Some(conn) = self.take_out(token) {
            conn.hand_over(&mut self.context);
        }
    }

    fn take_out(&mut self, token: usize) -> Option<Conn<S>> {
        let conn = self.conns.remove(token)?;
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.remove(token);
        }
        if self.context.buffers.owner() == Some(token) {
            self.context.buffers.wipe();
        }
        self.context.trace.pause();
        Some(conn)
    }

    /// Closes everything. A graceful stop first gives queued pipelines one more turn.
    fn end(&mut self, end: WorkerEnd) {
        if end == WorkerEnd::Graceful {
            for _ in 0..self.ready.len() {
                if let Some(token) = self.ready.pop_front().filter(|_| !self.is_over()) {
                    self.run_queued(token);
                }
            }
        }
        for slot in 0..self.conns.span() {
            if let Some(token) = self.conns.token_in(slot) {
                self.close(token, CloseReason::Shutdown);
            }
        }
        self.udp.close(&self.context);
        self.context.buffers.publish(&self.context.shared.stats.globals);
        // Messages in flight own their sockets: dropping them closes those.
        while self.inbox.messages.try_recv().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::net::notify::mailbox;
    use crate::net::transport::Transport;
    use crate::proto::{ConnInfo, ConnState, Session};
    use crate::settings::Settings;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn worker(settings: Settings) -> Worker<Session> {
        let settings = Settings { num_threads: 1, ..settings };
        let shared = Arc::new(Shared::new(settings, Clock::manual(0), Box::new(|_| ())).unwrap());
        let poll = Poll::new().unwrap();
        let boxes = mailbox(poll.registry()).unwrap();
        Worker::new(&shared, 0, poll, boxes).unwrap()
    }

    /// A new connection on `end`.
    fn new_conn(transport: Transport) -> NewConn {
        let info = Arc::new(ConnInfo::new(None, None, ConnState::NewCmd, 0));
        NewConn { transport, info, protocol: Protocol::Negotiating, id: 1 }
    }

    /// A connected pair; the server's end last.
    fn unix() -> (UnixStream, Transport) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (ours, Transport::Unix(mio::net::UnixStream::from_std(theirs)))
    }

    fn reply(client: &mut impl Read, expected: &str) {
        let mut bytes = vec![0; expected.len()];
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }

    #[test]
    fn a_request_that_came_with_its_connection_needs_no_event() {
        let (mut worker, (mut ours, theirs)) = (worker(Settings::default()), unix());
        ours.write_all(b"mn\r\n").unwrap();
        worker.welcome(new_conn(theirs), true);
        reply(&mut ours, "MN\r\n");
        // Later ones come by events, and so does the end.
        let mut events = Events::with_capacity(4);
        ours.write_all(b"mn\r\n").unwrap();
        worker.round(&mut events, Some(Duration::from_secs(20))).unwrap();
        reply(&mut ours, "MN\r\n");
        drop(ours);
        worker.round(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert_eq!(worker.conns.len(), 0);
    }

    #[test]
    fn a_connection_that_ends_in_its_first_turn_leaves_nothing() {
        for (request, expected) in [("mn\r\nquit\r\n", "MN\r\n"), ("", "")] {
            let (mut worker, (mut ours, theirs)) = (worker(Settings::default()), unix());
            ours.write_all(request.as_bytes()).unwrap();
            ours.shutdown(std::net::Shutdown::Write).unwrap();
            worker.welcome(new_conn(theirs), true);
            assert_eq!((worker.conns.len(), worker.ready.len()), (0, 0));
            assert_eq!(worker.context.shared.stats.globals.curr_conns.load(Relaxed), 0);
            reply(&mut ours, expected);
            assert_eq!(ours.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn replies_that_block_the_first_turn_are_sent_as_the_peer_reads() {
        let (mut worker, (mut ours, theirs)) = (worker(Settings::default()), unix());
        let value = "x".repeat(1_000_000);
        ours.write_all(format!("set k 0 0 {}\r\n", value.len()).as_bytes()).unwrap();
        let mut upload = ours.try_clone().unwrap();
        worker.welcome(new_conn(theirs), true);
        let (mut events, bytes) = (Events::with_capacity(4), format!("{value}\r\n"));
        let sender = std::thread::spawn(move || upload.write_all(bytes.as_bytes()).unwrap());
        while !sender.is_finished() {
            worker.round(&mut events, Some(Duration::from_millis(1))).unwrap();
        }
        worker.round(&mut events, Some(Duration::from_millis(1))).unwrap();
        reply(&mut ours, "STORED\r\n");
        let (mut second, theirs) = unix();
        second.write_all(b"get k\r\n").unwrap();
        worker.welcome(NewConn { id: 2, ..new_conn(theirs) }, true);
        let at = worker.conns.token_in(1).unwrap();
        assert!(worker.conns.get_mut(at).unwrap().blocked);
        let reader =
            std::thread::spawn(move || reply(&mut second, &format!("VALUE k 0 {}\r\n{value}\r\nEND\r\n", value.len())));
        while !reader.is_finished() {
            worker.round(&mut events, Some(Duration::from_millis(1))).unwrap();
        }
        reader.join().unwrap();
    }

    #[test]
    fn bytes_behind_an_urgent_mark_in_the_first_turn_are_reported() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.write_all(b"mn\r\n").unwrap();
        socket2::SockRef::from(&ours).send_out_of_band(b"!").unwrap();
        ours.write_all(b"mn\r\n").unwrap();
        while crate::sys::socket::unread(theirs.as_fd()).unwrap() < 4 {
            std::thread::yield_now();
        }
        let mut worker = worker(Settings::default());
        worker.welcome(new_conn(Transport::Tcp(mio::net::TcpStream::from_std(theirs))), true);
        reply(&mut ours, "MN\r\n");
        worker.round(&mut Events::with_capacity(4), Some(Duration::from_secs(20))).unwrap();
        reply(&mut ours, "MN\r\n");
    }

    #[test]
    fn a_worker_at_rest_has_no_timer() {
        let mut worker = worker(Settings { reqs_per_event: 2, ..Settings::default() });
        assert_eq!(worker.timeout(), None);
        let (mut ours, theirs) = unix();
        worker.welcome(new_conn(theirs), true);
        assert_eq!(worker.timeout(), None);
        ours.write_all(b"mn\r\nmn\r\nmn\r\nmn\r\nmn\r\n").unwrap();
        let token = worker.conns.token_in(0).unwrap();
        worker.conns.get_mut(token).unwrap().readable = true;
        worker.drive(token);
        assert_eq!(worker.timeout(), Some(Duration::ZERO), "commands wait");
        while let Some(token) = worker.ready.pop_front() {
            worker.run_queued(token);
        }
        assert_eq!(worker.timeout(), None);
        worker.close(token, CloseReason::Normal);
        assert_eq!(worker.timeout(), None);
    }
}
