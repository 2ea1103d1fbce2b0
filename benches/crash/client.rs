//! A client: it changes its keys one after the other, and knows what each must be.
//!
//! Owns its keys' histories and the meta protocol as far as it is needed. A reply other than the expected one is a
//! fault; the end of the connection is the kill.

use crate::Outcome;
use crate::history::{History, Item, Window};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Keys of a client.
pub const KEYS: usize = 24;

/// Time to live of items that expire: far longer than a run.
const TTL: u32 = 1_000_000;

pub struct Client {
    keys: Vec<(String, History)>,
    random: fastrand::Rng,
}

/// One connection.
struct Line {
    reader: BufReader<UnixStream>,
}

/// A reply: status, flags' words and the value.
struct Reply {
    status: String,
    words: Vec<String>,
    value: Vec<u8>,
}

impl Reply {
    fn number(&self, letter: char) -> Option<u64> {
        self.words.iter().find(|word| word.starts_with(letter)).and_then(|word| word[1..].parse().ok())
    }

    fn item(&self) -> Option<Item> {
        (self.status == "VA").then(|| Item {
            value: self.value.clone(),
            flags: self.number('f').unwrap_or(0) as u32,
            cas: self.number('c').unwrap_or(0),
            expires: !self.words.iter().any(|word| word == "t-1"),
        })
    }
}

impl Line {
    fn connect(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    fn ask(&mut self, request: &[u8]) -> std::io::Result<Reply> {
        self.reader.get_mut().write_all(request)?;
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let status = if words.is_empty() { String::new() } else { words.remove(0) };
        let mut value = Vec::new();
        if status == "VA" {
            let len: usize = words.remove(0).parse().unwrap_or(0);
            value = vec![0; len + 2];
            self.reader.read_exact(&mut value)?;
            value.truncate(len);
        }
        Ok(Reply { status, words, value })
    }

    fn get(&mut self, key: &str) -> std::io::Result<Reply> {
        self.ask(format!("mg {key} v c f t\r\n").as_bytes())
    }
}

/// `flush_all`, acknowledged.
pub fn flush(socket: &Path) -> Outcome<()> {
    let reply = Line::connect(socket)?.ask(b"flush_all\r\n")?;
    if reply.status == "OK" { Ok(()) } else { Err(format!("flush_all: {}", reply.status).into()) }
}

impl Client {
    pub fn new(number: usize, seed: u64) -> Self {
        let keys = (0..KEYS).map(|key| (format!("client{number}:key{key}"), History::new())).collect();
        Self { keys, random: fastrand::Rng::with_seed(seed) }
    }

    /// Compares every key with its history; returns the faults, and the states found that were not acknowledged.
    pub fn check(&mut self, socket: &Path, window: Window) -> Outcome<(u64, u64)> {
        let mut line = Line::connect(socket)?;
        let (mut faults, mut doubtful) = (0, 0);
        for (key, history) in &mut self.keys {
            let reply = line.get(key)?;
            if reply.status != "VA" && reply.status != "EN" {
                println!("crash: {key}: {} {:?}", reply.status, reply.words);
                faults += 1;
                continue;
            }
            match history.settle(reply.item(), window) {
                Ok(in_doubt) => doubtful += u64::from(in_doubt),
                Err(message) => {
                    println!("crash: {key}: {message}");
                    faults += 1;
                }
            }
        }
        Ok((faults, doubtful))
    }

    /// All items were flushed, acknowledged.
    pub fn was_flushed(&mut self) {
        for (_, history) in &mut self.keys {
            history.sent(None);
            history.acknowledged(None);
        }
    }

    pub fn was_killed(&mut self, at: Instant) {
        self.keys.iter_mut().for_each(|(_, history)| history.killed(at));
    }

    /// Changes keys until the connection ends; returns the acknowledged changes and the faults.
    pub fn run(&mut self, socket: &Path, stop: &AtomicBool) -> Outcome<(u64, u64)> {
        let Ok(mut line) = Line::connect(socket) else { return Ok((0, 0)) };
        let (mut ran, mut faults) = (0, 0);
        while !stop.load(SeqCst) {
            let at = self.random.usize(..self.keys.len());
            match self.step(at, &mut line) {
                Ok(None) => ran += 1,
                Ok(Some(fault)) => {
                    println!("crash: {}: {fault}", self.keys[at].0);
                    faults += 1;
                    break;
                }
                Err(_) => break, // killed
            }
        }
        Ok((ran, faults))
    }

