//! Handshakes: failed, slow and resumed ones.

use super::harness::{Client, Host, until};
use oxcached::limits::TLS_HANDSHAKE_SECONDS;
use rustls::HandshakeKind::{Full, Resumed};
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// All bytes up to the end of the stream, however it ends.
fn rest(mut socket: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    rest
}

#[test]
fn plain_text_is_closed_and_counted() {
    let host = Host::new("");
    for (number, text) in [&b"version\r\n"[..], b"GET / HTTP/1.1\r\n\r\n", &[0x80; 64]].into_iter().enumerate() {
        let mut socket = host.tcp(0);
        socket.write_all(text).unwrap();
        assert_eq!(rest(socket), b"");
        until("it is counted", || host.counts() == (0, number as u64 + 1, 0));
    }
    assert_eq!(host.client().ask("version"), "VERSION 1.6.45");
}

#[test]
fn rubbish_after_the_handshake_is_closed_and_counted() {
    let host = Host::new("");
    let mut client = host.client();
    client.stream.get_mut().sock.write_all(&[0x17, 3, 3, 0, 32, 1, 2, 3]).unwrap();
    client.stream.get_mut().sock.write_all(&[7; 29]).unwrap();
    let mut bytes = Vec::new();
    assert!(client.stream.read_to_end(&mut bytes).is_err() && bytes.is_empty());
    until("it is counted", || host.counts() == (0, 1, 0));
}

#[test]
fn watchers_see_failed_handshakes() {
    let host = Host::new("");
    let mut watcher = host.client();
    assert_eq!(watcher.ask("watch connevents"), "OK");
    let mut socket = host.tcp(0);
    socket.write_all(b"version\r\n").unwrap();
    let line = loop {
        let line = watcher.line();
        if line.contains("type=conntlserr") {
            break line;
        }
    };
    assert!(line.contains(" fd=") && line.contains(" msg=received corrupt message"), "{line}");
}

#[test]
fn versions_below_the_minimum_are_refused() {
    let host = Host::new("ssl_min_version=3");
    let old = host.files.client_config(&[&TLS12], None);
    assert!(host.client_with(0, old).is_err());
    until("it is counted", || host.counts() == (1, 0, 0));
    assert_eq!(host.client().tls().protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));

    let host = Host::new("");
    for version in [&TLS12, &TLS13] {
        assert!(host.client_with(0, host.files.client_config(&[version], None)).is_ok());
    }
}

#[test]
fn ciphers_are_those_of_the_list() {
    let host = Host::new("ssl_ciphers=ECDHE-ECDSA-CHACHA20-POLY1305");
    let client = host.client_with(0, host.files.client_config(&[&TLS12], None)).unwrap();
    let suite = client.tls().negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    assert!(host.client_with(0, host.files.client_config(&[&TLS13], None)).is_ok(), "TLS 1.3 has its own suites");
}

#[test]
fn sessions_are_resumed_only_if_enabled() {
    for (options, wanted) in [("", false), ("ssl_session_cache", true)] {
        let host = Host::new(options);
        for version in [&TLS12, &TLS13] {
            let mut config = host.files.client_config(&[version], None);
            config.resumption = Resumption::in_memory_sessions(8);
            let config = Arc::new(config);
            let before = host.counts().2;
            let first = host.client_with(0, Arc::clone(&config)).unwrap();
            assert_eq!(first.tls().handshake_kind(), Some(Full));
            assert_eq!(host.counts().2 > before, wanted);
            let between = host.counts().2;
            let mut again = host.client_with(0, config).unwrap();
            assert_eq!(again.tls().handshake_kind(), Some(if wanted { Resumed } else { Full }));
            if version.version == rustls::ProtocolVersion::TLSv1_2 {
                assert_eq!(host.counts().2, between);
            }
            let rows = again.stats("");
            assert_eq!(rows.iter().any(|(row, _)| row == "ssl_new_sessions"), wanted);
        }
    }
}

