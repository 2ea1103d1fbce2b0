//! Owns the hand-written cases: commonly mishandled behaviours, one per case, on every run. Called by `main`, before
//! the random cases.

use crate::compare::Compare;
use crate::stream::{Case, Command, End, Exchange, Part, Transport};

/// One case per entry: writes on one connection, each reply read before the next write.
const STREAMS: &[&[&[u8]]] = &[
    // Valid replies of every verb.
    &[b"set a 5 0 1\r\nx\r\nget a\r\ngets a\r\nadd a 0 0 1\r\ny\r\nreplace a 1 0 2\r\nzz\r\nappend a 9 9 1\r\n!\r\n"],
    &[b"set a 0 0 1\r\nx\r\nprepend a 0 0 1\r\n<\r\ngat 0 a b a\r\ngats 0 a\r\ntouch a 0\r\ntouch b 0\r\ndelete a\r\n"],
    &[b"set a 0 0 1\r\nx\r\ncas a 0 0 1 2\r\ny\r\ncas a 0 0 1 2\r\nz\r\ncas b 0 0 1 2\r\nz\r\ngets a\r\n"],
    // A line in pieces, byte by byte.
    &[b"s", b"et", b" a 0 ", b"0 2", b"\r", b"\n", b"x", b"y\r", b"\n", b"get a", b"\r\n"],
    // Bad data chunks: unconsumed bytes are a command.
    &[b"set a 0 0 1\r\nxyz\r\nget a\r\n"],
    &[b"set a 0 0 3\r\nxyz\nversion\r\nversion\r\n"],
    &[b"set a 0 0 1 noreply\r\nxyz\r\nget a\r\n"],
    // noreply, where it is honoured and where not.
    &[b"foo noreply\r\nset k x noreply\r\nset k 0 0 noreply\r\nset noreply 0 0 1\r\nx\r\ndelete noreply\r\nget noreply\r\n"],
    &[b"incr a noreply\r\nincr a 1 noreply\r\nincr a x noreply\r\ntouch a x noreply\r\nflush_all noreply\r\nverbosity noreply\r\n"],
    &[b"slabs reassign 1 2 noreply\r\nlru mode foo noreply\r\nlru_crawler foo noreply\r\nversion noreply\r\nget a noreply\r\n"],
    // Short lines.
    &[b"get\r\n\r\n\na\r\nmn\nab\r\nabc\nmn\r\n"],
    &[b" get a\r\nget  a\r\nget a \r\nGET a\r\nget\ta\r\nget a\r\r\n"],
    // Numbers. Arithmetic is not sent after a read: see docs/compat.md.
    &[
        b"set n 0 0 2\r\n10\r\ndecr n 1\r\nget n\r\n",
        b"incr n 1\r\nget n\r\n",
        b"incr n 95\r\nget n\r\n",
        b"decr n 1000\r\nget n\r\n",
    ],
    &[b"set n 0 0 20\r\n18446744073709551615\r\nincr n 1\r\nget n\r\n", b"incr n 18446744073709551616\r\nincr n -1\r\nincr n\r\n"],
    &[b"set n 0 0 2\r\n 7\r\nincr n 1\r\nset n 0 0 0\r\n\r\nincr n 1\r\nset n 0 0 2\r\n-5\r\nincr n 1\r\nincr m 1\r\n"],
    &[b"set a 4294967295 0 1\r\nx\r\nget a\r\nset a 4294967296 0 1\r\nx\r\nget a\r\nset a -1 0 1\r\nx\r\nset a +5 0 1\r\nx\r\nget a\r\n"],
    &[b"set a 0 2147483648 1\r\nx\r\nget a\r\nset a 0 2592001 1\r\nx\r\nget a\r\nset a 0 -1 1\r\nx\r\nget a\r\nset a 0 2592000 1\r\nx\r\nget a\r\n"],
    &[b"set a 0 0 2147483646\r\nget a\r\nset a 0 0 -1\r\nset a 0 0 01\r\nx\r\nset a 0 0 +1\r\nx\r\n"],
    &[b"set a 0 0 1\r\nx\r\ntouch a 2147483648\r\ngat 2147483648 a\r\ntouch a abc\r\ngat abc a\r\ntouch a -1\r\nget a\r\n"],
    // Flushes: immediate, in the past without effect, and with an invalid time.
    &[b"set a 0 0 1\r\nx\r\nflush_all 1000000000\r\nget a\r\nflush_all\r\nget a\r\nset a 0 0 1\r\ny\r\nget a\r\n"],
    &[b"flush_all abc\r\nflush_all 99999999999\r\nflush_all -1\r\nflush_all 0 noreply\r\nflush_all 1 2 3\r\n"],
    // Sub-commands by prefix.
    &[b"stats r\r\nstats item\r\nstats noreply\r\nslabs a 1\r\nlru mode f\r\nlru mode segmented\r\nlru mode s\r\nstats detail o\r\nstats sizes\r\nstats sizes_enable\r\n"],
    &[b"stats cachedump\r\nstats cachedump 1\r\nstats cachedump 64 0\r\nstats cachedump a b\r\nstats detail\r\nstats detail x\r\n"],
    // Refusals with specific texts.
    &[b"shutdown\r\nshutdown graceful\r\nrefresh_certs\r\nmisbehave\r\ncache_memlimit 1\r\ncache_memlimit x\r\ncache_memlimit 1000000001\r\n"],
    // Ends of connections.
    &[b"version\r\nquit\r\nversion\r\n"],
    &[b"GET / HTTP/1.1\r\n"],
    &[b"get / HTTP/1.1\r\n"],
    &[b"get a", b"\r\n"],
    &[b"watch foo\r\n"],
    &[b"watch fetchers noreply\r\n"],
    &[b"version\r\nwatch fetchers\r\n"],
    &[b"set a 0 0 1 noreply\r\nx\r\nwatch\r\n"],
];

