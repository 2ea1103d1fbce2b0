//! Metrics of `stats settings`.
//!
//! Owns their names, order and notation, which scripts parse. Must not know any output. Called by `report`.

use super::latency::shown;
use super::{LatencySettings, Runtime, Settings};
use crate::metric::MetricSink;
use std::borrow::Cow;
use std::path::PathBuf;

impl Settings {
    /// Whether clients must log in.
    pub fn has_auth(&self) -> bool {
        self.sasl || self.auth_file.is_some()
    }

    /// Passes every setting to `out`, in memcached's order. Those of features this server lacks (flash storage, proxy)
    /// are absent, as in a memcached built without them.
    pub fn report(&self, rt: &Runtime, out: &mut MetricSink<'_>) {
        self.report_server(rt, out);
        self.report_engine(rt, out);
        self.report_lru(rt, out);
        self.report_ssl(out);
        self.report_rest(rt, out);
        report_latency(rt, out);
    }

    fn report_server(&self, rt: &Runtime, out: &mut MetricSink<'_>) {
        out.gauge("maxbytes", rt.maxbytes());
        out.gauge("maxconns", self.maxconns);
        out.gauge("tcpport", self.port);
        out.gauge("udpport", self.udpport);
        out.info("inter", self.inter.as_deref().unwrap_or("NULL"));
        out.gauge("verbosity", rt.verbose());
        out.gauge("oldest", rt.oldest_live());
        out.info("evictions", if self.evict_to_free { "on" } else { "off" });
        out.info("domain_socket", &path(&self.socketpath, "NULL"));
        out.info("umask", &format!("{:o}", self.access));
        out.gauge("shutdown_command", self.shutdown_command);
        out.gauge("growth_factor", self.factor);
        out.gauge("chunk_size", self.chunk_size);
        out.gauge("num_threads", self.num_threads);
        out.gauge("num_threads_per_udp", self.num_threads_per_udp);
        out.info("stat_key_prefix", &String::from_utf8_lossy(&[self.prefix_delimiter]));
        out.gauge("detail_enabled", rt.detail_enabled());
        out.gauge("reqs_per_event", self.reqs_per_event);
        out.gauge("cas_enabled", self.use_cas);
        out.gauge("tcp_backlog", self.backlog);
        out.info("binding_protocol", self.binding_protocol.text());
        out.gauge("auth_enabled_sasl", self.sasl);
        out.info("auth_enabled_ascii", &path(&self.auth_file, "no"));
    }

    fn report_engine(&self, rt: &Runtime, out: &mut MetricSink<'_>) {
        out.gauge("item_size_max", self.item_size_max);
        out.gauge("maxconns_fast", self.maxconns_fast);
        out.gauge("hashpower_init", self.hashpower_init);
        out.gauge("slab_reassign", self.slab_reassign);
        out.gauge("slab_automove", rt.slab_automove());
        out.gauge("slab_automove_ratio", rt.slab_automove_ratio());
        out.gauge("slab_automove_window", rt.slab_automove_window());
        out.gauge("slab_chunk_max", self.slab_chunk_size_max);
        out.gauge("lru_crawler", rt.lru_crawler());
        out.gauge("lru_crawler_sleep", rt.lru_crawler_sleep());
        out.gauge("lru_crawler_tocrawl", rt.lru_crawler_tocrawl());
        out.gauge("tail_repair_time", self.tail_repair_time);
        out.gauge("flush_enabled", self.flush_enabled);
        out.gauge("dump_enabled", self.dump_enabled);
        out.info("hash_algorithm", self.hash_algorithm.text());
    }

    fn report_lru(&self, rt: &Runtime, out: &mut MetricSink<'_>) {
        out.gauge("lru_maintainer_thread", rt.lru_maintainer_thread());
        out.gauge("lru_segmented", rt.lru_segmented());
        out.gauge("hot_lru_pct", rt.hot_lru_pct());
        out.gauge("warm_lru_pct", rt.warm_lru_pct());
        out.gauge("hot_max_factor", rt.hot_max_factor());
        out.gauge("warm_max_factor", rt.warm_max_factor());
        out.gauge("temp_lru", rt.temp_lru());
        out.gauge("temporary_ttl", rt.temporary_ttl());
        out.gauge("idle_timeout", self.idle_timeout);
        out.gauge("watcher_logbuf_size", self.log_buffers.watcher);
        out.gauge("worker_logbuf_size", self.log_buffers.worker);
        out.gauge("read_buf_mem_limit", self.read_buf_mem_limit);
        out.gauge("track_sizes", self.track_sizes);
        // memcached accepts the option of this row, which has had no effect for years.
        out.info("inline_ascii_response", "no");
    }

