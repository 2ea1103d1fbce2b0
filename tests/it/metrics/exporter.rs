//! `/metrics` against memcached_exporter: its mapping of `stats` rows, written down apart from the server's own table,
//! is applied to the replies of `stats`, `stats items`, `stats slabs` and `stats settings`, and compared sample by
//! sample.

use super::parser::Series;
use super::{busy, scrape};
use crate::support::Client;
use oxcached::admin::exposition::families;
use std::collections::{BTreeMap, BTreeSet};

/// `stats` and the rows of `stats slabs` that have no class: row, type (Counter, Gauge, Time), name without prefix.
const GENERAL: &str = "
    uptime C uptime_seconds
    time G time_seconds
    rusage_user T process_user_cpu_seconds_total
    rusage_system T process_system_cpu_seconds_total
    bytes_read C read_bytes_total
    bytes_written C written_bytes_total
    curr_connections G current_connections
    total_connections C connections_total
    rejected_connections C connections_rejected_total
    conn_yields C connections_yielded_total
    listen_disabled_num C connections_listener_disabled_total
    accepting_conns G accepting_connections
    bytes G current_bytes
    limit_maxbytes G limit_bytes
    total_malloced G malloced_bytes
    curr_items G current_items
    total_items C items_total
    evictions C items_evicted_total
    reclaimed C items_reclaimed_total
    store_too_large C item_too_large_total
    store_no_memory C item_no_memory_total
    direct_reclaims C direct_reclaims_total
    lru_crawler_starts C lru_crawler_starts_total
    crawler_reclaimed C lru_crawler_reclaimed_total
    crawler_items_checked C lru_crawler_items_checked_total
    moves_to_cold C lru_crawler_moves_to_cold_total
    moves_to_warm C lru_crawler_moves_to_warm_total
    moves_within_lru C lru_crawler_moves_within_lru_total";

/// Only with flash storage.
const FLASH: &str = "
    extstore_compact_lost C extstore_compact_lost_total
    extstore_compact_rescues C extstore_compact_rescued_total
    extstore_compact_skipped C extstore_compact_skipped_total
    extstore_page_allocs C extstore_pages_allocated_total
    extstore_page_evictions C extstore_pages_evicted_total
    extstore_page_reclaims C extstore_pages_reclaimed_total
    extstore_pages_free G extstore_pages_free
    extstore_pages_used G extstore_pages_used
    extstore_objects_evicted C extstore_objects_evicted_total
    extstore_objects_read C extstore_objects_read_total
    extstore_objects_written C extstore_objects_written_total
    extstore_objects_used G extstore_objects_used
    extstore_bytes_evicted C extstore_bytes_evicted_total
    extstore_bytes_written C extstore_bytes_written_total
    extstore_bytes_read C extstore_bytes_read_total
    extstore_bytes_used C extstore_bytes_used
    extstore_bytes_fragmented G extstore_bytes_fragmented
    extstore_limit_maxbytes G extstore_bytes_limit
    extstore_io_queue G extstore_io_queue_depth";

/// Only in proxy mode.
const PROXY: &str = "
    proxy_conn_requests C proxy_conn_requests_total
    proxy_conn_errors C proxy_conn_errors_total
    proxy_conn_oom C proxy_conn_oom_total
    proxy_req_active G proxy_req_active
    proxy_config_reloads C proxy_config_reloads_total
    proxy_config_reload_fails C proxy_config_reload_fails_total
    proxy_config_cron_runs C proxy_config_cron_runs_total
    proxy_config_cron_fails C proxy_config_cron_fails_total
    proxy_backend_total G proxy_backend_total
    proxy_backend_marked_bad C proxy_backend_marked_bad_total
    proxy_backend_failed G proxy_backend_failed
    proxy_request_failed_depth C proxy_request_failed_depth_total
    round_robin_fallback C round_robin_fallback_total
    unexpected_napi_ids C unexpected_napi_ids_total";

/// `stats settings`, if `lru_crawler` is `yes`.
const CRAWLER: &str = "
    lru_crawler G lru_crawler_enabled
    lru_crawler_sleep G lru_crawler_sleep
    lru_crawler_tocrawl G lru_crawler_to_crawl
    lru_maintainer_thread G lru_crawler_maintainer_thread
    hot_lru_pct G lru_crawler_hot_percent
    warm_lru_pct G lru_crawler_warm_percent
    hot_max_factor G lru_crawler_hot_max_factor
    warm_max_factor G lru_crawler_warm_max_factor";

