//! A key with a line end or a blank, stored by packet, forged lines and words of dumps.

use crate::engine::crawler::ask;
use crate::support::{Client, shared};
use oxcached::proto::Shared;
use std::sync::Arc;

/// Stores an item through the binary protocol, where a key may hold any bytes.
fn set_by_packet(shared: &Arc<Shared>, key: &[u8]) {
    let mut packet = vec![0; 32];
    (packet[0], packet[1], packet[3], packet[4], packet[11]) = (0x80, 0x01, key.len() as u8, 8, 9 + key.len() as u8);
    packet.extend_from_slice(key);
    packet.push(b'v');
    let reply = Client::new(shared).ask(&packet);
    assert_eq!((reply.len(), &reply[6..8]), (24, &[0, 0][..]));
}

#[test]
fn no_key_forges_a_line_or_a_word() {
    let shared = shared("-D :");
    let mut client = Client::new(&shared);
    ask(&mut client, "set plain 0 0 1\r\nv\r\n");
    let base64 = [
        (&b"x\r\nEN\r\n"[..], "eA0KRU4NCg=="),
        (b"x\r\nEND\r\n:y", "eA0KRU5EDQo6eQ=="),
        (b"two words", "dHdvIHdvcmRz"),
        (b"end\r", "ZW5kDQ=="),
        (b"\0", "AA=="),
    ];
    for (key, _) in base64 {
        set_by_packet(&shared, key);
    }
    for of in ["all", "hash"] {
        let dump = ask(&mut client, &format!("lru_crawler mgdump {of}\r\n"));
        let mut lines: Vec<&str> = dump.split("\r\n").collect();
        let mut wanted: Vec<String> = base64.iter().map(|(_, text)| format!("mg {text} b")).collect();
        wanted.extend(["OK", "mg plain", "EN", ""].map(String::from));
        lines.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(lines, wanted, "{of}");
        let dump = ask(&mut client, &format!("lru_crawler metadump {of}\r\n"));
        let lines = dump.strip_prefix("OK\r\n").unwrap().strip_suffix("END\r\n").unwrap().lines();
        assert_eq!(lines.filter(|line| line.starts_with("key=") && line.split(' ').count() == 9).count(), 6);
    }
    assert_eq!(ask(&mut client, "stats cachedump 1 0\r\n"), "ITEM plain [1 b; 0 s]\r\nEND\r\n");
    assert_eq!(ask(&mut client, "stats detail dump\r\n"), "END\r\n");
    // The dumped command fetches the item; its key comes back in the requested encoding.
    for (_, text) in &base64[..4] {
        assert_eq!(ask(&mut client, &format!("mg {text} b k v\r\n")), format!("VA 1 k{text} b\r\nv\r\n"));
        assert!(ask(&mut client, &format!("me {text} b x\r\n")).starts_with(&format!("ME {text} exp=-1 ")));
    }
    let reply = ask(&mut client, "mg cGxhaW4= b k v\r\n");
    assert_eq!(reply, "VA 1 kplain\r\nv\r\n", "a key of text is shown as text");
}
