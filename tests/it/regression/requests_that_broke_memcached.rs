//! Requests that crashed memcached, hung it or cost it memory until its releases of 2026. SECURITY.md lists them.

use crate::binary::packet::{all, req, set};
use crate::engine::memory::{STORED, hit, set as store};
use crate::support::script::run;
use crate::support::{Client, assert_empty, settings, shared, shared_with_auth};
use oxcached::proto::Shared;
use oxcached::server;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tempfile::TempDir;

/// A server with the users of a file, in a folder of its own.
fn with_users(text: &str) -> (TempDir, PathBuf, Arc<Shared>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    fs::write(&file, text).unwrap();
    let settings = settings(&format!("-Y {}", file.display()));
    let auth = server::load_auth(&settings).unwrap().unwrap();
    (folder, file, shared_with_auth(settings, auth))
}

#[test]
fn empty_lines_before_a_login_only_end_their_connection() {
    let (_folder, _, shared) = with_users("foo:bar\n");
    for line in ["\n", "\r\n", " \r\n"] {
        for count in [1, 2, 3, 30, 20_000] {
            let mut client = Client::new(&shared);
            assert_eq!(client.ask(line.repeat(count).as_bytes()), b"");
            assert!(client.closed || count < 3, "{count} times {line:?}");
        }
    }
    assert_eq!(Client::new(&shared).ask(b"set k 0 0 7\r\nfoo bar\r\n"), STORED);
}