/// `stats items`.
const ITEMS: &str = "
    number G slab_current_items
    age G slab_items_age_seconds
    crawler_reclaimed C slab_items_crawler_reclaimed_total
    evicted C slab_items_evicted_total
    evicted_nonzero C slab_items_evicted_nonzero_total
    evicted_time C slab_items_evicted_time_seconds
    evicted_unfetched C slab_items_evicted_unfetched_total
    expired_unfetched C slab_items_expired_unfetched_total
    outofmemory C slab_items_outofmemory_total
    reclaimed C slab_items_reclaimed_total
    tailrepairs C slab_items_tailrepairs_total
    mem_requested C slab_mem_requested_bytes
    moves_to_cold C slab_items_moves_to_cold
    moves_to_warm C slab_items_moves_to_warm
    moves_within_lru C slab_items_moves_within_lru
    number_hot G slab_hot_items
    number_warm G slab_warm_items
    number_cold G slab_cold_items
    number_temp G slab_temporary_items
    age_hot G slab_hot_age_seconds
    age_warm G slab_warm_age_seconds";

/// `stats slabs`.
const SLABS: &str = "
    chunk_size G slab_chunk_size_bytes
    chunks_per_page G slab_chunks_per_page
    total_pages G slab_current_pages
    total_chunks G slab_current_chunks
    used_chunks G slab_chunks_used
    free_chunks G slab_chunks_free
    free_chunks_end G slab_chunks_free_end";

/// Families that the exporter puts together from several rows, or from none.
const COMPOSED: &str = "
    - G up
    - G version
    maxconns G max_connections
    - C commands_total
    - C slab_commands_total
    - C slab_lru_hits_total";

/// Types that are not the exporter's, because the values fall.
const OTHER_TYPES: [&str; 2] = ["memcached_extstore_bytes_used", "memcached_slab_mem_requested_bytes"];

/// Rows of a table: row, type, full name.
fn table(text: &str) -> impl Iterator<Item = (&str, &str, String)> {
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [row, kind, name] = words[..] else { panic!("{line}") };
        let kind = if kind == "G" { "gauge" } else { "counter" };
        (row, kind, format!("memcached_{name}"))
    })
}

/// Command lines that add, remove or change rows.
const OPTIONS: [&str; 10] = [
    "",
    "-o no_lru_crawler",
    "-o no_lru_maintainer",
    "-o no_modern",
    "-o no_maxconns_fast,hot_max_factor=0.3,warm_max_factor=3.5,hot_lru_pct=30",
    "-o temporary_ttl=61",
    "-o lru_crawler_tocrawl=8,lru_crawler_sleep=9 -c 77",
    "-M",
    "-C",
    "-f 1.05 -n 5",
];

type Rows = BTreeMap<String, String>;

/// Replies of a server to the exporter's requests.
struct Replies {
    general: Rows,
    settings: Rows,
    items: BTreeMap<String, Rows>,
    slabs: BTreeMap<String, Rows>,
}

impl Replies {
    fn of(client: &mut Client) -> Self {
        let mut rows = |report: &str| -> Vec<(String, String)> {
            let reply = String::from_utf8(client.ask(format!("stats{report}\r\n").as_bytes())).unwrap();
            let lines = reply.strip_suffix("END\r\n").unwrap().lines();
            let row =
                |line: &str| line.strip_prefix("STAT ").unwrap().split_once(' ').map(|(a, b)| (a.into(), b.into()));
            lines.map(|line| row(line).unwrap()).collect()
        };
        // In the order in which nothing that is compared changes between them.
        let (items, slabs, settings, general) = (rows(" items"), rows(" slabs"), rows(" settings"), rows(""));
        let mut replies = Self {
            general: general.into_iter().collect(),
            settings: settings.into_iter().collect(),
            items: BTreeMap::new(),
            slabs: BTreeMap::new(),
        };
        for (name, value) in items {
            let parts: Vec<_> = name.split(':').collect();
            let ["items", class, name] = parts[..] else { panic!("{name}") };
            replies.items.entry(class.into()).or_default().insert(name.into(), value);
        }
        for (name, value) in slabs {
            match name.split_once(':') {
                Some((class, name)) => _ = replies.slabs.entry(class.into()).or_default().insert(name.into(), value),
                None => _ = replies.general.insert(name, value),
            }
        }
        replies
    }

    /// The exporter's samples.
    fn samples(&self) -> BTreeMap<Series, f64> {
        let mut out = Exported::default();
        out.copy(GENERAL, &self.general, &[]);
        if self.general.contains_key("extstore_limit_maxbytes") {
            out.copy(FLASH, &self.general, &[]);
        }
        if self.general.contains_key("proxy_backend_total") {
            out.copy(PROXY, &self.general, &[]);
        }
        if self.settings["lru_crawler"] == "yes" {
            out.copy(CRAWLER, &self.settings, &[]);
        }
        out.put("memcached_up", &[], 1.0);
        out.put("memcached_version", &[("version", &self.general["version"])], 1.0);
        out.put("memcached_max_connections", &[], value(&self.settings["maxconns"]));
        out.commands("memcached_commands_total", &self.general, &[], &["cas_misses", "cas_hits", "cas_badval"]);
        for (class, rows) in &self.slabs {
            let class = [("slab", class.as_str())];
            out.copy(SLABS, rows, &class);
            out.commands("memcached_slab_commands_total", rows, &class, &["cas_hits", "cas_badval"]);
        }
        for (class, rows) in &self.items {
            out.copy(ITEMS, rows, &[("slab", class)]);
            for (row, queue) in [("hot", "hot"), ("warm", "warm"), ("cold", "cold"), ("temp", "temporary")] {
                let labels = [("lru", queue), ("slab", class)];
                out.put_row("memcached_slab_lru_hits_total", &labels, rows, &format!("hits_to_{row}"));
            }
        }
        out.0
    }
}

