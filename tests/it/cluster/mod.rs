//! `-o cluster_file`: `config get cluster` by text, packet and datagram, what clients make of the replies, and the file.

mod clients;
mod commands;
mod file;

use crate::support::{Client, UNIX, settings};
use oxcached::clock::Clock;
use oxcached::cluster::{Cluster, ClusterConfig};
use oxcached::proto::Shared;
use std::sync::Arc;

/// A server with these options whose file is `text`.
fn shared(args: &str, text: &str) -> Arc<Shared> {
    let settings = oxcached::settings::Settings { lock_memory: true, ..settings(&format!("-t 1 {args}")) };
    let cluster = Some(Arc::new(Cluster::new(ClusterConfig::parse(text.as_bytes(), 1).unwrap())));
    Arc::new(Shared { cluster, ..Shared::new(settings, Clock::manual(UNIX), Box::new(|_| ())).unwrap() })
}

/// The file of most tests.
const FILE: &str = "12\na.example.net|10.0.0.1|11211\nb.example.net||11212\n";

fn client() -> Client {
    Client::new(&shared("", FILE))
}
