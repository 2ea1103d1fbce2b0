//! Events for viewers of the dashboard: a viewer is a watcher like any client that sends `watch`.
//!
//! Owns the way of the lines: the logger thread writes them into a bounded channel, the viewer's task takes them from
//! it. A full channel is to the logger what a full socket is: lines wait in the watcher's buffer, are skipped and
//! counted beyond it, and no thread waits. Knows no frames. Called by `feed`.

use crate::events::EventClass;
use crate::limits::{DASHBOARD_CHUNK, DASHBOARD_CHUNKS, DASHBOARD_LINES};
use crate::maint::{WatchPeer, WatchRefused, WatchSink};
use crate::proto::Shared;
use parking_lot::Mutex;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

/// The logger's end.
struct ChannelSink(Sender<Vec<u8>>);

impl WatchSink for ChannelSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(DASHBOARD_CHUNK)];
        let mut chunk = Vec::new();
        if chunk.try_reserve_exact(part.len()).is_err() {
            return Err(ErrorKind::WouldBlock.into());
        }
        chunk.extend_from_slice(part);
        match self.0.try_send(chunk) {
            Ok(()) => Ok(part.len()),
            Err(TrySendError::Full(_)) => Err(ErrorKind::WouldBlock.into()),
            Err(TrySendError::Closed(_)) => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn listen(&mut self) -> WatchPeer {
        if self.0.is_closed() { WatchPeer::Gone } else { WatchPeer::Open }
    }
}

/// Lines of events for one viewer. Dropping it ends the watching.
pub(super) struct EventLines {
    chunks: Receiver<Vec<u8>>,
    /// The beginning of a line whose end has not come.
    part: Vec<u8>,
    /// Lines without this are passed over; empty = none.
    filter: Arc<Mutex<String>>,
    /// Lines for the viewer, up to [`DASHBOARD_LINES`] bytes.
    batch: LineBatch,
}

/// Lines that came since the last batch was taken.
#[derive(Default, PartialEq, Debug)]
pub(super) struct LineBatch {
    pub lines: Vec<String>,
    bytes: usize,
    /// Lines that are not among them: too many for the viewer, or for the logger.
    pub skipped: u64,
}

/// Longest line: a key of 250 bytes, escaped, and the other fields.
const LINE_MAX: usize = 2048;

impl EventLines {
    /// Watches events of `classes`, words as in `watch`; without any, `fetchers`. Lines without the text in `filter`
    /// are passed over.
    ///
    /// # Errors
    /// The reason, in words for the viewer.
    pub fn watch(shared: &Shared, classes: &[String], filter: Arc<Mutex<String>>) -> Result<Self, String> {
        if !shared.settings.watch_enabled {
            return Err("Watching is switched off on this server (-W).".into());
        }
        let mut wanted = if classes.is_empty() { EventClass::FETCHERS } else { EventClass::NONE };
        for class in classes {
            let named = EventClass::named(class.as_bytes()).ok_or_else(|| format!("No such class: {class}."))?;
            wanted = wanted.and(named);
        }
        let seat = shared.watchers.seat(wanted).map_err(|refused| match refused {
            WatchRefused::TooMany => "The server has its limit of watchers.",
            WatchRefused::Failed => "The server has no memory for watching, or is stopping.",
        })?;
        let (sender, chunks) = mpsc::channel(DASHBOARD_CHUNKS);
        seat.take(Box::new(ChannelSink(sender)));
        Ok(Self { chunks, part: Vec::new(), filter, batch: LineBatch::default() })
    }

    /// Waits for lines and adds them to the batch; false when the watching has ended. Cancelling the wait loses none.
    pub async fn fill(&mut self) -> bool {
        let Some(chunk) = self.chunks.recv().await else { return false };
        for byte in chunk {
            if byte == b'\n' {
                let line = String::from_utf8_lossy(&self.part).into_owned();
                self.part.clear();
                self.sort(line);
            } else if self.part.len() < LINE_MAX {
                self.part.push(byte);
            }
        }
        true
    }

    /// Whether the batch has something for the viewer.
    pub fn has_news(&self) -> bool {
        !self.batch.lines.is_empty() || self.batch.skipped > 0
    }

