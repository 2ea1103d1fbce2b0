//! ping, stats, the special reports, watch, logins, TLS, unix sockets, and the command line.

use crate::harness::{Ending, Run, Server, answering, ctl, until};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use tempfile::TempDir;

#[test]
fn ping_tells_whether_a_server_answers() {
    for server in Server::each(&[]) {
        assert!(server.ctl("ping").text().contains("answers in"));
        let found = Run::of(ctl(&format!("--json ping {}", server.address())).output().unwrap()).json();
        assert_eq!(found["server"], server.address());
        assert!(found["version"].as_str().unwrap().contains("1.6.") && found["seconds"].is_f64());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The kernel accepts, and no reply comes.
    Run::of(ctl(&format!("--timeout 0.05 ping {address}")).output().unwrap()).fails(1, "no answer");
    drop(listener);
    Run::of(ctl(&format!("ping {address}")).output().unwrap()).fails(1, "cannot connect");
    Run::of(ctl("ping /nonexistent/socket").output().unwrap()).fails(1, "cannot connect");
    Run::of(ctl(&format!("ping {}", answering("HTTP/1.1 400 Bad Request\r\n"))).output().unwrap())
        .fails(1, "does not answer as memcached: HTTP/1.1 400 Bad Request");
}

#[test]
fn statistics_are_a_table_or_an_object() {
    for server in Server::each(&[]) {
        server.client().set("a", 0, 0, b"12345");
        let table = server.ctl("stats").text();
        let row = |name: &str| table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        assert_eq!(row("curr_items").trim(), "1");
        let found = server.ctl("stats --json").json();
        assert_eq!((&found["curr_items"], &found["cmd_set"]), (&1.into(), &1.into()));
        assert!(found["rusage_user"].is_f64() && found["version"].is_string());
        let items = server.ctl("stats items --json").json();
        assert!(items.as_object().unwrap().iter().any(|(name, value)| name.ends_with(":number") && *value == 1));
        assert_eq!(server.ctl("stats detail on").text(), "OK\n");
        server.client().set("pre:a", 0, 0, b"1");
        assert_eq!(server.ctl("stats detail dump").text(), "PREFIX pre get 0 hit 0 set 1 del 0\n");
        assert!(server.ctl("stats detail dump --json").json()[0].as_str().unwrap().starts_with("PREFIX pre "));
        assert_eq!(server.ctl("stats reset").text(), "RESET\n");
        assert_eq!(server.ctl("stats sizes").text(), "sizes_status  disabled\n");
        server.ctl("stats nonsense").fails(2, "refuses 'stats nonsense'");
    }
}

#[test]
fn reports_that_memcached_lacks_are_refused_in_words() {
    let lines = ["hotkeys", "hotkeys reads 5", "latency", "latency get", "slow", "large"];
    if let Some(server) = Server::memcached(&[]) {
        lines.iter().for_each(|line| server.ctl(line).fails(2, "memcached has no such report"));
        server.ctl("watch slow").fails(2, "refuses 'watch slow'");
    }
    for reply in ["ERROR\r\n", "RESET\r\n"] {
        let address = answering(reply);
        Run::of(ctl(&format!("-s {address} hotkeys")).output().unwrap()).fails(2, "memcached has no such report");
    }
}

#[test]
fn latencies_slow_turns_and_large_values_of_oxcached_are_shown() {
    let server = Server::oxcached(&["-o", "slow_threshold=0"]);
    server.client().set("big", 0, 0, &[b'v'; 600_000]);
    let found = server.ctl("latency --json").json();
    assert_eq!(found["mode"], "turn");
    assert!(found["all"]["count"].as_u64().unwrap() > 0 && found["all"]["p99_us"].as_f64().unwrap() > 0.0, "{found}");
    assert!(server.ctl("latency").text().contains("p99_us"));
    // A turn of the first run has been counted by now.
    let bounds = server.ctl("latency admin --json").json()["admin"]["below_us"].clone();
    assert!(bounds.as_array().unwrap().iter().all(|bound| bound[0].is_number() && bound[1].is_number()), "{bounds}");
    assert!(server.ctl("slow --json").json()["rows"][0]["us"].is_u64());
    let large = server.ctl("large --json").json();
    assert_eq!((&large["rows"][0]["key"], &large["rows"][0]["size"]), (&"big".into(), &600_000.into()));
    assert_eq!(server.ctl("large reset").text(), "RESET\n");
    assert_eq!(server.ctl("large").text(), "none\n");
    server.ctl("latency nonsense").fails(2, "stats latency nonsense");
}

#[test]
fn hot_keys_largest_items_and_prefixes_of_oxcached_are_shown() {
    let server = Server::oxcached(&["-o", "hotkeys,hotkeys_sample=1,hotkeys_window=1"]);
    let mut client = server.client();
    client.set("page:home", 0, 0, &[b'v'; 5000]);
    client.set("user:1", 0, 0, b"1");
    client.set("user:2", 0, 0, b"2");
    until("a window with a hot key", || {
        for _ in 0..5 {
            client.ask("mg page:home\r\n", "HD");
        }
        client.ask("mg user:1\r\n", "HD");
        let found = server.ctl("hotkeys reads 1 --json").json();
        assert_eq!(found["hotkeys"], "on");
        found["rows"].as_array().is_some_and(|rows| rows.len() == 1 && rows[0]["key"] == "page%3Ahome")
    });
    assert!(server.ctl("hotkeys").text().contains("page%3Ahome"));

    let largest = server.ctl("largest 2 --json").json();
    assert_eq!(largest["rows"].as_array().unwrap().len(), 2);
    assert_eq!((&largest["rows"][0]["key"], &largest["rows"][0]["value"]), (&"page%3Ahome".into(), &5000.into()));
    assert!(server.ctl("largest").text().lines().nth(1).unwrap().contains("page%3Ahome"));

    let prefixes = server.ctl("prefixes : --json").json();
    let rows = prefixes["rows"].as_array().unwrap();
    let found: Vec<_> = rows.iter().map(|row| (row["prefix"].as_str().unwrap(), row["items"].as_u64())).collect();
    assert_eq!(found, [("page", Some(1)), ("user", Some(2))]);
    assert_eq!(prefixes["total"]["items"], 3);
    server.ctl("prefixes nonsense").fails(2, "refuses 'stats prefixes nonsense'");
}

#[test]
fn reports_have_tables_by_the_form_of_their_rows() {
    let run =
        |reply: &'static str, line: &str| Run::of(ctl(&format!("-s {} {line}", answering(reply))).output().unwrap());
    let latency = "STAT mode turn\r\nSTAT get:count 10\r\nSTAT get:p99_us 14.847\r\nEND\r\n";
    assert_eq!(run(latency, "latency").text(), "mode  turn\nclass  count  p99_us\nget       10  14.847\n");
    let expected = serde_json::json!({ "mode": "turn", "get": { "count": 10, "p99_us": 14.847 } });
    assert_eq!(run(latency, "latency --json").json(), expected);
    let slow = "STAT 7 ts=1 us=12034 cmd=get key=12\r\nEND\r\n";
    assert_eq!(run(slow, "slow 1").text(), "#  ts     us  cmd  key\n7   1  12034  get  12\n");
    assert_eq!(run(slow, "slow --json").json()["rows"][0]["key"], "12");
    assert_eq!(run("END\r\n", "large").text(), "none\n");
    assert_eq!(run("RESET\r\n", "large reset").text(), "RESET\n");
    run("CLIENT_ERROR stats slow not allowed\r\n", "slow").fails(2, "refuses 'stats slow': CLIENT_ERROR");
    run("STAT 1 key=\x1b[2J\r\n", "hotkeys").fails(1, "closed the connection");
}

#[test]
fn watch_shows_events_as_they_come() {
    for server in Server::each(&[]) {
        for as_json in [false, true] {
            let line =
                format!("-s {} watch fetchers mutations {}", server.address(), if as_json { "--json" } else { "" });
            let mut child = Ending(ctl(&line).spawn().unwrap());
            let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
            // The watch begins some time after the start.
            let mut client = server.client();
            let watchers = || server.ctl("stats --json").json()["log_watchers"].as_u64().unwrap();
            until("a watcher", || watchers() == 1);
            client.ask("mg 12\r\n", "EN");
            let line = lines.next().unwrap().unwrap();
            if as_json {
                let event: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!((&event["type"], &event["key"]), (&"item_get".into(), &"12".into()));
            } else {
                assert!(line.contains("type=item_get key=12 status=not_found"), "{line}");
            }
            drop(child);
            // A watcher that sends no more may still read: the next lines show that this one does not.
            until("no watcher", || {
                client.ask("mg 12\r\n", "EN");
                watchers() == 0
            });
        }
        server.ctl("watch nonsense").fails(2, "refuses");
    }
}

#[test]
fn a_login_opens_servers_with_users() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("users"), "ann:se cret\n").unwrap();
    std::fs::write(path("word"), "se cret\n").unwrap();
    std::fs::write(path("wrong"), "guess\n").unwrap();
    for server in Server::each(&["-Y", &path("users")]) {
        let login = format!("--user ann --password-file {}", path("word"));
        assert!(server.ctl(&format!("{login} stats")).text().contains("curr_items"));
        assert!(server.ctl(&format!("{login} ping")).text().contains("version"));
        // Alive, for a health check without a password.
        assert!(server.ctl("ping").text().contains("wants a login"));
        server.ctl("stats").fails(2, "unauthenticated");
        let wrong = format!("--user ann --password-file {}", path("wrong"));
        server.ctl(&format!("{wrong} stats")).fails(2, "refuses the login of ann");
        server.ctl(&format!("{wrong} ping")).fails(1, "refuses the login of ann");
    }
}

