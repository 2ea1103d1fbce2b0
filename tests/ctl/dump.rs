//! dump and load: round trips, interruption, and dumps that are damaged.

use crate::harness::{Run, Server, ctl};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use tempfile::TempDir;

/// Runs `load -` with `dump` as its input.
fn load(server: &Server, options: &str, dump: &[u8]) -> Run {
    let line = format!("-s {} load - {options}", server.address());
    let mut child = ctl(&line).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let dump = dump.to_owned();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || drop(input.write_all(&dump)));
    let run = Run::of(child.wait_with_output().unwrap());
    writer.join().unwrap();
    run
}

#[test]
fn items_come_back_as_they_were() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let dir = TempDir::new().unwrap();
    for (from, to) in Server::each(&["-I", "2m"]).into_iter().zip(Server::each(&["-I", "2m"])) {
        let mut client = from.client();
        client.set("every_byte", 7, 0, &every_byte);
        client.set("large", u32::MAX, 0, &large);
        client.set("expires", 1, 5000, b"x");
        client.set("empty", 0, 0, b"");
        client.set("lines", 0, 0, b"\r\nEND\r\nVALUE a 0 1\r\n");
        client.set(&"k".repeat(250), 0, 0, b"long key");
        (0..300).for_each(|n| client.set(&format!("many:{n}"), n, 0, n.to_string().as_bytes()));
        // A key with a blank, and one with a line end.
        client.ask("ms YSBi 2 b F3\r\nab\r\n", "HD");
        client.ask("ms DQphDQo= 2 b F4 T5000\r\ncd\r\n", "HD");
        let path = dir.path().join("dump");
        assert_eq!(from.ctl(&format!("dump {}", path.display())).text(), "dumped 308 items\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let run = to.ctl(&format!("load --json {}", path.display()));
        assert_eq!(run.json(), serde_json::json!({ "stored": 308, "existing": 0, "refused": 0, "reason": null }));
        let mut there = to.client();
        let mut same = |key: &str, encoded| {
            let ((flags, ttl, value), (old_flags, old_ttl, old_value)) =
                (there.get(key, encoded).unwrap(), client.get(key, encoded).unwrap());
            assert!((flags, &value) == (old_flags, &old_value), "{key}");
            // The clocks of two servers differ by up to a second, and time passes between the two looks.
            assert!((ttl < 0) == (old_ttl < 0) && (ttl - old_ttl).abs() <= 60, "{key}: {ttl} after {old_ttl}");
        };
        for key in ["every_byte", "large", "expires", "empty", "lines", &"k".repeat(250)] {
            same(key, false);
        }
        (0..300).for_each(|n| same(&format!("many:{n}"), false));
        same("YSBi", true);
        same("DQphDQo=", true);
        // The same bytes on standard output, in any order of items.
        let run = from.ctl("dump -");
        assert_eq!((run.code, run.err.as_str()), (Some(0), "oxctl: dumped 308 items\n"));
        assert_eq!(run.out.len(), std::fs::read(&path).unwrap().len());
    }
}

#[test]
fn a_dump_leaves_no_trace_of_access() {
    for server in Server::each(&[]) {
        let mut client = server.client();
        client.set("a", 0, 0, b"x");
        client.ask("ms YSBi 1 b\r\nx\r\n", "HD");
        assert!(server.ctl("dump -").err.contains("dumped 2 items"));
        client.ask("mg a h\r\n", "HD h0");
        client.ask("mg YSBi b h\r\n", "HD h0");
    }
}

#[test]
fn existing_items_stay_unless_they_are_to_be_replaced() {
    for server in Server::each(&[]) {
        let mut client = server.client();
        client.set("a", 1, 0, b"old");
        client.ask("ms YSBi 3 b\r\nold\r\n", "HD");
        let dump = b"add a 2 0 3\r\nnew\r\nms YSBi 3 b F2 T0 ME\r\nnew\r\nadd b 0 0 1\nx\n";
        assert_eq!(load(&server, "", dump).text(), "stored 1 items; 2 exist already; 0 were refused\n");
        assert_eq!(client.get("a", false).unwrap().2, b"old");
        assert_eq!(load(&server, "--overwrite", dump).text(), "stored 3 items; 0 exist already; 0 were refused\n");
        assert_eq!(
            (client.get("a", false).unwrap().2, client.get("YSBi", true).unwrap().2),
            (b"new".into(), b"new".into())
        );
    }
}

#[test]
fn a_damaged_dump_is_loaded_up_to_the_damage() {
    for server in Server::each(&[]) {
        let mut number = 0;
        let mut stops = |damage: &[u8], words: &str| {
            number += 1;
            let key = format!("k{number}");
            let dump = [format!("add {key} 0 0 1\r\nx\r\n").as_bytes(), damage].concat();
            let run = load(&server, "", &dump);
            run.fails(1, words);
            assert!(run.out.starts_with(b"stored 1 items"), "{run:?}");
            assert!(server.client().get(&key, false).is_some());
        };
        stops(b"flush_all\r\n", "record 2: neither");
        stops(b"add y 0 0 5\r\nabc", "record 2: the value of y: the file ends within it");
        stops(b"add y 0 0 3\r\nabcdef\r\n", "record 2: the value of y: no line end follows it");
        stops(b"add y 0 0", "record 2: the file ends within its line");
        stops(&[b'a'; 100_000], "record 2: its line is too long");
        stops(b"add y 0 0 99999999999\r\nx\r\n", "record 2: the length");
        // Ends within a value of which a part was sent.
        stops(&[&b"add y 0 0 900000\r\n"[..], &[b'v'; 500_000]].concat(), "the file ends within it");
        assert!(server.client().get("y", false).is_none());
    }
}

#[test]
fn values_that_the_server_refuses_are_counted() {
    for server in Server::each(&["-I", "1m"]) {
        let large = vec![b'v'; 3 << 20];
        let dump = [&b"add a 0 0 1\r\nx\r\nadd b 0 0 3145728\r\n"[..], &large, b"\r\nadd c 0 0 1\r\ny\r\n"].concat();
        let run = load(&server, "", &dump);
        run.fails(2, "SERVER_ERROR object too large for cache");
        assert_eq!(run.out, b"stored 2 items; 0 exist already; 1 were refused\n");
    }
}

#[test]
fn a_reader_that_leaves_ends_a_dump_quietly() {
    for server in Server::each(&[]) {
        let mut client = server.client();
        (0..200).for_each(|n| client.set(&format!("k{n}"), 0, 0, &[b'v'; 20_000]));
        let mut child = ctl(&format!("-s {} dump -", server.address())).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("add k"));
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), child.wait().unwrap().code()), ("", Some(141)));
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let server = Server::oxcached(&[]);
    server.ctl("load /nonexistent/file").fails(1, "cannot read /nonexistent/file");
    server.ctl("dump /nonexistent/file").fails(1, "cannot write /nonexistent/file");
    server.client().set("k", 0, 0, &[b'v'; 100_000]);
    server.ctl("dump /dev/full").fails(1, "No space left on device");
}
