//! SASL in packets, in process: the behaviour of memcached with libsasl, and SCRAM in addition.

use super::harness::{AUTH, LIST, STEP, Scram, counts, cram, hashed, packet_server, plain};
use crate::binary::packet::{Packet, all, err, get, req, res, rows, set};
use crate::support::Client;
use crate::support::script::{Conversation, in_every_cut};
use std::sync::Arc;

const USERS: &str = "testuser:testpass\nann@realm:x\n";

fn ok(opcode: u8) -> Packet {
    res(opcode).value("Authenticated")
}

fn more(opcode: u8, challenge: impl AsRef<[u8]>) -> Packet {
    res(opcode).status(0x21).value(challenge)
}

/// Runs `talk` in every cutting, each time with a new server.
fn talk(talk: impl Fn(&mut Conversation)) {
    in_every_cut(|| Client::new(&packet_server(USERS)), talk);
}

#[track_caller]
fn expect(client: &mut Client, request: &Packet, reply: &Packet) {
    assert_eq!(client.ask(&request.bytes()), reply.bytes(), "{request:?}");
}

fn login(client: &mut Client) {
    expect(client, &plain("testuser", "testpass"), &ok(AUTH));
}

/// The body of the reply to `request`.
fn challenge(client: &mut Client, request: &Packet) -> String {
    let reply = client.ask(&request.bytes());
    assert_eq!(reply[6..8], [0, 0x21], "{request:?}");
    rows(&reply).remove(0).1
}

#[test]
fn only_version_and_mechanism_list_work_before_a_login() {
    let shared = packet_server(USERS);
    let mut client = Client::new(&shared);
    expect(&mut client, &req(0x0b), &res(0x0b).value("1.6.45"));
    expect(&mut client, &req(LIST), &res(LIST).value("SCRAM-SHA-256 CRAM-MD5 PLAIN"));
    let opcodes = (0x00..=0x25).chain([0x77, 0xff]);
    for opcode in opcodes.filter(|opcode| ![0x0b, LIST, AUTH, STEP].contains(opcode)) {
        let mut client = Client::new(&shared);
        // The lengths do not matter yet; quiet commands are answered too.
        for request in [req(opcode), req(opcode).u64(0).key("x").value("somevalue")] {
            client.restart();
            expect(&mut client, &request, &err(opcode, 0x20));
            assert!(client.closed);
        }
    }
    assert_eq!(counts(&shared), (0, 0), "these are no attempts");
    assert_eq!(shared.cache.store.items(), 0);
}

#[test]
fn invalid_lengths_are_refused_first() {
    let mut client = Client::new(&packet_server(USERS));
    let mut header = get("key").bytes();
    header[11] = 1; // a body shorter than the key
    assert_eq!(client.ask(&header), err(0x00, 0x81).bytes());
    assert!(client.closed);
    for request in [req(LIST).key("x"), req(AUTH).value("x"), req(STEP), req(AUTH).u32(0).key("PLAIN")] {
        let opcode = request.bytes()[1];
        client.restart();
        expect(&mut client, &request, &err(opcode, 0x04));
        assert!(client.closed, "{request:?}");
    }
}

/// A key that is too long for any command is not waited for; without a login, its error is the only reply.
#[test]
fn a_key_that_is_too_long_is_refused_with_the_header_alone() {
    let shared = packet_server(USERS);
    let header = |opcode| req(opcode).key("x".repeat(300)).bytes()[..24].to_vec();
    let mut client = Client::new(&shared);
    for (opcode, status) in [(0x00, 0x20), (0x77, 0x20), (0x0b, 0x04), (LIST, 0x04), (AUTH, 0x04), (STEP, 0x04)] {
        client.restart();
        assert_eq!(client.ask(&header(opcode)), err(opcode, status).bytes(), "{opcode:x}");
        assert!(client.closed);
    }
    client.restart();
    login(&mut client);
    assert_eq!(client.ask(&header(0x00)), err(0x00, 0x04).bytes());
}

