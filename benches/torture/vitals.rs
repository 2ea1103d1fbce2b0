//! Owns the resources that a server holds for its clients, and the check that all are released after the clients have
//! gone. Called by every module here that ends clients.

use oxcached::limits::{SPARE_BYTES, WATCHERS_ENDED_MAX};
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::admin::Admin;
use crate::server::Server;
use crate::{Outcome, wire};

/// Maximum time until a server notices that clients have gone; usually far less, except on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Maximum time until a server notices that a watcher has gone for which there are no events: one that has only sent
/// its last byte looks the same until the system's probes, a minute later.
const WATCHERS_PATIENCE: Duration = Duration::from_secs(90);

/// Resident memory other than items and index.
const RSS_SLACK: u64 = 96 << 20;

/// Bytes of buffers of each kind that one worker keeps for reuse.
const SPARES: u64 = SPARE_BYTES as u64;

#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    pub connections: u64,
    pub descriptors: usize,
    /// Resident memory, and the part of items and index, in bytes.
    pub rss: u64,
    memory: u64,
    /// Bytes of replies and of requests in buffers.
    replies: u64,
    requests: u64,
    workers: u64,
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
            workers: of("threads")?,
        })
    }

    /// Waits until connections and descriptors are down to those of `base`, and buffers too if `buffers`. Returns
    /// what is still held after `PATIENCE`, or `WATCHERS_PATIENCE` if it may be watchers.
    pub fn back(server: &Server, admin: &mut Admin, base: &Self, buffers: bool) -> Outcome<(Self, Vec<String>)> {
        let begun = Instant::now();
        loop {
            let now = Self::of(server, admin)?;
            let left = now.beyond(base, buffers);
            let may_be_watchers = now.connections <= base.connections + WATCHERS_ENDED_MAX as u64;
            let patience = if may_be_watchers { WATCHERS_PATIENCE } else { PATIENCE };
            if left.is_empty() || begun.elapsed() > patience {
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
            hold("response_obj_bytes", self.replies, base.replies + self.workers * SPARES);
            hold("read_buf_bytes", self.requests, base.requests + self.workers * SPARES);
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
