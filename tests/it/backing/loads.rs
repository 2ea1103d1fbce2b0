//! Commands that depend on an item which only the backing has.

use super::{ARGS, Conn, Fake, counters, put, seeds, sizes};
use crate::binary::packet::{self, Packet, all, arith, req, store};
use crate::support::{Client, answer, shared};
use oxcached::limits::READ_BUF;
use oxcached::net::Answerer;
use oxcached::proto::Session;

/// Replies, counters and items of a server without a backing that holds all items in memory.
fn plain(requests: &[u8]) -> (Vec<u8>, String, Fake) {
    let (shared, fake) = (shared(ARGS), Fake::default());
    assert!(shared.cache.store.report_changes_to(Box::new(fake.clone())));
    seeds().iter().for_each(|(key, row)| put(&shared, key, row));
    let replies = Client::new(&shared).ask(requests);
    (replies, counters(&shared), fake)
}

/// Runs `requests`, in parts of `size` bytes, with items that only the backing has. Returns also how many loads there were.
fn backed(requests: &[u8], size: usize) -> (Vec<u8>, String, Fake, usize) {
    let (fake, shared) = Fake::behind(ARGS);
    fake.shelf().rows = seeds();
    fake.shelf().phantoms = vec![b"none".to_vec()];
    let (mut conn, mut loads) = (Conn::new(&shared), 0);
    for part in requests.chunks(size) {
        conn.feed(part);
        while !fake.shelf().loads.is_empty() {
            fake.end_load(&shared, false);
            conn.resume();
            loads += 1;
        }
    }
    assert!(conn.out.is_empty() && !conn.is_suspended);
    (conn.got, counters(&shared), fake, loads)
}

/// `requests` have the replies and leave the items of a server without a backing, however they arrive. `loads`: the
/// number of loads that they need.
#[track_caller]
fn check(requests: &[u8], loads: usize) {
    let (replies, counts, items) = plain(requests);
    for size in sizes(requests.len()) {
        let (got, got_counts, fake, got_loads) = backed(requests, size);
        let shown = requests.escape_ascii();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(&replies), "{shown}, parts of {size}");
        assert_eq!(got_counts, counts, "{shown}, parts of {size}");
        assert_eq!(fake.shelf().rows, items.shelf().rows, "{shown}, parts of {size}");
        assert_eq!(got_loads, loads, "{shown}, parts of {size}");
    }
}

#[test]
fn text_commands_see_the_item() {
    for (request, loads) in [
        ("add far 0 0 1\r\nx\r\n", 1),
        ("replace far 0 0 1\r\nx\r\n", 1),
        ("append far 0 0 1\r\nx\r\n", 1),
        ("prepend far 0 0 1\r\nx\r\n", 1),
        ("cas far 0 0 1 123\r\nx\r\n", 1),
        ("cas far 0 0 1 124\r\nx\r\n", 1),
        ("incr ten 5\r\n", 1),
        ("decr ten 5\r\n", 1),
        ("incr far 5\r\n", 1),
        ("touch far 100\r\n", 1),
        ("delete far\r\n", 1),
        ("delete far noreply\r\n", 1),
        ("append far 0 0 1 noreply\r\nx\r\n", 1),
        ("gat 100 far ten missing\r\n", 2),
        // Nothing to wait for.
        ("set far 0 0 1\r\nx\r\n", 0),
        ("add missing 0 0 1\r\nx\r\n", 0),
        ("append missing 0 0 1\r\nx\r\n", 0),
        ("incr missing 1\r\n", 0),
        ("touch missing 1\r\n", 0),
        ("delete missing\r\n", 0),
        ("flush_all\r\n", 0),
        // The backing loads, and has no item.
        ("add none 0 0 1\r\nx\r\n", 1),
        ("replace none 0 0 1\r\nx\r\n", 1),
        ("cas none 0 0 1 5\r\nx\r\n", 1),
        ("incr none 1\r\n", 1),
        ("touch none 1\r\n", 1),
        ("delete none\r\n", 1),
        // Refused before any item matters.
        ("incr far x\r\n", 0),
        ("delete\r\n", 0),
        ("append far 0 0 1\r\nxyz\r\n", 1),
    ] {
        check(format!("mn\r\n{request}mn\r\n").as_bytes(), loads);
    }
}

