//! One connection of the admin listener: the requests on it, until it ends.
//!
//! Owns the order in which a request is judged. Must not know what a handler does. `thread` runs one task for each
//! connection.

use super::answer::{self, Answer, AnswerBody};
use super::event_stream::{EVENT_STREAM, EventStream};
use super::hub::ViewerPlace;
use super::routes::{self, Handler};
use super::state::{AdminState, StopSignal};
use super::switches::Switch;
use super::timed_io::{StageClock, TimedIo};
use super::{AdminCounters, Source, socket};
use crate::limits::{ADMIN_BODY, ADMIN_FIELDS, ADMIN_HEAD, ADMIN_REQUESTS};
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// A WebSocket that begins once hyper has sent its answer.
type Upgrading = Mutex<Option<(OnUpgrade, ViewerPlace)>>;

/// What the requests of one connection share.
struct Requests {
    state: Arc<AdminState>,
    clock: Arc<StageClock>,
    stop: StopSignal,
    /// Requests so far.
    count: AtomicU32,
    upgrading: Upgrading,
}

/// Serves one connection until it ends; `stop` ends it after the answer in progress.
pub(super) async fn serve<S>(state: Arc<AdminState>, socket: S, stop: StopSignal)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let clock = Arc::new(StageClock::new(state.admin.times));
    let io = TimedIo::new(socket, Arc::clone(&clock), Arc::clone(&state.counters));
    let (count, upgrading) = (AtomicU32::new(0), Mutex::default());
    let requests = Requests { state, clock, stop, count, upgrading };
    let service = service_fn(|request| {
        // At once: hyper reads again before it polls the answer.
        requests.clock.answering();
        async { Ok::<_, Infallible>(requests.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    // `TimedIo` has the time limits: hyper's own for heads would also end a pause between requests.
    http.header_read_timeout(None).max_headers(ADMIN_FIELDS).max_buf_size(ADMIN_HEAD).half_close(false);
    {
        let mut serving = pin!(http.serve_connection(TokioIo::new(io), service).with_upgrades());
        let ended = match select(serving.as_mut(), pin!(requests.stop.clone().wait())).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if ended.is_err_and(|e| e.is_parse_too_large()) {
            AdminCounters::add(&requests.state.counters.too_large);
        }
    }
    let Requests { state, stop, upgrading, .. } = requests;
    if let Some((upgrade, viewer)) = upgrading.into_inner()
        && let Ok(io) = upgrade.await
    {
        socket::serve(TokioIo::new(io), viewer, state.admin.times, &state.counters, stop.wait()).await;
    }
}

impl Requests {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        AdminCounters::add(&self.state.counters.requests);
        let has_body = !request.body().is_end_stream();
        let mut answer = match self.judge(&request) {
            Ok(handler) => self.run(handler, request).await,
            Err(refusal) => *refusal,
        };
        let is_last = self.count.fetch_add(1, Relaxed) + 1 >= ADMIN_REQUESTS;
        // The rest of a refused body is not read.
        let has_rest = has_body && !answer.status().is_success();
        if is_last || has_rest {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.clock.answered();
        answer
    }

    /// The handler of a request, or why it has no answer.
    fn judge(&self, request: &Request<Incoming>) -> Result<Handler, Box<Answer>> {
        let (state, found) = (&self.state, routes::find(request.uri().path()));
        let needs_token = found.is_none_or(Handler::needs_token);
        if let Some(refusal) = state.guard.refusal(request, needs_token, &state.counters) {
            return Err(Box::new(refusal));
        }
        let Some(handler) = found else { return Err(Box::new(answer::line(StatusCode::NOT_FOUND, "no such path"))) };
        if !handler.allows(request.method()) {
            let refusal = answer::line(StatusCode::METHOD_NOT_ALLOWED, "no such method here");
            return Err(Box::new(answer::and(refusal, header::ALLOW, handler.methods())));
        }
        let most = if matches!(handler, Handler::Change(_)) { ADMIN_BODY as u64 } else { 0 };
        // A body of unknown length is read up to the bound.
        let is_too_long = request.body().size_hint().exact().map_or(most == 0, |length| length > most);
        if is_too_long && !request.body().is_end_stream() {
            return Err(Box::new(self.too_large()));
        }
        Ok(handler)
    }

    async fn run(&self, handler: Handler, mut request: Request<Incoming>) -> Answer {
        let (state, source) = (&self.state, self.state.source.get());
        if let Handler::Health(run) = handler {
            return run(&state.health, source, &state.admin.times);
        }
        if let Handler::File(asset) = handler {
            return answer::file(asset, request.headers());
        }
        let Some(source) = source else { return answer::line(StatusCode::SERVICE_UNAVAILABLE, "starting") };
        match handler {
            Handler::File(asset) => answer::file(asset, request.headers()),
            Handler::Health(run) => run(&state.health, Some(source), &state.admin.times),
            Handler::Page(content_type, render) => {
                answer::made(&state.buffers, &state.counters, content_type, |text| render(source, text))
            }
            Handler::Change(switch) => self.change(switch, source, request.into_body()).await,
            Handler::Events => {
                let Some(viewer) = state.hub.enter(request.uri().query().unwrap_or_default()) else {
                    return no_place();
                };
                self.clock.streaming();
                let stream = EventStream::new(viewer, state.admin.times.ping, self.stop.clone());
                answer::with(StatusCode::OK, EVENT_STREAM, AnswerBody::Events(Box::new(stream)))
            }
            Handler::Socket => {
                let answer = socket::handshake(&request);
                if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                    return answer;
                }
                let Some(viewer) = state.hub.enter(request.uri().query().unwrap_or_default()) else {
                    return no_place();
                };
                self.clock.streaming();
                *self.upgrading.lock() = Some((hyper::upgrade::on(&mut request), viewer));
                answer
            }
        }
    }

    /// `POST`: reads the body and changes a setting.
    async fn change(&self, switch: &Switch, source: &Source, body: Incoming) -> Answer {
        if !self.state.admin.write {
            return answer::line(StatusCode::FORBIDDEN, "changes need -o admin_write");
        }
        let body = match timeout(self.state.admin.times.head, Limited::new(body, ADMIN_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(e)) if e.is::<LengthLimitError>() => return self.too_large(),
            Ok(Err(_)) => return answer::line(StatusCode::BAD_REQUEST, "the body is broken"),
            Err(_) => {
                AdminCounters::add(&self.state.counters.read_timeouts);
                return answer::line(StatusCode::REQUEST_TIMEOUT, "the body takes too long");
            }
        };
        let Ok(text) = std::str::from_utf8(&body) else {
            return answer::line(StatusCode::BAD_REQUEST, "the body is not UTF-8");
        };
        match (switch.set)(source, text.trim()) {
            Ok(()) => answer::line(StatusCode::OK, "ok"),
            Err(complaint) => answer::line(StatusCode::BAD_REQUEST, &complaint),
        }
    }

    fn too_large(&self) -> Answer {
        AdminCounters::add(&self.state.counters.too_large);
        answer::line(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long")
    }
}

fn no_place() -> Answer {
    let refusal = answer::line(StatusCode::SERVICE_UNAVAILABLE, "too many viewers");
    answer::and(refusal, header::RETRY_AFTER, "5")
}
