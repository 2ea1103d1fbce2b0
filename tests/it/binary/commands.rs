//! Replies of each command.

use super::harness::talk;
use super::packet::{all, arith, err, get, hit, req, res, set, store};
use crate::support::{Client, UNIX, shared};

/// Quiet opcodes by their plain ones.
const QUIET: [(u8, u8); 10] = [
    (0x01, 0x11),
    (0x02, 0x12),
    (0x03, 0x13),
    (0x04, 0x14),
    (0x05, 0x15),
    (0x06, 0x16),
    (0x07, 0x17),
    (0x08, 0x18),
    (0x0e, 0x19),
    (0x0f, 0x1a),
];

#[test]
fn storing() {
    talk("", |talk| {
        talk.expect(
            &[store(0x01, "a", 5, 0, "x"), get("a"), store(0x02, "a", 0, 0, "y"), store(0x03, "b", 0, 0, "y")],
            &[res(0x01).cas(2), hit(0x00, 2, 5, "x"), err(0x02, 0x02), err(0x03, 0x01)],
        );
        talk.expect(
            &[store(0x02, "b", u32::MAX, 0, ""), get("b"), store(0x03, "a", 0, 0, "zz"), get("a")],
            &[res(0x02).cas(5), hit(0x00, 5, u32::MAX, ""), res(0x03).cas(6), hit(0x00, 6, 0, "zz")],
        );
        let join = |opcode, key: &str, value: &str| req(opcode).key(key).value(value);
        talk.expect(
            &[store(0x01, "a", 9, 0, "m"), join(0x0e, "a", "+"), join(0x0f, "a", "-"), get("a"), join(0x0e, "c", "x")],
            &[res(0x01).cas(7), res(0x0e).cas(8), res(0x0f).cas(9), hit(0x00, 9, 9, "-m+"), err(0x0e, 0x05)],
        );
    });
}

#[test]
fn trap_22_a_cas_id_makes_a_compare_and_swap_of_every_store() {
    talk("", |talk| {
        for opcode in [0x01, 0x02, 0x03] {
            talk.expect(&[store(opcode, "a", 0, 0, "x").cas(7)], &[err(opcode, 0x01)]);
        }
        talk.ask(&set("a", "1"));
        let found = talk.ask(&get("a"));
        let cas = u64::from_be_bytes(found[16..24].try_into().unwrap());
        for (opcode, n) in [(0x01, 1), (0x02, 2), (0x03, 3)] {
            talk.expect(
                &[store(opcode, "a", 0, 0, "x").cas(1), store(opcode, "a", 0, 0, "x").cas(cas + 2 * (n - 1))],
                &[err(opcode, 0x02), res(opcode).cas(cas + 2 * n)],
            );
        }
        let cas = cas + 6;
        let append = req(0x0e).key("a").value("y");
        talk.expect(
            &[append.clone().cas(1), append.clone().cas(cas), append.key("b").cas(1), get("a")],
            &[err(0x0e, 0x02), res(0x0e).cas(cas + 2), err(0x0e, 0x05), hit(0x00, cas + 2, 0, "xy")],
        );
        let cas = cas + 2;
        talk.expect(
            &[req(0x04).key("a").cas(1), req(0x04).key("a").cas(cas), req(0x04).key("a").cas(cas), get("a")],
            &[err(0x04, 0x02), res(0x04), err(0x04, 0x01), err(0x00, 0x01)],
        );
        assert_eq!([talk.stat("cas_misses"), talk.stat("cas_hits"), talk.stat("cas_badval")], ["3", "3", "3"]);
        assert_eq!([talk.stat("delete_misses"), talk.stat("delete_hits")], ["1", "1"]);
    });
}

#[test]
fn reading() {
    talk("", |talk| {
        talk.ask(&store(0x01, "a", 7, 0, "value"));
        let with_key = |opcode| res(opcode).cas(2).u32(7).key("a").value("value");
        talk.expect(&[get("a"), req(0x0c).key("a")], &[hit(0x00, 2, 7, "value"), with_key(0x0c)]);
        talk.expect(&[req(0x09).key("a"), req(0x0d).key("a")], &[hit(0x09, 2, 7, "value"), with_key(0x0d)]);
        let touch = |opcode, key: &str| req(opcode).u32(0).key(key);
        talk.expect(
            &[touch(0x1c, "a"), touch(0x1d, "a"), touch(0x1e, "a"), touch(0x23, "a"), touch(0x24, "a")],
            &[
                res(0x1c).cas(2).u32(7),
                hit(0x1d, 2, 7, "value"),
                hit(0x1e, 2, 7, "value"),
                with_key(0x23),
                with_key(0x24),
            ],
        );
        assert_eq!([talk.stat("get_hits"), talk.stat("touch_hits"), talk.stat("cmd_touch")], ["4", "5", "5"]);
    });
}

