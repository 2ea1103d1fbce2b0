//! Owns the requests of hostile clients: a list of conversations that leave a connection in every possible state.
//!
//! Called by `hostile`, which draws how each is sent and how it ends, and by the tables of ends (`ends`,
//! tests/it/lifecycle/ends.rs), which end the server during each. No conversation changes a key of the load, or a count that
//! `sums` compares exactly.

use std::sync::{Arc, OnceLock};

use fastrand::Rng;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Listener of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// Serves without login.
    Plain,
    /// Requires a login by text (`-Y`).
    Login,
    Tls,
    /// The admin listener.
    Admin,
}

/// One conversation.
pub struct Kind {
    pub name: &'static str,
    pub door: Door,
    /// State in `stats conns` after the client has sent all of this and reads nothing; `None` if it depends on
    /// timing.
    pub shown: Option<&'static str>,
    pub words: fn(&mut Rng) -> Vec<u8>,
}

/// Length of the value that never-reading clients request.
const BIG: usize = 500_000;

/// Number of their requests: far more than all buffers hold.
const ASKED: usize = 60;

/// `-I` of the server.
const ITEM_MAX: usize = 1 << 20;

const fn kind(door: Door, name: &'static str, shown: Option<&'static str>, words: fn(&mut Rng) -> Vec<u8>) -> Kind {
    Kind { name, door, shown, words }
}

use Door::{Admin, Login, Plain, Tls};

