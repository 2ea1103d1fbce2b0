//! `/events`: frames as server-sent events.
//!
//! Owns the notation of the stream. Must not know what a frame says. It is the body of an answer, which ends when the
//! listener stops.

use super::hub::{ViewerFrame, ViewerPlace};
use super::state::StopSignal;
use hyper::body::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Content type of the stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Milliseconds after which a client is to connect again.
const BEGIN: &str = "retry: 2000\n\n";

/// A comment, so that a dead peer is noticed.
const PING: &str = ":\n\n";

/// The body of one stream.
pub(super) struct EventStream {
    viewer: ViewerPlace,
    begun: bool,
    interval: Duration,
    ping: Pin<Box<Sleep>>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl EventStream {
    /// `interval`: between two pings.
    pub(super) fn new(viewer: ViewerPlace, interval: Duration, stop: StopSignal) -> Self {
        Self { viewer, begun: false, interval, ping: Box::pin(sleep(interval)), stopped: Box::pin(stop.wait()) }
    }

    /// The next bytes; `None` at the end.
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(Some(BEGIN.into()));
        }
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = self.viewer.poll_frame(cx) {
            return Poll::Ready(Some(event(&frame)));
        }
        if self.ping.as_mut().poll(cx).is_ready() {
            self.ping.as_mut().reset(Instant::now() + self.interval);
            return Poll::Ready(Some(PING.into()));
        }
        Poll::Pending
    }
}

/// One event. A line feed would end it: frames have none, and one that had would be cut into fields of one event.
fn event(frame: &ViewerFrame) -> Bytes {
    let mut text = String::with_capacity(frame.len() + "data: \n\n".len());
    for line in frame.split('\n') {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_line_feeds() {
        assert_eq!(event(&"{\"a\":1}".into()), "data: {\"a\":1}\n\n");
        assert_eq!(event(&"a\nb".into()), "data: a\ndata: b\n\n");
    }
}
