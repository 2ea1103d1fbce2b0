//! The threads that load: they read the record of a key that memory does not hold, and link its item.
//!
//! Owns the order of a load: pending changes first, then the engine, then the link, if nothing has changed the key
//! meanwhile. Must not know sessions; `loads` tells those that wait. Started by `mod`.

use super::core::Core;
use super::engine::{Reader, Record};
use super::loads::{LoadKey, LoadRequest};
use super::pending::PendingItem;
use crate::cache::{CommitNumber, Key};
use crate::store::LinkedLoad;
use crate::sys::say;
use crossbeam_channel::Receiver;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Tries of a load whose key keeps changing. Each change leaves the item in memory or deletes it, so that the command
/// that waits finds what it should, unless memory has evicted the item at once.
const TRIES: u32 = 8;

/// A loading thread.
pub(super) struct Loader {
    pub core: Arc<Core>,
    pub reader: Box<dyn Reader>,
    pub requests: Receiver<LoadRequest>,
}

/// What a try of a load came to.
enum Tried {
    /// The load has ended; there was a record, or none.
    Found(bool),
    /// The key has changed.
    Changed,
    /// The value is too large to be read before this commit.
    After(CommitNumber),
    Failed,
}

impl Loader {
    /// Loads until the stop.
    pub fn run(mut self) {
        Core::begin_loading();
        while let Ok(LoadRequest::Load(load)) = self.requests.recv() {
            self.load(load);
        }
    }

    fn load(&mut self, load: LoadKey) {
        let core = Arc::clone(&self.core);
        let counts = &core.counts;
        for _ in 0..TRIES {
            let counter = match self.attempt(&load) {
                Tried::Changed => {
                    counts.load_retries.fetch_add(1, Relaxed);
                    continue;
                }
                Tried::After(commit) => {
                    let loads = Arc::clone(&core.loads);
                    core.commits.when_ended(commit, Box::new(move |_| loads.request(load)));
                    core.wake_writer();
                    return;
                }
                Tried::Found(true) => &counts.load_hits,
                Tried::Found(false) => &counts.load_misses,
                Tried::Failed => &counts.load_errors,
            };
            counter.fetch_add(1, Relaxed);
            break;
        }
        core.loads.end(&load);
    }

    fn attempt(&mut self, load: &LoadKey) -> Tried {
        let core = Arc::clone(&self.core);
        let Some(key) = Key::new(load.bytes()) else { return Tried::Found(false) };
        core.loads.validate(load);
        let record = match core.pending.find(&key) {
            PendingItem::Deleted => return Tried::Found(false),
            PendingItem::Put { value: None, .. } => return Tried::After(CommitNumber(core.pending.open_cut())),
            PendingItem::Put { value: Some(value), flags, expires, cas, marks } => {
                Record { value, flags, expires, cas, marks, modified: 0 }
            }
            pending => match self.read(&key, matches!(pending, PendingItem::Touched { .. })) {
                Ok(Some(record)) => match pending {
                    PendingItem::Touched { expires, marks } => Record { expires, marks, ..record },
                    _ => record,
                },
                Ok(None) => return Tried::Found(false),
                Err(()) => return Tried::Failed,
            },
        };
        if record.expires != 0 && record.expires <= core.times().unix() {
            return Tried::Found(false);
        }
        match core.link(&key, &record, || core.loads.is_valid(load)) {
            LinkedLoad::Present => Tried::Found(true),
            LinkedLoad::Refused => Tried::Changed,
            LinkedLoad::Impossible => Tried::Failed,
        }
    }

    /// Reads the engine's record; one that has expired too if it has another expiry time by now (`is_touched`).
    fn read(&mut self, key: &Key<'_>, is_touched: bool) -> Result<Option<Record>, ()> {
        // Asked after `validate`: a flush that comes later makes the load invalid.
        if self.core.engine_is_flushed() {
            return Ok(None);
        }
        let mut record = Record::default();
        let now = if is_touched { 0 } else { self.core.times().unix() };
        match self.reader.get(key.bytes(), now, &mut record) {
            Ok(found) => Ok(found.then_some(record)),
            Err(error) => {
                if self.core.counts.load_errors.load(Relaxed) == 0 {
                    say(format_args!("store: a record cannot be read: {error}"));
                }
                Err(())
            }
        }
    }
}
