//! Families of this server: what memcached_exporter leaves out of `stats`, and what memcached does not have.
//!
//! Owns the table, sorted by name; docs/observability.md lists it. Base units and suffixes are Prometheus' own. A key
//! is never a label.

use super::family::SampleSource::{Admin, Durable, Each, General, GeneralOrZero, Items};
use super::family::{Family, counter, gauge, histogram};
use super::latency::{command_durations, commit_durations, turn_commands, turn_durations};
use super::rows::{RowSet, Scrape};
use super::text::Samples;
use crate::conns::ConnState;
use crate::hotkeys::Weight;
use crate::metric::MetricValue;
use crate::store::ClassView;
use std::time::Duration;

pub(super) const FAMILIES: &[Family] = &[
    counter(
        "oxcached_accept_pause_seconds_total",
        "Time without accepting, in pauses that have ended.",
        Each(accept_pause_seconds),
    ),
    counter(
        "oxcached_accept_pauses_total",
        "Pauses of accepting, for lack of descriptors or at the limit of connections.",
        General("listen_disabled_num"),
    ),
    gauge("oxcached_active_slabs", "Classes with pages.", General("active_slabs")),
    counter(
        "oxcached_admin_accept_pauses_total",
        "Pauses of the admin listener without free descriptors.",
        Admin("accept_pauses"),
    ),
    counter(
        "oxcached_admin_accepted_total",
        "Connections of the admin listener, refused ones included.",
        Admin("accepted"),
    ),
    counter(
        "oxcached_admin_answers_refused_total",
        "Answers refused because too many others were not yet taken.",
        Admin("answers_refused"),
    ),
    counter("oxcached_admin_bytes_read_total", "Bytes received by the admin listener.", Admin("bytes_read")),
    counter("oxcached_admin_bytes_written_total", "Bytes sent by the admin listener.", Admin("bytes_written")),
    gauge("oxcached_admin_conns", "Open connections of the admin listener, viewers included.", Admin("conns")),
    counter(
        "oxcached_admin_conns_refused_total",
        "Connections of the admin listener beyond its bound (-o admin_conns).",
        Admin("conns_refused"),
    ),
    counter(
        "oxcached_admin_frames_dropped_total",
        "Frames dropped because their viewer had not taken earlier ones.",
        Admin("frames_dropped"),
    ),
    counter("oxcached_admin_host_refused_total", "Requests with another server's name in Host.", Admin("host_refused")),
    counter(
        "oxcached_admin_idle_timeouts_total",
        "Connections of the admin listener closed between two requests.",
        Admin("idle_timeouts"),
    ),
    counter("oxcached_admin_origin_refused_total", "Requests from another site's page.", Admin("origin_refused")),
    counter("oxcached_admin_pong_timeouts_total", "WebSockets closed because no pong came.", Admin("pong_timeouts")),
    counter(
        "oxcached_admin_read_timeouts_total",
        "Connections of the admin listener closed because a request took too long to arrive.",
        Admin("read_timeouts"),
    ),
    counter(
        "oxcached_admin_requests_total",
        "Requests to the admin listener, the one that is answered included.",
        Admin("requests"),
    ),
    counter(
        "oxcached_admin_socket_errors_total",
        "WebSockets closed for a breach of their protocol.",
        Admin("socket_errors"),
    ),
    counter("oxcached_admin_tls_errors_total", "Failed TLS handshakes of the admin listener.", Admin("tls_errors")),
    counter(
        "oxcached_admin_token_refused_total",
        "Requests without the token (-o admin_token_file).",
        Admin("token_refused"),
    ),
    counter("oxcached_admin_too_large_total", "Requests with a head or body beyond its bound.", Admin("too_large")),
    gauge("oxcached_admin_viewers", "Open WebSockets and event streams.", Admin("viewers")),
    counter("oxcached_admin_viewers_refused_total", "Viewers beyond their bound.", Admin("viewers_refused")),
    counter(
        "oxcached_admin_write_timeouts_total",
        "Connections of the admin listener closed because the peer took its answer too slowly.",
        Admin("write_timeouts"),
    ),
    counter("oxcached_auth_cmds_total", "Logins.", General("auth_cmds")),
    counter("oxcached_auth_errors_total", "Failed logins.", General("auth_errors")),
    counter(
        "oxcached_auth_timeouts_total",
        "Connections closed because they did not log in in time (-o auth_timeout).",
        General("auth_timeouts"),
    ),
    gauge(
        "oxcached_build_info",
        "1, with this server's own version and the features it was built with as labels.",
        Each(build_info),
    ),
    counter(
        "oxcached_cluster_config_changes_total",
        "Configurations of -o cluster_file that have replaced another.",
        General("cluster_config_changes"),
    ),
    counter(
        "oxcached_cluster_config_errors_total",
        "Files of -o cluster_file that were refused.",
        General("cluster_config_errors"),
    ),
    gauge("oxcached_cluster_config_nodes", "Nodes that config get cluster names.", General("cluster_config_nodes")),
    gauge("oxcached_cluster_config_version", "Version of the nodes.", General("cluster_config_version")),
    counter(
        "oxcached_cmd_meta_total",
        "Meta commands; each also counts as the command that it is like.",
        General("cmd_meta"),
    ),
    counter(
        "oxcached_cmd_touch_total",
        "Commands that set an expiry time, those that also read included.",
        General("cmd_touch"),
    ),
    histogram(
        "oxcached_command_duration_seconds",
        "Service time of commands, by kind, without reading and writing; measured with -o latency=full only.",
        Each(command_durations),
    ),
    gauge(
        "oxcached_connection_structures",
        "Connections with memory, listeners included.",
        General("connection_structures"),
    ),
    gauge(
        "oxcached_connections",
        "Connections and listeners by state; the states are those of `stats conns`.",
        Each(connections),
    ),
    counter("oxcached_get_expired_total", "Misses of get that found an expired item.", General("get_expired")),
    counter(
        "oxcached_get_flushed_total",
        "Misses of get that found an item from before a flush.",
        General("get_flushed"),
    ),
    counter(
        "oxcached_ghost_hits_total",
        "Keys of the class stored again soon after their eviction: more memory would have kept them. Not reset by `stats reset`.",
        Each(ghost_hits),
    ),
    gauge("oxcached_hash_bytes", "Memory of the index.", General("hash_bytes")),
    gauge("oxcached_hash_is_expanding", "1 while the index grows.", General("hash_is_expanding")),
    gauge(
        "oxcached_hash_power_level",
        "Size of the index, as the power of two that memcached would have.",
        General("hash_power_level"),
    ),
    gauge(
        "oxcached_hotkey_share",
        "Share of the hottest keys in all reads, writes, misses or bytes, 0 to 1, by rank; of the last window, sampled.",
        Each(hotkey_share),
    ),
    gauge("oxcached_hotkeys_enabled", "1 while hot keys are sampled.", Each(hotkeys_enabled)),
    counter("oxcached_idle_kicks_total", "Idle connections closed (-o idle_timeout).", General("idle_kicks")),
    counter(
        "oxcached_items_evicted_active_total",
        "Evicted items that were read more than once.",
        General("evicted_active"),
    ),
    counter(
        "oxcached_items_evicted_unfetched_total",
        "Evicted items that were never read.",
        General("evicted_unfetched"),
    ),
    counter(
        "oxcached_items_expired_unfetched_total",
        "Expired items that were never read.",
        General("expired_unfetched"),
    ),
    counter(
        "oxcached_large_values_total",
        "Values stored or sent that were longer than -o large_threshold; stats large names the latest.",
        Each(large_values),
    ),
    counter(
        "oxcached_log_lines_dropped_total",
        "Lines for standard error that were dropped because its reader was slow.",
        GeneralOrZero("log_lines_dropped"),
    ),
    counter("oxcached_log_watcher_sent_total", "Lines sent to watchers.", General("log_watcher_sent")),
    counter(
        "oxcached_log_watcher_skipped_total",
        "Lines dropped because a watcher's buffer was full.",
        General("log_watcher_skipped"),
    ),
    gauge("oxcached_log_watchers", "Watchers.", General("log_watchers")),
    counter(
        "oxcached_log_worker_dropped_total",
        "Events dropped because a worker's buffer was full.",
        General("log_worker_dropped"),
    ),
    counter("oxcached_log_worker_written_total", "Events recorded for watchers.", General("log_worker_written")),
    gauge("oxcached_lru_crawler_running", "1 during a run of the crawler.", General("lru_crawler_running")),
    counter(
        "oxcached_lru_maintainer_juggles_total",
        "Rounds of the background work on the queues.",
        General("lru_maintainer_juggles"),
    ),
    counter("oxcached_lrutail_reflocked_total", "Victims that a reader held.", General("lrutail_reflocked")),
    counter("oxcached_malloc_fails_total", "Failed allocations.", General("malloc_fails")),
    gauge("oxcached_read_buf_bytes", "Memory of read buffers.", General("read_buf_bytes")),
    gauge(
        "oxcached_read_buf_free_bytes",
        "Memory of read buffers that are not in use.",
        General("read_buf_bytes_free"),
    ),
    counter("oxcached_read_buf_oom_total", "Read buffers refused for lack of memory.", General("read_buf_oom")),
    gauge("oxcached_read_bufs", "Read buffers.", General("read_buf_count")),
    counter(
        "oxcached_rejected_connections_per_ip_total",
        "Connections closed because their address had too many (-o maxconns_per_ip).",
        General("rejected_connections_per_ip"),
    ),
    gauge("oxcached_reserved_fds", "Descriptors kept for other uses than connections.", General("reserved_fds")),
    gauge("oxcached_response_obj_bytes", "Memory of replies that wait to be sent.", General("response_obj_bytes")),
    counter("oxcached_response_obj_oom_total", "Replies refused for lack of memory.", General("response_obj_oom")),
    gauge("oxcached_response_objs", "Replies that wait to be sent.", General("response_obj_count")),
    gauge("oxcached_slab_global_page_pool", "Free pages that belong to no class.", General("slab_global_page_pool")),
    counter(
        "oxcached_slab_items_crawler_items_checked_total",
        "Items of the class examined by the crawler.",
        Items("crawler_items_checked"),
    ),
    counter(
        "oxcached_slab_items_direct_reclaims_total",
        "Items of the class removed by workers that needed memory.",
        Items("direct_reclaims"),
    ),
    counter(
        "oxcached_slab_items_evicted_active_total",
        "Evicted items of the class that were read more than once.",
        Items("evicted_active"),
    ),
    counter(
        "oxcached_slab_items_lrutail_reflocked_total",
        "Victims of the class that a reader held.",
        Items("lrutail_reflocked"),
    ),
    counter(
        "oxcached_slab_reassign_busy_deletes_total",
        "Items in use that a page move removed.",
        General("slab_reassign_busy_deletes"),
    ),
    counter(
        "oxcached_slab_reassign_busy_items_total",
        "Items in use that a page move had to wait for.",
        General("slab_reassign_busy_items"),
    ),
    counter(
        "oxcached_slab_reassign_busy_nomem_total",
        "Items that a page move removed for lack of memory.",
        General("slab_reassign_busy_nomem"),
    ),
    counter(
        "oxcached_slab_reassign_chunk_rescues_total",
        "Chunks of large items copied from a page that moves.",
        General("slab_reassign_chunk_rescues"),
    ),
    counter(
        "oxcached_slab_reassign_inline_reclaim_total",
        "Items evicted to have room for a copy.",
        General("slab_reassign_inline_reclaim"),
    ),
    counter(
        "oxcached_slab_reassign_rescues_total",
        "Items copied from a page that moves.",
        General("slab_reassign_rescues"),
    ),
    gauge("oxcached_slab_reassign_running", "1 while a page moves to another class.", General("slab_reassign_running")),
    counter("oxcached_slabs_moved_total", "Pages moved to another class.", General("slabs_moved")),
    counter(
        "oxcached_slow_turns_total",
        "Turns that took -o slow_threshold or longer; stats slow shows the latest.",
        Each(slow_turns),
    ),
    gauge(
        "oxcached_ssl_cert_age_seconds",
        "Time since the certificates were loaded.",
        General("time_since_server_cert_refresh"),
    ),
    counter("oxcached_ssl_handshake_errors_total", "Failed TLS handshakes.", General("ssl_handshake_errors")),
    counter(
        "oxcached_ssl_new_sessions_total",
        "TLS sessions kept for resumption (-o ssl_session_cache).",
        General("ssl_new_sessions"),
    ),
    counter(
        "oxcached_ssl_proto_errors_total",
        "TLS connections ended by an error of the protocol.",
        General("ssl_proto_errors"),
    ),
    histogram(
        "oxcached_store_commit_duration_seconds",
        "Time of a commit of the durable copy, from its first write to its end.",
        Each(commit_durations),
    ),
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
    gauge("oxcached_store_oldest_dirty_seconds", "Age of the oldest change that is not committed.", Each(oldest_dirty)),
    gauge(
        "oxcached_store_overhead_bytes",
        "Memory of the store beside items: the index, the queues, the counts of departures, and what pages hold beside the bytes of items.",
        Each(overhead),
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
    counter(
        "oxcached_thread_panics_total",
        "Panics that cost a connection and did not end the process.",
        GeneralOrZero("thread_panics"),
    ),
    histogram("oxcached_turn_commands", "Commands that a turn of a connection ran.", Each(turn_commands)),
    histogram(
        "oxcached_turn_duration_seconds",
        "Time of a connection's turns, from the report of its bytes to the written replies, by class: the command, or batch for several.",
        Each(turn_durations),
    ),
    gauge("oxcached_worker_threads", "Worker threads (-t).", General("threads")),
    counter(
        "oxcached_write_timeouts_total",
        "Connections closed because the peer read nothing (-o write_timeout).",
        General("write_timeouts"),
    ),
];

/// Connections counted in one hold of the table's lock.
const CONNECTIONS: usize = 256;

/// Hottest keys that are shown.
const RANKS: usize = 10;

/// Features of the build.
const FEATURES: &[&str] = &[
    #[cfg(feature = "count-lines")]
    "count-lines",
    #[cfg(feature = "debug-commands")]
    "debug-commands",
    #[cfg(feature = "lock-times")]
    "lock-times",
    #[cfg(feature = "long-handles")]
    "long-handles",
    #[cfg(feature = "oxctl")]
    "oxctl",
];

fn build_info(_: &Scrape<'_>, out: &mut Samples<'_>) {
    let version = env!("CARGO_PKG_VERSION");
    out.put(&[("features", &FEATURES.join(",")), ("version", &version)], 1_u32.into());
}

fn oldest_dirty(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    if let Some(durable) = &scrape.shared.durable {
        out.put(&[], MetricValue::Seconds(Duration::from_millis(durable.view().oldest_ms)));
    }
}

fn accept_pause_seconds(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    if let Some(MetricValue::Integer(us)) = scrape.rows.get(RowSet::General, "time_in_listen_disabled_us") {
        out.put(&[], Duration::from_micros(us.try_into().unwrap_or(u64::MAX)).into());
    }
}

fn connections(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    let (mut counts, mut last) = ([0_u64; ConnState::ALL.len()], Some(i32::MIN));
    while let Some(fd) = last {
        last = scrape.shared.conns.visit_after(fd, CONNECTIONS, &mut |info| counts[info.state() as usize] += 1);
    }
    for (state, count) in ConnState::ALL.into_iter().zip(counts) {
        let name = state.name();
        out.put(&[("state", &name.strip_prefix("conn_").unwrap_or(name))], count.into());
    }
}

fn ghost_hits(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    for (class, view) in scrape.reading.classes.iter().enumerate().filter(|(_, view)| view.pages > 0) {
        out.put(&[("slab", &class)], view.ghost_hits.into());
    }
}

fn hotkey_share(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    let Some(window) = scrape.shared.cache.hotkeys.window(scrape.reading.now) else { return };
    for weight in Weight::ALL {
        for (rank, key) in (1..=RANKS).zip(window.top(weight)) {
            out.put_float(&[("by", &weight.word()), ("rank", &rank)], window.share(weight, key));
        }
    }
}

fn large_values(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    out.put(&[], scrape.shared.events.large.total().into());
}

fn slow_turns(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    out.put(&[], scrape.shared.events.slow.total().into());
}

fn hotkeys_enabled(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    out.put(&[], scrape.shared.cache.hotkeys.is_on().into());
}

fn overhead(scrape: &Scrape<'_>, out: &mut Samples<'_>) {
    let store = scrape.shared.cache.store;
    let sum = |of: fn(&ClassView) -> u64| scrape.reading.classes.iter().map(of).sum::<u64>();
    let parts = [
        ("history", sum(|class| class.history_bytes)),
        ("index", store.index_view().1),
        ("pages", store.malloced().saturating_sub(sum(|class| class.requested))),
        ("queue", sum(|class| class.queue_bytes)),
    ];
    for (part, bytes) in parts {
        out.put(&[("part", &part)], bytes.into());
    }
}
