//! The routes of the admin listener.
//!
//! Owns the table of paths and what stands behind each. Must not know connections: `conn` asks for the route of a path
//! and judges the request by it before it runs the handler.

use super::answer::{self, Answer, JSON, TEXT};
use super::health::{Health, Phase};
use super::{Source, exposition, json};
use crate::settings::AdminTimes;
use hyper::StatusCode;
use std::sync::atomic::Ordering::Relaxed;

/// What a path stands for.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// State of the server. Answers without the token, and while the server starts.
    Health(fn(&Health, Option<&Source>, &AdminTimes) -> Answer),
    /// A text that is made for each request: content type, and the function that appends it to a reused buffer.
    Page(&'static str, fn(&Source, &mut String)),
}

/// A path and its handler.
pub(super) struct Route {
    pub(super) path: &'static str,
    pub(super) handler: Handler,
}

/// All paths.
pub(super) static ROUTES: &[Route] = &[
    Route { path: "/healthz", handler: Handler::Health(healthz) },
    Route { path: "/readyz", handler: Handler::Health(readyz) },
    Route { path: "/metrics", handler: Handler::Page(exposition::CONTENT_TYPE, metrics) },
    Route { path: "/stats.json", handler: Handler::Page(JSON, json::stats) },
];

impl Handler {
    /// Methods of the path, as in the header `Allow`.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::Health(_) | Self::Page(..) => "GET, HEAD",
        }
    }

    /// Whether clients need the token, if there is one. Load balancers and orchestrators have none.
    pub(super) fn needs_token(self) -> bool {
        !matches!(self, Self::Health(_))
    }
}

/// The route of a path.
pub(super) fn find(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.path == path)
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
    let reason = match (health.phase(), source) {
        (Phase::Starting, _) | (Phase::Serving, None) => "starting",
        (Phase::Restoring, _) => "restoring: items of the memory file are being recovered",
        (Phase::Draining, _) => "draining: the server stops",
        (Phase::Serving, Some(source)) if accepts(source) => return answer::line(StatusCode::OK, "ready"),
        (Phase::Serving, Some(_)) => "paused: no descriptor is free for another client",
    };
    answer::line(StatusCode::SERVICE_UNAVAILABLE, reason)
}

fn metrics(source: &Source, out: &mut String) {
    source.exposition.lock().render(&source.shared, &source.counters, out);
}
