//! The `stats` reports, row by row, in memcached's order.
//!
//! Owns names, order and formats of the rows; reads counters, settings, the store's classes and the connection table.
//! Independent of the wire format: the calling protocol supplies the form of the rows. A report that may exceed some
//! hundred rows is sent in steps (`listing`).

use super::{ConnInfo, ConnState, Cx};
use crate::cache::Verbs;
use crate::clock::UPTIME_OFFSET;
use crate::settings::VERSION;
use crate::stats::{ClassCounter, Counter};
use crate::store::ClassView;
use crate::sys::{panics, stderr};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One request for statistics.
pub struct Report<'a, 'b> {
    /// Context of the session that asks.
    pub cx: &'a Cx<'b>,
    /// Verbs, with the cache and the time.
    pub verbs: Verbs<'a>,
}

/// Destination of rows.
pub trait Rows {
    /// Appends one row.
    fn row(&mut self, name: &dyn Display, value: &dyn Display);
}

/// Wire format of rows.
pub trait Form: Send {
    /// Appends one row.
    fn row(&self, out: &mut Vec<u8>, name: &dyn Display, value: &dyn Display);

    /// Appends the end of a report.
    fn end(&self, out: &mut Vec<u8>);
}

/// Appends rows of a form to a byte buffer.
pub struct RowSink<'a> {
    /// Wire format.
    pub form: &'a dyn Form,
    /// Destination.
    pub out: &'a mut Vec<u8>,
}

impl Rows for RowSink<'_> {
    fn row(&mut self, name: &dyn Display, value: &dyn Display) {
        self.form.row(self.out, name, value);
    }
}

fn row(out: &mut dyn Rows, name: impl Display, value: impl Display) {
    out.row(&name, &value);
}

fn gauge(out: &mut dyn Rows, name: &str, value: &AtomicU64) {
    row(out, name, value.load(Relaxed));
}

/// Counter rows in their order of emission, from `delete_misses` on.
const AFTER_HITS: [(&str, CounterSource); 14] = [
    ("delete_misses", CounterSource::Plain(Counter::DeleteMisses)),
    ("delete_hits", CounterSource::Class(ClassCounter::DeleteHits)),
    ("incr_misses", CounterSource::Plain(Counter::IncrMisses)),
    ("incr_hits", CounterSource::Class(ClassCounter::IncrHits)),
    ("decr_misses", CounterSource::Plain(Counter::DecrMisses)),
    ("decr_hits", CounterSource::Class(ClassCounter::DecrHits)),
    ("cas_misses", CounterSource::Plain(Counter::CasMisses)),
    ("cas_hits", CounterSource::Class(ClassCounter::CasHits)),
    ("cas_badval", CounterSource::Class(ClassCounter::CasBadval)),
    ("touch_hits", CounterSource::Class(ClassCounter::TouchHits)),
    ("touch_misses", CounterSource::Plain(Counter::TouchMisses)),
    ("store_too_large", CounterSource::Plain(Counter::StoreTooLarge)),
    ("store_no_memory", CounterSource::Plain(Counter::StoreNoMemory)),
    ("auth_cmds", CounterSource::Plain(Counter::AuthCmds)),
];

enum CounterSource {
    Plain(Counter),
    Class(ClassCounter),
}

const SEGMENT_HITS: [ClassCounter; 4] =
    [ClassCounter::HitsHot, ClassCounter::HitsWarm, ClassCounter::HitsCold, ClassCounter::HitsTemp];

impl Report<'_, '_> {
    /// `stats` without argument.
    pub fn general(&self, out: &mut dyn Rows) {
        self.process(out);
        self.connections(out);
        self.commands(out);
        self.network(out);
        self.engine(out);
        self.items_totals(out);
    }

    fn process(&self, out: &mut dyn Rows) {
        let now = self.verbs.now;
        row(out, "pid", std::process::id());
        row(out, "uptime", now.saturating_sub(UPTIME_OFFSET));
        row(out, "time", self.cx.shared.clock.unix(now));
        row(out, "version", VERSION);
        row(out, "libevent", concat!("mio (oxcached ", env!("CARGO_PKG_VERSION"), ")"));
        row(out, "pointer_size", usize::BITS);
        let usage = crate::sys::process::usage();
        let seconds = |t: std::time::Duration| format!("{}.{:06}", t.as_secs(), t.subsec_micros());
        row(out, "rusage_user", seconds(usage.user));
        row(out, "rusage_system", seconds(usage.system));
    }

