//! One connection: its socket, its readiness, and its turns at the worker's shared buffers.
//!
//! Owns the order of reading, running and writing, and the rule that a connection with unsent replies and a full send
//! buffer is neither read nor run. Must not know other connections or threads; `worker` gives it turns and does what
//! [`After`] asks for.
//!
//! ```text
//!            readable            lines             Read: replies written
//!   Wait ───────────────► fill ────────► run ──────────────────────────► fill … until drained ─► Wait
//!    ▲  ▲                                 │ Yield ─► Requeue
//!    │  └── writable: the rest is sent ───┤ Flush, or a write that blocks ─► Wait (blocked)
//!    └───── resumed ──────────────────────┤ Suspend ─► Wait (suspended)
//!                                         ├ Flush, but a slot or commit waits ─► Wait (until it is filled, or ends)
//!                                         ├ HandOver ─► HandOver
//!                                         ├ Close ─► Close, once every reply is written
//!                                         └ Abort, end of stream, error ─► Close
//! ```

use super::deadlines::Since;
use super::handler::Handler;
use super::interest::Watched;
use super::notify::{NewConn, SlotsOf};
use super::shared_buffers::ParkedBuffers;
use super::transport::{Peer, Transport};
use super::watcher_socket::{WatcherSocket, leave};
use super::worker_context::{WorkerContext, recycle, say};
use crate::events::Event;
use crate::limits::{HEADROOM, READ_BUF, REQUEST_CHARGE};
use crate::proto::{CloseReason, ConnInfo, ConnState, Cx, NO_READ_MEMORY, Step};
use crate::stats::Counter;
use crate::sys::headroom;
use crate::sys::socket::is_hung_up;
use std::io::{ErrorKind, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Maximum reads of one turn: a client that sends no commands (but a value to discard) must not occupy the worker.
const READS_MAX: u32 = 16;

/// Unsent reply bytes at which a yielding turn writes. More would only fall out of the CPU cache, and a peer that does
/// not read is detected while little waits for it.
const YIELD_WRITE: usize = 32 * 1024;

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// Nothing to do before the next event.
    Wait,
    /// More to do, after other connections.
    Requeue,
    /// The connection leaves the worker: a watcher from now on.
    HandOver,
    /// Close the connection.
    Close(CloseReason),
}

/// One connection of a worker. Small: an idle connection consists of this and its [`ConnInfo`].
pub(super) struct Conn<S> {
    pub(super) transport: Transport,
    id: u64,
    info: Arc<ConnInfo>,
    /// Bytes left over from the last turn while another connection uses the shared buffers.
    pub(super) kept: Option<Box<ParkedBuffers>>,
    /// Second of the last command, by the worker's clock.
    last_cmd: u32,
    /// Second of its arrival, by the worker's clock.
    born: u32,
    /// While blocked: second in which the peer last took something, by the worker's clock.
    taken: u32,
    state: ConnState,
    /// The socket may have bytes: it is new, or an event said so, and no read has drained it since.
    pub(super) readable: bool,
    /// The peer has sent urgent data: a short read does not prove a drained socket, see `transport`.
    pub(super) urgent: bool,
    pub(super) peer: Peer,
    /// A write of replies has filled the send buffer.
    pub(super) blocked: bool,
    /// What the connection waits for besides its peer.
    pub(super) awaits: Awaits,
    /// In the worker's ready queue.
    pub(super) queued: bool,
    /// Closes once the peer has taken its replies: nothing more is read or run.
    pub(super) closing: Option<CloseReason>,
    /// The session must run before anything is read.
    pub(super) run_first: bool,
    /// KiB charged against the read buffer limits.
    pub(super) charged: u16,
    pub(super) watched: Watched,
    pub(super) session: S,
}

/// What a connection waits for besides its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Awaits {
    Nothing,
    /// Suspended: it is neither read nor run until its late reply.
    Reply,
    /// Replies wait behind a slot that is not filled, or for a commit.
    Slot,
}

/// Result of one read.
enum Fill {
    Some,
    Drained,
    Ended,
    Failed,
    /// The input is full and must not grow.
    NoMemory,
}

