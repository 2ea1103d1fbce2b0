//! What viewers get: a greeting, a frame each second, and event lines for those that watch.
//!
//! Owns the samples, the requests of viewers, and the tasks that carry event lines. Must not know how a frame travels:
//! [`Hub`] queues it. Everything here runs on the admin thread.

use super::figures::LiveFigures;
use super::frames;
use super::sampler::Sampler;
use super::watch::EventLines;
use crate::admin::{Feed, Hub, LIVE, Source, Viewer};
use crate::limits::DASHBOARD_WATCHERS;
use crate::sys::{panics, process};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// Time between two samples.
const SECOND: Duration = Duration::from_secs(1);

/// Samples between two frames of hot keys, and of slow turns.
const KEYS_EVERY: u64 = 2;

/// Minimum time between two frames of event lines for one viewer.
const PACE: Duration = Duration::from_millis(100);

/// Longest filter of event lines, in bytes.
const FILTER_MAX: usize = 1024;

/// Topic of the first viewer that watches events: each has one of its own, since a frame of lines is for it alone.
const FIRST_TOPIC: u32 = 32;

/// The samples of one server, and the viewers that watch its events.
pub(in crate::admin) struct Dashboard {
    source: Source,
    /// Lock rank: see docs/locking.md.
    sampler: Mutex<Sampler>,
    /// By the number of the viewer; [`DASHBOARD_WATCHERS`] at most. Lock rank: see docs/locking.md.
    watching: Mutex<HashMap<u64, Watching>>,
}

/// A viewer that watches.
struct Watching {
    topic: u64,
    classes: Vec<String>,
    /// Lock rank: see docs/locking.md.
    filter: Arc<Mutex<String>>,
    task: AbortHandle,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Greets viewers from now on, takes samples and publishes them, until the runtime ends.
pub(in crate::admin) fn start(source: Source, runtime: &Handle) {
    let hub = Arc::clone(&source.hub);
    let dashboard = Arc::new(Dashboard::new(source));
    hub.set_feed(DashboardFeed(Arc::downgrade(&dashboard)));
    runtime.spawn(async move {
        let mut ticks = interval(SECOND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut second, mut is_watched) = (0_u64, false);
        loop {
            ticks.tick().await;
            second += 1;
            // A panic costs a sample.
            let _ = panics::contain(|| dashboard.tick(&hub, second));
            // Viewers that take nothing leave megabytes of frames.
            let was_watched = std::mem::replace(&mut is_watched, hub.wants(LIVE));
            if was_watched && !is_watched {
                process::return_free_memory();
            }
        }
    });
}

/// The hub's way to the dashboard, which holds the hub itself; it ends with the runtime.
struct DashboardFeed(Weak<Dashboard>);

impl Feed for DashboardFeed {
    fn opened(&self, hub: &Hub, viewer: &Viewer, query: &str) {
        let Some(dashboard) = self.0.upgrade() else { return };
        let shared = &dashboard.source.shared;
        viewer.push(frames::hello(shared, &dashboard.sampler).into());
        viewer.push(frames::hot_keys(shared).into());
        viewer.push(frames::slow_turns(shared).into());
        if let Some(request) = request_of(query) {
            viewer.push(dashboard.request(hub, viewer, &request).into());
        }
    }

    fn message(&self, hub: &Hub, viewer: &Viewer, text: &str) {
        let Some(dashboard) = self.0.upgrade() else { return };
        let request = serde_json::from_str(text).unwrap_or_default();
        viewer.push(dashboard.request(hub, viewer, &request).into());
    }

    fn closed(&self, _: &Hub, viewer: &Viewer) {
        let gone = self.0.upgrade().and_then(|dashboard| dashboard.watching.lock().remove(&viewer.id()));
        drop(gone);
    }
}

impl Dashboard {
    fn new(source: Source) -> Self {
        Self { source, sampler: Mutex::new(Sampler::new()), watching: Mutex::default() }
    }

    fn tick(&self, hub: &Hub, second: u64) {
        let (shared, dropped) = (&self.source.shared, self.source.counters.frames_dropped.load(Relaxed));
        // Read without the lock: figures take the locks of classes.
        let figures = LiveFigures::of(&self.source.collector());
        let mut sampler = self.sampler.lock();
        sampler.take(figures, dropped);
        let newest = sampler.newest();
        drop(sampler);
        // Without a viewer no frame is made; one that comes later is greeted with the sample.
        if let Some(newest) = newest.filter(|_| hub.wants(LIVE)) {
            hub.publish(LIVE, &frames::sample(shared, &newest).into());
            if second.is_multiple_of(KEYS_EVERY) {
                hub.publish(LIVE, &frames::hot_keys(shared).into());
                hub.publish(LIVE, &frames::slow_turns(shared).into());
            }
        }
    }

