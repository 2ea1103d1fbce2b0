//! The families of memcached_exporter 0.16: its names, types and labels, and the rows of `stats` that it reads.
//!
//! Owns the table, sorted by name. The exporter's own gates hold: settings of the crawler only while it is on, families
//! of flash storage and of the proxy only with these. Two types differ, because the values fall: `mem_requested`, to
//! which the exporter gives either type, and `extstore_bytes_used`.

use super::family::SampleSource::{Constant, CrawlerSetting, Each, Flash, General, Items, Proxy, Setting, Slabs};
use super::family::{Family, counter, gauge};
use super::rows::{RowSet, Scrape};
use super::text::Samples;
use crate::settings::VERSION;

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "memcached_accepting_connections",
        "1 while connections are accepted, 0 in a pause.",
        General("accepting_conns"),
    ),
    counter("memcached_commands_total", "Commands by result.", Each(commands)),
    counter(
        "memcached_connections_listener_disabled_total",
        "Times that accepting was paused.",
        General("listen_disabled_num"),
    ),
    counter(
        "memcached_connections_rejected_total",
        "Connections closed at once because of the limit (-o maxconns_fast).",
        General("rejected_connections"),
    ),
    counter("memcached_connections_total", "Connections accepted.", General("total_connections")),
    counter(
        "memcached_connections_yielded_total",
        "Turns of connections ended by the limit on requests (-R).",
        General("conn_yields"),
    ),
    gauge("memcached_current_bytes", "Bytes of stored items, headers and keys included.", General("bytes")),
    gauge("memcached_current_connections", "Open client connections.", General("curr_connections")),
    gauge("memcached_current_items", "Stored items.", General("curr_items")),
    counter(
        "memcached_direct_reclaims_total",
        "Items removed by workers that needed memory.",
        General("direct_reclaims"),
    ),
    counter("memcached_extstore_bytes_evicted_total", "Bytes evicted from flash.", Flash("extstore_bytes_evicted")),
    gauge(
        "memcached_extstore_bytes_fragmented",
        "Bytes of pages of flash that hold no item.",
        Flash("extstore_bytes_fragmented"),
    ),
    gauge("memcached_extstore_bytes_limit", "Size of the flash storage.", Flash("extstore_limit_maxbytes")),
    counter("memcached_extstore_bytes_read_total", "Bytes read from flash.", Flash("extstore_bytes_read")),
    gauge("memcached_extstore_bytes_used", "Bytes of items in flash.", Flash("extstore_bytes_used")),
    counter("memcached_extstore_bytes_written_total", "Bytes written to flash.", Flash("extstore_bytes_written")),
    counter(
        "memcached_extstore_compact_lost_total",
        "Items lost in compactions because they were in use.",
        Flash("extstore_compact_lost"),
    ),
    counter(
        "memcached_extstore_compact_rescued_total",
        "Items moved to another page by compactions.",
        Flash("extstore_compact_rescues"),
    ),
    counter(
        "memcached_extstore_compact_skipped_total",
        "Idle items dropped by compactions.",
        Flash("extstore_compact_skipped"),
    ),
    gauge("memcached_extstore_io_queue_depth", "Requests that wait for flash.", Flash("extstore_io_queue")),
    counter("memcached_extstore_objects_evicted_total", "Items evicted from flash.", Flash("extstore_objects_evicted")),
    counter("memcached_extstore_objects_read_total", "Items read from flash.", Flash("extstore_objects_read")),
    gauge("memcached_extstore_objects_used", "Items in flash.", Flash("extstore_objects_used")),
    counter("memcached_extstore_objects_written_total", "Items written to flash.", Flash("extstore_objects_written")),
    counter(
        "memcached_extstore_pages_allocated_total",
        "Pages of flash taken into use.",
        Flash("extstore_page_allocs"),
    ),
    counter(
        "memcached_extstore_pages_evicted_total",
        "Pages of flash evicted with their items.",
        Flash("extstore_page_evictions"),
    ),
    gauge("memcached_extstore_pages_free", "Pages of flash without items.", Flash("extstore_pages_free")),
    counter("memcached_extstore_pages_reclaimed_total", "Empty pages of flash freed.", Flash("extstore_page_reclaims")),
    gauge("memcached_extstore_pages_used", "Pages of flash with items.", Flash("extstore_pages_used")),
    counter("memcached_item_no_memory_total", "Values refused for lack of memory.", General("store_no_memory")),
    counter("memcached_item_too_large_total", "Values refused because of their size (-I).", General("store_too_large")),
    counter(
        "memcached_items_evicted_total",
        "Items removed before their expiry, to free memory.",
        General("evictions"),
    ),
    counter(
        "memcached_items_reclaimed_total",
        "Expired items whose memory was given to new ones.",
        General("reclaimed"),
    ),
    counter("memcached_items_total", "Items stored.", General("total_items")),
    gauge("memcached_limit_bytes", "Memory limit for items (-m).", General("limit_maxbytes")),
    gauge(
        "memcached_lru_crawler_enabled",
        "1 while expired items are removed in the background.",
        CrawlerSetting("lru_crawler"),
    ),
    gauge(
        "memcached_lru_crawler_hot_max_factor",
        "Longest idle time in HOT, as a factor of the age of COLD.",
        CrawlerSetting("hot_max_factor"),
    ),
    gauge("memcached_lru_crawler_hot_percent", "Share of the HOT queue, in percent.", CrawlerSetting("hot_lru_pct")),
    counter(
        "memcached_lru_crawler_items_checked_total",
        "Items examined by the crawler.",
        General("crawler_items_checked"),
    ),
    gauge(
        "memcached_lru_crawler_maintainer_thread",
        "1 with the queues HOT, WARM and COLD.",
        CrawlerSetting("lru_maintainer_thread"),
    ),
    counter(
        "memcached_lru_crawler_moves_to_cold_total",
        "Items moved from HOT or WARM to COLD.",
        General("moves_to_cold"),
    ),
    counter("memcached_lru_crawler_moves_to_warm_total", "Items moved from COLD to WARM.", General("moves_to_warm")),
    counter(
        "memcached_lru_crawler_moves_within_lru_total",
        "Requested items that stayed in HOT or WARM for another period.",
        General("moves_within_lru"),
    ),
    counter(
        "memcached_lru_crawler_reclaimed_total",
        "Expired items removed by the crawler.",
        General("crawler_reclaimed"),
    ),
    gauge(
        "memcached_lru_crawler_sleep",
        "Microseconds between two steps of the crawler.",
        CrawlerSetting("lru_crawler_sleep"),
    ),
    counter("memcached_lru_crawler_starts_total", "Runs of the crawler.", General("lru_crawler_starts")),
    gauge(
        "memcached_lru_crawler_to_crawl",
        "Items that a run may examine in a class; 0 = all.",
        CrawlerSetting("lru_crawler_tocrawl"),
    ),
    gauge(
        "memcached_lru_crawler_warm_max_factor",
        "Longest idle time in WARM, as a factor of the age of COLD.",
        CrawlerSetting("warm_max_factor"),
    ),
    gauge("memcached_lru_crawler_warm_percent", "Share of the WARM queue, in percent.", CrawlerSetting("warm_lru_pct")),
    gauge("memcached_malloced_bytes", "Bytes of slab pages in use.", General("total_malloced")),
    gauge("memcached_max_connections", "Limit on open connections (-c).", Setting("maxconns")),
    counter(
        "memcached_process_system_cpu_seconds_total",
        "Processor time of the process in the kernel.",
        General("rusage_system"),
    ),
    counter(
        "memcached_process_user_cpu_seconds_total",
        "Processor time of the process in user mode.",
        General("rusage_user"),
    ),
    gauge("memcached_proxy_backend_failed", "Backends that do not answer.", Proxy("proxy_backend_failed")),
    counter(
        "memcached_proxy_backend_marked_bad_total",
        "Times that a backend was taken out of use.",
        Proxy("proxy_backend_marked_bad"),
    ),
    gauge("memcached_proxy_backend_total", "Backends of the proxy.", Proxy("proxy_backend_total")),
    counter(
        "memcached_proxy_config_cron_fails_total",
        "Failed runs of the proxy's timed functions.",
        Proxy("proxy_config_cron_fails"),
    ),
    counter(
        "memcached_proxy_config_cron_runs_total",
        "Runs of the proxy's timed functions.",
        Proxy("proxy_config_cron_runs"),
    ),
    counter(
        "memcached_proxy_config_reload_fails_total",
        "Failed reloads of the proxy's configuration.",
        Proxy("proxy_config_reload_fails"),
    ),
    counter(
        "memcached_proxy_config_reloads_total",
        "Reloads of the proxy's configuration.",
        Proxy("proxy_config_reloads"),
    ),
    counter("memcached_proxy_conn_errors_total", "Errors of backend connections.", Proxy("proxy_conn_errors")),
    counter("memcached_proxy_conn_oom_total", "Proxy connections refused for lack of memory.", Proxy("proxy_conn_oom")),
    counter("memcached_proxy_conn_requests_total", "Requests received in proxy mode.", Proxy("proxy_conn_requests")),
    gauge("memcached_proxy_req_active", "Requests that wait for a backend.", Proxy("proxy_req_active")),
    counter(
        "memcached_proxy_request_failed_depth_total",
        "Requests refused because a backend's queue was full.",
        Proxy("proxy_request_failed_depth"),
    ),
    counter("memcached_read_bytes_total", "Bytes received from clients.", General("bytes_read")),
    counter(
        "memcached_round_robin_fallback_total",
        "Connections given to workers in turn for lack of a NAPI id.",
        Proxy("round_robin_fallback"),
    ),
    gauge("memcached_slab_chunk_size_bytes", "Size of the class's chunks.", Slabs("chunk_size")),
    gauge("memcached_slab_chunks_free", "Free chunks of the class.", Slabs("free_chunks")),
    gauge(
        "memcached_slab_chunks_free_end",
        "Free chunks at the end of the last page; always 0 here.",
        Slabs("free_chunks_end"),
    ),
    gauge("memcached_slab_chunks_per_page", "Chunks of a page of the class.", Slabs("chunks_per_page")),
    gauge("memcached_slab_chunks_used", "Chunks of the class in use.", Slabs("used_chunks")),
    gauge("memcached_slab_cold_items", "Items of the class in COLD.", Items("number_cold")),
    counter(
        "memcached_slab_commands_total",
        "Commands that found an item of the class, by result.",
        Each(slab_commands),
    ),
    gauge("memcached_slab_current_chunks", "Chunks in the class's pages.", Slabs("total_chunks")),
    gauge("memcached_slab_current_items", "Items of the class.", Items("number")),
    gauge("memcached_slab_current_pages", "Pages of the class.", Slabs("total_pages")),
    gauge("memcached_slab_hot_age_seconds", "Time since the last access of the oldest item in HOT.", Items("age_hot")),
    gauge("memcached_slab_hot_items", "Items of the class in HOT.", Items("number_hot")),
    gauge("memcached_slab_items_age_seconds", "Time since the last access of the class's next victim.", Items("age")),
    counter(
        "memcached_slab_items_crawler_reclaimed_total",
        "Expired items of the class removed by the crawler.",
        Items("crawler_reclaimed"),
    ),
    counter(
        "memcached_slab_items_evicted_nonzero_total",
        "Evicted items of the class that had an expiry time.",
        Items("evicted_nonzero"),
    ),
    counter(
        "memcached_slab_items_evicted_time_seconds",
        "Time since the last access of the item evicted last. It may fall.",
        Items("evicted_time"),
    ),
    counter("memcached_slab_items_evicted_total", "Items of the class removed before their expiry.", Items("evicted")),
    counter(
        "memcached_slab_items_evicted_unfetched_total",
        "Evicted items of the class that were never read.",
        Items("evicted_unfetched"),
    ),
    counter(
        "memcached_slab_items_expired_unfetched_total",
        "Expired items of the class that were never read.",
        Items("expired_unfetched"),
    ),
    counter(
        "memcached_slab_items_moves_to_cold",
        "Items of the class moved from HOT or WARM to COLD.",
        Items("moves_to_cold"),
    ),
    counter(
        "memcached_slab_items_moves_to_warm",
        "Items of the class moved from COLD to WARM.",
        Items("moves_to_warm"),
    ),
    counter(
        "memcached_slab_items_moves_within_lru",
        "Requested items of the class that stayed in HOT or WARM.",
        Items("moves_within_lru"),
    ),
    counter(
        "memcached_slab_items_outofmemory_total",
        "Allocations refused in the class for lack of memory.",
        Items("outofmemory"),
    ),
    counter(
        "memcached_slab_items_reclaimed_total",
        "Expired items of the class whose memory was given to new ones.",
        Items("reclaimed"),
    ),
    counter("memcached_slab_items_tailrepairs_total", "Repairs of leaked items; always 0 here.", Items("tailrepairs")),
    counter("memcached_slab_lru_hits_total", "Hits of get in the class, by queue.", Each(lru_hits)),
    gauge(
        "memcached_slab_mem_requested_bytes",
        "Bytes of the class's items, headers and keys included.",
        Items("mem_requested"),
    ),
    gauge(
        "memcached_slab_temporary_items",
        "Items of the class protected by their short expiry (-o temporary_ttl).",
        Items("number_temp"),
    ),
    gauge("memcached_slab_warm_age_seconds", "Time since the last access of the next item of WARM.", Items("age_warm")),
    gauge("memcached_slab_warm_items", "Items of the class in WARM.", Items("number_warm")),
    gauge("memcached_time_seconds", "The server's clock, in seconds since 1970.", General("time")),
    counter(
        "memcached_unexpected_napi_ids_total",
        "Connections with an unknown NAPI id.",
        Proxy("unexpected_napi_ids"),
    ),
    gauge("memcached_up", "1 while this server answers; a stopped server has no sample at all.", Constant(1)),
    counter("memcached_uptime_seconds", "Seconds since the server was started.", General("uptime")),
    gauge("memcached_version", "The memcached version whose behaviour the server has, as a label.", Each(version)),
    counter("memcached_written_bytes_total", "Bytes sent to clients.", General("bytes_written")),
];

