//! One connection of the admin listener: the requests on it, until it ends.
//!
//! Owns the order in which a request is judged. Must not know what a handler does. `thread` runs one task for each
//! connection.

use super::AdminCounters;
use super::answer::{self, Answer};
use super::routes::{self, Handler};
use super::state::{AdminState, StopSignal};
use super::timed_io::{StageClock, TimedIo};
use crate::limits::{ADMIN_FIELDS, ADMIN_HEAD, ADMIN_REQUESTS};
use futures_util::future::{Either, select};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tokio::io::{AsyncRead, AsyncWrite};

/// Serves one connection until it ends; `stop` ends it after the answer in progress.
pub(super) async fn serve<S>(state: Arc<AdminState>, socket: S, stop: StopSignal)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let clock = Arc::new(StageClock::new(state.admin.times));
    let io = TimedIo::new(socket, Arc::clone(&clock), Arc::clone(&state.counters));
    let requests = AtomicU32::new(0);
    let service = service_fn(|request| {
        clock.answering();
        let mut answer = answer_to(&state, &request);
        AdminCounters::add(&state.counters.requests);
        if requests.fetch_add(1, Relaxed) + 1 >= ADMIN_REQUESTS {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        clock.answered();
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let mut http = http1::Builder::new();
    // `TimedIo` has the time limits: hyper's own for heads would also end a pause between requests.
    http.header_read_timeout(None).max_headers(ADMIN_FIELDS).max_buf_size(ADMIN_HEAD).half_close(false);
    let mut serving = pin!(http.serve_connection(TokioIo::new(io), service));
    if let Either::Right(_) = select(serving.as_mut(), pin!(stop.wait())).await {
        serving.as_mut().graceful_shutdown();
        let _ = serving.await;
    }
}

fn answer_to(state: &AdminState, request: &Request<Incoming>) -> Answer {
    let route = routes::find(request.uri().path());
    let needs_token = route.is_none_or(|route| route.handler.needs_token());
    if let Some(refusal) = state.guard.refusal(request, needs_token, &state.counters) {
        return refusal;
    }
    let Some(route) = route else {
        return answer::line(StatusCode::NOT_FOUND, "no such path");
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refusal = answer::line(StatusCode::METHOD_NOT_ALLOWED, "no such method here");
        return answer::and(refusal, header::ALLOW, route.handler.methods());
    }
    let source = state.source.get();
    match (route.handler, source) {
        (Handler::Health(run), _) => run(&state.health, source, &state.admin.times),
        (Handler::Page(..), None) => answer::line(StatusCode::SERVICE_UNAVAILABLE, "starting"),
        (Handler::Page(content_type, render), Some(source)) => {
            answer::made(&state.buffers, &state.counters, content_type, |text| render(source, text))
        }
    }
}
