//! Statistics, flush, version, and unknown commands.

use super::harness::{ends, talk};
use super::packet::{all, err, get, hit, req, res, rows, set};
use oxcached::proto::CloseReason;

#[test]
fn version_noop_and_flush() {
    talk("", |talk| {
        talk.expect(&[req(0x0b), req(0x0a)], &[res(0x0b).value("1.6.45"), res(0x0a)]);
        talk.expect(
            &[set("a", "x"), req(0x08), get("a"), set("a", "x"), req(0x18).u32(0), get("a"), set("a", "y"), get("a")],
            &[
                res(0x01).cas(2),
                res(0x08),
                err(0x00, 1),
                res(0x01).cas(3),
                err(0x00, 1),
                res(0x01).cas(4),
                hit(0x00, 4, 0, "y"),
            ],
        );
        talk.expect(&[req(0x08).u32(5), get("a")], &[res(0x08), hit(0x00, 4, 0, "y")]);
        talk.pass(6);
        talk.expect(&[get("a")], &[err(0x00, 1)]);
        assert_eq!(talk.stat("cmd_flush"), "3");
    });
}

#[test]
fn a_forbidden_flush_says_so() {
    talk("-F", |talk| {
        talk.expect(
            &[set("a", "x"), req(0x08), req(0x18).u32(1), get("a")],
            &[res(0x01).cas(2), err(0x08, 0x20), err(0x18, 0x20), hit(0x00, 2, 0, "x")],
        );
        assert_eq!(talk.stat("cmd_flush"), "0");
    });
}

#[test]
fn statistics_are_one_packet_per_row() {
    talk("", |talk| {
        talk.ask(&[set("a", "x")]);
        let stat = |word: &str| req(0x10).key(word);
        let general = rows(&talk.ask(&req(0x10)));
        assert_eq!(general[0].0, "pid");
        assert_eq!(general[3], ("version".into(), "1.6.45".into()));
        assert!(general.contains(&("curr_items".into(), "1".into())));
        assert_eq!(general.iter().filter(|(name, _)| name.is_empty()).count(), 1);
        assert_eq!(general.last().unwrap(), &(String::new(), String::new()));
        for (word, first) in [
            ("settings", "maxbytes"),
            ("settingsandmore", "maxbytes"),
            ("items", "items:1:number"),
            ("slabs", "1:chunk_size"),
            ("sizes", "sizes_status"),
        ] {
            let rows = rows(&talk.ask(&stat(word)));
            assert_eq!((rows[0].0.as_str(), rows.last().unwrap().0.as_str()), (first, ""), "{word}");
        }
        talk.expect(&[stat("reset"), stat("resetit")], &[res(0x10), res(0x10)]);
        assert_eq!(talk.stat("cmd_set"), "0");
        for word in ["conns", "cachedump", "cachedump 1 0", "item", "itemsx", "nothing", "detail", "detail x"] {
            talk.expect(&[stat(word)], &[err(0x10, 0x01)]);
        }
        // A value is ignored and discarded.
        talk.expect(
            &[stat("sizes").value("left over"), req(0x0a)],
            &[res(0x10).key("sizes_status").value("disabled"), res(0x10), res(0x0a)],
        );
    });
}

#[test]
fn details_are_one_packet() {
    let stat = |word: &str| req(0x10).key(word);
    talk("", |talk| {
        talk.expect(&[stat("detail on"), set("p:a", "x")], &[res(0x10), res(0x01).cas(2)]);
        talk.ask(&[get("p:a"), get("p:b"), req(0x1c).u32(0).key("p:a"), req(0x04).key("p:b"), get("plain")]);
        let dump = "PREFIX p get 3 hit 2 set 1 del 1\r\nEND\r\n";
        talk.expect(
            &[stat("detail off"), stat("detail dump")],
            &[res(0x10), res(0x10).key("detailed").value(dump), res(0x10)],
        );
    });
    talk("-X", |talk| {
        talk.expect(&[stat("detail on"), stat("detail dump")], &[err(0x10, 0x01), err(0x10, 0x01)]);
    });
}

#[test]
fn unknown_commands_discard_their_packet_only() {
    talk("", |talk| {
        let known = |opcode| matches!(opcode, 0x00..=0x1a | 0x1c..=0x1e | 0x20..=0x24);
        for opcode in (0..=u8::MAX).filter(|opcode| !known(*opcode)) {
            talk.expect(&[req(opcode), req(0x0a)], &[err(opcode, 0x81), res(0x0a)]);
        }
        let verbosity = req(0x1b).u32(1).key("key").value("and a body");
        talk.expect(&[verbosity, req(0x0a)], &[err(0x1b, 0x81), res(0x0a)]);
        let large = req(0x40).value(vec![0; 200_000]);
        talk.expect(&[large, req(0x0a)], &[err(0x40, 0x81), res(0x0a)]);
    });
}

#[test]
fn authentication_is_unknown_without_its_option() {
    talk("", |talk| {
        talk.expect(
            &[req(0x20), req(0x21).key("PLAIN").value("\0a\0b"), req(0x22).key("PLAIN").value("\0a\0b"), req(0x0a)],
            &[err(0x20, 0x81), err(0x21, 0x81), err(0x22, 0x81), res(0x0a)],
        );
    });
    ends(&req(0x21).bytes(), &[err(0x21, 0x04)], CloseReason::Error);
}

#[test]
fn quit_answers_and_quitq_does_not() {
    ends(&all(&[set("a", "x"), req(0x07), req(0x0a)]), &[res(0x01).cas(2), res(0x07)], CloseReason::Normal);
    ends(&all(&[req(0x0a), req(0x17)]), &[res(0x0a)], CloseReason::Normal);
}
