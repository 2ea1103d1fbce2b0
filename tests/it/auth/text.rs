//! The login of `-Y`, in process: the replies of memcached 1.6.45, command by command.

use super::harness::{counts, hashed, text_server};
use crate::support::Client;
use crate::support::script::{Conversation, in_every_cut};
use std::sync::Arc;

const LOGIN: &[u8] = b"set k 0 0 7\r\nfoo bar\r\n";
const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated\r\n";
const FAILURE: &str = "CLIENT_ERROR authentication failure\r\n";

fn ask(client: &mut Client, request: &[u8]) -> String {
    String::from_utf8(client.ask(request)).unwrap()
}

/// Runs `talk` in every cutting, each time with a new server of these users.
fn talk(users: &str, talk: impl Fn(&mut Conversation)) {
    in_every_cut(|| Client::new(&text_server(users)), talk);
}

#[test]
fn only_a_login_is_accepted_until_it_succeeds() {
    talk("foo:bar\nbaaaz:quux\n", |talk| {
        for line in ["get foo", "version", "mn    ", "stats settings", "abcde", "shutdown"] {
            talk.expect(&format!("{line}\r\n"), UNAUTHENTICATED);
        }
        assert_eq!(counts(&talk.peer().shared), (0, 0), "no attempts, no errors");
        talk.script(
            r"
            > set k 0 0 7
            > foo bar
            STORED
            > get k
            END
            > set a 0 0 1
            > 1
            STORED
            > get a
            VALUE a 0 1
            1
            END
            > mn
            MN
            ",
        );
        let shared = Arc::clone(&talk.peer().shared);
        assert_eq!(counts(&shared), (1, 0), "a login stores nothing");
        assert_eq!(ask(&mut Client::new(&shared), b"get a\r\n\r\n"), UNAUTHENTICATED);
        assert_eq!(ask(&mut Client::new(&shared), b"set x 0 0 10\r\nbaaaz quux\r\n"), "STORED\r\n");
    });
}

#[test]
fn a_failed_login_can_be_retried() {
    talk("foo:bar\n", |talk| {
        talk.script(
            r"
            > set foo 0 0 7
            > foo bab
            CLIENT_ERROR authentication failure
            > set foo 0 0 7
            > fop bar
            CLIENT_ERROR authentication failure
            > set foo 0 0 8
            > foo barr
            CLIENT_ERROR authentication failure
            > set foo 0 0 4
            > foo\x20
            CLIENT_ERROR authentication failure
            > set foo 0 0 1
            > \x20
            CLIENT_ERROR authentication failure
            > set foo 0 0 6
            > foobar
            CLIENT_ERROR bad authentication token format
            > set foo 0 0 0
            >
            CLIENT_ERROR bad authentication token format
            > set foo 0 0 2147483646
            CLIENT_ERROR auth token too long
            > set foo 0 0 16385
            CLIENT_ERROR auth token too long
            > set foo 0 0 -1
            CLIENT_ERROR unauthenticated
            ",
        );
        talk.expect("set foo 0 0 7\r\nfoo barxx", "CLIENT_ERROR bad command line termination\r\n");
        assert_eq!(counts(&talk.peer().shared), (5, 5), "what is no user and password is no attempt");
        talk.expect("set foo 5 -1 7 noreply\r\nfoo bar\r\n", "STORED\r\n");
        assert_eq!(counts(&talk.peer().shared), (6, 5));
    });
}

#[test]
fn bytes_after_a_refused_line_are_the_next_line() {
    talk("foo:bar\n", |talk| {
        talk.script(
            r"
            > set foo 0 0 20000
            > user pass
            CLIENT_ERROR auth token too long
            CLIENT_ERROR unauthenticated
            > get foo
            CLIENT_ERROR unauthenticated
            > set k 0 0 7
            > foo bar
            STORED
            > get foo
            END
            ",
        );
    });
}

#[test]
fn short_or_endless_lines_close_without_a_reply() {
    for bytes in [&b"abcd\r\n"[..], b"\n\n\n", b"abcde\n", &[b'x'; 2049]] {
        let mut client = Client::new(&text_server("foo:bar\n"));
        assert_eq!(ask(&mut client, bytes), "");
        assert!(client.closed, "{bytes:?}");
    }
    let mut client = Client::new(&text_server("foo:bar\n"));
    assert_eq!(ask(&mut client, &[b'x'; 2048]), "");
    assert!(!client.closed);
    assert_eq!(ask(&mut client, b"\n"), UNAUTHENTICATED);
}

#[test]
fn packets_are_not_detected() {
    let mut client = Client::new(&text_server("foo:bar\n"));
    let mut version = [0; 24];
    (version[0], version[1], version[23]) = (0x80, 0x0b, b'\n');
    assert_eq!(ask(&mut client, &version), UNAUTHENTICATED);
}