#[derive(Default)]
struct Exported(BTreeMap<Series, f64>);

impl Exported {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        assert!(self.0.insert(Series::new(name, labels), value).is_none(), "{name}");
    }

    /// A missing row is no sample.
    fn put_row(&mut self, name: &str, labels: &[(&str, &str)], rows: &Rows, row: &str) {
        if let Some(text) = rows.get(row) {
            self.put(name, labels, value(text));
        }
    }

    fn copy(&mut self, map: &str, rows: &Rows, labels: &[(&str, &str)]) {
        for (row, _, name) in table(map) {
            self.put_row(&name, labels, rows, row);
        }
    }

    fn commands(&mut self, family: &str, rows: &Rows, class: &[(&str, &str)], of_cas: &[&str]) {
        let labels = |command, status| [&[("command", command), ("status", status)], class].concat();
        for command in ["get", "delete", "incr", "decr", "cas", "touch"] {
            self.put_row(family, &labels(command, "hit"), rows, &format!("{command}_hits"));
            self.put_row(family, &labels(command, "miss"), rows, &format!("{command}_misses"));
        }
        self.put_row(family, &labels("cas", "badval"), rows, "cas_badval");
        self.put_row(family, &labels("flush", "hit"), rows, "cmd_flush");
        let of_cas: f64 = of_cas.iter().map(|row| value(&rows[*row])).sum();
        self.put(family, &labels("set", "hit"), value(&rows["cmd_set"]) - of_cas);
    }
}

fn value(text: &str) -> f64 {
    match text {
        "yes" => 1.0,
        "no" => 0.0,
        number => number.parse().unwrap(),
    }
}

#[test]
fn the_families_are_those_of_the_exporter() {
    let tables = [GENERAL, FLASH, PROXY, CRAWLER, ITEMS, SLABS, COMPOSED];
    let expected: BTreeMap<_, _> =
        tables.iter().flat_map(|text| table(text)).map(|(_, kind, name)| (name, kind)).collect();
    assert_eq!(expected.len(), 103);
    let own = families().filter(|family| family.name.starts_with("memcached_"));
    let own: BTreeMap<_, _> = own.map(|family| (family.name.to_owned(), family.kind.name())).collect();
    assert!(
        own.keys().eq(expected.keys()),
        "{:?}",
        own.keys().filter(|name| !expected.contains_key(*name)).collect::<Vec<_>>()
    );
    let different =
        own.iter().filter(|(name, kind)| expected[*name] != **kind).map(|(name, kind)| (name.as_str(), *kind));
    assert_eq!(different.collect::<Vec<_>>(), OTHER_TYPES.map(|name| (name, "gauge")));
}

#[test]
fn samples_are_those_of_the_exporter() {
    for args in OPTIONS {
        let (shared, mut client) = busy(args);
        let expected = Replies::of(&mut client).samples();
        let got = scrape(&shared);
        let got: BTreeMap<_, _> = got.into_iter().filter(|(name, _)| name.starts_with("memcached_")).collect();
        let got: BTreeMap<_, _> = got.into_values().flat_map(|family| family.samples).collect();
        let missing: Vec<_> = expected.keys().filter(|series| !got.contains_key(series)).collect();
        let added: Vec<_> = got.keys().filter(|series| !expected.contains_key(series)).collect();
        assert!(missing.is_empty() && added.is_empty(), "{args}: missing {missing:?}, added {added:?}");
        for (series, value) in got {
            // Processor time, and the replies of `stats` itself, have been counted since.
            let grows = series.name.contains("_cpu_") || series.name == "memcached_written_bytes_total";
            let fits = if grows { value >= expected[&series] } else { value == expected[&series] };
            assert!(fits, "{args}: {series:?} is {value}, not {}", expected[&series]);
        }
    }
}

#[test]
fn the_load_reaches_what_is_compared() {
    let mut unused: BTreeSet<_> =
        families().map(|family| family.name).filter(|name| name.starts_with("memcached_")).collect();
    for args in OPTIONS {
        for (name, family) in scrape(&busy(args).0) {
            if family.samples.values().any(|value| *value != 0.0) {
                unused.remove(name.as_str());
            }
        }
    }
    unused.retain(|name| !name.contains("_extstore_") && !name.contains("_proxy_"));
    let expected = [
        "memcached_lru_crawler_starts_total",
        "memcached_round_robin_fallback_total",
        "memcached_slab_chunks_free_end",
        "memcached_slab_items_tailrepairs_total",
        "memcached_unexpected_napi_ids_total",
    ];
    assert!(unused.iter().eq(&expected), "{unused:?}");
}
