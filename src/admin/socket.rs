//! `/ws`: frames over a WebSocket.
//!
//! Owns the handshake, the answers to breaches of the protocol, pings, and the end. Must not know what a frame says.
//! `conn` judges the request and calls it when hyper has given the connection up.

use super::AdminCounters;
use super::answer::{self, Answer, AnswerBody};
use super::hub::ViewerPlace;
use crate::limits::{ADMIN_MESSAGE, ADMIN_VIEWER_QUEUE};
use crate::settings::AdminTimes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Sink, SinkExt, Stream};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Appended to the client's key before it is hashed (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes read at a time.
const READ: usize = 4 * 1024;

/// Bytes of frames that are joined in one write.
const WRITE: usize = 16 * 1024;

/// Frames sent before the socket is read again.
const FRAMES: usize = 64;

/// Time for the closing handshake after which the connection is closed anyway.
const GOODBYE: Duration = Duration::from_secs(2);

/// The answer to a handshake: 101, after which the connection is a WebSocket, or a refusal.
pub(super) fn handshake<B>(request: &Request<B>) -> Answer {
    let headers = request.headers();
    let has = |name: HeaderName, word: &str| {
        let mut words = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        words.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") || !is_version_13(headers) {
        let refusal = answer::line(StatusCode::UPGRADE_REQUIRED, "a WebSocket of version 13 is required");
        let refusal = answer::and(refusal, header::UPGRADE, "websocket");
        let refusal = answer::and(refusal, header::CONNECTION, "Upgrade");
        return answer::and(refusal, header::SEC_WEBSOCKET_VERSION, "13");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if !STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        return answer::line(StatusCode::BAD_REQUEST, "the key of a WebSocket is 16 bytes in base64");
    }
    let mut answer = Response::new(AnswerBody::Whole(hyper::body::Bytes::new()));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = answer::and(answer, header::UPGRADE, "websocket");
    let mut answer = answer::and(answer, header::CONNECTION, "Upgrade");
    // Base64 is always a valid value.
    if let Ok(accept) = HeaderValue::try_from(accept_key(key)) {
        answer.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

fn is_version_13(headers: &HeaderMap) -> bool {
    headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|value| value == "13")
}

/// Proof that the server has read the key.
fn accept_key(key: &[u8]) -> String {
    let bytes = [key, ACCEPT_SUFFIX.as_bytes()].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &bytes))
}

/// How a WebSocket ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The peer has closed it, or is gone: nothing more can be sent.
    Gone,
    /// This side closes it with a code.
    Close(CloseCode, &'static str),
}

/// Serves a WebSocket until it ends.
pub(super) async fn serve<S>(
    io: S,
    viewer: ViewerPlace,
    times: AdminTimes,
    counters: &AdminCounters,
    stopped: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(WRITE)
        .max_write_buffer_size(ADMIN_VIEWER_QUEUE + 2 * WRITE)
        .max_message_size(Some(ADMIN_MESSAGE))
        .max_frame_size(Some(ADMIN_MESSAGE));
    let ws = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let next_ping = Instant::now() + times.ping;
    let alarm = Box::pin(sleep_until(next_ping));
    let mut socket = ViewerSocket { ws, viewer, times, next_ping, pong_due: None, alarm, is_closing: false };
    let mut stopped = std::pin::pin!(stopped);
    let end = std::future::poll_fn(|cx| {
        if stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Close(CloseCode::Away, "the server stops"));
        }
        socket.poll(cx, counters)
    })
    .await;
    let ViewerSocket { mut ws, viewer, .. } = socket;
    // The place is free before the last bytes are on their way.
    drop(viewer);
    let _ = timeout(GOODBYE, async {
        if let End::Close(code, reason) = end {
            let _ = ws.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
        }
        let _ = ws.get_mut().shutdown().await;
    })
    .await;
}

