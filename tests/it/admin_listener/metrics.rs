//! `/metrics` over HTTP.

use super::harness::Host;
use crate::metrics::parser::{self, Series};
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn metrics_are_served() {
    let host = Host::new("");
    let mut client = TcpStream::connect(host.clients).unwrap();
    client.write_all(b"set a 0 0 1\r\nx\r\nget a\r\nget b\r\nmn\r\n").unwrap();
    let mut bytes = vec![0; "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nEND\r\nMN\r\n".len()];
    client.read_exact(&mut bytes).unwrap();
    let mut peer = host.connect();
    // What Prometheus sends: OpenMetrics is preferred, the older format is taken.
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
    for scrape in 1..=2 {
        peer.send(&request);
        let reply = peer.reply();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let families = parser::parse(&reply.body);
        let of = |name: &str, labels: &[(&str, &str)]| families[name].samples[&Series::new(name, labels)];
        let gets = |status| of("memcached_commands_total", &[("command", "get"), ("status", status)]);
        assert_eq!((gets("hit"), gets("miss")), (1.0, 1.0));
        assert_eq!(of("memcached_up", &[]), 1.0);
        assert_eq!(of("memcached_current_items", &[]), 1.0);
        assert_eq!(of("memcached_current_connections", &[]), 1.0);
        assert_eq!(of("oxcached_connections", &[("state", "listening")]), 1.0);
        assert_eq!(of("oxcached_admin_conns", &[]), 1.0);
        assert_eq!(of("oxcached_admin_requests_total", &[]), f64::from(scrape));
    }
    host.stop();
}
