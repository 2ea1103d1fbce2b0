//! Metrics of `stats` without argument.
//!
//! Owns their names, order and conditions. Called by [`Collector::visit`].

use super::classes::{ClassRow, HITS, LOSSES, MOVES, always};
use super::{Collector, Reading};
use crate::clock::UPTIME_OFFSET;
use crate::metric::{MetricKind, MetricSink};
use crate::settings::{HASHPOWER_DEFAULT, VERSION};
use crate::stats::{ClassCounter, Counter, Totals};
use crate::sys::{panics, process, stderr};
use std::sync::atomic::Ordering::Relaxed;

/// Where a count of commands is kept.
enum CommandSource {
    Worker(Counter),
    /// Sum of these counters over all classes.
    Classes(&'static [ClassCounter]),
}
use CommandSource::{Classes, Worker};

/// Counters of commands and their results.
const COMMANDS: &[(&str, CommandSource)] = &[
    ("cmd_get", Worker(Counter::GetCmds)),
    ("cmd_set", Classes(&[ClassCounter::SetCmds])),
    ("cmd_flush", Worker(Counter::FlushCmds)),
    ("cmd_touch", Worker(Counter::TouchCmds)),
    ("cmd_meta", Worker(Counter::MetaCmds)),
    ("get_hits", Classes(&HITS)),
    ("get_misses", Worker(Counter::GetMisses)),
    ("get_expired", Worker(Counter::GetExpired)),
    ("get_flushed", Worker(Counter::GetFlushed)),
    ("delete_misses", Worker(Counter::DeleteMisses)),
    ("delete_hits", Classes(&[ClassCounter::DeleteHits])),
    ("incr_misses", Worker(Counter::IncrMisses)),
    ("incr_hits", Classes(&[ClassCounter::IncrHits])),
    ("decr_misses", Worker(Counter::DecrMisses)),
    ("decr_hits", Classes(&[ClassCounter::DecrHits])),
    ("cas_misses", Worker(Counter::CasMisses)),
    ("cas_hits", Classes(&[ClassCounter::CasHits])),
    ("cas_badval", Classes(&[ClassCounter::CasBadval])),
    ("touch_hits", Classes(&[ClassCounter::TouchHits])),
    ("touch_misses", Worker(Counter::TouchMisses)),
    ("store_too_large", Worker(Counter::StoreTooLarge)),
    ("store_no_memory", Worker(Counter::StoreNoMemory)),
    ("auth_cmds", Worker(Counter::AuthCmds)),
    ("auth_errors", Worker(Counter::AuthErrors)),
];

/// Sums over all classes, under other names or in another order than those of a class.
const EVICTIONS: &[ClassRow] = &[
    always("evictions", MetricKind::Counter, |class| class.counts.evicted),
    always("reclaimed", MetricKind::Counter, |class| class.counts.reclaimed),
];

impl Collector<'_> {
    pub(super) fn general(&self, reading: &Reading, out: &mut MetricSink<'_>) {
        self.process(reading.now, out);
        self.connections(&reading.totals, out);
        self.commands(&reading.totals, out);
        self.network(&reading.totals, out);
        self.engine(out);
        self.threads(reading.now, out);
        self.items_totals(reading, out);
    }

    fn process(&self, now: u32, out: &mut MetricSink<'_>) {
        out.gauge("pid", std::process::id());
        out.counter("uptime", now.saturating_sub(UPTIME_OFFSET));
        out.gauge("time", self.clock.unix(now));
        out.info("version", VERSION);
        out.info("libevent", concat!("mio (oxcached ", env!("CARGO_PKG_VERSION"), ")"));
        out.gauge("pointer_size", usize::BITS);
        let usage = process::usage();
        out.counter("rusage_user", usage.user);
        out.counter("rusage_system", usage.system);
    }

    fn connections(&self, totals: &Totals, out: &mut MetricSink<'_>) {
        let globals = &self.stats.globals;
        out.gauge("max_connections", self.settings.maxconns);
        out.gauge("curr_connections", globals.curr_conns.load(Relaxed).saturating_sub(1));
        out.counter("total_connections", &globals.total_conns);
        if self.settings.maxconns_fast {
            out.counter("rejected_connections", &globals.rejected_conns);
        }
        if self.settings.maxconns_per_ip > 0 {
            out.counter("rejected_connections_per_ip", &globals.rejected_conns_per_ip);
        }
        out.gauge("connection_structures", &globals.conn_structs);
        out.counter("response_obj_oom", totals.get(Counter::ResponseOom));
        out.gauge("response_obj_count", &globals.response_obj_count);
        out.gauge("response_obj_bytes", globals.response_obj_bytes.load(Relaxed) + globals.reports.used());
        out.gauge("read_buf_count", &globals.read_buf_count);
        out.gauge("read_buf_bytes", &globals.read_buf_bytes);
        out.gauge("read_buf_bytes_free", &globals.read_buf_bytes_free);
        out.counter("read_buf_oom", totals.get(Counter::ReadBufOom));
        out.gauge("reserved_fds", &globals.reserved_fds);
    }

