//! Families of the durable copy (`-o store`); without one they have no samples.
//!
//! Owns the table, sorted by name; docs/observability.md lists it.

use super::family::SampleSource::Durable;
use super::family::{Family, counter, gauge};

pub(super) const FAMILIES: &[Family] = &[
    counter("oxcached_store_commits_total", "Commits that succeeded.", Durable("store_commits")),
    counter("oxcached_store_deletes_total", "Records deleted.", Durable("store_deletes")),
    counter(
        "oxcached_store_dropped_total",
        "Changes of which only a deletion was kept, while commits failed.",
        Durable("store_dropped"),
    ),
    counter("oxcached_store_errors_total", "Commits that failed, and failures between them.", Durable("store_errors")),
    gauge("oxcached_store_failing", "1 while commits fail.", Durable("store_failing")),
    gauge("oxcached_store_file_bytes", "Size of the file.", Durable("store_file_bytes")),
    gauge("oxcached_store_filter_bytes", "Memory of the filter of stored keys.", Durable("store_filter_bytes")),
    counter(
        "oxcached_store_forgotten_total",
        "Items that memory has forgotten because their commit failed.",
        Durable("store_forgotten"),
    ),
    gauge("oxcached_store_free_bytes", "Bytes of the file that hold no record.", Durable("store_free_bytes")),
    counter("oxcached_store_load_errors_total", "Loads that failed.", Durable("store_load_errors")),
    counter("oxcached_store_load_hits_total", "Loads that found a record.", Durable("store_load_hits")),
    counter("oxcached_store_load_joins_total", "Misses that joined a load in progress.", Durable("store_load_joins")),
    counter("oxcached_store_load_misses_total", "Loads that found no record.", Durable("store_load_misses")),
    counter(
        "oxcached_store_load_retries_total",
        "Loads repeated because their key changed meanwhile.",
        Durable("store_load_retries"),
    ),
    gauge("oxcached_store_loading", "Loads in progress.", Durable("store_loading")),
    counter("oxcached_store_loads_total", "Loads begun.", Durable("store_loads")),
    gauge(
        "oxcached_store_log_bytes",
        "Size of the log that waits to be moved into the file.",
        Durable("store_log_bytes"),
    ),
    gauge(
        "oxcached_store_oldest_dirty_milliseconds",
        "Age of the oldest change that is not committed.",
        Durable("store_oldest_dirty_ms"),
    ),
    counter("oxcached_store_puts_total", "Records written.", Durable("store_puts")),
    gauge("oxcached_store_queue_bytes", "Bytes of changes that wait for a commit.", Durable("store_queue_bytes")),
    counter(
        "oxcached_store_queue_full_total",
        "Times that a command waited for room among these.",
        Durable("store_queue_full"),
    ),
    gauge("oxcached_store_queue_items", "Changes that no commit has begun with.", Durable("store_queue_items")),
    gauge("oxcached_store_queue_limit_bytes", "Bound of their bytes (-o store_queue).", Durable("store_queue_limit")),
    gauge("oxcached_store_records", "Records that the last scan has shown.", Durable("store_records")),
    counter(
        "oxcached_store_refused_total",
        "Commands refused because changes could not be kept.",
        Durable("store_refused"),
    ),
    gauge("oxcached_store_replies_waiting", "Replies that wait for a commit.", Durable("store_replies_waiting")),
    counter("oxcached_store_swept_total", "Records removed after their end.", Durable("store_swept")),
    counter("oxcached_store_touches_total", "Expiry times written.", Durable("store_touches")),
    counter("oxcached_store_warmed_total", "Items loaded at the start.", Durable("store_warmed")),
    gauge("oxcached_store_warming", "1 until the first scan has ended.", Durable("store_warming")),
];
