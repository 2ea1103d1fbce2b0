//! Owns what a server holds for its clients, and whether all of it has gone when they have. Called by everything here
//! that ends clients.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::admin::Admin;
use crate::server::Server;
use crate::{Outcome, wire};

/// How long a server may take to notice that clients have gone; it is seen to be far less, except on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Resident memory that is neither items nor the index.
const RSS_SLACK: u64 = 96 << 20;

/// What may be left of buffers: each worker keeps some to use again.
const BUFFERS_SLACK: u64 = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    pub connections: u64,
    pub descriptors: usize,
    /// Resident bytes, and those of items and of the index.
    pub rss: u64,
    memory: u64,
    /// Bytes of replies and of requests that are held.
    replies: u64,
    requests: u64,
}

impl Vitals {
    pub fn of(server: &Server, admin: &mut Admin) -> Outcome<Self> {
        let stats = admin.stats()?;
        let of = |name: &str| wire::number(&stats, name);
        let slabs = admin.ask_for_lines("stats slabs")?;
        let malloced = slabs.iter().find_map(|line| line.strip_prefix("STAT total_malloced ")?.parse::<u64>().ok());
        Ok(Self {
            connections: of("curr_connections")?,
            descriptors: server.descriptors()?,
            rss: server.rss_bytes()?,
            memory: malloced.unwrap_or(0) + of("hash_bytes")?,
            replies: of("response_obj_bytes")?,
            requests: of("read_buf_bytes")?,
        })
    }

    /// Waits until connections and descriptors are as many as in `base`, and buffers too if `buffers` says so. What is
    /// still held at the end of patience is told.
    pub fn back(server: &Server, admin: &mut Admin, base: &Self, buffers: bool) -> Outcome<(Self, Vec<String>)> {
        let begun = Instant::now();
        loop {
            let now = Self::of(server, admin)?;
            let left = now.beyond(base, buffers);
            if left.is_empty() || begun.elapsed() > PATIENCE {
                return Ok((now, left));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn beyond(&self, base: &Self, buffers: bool) -> Vec<String> {
        let mut left = Vec::new();
        let mut hold = |name: &str, now: u64, most: u64| {
            if now > most {
                left.push(format!("{name} {now}, at most {most} expected"));
            }
        };
        hold("curr_connections", self.connections, base.connections);
        hold("descriptors", self.descriptors as u64, base.descriptors as u64);
        let memory = self.memory.saturating_sub(base.memory);
        hold("resident bytes", self.rss, base.rss + memory + RSS_SLACK);
        if buffers {
            hold("response_obj_bytes", self.replies, base.replies + BUFFERS_SLACK);
            hold("read_buf_bytes", self.requests, base.requests + BUFFERS_SLACK);
        }
        left
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connections {}  descriptors {}  RSS {} MiB (items and index {})  replies {} KiB  requests {} KiB",
            self.connections,
            self.descriptors,
            self.rss >> 20,
            self.memory >> 20,
            self.replies >> 10,
            self.requests >> 10
        )
    }
}