#[test]
fn the_longest_token() {
    talk(&format!("foo:{}\n", "p".repeat(16_380)), |talk| {
        talk.script(
            r"
            > set k 0 0 16384
            > foo p{16380}
            STORED
            ",
        );
    });
}

/// Split anywhere, with fast or slow password checks: the same replies.
#[test]
fn replies_do_not_depend_on_arrival_boundaries() {
    let talk = b"version\r\nset k 0 0 7\r\nfoo baz\r\nset k 0 0 6\r\nfoobar\r\nset k 0 0 7\r\nfoo bar\r\nset a 0 0 1\r\n1\r\nmn\r\nquit\r\n";
    let expected =
        format!("{UNAUTHENTICATED}{FAILURE}CLIENT_ERROR bad authentication token format\r\nSTORED\r\nSTORED\r\nMN\r\n");
    for users in ["foo:bar".to_owned(), hashed("foo", "bar")] {
        let shared = text_server(&users);
        let mut client = Client::new(&shared);
        for cut in 0..=talk.len() {
            client.restart();
            client.feed(&talk[..cut]);
            client.feed(&talk[cut..]);
            assert_eq!(String::from_utf8_lossy(&client.got), expected, "cut at {cut}");
            assert!(client.closed);
        }
        client.restart();
        talk.iter().for_each(|byte| client.feed(&[*byte]));
        assert_eq!(String::from_utf8_lossy(&client.got), expected, "byte by byte");
    }
}

#[test]
fn hashed_passwords_work_like_plain_ones() {
    let shared = text_server(&format!("foo:bar\n{}\n", hashed("bob", "with a space")));
    for (request, good) in [
        ("set k 0 0 7\r\nfoo bar\r\n", true),
        ("set k 0 0 16\r\nbob with a space\r\n", true),
        ("set k 0 0 7\r\nbob bar\r\n", false),
        ("set k 0 0 16\r\nfoo with a space\r\n", false),
        ("set k 0 0 16\r\neve with a space\r\n", false),
    ] {
        let reply = if good { "STORED\r\n" } else { FAILURE };
        assert_eq!(ask(&mut Client::new(&shared), request.as_bytes()), reply, "{request}");
    }
    assert_eq!(counts(&shared), (5, 3));
}

#[test]
fn more_than_eight_users_and_long_lines_are_all_accepted() {
    let users: String = (0..500).map(|n| format!("user{n}:{}\n", "x".repeat(n + 1))).collect();
    let shared = text_server(&users);
    for n in [0, 8, 250, 499] {
        let token = format!("user{n} {}", "x".repeat(n + 1));
        let request = format!("set k 0 0 {}\r\n{token}\r\n", token.len());
        assert_eq!(ask(&mut Client::new(&shared), request.as_bytes()), "STORED\r\n", "{n}");
    }
}

#[test]
fn rows_of_authentication_exist_only_with_it() {
    let shared = text_server("foo:bar\n");
    let mut client = Client::new(&shared);
    ask(&mut client, LOGIN);
    let stats = ask(&mut client, b"stats\r\n");
    let at = |row: &str| stats.find(row).unwrap_or_else(|| panic!("{row} is not in {stats}"));
    assert!(at("STAT store_no_memory") < at("STAT auth_cmds 1\r\nSTAT auth_errors 0\r\nSTAT auth_timeouts 0\r\n"));
    let open = crate::support::shared("-t 1");
    let stats = ask(&mut Client::new(&open), b"stats\r\n");
    assert!(stats.contains("STAT auth_cmds 0\r\nSTAT auth_errors 0\r\nSTAT bytes_read"), "{stats}");
}

/// Any input in any pieces: none logs in without the password, and none causes a failure.
#[test]
fn noise_opens_nothing() {
    let words: [&[u8]; 14] = [
        b"set",
        b"set k 0 0 7\r\n",
        b"foo ba",
        b"foo baz\r\n",
        b" ",
        b"\r\n",
        b"\n",
        b"7",
        b"16384",
        b"0",
        b"get a\r\n",
        b"\x80\x21",
        b"shutdown\r\n",
        b"\0\xff",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for users in ["foo:bar", &hashed("foo", "bar")] {
        let shared = text_server(users);
        let mut client = Client::new(&shared);
        for _ in 0..500 {
            client.restart();
            for _ in 0..random.usize(1..12) {
                client.feed(words[random.usize(..words.len())]);
            }
            // The words do not contain the whole right value.
            assert!(!client.got.windows(6).any(|reply| reply == b"STORED"), "{:?}", client.got);
        }
        assert_eq!(shared.cache.store.items(), 0);
    }
}
