//! Split invariance: however a conversation's bytes are split into arrivals, the replies are the same.
//!
//! Each conversation runs whole, then split at every byte, at every pair of bytes if it is short, byte by byte, and
//! at random. Lines stay below 2048 bytes: above that, a line without its end may cost the connection.

use crate::support::{Client, shared};

/// Conversations up to this length are split at every pair of bytes.
const PAIRS_MAX: usize = 260;

/// Maximum length of conversations split at every byte, one split each; longer ones get random splits only.
const SINGLES_MAX: usize = 10_000;

struct Splitter {
    client: Client,
    keys: Vec<String>,
}

impl Splitter {
    fn new(args: &str) -> Self {
        let client = Client::new(&shared(args));
        let keys = ["a", "b", "c", "n", "big"].map(str::to_owned).into();
        Self { client, keys }
    }

    /// Replies to `bytes` in these arrivals, from an empty server; CAS ids count from its start.
    fn replies<'a>(&mut self, arrivals: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
        self.client.restart();
        for key in &self.keys {
            self.client.feed(format!("delete {key} noreply\r\n").as_bytes());
        }
        self.client.feed(b"set base 0 0 0\r\n\r\ngets base\r\n");
        let base = cas_ids(&self.client.got).next().unwrap().2;
        self.client.restart();
        for arrival in arrivals {
            self.client.feed(arrival);
        }
        let got = std::mem::take(&mut self.client.got);
        let mut out = Vec::new();
        let mut done = 0;
        for (from, to, cas) in cas_ids(&got) {
            out.extend_from_slice(&got[done..from]);
            out.extend_from_slice((cas - base).to_string().as_bytes());
            done = to;
        }
        out.extend_from_slice(&got[done..]);
        (out, self.client.closed)
    }

    fn check(&mut self, whole: &[u8]) {
        let (wanted, closed) = self.replies(std::iter::once(whole));
        let shown = String::from_utf8_lossy(&whole[..whole.len().min(200)]).into_owned();
        let mut compare = |cuts: &[usize]| {
            let ends = cuts.iter().copied().chain([whole.len()]);
            let arrivals = ends.scan(0, |from, to| Some(&whole[std::mem::replace(from, to)..to]));
            let (got, ended) = self.replies(arrivals);
            if got != wanted || ended != closed {
                let (got, wanted) = (String::from_utf8_lossy(&got), String::from_utf8_lossy(&wanted));
                let from = got.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(40);
                panic!(
                    "{shown:?} cut at {cuts:?}, from reply byte {from}:\n got {:?} closed {ended}\nwant {:?} closed {closed}",
                    got.bytes().skip(from).take(200).map(char::from).collect::<String>(),
                    wanted.bytes().skip(from).take(200).map(char::from).collect::<String>(),
                );
            }
        };
        if whole.len() <= SINGLES_MAX {
            // Where replies are long, not at every byte.
            let step = 1 + whole.len() * wanted.len() / 200_000_000;
            (1..whole.len()).step_by(step).for_each(|cut| compare(&[cut]));
            compare(&(1..whole.len()).collect::<Vec<_>>());
        }
        if whole.len() <= PAIRS_MAX {
            for first in 1..whole.len() {
                (first + 1..whole.len()).for_each(|second| compare(&[first, second]));
            }
        }
        let mut rng = fastrand::Rng::with_seed(whole.len() as u64);
        for pieces in [2, 3, 10, 30] {
            for _ in 0..(10_000_000 / whole.len()).min(20) {
                let mut cuts: Vec<_> = (0..pieces).map(|_| rng.usize(1..whole.len().max(2))).collect();
                cuts.sort_unstable();
                compare(&cuts);
            }
        }
    }
}

/// Positions and values of the CAS ids in replies: the fifth word of `VALUE` lines.
fn cas_ids(replies: &[u8]) -> impl Iterator<Item = (usize, usize, u64)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < replies.len() {
            let end = replies[at..].iter().position(|&byte| byte == b'\n').map_or(replies.len(), |n| at + n + 1);
            let (from, line) = (at, std::str::from_utf8(&replies[at..end]).unwrap_or(""));
            at = end;
            let words: Vec<_> = line.trim_end().split(' ').collect();
            if let ["VALUE", _, _, len, more @ ..] = &words[..] {
                at += len.parse::<usize>().unwrap() + 2;
                if let [cas] = more {
                    let to = from + line.trim_end().len();
                    return Some((to - cas.len(), to, cas.parse().unwrap()));
                }
            }
        }
        None
    })
}