/// Commands with hits and misses: label, rows.
const RESULTS: &[(&str, &str, &str)] = &[
    ("cas", "cas_hits", "cas_misses"),
    ("decr", "decr_hits", "decr_misses"),
    ("delete", "delete_hits", "delete_misses"),
    ("get", "get_hits", "get_misses"),
    ("incr", "incr_hits", "incr_misses"),
    ("touch", "touch_hits", "touch_misses"),
];

/// Queues by which `stats items` counts hits: label, row.
const QUEUES: &[(&str, &str)] =
    &[("cold", "hits_to_cold"), ("hot", "hits_to_hot"), ("temporary", "hits_to_temp"), ("warm", "hits_to_warm")];

/// Rows of `stats` that [`commands`] shows.
#[cfg(test)]
pub(super) fn rows_of_commands() -> impl Iterator<Item = &'static str> {
    RESULTS.iter().flat_map(|(_, hits, misses)| [*hits, *misses]).chain(["cas_badval", "cmd_flush"])
}

fn version(_: &Scrape<'_>, out: &mut Samples<'_>) {
    out.put(&[("version", &VERSION)], 1_u32.into());
}

fn commands(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    let mut put = |row, command: &str, status: &str| {
        if let Some(count) = scrape.rows.get(RowSet::General, row) {
            out.put(&[("command", &command), ("status", &status)], count);
        }
    };
    put("cas_badval", "cas", "badval");
    put("cmd_flush", "flush", "hit");
    for (command, hits, misses) in RESULTS {
        put(hits, command, "hit");
        put(misses, command, "miss");
    }
    out.put(&[("command", &"set"), ("status", &"hit")], scrape.sets.of(0).into());
}

fn slab_commands(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    let mut put = |row, command: &str, status: &str| {
        for (class, count) in scrape.rows.of_classes(RowSet::Slabs, row) {
            out.put(&[("command", &command), ("slab", &class), ("status", &status)], count);
        }
    };
    put("cas_badval", "cas", "badval");
    for (command, hits, _) in RESULTS {
        put(hits, command, "hit");
    }
    for (class, _) in scrape.rows.of_classes(RowSet::Slabs, "cmd_set") {
        out.put(&[("command", &"set"), ("slab", &class), ("status", &"hit")], scrape.sets.of(class).into());
    }
}

fn lru_hits(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    for (queue, row) in QUEUES {
        for (class, count) in scrape.rows.of_classes(RowSet::Items, row) {
            out.put(&[("lru", queue), ("slab", &class)], count);
        }
    }
}