/// Result of writing.
#[derive(PartialEq, Eq)]
enum WriteOutcome {
    All,
    Blocked,
    Failed,
}

impl<S: Handler> Conn<S> {
    pub(super) fn new(new: NewConn, now: u32) -> Self {
        Self {
            transport: new.transport,
            id: new.id,
            info: new.info,
            kept: None,
            last_cmd: now,
            born: now,
            taken: now,
            state: ConnState::NewCmd,
            // The first turn reads without an event.
            readable: true,
            urgent: false,
            peer: Peer::Open,
            blocked: false,
            awaits: Awaits::Nothing,
            queued: false,
            closing: None,
            run_first: false,
            charged: 0,
            watched: Watched::Nothing,
            session: S::new(new.protocol),
        }
    }

    /// Records `ConnNew` for watchers.
    pub(super) fn announce(&self, context: &WorkerContext) {
        context.tell(&Event::ConnNew { peer: self.info.peer, fd: self.fd() });
    }

    /// One turn: processes the available bytes within the budget of one event.
    pub(super) fn turn(&mut self, token: usize, context: &mut WorkerContext) -> After {
        let mut after = self.steps(token, context);
        self.await_commit(token, context);
        if self.awaits != Awaits::Reply {
            let behind_slot = !self.blocked && after == After::Wait && !context.buffers.output.is_empty();
            self.awaits = if behind_slot { Awaits::Slot } else { Awaits::Nothing };
        }
        if after == After::Wait && self.closing.is_none() && !self.charge(context) {
            after = self.refuse(token, context);
        }
        // A new connection whose first turn found nothing is still new.
        if self.watched == Watched::Nothing && context.turn_bytes == 0 && after == After::Wait {
            return after;
        }
        if after == After::Wait {
            let state = if self.blocked { ConnState::Mwrite } else { self.session.waiting_state() };
            if state != self.state {
                self.state = state;
                self.info.set_state(state);
            }
        }
        if context.shared.runtime.verbose() > 2 {
            self.print_states(after);
        }
        after
    }

    /// Prints the states that a turn went through, for `-vvv`. A turn has no separate steps, so they are printed
    /// together.
    #[cold]
    fn print_states(&self, after: After) {
        let last = match after {
            After::Wait => self.state,
            After::Requeue => ConnState::NewCmd,
            After::HandOver => ConnState::Watch,
            After::Close(_) => ConnState::Closing,
        };
        let states = [ConnState::Waiting, ConnState::Read, ConnState::ParseCmd, last];
        let mut text = String::new();
        for pair in states.windows(2) {
            let (from, to) = (pair[0].name(), pair[1].name());
            text.push_str(&format!("{}: going from {from} to {to}\n", self.fd()));
        }
        say(text.trim_end());
    }