    fn report_ssl(&self, out: &mut MetricSink<'_>) {
        let ssl = &self.ssl;
        out.gauge("ssl_enabled", ssl.enabled);
        out.info("ssl_chain_cert", &path(&ssl.chain_cert, "(null)"));
        out.info("ssl_key", &path(&ssl.key, "(null)"));
        out.gauge("ssl_verify_mode", ssl.verify_mode.flags());
        out.gauge("ssl_keyformat", ssl.keyformat);
        out.info("ssl_ciphers", ssl.ciphers.as_deref().unwrap_or("NULL"));
        out.info("ssl_ca_cert", &path(&ssl.ca_cert, "NULL"));
        out.gauge("ssl_wbuf_size", ssl.wbuf_size);
        out.gauge("ssl_session_cache", ssl.session_cache);
        out.gauge("ssl_kernel_tls", false);
        out.info("ssl_min_version", ssl.min_version.text());
    }

    fn report_rest(&self, rt: &Runtime, out: &mut MetricSink<'_>) {
        out.gauge("num_napi_ids", self.num_napi_ids);
        out.info("memory_file", &path(&self.memory_file, "(null)"));
        out.gauge("client_flags_size", 4);
        // Not memcached's: present only where they have an effect.
        if self.has_auth() {
            out.gauge("auth_timeout", self.auth_timeout);
        }
        if self.classic_second {
            out.gauge("classic_second", true);
        }
        if let Some(group) = &self.unix_group {
            out.info("unix_group", &group.name);
        }
        if self.maxconns_per_ip > 0 {
            out.gauge("maxconns_per_ip", self.maxconns_per_ip);
        }
        if let Some(admin) = &self.admin.text {
            out.info("admin", admin);
            out.gauge("admin_conns", self.admin.conns);
            out.info("admin_token_file", &path(&self.admin.token_file, "no"));
            out.gauge("admin_insecure", self.admin.insecure);
            out.gauge("admin_write", self.admin.write);
        }
        // memcached's, in builds that can restrict system calls; such a build has the row at all times.
        if self.sandbox.drop_privileges {
            out.gauge("drop_privileges", true);
        }
        if self.write_timeout > 0 {
            out.gauge("write_timeout", self.write_timeout);
        }
        if self.cluster_file.is_some() {
            out.info("cluster_file", &path(&self.cluster_file, "no"));
        }
        if self.durable.path.is_some() {
            out.info("store", &path(&self.durable.path, "no"));
            out.info("durability", self.durable.durability.text());
        }
        if self.stop.save_on_term {
            out.gauge("save_on_term", true);
        }
        if self.stop.drain > 0 {
            out.gauge("drain", self.stop.drain);
        }
        if rt.hotkeys() {
            out.gauge("hotkeys", true);
            out.gauge("hotkeys_sample", self.hotkeys.sample);
            out.gauge("hotkeys_window", self.hotkeys.window);
        }
    }
}

/// Not memcached's either: present where they differ from their defaults.
fn report_latency(rt: &Runtime, out: &mut MetricSink<'_>) {
    let usual = LatencySettings::default();
    if rt.latency_mode() != usual.mode {
        out.info("latency", rt.latency_mode().text());
    }
    if rt.slow_threshold() != usual.slow_threshold {
        out.info("slow_threshold", &shown(rt.slow_threshold()));
    }
    if rt.large_threshold() != usual.large_threshold {
        out.info("large_threshold", &shown(rt.large_threshold()));
    }
}

fn path<'a>(path: &'a Option<PathBuf>, none: &'a str) -> Cow<'a, str> {
    path.as_ref().map_or(none.into(), |path| path.to_string_lossy())
}