#[test]
fn meta_conversations() {
    let conversations: [&[u8]; 10] = [
        b"ms a 2\r\nhi\r\nmg a v f s t\r\nmg b v\r\nmn\r\nmd a\r\nmd a q\r\nmn\r\n",
        b"ms a 2 T0 F5 MS q\r\nhi\r\nms a 1 MA\r\n!\r\nms a 1 MP\r\n!\r\nmg a v f k O7 q\r\nmg b v q\r\nmn\r\n",
        b"ms a S2\r\nhi\r\nms a x\r\nhi\r\nms a 2 ZZ\r\nhi\r\nms\r\nmg\r\nms a\r\nmn\r\n",
        b"ms a 2\r\nhix\r\nmg a v\r\nms a 4\r\n\r\n\r\n\r\nmg a s v\r\n",
        b"ma n\r\nma n N0 J13 v\r\nma n MD D5 v t\r\nma n MI D18446744073709551615 v\r\nma n Dx\r\nma a q\r\n",
        b"ms YQ== 1 b\r\nx\r\nmg YQ== b k v\r\nmg a k v\r\nmg Y b v\r\nmd YQ== b k\r\n",
        b"ms a 1\r\nx\r\nmd a I T30\r\nmg a v t s\r\nmg a v s\r\nmg b v N30 t\r\nmg b v\r\n",
        b"ms a 1 I C1\r\nx\r\nms a 1 MR\r\nx\r\nms a 1 ME\r\nx\r\nms a 1 ME\r\nx\r\nms a 1 MX\r\nx\r\nmg a v\r\n",
        b"me a\r\nms a 0\r\n\r\nme b\r\nme\r\nmg a s v k\r\nmg a q k\r\nmn\r\nmg a\r\nmg b\r\n",
        b"mg a v v\r\nmg a v 1\r\nmg a Ox v q\r\nms a 3 q c\r\nabc\r\nmn\r\nmd b O1 k\r\nmd b q\r\nmn x\r\n",
    ];
    let mut splitter = Splitter::new("-m 64");
    // CAS ids of meta replies are not rebased; only `ms ... c` shows one, and quietly.
    for conversation in conversations {
        assert!(conversation.len() <= PAIRS_MAX);
        splitter.check(conversation);
    }
}