#[test]
fn a_login_applies_to_one_connection() {
    talk(|talk| {
        talk.expect(&req(AUTH).key("X".repeat(40)).value("\0testuser\0testpass"), &err(AUTH, 0x04));
        talk.expect(&plain("testuser", "wrongpassword"), &err(AUTH, 0x20));
        let shared = Arc::clone(&talk.peer().shared);
        assert_eq!(counts(&shared), (1, 1), "a name that is too long is no attempt");
        talk.expect(&plain("testuser", "testpass"), &ok(AUTH));
        talk.expect(
            &[set("x", "somevalue"), get("x"), req(0x04).key("x"), get("x"), req(0x08)],
            &[res(0x01).cas(2), res(0x00).cas(2).u32(0).value("somevalue"), res(0x04), err(0x00, 0x01), res(0x08)],
        );
        talk.settle();
        let mut other = Client::new(&shared);
        expect(&mut other, &plain("testuser", "wrongpassword"), &err(AUTH, 0x20));
        expect(&mut other, &set("x", "somevalue"), &err(0x01, 0x20));
        assert!(other.closed);
        talk.expect(&set("x", "somevalue"), &res(0x01).cas(3));
        talk.settle();
        assert_eq!(counts(&shared), (3, 2));
    });
}

#[test]
fn attempts_and_errors_are_counted() {
    talk(|talk| {
        talk.expect(&req(STEP).key("PLAIN").value("\0testuser\0testpass"), &err(STEP, 0x20));
        talk.expect(&plain("testuser", "no"), &err(AUTH, 0x20));
        talk.expect(&req(AUTH).key("NTLM").value("x"), &err(AUTH, 0x20));
        talk.expect(&req(AUTH).key("CRAM-MD5").value("early"), &err(AUTH, 0x20));
        assert_eq!(counts(&talk.peer().shared), (4, 4));
        talk.expect(&req(AUTH).key("plain"), &more(AUTH, ""));
        assert_eq!(counts(&talk.peer().shared), (4, 4), "a challenge is not the end");
        talk.expect(&req(STEP).key("plain").value("\0ann@realm\0x"), &ok(STEP));
        assert_eq!([talk.stat("auth_cmds"), talk.stat("auth_errors"), talk.stat("auth_timeouts")], ["5", "4", "0"]);
    });
}

/// A new login attempt ends the current login until it succeeds; as in memcached, even listing the mechanisms does.
#[test]
fn a_second_login_ends_the_first() {
    let shared = packet_server(USERS);
    let mut client = Client::new(&shared);
    login(&mut client);
    login(&mut client);
    expect(&mut client, &req(0x0a), &res(0x0a));
    for ends in [plain("testuser", "no"), req(STEP).key("PLAIN"), req(AUTH).key("PLAIN"), req(LIST)] {
        client.restart();
        login(&mut client);
        client.ask(&ends.bytes());
        expect(&mut client, &req(0x0b), &res(0x0b).value("1.6.45"));
        expect(&mut client, &req(0x0a), &err(0x0a, 0x20));
        assert!(client.closed, "{ends:?}");
    }
    client.restart();
    login(&mut client);
    expect(&mut client, &req(AUTH).key("X".repeat(33)), &err(AUTH, 0x04));
    expect(&mut client, &req(0x0a), &res(0x0a));
}

#[test]
fn cram_md5() {
    let shared = packet_server(USERS);
    let mut client = Client::new(&shared);
    for (user, password, right) in
        [("testuser", "testpass", true), ("testuser", "x", false), ("eve", "testpass", false)]
    {
        client.restart();
        let question = challenge(&mut client, &req(AUTH).key("CRAM-MD5"));
        let answer = req(STEP).key("CRAM-MD5").value(cram(question.as_bytes(), user, password));
        expect(&mut client, &answer, &if right { ok(STEP) } else { err(STEP, 0x20) });
        expect(&mut client, &answer, &err(STEP, 0x20));
    }
}

#[test]
fn scram_sha_256() {
    let shared = packet_server(&format!("{USERS}{}\n", hashed("bob", "hidden")));
    let mut client = Client::new(&shared);
    expect(&mut client, &req(LIST), &res(LIST).value("SCRAM-SHA-256 PLAIN"));
    for (user, password, right) in
        [("testuser", "testpass", true), ("bob", "hidden", true), ("bob", "testpass", false), ("eve", "hidden", false)]
    {
        client.restart();
        let scram = Scram::new(user, password);
        let first = challenge(&mut client, &req(AUTH).key("SCRAM-SHA-256").value(scram.first()));
        let (last, signature) = scram.last(&first);
        let last = req(STEP).key("SCRAM-SHA-256").value(last);
        if !right {
            expect(&mut client, &last, &err(STEP, 0x20));
            continue;
        }
        expect(&mut client, &last, &more(STEP, signature));
        // The login completes only after this message.
        let end = req(STEP).key("SCRAM-SHA-256");
        expect(&mut client, &end, &ok(STEP));
        expect(&mut client, &req(0x0a), &res(0x0a));
        // Replaying the message fails.
        expect(&mut client, &last, &err(STEP, 0x20));
    }
    client.restart();
    expect(&mut client, &req(AUTH).key("SCRAM-SHA-256"), &more(AUTH, ""));
    let first = challenge(&mut client, &req(STEP).key("SCRAM-SHA-256").value(Scram::new("bob", "hidden").first()));
    assert!(first.ends_with(",i=4096"), "{first}");
}

