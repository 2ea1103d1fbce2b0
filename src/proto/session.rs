//! Protocol state machine of one connection, without I/O.
//!
//! Owns the state between two runs: an unfinished command, value or login. `net` supplies received bytes ([`Input`])
//! and sends the replies ([`Output`]); [`Session::run`] returns what must happen next. Knows no sockets, threads or
//! timers.

mod backing;
mod login;

use super::command_result::{AfterCommand, CommandResult};
use super::late::FailureForm;
use super::line::Run;
use super::listing::{Listed, Listing};
use super::raw_command::RunOrigin;
use super::text;
use super::turn::{Before, Step, Turn, starved};
use super::upload::{Finish, Upload};
use super::{ConnState, Cx, Input, Output, binary, meta};
use crate::auth::Auth;
use crate::cache::Key;
use crate::events::CloseReason;
use crate::limits::{DATAGRAM_REPORT_MAX, GET_LINE_MAX, LINE_MAX, LINE_WAIT_MAX};
use crate::maint::{Seat, WatchSink};
use crate::stats::{CommandKind, Counter};
use backing::{Asked, Awaiting};
use login::Checking;

/// Reply to a request that needs more input memory than is available or allowed. The connection is closed.
pub const NO_READ_MEMORY: &[u8] = b"SERVER_ERROR out of memory reading request\r\n";

/// Protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The first byte decides.
    Negotiating,
    /// Text and meta commands.
    Ascii,
    /// Binary protocol packets.
    Binary,
}

/// Wire format of a connection whose protocol is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// Lines: text and meta commands.
    Text,
    /// Packets of the binary protocol.
    Binary,
}

impl Wire {
    /// Format of the connections of a listener with authentication.
    fn with_login(auth: &Auth, protocol: Protocol) -> Self {
        let is_binary = match protocol {
            Protocol::Binary => auth.wants_sasl(),
            Protocol::Ascii | Protocol::Negotiating => !auth.wants_tokens(),
        };
        if is_binary { Self::Binary } else { Self::Text }
    }
}

/// State of a session.
#[derive(Default)]
enum SessionState {
    /// Not run yet. The first run decides on protocol and login.
    Opening(Protocol),
    /// `-Y`, before the login: no other command is accepted. Expects the login's value, of this size, or its line.
    Login(Option<usize>),
    /// A password check is pending.
    Checking(Box<Checking>),
    /// No bytes received yet: the first byte decides the protocol.
    Negotiating,
    /// Between commands, or inside a line or a packet's header.
    #[default]
    Command,
    /// Receiving a value.
    Value(Box<Upload>),
    /// A command waits for the backing.
    Awaiting(Box<Awaiting>),
    /// Discarding this many bytes.
    Swallow(u64),
    /// Receiving a long `get` line.
    LongLine(text::LongLine),
    /// A multiget stopped before its end; its line is still at the front of the input.
    Multiget(text::Multiget),
    /// Sending a reply in steps; commands that arrive meanwhile wait.
    Listing(Box<Telling>),
    /// Becoming a watcher: no input is read any more.
    Watching(Option<Seat>),
}

/// A reply that is sent in steps.
struct Telling {
    listing: Box<dyn Listing>,
    /// An item dump: refused while replies wait before it, and flushed at its end so that another may follow.
    is_dump: bool,
    /// Bytes of the command's packet to discard after the reply.
    unwanted: u64,
}

/// Protocol state of one connection.
pub struct Session {
    state: SessionState,
    /// Wire format; [`Wire::Text`] until it is decided.
    wire: Wire,
    /// Wrong passwords of text logins.
    failed_logins: u8,
    /// SASL login, if the connection needs one.
    sasl: Option<Box<binary::sasl::Login>>,
    /// The last run ended after a costly command. The next one may continue its pipeline.
    gave_way: bool,
    /// The next command has waited for its item.
    waited: bool,
    /// While commands are timed: nanoseconds that the unfinished one has taken.
    taken: u32,
}

impl Session {
    /// A session that has received nothing.
    pub fn new(protocol: Protocol) -> Self {
        let wire = if protocol == Protocol::Binary { Wire::Binary } else { Wire::Text };
        let state = SessionState::Opening(protocol);
        Self { state, wire, failed_logins: 0, sasl: None, gave_way: false, waited: false, taken: 0 }
    }

