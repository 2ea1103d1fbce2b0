//! A request datagram and the datagrams that answer it, with memcached's frame around both.
//!
//! Owns the frame, the buffers and the request in progress: a fresh session that runs over one datagram, in turns.
//! Knows no sockets; `udp` receives, sends and gives the turns.
//!
//! ```text
//!   request and reply header, big endian: id u16 | sequence u16 | total datagrams u16 | 0 u16
//! ```
//!
//! A reply is sent datagram by datagram, each copied out of the output when it is sent, so a request holds no more than
//! the output's bound however much it asks for. No command runs while replies wait for the socket.

use super::handler::Handler;
use crate::limits::{DATAGRAM_ANSWER_MAX, READ_BUF};
use crate::proto::{CloseReason, Cx, Input, Output, Protocol, Step};
use crate::stats::Counter;

/// Bytes of the header.
pub const HEADER: usize = 8;

/// First byte of a body in the binary protocol.
const PACKET: u8 = 0x80;

/// Maximum size of one reply datagram, header included.
pub const DATAGRAM_MAX: usize = 1400;

/// Reply bytes in one datagram.
const PAYLOAD: usize = DATAGRAM_MAX - HEADER;

/// Replaces a text reply that would exceed `DATAGRAM_ANSWER_MAX`.
const TOO_LARGE: &[u8] = b"SERVER_ERROR reply too large for datagrams\r\n";

// The largest payload of a UDP datagram: a truncated one would pass for a whole request.
const _: () = assert!(READ_BUF > 65_527);

/// Budget of one turn; counted down.
pub struct Allowance {
    /// Commands to run.
    pub commands: u32,
    /// Datagrams to send.
    pub datagrams: u32,
}

/// Result of sending one datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendOutcome {
    /// Sent.
    Yes,
    /// The send buffer is full: retry later.
    Full,
    /// It cannot be sent.
    Lost,
}

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TurnEnd {
    /// The request is answered.
    Done,
    /// There is more to do, but the allowance is used up or the session yields.
    More,
    /// The send buffer is full.
    Full,
}

/// Answers datagrams one after the other; the buffers are all that requests share.
pub struct Answerer<S> {
    input: Input,
    output: Output,
    request: Option<UdpRequest<S>>,
}

/// The request in progress.
struct UdpRequest<S> {
    session: S,
    id: [u8; 2],
    packets: bool,
    /// Some reply was not empty.
    said: bool,
    stage: RequestStage,
    /// The session wants replies written, and none is complete.
    waits: bool,
    /// Progress of the reply at the front; `None` before its first datagram.
    series: Option<Series>,
    /// Datagrams of all replies begun so far.
    sent: usize,
}

enum RequestStage {
    Runs,
    /// The session yields to other sessions.
    Yielded,
    /// Send a bare header, then end.
    Farewell,
    Over,
}

#[derive(Clone, Copy)]
struct Series {
    sequence: u16,
    total: u16,
}

impl<S: Handler> Default for Answerer<S> {
    fn default() -> Self {
        Self { input: Input::default(), output: Output::with_ends(), request: None }
    }
}

