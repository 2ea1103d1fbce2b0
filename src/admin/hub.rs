//! Viewers of live events, and the frames that wait for them.
//!
//! Owns the list of viewers, each one's queue and topics. Must not know how a frame travels (`socket`, `event_stream`)
//! nor what it says: a [`Feed`] greets viewers and reads their messages. Any thread may publish; none ever waits for a
//! viewer.

use super::AdminCounters;
use crate::limits::{ADMIN_VIEWER_QUEUE, ADMIN_VIEWERS};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

/// One JSON object without a line feed. A clone shares its bytes.
pub type ViewerFrame = tokio_tungstenite::tungstenite::Utf8Bytes;

/// The topic that every viewer has from the start.
pub const LIVE: u64 = 1;

/// Source of what viewers see beyond published frames. Its functions run on the admin thread and must not block; they
/// may push and publish frames.
pub trait Feed: Send + Sync {
    /// A viewer has come, with the query of its request. Frames pushed here are its first.
    fn opened(&self, hub: &Hub, viewer: &Viewer, query: &str);

    /// A viewer has sent a message, of [`ADMIN_MESSAGE`](crate::limits::ADMIN_MESSAGE) bytes at most.
    fn message(&self, hub: &Hub, viewer: &Viewer, text: &str);

    /// A viewer has gone.
    fn closed(&self, hub: &Hub, viewer: &Viewer);
}

/// All viewers. Lock rank: see docs/locking.md.
pub struct Hub {
    viewers: Mutex<Vec<Arc<Viewer>>>,
    /// Topics that at least one viewer has.
    topics: AtomicU64,
    next_id: AtomicU64,
    feed: OnceLock<Box<dyn Feed>>,
    counters: Arc<AdminCounters>,
}

/// One viewer.
pub struct Viewer {
    id: u64,
    topics: AtomicU64,
    queue: Mutex<Queue>,
    /// The task that sends.
    task: AtomicWaker,
    counters: Arc<AdminCounters>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<ViewerFrame>,
    bytes: usize,
    /// Frames dropped since the viewer was last told.
    dropped: u64,
}

impl Hub {
    pub(super) fn new(counters: Arc<AdminCounters>) -> Self {
        let (viewers, topics, next_id, feed) =
            (Mutex::default(), AtomicU64::new(0), AtomicU64::new(1), OnceLock::new());
        Self { viewers, topics, next_id, feed, counters }
    }

    /// Sets the feed; the first one stays.
    pub fn set_feed(&self, feed: impl Feed + 'static) {
        let _ = self.feed.set(Box::new(feed));
    }

    /// Whether a viewer has one of `topics`: without one, a publisher need not make a frame.
    pub fn wants(&self, topics: u64) -> bool {
        self.topics.load(Relaxed) & topics != 0
    }

    /// Queues a frame for each viewer that has one of `topics`.
    pub fn publish(&self, topics: u64, frame: &ViewerFrame) {
        if self.wants(topics) {
            let viewers = self.viewers.lock();
            viewers.iter().filter(|viewer| viewer.topics() & topics != 0).for_each(|viewer| viewer.push(frame.clone()));
        }
    }

    /// Sets the topics of a viewer.
    pub fn subscribe(&self, viewer: &Viewer, topics: u64) {
        let viewers = self.viewers.lock();
        viewer.topics.store(topics, Relaxed);
        self.collect_topics(&viewers);
    }

    fn collect_topics(&self, viewers: &[Arc<Viewer>]) {
        self.topics.store(viewers.iter().fold(0, |all, viewer| all | viewer.topics()), Relaxed);
    }

    /// Adds a viewer; `None` if there are too many.
    pub(super) fn enter(self: &Arc<Self>, query: &str) -> Option<ViewerPlace> {
        let viewer = Arc::new(Viewer {
            id: self.next_id.fetch_add(1, Relaxed),
            topics: AtomicU64::new(LIVE),
            queue: Mutex::default(),
            task: AtomicWaker::new(),
            counters: Arc::clone(&self.counters),
        });
        if self.viewers.lock().len() >= ADMIN_VIEWERS {
            AdminCounters::add(&self.counters.viewers_refused);
            return None;
        }
        // Greeted before it is in the list, so that what it is pushed now comes before what is published. Viewers enter
        // on the admin thread alone: the bound holds.
        let place = ViewerPlace { hub: Arc::clone(self), viewer: Arc::clone(&viewer) };
        if let Some(feed) = self.feed.get() {
            feed.opened(self, &viewer, query);
        }
        let mut viewers = self.viewers.lock();
        viewers.push(viewer);
        self.counters.viewers.store(viewers.len() as u64, Relaxed);
        self.collect_topics(&viewers);
        Some(place)
    }

    fn leave(&self, viewer: &Viewer) {
        let mut viewers = self.viewers.lock();
        viewers.retain(|other| other.id != viewer.id);
        self.counters.viewers.store(viewers.len() as u64, Relaxed);
        self.collect_topics(&viewers);
        drop(viewers);
        if let Some(feed) = self.feed.get() {
            feed.closed(self, viewer);
        }
    }
}

impl Viewer {
    /// Number of the viewer; never reused.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Topics of the viewer.
    pub fn topics(&self) -> u64 {
        self.topics.load(Relaxed)
    }

