//! Servers with real sockets: the login timeout, the password-checking thread, and resources left by failed logins.

use super::harness::{AUTH, Client, Host, STEP, Scram, counts, hashed, plain, sasl, tokens};
use crate::binary::packet::{err, req, res, rows};
use crate::support::until;
use oxcached::limits::{LOGIN_FAILURES_MAX, LOGINS_WAITING};
use oxcached::stats::Counter;
use std::io::Read;
use std::net::Shutdown;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::channel;

const LOGIN: &str = "set k 0 0 7\r\nfoo bar\r\n";

fn timeouts(host: &Host) -> u64 {
    host.shared.stats.totals().get(Counter::AuthTimeouts)
}

#[test]
fn r4_2_a_client_without_login_gets_an_error_and_is_closed_on_timeout() {
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
fn r4_2_the_longest_timeout_is_exact() {
    let host = Host::new("-o auth_timeout=1000", tokens("foo:bar"));
    let (mut silent, mut good) = (host.client(), host.client());
    good.ask(LOGIN, "STORED\r\n");
    silent.ask("get foo\r\n", "CLIENT_ERROR unauthenticated\r\n");
    host.pass(990, &mut good, b"mn\r\n", b"MN\r\n");
    silent.ask("get foo\r\n", "CLIENT_ERROR unauthenticated\r\n");
    // A command does not restart the timeout.
    host.pass(20, &mut good, b"mn\r\n", b"MN\r\n");
    silent.expect("CLIENT_ERROR unauthenticated\r\n");
    silent.expect_end();
}

#[test]
fn r4_2_zero_means_no_timeout() {
    let host = Host::new("-o auth_timeout=0", tokens("foo:bar"));
    let (mut client, mut good) = (host.client(), host.client());
    good.ask(LOGIN, "STORED\r\n");
    client.ask("get foo\r\n", "CLIENT_ERROR unauthenticated\r\n");
    host.pass(2000, &mut good, b"mn\r\n", b"MN\r\n");
    client.ask(LOGIN, "STORED\r\n");
    assert_eq!(timeouts(&host), 0);
}

#[test]
fn slow_checks_run_on_another_thread_with_replies_in_order() {
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

const WRONG: &str = "set k 0 0 7\r\nfoo baz\r\n";
const FAILED: &str = "CLIENT_ERROR authentication failure\r\n";
const BUSY: &str = "SERVER_ERROR too many logins\r\n";
const MN: (&[u8], &[u8]) = (b"mn\r\n", b"MN\r\n");

#[test]
fn the_last_attempt_of_a_connection_is_answered_and_ends_it() {
    let most = usize::from(LOGIN_FAILURES_MAX);
    for users in ["foo:bar".to_owned(), hashed("foo", "bar")] {
        let host = Host::new("", tokens(&users));
        let mut client = host.client();
        client.ask(WRONG.repeat(most + 5), FAILED.repeat(most));
        client.expect_end();
        let mut client = host.client();
        // Lines that are not logins do not count as attempts.
        client.ask("get a\r\n".repeat(50), "CLIENT_ERROR unauthenticated\r\n".repeat(50));
        client.ask(WRONG.repeat(most - 1) + LOGIN, FAILED.repeat(most - 1) + "STORED\r\n");
        assert_eq!(counts(&host.shared), (2 * most as u64, 2 * most as u64 - 1));

        let host = Host::new("", sasl(&users));
        let (wrong, right) = (plain("foo", "baz").bytes(), plain("foo", "bar").bytes());
        let (refused, granted) = (err(AUTH, 0x20).bytes(), res(AUTH).value("Authenticated").bytes());
        let mut client = host.client();
        client.ask(wrong.repeat(most + 5), refused.repeat(most));
        client.expect_end();
        let mut client = host.client();
        // A successful login resets the count of failures.
        for _ in 0..2 {
            client.ask(
                [wrong.repeat(most - 1), right.clone()].concat(),
                [refused.repeat(most - 1), granted.clone()].concat(),
            );
        }
        client.ask(req(0x0a).bytes(), res(0x0a).bytes());
    }
}

#[test]
fn r4_2_a_check_in_progress_at_the_deadline_is_the_last() {
    let host = Host::new("-o auth_timeout=5", tokens(&hashed("foo", "bar")));
    let (mut good, mut guesser, mut late) = (host.client(), host.client(), host.client());
    good.ask(LOGIN, "STORED\r\n");
    let held = host.hold_checks();
    guesser.send(WRONG.repeat(3) + LOGIN);
    late.send(format!("{LOGIN}mn\r\n"));
    host.pass(10, &mut good, MN.0, MN.1);
    assert_eq!(timeouts(&host), 0);
    drop(held);
    late.expect("STORED\r\nMN\r\n");
    guesser.expect(format!("{FAILED}CLIENT_ERROR unauthenticated\r\n"));
    guesser.expect_end();
    assert_eq!((timeouts(&host), counts(&host.shared)), (1, (3, 1)));
    // The login timeout has no effect after the login.
    late.ask(MN.0, MN.1);
}

#[test]
fn r4_2_packets_of_a_login_in_progress_at_the_deadline() {
    let host = Host::new("-o auth_timeout=5", sasl(&hashed("foo", "bar")));
    let (mut good, mut guesser, mut late) = (host.client(), host.client(), host.client());
    let noop = (req(0x0a).bytes(), res(0x0a).bytes());
    good.ask(plain("foo", "bar").bytes(), res(AUTH).value("Authenticated").bytes());
    let held = host.hold_checks();
    guesser.send(plain("foo", "baz").bytes().repeat(3));
    late.send([plain("foo", "bar").bytes(), noop.0.clone()].concat());
    host.pass(10, &mut good, &noop.0, &noop.1);
    drop(held);
    late.expect([res(AUTH).value("Authenticated").bytes(), noop.1].concat());
    guesser.expect([err(AUTH, 0x20).bytes(), err(AUTH, 0x20).opaque(0).bytes()].concat());
    guesser.expect_end();
    assert_eq!((timeouts(&host), counts(&host.shared)), (1, (3, 1)));
}

#[test]
fn r4_2_a_pending_check_does_not_extend_the_timeout_of_a_half_closed_client() {
    let host = Host::new("-o auth_timeout=5", tokens(&hashed("foo", "bar")));
    let (mut good, mut quiet, mut late) = (host.client(), host.client(), host.client());
    good.ask(LOGIN, "STORED\r\n");
    let held = host.hold_checks();
    for client in [&mut quiet, &mut late] {
        client.send(LOGIN);
    }
    quiet.0.shutdown(Shutdown::Write).unwrap();
    host.pass(10, &mut good, MN.0, MN.1);
    quiet.expect("CLIENT_ERROR unauthenticated\r\n");
    quiet.expect_end();
    assert_eq!((timeouts(&host), counts(&host.shared)), (1, (1, 0)));
    drop(held);
    late.expect("STORED\r\n");
}

#[test]
fn an_address_that_fills_the_queue_excludes_no_other_address() {
    let host = Host::new("", tokens(&hashed("foo", "bar")));
    let held = host.hold_checks();
    let (tell, told) = channel();
    let submit = |number| {
        let tell = tell.clone();
        host.submit(Some("127.0.0.1"), move || tell.send(number).unwrap())
    };
    let crowd: Vec<_> = (0..LOGINS_WAITING).map(submit).collect();
    let mut too_many = host.client();
    too_many.ask(LOGIN, BUSY);
    let mut others = ["127.0.0.2", "127.0.0.2", "127.0.0.3"].map(|address| host.client_from(address));
    for (other, number) in others.iter_mut().zip(1..) {
        other.send(LOGIN);
        assert_eq!(told.recv(), Ok(LOGINS_WAITING - number), "the last of the crowd loses its place");
    }
    drop(held);
    others.iter_mut().for_each(|other| other.expect("STORED\r\n"));
    for number in 0..LOGINS_WAITING - 3 {
        assert_eq!(told.recv(), Ok(number));
    }
    too_many.ask(LOGIN, "STORED\r\n");
    drop(crowd);
}

#[test]
fn a_disconnected_client_keeps_neither_place_nor_descriptor() {
    let host = Host::new("", tokens(&hashed("foo", "bar")));
    let open = || host.shared.stats.globals.curr_conns.load(Relaxed);
    let mut good = host.client();
    good.ask(LOGIN, "STORED\r\n");
    let held = host.hold_checks();
    let _others: Vec<_> = (8..LOGINS_WAITING).map(|_| host.submit(Some("127.0.0.1"), || ())).collect();
    let eight = |good: &mut Client| {
        let before = open();
        let mut clients: Vec<_> = (0..8).map(|_| host.client()).collect();
        clients.iter_mut().for_each(|client| client.send(WRONG));
        // Accepted, and read before `good`'s next request.
        until("their arrival", || open() == before + 8);
        good.ask(MN.0, MN.1);
        clients
    };
    let gone = eight(&mut good);
    let mut too_many = host.client();
    too_many.ask(LOGIN, BUSY);
    gone.into_iter().for_each(Client::reset);
    until("their connections' end", || open() == 3);
    // Their places are free before the thread reaches the first of them.
    let mut quiet = eight(&mut good);
    too_many.ask(LOGIN, BUSY);
    // A client that only ends its sending side may wait for its reply, but yields its place when that is needed.
    for client in &quiet {
        client.0.shutdown(Shutdown::Write).unwrap();
    }
    good.ask(MN.0, MN.1);
    too_many.send(LOGIN);
    quiet.pop().unwrap().expect(BUSY);
    drop(held);
    too_many.expect("STORED\r\n");
    for client in &mut quiet {
        client.expect(FAILED);
        client.expect_end();
    }
    until("their connections' end", || open() == 3);
}

/// Clients that disconnect during their password check leave nothing behind.
#[test]
fn thousands_of_failed_logins_leave_nothing_behind() {
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