#[test]
fn short_conversations() {
    let conversations: [&[u8]; 40] = [
        b"set a 1 0 5\r\nhello\r\nget a\r\nget b\r\n",
        b"set a 0 0 2\r\n\r\n\r\nget a\r\n",
        b"set a 0 0 12\r\nget b\r\nxx\r\n\r\nget a\r\nget a b\r\n",
        b"set a 0 0 0\r\n\r\ngets a\r\nset a 0 0 0\r\n\r\ngets a a\r\n",
        b"add a 0 0 1\r\nx\r\nadd a 0 0 1\r\ny\r\nreplace b 0 0 1\r\nz\r\nreplace a 7 0 1\r\nw\r\nget a\r\n",
        b"set a 0 0 2\r\nbb\r\nappend a 0 0 1\r\nc\r\nprepend a 0 0 1\r\na\r\nget a\r\nappend b 0 0 1\r\nx\r\n",
        b"set a 0 0 1\r\nx\r\ncas a 0 0 1 1\r\ny\r\ncas b 0 0 1 1\r\ny\r\ncas a 0 0 1\r\ny\r\nget a\r\n",
        b"set n 0 0 2\r\n10\r\nincr n 5\r\ndecr n 10\r\nget n\r\nincr n 99999999999999999999\r\nincr b 1\r\nincr n x\r\n",
        b"set a 0 0 1\r\nx\r\nincr a 1\r\ntouch a 10\r\ntouch b 10\r\ntouch a x\r\ngat 10 a b\r\ngats 0 a\r\n",
        b"set a 0 0 1\r\nx\r\ndelete a\r\ndelete a\r\ndelete a 0\r\ndelete a 1\r\ndelete a 0 noreply\r\nget a\r\n",
        b"set a 0 0 1 noreply\r\nx\r\nadd a 0 0 1 noreply\r\ny\r\nget a\r\nincr a 1 noreply\r\nget a\r\n",
        b"set a 0 0 3\r\nxxxx\r\nget a\r\nset b 0 0 3\r\nxx\r\nget b\r\n\r\nget b\r\n",
        b"set a 0 0 3\r\nxxx\n\nget a\r\n",
        b"set a 0 0 -1\r\nget a\r\nset a 0 0 x\r\nget a\r\nset a 0 0\r\nget a\r\n",
        b"set a x 0 1\r\ny\r\nset a 0 x 1\r\ny\r\nset a 4294967296 0 1\r\ny\r\nget a\r\n",
        b"set a 0 0 99999999999\r\nget a\r\n",
        b"set a 0 0 2147483647\r\nget a\r\n",
        b"get\r\nget \r\nget  a  b \r\ngets\r\nget a\rb\r\n\r\nabc\r\nab\r\n\n\nx\n",
        b"get a\nset a 0 0 1\nx\r\nget a\n",
        b"GET a\r\nSet a 0 0 1\r\nx\r\nversion\r\nverbosity 0\r\nverbosity\r\nflush_all\r\nflush_all 0\r\n",
        b"set a 0 0 1\r\nx\r\nflush_all noreply\r\nget a\r\nflush_all x\r\nflush_all 0 noreply\r\nversion\r\n",
        b"set a 0 0 1\r\nx\r\nset b 0 0 1\r\ny\r\nget a b c a b\r\ngets b a\r\nget c\r\n",
        b"get a\r\nquit\r\nget a\r\n",
        b"GET / HTTP/1.1\r\nget a\r\n",
        b"shutdown\r\nslabs reassign 1 2\r\nlru tune 10 20 0.1 2.0\r\nlru_crawler tocrawl 1\r\ncache_memlimit 1\r\n",
        b"stats nothing\r\nstats detail\r\nstats reset\r\nstats cachedump 1\r\n",
        b" get a\r\n  set a 0 0 1\r\nx\r\nset  a  0  0  1 \r\nx\r\nget a\r\n",
        b"set a 0 0 1 noreply \r\nx\r\nset b 0 0 1 norepl\r\nx\r\nget a b\r\n",
        b"incr a 1\r\nincr\r\nincr a\r\ndecr a -1\r\ntouch\r\ntouch a\r\ngat\r\ngat 0\r\ngat x a\r\ndelete\r\n",
        b"set a 0 -1 1\r\nx\r\nget a\r\nset b 0 1 1\r\ny\r\nget b\r\n",
        b"set a 0 0 5\r\n\x00\x01\xff\n\r\r\nget a\r\n",
        b"\x80\x0b\x00\x00\r\n\xff\r\nget a\r\n",
        b"set a 0 0 1\r\nx\rget a\r\nget a\r\n",
        b"set a 0 0 1\r\nx\r",
        b"set a 0 0 10\r\nabc",
        b"get a",
        b"cas a 0 0 1 x\r\ny\r\ncas a 0 0 1 1 noreply\r\ny\r\ncas a 0 0 1 99999999999999999999999\r\ny\r\n",
        b"append a 0 0 0\r\n\r\nset a 0 0 0\r\n\r\nprepend a 0 0 0\r\n\r\nget a\r\nincr a 1\r\n",
        b"set n 0 0 20\r\n18446744073709551615\r\nincr n 1\r\nget n\r\ndecr n 1\r\nget n\r\nincr n 10\r\nget n\r\n",
        b"verbosity 1 noreply\r\nverbosity 0 noreply\r\nset a 0 0 1\r\nx\r\nget a\r\ngats 1\r\n",
    ];
    let mut splitter = Splitter::new("-m 64");
    for conversation in conversations {
        assert!(conversation.len() <= PAIRS_MAX);
        splitter.check(conversation);
    }
}

fn set(key: &str, len: usize) -> Vec<u8> {
    let mut request = format!("set {key} 0 0 {len}\r\n").into_bytes();
    request.extend((0..len).map(|at| b"line\r\nget a\r\n"[at % 13]));
    request.extend_from_slice(b"\r\n");
    request
}

