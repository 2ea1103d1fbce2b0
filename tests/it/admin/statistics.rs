//! Rows of the `stats` reports: names, order and values, by text and by packet, with every option that adds or removes
//! some.

use crate::support::{self, Client, settings, shared};
use oxcached::auth::{Auth, Credentials, Format, Seed};
use oxcached::clock::Clock;
use oxcached::metric::{Metric, MetricKind, MetricValue};
use oxcached::proto::{ConnInfo, ConnState, Shared};
use oxcached::report::{Collector, Report, connection};
use oxcached::stats::{ClassCounter, Counter};
use oxcached::store::ClassView;
use oxcached::tls::Tls;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Commands of every kind: hits and misses, conditions, two slab classes, expiry.
const MIX: &[u8] = b"\
    set a 0 0 5\r\nhello\r\nset b 0 0 1\r\n1\r\nset c 0 5 3\r\nttl\r\n\
    get a b c none\r\nget none\r\ngets a\r\nincr b 5\r\nincr none 1\r\ndecr b 2\r\ndecr none 1\r\n\
    touch a 0\r\ntouch none 0\r\ngat 0 a\r\nadd d 0 0 1\r\nx\r\ndelete d\r\ndelete none\r\n\
    cas a 0 0 1 999\r\nx\r\ncas none 0 0 1 1\r\nx\r\nmg a v\r\nms e 1\r\nx\r\nmn\r\n";

/// A client that has run [`MIX`].
fn client(shared: &Arc<Shared>) -> Client {
    let mut client = Client::new(shared);
    client.ask(MIX);
    for len in [2000, 2 << 20] {
        client.ask(&[format!("set large{len} 0 0 {len}\r\n").as_bytes(), &vec![b'v'; len], b"\r\n"].concat());
    }
    shared.clock.advance(10);
    client.ask(b"get c\r\n");
    client
}

/// A server with short memory after thousands of items, some of which have expired.
fn evicting() -> (Arc<Shared>, Client) {
    let shared = shared("-t 1 -m 4 -o temporary_ttl=61");
    let mut client = client(&shared);
    for n in 0..3000 {
        let (key, ttl) = (n % 1500, [0, 5, 3000][n % 3]);
        client.ask(&[format!("set k{key} 0 {ttl} 4000\r\n").as_bytes(), &[b'v'; 4000], b"\r\n"].concat());
        if n % 4 == 0 {
            client.ask(format!("get k{}\r\n", key / 2).as_bytes());
        }
        shared.clock.advance(i64::from(n % 50 == 0));
    }
    support::sweep(shared.cache.store, shared.clock.now());
    (shared, client)
}

/// Rows of `stats <report>`, `name=value`.
fn rows(client: &mut Client, report: &str) -> Vec<String> {
    let reply = String::from_utf8(client.ask(format!("stats {report}\r\n").as_bytes())).unwrap();
    let lines = reply.strip_suffix("END\r\n").unwrap().lines();
    lines.map(|line| line.strip_prefix("STAT ").unwrap().replacen(' ', "=", 1)).filter(|row| !is_shared(row)).collect()
}

/// Whether a row counts what other tests of the process may cause meanwhile; zero has no row.
fn is_shared(row: &str) -> bool {
    ["thread_panics", "log_lines_dropped"].contains(&name(row))
}

/// The same by packet, of a new connection.
fn rows_by_packet(shared: &Arc<Shared>, report: &str) -> Vec<String> {
    let mut request = vec![0; 24];
    (request[0], request[1], request[3], request[11]) = (0x80, 0x10, report.len() as u8, report.len() as u8);
    request.extend_from_slice(report.as_bytes());
    let (reply, mut rows) = (Client::new(shared).ask(&request), Vec::new());
    let mut rest = &reply[..];
    while let Some(head) = rest.first_chunk::<24>() {
        let (key, body) = (usize::from(head[3]), usize::from(u16::from_be_bytes([head[10], head[11]])));
        let (name, value) = rest[24..24 + body].split_at(key);
        rows.push(format!("{}={}", str::from_utf8(name).unwrap(), str::from_utf8(value).unwrap()));
        rest = &rest[24 + body..];
    }
    assert_eq!(rows.pop().as_deref(), Some("="), "an empty packet ends the report");
    rows.retain(|row| !is_shared(row));
    rows
}

