//! Metrics of one connection or listener, for `stats conns`.
//!
//! Owns their names, and memcached's notation of addresses. Each metric has the label `fd`. The caller walks the
//! connection table, which may be long, in steps.

use crate::conns::{ConnInfo, ConnState};
use crate::metric::{Metric, MetricSink};
use std::net::SocketAddr;

/// Passes the metrics of the connection of descriptor `fd`, in `state` at `now`, to `visit`.
pub fn connection(fd: i32, info: &ConnInfo, state: ConnState, now: u32, visit: &mut dyn FnMut(&Metric<'_>)) {
    let labels = [("fd", fd.into())];
    let mut out = MetricSink::new(visit);
    let mut out = out.labelled(&labels);
    let listening = state == ConnState::Listening || (info.udp && state == ConnState::Read);
    let local = match &info.path {
        Some(path) => format!("unix:{path}"),
        None => address(info.local, info.udp),
    };
    if info.udp {
        out.info("UDP", "UDP");
    }
    if listening {
        out.info("addr", &local);
    } else {
        out.info("addr", &address(info.peer, info.udp));
        out.info("listen_addr", &local);
    }
    out.info("state", state.name());
    out.gauge("secs_since_last_cmd", now.saturating_sub(info.last_cmd()));
}

/// A unix socket peer has no address.
fn address(addr: Option<SocketAddr>, udp: bool) -> String {
    let proto = if udp { "udp" } else { "tcp" };
    match addr {
        None => "?:<AF 0>".into(),
        Some(SocketAddr::V4(v4)) => format!("{proto}:{}:{}", v4.ip(), v4.port()),
        Some(SocketAddr::V6(v6)) => format!("{proto}6:[{}]:{}", v6.ip(), v6.port()),
    }
}
