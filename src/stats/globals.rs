//! Gauges and rare counters with several writers: connections, the accept pause, buffers.

use super::Budget;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Process-wide numbers; each is the `stats` row of the same name unless its comment says otherwise.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Globals {
    /// Open connections, listeners included (`curr_connections` prints one less).
    pub curr_conns: AtomicU64,
    pub total_conns: AtomicU64,
    pub rejected_conns: AtomicU64,
    pub rejected_conns_per_ip: AtomicU64,
    pub conn_structs: AtomicU64,
    pub reserved_fds: AtomicU64,
    pub accepting_conns: AtomicBool,
    pub listen_disabled_num: AtomicU64,
    pub time_in_listen_disabled_us: AtomicU64,
    pub malloc_fails: AtomicU64,
    pub response_obj_count: AtomicU64,
    pub response_obj_bytes: AtomicU64,
    /// Memory of reports, in addition to the queued replies; a part of `response_obj_bytes`.
    pub reports: Budget,
    pub read_buf_count: AtomicU64,
    pub read_buf_bytes: AtomicU64,
    pub read_buf_bytes_free: AtomicU64,
    /// Charges above `REQUEST_CHARGE` for unfinished requests; no row.
    pub long_input_bytes: AtomicU64,
    pub log_worker_dropped: AtomicU64,
    pub log_worker_written: AtomicU64,
    pub log_watcher_skipped: AtomicU64,
    pub log_watcher_sent: AtomicU64,
    pub log_watchers: AtomicU64,
    pub unexpected_napi_ids: AtomicU64,
    pub round_robin_fallback: AtomicU64,
}

impl Globals {
    /// Clears the counters that `stats reset` clears; gauges stay.
    pub fn reset(&self) {
        let counters = [
            &self.total_conns,
            &self.rejected_conns,
            &self.rejected_conns_per_ip,
            &self.listen_disabled_num,
            &self.time_in_listen_disabled_us,
            &self.malloc_fails,
            &self.log_worker_dropped,
            &self.log_worker_written,
            &self.log_watcher_skipped,
            &self.log_watcher_sent,
            &self.unexpected_napi_ids,
            &self.round_robin_fallback,
        ];
        for counter in counters {
            counter.store(0, Relaxed);
        }
    }
}