    fn commands(&self, totals: &Totals, out: &mut MetricSink<'_>) {
        for (name, source) in COMMANDS {
            let count = match source {
                Worker(counter) => totals.get(*counter),
                Classes(counters) => counters.iter().map(|counter| totals.all_classes(*counter)).sum(),
            };
            out.counter(name, count);
        }
        if self.auth {
            out.counter("auth_timeouts", totals.get(Counter::AuthTimeouts));
        }
        if self.settings.idle_timeout != 0 {
            out.counter("idle_kicks", totals.get(Counter::IdleKicks));
        }
        if self.settings.write_timeout != 0 {
            out.counter("write_timeouts", totals.get(Counter::WriteTimeouts));
        }
    }

    fn network(&self, totals: &Totals, out: &mut MetricSink<'_>) {
        let globals = &self.stats.globals;
        out.counter("bytes_read", totals.get(Counter::BytesRead));
        out.counter("bytes_written", totals.get(Counter::BytesWritten));
        out.gauge("limit_maxbytes", self.runtime.maxbytes());
        out.gauge("accepting_conns", u32::from(globals.accepting_conns.load(Relaxed)));
        out.counter("listen_disabled_num", &globals.listen_disabled_num);
        out.counter("time_in_listen_disabled_us", &globals.time_in_listen_disabled_us);
        out.gauge("threads", self.settings.num_threads);
        out.counter("conn_yields", totals.get(Counter::ConnYields));
    }

    fn engine(&self, out: &mut MetricSink<'_>) {
        let (growing, bytes, slots) = self.store.index_view();
        out.gauge("hash_power_level", hash_power(slots, self.settings.hashpower_init));
        out.gauge("hash_bytes", bytes);
        out.gauge("hash_is_expanding", u32::from(growing));
        if self.settings.slab_reassign {
            let figures = self.mover.figures();
            let counts = figures.counts;
            out.counter("slab_reassign_rescues", counts.rescues);
            out.counter("slab_reassign_chunk_rescues", counts.chunk_rescues);
            out.counter("slab_reassign_inline_reclaim", counts.inline_reclaim);
            out.counter("slab_reassign_busy_items", counts.busy_items);
            out.counter("slab_reassign_busy_deletes", counts.busy_deletes);
            out.counter("slab_reassign_busy_nomem", counts.busy_nomem);
            out.info("slab_reassign_last_busy_status", counts.last_busy_status.unwrap_or("none"));
            out.gauge("slab_reassign_running", u32::from(figures.running));
            out.counter("slabs_moved", figures.moved);
        }
        if self.runtime.lru_crawler() {
            out.gauge("lru_crawler_running", u32::from(self.crawler.is_running()));
            out.counter("lru_crawler_starts", self.crawler.starts());
        }
        if self.runtime.lru_maintainer_thread() {
            out.counter("lru_maintainer_juggles", self.store.juggles());
        }
    }

    fn threads(&self, now: u32, out: &mut MetricSink<'_>) {
        let globals = &self.stats.globals;
        out.counter("malloc_fails", &globals.malloc_fails);
        out.counter("log_worker_dropped", &globals.log_worker_dropped);
        out.counter("log_worker_written", &globals.log_worker_written);
        out.counter("log_watcher_skipped", &globals.log_watcher_skipped);
        out.counter("log_watcher_sent", &globals.log_watcher_sent);
        out.gauge("log_watchers", &globals.log_watchers);
        // memcached does not have these: they exist only if nonzero.
        for (name, count) in [("log_lines_dropped", stderr::dropped()), ("thread_panics", panics::count())] {
            if count > 0 {
                out.counter(name, count);
            }
        }
        if let Some(tls) = self.tls {
            if self.settings.ssl.session_cache {
                out.counter("ssl_new_sessions", &tls.counters().new_sessions);
            }
            out.counter("ssl_handshake_errors", &tls.counters().handshake_errors);
            out.counter("ssl_proto_errors", &tls.counters().proto_errors);
            out.gauge("time_since_server_cert_refresh", now.saturating_sub(tls.refreshed()));
        }
        if let Some(cluster) = self.cluster {
            let current = cluster.current();
            out.gauge("cluster_config_version", current.version());
            out.gauge("cluster_config_nodes", current.nodes());
            out.counter("cluster_config_changes", cluster.changes());
            out.counter("cluster_config_errors", cluster.errors());
        }
        out.counter("unexpected_napi_ids", &globals.unexpected_napi_ids);
        out.counter("round_robin_fallback", &globals.round_robin_fallback);
    }

    fn items_totals(&self, reading: &Reading, out: &mut MetricSink<'_>) {
        let classes = &reading.classes;
        out.gauge("bytes", classes.iter().map(|class| class.requested).sum::<u64>());
        out.gauge("curr_items", classes.iter().map(|class| class.items).sum::<u64>());
        out.counter("total_items", reading.totals.get(Counter::TotalItems));
        out.gauge("slab_global_page_pool", self.store.free_pages());
        for rows in [LOSSES, EVICTIONS, MOVES] {
            self.sums(rows, classes, out);
        }
        if self.runtime.lru_maintainer_thread() {
            out.counter("lru_bumps_dropped", 0);
        }
    }
}

/// `hash_power_level` that memcached would have for this capacity: its table doubles at 1.5 items per bucket.
pub fn hash_power(slots: u64, initial: i32) -> u32 {
    let initial = if initial > 0 { initial as u32 } else { HASHPOWER_DEFAULT as u32 };
    (slots * 8 / 10 * 2 / 3).next_power_of_two().ilog2().max(initial)
}