    fn steps(&mut self, token: usize, context: &mut WorkerContext) -> After {
        // A suspended connection may have late replies to send.
        if self.blocked || self.closing.is_some() || self.awaits == Awaits::Reply {
            match (self.write(token, context), self.closing) {
                (WriteOutcome::All, None) => {}
                (WriteOutcome::All, Some(reason)) if context.buffers.output.is_empty() => return After::Close(reason),
                (WriteOutcome::All, Some(_)) => return After::Wait,
                (WriteOutcome::Blocked, _) => return After::Wait,
                (WriteOutcome::Failed, _) => return After::Close(CloseReason::Error),
            }
        }
        if self.awaits == Awaits::Reply {
            return After::Wait;
        }
        let mut budget = context.reqs_per_event;
        let mut reads = READS_MAX;
        context.begin_turn();
        let mut step = if self.run_first { self.run(token, context, &mut budget) } else { Step::Read };
        loop {
            self.run_first = !matches!(step, Step::Read);
            match step {
                Step::Read | Step::Flush => match self.write(token, context) {
                    // Behind a slot or a reply on hold there is no room for more: its end gives the next turn.
                    WriteOutcome::All if step == Step::Flush && has_more(context) => return After::Wait,
                    WriteOutcome::All => {}
                    WriteOutcome::Blocked => return After::Wait,
                    WriteOutcome::Failed => return After::Close(CloseReason::Error),
                },
                Step::Yield => {
                    if budget == 0 {
                        context.counters.add(Counter::ConnYields, 1);
                    }
                    return self.give_way(token, context);
                }
                Step::Suspend => return self.suspend(token, context),
                Step::HandOver => {
                    // The new owner does not know replies: they are sent now or lost.
                    let sent = self.write(token, context) == WriteOutcome::All && context.buffers.output.is_empty();
                    return if sent { After::HandOver } else { After::Close(CloseReason::Error) };
                }
                Step::Close(reason) => return self.finish(token, context, reason),
                Step::Abort(reason) => return After::Close(reason),
            }
            if self.run_first {
                // The peer takes replies as fast as they are made: without this check the turn would not end.
                if context.is_turn_over() {
                    if budget == 0 {
                        context.counters.add(Counter::ConnYields, 1);
                    }
                    return After::Requeue;
                }
            } else {
                // Using up the command budget ends the turn, whether or not more bytes have arrived.
                if budget == 0 {
                    context.counters.add(Counter::ConnYields, 1);
                    reads = 0;
                }
                if !self.readable {
                    return After::Wait;
                }
                if reads == 0 || reads < READS_MAX && context.is_turn_over() {
                    return After::Requeue;
                }
                reads -= 1;
                match self.fill(token, context) {
                    Fill::Some => {}
                    // Handshake records may fill the send buffer too.
                    Fill::Drained if self.write(token, context) == WriteOutcome::Failed => {
                        return After::Close(CloseReason::Error);
                    }
                    Fill::Drained => return After::Wait,
                    Fill::Ended if context.buffers.output.is_empty() => return After::Close(CloseReason::Normal),
                    Fill::Ended => return self.finish(token, context, CloseReason::Normal),
                    Fill::Failed => return After::Close(CloseReason::Error),
                    Fill::NoMemory => return self.refuse(token, context),
                }
            }
            step = self.run(token, context, &mut budget);
        }
    }

    /// Yields to other connections. Few replies stay and leave with those of the next turn.
    fn give_way(&mut self, token: usize, context: &mut WorkerContext) -> After {
        if context.buffers.output.remaining() >= YIELD_WRITE {
            match self.write(token, context) {
                WriteOutcome::All => {}
                WriteOutcome::Blocked => return After::Wait,
                WriteOutcome::Failed => return After::Close(CloseReason::Error),
            }
        }
        After::Requeue
    }

    /// Refuses a request that needs more input memory than there is or may be used: error reply, then close.
    fn refuse(&mut self, token: usize, context: &mut WorkerContext) -> After {
        context.counters.add(Counter::ReadBufOom, 1);
        if context.buffers.output.make_room() {
            context.buffers.output.put(NO_READ_MEMORY);
        }
        self.finish(token, context, CloseReason::Error)
    }

    /// Closes for `reason` once the peer has taken its replies. Drops unread input.
    fn finish(&mut self, token: usize, context: &mut WorkerContext, reason: CloseReason) -> After {
        context.buffers.input.reset();
        self.recharge(context, 0);
        match self.write(token, context) {
            WriteOutcome::All if context.buffers.output.is_empty() => After::Close(reason),
            WriteOutcome::All | WriteOutcome::Blocked => {
                self.closing = Some(reason);
                After::Wait
            }
            WriteOutcome::Failed => After::Close(CloseReason::Error),
        }
    }

    fn suspend(&mut self, token: usize, context: &mut WorkerContext) -> After {
        // No event has reported the peer of a new connection.
        if self.peer == Peer::Gone || self.watched == Watched::Nothing && is_hung_up(self.fd()) {
            return After::Close(CloseReason::Error);
        }
        self.awaits = Awaits::Reply;
        let sent = self.write(token, context);
        self.session.suspended(&context.shared, self.info.peer, context.mailbox.remote(token));
        if self.peer >= Peer::Ended {
            self.session.peer_ended();
        }
        if sent == WriteOutcome::Failed { After::Close(CloseReason::Error) } else { After::Wait }
    }

    /// While suspended: passes on that the peer has sent its last byte.
    pub(super) fn peer_ended(&self) {
        self.session.peer_ended();
    }

    /// Runs the session until the late reply is complete, and no later command.
    pub(super) fn conclude(&mut self, token: usize, context: &mut WorkerContext) {
        self.run(token, context, &mut 0);
    }

