//! The notation of `/metrics`, by a strict parser and by Prometheus' own.

use super::{busy, scrape, text};
use crate::support::Client;
use oxcached::admin::AdminCounters;
use oxcached::admin::exposition::{Exposition, Family, families};
use oxcached::metric::{MetricKind, MetricSink};
use oxcached::proto::Shared;
use oxcached::stats::{CommandKind, TurnClass};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What promtool dislikes of the exporter's names, which dashboards use.
const KNOWN: &str = "\
memcached_slab_items_evicted_time_seconds counter metrics should have \"_total\" suffix
memcached_slab_items_moves_to_cold counter metrics should have \"_total\" suffix
memcached_slab_items_moves_to_warm counter metrics should have \"_total\" suffix
memcached_slab_items_moves_within_lru counter metrics should have \"_total\" suffix
memcached_uptime_seconds counter metrics should have \"_total\" suffix
";

/// A server with everything that needs no certificate, user, flash or proxy.
pub fn full() -> (Arc<Shared>, Client) {
    let args = "-o temporary_ttl=61,idle_timeout=60,write_timeout=9,maxconns_per_ip=5,hotkeys,hotkeys_sample=1";
    let (shared, mut client) = busy(args);
    client.ask(b"get a\r\n");
    shared.clock.advance(10);
    let latency = &shared.stats.latency;
    latency.open().unwrap();
    latency.workers[0].turn(TurnClass::Get, 5000, 1);
    latency.workers[0].command(CommandKind::Get, 200);
    (shared, client)
}

#[test]
fn families_are_sorted_and_described() {
    let all: Vec<_> = families().collect();
    assert!(all.is_sorted_by(|one, two| one.name < two.name), "sorted, and each once");
    for family in all {
        let prefix = ["memcached_", "oxcached_"].iter().any(|prefix| family.name.starts_with(prefix));
        assert!(prefix && family.help.ends_with('.'), "{}", family.name);
        let total = family.name.ends_with("_total") == (family.kind.name() == "counter");
        assert!(total || family.name.starts_with("memcached_"), "{}", family.name);
    }
}

#[test]
fn every_family_of_a_server_without_flash_and_proxy_has_samples() {
    let (shared, _) = full();
    let got = scrape(&shared);
    // Those of the durable copy; two of the items' store begin like them.
    let of_copy =
        |name: &str| name.starts_with("oxcached_store_") && !name.contains("store_no_") && !name.contains("_overhead_");
    let elsewhere = |name: &str| name.contains("_extstore_") || name.contains("_proxy_") || of_copy(name);
    let absent = |name: &&str| !elsewhere(name) && !got.contains_key(*name);
    let absent: Vec<_> = families().map(|family| family.name).filter(absent).collect();
    let expected = [
        "memcached_round_robin_fallback_total",
        "memcached_unexpected_napi_ids_total",
        "oxcached_auth_timeouts_total",
        "oxcached_cluster_config_changes_total",
        "oxcached_cluster_config_errors_total",
        "oxcached_cluster_config_nodes",
        "oxcached_cluster_config_version",
        "oxcached_ssl_cert_age_seconds",
        "oxcached_ssl_handshake_errors_total",
        "oxcached_ssl_new_sessions_total",
        "oxcached_ssl_proto_errors_total",
    ];
    assert_eq!(absent, expected);
}

#[test]
fn each_counter_of_the_admin_listener_is_a_family() {
    let mut names = Vec::new();
    AdminCounters::default().report(&mut MetricSink::new(&mut |metric| {
        let suffix = if metric.kind == MetricKind::Counter { "_total" } else { "" };
        names.push(format!("oxcached_admin_{}{suffix}", metric.name));
    }));
    names.sort();
    let families = families().map(|family| family.name).filter(|name| name.starts_with("oxcached_admin_"));
    assert!(families.eq(&names), "{names:?}");
}

#[test]
fn promtool_accepts_it() {
    let (shared, _) = full();
    let Some(complaints) = promtool(&["check", "metrics"], &text(&mut Exposition::default(), &shared)) else { return };
    assert_eq!(complaints, KNOWN);
}

/// Runs promtool, from the path or from where scripts/setup-test-tools puts it; returns what it prints. `None`, with a
/// printed reason, if there is none.
pub fn promtool(args: &[&str], input: &str) -> Option<String> {
    let start = |program: &Path| {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/promtool");
    let mut child = match start(Path::new("promtool")).or_else(|_| start(&fetched)) {
        Ok(child) => child,
        Err(e) => {
            println!("skipped: no promtool ({e}); scripts/setup-test-tools promtool fetches it");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Some(String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn the_docs_list_our_own_families() {
    let own = families().filter(|family| family.name.starts_with("oxcached_"));
    let row = |family: &Family| {
        format!("| `{}` | {} | {} |\n", family.name, family.kind.name(), family.help.replace('|', "\\|"))
    };
    let expected: String = own.map(row).collect();
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/observability.md")).unwrap();
    let rows = docs.lines().filter(|line| line.starts_with("| `oxcached_")).map(|line| format!("{line}\n"));
    let rows: String = rows.collect();
    assert!(rows == expected, "the table of docs/observability.md should be:\n{expected}");
}