    fn connections(&self, out: &mut dyn Rows) {
        let (shared, globals) = (self.cx.shared, &self.cx.shared.stats.globals);
        row(out, "max_connections", shared.settings.maxconns);
        row(out, "curr_connections", globals.curr_conns.load(Relaxed).saturating_sub(1));
        gauge(out, "total_connections", &globals.total_conns);
        if shared.settings.maxconns_fast {
            gauge(out, "rejected_connections", &globals.rejected_conns);
        }
        if shared.settings.maxconns_per_ip > 0 {
            gauge(out, "rejected_connections_per_ip", &globals.rejected_conns_per_ip);
        }
        gauge(out, "connection_structures", &globals.conn_structs);
        let totals = shared.stats.totals();
        row(out, "response_obj_oom", totals.get(Counter::ResponseOom));
        gauge(out, "response_obj_count", &globals.response_obj_count);
        row(out, "response_obj_bytes", globals.response_obj_bytes.load(Relaxed) + globals.reports.used());
        gauge(out, "read_buf_count", &globals.read_buf_count);
        gauge(out, "read_buf_bytes", &globals.read_buf_bytes);
        gauge(out, "read_buf_bytes_free", &globals.read_buf_bytes_free);
        row(out, "read_buf_oom", totals.get(Counter::ReadBufOom));
        gauge(out, "reserved_fds", &globals.reserved_fds);
    }

    fn commands(&self, out: &mut dyn Rows) {
        let totals = self.cx.shared.stats.totals();
        row(out, "cmd_get", totals.get(Counter::GetCmds));
        row(out, "cmd_set", totals.all_classes(ClassCounter::SetCmds));
        row(out, "cmd_flush", totals.get(Counter::FlushCmds));
        row(out, "cmd_touch", totals.get(Counter::TouchCmds));
        row(out, "cmd_meta", totals.get(Counter::MetaCmds));
        row(out, "get_hits", SEGMENT_HITS.map(|hits| totals.all_classes(hits)).iter().sum::<u64>());
        row(out, "get_misses", totals.get(Counter::GetMisses));
        row(out, "get_expired", totals.get(Counter::GetExpired));
        row(out, "get_flushed", totals.get(Counter::GetFlushed));
        for (name, source) in &AFTER_HITS {
            let value = match source {
                CounterSource::Plain(counter) => totals.get(*counter),
                CounterSource::Class(counter) => totals.all_classes(*counter),
            };
            row(out, name, value);
        }
        row(out, "auth_errors", totals.get(Counter::AuthErrors));
        if self.cx.shared.auth.is_some() {
            row(out, "auth_timeouts", totals.get(Counter::AuthTimeouts));
        }
        if self.cx.shared.settings.idle_timeout != 0 {
            row(out, "idle_kicks", totals.get(Counter::IdleKicks));
        }
        if self.cx.shared.settings.write_timeout != 0 {
            row(out, "write_timeouts", totals.get(Counter::WriteTimeouts));
        }
        row(out, "bytes_read", totals.get(Counter::BytesRead));
        row(out, "bytes_written", totals.get(Counter::BytesWritten));
    }

    fn network(&self, out: &mut dyn Rows) {
        let (shared, globals) = (self.cx.shared, &self.cx.shared.stats.globals);
        row(out, "limit_maxbytes", shared.runtime.maxbytes());
        row(out, "accepting_conns", u8::from(globals.accepting_conns.load(Relaxed)));
        gauge(out, "listen_disabled_num", &globals.listen_disabled_num);
        gauge(out, "time_in_listen_disabled_us", &globals.time_in_listen_disabled_us);
        row(out, "threads", shared.settings.num_threads);
        row(out, "conn_yields", shared.stats.totals().get(Counter::ConnYields));
    }

    fn engine(&self, out: &mut dyn Rows) {
        let (shared, globals) = (self.cx.shared, &self.cx.shared.stats.globals);
        let (growing, bytes, slots) = self.verbs.cache.store.index_view();
        row(out, "hash_power_level", hash_power(slots, shared.settings.hashpower_init));
        row(out, "hash_bytes", bytes);
        row(out, "hash_is_expanding", u8::from(growing));
        if shared.settings.slab_reassign {
            let figures = shared.mover.figures();
            let counts = figures.counts;
            row(out, "slab_reassign_rescues", counts.rescues);
            row(out, "slab_reassign_chunk_rescues", counts.chunk_rescues);
            row(out, "slab_reassign_inline_reclaim", counts.inline_reclaim);
            row(out, "slab_reassign_busy_items", counts.busy_items);
            row(out, "slab_reassign_busy_deletes", counts.busy_deletes);
            row(out, "slab_reassign_busy_nomem", counts.busy_nomem);
            row(out, "slab_reassign_last_busy_status", counts.last_busy_status.unwrap_or("none"));
            row(out, "slab_reassign_running", u8::from(figures.running));
            row(out, "slabs_moved", figures.moved);
        }
        if shared.runtime.lru_crawler() {
            row(out, "lru_crawler_running", u8::from(shared.crawler.is_running()));
            row(out, "lru_crawler_starts", shared.crawler.starts());
        }
        if shared.runtime.lru_maintainer_thread() {
            row(out, "lru_maintainer_juggles", self.verbs.cache.store.juggles());
        }
        gauge(out, "malloc_fails", &globals.malloc_fails);
        gauge(out, "log_worker_dropped", &globals.log_worker_dropped);
        gauge(out, "log_worker_written", &globals.log_worker_written);
        gauge(out, "log_watcher_skipped", &globals.log_watcher_skipped);
        gauge(out, "log_watcher_sent", &globals.log_watcher_sent);
        gauge(out, "log_watchers", &globals.log_watchers);
        // Rows that memcached does not have are reported only if nonzero.
        for (name, count) in [("log_lines_dropped", stderr::dropped()), ("thread_panics", panics::count())] {
            if count > 0 {
                row(out, name, count);
            }
        }
        self.tls(out);
        row(out, "unexpected_napi_ids", 0);
        row(out, "round_robin_fallback", 0);
    }