    fn run(&mut self, token: usize, context: &mut WorkerContext, budget: &mut u32) -> Step {
        let before = *budget;
        let WorkerContext { shared, counters, number, buffers, mailbox, trace, .. } = context;
        let slots = SlotsOf { mailbox, token };
        let cx = Cx::new(shared, counters, self.transport.fd()).of_worker(*number);
        let mut cx = cx.with_slots(&slots).in_turn(trace);
        let step = self.session.run(&mut cx, &mut buffers.input, &mut buffers.output, budget);
        if *budget != before {
            let now = context.clock.now();
            // `info` is another cache line, shared with readers: written once a second.
            if now != self.last_cmd {
                self.last_cmd = now;
                self.info.set_last_cmd(context.shared.clock.now());
            }
        }
        step
    }

    fn fill(&mut self, token: usize, context: &mut WorkerContext) -> Fill {
        let input = &context.buffers.input;
        if input.is_full() && !(self.recharge(context, input.next_size()) && grow(context)) {
            return Fill::NoMemory;
        }
        let input = &mut context.buffers.input;
        let (result, asked) = match self.session.upload_target().filter(|target| !target.is_empty()) {
            Some(target) => {
                // Also reads what follows the value, so that a short read at its end shows a drained socket.
                let (value, rest) = (target.len(), input.space().len());
                let mut parts = [IoSliceMut::new(target), IoSliceMut::new(input.space())];
                let result = self.transport.read_vectored(&mut parts, &mut context.scratch);
                if let Ok(n) = result {
                    self.session.uploaded(n.min(value));
                    input.filled(n.saturating_sub(value));
                }
                (result, value + rest)
            }
            None => {
                let asked = input.space().len();
                let result = self.transport.read(input.space(), &mut context.scratch);
                if let Ok(n) = result {
                    input.filled(n);
                }
                (result, asked)
            }
        };
        match result {
            Ok(0) => Fill::Ended,
            Ok(n) => {
                context.turn_bytes += n;
                self.readable = self.peer >= Peer::Ended || self.urgent || self.transport.may_have_more(n, asked);
                context.counters.add(Counter::BytesRead, n as u64);
                Fill::Some
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                if self.urgent { self.rearm(token, context) } else { Fill::Drained }
            }
            // An encrypted stream: bytes of TLS itself. Counts as one of the turn's reads.
            Err(error) if error.kind() == ErrorKind::Interrupted => Fill::Some,
            Err(error) => {
                // Only TLS errors are recorded; watchers get no plain socket errors.
                if error.kind() == ErrorKind::InvalidData {
                    self.tell_tls_error(context, &error.to_string());
                }
                Fill::Failed
            }
        }
    }

    /// Reregisters the socket so that the kernel reports what it still holds of a peer that has sent urgent data.
    /// Priority events end with this: a mark that is never read past would be reported each time.
    #[cold]
    fn rearm(&mut self, token: usize, context: &WorkerContext) -> Fill {
        match self.reregister(context, token) {
            Ok(()) => Fill::Drained,
            Err(error) => {
                log::error!("connection {}: looking for more to read: {error}", self.id);
                Fill::Failed
            }
        }
    }

