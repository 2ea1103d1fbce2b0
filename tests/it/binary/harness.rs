//! A session without sockets.

use super::packet::{Packet, all};
use oxcached::clock::Clock;
use oxcached::proto::{CloseReason, Cx, Input, Output, Protocol, Session, Shared, Step};
use oxcached::settings::{Action, Settings, parse};
use std::io::IoSlice;
use std::sync::Arc;

/// Unix time of the clock's second 0.
pub const UNIX_START: i64 = 1_700_000_000;

pub fn settings(args: &str) -> Settings {
    let words = std::iter::once("oxcached").chain(args.split_ascii_whitespace());
    match parse(words.map(Into::into)).unwrap() {
        Action::Run(settings) => *settings,
        other => panic!("{other:?}"),
    }
}

pub fn shared(args: &str) -> Arc<Shared> {
    Arc::new(Shared::new(settings(args), Clock::manual(UNIX_START), Box::new(|_| ())).unwrap())
}

/// One connection.
pub struct Talk {
    pub shared: Arc<Shared>,
    session: Session,
    input: Input,
    output: Output,
}

impl Talk {
    /// A connection to a new server.
    pub fn new(args: &str) -> Self {
        Self::with(shared(args))
    }

    pub fn with(shared: Arc<Shared>) -> Self {
        let (input, output) = (Input::default(), Output::default());
        Self { shared, session: Session::new(Protocol::Negotiating), input, output }
    }

    /// Feeds bytes as a connection does; returns the replies, and the step that ended the session, if any.
    pub fn feed(&mut self, mut bytes: &[u8]) -> (Vec<u8>, Option<Step>) {
        let mut replies = Vec::new();
        loop {
            let mut budget = 20;
            let counters = &self.shared.stats.workers[0];
            let mut cx = Cx::new(&self.shared, counters, 1);
            let step = self.session.run(&mut cx, &mut self.input, &mut self.output, &mut budget);
            let mut slices: Vec<IoSlice<'_>> = Vec::new();
            self.output.io_slices(&mut slices);
            replies.extend(slices.iter().flat_map(|slice| slice.iter().copied()));
            let written = slices.iter().map(|slice| slice.len()).sum();
            drop(slices);
            self.output.advance(written);
            match step {
                Step::Read if bytes.is_empty() => return (replies, None),
                Step::Read => bytes = self.take(bytes),
                Step::Flush | Step::Yield => {}
                other => return (replies, Some(other)),
            }
        }
    }

    /// Takes some of the bytes, into the value that waits for them or into the input; returns the rest.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let n = match self.session.upload_target().filter(|target| !target.is_empty()) {
            Some(target) => {
                let n = bytes.len().min(target.len());
                target[..n].copy_from_slice(&bytes[..n]);
                self.session.uploaded(n);
                n
            }
            None => {
                assert!(self.input.grow());
                let space = self.input.space();
                let n = bytes.len().min(space.len());
                space[..n].copy_from_slice(&bytes[..n]);
                self.input.filled(n);
                n
            }
        };
        &bytes[n..]
    }

    /// Replies to `packets`; the connection must stay open.
    #[track_caller]
    pub fn answers(&mut self, packets: &[Packet]) -> Vec<u8> {
        let (replies, end) = self.feed(&all(packets));
        assert_eq!(end, None);
        replies
    }

    /// Sends `packets` and expects `replies`.
    #[track_caller]
    pub fn expect(&mut self, packets: &[Packet], replies: &[Packet]) {
        let answers = self.answers(packets);
        assert!(answers == all(replies), "got {}\nwanted {}", shown(&answers), shown(&all(replies)));
    }

    /// [`Talk::expect`] for a connection that is then closed.
    #[track_caller]
    pub fn expect_end(&mut self, bytes: &[u8], replies: &[Packet], end: CloseReason) {
        let (answers, step) = self.feed(bytes);
        assert!(answers == all(replies), "got {}\nwanted {}", shown(&answers), shown(&all(replies)));
        assert_eq!(step, Some(Step::Close(end)));
    }

    /// Value of a row of `stats`.
    pub fn stat(&mut self, name: &str) -> String {
        let rows = super::packet::rows(&self.answers(&[super::packet::req(0x10)]));
        rows.into_iter().find(|(row, _)| row == name).unwrap().1
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(400)].escape_ascii().to_string()
}