fn name(row: &str) -> &str {
    row.split_once('=').unwrap().0
}

/// Blanks values that differ from run to run or by build.
fn steady(rows: Vec<String>) -> Vec<String> {
    const VARY: [&str; 5] = ["pid", "libevent", "rusage_user", "rusage_system", "hash_bytes"];
    let blank = |row: String| if VARY.contains(&name(&row)) { format!("{}=*", name(&row)) } else { row };
    rows.into_iter().map(blank).collect()
}

/// Rows of class 1, and those of no class.
fn of_class_1(mut rows: Vec<String>) -> Vec<String> {
    rows.retain(|row| name(row).rsplit(':').nth(1).is_none_or(|class| class == "1"));
    rows
}

#[track_caller]
fn assert_rows(got: &[String], expected: &str) {
    for (got, expected) in got.iter().zip(expected.split(' ')) {
        assert_eq!(got, expected);
    }
    assert_eq!(got.len(), expected.split(' ').count());
}

/// `stats` with a different number in each counter and gauge.
const GENERAL: &str = "\
    pid=* uptime=12 time=1000000072 version=1.6.45 libevent=* pointer_size=64 rusage_user=* rusage_system=* \
    max_connections=1024 curr_connections=1999 total_connections=2001 rejected_connections=2002 \
    connection_structures=2004 response_obj_oom=1220 response_obj_count=2009 response_obj_bytes=2010 \
    read_buf_count=2011 read_buf_bytes=2012 read_buf_bytes_free=2013 read_buf_oom=1230 reserved_fds=2005 \
    cmd_get=1008 cmd_set=224 cmd_flush=1060 cmd_touch=1043 cmd_meta=1070 get_hits=1549 get_misses=1013 \
    get_expired=1021 get_flushed=1030 delete_misses=1081 delete_hits=237 incr_misses=1091 incr_hits=257 \
    decr_misses=1101 decr_hits=277 cas_misses=1111 cas_hits=296 cas_badval=317 touch_hits=338 touch_misses=1051 \
    store_too_large=1121 store_no_memory=1130 auth_cmds=1140 auth_errors=1150 bytes_read=1190 bytes_written=1200 \
    limit_maxbytes=67108864 accepting_conns=0 listen_disabled_num=2006 time_in_listen_disabled_us=2007 threads=1 \
    conn_yields=1210 hash_power_level=16 hash_bytes=* hash_is_expanding=0 slab_reassign_rescues=0 \
    slab_reassign_chunk_rescues=0 slab_reassign_inline_reclaim=0 slab_reassign_busy_items=0 \
    slab_reassign_busy_deletes=0 slab_reassign_busy_nomem=0 slab_reassign_last_busy_status=none \
    slab_reassign_running=0 slabs_moved=0 lru_crawler_running=0 lru_crawler_starts=0 lru_maintainer_juggles=0 \
    malloc_fails=2008 log_worker_dropped=2014 log_worker_written=2015 log_watcher_skipped=2016 log_watcher_sent=2017 \
    log_watchers=2018 unexpected_napi_ids=2019 round_robin_fallback=2020 bytes=2255 curr_items=4 total_items=1246 \
    slab_global_page_pool=0 expired_unfetched=0 evicted_unfetched=0 evicted_active=0 evictions=0 reclaimed=0 \
    crawler_reclaimed=0 crawler_items_checked=0 lrutail_reflocked=0 moves_to_cold=0 moves_to_warm=0 \
    moves_within_lru=0 direct_reclaims=0 lru_bumps_dropped=0";

