//! The routes of the admin listener.
//!
//! Owns the table of paths and what stands behind each. Must not know connections: `conn` asks for the route of a path
//! and judges the request by it before it runs the handler.

use super::answer::{self, Answer, JSON, TEXT};
use super::dashboard::Asset;
use super::health::{Health, Phase};
use super::switches::{SWITCHES, Switch};
use super::{Source, exposition, json};
use crate::settings::AdminTimes;
use hyper::{Method, StatusCode};
use std::sync::atomic::Ordering::Relaxed;

/// What a path stands for.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// State of the server. Answers without the token, and while the server starts.
    Health(fn(&Health, Option<&Source>, &AdminTimes) -> Answer),
    /// A text that is made for each request: content type, and the function that appends it to a reused buffer.
    Page(&'static str, fn(&Source, &mut String)),
    /// Frames as server-sent events.
    Events,
    /// Frames over a WebSocket.
    Socket,
    /// A change of a setting.
    Change(&'static Switch),
    /// A file of the dashboard. Answers while the server starts.
    File(&'static Asset),
}

/// A path and its handler.
struct Route {
    path: &'static str,
    handler: Handler,
}

/// All paths but those of switches and files.
static ROUTES: &[Route] = &[
    Route { path: "/healthz", handler: Handler::Health(healthz) },
    Route { path: "/readyz", handler: Handler::Health(readyz) },
    Route { path: "/metrics", handler: Handler::Page(exposition::CONTENT_TYPE, metrics) },
    Route { path: "/stats.json", handler: Handler::Page(JSON, json::stats) },
    Route { path: "/events", handler: Handler::Events },
    Route { path: "/ws", handler: Handler::Socket },
];

/// Path of a switch, before its name.
const SWITCH: &str = "/switch/";

impl Handler {
    /// Methods of the path, as in the header `Allow`.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::Health(_) | Self::Page(..) | Self::File(_) => "GET, HEAD",
            Self::Events | Self::Socket => "GET",
            Self::Change(_) => "POST",
        }
    }

    /// Whether the path has this method.
    pub(super) fn allows(self, method: &Method) -> bool {
        self.methods().split(", ").any(|known| known == method.as_str())
    }

    /// Whether clients need the token, if there is one. Load balancers and orchestrators have none.
    pub(super) fn needs_token(self) -> bool {
        !matches!(self, Self::Health(_))
    }
}

/// What stands behind a path.
pub(super) fn find(path: &str) -> Option<Handler> {
    if let Some(name) = path.strip_prefix(SWITCH) {
        return SWITCHES.iter().find(|switch| switch.name == name).map(Handler::Change);
    }
    let route = ROUTES.iter().find(|route| route.path == path);
    route.map(|route| route.handler).or_else(|| Asset::find(path).map(Handler::File))
}

/// Whether the main thread is alive. It ticks only while it serves; a long start is no fault.
fn healthz(health: &Health, _: Option<&Source>, times: &AdminTimes) -> Answer {
    let silent = health.since_tick();
    if health.phase() == Phase::Serving && silent > times.tick {
        return answer::line(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("the main thread has not ticked for {} seconds", silent.as_secs()),
        );
    }
    answer::with(StatusCode::OK, TEXT, answer::AnswerBody::Whole("ok\n".into()))
}

/// Whether clients are served.
fn readyz(health: &Health, source: Option<&Source>, _: &AdminTimes) -> Answer {
    let accepts = |source: &Source| source.shared.stats.globals.accepting_conns.load(Relaxed);
    let fails = |source: &Source| source.shared.durable.as_ref().is_some_and(|durable| durable.is_failing());
    let reason = match (health.phase(), source) {
        (Phase::Starting, _) | (Phase::Serving, None) => "starting",
        (Phase::Restoring, _) => "restoring: items of the memory file are being recovered",
        (Phase::Draining, _) => "draining: the server stops",
        (Phase::Serving, Some(source)) if fails(source) => "failing: the durable copy cannot be written",
        (Phase::Serving, Some(source)) if accepts(source) => return answer::line(StatusCode::OK, "ready"),
        (Phase::Serving, Some(_)) => "paused: no descriptor is free for another client",
    };
    answer::line(StatusCode::SERVICE_UNAVAILABLE, reason)
}

fn metrics(source: &Source, out: &mut String) {
    source.exposition.lock().render(&source.shared, &source.counters, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::{Body, Frame};
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    fn text(mut answer: Answer) -> (u16, String) {
        let frame = Pin::new(answer.body_mut()).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(Ok(frame))) = frame else { panic!("no body") };
        let bytes = Frame::into_data(frame).unwrap();
        (answer.status().as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn a_server_tells_why_it_is_not_ready() {
        let (health, times) = (Health::new(), AdminTimes::default());
        for (phase, reason) in [
            (Phase::Starting, "starting\n"),
            (Phase::Restoring, "restoring: items of the memory file are being recovered\n"),
            (Phase::Serving, "starting\n"),
            (Phase::Draining, "draining: the server stops\n"),
        ] {
            health.begin(phase);
            assert_eq!(text(readyz(&health, None, &times)), (503, reason.to_owned()));
            assert_eq!(text(healthz(&health, None, &times)), (200, "ok\n".to_owned()), "{phase:?}");
        }
    }

    #[test]
    fn a_silent_main_thread_is_a_fault_only_while_it_serves() {
        let (health, times) = (Health::new(), AdminTimes { tick: Duration::ZERO, ..AdminTimes::default() });
        for (phase, status) in
            [(Phase::Starting, 200), (Phase::Restoring, 200), (Phase::Serving, 503), (Phase::Draining, 200)]
        {
            health.begin(phase);
            while health.since_tick().is_zero() {
                std::thread::yield_now();
            }
            assert_eq!(text(healthz(&health, None, &times)).0, status, "{phase:?}");
        }
    }
}
