//! Rows of `stats settings`.
//!
//! Owns their names, order and number formats, which scripts parse. Must not know how a row reaches the client. Called
//! by the `stats` command of every protocol.

use super::{Runtime, Settings};
use std::path::PathBuf;

/// Formats rows and passes them on.
struct SettingRows<'a>(&'a mut dyn FnMut(&str, &str));

impl SettingRows<'_> {
    fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        (self.0)(name, &value.to_string());
    }

    fn yes_no(&mut self, name: &str, value: bool) {
        (self.0)(name, if value { "yes" } else { "no" });
    }

    fn ratio(&mut self, name: &str, value: f64) {
        self.row(name, format_args!("{value:.2}"));
    }
}

impl Settings {
    /// Whether clients must log in.
    pub fn has_auth(&self) -> bool {
        self.sasl || self.auth_file.is_some()
    }

    /// Passes every row of `stats settings` to `out`, name then value, in memcached's order. Rows of features this
    /// server lacks (flash storage, proxy, privilege dropping) are absent, as in a memcached built without them.
    pub fn report(&self, rt: &Runtime, out: &mut dyn FnMut(&str, &str)) {
        let mut rows = SettingRows(out);
        self.report_server(rt, &mut rows);
        self.report_engine(rt, &mut rows);
        self.report_lru(rt, &mut rows);
        self.report_ssl(&mut rows);
        self.report_rest(&mut rows);
    }

    fn report_server(&self, rt: &Runtime, rows: &mut SettingRows<'_>) {
        rows.row("maxbytes", rt.maxbytes());
        rows.row("maxconns", self.maxconns);
        rows.row("tcpport", self.port);
        rows.row("udpport", self.udpport);
        rows.row("inter", self.inter.as_deref().unwrap_or("NULL"));
        rows.row("verbosity", rt.verbose());
        rows.row("oldest", rt.oldest_live());
        rows.row("evictions", if self.evict_to_free { "on" } else { "off" });
        match &self.socketpath {
            Some(path) => rows.row("domain_socket", path.display()),
            None => rows.row("domain_socket", "NULL"),
        }
        rows.row("umask", format_args!("{:o}", self.access));
        rows.yes_no("shutdown_command", self.shutdown_command);
        rows.ratio("growth_factor", self.factor);
        rows.row("chunk_size", self.chunk_size);
        rows.row("num_threads", self.num_threads);
        rows.row("num_threads_per_udp", self.num_threads_per_udp);
        rows.row("stat_key_prefix", String::from_utf8_lossy(&[self.prefix_delimiter]));
        rows.yes_no("detail_enabled", rt.detail_enabled());
        rows.row("reqs_per_event", self.reqs_per_event);
        rows.yes_no("cas_enabled", self.use_cas);
        rows.row("tcp_backlog", self.backlog);
        rows.row("binding_protocol", self.binding_protocol.text());
        rows.yes_no("auth_enabled_sasl", self.sasl);
        match &self.auth_file {
            Some(path) => rows.row("auth_enabled_ascii", path.display()),
            None => rows.row("auth_enabled_ascii", "no"),
        }
    }

    fn report_engine(&self, rt: &Runtime, rows: &mut SettingRows<'_>) {
        rows.row("item_size_max", self.item_size_max);
        rows.yes_no("maxconns_fast", self.maxconns_fast);
        rows.row("hashpower_init", self.hashpower_init);
        rows.yes_no("slab_reassign", self.slab_reassign);
        rows.row("slab_automove", rt.slab_automove());
        rows.ratio("slab_automove_ratio", rt.slab_automove_ratio());
        rows.row("slab_automove_window", rt.slab_automove_window());
        rows.row("slab_chunk_max", self.slab_chunk_size_max);
        rows.yes_no("lru_crawler", rt.lru_crawler());
        rows.row("lru_crawler_sleep", rt.lru_crawler_sleep());
        rows.row("lru_crawler_tocrawl", rt.lru_crawler_tocrawl());
        rows.row("tail_repair_time", self.tail_repair_time);
        rows.yes_no("flush_enabled", self.flush_enabled);
        rows.yes_no("dump_enabled", self.dump_enabled);
        rows.row("hash_algorithm", self.hash_algorithm.text());
    }

    fn report_lru(&self, rt: &Runtime, rows: &mut SettingRows<'_>) {
        rows.yes_no("lru_maintainer_thread", rt.lru_maintainer_thread());
        rows.yes_no("lru_segmented", rt.lru_segmented());
        rows.row("hot_lru_pct", rt.hot_lru_pct());
        rows.row("warm_lru_pct", rt.warm_lru_pct());
        rows.ratio("hot_max_factor", rt.hot_max_factor());
        rows.ratio("warm_max_factor", rt.warm_max_factor());
        rows.yes_no("temp_lru", rt.temp_lru());
        rows.row("temporary_ttl", rt.temporary_ttl());
        rows.row("idle_timeout", self.idle_timeout);
        rows.row("watcher_logbuf_size", self.logger_watcher_buf_size);
        rows.row("worker_logbuf_size", self.logger_buf_size);
        rows.row("read_buf_mem_limit", self.read_buf_mem_limit);
        rows.yes_no("track_sizes", self.track_sizes);
        // memcached accepts the option of this row, which has had no effect for years.
        rows.row("inline_ascii_response", "no");
    }

    fn report_ssl(&self, rows: &mut SettingRows<'_>) {
        let ssl = &self.ssl;
        let path =
            |path: &Option<PathBuf>, none: &str| path.as_ref().map_or(none.to_owned(), |p| p.display().to_string());
        rows.yes_no("ssl_enabled", ssl.enabled);
        rows.row("ssl_chain_cert", path(&ssl.chain_cert, "(null)"));
        rows.row("ssl_key", path(&ssl.key, "(null)"));
        rows.row("ssl_verify_mode", ssl.verify_mode.flags());
        rows.row("ssl_keyformat", ssl.keyformat);
        rows.row("ssl_ciphers", ssl.ciphers.as_deref().unwrap_or("NULL"));
        rows.row("ssl_ca_cert", path(&ssl.ca_cert, "NULL"));
        rows.row("ssl_wbuf_size", ssl.wbuf_size);
        rows.yes_no("ssl_session_cache", ssl.session_cache);
        rows.yes_no("ssl_kernel_tls", false);
        rows.row("ssl_min_version", ssl.min_version.text());
    }

    fn report_rest(&self, rows: &mut SettingRows<'_>) {
        rows.row("num_napi_ids", 0);
        let file = self.memory_file.as_deref().map(|path| path.to_string_lossy());
        rows.row("memory_file", file.as_deref().unwrap_or("(null)"));
        rows.row("client_flags_size", 4);
        // Not memcached's: present only where they have an effect.
        if self.has_auth() {
            rows.row("auth_timeout", self.auth_timeout);
        }
        if self.maxconns_per_ip > 0 {
            rows.row("maxconns_per_ip", self.maxconns_per_ip);
        }
        if self.write_timeout > 0 {
            rows.row("write_timeout", self.write_timeout);
        }
    }
}