    /// One command on a key; a fault if the reply is wrong.
    fn step(&mut self, at: usize, line: &mut Line) -> std::io::Result<Option<String>> {
        let random = &mut self.random;
        let (key, history) = &mut self.keys[at];
        let before = history.now().cloned();
        let expires = random.bool();
        let ttl = if expires { format!(" T{TTL}") } else { String::new() };
        match random.u8(..10) {
            // Values up to 4 KB are copied, larger ones are pinned.
            0..=3 => {
                let (len, flags) =
                    (if random.u8(..8) == 0 { random.usize(..60_000) } else { random.usize(..300) }, random.u32(..100));
                let value: Vec<u8> = std::iter::repeat_with(|| random.alphanumeric() as u8).take(len).collect();
                history.sent(Some(Item { value: value.clone(), flags, cas: 0, expires }));
                let mut request = format!("ms {key} {len} c F{flags}{ttl}\r\n").into_bytes();
                request.extend_from_slice(&value);
                request.extend_from_slice(b"\r\n");
                let reply = line.ask(&request)?;
                Ok(stored(history, &reply, true))
            }
            4 => {
                history.sent(None);
                let reply = line.ask(format!("md {key}\r\n").as_bytes())?;
                Ok(stored(history, &reply, before.is_some()))
            }
            5 => {
                // `add` must see an item that memory has evicted.
                history.sent(Some(Item { value: b"12".to_vec(), flags: 0, cas: 0, expires: false }));
                let reply = line.ask(format!("ms {key} 2 c ME\r\n12\r\n").as_bytes())?;
                Ok(stored(history, &reply, before.is_none()))
            }
            6 => {
                let joined =
                    before.clone().map(|item| Item { value: [&item.value[..], b"+"].concat(), cas: 0, ..item });
                history.sent(joined);
                let reply = line.ask(format!("ms {key} 1 c MA\r\n+\r\n").as_bytes())?;
                Ok(stored(history, &reply, before.is_some()))
            }
            7 => {
                let Some(item) = before else { return Ok(None) };
                history.sent(Some(Item { expires, ..item }));
                let ttl = if expires { TTL } else { 0 };
                let reply = line.ask(format!("touch {key} {ttl}\r\n").as_bytes())?;
                if reply.status == "TOUCHED" {
                    history.acknowledged(None);
                    return Ok(None);
                }
                history.withdrawn();
                Ok(Some(format!("touch: {} {:?}", reply.status, reply.words)))
            }
            8 => {
                let number =
                    before.as_ref().and_then(|item| std::str::from_utf8(&item.value).ok()?.parse::<u64>().ok());
                let (Some(item), Some(number)) = (before, number.filter(|n| n.to_string().len() < 15)) else {
                    return Ok(None);
                };
                let value = (number + 1).to_string();
                // A number of fewer digits in place keeps its length.
                if value.len() != item.value.len() {
                    return Ok(None);
                }
                history.sent(Some(Item { value: value.into_bytes(), cas: 0, ..item }));
                let reply = line.ask(format!("ma {key} c\r\n").as_bytes())?;
                Ok(stored(history, &reply, true))
            }
            _ => {
                let reply = line.get(key)?;
                let found = reply.item();
                let same = found
                    == before.as_ref().map(|item| Item { cas: found.as_ref().map_or(0, |f| f.cas), ..item.clone() });
                Ok((!same).then(|| format!("get: {} {:?}, {} bytes", reply.status, reply.words, reply.value.len())))
            }
        }
    }
}

/// Judges the reply to a meta command that stores or deletes.
fn stored(history: &mut History, reply: &Reply, should: bool) -> Option<String> {
    match (reply.status.as_str(), should) {
        ("HD", true) => {
            history.acknowledged(reply.number('c'));
            None
        }
        ("NS" | "NF", false) => {
            history.withdrawn();
            None
        }
        (status, _) => {
            history.withdrawn();
            Some(format!("{status} {:?}, should be stored: {should}", reply.words))
        }
    }
}