    fn write(&mut self, token: usize, context: &mut WorkerContext) -> WriteOutcome {
        let mut moved = false;
        while context.buffers.output.can_write() {
            let (result, offered) = match context.buffers.output.plain() {
                Some(bytes) => (self.transport.write(bytes), bytes.len()),
                None => {
                    let mut slices = recycle(std::mem::take(&mut context.slices));
                    context.buffers.output.io_slices(&mut slices);
                    let offered = slices.iter().map(|slice| slice.len()).sum();
                    let result = self.transport.write_vectored(&slices);
                    context.slices = recycle(slices);
                    (result, offered)
                }
            };
            match result {
                Ok(0) => return WriteOutcome::Failed,
                Ok(n) => {
                    moved = true;
                    context.counters.add(Counter::BytesWritten, n as u64);
                    context.turn_bytes += n;
                    context.buffers.output.advance(n);
                    if self.transport.is_full(n, offered) {
                        return self.block(token, context, moved);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.block(token, context, moved),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return WriteOutcome::Failed,
            }
        }
        match self.transport.flush() {
            Ok(true) => {
                self.blocked = false;
                WriteOutcome::All
            }
            Ok(false) => self.block(token, context, moved),
            Err(_) => WriteOutcome::Failed,
        }
    }

    /// The send buffer is full. The first time, registers for writable events: a partly taken write makes the kernel
    /// send one just as a refused write does. `moved`: something was taken.
    fn block(&mut self, token: usize, context: &WorkerContext, moved: bool) -> WriteOutcome {
        let moved = moved | self.transport.take_sent();
        if moved || !self.blocked {
            self.taken = context.clock.now();
        }
        self.blocked = true;
        if let Err(error) = self.watch_writes(context, token) {
            log::error!("connection {}: watching for writes: {error}", self.id);
            return WriteOutcome::Failed;
        }
        WriteOutcome::Blocked
    }

    /// Charges the input that the connection keeps between turns to `read_buf_mem_limit`: nothing between requests,
    /// `REQUEST_CHARGE` within one, the true size if that is larger. False if a limit is exceeded.
    fn charge(&mut self, context: &mut WorkerContext) -> bool {
        let input = &mut context.buffers.input;
        input.fit();
        let held = if input.is_empty() {
            if self.session.mid_request() { REQUEST_CHARGE } else { 0 }
        } else if input.size() > READ_BUF {
            input.size()
        } else if self.blocked || self.awaits != Awaits::Nothing {
            REQUEST_CHARGE // later commands, which run once the replies are sent, or what they wait for has come
        } else {
            REQUEST_CHARGE.max(input.bytes().len())
        };
        self.recharge(context, held)
    }

    #[inline]
    fn recharge(&mut self, context: &mut WorkerContext, bytes: usize) -> bool {
        let kib = bytes.div_ceil(1024) as u16; // at most `INPUT_MAX`
        if self.charged == kib {
            return true;
        }
        let fits = context.recharge(u64::from(self.charged) * 1024, u64::from(kib) * 1024);
        if fits {
            self.charged = kib;
        }
        fits
    }

    /// While replies wait: the second in which the peer last took something.
    pub(super) fn blocked_since(&self) -> Option<u32> {
        self.blocked.then_some(self.taken)
    }

    /// Makes the close discard unsent replies.
    pub(super) fn abandon(&self) {
        self.transport.abandon();
    }

    /// Input of the deadlines. The idle timeout follows memcached: it applies to TCP connections that wait for a
    /// command or the rest of one.
    pub(super) fn since(&self, context: &WorkerContext) -> Since {
        let waits = matches!(self.state, ConnState::NewCmd | ConnState::Read);
        Since {
            handshake: self.is_handshaking().then_some(self.born),
            login: self.awaits_login(context).then_some(self.born),
            write: self.blocked_since(),
            idle: self.transport.is_tcp().then_some(self.last_cmd),
            is_checking: self.awaits == Awaits::Reply && self.peer == Peer::Open,
            is_busy: self.blocked || self.awaits != Awaits::Nothing || self.queued || !waits,
        }
    }

    /// Whether the client must still log in.
    pub(super) fn awaits_login(&self, context: &WorkerContext) -> bool {
        self.session.awaits_login(&context.shared)
    }

    /// Refuses a login that took too long; one attempt to write. The connection must own the shared buffers.
    pub(super) fn refuse_late(&mut self, token: usize, context: &mut WorkerContext) {
        if !self.is_handshaking() {
            self.session.refuse_late(&context.shared, &mut context.buffers.output);
            self.write(token, context);
        }
    }

    /// Releases everything the connection holds of the worker, closes the socket.
    pub(super) fn end(mut self, context: &mut WorkerContext, reason: CloseReason) {
        self.give_back(context);
        self.transport.close();
        let (peer, fd) = (self.info.peer, self.fd());
        context.tell(&Event::ConnClose { peer, reason, fd });
        leave(&context.shared, &self.info, fd);
        log::debug!("connection {} closed: {reason:?}", self.id);
    }

    /// Removes the connection from its worker; its socket becomes a [`WatcherSocket`].
    pub(super) fn hand_over(mut self, context: &mut WorkerContext) {
        self.give_back(context);
        if let Err(error) = self.deregister(context) {
            log::error!("connection {}: deregistering: {error}", self.id);
        }
        let Self { transport, info, mut session, .. } = self;
        session.hand_over(Box::new(WatcherSocket::new(transport, info, Arc::clone(&context.shared))));
    }

    fn give_back(&mut self, context: &mut WorkerContext) {
        if let Some(kept) = self.kept.take() {
            context.buffers.discard(*kept);
        }
        self.recharge(context, 0);
    }
}

impl<S> Conn<S> {
    /// Process-wide number.
    #[inline]
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn fd(&self) -> i32 {
        self.transport.fd()
    }

    /// Whether the TLS handshake is unfinished.
    pub(super) fn is_handshaking(&self) -> bool {
        self.transport.is_handshaking()
    }

    /// Counts and records a handshake that took too long.
    pub(super) fn too_slow(&self, context: &WorkerContext) {
        self.transport.too_slow();
        self.tell_tls_error(context, "handshake timed out");
    }

    #[cold]
    fn tell_tls_error(&self, context: &WorkerContext, message: &str) {
        context.tell(&Event::TlsError { fd: self.transport.fd(), message: message.as_bytes() });
    }

    pub(super) fn info(&self) -> &Arc<ConnInfo> {
        &self.info
    }
}

/// Whether replies are left after a write of all that could be written: they wait behind a slot or for a commit.
fn has_more(context: &WorkerContext) -> bool {
    !context.buffers.output.is_empty()
}

/// Grows the shared input if that leaves [`HEADROOM`]; counts a failure.
#[cold]
fn grow(context: &mut WorkerContext) -> bool {
    let input = &mut context.buffers.input;
    let grown = headroom::is_there(HEADROOM + input.next_size()) && input.grow();
    if !grown {
        context.shared.stats.globals.malloc_fails.fetch_add(1, Relaxed);
    }
    grown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::net::notify::mailbox;
    use crate::proto::{Protocol, Session, Shared};
    use crate::settings::Settings;
    use mio::net::{TcpStream, UnixStream};
    use std::io::Write;

    /// A worker's context, and the poll that keeps it valid.
    fn context() -> (WorkerContext, mio::Poll) {
        let settings = Settings { num_threads: 1, ..Settings::default() };
        let shared = Arc::new(Shared::new(settings, Clock::manual(0), Box::new(|_| ())).unwrap());
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let boxes = mailbox(&registry).unwrap();
        (WorkerContext::new(&shared, 0, registry, boxes.0), poll)
    }

    fn conn(transport: Transport) -> Conn<Session> {
        let info = Arc::new(ConnInfo::new(None, None, ConnState::NewCmd, 62));
        Conn::new(NewConn { transport, info, protocol: Protocol::Ascii, id: 1 }, 62)
    }

    /// A connected pair; the server's end first.
    fn tcp() -> (Transport, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        (Transport::Tcp(TcpStream::from_std(socket)), client)
    }

    #[test]
    fn a_short_read_of_a_plain_tcp_socket_is_the_last_one_unless_there_was_urgent_data() {
        let (mut context, _poll) = context();
        for urgent in [false, true] {
            let (transport, mut client) = tcp();
            let mut conn = conn(transport);
            conn.register(&context, 0).unwrap();
            (conn.readable, conn.urgent) = (true, urgent);
            client.write_all(b"mn\r\n").unwrap();
            assert!(matches!(conn.fill(0, &mut context), Fill::Some));
            assert_eq!(conn.readable, urgent);
            context.buffers.wipe();
        }
    }

    #[test]
    fn a_short_read_of_a_unix_socket_is_not_the_last_one() {
        let (mut context, _poll) = context();
        let (end, mut client) = UnixStream::pair().unwrap();
        let mut conn = conn(Transport::Unix(end));
        conn.readable = true;
        client.write_all(b"mn\r\n").unwrap();
        assert!(matches!(conn.fill(0, &mut context), Fill::Some) && conn.readable);
        assert!(matches!(conn.fill(0, &mut context), Fill::Drained) && !conn.readable);
    }
}