#[test]
fn unknown_users_get_a_stable_salt() {
    let shared = packet_server(&format!("{USERS}{}\n", hashed("bob", "hidden")));
    let salt = |user: &str| {
        let request = req(AUTH).key("SCRAM-SHA-256").value(Scram::new(user, "").first());
        let first = challenge(&mut Client::new(&shared), &request);
        first.split(',').nth(1).unwrap().to_owned()
    };
    for user in ["testuser", "bob", "eve"] {
        assert_eq!(salt(user), salt(user));
        assert_eq!(salt(user).len(), salt("bob").len());
    }
    assert_ne!(salt("eve"), salt("mallory"));
}

#[test]
fn replies_do_not_depend_on_arrival_boundaries() {
    let talk = all(&[
        req(0x0b),
        plain("testuser", "no"),
        req(AUTH).key("X".repeat(40)).value("y".repeat(50)),
        req(AUTH).key("PLAIN").value("z".repeat(20_000)),
        plain("testuser", "testpass"),
        set("x", "1"),
        req(LIST),
        req(0x0a),
    ]);
    let expected = |cas| {
        all(&[
            res(0x0b).value("1.6.45"),
            err(AUTH, 0x20),
            err(AUTH, 0x04),
            err(AUTH, 0x82),
            ok(AUTH),
            res(0x01).cas(cas),
            res(LIST).value("SCRAM-SHA-256 PLAIN"),
            err(0x0a, 0x20),
        ])
    };
    let shared = packet_server(&hashed("testuser", "testpass"));
    let mut client = Client::new(&shared);
    let long = 200..talk.len() - 400; // the inside of an ignored value
    for (number, cut) in (0..=talk.len()).filter(|cut| !long.contains(cut)).enumerate() {
        client.restart();
        client.feed(&talk[..cut]);
        client.feed(&talk[cut..]);
        assert!(client.got == expected(number as u64 + 2), "cut at {cut}: {:?}", rows(&client.got));
        assert!(client.closed);
    }
}

#[test]
fn text_does_not_bypass_authentication() {
    let mut client = Client::new(&packet_server(USERS));
    assert_eq!(client.ask(b"get x\r\nversion\r\nset x 0 0 1\r\n1\r\n"), b"");
    assert!(client.closed);
}

/// Packets of any kind in any order, whole and broken: none logs in without the password, and none causes a failure.
#[test]
fn noise_opens_nothing() {
    let mut random = fastrand::Rng::with_seed(7);
    let first = Scram::new("testuser", "no").first();
    let values: [&[u8]; 7] = [
        b"",
        b"\0testuser\0no",
        b"testuser 00000000000000000000000000000000",
        first.as_bytes(),
        b"c=biws,r=x,p=AAAA",
        b"\0\0\0\xff",
        &[b'x'; 300],
    ];
    let long = "x".repeat(300);
    let keys = ["", "PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "x", &long];
    for (users, rounds) in [(USERS.to_owned(), 5000), (hashed("testuser", "testpass"), 300)] {
        let shared = packet_server(&users);
        let mut client = Client::new(&shared);
        for _ in 0..rounds {
            client.restart();
            for _ in 0..random.usize(1..12) {
                let opcode = [AUTH, STEP, AUTH, STEP, LIST, 0x0b, random.u8(..)][random.usize(..7)];
                let key = keys[random.usize(..keys.len())];
                let mut bytes = req(opcode).key(key).value(values[random.usize(..values.len())]).bytes();
                while random.u8(..) < 60 {
                    let at = random.usize(..bytes.len());
                    bytes[at] = random.u8(..);
                }
                let (front, back) = bytes.split_at(random.usize(..=bytes.len()));
                client.feed(front);
                client.feed(back);
            }
            assert!(!client.got.windows(13).any(|reply| reply == b"Authenticated"), "{:?}", rows(&client.got));
        }
        assert_eq!(shared.cache.store.items(), 0);
    }
}