    /// Queues a frame for this viewer alone. Beyond the bound of its queue the oldest frames are dropped.
    pub fn push(&self, frame: ViewerFrame) {
        let mut queue = self.queue.lock();
        let before = queue.dropped;
        if frame.len() > ADMIN_VIEWER_QUEUE {
            queue.dropped += 1;
        } else {
            while queue.bytes + frame.len() > ADMIN_VIEWER_QUEUE {
                let Some(oldest) = queue.frames.pop_front() else { break };
                queue.bytes -= oldest.len();
                queue.dropped += 1;
            }
            queue.bytes += frame.len();
            queue.frames.push_back(frame);
        }
        self.counters.frames_dropped.fetch_add(queue.dropped - before, Relaxed);
        drop(queue);
        self.task.wake();
    }

    /// The next frame to send. A report of dropped frames comes in their place.
    fn take(&self) -> Option<ViewerFrame> {
        let mut queue = self.queue.lock();
        match std::mem::take(&mut queue.dropped) {
            0 => {}
            dropped => return Some(format!("{{\"type\":\"dropped\",\"frames\":{dropped}}}").into()),
        }
        let frame = queue.frames.pop_front()?;
        queue.bytes -= frame.len();
        Some(frame)
    }
}

/// A viewer's place in the hub; dropping it makes the viewer leave.
pub(super) struct ViewerPlace {
    hub: Arc<Hub>,
    viewer: Arc<Viewer>,
}

impl ViewerPlace {
    /// The next frame to send, once there is one.
    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<ViewerFrame> {
        // Registered first: a frame that comes between the two lines wakes the task.
        self.viewer.task.register(cx.waker());
        self.viewer.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Passes a message of the viewer on.
    pub(super) fn message(&self, text: &str) {
        if let Some(feed) = self.hub.feed.get() {
            feed.message(&self.hub, &self.viewer, text);
        }
    }
}

impl Drop for ViewerPlace {
    fn drop(&mut self) {
        self.hub.leave(&self.viewer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> (Arc<Hub>, Arc<AdminCounters>) {
        let counters = Arc::<AdminCounters>::default();
        (Arc::new(Hub::new(Arc::clone(&counters))), counters)
    }

    fn texts(place: &ViewerPlace) -> Vec<String> {
        std::iter::from_fn(|| place.viewer.take()).map(|frame| frame.to_string()).collect()
    }

    #[test]
    fn frames_reach_the_viewers_of_their_topic() {
        let (hub, counters) = hub();
        assert!(!hub.wants(u64::MAX));
        hub.publish(LIVE, &"lost".into());
        let (one, other) = (hub.enter("").unwrap(), hub.enter("").unwrap());
        hub.subscribe(&other.viewer, LIVE | 4);
        assert!(hub.wants(4) && !hub.wants(2));
        for (topics, text) in [(LIVE, "all"), (4, "some"), (2, "none")] {
            hub.publish(topics, &text.into());
        }
        assert_eq!((texts(&one), texts(&other)), (vec!["all".to_owned()], vec!["all".to_owned(), "some".to_owned()]));
        assert_eq!(counters.viewers.load(Relaxed), 2);
        drop(other);
        assert!(!hub.wants(4) && hub.wants(LIVE));
        drop(one);
        assert!(!hub.wants(u64::MAX));
        assert_eq!(counters.viewers.load(Relaxed), 0);
    }

    #[test]
    fn a_viewer_that_takes_nothing_loses_the_oldest_frames() {
        let (hub, counters) = hub();
        let place = hub.enter("").unwrap();
        let frame = |n: usize| ViewerFrame::from(n.to_string() + &"x".repeat(ADMIN_VIEWER_QUEUE / 4 - 1));
        for n in 0..7 {
            hub.publish(LIVE, &frame(n));
            assert!(place.viewer.queue.lock().bytes <= ADMIN_VIEWER_QUEUE);
        }
        hub.publish(LIVE, &"x".repeat(ADMIN_VIEWER_QUEUE + 1).into());
        let got = texts(&place);
        assert_eq!(got[0], "{\"type\":\"dropped\",\"frames\":4}");
        let expected: Vec<String> = (3..7).map(|n| frame(n).to_string()).collect();
        assert!(got[1..] == expected[..], "the newest in their order");
        assert_eq!(counters.frames_dropped.load(Relaxed), 4);
        assert_eq!(place.viewer.queue.lock().bytes, 0);
    }

    #[test]
    fn viewers_are_bounded() {
        let (hub, counters) = hub();
        let mut places: Vec<_> = (0..ADMIN_VIEWERS).map(|_| hub.enter("").unwrap()).collect();
        assert!(hub.enter("").is_none());
        assert_eq!(counters.viewers_refused.load(Relaxed), 1);
        places.pop();
        assert!(hub.enter("").is_some());
    }

    #[test]
    fn a_feed_greets_first_and_hears_messages() {
        struct Greeter;
        impl Feed for Greeter {
            fn opened(&self, _: &Hub, viewer: &Viewer, query: &str) {
                viewer.push(format!("hello {query}").into());
            }
            fn message(&self, hub: &Hub, viewer: &Viewer, text: &str) {
                hub.subscribe(viewer, text.len() as u64);
            }
            fn closed(&self, hub: &Hub, _: &Viewer) {
                hub.publish(u64::MAX, &"gone".into());
            }
        }
        let (hub, _) = hub();
        hub.set_feed(Greeter);
        let (one, other) = (hub.enter("a=1").unwrap(), hub.enter("").unwrap());
        one.message("1234");
        assert!(hub.wants(4));
        drop(other);
        assert_eq!(texts(&one), ["hello a=1", "gone"]);
    }
}