impl<S: Handler> Answerer<S> {
    /// Memory that unsent replies hold, pinned values included.
    pub fn held(&self) -> usize {
        self.output.memory()
    }

    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        self.request.is_some()
    }

    /// Buffer for the next datagram. Drops the request in progress.
    pub fn space(&mut self) -> &mut [u8] {
        self.request = None;
        // A request that panicked leaves its bytes behind.
        self.input.reset();
        self.output.clear();
        self.input.space()
    }

    /// Begins a request with the `n` bytes received into [`Answerer::space`]; false if they are no request.
    pub fn begin(&mut self, n: usize, cx: &Cx<'_>) -> bool {
        if n <= HEADER {
            return false;
        }
        cx.counters.add(Counter::BytesRead, n as u64);
        self.input.filled(n);
        let bytes = self.input.bytes();
        if bytes[4..6] != [0, 1] {
            return false;
        }
        self.request = Some(UdpRequest {
            session: S::new(Protocol::Negotiating),
            id: [bytes[0], bytes[1]],
            packets: bytes[HEADER] == PACKET,
            said: false,
            stage: RequestStage::Runs,
            waits: false,
            series: None,
            sent: 0,
        });
        self.input.consume(HEADER);
        true
    }

    /// Continues the request in progress; `send` gets each datagram of the answer.
    pub fn turn(
        &mut self,
        cx: &mut Cx<'_>,
        allowance: &mut Allowance,
        mut send: impl FnMut(&[u8]) -> SendOutcome,
    ) -> TurnEnd {
        // Taken out, so that a request that panics is not retried.
        let Some(mut request) = self.request.take() else { return TurnEnd::Done };
        let progress = loop {
            if let Some(stop) = self.send_replies(&mut request, cx, allowance, &mut send) {
                break stop;
            }
            match request.stage {
                RequestStage::Runs => self.run(&mut request, cx, allowance),
                RequestStage::Yielded => {
                    request.stage = RequestStage::Runs;
                    break TurnEnd::More;
                }
                RequestStage::Farewell => {
                    let full = send(&header(request.id, 0, 0)) == SendOutcome::Full;
                    break if full { TurnEnd::Full } else { TurnEnd::Done };
                }
                RequestStage::Over => break TurnEnd::Done,
            }
        };
        if progress != TurnEnd::Done {
            self.request = Some(request);
        }
        progress
    }

    fn run(&mut self, request: &mut UdpRequest<S>, cx: &mut Cx<'_>, allowance: &mut Allowance) {
        self.output.forget_sent();
        let step = request.session.run(cx, &mut self.input, &mut self.output, &mut allowance.commands);
        let silent = self.output.ends_with_nothing();
        request.said |= !self.output.is_empty();
        let waits = step == Step::Flush && self.output.front_reply().is_none();
        let waited = std::mem::replace(&mut request.waits, waits);
        match step {
            // The bytes behind the last reply mark are an incomplete reply.
            Step::Yield => {
                request.stage = RequestStage::Yielded;
                return;
            }
            // Here too the last reply may be incomplete: the end of a multiget is still to come. Only once, or a full
            // output would stay full.
            Step::Flush if !(waits && waited) => return,
            Step::Abort(_) => return self.give_up(request),
            _ => self.output.end_of_reply(),
        }
        request.stage = match step {
            Step::Flush => {
                request.waits = false;
                RequestStage::Runs
            }
            // A close without a reply is answered by a bare header; in text, only if nothing was replied before.
            Step::Close(CloseReason::Normal) if silent && (!request.said || request.packets) => RequestStage::Farewell,
            _ => RequestStage::Over,
        };
    }

    /// Sends the complete replies, each as its own series. Returns why it stopped if some are left.
    fn send_replies(
        &mut self,
        request: &mut UdpRequest<S>,
        cx: &Cx<'_>,
        allowance: &mut Allowance,
        send: &mut impl FnMut(&[u8]) -> SendOutcome,
    ) -> Option<TurnEnd> {
        while let Some(left) = self.output.front_reply() {
            if allowance.datagrams == 0 {
                return Some(TurnEnd::More);
            }
            let Some(mut series) = request.series.or_else(|| request.begin_series(left)) else {
                cx.counters.add(Counter::ResponseOom, 1);
                self.give_up(request);
                continue;
            };
            let mut datagram = [0; DATAGRAM_MAX];
            datagram[..HEADER].copy_from_slice(&header(request.id, series.sequence, series.total));
            let n = self.output.copy_front(&mut datagram[HEADER..][..left.min(PAYLOAD)]);
            allowance.datagrams -= 1;
            let taken = match send(&datagram[..HEADER + n]) {
                SendOutcome::Yes => n,
                // A series with a gap is useless.
                SendOutcome::Lost => left,
                SendOutcome::Full => {
                    request.series = Some(series);
                    return Some(TurnEnd::Full);
                }
            };
            self.output.advance(taken);
            series.sequence = series.sequence.wrapping_add(1);
            request.series = (taken < left).then_some(series);
        }
        None
    }

    /// Ends a request with an answer of too many datagrams: the rest is neither run nor answered.
    fn give_up(&mut self, request: &mut UdpRequest<S>) {
        self.output.clear();
        request.stage = RequestStage::Over;
        request.sent = 0;
        if !request.packets {
            self.output.put(TOO_LARGE);
            self.output.end_of_reply();
        }
    }
}

impl<S> UdpRequest<S> {
    /// Starts the series of a reply of `bytes`; `None` if all replies together exceed `DATAGRAM_ANSWER_MAX`.
    fn begin_series(&mut self, bytes: usize) -> Option<Series> {
        let sent = self.sent + bytes.div_ceil(PAYLOAD);
        let total = u16::try_from(sent - self.sent).ok().filter(|_| sent <= DATAGRAM_ANSWER_MAX)?;
        self.sent = sent;
        Some(Series { sequence: 0, total })
    }
}

fn header(id: [u8; 2], sequence: u16, total: u16) -> [u8; HEADER] {
    let ([s0, s1], [t0, t1]) = (sequence.to_be_bytes(), total.to_be_bytes());
    [id[0], id[1], s0, s1, t0, t1, 0, 0]
}