#[test]
fn trap_22_misses_with_a_key_contain_only_the_key() {
    talk("", |talk| {
        let touch = |opcode| req(opcode).u32(0).key("no");
        talk.expect(&[get("no"), req(0x0c).key("no")], &[err(0x00, 0x01), res(0x0c).status(1).key("no")]);
        talk.expect(
            &[touch(0x1c), touch(0x1d), touch(0x23)],
            &[err(0x1c, 1), err(0x1d, 1), res(0x23).status(1).key("no")],
        );
        talk.expect(&[req(0x09).key("no"), req(0x0d).key("no"), touch(0x1e), touch(0x24)], "");
        assert_eq!([talk.stat("get_misses"), talk.stat("touch_misses"), talk.stat("cmd_get")], ["4", "5", "4"]);
    });
}

#[test]
fn arithmetic() {
    talk("", |talk| {
        let never = u32::MAX;
        talk.expect(
            &[arith(0x05, "n", 3, 10, never), arith(0x05, "n", 3, 10, 0), arith(0x05, "n", 3, 10, 0), get("n")],
            &[err(0x05, 0x01), res(0x05).cas(2).number(10), res(0x05).cas(3).number(13), hit(0x00, 3, 0, "13")],
        );
        talk.expect(
            &[
                arith(0x06, "n", 5, 0, never),
                get("n"),
                arith(0x06, "n", 50, 0, never),
                arith(0x05, "n", u64::MAX, 0, 0),
            ],
            &[
                res(0x06).cas(4).number(8),
                hit(0x00, 4, 0, "8 "),
                res(0x06).cas(5).number(0),
                res(0x05).cas(6).number(u64::MAX),
            ],
        );
        talk.expect(
            &[arith(0x05, "n", 2, 0, 0), get("n"), arith(0x06, "m", 1, u64::MAX, 0)],
            &[
                res(0x05).cas(7).number(1),
                hit(0x00, 7, 0, &format!("1{}", " ".repeat(19))),
                res(0x06).cas(8).number(u64::MAX),
            ],
        );
        talk.expect(
            &[arith(0x05, "n", 1, 0, 0).cas(1), arith(0x05, "n", 1, 0, 0).cas(7), arith(0x05, "x", 1, 4, 0).cas(1)],
            &[err(0x05, 0x02), res(0x05).cas(9).number(2), res(0x05).cas(10).number(4)],
        );
        talk.expect(
            &[set("w", "word"), set("e", ""), arith(0x05, "w", 1, 0, 0), arith(0x06, "e", 1, 0, 0).cas(1)],
            &[res(0x01).cas(11), res(0x01).cas(12), err(0x05, 0x06), err(0x06, 0x06)],
        );
        // A created number counts neither as hit nor as miss.
        assert_eq!([talk.stat("incr_hits"), talk.stat("incr_misses")], ["4", "1"]);
        assert_eq!([talk.stat("decr_hits"), talk.stat("decr_misses"), talk.stat("cmd_set")], ["2", "0", "2"]);
    });
}

#[test]
fn trap_22_quiet_commands_send_their_errors() {
    talk("", |talk| {
        let errors = |misses: &[u8]| misses.iter().map(|opcode| err(*opcode, 0x01)).collect::<Vec<_>>();
        talk.expect(
            &[
                store(0x13, "a", 0, 0, "x"),
                req(0x14).key("a"),
                arith(0x15, "a", 1, 0, u32::MAX),
                req(0x19).key("a").value("x"),
            ],
            &[errors(&[0x13, 0x14, 0x15]), vec![err(0x19, 0x05)]].concat(),
        );
        talk.expect(
            &[store(0x11, "a", 0, 0, "x"), store(0x12, "a", 0, 0, "y"), arith(0x16, "a", 1, 0, 0), req(0x0a)],
            &[err(0x12, 0x02), err(0x16, 0x06), res(0x0a)],
        );
    });
}

#[test]
fn quiet_commands_have_the_effect_of_their_plain_ones() {
    let requests = |opcode: u8| match opcode {
        0x01..=0x03 | 0x11..=0x13 => vec![store(opcode, "a", 1, 0, "12"), store(opcode, "b", 1, 0, "12")],
        0x05 | 0x06 | 0x15 | 0x16 => vec![arith(opcode, "a", 3, 4, 0), arith(opcode, "b", 3, 4, 0)],
        0x08 | 0x18 => vec![req(opcode)],
        0x0e | 0x0f | 0x19 | 0x1a => vec![req(opcode).key("a").value("3")],
        _ => vec![req(opcode).key("a")],
    };
    for (loud, quiet) in QUIET.into_iter().filter(|(loud, _)| *loud != 0x07) {
        let [loud, quiet] = [loud, quiet].map(|opcode| {
            let mut client = Client::new(&shared(""));
            client.ask(&set("a", "7").bytes());
            let answers = client.ask(&all(&requests(opcode))).len();
            (answers, client.ask(&all(&[get("a"), get("b")])))
        });
        assert_eq!(loud.1, quiet.1);
        assert!(loud.0 > quiet.0);
    }
}

