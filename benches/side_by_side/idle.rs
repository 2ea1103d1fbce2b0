//! Owns the measurement of idle connections: resident memory before and after many clients connect, are served once,
//! and stay. Called by `main`.

use std::io::{Read, Write};

use crate::report::Run;
use crate::server::Server;
use crate::{Outcome, wire};

/// Opens `connections`, one after the other.
pub fn measure(server: &Server, connections: usize) -> Outcome<Run> {
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