/// An open WebSocket.
struct ViewerSocket<S> {
    ws: WebSocketStream<S>,
    viewer: ViewerPlace,
    times: AdminTimes,
    next_ping: Instant,
    /// A ping has no pong yet: the time at which that is a fault.
    pong_due: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
    /// The peer has sent its close frame.
    is_closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ViewerSocket<S> {
    /// Moves frames in both directions until nothing more can be done at once.
    fn poll(&mut self, cx: &mut Context<'_>, counters: &AdminCounters) -> Poll<End> {
        loop {
            if let Poll::Ready(end) = self.poll_read(cx, counters) {
                return Poll::Ready(end);
            }
            if let Poll::Ready(end) = self.poll_pings(cx) {
                AdminCounters::add(&counters.pong_timeouts);
                return Poll::Ready(end);
            }
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(End::Gone),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads until the peer has sent nothing more.
    fn poll_read(&mut self, cx: &mut Context<'_>, counters: &AdminCounters) -> Poll<End> {
        loop {
            let message = match Pin::new(&mut self.ws).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(End::Gone),
                Poll::Ready(Some(message)) => message,
            };
            let breach = match message {
                Ok(Message::Text(text)) => {
                    self.viewer.message(&text);
                    continue;
                }
                Ok(Message::Pong(_)) => {
                    self.pong_due = None;
                    continue;
                }
                Ok(Message::Close(_)) => {
                    // The library echoes it, and then reports the end.
                    self.is_closing = true;
                    continue;
                }
                Ok(Message::Binary(_)) => End::Close(CloseCode::Unsupported, "text is required"),
                Ok(Message::Ping(_) | Message::Frame(_)) => continue,
                Err(Error::Capacity(_)) => End::Close(CloseCode::Size, "the message is too long"),
                Err(Error::Utf8(_)) => End::Close(CloseCode::Invalid, "the text is not UTF-8"),
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return Poll::Ready(End::Gone),
                Err(Error::Protocol(_)) => End::Close(CloseCode::Protocol, "a breach of the protocol"),
                Err(_) => return Poll::Ready(End::Gone),
            };
            AdminCounters::add(&counters.socket_errors);
            return Poll::Ready(breach);
        }
    }

    /// Sends a ping when one is due; ready when a pong is overdue.
    fn poll_pings(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let due = self.pong_due.unwrap_or(self.next_ping);
            if self.alarm.deadline() != due {
                self.alarm.as_mut().reset(due);
            }
            if self.alarm.as_mut().poll(cx).is_pending() || self.is_closing {
                return Poll::Pending;
            }
            if self.pong_due.is_some() {
                return Poll::Ready(End::Close(CloseCode::Policy, "no pong"));
            }
            let now = Instant::now();
            (self.pong_due, self.next_ping) = (Some(now + self.times.pong), now + self.times.ping);
            // A full buffer drops the ping: then the write limit ends the connection first.
            let _ = Pin::new(&mut self.ws).start_send(Message::Ping(hyper::body::Bytes::new()));
        }
    }

    /// Sends waiting frames. Ready when more may follow at once, pending when the socket or the viewer's queue blocks.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        for _ in 0..FRAMES {
            let mut ws = Pin::new(&mut self.ws);
            if ws.as_mut().poll_ready(cx)?.is_pending() {
                return Poll::Pending;
            }
            let frame = if self.is_closing { Poll::Pending } else { self.viewer.poll_frame(cx) };
            match frame {
                Poll::Ready(frame) => ws.start_send(Message::Text(frame))?,
                Poll::Pending => {
                    // Flushed or not, the viewer's queue, the socket or the alarm wakes the task.
                    let _ = ws.poll_flush(cx)?;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(headers: &[(&str, &str)]) -> (u16, Answer) {
        let mut request = Request::builder().uri("/ws");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = handshake(&request.body(()).unwrap());
        (answer.status().as_u16(), answer)
    }

    #[test]
    fn the_key_of_the_standard() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn handshakes() {
        const GOOD: [(&str, &str); 4] = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(status(&GOOD).0, 101);
        for (at, value, expected) in
            [(0, "h2c", 426), (1, "close", 426), (2, "8", 426), (3, "short", 400), (3, "dGhlIHNhbXBsZSBub25jZQ", 400)]
        {
            let mut headers = GOOD;
            headers[at].1 = value;
            let (status, answer) = status(&headers);
            assert_eq!(status, expected, "{value}");
            assert!(status != 426 || answer.headers()[header::SEC_WEBSOCKET_VERSION] == "13");
        }
        assert_eq!(status(&[]).0, 426);
    }
}