#[test]
fn logins_during_reloads_are_judged_by_one_whole_file() {
    let files = ["stays:secret\nfirst:secret\n", "second:secret\nother:x\nstays:secret\n"];
    let (folder, users, shared) = with_users(files[0]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in 0..2 {
            let (shared, stop) = (&shared, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let login = |token: &str| {
                        let line = format!("set k 0 0 {}\r\n{token}\r\n", token.len());
                        Client::of_worker(shared, worker).ask(line.as_bytes())
                    };
                    assert_eq!(login("stays secret"), STORED);
                    assert_eq!(login("stays secre"), b"CLIENT_ERROR authentication failure\r\n");
                }
            });
        }
        // A file is replaced by renaming, so that none is read half.
        for round in 1..200 {
            let fresh = folder.path().join("fresh");
            fs::write(&fresh, files[round % 2]).unwrap();
            fs::rename(&fresh, &users).unwrap();
            assert_eq!(shared.auth.as_ref().unwrap().reload(), Vec::<String>::new());
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A comparison that ended at the first line of a name would tell by its time which names exist.
#[test]
fn each_line_of_the_users_counts() {
    for users in ["foo:bar\nfoo:quux\n", "foo:quux\nother:x\nfoo:bar\n"] {
        let (_folder, _, shared) = with_users(users);
        for password in ["bar", "quux"] {
            let line = format!("set k 0 0 {}\r\nfoo {password}\r\n", 4 + password.len());
            assert_eq!(Client::new(&shared).ask(line.as_bytes()), STORED, "{password} of {users:?}");
        }
    }
}

#[test]
fn blanks_alone_are_an_error_or_too_long() {
    let shared = shared("");
    for count in [2, 100, 1500, 2048, 3000] {
        let line = [&vec![b' '; count][..], b"\r\n"].concat();
        assert_eq!(Client::new(&shared).ask(&line), b"ERROR\r\n", "{count} blanks");
    }
    for count in 1..=2048 {
        let mut client = Client::new(&shared);
        assert_eq!(client.ask(&vec![b' '; count]), b"");
        assert!(!client.closed);
        assert_eq!(client.ask(b"get a\r\n"), b"ERROR\r\n", "{count} blanks without an end are the line's begin");
    }
    let mut client = Client::new(&shared);
    client.ask(&[b' '; 100_000]);
    assert!(client.closed);
}

#[test]
fn arguments_that_are_missing_at_the_end_of_a_line_are_refused() {
    run(
        "",
        r"
        > mg k T
        CLIENT_ERROR bad token in command line format
        > mg k R
        CLIENT_ERROR bad token in command line format
        > mg k E
        CLIENT_ERROR bad token in command line format
        > mg k N
        CLIENT_ERROR bad token in command line format
        > mg k F
        CLIENT_ERROR bad command line format
        > md k C
        CLIENT_ERROR bad token in command line format
        > ma k D
        CLIENT_ERROR invalid or duplicate flag
        > ms k S
        CLIENT_ERROR bad command line format
        > ms k 2 T
        > xx
        CLIENT_ERROR bad token in command line format
        > ms k 2 F
        > xx
        CLIENT_ERROR bad command line format
        > ms k 2 C
        > xx
        CLIENT_ERROR bad token in command line format
        > incr k
        CLIENT_ERROR bad command line format
        > touch k
        CLIENT_ERROR bad command line format
        > slabs automove
        ERROR
        > lru_crawler tocrawl
        ERROR
        ",
    );
}

#[test]
fn meta_commands_that_are_refused_keep_no_memory() {
    let shared = shared("");
    let mut client = Client::new(&shared);
    let long = "x".repeat(33);
    assert_eq!(client.ask(&store("k", 1000)), STORED);
    for _ in 0..1000 {
        for (flags, complaint) in [
            (format!("O{long}"), "CLIENT_ERROR opaque token too long\r\n"),
            ("MQ".to_owned(), "CLIENT_ERROR invalid mode for ms M token\r\n"),
            ("Tx".to_owned(), "CLIENT_ERROR bad token in command line format\r\n"),
        ] {
            let request = format!("ms k 2 {flags}\r\nxx\r\n");
            assert_eq!(String::from_utf8(client.ask(request.as_bytes())).unwrap(), complaint);
        }
        let request = format!("mg k v O{long}\r\n");
        assert_eq!(client.ask(request.as_bytes()), b"CLIENT_ERROR opaque token too long\r\n");
    }
    // An item that a reply still held would keep its chunk.
    client.ask(b"delete k\r\n");
    assert_empty(&shared);
}

#[test]
fn page_moves_and_windows_out_of_range_are_refused() {
    run(
        "",
        r"
        > slabs automove window 0
        CLIENT_ERROR automove window too low or too high
        > slabs automove window 2
        CLIENT_ERROR automove window too low or too high
        > slabs automove window 1801
        CLIENT_ERROR automove window too low or too high
        > slabs automove window 4294967295
        CLIENT_ERROR automove window too low or too high
        > slabs automove window 1800
        OK
        > slabs reassign 63 1
        BADCLASS invalid src or dst class id
        > slabs reassign 1 63
        BADCLASS invalid src or dst class id
        > slabs reassign 1 255
        BADCLASS invalid src or dst class id
        > slabs reassign -2 1
        BADCLASS invalid src or dst class id
        > slabs reassign 1 2147483647
        BADCLASS invalid src or dst class id
        ",
    );
}

/// Bodies of 2^31 bytes and more, which are negative as signed numbers.
#[test]
fn packets_with_negative_lengths_leave_other_connections_alone() {
    let shared = shared("");
    for body in [1 << 31, (1 << 31) + 1, u32::MAX - 8, u32::MAX] {
        for opcode in [0x01, 0x0e, 0x04, 0x00, 0x0a, 0x10, 0x21] {
            let mut bytes = req(opcode).u32(0).u32(0).key("k").value("x").bytes();
            bytes[8..12].copy_from_slice(&body.to_be_bytes());
            let mut client = Client::new(&shared);
            let stream = [bytes, all(&[set("forged", "x")])].concat();
            client.ask(&stream);
            assert!(client.closed, "opcode {opcode:#x}, body {body:#x}");
        }
    }
    assert_eq!(Client::new(&shared).ask(b"get forged\r\n"), b"END\r\n");
    assert_empty(&shared);
}

/// memcached counts an item's references in 16 bits.
#[test]
fn an_item_may_be_in_more_unsent_replies_than_16_bits_count() {
    let shared = shared("-t 1");
    assert_eq!(Client::new(&shared).ask(&store("k", 5000)), STORED);
    let held: Vec<_> = (0..11_000).map(|_| Client::new(&shared).ask_and_hold(&b"get k\r\n".repeat(6))).collect();
    assert!(6 * held.len() > usize::from(u16::MAX));
    Client::new(&shared).ask(b"delete k\r\n");
    assert_eq!(Client::new(&shared).ask(&store("other", 5000)), STORED);
    let reply = hit("k", 5000).repeat(6);
    assert!(held.into_iter().all(|held| held.read() == reply));
    Client::new(&shared).ask(b"delete other\r\n");
    assert_empty(&shared);
}