    fn tls(&self, out: &mut dyn Rows) {
        let shared = self.cx.shared;
        let Some(tls) = &shared.tls else { return };
        if shared.settings.ssl.session_cache {
            gauge(out, "ssl_new_sessions", &tls.counters().new_sessions);
        }
        gauge(out, "ssl_handshake_errors", &tls.counters().handshake_errors);
        gauge(out, "ssl_proto_errors", &tls.counters().proto_errors);
        row(out, "time_since_server_cert_refresh", self.verbs.now.saturating_sub(tls.refreshed()));
    }

    fn items_totals(&self, out: &mut dyn Rows) {
        let (shared, store) = (self.cx.shared, self.verbs.cache.store);
        row(out, "bytes", store.bytes());
        row(out, "curr_items", store.items());
        row(out, "total_items", shared.stats.totals().get(Counter::TotalItems));
        row(out, "slab_global_page_pool", store.free_pages());
        let classes = store.classes(self.verbs.now);
        let sum = |of: fn(&ClassView) -> u64| classes.iter().map(of).sum::<u64>();
        let segmented = shared.runtime.lru_maintainer_thread();
        row(out, "expired_unfetched", sum(|class| class.counts.expired_unfetched));
        row(out, "evicted_unfetched", sum(|class| class.counts.evicted_unfetched));
        if segmented {
            row(out, "evicted_active", sum(|class| class.counts.evicted_active));
        }
        row(out, "evictions", sum(|class| class.counts.evicted));
        row(out, "reclaimed", sum(|class| class.counts.reclaimed));
        row(out, "crawler_reclaimed", sum(|class| class.counts.crawler_reclaimed));
        row(out, "crawler_items_checked", sum(|class| class.counts.crawler_items_checked));
        row(out, "lrutail_reflocked", sum(|class| class.counts.lrutail_reflocked));
        if segmented {
            row(out, "moves_to_cold", sum(|class| class.counts.moves_to_cold));
            row(out, "moves_to_warm", sum(|class| class.counts.moves_to_warm));
            row(out, "moves_within_lru", sum(|class| class.counts.moves_within_lru));
            row(out, "direct_reclaims", sum(|class| class.counts.direct_reclaims));
            row(out, "lru_bumps_dropped", 0);
        }
    }

    /// `stats settings`.
    pub fn settings(&self, out: &mut dyn Rows) {
        let shared = self.cx.shared;
        shared.settings.report(&shared.runtime, &mut |name, value| row(out, name, value));
    }

