//! Conversations: requests and the replies that they must get, however the bytes of the requests arrive.
//!
//! Each conversation runs in three cuttings, each time with a new client: request by request, byte by byte, and with
//! all requests at once. A script is a conversation as text, line by line:
//!
//! | line | meaning |
//! |---|---|
//! | `> get a` | a request, or a line of one, sent with its line end |
//! | `VALUE a 0 1` | a line of the replies to the requests above it |
//! | <code>&#124;</code> | an empty line of them; one on either side of a line keeps blanks at its ends |
//! | `+10` | ten seconds pass |
//! | `!closed` | the server closes the connection; only at the end |
//!
//! `\xNN` stands for a byte, and `x{N}` for N times the letter. Blanks around a line do not count.

use super::{Client, shared};
use oxcached::proto::Shared;

/// How the bytes of a conversation arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Requests,
    Bytes,
    Whole,
}

/// The server's side of a connection.
pub trait Peer {
    /// The cuttings that it can see.
    const CUTS: &'static [Cut] = &[Cut::Requests, Cut::Bytes, Cut::Whole];

    /// One arrival of bytes.
    fn send(&mut self, bytes: &[u8]);

    /// The replies to all that was sent: at least `len` bytes, unless there are no more.
    fn receive(&mut self, len: usize) -> Vec<u8>;

    /// Whether the server has closed the connection, after all replies; waits for that where it shows late.
    fn is_closed(&mut self) -> bool;

    /// The same where it shows at once; false elsewhere.
    fn is_closed_early(&self) -> bool {
        false
    }

    fn shared(&self) -> &Shared;
}

impl Peer for Client {
    fn send(&mut self, bytes: &[u8]) {
        self.feed(bytes);
    }

    fn receive(&mut self, _: usize) -> Vec<u8> {
        std::mem::take(&mut self.got)
    }

    fn is_closed(&mut self) -> bool {
        self.closed
    }

    fn is_closed_early(&self) -> bool {
        self.closed
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }
}

/// What has a form on the wire: text, bytes, packets.
pub trait Wire {
    fn wire(&self) -> Vec<u8>;
}

impl Wire for str {
    fn wire(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Wire for String {
    fn wire(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Wire for [u8] {
    fn wire(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn wire(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Wire for Vec<u8> {
    fn wire(&self) -> Vec<u8> {
        self.clone()
    }
}

/// A conversation with one peer, in one cutting.
pub struct Conversation<P: Peer = Client> {
    peer: P,
    cut: Cut,
    /// Not yet sent: with [`Cut::Whole`], all requests since the last [`Conversation::settle`].
    requests: Vec<u8>,
    /// Expected and not yet compared.
    replies: Vec<u8>,
    has_ended: bool,
}

/// Runs `talk` once for each cutting, each time with a new peer.
#[track_caller]
pub fn in_every_cut<P: Peer>(connect: impl Fn() -> P, talk: impl Fn(&mut Conversation<P>)) {
    for &cut in P::CUTS {
        let (peer, requests, replies) = (connect(), Vec::new(), Vec::new());
        let mut conversation = Conversation { peer, cut, requests, replies, has_ended: false };
        talk(&mut conversation);
        conversation.settle();
        let was_closed = conversation.peer.is_closed_early();
        assert!(conversation.has_ended || !was_closed, "by {cut:?}: the connection has ended");
    }
}

/// Runs a script against a new server with these options.
#[track_caller]
pub fn run(args: &str, script: &str) {
    in_every_cut(|| Client::new(&shared(args)), |talk| talk.script(script));
}

impl<P: Peer> Conversation<P> {
    /// Sends a request, to which these are the replies. With [`Cut::Whole`] it leaves together with those that follow.
    #[track_caller]
    pub fn expect(&mut self, request: &(impl Wire + ?Sized), replies: &(impl Wire + ?Sized)) {
        self.requests.extend(request.wire());
        self.replies.extend(replies.wire());
        if self.cut != Cut::Whole {
            self.settle();
        }
    }

    /// Has all requests sent, and compares their replies.
    #[track_caller]
    pub fn settle(&mut self) {
        let (requests, wanted) = (std::mem::take(&mut self.requests), std::mem::take(&mut self.replies));
        self.send(&requests);
        let got = self.peer.receive(wanted.len());
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(2000)].escape_ascii().to_string();
        assert!(
            got == wanted,
            "by {:?}: {}\n   got {}\nwanted {}",
            self.cut,
            shown(&requests),
            shown(&got),
            shown(&wanted)
        );
    }

    fn send(&mut self, requests: &[u8]) {
        match self.cut {
            Cut::Bytes => requests.chunks(1).for_each(|byte| self.peer.send(byte)),
            _ if requests.is_empty() => {}
            _ => self.peer.send(requests),
        }
    }

    /// The peer, after all requests so far.
    #[track_caller]
    pub fn peer(&mut self) -> &mut P {
        self.settle();
        &mut self.peer
    }

    #[track_caller]
    pub fn pass(&mut self, seconds: i64) {
        self.peer().shared().clock.advance(seconds);
    }

    /// Expects that the server has closed the connection after these requests.
    #[track_caller]
    pub fn expect_end(&mut self) {
        self.has_ended = self.peer().is_closed();
        assert!(self.has_ended, "by {:?}: the connection is open", self.cut);
    }

    /// Runs a script.
    #[track_caller]
    pub fn script(&mut self, script: &str) {
        let (mut request, mut replies) = (Vec::new(), Vec::new());
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(sent) = line.strip_prefix('>') {
                if !replies.is_empty() {
                    self.expect(&std::mem::take(&mut request), &std::mem::take(&mut replies));
                }
                request.extend([&unescape(sent.trim_start())[..], b"\r\n"].concat());
            } else if let Some(seconds) = line.strip_prefix('+') {
                self.expect(&std::mem::take(&mut request), &std::mem::take(&mut replies));
                self.pass(seconds.parse().unwrap());
            } else if line == "!closed" {
                self.expect(&std::mem::take(&mut request), &std::mem::take(&mut replies));
                self.expect_end();
            } else {
                replies.extend([&unescape(line.trim_matches('|'))[..], b"\r\n"].concat());
            }
        }
        self.expect(&request, &replies);
    }
}

impl Conversation {
    /// The replies to a request, for the caller to judge.
    #[track_caller]
    pub fn ask(&mut self, request: &(impl Wire + ?Sized)) -> Vec<u8> {
        self.settle();
        self.send(&request.wire());
        Peer::receive(&mut self.peer, 0)
    }
}

/// Replaces `\xNN` by the byte, and `x{N}` by N times the letter before it.
fn unescape(line: &str) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let mut rest = line.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'\\' => {
                let hex = std::str::from_utf8(&tail[1..3]).unwrap();
                out.push(u8::from_str_radix(hex, 16).unwrap());
                rest = &tail[3..];
            }
            b'{' => {
                let end = tail.iter().position(|&byte| byte == b'}').unwrap();
                let times: usize = std::str::from_utf8(&tail[..end]).unwrap().parse().unwrap();
                let last = *out.last().unwrap();
                out.extend(std::iter::repeat_n(last, times - 1));
                rest = &tail[end + 1..];
            }
            byte => out.push(*byte),
        }
    }
    out
}
