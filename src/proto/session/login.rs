//! Logins of a session: password lines, checks in progress, and the end of a login that takes too long.
//!
//! Owns the states of a session until its client has logged in. Called by the session's loop, and by `net` for a check
//! that another thread runs. The format of a login is that of `text::login` and `binary::sasl`.

use super::{Session, SessionState, Wire};
use crate::auth::{Answer, Auth, Check, Ticket};
use crate::events::CloseReason;
use crate::limits::LOGIN_FAILURES_MAX;
use crate::proto::text::login;
use crate::proto::turn::{Step, Turn};
use crate::proto::{Cx, Input, Output, Shared, binary};
use crate::stats::Counter;
use std::sync::{Arc, OnceLock};

/// A login that waits for a password check.
pub(super) struct Checking {
    /// The check, until [`Session::take_check`] takes it.
    check: Option<Check>,
    /// The check's place in the queue, while it waits for another thread.
    ticket: Option<Ticket>,
    answer: Arc<OnceLock<Answer>>,
    /// The wait has ended, with or without an answer.
    pub(super) is_over: bool,
    /// Header of the packet to answer; `None` for a text login.
    head: Option<binary::Head>,
}

impl Session {
    /// Handles lines and values until the client has logged in.
    pub(super) fn login(
        &mut self,
        cx: &Cx<'_>,
        input: &mut Input,
        out: &mut Output,
        turn: &mut Turn<'_>,
    ) -> Option<Step> {
        loop {
            let SessionState::Login(due) = &mut self.state else { return None };
            let bytes = input.bytes();
            let refused = match *due {
                Some(size) => {
                    if bytes.len() < size {
                        return Some(Step::Read);
                    }
                    *due = None;
                    let credentials = cx.shared.auth.as_ref().and_then(Auth::tokens);
                    let token = login::user_and_password(&bytes[..size]);
                    let check = token.and_then(|(user, password)| {
                        let credentials = credentials.ok_or("CLIENT_ERROR unauthenticated")?;
                        Ok(Check::password(&credentials, user, password))
                    });
                    input.consume(size);
                    match check {
                        Ok(check) => {
                            self.begin_check(check, None);
                            return None;
                        }
                        Err(reply) => reply,
                    }
                }
                None => {
                    let line = login::line(bytes);
                    if matches!(line, login::LoginLine::Unfinished) {
                        return Some(Step::Read);
                    }
                    if let Some(step) = turn.step_first(cx, bytes, out) {
                        return Some(step);
                    }
                    *turn.left -= 1;
                    match line {
                        login::LoginLine::Refused(used, reply) => {
                            input.consume(used);
                            reply
                        }
                        login::LoginLine::Value(used, size) => {
                            input.consume(used);
                            *due = Some(size);
                            continue;
                        }
                        login::LoginLine::Foreign | login::LoginLine::Unfinished => {
                            return Some(Step::Close(CloseReason::Error));
                        }
                    }
                }
            };
            login::reply(cx, out, refused);
        }
    }

    /// Runs a fast check at once; leaves a slow one to [`Session::take_check`].
    pub(super) fn begin_check(&mut self, check: Check, head: Option<binary::Head>) {
        let (answer, slow) = (check.answer(), check.is_slow());
        if !slow {
            check.run();
        }
        let check = slow.then_some(check);
        self.state = SessionState::Checking(Box::new(Checking { check, ticket: None, answer, is_over: !slow, head }));
    }

    /// Answers a login after its check, and closes the connection after too many wrong passwords.
    pub(super) fn conclude(&mut self, cx: &Cx<'_>, out: &mut Output) -> Option<Step> {
        let SessionState::Checking(checking) = std::mem::take(&mut self.state) else { return None };
        let answer = checking.answer.get();
        if let (Some(head), Some(sasl)) = (checking.head, &mut self.sasl) {
            binary::sasl::conclude(cx, sasl, head, answer, out);
            out.end_of_reply();
            return sasl.is_spent().then_some(Step::Close(CloseReason::Error));
        }
        cx.counters.add(Counter::AuthCmds, 1);
        if let Some(Answer::Password(true)) = answer {
            login::reply(cx, out, "STORED");
            return None;
        }
        self.state = SessionState::Login(None);
        cx.counters.add(Counter::AuthErrors, 1);
        if let Some(auth) = &cx.shared.auth {
            auth.failed(cx.shared.clock.now(), &cx.peer());
        }
        if answer.is_none() {
            login::reply(cx, out, "SERVER_ERROR too many logins");
            return None;
        }
        login::reply(cx, out, "CLIENT_ERROR authentication failure");
        self.failed_logins += 1;
        (self.failed_logins >= LOGIN_FAILURES_MAX).then_some(Step::Close(CloseReason::Error))
    }

    /// After [`Step::Suspend`]: the check that the session waits for. The caller runs or drops it, then calls
    /// [`Session::resume`] with no bytes.
    pub fn take_check(&mut self) -> Option<Check> {
        match &mut self.state {
            SessionState::Checking(checking) => checking.check.take(),
            _ => None,
        }
    }

    /// Stores the queue place of a check that [`Session::take_check`] returned.
    pub fn keep_ticket(&mut self, ticket: Ticket) {
        if let SessionState::Checking(checking) = &mut self.state {
            checking.ticket = Some(ticket);
        }
    }

    /// Records that the client has sent its last byte; it may have disconnected.
    pub fn peer_ended(&self) {
        if let SessionState::Checking(checking) = &self.state
            && let Some(ticket) = &checking.ticket
        {
            ticket.peer_ended();
        }
    }

    /// Whether the client has yet to log in.
    pub fn awaits_login(&self, shared: &Shared) -> bool {
        match (&self.state, &self.sasl) {
            (SessionState::Opening(_), _) => shared.auth.is_some(),
            (SessionState::Login(_), _) => true,
            (SessionState::Checking(checking), _) if checking.head.is_none() => true,
            (_, Some(login)) => !login.is_granted(),
            (_, None) => false,
        }
    }

    /// Appends the reply to a client that did not log in in time.
    pub fn refuse_late(&mut self, shared: &Shared, out: &mut Output) {
        let wire = match (&self.state, &shared.auth) {
            (SessionState::Opening(protocol), Some(auth)) => Wire::with_login(auth, *protocol),
            _ => self.wire,
        };
        match wire {
            Wire::Text => {
                out.put(b"CLIENT_ERROR unauthenticated\r\n");
                out.end_of_reply();
            }
            Wire::Binary => binary::sasl::too_late(out),
        }
    }
}