    /// `stats items`: classes with at least one item.
    pub fn items(&self, out: &mut dyn Rows) {
        let shared = self.cx.shared;
        let totals = shared.stats.totals();
        let segmented = shared.runtime.lru_maintainer_thread();
        for (id, class) in self.verbs.cache.store.classes(self.verbs.now).iter().enumerate() {
            if class.items == 0 {
                continue;
            }
            let mut put = |name: &str, value: u64| row(out, format_args!("items:{id}:{name}"), value);
            put("number", class.items);
            if segmented {
                put("number_hot", class.hot);
                put("number_warm", class.warm);
                put("number_cold", class.cold);
                if shared.runtime.temp_lru() {
                    put("number_temp", class.temp);
                }
                put("age_hot", class.age_hot.into());
                put("age_warm", class.age_warm.into());
            }
            put("age", class.age_cold.into());
            put("mem_requested", class.requested);
            put("evicted", class.counts.evicted);
            put("evicted_nonzero", class.counts.evicted_nonzero);
            put("evicted_time", class.counts.evicted_time.into());
            put("outofmemory", class.counts.outofmemory);
            put("tailrepairs", 0);
            put("reclaimed", class.counts.reclaimed);
            put("expired_unfetched", class.counts.expired_unfetched);
            put("evicted_unfetched", class.counts.evicted_unfetched);
            if segmented {
                put("evicted_active", class.counts.evicted_active);
            }
            put("crawler_reclaimed", class.counts.crawler_reclaimed);
            put("crawler_items_checked", class.counts.crawler_items_checked);
            put("lrutail_reflocked", class.counts.lrutail_reflocked);
            if segmented {
                put("moves_to_cold", class.counts.moves_to_cold);
                put("moves_to_warm", class.counts.moves_to_warm);
                put("moves_within_lru", class.counts.moves_within_lru);
                put("direct_reclaims", class.counts.direct_reclaims);
                for (name, hits) in ["hot", "warm", "cold", "temp"].iter().zip(SEGMENT_HITS) {
                    put(&format!("hits_to_{name}"), totals.class(id, hits));
                }
            }
        }
    }

    /// `stats sizes` while sizes are not tracked.
    pub fn no_sizes(&self, out: &mut dyn Rows) {
        row(out, "sizes_status", "disabled");
    }

    /// `stats slabs`: classes with at least one page.
    pub fn slabs(&self, out: &mut dyn Rows) {
        let store = self.verbs.cache.store;
        let totals = self.cx.shared.stats.totals();
        let mut active = 0;
        for (id, class) in store.classes(self.verbs.now).iter().enumerate() {
            if class.pages == 0 {
                continue;
            }
            active += 1;
            let mut put = |name: &str, value: u64| row(out, format_args!("{id}:{name}"), value);
            let size = store.sizes().class(id);
            put("chunk_size", size.memcached_size as u64);
            put("chunks_per_page", size.per_page as u64);
            put("total_pages", class.pages);
            put("total_chunks", class.total_chunks);
            put("used_chunks", class.used_chunks);
            put("free_chunks", class.total_chunks - class.used_chunks);
            put("free_chunks_end", 0);
            put("get_hits", SEGMENT_HITS.iter().map(|&hits| totals.class(id, hits)).sum());
            let rows = [
                ("cmd_set", ClassCounter::SetCmds),
                ("delete_hits", ClassCounter::DeleteHits),
                ("incr_hits", ClassCounter::IncrHits),
                ("decr_hits", ClassCounter::DecrHits),
                ("cas_hits", ClassCounter::CasHits),
                ("cas_badval", ClassCounter::CasBadval),
                ("touch_hits", ClassCounter::TouchHits),
            ];
            for (name, counter) in rows {
                put(name, totals.class(id, counter));
            }
        }
        row(out, "active_slabs", active);
        row(out, "total_malloced", store.malloced());
    }
}

/// Rows of one connection or listener in `stats conns`.
pub fn conn_rows(cx: &Cx<'_>, fd: i32, info: &ConnInfo, out: &mut dyn Rows) {
    let state = if fd == cx.fd { ConnState::ParseCmd } else { info.state() };
    let listening = state == ConnState::Listening || (info.udp && state == ConnState::Read);
    let local = match (&info.path, info.local) {
        (Some(path), _) => format!("unix:{path}"),
        (None, Some(addr)) => address(addr, info.udp),
        (None, None) => "?:<AF 0>".into(),
    };
    let mut put = |name: &str, value: &str| row(out, format_args!("{fd}:{name}"), value);
    if info.udp {
        put("UDP", "UDP");
    }
    if listening {
        put("addr", &local);
    } else {
        // A unix socket peer has no address.
        put("addr", &info.peer.map_or_else(|| "?:<AF 0>".into(), |peer| address(peer, info.udp)));
        put("listen_addr", &local);
    }
    put("state", state.name());
    put("secs_since_last_cmd", &cx.shared.clock.now().saturating_sub(info.last_cmd()).to_string());
}

fn address(addr: SocketAddr, udp: bool) -> String {
    let proto = if udp { "udp" } else { "tcp" };
    match addr {
        SocketAddr::V4(v4) => format!("{proto}:{}:{}", v4.ip(), v4.port()),
        SocketAddr::V6(v6) => format!("{proto}6:[{}]:{}", v6.ip(), v6.port()),
    }
}

/// `hash_power_level` that memcached would have for this capacity: its table doubles at 1.5 items per bucket.
pub fn hash_power(slots: u64, initial: i32) -> u32 {
    let initial = if initial > 0 { initial as u32 } else { crate::settings::HASHPOWER_DEFAULT as u32 };
    (slots * 8 / 10 * 2 / 3).next_power_of_two().ilog2().max(initial)
}