#[test]
fn trap_22_expiry_times_are_unsigned() {
    talk("", |talk| {
        for (exptime, lives) in [(0, true), (1, true), (2_592_000, true), (2_592_001, false), (u32::MAX, true)] {
            talk.ask(&store(0x01, "a", 0, exptime, "x"));
            let answer = talk.ask(&get("a"));
            assert_eq!(answer[7] == 0, lives, "{exptime}");
        }
        let soon = UNIX as u32 + 62 + 10;
        talk.ask(&[store(0x01, "a", 0, soon, "x"), arith(0x05, "n", 1, 1, 10), set("t", "x")]);
        talk.ask(&req(0x1c).u32(10).key("t"));
        talk.pass(9);
        talk.expect(&req(0x09).opaque(1).key("z"), "");
        assert_eq!(talk.ask(&[req(0x09).key("a"), req(0x09).key("n"), req(0x09).key("t")]).len(), 3 * (24 + 4 + 1));
        talk.pass(1);
        talk.expect(&[req(0x09).key("a"), req(0x09).key("n"), req(0x09).key("t")], "");
    });
}

#[test]
fn a_too_large_value_removes_the_old_one() {
    talk("", |talk| {
        let largest = "x".repeat(1_048_516);
        talk.ask(&set("a", &largest));
        let found = talk.ask(&get("a"));
        assert_eq!(found.len(), 24 + 4 + largest.len());
        let too_large = format!("{largest}y");
        talk.expect(
            &[
                store(0x02, "a", 0, 0, &too_large),
                store(0x03, "a", 0, 0, &too_large),
                req(0x0e).key("a").value(&too_large),
            ],
            &[err(0x02, 0x03), err(0x03, 0x03), err(0x0e, 0x03)],
        );
        talk.expect(&[req(0x0e).key("a").value("z")], &[err(0x0e, 0x05)]);
        talk.expect(&[store(0x11, "a", 0, 0, &too_large), get("a")], &[err(0x11, 0x03), err(0x00, 0x01)]);
        assert_eq!(talk.stat("store_too_large"), "0");
    });
}

#[test]
fn without_cas_ids_stores_ignore_them_and_the_rest_never_matches() {
    talk("-C", |talk| {
        talk.expect(
            &[
                store(0x01, "a", 0, 0, "1").cas(9),
                store(0x02, "b", 0, 0, "x").cas(9),
                req(0x0e).key("b").value("y").cas(9),
            ],
            &[res(0x01), res(0x02), res(0x0e)],
        );
        talk.expect(
            &[get("b"), arith(0x05, "a", 1, 0, 0), arith(0x05, "a", 1, 0, 0).cas(2), req(0x04).key("a").cas(2)],
            &[hit(0x00, 0, 0, "xy"), res(0x05).number(2), err(0x05, 0x02), err(0x04, 0x02)],
        );
    });
}

#[test]
fn a_pipeline_of_every_size_is_answered_in_order() {
    talk("", |talk| {
        let value = "v".repeat(5000);
        let mut requests = Vec::new();
        let mut replies = Vec::new();
        for n in 0..300u32 {
            let key = format!("key-{}", n % 70);
            let value = &value[..(n as usize * 37) % value.len()];
            requests.extend([store(0x11, &key, n, 0, value), req(0x0d).key(&key).opaque(n), req(0x09).key("none")]);
            replies.push(res(0x0d).opaque(n).cas(u64::from(n) + 2).u32(n).key(&key).value(value));
        }
        requests.push(req(0x0a));
        replies.push(res(0x0a));
        talk.expect(&requests, &replies);
    });
}

#[test]
fn a_reply_has_the_cas_id_that_gets_shows() {
    let shared = shared("");
    let (mut packets, mut text) = (Client::new(&shared), Client::new(&shared));
    let join = |opcode| req(opcode).key("a").value("1");
    for packet in [
        set("a", "1"),
        store(0x03, "a", 0, 0, "2"),
        join(0x0e),
        join(0x0f),
        arith(0x05, "a", 1, 0, 0),
        arith(0x06, "a", 1000, 0, 0),
        req(0x1c).u32(100).key("a"),
        req(0x1d).u32(100).key("a"),
        get("a"),
        store(0x01, "a", 0, 0, "x").cas(0),
        req(0x04).key("a"),
        store(0x02, "a", 0, 0, "1"),
        req(0x04).key("a"),
        arith(0x05, "a", 1, 5, 0),
    ] {
        let reply = packets.ask(&packet.bytes());
        assert_eq!(reply[6..8], [0, 0], "{packet:?}");
        let cas = u64::from_be_bytes(reply[16..24].try_into().unwrap());
        let shown = String::from_utf8(text.ask(b"gets a\r\n")).unwrap();
        let shown = shown.lines().next().and_then(|line| line.strip_prefix("VALUE ")?.rsplit(' ').next()?.parse().ok());
        assert_eq!(cas, shown.unwrap_or(0), "{packet:?}");
    }
    // An id that text has drawn is the one that a packet must name.
    text.ask(b"set a 0 0 1\r\nx\r\n");
    let shown = String::from_utf8(text.ask(b"gets a\r\n")).unwrap();
    let cas: u64 = shown.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(packets.ask(&set("a", "y").cas(cas).bytes()), res(0x01).cas(cas + 1).bytes());
}