pub const KINDS: [Kind; 40] = [
    kind(Plain, "nothing", Some("conn_new_cmd"), |_| Vec::new()),
    kind(Plain, "half a line", Some("conn_read"), |_| b"get torture:70".to_vec()),
    kind(Plain, "half a long get line", Some("conn_read"), |_| multiget(20_000, &key(1), b"")),
    kind(Plain, "a long get line", None, |rng| multiget(rng.usize(..5000), &key(2), b"\r\n")),
    kind(Plain, "half a value", Some("conn_nread"), |rng| set(&key(3), rng.usize(2..9000), 2)),
    kind(Plain, "half a value of -I", Some("conn_nread"), |_| set(&key(4), ITEM_MAX - 200, 2)),
    kind(Plain, "a value of -I", None, |rng| set(&key(5), ITEM_MAX - rng.usize(..400), 1)),
    kind(Plain, "half a meta value", Some("conn_nread"), |_| format!("ms {} 1000 T0\r\nhalf", key(6)).into_bytes()),
    kind(Plain, "half a refused value", Some("conn_swallow"), |_| set(&key(7), 3 * ITEM_MAX, 6)),
    kind(Plain, "half a header", Some("conn_read"), |_| vec![0x80, 0, 0, 9]),
    kind(Plain, "half a packet", Some("conn_nread"), |_| packet(0x01, &[0; 8], &key(8), &[b'x'; 100], 60)),
    kind(Plain, "a multiget, unread", Some("conn_mwrite"), |_| {
        [set(&big(), BIG, 1), multiget(ASKED, &big(), b"\r\n")].concat()
    }),
    kind(Plain, "gets, unread", Some("conn_mwrite"), |_| {
        [set(&big(), BIG, 1), multiget(1, &big(), b"\r\n").repeat(ASKED)].concat()
    }),
    kind(Plain, "meta gets, unread", Some("conn_mwrite"), |_| {
        [set(&big(), BIG, 1), format!("mg {} v\r\n", big()).repeat(ASKED).into_bytes()].concat()
    }),
    kind(Plain, "packets, unread", Some("conn_mwrite"), |_| {
        let stored = packet(0x11, &[0; 8], &big(), &vec![b'x'; BIG], 0);
        [stored, packet(0x00, b"", &big(), b"", 0).repeat(ASKED)].concat()
    }),
    kind(Plain, "quit behind replies", Some("conn_mwrite"), |_| {
        [set(&big(), BIG, 1), multiget(ASKED, &big(), b"\r\n"), b"quit\r\n".to_vec()].concat()
    }),
    kind(Plain, "a dump of items", None, |rng| {
        let word = ["metadump all", "metadump hash", "mgdump all", "mgdump hash"][rng.usize(..4)];
        format!("lru_crawler {word}\r\n").into_bytes()
    }),
    kind(Plain, "cachedump", None, |rng| format!("stats cachedump {} 0\r\n", rng.usize(1..30)).repeat(9).into_bytes()),
    kind(Plain, "a dump of prefixes", None, |_| {
        let word = "stats detail on\r\nget hostile-1:a hostile-2:b hostile-3:c\r\n";
        format!("{word}{}", "stats detail dump\r\n".repeat(2000)).into_bytes()
    }),
    kind(Plain, "stats", None, |_| {
        "stats\r\nstats conns\r\nstats slabs\r\nstats items\r\nstats settings\r\nstats sizes\r\n"
            .repeat(50)
            .into_bytes()
    }),
    kind(Plain, "a watch", Some("conn_watch"), |_| b"watch fetchers mutations evictions deletions\r\n".to_vec()),
    kind(Plain, "text garbage", None, |rng| {
        (0..rng.usize(1..6000)).map(|_| if rng.u8(..40) == 0 { b'\n' } else { rng.u8(1..128) }).collect()
    }),
    kind(Plain, "binary garbage", None, |rng| {
        // An operation that changes nothing of the load, with lengths that are invalid.
        let mut words = vec![0x80, [0x00, 0x09, 0x0a, 0x0b, 0x10, 0x20, 0x41, 0xff][rng.usize(..8)]];
        words.extend((0..22).map(|_| if rng.bool() { 0 } else { rng.u8(..) }));
        let body = rng.usize(..3000);
        words.extend((0..body).map(|_| rng.u8(..0x80)));
        words
    }),
    kind(Login, "bad logins", None, |rng| b"set a 0 0 9\r\nhost wron\r\n".repeat(rng.usize(1..40))),
    kind(Login, "half a login", Some("conn_read"), |_| b"set a 0 0 9\r\nho".to_vec()),
    kind(Tls, "a TLS hello", None, |_| hello()),
    kind(Tls, "half a TLS hello", None, |rng| {
        let mut hello = hello();
        hello.truncate(rng.usize(1..hello.len()));
        hello
    }),
    kind(Tls, "garbage for TLS", None, |rng| (0..rng.usize(1..3000)).map(|_| rng.u8(..)).collect()),
    kind(Admin, "no HTTP", None, |_| Vec::new()),
    kind(Admin, "half a head of HTTP", None, |_| b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAcc".to_vec()),
    kind(Admin, "a long head of HTTP", None, |rng| {
        http("/", &format!("X: {}\r\n", "x".repeat(rng.usize(8000..40_000))))
    }),
    kind(Admin, "scrapes by HTTP", None, |rng| http("/metrics", "").repeat(rng.usize(1..30))),
    kind(Admin, "HTTP, unread", None, |_| http("/stats.json", "").repeat(200)),
    kind(Admin, "a body by HTTP", None, |_| {
        let head = "POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n";
        [head.as_bytes(), &[b'x'; 5000]].concat()
    }),
    kind(Admin, "garbage for HTTP", None, |rng| (0..rng.usize(1..6000)).map(|_| rng.u8(..)).collect()),
    kind(Admin, "events by HTTP", None, |_| http("/events", "")),
    kind(Admin, "a WebSocket", None, |_| web_socket(&[])),
    kind(Admin, "a WebSocket, no mask", None, |_| web_socket(b"\x81\x05hello")),
    kind(Admin, "a WebSocket, half", None, |_| web_socket(b"\x81\xfe\x0f\xffmask and half a frame")),
    kind(Admin, "WebSocket garbage", None, |rng| {
        let garbage: Vec<u8> = (0..rng.usize(1..6000)).map(|_| rng.u8(..)).collect();
        web_socket(&garbage)
    }),
];

fn http(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n").into_bytes()
}

/// A WebSocket whose client sends `frames` with its handshake.
fn web_socket(frames: &[u8]) -> Vec<u8> {
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    [&http("/ws", &format!("Upgrade: websocket\r\nConnection: Upgrade\r\n{key}")), frames].concat()
}

/// Keys that no connection of the load uses, in the same format.
pub fn key(number: u32) -> String {
    format!("torture:{}", 7_000_000 + number)
}

fn big() -> String {
    key(0)
}

/// A set of `len` bytes, of which one in `part` is sent; the line end follows only if all are sent.
fn set(key: &str, len: usize, part: usize) -> Vec<u8> {
    let mut words = format!("set {key} 0 0 {len}\r\n").into_bytes();
    words.resize(words.len() + len / part, b'x');
    if part == 1 {
        words.extend_from_slice(b"\r\n");
    }
    words
}

fn multiget(keys: usize, key: &str, end: &[u8]) -> Vec<u8> {
    let mut words = b"get".to_vec();
    (0..keys.max(1)).for_each(|_| words.extend_from_slice(format!(" {key}").as_bytes()));
    words.extend_from_slice(end);
    words
}

/// A packet without its last `missing` bytes.
fn packet(opcode: u8, extras: &[u8], key: &str, value: &[u8], missing: usize) -> Vec<u8> {
    let mut words = vec![0x80, opcode];
    words.extend_from_slice(&(key.len() as u16).to_be_bytes());
    words.extend_from_slice(&[extras.len() as u8, 0, 0, 0]);
    words.extend_from_slice(&((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    words.extend_from_slice(&[0; 12]);
    for part in [extras, key.as_bytes(), value] {
        words.extend_from_slice(part);
    }
    words.truncate(words.len() - missing);
    words
}

/// The ClientHello of a handshake.
fn hello() -> Vec<u8> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
        Arc::new(config.with_no_client_auth())
    });
    let mut words = Vec::new();
    if let Ok(name) = "localhost".try_into()
        && let Ok(mut client) = ClientConnection::new(config.clone(), name)
    {
        while client.wants_write() && client.write_tls(&mut words).is_ok() {}
    }
    words
}

/// A datagram that should be answered, one that should not, or one that is expensive.
pub fn datagram(rng: &mut Rng) -> Vec<u8> {
    let mut words = vec![rng.u8(..), rng.u8(..), 0, 0, 0, 1, 0, 0];
    match rng.u32(..30) {
        0..6 => words = (0..rng.usize(..1400)).map(|_| rng.u8(..)).collect(),
        6..12 => words.truncate(rng.usize(..8)),
        12..18 => words.extend_from_slice(&multiget(4000, &key(3), b"\r\n")),
        18 => words.extend_from_slice(&multiget(20, &big(), b"\r\n")),
        19..24 => words.extend_from_slice(&set(&key(9), 900, 2)),
        _ => words.extend_from_slice(b"stats\r\nstats conns\r\nversion\r\n"),
    }
    words
}