    /// Takes the batch.
    pub fn take(&mut self) -> LineBatch {
        std::mem::take(&mut self.batch)
    }

    fn sort(&mut self, line: String) {
        let (batch, filter) = (&mut self.batch, self.filter.lock());
        if let Some(count) = line.strip_prefix("skipped=") {
            batch.skipped += count.trim_end().parse().unwrap_or(0);
        } else if line.starts_with("ts=") && line.contains(&*filter) {
            if batch.bytes + line.len() <= DASHBOARD_LINES {
                batch.bytes += line.len();
                batch.lines.push(line);
            } else {
                batch.skipped += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::events::Event;
    use crate::limits::WATCHERS_MAX;
    use crate::maint::Logger;
    use crate::settings::{Action, parse};

    fn shared(args: &[&str]) -> Shared {
        let words = ["oxcached", "-k"].iter().chain(args).map(|word| (*word).into());
        let Action::Run(settings) = parse(words).unwrap() else { panic!("settings") };
        Shared::new(*settings, Clock::manual(1_000_000_000), Box::new(|_| ())).unwrap()
    }

    fn deletion(shared: &Shared, key: &str) {
        shared.events.put(&Event::Deleted { key: key.as_bytes(), meta: false, class: 1, size: 1 });
    }

    fn words(classes: &[&str]) -> Vec<String> {
        classes.iter().map(|class| (*class).to_owned()).collect()
    }

    fn watch(shared: &Shared, classes: &[&str], filter: &str) -> Result<EventLines, String> {
        EventLines::watch(shared, &words(classes), Arc::new(Mutex::new(filter.to_owned())))
    }

    /// Waits until `count` lines have come.
    fn lines(of: &mut EventLines, count: usize) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while of.batch.lines.len() < count {
            assert!(runtime.block_on(of.fill()));
        }
        of.take().lines
    }

    #[test]
    fn lines_of_the_classes_come_through_the_filter() {
        let shared = shared(&[]);
        let logger = Logger::start(Arc::clone(&shared.watchers), |_| ()).unwrap();
        let filter = Arc::new(Mutex::new(String::new()));
        let mut watching = EventLines::watch(&shared, &words(&["deletions"]), Arc::clone(&filter)).unwrap();
        deletion(&shared, "apple");
        assert!(lines(&mut watching, 1)[0].contains(" key=apple "));
        *filter.lock() = "key=pear".to_owned();
        for key in ["apple", "pear", "plum", "pearl"] {
            deletion(&shared, key);
        }
        let found = lines(&mut watching, 2);
        assert!(found[0].contains("key=pear ") && found[1].contains("key=pearl "), "{found:?}");
        assert!(!watching.has_news());
        drop(watching);
        while !shared.watchers.is_empty() {
            std::thread::yield_now();
        }
        logger.stop();
    }

    #[test]
    fn lines_beyond_a_batch_are_counted() {
        let shared = shared(&[]);
        let mut watching = watch(&shared, &[], "").unwrap();
        let line = format!("ts=1 {}", "x".repeat(1000));
        let most = DASHBOARD_LINES / line.len();
        for line in std::iter::repeat_n(line.as_str(), most + 3).chain(["OK\r", "skipped=7"]) {
            watching.sort(line.to_owned());
        }
        let batch = watching.take();
        assert_eq!((batch.lines.len(), batch.skipped), (most, 10));
        assert_eq!(watching.take(), LineBatch::default());
    }

    #[test]
    fn refusals_are_told_in_words() {
        let (off, on) = (shared(&["-W"]), shared(&[]));
        assert!(watch(&off, &[], "").err().unwrap().contains("(-W)"));
        assert_eq!(watch(&on, &["fetchers", "nonsense"], "").err().unwrap(), "No such class: nonsense.");
        let all: Vec<_> = (0..WATCHERS_MAX).map(|_| on.watchers.seat(EventClass::RAWCMDS)).collect();
        assert_eq!(watch(&on, &[], "").err().unwrap(), "The server has its limit of watchers.");
        drop(all);
        assert!(watch(&on, &[], "").is_ok());
    }
}