#[test]
fn long_keys_and_lines() {
    let mut splitter = Splitter::new("-m 64");
    let long = "k".repeat(250);
    splitter.keys.push(long.clone());
    let too_long = "k".repeat(251);
    let many = "a b ".repeat(400);
    for conversation in [
        format!("set {long} 0 0 1\r\nx\r\nget {long}\r\ndelete {long}\r\n"),
        format!("set {too_long} 0 0 1\r\nx\r\nget a {too_long}\r\nget {too_long}\r\nincr {too_long} 1\r\nget a\r\n"),
        format!("set a 0 0 3\r\nabc\r\nget {many}\r\nget a\r\n"),
        format!("set a 0 0 3\r\nabc\r\nget {many} {too_long}\r\nget a\r\n"),
        format!("set a 0 0 3\r\nabc\r\ngats 0 {many}\r\nget a\r\n"),
        format!("{}\r\nget a\r\n", "x".repeat(2000)),
        format!("{}\r\nget a\r\n", "x ".repeat(1000)),
    ] {
        splitter.check(conversation.as_bytes());
    }
}

#[test]
fn large_values_and_full_outputs() {
    let mut splitter = Splitter::new("-m 256 -I 2m");
    let both = |a: &[u8], b: &[u8]| [a, b].concat();
    splitter.check(&both(&set("a", 4096), &both(&set("b", 4097), b"get a b a b c\r\n")));
    splitter.check(&both(&set("a", 17_000), b"append a 0 0 2\r\nxy\r\nget a\r\ntouch a 0\r\nget a\r\n"));
    splitter.check(&both(&set("a", 70_000), b"get a a a a a a a a a a\r\nget b\r\n"));
    splitter.check(&both(
        &set("big", 600_000),
        &both(&set("a", 3), b"get big a big\r\nprepend big 0 0 1\r\nx\r\nget big\r\n"),
    ));
    splitter.check(&both(&set("big", 1_500_000), b"get big\r\ndelete big\r\nget big\r\n"));
    splitter.check(&both(&set("big", 2_500_000), b"get big\r\n"));
    // More replies than one output holds.
    let line = "get a a a a a a a a a a a a a a a a a a a a a a\r\n".repeat(20);
    splitter.check(&both(&set("a", 4000), line.as_bytes()));
    let line = "get a a a a a a a a a a a a a a a a a a a a a a\r\n".repeat(20);
    splitter.check(&both(&set("a", 5000), line.as_bytes()));
}

/// Lines whose keys are prefetched while they wait in a pipeline, in forms that are easily taken for others.
#[test]
fn lines_of_unusual_form() {
    let mut splitter = Splitter::new("-m 64");
    for conversation in [
        "set a 0 0 1\r\n1\r\nget a \r\nget  a\r\nget a  \r\ngets  a b \nget   \r\nget a b a n c a b n\r\n",
        "set  a 0  0 1 \r\n1\r\nincr a  5\r\nincr  a 5 \ndecr a 1 noreply\r\nget a\r\ntouch  a 9\r\ngat 5 a b \r\ngats  5  b a\r\n",
        "append a 0 0\r\nset a 0 0 1 noreply \r\n1\r\nappend  a 0 0 1\r\n2\r\ncas a 0 0 1 9\r\n3\r\ndelete  a \r\nget a \r\n",
        "ms  YQ==  1 b\r\nx\r\nmg YQ==  b k v\r\nmg a b\r\nmg a v Ob k\r\nme YQ== b\r\nmd YQ== q b\r\nmg  a v\r\nms a 1  b\r\n1\r\n",
        "ms a 1 Tb\r\nx\r\nms a 1 b b\r\nx\r\nmg a b v b\r\nma n N0 b\r\nma bg== b N0 J4 v\r\nma  bg== v  b\r\nget n \r\nmn \r\nmn\r\n",
    ] {
        splitter.check(conversation.as_bytes());
    }
}

#[test]
fn pipelines_longer_than_one_turn() {
    let mut splitter = Splitter::new("-m 64 -R 3");
    let mut pipeline = Vec::new();
    let mut rng = fastrand::Rng::with_seed(7);
    for n in 0..150 {
        let key = ["a", "b", "c", "n"][rng.usize(..4)];
        let piece = match rng.u8(..9) {
            0..3 => format!("set {key} 0 0 {}\r\n{}\r\n", n % 90, "v".repeat(n % 90)),
            3..5 => format!("get {key}\r\n"),
            5 => format!("gets a {key} c\r\n"),
            6 => format!("delete {key}\r\n"),
            7 => format!("set {key} 0 0 1\r\n{n}\r\n"),
            _ => format!("incr {key} 1\r\n"),
        };
        pipeline.extend_from_slice(piece.as_bytes());
    }
    splitter.check(&pipeline);
}