/// `stats items`, class 1.
const ITEMS: &str = "\
    items:1:number=3 items:1:number_hot=3 items:1:number_warm=0 items:1:number_cold=0 items:1:age_hot=10 \
    items:1:age_warm=0 items:1:age=0 items:1:mem_requested=187 items:1:evicted=0 items:1:evicted_nonzero=0 \
    items:1:evicted_time=0 items:1:outofmemory=0 items:1:tailrepairs=0 items:1:reclaimed=0 \
    items:1:expired_unfetched=0 items:1:evicted_unfetched=0 items:1:evicted_active=0 items:1:crawler_reclaimed=0 \
    items:1:crawler_items_checked=0 items:1:lrutail_reflocked=0 items:1:moves_to_cold=0 items:1:moves_to_warm=0 \
    items:1:moves_within_lru=0 items:1:direct_reclaims=0 items:1:hits_to_hot=176 items:1:hits_to_warm=181 \
    items:1:hits_to_cold=191 items:1:hits_to_temp=201";

/// `stats slabs`, class 1.
const SLABS: &str = "\
    1:chunk_size=96 1:chunks_per_page=18724 1:total_pages=1 1:total_chunks=18724 1:used_chunks=3 1:free_chunks=18721 \
    1:free_chunks_end=0 1:get_hits=749 1:cmd_set=108 1:delete_hits=112 1:incr_hits=122 1:decr_hits=132 \
    1:cas_hits=141 1:cas_badval=152 1:touch_hits=163 active_slabs=2 total_malloced=2097152";

#[test]
fn every_row_has_its_name_place_and_source() {
    let shared = shared("-t 1");
    let mut client = client(&shared);
    number(&shared);
    for (report, expected) in [("", GENERAL), ("items", ITEMS), ("slabs", SLABS)] {
        assert_rows(&of_class_1(steady(rows(&mut client, report))), expected);
    }
    for report in ["", "items", "slabs", "settings", "sizes"] {
        assert_eq!(steady(rows_by_packet(&shared, report)), steady(rows(&mut client, report)), "stats {report}");
    }
}

