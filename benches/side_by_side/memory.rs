//! Owns the measurements of servers at rest: resident memory after the start, the cost of connections that were served
//! once and stay, and how often an empty server wakes up. Called by `main`.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Run;
use crate::server::Server;
use crate::{Outcome, machine, wire};

/// Until a server that has started is at rest.
const SETTLE: Duration = Duration::from_secs(2);
/// Time in which wake-ups are counted.
const WATCH: Duration = Duration::from_secs(10);

/// Resident memory after the start.
pub fn start(server: &Server) -> Outcome<Run> {
    thread::sleep(SETTLE);
    let bytes = server.rss_bytes()?;
    Ok(Run::cost_only(bytes as f64, bytes))
}

/// Wake-ups a second: a thread that wakes goes to sleep again, and that is counted.
pub fn wakes(server: &Server) -> Outcome<Run> {
    thread::sleep(SETTLE);
    let (before, started) = (machine::sleeps(server.pid())?, Instant::now());
    thread::sleep(WATCH);
    let wakes = machine::sleeps(server.pid())? - before;
    Ok(Run::cost_only(wakes as f64 / started.elapsed().as_secs_f64(), server.rss_bytes()?))
}

/// Opens `connections`, one after the other.
pub fn idle(server: &Server, connections: usize) -> Outcome<Run> {
    // Excludes one-time costs of the first clients (buffers, allocator caches) from the cost per connection.
    let mut warm = Vec::new();
    for _ in 0..20 {
        warm.push(served(server)?);
    }
    let before = server.rss_bytes()?;
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        held.push(served(server)?);
    }
    wire::sync(&mut server.connect()?)?;
    let after = server.rss_bytes()?;
    let bytes = after.saturating_sub(before) as f64 / connections as f64;
    Ok(Run::cost_only(bytes, after))
}

fn served(server: &Server) -> Outcome<std::net::TcpStream> {
    let mut stream = server.connect()?;
    stream.write_all(b"get nothing\r\n")?;
    let mut reply = [0; 5];
    stream.read_exact(&mut reply)?;
    if &reply == b"END\r\n" { Ok(stream) } else { Err("a get of nothing found something".into()) }
}
