//! Counters of the admin listener.
//!
//! Owns their names. Written by the admin thread; read by `/metrics`, `/stats.json` and tests. They have no rows in
//! `stats`.

use crate::metric::MetricSink;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters and gauges of the admin listener.
#[derive(Debug, Default)]
pub struct AdminCounters {
    /// Connections accepted, refused ones included.
    pub accepted: AtomicU64,
    /// Connections beyond `admin_conns`.
    pub conns_refused: AtomicU64,
    /// Open connections, viewers included.
    pub conns: AtomicU64,
    /// Pauses of accepting without free descriptors.
    pub accept_pauses: AtomicU64,
    /// Requests answered.
    pub requests: AtomicU64,
    /// Requests without the token.
    pub token_refused: AtomicU64,
    /// Requests with another server's name in `Host`.
    pub host_refused: AtomicU64,
    /// Requests from another site's page.
    pub origin_refused: AtomicU64,
    /// Requests with a head or body beyond its bound, or with a body that its route does not have.
    pub too_large: AtomicU64,
    /// Connections closed for a head, body or TLS handshake that took too long.
    pub read_timeouts: AtomicU64,
    /// Connections closed because nothing was taken from them, or too slowly.
    pub write_timeouts: AtomicU64,
    /// Connections closed between two requests.
    pub idle_timeouts: AtomicU64,
    /// TLS handshakes that failed.
    pub tls_errors: AtomicU64,
    /// Answers refused for lack of their memory.
    pub answers_refused: AtomicU64,
    /// Bytes read from sockets, without TLS.
    pub bytes_read: AtomicU64,
    /// Bytes written to sockets, without TLS.
    pub bytes_written: AtomicU64,
    /// Open WebSockets and event streams.
    pub viewers: AtomicU64,
    /// Viewers beyond the bound.
    pub viewers_refused: AtomicU64,
    /// Frames dropped because their viewer had not taken earlier ones.
    pub frames_dropped: AtomicU64,
    /// WebSockets closed for a breach of their protocol.
    pub socket_errors: AtomicU64,
    /// WebSockets closed without a pong.
    pub pong_timeouts: AtomicU64,
}

impl AdminCounters {
    /// Adds one to a counter.
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Passes each counter on, without a prefix in its name.
    pub fn report(&self, out: &mut MetricSink<'_>) {
        out.gauge("conns", &self.conns);
        out.gauge("viewers", &self.viewers);
        for (name, counter) in [
            ("accepted", &self.accepted),
            ("conns_refused", &self.conns_refused),
            ("accept_pauses", &self.accept_pauses),
            ("requests", &self.requests),
            ("token_refused", &self.token_refused),
            ("host_refused", &self.host_refused),
            ("origin_refused", &self.origin_refused),
            ("too_large", &self.too_large),
            ("read_timeouts", &self.read_timeouts),
            ("write_timeouts", &self.write_timeouts),
            ("idle_timeouts", &self.idle_timeouts),
            ("tls_errors", &self.tls_errors),
            ("answers_refused", &self.answers_refused),
            ("bytes_read", &self.bytes_read),
            ("bytes_written", &self.bytes_written),
            ("viewers_refused", &self.viewers_refused),
            ("frames_dropped", &self.frames_dropped),
            ("socket_errors", &self.socket_errors),
            ("pong_timeouts", &self.pong_timeouts),
        ] {
            out.counter(name, counter);
        }
    }
}