#[test]
fn a_session_is_not_resumed_if_a_certificate_is_required() {
    let host = Host::with("-p -1 -t 1 -l btls:127.0.0.1,mtls:127.0.0.1", "ssl_session_cache,ssl_ca_cert=DIR/ca.pem");
    for version in [&TLS12, &TLS13] {
        let mut config = host.files.client_config(&[version], None);
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        assert!(host.client_with(0, Arc::clone(&config)).is_ok());
        assert!(host.client_with(1, config).is_err());
    }
}

/// Advances the clock second by second; the only worker sees each second.
#[track_caller]
fn pass(host: &Host, seconds: u32, client: &mut Client) {
    for _ in 0..seconds {
        host.shared.clock.advance(1);
        assert_eq!(client.ask("version"), "VERSION 1.6.45");
    }
}

/// The server sees a stop of the process, or of the machine, as a leap of the clock.
#[test]
fn handshakes_survive_a_stop_of_the_process() {
    let host = Host::new("");
    let mut other = host.client();
    let open = || host.shared.stats.globals.curr_conns.load(std::sync::atomic::Ordering::Relaxed);
    let sockets: Vec<TcpStream> = (0..20).map(|_| host.tcp(0)).collect();
    until("their arrival", || open() == 22);
    host.shared.clock.advance(i64::from(TLS_HANDSHAKE_SECONDS) + 2);
    (0..4).for_each(|_| assert_eq!(other.ask("version"), "VERSION 1.6.45"));
    for socket in sockets {
        let config = host.files.client_config(rustls::ALL_VERSIONS, None);
        assert_eq!(Client::over(socket, config).unwrap().ask("version"), "VERSION 1.6.45");
    }
    assert_eq!(host.counts(), (0, 0, 0));
}

#[test]
fn slow_handshakes_are_cut_off_and_delay_no_client() {
    let host = Host::new("");
    let mut slow: Vec<TcpStream> = (0..100).map(|_| host.tcp(0)).collect();
    // The head of a record that never becomes complete.
    for byte in [0x16, 3, 1, 1, 0, 1] {
        for socket in &mut slow {
            socket.write_all(&[byte]).unwrap();
        }
    }
    let mut other = host.client();
    let before = host.shared.stats.globals.curr_conns.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(before, 102, "the listener, the slow ones, the other one");
    pass(&host, TLS_HANDSHAKE_SECONDS - 3, &mut other);
    assert_eq!(host.counts(), (0, 0, 0));
    pass(&host, 5, &mut other);
    until("they are cut off", || host.counts() == (100, 0, 0));
    for socket in slow {
        assert_eq!(rest(socket), b"");
    }
    assert_eq!(other.ask("version"), "VERSION 1.6.45", "a client is not limited after its handshake");
}

#[test]
fn a_client_that_disconnects_in_mid_handshake_leaves_nothing() {
    let host = Host::new("");
    for cut in [0, 1, 5, 6, 40] {
        let mut socket = host.tcp(0);
        socket.write_all(&[&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[9; 40]].concat()[..cut]).unwrap();
    }
    let open = || host.shared.stats.globals.curr_conns.load(std::sync::atomic::Ordering::Relaxed);
    until("only the listener is left", || open() == 1);
    assert_eq!(host.counts(), (0, 0, 0));
}

#[test]
fn a_client_above_the_limit_reads_plain_text() {
    let host = Host::with("-p -1 -t 1 -c 200 -l 127.0.0.1", "");
    // The limit is on descriptor numbers: this process has more than the server alone would.
    let mut held = Vec::new();
    until("a client is refused", || {
        let mut socket = host.tcp(0);
        socket.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
        let mut line = [0; 33];
        let turned_away = socket.read_exact(&mut line).is_ok() && &line == b"ERROR Too many open connections\r\n";
        held.push(socket);
        turned_away
    });
}