/// Lines without their newline: the bytes, their repetitions, and the bytes that follow later.
const LONG: &[(&[u8], &[u8], usize)] = &[
    (b"gat 0 ", b"k", 2042),
    (b"gat 0 ", b"k", 2043),
    (b"get ", b"kkkk ", 500),
    (b"gets ", b"kkkk ", 4000),
    (b"get ", b"k", 2045),
    (b"", b" ", 2048),
    (b"", b" ", 2049),
    (b"foo ", b"x", 2044),
    (b"foo ", b"x", 2045),
];

/// Datagrams of one client per case, with their headers.
const DATAGRAMS: &[&[&[u8]]] = &[
    &[b"\x01\x02\0\0\0\x01\0\0set a 0 0 1\r\nx\r\nget a b a\r\ngets a\r\nversion\r\n"],
    // Each datagram chooses its protocol.
    &[b"\0\x01\0\0\0\x01\0\0mn\r\n", b"\0\x02\0\0\0\x01\0\0\x80\x0a\0\0\0\0\0\0\0\0\0\0abcd\0\0\0\0\0\0\0\0"],
    &[b"\0\x02\0\0\0\x01\0\0\x80\x0a\0\0\0\0\0\0\0\0\0\0abcd\0\0\0\0\0\0\0\0version\r\n"],
    &[b"\0\x02\0\0\0\x01\0\0version\r\n\x80\x0a\0\0\0\0\0\0\0\0\0\0abcd\0\0\0\0\0\0\0\0"],
    // Datagrams that are not requests.
    &[b"", b"\x01", b"\0\x01\0\0\0\x01\0", b"\0\x01\0\0\0\x01\0\0", b"\0\x01\0\0\0\x01\0\0mn"],
    &[b"\0\x01\0\0\0\x02\0\0mn\r\n", b"\0\x01\0\x01\0\x02\0\0mn\r\n", b"\0\x02\0\0\0\0\0\0mn\r\n"],
    &[b"\0\x01\0\0\0\x01\0\0version\r\nlru_crawler metadump all\r\nlru_crawler mgdump x\r\n"],
    &[b"\0\x01\0\0\0\x01\0\0lru_crawler mgdump x\r\n", b"\0\x02\0\0\0\x01\0\0lru_crawler mgdump ,\r\n"],
    // Header fields that are ignored.
    &[b"\0\x01\0\x07\0\x01\x12\x34mn\r\n"],
    // Ends. Not after `mn`: see docs/compat.md.
    &[b"\0\x01\0\0\0\x01\0\0quit\r\nmn\r\n"],
    &[b"\0\x01\0\0\0\x01\0\0version\r\nquit\r\nmn\r\n"],
    &[b"\0\x01\0\0\0\x01\0\0delete a noreply\r\nquit\r\n"],
    &[b"\0\x01\0\0\0\x01\0\0\x80\x07\0\0\0\0\0\0\0\0\0\0abcd\0\0\0\0\0\0\0\0mn\r\n"],
    &[b"\0\x01\0\0\0\x01\0\0GET / HTTP/1.1\r\nmn\r\n"],
    &[b"\0\x01\0\0\0\x01\0\0mn\r\n\x81\r\nfoo\r\n\r\nmn\r\n"],
];