#[test]
fn meta_commands_see_the_item() {
    for (request, loads) in [
        ("ms far 1 ME\r\nx\r\n", 1),
        ("ms far 1 MR s\r\nx\r\n", 1),
        ("ms far 1 MA s\r\nx\r\n", 1),
        ("ms far 1 MP q\r\nx\r\n", 1),
        ("ms far 1 C123 E200 c\r\nx\r\n", 1),
        ("ms far 1 C99 I E200 c\r\nx\r\n", 1),
        ("ms far 1 C99\r\nx\r\n", 1),
        ("ms ZmFy 1 MA b k\r\nx\r\n", 1),
        ("ms none 1 MA N30\r\nx\r\n", 1),
        ("md far\r\n", 1),
        ("md far q\r\n", 1),
        ("md far C123\r\n", 1),
        ("md far C9\r\n", 1),
        ("md far I T30 E300\r\n", 1),
        ("md far x E300\r\n", 1),
        ("md ZmFy b k\r\n", 1),
        ("md none\r\n", 1),
        ("ma ten v D5 E300\r\n", 1),
        ("ma ten N30 J7 v E300\r\n", 1),
        ("ma far N30\r\n", 1),
        ("ma none N30 J7 v E300\r\n", 1),
        ("mg far T30 v f c\r\n", 1),
        ("mg far N30 v\r\n", 1),
        ("mg far R30 v\r\n", 1),
        ("mg none N30 v E300\r\n", 1),
        ("ms far 1 E200\r\nx\r\n", 0),
        ("ms far 1 MX\r\nx\r\n", 0),
        ("md missing\r\n", 0),
        ("ma missing N30 J7 v E300\r\n", 0),
    ] {
        check(format!("mn\r\n{request}mn\r\n").as_bytes(), loads);
    }
}

#[test]
fn packets_see_the_item() {
    let join = |opcode, key: &str| req(opcode).key(key).value("x");
    let touch = |opcode, key: &str| req(opcode).u32(100).key(key);
    let delete = |opcode: u8, key: &str| req(opcode).key(key);
    let each: Vec<(Packet, usize)> = vec![
        (store(0x02, "far", 0, 0, "x"), 1),
        (store(0x12, "far", 0, 0, "x"), 1),
        (store(0x03, "far", 0, 0, "x"), 1),
        (store(0x01, "far", 0, 0, "x").cas(123), 1),
        (store(0x01, "far", 0, 0, "x").cas(99), 1),
        (store(0x01, "far", 0, 0, "x"), 0),
        (store(0x11, "far", 0, 0, "x"), 0),
        (join(0x0e, "far"), 1),
        (join(0x0f, "far"), 1),
        (join(0x19, "far"), 1),
        (join(0x0e, "missing"), 0),
        (delete(0x04, "far"), 1),
        (delete(0x14, "far"), 1),
        (delete(0x04, "far").cas(123), 1),
        (delete(0x04, "far").cas(5), 1),
        (delete(0x04, "none"), 1),
        (arith(0x05, "ten", 5, 0, 0), 1),
        (arith(0x06, "ten", 5, 0, u32::MAX), 1),
        (arith(0x15, "ten", 5, 0, u32::MAX), 1),
        (arith(0x05, "none", 5, 7, 0), 1),
        (arith(0x05, "missing", 5, 7, 0), 0),
        (touch(0x1c, "far"), 1),
        (touch(0x1d, "far"), 1),
        (touch(0x1e, "far"), 1),
        (touch(0x1c, "none"), 1),
    ];
    for (packet, loads) in each {
        check(&all(&[req(0x0a), packet, req(0x0a)]), loads);
    }
}

#[test]
fn the_commands_of_a_pipeline_run_in_their_order() {
    check(b"get far\r\nset far 0 0 1\r\nx\r\nget far\r\n", 1);
    check(b"get far\r\ndelete far\r\nget far\r\nadd far 0 0 1\r\nx\r\nget far\r\n", 1);
    check(b"append far 0 0 1\r\nx\r\nmg far v\r\nincr ten 1\r\ndelete ten\r\ntouch ten 9\r\nmg ten v\r\n", 2);
    check(b"mg far v\r\nmg ten v\r\nmd far\r\nma ten v\r\nmg far v\r\nmn\r\n", 2);
    check(b"gat 30 far ten\r\nset ten 0 0 1\r\nx\r\nget ten\r\n", 2);
    check(&all(&[packet::get("far"), req(0x04).key("far"), packet::get("far"), arith(0x05, "ten", 1, 0, 0)]), 2);
}

