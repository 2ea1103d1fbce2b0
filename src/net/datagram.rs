//! A request datagram and the datagrams that answer it: memcached's frame around both.
//!
//! Owns the frame and the buffers of one conversation, which is as long as its datagram: a fresh session runs over it
//! once. Knows no sockets; `udp` receives and sends.
//!
//! ```text
//!   request and reply header, big endian: id u16 | sequence u16 | datagrams in all u16 | 0 u16
//! ```

use super::talk::Talk;
use crate::proto::{CloseReason, Cx, Input, Output, Protocol, Step};
use crate::stats::Counter;
use std::io::IoSlice;
use std::marker::PhantomData;

/// Bytes of the header.
pub const HEADER: usize = 8;

/// First byte of a body that is packets.
const PACKET: u8 = 0x80;

/// Most bytes of one reply datagram, header included.
pub const DATAGRAM_MAX: usize = 1400;

/// Answers datagrams, one after the other; the buffers are all that they have in common.
pub struct Answerer<S> {
    input: Input,
    output: Output,
    session: PhantomData<S>,
}

impl<S: Talk> Default for Answerer<S> {
    fn default() -> Self {
        Self { input: Input::default(), output: Output::with_ends(), session: PhantomData }
    }
}

impl<S: Talk> Answerer<S> {
    /// Answers one datagram as it was received; `send` gets each datagram of the answer. Gives whether a command has
    /// run.
    pub fn answer(&mut self, received: &[u8], cx: &mut Cx<'_>, mut send: impl FnMut(&[u8])) -> bool {
        if received.len() <= HEADER {
            return false;
        }
        cx.counters.add(Counter::BytesRead, received.len() as u64);
        let (header, body) = received.split_at(HEADER);
        if header[4..6] != [0, 1] {
            return false;
        }
        let id = [header[0], header[1]];
        // What a panic has left there belongs to another datagram.
        self.input.reset();
        self.output.clear();
        self.input.append(body);
        let mut session = S::new(Protocol::Negotiating);
        // The datagram ends, so no client can go on for ever and the budget is only there to be counted down.
        let mut budget = u32::MAX;
        let mut said = false;
        let quit = loop {
            let step = session.run(cx, &mut self.input, &mut self.output, &mut budget);
            let silent = self.output.ends_with_nothing();
            said |= !self.output.is_empty();
            self.send_replies(id, &mut send);
            match step {
                Step::Flush => {}
                // A farewell that says nothing is a bare header; in text, only if nothing was said before.
                Step::Close(reason) => {
                    let bare = silent && (!said || body[0] == PACKET);
                    break bare && reason == CloseReason::Normal;
                }
                Step::Read | Step::Yield | Step::Suspend | Step::HandOver | Step::Abort(_) => break false,
            }
        };
        if quit {
            send(&[id[0], id[1], 0, 0, 0, 0, 0, 0]);
        }
        budget < u32::MAX
    }

    /// Sends what the output holds, each reply as a series of its own.
    fn send_replies(&mut self, id: [u8; 2], send: &mut impl FnMut(&[u8])) {
        let mut whole = Vec::new();
        for slices in self.output.replies() {
            whole.clear();
            slices.iter().for_each(|slice: &IoSlice<'_>| whole.extend_from_slice(slice));
            let total = whole.len().div_ceil(DATAGRAM_MAX - HEADER);
            let [total_high, total_low] = (total as u16).to_be_bytes();
            for (sequence, part) in whole.chunks(DATAGRAM_MAX - HEADER).enumerate() {
                let [high, low] = (sequence as u16).to_be_bytes();
                let mut datagram = [0; DATAGRAM_MAX];
                datagram[..HEADER].copy_from_slice(&[id[0], id[1], high, low, total_high, total_low, 0, 0]);
                datagram[HEADER..HEADER + part.len()].copy_from_slice(part);
                send(&datagram[..HEADER + part.len()]);
            }
        }
        self.output.clear();
    }
}