#[test]
fn unix_sockets_are_named_by_their_path() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("socket");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_oxcached"));
    let _server = Ending(command.args(["-u", "root", "-t", "1", "-s"]).arg(&path).spawn().unwrap());
    until("the socket", || path.exists());
    let run = Run::of(ctl(&format!("ping {}", path.display())).output().unwrap());
    let stats = Run::of(ctl(&format!("{} stats", path.display())).output().unwrap());
    assert!(run.text().starts_with(&path.display().to_string()));
    assert!(stats.text().starts_with(&format!("#{}", path.display())));
}

/// A certificate for `localhost` signed by an authority of its own, in the files ca.pem, cert.pem and key.pem.
fn certificates(dir: &TempDir) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let (key, params) = (KeyPair::generate().unwrap(), CertificateParams::new(vec!["localhost".to_owned()]).unwrap());
    std::fs::write(dir.path().join("cert.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn tls_checks_the_server_and_shows_the_client() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    certificates(&dir);
    certificates(&other);
    let path = |name: &str| dir.path().join(name).display().to_string();
    let options = format!(
        "ssl_chain_cert={},ssl_key={},ssl_ca_cert={},ssl_verify_mode=2",
        path("cert.pem"),
        path("key.pem"),
        path("ca.pem")
    );
    let server = Server::oxcached(&["-Z", "-o", &options]);
    let run = |line: String| Run::of(ctl(&line).output().unwrap());
    let pair = format!("--cert {} --key {}", path("cert.pem"), path("key.pem"));
    let (port, ca) = (server.port, path("ca.pem"));
    let found = run(format!("--tls --ca {ca} {pair} -s localhost:{port} stats --json")).json();
    assert_eq!(found["ssl_handshake_errors"], 0);
    // Another authority, another name, no certificate, no TLS.
    let foreign = other.path().join("ca.pem").display().to_string();
    run(format!("--tls --ca {foreign} {pair} -s localhost:{port} ping")).fails(1, "lost the connection");
    run(format!("--tls --ca {ca} {pair} -s 127.0.0.1:{port} ping")).fails(1, "lost the connection");
    run(format!("--tls --ca {ca} -s localhost:{port} ping")).fails(1, "");
    run(format!("--timeout 0.5 -s localhost:{port} ping")).fails(1, "");
    run(format!("--tls --ca {} ping", path("key.pem"))).fails(1, "cannot use");
}

#[test]
fn wrong_command_lines_have_an_exit_code_of_their_own() {
    for line in ["", "nonsense", "ping --nonsense", "watch", "dump", "--json dump -"] {
        Run::of(ctl(line).output().unwrap()).fails(64, "oxctl --help");
    }
    let help = Run::of(ctl("--help").output().unwrap()).text();
    assert!(help.starts_with("Usage: oxctl") && help.lines().all(|line| line.chars().count() <= 90));
    assert!(Run::of(ctl("-V").output().unwrap()).text().starts_with("oxctl 0."));
}