#[test]
fn an_upload_asks_for_its_item_when_its_value_is_complete() {
    let value = "v".repeat(2 * READ_BUF);
    let (fake, shared) = Fake::behind(ARGS);
    fake.shelf().rows = seeds();
    let mut conn = Conn::new(&shared);
    conn.feed(format!("append far 0 0 {}\r\n{}", value.len(), &value[..10]).as_bytes());
    value.as_bytes()[10..].chunks(1000).for_each(|part| {
        assert!(fake.shelf().loads.is_empty());
        conn.feed(part);
    });
    assert!(!conn.is_suspended);
    conn.feed(b"\r\n");
    assert!(conn.is_suspended);
    conn.feed(b"mg far s\r\n");
    assert!(conn.got.is_empty());
    fake.end_load(&shared, false);
    conn.resume();
    assert_eq!(String::from_utf8_lossy(&conn.got), format!("STORED\r\nHD s{}\r\n", value.len() + 5));
}

#[test]
fn a_deletion_reaches_the_backing_though_memory_loses_the_item_again() {
    for (request, reply, goes) in [
        ("delete far\r\n", "NOT_FOUND\r\n", true),
        ("md far\r\n", "NF\r\n", true),
        ("md far I\r\n", "NF\r\n", true),
        ("md far C123\r\n", "NF\r\n", false),
        ("touch far 9\r\n", "NOT_FOUND\r\n", false),
        ("replace far 0 0 1\r\nx\r\n", "NOT_STORED\r\n", false),
    ] {
        let (fake, shared) = Fake::behind(ARGS);
        fake.shelf().rows = seeds();
        let mut conn = Conn::new(&shared);
        conn.feed(request.as_bytes());
        fake.end_load(&shared, true);
        conn.resume();
        assert_eq!(String::from_utf8_lossy(&conn.got), reply, "{request}");
        assert_eq!(!fake.shelf().rows.contains_key(&b"far"[..]), goes, "{request}");
        assert!(fake.shelf().loads.is_empty(), "{request} waits once");
    }
}

#[test]
fn a_refused_value_removes_the_old_one_from_the_backing() {
    let long = "v".repeat(2 << 20);
    for (request, goes) in [
        (format!("set far 0 0 {}\r\n{long}\r\n", long.len()), true),
        (format!("ms far {} ME\r\n{long}\r\n", long.len()), true),
        (format!("add far 0 0 {}\r\n{long}\r\n", long.len()), false),
    ] {
        let (fake, shared) = Fake::behind(ARGS);
        fake.shelf().rows = seeds();
        let mut conn = Conn::new(&shared);
        request.as_bytes().chunks(READ_BUF / 2).for_each(|part| conn.feed(part));
        assert_eq!(String::from_utf8_lossy(&conn.got), "SERVER_ERROR object too large for cache\r\n");
        assert_eq!(!fake.shelf().rows.contains_key(&b"far"[..]), goes, "{}", &request[..12]);
    }
}

#[test]
fn a_datagram_does_not_wait() {
    let (fake, shared) = Fake::behind("");
    fake.shelf().rows = seeds();
    let mut answerer = Answerer::<Session>::default();
    let mut ask = |body: &[u8]| {
        let answers = answer(&mut answerer, &shared, &[b"\0\x01\0\0\0\x01\0\0", body].concat());
        answers.iter().map(|answer| String::from_utf8_lossy(&answer[8..]).into_owned()).collect::<String>()
    };
    let refused = "SERVER_ERROR the item is being loaded\r\n";
    assert_eq!(ask(b"delete far\r\n"), refused);
    assert_eq!(ask(b"append far 0 0 1\r\nx\r\nmn\r\n"), format!("{refused}MN\r\n"));
    assert_eq!(ask(b"delete far noreply\r\nmn\r\n"), "MN\r\n");
    assert_eq!(ask(b"delete missing\r\n"), "NOT_FOUND\r\n");
    assert_eq!(ask(b"set far 0 0 1\r\nx\r\nappend far 0 0 1\r\ny\r\nget far\r\n"), {
        "STORED\r\nSTORED\r\nVALUE far 0 2\r\nxy\r\nEND\r\n"
    });
    let packet = ask(&req(0x04).key("ten").bytes());
    assert!(packet.ends_with("SERVER_ERROR the item is being loaded"), "{packet}");
    assert!(fake.shelf().loads.is_empty());
}
