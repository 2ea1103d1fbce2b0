//! Servers with real sockets: the time for a login, the thread that checks, and what is left of logins that failed.

use crate::harness::{AUTH, Host, STEP, Scram, counts, hashed, plain, sasl, tokens};
use crate::packet::{err, req, res, rows};
use oxcached::stats::Counter;
use std::io::Read;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

const LOGIN: &str = "set k 0 0 7\r\nfoo bar\r\n";

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + crate::harness::DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::yield_now();
    }
}

fn timeouts(host: &Host) -> u64 {
    host.shared.stats.totals().get(Counter::AuthTimeouts)
}

#[test]
fn r4_2_who_has_not_logged_in_in_time_is_told_and_closed() {
    let host = Host::new("-o auth_timeout=5", tokens("foo:bar"));
    let (mut silent, mut half, mut wrong, mut good) = (host.client(), host.client(), host.client(), host.client());
    half.send("set k 0 0 7\r\nfoo");
    wrong.ask("set k 0 0 7\r\nfoo baz\r\n", "CLIENT_ERROR authentication failure\r\n");
    good.ask(LOGIN, "STORED\r\n");
    host.pass(3, &mut good, b"mn\r\n", b"MN\r\n");
    assert_eq!(timeouts(&host), 0);
    host.pass(10, &mut good, b"mn\r\n", b"MN\r\n");
    for client in [&mut silent, &mut half, &mut wrong] {
        client.expect("CLIENT_ERROR unauthenticated\r\n");
        client.expect_end();
    }
    good.ask("mn\r\n", "MN\r\n");
    assert_eq!(timeouts(&host), 3);
}

#[test]
fn r4_2_packets_are_answered_as_packets() {
    let host = Host::new("-o auth_timeout=5", sasl("foo:bar"));
    let (mut silent, mut midway, mut good) = (host.client(), host.client(), host.client());
    midway.ask(req(AUTH).key("PLAIN").bytes(), res(AUTH).status(0x21).bytes());
    good.ask(plain("foo", "bar").bytes(), res(AUTH).value("Authenticated").bytes());
    host.pass(10, &mut good, &req(0x0a).bytes(), &res(0x0a).bytes());
    for client in [&mut silent, &mut midway] {
        client.expect(err(AUTH, 0x20).opaque(0).bytes());
        client.expect_end();
    }
    good.ask(req(0x0a).bytes(), res(0x0a).bytes());
    assert_eq!(timeouts(&host), 2);
}

#[test]
fn r4_2_the_longest_time_is_not_cut_short() {
    let host = Host::new("-o auth_timeout=1000", tokens("foo:bar"));
    let (mut silent, mut good) = (host.client(), host.client());
    good.ask(LOGIN, "STORED\r\n");
    silent.ask("get foo\r\n", "CLIENT_ERROR unauthenticated\r\n");
    host.pass(990, &mut good, b"mn\r\n", b"MN\r\n");
    silent.ask("get foo\r\n", "CLIENT_ERROR unauthenticated\r\n");
    // A command does not restart the time.
    host.pass(20, &mut good, b"mn\r\n", b"MN\r\n");
    silent.expect("CLIENT_ERROR unauthenticated\r\n");
    silent.expect_end();
}

#[test]
fn r4_2_zero_means_for_ever() {
    let host = Host::new("-o auth_timeout=0", tokens("foo:bar"));
    let (mut client, mut good) = (host.client(), host.client());
    good.ask(LOGIN, "STORED\r\n");
    client.ask("get foo\r\n", "CLIENT_ERROR unauthenticated\r\n");
    host.pass(2000, &mut good, b"mn\r\n", b"MN\r\n");
    client.ask(LOGIN, "STORED\r\n");
    assert_eq!(timeouts(&host), 0);
}

#[test]
fn slow_checks_go_elsewhere_and_their_replies_stay_in_order() {
    let host = Host::new("", tokens(&hashed("foo", "bar")));
    let mut client = host.client();
    client.ask(
        format!("get a\r\nset k 0 0 7\r\nfoo baz\r\n{LOGIN}set a 0 0 1\r\n1\r\nget a\r\n"),
        "CLIENT_ERROR unauthenticated\r\nCLIENT_ERROR authentication failure\r\nSTORED\r\nSTORED\r\n\
         VALUE a 0 1\r\n1\r\nEND\r\n",
    );
    assert_eq!(counts(&host.shared), (2, 1));
}

#[test]
fn scram_over_a_socket() {
    let host = Host::new("", sasl(&format!("ann:plain\n{}", hashed("foo", "bar"))));
    for (user, password) in [("foo", "bar"), ("ann", "plain")] {
        let mut client = host.client();
        let scram = Scram::new(user, password);
        client.send(req(AUTH).key("SCRAM-SHA-256").value(scram.first()).bytes());
        let mut header = [0; 24];
        client.0.read_exact(&mut header).unwrap();
        let mut body = vec![0; usize::from(header[11])];
        client.0.read_exact(&mut body).unwrap();
        let first = rows(&[&header[..], &body].concat()).remove(0).1;
        let (last, signature) = scram.last(&first);
        let last = req(STEP).key("SCRAM-SHA-256").value(last);
        client.ask(last.bytes(), res(STEP).status(0x21).value(signature).bytes());
        client.ask(req(STEP).key("SCRAM-SHA-256").bytes(), res(STEP).value("Authenticated").bytes());
        client.ask(req(0x0a).bytes(), res(0x0a).bytes());
    }
}

/// Clients that leave while their password is being checked are not missed by anybody.
#[test]
fn thousands_of_logins_that_fail_leave_nothing_behind() {
    let host = Host::new("", tokens(&hashed("foo", "bar")));
    let open = || host.shared.stats.globals.curr_conns.load(Relaxed);
    let before = open();
    for round in 0..60 {
        let mut clients: Vec<_> = (0..20).map(|_| host.client()).collect();
        for client in &mut clients {
            client.send("set k 0 0 7\r\nfoo baz\r\nget a\r\n");
        }
        if round % 10 == 0 {
            for client in &mut clients {
                client.expect("CLIENT_ERROR authentication failure\r\nCLIENT_ERROR unauthenticated\r\n");
            }
        }
    }
    let mut last = host.client();
    for _ in 0..1000 {
        last.ask("set k 0 0 7\r\nfoobarx\r\n", "CLIENT_ERROR bad authentication token format\r\n");
    }
    last.ask(LOGIN, "STORED\r\n");
    until("all are gone", || open() == before + 1);
    assert_eq!(host.shared.conns.list().len() as u64, open());
    assert_eq!(host.shared.cache.store.items(), 0);
}
