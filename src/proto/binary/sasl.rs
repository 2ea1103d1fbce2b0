//! SASL: list of mechanisms, authenticate, step; and the guard that rejects packets before login.
//!
//! Owns which packets are allowed before a login, and the packets of a login. Must not know users or mechanisms:
//! those are `auth`'s. Called by the session before every packet of a server with `-S`.

use super::header::{Head, Parts, SIZE};
use super::parse::{BadPacket, Packet, PacketCommand, needs_no_login};
use super::reply::{PacketRun, Status};
use super::trace;
use crate::auth::{Answer, Auth, Check, Exchange, Mechanism, Outcome};
use crate::limits::{LOGIN_FAILURES_MAX, MECHANISM_MAX, SASL_MESSAGE_MAX};
use crate::proto::command_result::{AfterCommand, CommandResult};
use crate::proto::{CloseReason, Cx, Output};
use crate::stats::Counter;

/// SASL authenticate; the other opcode with a message is SASL step.
const AUTHENTICATE: u8 = 0x21;

/// Reply status that requests another message.
const CONTINUE: u16 = 0x21;

/// Login state of a connection.
#[derive(Default)]
pub(in crate::proto) struct Login {
    /// Logged in: every packet is allowed.
    granted: bool,
    /// Failed logins since the last success.
    failures: u8,
    exchange: Exchange,
}

impl Login {
    pub(in crate::proto) fn is_granted(&self) -> bool {
        self.granted
    }

    /// Whether the connection has used up its login attempts.
    pub(in crate::proto) fn is_spent(&self) -> bool {
        self.failures >= LOGIN_FAILURES_MAX
    }
}

/// Decision of the guard about a packet.
pub(in crate::proto) enum Guarded {
    /// Run it as an ordinary packet.
    Pass,
    /// The packet is incomplete.
    Wait,
    /// The packet is answered.
    Ran(CommandResult),
    /// The reply needs a password check first; with the number of bytes consumed.
    Check(usize, Check),
}

/// Checks the packet at the front of `bytes`.
pub(in crate::proto) fn guard(
    cx: &Cx<'_>,
    login: &mut Login,
    packet: &Packet<'_>,
    bytes: &[u8],
    out: &mut Output,
) -> Guarded {
    let head = packet.head;
    match packet.command {
        // The packet is refused for its header, with or without login.
        Err(BadPacket::Unsound | BadPacket::TooLong) => Guarded::Pass,
        Ok(PacketCommand::SaslList) => {
            let mut run = begin(cx, head, bytes, out);
            list(&mut run, login);
            Guarded::Ran(CommandResult { used: SIZE, ..CommandResult::done() })
        }
        Ok(PacketCommand::Sasl { mechanism }) => message(cx, login, packet, mechanism, bytes, out),
        _ if login.granted || needs_no_login(head.opcode) => Guarded::Pass,
        _ => {
            begin(cx, head, bytes, out).fail(Status::Refused);
            // The key of a refused packet may not have arrived.
            let close = CommandResult::then(AfterCommand::Close(CloseReason::Error));
            Guarded::Ran(CommandResult { used: SIZE, ..close })
        }
    }
}

fn begin<'a, 'b>(cx: &'a Cx<'b>, head: Head, bytes: &[u8], out: &'a mut Output) -> PacketRun<'a, 'b> {
    if cx.verbose() > 1 {
        trace::request(cx.fd, &bytes[..SIZE]);
    }
    PacketRun::new(cx, head, out)
}

/// Lists the mechanisms. As in memcached, this logs the client out.
fn list(run: &mut PacketRun<'_, '_>, login: &mut Login) {
    login.granted = false;
    let names: Vec<_> = match run.cx.shared.auth.as_ref().and_then(|auth| Some((auth, auth.sasl()?))) {
        Some((auth, credentials)) => auth.mechanisms(&credentials).map(Mechanism::name).collect(),
        None => Vec::new(),
    };
    body(run, 0, names.join(" ").as_bytes());
}

fn body(run: &mut PacketRun<'_, '_>, status: u16, body: &[u8]) {
    run.begin_reply(&Parts { status, body: body.len() as u32, ..Parts::default() });
    run.out.put(body);
}

fn message(
    cx: &Cx<'_>,
    login: &mut Login,
    packet: &Packet<'_>,
    mechanism: &[u8],
    bytes: &[u8],
    out: &mut Output,
) -> Guarded {
    let Packet { head, start, .. } = *packet;
    let (rest, size) = (&bytes[start..], head.value());
    let refused = if mechanism.len() > MECHANISM_MAX {
        Some(Status::Invalid)
    } else if size > SASL_MESSAGE_MAX {
        Some(Status::NoMemory)
    } else {
        None
    };
    if let Some(status) = refused {
        begin(cx, head, bytes, out).fail(status);
        let past = CommandResult::past(size, rest.len());
        return Guarded::Ran(CommandResult { used: start + past.used, ..past });
    }
    let (Some(message), Some(auth)) = (rest.get(..size), &cx.shared.auth) else { return Guarded::Wait };
    let mut run = begin(cx, head, bytes, out);
    login.granted = false;
    let outcome = if head.opcode == AUTHENTICATE {
        login.exchange.start(auth, mechanism, message)
    } else {
        login.exchange.step(auth, message)
    };
    match reply(&mut run, auth, login, outcome) {
        Some(check) => Guarded::Check(start + size, check),
        None => Guarded::Ran(CommandResult { used: start + size, ..CommandResult::done() }),
    }
}

/// Continues a login after its check; `None` means that the check did not run in time.
pub(in crate::proto) fn conclude(
    cx: &Cx<'_>,
    login: &mut Login,
    head: Head,
    answer: Option<&Answer>,
    out: &mut Output,
) {
    let Some(auth) = &cx.shared.auth else { return };
    let mut run = PacketRun::new(cx, head, out);
    let Some(answer) = answer else {
        login.exchange = Exchange::default();
        count(&run, auth, true);
        return run.fail(Status::Busy);
    };
    let outcome = login.exchange.checked(answer);
    // A check never leads to another check.
    let _ = reply(&mut run, auth, login, outcome);
}

fn reply(run: &mut PacketRun<'_, '_>, auth: &Auth, login: &mut Login, outcome: Outcome) -> Option<Check> {
    match outcome {
        Outcome::Granted => {
            login.granted = true;
            login.failures = 0;
            count(run, auth, false);
            body(run, 0, b"Authenticated");
        }
        Outcome::Denied => {
            login.failures = login.failures.saturating_add(1);
            count(run, auth, true);
            run.fail(Status::Refused);
        }
        Outcome::Continue(challenge) => body(run, CONTINUE, &challenge),
        Outcome::Check(check) => return Some(check),
    }
    None
}

fn count(run: &PacketRun<'_, '_>, auth: &Auth, failed: bool) {
    run.verbs.counters.add(Counter::AuthCmds, 1);
    if failed {
        run.verbs.counters.add(Counter::AuthErrors, 1);
        auth.failed(run.verbs.now, &run.cx.peer());
    }
}

/// Appends a reply that answers no request: the time limit of the login has passed.
pub(in crate::proto) fn too_late(out: &mut Output) {
    let text = Status::Refused.text();
    let head = Head::echo(AUTHENTICATE, [0; 4]);
    out.put(&head.reply(&Parts { status: Status::Refused as u16, body: text.len() as u32, ..Parts::default() }));
    out.put(text.as_bytes());
    out.end_of_reply();
}
