//! `stats store`: the durable copy.
//!
//! Owns the names of its metrics. Called by `Collector::visit`.

use super::Collector;
use crate::metric::MetricSink;

impl Collector<'_> {
    /// The metrics of the durable copy; none without one.
    pub(super) fn durable_copy(&self, out: &mut MetricSink<'_>) {
        let Some(durable) = self.durable else { return };
        let (view, sizes) = (durable.view(), durable.sizes());
        let figures = view.figures;
        out.info("store_durability", self.settings.durable.durability.text());
        out.gauge("store_failing", view.is_failing);
        out.gauge("store_warming", view.is_warming);
        out.gauge("store_queue_bytes", view.queue_bytes);
        out.gauge("store_queue_items", view.queue_items);
        out.gauge("store_queue_limit", self.settings.durable.queue as u64);
        out.gauge("store_oldest_dirty_ms", view.oldest_ms);
        out.counter("store_queue_full", figures.queue_full);
        out.counter("store_refused", figures.refused);
        out.counter("store_dropped", view.dropped);
        out.counter("store_commits", figures.commits);
        out.counter("store_errors", figures.errors);
        let times = durable.commit_times();
        out.gauge("store_commit_us_p50", times.quantile(0.5) / 1000);
        out.gauge("store_commit_us_p99", times.quantile(0.99) / 1000);
        out.gauge("store_commit_us_max", times.max() / 1000);
        out.gauge("store_replies_waiting", view.waiting);
        out.counter("store_puts", figures.puts);
        out.counter("store_touches", figures.touches);
        out.counter("store_deletes", figures.deletes);
        out.counter("store_swept", figures.swept);
        out.counter("store_forgotten", figures.forgotten);
        out.counter("store_loads", figures.loads);
        out.counter("store_load_joins", figures.load_joins);
        out.counter("store_load_hits", figures.load_hits);
        out.counter("store_load_misses", figures.load_misses);
        out.counter("store_load_errors", figures.load_errors);
        out.counter("store_load_retries", figures.load_retries);
        out.gauge("store_loading", view.loading);
        out.counter("store_warmed", figures.warmed);
        out.gauge("store_records", view.records);
        out.gauge("store_filter_bytes", view.filter_bytes);
        out.gauge("store_file_bytes", sizes.file);
        out.gauge("store_free_bytes", sizes.free);
        out.gauge("store_log_bytes", sizes.log);
    }
}