/// Row of `stats items`, and its source in the store.
type CountRow = (&'static str, fn(&ClassView) -> u64);

const CLASS_COUNTS: [CountRow; 14] = [
    ("evicted", |class| class.counts.evicted),
    ("evicted_nonzero", |class| class.counts.evicted_nonzero),
    ("evicted_time", |class| class.counts.evicted_time.into()),
    ("outofmemory", |class| class.counts.outofmemory),
    ("reclaimed", |class| class.counts.reclaimed),
    ("expired_unfetched", |class| class.counts.expired_unfetched),
    ("evicted_unfetched", |class| class.counts.evicted_unfetched),
    ("evicted_active", |class| class.counts.evicted_active),
    ("crawler_reclaimed", |class| class.counts.crawler_reclaimed),
    ("crawler_items_checked", |class| class.counts.crawler_items_checked),
    ("moves_to_cold", |class| class.counts.moves_to_cold),
    ("moves_to_warm", |class| class.counts.moves_to_warm),
    ("moves_within_lru", |class| class.counts.moves_within_lru),
    ("direct_reclaims", |class| class.counts.direct_reclaims),
];

/// Rows that `stats` does not have.
const ONLY_OF_CLASSES: [&str; 3] = ["evicted_nonzero", "evicted_time", "outofmemory"];

#[test]
fn counts_of_a_class_are_its_own_and_their_sums_those_of_the_server() {
    let (shared, mut client) = evicting();
    let (general, items) = (rows(&mut client, ""), rows(&mut client, "items"));
    let views = shared.cache.store.classes(shared.clock.now());
    let class = views.iter().position(|view| view.counts.evicted > 0).unwrap();
    let mut different = BTreeSet::new();
    for (name, count) in CLASS_COUNTS {
        different.insert(count(&views[class]));
        let own = format!("items:{class}:{name}={}", count(&views[class]));
        assert!(items.contains(&own), "{own}");
        let sum = views.iter().map(count).sum::<u64>();
        let of_server = if name == "evicted" { "evictions" } else { name };
        let shown = general.iter().find(|row| self::name(row) == of_server);
        let expected = (!ONLY_OF_CLASSES.contains(&name)).then(|| format!("{of_server}={sum}"));
        assert_eq!(shown, expected.as_ref());
    }
    assert!(different.len() > 8, "most counts can be told apart: {different:?}");
}

/// Rows that a command line adds, each behind another (`old+new`), removes (`-old`), and changes in `stats settings`.
const OPTIONS: [(&str, &str); 23] = [
    ("-o no_lru_crawler", "-lru_crawler_running -lru_crawler_starts lru_crawler=no"),
    (
        "-o no_lru_maintainer",
        "-lru_maintainer_juggles -evicted_active -moves_to_cold -moves_to_warm -moves_within_lru -direct_reclaims \
         -lru_bumps_dropped -items:1:number_hot -items:1:number_warm -items:1:number_cold -items:1:age_hot \
         -items:1:age_warm -items:1:evicted_active -items:1:moves_to_cold -items:1:moves_to_warm \
         -items:1:moves_within_lru -items:1:direct_reclaims -items:1:hits_to_hot -items:1:hits_to_warm \
         -items:1:hits_to_cold -items:1:hits_to_temp lru_maintainer_thread=no lru_segmented=no",
    ),
    (
        "-o no_slab_reassign",
        "-slab_reassign_rescues -slab_reassign_chunk_rescues -slab_reassign_inline_reclaim \
         -slab_reassign_busy_items -slab_reassign_busy_deletes -slab_reassign_busy_nomem \
         -slab_reassign_last_busy_status -slab_reassign_running -slabs_moved slab_reassign=no",
    ),
    (
        "-o no_modern",
        "-rejected_connections -slab_reassign_rescues -slab_reassign_chunk_rescues -slab_reassign_inline_reclaim \
         -slab_reassign_busy_items -slab_reassign_busy_deletes -slab_reassign_busy_nomem \
         -slab_reassign_last_busy_status -slab_reassign_running -slabs_moved -lru_crawler_running \
         -lru_crawler_starts -lru_maintainer_juggles -evicted_active -moves_to_cold -moves_to_warm \
         -moves_within_lru -direct_reclaims -lru_bumps_dropped -items:1:number_hot -items:1:number_warm \
         -items:1:number_cold -items:1:age_hot -items:1:age_warm -items:1:evicted_active -items:1:moves_to_cold \
         -items:1:moves_to_warm -items:1:moves_within_lru -items:1:direct_reclaims -items:1:hits_to_hot \
         -items:1:hits_to_warm -items:1:hits_to_cold -items:1:hits_to_temp maxconns_fast=no slab_reassign=no \
         slab_automove=0 slab_chunk_max=1048576 lru_crawler=no hash_algorithm=jenkins lru_maintainer_thread=no \
         lru_segmented=no",
    ),
    ("-o no_maxconns_fast", "-rejected_connections maxconns_fast=no"),
    (
        "-o maxconns_per_ip=3",
        "rejected_connections+rejected_connections_per_ip client_flags_size+maxconns_per_ip maxconns_per_ip=3",
    ),
    ("-o idle_timeout=60", "auth_errors+idle_kicks idle_timeout=60"),
    ("-o write_timeout=30", "auth_errors+write_timeouts client_flags_size+write_timeout write_timeout=30"),
    (
        "-o hotkeys,hotkeys_sample=7",
        "client_flags_size+hotkeys hotkeys+hotkeys_sample hotkeys_sample+hotkeys_window hotkeys=yes \
         hotkeys_sample=7 hotkeys_window=10",
    ),
    ("-o cluster_file=nodes", "client_flags_size+cluster_file cluster_file=nodes"),
    ("-o temporary_ttl=5", "items:1:number_cold+items:1:number_temp temp_lru=yes temporary_ttl=5"),
    ("-o track_sizes", "track_sizes=yes"),
    (
        "-M -C -F -X -W -A -D , -p 0 -U 5 -l 127.0.0.1,[::1] -b 5 -R 7 -v -I 2m -n 5 -f 1.5 -m 100 -c 50 -B ascii",
        "maxbytes=104857600 maxconns=50 tcpport=0 udpport=5 inter=127.0.0.1,[::1] verbosity=1 evictions=off \
         shutdown_command=yes growth_factor=1.50 chunk_size=5 stat_key_prefix=, detail_enabled=yes \
         reqs_per_event=7 cas_enabled=no tcp_backlog=5 binding_protocol=ascii item_size_max=2097152 \
         flush_enabled=no dump_enabled=no",
    ),
    (
        "-o hashpower=20,no_hashexpand,slab_automove=2,slab_automove_ratio=0.125 \
         -o slab_automove_window=30,slab_chunk_max=256,hash_algorithm=jenkins",
        "hashpower_init=20 slab_automove=2 slab_automove_ratio=0.12 slab_automove_window=30 slab_chunk_max=262144 \
         hash_algorithm=jenkins",
    ),
    (
        "-o hot_lru_pct=30,warm_lru_pct=31,hot_max_factor=0.3,warm_max_factor=3.5,tail_repair_time=11 \
         -o watcher_logbuf_size=100,worker_logbuf_size=90,read_buf_mem_limit=77 \
         -o lru_crawler_sleep=9,lru_crawler_tocrawl=8",
        "lru_crawler_sleep=9 lru_crawler_tocrawl=8 tail_repair_time=11 hot_lru_pct=30 warm_lru_pct=31 \
         hot_max_factor=0.30 warm_max_factor=3.50 watcher_logbuf_size=102400 worker_logbuf_size=92160 \
         read_buf_mem_limit=80740352",
    ),
    (
        "-Z -o ssl_chain_cert=DIR/cert,ssl_key=DIR/key",
        "log_watchers+ssl_handshake_errors ssl_handshake_errors+ssl_proto_errors \
         ssl_proto_errors+time_since_server_cert_refresh ssl_enabled=yes ssl_chain_cert=DIR/cert ssl_key=DIR/key",
    ),
    (
        "-Z -o ssl_chain_cert=DIR/cert,ssl_key=DIR/key,ssl_ca_cert=DIR/cert,ssl_verify_mode=2 \
         -o ssl_session_cache,ssl_wbuf_size=32,ssl_min_version=3",
        "log_watchers+ssl_new_sessions ssl_new_sessions+ssl_handshake_errors \
         ssl_handshake_errors+ssl_proto_errors ssl_proto_errors+time_since_server_cert_refresh ssl_enabled=yes \
         ssl_chain_cert=DIR/cert ssl_key=DIR/key ssl_verify_mode=3 ssl_ca_cert=DIR/cert ssl_wbuf_size=32768 \
         ssl_session_cache=yes ssl_min_version=tlsv1.3",
    ),
    (
        "-Y users -o auth_timeout=9",
        "auth_errors+auth_timeouts client_flags_size+auth_timeout binding_protocol=ascii auth_enabled_ascii=users \
         auth_timeout=9",
    ),
    ("-o classic_second", "client_flags_size+classic_second classic_second=yes"),
    ("-s sock -a 777", "domain_socket=sock umask=777"),
    ("-l *,unix:sock -o unix_group=0", "client_flags_size+unix_group inter=*,unix:sock unix_group=0"),
    ("-o latency=turn,slow_threshold=10000,large_threshold=524288", ""),
    (
        "-o latency=full,slow_threshold=0,large_threshold=off",
        "client_flags_size+latency latency+slow_threshold slow_threshold+large_threshold latency=full \
         slow_threshold=0 large_threshold=off",
    ),
];

/// Users `u`, password `p`, if the settings ask for users; certificates if they ask for TLS.
fn served(args: &str) -> Arc<Shared> {
    let settings = settings(&format!("-t 1 {args}"));
    let (auth, tls) = (settings.has_auth(), Tls::load(&settings).unwrap());
    let shared = Shared::new(settings, Clock::manual(support::UNIX), Box::new(|_| ())).unwrap();
    let users = || Credentials::parse(b"u:p", Format::Tokens, &Seed::from_bytes(&[1; 32])).unwrap();
    Arc::new(Shared { auth: auth.then(|| Auth::of(Some(users()), None).unwrap()), tls: tls.map(Arc::new), ..shared })
}

/// Writes a certificate and its key to `cert` and `key` in the directory.
fn write_certificate(dir: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(dir.join("key"), key.serialize_pem()).unwrap();
}

#[test]
fn options_add_and_remove_rows() {
    let dir = tempfile::TempDir::new().unwrap();
    write_certificate(dir.path());
    let place = dir.path().to_str().unwrap();
    let reports = |args: &str| {
        let mut client = Client::new(&served(args));
        client.ask(if args.starts_with("-Y") { b"set x 0 0 3\r\nu p\r\n" } else { b"mn\r\n" });
        client.ask(b"set a 0 0 1\r\nx\r\n");
        ["", "items", "slabs", "settings"].map(|report| rows(&mut client, report))
    };
    let usual = reports("");
    for (args, expected) in OPTIONS {
        let mut changes = Vec::new();
        for (old, new) in usual.iter().zip(reports(&args.replace("DIR", place))) {
            let has = |rows: &[String], row: &str| rows.iter().any(|other| name(other) == name(row));
            changes.extend(old.iter().filter(|row| !has(&new, row)).map(|row| format!("-{}", name(row))));
            for (at, row) in new.iter().enumerate().filter(|(_, row)| !has(old, row)) {
                changes.push(format!("{}+{}", name(&new[at - 1]), name(row)));
            }
            let (stay, stayed) = (new.iter().filter(|row| has(old, row)), old.iter().filter(|row| has(&new, row)));
            assert!(stay.map(|row| name(row)).eq(stayed.map(|row| name(row))), "{args}: the order stays");
            if has(&new, "maxbytes=") {
                changes.extend(new.into_iter().filter(|row| !old.contains(row)));
            }
        }
        assert_eq!(changes.join(" ").replace(place, "DIR"), expected, "{args}");
    }
}

#[test]
fn counters_of_tls_have_their_rows() {
    let dir = tempfile::TempDir::new().unwrap();
    write_certificate(dir.path());
    let place = dir.path().display();
    let shared = served(&format!("-Z -o ssl_chain_cert={place}/cert,ssl_key={place}/key,ssl_session_cache"));
    let counters = shared.tls.as_ref().unwrap().counters();
    counters.new_sessions.store(1, Relaxed);
    counters.handshake_errors.store(2, Relaxed);
    counters.proto_errors.store(3, Relaxed);
    let rows = rows(&mut Client::new(&shared), "").join(" ");
    let expected = "ssl_new_sessions=1 ssl_handshake_errors=2 ssl_proto_errors=3 time_since_server_cert_refresh=62";
    assert!(rows.contains(expected), "{rows}");
}

#[test]
fn connections_of_every_kind_are_listed() {
    let shared = shared("");
    let (v4, v6) = ("10.0.0.1:5000".parse().ok(), "[2001:db8::1]:5001".parse().ok());
    let (local4, local6) = ("127.0.0.1:11211".parse().ok(), "[::1]:11211".parse().ok());
    let mut conns = [
        ConnInfo::new(None, local4, ConnState::Listening, 62),
        ConnInfo::new(None, None, ConnState::Listening, 62),
        ConnInfo::new(None, local6, ConnState::Read, 62),
        ConnInfo::new(v4, local4, ConnState::Nread, 65),
        ConnInfo::new(v6, local6, ConnState::Read, 64),
        ConnInfo::new(None, None, ConnState::Mwrite, 63),
    ];
    conns[1].path = Some("some/path".into());
    conns[2].udp = true;
    conns[5].path = Some("some/path".into());
    for (fd, info) in conns.into_iter().enumerate() {
        // The asking client has descriptor 7.
        shared.conns.insert(3 + fd as i32, Arc::new(info));
    }
    shared.clock.advance(10);
    let expected = "\
        3:addr=tcp:127.0.0.1:11211 3:state=conn_listening 3:secs_since_last_cmd=10 \
        4:addr=unix:some/path 4:state=conn_listening 4:secs_since_last_cmd=10 \
        5:UDP=UDP 5:addr=udp6:[::1]:11211 5:state=conn_read 5:secs_since_last_cmd=10 \
        6:addr=tcp:10.0.0.1:5000 6:listen_addr=tcp:127.0.0.1:11211 6:state=conn_nread 6:secs_since_last_cmd=7 \
        7:addr=tcp6:[2001:db8::1]:5001 7:listen_addr=tcp6:[::1]:11211 7:state=conn_parse_cmd \
        7:secs_since_last_cmd=8 \
        8:addr=?:<AF 0> 8:listen_addr=unix:some/path 8:state=conn_mwrite 8:secs_since_last_cmd=9";
    assert_eq!(rows(&mut Client::new(&shared), "conns").join(" "), expected);
}

const COUNTERS: [Counter; 25] = [
    Counter::GetCmds,
    Counter::GetMisses,
    Counter::GetExpired,
    Counter::GetFlushed,
    Counter::TouchCmds,
    Counter::TouchMisses,
    Counter::FlushCmds,
    Counter::MetaCmds,
    Counter::DeleteMisses,
    Counter::IncrMisses,
    Counter::DecrMisses,
    Counter::CasMisses,
    Counter::StoreTooLarge,
    Counter::StoreNoMemory,
    Counter::AuthCmds,
    Counter::AuthErrors,
    Counter::AuthTimeouts,
    Counter::IdleKicks,
    Counter::WriteTimeouts,
    Counter::BytesRead,
    Counter::BytesWritten,
    Counter::ConnYields,
    Counter::ResponseOom,
    Counter::ReadBufOom,
    Counter::TotalItems,
];

const CLASS_COUNTERS: [ClassCounter; 11] = [
    ClassCounter::SetCmds,
    ClassCounter::DeleteHits,
    ClassCounter::IncrHits,
    ClassCounter::DecrHits,
    ClassCounter::CasHits,
    ClassCounter::CasBadval,
    ClassCounter::TouchHits,
    ClassCounter::HitsHot,
    ClassCounter::HitsWarm,
    ClassCounter::HitsCold,
    ClassCounter::HitsTemp,
];

/// Gives each counter a different value.
fn number(shared: &Shared) {
    let (worker, globals) = (&shared.stats.workers[0], &shared.stats.globals);
    for (n, counter) in COUNTERS.into_iter().enumerate() {
        worker.add(counter, 1000 + 10 * n as u64);
    }
    for (n, counter) in CLASS_COUNTERS.into_iter().enumerate() {
        for class in [1, 15] {
            (0..100 + 10 * n + usize::from(class)).for_each(|_| worker.add_class(class, counter));
        }
    }
    let gauges = [
        &globals.curr_conns,
        &globals.total_conns,
        &globals.rejected_conns,
        &globals.rejected_conns_per_ip,
        &globals.conn_structs,
        &globals.reserved_fds,
        &globals.listen_disabled_num,
        &globals.time_in_listen_disabled_us,
        &globals.malloc_fails,
        &globals.response_obj_count,
        &globals.response_obj_bytes,
        &globals.read_buf_count,
        &globals.read_buf_bytes,
        &globals.read_buf_bytes_free,
        &globals.log_worker_dropped,
        &globals.log_worker_written,
        &globals.log_watcher_skipped,
        &globals.log_watcher_sent,
        &globals.log_watchers,
        &globals.unexpected_napi_ids,
        &globals.round_robin_fallback,
    ];
    for (n, gauge) in gauges.into_iter().enumerate() {
        gauge.store(2000 + n as u64, Relaxed);
    }
}

/// Prints a metric as another format might: kind, name, labels, value.
fn plain(metric: &Metric<'_>) -> String {
    let labels: Vec<_> = metric.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    format!("{:?} {}{labels} {}", metric.kind, metric.name, metric.value)
}

/// Metrics of a report, read without a session.
fn metrics(collector: Collector<'_>, report: Report) -> Vec<String> {
    let mut all = Vec::new();
    collector.visit(report, &mut |metric| all.push(plain(metric)));
    all
}

#[test]
fn another_format_needs_no_session() {
    let shared = shared("-t 1");
    client(&shared);
    let collector = shared.collector();
    let has = |report, expected: &[&str]| {
        let all = metrics(collector, report);
        for metric in expected {
            assert!(all.iter().any(|other| other == metric), "{metric}: {all:?}");
        }
    };
    has(
        Report::General,
        &["Counter cmd_get 8", "Gauge curr_items 4", "Info version 1.6.45", "Info slab_reassign_last_busy_status none"],
    );
    has(Report::Items, &["Gauge number{class=\"1\"} 3", "Counter hits_to_hot{class=\"1\"} 5"]);
    has(Report::Slabs, &["Gauge chunk_size{class=\"15\"} 2320", "Gauge active_slabs 2"]);
    has(
        Report::Settings,
        &["Gauge lru_crawler yes", "Gauge growth_factor 1.25", "Gauge tcpport 11211", "Info inter NULL"],
    );
    has(Report::NoSizes, &["Info sizes_status disabled"]);

    let local = Some("127.0.0.1:11211".parse().unwrap());
    let (mut all, listener) = (Vec::new(), ConnInfo::new(None, local, ConnState::Listening, 62));
    connection(5, &listener, listener.state(), 65, &mut |metric| all.push(plain(metric)));
    let [state, seconds] = ["Info state{fd=\"5\"} conn_listening", "Gauge secs_since_last_cmd{fd=\"5\"} 3"];
    assert_eq!(all, ["Info addr{fd=\"5\"} tcp:127.0.0.1:11211", state, seconds]);
}

#[test]
fn each_metric_has_the_kind_of_its_value() {
    let (shared, _) = evicting();
    number(&shared);
    let collector = shared.collector();
    let counters = || {
        let mut all = BTreeMap::new();
        for report in [Report::General, Report::Items, Report::Slabs, Report::Settings] {
            collector.visit(report, &mut |metric| {
                let text = matches!(metric.value, MetricValue::Text(_));
                assert_eq!(metric.kind == MetricKind::Info, text, "{metric:?}");
                let key = (metric.name, metric.labels.iter().map(|(_, class)| class.to_string()).collect::<String>());
                assert!(all.insert((report as u8, key), (metric.kind, metric.value.to_string())).is_none());
            });
        }
        all
    };
    // `stats reset` sets to zero each counter and nothing else, but for these.
    let other = ["uptime", "rusage_user", "rusage_system", "thread_panics", "log_lines_dropped", "evicted_time"];
    let before = counters();
    shared.reset_stats();
    for (key, (kind, value)) in counters() {
        let (name, is_counter) = (key.1.0, kind == MetricKind::Counter);
        let expected = if is_counter { "0" } else { before[&key].1.as_str() };
        assert!(other.contains(&name) || value == expected, "{name}: {value}");
    }
}
