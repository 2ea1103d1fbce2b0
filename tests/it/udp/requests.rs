//! Requests in datagrams: the replies of a connection, each in a series of its own.

use crate::binary::packet::{err, get, hit, req, res, set};
use crate::support::script::{Cut, Peer, in_every_cut};
use crate::support::{self, shared};
use oxcached::net::{Answerer, DATAGRAM_HEADER};
use oxcached::proto::{Session, Shared};
use std::sync::Arc;

/// A client that sends each arrival as one datagram. One cannot arrive byte by byte.
struct Datagrams {
    shared: Arc<Shared>,
    answerer: Answerer<Session>,
    sent: u8,
    got: Vec<u8>,
}

impl Datagrams {
    fn new(args: &str) -> Self {
        Self { shared: shared(args), answerer: Answerer::default(), sent: 0, got: Vec::new() }
    }
}

impl Peer for Datagrams {
    const CUTS: &'static [Cut] = &[Cut::Requests, Cut::Whole];

    fn send(&mut self, bytes: &[u8]) {
        self.sent += 1;
        let request = [&[0, self.sent, 0, 0, 0, 1, 0, 0], bytes].concat();
        for answer in support::answer(&mut self.answerer, &self.shared, &request) {
            let (header, body) = answer.split_at(DATAGRAM_HEADER);
            assert_eq!(header, [0, self.sent, 0, 0, 0, 1, 0, 0], "the first and last of its series");
            self.got.extend_from_slice(body);
        }
    }

    fn receive(&mut self, _: usize) -> Vec<u8> {
        std::mem::take(&mut self.got)
    }

    fn is_closed(&mut self) -> bool {
        false
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }
}

fn run(script: &str) {
    in_every_cut(|| Datagrams::new(""), |talk| talk.script(script));
}

#[test]
fn text_commands() {
    run(r"
        > set a 1 10 5
        > hello
        STORED
        > get a b
        VALUE a 1 5
        hello
        END
        > set n 0 0 1 noreply
        > 7
        > incr n 1 noreply
        > incr n 1
        9
        > delete b
        NOT_FOUND
        > nonsense
        ERROR
        +10
        > get a
        END
    ");
}

#[test]
fn meta_commands() {
    run(r"
        > ms a 2 T30 c
        > hi
        HD c2
        > mg a v t O7
        VA 2 t30 O7
        hi
        > mg b v q
        > md a q
        > mn
        MN
        > mg a v
        EN
    ");
}

#[test]
fn packets() {
    in_every_cut(
        || Datagrams::new(""),
        |talk| {
            talk.expect(&[set("a", "x"), get("a")], &[res(0x01).cas(2), hit(0x00, 2, 0, "x")]);
            talk.expect(&[req(0x09).key("b"), get("b"), req(0x0a)], &[err(0x00, 0x01), res(0x0a)]);
        },
    );
}