pub fn cases() -> Vec<Case> {
    let mut cases = STREAMS.iter().map(|writes| plain(writes)).collect::<Vec<_>>();
    for (head, unit, times) in LONG {
        let line = [*head, &unit.repeat(*times)].concat();
        cases.push(plain(&[&line, b"\r\n"]));
        cases.push(plain(&[&[line.as_slice(), b"\r\n"].concat()]));
    }
    for spaces in [100, 101] {
        let line = [" ".repeat(spaces).as_bytes(), b"get ", "kkk ".repeat(1000).as_bytes()].concat();
        cases.push(plain(&[&line, b"\r\n"]));
    }
    for length in [249, 250, 251] {
        let key = "k".repeat(length);
        let stored = format!("set a 0 0 1\r\nx\r\nset {key} 0 0 1\r\nx\r\n");
        let reads = ["get a", "gets", "gat 0 a"].map(|verb| format!("{verb} {key} a\r\n"));
        let changes =
            format!("incr {key} 1\r\ntouch {key} 0\r\ndelete {key}\r\nset {key} 0 0 1 noreply\r\nx\r\nget a\r\n");
        // Each read separately: one with a key that is too long revokes earlier replies.
        let writes = [&stored, &reads[0], &reads[1], &reads[2], &changes];
        cases.push(plain(&writes.map(|text| text.as_bytes())));
    }
    for value_size in [1_048_515, 1_048_516, 1_048_517, 1_048_576] {
        for tail in ["", " noreply"] {
            let value = "v".repeat(value_size);
            let text = format!(
                "set a 0 0 1\r\nx\r\nset a 0 0 {value_size}{tail}\r\n{value}\r\nget a\r\nappend a 0 0 1\r\nx\r\n"
            );
            cases.push(plain(&[text.as_bytes()]));
        }
    }
    cases.push(reports());
    for of in ["metadump all", "metadump hash", "metadump 2,+1", "metadump 63", "mgdump all", "mgdump hash"] {
        cases.push(dump(of));
    }
    cases.push(Case {
        exchanges: vec![
            Exchange { end: End::HalfClose, ..Exchange::new(0, vec![Command::bytes(b"set a 0 0 10\r\nhello")]) },
            Exchange::new(0, vec![Command::bytes(b"get a\r\n")]),
        ],
        ..Case::default()
    });
    // All cases again over TLS.
    let encrypted = cases.iter().map(|case| Case { transport: Transport::Tls, ..case.clone() }).collect::<Vec<_>>();
    cases.extend(encrypted);
    cases.extend(DATAGRAMS.iter().map(|datagrams| Case {
        transport: Transport::Udp,
        exchanges: vec![Exchange::new(0, datagrams.iter().map(|bytes| Command::bytes(*bytes)).collect())],
        ..Case::default()
    }));
    cases
}

fn plain(writes: &[&[u8]]) -> Case {
    let mut command = Command::default();
    for (index, bytes) in writes.iter().enumerate() {
        if index > 0 {
            command = command.then(Part::Barrier);
        }
        command = command.then_bytes(*bytes);
    }
    Case { exchanges: vec![Exchange::new(0, vec![command])], ..Case::default() }
}

fn one(line: &[u8], compare: Compare) -> Exchange {
    Exchange { compare, ..Exchange::new(0, vec![Command::bytes(line)]) }
}

fn reports() -> Case {
    let exchanges = vec![
        one(b"stats detail on\r\nset p:x 0 0 1\r\nx\r\nget p:x p:y q:z\r\ndelete p:x\r\nget plain\r\n", Compare::Exact),
        one(b"stats detail dump\r\n", Compare::Lines),
        one(b"stats\r\n", Compare::Stats),
        one(b"stats settings\r\n", Compare::Settings),
        one(b"stats slabs\r\n", Compare::Slabs),
        one(b"stats reset\r\n", Compare::Exact),
        one(b"stats\r\n", Compare::Stats),
        one(b"stats detail dump\r\n", Compare::Lines),
    ];
    Case { exchanges, ..Case::default() }
}

/// One dump per case: directly after another one memcached may still reply that it is busy.
fn dump(of: &str) -> Case {
    let exchanges = vec![
        one(b"set a 0 0 1\r\nx\r\nset b/\xff 7 0 1\r\nx\r\nset c 0 0 9\r\n123456789\r\nget c\r\n", Compare::Exact),
        one(b"lru_crawler metadump 64\r\n", Compare::Exact),
        one(b"lru_crawler mgdump 0\r\n", Compare::Exact),
        one(b"lru_crawler mgdump 1,word\r\n", Compare::Exact),
        one(b"lru_crawler crawl 1x\r\n", Compare::Exact),
        one(b"lru_crawler mgdump all noreply\r\n", Compare::Exact),
        one(b"version\r\nlru_crawler metadump all\r\n", Compare::Exact),
        one(format!("lru_crawler {of}\r\n").as_bytes(), Compare::Dump),
    ];
    Case { exchanges, ..Case::default() }
}