    /// Runs complete commands from `input` and appends their replies to `out`, until the input is used up, `budget`
    /// commands have run (it is counted down) or the output is full.
    pub fn run(&mut self, cx: &mut Cx<'_>, input: &mut Input, out: &mut Output, budget: &mut u32) -> Step {
        let Some(trace) = cx.timing() else { return self.run_untimed(cx, input, out, budget) };
        trace.begin_run(self.origin(input), self.is_mid_command().then_some(self.taken));
        let before = *budget;
        let step = self.run_untimed(cx, input, out, budget);
        self.taken = trace.end_run(cx.kind(), before - *budget, self.is_mid_command());
        step
    }

    fn run_untimed(&mut self, cx: &mut Cx<'_>, input: &mut Input, out: &mut Output, budget: &mut u32) -> Step {
        input.parts().1.forget();
        if !out.make_room() {
            return starved(cx, out);
        }
        let mut turn = Turn::new(budget, cx);
        let step = self.run_states(cx, input, out, &mut turn);
        if turn.asks {
            turn.end_run(cx, out);
        }
        step
    }

    /// Runs until a step is due.
    #[inline]
    fn run_states(&mut self, cx: &Cx<'_>, input: &mut Input, out: &mut Output, turn: &mut Turn<'_>) -> Step {
        if std::mem::take(&mut self.gave_way) {
            turn.is_first = false;
            cx.piped.set(true);
        }
        loop {
            let step = match &mut self.state {
                SessionState::Opening(protocol) => {
                    let protocol = *protocol;
                    self.open(cx, protocol);
                    None
                }
                SessionState::Login(_) => self.login(cx, input, out, turn),
                SessionState::Checking(checking) if !checking.is_over => Some(Step::Suspend),
                SessionState::Checking(_) => self.conclude(cx, out),
                SessionState::Negotiating => self.negotiate(cx, input),
                SessionState::Command => match self.wire {
                    Wire::Text => self.command(cx, input, out, turn),
                    Wire::Binary => self.packets(cx, input, out, turn),
                },
                SessionState::LongLine(_) => self.long_line(cx, input, out),
                SessionState::Value(_) => self.value(cx, input, out, turn),
                SessionState::Awaiting(_) => Some(Step::Suspend),
                SessionState::Swallow(left) => {
                    let n = (*left).min(input.bytes().len() as u64);
                    *left -= n;
                    input.consume(n as usize);
                    if *left == 0 {
                        self.state = SessionState::Command;
                        None
                    } else {
                        Some(Step::Read)
                    }
                }
                SessionState::Multiget(_) => self.multiget(cx, input, out, turn),
                SessionState::Listing(_) => self.tell(cx, out),
                SessionState::Watching(_) => Some(Step::HandOver),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Decides the protocol. With authentication the client has no choice, since only one of the two protocols has a
    /// matching login.
    fn open(&mut self, cx: &Cx<'_>, protocol: Protocol) {
        self.state = match (&cx.shared.auth, protocol) {
            (Some(auth), _) => {
                self.wire = Wire::with_login(auth, protocol);
                match self.wire {
                    Wire::Text => SessionState::Login(None),
                    Wire::Binary => {
                        self.sasl = Some(Box::default());
                        SessionState::Command
                    }
                }
            }
            (None, Protocol::Negotiating) => SessionState::Negotiating,
            (None, Protocol::Ascii | Protocol::Binary) => SessionState::Command,
        };
    }

    fn negotiate(&mut self, cx: &Cx<'_>, input: &Input) -> Option<Step> {
        let Some(first) = input.bytes().first() else { return Some(Step::Read) };
        let (wire, name) = if *first == binary::REQUEST { (Wire::Binary, "binary") } else { (Wire::Text, "ascii") };
        self.wire = wire;
        if cx.verbose() > 1 {
            crate::sys::say(format_args!("{}: Client using the {name} protocol", cx.fd));
        }
        self.state = SessionState::Command;
        None
    }

    /// Runs command lines until the state changes or a step is due.
    #[inline]
    fn command(&mut self, cx: &Cx<'_>, input: &mut Input, out: &mut Output, turn: &mut Turn<'_>) -> Option<Step> {
        loop {
            let (bytes, ahead) = input.parts();
            if bytes.is_empty() {
                return Some(Step::Read);
            }
            let Some((newline, hash)) = ahead.line(bytes, *turn.left, &cx.shared.cache, text::guess) else {
                if bytes.len() <= LINE_WAIT_MAX {
                    return Some(Step::Read); // short enough to search again after each read
                }
                let Some(line) = text::LongLine::begin(bytes) else {
                    return Some(Step::Close(CloseReason::Error));
                };
                self.state = SessionState::LongLine(line);
                return Some(Step::Read);
            };
            if newline >= LINE_MAX && !text::is_get_line(bytes) {
                return Some(Step::Close(CloseReason::Error));
            }
            let (line, rest) = bytes.split_at(newline + 1);
            let refused = match turn.wait_first(cx, bytes, out) {
                Before::Nothing => None,
                Before::Step(step) => return Some(step),
                Before::Question => match self.ask_for_line(cx, (line, rest), out, turn) {
                    Asked::Run => None,
                    Asked::Refused(result) => Some(result),
                    Asked::Wait(step) => return Some(step),
                },
            };
            *turn.left -= 1;
            let ran = match refused {
                None => text::run(cx, line, rest, out, hash),
                Some(result) => result,
            };
            if let AfterCommand::Multiget(mut stopped) = ran.next {
                turn.change_goes_on();
                stopped.line = newline as u32 + 1;
                self.state = SessionState::Multiget(stopped);
                return Some(pause(out));
            }
            input.consume(newline + 1 + ran.used);
            out.end_of_reply();
            cx.piped.set(true);
            match ran.next {
                AfterCommand::Next => {}
                AfterCommand::Dump(ask) => {
                    // A dump is refused while replies of this or an earlier turn wait.
                    let first = turn.is_first && *turn.left + 1 == turn.granted && out.is_empty();
                    if let Some(listing) = text::begin_dump(cx, &ask, first, out) {
                        self.state = SessionState::Listing(Box::new(Telling { listing, is_dump: true, unwanted: 0 }));
                        return None;
                    }
                    out.end_of_reply();
                }
                next => return self.follow(next, ran.unwanted, out),
            }
        }
    }

    /// Carries out what a command leaves to the session, unless another command or a dump is next.
    fn follow(&mut self, next: AfterCommand, unwanted: u64, out: &Output) -> Option<Step> {
        let (state, step) = match next {
            AfterCommand::Upload(upload) => (SessionState::Value(upload), None),
            AfterCommand::Swallow => (SessionState::Swallow(unwanted), None),
            AfterCommand::Report(listing) => {
                let state = SessionState::Listing(Box::new(Telling { listing, is_dump: false, unwanted }));
                // Datagrams of the report wait until it is complete; those of earlier replies are sent now.
                (state, (out.is_datagrams() && !out.is_empty()).then_some(Step::Flush))
            }
            AfterCommand::Watch(seat) => (SessionState::Watching(Some(seat)), Some(Step::HandOver)),
            AfterCommand::GiveWay => return Some(self.give_way(unwanted)),
            AfterCommand::Close(reason) => return Some(Step::Close(reason)),
            AfterCommand::Next | AfterCommand::Dump(_) | AfterCommand::Multiget(_) => return None,
        };
        self.state = state;
        step
    }

    /// Runs packets until the state changes or a step is due.
    #[inline]
    fn packets(&mut self, cx: &Cx<'_>, input: &mut Input, out: &mut Output, turn: &mut Turn<'_>) -> Option<Step> {
        loop {
            let (bytes, ahead) = input.parts();
            let packet = match binary::parse(bytes) {
                binary::Front::Packet(packet) => packet,
                binary::Front::Unfinished => return Some(Step::Read),
                binary::Front::Foreign => {
                    binary::trace_foreign(cx, bytes);
                    return Some(Step::Close(CloseReason::Error));
                }
            };
            let refused = match turn.wait_first(cx, bytes, out) {
                Before::Nothing => None,
                Before::Step(step) => return Some(step),
                Before::Question => match self.ask_for_packet(cx, &packet, bytes, out, turn) {
                    Asked::Run => None,
                    Asked::Refused(result) => Some(result),
                    Asked::Wait(step) => return Some(step),
                },
            };
            if let Some(login) = &mut self.sasl {
                match binary::sasl::guard(cx, login, &packet, bytes, out) {
                    binary::sasl::Guarded::Pass => {}
                    binary::sasl::Guarded::Wait => return Some(Step::Read),
                    binary::sasl::Guarded::Ran(CommandResult { used, unwanted, next }) => {
                        *turn.left -= 1;
                        input.consume(used);
                        out.end_of_reply();
                        if login.is_spent() {
                            return Some(Step::Close(CloseReason::Error));
                        }
                        if matches!(next, AfterCommand::Next) {
                            continue;
                        }
                        return self.follow(next, unwanted, out);
                    }
                    binary::sasl::Guarded::Check(used, check) => {
                        *turn.left -= 1;
                        let head = packet.head;
                        input.consume(used);
                        self.begin_check(check, Some(head));
                        return None;
                    }
                }
            }
            let hash = ahead.packet(bytes, *turn.left, &cx.shared.cache, packet.head.whole(), binary::guess);
            *turn.left -= 1;
            let ran = match refused {
                None => binary::run(cx, &packet, bytes, out, hash),
                Some(result) => result,
            };
            input.consume(ran.used);
            out.end_of_reply();
            if !matches!(ran.next, AfterCommand::Next) {
                return self.follow(ran.next, ran.unwanted, out);
            }
        }
    }

    /// Appends the next part of a reply that is sent in steps.
    fn tell(&mut self, cx: &Cx<'_>, out: &mut Output) -> Option<Step> {
        let SessionState::Listing(telling) = &mut self.state else { return None };
        cx.note(CommandKind::Admin);
        let listed = telling.listing.step(cx, out);
        if listed == Listed::NoMemory || (out.is_datagrams() && out.remaining() > DATAGRAM_REPORT_MAX) {
            cx.counters.add(Counter::ResponseOom, 1);
            return Some(Step::Abort(CloseReason::Error));
        }
        if listed == Listed::More {
            return Some(Step::Yield);
        }
        out.end_of_reply();
        if telling.is_dump {
            self.state = SessionState::Command;
            return Some(Step::Flush);
        }
        let unwanted = telling.unwanted;
        Some(self.give_way(unwanted))
    }

    /// Ends the run after a command with a cost that `-R` does not measure. `unwanted` bytes are discarded next.
    #[cold]
    fn give_way(&mut self, unwanted: u64) -> Step {
        self.state = if unwanted > 0 { SessionState::Swallow(unwanted) } else { SessionState::Command };
        self.gave_way = true;
        Step::Yield
    }

    fn value(&mut self, cx: &Cx<'_>, input: &mut Input, out: &mut Output, turn: &mut Turn<'_>) -> Option<Step> {
        let SessionState::Value(upload) = &mut self.state else { return None };
        let used = upload.take(input.bytes());
        input.consume(used);
        if !upload.is_complete() {
            return Some(Step::Read);
        }
        let may_run = match turn.asks {
            true => self.ask_for_upload(cx, out, turn),
            false => Ok(true),
        };
        let may_run = match may_run {
            Ok(may_run) => may_run,
            Err(step) => return Some(step),
        };
        if let SessionState::Value(upload) = std::mem::take(&mut self.state) {
            if may_run {
                finish_upload(cx, *upload, out);
            }
            out.end_of_reply();
            cx.piped.set(true);
        }
        None
    }

    /// Searches the received bytes for the end of a long `get` line.
    fn long_line(&mut self, cx: &Cx<'_>, input: &mut Input, out: &mut Output) -> Option<Step> {
        let SessionState::LongLine(line) = &mut self.state else { return None };
        let (bytes, ahead) = input.parts();
        if let Some(newline) = line.end(bytes) {
            ahead.found(newline);
            self.state = SessionState::Command;
            return None;
        }
        if bytes.len() <= GET_LINE_MAX {
            return Some(Step::Read);
        }
        cx.counters.add(Counter::ReadBufOom, 1);
        out.put(NO_READ_MEMORY);
        Some(Step::Close(CloseReason::Error))
    }

    fn multiget(&mut self, cx: &Cx<'_>, input: &mut Input, out: &mut Output, turn: &mut Turn<'_>) -> Option<Step> {
        let SessionState::Multiget(stopped) = self.state else { return None };
        cx.note(CommandKind::Multiget);
        if turn.asks && stopped.touch.is_some() {
            turn.begin_change(out, Some(FailureForm::Line));
        }
        let line = stopped.line as usize;
        let ran = text::resume_multiget(cx, &input.bytes()[..line], out, stopped);
        if let AfterCommand::Multiget(stopped) = ran.next {
            turn.change_goes_on();
            self.state = SessionState::Multiget(stopped);
            return Some(pause(out));
        }
        input.consume(line);
        out.end_of_reply();
        self.state = SessionState::Command;
        None
    }

    /// What the bytes of the next run belong to, for `stats slow`. A login's value is hidden: it may hold a password.
    fn origin<'a>(&'a self, input: &'a Input) -> RunOrigin<'a> {
        match self.base() {
            SessionState::Value(upload) => RunOrigin::Upload(upload.finish.kind().name(), &upload.key),
            SessionState::Login(Some(_)) | SessionState::Swallow(_) | SessionState::Listing(_) => RunOrigin::Hidden,
            _ => RunOrigin::Request(input.bytes()),
        }
    }

    /// The state, or that to which the session returns after a wait.
    fn base(&self) -> &SessionState {
        match &self.state {
            SessionState::Awaiting(awaiting) => &awaiting.then,
            state => state,
        }
    }

    /// Whether a command has begun and has not replied.
    fn is_mid_command(&self) -> bool {
        use SessionState::{Checking, Listing, Multiget, Value};
        matches!(self.base(), Value(_) | Multiget(_) | Listing(_) | Checking(_))
    }

    /// Memory of a large value that still waits for its bytes, for a direct read.
    pub fn upload_target(&mut self) -> Option<&mut [u8]> {
        match &mut self.state {
            SessionState::Value(upload) => upload.target(),
            _ => None,
        }
    }

    /// Records that `n` bytes were read into [`Session::upload_target`].
    pub fn uploaded(&mut self, n: usize) {
        if let SessionState::Value(upload) = &mut self.state {
            upload.advance(n);
        }
    }

    /// Delivers the reply that a suspended session waits for; the session may run again.
    pub fn resume(&mut self, reply: &[u8], out: &mut Output) {
        if let SessionState::Checking(checking) = &mut self.state {
            checking.is_over = true;
            return;
        }
        if self.end_wait() {
            return;
        }
        out.put(reply);
        out.end_of_reply();
    }

    /// After [`Step::HandOver`]: passes the connection's socket to the logger thread.
    pub fn hand_over(&mut self, socket: Box<dyn WatchSink>) {
        if let SessionState::Watching(seat) = &mut self.state
            && let Some(seat) = seat.take()
        {
            seat.take(socket);
        }
    }

    /// State in `stats conns` while the session waits for input.
    pub fn waiting_state(&self) -> ConnState {
        match self.base() {
            SessionState::Value(_) => ConnState::Nread,
            SessionState::Swallow(_) => ConnState::Swallow,
            SessionState::Multiget(_) => ConnState::Mwrite,
            SessionState::Listing(telling) if telling.is_dump => ConnState::Watch,
            SessionState::Listing(_) => ConnState::Mwrite,
            SessionState::Watching(_) => ConnState::Watch,
            _ => ConnState::Read,
        }
    }

    /// Whether the session is inside a request, which counts against the read buffer limits.
    pub fn mid_request(&self) -> bool {
        matches!(
            self.base(),
            SessionState::Value(_) | SessionState::Swallow(_) | SessionState::Multiget(_) | SessionState::Watching(_)
        )
    }
}

/// Passes a complete upload to the protocol that began it.
fn finish_upload(cx: &Cx<'_>, upload: Upload, out: &mut Output) {
    let Upload { reservation, end, key, finish, .. } = upload;
    let Some(key) = Key::new(&key) else { return };
    cx.note(finish.kind());
    match finish {
        Finish::Text(set) => text::finish(&mut Run::new(cx, out, set.noreply), set, &key, reservation, end),
        Finish::Meta(set, words) => {
            meta::finish(&mut Run::new(cx, out, set.quiet), &set, &words, &key, reservation, end);
        }
        Finish::Packet(set) => binary::finish(cx, set, &key, reservation, out),
    }
}

/// Step after a multiget that stopped.
fn pause(out: &Output) -> Step {
    if out.is_full() { Step::Flush } else { Step::Yield }
}
