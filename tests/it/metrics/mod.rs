//! `/metrics`: what memcached_exporter would show of the same server, Prometheus' notation, and the files in
//! `contrib/` that use the metrics.

mod contrib;
mod exporter;
mod notation;
pub mod parser;
mod scrapes;

use crate::support::{Client, shared};
use oxcached::admin::AdminCounters;
use oxcached::admin::exposition::Exposition;
use oxcached::proto::Shared;
use oxcached::stats::Counter;
use parser::Parsed;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// One scrape.
fn text(exposition: &mut Exposition, shared: &Shared) -> String {
    let mut text = String::new();
    exposition.render(shared, &AdminCounters::default(), &mut text);
    text
}

/// The first scrape of a server, parsed.
fn scrape(shared: &Shared) -> Parsed {
    parser::parse(&text(&mut Exposition::default(), shared))
}

/// A server that has run commands of every kind, with items in several classes and evictions in some.
fn busy(args: &str) -> (Arc<Shared>, Client) {
    let shared = shared(&format!("-t 1 -m 4 {args}"));
    let mut client = Client::new(&shared);
    client.ask(
        b"set a 0 0 5\r\nhello\r\nset b 0 0 1\r\n1\r\nset c 0 5 3\r\nttl\r\nget a b c none\r\nget none\r\ngets a\r\n\
          incr b 5\r\nincr none 1\r\ndecr b 2\r\ndecr none 1\r\ndecr none 1\r\ntouch a 0\r\ntouch none 0\r\ngat 0 a\r\n\
          add d 0 0 1\r\nx\r\ndelete d\r\ndelete none\r\ndelete none\r\ncas a 0 0 1 999\r\nx\r\ncas none 0 0 1 1\r\nx\r\n\
          mg a v c\r\nms e 1 I\r\nx\r\nms e 1 C7\r\nx\r\nmn\r\nset huge 0 0 2000000\r\n",
    );
    client.ask(&[vec![b'v'; 2_000_000], b"\r\n".to_vec()].concat());
    for n in 0..1500_usize {
        let (key, len) = (n % 700, [100, 600, 4000, 9000][n % 4]);
        let ttl = [0, 20, 3000][n % 3];
        client.ask(&[format!("set k{key} 0 {ttl} {len}\r\n").as_bytes(), &vec![b'v'; len], b"\r\n"].concat());
        if n % 3 == 0 {
            let reply = client.ask(format!("gets k{}\r\nget k{}\r\n", key / 2, key / 3).as_bytes());
            let reply = String::from_utf8_lossy(&reply);
            if let Some(cas) =
                reply.lines().next().filter(|line| line.starts_with("VALUE")).and_then(|l| l.split(' ').nth(4))
            {
                let store = format!("cas k{} 0 0 1 {cas}\r\nx\r\ntouch k{key} 0\r\nget k{key}\r\n", key / 2);
                client.ask(store.as_bytes());
            }
        }
        shared.clock.advance(if n % 100 == 0 { 3 } else { 0 });
    }
    crate::support::sweep(shared.cache.store, shared.clock.now());
    client.ask(b"flush_all 1000\r\nget c\r\n");
    // What only sockets count.
    for (n, counter) in [Counter::BytesRead, Counter::BytesWritten, Counter::ConnYields].into_iter().enumerate() {
        client.counters.add(counter, 1001 + n as u64);
    }
    let globals = &shared.stats.globals;
    let counts = [&globals.curr_conns, &globals.total_conns, &globals.rejected_conns, &globals.listen_disabled_num];
    for (n, count) in counts.into_iter().enumerate() {
        count.store(2001 + n as u64, Relaxed);
    }
    globals.accepting_conns.store(true, Relaxed);
    globals.time_in_listen_disabled_us.store(1_500_000, Relaxed);
    (shared, client)
}
