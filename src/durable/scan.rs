//! The thread that scans the engine: at the start it fills the filter and warms the memory, later it fills a larger
//! filter.
//!
//! Owns the pace of a scan. Must not know sessions. Started by `mod`, woken by the writer.

use super::core::Core;
use super::engine::{EngineError, Reader, Record, ScanPosition};
use super::pending::PendingView;
use crate::cache::Key;
use crate::settings::Warm;
use crate::store::LinkedLoad;
use crate::sys::say;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;
use std::time::Duration;

/// Records that one statement shows: it must be short, since the log cannot be shortened while it runs.
const STEP: usize = 1000;
/// Bytes of values after which a step ends.
const STEP_BYTES: usize = 1 << 20;
/// How long the thread waits for the next look at the filter, and after an error.
const PERIOD: Duration = Duration::from_secs(1);
/// Pause while the loading threads have more to do than a step's records.
const PACE: Duration = Duration::from_millis(1);
/// Share of the memory, in percent, at which warming ends: beyond it items would evict each other.
const WARM_PERCENT: u64 = 90;

/// The scanning thread.
pub(super) struct Scan {
    pub core: Arc<Core>,
    pub reader: Box<dyn Reader>,
}

impl Scan {
    /// Scans until the stop.
    pub fn run(mut self) {
        Core::begin_loading();
        let mut warms = self.core.settings.warm != Warm::None;
        let mut is_due = true;
        while !self.core.is_stopping.load(SeqCst) {
            if is_due && self.core.filter.begin(self.core.records.load(Relaxed)) {
                match self.pass(warms) {
                    Ok(true) => {
                        self.core.filter.finish();
                        self.core.is_warming.store(false, SeqCst);
                        warms = false;
                    }
                    Ok(false) => return,
                    Err(error) => say(format_args!("store: a scan failed: {error}")),
                }
            }
            thread::park_timeout(PERIOD);
            is_due = self.core.is_warming.load(SeqCst) || self.core.filter.is_full();
        }
    }

    /// Shows every record once; false at the stop.
    fn pass(&mut self, mut warms: bool) -> Result<bool, EngineError> {
        let core = Arc::clone(&self.core);
        let mut left = match core.settings.warm {
            Warm::Items(items) => u64::from(items),
            Warm::All | Warm::None => u64::MAX,
        };
        let (mut position, mut records, mut shown) = (ScanPosition::default(), 0, Vec::new());
        loop {
            if core.is_stopping.load(SeqCst) {
                return Ok(false);
            }
            let ended = core.commits.ended();
            let mut bytes = 0;
            let more = self.reader.scan(&mut position, core.times().unix(), warms, &mut |key, record| {
                shown.push((key.to_vec(), warms.then(|| record.clone())));
                bytes += record.value.len();
                if shown.len() < STEP && bytes < STEP_BYTES {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            for (bytes, record) in &shown {
                let Some(key) = Key::new(bytes) else { continue };
                core.filter.scanned(key.hash());
                records += 1;
                if let Some(record) = record.as_ref().filter(|_| warms) {
                    self.warm(&key, record, ended);
                    left -= 1;
                    warms = left > 0 && core.has_room_to_warm(WARM_PERCENT);
                }
            }
            if !more {
                break;
            }
            shown.clear();
        }
        core.records.store(records, Relaxed);
        Ok(true)
    }

    /// Links the item of a record that was read when the commit `ended` was the last that had ended.
    fn warm(&self, key: &Key<'_>, record: &Record, ended: u64) {
        let core = &self.core;
        // A later change of the key is pending, or its commit has ended.
        let is_current = || core.commits.ended() == ended && core.pending.view(key) == PendingView::Nothing;
        match core.link(key, record, || is_current() && !core.engine_is_flushed()) {
            LinkedLoad::Present => {
                core.counts.warmed.fetch_add(1, Relaxed);
            }
            LinkedLoad::Refused => {
                // As for a miss: a loading thread reads the record again.
                drop(core.loads.begin(key));
                while core.loads.count() > STEP && !core.is_stopping.load(SeqCst) {
                    thread::park_timeout(PACE);
                }
            }
            LinkedLoad::Impossible => {}
        }
    }
}
