//! Accepted client certificates, and new server certificates at run time.

use super::harness::{Authority, Host, Pair, until};
use rustls::version::{TLS12, TLS13};
use std::io::{Read, Write};

/// Whether clients without a certificate, with a valid one, and with one of another authority get in.
fn admitted(host: &Host, listener: usize) -> [bool; 3] {
    let good = host.files.authority.sign("client");
    let strange = Authority::new("stranger").sign("client");
    let tries = |pair: Option<&Pair>| {
        let results = [&TLS12, &TLS13]
            .map(|version| host.client_with(listener, host.files.client_config(&[version], pair)).is_ok());
        assert_eq!(results[0], results[1], "both versions judge alike");
        results[0]
    };
    [tries(None), tries(Some(&good)), tries(Some(&strange))]
}

#[test]
fn verify_modes() {
    for (options, expected) in [
        ("ssl_ca_cert=DIR/ca.pem", [true, true, true]),
        ("ssl_verify_mode=0,ssl_ca_cert=DIR/ca.pem", [true, true, true]),
        ("ssl_verify_mode=1,ssl_ca_cert=DIR/ca.pem", [true, true, false]),
        ("ssl_verify_mode=2,ssl_ca_cert=DIR/ca.pem", [false, true, false]),
        ("ssl_verify_mode=3,ssl_ca_cert=DIR/ca.pem", [false, true, false]),
        ("ssl_verify_mode=1", [true, false, false]),
        ("ssl_verify_mode=2", [false, false, false]),
    ] {
        let host = Host::new(options);
        assert_eq!(admitted(&host, 0), expected, "{options}");
        let refused = expected.iter().filter(|admitted| !**admitted).count() as u64;
        until("refusals are counted", || host.counts() == (refused * 2, 0, 0));
    }
}

#[test]
fn listeners_have_their_own_rules() {
    let list = "-l notls:127.0.0.1,127.0.0.1,btls:127.0.0.1,mtls:127.0.0.1";
    let host = Host::with(&format!("-p -1 -t 2 {list}"), "ssl_verify_mode=1,ssl_ca_cert=DIR/ca.pem");
    assert_eq!(admitted(&host, 1), [true, true, false]);
    assert_eq!(admitted(&host, 2), [true, true, true]);
    assert_eq!(admitted(&host, 3), [false, true, false]);
    let mut plain = host.tcp(0);
    plain.write_all(b"version\r\nquit\r\n").unwrap();
    let mut reply = String::new();
    plain.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "VERSION 1.6.45\r\n");
}

#[test]
fn a_refresh_applies_to_new_connections() {
    let host = Host::new("ssl_ca_cert=DIR/ca.pem");
    let mut old = host.client();
    let first = old.server_certificate();
    let renewed = host.files.authority.sign("renewed");
    host.files.write("chain.pem", &renewed.cert);
    host.files.write("key.pem", &renewed.key);
    assert_eq!(host.client().server_certificate(), first, "files alone change nothing");
    host.shared.clock.advance(100);
    assert_eq!(age(&mut old), 162);
    assert_eq!(old.ask("refresh_certs"), "OK");
    assert!(age(&mut old) < 62);
    assert_eq!(old.ask("version"), "VERSION 1.6.45");
    assert_ne!(host.client().server_certificate(), first);
}

fn age(client: &mut super::harness::Client) -> u32 {
    let rows = client.stats("");
    rows.iter().find(|(row, _)| row == "time_since_server_cert_refresh").unwrap().1.parse().unwrap()
}

#[test]
fn a_failed_refresh_names_the_reason_and_changes_nothing() {
    let host = Host::new("ssl_ca_cert=DIR/ca.pem");
    let mut client = host.client();
    let (first, age_before) = (client.server_certificate(), age(&mut client));
    let file = |name: &str| host.files.path(name).display().to_string();
    let (chain, key, ca) = (file("chain.pem"), file("key.pem"), file("ca.pem"));
    let stranger = Authority::new("stranger").sign("stranger").key;
    for (name, text, complaint) in [
        ("chain.pem", None, format!("Error loading the certificate chain: {chain} : No such file or directory")),
        ("chain.pem", Some("rubbish"), format!("Error loading the certificate chain: {chain} : no such section")),
        ("key.pem", None, format!("Error loading the key: {key} : No such file or directory")),
        ("key.pem", Some(host.files.server.cert.as_str()), format!("Error loading the key: {key} : no such section")),
        ("key.pem", Some(stranger.as_str()), format!("Error loading the key: {key} : key values mismatch")),
        ("ca.pem", None, format!("Error loading the CA certificate: {ca} : No such file or directory")),
        ("ca.pem", Some(""), format!("Error loading the CA certificate: {ca} : no such section")),
    ] {
        let before = std::fs::read_to_string(file(name)).unwrap();
        match text {
            Some(text) => host.files.write(name, text),
            None => std::fs::remove_file(file(name)).unwrap(),
        }
        let reply = client.ask("refresh_certs");
        assert!(reply.starts_with(&complaint), "{reply}");
        host.files.write(name, &before);
    }
    assert_eq!(host.client().server_certificate(), first);
    assert!(age(&mut client) >= age_before);
    assert_eq!(client.ask("refresh_certs"), "OK");
}