    /// Carries out `{"type":"watch","classes":["fetchers"],"filter":"text"}` or `{"type":"unwatch"}`. Returns the
    /// answer's frame.
    fn request(&self, hub: &Hub, viewer: &Viewer, request: &Value) -> String {
        match request["type"].as_str() {
            Some("watch") => match self.watch(hub, viewer, request) {
                Ok(classes) => frames::watching(&classes, None),
                Err(why) => {
                    self.unwatch(hub, viewer);
                    frames::watching(&[], Some(&why))
                }
            },
            Some("unwatch") => {
                self.unwatch(hub, viewer);
                frames::watching(&[], None)
            }
            _ => frames::refused("No such request."),
        }
    }

    fn watch(&self, hub: &Hub, viewer: &Viewer, request: &Value) -> Result<Vec<String>, String> {
        let words = request["classes"].as_array().ok_or("A request to watch names its classes.")?;
        let mut classes: Vec<String> = words.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        classes.sort_unstable();
        classes.dedup();
        let filter = request["filter"].as_str().unwrap_or_default();
        if filter.len() > FILTER_MAX {
            return Err(format!("A filter has {FILTER_MAX} bytes at most."));
        }
        let is_same = |watching: &&Watching| watching.classes == classes;
        let known = self.watching.lock().get(&viewer.id()).filter(is_same).map(|watching| Arc::clone(&watching.filter));
        if let Some(known) = known {
            filter.clone_into(&mut known.lock());
            return Ok(classes);
        }
        // Its own seat must be free before it takes another.
        self.unwatch(hub, viewer);
        let taken = self.watching.lock().values().fold(0, |all, watching| all | watching.topic);
        let topic = (FIRST_TOPIC..).map(|bit| 1 << bit).take(DASHBOARD_WATCHERS).find(|topic| taken & topic == 0);
        let topic = topic.ok_or_else(|| format!("{DASHBOARD_WATCHERS} viewers watch already."))?;
        let filter = Arc::new(Mutex::new(filter.to_owned()));
        let lines = EventLines::watch(&self.source.shared, &classes, Arc::clone(&filter))?;
        let task = tokio::spawn(carry(lines, Arc::clone(&self.source.hub), topic)).abort_handle();
        hub.subscribe(viewer, LIVE | topic);
        self.watching.lock().insert(viewer.id(), Watching { topic, classes: classes.clone(), filter, task });
        Ok(classes)
    }

    fn unwatch(&self, hub: &Hub, viewer: &Viewer) {
        let gone = self.watching.lock().remove(&viewer.id());
        if gone.is_some() {
            hub.subscribe(viewer, LIVE);
        }
        drop(gone);
    }
}

/// Carries lines to the one viewer of `topic`, until the server ends the watching.
async fn carry(mut lines: EventLines, hub: Arc<Hub>, topic: u64) {
    let mut next = Instant::now();
    loop {
        if lines.has_news() && Instant::now() >= next {
            hub.publish(topic, &frames::watch(&lines.take()).into());
            next = Instant::now() + PACE;
            continue;
        }
        let goes_on =
            if lines.has_news() { timeout_at(next, lines.fill()).await.unwrap_or(true) } else { lines.fill().await };
        if !goes_on {
            hub.publish(topic, &frames::watching(&[], Some("The server has ended the watching.")).into());
            return;
        }
    }
}

/// The request to watch of a query such as `watch=fetchers,deletions&filter=user`, for viewers that cannot send one.
fn request_of(query: &str) -> Option<Value> {
    let field = |name: &str| {
        let of = |part: &str| part.strip_prefix(name)?.strip_prefix('=').map(decoded);
        query.split('&').find_map(of)
    };
    let classes: Vec<String> = field("watch")?.split(',').map(str::to_owned).collect();
    Some(serde_json::json!({ "type": "watch", "classes": classes, "filter": field("filter").unwrap_or_default() }))
}

/// A text without its percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => (rest, _) = (&after[2..], bytes.push(byte)),
            None => (rest, _) = (after, bytes.push(if first == b'+' { b' ' } else { first })),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_may_ask_to_watch() {
        let request =
            |query| request_of(query).map(|request| (request["classes"].to_string(), request["filter"].clone()));
        assert_eq!(request("watch=fetchers,deletions"), Some((r#"["fetchers","deletions"]"#.into(), "".into())));
        assert_eq!(request("filter=a%3Db+c&watch=evictions"), Some((r#"["evictions"]"#.into(), "a=b c".into())));
        assert_eq!(request("watch=").unwrap().0, r#"[""]"#);
        for query in ["", "filter=x", "watches=x", "watch"] {
            assert_eq!(request_of(query), None, "{query}");
        }
    }

    #[test]
    fn percent_signs_are_decoded_and_bad_ones_stay() {
        for (text, expected) in
            [("%41%2e+", "A. "), ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%C3%A4", "\u{e4}"), ("%FF", "\u{fffd}")]
        {
            assert_eq!(decoded(text), expected);
        }
    }
}
