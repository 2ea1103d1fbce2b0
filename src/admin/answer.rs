//! Answers: status, headers and body.
//!
//! Owns the headers that every answer has, and the memory of answers that must be made. Must not know routes.

use super::AdminCounters;
use super::dashboard::Asset;
use super::event_stream::EventStream;
use crate::limits::{ADMIN_ANSWERS, HEADROOM};
use crate::sys::headroom;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use parking_lot::Mutex;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

/// Kept for the next answer up to this size.
const SPARE_MAX: usize = 1 << 20;

/// Content type of JSON.
pub(super) const JSON: &str = "application/json; charset=utf-8";
/// Content type of plain text.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// Headers of every answer. The page loads nothing from elsewhere, is in no frame, and no cache keeps what it shows.
const HEADERS: &[(HeaderName, &str)] = &[
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// A response of the admin listener.
pub(super) type Answer = Response<AnswerBody>;

/// Body of an answer.
pub(super) enum AnswerBody {
    /// Complete.
    Whole(Bytes),
    /// Frames for as long as the client likes.
    Events(Box<EventStream>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Events(stream) => stream.poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// An answer with this body.
pub(super) fn with(status: StatusCode, content_type: &'static str, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer of one line.
pub(super) fn line(status: StatusCode, text: &str) -> Answer {
    with(status, TEXT, AnswerBody::Whole(Bytes::from(format!("{text}\n"))))
}

/// A file of the page, or the answer that the client has it already. It may be kept, and is asked for again each time:
/// a server of another version has another one.
pub(super) fn file(asset: &'static Asset, request: &HeaderMap) -> Answer {
    let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known =
        known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.tag()));
    let (status, bytes) = if is_known { (StatusCode::NOT_MODIFIED, &[][..]) } else { (StatusCode::OK, asset.bytes) };
    let answer = with(status, asset.content_type, AnswerBody::Whole(Bytes::from_static(bytes)));
    and(and(answer, header::ETAG, asset.tag()), header::CACHE_CONTROL, "no-cache")
}

/// Sets a header.
pub(super) fn and(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}

/// Memory of answers that were made and not yet taken. One buffer is reused, so that scrapes allocate nothing.
#[derive(Default)]
pub(super) struct AnswerBuffers {
    /// Bytes that their clients have not taken.
    untaken: AtomicUsize,
    spare: Mutex<String>,
}

/// One made answer; its buffer returns when the last byte is taken.
struct Made {
    text: String,
    home: Arc<AnswerBuffers>,
}

impl AsRef<[u8]> for Made {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.home.untaken.fetch_sub(self.text.len(), Relaxed);
        let mut spare = self.home.spare.lock();
        if self.text.capacity() <= SPARE_MAX && self.text.capacity() > spare.capacity() {
            std::mem::swap(&mut *spare, &mut self.text);
        }
    }
}

/// Makes an answer with `render`, which appends to an empty text. One runs at a time, because one thread serves all.
pub(super) fn made(
    home: &Arc<AnswerBuffers>,
    counters: &AdminCounters,
    content_type: &'static str,
    render: impl FnOnce(&mut String),
) -> Answer {
    if home.untaken.load(Relaxed) >= ADMIN_ANSWERS || !headroom::is_there(HEADROOM) {
        AdminCounters::add(&counters.answers_refused);
        let refusal = line(StatusCode::SERVICE_UNAVAILABLE, "no memory for another answer");
        return and(refusal, header::RETRY_AFTER, "1");
    }
    let mut text = std::mem::take(&mut *home.spare.lock());
    text.clear();
    render(&mut text);
    home.untaken.fetch_add(text.len(), Relaxed);
    let body = Bytes::from_owner(Made { text, home: Arc::clone(home) });
    with(StatusCode::OK, content_type, AnswerBody::Whole(body))
}
