//! One connection's conversation: a state machine without I/O.
//!
//! `net` hands it received bytes ([`Input`]) and takes its replies ([`Output`]); [`Session::run`] says what
//! must happen next. Knows no sockets, threads or timers.

use super::{Cx, Input, Output};
use crate::limits::LINE_WAIT_MAX;

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Decided by the first byte.
    Negotiating,
    /// Text and meta commands.
    Ascii,
}

/// Connection states by memcached's names, as `stats conns` and `-vvv` show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum ConnState {
    Listening,
    NewCmd,
    Waiting,
    Read,
    ParseCmd,
    Write,
    Nread,
    Swallow,
    Closing,
    Mwrite,
    Closed,
    Watch,
}

impl ConnState {
    const ALL: [Self; 12] = [
        Self::Listening,
        Self::NewCmd,
        Self::Waiting,
        Self::Read,
        Self::ParseCmd,
        Self::Write,
        Self::Nread,
        Self::Swallow,
        Self::Closing,
        Self::Mwrite,
        Self::Closed,
        Self::Watch,
    ];

    pub(super) fn from_u8(n: u8) -> Self {
        Self::ALL[usize::from(n) % Self::ALL.len()]
    }

    /// memcached's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listening => "conn_listening",
            Self::NewCmd => "conn_new_cmd",
            Self::Waiting => "conn_waiting",
            Self::Read => "conn_read",
            Self::ParseCmd => "conn_parse_cmd",
            Self::Write => "conn_write",
            Self::Nread => "conn_nread",
            Self::Swallow => "conn_swallow",
            Self::Closing => "conn_closing",
            Self::Mwrite => "conn_mwrite",
            Self::Closed => "conn_closed",
            Self::Watch => "conn_watch",
        }
    }
}

/// Why a connection ends, in the words of `watch connevents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CloseReason {
    Error,
    Normal,
    IdleTimeout,
    Shutdown,
}

/// What a session wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Every complete command ran. Write the replies, then read: into [`Session::upload_target`] if it gives
    /// a slice, else into the input buffer ([`Input::grow`] first when it is full).
    Read,
    /// The budget is used up and input remains: let others run, then call again. Replies may stay unsent.
    Yield,
    /// Replies reached their bound, or must leave now: write all of them, then call again.
    Flush,
    /// The reply comes later, through [`Session::resume`]: write what is there, do not read, do not run.
    Suspend,
    /// Write the replies (without waiting for the peer beyond its send buffer), then close.
    Close(CloseReason),
    /// Close at once, dropping unsent replies.
    Abort(CloseReason),
}

/// One connection's protocol state.
pub struct Session {
    protocol: Protocol,
}

impl Session {
    /// A session that has heard nothing yet.
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol }
    }

    /// Runs complete commands from `input`, appending their replies to `out`, until the input is used up,
    /// `budget` commands have run (it is counted down) or the output is full.
    pub fn run(&mut self, cx: &mut Cx<'_>, input: &mut Input, out: &mut Output, budget: &mut u32) -> Step {
        let _ = (cx.fd, self.protocol);
        loop {
            let Some(end) = memchr::memchr(b'\n', input.bytes()) else {
                return if input.bytes().len() > LINE_WAIT_MAX { Step::Abort(CloseReason::Error) } else { Step::Read };
            };
            if *budget == 0 {
                return Step::Yield;
            }
            if out.is_full() {
                return Step::Flush;
            }
            *budget -= 1;
            let quit = input.bytes().starts_with(b"quit");
            input.consume(end + 1);
            if quit {
                return Step::Close(CloseReason::Normal);
            }
            out.put(b"ERROR\r\n");
            out.end_of_reply();
        }
    }

    /// Memory of a large value that waits for its bytes, to be read into directly.
    pub fn upload_target(&mut self) -> Option<&mut [u8]> {
        None
    }

    /// Says that `n` bytes were read into [`Session::upload_target`].
    pub fn uploaded(&mut self, n: usize) {
        let _ = n;
    }

    /// Delivers the reply that a suspended session waits for; the session may run again.
    pub fn resume(&mut self, reply: &[u8], out: &mut Output) {
        out.put(reply);
    }

    /// State to show in `stats conns` while the session waits for input.
    pub fn waiting_state(&self) -> ConnState {
        ConnState::Read
    }

    /// Whether the session is inside a request (a value is arriving): it counts against read buffer limits.
    pub fn mid_request(&self) -> bool {
        false
    }
}
